//! `HELP` of every command that has subcommands, made from their rows.

use super::spec::{Arg, ArgKind};
use super::{Cx, ReplyError, table};
use linchpin_protocol::Args;

/// Answers one line per subcommand with its arguments and one with what it does, in Redis' layout.
///
/// # Errors
/// None.
pub fn run(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let (container, _) = cx.spec.split_name();
    let upper = container.to_ascii_uppercase();
    let mut lines = vec![format!(
        "{upper} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    )];
    let spec = table::find(container.as_bytes()).unwrap_or(cx.spec);
    for sub in table::subcommands(spec) {
        let (_, own) = sub.split_name();
        if let Some(own) = own.filter(|own| *own != "help") {
            lines.push(format!("{}{}", own.to_ascii_uppercase(), all(sub.args)));
            lines.push(format!("    {}", sub.summary));
        }
    }
    lines.push("HELP".to_owned());
    lines.push("    Prints this help.".to_owned());
    cx.out.array(lines.len());
    for line in &lines {
        cx.out.simple(line);
    }
    Ok(())
}

/// Arguments as they are written, a space before each.
fn all(args: &[Arg]) -> String {
    args.iter().map(|arg| format!(" {}", one(arg))).collect()
}

fn one(arg: &Arg) -> String {
    let own = match arg.kind {
        ArgKind::PureToken => String::new(),
        ArgKind::OneOf(args) => {
            let args: Vec<_> = args.iter().map(one).collect();
            args.join("|")
        }
        ArgKind::Block(args) => all(args).trim_start().to_owned(),
        _ => format!("<{}>", arg.name),
    };
    let word = match (arg.token, own.as_str()) {
        (Some(token), "") => token.to_owned(),
        (Some(token), own) => format!("{token} {own}"),
        (None, _) => own,
    };
    let word = if arg.multiple {
        format!("{word} [{word} ...]")
    } else {
        word
    };
    match (arg.optional, arg.kind) {
        (true, _) => format!("[{word}]"),
        (false, ArgKind::OneOf(_)) => format!("({word})"),
        (false, _) => word,
    }
}
