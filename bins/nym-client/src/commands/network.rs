//! `nym-client gateways` and `nym-client topology`: what the validators tell.

use std::fmt::Write as _;
use std::path::Path;

use nym_daemon::entropy;
use nym_daemon::exit::{ExitCode, Failure, print_text};
use nym_daemon::home::Home;
use nym_protocol::validator::Topology;
use nym_transport::directory::{Directory, DirectoryLimits, Validators};
use serde::Serialize;

use super::{JSON_VERSION, config_file, environment, print_json, waiting_for};
use crate::cli::{GatewaysArgs, NetworkArgs, TopologyArgs};
use crate::config::{Overrides, VALIDATOR_DEFAULT, load_layered, parse_validators, validators};
use crate::error::ClientError;
use crate::init::fetch_topology;
use crate::latency::{Measured, measure};

#[derive(Serialize)]
struct GatewayList {
    version: u32,
    gateways: Vec<GatewayLine>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GatewayLine {
    identity: String,
    address: String,
    latency_millis: Option<f64>,
}

pub(crate) async fn gateways(args: &GatewaysArgs, home: &Home) -> Result<ExitCode, Failure> {
    let topology = fetch(&args.network, home).await?;
    let waiting = waiting_for("the gateways' answers");
    let measured = measure(topology.gateways).await;
    drop(waiting);
    let gateways = measured
        .iter()
        .map(|Measured { gateway, latency }| GatewayLine {
            identity: gateway.identity.to_string(),
            address: gateway.websocket_url(),
            // Tenths of a millisecond are what a measurement over a network is good for.
            latency_millis: latency
                .map(|latency| (latency.as_secs_f64() * 10_000.0).round() / 10.0),
        });
    if args.network.json {
        print_json(&GatewayList {
            version: JSON_VERSION,
            gateways: gateways.collect(),
        })?;
        return Ok(ExitCode::Success);
    }
    let mut text = format!("{:<44}  {:>10}  address\n", "gateway", "latency");
    for gateway in gateways {
        let latency = gateway.latency_millis.map_or_else(
            || "no answer".to_owned(),
            |millis| format!("{millis:.1} ms"),
        );
        let GatewayLine {
            identity, address, ..
        } = gateway;
        let _ = writeln!(text, "{identity:<44}  {latency:>10}  {address}");
    }
    print_text(&text)
}

#[derive(Serialize)]
struct TopologyShown {
    version: u32,
    layers: Vec<Vec<NodeLine>>,
    gateways: Vec<NodeLine>,
}

#[derive(Serialize)]
struct NodeLine {
    identity: String,
    address: String,
}

pub(crate) async fn topology(args: &TopologyArgs, home: &Home) -> Result<ExitCode, Failure> {
    let topology = fetch(&args.network, home).await?;
    let shown = show(&topology);
    if args.network.json {
        print_json(&shown)?;
        return Ok(ExitCode::Success);
    }
    let mut text = String::new();
    let mut list = |name: &str, nodes: &[NodeLine]| {
        let _ = writeln!(text, "{name} ({})", nodes.len());
        for NodeLine { identity, address } in nodes {
            let _ = writeln!(text, "  {identity:<44}  {address}");
        }
    };
    for (number, nodes) in (1..).zip(&shown.layers) {
        list(&format!("mix layer {number}"), nodes);
    }
    list("gateways", &shown.gateways);
    print_text(&text)
}

fn show(topology: &Topology) -> TopologyShown {
    let layer = |nodes: &Vec<_>| nodes.iter().map(mixnode).collect();
    let mixnode_layers = topology.layers.iter().map(layer).collect();
    let gateways = topology.gateways.iter().map(|gateway| NodeLine {
        identity: gateway.identity.to_string(),
        address: gateway.websocket_url(),
    });
    TopologyShown {
        version: JSON_VERSION,
        layers: mixnode_layers,
        gateways: gateways.collect(),
    }
}

fn mixnode(node: &nym_protocol::validator::topology::MixnodeDescriptor) -> NodeLine {
    NodeLine {
        identity: node.identity.to_string(),
        address: node.mix_address.to_string(),
    }
}

/// What the validators of the client, those of the flag, or the one on this machine tell.
async fn fetch(args: &NetworkArgs, home: &Home) -> Result<Topology, Failure> {
    let validators = match &args.id {
        Some(id) => {
            let file = config_file(home, id)?;
            let overrides = Overrides {
                validator_ca: args.validator_ca.clone(),
                ..Overrides::default()
            };
            let loaded =
                load_layered(&file, environment(), &overrides).map_err(ClientError::from)?;
            validators(&loaded.value, &loaded.source).map_err(ClientError::from)?
        }
        None => {
            let default = || vec![VALIDATOR_DEFAULT.to_owned()];
            let urls = args.validators.clone().unwrap_or_else(default);
            let urls = parse_validators(&urls).map_err(Failure::usage)?;
            let ca_file = args.validator_ca.as_deref();
            Validators::new(urls, ca_file.unwrap_or_else(|| Path::new("")))
        }
    };
    let directory =
        Directory::new(validators, DirectoryLimits::default()).map_err(ClientError::from)?;
    Ok(fetch_topology(&directory, &mut entropy()).await?)
}
