//! What the operator sees and does beside a running gateway: its clients and their inboxes.
//!
//! `--json` writes the shapes of [`ClientInbox`](crate::ClientInbox) and
//! [`InboxStats`](crate::InboxStats).

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use nym_daemon::config;
use nym_daemon::exit::{ExitCode, Failure, print_text};
use nym_daemon::home::{Home, Id};
use nym_packet::keys::IdentityPublicKey;
use nym_protocol::gateway::ClientAddress;
use serde::Serialize;

use super::{existing, explain_store};
use crate::config::{Config, FileConfig};
use crate::store::{Inspector, StoreError};

/// `clients`.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientsCommand {
    /// Print every registered client and what waits for it
    List(ViewArgs),
    /// Forget a client and all that waits for it; it has to register again
    Remove(RemoveArgs),
}

/// `inbox`.
#[derive(Clone, Debug, Subcommand)]
pub enum InboxCommand {
    /// Print all inboxes in numbers
    Stats(ViewArgs),
}

/// Which gateway to look at, and how to print it.
#[derive(Args, Clone, Debug)]
pub struct ViewArgs {
    /// Name of the gateway
    #[arg(long, value_name = "ID")]
    pub id: Id,

    /// Database with clients' keys and messages [default: in the gateway's directory]
    #[arg(long, value_name = "FILE")]
    pub clients_ledger: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `clients remove`.
#[derive(Args, Clone, Debug)]
pub struct RemoveArgs {
    /// The client's identity key, the first part of its address
    #[arg(value_name = "CLIENT")]
    pub client: IdentityPublicKey,

    /// Which gateway's, and how to print what was done
    #[command(flatten)]
    pub view: ViewArgs,
}

#[derive(Serialize)]
struct Removed {
    removed: bool,
    messages: usize,
}

pub(super) fn clients(command: ClientsCommand, home: &Home) -> Result<ExitCode, Failure> {
    match command {
        ClientsCommand::List(args) => list(&args, home),
        ClientsCommand::Remove(args) => remove(&args, home),
    }
}

pub(super) fn inbox_stats(args: &ViewArgs, home: &Home) -> Result<ExitCode, Failure> {
    let stats = open(args, home)?.stats().map_err(|error| explain(&error))?;
    if args.json {
        return print_json(&stats);
    }
    print_text(&format!(
        "Clients: {}\nClients with messages: {}\nMessages: {}\nBytes: {}\nOldest: {}\n",
        stats.clients,
        stats.clients_with_messages,
        stats.messages,
        stats.bytes,
        age(stats.oldest_secs),
    ))
}

fn list(args: &ViewArgs, home: &Home) -> Result<ExitCode, Failure> {
    let clients = open(args, home)?
        .clients()
        .map_err(|error| explain(&error))?;
    if args.json {
        return print_json(&clients);
    }
    let mut text = format!("{:44} {:>9} {:>12} oldest\n", "client", "messages", "bytes");
    for client in clients {
        let (address, oldest) = (client.address, age(client.oldest_secs));
        let _ = writeln!(
            text,
            "{address:44} {:>9} {:>12} {oldest}",
            client.messages, client.bytes
        );
    }
    print_text(&text)
}

fn remove(args: &RemoveArgs, home: &Home) -> Result<ExitCode, Failure> {
    let client = ClientAddress::from(args.client);
    let removed = open(&args.view, home)?
        .remove(&client)
        .map_err(|error| explain(&error))?;
    let Some(messages) = removed else {
        let failure = Failure::new(format!("there is no client {}", args.client));
        return Err(failure.advice(format!(
            "list them with `nym-gateway clients list --id {}`",
            args.view.id
        )));
    };
    if args.view.json {
        let removed = true;
        return print_json(&Removed { removed, messages });
    }
    print_text(&format!(
        "Removed {}, and {messages} messages\n",
        args.client
    ))
}

fn open(args: &ViewArgs, home: &Home) -> Result<Inspector, Failure> {
    let files = existing(home, &args.id)?;
    let loaded = config::load::<FileConfig>(&files.config_file()).map_err(Failure::usage)?;
    let config = Config::from_file(loaded).map_err(Failure::usage)?;
    let database = args.clients_ledger.as_ref().unwrap_or(&config.database);
    Inspector::open(database).map_err(|error| explain(&error))
}

fn explain(error: &StoreError) -> Failure {
    explain_store(Failure::from_error(error), error)
}

fn print_json(value: &impl Serialize) -> Result<ExitCode, Failure> {
    let text = serde_json::to_string(value).expect("numbers and texts have a JSON form");
    print_text(&format!("{text}\n"))
}

/// Seconds of service, for people.
fn age(secs: Option<u64>) -> String {
    match secs {
        None => "-".to_owned(),
        Some(secs) if secs < 3600 => format!("{} min", secs / 60),
        Some(secs) if secs < 48 * 3600 => format!("{} h", secs / 3600),
        Some(secs) => format!("{} days", secs / 86_400),
    }
}
