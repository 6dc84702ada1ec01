//! `nym-client listen`.

use std::io::{self, IsTerminal as _};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nym_daemon::exit::{ExitCode, Failure, Printed, cannot, print};
use nym_daemon::home::Home;
use nym_daemon::shutdown::Shutdown;
use nym_protocol::app::{Received, Response};
use serde::Serialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::local_app::{LocalApp, Pushes, Said};
use super::{JSON_VERSION, client_config, note, print_json};
use crate::cli::ListenArgs;
use crate::config::Overrides;

/// The variable in which a command finds the sender tag.
const SENDER_TAG_VARIABLE: &str = "NYM_SENDER_TAG";

/// What `--json` prints for each message.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    sender_tag: Option<String>,
}

pub(crate) async fn execute(args: &ListenArgs, home: &Home) -> Result<ExitCode, Failure> {
    let config = client_config(home, &args.id, &Overrides::default())?;
    let shutdown = Shutdown::on_signals().map_err(cannot("watch for signals"))?;
    let stopped = shutdown.token();
    let Some(mut app) = LocalApp::open(config, Pushes::Claimed, &stopped).await? else {
        return Ok(ExitCode::Interrupted);
    };
    // A command that runs when the signal comes is ended with its future.
    let outcome = tokio::select! {
        outcome = listen(&mut app, args) => outcome,
        () = stopped.cancelled() => Ok(ExitCode::Interrupted),
    };
    app.close().await;
    outcome
}

async fn listen(app: &mut LocalApp, args: &ListenArgs) -> Result<ExitCode, Failure> {
    let mut count = 0;
    while args.count.is_none_or(|max| count < max) {
        match app.receive().await? {
            Said::Response(Response::Received(received)) => {
                count += 1;
                if hand_on(&received, args).await? == Printed::NobodyReads {
                    return Ok(ExitCode::Success);
                }
            }
            Said::Response(Response::Error(error)) => note(&format!("the client says: {error}")),
            _ => {}
        }
    }
    Ok(ExitCode::Success)
}

async fn hand_on(received: &Received, args: &ListenArgs) -> Result<Printed, Failure> {
    if let Some(command) = &args.exec {
        run(command, received).await?;
        return Ok(Printed::All);
    }
    let text = str::from_utf8(&received.message).ok();
    if args.json {
        return print_json(&Line {
            version: JSON_VERSION,
            message: text,
            base64: text.is_none().then(|| STANDARD.encode(&received.message)),
            sender_tag: received.sender_tag.map(|tag| tag.to_string()),
        });
    }
    if text.is_none() && io::stdout().is_terminal() {
        let len = received.message.len();
        note(&format!(
            "a message of {len} bytes is no text and is not shown; use --json, or redirect it"
        ));
        return Ok(Printed::All);
    }
    print(&[&received.message[..], b"\n"].concat())
}

/// Runs the command for one message and waits for its end.
async fn run(command: &str, received: &Received) -> Result<(), Failure> {
    let failed = |problem: String| Failure::new(format!("`{command}`: {problem}"));
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .stdin(Stdio::piped())
        .env_remove(SENDER_TAG_VARIABLE)
        .kill_on_drop(true);
    if let Some(tag) = received.sender_tag {
        shell.env(SENDER_TAG_VARIABLE, tag.to_string());
    }
    let mut child = shell.spawn().map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its message is free not to.
        let _ = stdin.write_all(&received.message).await;
    }
    let status = child
        .wait()
        .await
        .map_err(|error| failed(error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    Err(failed(format!("it failed, {status}")).advice("the message was handed to it and is gone"))
}
