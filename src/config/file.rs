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
