//! What tests use beside Rust lives in folders under the target directory, each made once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::target_dir;

/// The folder `name` under the target directory, filled by `make` unless that was done for the
/// same `wanted` text. Several processes may call this at once: the first makes it, the others
/// wait.
///
/// # Errors
/// A line that names the step that failed.
pub(crate) fn prepare(
    root: &Path,
    name: &str,
    wanted: &str,
    make: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let target = target_dir(root);
    let environment = target.join(name);
    let shown = |path: &Path, error| format!("{}: {error}", path.display());
    fs::create_dir_all(&target).map_err(|error| shown(&target, error))?;
    let lock_path = target.join(format!("{name}.lock"));
    let lock = File::create(&lock_path)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| shown(&lock_path, error))?;

    // Written last, so an interrupted installation is done again.
    let stamp = environment.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(environment);
    }
    make(&environment)?;
    fs::write(&stamp, wanted).map_err(|error| shown(&stamp, error))?;
    drop(lock);
    Ok(environment)
}
