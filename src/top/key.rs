//! Keys, from the bytes that a terminal sends for them.

/// A key that means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A printable character.
    Char(char),
    /// A letter with Ctrl, such as `'c'`.
    Ctrl(char),
    Enter,
    Tab,
    BackTab,
    Escape,
    Backspace,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
}

/// The longest sequence that is waited for; what is longer is of no key.
const LONGEST: usize = 16;

/// What comes next among the bytes.
enum Next {
    /// A key, or nothing that is known, and how many bytes that was.
    Is(Option<Key>, usize),
    /// Perhaps the beginning of more.
    Begun,
}

/// Bytes that are becoming keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    rest: Vec<u8>,
}

impl Keys {
    /// Adds what was read and hands on each key that is complete.
    pub fn add(&mut self, bytes: &[u8], mut each: impl FnMut(Key)) {
        self.rest.extend_from_slice(bytes);
        while !self.rest.is_empty() {
            let (key, taken) = match next(&self.rest) {
                Next::Is(key, taken) => (key, taken),
                Next::Begun if self.rest.len() > LONGEST => (None, self.rest.len()),
                Next::Begun => return,
            };
            self.rest.drain(..taken);
            if let Some(key) = key {
                each(key);
            }
        }
    }

    /// Whether a sequence is under way, which may also be the Escape key alone.
    pub fn is_open(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Nothing more came: what was begun is the Escape key, or nothing.
    pub fn end(&mut self) -> Option<Key> {
        let is_escape = self.rest == [ESCAPE];
        self.rest.clear();
        is_escape.then_some(Key::Escape)
    }
}

const ESCAPE: u8 = 0x1b;

fn next(bytes: &[u8]) -> Next {
    let one = |key| Next::Is(Some(key), 1);
    match bytes {
        [ESCAPE, b'[', rest @ ..] => control_sequence(rest),
        [ESCAPE, b'O', code, ..] => Next::Is(final_byte(*code, ""), 3),
        [ESCAPE] | [ESCAPE, b'O'] => Next::Begun,
        // A character with Alt is the same; keys that were pressed one after the other come so, too, to a
        // process that was busy, and none of them is to be lost.
        [ESCAPE, ..] => one(Key::Escape),
        [b'\r' | b'\n', ..] => one(Key::Enter),
        [b'\t', ..] => one(Key::Tab),
        [0x7f | 0x08, ..] => one(Key::Backspace),
        [code @ 1..=26, ..] => one(Key::Ctrl(char::from(b'a' + code - 1))),
        [0..0x20, ..] => Next::Is(None, 1),
        _ => character(bytes),
    }
}

/// A control sequence behind its introducer (ECMA-48, 5.4): parameters, then one byte that ends it.
fn control_sequence(rest: &[u8]) -> Next {
    let Some(end) = rest.iter().position(|byte| (0x40..=0x7e).contains(byte)) else {
        return Next::Begun;
    };
    let parameters = std::str::from_utf8(&rest[..end]).unwrap_or_default();
    Next::Is(final_byte(rest[end], parameters), 2 + end + 1)
}

/// The key of a sequence (xterm's "PC-Style Function Keys", and those of the Linux console).
fn final_byte(code: u8, parameters: &str) -> Option<Key> {
    // Behind a semicolon stand Shift, Alt and Ctrl.
    let number = parameters.split(';').next().unwrap_or_default();
    Some(match (code, number) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', "1" | "7") => Key::Home,
        (b'F', _) | (b'~', "4" | "8") => Key::End,
        (b'Z', _) => Key::BackTab,
        (b'M', "") => Key::Enter,
        (b'~', "5") => Key::PageUp,
        (b'~', "6") => Key::PageDown,
        _ => return None,
    })
}

/// A character in UTF-8.
fn character(bytes: &[u8]) -> Next {
    let length = match bytes[0] {
        0..0x80 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf8 => 4,
        _ => return Next::Is(None, 1),
    };
    let Some(bytes) = bytes.get(..length) else {
        return Next::Begun;
    };
    let text = std::str::from_utf8(bytes).ok();
    match text.and_then(|text| text.chars().next()) {
        Some(character) if !character.is_control() => Next::Is(Some(Key::Char(character)), length),
        Some(_) => Next::Is(None, length),
        None => Next::Is(None, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(pieces: &[&[u8]]) -> Vec<Key> {
        let (mut keys, mut found) = (Keys::default(), Vec::new());
        for piece in pieces {
            keys.add(piece, |key| found.push(key));
        }
        found.extend(keys.end());
        found
    }

    #[test]
    fn each_terminal_is_understood() {
        for (bytes, key) in [
            (&b"\x1b[A"[..], Key::Up),
            (b"\x1bOB", Key::Down),
            (b"\x1b[1;5C", Key::Right),
            (b"\x1b[5~", Key::PageUp),
            (b"\x1b[6;2~", Key::PageDown),
            (b"\x1b[H", Key::Home),
            (b"\x1b[1~", Key::Home),
            (b"\x1b[4~", Key::End),
            (b"\x1bOF", Key::End),
            (b"\x1b[Z", Key::BackTab),
            (b"\t", Key::Tab),
            (b"\r", Key::Enter),
            (b"\x7f", Key::Backspace),
            (b"\x03", Key::Ctrl('c')),
            (b"\x1b", Key::Escape),
            (b"q", Key::Char('q')),
            ("ä".as_bytes(), Key::Char('ä')),
        ] {
            assert_eq!(keys(&[bytes]), [key], "{bytes:?}");
        }
    }

    #[test]
    fn a_sequence_may_come_in_pieces_and_be_unknown() {
        assert_eq!(keys(&[b"\x1b", b"[", b"B"]), [Key::Down]);
        assert_eq!(keys(&[b"\xc3", b"\xa4x"]), [Key::Char('ä'), Key::Char('x')]);
        assert_eq!(
            keys(&[b"\x1b[31~j\x1b[200~k"]),
            [Key::Char('j'), Key::Char('k')]
        );
        assert_eq!(
            keys(&[b"\x1bx\x00j"]),
            [Key::Escape, Key::Char('x'), Key::Char('j')]
        );
        assert_eq!(keys(&[b"\x1b\x1b[A"]), [Key::Escape, Key::Up]);
        assert_eq!(keys(&[b"\xff\xfej"]), [Key::Char('j')]);
    }

    #[test]
    fn a_sequence_without_an_end_takes_no_memory() {
        let mut keys = Keys::default();
        for _ in 0..1000 {
            keys.add(b"\x1b[1111", |_| ());
            assert!(keys.rest.len() <= LONGEST + 6);
        }
        keys.add(b"~j", |_| ());
    }
}
