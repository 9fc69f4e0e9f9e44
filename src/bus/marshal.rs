//! Marshalling (D-Bus Specification, "Marshaling"): a writer here, and in [`super::reader`] a reader
//! and the check of bytes against a signature.
//!
//! What we compose is little endian; a relayed body keeps the order in which it came, and its new
//! header is then written in that order.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::reader::{Reader, validate};
use super::signature;

/// Byte order of a message (the first byte of its header).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endian {
    /// `l`
    #[default]
    Little,
    /// `B`
    Big,
}

/// Bytes that do not marshal what their signature says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Offset of the byte at which the value could not be read.
    pub offset: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: expected {}", self.offset, self.expected)
    }
}

impl std::error::Error for Malformed {}

/// Appends values, aligned as the specification demands.
///
/// Offsets count from the start of the writer, so one writer holds one body or one message.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    endian: Endian,
}

impl Writer {
    /// An empty writer of one byte order with room for `capacity` bytes.
    #[must_use]
    pub fn with_order(endian: Endian, capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity),
            endian,
        }
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Number of bytes written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Pads with zeros up to a multiple of `alignment`, a power of two.
    pub fn align(&mut self, alignment: usize) {
        debug_assert!(alignment.is_power_of_two());
        let aligned = (self.bytes.len() + (alignment - 1)) & !(alignment - 1);
        if aligned != self.bytes.len() {
            self.bytes.resize(aligned, 0);
        }
    }

    /// `y`
    pub fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// `b`
    pub fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// `u`
    pub fn u32(&mut self, value: u32) {
        self.align(4);
        let bytes = self.ordered_u32(value);
        self.bytes.extend_from_slice(&bytes);
    }

    const fn ordered_u32(&self, value: u32) -> [u8; 4] {
        match self.endian {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        }
    }

    /// `i`
    pub fn i32(&mut self, value: i32) {
        self.u32(value.cast_unsigned());
    }

    /// `t`
    pub fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend_from_slice(&match self.endian {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        });
    }

    /// `s` or `o`; a NUL byte can not be marshalled and ends the text.
    pub fn str(&mut self, value: &str) {
        let value = value.split('\0').next().unwrap_or_default();
        self.u32(length(value.len()));
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
    }

    /// `g`; `value` must be a valid signature, which is at most 255 bytes long.
    pub fn signature(&mut self, value: &str) {
        debug_assert!(signature::is_valid(value), "{value}");
        self.bytes
            .push(u8::try_from(value.len()).unwrap_or(u8::MAX));
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
    }

    /// An array of elements with the given alignment; `elements` writes them.
    pub fn array(&mut self, element_alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length_at = self.bytes.len() - 4;
        self.align(element_alignment);
        let start = self.bytes.len();
        elements(self);
        let written = self.ordered_u32(length(self.bytes.len() - start));
        self.bytes[length_at..length_at + 4].copy_from_slice(&written);
    }

    /// Marshalled bytes as they are, after padding to `alignment`.
    pub fn raw(&mut self, alignment: usize, bytes: &[u8]) {
        self.align(alignment);
        self.bytes.extend_from_slice(bytes);
    }
}

/// A length as the wire carries it. Bodies are bounded far below 4 GiB before they get here.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_valid_and_read_again() {
        let mut writer = Writer::default();
        writer.byte(7);
        writer.str("unit");
        writer.array(8, |entries| {
            entries.align(8);
            entries.str("key");
            entries.signature("t");
            entries.u64(5);
        });
        writer.bool(true);
        let bytes = writer.into_bytes();
        validate("ysa{sv}b", &bytes, Endian::Little).unwrap();
        let mut reader = Reader::new(&bytes, Endian::Little);
        assert_eq!(reader.byte(), Ok(7));
        assert_eq!(reader.str(), Ok("unit"));
        let mut entries = reader.array(8).unwrap();
        entries.align(8).unwrap();
        assert_eq!(entries.str(), Ok("key"));
        let (signature, mut value) = entries.variant().unwrap();
        assert_eq!((signature, value.u64()), ("t", Ok(5)));
        assert!(entries.is_at_end());
        assert_eq!(reader.bool(), Ok(true));
    }
}
