//! Documents of the validators: bonds, queries, topology and announcements.
//!
//! Validators list the nodes of the network as [bonds](bond), in complete lists or in
//! [pages](query). A client turns them into a [`Topology`]. Nodes of our networks get into the
//! lists by [announcing](announcement) themselves; an operator can [bond](registry) those that
//! cannot. Either way a node is [checked](checked_node) first.
//!
//! # Trust
//!
//! Nobody signs a list: whoever answers decides which nodes a client uses. Ask a validator of your
//! own, or on a way that nobody else can change; a client keeps to the gateway that it registered at.

pub mod announcement;
pub mod bond;
pub mod checked_node;
pub mod query;
pub mod registry;
pub mod topology;
pub mod url;
pub mod version;

pub use announcement::{Announcement, VerifiedAnnouncement};
pub use bond::{Bond, BondList, Gateway, GatewayBond, Layer, MixNode, MixNodeBond};
pub use checked_node::{CheckedNode, InvalidNode};
pub use query::{LayerDistribution, Query};
pub use registry::Registry;
pub use topology::{GatewayDescriptor, MixnodeDescriptor, NoRoute, Topology};
pub use url::ValidatorUrl;
pub use version::is_compatible;
