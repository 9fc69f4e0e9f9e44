//! The handshake in front of the messages (D-Bus Specification, "Authentication Protocol"),
//! without a socket: bytes go in, answers and an outcome come out.
//!
//! The server takes every identity: who may be a node is decided by its registration and by the
//! network, as with sd-bus's trusted, anonymous server. It answers like sd-bus, so that every kind
//! of agent in the field gets in: `EXTERNAL` with and without an identity, `ANONYMOUS`, pipelined
//! or one line at a time.

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

    /// The connecting end, which sends [`CLIENT_HELLO`] first.
    #[must_use]
    pub const fn client() -> Self {
        Self::new(State::ClientData)
    }

    const fn new(state: State) -> Self {
        Self {
            state,
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
        let command = (words.next(), words.next(), words.next());
        self.state = match (self.state, command) {
            (State::ServerAuth, (Some("AUTH"), Some("EXTERNAL" | "ANONYMOUS"), None)) => {
                output.extend_from_slice(b"DATA\r\n");
                State::ServerData
            }
            (State::ServerAuth, (Some("AUTH"), Some("EXTERNAL" | "ANONYMOUS"), Some(data)))
            | (State::ServerData, (Some("DATA"), Some(data), None))
                if is_hex(data) =>
            {
                accept(output)
            }
            (State::ServerData, (Some("DATA"), None, None)) => accept(output),
            (State::ServerBegin, (Some("BEGIN"), None, None)) => State::Done,
            (_, (Some("BEGIN"), ..)) => return Err(HandshakeError::BeginTooEarly),
            (State::ServerAuth | State::ServerData, (Some("AUTH" | "CANCEL" | "DATA"), ..)) => {
                output.extend_from_slice(b"REJECTED EXTERNAL ANONYMOUS\r\n");
                State::ServerAuth
            }
            (state, _) => {
                output.extend_from_slice(b"ERROR\r\n");
                state
            }
        };
        Ok(())
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
