//! How a command is written: its name and its arguments as one line, made from the row.
//!
//! ```text
//!   SET key value [NX | XX] [GET] [EX seconds | KEEPTTL]
//!   [x] may be left out     a | b one of them     <a | b> one of them must be there
//!   x [x ...] repeated
//! ```

use super::spec::{Arg, ArgKind, Spec};

/// The whole line.
#[must_use]
pub fn line(spec: &Spec) -> String {
    let name = spec.name.replace('|', " ").to_uppercase();
    with_args(name, spec)
}

/// The line of a subcommand without its container's name.
#[must_use]
pub fn own_line(spec: &Spec) -> String {
    let (container, own) = spec.split_name();
    with_args(own.unwrap_or(container).to_uppercase(), spec)
}

fn with_args(mut text: String, spec: &Spec) -> String {
    for arg in spec.args {
        text.push(' ');
        text.push_str(&argument(arg));
    }
    text
}

/// One argument, in brackets if it may be left out.
#[must_use]
pub fn argument(arg: &Arg) -> String {
    if arg.optional {
        return match arg.kind {
            ArgKind::OneOf(choices) if arg.token.is_none() && !arg.multiple => {
                format!("[{}]", alternatives(choices))
            }
            _ => format!("[{}]", present(arg)),
        };
    }
    present(arg)
}

/// One argument that is there, with its token and its repetitions.
fn present(arg: &Arg) -> String {
    let text = match arg.kind {
        ArgKind::PureToken => return arg.token.unwrap_or(arg.name).to_owned(),
        ArgKind::OneOf(choices) => format!("<{}>", alternatives(choices)),
        ArgKind::Block(parts) => parts.iter().map(argument).collect::<Vec<_>>().join(" "),
        _ => arg.name.to_owned(),
    };
    let text = match (arg.multiple, arg.kind) {
        (false, _) => text,
        // Saying a list of alternatives twice would hide the rest of the line.
        (true, ArgKind::OneOf(_)) => format!("{text} ..."),
        (true, _) => format!("{text} [{text} ...]"),
    };
    match arg.token {
        Some(token) => format!("{token} {text}"),
        None => text,
    }
}

fn alternatives(choices: &[Arg]) -> String {
    choices.iter().map(present).collect::<Vec<_>>().join(" | ")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::command::table;

    #[test]
    fn lines_read_as_the_manual_would_write_them() {
        let line = |name: &str| super::line(table::find_full(name.as_bytes()).unwrap());
        assert_eq!(line("get"), "GET key");
        assert_eq!(line("ping"), "PING [message]");
        assert_eq!(line("watch"), "WATCH key [key ...]");
        assert_eq!(line("flushall"), "FLUSHALL [ASYNC | SYNC]");
        assert_eq!(
            line("config|set"),
            "CONFIG SET parameter value [parameter value ...]"
        );
        assert_eq!(
            line("client|list"),
            "CLIENT LIST [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] \
             [ID client-id [client-id ...]]"
        );
        assert_eq!(
            line("hello"),
            "HELLO [protover [AUTH username password] [SETNAME clientname]]"
        );
        assert_eq!(
            super::own_line(table::find_full(b"client|reply").unwrap()),
            "REPLY <ON | OFF | SKIP>"
        );
    }
}
