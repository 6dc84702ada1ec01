//! `nym-localnet`: one command, a whole mixnet, and programs that use it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use nym_tests::{
    Running, app_port, beside, isolated, output_of, program, python, repository, running_localnet,
    texts,
};

fn localnet() -> Command {
    Command::new(program("nym-localnet"))
}

/// A client program of the repository, against other ports than the usual ones.
fn python_program(name: &str, arguments: &[u16]) -> Command {
    let mut command = Command::new(python());
    command.arg(repository().join("clients/python").join(name));
    command.args(arguments.iter().map(ToString::to_string));
    command
}

#[test]
fn once_delivers_the_hello_and_shows_its_journey() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = localnet();
    command
        // Without the warnings that a slow machine deserves.
        .args(["--once", "--port", "0", "--log", "error"])
        .env("TMPDIR", temporary.path());
    let output = output_of(&mut command);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    for expected in [
        "mix layer 1  mix",
        "mix layer 2  mix",
        "mix layer 3  mix",
        "gateway      gw2       pushes it to bob's client",
        "bob's app receives \"Hello Nym!\"",
    ] {
        assert!(stdout.contains(expected), "no `{expected}` in\n{stdout}");
    }
    assert_eq!(stderr, "", "nothing to complain about");
    let left_over = std::fs::read_dir(temporary.path()).unwrap().count();
    assert_eq!(left_over, 0, "files stay behind");
}

#[test]
fn the_python_program_runs_verbatim() {
    let hello = repository().join("clients/python/hello.py");
    let (_localnet, output) = if let Some(mut command) = isolated(&program("nym-localnet")) {
        let localnet = Running::start(&mut command);
        localnet.wait_for("alice's port", |line| app_port(line, "alice"));
        let output = output_of(beside(&localnet, &python()).arg(hello));
        (localnet, output)
    } else {
        // No network of its own to be had: the same program, with the port that is free.
        let (localnet, alice, _) = running_localnet(&[]);
        let text = std::fs::read_to_string(hello).unwrap();
        let text = text.replace("localhost:1977", &format!("localhost:{alice}"));
        let output = output_of(Command::new(python()).args(["-c", &text]));
        (localnet, output)
    };
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(
        stdout.ends_with("received Hello Nym! from the mix network!\n"),
        "{stdout}"
    );
}

#[test]
fn alice_says_hello_to_bob() {
    let (_localnet, alice, bob) = running_localnet(&[]);
    let output = output_of(&mut python_program("hello_bob.py", &[alice, bob]));
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stdout, "bob received Hello Bob!\n");
}

#[test]
fn the_commands_it_prints_send_and_listen_beside_it() {
    let (localnet, ..) = running_localnet(&[]);
    let printed = |start: &'static str| {
        localnet.wait_for(start, |line| {
            let line = line.trim();
            line.starts_with(start).then(|| line.to_owned())
        })
    };
    let commands = ["export NYM_HOME=", "nym-client send ", "nym-client listen "].map(printed);
    let programs = program("nym-client");
    let folder = programs.parent().expect("a program is in a folder");
    let path = std::env::var("PATH").expect("there is a search path");
    let mut shell = Command::new("sh");
    shell
        .args(["-euc", &format!("{} --count 1", commands.join("\n"))])
        .env("PATH", format!("{}:{path}", folder.display()));
    let (stdout, stderr) = texts(&output_of(&mut shell));
    assert_eq!(stdout, "Hello Nym!\n", "{stderr}");
}

#[test]
fn a_kept_directory_keeps_the_addresses() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("net");
    let address = |line: &str| line.contains('@').then(|| line.trim().to_owned());
    let addresses: Vec<String> = (0..2)
        .map(|_| {
            let (localnet, ..) = running_localnet(&["--dir", dir.to_str().unwrap()]);
            let address = localnet.wait_for("an address", address);
            assert_eq!(localnet.interrupt().code(), Some(0));
            address
        })
        .collect();
    assert_eq!(addresses[0], addresses[1]);
}

#[test]
fn bigger_networks_start_too() {
    let (localnet, ..) = running_localnet(&[
        "--mixnodes-per-layer",
        "3",
        "--gateways",
        "3",
        "--clients",
        "5",
    ]);
    localnet.wait_for("the fifth client", |line| app_port(line, "erin"));
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = output_of(localnet().args(["--once", "--port", &port.to_string()]));
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout, "");
    let expected = format!("error: port {port} for alice's apps is not free: ");
    assert!(stderr.starts_with(&expected), "{stderr}");
    assert_eq!(
        stderr.lines().count(),
        2,
        "what happened and what to do: {stderr}"
    );
}

#[test]
fn an_unusable_directory_is_one_clear_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for dir in [
        file.path().join("net"),
        Path::new("/proc/nym-localnet").to_owned(),
    ] {
        let output = output_of(
            localnet()
                .args(["--once", "--port", "0", "--dir"])
                .arg(&dir),
        );
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
        assert!(
            stderr.starts_with("error: ") && stderr.contains(dir.to_str().unwrap()),
            "{stderr}"
        );
        assert_eq!(
            stderr.lines().count(),
            2,
            "what happened and what to do: {stderr}"
        );
    }
}

#[test]
fn a_bad_flag_is_a_usage_error() {
    for flag in [
        ["--no-such-flag", "1"],
        ["--gateways", "0"],
        ["--port", "70000"],
    ] {
        let output = output_of(localnet().args(flag));
        let (_, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(
            stderr.starts_with("error: ") && stderr.contains(flag[0]),
            "{stderr}"
        );
    }
}

#[test]
fn a_hello_that_is_late_ends_with_status_3() {
    let output = output_of(localnet().args(["--once", "--port", "0", "--timeout", "0"]));
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.starts_with("error: the message did not arrive within 0 s"),
        "{stderr}"
    );
}
