//! The syntax of redis.conf: lines into words, includes followed.

use std::fmt;
use std::io;
use std::path::Path;

use super::error::StartError;

/// Deepest chain of `include`.
pub(super) const INCLUDE_DEPTH_MAX: usize = 16;
/// Most files one configuration may consist of, so that files that include each other twice over
/// end early, too.
pub(super) const INCLUDED_FILES_MAX: usize = 256;

/// Reads a text by its path.
pub(super) type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Where a directive came from, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A line of a file, counted from 1.
    Line(String, usize),
    /// A flag, as written.
    Flag(String),
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(path, line) => write!(f, "{path}:{line}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// One directive with its words, not looked up yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) origin: Origin,
    pub(super) name: String,
    pub(super) words: Vec<String>,
}

/// The assignments of the file at `path`, those of included files in the place of the `include`.
///
/// # Errors
/// A file that cannot be read, a line that is not well formed, includes beyond their limits.
pub(super) fn read(path: &str, read_file: ReadFile<'_>) -> Result<Vec<Assignment>, StartError> {
    let mut reader = Reader {
        read_file,
        files: 0,
        assignments: Vec::new(),
    };
    reader.file(path, 0)?;
    Ok(reader.assignments)
}

struct Reader<'a> {
    read_file: ReadFile<'a>,
    files: usize,
    assignments: Vec<Assignment>,
}

impl Reader<'_> {
    fn file(&mut self, path: &str, depth: usize) -> Result<(), StartError> {
        self.files += 1;
        let text = (self.read_file)(Path::new(path))
            .map_err(|error| StartError::new(&path, format!("cannot be read: {error}")))?;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_matches([' ', '\t', '\r', '\n']);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let origin = Origin::Line(path.to_owned(), index + 1);
            let words = split_words(line).map_err(|what| StartError::new(&origin, what))?;
            let mut words = words.into_iter();
            let Some(name) = words.next() else { continue };
            let words: Vec<String> = words.collect();
            if name.eq_ignore_ascii_case("include") {
                self.include(&origin, &words, depth + 1)?;
            } else {
                self.assignments.push(Assignment {
                    origin,
                    name,
                    words,
                });
            }
        }
        Ok(())
    }

    fn include(
        &mut self,
        origin: &Origin,
        words: &[String],
        depth: usize,
    ) -> Result<(), StartError> {
        let [path] = words else {
            return Err(StartError::new(origin, "include takes one path"));
        };
        if path.contains(['*', '?', '[']) {
            return Err(StartError::new(
                origin,
                "include takes a path, not a pattern",
            ));
        }
        if depth > INCLUDE_DEPTH_MAX {
            let what = format!("includes are nested deeper than {INCLUDE_DEPTH_MAX}");
            return Err(StartError::new(origin, what));
        }
        if self.files >= INCLUDED_FILES_MAX {
            let what = format!("more than {INCLUDED_FILES_MAX} files are included");
            return Err(StartError::new(origin, what));
        }
        self.file(path, depth)
    }
}

/// Splits a line into words as Redis does: blanks separate; `"..."` knows `\n \r \t \b \a \xHH`
/// and `\` before any other character; `'...'` knows `\'`; a closing quote ends its word.
fn split_words(line: &str) -> Result<Vec<String>, &'static str> {
    const UNBALANCED: &str = "the quotes of this line are unbalanced";
    let mut rest = line.as_bytes();
    let mut words = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(words);
        }
        let mut word = Vec::new();
        loop {
            rest = match rest {
                [] => break,
                [blank, ..] if blank.is_ascii_whitespace() => break,
                [b'"', quoted @ ..] => double_quoted(quoted, &mut word).ok_or(UNBALANCED)?,
                [b'\'', quoted @ ..] => single_quoted(quoted, &mut word).ok_or(UNBALANCED)?,
                [byte, after @ ..] => {
                    word.push(*byte);
                    after
                }
            };
        }
        words.push(String::from_utf8(word).map_err(|_| "a value is not valid UTF-8")?);
    }
}

/// Reads up to the closing double quote; answers what follows it, which must be a blank or the
/// end.
fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return None,
            [b'"', after @ ..] => return ends_word(after).then_some(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let byte = digit(*high)? * 16 + digit(*low)?;
                word.push(u8::try_from(byte).ok()?);
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        };
    }
}

