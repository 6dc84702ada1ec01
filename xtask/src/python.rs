//! The Python environment of the end-to-end tests: a virtual environment with the packages that
//! users of the app API have.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{environment, process};

/// The variable by which tests learn the interpreter.
pub(crate) const PYTHON_VARIABLE: &str = "NYM_TEST_PYTHON";

/// What is installed, as `pip` names it.
const PACKAGES: [&str; 1] = ["websockets"];

/// Makes the environment unless it is there, and returns its interpreter.
///
/// # Errors
/// A line that names the step that failed.
pub(crate) fn prepare(root: &Path) -> Result<PathBuf, String> {
    let environment = environment::prepare(root, "python", &PACKAGES.join("\n"), make)?;
    Ok(interpreter(&environment))
}

fn make(environment: &Path) -> Result<(), String> {
    process::output(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(environment),
    )?;
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    let mut pip = Command::new(interpreter(environment));
    process::output(pip.args(install).args(PACKAGES)).map(drop)
}

fn interpreter(environment: &Path) -> PathBuf {
    environment.join("bin").join("python")
}
