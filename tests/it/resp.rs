//! The transcripts' own view of RESP: replies cut into lines, words into commands.
//!
//! Deliberately independent of `linchpin-protocol`: it reads what that crate writes.

use libtest_mimic::{Failed, Trial};

/// One complete reply: its lines as transcripts show them, and a tree to sort by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reply {
    /// The header line and, for a bulk, the payload line.
    head: Vec<String>,
    /// The elements of an aggregate, in order; a map's keys and values alternate.
    elements: Vec<Reply>,
}

impl Reply {
    /// The reply in transcript lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = self.head.clone();
        lines.extend(self.elements.iter().flat_map(Reply::lines));
        lines
    }

    /// The reply as redis-cli shows it, of those that RESP2 has.
    pub(crate) fn shown(&self) -> Vec<String> {
        let [header, payload @ ..] = &self.head[..] else {
            return Vec::new();
        };
        let (kind, text) = header.split_at(1);
        match (kind, text) {
            ("+", text) => vec![text.to_owned()],
            ("-", text) => vec![format!("(error) {text}")],
            (":", text) => vec![format!("(integer) {text}")],
            (_, "-1") => vec!["(nil)".to_owned()],
            ("*", "0") => vec!["(empty array)".to_owned()],
            ("*", _) => self.shown_elements(),
            // Texts for people, as of INFO, are shown as they are.
            _ if payload.concat().starts_with("# ") => {
                let text = payload.concat();
                let lines = text.trim_end_matches("\\r\\n").split("\\r\\n");
                lines.map(str::to_owned).collect()
            }
            _ => vec![format!("\"{}\"", payload.concat())],
        }
    }

    fn shown_elements(&self) -> Vec<String> {
        let width = self.elements.len().to_string().len();
        let numbered = |(at, element): (usize, &Reply)| {
            let lines = element.shown().into_iter().enumerate();
            let line = move |(below, line): (usize, String)| match below {
                0 => format!("{:>width$}) {line}", at + 1),
                _ => format!("{:width$}  {line}", ""),
            };
            lines.map(line).collect::<Vec<_>>()
        };
        self.elements
            .iter()
            .enumerate()
            .flat_map(numbered)
            .collect()
    }

    /// Puts the elements of every aggregate into order, `group` at a time (2 keeps the pairs of a
    /// flat array together; those of a RESP3 map always stay). An aggregate that holds others
    /// keeps its own order: only what is unordered by nature is sorted.
    pub(crate) fn sort(&mut self, group: usize) {
        if self
            .elements
            .iter()
            .any(|element| !element.elements.is_empty())
        {
            self.elements
                .iter_mut()
                .for_each(|element| element.sort(group));
            return;
        }
        let group = if self.head[0].starts_with('%') {
            2
        } else {
            group
        };
        let mut groups: Vec<Vec<Reply>> =
            self.elements.chunks(group).map(<[Reply]>::to_vec).collect();
        groups.sort();
        self.elements = groups.concat();
    }
}

/// The complete replies at the start of `bytes` and how many bytes they take; an error names
/// what is not RESP.
pub(crate) fn split(bytes: &[u8]) -> Result<(Vec<Reply>, usize), String> {
    let mut replies = Vec::new();
    let mut taken = 0;
    while let Some((reply, len)) = split_one(&bytes[taken..])? {
        replies.push(reply);
        taken += len;
    }
    Ok((replies, taken))
}

fn split_one(bytes: &[u8]) -> Result<Option<(Reply, usize)>, String> {
    // The aggregates that still wait for elements, outermost first, each with how many.
    let mut open: Vec<(Reply, usize)> = Vec::new();
    let mut at = 0;
    loop {
        let Some((head, children, len)) = split_head(&bytes[at..])? else {
            return Ok(None);
        };
        at += len;
        open.push((
            Reply {
                head,
                elements: Vec::new(),
            },
            children,
        ));
        while open.last().is_some_and(|(_, missing)| *missing == 0) {
            let Some((reply, _)) = open.pop() else { break };
            match open.last_mut() {
                None => return Ok(Some((reply, at))),
                Some((parent, missing)) => {
                    parent.elements.push(reply);
                    *missing -= 1;
                }
            }
        }
    }
}

