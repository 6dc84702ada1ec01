//! What a validator says in tests.

use nym_daemon::entropy;
use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey, public_key_to_base58};
use serde_json::json;
use sphinx::PrivateKey;

fn coin() -> serde_json::Value {
    json!({"denom": "unym", "amount": "1"})
}

fn keys() -> (String, String) {
    let mut rng = entropy();
    let identity = IdentityKeyPair::generate(&mut rng).public_key().to_string();
    (
        identity,
        public_key_to_base58(&PrivateKey::generate(&mut rng).public_key()),
    )
}

/// A mix node in a layer.
pub(crate) fn mixnode_bond(layer: u8) -> serde_json::Value {
    let (identity, sphinx) = keys();
    json!({
        "bond_amount": coin(), "total_delegation": coin(), "owner": "o", "layer": layer,
        "mix_node": {
            "host": "127.0.0.1", "mix_port": 1789, "verloc_port": 1790, "http_api_port": 8000,
            "sphinx_key": sphinx, "identity_key": identity, "version": "0.11.0",
        },
    })
}

/// A gateway that takes clients on a port of 127.0.0.1.
pub(crate) fn gateway_bond(identity: &IdentityPublicKey, clients_port: u16) -> serde_json::Value {
    json!({
        "bond_amount": coin(), "total_delegation": coin(), "owner": "o",
        "gateway": {
            "host": "127.0.0.1", "mix_port": 1789, "clients_port": clients_port,
            "location": "here", "sphinx_key": keys().1, "identity_key": identity.to_string(),
            "version": "0.11.0",
        },
    })
}
