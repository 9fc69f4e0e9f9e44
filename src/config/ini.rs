//! The format of the configuration files.
//!
//! ```ini
//! # A comment; so is a line that begins with a semicolon.
//! [section]
//! Key=value           ; a comment after white space and a semicolon
//! Other: value
//! List=one,
//!     two
//! ```
//!
//! UTF-8, with or without a byte order mark; white space around sections, keys and values means
//! nothing; names are case-sensitive. An indented line continues the value above it, joined by one
//! space (the C programs joined without any, which made `onetwo` of `one` and `two`). An indented
//! line that is itself `[section]` or `Word=value` is no continuation, because systemd's users indent
//! as they like. Every other line is an error that names file and line; nothing is skipped.

use std::path::Path;

use super::error::ConfigError;
use crate::limits::{CONFIG_FILE_BYTES, CONFIG_LINE_BYTES, CONFIG_QUOTED_BYTES};

/// What a file says, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `[name]`: what follows belongs to this section.
    Section {
        /// The name.
        name: String,
        /// The line, counted from 1.
        line: u32,
    },
    /// `key=value`.
    Value {
        /// The key.
        key: String,
        /// The value, without comments and with its continuation lines.
        value: String,
        /// The line on which the value starts, counted from 1.
        line: u32,
    },
}

/// Reads the text of a file; `path` is for errors only.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Item>, ConfigError> {
    if bytes.len() > CONFIG_FILE_BYTES {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
            limit: CONFIG_FILE_BYTES,
        });
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut items = Vec::new();
    for (line, raw) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        read_line(raw, line, &mut items).map_err(|(found, expected)| ConfigError::Syntax {
            path: path.to_owned(),
            line,
            found,
            expected,
        })?;
    }
    Ok(items)
}

/// Reads one line; an error is what was found and what was expected.
fn read_line(raw: &[u8], line: u32, items: &mut Vec<Item>) -> Result<(), (String, String)> {
    let fail = |found: &str, expected: &str| Err((found.to_owned(), expected.to_owned()));
    if raw.len() > CONFIG_LINE_BYTES {
        let start = String::from_utf8_lossy(raw.get(..CONFIG_QUOTED_BYTES).unwrap_or(raw));
        return fail(
            &format!("{start}…"),
            &format!("a line of at most {CONFIG_LINE_BYTES} bytes"),
        );
    }
    let Ok(text) = str::from_utf8(raw) else {
        return fail(&String::from_utf8_lossy(raw), "text in UTF-8");
    };
    let is_indented = text.starts_with([' ', '\t']);
    let text = text.trim();
    if text.is_empty() || text.starts_with(['#', ';']) {
        return Ok(());
    }
    let text = without_comment(text);
    if text.contains(|c: char| c.is_control() && c != '\t') {
        return fail(text, "text without control characters");
    }
    if let Some(rest) = text.strip_prefix('[') {
        let Some(name) = rest.strip_suffix(']').map(str::trim) else {
            return fail(text, "[section]");
        };
        if name.is_empty() || name.contains(['[', ']']) {
            return fail(text, "[section]");
        }
        let name = name.to_owned();
        items.push(Item::Section { name, line });
        return Ok(());
    }
    if is_indented
        && !is_assignment(text)
        && let Some(Item::Value { value, .. }) = items.last_mut()
    {
        if !value.is_empty() {
            value.push(' ');
        }
        value.push_str(text);
        return Ok(());
    }
    match text.split_once(['=', ':']) {
        Some((key, value)) if !key.trim().is_empty() => items.push(Item::Value {
            key: key.trim().to_owned(),
            value: value.trim().to_owned(),
            line,
        }),
        _ => return fail(text, "key=value or [section]"),
    }
    Ok(())
}

