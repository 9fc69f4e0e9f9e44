//! The handshake in front of the messages (D-Bus Specification, "Authentication Protocol"),
//! without a socket: bytes go in, answers and an outcome come out.
//!
//! The server takes every identity: who may be a node is decided by its registration and by the
//! network, as with sd-bus's trusted, anonymous server. It answers like sd-bus, so that every kind
//! of agent in the field gets in: `EXTERNAL` with and without an identity, `ANONYMOUS`, pipelined
//! or one line at a time. A server that knows from the kernel which user is at the other end takes
//! `EXTERNAL` with that identity only.

use std::{fmt, sync::OnceLock};

use crate::limits;

/// All that our client says, in one piece, as sd-bus does. The identity is left empty, so that the
/// server takes the one of the socket, which is also right across user namespaces.
///
/// It can not be cut in two: a server made with sd-bus handles a message only when more bytes come
/// if it was read together with `BEGIN`, so `BEGIN` goes ahead of the server's `OK` and messages
/// behind it.
pub const CLIENT_HELLO: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The first byte of a client is not NUL.
    FirstByte(u8),
    /// A line is longer than `limits::MAX_HANDSHAKE_LINE`, or the whole handshake longer than
    /// `limits::MAX_HANDSHAKE`.
    TooLong,
    /// The client wants to begin and has not been accepted.
    BeginTooEarly,
    /// The server does not accept us; its mechanisms follow.
    Rejected(String),
    /// The server says something that is no answer to what we said.
    UnexpectedLine(String),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstByte(byte) => write!(f, "the first byte is {byte:#04x}, expected 0"),
            Self::TooLong => write!(
                f,
                "a line of more than {} bytes, or more than {} bytes in all",
                limits::MAX_HANDSHAKE_LINE,
                limits::MAX_HANDSHAKE
            ),
            Self::BeginTooEarly => write!(f, "BEGIN before authentication"),
            Self::Rejected(mechanisms) => {
                write!(
                    f,
                    "EXTERNAL was rejected, the server offers \"{mechanisms}\""
                )
            }
            Self::UnexpectedLine(line) => write!(f, "unexpected line \"{line}\""),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// One end of a handshake.
#[derive(Debug)]
pub struct Sasl {
    state: State,
    /// The only user that the server takes; `None` for everybody.
    uid: Option<u32>,
    /// The bytes of a line whose end has not come.
    line: Vec<u8>,
    /// Bytes taken so far.
    taken: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    ServerFirstByte,
    ServerAuth,
    /// An `AUTH` was answered by `DATA`.
    ServerData,
    ServerBegin,
    ClientData,
    ClientOk,
    Done,
}

impl Sasl {
    /// The accepting end.
    #[must_use]
    pub const fn server() -> Self {
        Self::new(State::ServerFirstByte)
    }

    /// The accepting end of a Unix socket, with the user at the other end: `EXTERNAL` with that
    /// identity, or without one.
    #[must_use]
    pub const fn server_of(uid: u32) -> Self {
        let mut server = Self::server();
        server.uid = Some(uid);
        server
    }

    /// The connecting end, which sends [`CLIENT_HELLO`] first.
    #[must_use]
    pub const fn client() -> Self {
        Self::new(State::ClientData)
    }

    const fn new(state: State) -> Self {
        Self {
            state,
            uid: None,
            line: Vec::new(),
            taken: 0,
        }
    }