/// One header (with its payload): its lines, how many elements follow, and its length in bytes.
fn split_head(bytes: &[u8]) -> Result<Option<(Vec<String>, usize, usize)>, String> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return Ok(None);
    };
    let header = escape_line(&bytes[..end]);
    let after = end + 2;
    let count = || {
        let digits = std::str::from_utf8(&bytes[1..end])
            .ok()
            .and_then(|t| t.parse::<i64>().ok());
        digits.ok_or_else(|| format!("no length in {header:?}"))
    };
    let elements = |factor: usize| count().map(|n| usize::try_from(n).unwrap_or(0) * factor);
    let children = match bytes.first() {
        Some(b'*' | b'~' | b'>') => elements(1)?,
        Some(b'%') => elements(2)?,
        // An attribute belongs to the reply that follows it: its pairs, then that reply.
        Some(b'|') => elements(2)? + 1,
        _ => 0,
    };
    match bytes.first() {
        Some(b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(' | b'*' | b'~' | b'>' | b'%' | b'|') => {
            Ok(Some((vec![header], children, after)))
        }
        Some(b'$' | b'=' | b'!') => {
            let Ok(len) = usize::try_from(count()?) else {
                return Ok(Some((vec![header], 0, after)));
            };
            let Some(payload) = bytes.get(after..after + len + 2) else {
                return Ok(None);
            };
            if !payload.ends_with(b"\r\n") {
                return Err(format!("the payload of {header:?} is not ended by CRLF"));
            }
            Ok(Some((
                vec![header, escape_line(&payload[..len])],
                0,
                after + len + 2,
            )))
        }
        _ => Err(format!("no RESP type begins like {header:?}")),
    }
}

/// Bytes on one line: printable ASCII as it is, the others escaped.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// As `escape`, for a line of a transcript: a space at its end, which editors strip, is escaped,
/// and so is a `~` before one in front, which would make it a pattern.
fn escape_line(bytes: &[u8]) -> String {
    let mut text = escape(bytes);
    if text.starts_with("~ ") || text.starts_with("~* ") {
        text.replace_range(..1, "\\x7e");
    }
    if text.ends_with(' ') {
        text.replace_range(text.len() - 1.., "\\x20");
    }
    text
}

/// The bytes an escaped text stands for: `\r`, `\n`, `\t`, `\xHH`, `\\`, `\"`, and `\*N{text}`,
/// which is the bytes of `text`, `N` times.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(position) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..position]);
        let escaped = &rest[position + 1..];
        rest = match escaped.as_bytes().first() {
            Some(b'x') => {
                let digits = escaped.get(1..3).ok_or("\\x wants two digits")?;
                bytes.push(u8::from_str_radix(digits, 16).map_err(|error| error.to_string())?);
                &escaped[3..]
            }
            Some(b'*') => {
                let (count, tail) = escaped[1..].split_once('{').ok_or("\\*N{text} wants a {")?;
                let (unit, tail) = tail.split_once('}').ok_or("\\*N{text} wants a }")?;
                let count = count.parse::<usize>().map_err(|error| error.to_string())?;
                bytes.extend(unescape(unit)?.repeat(count));
                tail
            }
            Some(&byte) => {
                bytes.push(match byte {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'\\' | b'"' => byte,
                    _ => return Err(format!("unknown escape in {text:?}")),
                });
                &escaped[1..]
            }
            None => return Err(format!("a lone backslash ends {text:?}")),
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// A command line cut into words as redis-cli does it: at spaces, with `"..."` (escapes) and
/// `'...'` (only `\'`) holding words together.
pub(crate) fn words(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, tail) = match first {
            '"' => {
                let end = closing_quote(rest, '"')?;
                (unescape(&rest[1..end])?, &rest[end + 1..])
            }
            '\'' => {
                let end = closing_quote(rest, '\'')?;
                (
                    rest[1..end].replace("\\'", "'").into_bytes(),
                    &rest[end + 1..],
                )
            }
            _ => {
                let end = rest.find(' ').unwrap_or(rest.len());
                (rest.as_bytes()[..end].to_vec(), &rest[end..])
            }
        };
        if !tail.is_empty() && !tail.starts_with(' ') {
            return Err(format!("a closing quote wants a space after it: {line:?}"));
        }
        words.push(word);
        rest = tail.trim_start();
    }
    Ok(words)
}

