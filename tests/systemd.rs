//! The units in `deploy/systemd` start programs of this workspace with arguments that they take,
//! and give them no more rights than a network program needs.

#![cfg(test)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nym_tests::{output_of, program, repository, texts};

/// What `systemd-analyze security` may find at most, of 10.
const EXPOSURE_MAX: f64 = 1.5;

struct Unit {
    path: PathBuf,
    text: String,
}

impl Unit {
    fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.text.lines();
        lines.filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='))
    }
}

fn units() -> Vec<Unit> {
    let folder = repository().join("deploy/systemd");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let units: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|end| end == "service"))
        .map(|path| Unit {
            text: fs::read_to_string(&path).unwrap(),
            path,
        })
        .collect();
    assert_eq!(units.len(), 3, "a unit for each daemon");
    units
}

#[test]
fn each_unit_starts_a_program_with_arguments_that_it_takes() {
    for unit in units() {
        let line = unit
            .values("ExecStart")
            .next()
            .unwrap()
            .replace("%i", "nobody");
        let mut words = line.split_whitespace();
        let name = words
            .next()
            .unwrap()
            .strip_prefix("/usr/local/bin/")
            .unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(program(name));
        command
            .args(words)
            .arg("--help")
            .env("NYM_HOME", home.path());
        let output = output_of(&mut command);
        assert!(output.status.success(), "{line}: {}", texts(&output).1);
    }
}

#[test]
fn each_unit_takes_away_what_its_program_does_not_need() {
    for unit in units() {
        for (key, value) in [
            ("User", "nym"),
            ("NoNewPrivileges", "yes"),
            ("CapabilityBoundingSet", ""),
            ("ProtectSystem", "strict"),
            ("ProtectHome", "yes"),
            ("PrivateDevices", "yes"),
            ("MemoryDenyWriteExecute", "yes"),
            ("RestrictNamespaces", "yes"),
            ("SystemCallArchitectures", "native"),
            ("UMask", "0077"),
            ("LimitCORE", "0"),
        ] {
            let path = unit.path.display();
            assert!(
                unit.values(key).any(|found| found == value),
                "{path}: {key}={value}"
            );
        }
    }
}

/// Containers mostly have no systemd, and need none.
fn systemd_is_installed() -> bool {
    let version = Command::new("systemd-analyze").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

#[test]
fn systemd_itself_understands_each_unit_where_it_is_installed() {
    if !systemd_is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for unit in units() {
        // The programs are not where the units want them, but they are.
        let name = unit.path.file_stem().unwrap().to_str().unwrap();
        let name = name.strip_suffix('@').unwrap();
        let installed = format!("/usr/local/bin/{name}");
        let text = unit
            .text
            .replace(&installed, &program(name).display().to_string());
        assert_ne!(text, unit.text);
        let instance = folder.path().join(format!("{name}@one.service"));
        fs::write(&instance, text).unwrap();
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no"]).arg(&instance);
        let output = output_of(&mut command);
        let (stdout, stderr) = texts(&output);
        let is_understood = output.status.success() && !stderr.contains("one.service");
        assert!(is_understood, "{name}: {stdout}{stderr}");
    }
}

#[test]
fn systemd_itself_finds_little_to_say_where_it_is_installed() {
    if !systemd_is_installed() {
        return;
    }
    for unit in units() {
        let mut command = Command::new("systemd-analyze");
        command
            .args(["security", "--offline=yes", "--no-pager"])
            .arg(&unit.path);
        let (stdout, stderr) = texts(&output_of(&mut command));
        let exposure = stdout
            .lines()
            .find_map(|line| {
                line.split_once("Overall exposure level for")?
                    .1
                    .split_once(": ")
            })
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<f64>().ok());
        let is_small = exposure.is_some_and(|exposure| exposure <= EXPOSURE_MAX);
        assert!(is_small, "{}: {stdout}{stderr}", unit.path.display());
    }
}
