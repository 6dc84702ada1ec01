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

/// What a core would need for a socket, file, task, clock or generator of its own.
const FORBIDDEN_IN_CORES: [&str; 15] = [
    "Command",
    "File",
    "Instant",
    "OsRng",
    "SysRng",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixStream",
    "fs",
    "getrandom",
    "io",
    "spawn",
    "thread",
];

/// What no secret derives: each makes a copy of it, shows it, or compares it byte by byte.
const FORBIDDEN_FOR_SECRETS: [&str; 7] = [
    "Clone",
    "Copy",
    "Debug",
    "Hash",
    "PartialEq",
    "PartialOrd",
    "Serialize",
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

/// A core says nothing of sockets, files, tasks, clocks and generators. Its tests may.
pub(super) fn check_core(place: &str, text: &str) -> Vec<Finding> {
    if is_test(place) {
        return Vec::new();
    }
    without_tests(text)
        .filter_map(|(index, line)| {
            let code = line.split("//").next().unwrap_or_default();
            let word = FORBIDDEN_IN_CORES
                .into_iter()
                .find(|word| has_word(code, word))?;
            let place = format!("{place}:{}", index + 1);
            Some(Finding::new(place, format!("a core knows no `{word}`")))
        })
        .collect()
}

/// A type that is wiped when dropped is a secret, and derives nothing that spreads or shows it.
pub(super) fn check_secrets(place: &str, text: &str) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_derive = |line: &&&str| line.starts_with("#[derive(");
    let is_attribute = |line: &&&str| line.starts_with("#[");
    let mut findings = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if !is_derive(&line) || !has_word(line, "ZeroizeOnDrop") {
            continue;
        }
        let (before, after) = lines.split_at(index);
        let before = before.iter().rev().take_while(is_attribute);
        let derives = before.chain(after.iter().take_while(is_attribute));
        let derived = derives.filter(is_derive).flat_map(|derive| {
            let words = FORBIDDEN_FOR_SECRETS.into_iter();
            words.filter(move |word| has_word(derive, word))
        });
        findings.extend(derived.map(|word| {
            let place = format!("{place}:{}", index + 1);
            Finding::new(place, format!("a secret derives no `{word}`"))
        }));
    }
    findings
}

/// The lines above the unit tests at the bottom, with their indices.
fn without_tests(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let tests = lines.windows(2).position(|pair| match pair {
        [attribute, module] => {
            *attribute == "#[cfg(test)]" && module.starts_with("mod ") && module.ends_with('{')
        }
        _ => false,
    });
    let count = tests.unwrap_or(lines.len());
    lines.into_iter().enumerate().take(count)
}

/// Lines with code: not blank, not comment, not of the unit tests at the bottom.
fn code_lines(text: &str) -> usize {
    without_tests(text)
        .filter(|(_, line)| !line.is_empty() && !line.starts_with("//"))
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
    fn a_core_with_a_file_or_clock_is_found_and_its_tests_may_have_them() {
        let rules = |place, text| check_core(place, text).len();
        let opens = "use std::fs;\nlet clock = Instant::now(); // File\n";
        assert_eq!(rules("crates/a/src/b.rs", opens), 2);
        assert_eq!(rules("crates/a/src/b/tests.rs", opens), 0);
        let below = format!("let offset = 0;\n// fs\n#[cfg(test)]\nmod tests {{\n{opens}}}\n");
        assert_eq!(rules("crates/a/src/b.rs", &below), 0);
    }

    #[test]
    fn a_secret_that_can_be_copied_or_shown_is_found() {
        let rules = |text| check_secrets("a.rs", text).len();
        assert_eq!(rules("#[derive(ZeroizeOnDrop)]\nstruct Key;\n"), 0);
        assert_eq!(rules("#[derive(Clone, ZeroizeOnDrop)]\nstruct Key;\n"), 1);
        let two = "#[derive(Debug)]\n#[repr(C)]\n#[derive(ZeroizeOnDrop)]\n#[derive(Hash)]\n";
        assert_eq!(
            rules(&format!("{two}struct Key;\n#[derive(Clone)]\nstruct B;\n")),
            2
        );
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
