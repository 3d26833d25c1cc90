//! What the replies of one call tell of, and what they therefore need of the journal.
//!
//! A reply of the class *durable* needs its frame on the disk, whatever the policy says; replies
//! behind it in the same call wait with it. Whatever one transaction runs is told by one reply.

use crate::command::spec::{Flags, Spec};
use crate::journal::{Log, Needs};

/// The highest frames that replies tell of; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Of all of them.
    frame: u64,
    /// Of those of the class durable.
    durable_frame: u64,
}

impl Told {
    /// Notes a reply to a call of `spec`, and to those `inner` that it ran for others, which made
    /// or saw `frame`.
    #[inline]
    pub(crate) fn note(
        &mut self,
        frame: u64,
        spec: &Spec,
        mut inner: impl Iterator<Item = &'static Spec>,
    ) {
        self.frame = self.frame.max(frame);
        let is_durable = |spec: &Spec| spec.flags.has(Flags::DURABLE);
        if is_durable(spec) || inner.any(is_durable) {
            self.durable_frame = self.durable_frame.max(frame);
        }
    }

    /// Notes a reply that tells of a frame which is on the disk, if it must be.
    pub(crate) fn note_frame(&mut self, frame: u64) {
        self.frame = self.frame.max(frame);
    }

    /// Notes a reply whose frame must be on the disk, though its command is not of the class.
    #[cold]
    pub(crate) fn note_durable(&mut self, frame: u64) {
        self.durable_frame = self.durable_frame.max(frame);
    }

    /// What must be in the journal before these replies may be sent.
    pub(crate) fn needs(self, log: Option<&Log>) -> Needs {
        match log {
            Some(log) if self.frame > 0 => {
                let durable = Needs::synced(self.durable_frame);
                log.needs_of(self.frame).most(durable)
            }
            _ => Needs::default(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::command::spec::Keys;
    use crate::journal::Policy;
    use crate::journal::log::Options;

    static PLAIN: Spec = Spec::new("plain", 1, Flags::WRITE, Keys::NONE, |_, _| Ok(()));
    static DURABLE: Spec = Spec::new(
        "durable",
        1,
        Flags::WRITE.with(Flags::DURABLE),
        Keys::NONE,
        |_, _| Ok(()),
    );

    fn log(policy: Policy) -> Log {
        let options = Options {
            workers: 1,
            number: 0,
            policy,
            backlog_bytes_max: 1 << 20,
        };
        Log::new(options, |_| {})
    }

    /// What replies need that tell of frames 1, 2 and so on.
    fn needs(policy: Policy, calls: &[(&'static Spec, &[&'static Spec])]) -> Needs {
        let mut told = Told::default();
        for (frame, (spec, inner)) in (1..).zip(calls) {
            told.note(frame, spec, inner.iter().copied());
        }
        told.needs(Some(&log(policy)))
    }

    #[test]
    fn a_durable_reply_waits_for_the_disk_under_every_policy() {
        let both = |written, synced| Needs { written, synced };
        for policy in [Policy::EverySecond, Policy::No] {
            let plain = needs(policy, &[(&PLAIN, &[]), (&PLAIN, &[])]);
            assert_eq!(plain, both(2, 0), "{policy:?}");
            let first = needs(policy, &[(&DURABLE, &[]), (&PLAIN, &[])]);
            assert_eq!(first, both(2, 1), "{policy:?}");
            let inside = needs(policy, &[(&PLAIN, &[]), (&PLAIN, &[&PLAIN, &DURABLE])]);
            assert_eq!(inside, both(2, 2), "{policy:?}");
        }
        let always = needs(Policy::Always, &[(&DURABLE, &[]), (&PLAIN, &[])]);
        assert_eq!(always, both(0, 2));
    }

    #[test]
    fn what_tells_of_no_frame_needs_nothing() {
        let mut told = Told::default();
        told.note(0, &DURABLE, [].into_iter());
        assert_eq!(told.needs(Some(&log(Policy::Always))), Needs::default());
        told.note(1, &DURABLE, [].into_iter());
        assert_eq!(told.needs(None), Needs::default(), "there is no journal");
    }
}
