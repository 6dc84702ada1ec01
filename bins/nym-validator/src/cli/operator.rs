//! What the operator does beside a running validator: bonding nodes that cannot announce
//! themselves.
//!
//! The commands work on the registry's file, so they need no way in from the network, and whoever
//! may not write that file cannot use them. A running validator serves the change with its next
//! answer.
//!
//! `bonds --json` writes an array of `{"node":…,"layer":n|null,"announcesItself":bool}`, where
//! `node` is what an announcement has, `{"mix_node":{…}}` or `{"gateway":{…}}`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use nym_daemon::exit::{ExitCode, Failure, print_text, say};
use nym_daemon::home::{Home, Id, Kind};
use nym_packet::keys::IdentityPublicKey;
use nym_protocol::PROTOCOL_VERSION;
use nym_protocol::validator::announcement::AnnouncedNode;
use nym_protocol::validator::registry::{
    Bonding, OnConflict, RegistryError, StandingBond, Unbonded,
};
use nym_protocol::validator::{CheckedNode, Gateway, Layer, MixNode, Registry as _};

use crate::REGISTRY_FILE;
use crate::config::{self, Overrides};
use crate::registry::{SqliteRegistry, StorageError};

/// `bond`.
#[derive(Clone, Debug, Subcommand)]
pub enum BondCommand {
    /// List a gateway
    Gateway(BondGatewayArgs),
    /// List a mix node
    Mixnode(BondMixnodeArgs),
}

/// `bond gateway`.
#[derive(Args, Clone, Debug)]
pub struct BondGatewayArgs {
    /// What all nodes have
    #[command(flatten)]
    pub node: BondedNodeArgs,

    /// Port for clients
    #[arg(long, value_name = "PORT", default_value_t = 9000)]
    pub clients_port: u16,

    /// Where the gateway stands, in your words
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub location: String,

    /// Which validator's list
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// `bond mixnode`.
#[derive(Args, Clone, Debug)]
pub struct BondMixnodeArgs {
    /// What all nodes have
    #[command(flatten)]
    pub node: BondedNodeArgs,

    /// Port for round-trip measurements
    #[arg(long, value_name = "PORT", default_value_t = 1790)]
    pub verloc_port: u16,

    /// Port of its HTTP API
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub http_api_port: u16,

    /// Mix layer, 1 to 3 [default: the one it has, or the one with the fewest nodes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=3))]
    pub layer: Option<u8>,

    /// Which validator's list
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// What every bonded node has.
#[derive(Args, Clone, Debug)]
pub struct BondedNodeArgs {
    /// The identity key that the node's `init` printed
    #[arg(long, value_name = "KEY")]
    pub identity_key: String,

    /// The Sphinx key that the node's `init` printed
    #[arg(long, value_name = "KEY")]
    pub sphinx_key: String,

    /// Host that others reach the node by: IP address or DNS name, without a port
    #[arg(long, value_name = "HOST")]
    pub host: String,

    /// Port for packets
    #[arg(long, value_name = "PORT", default_value_t = 1789)]
    pub mix_port: u16,

    /// Version that the node runs
    #[arg(long, value_name = "VERSION", default_value = PROTOCOL_VERSION)]
    pub version: String,

    /// Take the place of the node's own announcement, and of another node at its address
    #[arg(long)]
    pub replace: bool,
}

/// `bonds`.
#[derive(Args, Clone, Debug)]
pub struct BondsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Which validator's list
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// `unbond`.
#[derive(Args, Clone, Debug)]
pub struct UnbondArgs {
    /// The node's identity key
    #[arg(value_name = "IDENTITY")]
    pub identity: IdentityPublicKey,

    /// Which validator's list
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// Where the list is.
#[derive(Args, Clone, Debug)]
pub struct RegistryArgs {
    /// Name of the validator
    #[arg(long, value_name = "ID", default_value = "default")]
    pub id: Id,