/// Reads up to the closing single quote, as [`double_quoted`] does.
fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return None,
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [b'\'', after @ ..] => return ends_word(after).then_some(after),
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        };
    }
}

fn ends_word(rest: &[u8]) -> bool {
    rest.first().is_none_or(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_line() {
        let check = |line: &str, expect: &[&str]| {
            let words = split_words(line).expect("the line is well formed");
            assert_eq!(words, expect, "{line}");
        };
        check("", &[]);
        check("  a\t b  ", &["a", "b"]);
        check("save \"\"", &["save", ""]);
        check("a ''", &["a", ""]);
        check(r#"a "b c" 'd e'"#, &["a", "b c", "d e"]);
        check(r#"a "\x41\n\t\\\"\q""#, &["a", "A\n\t\\\"q"]);
        check(r#"a "\xZZ""#, &["a", "xZZ"]);
        check(r#"a "\xc3\xa9""#, &["a", "é"]);
        check(r"a 'it\'s \n'", &["a", r"it's \n"]);
        check(r#"a b"c d""#, &["a", "bc d"]);
        check("a #b", &["a", "#b"]);
    }

    #[test]
    fn malformed_lines() {
        let check = |line: &str| assert!(split_words(line).is_err(), "{line}");
        check(r#"a "b"#);
        check(r"a 'b");
        check(r#"a "b"c"#);
        check(r"a 'b'c");
        check(r#"a "b\"#);
        check(r#"a "\xff""#);
    }

    /// A file system of a few names.
    fn read_all(files: &[(&str, &str)], path: &str) -> Result<Vec<Assignment>, String> {
        let open = |path: &Path| {
            let file = files.iter().find(|(name, _)| Path::new(name) == path);
            file.map(|(_, text)| (*text).to_owned())
                .ok_or(io::ErrorKind::NotFound.into())
        };
        read(path, &open).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_and_includes_in_their_order() {
        let files = [
            (
                "a",
                "# comment\r\n\r\nport 1\r\n  include b\r\nsave 1 2\r\n",
            ),
            ("b", "\tport 2 # 3\nINCLUDE 'c d'"),
            ("c d", "hz 9"),
        ];
        let got: Vec<String> = read_all(&files, "a")
            .expect("all is well")
            .iter()
            .map(|a| format!("{} {} {}", a.origin, a.name, a.words.join(",")))
            .collect();
        assert_eq!(
            got,
            ["a:3 port 1", "b:1 port 2,#,3", "c d:1 hz 9", "a:5 save 1,2"]
        );
    }

    #[test]
    fn errors_name_their_place() {
        let check = |files: &[(&str, &str)], expect: &str| {
            let error = read_all(files, "a").expect_err("it is refused");
            assert_eq!(error, expect);
        };
        check(&[], "a: cannot be read: entity not found");
        check(
            &[("a", "\ninclude b")],
            "b: cannot be read: entity not found",
        );
        check(
            &[("a", "hz 1\nhz \"1")],
            "a:2: the quotes of this line are unbalanced",
        );
        check(&[("a", "include")], "a:1: include takes one path");
        check(&[("a", "include b c")], "a:1: include takes one path");
        check(
            &[("a", "include d/*.conf")],
            "a:1: include takes a path, not a pattern",
        );
        check(
            &[("a", "include a")],
            "a:1: includes are nested deeper than 16",
        );
    }

    /// Two includes of itself would otherwise take 2^16 reads.
    #[test]
    fn includes_are_bounded_in_number() {
        let chain = |depth: usize| {
            (
                format!("f{depth}"),
                format!("include f{0}\n", depth + 1).repeat(2),
            )
        };
        let mut files: Vec<(String, String)> = (0..INCLUDE_DEPTH_MAX).map(chain).collect();
        files.push((format!("f{INCLUDE_DEPTH_MAX}"), String::new()));
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let error = read_all(&files, "f0").expect_err("there are too many");
        assert!(
            error.ends_with("more than 256 files are included"),
            "{error}"
        );
        let last = files.len() - 8;
        assert!(read_all(&files, &format!("f{last}")).is_ok());
    }
}
