//! Chores of the repository, as `cargo xtask <command>`.
//!
//! | Command | What it does |
//! |---|---|
//! | `bench` | measures anew what `docs/benchmarks.md` tells; see `cargo xtask bench help` |
//! | `fuzz` | runs the fuzz targets, each for a while; needs a nightly compiler and cargo-fuzz |
//! | `miri` | runs the packet format's portable paths in Miri; needs a nightly compiler with Miri |
//! | `soak` | kills programs under load, many times; see `cargo xtask soak help` |
//! | `test` | everything that must pass before a change lands; the README's test command |
//! | `tidy` | the rules of this repository that no compiler checks |
//! | `typescript` | compiles the TypeScript programs of `clients/` and prints where they are |
//! | `venv` | makes the Python environment of the end-to-end tests and prints its interpreter |
//!
//! It has no dependencies, so it is built in about a second. It is not part of the product:
//! nothing under `crates/` or `bins/` knows it.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its user on the terminal"
)]

mod bench;
mod checks;
mod environment;
mod fuzz;
mod miri;
mod prerequisites;
mod process;
mod program;
mod python;
mod soak;
mod tidy;
mod typescript;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `cargo xtask` accepts; `tidy` compares the README's commands with it.
pub(crate) const COMMANDS: [&str; 8] = [
    "bench",
    "fuzz",
    "miri",
    "soak",
    "test",
    "tidy",
    "typescript",
    "venv",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = root();
    let done = match arguments.as_slice() {
        ["bench", parts @ ..] => bench::run(&root, parts),
        ["fuzz", arguments @ ..] => fuzz::run(&root, arguments),
        ["miri"] => miri::run(&root),
        ["soak", arguments @ ..] => soak::run(&root, arguments),
        ["test"] => checks::run(&root),
        ["tidy"] => tidy::run(&root),
        ["typescript"] => typescript::prepare(&root).map(|dist| println!("{}", dist.display())),
        ["venv"] => python::prepare(&root).map(|python| println!("{}", python.display())),
        ["help" | "--help" | "-h"] => {
            println!("{}", usage());
            Ok(())
        }
        _ => {
            eprintln!("{}", usage());
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    format!("usage: cargo xtask <{}>", COMMANDS.join("|"))
}

/// The repository's root: the folder above this package's.
fn root() -> PathBuf {
    // Cargo sets the variable when it runs a package's program; the compiled-in value serves
    // when the program is started by hand.
    let package = std::env::var("CARGO_MANIFEST_DIR")
        .unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&package)
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where build products go.
pub(crate) fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}