    /// Directory of the stored nodes, instead of the validator's own
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl RegistryArgs {
    fn open(&self, home: &Home) -> Result<SqliteRegistry, Failure> {
        let overrides = Overrides {
            data_dir: self.data_dir.clone(),
            ..Overrides::default()
        };
        let files = home.program(Kind::Validator, &self.id);
        let config = config::load(&files, overrides).map_err(Failure::usage)?;
        let file = config.data_dir.join(REGISTRY_FILE);
        if !file.exists() {
            let failure = Failure::usage(format!("there is no registry {}", file.display()));
            return Err(failure.advice(
                "start the validator once, or name its directory with --id, --data-dir or --home",
            ));
        }
        SqliteRegistry::open_existing(&file, config.node_count_max)
            .map_err(|error| explain_storage(&error))
    }
}

/// A node with where it is to be listed.
struct Order<'a> {
    node: AnnouncedNode,
    args: &'a BondedNodeArgs,
    layer: Option<Layer>,
    registry: &'a RegistryArgs,
}

pub(super) fn bond(command: &BondCommand, home: &Home) -> Result<ExitCode, Failure> {
    let Order {
        node,
        args,
        layer,
        registry,
    } = order(command);
    let node = CheckedNode::new(node).map_err(Failure::usage)?;
    let (address, identity) = (node.mix_address(), *node.identity());
    let on_conflict = if args.replace {
        OnConflict::Replace
    } else {
        OnConflict::Refuse
    };
    let bonding = Bonding {
        node,
        layer,
        on_conflict,
    };
    let bonded = registry
        .open(home)?
        .bond(bonding)
        .map_err(|error| explain(&error))?;
    if let Some(displaced) = bonded.displaced {
        say(&format!("No longer listed: {displaced}\n"));
    }
    let done = if bonded.was_known {
        "Changed"
    } else {
        "Bonded"
    };
    let place = match bonded.layer {
        Some(layer) => format!("mix node in layer {layer}"),
        None => "gateway".to_owned(),
    };
    say(&format!("{done}: {place} at {address}, {identity}\n"));
    Ok(ExitCode::Success)
}

fn order(command: &BondCommand) -> Order<'_> {
    match command {
        BondCommand::Gateway(args) => Order {
            node: AnnouncedNode::Gateway(Gateway {
                host: args.node.host.clone(),
                mix_port: args.node.mix_port,
                clients_port: args.clients_port,
                location: args.location.clone(),
                sphinx_key: args.node.sphinx_key.clone(),
                identity_key: args.node.identity_key.clone(),
                version: args.node.version.clone(),
                tls: None,
            }),
            args: &args.node,
            layer: None,
            registry: &args.registry,
        },
        BondCommand::Mixnode(args) => Order {
            node: AnnouncedNode::MixNode(MixNode {
                host: args.node.host.clone(),
                mix_port: args.node.mix_port,
                verloc_port: args.verloc_port,
                http_api_port: args.http_api_port,
                sphinx_key: args.node.sphinx_key.clone(),
                identity_key: args.node.identity_key.clone(),
                version: args.node.version.clone(),
                tls: None,
            }),
            args: &args.node,
            layer: args.layer.and_then(|layer| Layer::try_from(layer).ok()),
            registry: &args.registry,
        },
    }
}

pub(super) fn unbond(args: &UnbondArgs, home: &Home) -> Result<ExitCode, Failure> {
    let identity = &args.identity;
    let unbonded = args.registry.open(home)?.unbond(identity);
    match unbonded.map_err(|error| explain_storage(&error))? {
        Some(Unbonded::Removed) => say(&format!("Unbonded: {identity}\n")),
        Some(Unbonded::Announced) => say(&format!(
            "Unbonded: {identity}; it announces itself, and stays listed until it is silent\n"
        )),
        None => {
            let failure = Failure::new(format!("there is no bond of {identity}"));
            return Err(failure.advice("list the bonds with `nym-validator bonds`"));
        }
    }
    Ok(ExitCode::Success)
}

pub(super) fn bonds(args: &BondsArgs, home: &Home) -> Result<ExitCode, Failure> {
    let bonds = args.registry.open(home)?.bonds();
    let bonds = bonds.map_err(|error| explain_storage(&error))?;
    if args.json {
        let bonds: Vec<_> = bonds.iter().map(to_json).collect();
        return print_text(&format!("{}\n", serde_json::Value::from(bonds)));
    }
    let mut text = format!("{:44} {:8} {:8} address\n", "identity", "place", "version");
    for bond in bonds {
        let version = match &bond.node {
            AnnouncedNode::Gateway(node) => &node.version,
            AnnouncedNode::MixNode(node) => &node.version,
        };
        let place = bond
            .layer
            .map_or_else(|| "gateway".to_owned(), |layer| format!("layer {layer}"));
        let note = if bond.announces_itself {
            ", announces itself"
        } else {
            ""
        };
        let (identity, address) = (bond.node.identity_key(), bond.node.mix_address());
        let _ = writeln!(text, "{identity:44} {place:8} {version:8} {address}{note}");
    }
    print_text(&text)
}

fn to_json(bond: &StandingBond) -> serde_json::Value {
    serde_json::json!({
        "node": bond.node,
        "layer": bond.layer,
        "announcesItself": bond.announces_itself,
    })
}

fn explain(error: &RegistryError<StorageError>) -> Failure {
    let failure = Failure::from_error(error);
    match error {
        RegistryError::AddressTaken { .. } => failure.advice(
            "give the node another address, or stop or unbond the other one; --replace takes its \
             place",
        ),
        RegistryError::AnnouncesItself { .. } => failure.advice(
            "it needs no bond while it does; --replace lists what you say until it announces itself \
             again",
        ),
        RegistryError::Full => failure.advice("raise `node_count_max` in the configuration"),
        RegistryError::HostTaken { .. } => {
            failure.advice("give the node an IP address or name of its own")
        }
        RegistryError::Storage(error) => explain_storage(error),
        _ => failure,
    }
}

fn explain_storage(error: &StorageError) -> Failure {
    let failure = Failure::from_error(error);
    match error {
        StorageError::Sqlite(_) => {
            failure.advice("run this as the user whom the validator runs as")
        }
        _ => failure,
    }
}
