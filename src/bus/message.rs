//! Messages (D-Bus Specification, "Message Format"): the header around a body.

use std::fmt;

use super::{
    Body,
    marshal::{Endian, Malformed, Reader, Writer, validate},
};

/// Bytes that every message starts with and that tell how long it is.
pub const FIXED_HEADER_LEN: usize = 16;

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks for something, and for an answer unless flagged otherwise.
    Call,
    /// The answer to a call.
    Return,
    /// The refusal of a call.
    Error,
    /// Tells that something happened.
    Signal,
}

/// The flags of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The sender of a call does not wait for an answer. sd-bus sets it on all that is not a call.
    pub const NO_REPLY_EXPECTED: Self = Self(1);

    /// Whether the sender of a call waits for an answer.
    #[must_use]
    pub const fn expects_reply(self) -> bool {
        self.0 & Self::NO_REPLY_EXPECTED.0 == 0
    }
}

/// One message. Empty text stands for an absent header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What the message is for.
    pub kind: Kind,
    /// Its flags.
    pub flags: Flags,
    /// The sender's number of this message, never 0.
    pub serial: u32,
    /// Number of the call that this answers; 0 for calls and signals.
    pub reply_serial: u32,
    /// The object that is called or that signals.
    pub path: String,
    /// The interface of `member`.
    pub interface: String,
    /// The method or signal.
    pub member: String,
    /// The name of the error of an error message.
    pub error_name: String,
    /// For whom the message is.
    pub destination: String,
    /// Who sent it: set by a bus, or what a peer claims.
    pub sender: String,
    /// The arguments.
    pub body: Body,
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMessage {
    /// The first byte names no byte order.
    Endian(u8),
    /// The version of the protocol is not 1.
    Version(u8),
    /// The message is longer than this peer may send.
    TooLong {
        /// Announced length in bytes.
        announced: u64,
        /// The bound, in bytes.
        limit: usize,
    },
    /// A header field can not be read, or has the wrong type.
    Header(Malformed),
    /// A header field that this kind of message needs is missing or not valid.
    Field(&'static str),
    /// The body is not what its signature says.
    Body(Malformed),
}

impl fmt::Display for BadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endian(byte) => write!(f, "byte order {byte:#04x}, expected 'l' or 'B'"),
            Self::Version(version) => write!(f, "protocol version {version}, expected 1"),
            Self::TooLong { announced, limit } => {
                write!(
                    f,
                    "a message of {announced} bytes, expected at most {limit}"
                )
            }
            Self::Header(malformed) => write!(f, "bad header, {malformed}"),
            Self::Field(field) => write!(f, "header field {field} is missing or not valid"),
            Self::Body(malformed) => write!(f, "bad body, {malformed}"),
        }
    }
}

impl std::error::Error for BadMessage {}

/// Whether the bytes of a body are to be checked against its signature.
///
/// A bus and systemd have checked what they pass on; a peer on the network has not, and a body
/// that a bus refuses would cost us our place on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyCheck {
    /// Check all of it.
    Full,
    /// The sender is trusted to send valid bodies.
    Trusted,
}

/// Length of the message that starts with these bytes; `None` while fewer than
/// [`FIXED_HEADER_LEN`] are there. More than `limit` bytes is an error before anything is stored.
pub fn announced_len(start: &[u8], limit: usize) -> Result<Option<usize>, BadMessage> {
    let Some(&first) = start.first() else {
        return Ok(None);
    };
    let endian = endian(first)?;
    let Some(header) = start.get(..FIXED_HEADER_LEN) else {
        return Ok(None);
    };
    if header[3] != 1 {
        return Err(BadMessage::Version(header[3]));
    }
    let mut reader = Reader::new(header, endian);
    let mut length = || -> Result<u64, Malformed> {
        reader.u32()?;
        let body = u64::from(reader.u32()?);
        reader.u32()?;
        let fields = u64::from(reader.u32()?);
        Ok(FIXED_HEADER_LEN as u64 + fields.next_multiple_of(8) + body)
    };
    let announced = length().map_err(BadMessage::Header)?;
    match usize::try_from(announced) {
        Ok(length) if length <= limit => Ok(Some(length)),
        _ => Err(BadMessage::TooLong { announced, limit }),
    }
}

