//! What the server says about its memory, judged by an allocator that counts.
//!
//! The count is of the whole process, so these tests are a program of their own and run one after
//! the other.

#![forbid(unsafe_code)]

mod bound;
mod clients;
mod coordination;
mod exact;
mod served;
mod shrink;
mod stage;

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: linchpin_alloc::Counting = linchpin_alloc::Counting::new();

fn main() -> ExitCode {
    let arguments = Arguments {
        test_threads: Some(1),
        ..Arguments::from_args()
    };
    let trial = |name: &str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let trials = vec![
        trial("size_classes", exact::size_classes),
        trial("exact_in_every_state", exact::in_every_state),
        trial("exact_of_pages", exact::of_pages),
        trial("exact_of_clients", clients::exact),
        trial("clients_bounded", clients::bounded),
        trial("exact_of_coordination", coordination::exact),
        trial("exact_as_served", served::exact),
        trial("maxmemory_holds", bound::holds),
        trial(
            "maxmemory_holds_while_values_grow",
            bound::holds_while_values_grow,
        ),
        trial(
            "maxmemory_is_reached_in_steps",
            bound::one_command_goes_in_steps,
        ),
        trial(
            "exec_notes_time_above_maxmemory",
            bound::exec_notes_time_above,
        ),
        trial("shrinks_after_deleting", shrink::after_deleting),
        trial("shrinks_after_churn", shrink::after_churn),
        trial("empties", shrink::empties),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
