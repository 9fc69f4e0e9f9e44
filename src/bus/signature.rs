//! Type signatures (D-Bus Specification, "Type System"): their grammar and alignments.

/// Deepest nesting of arrays, and of structs, that the specification allows ("Valid Signatures").
const MAX_NESTING: usize = 32;
/// Longest signature the specification allows, in bytes.
const MAX_SIGNATURE_LEN: usize = 255;

/// Whether `signature` is a sequence of any number of complete types.
#[must_use]
pub fn is_valid(signature: &str) -> bool {
    let mut rest = signature.as_bytes();
    if rest.len() > MAX_SIGNATURE_LEN {
        return false;
    }
    while !rest.is_empty() {
        match complete_type(rest, 0, 0) {
            Some(length) => rest = &rest[length..],
            None => return false,
        }
    }
    true
}

/// Whether `signature` is exactly one complete type, as a variant needs.
#[must_use]
pub fn is_single(signature: &str) -> bool {
    let bytes = signature.as_bytes();
    bytes.len() <= MAX_SIGNATURE_LEN && complete_type(bytes, 0, 0) == Some(bytes.len())
}

/// Length of the complete type at the start of `signature`, which must be valid.
#[must_use]
pub fn first_type(signature: &[u8]) -> Option<usize> {
    complete_type(signature, 0, 0)
}

/// Alignment of values of the type that starts with `code`.
#[must_use]
pub const fn alignment(code: u8) -> usize {
    match code {
        b'n' | b'q' => 2,
        b'b' | b'i' | b'u' | b'h' | b's' | b'o' | b'a' => 4,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 1,
    }
}

/// Whether `code` names a basic type, the only kind that may be a dictionary's key.
const fn is_basic(code: u8) -> bool {
    matches!(
        code,
        b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'h'
    )
}

fn complete_type(signature: &[u8], arrays: usize, structs: usize) -> Option<usize> {
    match *signature.first()? {
        b'v' => Some(1),
        code if is_basic(code) => Some(1),
        b'a' if arrays == MAX_NESTING => None,
        b'a' if signature.get(1) == Some(&b'{') => {
            if structs == MAX_NESTING || !is_basic(*signature.get(2)?) {
                return None;
            }
            let value = complete_type(&signature[3..], arrays + 1, structs + 1)?;
            (signature.get(3 + value) == Some(&b'}')).then_some(value + 4)
        }
        b'a' => complete_type(&signature[1..], arrays + 1, structs).map(|length| length + 1),
        b'(' if structs < MAX_NESTING => {
            let mut end = 1;
            while *signature.get(end)? != b')' {
                end += complete_type(&signature[end..], arrays, structs + 1)?;
            }
            (end > 1).then_some(end + 1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        for valid in [
            "",
            "s",
            "a{sv}",
            "a(ssssssouso)",
            "sa{sv}as",
            "a{s(ia{yv})}",
            "aaas",
            "ba(sss)",
        ] {
            assert!(is_valid(valid), "{valid}");
        }
        let deep = "a".repeat(33) + "s";
        let nested = "(".repeat(33) + "s" + &")".repeat(33);
        for invalid in [
            "a", "(", "()", "(s", "s)", "{sv}", "a{vs}", "a{s}", "a{ssv}", "z", "a{(s)s}", &deep,
            &nested,
        ] {
            assert!(!is_valid(invalid), "{invalid}");
        }
        assert!(is_single("a(so)") && !is_single("ss") && !is_single(""));
    }
}
