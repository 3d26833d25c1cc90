//! Subscriptions, patterns and mailboxes, without connections.

use super::*;
use crate::glob;
use crate::sync::Wake;
use proptest::prelude::*;

/// Counts how often it is woken.
#[derive(Debug, Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn mailbox(conn: u64) -> Arc<Mailbox> {
    Arc::new(Mailbox::new(conn, 0, Arc::<Counter>::default()))
}

fn taken(mailbox: &Mailbox) -> String {
    let mut out = Vec::new();
    mailbox.take(&mut out, Version::Resp3, usize::MAX);
    String::from_utf8(out).unwrap().replace("\r\n", " ")
}

#[test]
fn a_message_goes_to_its_channel_and_to_patterns_that_match() {
    let (hub, rings) = (Hub::new(1), Rings::default());
    let [a, b, c] = [1, 2, 3].map(mailbox);
    hub.subscribe(Kind::Channel, b"news", &a);
    hub.subscribe(Kind::Pattern, b"n*", &b);
    hub.subscribe(Kind::Shard, b"news", &c);
    assert_eq!(hub.publish(b"news", b"x", &rings), 2);
    assert_eq!(hub.publish(b"newt", b"y", &rings), 1);
    assert_eq!(hub.publish_to_shard(b"news", b"z", &rings), 1);
    assert_eq!(taken(&a), ">3 $7 message $4 news $1 x ");
    let both = ">4 $8 pmessage $2 n* $4 news $1 x >4 $8 pmessage $2 n* $4 newt $1 y ";
    assert_eq!(taken(&b), both);
    assert_eq!(taken(&c), ">3 $8 smessage $4 news $1 z ");
}

#[test]
fn nothing_is_left_of_subscriptions_that_ended() {
    let hub = Hub::new(1);
    let mut subscriber = Subscriber::new(mailbox(1));
    for kind in Kind::ALL {
        for name in 0..1_000 {
            subscriber.subscribe(&hub, kind, format!("*{name}*").as_bytes());
            subscriber.subscribe(&hub, kind, format!("{name}").as_bytes());
        }
        assert_eq!((hub.len(kind), subscriber.len(kind)), (2_000, 2_000));
    }
    assert_eq!(subscriber.total(), 6_000);
    subscriber.unsubscribe(&hub, Kind::Channel, b"7");
    subscriber.leave(&hub);
    assert_eq!(subscriber.total(), 0);
    assert!(Kind::ALL.iter().all(|kind| hub.len(*kind) == 0));
    assert_eq!(hub.publish(b"7", b"x", &Rings::default()), 0);
}

#[test]
fn a_quiet_connection_is_woken_once_for_a_batch() {
    let (hub, rings) = (Hub::new(1), Rings::default());
    let task = Arc::new(Counter::default());
    let listener = Arc::new(Mailbox::new(1, 0, Arc::clone(&task) as Arc<dyn Wake>));
    let relay = Arc::new(Counter::default());
    hub.bell(0).hang(|| Box::new(Arc::clone(&relay)));
    hub.subscribe(Kind::Channel, b"c", &listener);
    for round in 1..=3 {
        for _ in 0..100 {
            hub.publish(b"c", b"x", &rings);
        }
        hub.ring(&rings);
        assert_eq!(relay.0.load(Ordering::Relaxed), round);
        hub.bell(0).answer();
        assert_eq!(task.0.load(Ordering::Relaxed), round);
        assert_eq!(taken(&listener).matches("message").count(), 100);
    }
}

