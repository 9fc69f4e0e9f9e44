//! JSON for scripts.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{call::Variant, output::is_hostile};
use crate::bus::{
    marshal::{Malformed, Reader},
    signature::{alignment, first_type},
};

/// One value as a line without its end. What steers a terminal is escaped here, too.
pub(super) fn text(value: &impl Serialize) -> String {
    // Records are plain structures with text keys, which always can be written.
    let text = serde_json::to_string(value).unwrap_or_default();
    let is_harmless = |character: &char| character.is_ascii() && *character != '\x7f';
    if text.chars().all(|character| is_harmless(&character)) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        // Outside of strings JSON has none of these, and all of them have four hex digits.
        if is_hostile(character) {
            // Writing to a String does not fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// The value of a property, whatever its type: structures are arrays, dictionaries are objects.
pub(super) fn of_variant(variant: &Variant<'_>) -> Value {
    // All of it was checked when the variant was read, so there is nothing wrong with it.
    of_type(variant.signature.as_bytes(), &mut variant.value.clone()).unwrap_or_default()
}

/// Reads one value of the type with which a valid signature begins.
fn of_type(signature: &[u8], reader: &mut Reader<'_>) -> Result<Value, Malformed> {
    Ok(match signature {
        [b'y', ..] => reader.byte()?.into(),
        [b'b', ..] => reader.bool()?.into(),
        [b'n', ..] => reader.u16()?.cast_signed().into(),
        [b'q', ..] => reader.u16()?.into(),
        [b'i', ..] => reader.i32()?.into(),
        [b'u', ..] => reader.u32()?.into(),
        [b'x', ..] => reader.u64()?.cast_signed().into(),
        [b't', ..] => reader.u64()?.into(),
        [b'd', ..] => f64::from_bits(reader.u64()?).into(),
        [b's', ..] => reader.str()?.into(),
        [b'o', ..] => reader.path()?.into(),
        [b'g', ..] => reader.signature()?.into(),
        [b'v', ..] => of_variant(&Variant::read(reader)?),
        [b'a', b'{', entry @ ..] => of_dictionary(entry, reader)?,
        [b'a', element @ ..] => {
            let alignment = element.first().map_or(1, |code| alignment(*code));
            let mut elements = reader.array(alignment)?;
            let mut values = Vec::new();
            while !elements.is_at_end() {
                values.push(of_type(element, &mut elements)?);
            }
            values.into()
        }
        [b'(', fields @ ..] => {
            reader.align(8)?;
            let (mut fields, mut values) = (fields, Vec::new());
            while fields.first().is_some_and(|code| *code != b')') {
                values.push(of_type(fields, reader)?);
                fields = after_type(fields);
            }
            values.into()
        }
        // A descriptor means nothing outside of its process.
        _ => reader.u32().map(|_| Value::Null)?,
    })
}

/// Reads a dictionary, whose entries have this type of the key and behind it that of the value.
fn of_dictionary(entry: &[u8], reader: &mut Reader<'_>) -> Result<Value, Malformed> {
    let mut entries = reader.array(8)?;
    let mut object = Map::new();
    while !entries.is_at_end() {
        entries.align(8)?;
        let key = as_text(of_type(entry, &mut entries)?);
        object.insert(key, of_type(after_type(entry), &mut entries)?);
    }
    Ok(object.into())
}

/// What follows the type with which a valid signature begins.
fn after_type(signature: &[u8]) -> &[u8] {
    let length = first_type(signature).unwrap_or(signature.len());
    &signature[length..]
}

/// Text as it is, the rest as JSON.
fn as_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// The value of a property for people: text as it is, the rest as JSON.
pub(super) fn plain(variant: &Variant<'_>) -> String {
    as_text(of_variant(variant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{
        Value,
        body::{Entry, Marshal},
        marshal::{Endian, Writer},
    };

    #[test]
    fn whatever_steers_a_terminal_is_escaped() {
        for (value, expected) in [
            ("a\"b\\ü", r#""a\"b\\ü""#),
            ("a\x1b[1m\n", r#""a\u001b[1m\n""#),
            ("\x7f\u{9b}\u{202e}", r#""\u007f\u009b\u202e""#),
        ] {
            assert_eq!(text(&value), expected);
            assert_eq!(serde_json::from_str::<String>(expected).unwrap(), value);
        }
    }

    #[test]
    fn properties_of_every_type_are_told() {
        let told = |signature: &'static str, write: fn(&mut Writer)| {
            let mut writer = Writer::default();
            writer.signature(signature);
            write(&mut writer);
            let bytes = writer.into_bytes();
            let mut reader = Reader::new(&bytes, Endian::Little);
            let variant = Variant::read(&mut reader).unwrap();
            assert!(reader.is_at_end());
            plain(&variant)
        };
        assert_eq!(told("s", |writer| writer.str("text")), "text");
        assert_eq!(told("b", |writer| writer.bool(true)), "true");
        assert_eq!(
            told("t", |writer| writer.u64(u64::MAX)),
            u64::MAX.to_string()
        );
        assert_eq!(told("x", |writer| writer.u64(u64::MAX)), "-1");
        assert_eq!(told("d", |writer| writer.u64(1.5_f64.to_bits())), "1.5");
        assert_eq!(told("d", |writer| writer.u64(f64::NAN.to_bits())), "null");
        assert_eq!(told("i", |writer| writer.i32(-1)), "-1");
        assert_eq!(told("n", |writer| writer.raw(2, &[0xff, 0xff])), "-1");
        assert_eq!(told("q", |writer| writer.raw(2, &[1, 1])), "257");
        assert_eq!(told("h", |writer| writer.u32(3)), "null");
        assert_eq!(
            told("as", |writer| ["a", "b"].as_slice().write(writer)),
            r#"["a","b"]"#
        );
        assert_eq!(
            told("(a(us)ayv)", |writer| {
                let parts = (vec![(1_u32, "x")], vec![7_u8], Value::Str("y".into()));
                Marshal::write(&parts, writer);
            }),
            r#"[[[1,"x"]],[7],"y"]"#
        );
        assert_eq!(
            told("a{uas}", |writer| {
                vec![Entry(1_u32, vec!["x"]), Entry(2, vec![])].write(writer);
            }),
            r#"{"1":["x"],"2":[]}"#
        );
    }
}
