//! A real browser in front of the port for apps: which pages may use the client.

#![expect(
    clippy::panic,
    reason = "what a test needs and cannot have fails the test"
)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use nym_tests::{PATIENCE, Running, running_localnet};

/// Opens the websocket of its query and tells its own server what came of it.
const PAGE: &str = "<!doctype html><script>\
    const say = (said) => fetch('/said/' + said);\
    const app = new WebSocket(decodeURIComponent(location.search.slice(1)));\
    app.onopen = () => app.send('{\"type\":\"selfAddress\"}');\
    app.onmessage = (push) => say(JSON.parse(push.data).type);\
    app.onerror = () => say('refused');\
    </script>";

/// Serves [`PAGE`] under every name that leads here; gives its port and what pages say.
fn serve_pages() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let (sender, said) = channel();
    // Ends with the test's process; nothing waits for it.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let len = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..len]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            if let Some(word) = path.strip_prefix("/said/") {
                let _ = sender.send(word.to_owned());
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{PAGE}",
                PAGE.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (port, said)
}

/// What the page of that name says when it opens a websocket to `app`.
fn said_by(page: &str, app: &str, said: &Receiver<String>) -> String {
    let profile = tempfile::tempdir().expect("a folder for the profile");
    let app = app.replace(':', "%3A").replace('/', "%2F");
    let browser = Running::start(
        Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--host-resolver-rules=MAP *.example 127.0.0.1",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("http://{page}/?{app}")),
    );
    let word = said.recv_timeout(PATIENCE);
    word.unwrap_or_else(|_| panic!("the page said nothing: {}", browser.output()))
}

/// How often the client has refused somebody for that reason.
fn refused_count(port: u16, reason: &str) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the client listens");
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("it answers");
    let name = format!("nym_client_requests_refused_total{{reason=\"{reason}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {page}"))
}

#[test]
fn a_browser_lets_pages_of_this_machine_in_and_no_others() {
    let (_localnet, alice, _) = running_localnet(&[]);
    let (port, said) = serve_pages();

    let local = said_by(
        &format!("localhost:{port}"),
        &format!("ws://localhost:{alice}/"),
        &said,
    );
    assert_eq!(local, "selfAddress");
    assert_eq!(refused_count(alice, "origin"), 0);

    let other = said_by(
        &format!("evil.example:{port}"),
        &format!("ws://localhost:{alice}/"),
        &said,
    );
    assert_eq!(other, "refused");
    assert_eq!(refused_count(alice, "origin"), 1);

    // The name of the page leads to this machine, as if it had been rebound after it was loaded.
    let rebound = format!("ws://rebound.example:{alice}/");
    let rebound = said_by(&format!("rebound.example:{port}"), &rebound, &said);
    assert_eq!(rebound, "refused");
    assert_eq!(refused_count(alice, "host"), 1);
}
