//! Programs that ask their validator by https: with an authority of the operator's own, with one that
//! the system trusts, and with none.

#![cfg(test)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nym_tests::{Running, clients, output_of, program, texts};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// A home for all programs of a network, and beside it the files of an authority and of the
/// certificate for 127.0.0.9 that it gave to a validator.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Self { dir };
        let mut params = authority("the operator");
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        std::fs::write(files.path("ca.pem"), authority.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        params = CertificateParams::new(["127.0.0.9".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(files.path("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(files.path("key.pem"), key.serialize_pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let stranger = self::authority("somebody else").self_signed(&key).unwrap();
        std::fs::write(files.path("stranger.pem"), stranger.pem()).unwrap();
        std::fs::write(files.path("stranger-key.pem"), key.serialize_pem()).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program for which the system trusts the owners of these certificates and nobody else.
    fn command(&self, name: &str, words: &[&str], trusted: &str) -> Command {
        let mut command = Command::new(program(name));
        command.args(words).arg("--home").arg(self.dir.path());
        command.env("SSL_CERT_FILE", self.path(trusted));
        command.env_remove("SSL_CERT_DIR").env_remove("RUST_LOG");
        command
    }

    /// The configuration of the validator.
    fn configure_validator(&self, rest: &str) {
        let folder = self.path("validators/default/config");
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!(
            "listen = \"127.0.0.9\"\nrest_port = 0\napi_port = 0\ncertificate_file = {:?}\nprivate_key_file = {:?}\n{rest}",
            self.path("cert.pem"),
            self.path("key.pem"),
        );
        std::fs::write(folder.join("config.toml"), text).unwrap();
    }

    /// Makes a node that names the authority in its configuration, and runs it until a validator
    /// has taken its announcement.
    fn node(&self, name: &str, id: &str, ports: &[&str], validator: &str) -> Running {
        let init = ["init", "--id", id, "--host", "127.0.0.1"];
        let mut init = self.command(name, &init, "stranger.pem");
        init.args(ports).args(["--validators", validator]);
        init.arg("--validator-ca").arg(self.path("ca.pem"));
        succeed(&mut init);
        let node = Running::start(&mut self.command(name, &["run", "--id", id], "stranger.pem"));
        node.wait_for("that it is announced", |line| {
            line.contains(" announced").then_some(())
        });
        node
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn succeed(command: &mut Command) -> String {
    let output = output_of(command);
    assert!(output.status.success(), "{:?}", texts(&output));
    texts(&output).0
}

/// The error of a command that must end with this status: one line, and one of advice at most.
fn error_of(output: &Output, status: i32) -> String {
    let (stdout, stderr) = texts(output);
    assert_eq!(output.status.code(), Some(status), "{stdout}{stderr}");
    let lines: Vec<_> = stderr.lines().collect();
    let error = lines.iter().position(|line| line.starts_with("error: "));
    let said = &lines[error.expect(&stderr)..];
    assert!(said.len() <= 2, "{stderr}");
    said.join("\n")
}

#[test]
fn network_is_learned_by_https_from_a_validator_that_a_trusted_authority_vouches_for() {
    let files = Files::new();
    files.configure_validator("");
    let validator = Running::start(&mut files.command("nym-validator", &["run"], "stranger.pem"));
    let url = validator.wait_for("its URL", |line| {
        let (_, url) = line.split_once("configured with ")?;
        Some(url.to_owned())
    });
    assert!(url.starts_with("https://127.0.0.9:"), "{url}");

    let mut nodes = Vec::new();
    for id in ["mix1", "mix2", "mix3"] {
        let ports = ["--mix-port", "0", "--http-api-port", "0"];
        nodes.push(files.node("nym-mixnode", id, &ports, &url));
    }
    let ports = ["--mix-port", "0", "--clients-port", "0", "--http-api", ""];
    nodes.push(files.node("nym-gateway", "door", &ports, &url));

    // A client that trusts the authority is told the network; its configuration keeps the name of
    // the file, given relative to where it was typed.
    let client = || {
        let mut client = clients::client(files.dir.path());
        client.env("SSL_CERT_FILE", files.path("stranger.pem"));
        client.current_dir(files.dir.path());
        client
    };
    let flag = ["--validator-ca", "ca.pem"];
    let address = clients::init(client(), "alice", &url, &flag);
    assert!(address.contains('@'), "{address}");
    let mut elsewhere = client();
    elsewhere.current_dir("/");
    let (alice, _) = clients::run_until_ready(elsewhere, "alice");
    let topology = ["topology", "--id", "alice"];
    let known = succeed(&mut files.command("nym-client", &topology, "stranger.pem"));
    assert_eq!(known.matches("(1)").count(), 4, "{known}");

    // So is one whose system trusts it.
    let topology = ["topology", "--validators", &url];
    let known_too = succeed(&mut files.command("nym-client", &topology, "ca.pem"));
    assert_eq!(known_too, known);

    // Any other refuses, and says what to set.
    let init = ["init", "--id", "bob", "--validators", &url];
    let refused = output_of(&mut files.command("nym-client", &init, "stranger.pem"));
    let error = error_of(&refused, 1);
    assert!(
        error.contains("nobody vouches for it") && error.contains("`validator_ca_file`"),
        "{error}"
    );

    // There is no way around it, until the operator opens one.
    let plain = url.replace("https:", "http:");
    let topology = ["topology", "--validators", &plain];
    let ask = || output_of(&mut files.command("nym-client", &topology, "stranger.pem"));
    let error = error_of(&ask(), 1);
    assert!(error.contains("this port requires https"), "{error}");
    files.configure_validator("plain_http = true\n");
    let pid = validator.pid().to_string();
    succeed(Command::new("kill").args(["-HUP", &pid]));
    let told = validator.wait_for("what came of it", |line| {
        line.contains("reloaded").then(|| line.to_owned())
    });
    assert!(told.ends_with("configuration reloaded"), "{told}");
    let answer = ask();
    assert!(answer.status.success(), "{:?}", texts(&answer));

    for program in nodes.into_iter().chain([alice, validator]) {
        let said = program.output();
        assert!(!said.contains("plain HTTP"), "{said}");
        assert_eq!(program.interrupt().code(), Some(130), "{said}");
    }
}

#[test]
fn file_that_is_no_certificate_ends_the_start_with_one_line_and_status_2() {
    let files = Files::new();
    let path = |name: &str| files.path(name).display().to_string();
    let run = |name: &str, words: &[&str]| {
        error_of(&output_of(&mut files.command(name, words, "ca.pem")), 2)
    };
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    for (cert, key, said) in [
        (&cert, &path("stranger-key.pem"), "do not belong together"),
        (&key, &key, "there is no certificate in it"),
        (&path("gone.pem"), &key, "gone.pem: No such file"),
    ] {
        let words = ["run", "--certificate-file", cert, "--private-key-file", key];
        let error = run("nym-validator", &words);
        assert!(
            error.starts_with("error: cannot serve https: ") && error.contains(said),
            "{error}"
        );
    }

    for (name, id) in [("nym-mixnode", "mix"), ("nym-gateway", "door")] {
        let init = ["init", "--id", id, "--host", "127.0.0.1"];
        succeed(&mut files.command(name, &init, "ca.pem"));
        let error = run(name, &["run", "--id", id, "--validator-ca", &key]);
        is_about_ca_file(&error, Path::new(&key));
    }
    let words = [
        "topology",
        "--validators",
        "https://127.0.0.1:1",
        "--validator-ca",
        &key,
    ];
    is_about_ca_file(&run("nym-client", &words), Path::new(&key));
    let init = ["init", "--id", "alice", "--validator-ca", &key];
    is_about_ca_file(&run("nym-client", &init), Path::new(&key));
}

fn is_about_ca_file(error: &str, file: &Path) {
    let said = format!(
        "`validator_ca_file`: {}: there is no certificate in it\nwhat to do: ",
        file.display()
    );
    assert!(error.contains(&said), "{error}");
}

#[test]
fn program_says_once_that_what_it_is_told_by_plain_http_can_be_forged() {
    let files = Files::new();
    let init = ["init", "--id", "mix", "--host", "127.0.0.1"];
    let mut init = files.command("nym-mixnode", &init, "ca.pem");
    init.args(["--mix-port", "0", "--http-api-port", "0"]);
    succeed(&mut init);
    // Addresses of documentation (RFC 5737), where nobody is.
    for (url, warning_count) in [("http://192.0.2.1:1317", 1), ("http://127.0.0.9:1", 0)] {
        let run = ["run", "--id", "mix", "--validators", url];
        let node = Running::start(&mut files.command("nym-mixnode", &run, "ca.pem"));
        node.wait_for("that nobody answers", |line| {
            line.contains("cannot check whether").then_some(())
        });
        let said = node.output();
        let count = said.matches("asked by plain HTTP").count();
        assert_eq!(count, warning_count, "{said}");
        node.interrupt();
    }
}
