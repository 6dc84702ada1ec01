//! Bonds: what a validator knows about a node.

use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use thiserror::Error;

/// The one way there is to do TLS, as bonds name it: TLS 1.3 with X25519MLKEM768 and the node's
/// identity key as raw public key. A node that names another number speaks TLS as well; the
/// handshake tells whether it is ours.
pub const TLS_PROFILE: u32 = 1;

/// A mix node that is part of the network.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct MixNodeBond {
    /// What the operator staked.
    pub bond_amount: Coin,
    /// What others staked on it.
    pub total_delegation: Coin,
    /// The operator's account.
    pub owner: String,
    /// Where the node stands on every route.
    pub layer: Layer,
    /// How to reach it.
    pub mix_node: MixNode,
}

/// A gateway that is part of the network.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct GatewayBond {
    /// What the operator staked.
    pub bond_amount: Coin,
    /// What others staked on it.
    pub total_delegation: Coin,
    /// The operator's account.
    pub owner: String,
    /// How to reach it.
    pub gateway: Gateway,
}

/// What a mix node says about itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct MixNode {
    /// IP address or DNS name, without a port.
    pub host: String,
    /// TCP port for packets.
    pub mix_port: u16,
    /// TCP port for round-trip measurements.
    pub verloc_port: u16,
    /// TCP port of its HTTP API.
    pub http_api_port: u16,
    /// Base58 of its Sphinx key, 32 bytes.
    pub sphinx_key: String,
    /// Base58 of its identity key, 32 bytes.
    pub identity_key: String,
    /// Version of the protocol it speaks.
    pub version: String,
    /// How its ports do TLS, see [`TLS_PROFILE`]; absent if they do not, as in the 0.11 network,
    /// whose programs ignore this member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<u32>,
}

/// What a gateway says about itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Gateway {
    /// IP address or DNS name, without a port.
    pub host: String,
    /// TCP port for packets.
    pub mix_port: u16,
    /// TCP port for the websockets of clients.
    pub clients_port: u16,
    /// Where it stands, in the operator's words.
    pub location: String,
    /// Base58 of its Sphinx key, 32 bytes.
    pub sphinx_key: String,
    /// Base58 of its identity key, 32 bytes.
    pub identity_key: String,
    /// Version of the protocol it speaks.
    pub version: String,
    /// How its ports do TLS, see [`TLS_PROFILE`]; absent if they do not, as in the 0.11 network,
    /// whose programs ignore this member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<u32>,
}

/// A bond of either kind.
pub trait Bond: DeserializeOwned + Serialize {
    /// Base58 of the node's identity key.
    fn identity_key(&self) -> &str;
}

impl Bond for MixNodeBond {
    fn identity_key(&self) -> &str {
        &self.mix_node.identity_key
    }
}

impl Bond for GatewayBond {
    fn identity_key(&self) -> &str {
        &self.gateway.identity_key
    }
}

/// An amount of one currency.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Coin {
    /// The currency.
    pub denom: String,
    /// How much.
    pub amount: Amount,
}

impl Coin {
    /// Nothing, in the currency of the test networks.
    #[must_use]
    pub fn zero() -> Self {
        Self {
            denom: "upunk".to_owned(),
            amount: Amount(0),
        }
    }
}

/// A whole number that is written as a string, because it may not fit a JSON number.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Amount(pub u128);

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str(&text)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

/// The place of a node on routes, a number in JSON.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Layer {
    /// Not a mix layer; no mix node belongs here, although documents may say so.
    Gateway,
    /// Entered by senders.
    One,
    /// The middle.
    Two,
    /// Left towards gateways.
    Three,
}

impl Layer {
    /// The mix layers in the order a packet crosses them.
    pub const MIX: [Self; 3] = [Self::One, Self::Two, Self::Three];
}

impl From<Layer> for u8 {
    fn from(layer: Layer) -> Self {
        match layer {
            Layer::Gateway => 0,
            Layer::One => 1,
            Layer::Two => 2,
            Layer::Three => 3,
        }
    }
}

impl TryFrom<u8> for Layer {
    type Error = InvalidLayer;