const fn endian(first: u8) -> Result<Endian, BadMessage> {
    match first {
        b'l' => Ok(Endian::Little),
        b'B' => Ok(Endian::Big),
        other => Err(BadMessage::Endian(other)),
    }
}

impl Message {
    fn new(kind: Kind, flags: Flags, body: Body) -> Self {
        Self {
            kind,
            flags,
            serial: 0,
            reply_serial: 0,
            path: String::new(),
            interface: String::new(),
            member: String::new(),
            error_name: String::new(),
            destination: String::new(),
            sender: String::new(),
            body,
        }
    }

    /// A call of `interface.member` on the object `path`.
    #[must_use]
    pub fn call(path: &str, interface: &str, member: &str, body: Body) -> Self {
        Self {
            path: path.to_owned(),
            interface: interface.to_owned(),
            member: member.to_owned(),
            ..Self::new(Kind::Call, Flags::NONE, body)
        }
    }

    /// A signal of the object `path`.
    #[must_use]
    pub fn signal(path: &str, interface: &str, member: &str, body: Body) -> Self {
        Self {
            path: path.to_owned(),
            interface: interface.to_owned(),
            member: member.to_owned(),
            ..Self::new(Kind::Signal, Flags::NO_REPLY_EXPECTED, body)
        }
    }

    /// The answer to the call with number `reply_serial`.
    #[must_use]
    pub fn reply(reply_serial: u32, body: Body) -> Self {
        Self {
            reply_serial,
            ..Self::new(Kind::Return, Flags::NO_REPLY_EXPECTED, body)
        }
    }

    /// The refusal of the call with number `reply_serial`.
    #[must_use]
    pub fn error(reply_serial: u32, error: &super::CallError) -> Self {
        Self {
            reply_serial,
            error_name: error.name.clone().into_owned(),
            ..Self::new(Kind::Error, Flags::NO_REPLY_EXPECTED, error.body())
        }
    }

    /// The same message for `destination`.
    #[must_use]
    pub fn to(mut self, destination: &str) -> Self {
        destination.clone_into(&mut self.destination);
        self
    }

    /// The same message with these flags.
    #[must_use]
    pub const fn with_flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// Whether this is the given call or signal.
    #[must_use]
    pub fn is(&self, interface: &str, member: &str) -> bool {
        self.interface == interface && self.member == member
    }

