//! Files that are not what was written: a torn end is cut and told of, damage is refused.

use std::path::{Path, PathBuf};

use libtest_mimic::Failed;

use super::owner::expect_refusal;
use super::{Data, kill, stop};
use crate::Case;
use crate::client::{Client, check};
use crate::process::Launch;

pub(super) const CASES: &[Case] = &[
    ("garbage_behind_the_log_is_cut", garbage),
    ("zeros_behind_the_log_are_cut", zeros),
    ("a_log_cut_in_its_last_frame", cut_short),
    ("damage_after_a_stop_is_refused", damage),
    ("a_log_that_ends_before_its_close_is_refused", shortened),
    ("a_damaged_closing_record_is_refused", damaged_close),
    ("a_segment_that_is_missing_is_refused", missing),
];

/// Keys written before the end.
const KEYS: usize = 200;
/// Length of the record that closes a log.
const CLOSING_BYTES: usize = 58;

/// A directory with keys 0 to `KEYS`, each with its number for a value.
fn filled(is_stopped: bool) -> Result<Data, Failed> {
    let data = Data::new("everysec", 2)?;
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    for key in 0..KEYS {
        client.expect(&format!("SET key{key} {key}"), "+OK")?;
    }
    if is_stopped {
        stop(server)?;
    } else {
        kill(server)?;
    }
    Ok(data)
}

/// Fails unless the first `keys` keys are there and no others.
fn expect_keys(port: u16, keys: usize) -> Result<(), Failed> {
    let mut client = Client::connect(port)?;
    client.expect("DBSIZE", &format!(":{keys}"))?;
    for key in 0..keys {
        let text = key.to_string();
        client.expect(&format!("GET key{key}"), &format!("${} {text}", text.len()))?;
    }
    Ok(())
}

