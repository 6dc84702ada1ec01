//! The command line.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nym_client_core::EngineConfig;
use nym_daemon::exit::{ExitCode, Failure, chain, say};
use nym_daemon::home::create_private_dir;
use nym_daemon::logging;
use nym_daemon::shutdown::Shutdown;
use tokio::time::Instant;

use crate::config::{Config, HELLO_TIMEOUT};
use crate::error::LocalnetError;
use crate::hello::{Greeting, HelloError};
use crate::network::Localnet;
use crate::report;

/// A complete private mixnet in one process
///
/// Starts a validator, mix nodes in three layers, gateways and clients, all talking TCP on
/// loopback; sends one message from the first client to the second, shows the way it took, and
/// stays up until Ctrl-C.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "nym-localnet",
    version = nym_daemon::version!(),
    after_help = "Examples:\n  \
        nym-localnet                   apps at ws://localhost:1977 and 1978\n  \
        nym-localnet --once            deliver one message, then exit with status 0\n  \
        nym-localnet --dir net --fast  keep keys and inboxes in ./net; short delays\n  \
        nym-localnet --legacy          let programs of Nym 0.11 join at any position\n\n\
        Exit status: 0 success, 1 failure, 2 usage, 3 not delivered in time, 130 interrupted"
)]
pub struct Cli {
    /// Exit after the first message has arrived, or failed to
    #[arg(long)]
    pub once: bool,

    /// Send so many messages, one after the other, and sum up how long they took
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub messages: u16,

    /// Short delays: 10 ms per mix node instead of 50 ms, 4 ms between packets instead of 20 ms
    #[arg(long)]
    pub fast: bool,

    /// Mix nodes in each of the three layers
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub mixnodes_per_layer: u8,

    /// Gateways; clients are spread over them
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub gateways: u8,

    /// Clients; the first two are alice and bob
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=26))]
    pub clients: u8,

    /// App port of the first client, the next ones count up; 0 lets the system choose
    #[arg(long, value_name = "PORT", default_value_t = 1977)]
    pub port: u16,

    /// Seconds the first message may take
    #[arg(long, value_name = "SECS", default_value_t = HELLO_TIMEOUT.as_secs())]
    pub timeout: u64,

    /// Keep everything in this directory instead of a temporary one
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Let 0.11 programs join, and print how: plain links, and for every program a loopback address
    /// of its own with the default ports
    #[arg(long)]
    pub legacy: bool,

    /// Record every byte of every link in this directory: what somebody sees who watches
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,

    /// Log filter, as in RUST_LOG
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    pub log: String,
}

impl Cli {
    fn config(&self, dir: PathBuf) -> Config {
        let engine = EngineConfig::default();
        Config {
            mixnodes_per_layer: self.mixnodes_per_layer.into(),
            gateways: self.gateways.into(),
            clients: self.clients.into(),
            port: self.port,
            engine: if self.fast {
                engine.with_fast_mode()
            } else {
                engine
            },
            legacy: self.legacy,
            record: self.record.clone(),
            dir,
        }
    }
}

