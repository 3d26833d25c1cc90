//! Calls that wait for the coordinator: how outcomes reach their connections, and what becomes of
//! grants whose connection goes.
//!
//! ```text
//!   a step that frees an object --Settled--> outbox of the connection --> reply, once the frame
//!                                                             of the grant is on the disk
//!   the connection ends: its outbox closes, its requests and its own session end, and a grant
//!   whose reply had not reached the socket is given back, all in one turn of the coordinator
//! ```
//!
//! Invariant: every grant is told of, or given back. A grant that comes while a connection ends
//! finds its outbox open, and is taken out of it by the end; or closed, and is given back by
//! whoever made it.

use super::outbox::Post;
use super::registry::Registry;
use super::{Session, Turn, Worker};
use crate::command::grants::Stretch;
use crate::command::lock::{claim, look};
use crate::command::looking::{self, Looking};
use crate::command::{Park, ReplyError, error};
use crate::engine::Wants;
use crate::engine::coordinator::{Callers, HoldInfo, Lost, Name, Outcome, Settled};
use crate::journal::Needs;
use crate::session::server::Server;
use linchpin_protocol::{Version, Writer};
use std::sync::Arc;

/// Hands outcomes of the coordinator to the outboxes of connections.
pub(crate) struct Deliveries(pub(crate) Arc<Registry>);

impl Callers for Deliveries {
    fn settle(&self, settled: Settled, frame: u64) -> bool {
        let conn = settled.ticket.conn;
        self.0.post(conn, Post::Settled(settled, frame))
    }

    fn tell(&self, lost: Lost, frame: u64) {
        let (Lost::Hold { conn, .. } | Lost::Session { conn, .. }) = lost;
        // Who is gone needs no news.
        let _ = self.0.post(conn, Post::Lost(lost, frame));
    }
}

/// What came of the call that waits, and the frame it came by.
#[derive(Debug)]
pub(super) struct Arrived {
    outcome: Outcome,
    frame: u64,
}

impl Session {
    /// Takes note of a post: of what came of the call that waits, or of a loss that the client is
    /// pushed news of. Answers what the journal must have before the news are sent, if any were
    /// written.
    pub(crate) fn note_post(&mut self, post: Post, out: &mut Vec<u8>) -> Option<Needs> {
        match post {
            Post::Close => None,
            Post::Settled(Settled { ticket, outcome }, frame) => {
                let call = self.parked.and_then(Park::call);
                if call == Some(ticket.call) {
                    self.arrived = Some(Arrived { outcome, frame });
                }
                None
            }
            Post::Lost(lost, frame) => {
                if self.conn.resp != Version::Resp3 || self.conn.replies.silences() {
                    return None;
                }
                write_lost(&mut Writer::new(out, self.conn.resp), &lost);
                Some(Needs::synced(frame))
            }
        }
    }

    /// What the journal must have before the call that waits is answered; none while that is open.
    pub(super) fn arrived_needs(&self) -> Option<Needs> {
        let arrived = self.arrived.as_ref()?;
        Some(Needs::synced(arrived.frame))
    }

    /// Whether the call that waits can be answered now.
    pub(super) fn may_answer(&self, server: &Server) -> bool {
        match self.arrived_needs() {
            Some(needs) => server.journal().is_none_or(|log| log.is_met(needs)),
            None => server.stopping_since_ms().is_some(),
        }
    }

