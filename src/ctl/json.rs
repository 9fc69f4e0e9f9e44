//! JSON for scripts.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Map, Number, Value};
use zbus::Variant;

use super::output::is_hostile;

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
    match variant {
        Variant::U8(value) => Value::from(*value),
        Variant::Bool(value) => Value::from(*value),
        Variant::I16(value) => Value::from(*value),
        Variant::U16(value) => Value::from(*value),
        Variant::I32(value) => Value::from(*value),
        Variant::U32(value) => Value::from(*value),
        Variant::I64(value) => Value::from(*value),
        Variant::U64(value) => Value::from(*value),
        Variant::F64(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
        Variant::Str(value) => Value::from(value.as_str()),
        Variant::Signature(value) => Value::from(value.to_string()),
        Variant::ObjectPath(value) => Value::from(value.as_str()),
        Variant::Variant(value) => of_variant(value),
        Variant::Array(values) => values.inner().iter().map(of_variant).collect(),
        Variant::Structure(values) => values.fields().iter().map(of_variant).collect(),
        Variant::Dict(entries) => {
            let mut object = Map::new();
            for (key, value) in entries.iter() {
                object.insert(plain(key), of_variant(value));
            }
            Value::Object(object)
        }
        // A descriptor means nothing outside of its process.
        Variant::Fd(_) => Value::Null,
    }
}

/// The value of a property for people: text as it is, the rest as JSON.
pub(super) fn plain(variant: &Variant<'_>) -> String {
    match of_variant(variant) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (variant, expected) in [
            (Variant::from("text"), "text"),
            (Variant::from(true), "true"),
            (Variant::from(u64::MAX), "18446744073709551615"),
            (Variant::from(-1_i32), "-1"),
            (Variant::from(vec!["a", "b"]), r#"["a","b"]"#),
            (Variant::from((1_u32, "x")), r#"[1,"x"]"#),
        ] {
            assert_eq!(plain(&variant), expected);
        }
    }
}
