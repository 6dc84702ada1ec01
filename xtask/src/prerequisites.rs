//! What the tests need beyond Rust, installed when it is missing: on a fresh Debian a C compiler
//! (SQLite is compiled from C), Python with its `venv` module and Node.js with `npm` (the end-to-end
//! tests run the programs that users run).

use std::process::Command;

use crate::process;

/// Makes sure that a C compiler, Python, Node.js and the toolchain's `fmt` and `clippy` are there.
///
/// # Errors
/// A line that says what is missing and how to install it.
pub(crate) fn install() -> Result<(), String> {
    let packages = missing_packages(
        process::succeeds(Command::new("cc").arg("--version")),
        process::succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"])),
        process::succeeds(Command::new("node").arg("--version"))
            && process::succeeds(Command::new("npm").arg("--version")),
    );
    if !packages.is_empty() {
        apt_install(&packages)?;
    }
    for (probe, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !process::succeeds(process::cargo().args([probe, "--version"])) {
            process::run(Command::new("rustup").args(["component", "add", component])).map_err(
                |error| format!("cargo {probe} is missing and could not be added: {error}"),
            )?;
        }
    }
    Ok(())
}

/// The Debian packages that provide what is not there.
fn missing_packages(has_compiler: bool, has_venv: bool, has_node: bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    if !has_compiler {
        packages.extend(["gcc", "libc6-dev"]);
    }
    if !has_venv {
        packages.extend(["python3", "python3-venv"]);
    }
    if !has_node {
        packages.extend(["nodejs", "npm"]);
    }
    packages
}

fn apt_install(packages: &[&str]) -> Result<(), String> {
    let wanted = packages.join(" ");
    let by_hand = format!("install by hand what provides: {wanted}");
    if !process::succeeds(Command::new("apt-get").arg("--version")) {
        return Err(format!(
            "{wanted}: missing, and this system has no apt-get; {by_hand}"
        ));
    }
    let prefix: &[&str] = if is_root() {
        &[]
    } else if process::succeeds(Command::new("sudo").args(["-n", "true"])) {
        &["sudo", "-n"]
    } else {
        return Err(format!(
            "{wanted}: missing, and neither root nor sudo is at hand; {by_hand}"
        ));
    };
    println!("installing {wanted}");
    // A fresh image has no package lists; a failing update is judged by the install after it.
    let _ = process::run(&mut apt_get(prefix, &["update", "-qq"]));
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    process::run(apt_get(prefix, &install).args(packages))
        .map_err(|error| format!("{error}; {by_hand}"))
}

fn apt_get(prefix: &[&str], arguments: &[&str]) -> Command {
    let line = [
        prefix,
        &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"],
        arguments,
    ]
    .concat();
    let (program, arguments) = line.split_first().expect("the line holds at least apt-get");
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn is_root() -> bool {
    process::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_installed_when_everything_is_there() {
        assert!(missing_packages(true, true, true).is_empty());
    }

    #[test]
    fn each_missing_tool_names_its_packages() {
        let missing = missing_packages(false, true, true);
        assert_eq!(missing, ["gcc", "libc6-dev"]);
        let missing = missing_packages(true, false, true);
        assert_eq!(missing, ["python3", "python3-venv"]);
        let missing = missing_packages(true, true, false);
        assert_eq!(missing, ["nodejs", "npm"]);
    }
}