    /// The bytes of the message, in the byte order of its body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::Call => 1,
            Kind::Return => 2,
            Kind::Error => 3,
            Kind::Signal => 4,
        };
        let order = match self.body.endian {
            Endian::Little => b'l',
            Endian::Big => b'B',
        };
        let mut header = Writer::with_order(self.body.endian, 160 + self.body.bytes.len());
        for byte in [order, kind, self.flags.0, 1] {
            header.byte(byte);
        }
        header.u32(u32::try_from(self.body.bytes.len()).unwrap_or(u32::MAX));
        header.u32(self.serial);
        header.array(8, |fields| {
            for (code, r#type, text) in [
                (1, "o", self.path.as_str()),
                (3, "s", &self.member),
                (2, "s", &self.interface),
                (4, "s", &self.error_name),
            ] {
                write_field(fields, code, r#type, text);
            }
            if self.reply_serial != 0 {
                fields.align(8);
                fields.byte(5);
                fields.signature("u");
                fields.u32(self.reply_serial);
            }
            write_field(fields, 6, "s", &self.destination);
            write_field(fields, 7, "s", &self.sender);
            if !self.body.signature.is_empty() {
                fields.align(8);
                fields.byte(8);
                fields.signature("g");
                fields.signature(&self.body.signature);
            }
        });
        header.raw(8, &self.body.bytes);
        header.into_bytes()
    }

    /// Reads one message from exactly its bytes.
    pub fn decode(bytes: &[u8], check: BodyCheck) -> Result<Self, BadMessage> {
        let endian = endian(bytes.first().copied().unwrap_or_default())?;
        let mut reader = Reader::new(bytes, endian);
        let (kind, flags, serial) = read_fixed(&mut reader)?;
        let mut message = Self::new(
            kind,
            flags,
            Body {
                endian,
                ..Body::default()
            },
        );
        message.serial = serial;
        let mut fields = reader.array(8).map_err(BadMessage::Header)?;
        while !fields.is_at_end() {
            message
                .read_field(&mut fields)
                .map_err(BadMessage::Header)?;
        }
        reader.align(8).map_err(BadMessage::Header)?;
        message.body.bytes = bytes[reader.offset()..].to_vec();
        message.check_fields()?;
        if check == BodyCheck::Full || message.body.signature.is_empty() {
            let body = &message.body;
            validate(&body.signature, &body.bytes, endian).map_err(BadMessage::Body)?;
        }
        Ok(message)
    }

    fn read_field(&mut self, fields: &mut Reader<'_>) -> Result<(), Malformed> {
        fields.align(8)?;
        let code = fields.byte()?;
        let variant = fields.clone();
        match (code, fields.signature()?) {
            (1, "o") => fields.path()?.clone_into(&mut self.path),
            (2, "s") => fields.str()?.clone_into(&mut self.interface),
            (3, "s") => fields.str()?.clone_into(&mut self.member),
            (4, "s") => fields.str()?.clone_into(&mut self.error_name),
            (5, "u") => self.reply_serial = fields.u32()?,
            (6, "s") => fields.str()?.clone_into(&mut self.destination),
            (7, "s") => fields.str()?.clone_into(&mut self.sender),
            (8, "g") => self.body.signature = fields.signature()?.to_owned().into(),
            (0..=8, _) => {
                return Err(Malformed {
                    offset: fields.offset(),
                    expected: "another type before",
                });
            }
            // A field that the specification does not know is to be ignored ("Header Fields").
            _ => {
                *fields = variant;
                fields.variant()?;
            }
        }
        Ok(())
    }

    /// The fields that each kind of message must have ("Header Fields"), and an error's name must
    /// be valid: it may be relayed to a bus, which would drop us for a bad one. Paths and
    /// signatures were checked when they were read.
    fn check_fields(&self) -> Result<(), BadMessage> {
        let error_name = || zbus::names::ErrorName::try_from(self.error_name.as_str());
        match self.kind {
            _ if self.serial == 0 => Err(BadMessage::Field("serial")),
            Kind::Call | Kind::Signal if self.path.is_empty() => Err(BadMessage::Field("PATH")),
            Kind::Call | Kind::Signal if self.member.is_empty() => Err(BadMessage::Field("MEMBER")),
            Kind::Signal if self.interface.is_empty() => Err(BadMessage::Field("INTERFACE")),
            Kind::Return | Kind::Error if self.reply_serial == 0 => {
                Err(BadMessage::Field("REPLY_SERIAL"))
            }
            Kind::Error if error_name().is_err() => Err(BadMessage::Field("ERROR_NAME")),
            _ => Ok(()),
        }
    }
}

