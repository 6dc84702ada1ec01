//! What a 0.11 program takes for a list: every member that validator.md, section 3.3, names, each of
//! its kind, in every bond. It ignores others. Written apart from the types that write our lists.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The hosts with the ports for packets of a complete list of mix nodes.
pub(crate) fn mixnodes(list: &str) -> Result<Vec<(String, u16)>, String> {
    let bonds = read::<MixNodeBond>(list)?.into_iter();
    Ok(bonds
        .map(|bond| (bond.mix_node.host, bond.mix_node.mix_port))
        .collect())
}

/// The hosts with the ports for packets of a complete list of gateways.
pub(crate) fn gateways(list: &str) -> Result<Vec<(String, u16)>, String> {
    let bonds = read::<GatewayBond>(list)?.into_iter();
    Ok(bonds
        .map(|bond| (bond.gateway.host, bond.gateway.mix_port))
        .collect())
}

fn read<B: DeserializeOwned>(list: &str) -> Result<Vec<B>, String> {
    serde_json::from_str(list).map_err(|error| format!("{error} in {list}"))
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "what counts is that they can be read")]
struct MixNodeBond {
    bond_amount: Coin,
    total_delegation: Coin,
    owner: String,
    layer: Layer,
    mix_node: MixNode,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "what counts is that they can be read")]
struct GatewayBond {
    bond_amount: Coin,
    total_delegation: Coin,
    owner: String,
    gateway: Gateway,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "what counts is that they can be read")]
struct MixNode {
    host: String,
    mix_port: u16,
    verloc_port: u16,
    http_api_port: u16,
    sphinx_key: String,
    identity_key: String,
    version: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "what counts is that they can be read")]
struct Gateway {
    host: String,
    mix_port: u16,
    clients_port: u16,
    location: String,
    sphinx_key: String,
    identity_key: String,
    version: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "what counts is that they can be read")]
struct Coin {
    denom: String,
    amount: Amount,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Amount;

impl TryFrom<String> for Amount {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse::<u128>().map(|_| Self)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "u8")]
struct Layer;

impl TryFrom<u8> for Layer {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        if number <= 3 {
            Ok(Self)
        } else {
            Err(format!("there is no layer {number}"))
        }
    }
}