fn closing_quote(text: &str, quote: char) -> Result<usize, String> {
    let mut is_escaped = false;
    for (position, character) in text.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if character == quote => return Ok(position),
            _ => {}
        }
    }
    Err(format!("no closing {quote} in {text:?}"))
}

/// The command `words` as a client sends it.
pub(crate) fn encode(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The tests of this reader itself.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "resp::splits_nested_replies_at_every_cut",
            splits_nested_replies,
        ),
        Trial::test("resp::sorts_leaves_and_keeps_pairs", sorts_leaves),
        Trial::test("resp::refuses_what_is_not_resp", refuses_noise),
        Trial::test("resp::words_and_escapes", words_and_escapes),
    ]
}

fn check(is_so: bool, what: &str) -> Result<(), Failed> {
    if is_so {
        Ok(())
    } else {
        Err(Failed::from(what))
    }
}

fn splits_nested_replies() -> Result<(), Failed> {
    let bytes = b"%1\r\n$2\r\n\r\n\r\n*2\r\n:1\r\n~0\r\n|1\r\n+a\r\n#t\r\n_\r\n*-1\r\n";
    let (replies, taken) = split(bytes)?;
    let lines: Vec<String> = replies.iter().flat_map(Reply::lines).collect();
    let expected = [
        "%1", "$2", "\\r\\n", "*2", ":1", "~0", "|1", "+a", "#t", "_", "*-1",
    ]
    .map(String::from);
    check(
        lines == expected && taken == bytes.len(),
        &format!("{lines:?}"),
    )?;
    for cut in 0..bytes.len() {
        let (part, taken) = split(&bytes[..cut])?;
        let (rest, _) = split(&bytes[taken..])?;
        check([part, rest].concat() == replies, &format!("cut at {cut}"))?;
    }
    Ok(())
}

fn sorts_leaves() -> Result<(), Failed> {
    let (mut replies, _) = split(b"*2\r\n$1\r\n9\r\n*4\r\n+b\r\n+1\r\n+a\r\n+2\r\n")?;
    let pairs = &mut replies[0];
    pairs.sort(2);
    let lines = pairs.lines().join(" ");
    check(lines == "*2 $1 9 *4 +a +2 +b +1", &lines)?;
    pairs.sort(1);
    let lines = pairs.lines().join(" ");
    check(lines == "*2 $1 9 *4 +1 +2 +a +b", &lines)
}

fn refuses_noise() -> Result<(), Failed> {
    for noise in [&b"HTTP/1.1\r\n"[..], b"$x\r\n", b"$1\r\nabc", b"*\r\n"] {
        check(split(noise).is_err(), &escape(noise))?;
    }
    Ok(())
}

fn words_and_escapes() -> Result<(), Failed> {
    let line = r#"SET "a\x00 \"b\\" 'it\'s' "" "\*3{ab}""#;
    let expected: [&[u8]; 5] = [b"SET", b"a\x00 \"b\\", b"it's", b"", b"ababab"];
    check(words(line)? == expected, &format!("{:?}", words(line)))?;
    for wrong in [r#"a "b"#, r#""a"b"#, r#""\q""#, r#""\x4""#, "'a"] {
        check(words(wrong).is_err(), wrong)?;
    }
    let (replies, _) = split(b"$4\r\n~ \\ \r\n")?;
    let lines = replies[0].lines();
    check(lines[1] == "\\x7e \\\\\\x20", &lines[1])
}