fn last_segment(data: &Data) -> Result<PathBuf, Failed> {
    let last = data.files("log-")?.pop();
    last.ok_or_else(|| "no log".into())
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Puts `bytes` behind the log, and fails unless a start cuts just them, and says so.
fn expect_cut(bytes: &[u8]) -> Result<(), Failed> {
    let data = filled(false)?;
    let segment = last_segment(&data)?;
    let mut log = std::fs::read(&segment)?;
    let end = log.len();
    log.extend_from_slice(bytes);
    std::fs::write(&segment, &log)?;
    let server = data.start()?;
    let line = server.log_line("cut off")?;
    let bytes = format!("bytes={}", bytes.len());
    let offset = format!("offset={end}");
    for word in [&bytes, &offset, &name(&segment)] {
        check(line.contains(word.as_str()), || {
            format!("no {word} in {line}")
        })?;
    }
    expect_keys(server.port(), KEYS)?;
    kill(server)?;
    // It is told once: the next start finds nothing to cut.
    let server = data.start()?;
    expect_keys(server.port(), KEYS)?;
    let log = server.log().join("\n");
    check(!log.contains("cut off"), || log)
}

fn garbage() -> Result<(), Failed> {
    let garbage: Vec<u8> = (0..5_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 | 1)
        .collect();
    for len in [1, 17, 18, 58, 5_000] {
        expect_cut(&garbage[..len])?;
    }
    Ok(())
}

fn zeros() -> Result<(), Failed> {
    let data = filled(false)?;
    let segment = last_segment(&data)?;
    let mut log = std::fs::read(&segment)?;
    log.resize(log.len() + 100_000, 0);
    std::fs::write(&segment, &log)?;
    for _ in 0..2 {
        let server = data.start()?;
        expect_keys(server.port(), KEYS)?;
        kill(server)?;
    }
    Ok(())
}

/// A power cut may have kept only part of what was not synced: the frames before it are served,
/// and what is written next goes on behind them.
fn cut_short() -> Result<(), Failed> {
    for short in [1, 10, 30] {
        let data = filled(false)?;
        let segment = last_segment(&data)?;
        let log = std::fs::read(&segment)?;
        let end = last_frame_end(&log);
        std::fs::write(&segment, &log[..end - short])?;
        let server = data.start()?;
        let keys = KEYS - 1;
        expect_keys(server.port(), keys)?;
        Client::connect(server.port())?.expect(&format!("SET key{keys} {keys}"), "+OK")?;
        kill(server)?;
        let server = data.start()?;
        expect_keys(server.port(), KEYS)?;
    }
    Ok(())
}

/// Where the last frame that holds effects ends: marks may stand behind it.
fn last_frame_end(log: &[u8]) -> usize {
    let text = format!("{}", KEYS - 1);
    let mut places = log.windows(text.len()).enumerate();
    let found = places.rfind(|(_, bytes)| *bytes == text.as_bytes());
    found.map_or(log.len(), |(place, _)| place + text.len())
}

fn damage() -> Result<(), Failed> {
    let data = filled(true)?;
    let segment = last_segment(&data)?;
    let sound = std::fs::read(&segment)?;
    let places = (1..16).map(|part| sound.len() * part / 16);
    let places = places.filter(|place| *place < sound.len() - CLOSING_BYTES);
    for place in places.chain([0, 20, 64, 70, sound.len() - CLOSING_BYTES - 1]) {
        let mut log = sound.clone();
        log[place] ^= 0x10;
        std::fs::write(&segment, &log)?;
        let names = data.files("")?;
        let file = name(&segment);
        let words = [file.as_str(), "damaged at byte ", "check --dir"];
        let line = expect_refusal(data.launch(&[])?, 65, &words)
            .map_err(|error| format!("byte {place}: {}", error.message().unwrap_or("")))?;
        let told = line
            .split("damaged at byte ")
            .nth(1)
            .and_then(|rest| rest.split(':').next());
        let told: usize = told.unwrap_or_default().parse()?;
        // The frame that holds it begins there; frames are short.
        check(told <= place && place < told + 200, || {
            format!("byte {place} was damaged: {line}")
        })?;
        let is_untouched = std::fs::read(&segment)? == log && data.files("")? == names;
        check(is_untouched, || format!("byte {place}: files were changed"))?;
    }
    std::fs::write(&segment, &sound)?;
    let server = data.start()?;
    expect_keys(server.port(), KEYS)
}

/// Fails unless a repair says that it accepts the loss.
fn expect_repair(data: &Data) -> Result<(), Failed> {
    let dir = data.path();
    let dir = dir.to_str().ok_or("the path is not UTF-8")?;
    let exit = Launch::new(&["check", "--dir", dir, "--repair"])?.run()?;
    let is_said = exit
        .stdout
        .iter()
        .any(|line| line.starts_with("repaired: "));
    check(is_said && exit.code == Some(0), || format!("{exit:?}"))
}

/// A repair costs nothing: no change is in it.
fn damaged_close() -> Result<(), Failed> {
    let data = filled(true)?;
    let segment = last_segment(&data)?;
    let mut log = std::fs::read(&segment)?;
    let place = log.len() - CLOSING_BYTES / 2;
    log[place] ^= 0x10;
    std::fs::write(&segment, &log)?;
    let offset = format!("damaged at byte {}", log.len() - CLOSING_BYTES);
    expect_refusal(data.launch(&[])?, 65, &[&offset, "was closed"])?;
    expect_repair(&data)?;
    expect_keys(data.start()?.port(), KEYS)
}

fn missing() -> Result<(), Failed> {
    let data = filled(true)?;
    // Three segments, of which the middle one holds keys as well.
    for start in 0..2 {
        let server = data.start()?;
        let key = KEYS + start;
        Client::connect(server.port())?.expect(&format!("SET key{key} {key}"), "+OK")?;
        stop(server)?;
    }
    let segments = data.files("log-")?;
    check(segments.len() >= 3, || format!("{segments:?}"))?;
    for segment in &segments {
        let bytes = std::fs::read(segment)?;
        std::fs::remove_file(segment)?;
        expect_refusal(data.launch(&[])?, 65, &["log", "damaged"])?;
        std::fs::write(segment, bytes)?;
    }
    let server = data.start()?;
    expect_keys(server.port(), KEYS + 2)
}

/// What is left is sound in itself: only where the log was closed tells that it ends too early.
fn shortened() -> Result<(), Failed> {
    let data = filled(true)?;
    let segments = data.files("log-")?;
    let last = last_segment(&data)?;
    let sound = std::fs::read(&last)?;
    let before_close = sound.len() - CLOSING_BYTES;
    for len in [before_close, last_frame_end(&sound), 64] {
        std::fs::write(&last, &sound[..len])?;
        expect_refusal(data.launch(&[])?, 65, &["log", "damaged", "was closed"])?;
    }
    std::fs::write(&last, &sound)?;
    for segment in &segments {
        std::fs::remove_file(segment)?;
    }
    expect_refusal(data.launch(&[])?, 65, &["log", "damaged", "was closed"])?;
    std::fs::write(&last, &sound[..before_close])?;
    expect_repair(&data)?;
    expect_keys(data.start()?.port(), KEYS)
}
