//! What somebody sees who watches every link of a network.
//!
//! `nym-localnet --record` puts a recording proxy between all programs. What it recorded is read
//! here as TLS records (RFC 8446, section 5.1), or as what it is if it is no TLS. What validators
//! are asked and answer is public, and is looked at by itself: it must not tell who asks.

#![expect(
    clippy::unwrap_used,
    reason = "the builders of a test fail by panicking, as it does"
)]

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use nym_tests::{isolated, output_of, program, texts};

/// One direction of one connection.
struct Capture {
    name: String,
    bytes: Vec<u8>,
}

impl Capture {
    /// What is said to a validator and by it, which is HTTP.
    fn is_of_validator(&self) -> bool {
        self.name.starts_with("validator-")
    }

    fn is_answer(&self) -> bool {
        Path::new(&self.name)
            .extension()
            .is_some_and(|extension| extension == "out")
    }

    fn contains(&self, text: &str) -> bool {
        self.bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    }

    /// Kind and content of the records of TLS; none if it is no TLS. One that was cut off is left
    /// out.
    fn records(&self) -> Option<Vec<(u8, &[u8])>> {
        let mut records = Vec::new();
        let mut rest = self.bytes.as_slice();
        while let [kind, 3, 1 | 3, high, low, after @ ..] = rest {
            let len = usize::from(*high) << 8 | usize::from(*low);
            let Some((content, after)) = after.split_at_checked(len) else {
                return Some(records);
            };
            records.push((*kind, content));
            rest = after;
        }
        (rest.len() < 5).then_some(records)
    }
}

/// Delivers a message through a network whose links are recorded.
fn record(arguments: &[&str]) -> Vec<Capture> {
    let dir = tempfile::tempdir().unwrap();
    let program = program("nym-localnet");
    // A legacy network has fixed ports.
    let alone = arguments.contains(&"--legacy").then(|| isolated(&program));
    let mut command = alone.flatten().unwrap_or_else(|| Command::new(program));
    command.args([
        "--once",
        "--port",
        "0",
        "--fast",
        "--messages",
        "20",
        "--record",
    ]);
    let output = output_of(command.arg(dir.path()).args(arguments));
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}{stderr}");
    let files = std::fs::read_dir(dir.path()).unwrap();
    let captures: Vec<_> = files
        .map(|file| file.unwrap())
        .map(|file| Capture {
            name: file.file_name().into_string().unwrap(),
            bytes: std::fs::read(file.path()).unwrap(),
        })
        .filter(|capture| !capture.bytes.is_empty())
        .collect();
    for kind in [
        "mix1-mix",
        "gw1-mix",
        "gw1-clients",
        "gw2-clients",
        "validator-rest",
    ] {
        let is_there = captures.iter().any(|it| it.name.starts_with(kind));
        assert!(is_there, "nothing passed at {kind}");
    }
    captures
}

/// What an upgrade request, the login of a client and its answer have in clear.
const CLEAR: [&str; 4] = [
    "GET / HTTP/1.1",
    "websocket",
    r#"{"type":"#,
    r#""status":true"#,
];

/// The 16 bytes that two connections have in common, if there are any, and their names.
fn repeated<'a>(contents: impl Iterator<Item = (&'a str, &'a [u8])>) -> Option<(&'a str, &'a str)> {
    let mut seen: HashMap<[u8; 16], &str> = HashMap::new();
    for (name, content) in contents {
        let connection = name
            .split_once('.')
            .map_or(name, |(connection, _)| connection);
        for block in content.windows(16) {
            let block: [u8; 16] = block.try_into().expect("a window of 16 bytes");
            match seen.insert(block, connection) {
                Some(other) if other != connection => return Some((other, connection)),
                _ => {}
            }
        }
    }
    None
}

/// Cipher suite and group that a `ServerHello` (RFC 8446, section 4.1.3) chooses.
fn chosen(hello: &[u8]) -> Option<(u16, u16)> {
    let number = |bytes: &[u8]| Some(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?));
    // Type 2 and length; version and random; session.
    let rest = hello.strip_prefix(&[2])?.get(3 + 2 + 32..)?;
    let rest = rest.get(1 + usize::from(*rest.first()?)..)?;
    let suite = number(rest)?;
    // No compression; length of the extensions.
    let mut rest = rest.get(2 + 1 + 2..)?;
    while let Some(kind) = number(rest) {
        let len = usize::from(number(rest.get(2..)?)?);
        let content = rest.get(4..4 + len)?;
        if kind == 51 {
            return Some((suite, number(content)?));
        }
        rest = rest.get(4 + len..)?;
    }
    None
}

