//! How many bytes a call may add to the journal: what is asked for before it runs.
//!
//! Never less than it does add, but for the removal of keys that are past their deadline and of
//! those evicted for it. What it carries from one key to another is as long as the value is when
//! this is asked.
//!
//! Cost: O(1) for most calls; one look at the source of one that carries a value; a pass over what
//! `MULTI` queued.

use super::conn::Multi;
use super::cx::KEY_LEN_MAX;
use super::spec::{Flags, Group, Spec};
use crate::engine::Step;
use linchpin_protocol::{Args, number};
use std::collections::HashMap;

/// What an effect has beside the arguments it is made of, for each of them: 28 bytes at most where
/// it has a key and a value, 9 where it only removes a key.
const ARGUMENT_BYTES_MAX: usize = 16;
/// What a namespace of IDs comes to beside its key, which two effects have: letters and a secret.
const ID_BYTES_MAX: usize = 192;
/// What a hold, a session or their kin comes to beside the arguments: numbers, a secret name.
const OBJECT_BYTES_MAX: usize = 128;
/// What the effect of a fence mark or of a tie has beside its key.
const EXTRA_BYTES_MAX: usize = 20;
/// What a record has that a call need not name: owner, fingerprint and integers.
const RECORD_BYTES_MAX: usize = 2 * 256 + 64;
/// The most arguments of a `SET` that has neither of the two.
const SET_ARGUMENTS: usize = 4;

/// The bytes that a call of `spec` may add; `None` for one that changes nothing. `value_bytes` says
/// how long the value of a key is.
#[inline]
pub fn of_call(
    spec: &Spec,
    args: Args<'_>,
    value_bytes: impl FnOnce(&[u8]) -> usize,
) -> Option<usize> {
    if !spec.flags.has(Flags::WRITE) {
        return None;
    }
    let value_bytes = carried(spec, args).map_or(0, value_bytes);
    Some(of_arguments(spec, args).saturating_add(value_bytes))
}

/// The bytes that what was queued may add; `None` if none of it changes anything. `step` is any
/// step with nothing locked, and `db` the database that the caller selected. Values that grow
/// in the transaction and then are carried on are counted as they will be, as far as names tell:
/// not what SWAPDB brings, and not the hole that SETRANGE leaves.
#[must_use]
pub fn of_queue(step: &Step<'_>, db: u32, multi: &Multi) -> Option<usize> {
    let writes = |(spec, _): &(&Spec, _)| spec.flags.has(Flags::WRITE);
    if !multi.queue.iter().any(writes) {
        return None;
    }
    let carries = |(spec, _): &(&Spec, _)| spec.flags.has(Flags::CARRIES);
    if !multi.queue.iter().any(carries) {
        let calls = multi.queue.iter().filter(|queued| writes(queued));
        let bytes = calls.map(|(spec, request)| of_arguments(spec, request.args()));
        return Some(bytes.fold(0, usize::saturating_add));
    }
    let mut forecast = Forecast {
        step,
        db,
        values: HashMap::new(),
        bytes: 0,
    };
    for (spec, request) in &multi.queue {
        forecast.foresee(spec, request.args());
    }
    Some(forecast.bytes)
}

/// What the arguments of a call that writes come to.
#[inline]
fn of_arguments(spec: &Spec, args: Args<'_>) -> usize {
    let bytes = args.bytes_len() + args.len() * ARGUMENT_BYTES_MAX;
    match spec.group {
        Group::Id => return bytes + args.get(1).map_or(0, <[u8]>::len) + ID_BYTES_MAX,
        Group::Lock | Group::Session | Group::Semaphore | Group::Latch | Group::Barrier => {
            return bytes + OBJECT_BYTES_MAX;
        }
        // When a value is stale is an effect of its own, with the key once more.
        Group::Cache => return bytes + args.get(1).map_or(0, <[u8]>::len) + EXTRA_BYTES_MAX,
        Group::Idempotency => return bytes + RECORD_BYTES_MAX,
        _ => {}
    }
    if args.len() > SET_ARGUMENTS && spec.name == "set" || spec.flags.has(Flags::CARRIES) {
        return bytes + of_extras(args);
    }
    bytes
}

/// What a fence mark and a tie of the key written may come to: an effect of its own for each, with
/// the key once more.
fn of_extras(args: Args<'_>) -> usize {
    let name_bytes = |at| args.get(at).map_or(0, <[u8]>::len);
    2 * (name_bytes(1).max(name_bytes(2).min(KEY_LEN_MAX)) + EXTRA_BYTES_MAX)
}