/// Cuts a comment that starts with a semicolon after white space.
fn without_comment(text: &str) -> &str {
    text.match_indices(';')
        .find(|&(at, _)| text[..at].ends_with(char::is_whitespace))
        .map_or(text, |(at, _)| text[..at].trim_end())
}

/// Whether an indented line is `Word=…`: one word of letters and digits before the first `=`.
fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, _)| {
        let key = key.trim_end();
        key.starts_with(|first: char| first.is_ascii_alphabetic())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn section(name: &str, line: u32) -> Item {
        let name = name.to_owned();
        Item::Section { name, line }
    }

    fn value(key: &str, value: &str, line: u32) -> Item {
        Item::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            line,
        }
    }

    fn read(text: &str) -> Vec<Item> {
        parse(Path::new("t.conf"), text.as_bytes()).unwrap()
    }

    fn error(text: impl AsRef<[u8]>) -> String {
        parse(Path::new("t.conf"), text.as_ref())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn sections_values_and_comments() {
        let text = "\u{feff}# comment\n; comment\n[ one ] ; why\n\nA=1\r\nb : x=y:z \n\
                    C=a;b ;c; d\n  # x\n[two]\nD=\nE=#no";
        assert_eq!(
            read(text),
            [
                section("one", 3),
                value("A", "1", 5),
                value("b", "x=y:z", 6),
                value("C", "a;b", 7),
                section("two", 9),
                value("D", "", 10),
                value("E", "#no", 11),
            ]
        );
    }

    #[test]
    fn indented_lines_continue_the_value() {
        let text = "[s]\nList=\n  one, ; first\n# comment\n\n\ttwo,\n three:3\nB=1\n";
        assert_eq!(
            read(text),
            [
                section("s", 1),
                value("List", "one, two, three:3", 2),
                value("B", "1", 8),
            ]
        );
    }

    #[test]
    fn indented_sections_and_assignments_are_no_continuation() {
        let text = " [s]\n  A=1\n  B = 2\n [t]\n  C: 3\n";
        assert_eq!(
            read(text),
            [
                section("s", 1),
                value("A", "1", 2),
                value("B", "2", 3),
                section("t", 4),
                value("C", "3", 5),
            ]
        );
    }

    #[test]
    fn errors_name_file_line_and_what_was_found() {
        for (text, expected) in [
            (
                "[s]\njunk",
                "t.conf:2: 'junk': expected key=value or [section]",
            ),
            ("=x", "t.conf:1: '=x': expected key=value or [section]"),
            ("\n[s", "t.conf:2: '[s': expected [section]"),
            ("[s] x", "t.conf:1: '[s] x': expected [section]"),
            ("[]", "t.conf:1: '[]': expected [section]"),
            (
                "A=\0",
                "t.conf:1: 'A=\\u{0}': expected text without control characters",
            ),
        ] {
            assert_eq!(error(text), expected);
        }
        assert_eq!(
            error(b"A=\xff"),
            "t.conf:1: 'A=\u{fffd}': expected text in UTF-8"
        );
        assert_eq!(
            error("x".repeat(CONFIG_LINE_BYTES + 1)),
            format!(
                "t.conf:1: '{}…': expected a line of at most {CONFIG_LINE_BYTES} bytes",
                "x".repeat(CONFIG_QUOTED_BYTES)
            )
        );
        assert_eq!(
            error("\n".repeat(CONFIG_FILE_BYTES + 1)),
            format!(
                "t.conf: is larger than {CONFIG_FILE_BYTES} bytes: expected a configuration file"
            )
        );
    }

    /// Deterministic pseudo-random numbers (xorshift64).
    struct Random(u64);

    impl Random {
        fn new(seed: u64) -> Self {
            Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        }

        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % bound as u64).unwrap()
        }

        fn pick<T: Copy>(&mut self, from: &[T]) -> T {
            from[self.below(from.len())]
        }

        /// A text of up to 12 of these characters that no trimming changes and that reads as it is.
        fn text(&mut self, alphabet: &[char]) -> String {
            let length = self.below(13);
            let text: String = (0..length).map(|_| self.pick(alphabet)).collect();
            let text = text.trim_start_matches(|c: char| c == ';' || c.is_whitespace());
            without_comment(text.trim_end()).to_owned()
        }
    }

    /// Prints items in one of the many ways to write them, and gives them the lines where they stand.
    fn print(items: &mut [Item], random: &mut Random) -> String {
        const BLANKS: &[&str] = &["", " ", "\t", "  "];
        let mut text = String::new();
        let mut count = 0;
        for item in items {
            for _ in 0..random.below(3) {
                let noise = random.pick(&["", "# n", "; n", "  # [x]", " \t"]);
                writeln!(text, "{noise}").unwrap();
                count += 1;
            }
            count += 1;
            let tail = random.pick(&["", " ", " ; n", "\t;n;", "\r"]);
            match item {
                Item::Section { name, line } => {
                    *line = count;
                    let blank = random.pick(BLANKS);
                    writeln!(text, "[{blank}{name}{blank}]{tail}").unwrap();
                }
                Item::Value { key, value, line } => {
                    *line = count;
                    let (first, rest) = match value.split_once(' ') {
                        Some((first, rest))
                            if random.below(2) == 0
                                && !first.is_empty()
                                && !first.ends_with('\t')
                                && !rest.starts_with(['#', ';', '[', ' ', '\t'])
                                && !is_assignment(rest) =>
                        {
                            (first, Some(rest))
                        }
                        _ => (value.as_str(), None),
                    };
                    let (sign, blank) = (random.pick(&["=", ":", " = "]), random.pick(BLANKS));
                    writeln!(text, "{key}{blank}{sign}{blank}{first}{tail}").unwrap();
                    if let Some(rest) = rest {
                        count += 1;
                        writeln!(text, " {blank}{rest}{tail}").unwrap();
                    }
                }
            }
        }
        text
    }

    #[test]
    fn what_is_printed_is_read() {
        let names: Vec<char> = "abAZ09-_. ü".chars().collect();
        let values: Vec<char> = "ab,=:;#[] \tü1".chars().collect();
        for seed in 1..=5000 {
            let mut random = Random::new(seed);
            let mut items: Vec<Item> = (0..random.below(8))
                .map(|_| {
                    let name = format!("k{}", random.text(&names));
                    if random.below(4) == 0 {
                        Item::Section { name, line: 0 }
                    } else {
                        let value = random.text(&values);
                        Item::Value {
                            key: name,
                            value,
                            line: 0,
                        }
                    }
                })
                .collect();
            let text = print(&mut items, &mut random);
            assert_eq!(read(&text), items, "seed {seed}: {text:?}");
        }
    }

    #[test]
    fn random_bytes_give_items_or_an_error() {
        const PIECES: &[&[u8]] = &[
            b"[",
            b"]",
            b"=",
            b":",
            b";",
            b" ;",
            b"#",
            b"\n",
            b" ",
            b"\t",
            b"\r",
            b"k",
            b"\xff",
            b"\0",
            b"\xef\xbb\xbf",
            b"\xc3",
            b"\xbc",
            b"[s]\nk=v\n  ",
        ];
        let (mut good, mut bad) = (0, 0);
        for seed in 1..=20_000 {
            let mut random = Random::new(seed);
            // Half of the texts lack the bytes that are always refused, so that others are reached.
            let pieces = &PIECES[..if seed % 2 == 0 { PIECES.len() } else { 12 }];
            let bytes: Vec<u8> = (0..random.below(20))
                .flat_map(|_| random.pick(pieces).iter().copied())
                .collect();
            match parse(Path::new("t.conf"), &bytes) {
                Ok(_) => good += 1,
                Err(_) => bad += 1,
            }
        }
        assert!(good > 1000 && bad > 1000, "{good} good, {bad} bad");
    }
}
