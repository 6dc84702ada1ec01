//! What the tests need beyond Rust, installed when it is missing: on a fresh Debian a C compiler
//! (SQLite is compiled from C), Python with its `venv` module and Node.js with `npm` (the end-to-end
//! tests run the programs that users run), and a browser (a test opens pages in it).

use std::process::Command;

use crate::process;

/// A tool, by the commands that succeed when it is there, and the Debian packages that bring it.
type Tool = (&'static [&'static [&'static str]], &'static [&'static str]);

const TOOLS: [Tool; 4] = [
    (&[&["cc", "--version"]], &["gcc", "libc6-dev"]),
    (
        &[&["python3", "-c", "import venv, ensurepip"]],
        &["python3", "python3-venv"],
    ),
    (
        &[&["node", "--version"], &["npm", "--version"]],
        &["nodejs", "npm"],
    ),
    (&[&["chromium", "--version"]], &["chromium"]),
];

/// Makes sure that all tools and the toolchain's `fmt` and `clippy` are there.
///
/// # Errors
/// A line that says what is missing and how to install it.
pub(crate) fn install() -> Result<(), String> {
    let packages = missing_packages(|command| {
        command.split_first().is_some_and(|(program, arguments)| {
            process::succeeds(Command::new(program).args(arguments))
        })
    });
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
fn missing_packages(succeeds: impl Fn(&[&str]) -> bool) -> Vec<&'static str> {
    let missing = TOOLS
        .iter()
        .filter(|(commands, _)| !commands.iter().all(|command| succeeds(command)));
    missing
        .flat_map(|(_, packages)| packages.iter().copied())
        .collect()
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
        assert!(missing_packages(|_| true).is_empty());
    }

    #[test]
    fn each_missing_tool_names_its_packages() {
        for (tool, packages) in [
            ("cc", &["gcc", "libc6-dev"][..]),
            ("python3", &["python3", "python3-venv"]),
            ("npm", &["nodejs", "npm"]),
            ("chromium", &["chromium"]),
        ] {
            assert_eq!(missing_packages(|command| command[0] != tool), packages);
        }
    }
}
