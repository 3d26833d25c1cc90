//! Calls that wait for the disk, and what is told while it does well or badly.

use super::*;
use crate::engine::Effect;

/// A server with so many connections.
fn server(connections: usize) -> Inproc {
    let mut server = Inproc::new(InprocOptions::default());
    (0..connections).for_each(|_| {
        server.connect();
    });
    server
}

/// What connection `number` is answered to some lines, now.
fn ask(server: &mut Inproc, number: usize, lines: &str) -> String {
    server.send(number, lines.replace('\n', "\r\n").as_bytes());
    answers(server, number)
}

/// What connection `number` was answered since it was last asked.
fn answers(server: &mut Inproc, number: usize) -> String {
    let bytes = server.take_output(number);
    String::from_utf8_lossy(&bytes).replace("\r\n", "\n")
}

#[test]
fn one_snapshot_is_written_at_a_time() {
    let mut server = server(2);
    let started = "+Background saving started\n";
    assert_eq!(ask(&mut server, 0, "BGSAVE\n"), started);
    assert_eq!(ask(&mut server, 0, "BGSAVE SCHEDULE\n"), started);
    server.set_disk(DiskMood::Slow);
    let started = "+Background append only file rewriting started\n";
    assert_eq!(ask(&mut server, 0, "BGREWRITEAOF\n"), started);
    let refused = "-ERR Background save already in progress\n";
    for command in ["BGSAVE\n", "BGSAVE SCHEDULE\n", "SAVE\n", "SHUTDOWN SAVE\n"] {
        assert_eq!(ask(&mut server, 1, command), refused);
    }
    let refused = "-ERR Background append only file rewriting already in progress\n";
    assert_eq!(ask(&mut server, 1, "BGREWRITEAOF\n"), refused);
    server.set_disk(DiskMood::Fast);
    assert_eq!(ask(&mut server, 1, "SAVE\n"), "+OK\n");
}

#[test]
fn save_waits_and_nobody_else_does() {
    let mut server = server(2);
    server.set_disk(DiskMood::Slow);
    assert_eq!(ask(&mut server, 0, "SET k 1\nSAVE\nGET k\n"), "+OK\n");
    assert_eq!(ask(&mut server, 0, "GET k\n"), "", "it is not its turn");
    assert_eq!(ask(&mut server, 1, "SET k 2\n"), "+OK\n");
    server.advance_ms(60_000);
    assert_eq!(answers(&mut server, 0), "");
    server.set_disk(DiskMood::Fast);
    assert_eq!(answers(&mut server, 0), "+OK\n$1\n2\n$1\n2\n");
    assert_eq!(
        ask(&mut server, 0, "SAVE\nSAVE\nPING\n"),
        "+OK\n+OK\n+PONG\n"
    );
}

#[test]
fn a_snapshot_that_fails_is_told() {
    let mut server = server(1);
    let failed = "-ERR the snapshot could not be written; the log says why\n";
    server.set_disk(DiskMood::Slow);
    assert_eq!(ask(&mut server, 0, "SAVE\n"), "");
    server.set_disk(DiskMood::Broken);
    assert_eq!(answers(&mut server, 0), failed);
    assert_eq!(ask(&mut server, 0, "SAVE\n"), failed);
    assert_eq!(ask(&mut server, 0, "BGSAVE\n"), failed);
    let rewrite = ask(&mut server, 0, "BGREWRITEAOF\n");
    assert!(
        rewrite.starts_with("-ERR Can't execute an AOF background"),
        "{rewrite}"
    );
    let info = ask(&mut server, 0, "INFO persistence\n");
    assert!(info.contains("\nrdb_last_bgsave_status:err\n"), "{info}");
    assert!(info.contains("\naof_last_write_status:err\n"), "{info}");
}

