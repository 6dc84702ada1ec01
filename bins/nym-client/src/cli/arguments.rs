//! What each command takes.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueHint};
use nym_daemon::config::{HumanDuration, absolute_path};
use nym_daemon::home::Id;
use nym_packet::address::Recipient;
use nym_packet::keys::IdentityPublicKey;
use nym_protocol::app::SenderTag;
use nym_transport::legacy::LegacyPeers;

use crate::config::Overrides;
use crate::init::GatewayChoice;

/// `init`.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// Name of the client
    #[arg(long, value_name = "ID")]
    pub id: Id,

    /// `fastest`, or the identity of a gateway; without it a random one is taken
    ///
    /// The fastest gateway is most likely near, so its choice says something about where you are.
    #[arg(long, value_name = "fastest|IDENTITY")]
    pub gateway: Option<GatewayChoice>,

    /// What else is written down
    #[command(flatten)]
    pub common: CommonArgs,

    /// Short delays and little cover traffic, for trying things out
    #[arg(long, hide = true)]
    pub fastmode: bool,
}

/// `run`. What is given here wins over the environment and the configuration file.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Name of the client
    #[arg(long, value_name = "ID")]
    pub id: Id,

    /// Identity of another gateway; its address stays that of the configuration
    #[arg(long, value_name = "IDENTITY")]
    pub gateway: Option<IdentityPublicKey>,

    /// What else is changed for this run
    #[command(flatten)]
    pub common: CommonArgs,
}

impl RunArgs {
    /// The same as changes to a configuration.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        Overrides {
            gateway: self.gateway,
            ..self.common.overrides()
        }
    }
}

/// What `init` writes down and `run` changes for one run.
#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    /// Who tells the topology [default: http://127.0.0.1:1317]
    #[arg(long, value_name = "URL,…", value_delimiter = ',', value_hint = ValueHint::Url)]
    pub validators: Option<Vec<String>>,

    /// Certificates (PEM) of who may vouch for https validators [default: the system's]
    #[arg(long, value_name = "FILE", value_parser = absolute_path, value_hint = ValueHint::FilePath)]
    pub validator_ca: Option<PathBuf>,

    /// Contract that validators are asked about [default: nym-mixnet]
    #[arg(long, value_name = "ADDRESS")]
    pub mixnet_contract: Option<String>,

    /// Plain links with 0.11 nodes: deny, allow, or "allow until 2027-01-01". UNSAFE: others can
    /// read them
    #[arg(long, value_name = "SWITCH")]
    pub legacy_peers: Option<LegacyPeers>,

    /// Port for apps, on 127.0.0.1; 0 takes a free one [default: 1977]
    #[arg(short, long, value_name = "PORT")]
    pub port: Option<u16>,

    /// No socket for apps
    #[arg(long)]
    pub disable_socket: bool,

    /// No cover traffic and no delays. UNSAFE: shows who talks to whom
    #[arg(long)]
    pub vpn_mode: bool,
}

impl CommonArgs {
    /// The same as changes to a configuration.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        Overrides {
            gateway: None,
            validators: self.validators.clone(),
            validator_ca: self.validator_ca.clone(),
            mixnet_contract: self.mixnet_contract.clone(),
            legacy_peers: self.legacy_peers.map(|switch| switch.to_string()),
            port: self.port,
            disable_socket: self.disable_socket,
            vpn_mode: self.vpn_mode,
        }
    }
}

/// `address`.
#[derive(Args, Clone, Debug)]
pub struct AddressArgs {
    /// Name of the client
    #[arg(long, value_name = "ID")]
    pub id: Id,
}

/// `send`.
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Send a message and wait until it is delivered\n\n\
        Delivered means: pushed to the recipient's client, or kept by its gateway.\n\
        Uses the running client of that name, or starts one for the call.",
    after_help = "Examples:\n  \
        nym-client send --id alice --to ADDRESS 'Hello Nym!'\n  \
        nym-client send --id alice --to ADDRESS --file picture.jpg\n  \
        date | nym-client send --id alice --to ADDRESS -\n\n\
        With --json, standard output gets one line when the wait is over:\n  \
        {\"version\":1,\"status\":\"delivered\",\"bytes\":10,\"packets\":1,\"millis\":321}\n\
        where status is `delivered`, `accepted` (with --no-wait) or `late`.\n\n\
        Exit status: 0 delivered (accepted with --no-wait), 1 refused or failed, \
        2 usage or configuration, 3 not delivered in time, 130 interrupted"
)]
pub struct SendArgs {
    /// Name of the client to send with
    #[arg(long, value_name = "ID")]
    pub id: Id,

    /// Address of the recipient, or the sender tag of an anonymous message to answer
    #[arg(long, value_name = "ADDRESS|TAG")]
    pub to: Destination,

    /// The message; `-` or nothing reads it from standard input
    #[arg(value_name = "TEXT", conflicts_with = "file")]
    pub message: Option<String>,

    /// File with the message, of any bytes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,