fn write_field(fields: &mut Writer, code: u8, r#type: &str, text: &str) {
    if !text.is_empty() {
        fields.align(8);
        fields.byte(code);
        fields.signature(r#type);
        fields.str(text);
    }
}

/// Kind, flags and serial; the length of the body is what the frame has left.
fn read_fixed(reader: &mut Reader<'_>) -> Result<(Kind, Flags, u32), BadMessage> {
    let mut read = || -> Result<(u8, u8, u8, u32), Malformed> {
        reader.byte()?;
        let (kind, flags, version) = (reader.byte()?, reader.byte()?, reader.byte()?);
        reader.u32()?;
        Ok((kind, flags, version, reader.u32()?))
    };
    let (kind, flags, version, serial) = read().map_err(BadMessage::Header)?;
    if version != 1 {
        return Err(BadMessage::Version(version));
    }
    let kind = match kind {
        1 => Kind::Call,
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => return Err(BadMessage::Field("type")),
    };
    Ok((kind, Flags(flags), serial))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::CallError;

    fn round_trip(mut message: Message) {
        message.serial = 5;
        let bytes = message.encode();
        assert_eq!(announced_len(&bytes, 4096), Ok(Some(bytes.len())));
        assert_eq!(Message::decode(&bytes, BodyCheck::Full).unwrap(), message);
    }

    #[test]
    fn messages_survive_the_wire() {
        let body = || Body::of(&("httpd.service", "replace"));
        round_trip(Message::call("/a", "b.c", "Do", body()).to("d.e"));
        round_trip(Message::signal("/a", "b.c", "Did", body()));
        round_trip(Message::reply(9, Body::default()));
        round_trip(Message::error(9, &CallError::new("a.b", "no")));
    }

    /// The first call of the C agent, byte for byte: the order of header fields is sd-bus's.
    #[test]
    fn a_call_has_the_bytes_of_the_c_agent() {
        let hex = "6c0100010a00000001000000970000000101\
            6f001e0000002f6f72672f636f6e7461696e6572732f68697274652f696e7465726e616c000003017300080000\
            0052656769737465720000000000000000020173002500000\
            06f72672e636f6e7461696e6572732e68697274652e696e7465726e616c2e4d616e616765720000000601730014\
            0000006f72672e636f6e7461696e6572732e686972746500000000080167000173000005000000\
            6261722d3200";
        let hex: String = hex.split_whitespace().collect();
        let captured: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        let mut call = Message::call(
            crate::bus::names::INTERNAL_MANAGER_PATH,
            crate::bus::names::INTERNAL_MANAGER_INTERFACE,
            "Register",
            Body::of(&("bar-2",)),
        )
        .to("org.containers.hirte");
        call.serial = 1;
        assert_eq!(call.encode(), captured);
    }

    #[test]
    fn big_endian_messages_are_read_and_relayed_in_their_order() {
        let mut message = Message::reply(
            9,
            Body {
                signature: "u".into(),
                endian: Endian::Big,
                bytes: vec![0, 0, 0, 7],
            },
        );
        message.serial = 3;
        let bytes = message.encode();
        assert_eq!(bytes[0], b'B');
        assert_eq!(Message::decode(&bytes, BodyCheck::Full).unwrap(), message);
        assert_eq!(message.body.parse::<(u32,)>().unwrap(), (7,));
    }

    #[test]
    fn hostile_headers_are_refused() {
        assert_eq!(announced_len(b"", 100), Ok(None));
        assert_eq!(announced_len(b"l\x01", 100), Ok(None));
        assert_eq!(announced_len(b"x", 100), Err(BadMessage::Endian(b'x')));
        let mut huge = *b"l\x01\0\x01\0\0\x80\x07\x01\0\0\0\0\0\0\0";
        assert!(matches!(
            announced_len(&huge, 8 << 20),
            Err(BadMessage::TooLong { .. })
        ));
        huge[3] = 2;
        assert_eq!(announced_len(&huge, 8 << 20), Err(BadMessage::Version(2)));
        let mut call = Message::call("/a", "b.c", "Do", Body::of(&("text",)));
        assert_eq!(
            Message::decode(&call.encode(), BodyCheck::Full),
            Err(BadMessage::Field("serial"))
        );
        call.serial = 1;
        let good = call.encode();
        for cut in 0..good.len() {
            assert!(
                Message::decode(&good[..cut], BodyCheck::Full).is_err(),
                "cut at {cut}"
            );
        }
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let _ = Message::decode(&bad, BodyCheck::Full);
            }
        }
    }
}