#[test]
fn lastsave_is_when_the_last_snapshot_ended() {
    let mut server = server(1);
    let started_s = START_WALL_MS / 1_000;
    assert_eq!(ask(&mut server, 0, "LASTSAVE\n"), format!(":{started_s}\n"));
    server.advance_ms(5_000);
    server.set_disk(DiskMood::Slow);
    assert_eq!(ask(&mut server, 0, "SAVE\n"), "");
    server.advance_ms(2_000);
    server.set_disk(DiskMood::Fast);
    assert_eq!(answers(&mut server, 0), "+OK\n");
    server.advance_ms(1_000);
    assert_eq!(
        ask(&mut server, 0, "LASTSAVE\n"),
        format!(":{}\n", started_s + 7)
    );
}

#[test]
fn waitaof_waits_for_the_disk_or_its_time() {
    let (synced, not_synced) = ("*2\n:1\n:0\n", "*2\n:0\n:0\n");
    let mut server = server(2);
    assert_eq!(
        ask(&mut server, 0, "SET k 1\nWAITAOF 1 0 0\n"),
        format!("+OK\n{synced}")
    );
    server.set_disk(DiskMood::Slow);
    assert_eq!(
        ask(&mut server, 0, "WAITAOF 1 0 0\n"),
        synced,
        "it was in time"
    );
    assert_eq!(ask(&mut server, 0, "SET k 2\n"), "+OK\n");
    assert_eq!(ask(&mut server, 0, "WAITAOF 0 0 0\n"), not_synced);
    assert_eq!(ask(&mut server, 0, "WAITAOF 1 0 50\nPING\n"), "");
    assert_eq!(
        ask(&mut server, 1, "WAITAOF 1 0 50\n"),
        synced,
        "it changed nothing"
    );
    server.advance_ms(49);
    assert_eq!(answers(&mut server, 0), "");
    server.advance_ms(1);
    assert_eq!(answers(&mut server, 0), format!("{not_synced}+PONG\n"));
    assert_eq!(ask(&mut server, 0, "WAITAOF 1 0 0\n"), "");
    server.advance_ms(1_000_000);
    assert_eq!(answers(&mut server, 0), "", "0 is no limit");
    server.set_disk(DiskMood::Fast);
    assert_eq!(answers(&mut server, 0), synced);
    assert_eq!(ask(&mut server, 0, "WAITAOF 1 2 50\n"), "");
    server.advance_ms(50);
    assert_eq!(answers(&mut server, 0), synced, "there are no replicas");
}

#[test]
fn nothing_is_on_disk_before_the_first_snapshot_of_a_journal_that_was_switched_on() {
    let mut server = server(2);
    server.set_disk(DiskMood::Gap);
    assert_eq!(
        ask(&mut server, 0, "SET k 1\nWAITAOF 0 0 0\n"),
        "+OK\n*2\n:0\n:0\n"
    );
    assert_eq!(ask(&mut server, 0, "WAITAOF 1 0 50\n"), "");
    assert_eq!(
        ask(&mut server, 1, "WAITAOF 1 0 0\n"),
        "",
        "whoever changed it"
    );
    server.advance_ms(50);
    assert_eq!(answers(&mut server, 0), "*2\n:0\n:0\n");
    server.set_disk(DiskMood::Slow);
    assert_eq!(answers(&mut server, 1), "*2\n:1\n:0\n");
}

#[test]
fn waitaof_without_a_journal() {
    let mut server = server(2);
    let refused = "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\n";
    server.set_disk(DiskMood::Slow);
    assert_eq!(ask(&mut server, 0, "SET k 1\nWAITAOF 1 0 0\n"), "+OK\n");
    assert_eq!(ask(&mut server, 1, "CONFIG SET appendonly no\n"), "+OK\n");
    server.advance_ms(1);
    assert_eq!(answers(&mut server, 0), refused);
    assert_eq!(ask(&mut server, 0, "WAITAOF 1 0 0\n"), refused);
    assert_eq!(ask(&mut server, 0, "WAITAOF 0 0 0\n"), "*2\n:0\n:0\n");
}

