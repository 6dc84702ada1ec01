//! `cargo xtask tidy`: the rules of this repository that no compiler checks. Each rule is a pure
//! function from text to findings, tested beside it; this file reads the tree and calls them.

mod defects;
mod documents;
mod layering;
mod packages;
mod sources;

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::process;

/// One broken rule at one place.
pub(crate) struct Finding {
    place: String,
    rule: String,
}

impl Finding {
    fn new(place: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            rule: rule.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.rule)
    }
}

/// Checks the whole tree and prints every finding.
///
/// # Errors
/// The number of findings, or what could not be read.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let findings = find(root)?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        1 => Err("tidy: 1 finding".to_owned()),
        count => Err(format!("tidy: {count} findings")),
    }
}

fn find(root: &Path) -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    let packages = packages::load(root)?;
    for package in &packages {
        findings.extend(packages::check(package));
        findings.extend(layering::check_arrows(package, &packages));
        if layering::is_core(&package.name) {
            let tree = [
                "tree",
                "-p",
                &package.name,
                "-e",
                "normal",
                "--prefix",
                "none",
            ];
            let tree = process::output(process::cargo().current_dir(root).args(tree))?;
            findings.extend(layering::check_tree(&package.name, &tree));
        }
    }
    let cores = packages
        .iter()
        .filter(|package| layering::is_core(&package.name));
    let cores: Vec<_> = cores.map(|core| format!("{}/src/", core.folder)).collect();
    for path in files(root)? {
        let place = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        findings.extend(sources::check_name(&place));
        match path.extension().and_then(OsStr::to_str) {
            Some("rs") => {
                let text = read(&path)?;
                findings.extend(sources::check_length(&place, &text));
                findings.extend(sources::check_words(&place, &text));
                findings.extend(sources::check_secrets(&place, &text));
                if cores.iter().any(|source| place.starts_with(source)) {
                    findings.extend(sources::check_core(&place, &text));
                }
            }
            Some("md") => {
                let text = read(&path)?;
                let folder = path.parent().unwrap_or(root);
                let resolves = |link: &str| folder.join(link).exists();
                findings.extend(documents::check_links(&place, &text, resolves));
                findings.extend(sources::check_words(&place, &text));
            }
            Some("toml" | "py" | "sh" | "yml") => {
                findings.extend(sources::check_words(&place, &read(&path)?));
            }
            _ => {}
        }
    }
    let names: Vec<&str> = packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    findings.extend(documents::check_readme(
        &read(&root.join("README.md"))?,
        &names,
    ));
    findings.extend(documents::check_ci(&read(&root.join(".ci/run"))?));
    let source = |path: &str| fs::read_to_string(root.join(path)).ok();
    let defects = read(&root.join(DEFECTS))?;
    findings.extend(defects::check(DEFECTS, &defects, source));
    Ok(findings)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// All files of the repository, sorted; build products, git's own and hidden folders left out.
fn files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let shown = |error| format!("{}: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(shown)? {
            let entry = entry.map_err(shown)?;
            let kind = entry.file_type().map_err(shown)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if kind.is_dir() && !name.starts_with('.') && !SKIPPED_FOLDERS.contains(&&*name) {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The weaknesses of 0.11.0, with the tests that keep them out.
const DEFECTS: &str = "docs/defects.md";

/// Products of a build or of a package tool.
const SKIPPED_FOLDERS: [&str; 4] = ["target", "node_modules", "corpus", "__pycache__"];
