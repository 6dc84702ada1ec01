//! What goes wrong with disks and clocks: nothing that was acknowledged is lost, the reason is
//! told, and the program goes on when it can or ends with one line.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::network::{ACK_LEN, Client, LastMixNode, MESSAGE_LEN, NextHop, message, soon};
use super::process::{Process, gateway, init, output};

/// A gateway whose errors are written to a file.
struct Watched {
    process: Process,
    errors: PathBuf,
}

impl Watched {
    /// `arguments` stand behind `run --id one`.
    fn start(home: &Path, arguments: &[&str], environment: &[(&str, &Path)]) -> Self {
        let errors = home.join("errors");
        let line = [&["run", "--id", "one"], arguments].concat();
        let mut command = gateway(home, &line);
        command.stderr(File::create(&errors).unwrap());
        command.envs(environment.iter().copied());
        let process = Process::spawn(command);
        Self { process, errors }
    }

    fn errors(&self) -> String {
        fs::read_to_string(&self.errors).unwrap()
    }

    /// Waits until the program has written a line with all these words.
    async fn tells(&self, words: &[&str]) {
        let told = async {
            let is_told = |line: &str| words.iter().all(|word| line.contains(word));
            while !self.errors().lines().any(is_told) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let patience = Duration::from_secs(60);
        let in_time = timeout(patience, told).await;
        assert!(in_time.is_ok(), "{words:?} not in {}", self.errors());
    }
}

/// Sends messages until the gateway tells that it cannot store them. Gives the numbers of those
/// that it acknowledged.
async fn send_until_told(
    watched: &Watched,
    mix: &LastMixNode,
    alice: &Client,
    acks: &mut NextHop,
    words: &[&str],
) -> Vec<u16> {
    let mut acked = Vec::new();
    let mut sending = std::pin::pin!(async {
        for number in 0..u16::MAX {
            let (ack, message) = (numbered::<ACK_LEN>(number), numbered::<MESSAGE_LEN>(number));
            mix.forward(mix.frame(alice, &ack, &message)).await;
            sleep(Duration::from_micros(500)).await;
        }
    });
    let mut told = std::pin::pin!(watched.tells(words));
    loop {
        tokio::select! {
            () = &mut sending => panic!("everything is taken: {}", watched.errors()),
            () = &mut told => break,
            frame = acks.next_frame() => acked.push(number(frame.packet())),
        }
    }
    // What was acknowledged before the failure is under way still.
    while let Ok(frame) = timeout(Duration::from_millis(500), acks.next_frame()).await {
        acked.push(number(frame.packet()));
    }
    acked
}

fn numbered<const LEN: usize>(number: u16) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn number(bytes: &[u8]) -> u16 {
    u16::from_be_bytes(bytes[..2].try_into().unwrap())
}

/// A small file system in memory, gone when it is dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// None when this user may not mount one.
    fn mount() -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
            .arg(directory.path())
            .output();
        let is_mounted = mounted.is_ok_and(|output| output.status.success());
        is_mounted.then_some(Self(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[tokio::test]
async fn full_disk_loses_nothing_acknowledged_and_is_told_and_recovered_from() {
    let Some(disk) = SmallDisk::mount() else {
        println!("not tested: only root may mount a small disk; the quota form is in store::tests");
        return;
    };
    let home = TempDir::new().unwrap();
    init(home.path());
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let database = disk.0.path().join("gateway.sqlite");
    let flags = ["--clients-ledger", database.to_str().unwrap()];
    let mut acks = NextHop::start().await;
    let watched = Watched::start(home.path(), &flags, &[]);
    let contact = watched.process.contact;
    let mix = LastMixNode::new(contact, acks.address());
    let mut alice = Client::registered(&contact).await;
    let words = ["messages cannot be stored", "full"];
    let acked = send_until_told(&watched, &mix, &alice, &mut acks, &words).await;
    assert!(!acked.is_empty());

    fs::remove_file(ballast).unwrap();
    let mix = LastMixNode::new(contact, acks.address());
    let again = async {
        loop {
            let number = u16::MAX;
            mix.send_bytes(&alice, &numbered(number), &numbered::<MESSAGE_LEN>(number))
                .unwrap();
            let ack = timeout(Duration::from_millis(200), acks.next_frame()).await;
            if ack.is_ok_and(|frame| self::number(frame.packet()) == number) {
                return;
            }
        }
    };
    soon("messages are acknowledged again", again).await;
    watched.tells(&["messages can be stored again"]).await;
    watched.process.kill();

    let watched = Watched::start(home.path(), &flags, &[]);
    let mut session = alice.log_in(&watched.process.contact).await.unwrap();
    let mut received = Vec::new();
    while received.last() != Some(&u16::MAX) {
        received.push(number(&session.push().await));
    }
    let lost: Vec<_> = acked
        .iter()
        .filter(|acked| !received.contains(acked))
        .collect();
    assert!(lost.is_empty(), "{lost:?} of {} are lost", acked.len());
    watched.process.kill();
}

#[tokio::test]
async fn locked_database_is_told_and_recovered_from() {
    let home = TempDir::new().unwrap();
    init(home.path());
    let mut acks = NextHop::start().await;
    let watched = Watched::start(home.path(), &[], &[]);
    let mix = LastMixNode::new(watched.process.contact, acks.address());
    let mut alice = Client::registered(&watched.process.contact).await;
    mix.send(&alice, 1);
    assert_eq!(acks.ack().await, 1);

    let other = Connection::open(home.path().join("gateways/one/data/gateway.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    mix.send(&alice, 2);
    watched
        .tells(&["messages cannot be stored", "database is locked"])
        .await;
    other.execute_batch("ROLLBACK").unwrap();
    mix.send(&alice, 3);
    assert_eq!(
        acks.ack().await,
        3,
        "what was not stored was not acknowledged"
    );
    watched.tells(&["messages can be stored again"]).await;
    let mut session = alice.log_in(&watched.process.contact).await.unwrap();
    assert_eq!(session.push().await, message(1));
    assert_eq!(session.push().await, message(3));
    watched.process.kill();
}

#[tokio::test]
async fn database_damaged_under_a_running_gateway_ends_it_with_one_line() {
    let home = TempDir::new().unwrap();
    init(home.path());
    let mut acks = NextHop::start().await;
    let watched = Watched::start(home.path(), &[], &[]);
    let mix = LastMixNode::new(watched.process.contact, acks.address());
    let alice = Client::registered(&watched.process.contact).await;
    for number in 0..200 {
        mix.send(&alice, number);
    }
    for _ in 0..200 {
        acks.ack().await;
    }
    let database = home.path().join("gateways/one/data/gateway.sqlite");
    {
        // All that is in the log goes to the file, of which all pages but the first are garbage
        // then; and a commit of somebody else makes the gateway read anew.
        let other = Connection::open(&database).unwrap();
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        other.query_row(checkpoint, [], |_| Ok(())).unwrap();
        let mut bytes = fs::read(&database).unwrap();
        assert!(bytes.len() > 300_000);
        bytes[4096..].fill(0xff);
        fs::write(&database, bytes).unwrap();
        other.execute_batch("PRAGMA user_version = 2").unwrap();
    }
    mix.send(&alice, 200);
    let errors = watched.errors.clone();
    assert_eq!(watched.process.status().await, Some(1));
    let errors = fs::read_to_string(errors).unwrap();
    let told: Vec<_> = errors
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(told.len(), 1, "{errors}");
    assert!(told[0].contains("gateway.sqlite is damaged: "), "{errors}");
    assert!(
        errors.contains("what to do: restore the file from a copy"),
        "{errors}"
    );
}

#[test]
fn file_that_is_no_database_is_left_alone_and_told() {
    let home = TempDir::new().unwrap();
    init(home.path());
    let database = home.path().join("gateways/one/data/gateway.sqlite");
    let text = b"not a database at all, but long enough to be mistaken for one".repeat(100);
    fs::write(&database, &text).unwrap();
    let output = output(home.path(), &["run", "--id", "one"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("gateway.sqlite is damaged: file is not a database"),
        "{errors}"
    );
    assert_eq!(fs::read(&database).unwrap(), text);
}

/// Lets a process see a wall clock that is set wrongly: by as many seconds as a file says.
const CLOCK_SHIM: &str = r#"
    #define _GNU_SOURCE
    #include <stdio.h>
    #include <stdlib.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    int clock_gettime(clockid_t clock, struct timespec *time) {
        int outcome = syscall(SYS_clock_gettime, clock, time);
        if (outcome == 0 && clock == CLOCK_REALTIME) {
            FILE *file = fopen(getenv("CLOCK_SHIM_FILE"), "r");
            long offset = 0;
            if (file) {
                if (fscanf(file, "%ld", &offset) != 1) offset = 0;
                fclose(file);
            }
            time->tv_sec += offset;
        }
        return outcome;
    }
"#;

/// The year that a program sees through the shim.
fn year(shim: &Path, offset: &Path) -> u32 {
    let output = Command::new("date")
        .arg("+%Y")
        .env("LD_PRELOAD", shim)
        .env("CLOCK_SHIM_FILE", offset)
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn clock_that_steps_back_or_forward_makes_no_message_old() {
    const YEAR_SECS: i64 = 365 * 24 * 3600;
    let home = TempDir::new().unwrap();
    init(home.path());
    let config = home.path().join("gateways/one/config/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("\ninbox_age = "), "{text}");
    let aged: Vec<_> = text
        .lines()
        .map(|line| match line.starts_with("inbox_age = ") {
            true => "inbox_age = \"1h\"",
            false => line,
        })
        .collect();
    fs::write(&config, aged.join("\n")).unwrap();

    let (source, shim) = (home.path().join("shim.c"), home.path().join("shim.so"));
    fs::write(&source, CLOCK_SHIM).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&shim, &source])
        .status();
    assert!(compiled.unwrap().success());
    let offset = home.path().join("offset");
    let step = |secs: i64| fs::write(&offset, secs.to_string()).unwrap();
    step(0);
    let now = year(&shim, &offset);
    let environment = [("LD_PRELOAD", &*shim), ("CLOCK_SHIM_FILE", &*offset)];

    let mut acks = NextHop::start().await;
    let watched = Watched::start(home.path(), &[], &environment);
    let mix = LastMixNode::new(watched.process.contact, acks.address());
    let mut alice = Client::registered(&watched.process.contact).await;
    let mut sent = 0;
    for years in [0, 10, -20, 0] {
        step(years * YEAR_SECS);
        let seen = i64::from(year(&shim, &offset)) - i64::from(now);
        assert!(
            (seen - years).abs() <= 1,
            "the shim works: {seen}, not {years}"
        );
        for _ in 0..3 {
            mix.send(&alice, sent);
            assert_eq!(acks.ack().await, sent);
            sent += 1;
        }
    }
    watched.process.kill();
    step(-20 * YEAR_SECS);
    let watched = Watched::start(home.path(), &[], &environment);
    let mix = LastMixNode::new(watched.process.contact, acks.address());
    mix.send(&alice, sent);
    assert_eq!(acks.ack().await, sent);
    let mut session = alice.log_in(&watched.process.contact).await.unwrap();
    for number in 0..=sent {
        assert_eq!(session.push().await, message(number));
    }
    watched.process.kill();
}
