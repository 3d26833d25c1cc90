//! A naive lexer of Rust: enough to look at code without its comments and literals.
//!
//! LIMITATIONS: it knows no macros and no name resolution. A path is what stands in the text, with
//! the braces of `use` spread out; an item reached through a renamed import is not seen.

/// `source` with every comment and the inside of every string and character literal replaced by
/// blanks; lines and columns stay where they were.
pub(crate) fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(
                chars[at..end]
                    .iter()
                    .map(|&c| if c == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        }
    }
    code
}

/// Where the comment or literal that starts at `at` ends; `at` itself when none starts there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => find(chars, at, |c| c == '\n'),
        '/' if next == Some('*') => block_comment_end(chars, at),
        '"' => string_end(chars, at),
        '\'' => char_end(chars, at),
        'r' if !continues_word(chars, at) => raw_string_end(chars, at),
        'b' if next == Some('r') && !continues_word(chars, at) => {
            let end = raw_string_end(chars, at + 1);
            if end == at + 1 { at } else { end }
        }
        _ => at,
    }
}

fn continues_word(chars: &[char], at: usize) -> bool {
    at > 0 && is_word(chars[at - 1]) && chars[at - 1] != 'b'
}

fn find(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    (from..chars.len())
        .find(|&at| wanted(chars[at]))
        .unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// A quote begins a character unless it begins a lifetime, which no quote closes.
fn char_end(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => find(chars, start + 3, |c| c == '\'')
            .saturating_add(1)
            .min(chars.len()),
        (Some(_), Some('\'')) => start + 3,
        _ => start,
    }
}

fn raw_string_end(chars: &[char], start: usize) -> usize {
    let quote = find(chars, start + 1, |c| c != '#');
    if chars.get(quote) != Some(&'"') {
        return start;
    }
    let hashes = quote - start - 1;
    let closes = |at: usize| {
        chars[at] == '"' && chars[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
    };
    (quote + 1..chars.len())
        .find(|&at| closes(at))
        .map_or(chars.len(), |at| at + 1 + hashes)
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A path as it stands in the code, such as `crate::engine::Shard`; a macro's ends in `!`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamedPath {
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
}

impl NamedPath {
    /// Whether the segments of `wanted` stand somewhere in this path, one after the other.
    pub(crate) fn names(&self, wanted: &str) -> bool {
        let wanted: Vec<&str> = wanted.split("::").collect();
        self.segments
            .windows(wanted.len())
            .any(|window| window == wanted)
    }
}

/// Every path in `code` (the result of [`code_only`]), single identifiers among them.
pub(crate) fn paths(code: &str) -> Vec<NamedPath> {
    let mut found = Vec::new();
    let mut tokens = tokens(code).peekable();
    while let Some((line, token)) = tokens.next() {
        if token == "use" {
            let mut tree = Vec::new();
            for part in tokens.by_ref().take_while(|(_, token)| *token != ";") {
                tree.push(part);
            }
            spread(&mut tree.into_iter(), &[], &mut found);
        } else if token.starts_with(is_word) {
            let mut segments = vec![token.to_owned()];
            while tokens.next_if(|(_, token)| *token == "::").is_some() {
                let Some((_, token)) = tokens.next_if(|(_, token)| token.starts_with(is_word))
                else {
                    break;
                };
                segments.push(token.to_owned());
            }
            if tokens.next_if(|(_, token)| *token == "!").is_some()
                && let Some(last) = segments.last_mut()
            {
                last.push('!');
            }
            found.push(NamedPath { line, segments });
        }
    }
    found
}

/// Spreads one level of a `use` tree: `a::{b, c::d}` names `a::b` and `a::c::d`.
fn spread<'a>(
    tokens: &mut impl Iterator<Item = (usize, &'a str)>,
    prefix: &[String],
    found: &mut Vec<NamedPath>,
) {
    let mut path = prefix.to_vec();
    let mut line = 0;
    let mut is_spread = false;
    let mut is_renamed = false;
    while let Some((at, token)) = tokens.next() {
        match token {
            "::" => {}
            "{" => {
                spread(tokens, &path, found);
                is_spread = true;
            }
            "," | "}" => {
                if path.len() > prefix.len() && !is_spread {
                    found.push(NamedPath {
                        line,
                        segments: path,
                    });
                }
                if token == "}" {
                    return;
                }
                path = prefix.to_vec();
                (is_spread, is_renamed) = (false, false);
            }
            "as" => is_renamed = true,
            _ if is_renamed => {}
            _ => {
                line = at;
                path.push(token.to_owned());
            }
        }
    }
    if path.len() > prefix.len() && !is_spread {
        found.push(NamedPath {
            line,
            segments: path,
        });
    }
}

/// Words, `::` and single signs, each with its line number from 1.
fn tokens(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(index, line)| {
        let mut rest = line;
        std::iter::from_fn(move || {
            rest = rest.trim_start();
            let first = rest.chars().next()?;
            let len = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (token, after) = rest.split_at(len);
            rest = after;
            Some((index + 1, token))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_code(source: &str, expected: &str) {
        assert_eq!(code_only(source), expected, "of {source:?}");
    }

    #[test]
    fn comments_and_literals_become_blanks() {
        check_code("a // b\nc", "a     \nc");
        check_code("a /* b /* c */ d */ e", "a                   e");
        check_code(r#"f("x\"y", 1)"#, "f(      , 1)");
        check_code("f('\\'', 'x', b'y')", "f(    ,    , b   )");
        check_code("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)");
        check_code("r#\"a\"b\"# c", "         c");
        check_code("br\"a\" for r in", "      for r in");
    }

    fn check_paths(code: &str, expected: &[&str]) {
        let found: Vec<String> = paths(code)
            .iter()
            .map(|path| path.segments.join("::"))
            .collect();
        assert_eq!(found, expected, "of {code:?}");
    }

    #[test]
    fn use_trees_are_spread() {
        check_paths(
            "use a::{b, c::{self, d as e}, f::*};",
            &["a::b", "a::c::self", "a::c::d", "a::f::*"],
        );
        check_paths("use a::b as c;", &["a::b"]);
        check_paths("use {\n a::b,\n c\n};", &["a::b", "c"]);
    }

    #[test]
    fn inline_paths_and_macros_are_named() {
        check_paths("x(a::b(), dbg!(c))", &["x", "a::b", "dbg!", "c"]);
        check_paths("a::<b>::c", &["a", "b", "c"]);
    }

    #[test]
    fn lines_count_from_one() {
        assert_eq!(paths("\n\na::b")[0].line, 3);
    }
}