/// Does what the command line says.
///
/// # Errors
/// A [`Failure`] to show to the person who typed it.
pub async fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    logging::init(Some(&cli.log)).map_err(Failure::usage)?;
    let shutdown = Shutdown::on_signals().map_err(Failure::new)?;
    // A temporary directory goes when its value does, whatever happens in between.
    let (dir, _temporary) = match &cli.dir {
        Some(dir) => {
            create_private_dir(dir).map_err(|error| {
                Failure::new(chain(&error)).advice("name a directory you may write to with --dir")
            })?;
            // Whoever reads what is printed, or a client's configuration, may be elsewhere.
            (
                std::path::absolute(dir).unwrap_or_else(|_| dir.clone()),
                None,
            )
        }
        None => {
            let made = tempfile::Builder::new().prefix("nym-localnet-").tempdir();
            let temporary = made.map_err(|error| {
                Failure::new(format_args!("cannot make a temporary directory: {error}"))
                    .advice("name a directory you may write to with --dir")
            })?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };
    if let Some(record) = &cli.record {
        create_private_dir(record).map_err(|error| {
            Failure::new(chain(&error)).advice("name a directory you may write to with --record")
        })?;
    }
    let config = cli.config(dir);
    let stop = shutdown.token();
    let begun = Instant::now();
    let spinner = spinner();
    let started = tokio::select! {
        started = Localnet::start(&config, cli.dir.is_some(), stop.clone(), |step| {
            spinner.set_message(step.to_owned());
        }) => started.map_err(|error| explain(&error))?,
        () = stop.cancelled() => return Ok(ExitCode::Interrupted),
    };
    spinner.finish_and_clear();
    say(&format!(
        "nym-localnet {}: ready in {:.2} s\n\n{}\n",
        nym_daemon::version!(),
        begun.elapsed().as_secs_f64(),
        started.map
    ));
    let mut network = started;
    let greeted = tokio::select! {
        greeted = greet(&mut network, &config, &cli) => greeted,
        () = stop.cancelled() => Ok(ExitCode::Interrupted),
    };
    if cli.once {
        stop.cancel();
        network.ended().await.map_err(|error| explain(&error))?;
        return greeted;
    }
    if let Err(failure) = &greeted {
        // The network stays up, so that the reason can be looked for.
        let _ = writeln!(std::io::stderr(), "{failure}\n");
    }
    say(&report::how_to_connect(&network.map));
    network.ended().await.map_err(|error| explain(&error))?;
    Ok(ExitCode::Success)
}

/// Sends the first message and shows the way it took; then the others, if there are to be more.
async fn greet(network: &mut Localnet, config: &Config, cli: &Cli) -> Result<ExitCode, Failure> {
    let limit = Duration::from_secs(cli.timeout);
    let [from, to, ..] = network.map.clients.as_slice() else {
        return Err(Failure::new("a first message needs two clients"));
    };
    let (from, to) = ((from.name.as_str(), from.apps), (to.name.as_str(), to.apps));
    let mut greeting = Greeting::connect(from, to)
        .await
        .map_err(|error| not_greeted(&error))?;
    let mut hellos = Vec::new();
    for number in 1..=cli.messages {
        let hello = greeting.hello(&mut network.journeys, limit).await;
        let hello = hello.map_err(|error| not_greeted(&error))?;
        if number == 1 {
            say(&format!(
                "{}\n",
                report::journey(&network.map, &hello, &config.engine)
            ));
        }
        hellos.push(hello);
    }
    greeting.close().await;
    if cli.messages > 1 {
        say(&format!("{}\n", report::summary(&hellos, &config.engine)));
    }
    Ok(ExitCode::Success)
}

fn not_greeted(error: &HelloError) -> Failure {
    let failure = Failure::new(chain(error)).advice("look closer with --log info");
    match error {
        HelloError::Late { .. } => failure.with_code(ExitCode::NotDelivered),
        _ => failure,
    }
}

fn explain(error: &LocalnetError) -> Failure {
    let failure = Failure::new(chain(error));
    match error {
        LocalnetError::AppPort { .. } => failure
            .advice("stop what uses it, or choose other ports with --port (0 takes free ones)"),
        LocalnetError::Directory { .. } => {
            failure.advice("name a directory you may write to with --dir")
        }
        LocalnetError::PortRange { .. } => failure
            .advice("start lower with --port")
            .with_code(ExitCode::Usage),
        _ => failure,
    }
}

/// Says on a terminal what is being done; silent elsewhere.
fn spinner() -> ProgressBar {
    let target = ProgressDrawTarget::stderr();
    let spinner =
        ProgressBar::with_draw_target(None, target).with_style(ProgressStyle::default_spinner());
    spinner.enable_steady_tick(Duration::from_millis(80));
    spinner
}
