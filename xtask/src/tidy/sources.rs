//! Rules for single files: length, names and words.

use super::Finding;

/// Above this many code lines a file explains in its header why it is long.
const EXPLAINED_ABOVE: usize = 400;
/// Above this many code lines a file is split.
const SPLIT_ABOVE: usize = 800;
/// So many `//!` lines count as an explanation.
const HEADER_LINES: usize = 3;

/// Marks of unfinished work, which do not land on the main branch. Written in two halves, so that
/// this file passes.
const FORBIDDEN_WORDS: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
    concat!("#[ig", "nore"),
];

/// File names that say nothing, and the spelling of modules that is not used here.
const FORBIDDEN_NAMES: [&str; 7] = [
    "mod.rs",
    "common.rs",
    "util.rs",
    "utils.rs",
    "misc.rs",
    "helper.rs",
    "helpers.rs",
];

/// A file's name says what is in it.
pub(super) fn check_name(place: &str) -> Option<Finding> {
    let name = place.rsplit('/').next()?;
    FORBIDDEN_NAMES
        .contains(&name)
        .then(|| Finding::new(place, "no file is called so here"))
}

/// A file is short, or says why it is not. Tests are long lists by nature: they need not say so.
pub(super) fn check_length(place: &str, text: &str) -> Option<Finding> {
    let lines = code_lines(text);
    let header = text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .count();
    if lines > SPLIT_ABOVE {
        Some(Finding::new(
            place,
            format!("{lines} code lines; split above {SPLIT_ABOVE}"),
        ))
    } else if lines > EXPLAINED_ABOVE && header < HEADER_LINES && !is_test(place) {
        let rule = format!("{lines} code lines; above {EXPLAINED_ABOVE} the header says why");
        Some(Finding::new(place, rule))
    } else {
        None
    }
}

/// Whether a file holds nothing but tests.
fn is_test(place: &str) -> bool {
    let name = place.rsplit('/').next().unwrap_or_default();
    place.split('/').any(|folder| folder == "tests") || name.ends_with("tests.rs")
}

/// No mark of unfinished work.
pub(super) fn check_words(place: &str, text: &str) -> Vec<Finding> {
    text.lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let word = FORBIDDEN_WORDS
                .into_iter()
                .find(|word| has_word(line, word))?;
            Some(Finding::new(
                format!("{place}:{}", index + 1),
                format!("{word} does not land"),
            ))
        })
        .collect()
}

/// Lines with code: not blank, not comment, not of the unit tests at the bottom.
fn code_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let tests = lines.windows(2).position(|pair| match pair {
        [attribute, module] => {
            *attribute == "#[cfg(test)]" && module.starts_with("mod ") && module.ends_with('{')
        }
        _ => false,
    });
    lines
        .iter()
        .take(tests.unwrap_or(lines.len()))
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

/// Whether `word` stands in `line` and is not part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let inside = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
    line.match_indices(word).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        let after = line
            .get(start + word.len()..)
            .and_then(|text| text.chars().next());
        !inside(before) && !inside(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_lines_leave_out_comments_blanks_and_unit_tests() {
        let text =
            "//! Story.\n\nuse a;\n// why\nfn f() {\n}\n#[cfg(test)]\nmod tests {\nfn g() {}\n}\n";
        assert_eq!(code_lines(text), 3);
    }

    #[test]
    fn a_long_file_needs_a_header_and_a_longer_one_is_split() {
        let lines = |count| "code\n".repeat(count);
        let header = "//! This file\n//! is long\n//! because\n";
        assert!(check_length("a.rs", &lines(400)).is_none());
        assert!(check_length("a.rs", &lines(401)).is_some());
        assert!(check_length("a.rs", &format!("{header}{}", lines(800))).is_none());
        assert!(check_length("a.rs", &format!("{header}{}", lines(801))).is_some());
        assert!(check_length("tests/a.rs", &lines(800)).is_none());
        assert!(check_length("a/tests.rs", &lines(801)).is_some());
    }

    #[test]
    fn a_mark_is_found_only_as_a_word_of_its_own() {
        let mark = FORBIDDEN_WORDS[2];
        assert_eq!(
            check_words("a.rs", &format!("fine\n// {mark}: later\n")).len(),
            1
        );
        assert!(check_words("a.rs", &format!("let base = \"A{mark}B\";")).is_empty());
    }

    #[test]
    fn a_module_lies_beside_its_folder() {
        assert!(check_name("crates/a/src/b/mod.rs").is_some());
        assert!(check_name("crates/a/src/b.rs").is_none());
    }
}