#[test]
fn a_connection_takes_what_there_is_room_for_and_the_rest_later() {
    let (hub, rings) = (Hub::new(1), Rings::default());
    let listener = mailbox(1);
    hub.subscribe(Kind::Channel, b"c", &listener);
    for n in 0..10 {
        hub.publish(b"c", format!("{n}").as_bytes(), &rings);
    }
    let mut out = Vec::new();
    listener.take(&mut out, Version::Resp2, 40);
    assert!(out.len() >= 40 && listener.is_marked());
    assert!(listener.waiting_bytes() > 0);
    listener.take(&mut out, Version::Resp2, usize::MAX);
    let text = String::from_utf8(out).unwrap();
    let payloads: Vec<&str> = text.lines().skip(6).step_by(7).collect();
    assert_eq!(payloads, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert!(!listener.is_marked() && listener.waiting_bytes() == 0);
}

#[test]
fn who_is_too_slow_is_cut_off_at_the_limit_and_not_below() {
    let (hub, rings) = (Hub::new(1), Rings::default());
    let cost = Frame::message(b"c", b"x").cost_bytes();
    let listener = mailbox(1);
    hub.subscribe(Kind::Channel, b"c", &listener);
    listener.note_unsent(100);
    hub.limit_unsent(3 * cost + 100);
    for _ in 0..3 {
        hub.publish(b"c", b"x", &rings);
        assert!(!listener.is_cut_off());
    }
    assert_eq!(listener.waiting_bytes(), 3 * cost);
    assert_eq!(hub.publish(b"c", b"x", &rings), 1);
    assert!(listener.is_cut_off());
    assert_eq!(listener.waiting_bytes(), 0, "its memory is back at once");
    hub.publish(b"c", b"x", &rings);
    assert_eq!(listener.waiting_bytes(), 0);
}

/// How many of ten messages are dropped under a policy where there is room for four, and what is
/// sent.
fn left(policy: SlowPolicy, hub: &Hub, channels: u64) -> (u64, String) {
    let rings = Rings::default();
    let listener = mailbox(1);
    listener.set_policy(policy);
    hub.subscribe(Kind::Pattern, b"*", &listener);
    hub.limit_unsent(4 * Frame::matched(b"*", b"0", b"0").cost_bytes());
    for n in 0..10 {
        let channel = (n % channels).to_string();
        assert_eq!(
            hub.publish(channel.as_bytes(), n.to_string().as_bytes(), &rings),
            1
        );
        assert!(!listener.is_cut_off());
    }
    hub.unsubscribe(Kind::Pattern, b"*", 1);
    let sent = taken(&listener).replace("pmessage $1 * $1 ", "");
    (listener.dropped(), sent)
}

#[test]
fn messages_are_dropped_as_the_policy_says_and_counted() {
    let hub = Hub::new(1);
    let check = |policy, channels, dropped: u64, rest: &str| {
        let (counted, sent) = left(policy, &hub, channels);
        let told = format!(">2 $7 dropped :{dropped} {rest}");
        assert_eq!(sent, told, "{policy:?}");
        assert_eq!(counted, dropped);
    };
    let newest = ">4 $8 0 $1 6 >4 $8 1 $1 7 >4 $8 0 $1 8 >4 $8 1 $1 9 ";
    check(SlowPolicy::DropOldest, 2, 6, newest);
    let oldest = ">4 $8 0 $1 0 >4 $8 1 $1 1 >4 $8 0 $1 2 >4 $8 1 $1 3 ";
    check(SlowPolicy::DropNewest, 2, 6, oldest);
    // Of 0 to 4 the last of each channel stays, and the same of 3 to 7; 8 and 9 have room then.
    check(SlowPolicy::Conflate, 2, 6, newest);
    // Where all channels differ, half of the room is freed.
    let half = ">4 $8 6 $1 6 >4 $8 7 $1 7 >4 $8 8 $1 8 >4 $8 9 $1 9 ";
    check(SlowPolicy::Conflate, 10, 6, half);
    let losses = hub.losses();
    let dropped = [
        SlowPolicy::DropOldest,
        SlowPolicy::DropNewest,
        SlowPolicy::Conflate,
    ];
    assert_eq!(dropped.map(|policy| losses.dropped(policy)), [6, 6, 12]);
    losses.reset();
    assert_eq!(losses.dropped(SlowPolicy::Conflate), 0);
}

#[test]
fn a_message_that_fits_nowhere_is_dropped_and_the_others_stay() {
    let (hub, rings) = (Hub::new(1), Rings::default());
    let listener = mailbox(1);
    listener.set_policy(SlowPolicy::DropNewest);
    hub.subscribe(Kind::Channel, b"c", &listener);
    hub.limit_unsent(1_000);
    hub.publish(b"c", b"x", &rings);
    hub.publish(b"c", &[b'y'; 1_000], &rings);
    assert_eq!(listener.dropped(), 1);
    assert_eq!(
        taken(&listener),
        ">2 $7 dropped :1 >3 $7 message $1 c $1 x "
    );
    let mut out = Vec::new();
    hub.publish(b"c", &[b'y'; 1_000], &rings);
    listener.take(&mut out, Version::Resp2, usize::MAX);
    assert!(out.is_empty(), "version 2 has no word for it");
}

/// What a publish looks at must not grow with the patterns.
#[test]
fn a_thousand_patterns_are_not_all_tried() {
    let patterns = Patterns::new();
    let listener = mailbox(1);
    for n in 0..1_000 {
        patterns.subscribe(format!("user:{n}:*").as_bytes(), &listener);
        patterns.subscribe(format!("*:event:{n}").as_bytes(), &listener);
        patterns.subscribe(format!("[ab]{n}").as_bytes(), &listener);
    }
    patterns.subscribe(b"user:*", &listener);
    assert_eq!(patterns.len(), 3_001);
    // The brackets have no literal ends and are always tried.
    assert_eq!(patterns.tried(b"user:7:event:7") - 1_000, 3);
    assert_eq!(patterns.matching(b"user:7:event:7").len(), 3);
}

fn text(alphabet: &'static [u8], len: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(proptest::sample::select(alphabet), 0..len)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn the_index_finds_what_trying_all_would_find(
        patterns in proptest::collection::vec(text(b"ab*?[]^-\\", 6), 0..12),
        channel in text(b"ab]-\\", 6),
    ) {
        let index = Patterns::new();
        let listener = mailbox(1);
        patterns.iter().for_each(|pattern| index.subscribe(pattern, &listener));
        let mut found: Vec<Vec<u8>> = index
            .matching(&channel)
            .iter()
            .map(|topic| topic.name().to_vec())
            .collect();
        let mut expected: Vec<Vec<u8>> = patterns
            .iter()
            .filter(|pattern| glob::matches(pattern, &channel))
            .cloned()
            .collect();
        expected.sort_unstable();
        expected.dedup();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
        patterns.iter().for_each(|pattern| index.unsubscribe(pattern, 1));
        prop_assert_eq!((index.len(), index.tried(&channel)), (0, 0));
    }
}
