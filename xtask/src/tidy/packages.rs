//! The packages of the workspace: what their manifests and first lines must hold.

use std::fs;
use std::path::Path;

use super::{Finding, read};

/// A package as far as tidy looks at it.
pub(super) struct Package {
    /// The name in the manifest.
    pub(super) name: String,
    /// The folder, relative to the root.
    pub(super) folder: String,
    /// The text of `Cargo.toml`.
    pub(super) manifest: String,
    /// The text of `src/lib.rs`, `lib.rs` or `src/main.rs`.
    pub(super) front: String,
}

/// Reads `crates/*`, `bins/*`, `tests` and `xtask`, in that order, sorted.
pub(super) fn load(root: &Path) -> Result<Vec<Package>, String> {
    let mut folders = Vec::new();
    for group in ["crates", "bins"] {
        let shown = |error| format!("{group}: {error}");
        for entry in fs::read_dir(root.join(group)).map_err(shown)? {
            folders.push(format!(
                "{group}/{}",
                entry.map_err(shown)?.file_name().display()
            ));
        }
    }
    folders.sort();
    folders.extend(["tests".to_owned(), "xtask".to_owned()]);
    folders
        .into_iter()
        .map(|folder| {
            let manifest = read(&root.join(&folder).join("Cargo.toml"))?;
            let front = ["src/lib.rs", "lib.rs", "src/main.rs"]
                .into_iter()
                .find_map(|file| fs::read_to_string(root.join(&folder).join(file)).ok())
                .ok_or_else(|| format!("{folder}: no lib.rs and no main.rs"))?;
            let name = value(&manifest, "name").unwrap_or_default().to_owned();
            Ok(Package {
                name,
                folder,
                manifest,
                front,
            })
        })
        .collect()
}

/// A crate is called as its folder, says in one line what it is, and tells its story.
pub(super) fn check(package: &Package) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |rule: &str| findings.push(Finding::new(&package.folder, rule));
    let folder_name = package.folder.rsplit('/').next().unwrap_or_default();
    if package.folder != "tests" && package.name != folder_name {
        find("the package is not called as its folder");
    }
    if value(&package.manifest, "description").is_none_or(str::is_empty) {
        find("the manifest has no description");
    }
    if !package.front.starts_with("//!") && !package.front.starts_with("#![doc") {
        find("the crate has no documentation at its top");
    }
    if !package.manifest.contains("[lints]\nworkspace = true") {
        find("the manifest does not take the workspace's lints");
    }
    findings
}

/// The string that a line `key = "…"` of a manifest gives.
fn value<'a>(manifest: &'a str, key: &str) -> Option<&'a str> {
    manifest.lines().find_map(|line| {
        let rest = line
            .strip_prefix(key)?
            .trim_start()
            .strip_prefix('=')?
            .trim();
        rest.strip_prefix('"')?.split('"').next()
    })
}

/// The keys of the manifest's `[dependencies]`, without those for tests or builds.
pub(super) fn dependencies(manifest: &str) -> Vec<&str> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|key| !key.is_empty() && !key.starts_with('#'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"a\"\ndescription = \"What a is.\"\n\n[lints]\n\
                            workspace = true\n\n[dependencies]\n# why\nb.workspace = true\n\
                            c = \"1\"\n\n[dev-dependencies]\nd = \"2\"\n";

    fn package(folder: &str, manifest: &str, front: &str) -> Package {
        Package {
            name: "a".to_owned(),
            folder: folder.to_owned(),
            manifest: manifest.to_owned(),
            front: front.to_owned(),
        }
    }

    #[test]
    fn a_described_and_documented_package_passes() {
        assert!(check(&package("crates/a", MANIFEST, "//! Story.")).is_empty());
    }

    #[test]
    fn each_missing_part_is_found() {
        let undescribed = MANIFEST.replace("What a is.", "");
        let unlinted = MANIFEST.replace("workspace = true\n\n[dep", "\n[dep");
        assert_eq!(check(&package("crates/b", MANIFEST, "//! Story.")).len(), 1);
        assert_eq!(
            check(&package("crates/a", &undescribed, "//! Story.")).len(),
            1
        );
        assert_eq!(
            check(&package("crates/a", &unlinted, "//! Story.")).len(),
            1
        );
        assert_eq!(check(&package("crates/a", MANIFEST, "use a;")).len(), 1);
    }

    #[test]
    fn only_normal_dependencies_are_listed() {
        assert_eq!(dependencies(MANIFEST), ["b", "c"]);
        assert!(dependencies("[package]\nname = \"a\"\n").is_empty());
    }
}
