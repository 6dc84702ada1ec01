//! A network, and clients in processes of their own that use it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::{Running, output_of, program, texts};

/// What a client logs on its way to be ready, in whatever order.
const READY_SIGNS: [&str; 2] = ["connected to the gateway", "topology fetched"];

/// A localnet on free ports, and the URL of its validator.
#[must_use]
pub fn localnet(arguments: &[&str]) -> (Running, String) {
    let mut command = Command::new(program("nym-localnet"));
    let localnet = Running::start(command.args(["--port", "0"]).args(arguments));
    let validator = localnet.wait_for("the validator's URL", |line| {
        let url = line.trim().strip_prefix("validator ")?.trim();
        url.starts_with("http://").then(|| url.to_owned())
    });
    (localnet, validator)
}

/// `nym-client` with these files and without what the environment of the test says.
#[must_use]
pub fn client(home: &Path) -> Command {
    let mut command = Command::new(program("nym-client"));
    command.env_remove("RUST_LOG").env_remove("NYM_HOME");
    command.arg("--home").arg(home);
    command
}

/// Makes a client's files with this command, and gives its address.
///
/// # Panics
/// When they cannot be made.
#[must_use]
pub fn init(mut client: Command, name: &str, validator: &str, arguments: &[&str]) -> String {
    client.args(["init", "--id", name, "--validators", validator]);
    let output = output_of(client.args(arguments));
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}{stderr}");
    let address = stdout
        .lines()
        .find_map(|line| line.strip_prefix("The address of this client is: "));
    address.expect("init tells the address").to_owned()
}

/// Runs a client with this command on a free port, waits until a message handed to it would leave
/// at once, and gives the URL for its apps.
#[must_use]
pub fn run_until_ready(mut client: Command, name: &str) -> (Running, String) {
    client.env("RUST_LOG", "info,nym_client=debug");
    let process = Running::start(client.args(["run", "--id", name, "--port", "0"]));
    let (url, said) = (RefCell::new(None), RefCell::new(BTreeSet::new()));
    let url = process.wait_for("that it is ready", |line| {
        if let Some(told) = line.strip_prefix("Apps connect to: ") {
            *url.borrow_mut() = Some(told.to_owned());
        }
        let signs = READY_SIGNS.into_iter().filter(|sign| line.contains(sign));
        said.borrow_mut().extend(signs);
        let is_ready = said.borrow().len() == READY_SIGNS.len();
        url.borrow().clone().filter(|_| is_ready)
    });
    (process, url)
}

/// Runs a client with this command on a free port, and gives the URL for its apps.
#[must_use]
pub fn run(mut client: Command, name: &str) -> (Running, String) {
    let process = Running::start(client.args(["run", "--id", name, "--port", "0"]));
    let url = process.wait_for("where apps connect", |line| {
        line.strip_prefix("Apps connect to: ").map(str::to_owned)
    });
    (process, url)
}
