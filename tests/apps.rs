//! The programs of `clients/`: each runs as it stands, against a whole network.

use std::process::Command;

use nym_tests::{output_of, python, repository, running_localnet, texts, typescript};

/// The programs, one per dialect, and what each prints: its lines in any order, without their
/// figures.
const PROGRAMS: [(&str, &[&str]); 4] = [
    (
        "seed",
        &[
            "alice received: A network that hides who talks to whom.",
            "alice's client has the question, and will not lose it",
            "alice's question was delivered after # ms",
            "bob received: What is a mixnet?",
        ],
    ),
    (
        "v0_11_text",
        &[
            "alice received: A network that hides who talks to whom.",
            "alice's client has the question, and will not lose it",
            "alice's question was delivered after # ms",
            "bob received: What is a mixnet?",
            "bob's answer was delivered, to somebody",
        ],
    ),
    (
        "v0_11_binary",
        &["alice received: #fff#", "bob received: #ff#f"],
    ),
    (
        "sender_tags",
        &[
            "alice received: A network",
            "alice received: that hides who talks to whom.",
            "alice's client has the question, and will not lose it",
            "alice's question was delivered after # ms",
            "bob received: What is a mixnet?",
            "bob's answer was delivered, to somebody",
            "bob's answer was delivered, to somebody",
            "lane # holds # packets",
        ],
    ),
];

/// The text with each number replaced by a `#`.
fn without_figures(line: &str) -> String {
    let mut without = String::new();
    for c in line.chars() {
        if !c.is_ascii_digit() {
            without.push(c);
        } else if !without.ends_with('#') {
            without.push('#');
        }
    }
    without
}

/// Runs each program against one network; `command` starts the program of that name.
fn run_all(command: impl Fn(&str) -> Command) {
    let (_localnet, alice, bob) = running_localnet(&[]);
    for (name, expected) in PROGRAMS {
        let mut command = command(name);
        let output = output_of(command.args([alice, bob].map(|port| port.to_string())));
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{name}: {stdout}{stderr}");
        let mut lines: Vec<String> = stdout.lines().map(without_figures).collect();
        lines.sort();
        assert_eq!(lines, expected, "{name}: {stdout}{stderr}");
    }
}

#[test]
fn the_python_programs_talk_in_every_dialect() {
    let folder = repository().join("clients/python");
    run_all(|name| {
        let mut command = Command::new(python());
        command.arg(folder.join(name).with_extension("py"));
        command
    });
}

#[test]
fn the_typescript_programs_talk_in_every_dialect() {
    let folder = typescript();
    run_all(|name| {
        let mut command = Command::new("node");
        command.arg(folder.join(name).with_extension("js"));
        command
    });
}