    /// Answers the call that waits, which can be.
    pub(super) fn answer(&mut self, turn: &mut Turn<'_>, out: &mut Vec<u8>) {
        let Some(park) = self.parked else { return };
        let (conn, is_stopping) = (self.conn.id, turn.server.stopping_since_ms().is_some());
        let outcome = match self.arrived.take() {
            Some(arrived) => arrived.outcome,
            None if is_stopping => {
                let ids = turn.server.engine().ids();
                let mut step = turn.batch(false).step();
                let is_withdrawn =
                    ids.withdraw(conn).is_some() || step.coordinate(|turn| turn.withdraw(conn));
                let frame = step.commit();
                drop(step);
                turn.told.note_frame(frame);
                if !is_withdrawn {
                    // It has come to an end this moment: the outcome is on its way.
                    return;
                }
                Outcome::Unblocked
            }
            None => return,
        };
        self.parked = None;
        if let Some(looking) = self.conn.looking.take()
            && !matches!(outcome, Outcome::Unblocked | Outcome::Gone)
        {
            self.look(&looking, outcome == Outcome::Nothing, turn, out);
            return;
        }
        let start = out.len();
        let mut writer = Writer::new(out, self.conn.resp);
        if let Park::Ids { wish, .. } = park
            && let Outcome::Ids(taken) = outcome
        {
            if let Err(error) = wish.write(taken, &mut writer, turn.server) {
                writer.error_bytes(&error.line());
            }
            self.finish_answer(turn, start, out);
            return;
        }
        let mut step = turn.batch(false).step();
        let told = if is_stopping && outcome == Outcome::Unblocked {
            Err(error::STOPPING)
        } else {
            step.coordinate(|coordinator| write(coordinator, park, &outcome, &mut writer))
        };
        let frame = step.commit();
        drop(step);
        turn.told.note_frame(frame);
        if let Err(error) = told {
            writer.error_bytes(&error.line());
        }
        if let Outcome::Granted { names, fence } = outcome {
            self.conn.grants.push(names, fence, None, false);
        }
        self.finish_answer(turn, start, out);
    }

    /// The reply to a call that waited stands in the output from here on.
    fn finish_answer(&mut self, turn: &mut Turn<'_>, start: usize, out: &mut Vec<u8>) {
        if self.conn.replies.silences() {
            out.truncate(start);
        }
        self.conn.grants.place(start, out.len());
        turn.replies += u32::from(out.len() > start);
    }

    /// Makes a call that waited for a key again; its wait is over or not.
    fn look(&mut self, looking: &Looking, is_over: bool, turn: &mut Turn<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        let mut writer = Writer::new(out, self.conn.resp);
        let mut step = turn.batch(false).step();
        let looked = looking::look(&mut step, &mut self.conn, &mut writer, looking, is_over);
        let frame = step.commit();
        drop(step);
        match &looking.ask.wants {
            Wants::Fill { .. } => turn.told.note_frame(frame),
            Wants::Begin { .. } => turn.told.note_durable(frame),
        }
        match looked {
            Ok(parked) => self.parked = parked,
            Err(error) => writer.error_bytes(&error.line()),
        }
        if self.conn.replies.silences() {
            out.truncate(start);
        }
        turn.replies += u32::from(out.len() > start);
    }

    /// Writes the replies of grants up to `ripe`, which may leave now, as things are now; answers
    /// how the output changed its length.
    pub(crate) fn rewrite_grants(
        &mut self,
        output: &mut Vec<u8>,
        ripe: usize,
        worker: &Worker,
    ) -> Vec<Stretch> {
        if !self.conn.grants.has_late(ripe) {
            return Vec::new();
        }
        let (server, resp) = (&worker.server, self.conn.resp);
        let batch = server.engine().shared(worker.index, server.clock().now());
        let grants = &mut self.conn.grants;
        batch.step().coordinate(|turn| {
            grants.rewrite(output, resp, ripe, |grant| claim::tell_late(turn, grant))
        })
    }

