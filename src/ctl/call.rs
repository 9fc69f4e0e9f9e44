//! Calls of the manager and their answers, as data.

use std::collections::BTreeMap;

use super::error::Error;
use crate::bus::{
    Body, Flags, Kind, Message,
    body::{Arguments, ParseArguments},
    marshal::{Malformed, Reader},
    names::{
        DBUS_NAME, MANAGER_BUS_NAME, MANAGER_INTERFACE, MANAGER_PATH, NODE_INTERFACE,
        PROPERTIES_INTERFACE, STREAM_INTERFACE,
    },
};

/// A method call that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Call {
    method: &'static str,
    message: Message,
}

impl Call {
    /// A method of any object of any peer.
    pub fn new<A: Arguments>(
        destination: &str,
        path: &str,
        interface: &str,
        method: &'static str,
        arguments: &A,
    ) -> Self {
        let message = Message::call(path, interface, method, Body::of(arguments)).to(destination);
        Self { method, message }
    }

    /// A method of the manager object.
    pub fn manager<A: Arguments>(method: &'static str, arguments: &A) -> Self {
        Self::object(MANAGER_PATH, MANAGER_INTERFACE, method, arguments)
    }

    /// A method of the node object at `path`.
    pub fn node<A: Arguments>(path: &str, method: &'static str, arguments: &A) -> Self {
        Self::object(path, NODE_INTERFACE, method, arguments)
    }

    /// A method of another object of the manager, such as a monitor.
    pub fn object<A: Arguments>(
        path: &str,
        interface: &str,
        method: &'static str,
        arguments: &A,
    ) -> Self {
        Self::new(MANAGER_BUS_NAME, path, interface, method, arguments)
    }

    /// Lets the stream at `path` send so many bytes more; it is not answered.
    pub fn grant(path: &str, bytes: u32) -> Self {
        let Self { method, message } = Self::object(path, STREAM_INTERFACE, "Grant", &(bytes,));
        let message = message.with_flags(Flags::NO_REPLY_EXPECTED);
        Self { method, message }
    }

    /// All properties that the manager's object at `path` has on `interface`.
    pub fn properties(path: &str, interface: &str) -> Self {
        Self::object(path, PROPERTIES_INTERFACE, "GetAll", &(interface,))
    }

    /// All properties of the node object at `path`; works for a node that is offline, too.
    pub fn node_properties(path: &str) -> Self {
        Self::properties(path, NODE_INTERFACE)
    }

    /// The method's name.
    pub const fn method(&self) -> &'static str {
        self.method
    }

    /// The message, which has no serial.
    pub fn into_message(self) -> Message {
        self.message
    }
}

/// An error reply.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// Name of the error.
    pub name: String,
    /// Its sentence.
    pub message: String,
    /// True when the bus itself replied instead of the manager.
    pub from_bus: bool,
}

/// What came back from a call.
pub(crate) type Answer = Result<Body, Refusal>;

impl From<Message> for Answer {
    fn from(reply: Message) -> Self {
        if reply.kind != Kind::Error {
            return Ok(reply.body);
        }
        Err(Refusal {
            from_bus: reply.sender == DBUS_NAME,
            // The message is the first argument, by convention only.
            message: reply.body.first_str().unwrap_or_default().to_owned(),
            name: reply.error_name,
        })
    }
}

/// Reads the arguments of the answer to a method or of a signal, borrowing from the body what can be
/// borrowed.
pub(crate) fn decode<'b, A: ParseArguments<'b>>(
    member: &'static str,
    body: &'b Body,
) -> Result<A, Error> {
    let mut signature = String::new();
    A::signature(&mut signature);
    decode_with(member, body, &signature, A::read)
}

/// The same for arguments of this signature that `read` reads.
pub(crate) fn decode_with<'b, T>(
    member: &'static str,
    body: &'b Body,
    signature: &str,
    read: impl FnOnce(&mut Reader<'b>) -> Result<T, Malformed>,
) -> Result<T, Error> {
    let malformed = |reason| Error::Malformed { member, reason };
    if body.signature != signature {
        return Err(malformed(format!(
            "signature '{}' instead of '{signature}'",
            body.signature
        )));
    }
    read(&mut body.reader()).map_err(|error| malformed(error.to_string()))
}

/// A value of any type.
#[derive(Clone, Debug)]
pub(crate) struct Variant<'b> {
    /// The type.
    pub signature: &'b str,
    /// Where the value can be read.
    pub value: Reader<'b>,
}

/// Properties by their names.
pub(crate) type Properties<'b> = BTreeMap<&'b str, Variant<'b>>;

impl<'b> Variant<'b> {
    /// `v`
    pub fn read(reader: &mut Reader<'b>) -> Result<Self, Malformed> {
        let (signature, value) = reader.variant()?;
        Ok(Self { signature, value })
    }

    /// `a{sv}`
    pub fn read_all(reader: &mut Reader<'b>) -> Result<Properties<'b>, Malformed> {
        let mut entries = reader.array(8)?;
        let mut properties = Properties::new();
        while !entries.is_at_end() {
            entries.align(8)?;
            properties.insert(entries.str()?, Self::read(&mut entries)?);
        }
        Ok(properties)
    }
}

macro_rules! of_variant {
    ($type:ty, $code:literal, $read:ident) => {
        impl<'b> TryFrom<&Variant<'b>> for $type {
            /// Another type.
            type Error = ();

            fn try_from(variant: &Variant<'b>) -> Result<Self, ()> {
                match variant.signature {
                    $code => variant.value.clone().$read().map_err(drop),
                    _ => Err(()),
                }
            }
        }
    };
}

of_variant!(&'b str, "s", str);
of_variant!(i32, "i", i32);
of_variant!(u32, "u", u32);
of_variant!(u64, "t", u64);

/// Reads properties, the only arguments of the answer to `method`.
pub(crate) fn properties<'b>(
    method: &'static str,
    body: &'b Body,
) -> Result<Properties<'b>, Error> {
    decode_with(method, body, "a{sv}", Variant::read_all)
}

/// One of several properties.
pub(crate) fn property<'v, 'b, T: TryFrom<&'v Variant<'b>>>(
    properties: &'v Properties<'b>,
    name: &'static str,
) -> Result<T, Error> {
    let value = properties.get(name);
    value
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| Error::Malformed {
            member: name,
            reason: "the property is missing or has another type".to_owned(),
        })
}

/// The property of this name, which is the only argument of an answer.
pub(crate) fn only_property<'b, T>(name: &'static str, body: &'b Body) -> Result<T, Error>
where
    T: for<'v> TryFrom<&'v Variant<'b>>,
{
    let variant = decode_with(name, body, "v", Variant::read)?;
    T::try_from(&variant).map_err(|_| Error::Malformed {
        member: name,
        reason: "the property has another type".to_owned(),
    })
}
