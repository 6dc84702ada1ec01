#![doc = include_str!("../README.md")]
#![cfg_attr(
    not(target_arch = "x86_64"),
    expect(
        dead_code,
        unused_imports,
        unused_variables,
        reason = "what only lanes need"
    )
)]

mod batch;
mod build;
mod delay;
mod error;
pub mod fuzzing;
pub mod hazmat;
mod header;
mod hop_keys;
mod keys;
mod lioness;
mod multiplier;
mod payload;
mod process;
mod route;
mod scalar_mult;
#[cfg(target_arch = "x86_64")]
mod simd;
mod sizes;
mod surb;
mod version;

pub use crate::{
    batch::Batch,
    build::{Builder, Envelope, Letter, build, build_into},
    delay::Delay,
    error::{Error, PayloadFault, RoutingFault, SurbFault},
    keys::{PrivateKey, PublicKey, SharedSecret},
    payload::recover_plaintext,
    process::{Peeled, VerifiedHeader, process, verify},
    route::{Destination, Hop, NodeAddress, Way},
    scalar_mult::{BACKEND_VARIABLE, Backend, BackendError},
    sizes::{
        DESTINATION_ADDRESS_LEN, GROUP_ELEMENT_LEN, HEADER_LEN, IDENTIFIER_LEN, MAC_LEN, MAX_HOPS,
        MIN_PACKET_LEN, MIN_PAYLOAD_LEN, NODE_ADDRESS_LEN, PAYLOAD_KEY_LEN, PAYLOAD_KEY_SEED_LEN,
        PAYLOAD_OVERHEAD, ROUTING_INFO_LEN,
    },
    surb::{Surb, SurbRecovery},
    version::Version,
};