#[test]
fn nothing_waits_inside_exec() {
    let mut server = server(1);
    server.set_disk(DiskMood::Slow);
    let queued = "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n";
    let lines = "MULTI\nSET k 1\nWAITAOF 1 1 0\nBGSAVE\nEXEC\n";
    let done = ask(&mut server, 0, lines);
    let expected = "*3\n+OK\n*2\n:1\n:0\n+Background saving scheduled\n";
    assert_eq!(
        done,
        format!("{queued}{expected}"),
        "the frame is not made yet"
    );
    assert_eq!(
        ask(&mut server, 0, "SET k 1\nMULTI\nWAITAOF 1 1 0\n"),
        "+OK\n+OK\n+QUEUED\n"
    );
    assert_eq!(ask(&mut server, 0, "EXEC\n"), "*1\n*2\n:0\n:0\n");
}

#[test]
fn shutdown_save_stops_when_the_snapshot_is_written() {
    let mut fine = server(1);
    fine.set_disk(DiskMood::Slow);
    assert_eq!(ask(&mut fine, 0, "SHUTDOWN SAVE\nPING\n"), "");
    assert!(!fine.is_stopping());
    fine.set_disk(DiskMood::Fast);
    assert!(fine.is_stopping() && fine.is_closed(0));
    assert_eq!(answers(&mut fine, 0), "");

    let mut broken = server(1);
    let failed = "-ERR Errors trying to SHUTDOWN. Check logs.\n";
    broken.set_disk(DiskMood::Slow);
    assert_eq!(ask(&mut broken, 0, "SHUTDOWN SAVE\nPING\n"), "");
    broken.set_disk(DiskMood::Broken);
    assert_eq!(answers(&mut broken, 0), format!("{failed}+PONG\n"));
    assert_eq!(ask(&mut broken, 0, "CONFIG SET save \"60 1\"\n"), "+OK\n");
    assert_eq!(ask(&mut broken, 0, "SHUTDOWN\n"), failed, "there is a rule");
    assert!(!broken.is_stopping());
    assert_eq!(ask(&mut broken, 0, "SHUTDOWN FORCE\n"), "");
    assert!(broken.is_stopping());

    let mut told = server(1);
    told.set_disk(DiskMood::Slow);
    assert_eq!(
        ask(&mut told, 0, "CONFIG SET save \"60 1\"\nSHUTDOWN NOSAVE\n"),
        "+OK\n"
    );
    assert!(told.is_stopping());
}

#[test]
fn a_client_that_leaves_while_it_waits_leaves_nothing() {
    let mut server = server(2);
    server.set_disk(DiskMood::Slow);
    assert_eq!(ask(&mut server, 0, "SAVE\n"), "");
    server.close(0);
    server.set_disk(DiskMood::Fast);
    assert_eq!(ask(&mut server, 1, "SAVE\n"), "+OK\n");
    server.close(1);
    assert_eq!(server.leftovers(), (0, 0));
}

#[test]
fn while_data_is_read_most_commands_are_refused() {
    let mut server = server(1);
    server.set_disk(DiskMood::Loading);
    let loading = "-LOADING Redis is loading the dataset in memory\n";
    for command in [
        "PING",
        "GET k",
        "SET k 1",
        "DBSIZE",
        "BGSAVE",
        "WAITAOF 0 0 0",
    ] {
        assert_eq!(
            ask(&mut server, 0, &format!("{command}\n")),
            loading,
            "{command}"
        );
    }
    let info = ask(&mut server, 0, "INFO persistence\n");
    assert!(info.contains("\nloading:1\n"), "{info}");
    assert!(info.contains("\nloading_loaded_perc:0.00\n"), "{info}");
    assert_eq!(
        ask(&mut server, 0, "MULTI\nGET k\n"),
        format!("+OK\n{loading}")
    );
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\n";
    assert_eq!(ask(&mut server, 0, "EXEC\n"), aborted);
    server.set_disk(DiskMood::Fast);
    assert_eq!(ask(&mut server, 0, "PING\n"), "+PONG\n");
}