#[test]
fn somebody_who_watches_all_links_sees_nothing_but_tls_with_ml_kem() {
    let captures = record(&[]);
    let mut secrets = Vec::new();
    for capture in captures.iter().filter(|it| !it.is_of_validator()) {
        let name = &capture.name;
        for text in CLEAR {
            assert!(!capture.contains(text), "{text} passed at {name}");
        }
        // A plain link would begin with the header of a frame, or with a request.
        let records = capture
            .records()
            .unwrap_or_else(|| panic!("{name} is no TLS"));
        let is_tls = matches!(records.first(), Some((0x16, _)));
        assert!(is_tls, "{name} does not begin with a hello");
        for (index, (kind, content)) in records.into_iter().enumerate() {
            match kind {
                // The hellos are public, and alike by intention.
                0x16 if index == 0 && capture.is_answer() => {
                    let suite_and_group = Some((0x1301, 0x11ec));
                    assert_eq!(chosen(content), suite_and_group, "{name}");
                }
                0x16 if index == 0 => {}
                0x14 => assert_eq!(content, [1], "{name}"),
                0x17 => secrets.push((name.as_str(), content)),
                other => panic!("a record of kind {other} passed at {name}"),
            }
        }
    }
    let len: usize = secrets.iter().map(|(_, content)| content.len()).sum();
    assert!(len > 100_000, "only {len} bytes were recorded");
    assert_eq!(repeated(secrets.into_iter()), None);
}

/// The requests of one connection: first lines and header lines, without bodies.
fn requests(capture: &Capture) -> Vec<Vec<String>> {
    let mut requests = Vec::new();
    let mut rest = capture.bytes.as_slice();
    while let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = std::str::from_utf8(&rest[..end]).unwrap();
        let lines: Vec<_> = head.lines().map(str::to_ascii_lowercase).collect();
        let body_len = lines
            .iter()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0_usize);
        rest = rest.get(end + 4 + body_len..).unwrap_or_default();
        requests.push(lines);
    }
    requests
}

#[test]
fn somebody_who_watches_a_validator_sees_public_lists_and_not_who_asks_for_them() {
    let captures = record(&[]);
    let mut asked = HashMap::<String, Vec<String>>::new();
    for capture in captures.iter().filter(|it| it.is_of_validator()) {
        if capture.is_answer() {
            assert!(
                capture.bytes.starts_with(b"HTTP/1.1 200 "),
                "{}",
                capture.name
            );
            continue;
        }
        for request in requests(capture) {
            let (line, headers) = request.split_first().unwrap();
            assert!(
                [
                    "get //v1/mixnodes",
                    "get //v1/gateways",
                    "post //v1/announce"
                ]
                .contains(&line.trim_end_matches(" http/1.1")),
                "{line}"
            );
            if line.starts_with("get ") {
                let first = asked
                    .entry(line.clone())
                    .or_insert_with(|| headers.to_vec());
                assert_eq!(first, headers, "all who ask look alike");
                assert!(
                    headers
                        .iter()
                        .all(|header| header == "accept: */*" || header.starts_with("host: ")),
                    "{headers:?}"
                );
            }
        }
    }
    assert_eq!(asked.len(), 2, "{asked:?}");
}

#[test]
fn somebody_who_watches_legacy_links_reads_logins_frames_and_repeats() {
    let captures = record(&["--legacy"]);
    for text in CLEAR {
        let is_seen = captures.iter().any(|capture| capture.contains(text));
        assert!(is_seen, "{text} should be in clear");
    }
    let mut frames = 0;
    for capture in captures.iter().filter(|it| it.name.contains("-mix-")) {
        let [1..=3, 0 | 1, ..] = capture.bytes[..] else {
            panic!("{} does not begin with a frame", capture.name);
        };
        frames += 1;
    }
    assert!(frames > 0);
    let contents = captures
        .iter()
        .map(|capture| (capture.name.as_str(), capture.bytes.as_slice()));
    assert!(repeated(contents).is_some());
}
