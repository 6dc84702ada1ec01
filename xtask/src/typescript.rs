//! The TypeScript programs of `clients/`, compiled for the end-to-end tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{environment, process};

/// The variable by which tests learn where the compiled programs are.
pub(crate) const PROGRAMS_VARIABLE: &str = "NYM_TEST_TYPESCRIPT";

/// Compiles a copy of the programs, unless that was done, and returns the folder of the results.
/// The repository stays as it is.
///
/// # Errors
/// A line that names the step that failed.
pub(crate) fn prepare(root: &Path) -> Result<PathBuf, String> {
    let source = root.join("clients").join("typescript");
    let files = files(&source)?;
    let wanted: String = files
        .iter()
        .map(|(name, text)| format!("── {name}\n{text}"))
        .collect();
    let make = |environment: &Path| {
        let shown = |error| format!("{}: {error}", environment.display());
        if environment.exists() {
            fs::remove_dir_all(environment).map_err(shown)?;
        }
        fs::create_dir_all(environment.join("src")).map_err(shown)?;
        for (name, text) in &files {
            fs::write(environment.join(name), text).map_err(shown)?;
        }
        let npm = |arguments: &[&str]| {
            let mut npm = Command::new("npm");
            npm.args(arguments).current_dir(environment);
            process::output(&mut npm)
        };
        npm(&["ci", "--no-audit", "--no-fund"])?;
        npm(&["run", "build"]).map(drop)
    };
    let environment = environment::prepare(root, "typescript", &wanted, make)?;
    Ok(environment.join("dist"))
}

/// What the programs are made of, by name, in a fixed order.
fn files(source: &Path) -> Result<Vec<(String, String)>, String> {
    let shown = |error| format!("{}: {error}", source.display());
    let mut names = ["package.json", "package-lock.json", "tsconfig.json"]
        .map(str::to_owned)
        .to_vec();
    for entry in fs::read_dir(source.join("src")).map_err(shown)? {
        let entry = entry.map_err(shown)?;
        names.push(format!("src/{}", entry.file_name().display()));
    }
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let text = fs::read_to_string(source.join(&name))
                .map_err(|error| format!("{name}: {error}"))?;
            Ok((name, text))
        })
        .collect()
}
