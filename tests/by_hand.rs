//! The README's network by hand: every program on its own, typed as it stands there.

use std::fmt::Write as _;
use std::process::Command;

use nym_tests::{isolated, output_of, program, python, repository, texts};

/// The README's shell blocks that a comment says this test runs.
fn blocks() -> Vec<String> {
    let readme = std::fs::read_to_string(repository().join("README.md"))
        .expect("the repository has a README");
    let marked = readme.split("<!-- tests/by_hand.rs runs").skip(1);
    marked
        .map(|rest| {
            let (_, block) = rest
                .split_once("```sh\n")
                .expect("a shell block follows the mark");
            let (block, _) = block.split_once("```").expect("the block ends");
            block.to_owned()
        })
        .collect()
}

/// The blocks as one script, with the programs and the Python of this test run.
fn script() -> String {
    let [start, hello] = <[String; 2]>::try_from(blocks()).expect("the README has two blocks");
    let programs = program("nym-client");
    let folder = programs
        .parent()
        .expect("a program is in a folder")
        .display();
    let mut script = String::from("set -eu\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n");
    let start = start.replace("$PWD/target/release", &folder.to_string());
    let hello = hello.replace("venv/bin/python", &python().display().to_string());
    for patient in [start, hello] {
        // What waits for ever in a README gives up here, so that a failure is seen.
        let patient = patient.replace("until ", "tries=0; until [ $((tries += 1)) -gt 60 ] || ");
        let _ = writeln!(script, "{patient}");
    }
    script
}

#[test]
fn the_network_by_hand_carries_a_message_from_alice_to_bob() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("by_hand.sh");
    std::fs::write(&file, script()).unwrap();
    let bash = std::path::Path::new("bash");
    // Without a network of its own, the ports of the README must happen to be free.
    let mut command = isolated(bash).unwrap_or_else(|| Command::new(bash));
    command
        .arg(&file)
        .current_dir(repository())
        .env("TMPDIR", home.path());
    let (stdout, stderr) = texts(&output_of(&mut command));
    assert!(
        stdout.contains("bob received Hello Bob!\n"),
        "{stdout}\n{stderr}"
    );
}
