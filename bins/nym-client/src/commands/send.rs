//! `nym-client send`.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use nym_daemon::config::HumanDuration;
use nym_daemon::exit::{ExitCode, Failure, cannot};
use nym_daemon::home::Home;
use nym_daemon::shutdown::Shutdown;
use nym_protocol::app::{AppError, ErrorKind, ReplyTo, Request, Response};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::local_app::{FRAME_OVERHEAD, LocalApp, Pushes, Said};
use super::{JSON_VERSION, client_config, note, print_json, waiting_for};
use crate::cli::{Destination, SendArgs};
use crate::config::{AppsConfig, Overrides};

/// The lane that counts the packets of the message. Each connection has lanes of its own.
const LANE: u64 = 1;

/// How often the client is asked how much is left.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Without a word about time, the wait ends when nothing has been acknowledged for so long.
const STALL_MAX: Duration = Duration::from_secs(60);

/// Below so many packets a message is through before anybody has read a progress bar.
const PROGRESS_FROM: u64 = 100;

/// How it went.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Status {
    Accepted,
    Delivered,
    Late,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Outcome {
    version: u32,
    status: Status,
    bytes: usize,
    packets: u64,
    millis: u128,
}

pub(crate) async fn execute(args: &SendArgs, home: &Home) -> Result<ExitCode, Failure> {
    let config = client_config(home, &args.id, &Overrides::default())?;
    let apps = config.apps.clone().unwrap_or_default();
    let message = read_message(args, &apps)?;
    let shutdown = Shutdown::on_signals().map_err(cannot("watch for signals"))?;
    let stopped = shutdown.token();
    let Some(mut app) = LocalApp::open(config, Pushes::Left, &stopped).await? else {
        return Ok(ExitCode::Interrupted);
    };
    let sent = if args.no_wait && app.is_started() {
        let what = format!(
            "client `{}` does not run, so nobody would deliver it",
            args.id
        );
        Err(Failure::usage(what).advice(format!(
            "start it with `nym-client run --id {}`, or leave --no-wait away",
            args.id
        )))
    } else {
        tokio::select! {
            sent = send(&mut app, args, message) => sent.map(Some),
            () = stopped.cancelled() => Ok(None),
        }
    };
    let started = app.is_started();
    app.close().await;
    let Some(outcome) = sent? else {
        return Ok(ExitCode::Interrupted);
    };
    report(args, &outcome, started)
}

fn report(args: &SendArgs, outcome: &Outcome, started: bool) -> Result<ExitCode, Failure> {
    if args.json {
        print_json(outcome)?;
    }
    let took = Duration::from_millis(u64::try_from(outcome.millis).unwrap_or(u64::MAX));
    match outcome.status {
        Status::Accepted => {}
        Status::Delivered if !args.json => {
            note(&format!("delivered in {}", HumanDuration::from(took)));
        }
        Status::Delivered => {}
        Status::Late => {
            let what = format!("not delivered within {}", HumanDuration::from(took));
            let goes_on = if started {
                format!("`nym-client run --id {}` goes on with it", args.id)
            } else {
                "the client goes on with it".to_owned()
            };
            return Err(Failure::new(what)
                .advice(format!("wait longer with --timeout; {goes_on}"))
                .with_code(ExitCode::NotDelivered));
        }
    }
    Ok(ExitCode::Success)
}

/// Hands the message over and waits for what was asked for.
async fn send(app: &mut LocalApp, args: &SendArgs, message: Vec<u8>) -> Result<Outcome, Failure> {
    let bytes = message.len();
    let start = Instant::now();
    app.request_with_receipt(&request(args, message)).await?;
    let News::Left(packets) = news(app).await? else {
        return Err(Failure::new(
            "the client did not say that it has the message",
        ));
    };
    let status = if args.no_wait {
        Status::Accepted
    } else {
        let deadline = args.timeout.map(|limit| start + limit.get());
        wait(app, packets, deadline).await?
    };
    Ok(Outcome {
        version: JSON_VERSION,
        status,
        bytes,
        packets,
        millis: start.elapsed().as_millis(),
    })
}

