//! The Python environment of the end-to-end tests: a virtual environment under the target
//! directory with the packages that users of the app API have.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{process, target_dir};

/// The variable by which tests learn the interpreter.
pub(crate) const PYTHON_VARIABLE: &str = "NYM_TEST_PYTHON";

/// What is installed, as `pip` names it.
const PACKAGES: [&str; 1] = ["websockets"];

/// Makes the environment unless it is there, and returns its interpreter. Several processes may
/// call this at once: the first makes it, the others wait.
///
/// # Errors
/// A line that names the step that failed.
pub(crate) fn prepare(root: &Path) -> Result<PathBuf, String> {
    let target = target_dir(root);
    let environment = target.join("python");
    let python = environment.join("bin").join("python");
    fs::create_dir_all(&target).map_err(|error| format!("{}: {error}", target.display()))?;
    let lock_path = target.join("python.lock");
    let lock = File::create(&lock_path)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| format!("{}: {error}", lock_path.display()))?;

    // Written last, so an interrupted installation is done again.
    let stamp = environment.join("installed");
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    process::output(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
    )?;
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    process::output(Command::new(&python).args(install).args(PACKAGES))?;
    fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    drop(lock);
    Ok(python)
}
