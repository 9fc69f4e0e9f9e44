//! Bodies of messages: marshalled bytes with their signature, and the Rust types they are made of.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    marshal::{Endian, Malformed, Reader, Writer},
    signature::alignment,
};

/// The arguments of a message, as marshalled.
///
/// A relayed body keeps the bytes, and the byte order, in which it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Signature of all arguments, valid.
    pub signature: Cow<'static, str>,
    /// Byte order of `bytes`.
    pub endian: Endian,
    /// The marshalled arguments.
    #[serde(with = "hex_bytes")]
    pub bytes: Vec<u8>,
}

impl Body {
    /// The body with these arguments, which are a tuple.
    #[must_use]
    pub fn of<A: Arguments>(arguments: &A) -> Self {
        let mut writer = Writer::default();
        arguments.write(&mut writer);
        let mut signature = String::new();
        A::signature(&mut signature);
        Self {
            signature: Cow::Owned(signature),
            endian: Endian::Little,
            bytes: writer.into_bytes(),
        }
    }

    /// The arguments, if they have exactly the types of the tuple `A`.
    pub fn parse<'b, A: ParseArguments<'b>>(&'b self) -> Result<A, Malformed> {
        let mut signature = String::new();
        A::signature(&mut signature);
        if self.signature != signature {
            return Err(Malformed {
                offset: 0,
                expected: "another signature",
            });
        }
        A::read(&mut self.reader())
    }

    /// A reader at the first argument.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(&self.bytes, self.endian)
    }

    /// A dictionary `a{sv}` as a body of its own, read at the position of `reader`, which is one
    /// of this body. Its entries start at a multiple of 8 here as there, so their bytes stay valid.
    pub fn dictionary(&self, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let start = reader.array(8)?;
        let entries = reader.since(&start);
        let mut writer = Writer::with_order(self.endian, entries.len() + 8);
        writer.array(8, |array| array.raw(1, entries));
        Ok(Self {
            signature: Cow::Borrowed("a{sv}"),
            endian: self.endian,
            bytes: writer.into_bytes(),
        })
    }

    /// Some strings and then this body, a dictionary `a{sv}`, as the arguments of one message.
    pub fn after_strings(&self, strings: &[&str]) -> Result<Self, Malformed> {
        let mut reader = self.reader();
        let start = reader.array(8)?;
        let entries = reader.since(&start);
        let mut writer = Writer::with_order(self.endian, entries.len() + 64 * (strings.len() + 1));
        for string in strings {
            writer.str(string);
        }
        writer.array(8, |array| array.raw(1, entries));
        Ok(Self {
            signature: Cow::Owned(format!("{}a{{sv}}", "s".repeat(strings.len()))),
            endian: self.endian,
            bytes: writer.into_bytes(),
        })
    }

    /// The first argument if it is a string: where errors carry their message.
    #[must_use]
    pub fn first_str(&self) -> Option<&str> {
        if self.signature.starts_with('s') {
            self.reader().str().ok()
        } else {
            None
        }
    }
}

/// Bytes that mean nothing to us, as an argument: `ay`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes(#[serde(with = "hex_bytes")] pub Vec<u8>);

/// Bytes as a string of hex digits, so that recorded runs stay readable and short.
mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        serializer.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits: Option<Vec<u8>> = text
            .chars()
            .map(|digit| {
                digit
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            })
            .collect();
        match digits {
            Some(digits) if digits.len() % 2 == 0 => Ok(digits
                .chunks(2)
                .map(|pair| pair[0] << 4 | pair[1])
                .collect()),
            _ => Err(D::Error::custom("expected pairs of hex digits")),
        }
    }
}

/// A value that can be marshalled.
pub trait Marshal {
    /// Appends the signature of the type.
    fn signature(signature: &mut String);
    /// Appends the value.
    fn write(&self, writer: &mut Writer);
}

/// A value that can be read from marshalled bytes, from which it may borrow.
pub trait Unmarshal<'b>: Marshal + Sized {
    /// Reads the value.
    fn read(reader: &mut Reader<'b>) -> Result<Self, Malformed>;
}

/// The arguments of a message: a tuple of values.
pub trait Arguments {
    /// Appends the signatures of all arguments.
    fn signature(signature: &mut String);
    /// Appends all arguments.
    fn write(&self, writer: &mut Writer);
}

/// Arguments that can be read.
pub trait ParseArguments<'b>: Arguments + Sized {
    /// Reads all arguments.
    fn read(reader: &mut Reader<'b>) -> Result<Self, Malformed>;
}