/// Waits for the receipt of the message and shows how far it is.
async fn wait(
    app: &mut LocalApp,
    packets: u64,
    deadline: Option<Instant>,
) -> Result<Status, Failure> {
    let progress = progress_bar(packets);
    let (mut left, mut moved_at) = (packets, Instant::now());
    let (mut asked, mut ask_at) = (false, Instant::now() + ASK_AGAIN_AFTER);
    loop {
        let until = deadline.unwrap_or(moved_at + STALL_MAX);
        // All branches are cancel-safe.
        tokio::select! {
            news = news(app) => match news? {
                News::Delivered => break,
                News::Left(now_left) => {
                    asked = false;
                    if now_left < left {
                        (left, moved_at) = (now_left, Instant::now());
                    }
                    progress.set_position(packets.saturating_sub(left));
                }
            },
            () = sleep_until(ask_at), if !asked => {
                let connection_id = LANE;
                app.request(&Request::LaneQueueLength { connection_id }).await?;
                (asked, ask_at) = (true, Instant::now() + ASK_AGAIN_AFTER);
            }
            () = sleep_until(until) => {
                if packets >= PROGRESS_FROM {
                    progress.abandon();
                }
                return Ok(Status::Late);
            }
        }
    }
    progress.finish_and_clear();
    Ok(Status::Delivered)
}

fn request(args: &SendArgs, message: Vec<u8>) -> Request {
    let connection_id = Some(LANE);
    match &args.to {
        Destination::Address(recipient) => Request::Send {
            recipient: **recipient,
            message,
            reply_surbs: (args.reply_surbs > 0).then_some(args.reply_surbs),
            connection_id,
        },
        Destination::Tag(tag) => Request::Reply {
            to: ReplyTo::Tag(*tag),
            message,
            connection_id,
        },
    }
}

/// What the client says about the message.
enum News {
    Delivered,
    /// So many packets are not acknowledged yet.
    Left(u64),
}

async fn news(app: &mut LocalApp) -> Result<News, Failure> {
    loop {
        match app.receive().await? {
            Said::Delivered => return Ok(News::Delivered),
            Said::Failed(reason) => {
                return Err(Failure::new(format!("the message was given up: {reason}")));
            }
            Said::Response(Response::LaneQueueLength { lane, queue_length }) if lane == LANE => {
                return Ok(News::Left(queue_length));
            }
            Said::Response(Response::Error(error)) => {
                // The kind is for programs, unless it says that a request was malformed.
                let AppError { kind, detail } = error;
                let what = match kind {
                    ErrorKind::Other => format!("the client refuses: {detail}"),
                    _ => format!("the client refuses: {kind}: {detail}"),
                };
                return Err(Failure::new(what));
            }
            Said::Response(_) => {}
        }
    }
}

fn progress_bar(packets: u64) -> ProgressBar {
    if packets < PROGRESS_FROM {
        return waiting_for("the delivery");
    }
    let style = "{bar:40} {pos}/{len} packets, {eta} left";
    // The default style serves as well if the text above were wrong.
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(packets).with_style(style)
}

/// The message from wherever the flags say it is.
fn read_message(args: &SendArgs, apps: &AppsConfig) -> Result<Vec<u8>, Failure> {
    let max = apps.message_len_max.saturating_sub(FRAME_OVERHEAD);
    let (message, name) = match (&args.file, args.message.as_deref()) {
        (Some(path), _) => {
            let name = path.display().to_string();
            let open = File::open(path).map_err(cannot(&format!("read {name}")))?;
            (read_up_to(max, open, &name)?, name)
        }
        (None, None | Some("-")) => {
            let stdin = io::stdin();
            if args.message.is_none() && stdin.is_terminal() {
                return Err(Failure::usage("there is nothing to send")
                    .advice("give a text, --file FILE, or `-` to type the message"));
            }
            let name = "standard input".to_owned();
            (read_up_to(max, stdin.lock(), &name)?, name)
        }
        (None, Some(text)) => (text.as_bytes().to_vec(), "the text".to_owned()),
    };
    if message.len() > max {
        let what = format!("{name} has more than {max} bytes, the most that the client takes");
        return Err(Failure::usage(what).advice("raise apps.message_len_max in its configuration"));
    }
    Ok(message)
}

fn read_up_to(max: usize, input: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut message = Vec::new();
    input
        .take(limit)
        .read_to_end(&mut message)
        .map_err(cannot(&format!("read {name}")))?;
    Ok(message)
}
