//! `ACL WHOAMI | LIST | CAT [category]`: the one user, and the categories of commands.
//!
//! There is one user, `default`, who may do everything; `LIST` shows it in the form of an ACL file,
//! with the SHA-256 of the password if `requirepass` sets one. `CAT` answers all categories, or the
//! commands of one.

use super::auth::DEFAULT_USER;
use super::client::FLAGS;
use crate::command::error::ReplyError;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Keys, Spec};
use crate::command::{Cx, help, table};
use linchpin_protocol::Args;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("acl", -2, Flags::CONTAINER, Keys::NONE, help::run_bare)
        .group(Group::Server)
        .since("6.0.0")
        .doc(
            "Commands about users and what they may do.",
            "Depends on subcommand.",
        ),
    Spec::new("acl|whoami", 2, FLAGS, Keys::NONE, run_whoami)
        .group(Group::Server)
        .since("6.0.0")
        .doc("Answers the name of the connection's user.", "O(1)"),
    Spec::new(
        "acl|list",
        2,
        FLAGS.with(Flags::ADMIN),
        Keys::NONE,
        run_list,
    )
    .group(Group::Server)
    .since("6.0.0")
    .doc("Answers the rules of every user.", "O(N) with N users"),
    Spec::new("acl|cat", -2, FLAGS, Keys::NONE, run_cat)
        .group(Group::Server)
        .since("6.0.0")
        .doc(
            "Answers all categories, or the commands of one.",
            "O(N) with N commands",
        )
        .args(&[Arg::new("category", ArgKind::String).optional()]),
    help::row("acl|help").group(Group::Server).since("6.0.0"),
];

fn run_whoami(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    cx.out.bulk(DEFAULT_USER.as_bytes());
    Ok(())
}

fn run_list(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let settings = cx.host.settings();
    let login = settings.requirepass.as_ref().map_or_else(
        || "nopass".to_owned(),
        |secret| format!("#{}", hex(&Sha256::digest(secret.expose()))),
    );
    let rules = format!("user {DEFAULT_USER} on {login} ~* &* +@all");
    cx.out.array(1);
    cx.out.bulk(rules.as_bytes());
    Ok(())
}

fn run_cat(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    if args.len() > 3 {
        return Err(ReplyError::bad_subcommand_call("acl", &args[1]));
    }
    let names: Vec<&str> = match args.get(2) {
        None => Categories::ALL.iter().map(|(_, word)| *word).collect(),
        Some(word) => {
            let unknown = || ReplyError::quoting("Unknown category '", word, "'");
            let category = Categories::from_word(word).ok_or_else(unknown)?;
            let of_category = table::all()
                .iter()
                .filter(|s| s.all_categories().has(category));
            of_category.map(|spec| spec.name).collect()
        }
    };
    cx.out.array(names.len());
    for name in names {
        cx.out.bulk(name.as_bytes());
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
