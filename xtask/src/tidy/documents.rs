//! Rules for Markdown: links lead somewhere, and the README's commands exist.

use super::Finding;
use crate::COMMANDS;

/// The command that the README gives for testing, which continuous integration runs as it stands.
const TEST_COMMAND: &str = "cargo xtask test";

/// Every relative link resolves, as told by `resolves`.
pub(super) fn check_links(
    place: &str,
    text: &str,
    resolves: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    links(text)
        .into_iter()
        .filter(|(_, link)| !link.contains("://") && !link.starts_with("mailto:"))
        .filter_map(|(line, link)| {
            let file = link.split(['#', '?']).next().unwrap_or_default();
            let dead = !file.is_empty() && !resolves(file);
            dead.then(|| Finding::new(format!("{place}:{line}"), format!("{link}: dead link")))
        })
        .collect()
}

/// The README names the test command, and every package and chore that it tells a reader to run
/// exists.
pub(super) fn check_readme(text: &str, packages: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !commands(text).any(|(_, command)| command == TEST_COMMAND) {
        findings.push(Finding::new(
            "README.md",
            format!("does not give `{TEST_COMMAND}`"),
        ));
    }
    for (line, command) in commands(text) {
        let place = format!("README.md:{line}");
        let words: Vec<&str> = command.split_whitespace().collect();
        let package = words
            .iter()
            .skip_while(|word| !matches!(**word, "-p" | "--package"))
            .nth(1);
        if let Some(package) = package.filter(|name| !packages.contains(name)) {
            findings.push(Finding::new(&place, format!("no package {package}")));
        }
        if let ["cargo", "xtask", chore, ..] = words.as_slice()
            && !COMMANDS.contains(chore)
        {
            findings.push(Finding::new(&place, format!("no chore {chore}")));
        }
        let program = words
            .first()
            .and_then(|word| word.rsplit('/').next())
            .unwrap_or_default();
        if program.starts_with("nym-") && !packages.contains(&program) {
            findings.push(Finding::new(&place, format!("no program {program}")));
        }
    }
    findings
}

/// Continuous integration runs the README's test command.
pub(super) fn check_ci(script: &str) -> Option<Finding> {
    let runs = script
        .lines()
        .any(|line| line.trim().ends_with(TEST_COMMAND));
    (!runs).then(|| Finding::new(".ci/run", format!("does not run `{TEST_COMMAND}`")))
}

/// The targets of `[text](target)`, each with its line number, code blocks left out.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let starts = line
            .match_indices("](")
            .map(|(start, mark)| start + mark.len());
        for start in starts {
            let target = line
                .get(start..)
                .and_then(|rest| rest.split([')', ' ']).next());
            found.extend(target.map(|target| (index + 1, target)));
        }
    }
    found
}

/// The command lines of the shell blocks, each with its line number, a leading `$ ` left out.
fn commands(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_shell = false;
    let mut in_other = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let opens = !in_shell && !in_other;
            let shell = matches!(language.trim(), "sh" | "bash" | "shell" | "console");
            in_shell = opens && shell;
            in_other = opens && !shell;
            return None;
        }
        let command = line.trim().trim_start_matches("$ ");
        (in_shell && !command.is_empty()).then_some((index + 1, command))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "Text.\n```sh\n$ cargo xtask test\ncargo run --release -p nym-localnet -- --once\n```\n\
                          ```json\nnym-nothing\n```\n```sh\nnym-client init --id alice\n```\n";

    #[test]
    fn commands_are_those_of_shell_blocks() {
        let lines: Vec<_> = commands(README).map(|(line, _)| line).collect();
        assert_eq!(lines, [3, 4, 10]);
    }

    #[test]
    fn a_readme_that_runs_what_exists_passes() {
        assert!(check_readme(README, &["nym-localnet", "nym-client"]).is_empty());
    }

    #[test]
    fn a_missing_package_program_or_chore_is_found() {
        assert_eq!(check_readme(README, &["nym-client"]).len(), 1);
        assert_eq!(check_readme(README, &["nym-localnet"]).len(), 1);
        let chore = README.replace("xtask test", "xtask tests");
        assert_eq!(
            check_readme(&chore, &["nym-localnet", "nym-client"]).len(),
            2
        );
    }

    #[test]
    fn dead_relative_links_are_found_and_others_left_alone() {
        let text =
            "[a](there.md) [b](gone.md#x) [c](https://example.org) [d](#here)\n```\n[e](no)\n```\n";
        let findings = check_links("a.md", text, |link| link == "there.md");
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].to_string(), "a.md:1: gone.md#x: dead link");
    }

    #[test]
    fn ci_runs_the_test_command() {
        assert!(check_ci("#!/usr/bin/env bash\nexec cargo xtask test\n").is_none());
        assert!(check_ci("cargo test\n").is_some());
    }
}
