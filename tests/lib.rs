//! What the tests of real processes share: programs of this workspace, Python, and output that
//! arrives line by line. Every process started here ends with the value that stands for it.

#![expect(
    clippy::panic,
    reason = "what a test needs and cannot have fails the test"
)]

pub mod clients;
pub mod mixnode_process;
pub mod pacing;
pub mod wire;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a test waits for one thing to happen on a busy machine before it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a program may be silent after it was asked to end.
const GRACE: Duration = Duration::from_secs(10);

/// The root of the repository.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are a folder of it")
}

/// The path of a program of this workspace, built in the profile of the running test.
///
/// # Panics
/// When it does not build; the test cannot go on without it.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let own = std::env::current_exe().expect("a running program has a path");
        let folder = own.parent().expect("a program is in a folder");
        // A test is in <target>/<profile>/deps, a program one folder above.
        let folder = match folder.parent() {
            Some(profile) if folder.ends_with("deps") => profile,
            _ => folder,
        }
        .to_owned();
        let mut build = Command::new(env!("CARGO"));
        build.args([
            "build",
            "--quiet",
            "--offline",
            "--bins",
            "--workspace",
            "--exclude",
            "xtask",
        ]);
        build
            .arg("--target-dir")
            .arg(folder.parent().expect("a profile is in a target folder"));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        let status = build
            .current_dir(repository())
            .status()
            .expect("cargo runs");
        assert!(
            status.success(),
            "the programs of the workspace do not build"
        );
        folder
    });
    folder.join(name)
}

/// The Python interpreter of a virtual environment that has `websockets`.
///
/// # Panics
/// When the environment cannot be made.
#[must_use]
pub fn python() -> PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON
        .get_or_init(|| {
            if let Some(path) = std::env::var_os("NYM_TEST_PYTHON") {
                return PathBuf::from(path);
            }
            chore("venv")
        })
        .clone()
}

/// Where the TypeScript programs of `clients/` are, compiled.
///
/// # Panics
/// When they cannot be compiled.
#[must_use]
pub fn typescript() -> PathBuf {
    if let Some(path) = std::env::var_os("NYM_TEST_TYPESCRIPT") {
        return PathBuf::from(path);
    }
    chore("typescript")
}

/// What a chore of the repository prints: a path.
fn chore(name: &str) -> PathBuf {
    let mut chore = Command::new(env!("CARGO"));
    chore.args(["run", "--quiet", "--package", "xtask", "--", name]);
    let done = chore
        .current_dir(repository())
        .output()
        .expect("cargo runs");
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "cargo xtask {name}: {stderr}");
    PathBuf::from(String::from_utf8_lossy(&done.stdout).trim())
}

/// A network with free ports that stays up, and the app ports of alice and bob.
#[must_use]
pub fn running_localnet(arguments: &[&str]) -> (Running, u16, u16) {
    let mut command = Command::new(program("nym-localnet"));
    let localnet = Running::start(command.args(["--port", "0", "--fast"]).args(arguments));
    let alice = localnet.wait_for("alice's port", |line| app_port(line, "alice"));
    let bob = localnet.wait_for("bob's port", |line| app_port(line, "bob"));
    (localnet, alice, bob)
}

/// The port in a line like `alice  ws://localhost:1977` of a localnet.
#[must_use]
pub fn app_port(line: &str, client: &str) -> Option<u16> {
    let rest = line.trim().strip_prefix(client)?;
    rest.trim().strip_prefix("ws://localhost:")?.parse().ok()
}