    /// Takes bytes of the peer and appends answers to `output`.
    ///
    /// Returns `None` while the handshake goes on and all of `input` was taken, or the number of
    /// bytes that belonged to the handshake; what follows them is messages.
    pub fn feed(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<Option<usize>, HandshakeError> {
        for (at, &byte) in input.iter().enumerate() {
            self.taken += 1;
            if self.taken > limits::MAX_HANDSHAKE || self.line.len() >= limits::MAX_HANDSHAKE_LINE {
                return Err(HandshakeError::TooLong);
            }
            if self.state == State::ServerFirstByte {
                if byte != 0 {
                    return Err(HandshakeError::FirstByte(byte));
                }
                self.state = State::ServerAuth;
                continue;
            }
            self.line.push(byte);
            if self.line.ends_with(b"\r\n") {
                self.end_of_line(output)?;
                if self.state == State::Done {
                    return Ok(Some(at + 1));
                }
            }
        }
        Ok(None)
    }

    fn end_of_line(&mut self, output: &mut Vec<u8>) -> Result<(), HandshakeError> {
        let line = std::mem::take(&mut self.line);
        let line = &line[..line.len() - 2];
        if matches!(self.state, State::ClientData | State::ClientOk) {
            self.client_line(line)
        } else {
            self.server_line(line, output)
        }
    }

    fn server_line(&mut self, line: &[u8], output: &mut Vec<u8>) -> Result<(), HandshakeError> {
        let text = str::from_utf8(line).unwrap_or_default();
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let command = (words.next(), words.next(), words.next(), words.next());
        self.state = match (self.state, command) {
            (State::ServerAuth, (Some("AUTH"), Some(mechanism), None, None))
                if self.offers(mechanism) =>
            {
                output.extend_from_slice(b"DATA\r\n");
                State::ServerData
            }
            (State::ServerAuth, (Some("AUTH"), Some(mechanism), Some(data), None))
                if self.offers(mechanism) && self.takes(data) =>
            {
                accept(output)
            }
            (State::ServerData, (Some("DATA"), Some(data), None, None)) if self.takes(data) => {
                accept(output)
            }
            (State::ServerData, (Some("DATA"), None, None, None)) => accept(output),
            (State::ServerBegin, (Some("BEGIN"), ..)) => State::Done,
            (_, (Some("BEGIN"), ..)) => return Err(HandshakeError::BeginTooEarly),
            (State::ServerAuth | State::ServerData, (Some("AUTH" | "CANCEL" | "DATA"), ..)) => {
                output.extend_from_slice(if self.uid.is_some() {
                    b"REJECTED EXTERNAL\r\n"
                } else {
                    b"REJECTED EXTERNAL ANONYMOUS\r\n"
                });
                State::ServerAuth
            }
            (state, _) => {
                output.extend_from_slice(b"ERROR\r\n");
                state
            }
        };
        Ok(())
    }

    fn offers(&self, mechanism: &str) -> bool {
        mechanism == "EXTERNAL" || (mechanism == "ANONYMOUS" && self.uid.is_none())
    }

    /// Whether an identity is one that may be claimed. It is the number of the user in ASCII, in
    /// hexadecimal.
    fn takes(&self, data: &str) -> bool {
        let Some(uid) = self.uid else {
            return is_hex(data);
        };
        let claimed = (0..data.len()).step_by(2).map(|at| {
            let digits = data.get(at..at + 2)?;
            u8::from_str_radix(digits, 16).ok()
        });
        claimed.collect::<Option<Vec<u8>>>().as_deref() == Some(uid.to_string().as_bytes())
    }

    fn client_line(&mut self, line: &[u8]) -> Result<(), HandshakeError> {
        let word = line.split(|&byte| byte == b' ').next().unwrap_or_default();
        self.state = match (self.state, word) {
            (State::ClientData, b"DATA") => State::ClientOk,
            (State::ClientOk, b"OK") => State::Done,
            (_, b"REJECTED") => {
                let mechanisms = line[word.len()..].trim_ascii();
                return Err(HandshakeError::Rejected(printable(mechanisms)));
            }
            _ => return Err(HandshakeError::UnexpectedLine(printable(line))),
        };
        Ok(())
    }
}

fn accept(output: &mut Vec<u8>) -> State {
    output.extend_from_slice(b"OK ");
    output.extend_from_slice(server_id().as_bytes());
    output.extend_from_slice(b"\r\n");
    State::ServerBegin
}

/// The id of this process as a server: the same on all its connections, as clients expect that
/// share them.
fn server_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| zbus::Guid::generate().to_string())
}

