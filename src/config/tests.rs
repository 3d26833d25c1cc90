//! Both tables at work: CONFIG GET, CONFIG SET, and what is true of every row.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::access::{self, Row, row};
use super::*;

/// What `CONFIG GET *` of redis-server answered.
fn recorded() -> impl Iterator<Item = (&'static str, &'static str)> {
    include_str!("../../tests/data/redis-7.0.15-config.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
}

#[test]
fn tables_are_sorted_and_disjoint() {
    assert!(DIRECTIVES.is_sorted_by(|a, b| a.name < b.name));
    assert!(INERT.is_sorted_by(|a, b| a.name < b.name));
    let inert = INERT
        .iter()
        .flat_map(|inert| [Some(inert.name), inert.alias])
        .flatten();
    let all: Vec<&str> = DIRECTIVES
        .iter()
        .map(|real| real.name)
        .chain(inert)
        .collect();
    let unique: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(unique.len(), all.len());
}

#[test]
fn every_directive_of_redis_is_answered() {
    let expect: BTreeSet<String> = recorded()
        .map(|(name, _)| name)
        .chain(["cluster-announce-human-nodename", "locale-collate"])
        .chain(["set-max-listpack-entries", "set-max-listpack-value"])
        .chain(["journal-backlog-limit", "log-format"])
        .chain(["lease-grace", "max-subscriptions", "max-waiters"])
        .chain(["id-clock-bound", "id-snowflake-epoch"])
        .chain(["id-snowflake-layout", "id-snowflake-worker"])
        .map(str::to_owned)
        .collect();
    let all = Settings::default().matching(&[b"*"]);
    assert_eq!(all.len(), expect.len());
    assert_eq!(
        all.into_iter()
            .map(|(name, _)| name)
            .collect::<BTreeSet<_>>(),
        expect
    );
}

/// What is not a feature switched off answers what Redis answers.
#[test]
fn knobs_and_refused_directives_have_the_value_of_redis() {
    for (name, value) in recorded() {
        if let Some(Row::Inert(Inert {
            class: Class::Tuning | Class::Refused,
            ..
        })) = row(name)
        {
            assert_eq!(
                Settings::default().get(name).as_deref(),
                Some(value),
                "{name}"
            );
        }
    }
}

/// Each default can be read back, and is written the way it is read.
#[test]
fn every_answer_can_be_set_again() {
    let settings = Settings {
        io_threads: Some(2),
        ..Settings::default()
    };
    for (name, value) in settings.matching(&[b"*"]) {
        let mut again = settings.clone();
        assert_ne!(
            again.set(&name, &[&value], Phase::Start),
            Err(SettingError::Unknown)
        );
        assert_eq!(again.get(&name).as_deref(), Some(value.as_str()), "{name}");
    }
}

#[test]
fn values_as_config_get_shows_them() {
    let check = |name: &str, words: &[&str], expect: &str| {
        let mut settings = Settings::default();
        assert_eq!(
            settings.set(name, words, Phase::Start),
            Ok(Outcome::Changed),
            "{name}"
        );
        assert_eq!(
            settings.get(name).as_deref(),
            Some(expect),
            "{name} {words:?}"
        );
        assert_eq!(
            settings.set(name, words, Phase::Start),
            Ok(Outcome::Unchanged),
            "{name}"
        );
    };
    check("port", &["0"], "0");
    check("PORT", &["65535"], "65535");
    check("bind", &["*", "-::*"], "* -::*");
    check("bind", &["* -::*"], "* -::*");
    check("bind", &[""], "");
    check("dir", &["/var/lib/x"], "/var/lib/x");
    check("unixsocket", &["/run/x.sock"], "/run/x.sock");
    check("unixsocketperm", &["0770"], "770");
    check("databases", &["65536"], "65536");
    check("timeout", &["2147483647"], "2147483647");
    check("maxclients", &["4294967295"], "4294967295");
    check("client-query-buffer-limit", &["1GB"], "1073741824");
    check("proto-max-bulk-len", &["1mb"], "1048576");
    check("hz", &["0"], "1");
    check("hz", &["1000"], "500");
    check("io-threads", &["128"], "128");
    check("loglevel", &["Nothing"], "nothing");
    check("log-format", &["json"], "json");
    check("logfile", &["a.log"], "a.log");
    check("appendonly", &["No"], "no");
    check("appendfsync", &["ALWAYS"], "always");
    check("auto-aof-rewrite-percentage", &["0"], "0");
    check("auto-aof-rewrite-min-size", &["1kb"], "1024");
    check("journal-backlog-limit", &["2mb"], "2097152");
    check("requirepass", &["s e"], "s e");
    check("protected-mode", &["NO"], "no");
    check(
        "client-output-buffer-limit",
        &["replica", "0", "0", "0", "pubsub", "1mb", "1k", "3"],
        "normal 268435456 67108864 60 slave 0 0 0 pubsub 1048576 1000 3",
    );
}

#[test]
fn values_out_of_bounds() {
    let check = |name: &str, words: &[&str]| {
        let mut settings = Settings::default();
        let error = settings.set(name, words, Phase::Start);
        assert!(
            matches!(error, Err(SettingError::Value(_))),
            "{name} {words:?} {error:?}"
        );
        assert_eq!(settings, Settings::default(), "{name}");
    };
    check("port", &["65536"]);
    check("databases", &["0"]);
    check("databases", &["65537"]);
    check("maxclients", &["0"]);
    check("maxclients", &["4294967296"]);
    check("timeout", &["2147483648"]);
    check("io-threads", &["0"]);
    check("io-threads", &["129"]);
    check("active-expire-effort", &["11"]);
    check("proto-max-bulk-len", &["1048575"]);
    check("dir", &[""]);
    check("journal-backlog-limit", &["1048575"]);
    check("auto-aof-rewrite-percentage", &["-1"]);
    check("save", &["0 1"]);
    check("save", &["1 -1"]);
    check("save", &["1 2147483648"]);
    check("save", &["9223372036854775808 1"]);
    check("save", &[["1 1"; 65].join(" ").as_str()]);
    check("dir", &["a\0b"]);
    check("unixsocket", &["x".repeat(108).as_str()]);
    check("logfile", &["x".repeat(4096).as_str()]);
    check("requirepass", &["x".repeat(16385).as_str()]);
    check("bind", &["127.0.0.1", "-"]);
    check("bind", &["::1"; 17]);
    check(
        "client-output-buffer-limit",
        &["normal 0 0 0 pubsub 1 1 -1"],
    );
}

/// Checks a refused CONFIG SET against the reply redis-server 7.0.15 gave to the same.
fn refused(pairs: &[(&str, &str)], blamed: &str, reason: &str) {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
        .collect();
    let (argument, error) = Settings::default()
        .set_many(&pairs)
        .expect_err("it is refused");
    let expect =
        format!("ERR CONFIG SET failed (possibly related to argument '{blamed}') - {reason}");
    assert_eq!(error.reply(&argument), expect);
}

#[test]
fn errors_of_single_words() {
    let check = |name: &str, value: &str, reason: &str| refused(&[(name, value)], name, reason);
    check("activerehashing", "maybe", "argument must be 'yes' or 'no'");
    check("hz", "abc", "argument couldn't be parsed into an integer");
    check(
        "timeout",
        "-1",
        "argument must be between 0 and 2147483647 inclusive",
    );
    check(
        "maxclients",
        "0",
        "argument must be between 1 and 4294967295 inclusive",
    );
    check(
        "active-expire-effort",
        "11",
        "argument must be between 1 and 10 inclusive",
    );
    check(
        "client-query-buffer-limit",
        "1q",
        "argument must be a memory value",
    );
    let bytes = "argument must be between 1048576 and 9223372036854775807 inclusive";
    check("client-query-buffer-limit", "10", bytes);
    let bytes = "argument must be between 1048576 and 536870912 inclusive";
    check("proto-max-bulk-len", "1", bytes);
    check("proto-max-bulk-len", "536870913", bytes);
    check(
        "maxmemory-clients",
        "-5",
        "argument must be a memory or percent value",
    );
    check(
        "maxmemory-clients",
        "101%",
        "percentage argument must be less or equal to 100",
    );
    let events = "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
    check("notify-keyspace-events", "xyz", events);
    for name in [
        "databases",
        "unixsocketperm",
        "tcp-backlog",
        "syslog-enabled",
        "logfile",
    ] {
        check(name, "3", "can't set immutable config");
    }
    for name in ["dir", "dbfilename"] {
        check(name, "x", "can't set protected config");
    }
}

#[test]
fn errors_of_several_words() {
    let check = |name: &str, value: &str, reason: &str| refused(&[(name, value)], name, reason);
    check("save", "x", "Invalid save parameters");
    check("save", "1 2 3", "Invalid save parameters");
    check("save", "0 1", "Invalid save parameters");
    check("save", "1 x", "Invalid save parameters");
    let fsync = "argument(s) must be one of the following: everysec, always, no";
    check("appendfsync", "sometimes", fsync);
    check("appendonly", "1", "argument must be 'yes' or 'no'");
    check("oom-score-adj-values", "1 2", "wrong number of arguments");
    let score = "Invalid oom-score-adj-values, elements must be between -2000 and 2000.";
    check("oom-score-adj-values", "1 2 5000", score);
    let both = "shutdown options SAVE and NOSAVE can't be used simultaneously";
    check("shutdown-on-sigterm", "save nosave", both);
    let flags = "argument(s) must be one of the following: default, save, nosave, now, force";
    check("shutdown-on-sigterm", "foo", flags);
    let range = "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]";
    check("latency-tracking-info-percentiles", "101", range);
    let percentile = "Invalid latency-tracking-info-percentiles parameters";
    check("latency-tracking-info-percentiles", "50 x", percentile);
    check("latency-tracking-info-percentiles", "nan", percentile);
    let output = "client-output-buffer-limit";
    let count = "Wrong number of arguments in buffer limit configuration.";
    check(output, "normal 1 2", count);
    check(output, "normal  1 2 3", count);
    check(
        output,
        "foo 1 2 3",
        "Invalid client class specified in buffer limit configuration.",
    );
    let limit = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    check(output, "normal 1 2 x", limit);
}

#[test]
fn errors_of_several_pairs() {
    refused(&[("hz", "10"), ("HZ", "10")], "HZ", "duplicate parameter");
    refused(
        &[("databases", "3"), ("nope", "1")],
        "databases",
        "can't set immutable config",
    );
    let integer = "argument couldn't be parsed into an integer";
    refused(&[("timeout", "5"), ("HZ", "foo")], "hz", integer);
    refused(&[("LUA-TIME-LIMIT", "x")], "lua-time-limit", integer);
}

#[test]
fn unknown_names_in_the_words_of_redis() {
    for name in ["nope", "rename-command", "user", "include", "loadmodule"] {
        let pairs = [(&b"hz"[..], &b"20"[..]), (name.as_bytes(), b"1")];
        let error = Settings::default()
            .set_many(&pairs)
            .expect_err("it is refused");
        let expect = format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'");
        assert_eq!(error.1.reply(&error.0), expect);
    }
}

#[test]
fn config_set_is_all_or_nothing() {
    let before = Settings::default();
    let pair = |name: &'static str, value: &'static str| (name.as_bytes(), value.as_bytes());
    assert!(
        before
            .set_many(&[pair("hz", "20"), pair("timeout", "x")])
            .is_err()
    );
    let (after, warnings) = before
        .set_many(&[
            pair("hz", "20"),
            pair("timeout", "7"),
            pair("activerehashing", "no"),
        ])
        .expect("each is fine");
    assert_eq!((after.hz, after.timeout_s), (20, 7));
    assert_eq!(after.get("activerehashing").as_deref(), Some("no"));
    assert_eq!(warnings.len(), 1);
    assert_eq!(before, Settings::default());
    assert!(before.set_many(&[(b"requirepass", b"\xff")]).is_err());
}

/// The two sizes that depend on each other move together or not at all.
#[test]
fn config_set_checks_the_whole() {
    let large = (&b"proto-max-bulk-len"[..], &b"512mb"[..]);
    let buffer = (&b"client-query-buffer-limit"[..], &b"513mb"[..]);
    let (blamed, _) = Settings::default().set_many(&[large]).expect_err("no room");
    assert_eq!(blamed, "client-query-buffer-limit");
    assert!(Settings::default().set_many(&[large, buffer]).is_ok());
}

#[test]
fn features_that_are_absent_stay_off() {
    let check = |name: &str, off: &str, on: &str| {
        let mut settings = Settings::default();
        assert_eq!(
            settings.set(name, &[off], Phase::Live),
            Ok(Outcome::Unchanged),
            "{name}"
        );
        let live = settings.set(name, &[on], Phase::Live);
        assert!(
            matches!(live, Err(SettingError::Unsupported(_))),
            "{name} {live:?}"
        );
        let start = settings.set(name, &[on], Phase::Start);
        assert!(matches!(start, Ok(Outcome::Ignored(_))), "{name} {start:?}");
        assert_eq!(settings.get(name).as_deref(), Some(off), "{name}");
    };
    check("notify-keyspace-events", "", "KEA");
    check("slowlog-log-slower-than", "-1", "10000");
}

/// As in Redis: lines of a file add up, CONFIG SET says all of it.
#[test]
fn rules_of_save_add_up_at_start() {
    let mut settings = Settings::default();
    let mut check = |words: &[&str], phase, expect: &str| {
        settings.set("save", words, phase).expect("a rule");
        let shown = settings.get("save");
        assert_eq!(shown.as_deref(), Some(expect), "{words:?}");
    };
    check(&["900", "1"], Phase::Start, "900 1");
    check(&["300 10 60 0"], Phase::Start, "900 1 300 10 60 0");
    check(&[""], Phase::Start, "");
    check(&["60", "10000"], Phase::Start, "60 10000");
    check(&["3600 1"], Phase::Live, "3600 1");
    check(&[""], Phase::Live, "");
}

#[test]
fn what_must_not_be_ignored_is_refused() {
    let check = |name: &str, words: &[&str]| {
        let error = Settings::default().set(name, words, Phase::Start);
        assert!(
            matches!(error, Err(SettingError::Unsupported(_))),
            "{name} {error:?}"
        );
    };
    check("rename-command", &["FLUSHALL", ""]);
    check("user", &["default", "off"]);
    check("aclfile", &["users.acl"]);
    check("loadmodule", &["x.so"]);
    check("replicaof", &["10.0.0.1", "6379"]);
    check("slaveof", &["10.0.0.1 6379"]);
    check("cluster-enabled", &["yes"]);
    check("masterauth", &["secret"]);
    check("tls-port", &["6380"]);
    check("tls-key-file", &["x.pem"]);
    check("sentinel", &["monitor"]);
    let mut settings = Settings::default();
    assert_eq!(
        settings.set("replicaof", &["no", "one"], Phase::Start),
        Ok(Outcome::Unchanged)
    );
    assert_eq!(
        settings.set("tls-port", &["0"], Phase::Start),
        Ok(Outcome::Unchanged)
    );
}

#[test]
fn knobs_are_kept_and_answered() {
    let mut settings = Settings::default();
    for (name, word, shown) in [
        ("hash-max-ziplist-entries", "7", "7"),
        ("hash-max-listpack-value", "1kb", "1024"),
        ("latency-tracking-info-percentiles", "50 99.90", "50 99.9"),
    ] {
        let outcome = settings.set(name, &[word], Phase::Live);
        assert!(matches!(outcome, Ok(Outcome::Ignored(_))), "{name}");
        assert_eq!(settings.get(name).as_deref(), Some(shown), "{name}");
    }
    assert_eq!(
        settings.get("hash-max-listpack-entries").as_deref(),
        Some("7")
    );
}

#[test]
fn patterns_of_config_get() {
    let check = |globs: &[&str], expect: &[&str]| {
        let globs: Vec<&[u8]> = globs.iter().map(|glob| glob.as_bytes()).collect();
        let got = Settings::default().matching(&globs);
        let got: Vec<&str> = got.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(got, expect, "{globs:?}");
    };
    check(&["port"], &["port"]);
    check(&["PORT"], &["PORT"]);
    check(&["P?RT"], &["port"]);
    check(&["port", "PORT", "por*"], &["port"]);
    check(&["PORT", "por*"], &["PORT"]);
    check(&["[p]ort", "por\\t"], &["port"]);
    check(&["nope", "", "key-load-delay"], &[]);
    check(&["hash-max-ziplist-value"], &["hash-max-ziplist-value"]);
    check(&["dir", "hz"], &["dir", "hz"]);
    check(
        &["max*"],
        &[
            "max-subscriptions",
            "max-waiters",
            "maxclients",
            "maxmemory",
            "maxmemory-clients",
            "maxmemory-eviction-tenacity",
            "maxmemory-policy",
            "maxmemory-samples",
        ],
    );
}

#[test]
fn conflicts() {
    let check = |changes: &[(&str, &str)], expect: Option<&str>| {
        let mut settings = Settings::default();
        for (name, word) in changes {
            settings
                .set(name, &[word], Phase::Start)
                .expect("each is fine by itself");
        }
        let got = match settings.validate() {
            Err(SettingError::Conflict { directive, .. }) => Some(directive),
            _ => None,
        };
        assert_eq!(got, expect, "{changes:?}");
    };
    check(&[], None);
    check(&[("proto-max-bulk-len", "127mb")], None);
    check(
        &[("proto-max-bulk-len", "133169153")],
        Some("client-query-buffer-limit"),
    );
    check(
        &[("proto-max-bulk-len", "512mb")],
        Some("client-query-buffer-limit"),
    );
    check(
        &[(
            "bind",
            "127.0.0.1 -127.5.5.5 ::1 localhost ::ffff:127.0.0.1",
        )],
        None,
    );
    for exposed in [
        "*",
        "::*",
        "-0.0.0.0",
        "10.1.2.3",
        "example.org",
        "127.0.0.1 -::",
    ] {
        check(&[("bind", exposed)], Some("protected-mode"));
        check(&[("bind", exposed), ("requirepass", "x")], None);
        check(&[("bind", exposed), ("protected-mode", "no")], None);
    }
    check(&[("bind", "")], Some("bind"));
    check(&[("bind", ""), ("unixsocket", "s")], None);
    check(&[("bind", "*"), ("port", "0"), ("unixsocket", "s")], None);
    check(&[("port", "0")], None);
}

#[test]
fn passwords_are_not_shown() {
    let mut settings = Settings::default();
    settings
        .set("requirepass", &["hunter2"], Phase::Start)
        .expect("a password");
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert_eq!(settings.get("requirepass").as_deref(), Some("hunter2"));
    let secret = Secret::new("hunter2");
    assert!(secret.matches(b"hunter2"));
    assert!(!secret.matches(b"hunter3"));
    assert!(!secret.matches(b"hunter"));
    assert!(!secret.matches(b""));
}

#[test]
fn the_reference_names_everything() {
    let page = reference_markdown();
    for (name, _) in Settings::default().matching(&[b"*"]) {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}

fn any_value() -> impl Strategy<Value = String> {
    let number = any::<i64>().prop_map(|number| number.to_string());
    prop_oneof![
        "[ -~]{0,12}",
        "[0-9]{1,22}(k|mb|GB|%)?",
        "(yes|no|save|normal|-|\"|')",
        number
    ]
}

proptest! {
    /// Whatever a file says, the answer is settings that fit together or one line.
    #[test]
    fn any_file_is_read_or_refused(
        lines in proptest::collection::vec((0..300_usize, any_value(), any_value()), 0..6),
    ) {
        let names = access::names();
        let mut text = String::new();
        for (index, first, second) in &lines {
            let name = names.get(*index).copied().unwrap_or("nope");
            text.push_str(&format!("{name} {first} {second}\n"));
        }
        match load(&["f".into()], &[], &|_| Ok(text.clone())) {
            Ok(Startup::Run { settings, .. }) => prop_assert_eq!(settings.validate(), Ok(())),
            Ok(other) => prop_assert!(false, "{:?}", other),
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
        }
    }

    /// What CONFIG SET takes, CONFIG GET answers in a form that CONFIG SET takes again.
    #[test]
    fn what_was_set_can_be_set_again(index in 0..220_usize, value in any_value()) {
        let names = access::names();
        let name = names[index % names.len()];
        if let Ok((settings, _)) =
            Settings::default().set_many(&[(name.as_bytes(), value.as_bytes())])
        {
            let shown = settings.get(name).unwrap_or_default();
            let (again, _) = settings
                .set_many(&[(name.as_bytes(), shown.as_bytes())])
                .map_err(|(_, error)| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(again.get(name), settings.get(name));
        }
    }
}
