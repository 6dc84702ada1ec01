//! A mix node and a validator that run take over what changes in their configuration files, and keep
//! a file with an error out. (The gateway's tests do the same with a gateway.)

#![cfg(test)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use nym_tests::{PATIENCE, Running, output_of, program, texts};

/// A program with a home of its own, and its configuration file.
struct Daemon {
    process: Running,
    file: PathBuf,
    text: String,
}

impl Daemon {
    fn start(name: &str, home: &Path, arguments: &[&str], file: &str) -> Self {
        let file = home.join(file);
        let text = std::fs::read_to_string(&file).unwrap();
        let mut run = Command::new(program(name));
        run.arg("run").args(arguments).arg("--home").arg(home);
        run.env_remove("RUST_LOG");
        let process = Running::start(&mut run);
        Self {
            process,
            file,
            text,
        }
    }

    /// Changes the file as it was in the beginning, asks the program to read it, and gives the line
    /// that tells what came of it.
    fn reload(&self, changes: &[(&str, &str)]) -> String {
        let mut text = self.text.clone();
        for (from, to) in changes {
            assert!(text.contains(from), "{from} in {text}");
            text = text.replace(from, to);
        }
        std::fs::write(&self.file, text).unwrap();
        let pid = self.process.pid().to_string();
        let asked = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(asked.unwrap().success());
        self.wait_for("reloaded")
    }

    /// The next line with these words.
    fn wait_for(&self, words: &str) -> String {
        let find = |line: &str| line.contains(words).then(|| line.to_owned());
        self.process.wait_for(words, find)
    }
}

/// The first byte of a frame on a plain link.
fn begin_plain_link(node: SocketAddr) -> TcpStream {
    let mut link = TcpStream::connect(node).unwrap();
    link.write_all(&[2]).unwrap();
    link
}

#[test]
fn mix_node_takes_over_who_may_have_links_and_what_is_logged() {
    let home = tempfile::tempdir().unwrap();
    let mut init = Command::new(program("nym-mixnode"));
    init.args(["init", "--id", "one", "--host", "127.0.0.1"])
        .args(["--mix-port", "0", "--http-api-port", "0", "--home"])
        .arg(home.path());
    let output = output_of(&mut init);
    assert!(output.status.success(), "{:?}", texts(&output));
    let file = "mixnodes/one/config/config.toml";
    let node = Daemon::start("nym-mixnode", home.path(), &["--id", "one"], file);
    let address = node.process.wait_for("its address", |line| {
        line.strip_prefix("Packets: ")?.parse().ok()
    });
    let _refused = begin_plain_link(address);
    node.wait_for("refused a link");

    let (deny, allow) = ("legacy_peers = \"deny\"", "legacy_peers = \"allow\"");
    let (info, debug) = ("filter = \"info\"", "filter = \"info,nym_transport=debug\"");
    let told = node.reload(&[(deny, allow), (info, debug)]);
    assert!(told.ends_with("configuration reloaded"), "{told}");
    let _open = begin_plain_link(address);
    node.wait_for("a plain link");

    // A file with an error changes nothing.
    for (change, problem) in [
        ((deny, "legacy_peers = \"perhaps\""), "links.legacy_peers"),
        ((info, "filter = \"no=where\""), "no=where"),
    ] {
        let told = node.reload(&[change]);
        assert!(
            told.contains("not reloaded") && told.contains(problem),
            "{told}"
        );
        let _open = begin_plain_link(address);
        node.wait_for("a plain link");
    }

    let longer = ("max_delay = \"1h\"", "max_delay = \"2h\"");
    let told = node.reload(&[(info, debug), longer]);
    assert!(told.contains("needs a restart"), "{told}");
    let open_count = || node.process.output().matches("a plain link").count();
    let before = open_count();
    let mut refused = begin_plain_link(address);
    refused.set_read_timeout(Some(PATIENCE)).unwrap();
    match refused.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("{other:?} although the file denies plain links again"),
    }
    assert_eq!(open_count(), before);
}

#[test]
fn validator_takes_over_how_many_nodes_it_lists_and_what_is_logged() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("validators/default/config");
    std::fs::create_dir_all(&folder).unwrap();
    let text = "rest_port = 0\napi_port = 0\nnode_count_max = 5\n";
    std::fs::write(folder.join("config.toml"), text).unwrap();
    let file = "validators/default/config/config.toml";
    let validator = Daemon::start("nym-validator", home.path(), &[], file);
    validator.wait_for("serving");
    let told = validator.reload(&[("max = 5", "max = 6")]);
    assert!(told.ends_with("configuration reloaded"), "{told}");
    let told = validator.reload(&[("max = 5", "max = 0")]);
    assert!(
        told.contains("not reloaded") && told.contains("node_count_max"),
        "{told}"
    );
    let told = validator.reload(&[("rest_port = 0", "rest_port = 1317")]);
    assert!(told.contains("needs a restart"), "{told}");
}