    /// Gives back what the coordinator has of the connection, and what it never was told of, with
    /// `sent` bytes of its output sent.
    pub(super) fn leave_coordinator(&mut self, server: &Server, worker: usize, sent: usize) {
        let posts = self.client.outbox().close();
        if !self.conn.is_coordinated {
            return;
        }
        let mut returned: Vec<(Vec<Name>, u64)> = self.conn.grants.take_unsent(sent).collect();
        let arrived = self.arrived.take().map(|arrived| arrived.outcome);
        let posted = posts.into_iter().filter_map(|post| match post {
            Post::Settled(settled, _) => Some(settled.outcome),
            _ => None,
        });
        for outcome in posted.chain(arrived) {
            if let Outcome::Granted { names, fence } = outcome {
                returned.push((names, fence));
            }
        }
        let conn = self.conn.id;
        // IDs that it waits for are of use to others.
        let _ = server.engine().ids().withdraw(conn);
        let batch = server.engine().shared(worker, server.clock().now());
        batch.step().coordinate(|turn| {
            for (names, fence) in returned {
                for name in names {
                    turn.give_back(&name, fence, conn);
                }
            }
            if server.stopping_since_ms().is_some() {
                // A stop ends no hold: whoever has one may take it up again after it.
                turn.withdraw(conn);
            } else {
                turn.disconnect(conn);
            }
        });
        // It no longer waits: what was handed to it by now, it was not told of.
        if let Some(looking) = self.conn.looking.take() {
            looking::give_back(&mut batch.step(), &looking);
        }
    }
}

/// Writes the reply to a call that waited.
fn write(
    turn: &crate::engine::coordinator::Turn<'_>,
    park: Park,
    outcome: &Outcome,
    out: &mut Writer<'_>,
) -> Result<(), ReplyError> {
    if *outcome == Outcome::Unblocked {
        return Err(error::UNBLOCKED);
    }
    match park {
        Park::Hold { form, .. } => claim::tell_outcome(turn, outcome)?.write(out, form),
        Park::Observe { after, .. } => {
            let hold = match outcome {
                Outcome::Observed(name, seen) => {
                    // One that is over by now was seen nevertheless.
                    let over = || HoldInfo {
                        ttl_ms: Some(0),
                        ..HoldInfo::clone(seen)
                    };
                    Some(turn.newest_above(name, after).unwrap_or_else(over))
                }
                _ => None,
            };
            look::write_observed(out, hold.as_ref());
        }
        Park::Latch { .. } => match outcome {
            Outcome::Opened => out.integer(1),
            _ => out.null(),
        },
        Park::Barrier { .. } => claim::write_met(out, outcome),
        // Its record went, and nobody knows whether the request was done.
        Park::Look { .. } => out.null_array(),
        Park::Synced { .. }
        | Park::Snapshot { .. }
        | Park::Stop { .. }
        | Park::Ids { .. }
        | Park::Reservation => {}
    }
    Ok(())
}

