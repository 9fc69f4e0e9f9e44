//! What a wrong word was probably meant to be.

/// Most letters in which a word may differ from the one that it was meant to be.
const MISTAKES: usize = 2;

/// The candidate that `word` is a misspelling of, if there is one: the same but for case, or at most
/// two letters added, lost or changed.
pub(crate) fn similar<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .filter(|candidate| word.len().abs_diff(candidate.len()) <= MISTAKES)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|&(distance, _)| distance <= MISTAKES)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The edit distance (Levenshtein) of two words, where upper and lower case are the same.
fn distance(word: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, byte) in word.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in other.bytes().enumerate() {
            let change = diagonal + usize::from(!byte.eq_ignore_ascii_case(&other));
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_words_are_recognised() {
        let keys = ["ManagerPort", "ManagerHost", "LogLevel", "LogTarget"];
        for (word, expected) in [
            ("managerport", Some("ManagerPort")),
            ("MangerPort", Some("ManagerPort")),
            ("ManagerPrt", Some("ManagerPort")),
            ("ManagersHosts", Some("ManagerHost")),
            ("Loglevle", Some("LogLevel")),
            ("Log", None),
            ("ControllerPort", None),
            ("", None),
        ] {
            assert_eq!(similar(word, keys), expected, "{word}");
        }
    }
}