/// The key whose value a call carries to another.
fn carried<'a>(spec: &Spec, args: Args<'a>) -> Option<&'a [u8]> {
    let source = spec.keys.specs().first()?.begin;
    let carries = spec.flags.has(Flags::CARRIES);
    carries.then(|| args.get(usize::from(source))).flatten()
}

/// How long values become in a transaction. One key of two databases counts as one value: the
/// longer.
struct Forecast<'q, 's> {
    step: &'q Step<'s>,
    db: u32,
    values: HashMap<&'q [u8], usize>,
    bytes: usize,
}

impl<'q> Forecast<'q, '_> {
    fn foresee(&mut self, spec: &Spec, args: Args<'q>) {
        if spec.name == "select" {
            let number = args.get(1).and_then(number::parse_u64);
            let db = number.and_then(|number| u32::try_from(number).ok());
            self.db = db.unwrap_or(self.db);
        }
        if !spec.flags.has(Flags::WRITE) {
            return;
        }
        let own = of_arguments(spec, args);
        let value = carried(spec, args).map(|key| self.value_bytes(key));
        let adds = own.saturating_add(value.unwrap_or(0));
        self.bytes = self.bytes.saturating_add(adds);
        let keys = spec.keys.positions(args).unwrap_or_default();
        for (at, _) in &keys {
            let Some(key) = args.get(*at) else { continue };
            let before = self.value_bytes(key);
            let after = match (value, keys.len()) {
                (Some(value), _) => before.max(value),
                (None, 1) => before.saturating_add(own),
                // Each key is followed by its own value.
                (None, _) => before.saturating_add(args.get(at + 1).map_or(0, <[u8]>::len)),
            };
            self.values.insert(key, after);
        }
    }

    fn value_bytes(&self, key: &[u8]) -> usize {
        let now = self.step.value_bytes(self.db, key);
        self.values.get(key).map_or(now, |&bytes| bytes.max(now))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::command::table;
    use crate::engine::{Deadline, Engine, Options, ValueRef};
    use linchpin_protocol::Request;

    /// What a transaction of these lines may add where `old` has 1,000 bytes.
    fn weight(lines: &[&str]) -> Option<usize> {
        let engine = Engine::new(Options::default(), None);
        let batch = engine.shared(0, Now::default());
        let value = ValueRef::Bytes(&[0; 1_000]);
        let mut step = batch.step();
        step.lock_any(0, b"old")
            .slot(0, b"old")
            .put(value, Deadline::None);
        let mut multi = Multi::default();
        for line in lines {
            let words = line.split(' ').map(|word| match word.strip_prefix('*') {
                Some(count) => vec![b'v'; count.parse().unwrap()],
                None => word.as_bytes().to_vec(),
            });
            let words: Vec<Vec<u8>> = words.collect();
            let request = Request::from_args(words.iter().map(Vec::as_slice));
            multi.push(table::find(&words[0]).unwrap(), request);
        }
        of_queue(&step, 0, &multi)
    }

    #[test]
    fn values_that_are_carried_on_count_as_long_as_they_are_by_then() {
        for (lines, values) in [
            (&["SET k *500"][..], 500),
            (&["COPY old k"], 1_000),
            (&["COPY old k", "COPY k l", "RENAME l m"], 3_000),
            (&["APPEND old *200", "MOVE old 1"], 200 + 1_200),
            (&["MSET a *700 b *300", "COPY a c", "COPY b d"], 2_000),
            (&["SELECT 1", "COPY old k"], 0),
            (&["COPY nothing k"], 0),
        ] {
            let bytes = weight(lines).unwrap();
            let more = lines.len() * 150;
            assert!(
                (values..values + more).contains(&bytes),
                "{lines:?}: {bytes}"
            );
        }
        assert_eq!(weight(&["GET old", "EXISTS old"]), None);
    }

    #[test]
    fn what_is_kept_beside_a_value_counts() {
        let key = "k".repeat(5_000);
        let names_it_twice = |line: &str| weight(&[line]).unwrap() >= 2 * key.len();
        assert!(names_it_twice(&format!("CACHE.SET {key} v TOKEN 1 PX 1")));
        assert!(names_it_twice(&format!("CACHE.STALE {key} GRACE 5")));
        assert!(weight(&["IDEMP.DONE k 1 r PX 1"]).unwrap() >= 512);
    }
}