fn is_hex(data: &str) -> bool {
    data.len().is_multiple_of(2) && data.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A peer's line as it may stand in a log.
fn printable(line: &[u8]) -> String {
    line.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `size` bytes. Returns the answers, with the server's id replaced
    /// by `ID`, and the outcome: how many bytes belonged to the handshake, if it ended.
    fn feed(
        mut sasl: Sasl,
        input: &[u8],
        size: usize,
    ) -> (String, Result<Option<usize>, HandshakeError>) {
        let mut output = Vec::new();
        let mut fed = 0;
        let mut outcome = Ok(None);
        for piece in input.chunks(size) {
            outcome = sasl.feed(piece, &mut output);
            match &mut outcome {
                Ok(None) => fed += piece.len(),
                Ok(Some(taken)) => {
                    *taken += fed;
                    break;
                }
                Err(_) => break,
            }
        }
        let output = String::from_utf8(output).unwrap();
        (output.replace(server_id(), "ID"), outcome)
    }

    /// The answers of a server to `input`, which must not depend on how it is cut.
    fn serve(input: &str) -> (String, Result<Option<usize>, HandshakeError>) {
        let whole = feed(Sasl::server(), input.as_bytes(), usize::MAX);
        for size in 1..input.len() {
            let cut = feed(Sasl::server(), input.as_bytes(), size);
            assert_eq!(cut, whole, "pieces of {size} bytes");
        }
        whole
    }

    #[test]
    fn clients_in_use_are_let_in() {
        let cases = [
            // sd-bus, its own anonymous client, and sd-bus before version 246
            ("AUTH EXTERNAL\r\nDATA\r\n", "DATA\r\nOK ID\r\n"),
            ("AUTH ANONYMOUS 6869\r\n", "OK ID\r\n"),
            ("AUTH EXTERNAL 31303030\r\n", "OK ID\r\n"),
            // spelled out by the specification
            ("AUTH ANONYMOUS\r\nDATA 68\r\n", "DATA\r\nOK ID\r\n"),
            ("AUTH EXTERNAL\r\nDATA 30\r\n", "DATA\r\nOK ID\r\n"),
            // GDBus asks for the mechanisms first, and for descriptors
            (
                "AUTH\r\nAUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\n",
                "REJECTED EXTERNAL ANONYMOUS\r\nOK ID\r\nERROR\r\n",
            ),
            (
                "AUTH KERBEROS_V4 00\r\nAUTH EXTERNAL\r\nCANCEL\r\nAUTH ANONYMOUS 00\r\n",
                "REJECTED EXTERNAL ANONYMOUS\r\nDATA\r\nREJECTED EXTERNAL ANONYMOUS\r\nOK ID\r\n",
            ),
        ];
        for (lines, answers) in cases {
            let input = format!("\0{lines}BEGIN\r\n");
            let expected = (answers.to_owned(), Ok(Some(input.len())));
            assert_eq!(serve(&input), expected, "{lines:?}");
            let with_message = format!("{input}l\x01\0\x01");
            assert_eq!(serve(&with_message), expected, "{lines:?} and a message");
        }
    }

    #[test]
    fn who_claims_to_be_another_user_is_rejected() {
        let own = "\0AUTH EXTERNAL 31303030\r\nBEGIN\r\n";
        let outcome = feed(Sasl::server_of(1000), own.as_bytes(), 7);
        assert_eq!(outcome, ("OK ID\r\n".to_owned(), Ok(Some(own.len()))));
        let empty = str::from_utf8(CLIENT_HELLO).unwrap();
        let outcome = feed(Sasl::server_of(1000), empty.as_bytes(), 7);
        assert_eq!(outcome.1, Ok(Some(empty.len())));
        for line in [
            "AUTH EXTERNAL 30",
            "AUTH EXTERNAL\r\nDATA 30",
            "AUTH ANONYMOUS",
            "AUTH ANONYMOUS 31303030",
            "AUTH",
        ] {
            let input = format!("\0{line}\r\nBEGIN\r\n");
            let (answers, outcome) = feed(Sasl::server_of(1000), input.as_bytes(), 7);
            assert!(
                answers.ends_with("REJECTED EXTERNAL\r\n"),
                "{line}: {answers}"
            );
            assert_eq!(outcome, Err(HandshakeError::BeginTooEarly), "{line}");
        }
    }

    #[test]
    fn junk_is_answered_and_does_not_let_in() {
        let rejected = "REJECTED EXTERNAL ANONYMOUS\r\n";
        for (line, answer) in [
            ("", "ERROR\r\n"),
            ("HELLO", "ERROR\r\n"),
            ("DATA", rejected),
            ("AUTH", rejected),
            ("AUTH EXTERNAL zz", rejected),
            ("AUTH EXTERNAL 3", rejected),
            ("AUTH EXTERNAL 30 30", rejected),
            ("auth external", "ERROR\r\n"),
            ("\u{fffd}\n", "ERROR\r\n"),
            ("NEGOTIATE_UNIX_FD", "ERROR\r\n"),
        ] {
            let (answers, outcome) = serve(&format!("\0{line}\r\nBEGIN\r\n"));
            assert_eq!(answers, answer, "{line:?}");
            assert_eq!(outcome, Err(HandshakeError::BeginTooEarly), "{line:?}");
        }
    }

    #[test]
    fn what_is_no_client_is_cut_off() {
        assert_eq!(serve("\n").1, Err(HandshakeError::FirstByte(b'\n')));
        assert_eq!(
            serve("GET / HTTP/1.1").1,
            Err(HandshakeError::FirstByte(b'G'))
        );
        assert_eq!(serve("\0").1, Ok(None));
        assert_eq!(serve("\0AUTH EXTERNAL\r").1, Ok(None));
        let endless = format!("\0{}", "a".repeat(limits::MAX_HANDSHAKE_LINE + 1));
        assert_eq!(serve(&endless).1, Err(HandshakeError::TooLong));
        let many_lines = format!("\0{}", "AUTH\r\n".repeat(limits::MAX_HANDSHAKE / 6 + 1));
        assert_eq!(serve(&many_lines).1, Err(HandshakeError::TooLong));
    }

    #[test]
    fn a_line_of_the_largest_length_is_read() {
        let data = "61".repeat((limits::MAX_HANDSHAKE_LINE - "AUTH ANONYMOUS \r\n".len()) / 2);
        let (answers, outcome) = serve(&format!("\0AUTH ANONYMOUS {data}\r\nBEGIN\r\n"));
        assert_eq!(answers, "OK ID\r\n");
        assert!(matches!(outcome, Ok(Some(_))));
    }

    #[test]
    fn the_client_waits_for_ok_and_leaves_messages_alone() {
        let id = "0".repeat(32);
        let answer = format!("DATA\r\nOK {id}\r\nl\x04\x01\x01");
        for size in 1..=answer.len() {
            let (said, outcome) = feed(Sasl::client(), answer.as_bytes(), size);
            assert_eq!(said, "");
            assert_eq!(outcome, Ok(Some(answer.len() - 4)), "pieces of {size}");
        }
    }

    #[test]
    fn the_client_says_why_it_was_not_let_in() {
        let fails = |answer: &str, expected| {
            let (_, outcome) = feed(Sasl::client(), answer.as_bytes(), usize::MAX);
            assert_eq!(outcome, Err(expected), "{answer:?}");
        };
        let rejected = HandshakeError::Rejected("ANONYMOUS".to_owned());
        fails("REJECTED ANONYMOUS\r\n", rejected.clone());
        fails("DATA\r\nREJECTED ANONYMOUS\r\n", rejected);
        fails(
            "SSH-2.0-\x1b[2J\r\n",
            HandshakeError::UnexpectedLine("SSH-2.0-\\x1b[2J".to_owned()),
        );
        fails(&"x".repeat(1000), HandshakeError::TooLong);
    }

    #[test]
    fn a_server_and_a_client_agree() {
        let (mut server, mut client) = (Sasl::server(), Sasl::client());
        let (mut answers, mut none) = (Vec::new(), Vec::new());
        let done = server.feed(CLIENT_HELLO, &mut answers).unwrap();
        assert_eq!(done, Some(CLIENT_HELLO.len()));
        let done = client.feed(&answers, &mut none).unwrap();
        assert_eq!((done, none), (Some(answers.len()), Vec::new()));
    }
}