    /// Let the recipient answer so many times without learning this client's address
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub reply_surbs: u32,

    /// Give up waiting after this time [default: after a minute without progress]
    #[arg(long, value_name = "TIME", conflicts_with = "no_wait")]
    pub timeout: Option<HumanDuration>,

    /// Do not wait: leave the delivery to the client, which must be running
    #[arg(long)]
    pub no_wait: bool,

    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

/// To whom a message goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Destination {
    /// Whoever has this address.
    Address(Box<Recipient>),
    /// The anonymous sender that the running client knows under this tag.
    Tag(SenderTag),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(tag) = text.parse() {
            return Ok(Self::Tag(tag));
        }
        text.parse()
            .map(|address| Self::Address(Box::new(address)))
            .map_err(|error| format!("{error}"))
    }
}

/// `listen`.
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Print the messages that arrive\n\n\
        Each message goes to standard output, followed by a line feed. Uses the running client of \
        that name, or starts one for the call. While this listens, other apps of the client that \
        connected earlier get no messages.",
    after_help = "With --json, each message is one line:\n  \
        {\"version\":1,\"message\":\"Hello\",\"senderTag\":null}\n\
        A message that is not UTF-8 has the member `base64` in place of `message`.\n\n\
        With --exec, each message is standard input of `sh -c CMD`, which finds the sender tag of \
        an anonymous message in NYM_SENDER_TAG; its output goes where that of nym-client goes. \
        The next message waits until it has ended, and a command that fails ends the listening.\n\n\
        Exit status: 0 after --count messages, 1 failure, 2 usage or configuration, 130 interrupted"
)]
pub struct ListenArgs {
    /// Name of the client to listen with
    #[arg(long, value_name = "ID")]
    pub id: Id,

    /// Print each message as a line of JSON
    #[arg(long, conflicts_with = "exec")]
    pub json: bool,

    /// Command that gets each message
    #[arg(long, value_name = "CMD", value_hint = ValueHint::CommandString)]
    pub exec: Option<String>,

    /// End after so many messages
    #[arg(long, value_name = "COUNT")]
    pub count: Option<u64>,
}

/// `status`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "With --json, standard output gets one line:\n  \
    {\"running\":true,\"version\":1,\"connected\":true,…}\n\
    or {\"version\":1,\"running\":false} when no client of that name runs.\n\n\
    Exit status: 0 when a message would leave at once, 1 otherwise, 2 usage or configuration, \
    130 interrupted")]
pub struct StatusArgs {
    /// Name of the client
    #[arg(long, value_name = "ID")]
    pub id: Id,

    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

/// Whose network it is about.
#[derive(Args, Clone, Debug)]
pub struct NetworkArgs {
    /// Ask the validators of this client
    #[arg(long, value_name = "ID", conflicts_with = "validators")]
    pub id: Option<Id>,

    /// Ask these validators [default: http://127.0.0.1:1317]
    #[arg(long, value_name = "URL,…", value_delimiter = ',', value_hint = ValueHint::Url)]
    pub validators: Option<Vec<String>>,

    /// Certificates (PEM) of who may vouch for https validators [default: the client's, or the
    /// system's]
    #[arg(long, value_name = "FILE", value_parser = absolute_path, value_hint = ValueHint::FilePath)]
    pub validator_ca: Option<PathBuf>,

    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

/// `gateways`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "With --json, standard output gets one line:\n  \
    {\"version\":1,\"gateways\":[{\"identity\":\"…\",\"address\":\"ws://…\",\"latencyMillis\":12.3}]}\n\
    where the latency is null for a gateway that did not answer.")]
pub struct GatewaysArgs {
    /// Whose network
    #[command(flatten)]
    pub network: NetworkArgs,
}

/// `topology`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "With --json, standard output gets one line:\n  \
    {\"version\":1,\"layers\":[[{\"identity\":\"…\",\"address\":\"…\"}],…],\"gateways\":[…]}")]
pub struct TopologyArgs {
    /// Whose network
    #[command(flatten)]
    pub network: NetworkArgs,
}

/// `config`.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// What to do with it
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What can be done with a configuration.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Tell whether `run` would take the configuration
    Check(RunArgs),
    /// Print every key with its value and who says so
    Show(ShowArgs),
}

/// `config show`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "With --json, standard output gets one line:\n  \
    {\"version\":1,\"keys\":[{\"key\":\"socket.listening_port\",\"value\":1977,\"origin\":\"default\"}]}\n\
    The token of apps is never printed.")]
pub struct ShowArgs {
    /// What `run` would be given
    #[command(flatten)]
    pub run: RunArgs,

    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

/// `upgrade`.
#[derive(Args, Clone, Debug)]
pub struct UpgradeArgs {
    /// Name of the client
    #[arg(long, value_name = "ID")]
    pub id: Id,

    /// Version that wrote the configuration, where the file does not say so (before 0.9.0)
    #[arg(long, value_name = "VERSION")]
    pub current_version: Option<String>,
}