/// An object path as an argument.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectPath(pub String);

/// The values that our own properties have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// `s`
    Str(String),
    /// `u`
    U32(u32),
    /// `t`
    U64(u64),
    /// `b`
    Bool(bool),
    /// `as`
    Strings(Vec<String>),
}

impl Marshal for Value {
    fn signature(signature: &mut String) {
        signature.push('v');
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Str(value) => write_variant(writer, value),
            Self::U32(value) => write_variant(writer, value),
            Self::U64(value) => write_variant(writer, value),
            Self::Bool(value) => write_variant(writer, value),
            Self::Strings(value) => write_variant(writer, value),
        }
    }
}

fn write_variant<T: Marshal>(writer: &mut Writer, value: &T) {
    let mut signature = String::new();
    T::signature(&mut signature);
    writer.signature(&signature);
    value.write(writer);
}

macro_rules! basic {
    ($type:ty, $code:literal, $write:ident, $read:ident) => {
        impl Marshal for $type {
            fn signature(signature: &mut String) {
                signature.push($code);
            }
            fn write(&self, writer: &mut Writer) {
                writer.$write(*self);
            }
        }
        impl<'b> Unmarshal<'b> for $type {
            fn read(reader: &mut Reader<'b>) -> Result<Self, Malformed> {
                reader.$read()
            }
        }
    };
}

basic!(u8, 'y', byte, byte);
basic!(bool, 'b', bool, bool);
basic!(u32, 'u', u32, u32);
basic!(i32, 'i', i32, i32);
basic!(u64, 't', u64, u64);

impl Marshal for &str {
    fn signature(signature: &mut String) {
        signature.push('s');
    }
    fn write(&self, writer: &mut Writer) {
        writer.str(self);
    }
}

impl<'b> Unmarshal<'b> for &'b str {
    fn read(reader: &mut Reader<'b>) -> Result<Self, Malformed> {
        reader.str()
    }
}

impl Marshal for String {
    fn signature(signature: &mut String) {
        signature.push('s');
    }
    fn write(&self, writer: &mut Writer) {
        writer.str(self);
    }
}

impl<'b> Unmarshal<'b> for String {
    fn read(reader: &mut Reader<'b>) -> Result<Self, Malformed> {
        reader.str().map(str::to_owned)
    }
}

impl Marshal for ObjectPath {
    fn signature(signature: &mut String) {
        signature.push('o');
    }
    fn write(&self, writer: &mut Writer) {
        writer.str(&self.0);
    }
}

impl<'b> Unmarshal<'b> for ObjectPath {
    fn read(reader: &mut Reader<'b>) -> Result<Self, Malformed> {
        reader.path().map(|path| Self(path.to_owned()))
    }
}

/// The same, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRef<'b>(pub &'b str);

impl Marshal for PathRef<'_> {
    fn signature(signature: &mut String) {
        ObjectPath::signature(signature);
    }
    fn write(&self, writer: &mut Writer) {
        writer.str(self.0);
    }
}

impl<'b> Unmarshal<'b> for PathRef<'b> {
    fn read(reader: &mut Reader<'b>) -> Result<Self, Malformed> {
        reader.path().map(Self)
    }
}

impl Marshal for Bytes {
    fn signature(signature: &mut String) {
        signature.push_str("ay");
    }
    fn write(&self, writer: &mut Writer) {
        writer.array(1, |array| array.raw(1, &self.0));
    }
}

impl Marshal for &Bytes {
    fn signature(signature: &mut String) {
        Bytes::signature(signature);
    }
    fn write(&self, writer: &mut Writer) {
        Bytes::write(self, writer);
    }
}

impl<'b> Unmarshal<'b> for Bytes {
    fn read(reader: &mut Reader<'b>) -> Result<Self, Malformed> {
        let start = reader.array(1)?;
        Ok(Self(reader.since(&start).to_vec()))
    }
}

impl<T: Marshal> Marshal for &[T] {
    fn signature(signature: &mut String) {
        signature.push('a');
        T::signature(signature);
    }
    fn write(&self, writer: &mut Writer) {
        writer.array(alignment_of::<T>(), |elements| {
            for element in *self {
                element.write(elements);
            }
        });
    }
}

impl<T: Marshal> Marshal for Vec<T> {
    fn signature(signature: &mut String) {
        <&[T]>::signature(signature);
    }
    fn write(&self, writer: &mut Writer) {
        self.as_slice().write(writer);
    }
}

