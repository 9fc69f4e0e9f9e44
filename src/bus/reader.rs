//! Reading what was marshalled, and checking it: all that a peer sends passes here.

use super::{
    marshal::{Endian, Malformed},
    signature::{self, alignment},
};

/// Longest array the specification allows, in bytes.
const MAX_ARRAY_LEN: usize = 64 << 20;
/// Deepest nesting of containers, variants included, that the specification allows.
const MAX_DEPTH: usize = 64;

const TEXT: &str = "UTF-8 without NUL before";
const PATH: &str = "an object path";

/// Reads values from marshalled bytes and trusts none of them.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
    endian: Endian,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`, which must begin at an offset that is a multiple of 8.
    #[must_use]
    pub const fn new(bytes: &'a [u8], endian: Endian) -> Self {
        Self {
            bytes,
            offset: 0,
            endian,
        }
    }

    /// Bytes read so far.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Whether everything was read.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.offset >= self.bytes.len()
    }

    const fn malformed(&self, expected: &'static str) -> Malformed {
        Malformed {
            offset: self.offset,
            expected,
        }
    }

    /// Skips padding, which must be zeros, up to a multiple of `alignment`, a power of two.
    #[inline]
    pub fn align(&mut self, alignment: usize) -> Result<(), Malformed> {
        debug_assert!(alignment.is_power_of_two());
        let aligned = (self.offset + (alignment - 1)) & !(alignment - 1);
        if aligned == self.offset {
            return Ok(());
        }
        self.skip_padding(aligned)
    }

    fn skip_padding(&mut self, aligned: usize) -> Result<(), Malformed> {
        match self.bytes.get(self.offset..aligned) {
            Some(padding) if padding.iter().all(|byte| *byte == 0) => {
                self.offset = aligned;
                Ok(())
            }
            _ => Err(self.malformed("padding of zeros")),
        }
    }

    #[inline]
    fn take(&mut self, count: usize, expected: &'static str) -> Result<&'a [u8], Malformed> {
        let end = self.offset.checked_add(count);
        match end.and_then(|end| self.bytes.get(self.offset..end)) {
            Some(taken) => {
                self.offset += count;
                Ok(taken)
            }
            None => Err(self.malformed(expected)),
        }
    }

    #[inline]
    fn fixed<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], Malformed> {
        self.align(N)?;
        let rest = self.bytes.get(self.offset..);
        match rest.and_then(<[u8]>::first_chunk) {
            Some(value) => {
                self.offset += N;
                Ok(*value)
            }
            None => Err(self.malformed(expected)),
        }
    }

    /// `y`
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1, "a byte")?[0])
    }

    /// `b`
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed("a boolean, 0 or 1, before")),
        }
    }

    /// `q`
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        let bytes = self.fixed::<2>("2 bytes")?;
        Ok(match self.endian {
            Endian::Little => u16::from_le_bytes(bytes),
            Endian::Big => u16::from_be_bytes(bytes),
        })
    }

    /// `u`
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.fixed::<4>("4 bytes")?;
        Ok(match self.endian {
            Endian::Little => u32::from_le_bytes(bytes),
            Endian::Big => u32::from_be_bytes(bytes),
        })
    }

    /// `i`
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.u32().map(u32::cast_signed)
    }

    /// `t`
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let bytes = self.fixed::<8>("8 bytes")?;
        Ok(match self.endian {
            Endian::Little => u64::from_le_bytes(bytes),
            Endian::Big => u64::from_be_bytes(bytes),
        })
    }

    /// `s`
    pub fn str(&mut self) -> Result<&'a str, Malformed> {
        let count = self.u32()? as usize;
        self.text(count)
    }

    /// `o`
    pub fn path(&mut self) -> Result<&'a str, Malformed> {
        let start = self.offset;
        let path = self.str()?;
        if is_object_path(path.as_bytes()) {
            Ok(path)
        } else {
            Err(Malformed {
                offset: start,
                expected: PATH,
            })
        }
    }

    /// `g`
    pub fn signature(&mut self) -> Result<&'a str, Malformed> {
        let start = self.offset;
        let count = usize::from(self.byte()?);
        let text = self.text(count)?;
        if signature::is_valid(text) {
            Ok(text)
        } else {
            Err(Malformed {
                offset: start,
                expected: "a signature",
            })
        }
    }

    fn text(&mut self, count: usize) -> Result<&'a str, Malformed> {
        let bytes = self.text_bytes(count)?;
        match std::str::from_utf8(bytes) {
            Ok(text) if !bytes.contains(&0) => Ok(text),
            _ => Err(self.malformed(TEXT)),
        }
    }

    /// The bytes of text, in which a NUL byte or bad UTF-8 may be.
    #[inline]
    fn text_bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let bytes = self.take(count, "text of the announced length")?;
        if self.byte()? != 0 {
            return Err(self.malformed("a NUL byte before, after text"));
        }
        Ok(bytes)
    }

    fn skip_str(&mut self) -> Result<(), Malformed> {
        let count = self.u32()? as usize;
        let bytes = self.text_bytes(count)?;
        if is_ascii_without_nul(bytes) || is_utf8_without_nul(bytes) {
            Ok(())
        } else {
            Err(self.malformed(TEXT))
        }
    }

    /// Passes text without looking at it: for bytes that were checked before.
    pub fn pass_text(&mut self) -> Result<(), Malformed> {
        let count = self.u32()? as usize;
        self.text_bytes(count).map(drop)
    }

    fn skip_path(&mut self) -> Result<(), Malformed> {
        let start = self.offset;
        let count = self.u32()? as usize;
        if is_object_path(self.text_bytes(count)?) {
            Ok(())
        } else {
            Err(Malformed {
                offset: start,
                expected: PATH,
            })
        }
    }

    /// An array: a reader for its elements, which this reader has then passed.
    pub fn array(&mut self, element_alignment: usize) -> Result<Self, Malformed> {
        let count = self.u32()? as usize;
        if count > MAX_ARRAY_LEN {
            return Err(self.malformed("an array of at most 64 MiB before"));
        }
        self.align(element_alignment)?;
        let start = self.offset;
        self.take(count, "an array of the announced length")?;
        Ok(Self {
            bytes: &self.bytes[..self.offset],
            offset: start,
            endian: self.endian,
        })
    }

    /// Passes one value of the single complete type at the start of `signature` and returns how
    /// long that type is. This is also the check that the bytes are valid.
    pub fn skip(&mut self, signature: &[u8]) -> Result<usize, Malformed> {
        self.skip_nested(signature, 0)
    }

    fn skip_nested(&mut self, signature: &[u8], depth: usize) -> Result<usize, Malformed> {
        let code = *signature.first().ok_or_else(|| self.malformed("a type"))?;
        if depth > MAX_DEPTH {
            return Err(self.malformed("less nesting"));
        }
        match code {
            b'y' => self.byte().map(drop)?,
            b'n' | b'q' => self.u16().map(drop)?,
            b'b' => self.bool().map(drop)?,
            b'i' | b'u' | b'h' => self.u32().map(drop)?,
            b'x' | b't' | b'd' => self.u64().map(drop)?,
            b's' => self.skip_str()?,
            b'o' => self.skip_path()?,
            b'g' => self.signature().map(drop)?,
            b'v' => self.skip_variant(depth)?,
            b'a' => return self.skip_array(signature, depth),
            b'(' | b'{' => return self.skip_struct(signature, depth),
            _ => return Err(self.malformed("a known type")),
        }
        Ok(1)
    }

    fn skip_variant(&mut self, depth: usize) -> Result<(), Malformed> {
        let inner = self.signature()?;
        if !signature::is_single(inner) {
            return Err(self.malformed("a single complete type in a variant before"));
        }
        self.skip_nested(inner.as_bytes(), depth + 1).map(drop)
    }

    fn skip_array(&mut self, signature: &[u8], depth: usize) -> Result<usize, Malformed> {
        let element = &signature[1..];
        let code = *element
            .first()
            .ok_or_else(|| self.malformed("an element type"))?;
        let length = first_element_len(element).ok_or_else(|| self.malformed("a valid type"))?;
        let mut elements = self.array(alignment(code))?;
        if code == b'y' {
            return Ok(1 + length);
        }
        while !elements.is_at_end() {
            elements.skip_nested(element, depth + 1)?;
        }
        Ok(1 + length)
    }

    fn skip_struct(&mut self, signature: &[u8], depth: usize) -> Result<usize, Malformed> {
        self.align(8)?;
        let mut at = 1;
        loop {
            match signature.get(at) {
                Some(b')' | b'}') => return Ok(at + 1),
                // Most fields of the largest bodies, lists of units, are these two.
                Some(b's') => {
                    self.skip_str()?;
                    at += 1;
                }
                Some(b'o') => {
                    self.skip_path()?;
                    at += 1;
                }
                Some(_) => at += self.skip_nested(&signature[at..], depth + 1)?,
                None => return Err(self.malformed("the end of a struct")),
            }
        }
    }

    /// A variant: the signature of its value, and the bytes of the value as a body of their own
    /// would have them if the value starts at a multiple of 8.
    pub fn variant(&mut self) -> Result<(&'a str, Self), Malformed> {
        let inner = self.signature()?;
        if !signature::is_single(inner) {
            return Err(self.malformed("a single complete type in a variant before"));
        }
        let value = self.clone();
        self.skip_nested(inner.as_bytes(), 1)?;
        Ok((inner, value))
    }

    /// The bytes between an earlier position of this reader and its present one.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> &'a [u8] {
        &self.bytes[earlier.offset..self.offset]
    }
}

/// Length of an array's element type, which may also be a dictionary entry.
fn first_element_len(element: &[u8]) -> Option<usize> {
    if element.first() == Some(&b'{') {
        let mut at = 1;
        while *element.get(at)? != b'}' {
            at += signature::first_type(&element[at..])?;
        }
        return Some(at + 1);
    }
    signature::first_type(element)
}

/// Checks that `bytes` are exactly the values that `signature` names.
pub fn validate(signature: &str, bytes: &[u8], endian: Endian) -> Result<(), Malformed> {
    let mut reader = Reader::new(bytes, endian);
    let mut rest = signature.as_bytes();
    while !rest.is_empty() {
        let length = reader.skip(rest)?;
        rest = &rest[length..];
    }
    if reader.is_at_end() {
        Ok(())
    } else {
        Err(reader.malformed("the end of the body"))
    }
}

/// Whether `path` is an object path (D-Bus Specification, "Valid Object Paths").
fn is_object_path(path: &[u8]) -> bool {
    let [b'/', elements @ ..] = path else {
        return false;
    };
    let mut last = b'/';
    for &byte in elements {
        let is_valid = if byte == b'/' {
            last != b'/'
        } else {
            IN_PATH_ELEMENT[usize::from(byte)]
        };
        if !is_valid {
            return false;
        }
        last = byte;
    }
    last != b'/' || elements.is_empty()
}

/// `[A-Za-z0-9_]`, by byte.
const IN_PATH_ELEMENT: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        table[byte as usize] = byte == b'_' || byte.is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

/// Whether all bytes are from 1 to 127, eight at a time: nearly all text on the wire is.
fn is_ascii_without_nul(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let (words, rest) = bytes.as_chunks();
    // Of bytes up to 127 only 0 gets its high bit set by the subtraction of 1, or by its borrow.
    words.iter().all(|word| {
        let word = u64::from_ne_bytes(*word);
        (word | word.wrapping_sub(ONES)) & HIGH == 0
    }) && rest.iter().all(|byte| (1..128).contains(byte))
}

fn is_utf8_without_nul(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_text_is_looked_at() {
        let text = |bytes: &[u8]| {
            let mut marshalled = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
            marshalled.extend_from_slice(bytes);
            marshalled.push(0);
            validate("s", &marshalled, Endian::Little).is_ok()
        };
        for length in 0..40 {
            assert!(text(&vec![b'\x01'; length]) && text(&vec![b'\x7f'; length]));
            for at in 0..length {
                for (byte, valid) in [(0, false), (1, true), (0x80, false), (0xff, false)] {
                    let mut bytes = vec![b'x'; length];
                    bytes[at] = byte;
                    assert_eq!(text(&bytes), valid, "{byte:#04x} at {at} of {length}");
                }
            }
        }
        assert!(text("größer als €".as_bytes()));
    }

    #[test]
    fn object_paths() {
        for path in ["/", "/a", "/a/b_2d/Z9"] {
            assert!(is_object_path(path.as_bytes()), "{path}");
        }
        for path in ["", "a", "a/b", "//", "/a/", "/a//b", "/a-b", "/ä", "/a\0"] {
            assert!(!is_object_path(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let cases: &[(&str, &[u8])] = &[
            ("s", &[255, 255, 255, 255, 0]),
            ("s", &[1, 0, 0, 0, b'a']),
            ("s", &[1, 0, 0, 0, b'a', 1]),
            ("s", &[1, 0, 0, 0, 0, 0]),
            ("s", &[1, 0, 0, 0, 0xff, 0]),
            ("b", &[2, 0, 0, 0]),
            ("o", &[1, 0, 0, 0, b'x', 0]),
            ("yu", &[1, 1, 0, 0, 1, 0, 0, 0]),
            ("v", &[2, b's', b's', 0]),
            ("v", &[0, 0]),
            ("v", &[1, b'a', 0]),
            ("as", &[3, 0, 0, 0, 1, 0, 0]),
            ("u", &[1, 0, 0, 0, 0]),
            ("au", &[6, 0, 0, 0, 1, 0, 0, 0, 2, 0]),
        ];
        for (signature, bytes) in cases {
            assert!(
                validate(signature, bytes, Endian::Little).is_err(),
                "{signature} {bytes:?}"
            );
        }
        let mut nested = Vec::new();
        for _ in 0..100 {
            nested.extend_from_slice(&[1, b'v', 0]);
        }
        nested.extend_from_slice(&[1, b'y', 0, 1]);
        assert!(validate("v", &nested, Endian::Little).is_err());
    }
}
