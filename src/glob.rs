//! Patterns for names.

/// True when `pattern` matches all of `text`: `*` stands for any characters, `?` for one, every
/// other character for itself. Takes at most the product of the two lengths, so that no pattern
/// can make it stall.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where to go on when the characters after the last `*` do not match: the `*` takes one more.
    let mut retry = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some('*') => {
                retry = Some((at_pattern + 1, at_text + 1));
                at_pattern += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => {
                let Some((after_star, next)) = retry else {
                    return false;
                };
                (at_pattern, at_text) = (after_star, next);
                retry = Some((after_star, next + 1));
            }
        }
    }
    pattern[at_pattern..].iter().all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_a_shell_does() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "httpd.service", true),
            ("httpd*", "httpd.service", true),
            ("*.service", "httpd.service", true),
            ("*.service", "httpd.socket", false),
            ("h??pd.*", "httpd.service", true),
            ("h?pd.*", "httpd.service", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("*ab", "aab", true),
            ("httpd", "httpd.service", false),
            (r"dev-\x2d?", r"dev-\x2da", true),
            ("?", "ü", true),
            ("[a]", "[a]", true),
            ("[a]", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        let text = "a".repeat(2000);
        assert!(!matches(&format!("{}b", "*a".repeat(500)), &text));
    }
}