/// A running program; ended when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    lines: Receiver<String>,
    transcript: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts `command` with both outputs captured.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (sender, lines) = channel();
        let transcript = Arc::new(Mutex::new(String::new()));
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child
                .stdout
                .take()
                .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            child
                .stderr
                .take()
                .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        ];
        let readers = outputs
            .into_iter()
            .flatten()
            .map(|pipe| {
                let sender = sender.clone();
                let transcript = Arc::clone(&transcript);
                std::thread::spawn(move || {
                    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                        let mut all = transcript.lock().expect("no reader panics");
                        all.push_str(&line);
                        all.push('\n');
                        drop(all);
                        // The test may have stopped listening; the transcript still grows.
                        let _ = sender.send(line);
                    }
                })
            })
            .collect();
        Self {
            name,
            child,
            lines,
            transcript,
            readers,
        }
    }

    /// Waits for a line that `wanted` finds something in, and returns that.
    ///
    /// # Panics
    /// When the program ends, or [`PATIENCE`] is over, before such a line; shows all it printed.
    pub fn wait_for<T>(&self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!(
                        "{} never printed {what}; it printed:\n{}",
                        self.name,
                        self.output()
                    );
                }
            }
        }
    }

    /// All it has printed so far, both outputs.
    ///
    /// # Panics
    /// Never: no reader panics while it writes.
    #[must_use]
    pub fn output(&self) -> String {
        self.transcript.lock().expect("no reader panics").clone()
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When [`PATIENCE`] is over before that; shows all it printed.
    #[must_use]
    pub fn ended(mut self) -> ExitStatus {
        // Its outputs are closed when it has ended.
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} never ended; it printed:\n{}", self.name, self.output());
                }
            }
        }
        self.child
            .wait()
            .expect("a started child can be waited for")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it with SIGKILL: it does nothing more at all.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(mut self) {
        self.child.kill().expect("a started child can be killed");
        self.child
            .wait()
            .expect("a started child can be waited for");
    }

    /// Asks it to end, as Ctrl-C does, and waits for it.
    ///
    /// # Panics
    /// When `kill` cannot be run.
    pub fn interrupt(mut self) -> ExitStatus {
        let kill = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        assert!(
            kill.expect("kill runs").success(),
            "{} had ended before",
            self.name
        );
        self.child
            .wait()
            .expect("a started child can be waited for")
    }
}

impl Drop for Running {
    /// Asks it to end, so that it cleans up after itself, and insists after a while.
    fn drop(&mut self) {
        // Once it was waited for, its id may be that of another process.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let pid = self.child.id().to_string();
            let _ = Command::new("kill")
                .args(["-TERM", &pid])
                .stderr(Stdio::null())
                .status();
        }
        // Its outputs are closed when it has ended.
        while self.lines.recv_timeout(GRACE).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

/// Runs `command` to its end.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn output_of(command: &mut Command) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What a finished program wrote to its standard output, and to its standard error.
#[must_use]
pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A command that runs alone on a network of its own, where every port is free: a namespace with
/// nothing but a loopback interface. Join it with [`beside`].
///
/// `None` where the system does not permit that to an ordinary user.
#[must_use]
pub fn isolated(program: &Path) -> Option<Command> {
    const LOOPBACK_UP: &str = "import fcntl, socket, struct, os, sys\n\
        flags = struct.pack('16sh14x', b'lo', 0x1 | 0x40)\n\
        fcntl.ioctl(socket.socket(), 0x8914, flags)\n\
        os.execvp(sys.argv[1], sys.argv[1:])\n";
    let mut probe = Command::new("unshare");
    probe
        .args(["-rn", "true"])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        return None;
    }
    let mut command = Command::new("unshare");
    command
        .arg("-rn")
        .arg(python())
        .args(["-c", LOOPBACK_UP])
        .arg(program);
    Some(command)
}

/// A command on the network of one that [`isolated`] made.
#[must_use]
pub fn beside(running: &Running, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    let pid = running.pid().to_string();
    command
        .args(["--preserve-credentials", "-U", "-n", "-t", &pid])
        .arg(program);
    command
}

/// Runs a test of the calling program again, alone on a network of its own, see [`isolated`], so
/// that it may use fixed ports; tells whether it did. If not, the test runs where it is.
///
/// # Panics
/// When the test fails there; shows all it printed.
#[must_use]
pub fn isolated_again(test: &str) -> bool {
    const INSIDE: &str = "NYM_TEST_IS_ISOLATED";
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let own = std::env::current_exe().expect("a running program has a path");
    let Some(mut command) = isolated(&own) else {
        return false;
    };
    let command = command.args([test, "--exact", "--nocapture"]);
    let output = output_of(command.env(INSIDE, "yes"));
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("1 passed"), "there is no test {test}");
    true
}