#[test]
fn changes_since_the_last_snapshot_are_those_after_it_began() {
    let unsaved = |server: &mut Inproc| {
        let info = ask(server, 0, "INFO persistence\n");
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"));
        line.map(str::to_owned)
    };
    let mut server = server(1);
    assert_eq!(ask(&mut server, 0, "SET k 1\nSET k 2\n"), "+OK\n+OK\n");
    assert_eq!(unsaved(&mut server).as_deref(), Some("2"));
    server.set_disk(DiskMood::Slow);
    assert_eq!(
        ask(&mut server, 0, "BGSAVE\n"),
        "+Background saving started\n"
    );
    assert_eq!(ask(&mut server, 0, "SET k 3\n"), "+OK\n");
    assert_eq!(unsaved(&mut server).as_deref(), Some("3"));
    server.set_disk(DiskMood::Fast);
    assert_eq!(ask(&mut server, 0, "CONFIG RESETSTAT\n"), "+OK\n");
    assert_eq!(
        unsaved(&mut server).as_deref(),
        Some("1"),
        "RESETSTAT resets none of it"
    );
    server.set_disk(DiskMood::Slow);
    assert_eq!(
        ask(&mut server, 0, "BGSAVE\n"),
        "+Background saving started\n"
    );
    server.set_disk(DiskMood::Broken);
    assert_eq!(unsaved(&mut server).as_deref(), Some("1"), "it failed");
}

/// Each is short; what it would leave in one frame is not.
#[test]
fn a_transaction_that_would_write_too_much_is_refused() {
    const COPIES: usize = 33;
    let mut server = server(1);
    let value = "SETRANGE value 67108863 v\n";
    assert_eq!(ask(&mut server, 0, value), ":67108864\n");
    ask(&mut server, 0, "MULTI\n");
    for copy in 0..COPIES {
        ask(&mut server, 0, &format!("COPY value copy{copy}\n"));
    }
    let refused = "-EXECABORT Transaction discarded because of: this would write more than \
                   2147483648 bytes to the journal in one piece\n";
    assert_eq!(ask(&mut server, 0, "EXEC\n"), refused);
    assert_eq!(ask(&mut server, 0, "DBSIZE\n"), ":1\n");
    assert_eq!(ask(&mut server, 0, "COPY value copy\n"), ":1\n");
}

/// A server with two connections where a lease, a session and what goes with it are over, and no
/// timer has seen to that yet; and the name of the session.
fn overdue() -> (Inproc, String) {
    let mut server = server(2);
    let opened = ask(&mut server, 0, "SESSION.OPEN TTL 100 GRACE 0\n");
    let sid = opened.lines().nth(1).expect("a session").to_owned();
    let tied = ask(&mut server, 0, &format!("SET tied v SESSION {sid}\n"));
    assert_eq!(tied, "+OK\n");
    let lock = "LOCK.ACQUIRE lock o PX 100\n";
    assert!(ask(&mut server, 0, lock).starts_with("*4\n:1\n"));
    server.clock.advance_ms(99);
    let there = ask(&mut server, 1, "EXISTS tied lock\nTYPE lock\n");
    assert_eq!(there, ":2\n+lock\n");
    server.clock.advance_ms(1);
    (server, sid)
}

/// Goes red when whoever looks does not first have the coordinator end what is over.
#[test]
fn nobody_sees_what_time_has_ended() {
    for (question, gone) in [
        ("GET tied", "$-1\n"),
        ("STRLEN tied", ":0\n"),
        ("EXISTS tied", ":0\n"),
        ("SET tied w XX", "$-1\n"),
        ("MGET tied other", "*2\n$-1\n$-1\n"),
        ("TTL lock", ":-2\n"),
        ("TYPE lock", "+none\n"),
        ("EXISTS lock", ":0\n"),
        ("OBJECT ENCODING lock", "$-1\n"),
        ("GET lock", "$-1\n"),
        ("SET lock v NX", "+OK\n"),
        ("RENAME lock other", "-ERR no such key\n"),
        ("KEYS *", "*0\n"),
        ("SCAN 0 COUNT 100", "*2\n$1\n0\n*0\n"),
        ("RANDOMKEY", "$-1\n"),
        ("SWAPDB 0 1", "+OK\n"),
        ("SEM.ACQUIRE tied o LIMIT 1 PX 9", "*3\n:1\n:2\n:0\n"),
    ] {
        let (mut server, _) = overdue();
        let told = ask(&mut server, 1, &format!("{question}\n"));
        assert_eq!(told, gone, "{question}");
        server.check_replay();
    }
    let (mut server, sid) = overdue();
    let told = ask(&mut server, 1, &format!("SET k v SESSION {sid}\n"));
    assert!(told.starts_with("-NOSESSION"), "{told}");
}