/// Writes news of a loss, as a push.
fn write_lost(out: &mut Writer<'_>, lost: &Lost) {
    let integer = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    match lost {
        Lost::Hold {
            name,
            fence,
            is_broken,
            ..
        } => {
            out.push(4);
            out.bulk(b"lock");
            out.bulk(if *is_broken { b"broken" } else { b"lost" });
            out.bulk(&name.key);
            out.integer(integer(*fence));
        }
        Lost::Session { number, .. } => {
            out.push(3);
            out.bulk(b"session");
            out.bulk(b"lost");
            out.integer(integer(*number));
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::clock::Now;
    use crate::engine::coordinator::{self, Claim, Claimed, Open, Refusal, Ticket, Wanted};
    use crate::engine::{Engine, Options, Share};
    use crate::session::outbox::Outbox;
    use crate::sync::Wake;
    use loom::thread;

    const NOW: Now = Now {
        wall_ms: 1_000,
        wall_sub_us: 0,
        engine_ms: 1_000,
        mono_us: 1_000_000,
    };
    /// The connection that goes, and the one that waits behind it.
    const GOES: u64 = 2;
    const STAYS: u64 = 3;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(&self) {}
    }

    /// The outboxes of both connections.
    struct Boxes([Arc<Outbox<Nobody>>; 2]);

    impl Callers for Boxes {
        fn settle(&self, settled: Settled, frame: u64) -> bool {
            let index = usize::from(settled.ticket.conn == STAYS);
            self.0[index].post(Post::Settled(settled, frame))
        }

        fn tell(&self, _: Lost, _: u64) {}
    }

    /// How long the connection that goes waits at most.
    const WAIT_MS: u64 = 100;
    const SID: &[u8] = b"sid";

    fn claim(owner: &'static [u8], conn: u64, wait_ms: u64) -> Claim<'static> {
        Claim {
            ticket: Ticket { conn, call: 1 },
            owner,
            share: Share::Exclusive,
            life: Wanted::Lease(60_000),
            delay_ms: 0,
            value: None,
            depth: None,
            wait_ms,
        }
    }

    /// A lock that is held, and two that wait for it, one behind the other.
    #[derive(Clone)]
    struct Stage {
        engine: Arc<Engine>,
        boxes: [Arc<Outbox<Nobody>>; 2],
    }

    impl Stage {
        /// `life` is that of what the first wants.
        fn new(life: Wanted<'static>) -> Self {
            let options = Options {
                databases: 1,
                workers: 3,
                shards: 1,
                hash_seed: 1,
            };
            let engine = Arc::new(Engine::new(options, None));
            let boxes = [(); 2].map(|()| Arc::new(Outbox::new(Nobody)));
            engine.set_callers(Box::new(Boxes(boxes.clone())));
            let stage = Self { engine, boxes };
            stage.turn(0, NOW, |turn| {
                turn.open_session(&Open {
                    sid: SID,
                    name: b"",
                    ttl_ms: 60_000,
                    grace_ms: 0,
                    delay_ms: 0,
                    is_bound: false,
                    conn: GOES,
                });
            });
            let first = Claim {
                life,
                ..claim(b"goes", GOES, WAIT_MS)
            };
            let granted = Ok(Claimed::Granted { fence: 1 });
            assert_eq!(stage.ask(&claim(b"holder", 1, 0)), granted);
            assert_eq!(stage.ask(&first), Ok(Claimed::Parked));
            let next = claim(b"stays", STAYS, 60_000);
            assert_eq!(stage.ask(&next), Ok(Claimed::Parked));
            stage
        }

        fn key() -> Name {
            Name::new(0, b"k")
        }

        fn ask(&self, claim: &Claim<'_>) -> Result<Claimed, Refusal> {
            self.turn(0, NOW, |turn| turn.acquire(&Self::key(), claim))
        }

        fn turn<R>(
            &self,
            worker: usize,
            now: Now,
            act: impl FnOnce(&mut coordinator::Turn<'_>) -> R,
        ) -> R {
            self.engine.shared(worker, now).step().coordinate(act)
        }

        /// A thread in which the holder gives the lock back.
        fn release(&self) -> thread::JoinHandle<()> {
            let stage = self.clone();
            thread::spawn(move || {
                stage.turn(0, NOW, |turn| {
                    turn.release(&Self::key(), b"holder", None, None);
                });
            })
        }

        /// The first connection ends.
        fn go(&self, worker: usize) {
            let outcomes = Self::outcomes(self.boxes[0].close());
            self.turn(worker, NOW, |turn| {
                for outcome in outcomes {
                    if let Outcome::Granted { names, fence } = outcome {
                        names
                            .iter()
                            .for_each(|name| turn.give_back(name, fence, GOES));
                    }
                }
                turn.disconnect(GOES);
            });
        }

        /// The time of the first wait is over.
        fn late() -> Now {
            Now {
                engine_ms: NOW.engine_ms + WAIT_MS,
                mono_us: NOW.mono_us + WAIT_MS * 1_000,
                ..NOW
            }
        }

        fn outcomes(posts: Vec<Post>) -> Vec<Outcome> {
            let outcome = |post| match post {
                Post::Settled(settled, _) => Some(settled.outcome),
                _ => None,
            };
            posts.into_iter().filter_map(outcome).collect()
        }

        /// What the first was told, once; the lock goes to the second if the first has not got it,
        /// and else when the first gives it back.
        fn end(self) -> Outcome {
            let mut told = Self::outcomes(self.boxes[0].close());
            assert_eq!(told.len(), 1, "told once: {told:?}");
            let is_current = |fence| self.turn(0, NOW, |turn| turn.is_current(&Self::key(), fence));
            if let Outcome::Granted { fence, .. } = told[0]
                && is_current(fence)
            {
                assert!(self.boxes[1].take().is_empty(), "two have the lock");
                self.turn(0, NOW, |turn| turn.give_back(&Self::key(), fence, GOES));
            }
            self.check_next();
            told.remove(0)
        }

        /// The second has the lock.
        fn check_next(&self) {
            // What found a box closed is given back by the next turn.
            self.turn(0, NOW, |_| ());
            let told = Self::outcomes(self.boxes[1].close());
            let is_granted = |outcome: &Outcome| matches!(outcome, Outcome::Granted { .. });
            assert!(told.iter().any(is_granted), "nobody has the lock: {told:?}");
        }
    }

    /// A lock is released while the connection of the one who waits first ends: the lock goes to
    /// the next, however that falls out. Goes red when a post to a closed box is taken for
    /// delivered, when the end does not look into the box, and when it closes the box only after
    /// its turn of the coordinator.
    #[test]
    fn a_grant_is_told_of_or_given_back() {
        loom::model(|| {
            let stage = Stage::new(Wanted::Lease(60_000));
            let releasing = stage.release();
            stage.go(1);
            releasing.join().unwrap();
            stage.check_next();
        });
    }

    /// The same while the time of the wait runs out as well. Goes red with the same faults.
    #[test]
    fn a_grant_between_time_out_and_disconnect_is_lost_to_nobody() {
        loom::model(|| {
            let stage = Stage::new(Wanted::Lease(60_000));
            let releasing = stage.release();
            let timing = {
                let stage = stage.clone();
                thread::spawn(move || stage.turn(2, Stage::late(), |_| ()))
            };
            stage.go(1);
            releasing.join().unwrap();
            timing.join().unwrap();
            stage.check_next();
        });
    }

    /// A lock is released at the moment at which the wait for it is over: it is one or the other.
    /// Goes red when a time-out does not take the request out of its queue.
    #[test]
    fn a_wait_ends_by_grant_or_by_time() {
        loom::model(|| {
            let stage = Stage::new(Wanted::Lease(60_000));
            let releasing = stage.release();
            stage.turn(1, Stage::late(), |_| ());
            releasing.join().unwrap();
            let told = stage.end();
            let is_right = matches!(told, Outcome::Granted { .. } | Outcome::Refused { .. });
            assert!(is_right, "{told:?}");
        });
    }

    /// An operator ends the wait at the moment of the grant: who was answered that it was ended is
    /// the one whose call was. Goes red when `unblock` answers so though nothing waited.
    #[test]
    fn a_wait_ends_by_grant_or_by_an_operator() {
        loom::model(|| {
            let stage = Stage::new(Wanted::Lease(60_000));
            let releasing = stage.release();
            let is_ended = stage.turn(1, NOW, |turn| turn.unblock(GOES, true));
            releasing.join().unwrap();
            let told = stage.end();
            assert_eq!(told == Outcome::Unblocked, is_ended, "{told:?}");
        });
    }

    /// The session that the hold is to live by is closed at the moment of the grant: the call is
    /// told that it has ended, or the hold ends with it. Goes red when closing leaves what waits
    /// by the session in the queue.
    #[test]
    fn a_wait_ends_by_grant_or_with_its_session() {
        loom::model(|| {
            let stage = Stage::new(Wanted::Session(SID));
            let releasing = stage.release();
            let ended = stage.turn(1, NOW, |turn| turn.close_session(SID));
            releasing.join().unwrap();
            match stage.end() {
                Outcome::Granted { .. } => assert_eq!(ended, 1, "it had a hold"),
                told => assert_eq!((told, ended), (Outcome::NoSession, 0)),
            }
        });
    }
}
