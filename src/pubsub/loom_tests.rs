//! Every interleaving of subscribing, publishing, taking and leaving.

use super::{Bell, Hub, Kind, Mailbox, Rings, Subscriber};
use crate::sync::Wake;
use linchpin_protocol::Version;
use loom::sync::Notify;
use loom::thread;
use std::sync::Arc;

struct Task(Arc<Notify>);

impl Wake for Task {
    fn wake(&self) {
        self.0.notify();
    }
}

fn hub() -> (Arc<Hub>, Arc<Notify>, Arc<Mailbox>) {
    let (hub, task) = (Arc::new(Hub::with_parts(1, 1)), Arc::new(Notify::new()));
    let mailbox = Mailbox::new(1, 0, Arc::new(Task(Arc::clone(&task))));
    // The relay is the connection's own task here: what rings the bell wakes it.
    let relay = Arc::clone(&task);
    hub.bell(0).hang(|| Box::new(Task(relay)));
    (hub, task, Arc::new(mailbox))
}

fn publish(hub: &Hub, payload: &[u8]) -> usize {
    let rings = Rings::default();
    let receivers = hub.publish(b"c", payload, &rings);
    hub.ring(&rings);
    receivers
}

fn take(bell: &Bell, mailbox: &Mailbox, out: &mut Vec<u8>) {
    bell.answer();
    mailbox.take(out, Version::Resp2, usize::MAX);
}

/// What a channel's messages carried, in order.
fn payloads(out: &[u8]) -> Vec<u8> {
    let frame_len = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n".len();
    out.chunks(frame_len)
        .map(|frame| frame[frame_len - 3])
        .collect()
}

/// A publisher sends two messages while the connection takes and sleeps. A lost wake-up shows as a
/// task that sleeps for ever. Goes red when `take` unmarks after it has looked, when `post` marks
/// before it pushes, and when the bell unmarks after it has taken.
#[test]
fn messages_wake_the_connection_that_does_not_see_them_and_keep_their_order() {
    loom::model(|| {
        let (hub, task, mailbox) = hub();
        hub.subscribe(Kind::Channel, b"c", &mailbox);
        let publisher = {
            let hub = Arc::clone(&hub);
            thread::spawn(move || {
                assert_eq!(publish(&hub, b"1"), 1);
                assert_eq!(publish(&hub, b"2"), 1);
            })
        };
        let mut out = Vec::new();
        loop {
            take(hub.bell(0), &mailbox, &mut out);
            if payloads(&out).len() == 2 {
                break;
            }
            task.wait();
        }
        assert_eq!(payloads(&out), b"12");
        publisher.join().unwrap();
    });
}

/// A connection subscribes, unsubscribes and takes what came, while another publishes. What counted
/// it as a receiver is there; nothing comes after the end. Goes red when a topic lets go of its
/// lock before the last mailbox has the message.
#[test]
fn nothing_comes_after_the_end_and_nothing_counted_is_lost() {
    loom::model(|| {
        let (hub, _, mailbox) = hub();
        let publisher = {
            let hub = Arc::clone(&hub);
            thread::spawn(move || publish(&hub, b"1") + publish(&hub, b"2"))
        };
        let mut subscriber = Subscriber::new(Arc::clone(&mailbox));
        subscriber.subscribe(&hub, Kind::Channel, b"c");
        subscriber.unsubscribe(&hub, Kind::Channel, b"c");
        let mut out = Vec::new();
        subscriber.flush(&mut out, Version::Resp2);
        let before = payloads(&out);
        let receivers = publisher.join().unwrap();
        subscriber.flush(&mut out, Version::Resp2);
        assert_eq!(payloads(&out), before, "a message came after the end");
        assert_eq!(before.len(), receivers);
        assert_eq!(hub.len(Kind::Channel), 0);
    });
}

/// Two connections come and go on one pattern while another publishes to it: the topic that one
/// takes away is never one that the other stands in.
#[test]
fn a_pattern_that_comes_and_goes_loses_nobody() {
    loom::model(|| {
        let (hub, _, first) = hub();
        let second = Arc::new(Mailbox::new(2, 0, Arc::new(Task(Arc::new(Notify::new())))));
        hub.subscribe(Kind::Pattern, b"c*", &first);
        let leaver = {
            let hub = Arc::clone(&hub);
            thread::spawn(move || hub.unsubscribe(Kind::Pattern, b"c*", 1))
        };
        hub.subscribe(Kind::Pattern, b"c*", &second);
        let receivers = publish(&hub, b"1");
        assert!((1..=2).contains(&receivers));
        assert!(second.waiting_bytes() > 0);
        leaver.join().unwrap();
        assert_eq!((hub.len(Kind::Pattern), publish(&hub, b"2")), (1, 1));
    });
}