impl<'b, T: Unmarshal<'b>> Unmarshal<'b> for Vec<T> {
    fn read(reader: &mut Reader<'b>) -> Result<Self, Malformed> {
        let mut elements = reader.array(alignment_of::<T>())?;
        let mut values = Self::new();
        while !elements.is_at_end() {
            values.push(T::read(&mut elements)?);
        }
        Ok(values)
    }
}

fn alignment_of<T: Marshal>() -> usize {
    let mut signature = String::new();
    T::signature(&mut signature);
    signature.bytes().next().map_or(1, alignment)
}

/// An entry of a dictionary: a vector of these is `a{…}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<K, V>(pub K, pub V);

impl<K: Marshal, V: Marshal> Marshal for Entry<K, V> {
    fn signature(signature: &mut String) {
        signature.push('{');
        K::signature(signature);
        V::signature(signature);
        signature.push('}');
    }
    fn write(&self, writer: &mut Writer) {
        writer.align(8);
        self.0.write(writer);
        self.1.write(writer);
    }
}

impl Arguments for () {
    fn signature(_: &mut String) {}
    fn write(&self, _: &mut Writer) {}
}

impl<'b> ParseArguments<'b> for () {
    fn read(_: &mut Reader<'b>) -> Result<Self, Malformed> {
        Ok(())
    }
}

/// Tuples are the arguments of a message and, as values, structs.
macro_rules! tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: Marshal),+> Arguments for ($($name,)+) {
            fn signature(signature: &mut String) {
                $($name::signature(signature);)+
            }
            fn write(&self, writer: &mut Writer) {
                $(self.$index.write(writer);)+
            }
        }
        impl<'b, $($name: Unmarshal<'b>),+> ParseArguments<'b> for ($($name,)+) {
            fn read(reader: &mut Reader<'b>) -> Result<Self, Malformed> {
                Ok(($($name::read(reader)?,)+))
            }
        }
        impl<$($name: Marshal),+> Marshal for ($($name,)+) {
            fn signature(signature: &mut String) {
                signature.push('(');
                <Self as Arguments>::signature(signature);
                signature.push(')');
            }
            fn write(&self, writer: &mut Writer) {
                writer.align(8);
                Arguments::write(self, writer);
            }
        }
        impl<'b, $($name: Unmarshal<'b>),+> Unmarshal<'b> for ($($name,)+) {
            fn read(reader: &mut Reader<'b>) -> Result<Self, Malformed> {
                reader.align(8)?;
                ParseArguments::read(reader)
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
// A unit, as systemd lists it.
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
// The same behind the name of its node.
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::marshal::validate;

    #[test]
    fn arguments_survive_the_wire() {
        let body = Body::of(&(
            "rpi4",
            7_u32,
            true,
            vec![("a".to_owned(), ObjectPath("/b".into()))],
        ));
        assert_eq!(body.signature, "suba(so)");
        validate(&body.signature, &body.bytes, body.endian).unwrap();
        let (node, id, flag, list): (String, u32, bool, Vec<(String, ObjectPath)>) =
            body.parse().unwrap();
        assert_eq!((node.as_str(), id, flag), ("rpi4", 7, true));
        assert_eq!(list, [("a".to_owned(), ObjectPath("/b".into()))]);
        assert!(body.parse::<(String,)>().is_err());
    }

    #[test]
    fn properties_are_a_dictionary_of_variants() {
        let properties = vec![
            Entry("Id", Value::U32(3)),
            Entry("Nodes", Value::Strings(vec!["a".into(), "b".into()])),
            Entry("Seen", Value::U64(9)),
        ];
        let body = Body::of(&(properties,));
        assert_eq!(body.signature, "a{sv}");
        validate(&body.signature, &body.bytes, body.endian).unwrap();
    }

    #[test]
    fn bytes_are_an_array_whatever_they_are() {
        for bytes in [&b""[..], b"a\0\xff\n"] {
            let body = Body::of(&(1_u32, Bytes(bytes.to_vec()), 2_u32));
            assert_eq!(body.signature, "uayu");
            validate(&body.signature, &body.bytes, body.endian).unwrap();
            let (first, read, last): (u32, Bytes, u32) = body.parse().unwrap();
            assert_eq!((first, read.0.as_slice(), last), (1, bytes, 2));
        }
    }

    #[test]
    fn recorded_bodies_are_read_again() {
        let body = Body::of(&("x", 255_u32));
        let text = serde_json::to_string(&body).unwrap();
        assert_eq!(serde_json::from_str::<Body>(&text).unwrap(), body);
    }
}
