//! `MEMORY DOCTOR | MALLOC-STATS | PURGE`: what is to be said and done about memory.
//!
//! `DOCTOR` answers, in sentences, what an operator should look at. `PURGE` answers at once and has
//! entries moved together in each shard that has gaps: that begins soon after, once what was
//! flushed is freed, and is done in small steps between which clients are served. `MALLOC-STATS` is
//! answered as Redis answers it with an allocator that keeps none.
//!
//! LIMITATIONS: the allocator is not asked to return free pages to the system; it does so by
//! itself.

use crate::command::host::MemoryFacts;
use crate::command::spec::{Flags, Group, Keys, Run, Spec};
use crate::command::{Cx, ReplyError, help};
use linchpin_protocol::Args;
use std::fmt::Write as _;

const fn row(name: &'static str, run: Run) -> Spec {
    Spec::new(name, 2, Flags::NONE, Keys::NONE, run)
        .group(Group::Server)
        .since("4.0.0")
}

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("memory", -2, Flags::CONTAINER, Keys::NONE, help::run_bare)
        .group(Group::Server)
        .since("4.0.0")
        .doc("Tells how memory is used.", "as the subcommand says"),
    row("memory|doctor", run_doctor)
        .doc(
            "Tells what is wrong with the memory, if anything.",
            "O(N) with N shards",
        )
        .tips(&[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ]),
    help::row("memory|help").group(Group::Server).since("4.0.0"),
    row("memory|malloc-stats", run_malloc_stats)
        .doc("Tells what the allocator counts: nothing.", "O(1)")
        .tips(&[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ]),
    row("memory|purge", run_purge)
        .doc(
            "Has gaps closed and what waits to be freed freed, soon after.",
            "O(1); the work is done bit by bit, O(N) with N entries",
        )
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
];

/// With less than this nothing is worth a sentence.
const WORTH_BYTES_MIN: u64 = 5 << 20;

fn run_doctor(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let facts = cx.host.memory(&cx.step.census_unsettled());
    cx.out.verbatim("txt", diagnosis(&facts).as_bytes());
    Ok(())
}

fn diagnosis(facts: &MemoryFacts) -> String {
    let mut text = String::new();
    let mut say = |is_so: bool, sentence: std::fmt::Arguments<'_>| {
        if is_so {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "* {sentence}");
        }
    };
    let (used, peak) = (facts.used_bytes, facts.peak_bytes);
    let bytes_max = facts.bytes_max;
    say(
        bytes_max > 0 && facts.bounded_bytes > bytes_max,
        format_args!(
            "More is held than maxmemory allows, {used} of {bytes_max} bytes: what needs memory is \
             refused. Raise maxmemory, or choose a policy that evicts."
        ),
    );
    say(
        peak > WORTH_BYTES_MIN && peak > used + used / 2,
        format_args!(
            "At its peak the server held {peak} bytes, half as much again as now; resident memory \
             may still be above what is needed."
        ),
    );
    let resident = facts.resident_bytes;
    say(
        used > WORTH_BYTES_MIN && resident > used + used / 2,
        format_args!(
            "Resident memory is {resident} bytes for {used} in use. Right after many keys went it \
             falls within seconds; if it stays, MEMORY PURGE closes gaps."
        ),
    );
    let clients = facts.clients_bytes;
    say(
        clients > WORTH_BYTES_MIN && clients > used / 4,
        format_args!(
            "Clients hold {clients} bytes, more than a quarter of all: CLIENT LIST shows which, \
             maxmemory-clients bounds them."
        ),
    );
    if text.is_empty() {
        "No problem was found.\n".clone_into(&mut text);
    }
    text
}

fn run_malloc_stats(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    cx.out
        .bulk(b"Stats not supported for the current allocator");
    Ok(())
}

fn run_purge(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    cx.step.ask_purge();
    cx.out.ok();
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_problem_has_its_sentence() {
        let well = MemoryFacts {
            used_bytes: 100 << 20,
            bounded_bytes: 100 << 20,
            peak_bytes: 110 << 20,
            resident_bytes: 120 << 20,
            ..MemoryFacts::default()
        };
        assert_eq!(diagnosis(&well), "No problem was found.\n");
        let ill = MemoryFacts {
            bytes_max: 99 << 20,
            peak_bytes: 200 << 20,
            resident_bytes: 200 << 20,
            clients_bytes: 50 << 20,
            ..well
        };
        let text = diagnosis(&ill);
        assert_eq!(text.lines().count(), 4, "{text}");
        for word in ["maxmemory allows", "peak", "Resident", "CLIENT LIST"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