    fn try_from(number: u8) -> Result<Self, InvalidLayer> {
        match number {
            0 => Ok(Self::Gateway),
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            3 => Ok(Self::Three),
            _ => Err(InvalidLayer { number }),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        u8::from(*self).fmt(formatter)
    }
}

/// A layer that does not exist.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("layer {number} does not exist, only 0 to 3 do")]
pub struct InvalidLayer {
    /// The number found.
    pub number: u8,
}

/// A list of bonds of which some may be malformed.
///
/// One operator's mistake must not take the network from everybody, so a client uses the bonds
/// that are well formed. Who wants all or nothing calls [`strict`](Self::strict).
#[derive(Clone, Debug)]
pub struct BondList<B> {
    /// The bonds that are well formed, in the order of the document.
    pub bonds: Vec<B>,
    /// The others.
    pub rejected: Vec<RejectedBond>,
}

impl<B: Bond> BondList<B> {
    /// Parses a JSON array of bonds.
    ///
    /// # Errors
    ///
    /// The text is not a JSON array at all.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let items: Vec<&RawValue> = serde_json::from_str(text)?;
        Ok(Self::from_items(&items))
    }

    /// All the bonds, provided that none is malformed.
    ///
    /// # Errors
    ///
    /// The first malformed bond.
    pub fn strict(mut self) -> Result<Vec<B>, RejectedBond> {
        if self.rejected.is_empty() {
            Ok(self.bonds)
        } else {
            Err(self.rejected.swap_remove(0))
        }
    }

    pub(super) fn from_items(items: &[&RawValue]) -> Self {
        let mut list = Self {
            bonds: Vec::new(),
            rejected: Vec::new(),
        };
        for (index, item) in items.iter().enumerate() {
            match serde_json::from_str(item.get()) {
                Ok(bond) => list.bonds.push(bond),
                Err(error) => list.rejected.push(RejectedBond {
                    index,
                    reason: error.to_string(),
                }),
            }
        }
        list
    }
}

/// A body is not a list of bonds.
#[derive(Debug, Error)]
#[error("the body is not a list: {0}")]
pub struct ListError(#[from] serde_json::Error);

/// One element of a list is not a bond.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("bond {index} of the list is malformed: {reason}")]
pub struct RejectedBond {
    /// Its position in the list, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn bond(layer: &str) -> String {
        format!(
            r#"{{"bond_amount":{{"denom":"upunk","amount":"1"}},"total_delegation":{{"denom":"upunk","amount":"{}"}},"owner":"me","layer":{layer},"mix_node":{{"host":"10.0.0.1","mix_port":1789,"verloc_port":1790,"http_api_port":8000,"sphinx_key":"a","identity_key":"b","version":"0.11.0"}}}}"#,
            u128::MAX
        )
    }

    #[test]
    fn bond_is_written_as_it_was_read() {
        let text = bond("3");
        let parsed: MixNodeBond = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), text);
    }

    #[test]
    fn tls_is_an_extra_member_that_plain_bonds_do_not_have() {
        let plain: MixNodeBond = serde_json::from_str(&bond("3")).unwrap();
        assert_eq!(plain.mix_node.tls, None);
        let mut with_tls = plain;
        with_tls.mix_node.tls = Some(TLS_PROFILE);
        let text = serde_json::to_string(&with_tls).unwrap();
        assert!(
            text.ends_with(r#""version":"0.11.0","tls":1}}"#),
            "0.11 programs find theirs where it was: {text}"
        );
        assert_eq!(
            serde_json::from_str::<MixNodeBond>(&text).unwrap(),
            with_tls
        );
    }

    #[test]
    fn malformed_bond_costs_itself_only() {
        let body = format!("[{},{},{}]", bond("1"), bond("4"), bond("2"));
        let list = BondList::<MixNodeBond>::parse(&body).unwrap();
        let layers: Vec<_> = list.bonds.iter().map(|bond| bond.layer).collect();
        assert_eq!(layers, [Layer::One, Layer::Two]);
        let rejected = list.strict().unwrap_err();
        assert_eq!(rejected.index, 1);
        assert!(
            rejected.reason.starts_with("layer 4 does not exist"),
            "{rejected}"
        );
    }

    #[test]
    fn body_that_is_no_list_is_an_error() {
        for body in ["", "{}", "<html></html>", "[1", "[]x"] {
            assert!(BondList::<MixNodeBond>::parse(body).is_err(), "{body}");
        }
        assert!(
            BondList::<MixNodeBond>::parse("[1]")
                .unwrap()
                .strict()
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_an_error(text in ".{0,200}") {
            let _ = BondList::<GatewayBond>::parse(&text);
            let _ = BondList::<MixNodeBond>::parse(&format!("[{text}]"));
        }

        #[test]
        fn amounts_survive_a_round_trip(amount: u128) {
            let text = serde_json::to_string(&Amount(amount)).unwrap();
            prop_assert_eq!(&text, &format!("\"{amount}\""));
            prop_assert_eq!(serde_json::from_str::<Amount>(&text).unwrap(), Amount(amount));
        }
    }
}