/// Goes red when what is over ends between the changes that one command makes.
#[test]
fn what_time_has_ended_tears_no_command_apart() {
    let (mut server, _) = overdue();
    server.replay();
    ask(&mut server, 1, "MSET a 1 tied 2 b 3\n");
    let frames = server.replay();
    let puts = |frame: &Frame| {
        let effects = frame.effects().into_iter();
        let puts = effects.filter(|effect| matches!(effect, Effect::PutInt { .. }));
        puts.count()
    };
    assert_eq!(frames.iter().map(puts).collect::<Vec<_>>(), [0, 3]);
    server.check_replay();
}

/// Goes red when `EXEC` opens what it watched without asking whether it is over.
#[test]
fn what_time_has_ended_has_changed_for_who_watches() {
    for key in ["tied", "lock"] {
        let mut server = server(2);
        let opened = ask(&mut server, 0, "SESSION.OPEN TTL 100 GRACE 0\n");
        let sid = opened.lines().nth(1).expect("a session").to_owned();
        let made = format!("SET tied v SESSION {sid}\nLOCK.ACQUIRE lock o PX 100\n");
        ask(&mut server, 0, &made);
        ask(&mut server, 1, &format!("WATCH {key}\nMULTI\nPING\n"));
        server.clock.advance_ms(100);
        assert_eq!(ask(&mut server, 1, "EXEC\n"), "*-1\n", "{key}");
        server.check_replay();
    }
}

/// Goes red when the answer is looked up when it is written, and there is nobody by then.
#[test]
fn who_was_seen_to_hold_a_lock_is_told_of_though_it_was_for_a_moment() {
    let mut server = server(2);
    let waits = "LOCK.OBSERVE lock AFTER 0 WAIT 1000\n";
    assert_eq!(ask(&mut server, 1, waits), "");
    ask(
        &mut server,
        0,
        "LOCK.ACQUIRE lock o PX 100\nLOCK.RELEASE lock o\n",
    );
    assert_eq!(
        answers(&mut server, 1),
        "*4\n:1\n$1\no\n$-1\n:0\n",
        "decision 23: the first hold that it sees"
    );
}

/// Goes red when an error names every owner of a circle.
#[test]
fn the_error_of_a_long_circle_is_short() {
    const OWNERS: usize = 40;
    let mut server = server(OWNERS);
    let owner = |number: usize| format!("{number:0250}");
    for number in 0..OWNERS {
        let line = format!("LOCK.ACQUIRE k{number} {} PX 9000\n", owner(number));
        assert!(ask(&mut server, number, &line).starts_with("*4\n:1\n"));
    }
    let wait = |number: usize| {
        let next = (number + 1) % OWNERS;
        format!("LOCK.ACQUIRE k{next} {} PX 9000 WAIT 9000\n", owner(number))
    };
    for number in 0..OWNERS - 1 {
        assert_eq!(ask(&mut server, number, &wait(number)), "");
    }
    let refused = ask(&mut server, OWNERS - 1, &wait(OWNERS - 1));
    let shown = [OWNERS - 1, 0, 1, 2, 3, 4, 5, 6].map(owner).join(" -> ");
    let first = owner(OWNERS - 1);
    let cycle = format!("{shown} -> ... -> {first}, {OWNERS} owners");
    let expected = format!("-DEADLOCK waiting would close the cycle {cycle}\n");
    assert_eq!(refused, expected);
}
