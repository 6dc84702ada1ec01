//! `cargo xtask test`: every check in the order of what fails fastest, each with its duration,
//! and a summary. A failing step does not stop the ones after it, so one run shows everything.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{prerequisites, process, python, tidy, typescript};

/// One line of the summary.
struct Done {
    name: &'static str,
    took: Duration,
    result: Result<(), String>,
}

/// Runs all steps.
///
/// # Errors
/// The summary's last line when a step failed.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let mut done = vec![step("prerequisites", prerequisites::install)];
    let mut interpreter = None;
    done.push(step("python", || {
        interpreter = Some(python::prepare(root)?);
        Ok(())
    }));

    let mut programs = None;
    done.push(step("typescript", || {
        programs = Some(typescript::prepare(root)?);
        Ok(())
    }));

    let cargo = |arguments: &[&str]| {
        let mut command = process::cargo();
        command.current_dir(root).args(arguments);
        if let Some(python) = &interpreter {
            command.env(python::PYTHON_VARIABLE, python);
        }
        if let Some(programs) = &programs {
            command.env(typescript::PROGRAMS_VARIABLE, programs);
        }
        command
    };
    let rustdoc = |arguments: &[&str]| {
        let mut command = cargo(&["doc", "--no-deps", "--workspace"]);
        command.args(arguments).env("RUSTDOCFLAGS", "-D warnings");
        command
    };

    done.push(step("format", || {
        process::run(&mut cargo(&["fmt", "--all", "--check"]))
    }));
    done.push(step("tidy", || tidy::run(root)));
    done.push(step("clippy", || {
        let arguments = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        process::run(&mut cargo(&arguments))
    }));
    // Tests that start real processes find the programs in the target directory.
    done.push(step("programs", || {
        process::run(&mut cargo(&["build", "--workspace", "--bins"]))
    }));
    done.push(step("tests", || run_tests(cargo)));
    done.push(step("doc tests", || {
        process::run(&mut cargo(&["test", "--workspace", "--doc"]))
    }));
    done.push(step("docs", || process::run(&mut rustdoc(&[]))));
    done.push(step("docs, private items", || {
        process::run(&mut rustdoc(&["--document-private-items"]))
    }));
    summarise(&done)
}

fn run_tests(cargo: impl Fn(&[&str]) -> Command) -> Result<(), String> {
    if process::succeeds(&mut cargo(&["nextest", "--version"])) {
        process::run(&mut cargo(&["nextest", "run", "--workspace"]))
    } else {
        process::run(&mut cargo(&[
            "test",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
        ]))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a chore tells its user how long it really took"
)]
fn step(name: &'static str, work: impl FnOnce() -> Result<(), String>) -> Done {
    println!("── {name}");
    let start = Instant::now();
    let result = work();
    let took = start.elapsed();
    if let Err(failure) = &result {
        eprintln!("{failure}");
    }
    println!(
        "── {name}: {} in {:.1} s",
        word(&result),
        took.as_secs_f64()
    );
    Done { name, took, result }
}

fn word(result: &Result<(), String>) -> &'static str {
    if result.is_ok() { "ok" } else { "FAILED" }
}

fn summarise(done: &[Done]) -> Result<(), String> {
    println!("\nSummary");
    for Done { name, took, result } in done {
        println!(
            "  {:<20} {:>7.1} s  {}",
            name,
            took.as_secs_f64(),
            word(result)
        );
    }
    let failed: Vec<_> = done.iter().filter(|one| one.result.is_err()).collect();
    if failed.is_empty() {
        println!("everything passed");
        return Ok(());
    }
    let names: Vec<_> = failed.iter().map(|one| one.name).collect();
    Err(format!(
        "{} of {} steps failed: {}",
        failed.len(),
        done.len(),
        names.join(", ")
    ))
}
