//! Running other programs.

use std::process::{Command, Stdio};

/// Runs `command` with the terminal as its output.
///
/// # Errors
/// A line that names the command when it does not start or does not end with status 0.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|error| format!("{}: {error}", describe(command)))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{}: {status}", describe(command)))
    }
}

/// Runs `command` and returns what it wrote to its standard output.
///
/// # Errors
/// As [`run`], with what the command wrote.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{}: {error}", describe(command)))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        Err(format!("{}: {}\n{said}", describe(command), output.status))
    }
}

/// Whether `command` starts and ends with status 0; it writes nothing to the terminal.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command as a person would type it.
fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The cargo that started this program, or the one on the path.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The nightly compiler's cargo, by rustup's proxy.
pub(crate) fn nightly() -> Command {
    let mut cargo = Command::new("cargo");
    // What a cargo sets for its children would win over the choice made here.
    cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    cargo.arg("+nightly");
    cargo
}
