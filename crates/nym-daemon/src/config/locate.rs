//! Finding lines and keys in the text of a configuration file, and the key a person meant.

/// What a deserialiser's message says about a key.
pub(super) enum KeyProblem {
    Missing,
    Other,
    Unknown { key: String, allowed: Vec<String> },
}

impl KeyProblem {
    /// Recognises serde's fixed phrases; any other message is [`KeyProblem::Other`].
    pub(super) fn from_message(message: &str) -> Self {
        if message.starts_with("missing field ") {
            return Self::Missing;
        }
        let Some(rest) = message.strip_prefix("unknown field ") else {
            return Self::Other;
        };
        // "unknown field `x`, expected one of `a`, `b`" or "…, there are no fields".
        let mut quoted = rest.split('`').skip(1).step_by(2).map(str::to_owned);
        match quoted.next() {
            Some(key) => Self::Unknown {
                key,
                allowed: quoted.collect(),
            },
            None => Self::Other,
        }
    }
}

/// What to say about a key that is not known.
pub(super) fn describe_unknown(key: &str, allowed: &[String]) -> String {
    let mut text = format!("unknown key `{key}`");
    if let Some(nearest) = nearest(key, allowed) {
        text.push_str(&format!("; did you mean `{nearest}`?"));
    } else {
        text.push(';');
    }
    if allowed.is_empty() {
        text.push_str(" no keys are allowed here");
    } else {
        let list = allowed
            .iter()
            .map(|key| format!("`{key}`"))
            .collect::<Vec<_>>();
        text.push_str(&format!(" allowed here: {}", list.join(", ")));
    }
    text
}

/// The known key nearest to the given one, if it is near enough to be meant: at most a third of
/// its letters differ.
pub(super) fn nearest<'a>(key: &str, known: &'a [String]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (edit_distance(key, candidate), candidate.as_str()))
        .min_by_key(|&(distance, _)| distance)
        .filter(|&(distance, candidate)| distance * 3 <= candidate.chars().count().max(3))
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: letters to insert, delete or replace to get from one to the other.
/// Hyphens and underscores count as the same, and so do capitals and small letters.
fn edit_distance(a: &str, b: &str) -> usize {
    let normal = |c: char| {
        if c == '-' {
            '_'
        } else {
            c.to_ascii_lowercase()
        }
    };
    let b: Vec<char> = b.chars().map(normal).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().map(normal).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (above, other) in row.iter_mut().skip(1).zip(&b) {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = *above;
            left = replaced.min(left + 1).min(diagonal + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The number, from 1, of the line that holds byte `offset`.
pub(super) fn line_of_offset(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|&byte| byte == b'\n')
        .count()
}

/// The dotted key that line number `line` assigns, if it assigns one.
pub(super) fn key_of_line(text: &str, line: usize) -> Option<String> {
    assignments(text)
        .find(|(number, _)| *number == line)
        .map(|(_, key)| key)
        .filter(|key| !key.is_empty())
}

/// The number of the line that assigns the dotted `key` or opens the table of that name.
pub(super) fn line_of_key(text: &str, key: &str) -> Option<usize> {
    assignments(text)
        .find(|(_, assigned)| assigned == key)
        .map(|(number, _)| number)
}

/// Line numbers with the dotted keys they assign. A scan by line, good enough for pointing a
/// person at a place: lines within multi-line strings or arrays may be taken for assignments.
fn assignments(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut table = String::new();
    text.lines().enumerate().filter_map(move |(index, line)| {
        let line = line.trim();
        if line.starts_with('#') {
            return None;
        }
        if let Some(header) = line.strip_prefix('[') {
            table = header
                .split(']')
                .next()?
                .trim_start_matches('[')
                .trim()
                .to_owned();
            return Some((index + 1, table.clone()));
        }
        let (key, _) = line.split_once('=')?;
        let key = key.trim().trim_matches('"');
        let dotted = if table.is_empty() {
            key.to_owned()
        } else {
            format!("{table}.{key}")
        };
        Some((index + 1, dotted))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn distances_are_levenshteins() {
        for (a, b, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("mix-port", "mix_port", 0),
            ("Port", "port", 0),
            ("prot", "port", 2),
        ] {
            assert_eq!(edit_distance(a, b), distance, "{a} and {b}");
        }
    }

    #[test]
    fn only_near_keys_are_proposed() {
        let known = ["mix_port".to_owned(), "id".to_owned()];
        assert_eq!(nearest("mix_prot", &known), Some("mix_port"));
        assert_eq!(nearest("completely_different", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn keys_are_found_in_their_tables() {
        let text = "# a = 0\na = 1\n[t]\n  b = 2\n[t.u]\n\"c\" = 3\n";
        assert_eq!(line_of_key(text, "a"), Some(2));
        assert_eq!(line_of_key(text, "t"), Some(3));
        assert_eq!(line_of_key(text, "t.b"), Some(4));
        assert_eq!(line_of_key(text, "t.u.c"), Some(6));
        assert_eq!(line_of_key(text, "b"), None);
        assert_eq!(key_of_line(text, 4).as_deref(), Some("t.b"));
        assert_eq!(key_of_line(text, 1), None);
        assert_eq!(key_of_line("[[[", 1), None);
    }

    proptest! {
        #[test]
        fn distance_is_symmetric_and_bounded(a in "[a-c]{0,8}", b in "[a-c]{0,8}") {
            let distance = edit_distance(&a, &b);
            prop_assert_eq!(distance, edit_distance(&b, &a));
            prop_assert!(distance <= a.len().max(b.len()));
            prop_assert_eq!(distance == 0, a == b);
        }

        #[test]
        fn any_text_can_be_scanned(text in ".{0,200}", line in 0usize..9, offset in 0usize..300) {
            let _ = key_of_line(&text, line);
            let _ = line_of_key(&text, "a.b");
            let _ = line_of_offset(&text, offset);
        }
    }
}
