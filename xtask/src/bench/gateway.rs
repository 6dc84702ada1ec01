//! `cargo xtask bench gateway`: a gateway with 10,000 clients, and messages to each of them.
//!
//! Gateway and crowd share the machine; each needs 10,000 open files and some.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::program::Program;
use crate::{process, target_dir};

/// Messages, one for each client.
const MESSAGES: &str = "10000";

/// Messages per second.
const RATE: &str = "500";

/// Starts a gateway with its default limits, lets a crowd come, and prints what it saw.
///
/// # Errors
/// A line that says what failed.
pub(crate) fn bench(root: &Path) -> Result<(), String> {
    super::build(root, &["nym-gateway", "nym-loadgen"])?;
    let target = target_dir(root);
    let home = target.join(format!("bench-gateway-{}", std::process::id()));
    let measured = measure(&target.join("release"), &home);
    // What cannot be removed lies in the target directory, where it is in nobody's way.
    let _ = fs::remove_dir_all(&home);
    measured
}

fn measure(programs: &Path, home: &Path) -> Result<(), String> {
    let gateway = |word| {
        let mut command = Command::new(programs.join("nym-gateway"));
        command.args([word, "--id", "bench", "--home"]).arg(home);
        command.env_remove("RUST_LOG").env_remove("NYM_HOME");
        command
    };
    let mut init = gateway("init");
    init.args(["--host", "127.0.0.1", "--mix-port", "0"]);
    init.args(["--clients-port", "0", "--http-api", "127.0.0.1:0"]);
    process::output(&mut init)?;
    let gateway = Program::start(&mut gateway("run"), "Pages: ")?;

    let mut crowd = Command::new(programs.join("nym-loadgen"));
    crowd.args(["gateway", "--messages", MESSAGES, "--rate", RATE]);
    crowd.args(["--clients-at", gateway.said("Clients: ws://")?]);
    crowd.args(["--packets-at", gateway.said("Packets: ")?]);
    crowd.args(["--identity-key", gateway.said("Identity key: ")?]);
    crowd.args(["--sphinx-key", gateway.said("Sphinx key: ")?]);
    process::run(crowd.args(["--pid", &gateway.pid().to_string()]))
}
