//! Rules for `docs/defects.md`: its numbers have no gap, and every test that it names exists.

use super::Finding;

/// Each row of a table is numbered, from 1 on within its letter, and names tests as
/// `path::function`. `read` gives the text of a file of the repository, if there is one.
pub(super) fn check(
    place: &str,
    text: &str,
    read: impl Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut last = (' ', 0);
    for (line, row) in rows(text) {
        let place = format!("{place}:{line}");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let number = cells.get(1).copied().unwrap_or_default();
        match parse(number) {
            Some((letter, count)) => {
                let expected = if letter == last.0 { last.1 + 1 } else { 1 };
                if count != expected {
                    let rule = format!("{number} where {letter}{expected} is due");
                    findings.push(Finding::new(&place, rule));
                }
                last = (letter, count);
            }
            None => findings.push(Finding::new(&place, format!("`{number}` is no number"))),
        }
        let tests: Vec<_> = tests(cells.iter().rev().nth(1).unwrap_or(&"")).collect();
        if tests.is_empty() {
            findings.push(Finding::new(&place, format!("{number} has no test")));
        }
        for (path, function) in tests {
            if !read(path).is_some_and(|source| is_test(&source, function)) {
                let rule = format!("{path} has no test {function}");
                findings.push(Finding::new(&place, rule));
            }
        }
    }
    findings
}

/// The rows of the tables below their heads, each with its line number.
fn rows(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_body = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if !line.starts_with('|') {
            in_body = false;
            return None;
        }
        let was_in_body = in_body;
        in_body |= line.starts_with("|---");
        was_in_body.then_some((index + 1, line))
    })
}

/// `C7` as a letter and a number.
fn parse(number: &str) -> Option<(char, u32)> {
    let mut characters = number.chars();
    let letter = characters.next().filter(char::is_ascii_uppercase)?;
    characters
        .as_str()
        .parse()
        .ok()
        .map(|count| (letter, count))
}

/// The `path::function` in backticks of a cell.
fn tests(cell: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.filter_map(|test| test.rsplit_once("::"))
}

/// Whether a source has a function of this name with an attribute of a test above it, or in a
/// block of property tests.
fn is_test(source: &str, function: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let starts = [format!("fn {function}("), format!("async fn {function}(")];
    let found = lines
        .iter()
        .position(|line| starts.iter().any(|start| line.starts_with(start.as_str())));
    let above = found.and_then(|index| lines.get(..index)).unwrap_or(&[]);
    above
        .iter()
        .rev()
        .take_while(|line| line.starts_with("#[") || line.starts_with("//"))
        .any(|line| line.starts_with("#[") && line.contains("test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "#[test]\nfn one() {}\n\n#[tokio::test(start_paused = true)]\n\
                          async fn two() {}\n\nfn three() {}\n";

    fn findings(rows: &str) -> Vec<String> {
        let text = format!("| # | was | is | Tests |\n|---|---|---|---|\n{rows}");
        let read = |path: &str| (path == "a.rs").then(|| SOURCE.to_owned());
        let found = check("d.md", &text, read);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_row_whose_tests_exist_passes() {
        let rows = "| C1 | x | y | `a.rs::one`, `a.rs::two` |\n| C2 | x | y | `a.rs::one` |\n";
        assert_eq!(findings(rows), [""; 0]);
    }

    #[test]
    fn a_test_that_is_gone_or_none_is_found() {
        for (test, said) in [
            ("`a.rs::four`", "d.md:3: a.rs has no test four"),
            ("`a.rs::three`", "d.md:3: a.rs has no test three"),
            ("`b.rs::one`", "d.md:3: b.rs has no test one"),
            ("by hand", "d.md:3: C1 has no test"),
        ] {
            assert_eq!(findings(&format!("| C1 | x | y | {test} |\n")), [said]);
        }
    }

    #[test]
    fn a_gap_in_the_numbers_is_found() {
        let row = |number| format!("| {number} | x | y | `a.rs::one` |\n");
        let rows = [row("C1"), row("C3"), row("A1"), row("7")].concat();
        let said = ["d.md:4: C3 where C2 is due", "d.md:6: `7` is no number"];
        assert_eq!(findings(&rows), said);
    }
}
