//! Arrows between packages point down only, and a core knows no socket, task, file or clock.
//!
//! ```text
//!  7  nym-localnet                                   nym-tests, xtask
//!  6  nym-client  nym-mixnode  nym-gateway  nym-validator  nym-loadgen  nym-sim
//!  5  nym-node
//!  4  nym-transport  nym-daemon
//!  3  nym-client-core
//!  2  nym-protocol
//!  1  nym-packet
//!  0  sphinx
//! ```

use super::Finding;
use super::packages::{self, Package};

/// Each package's height; an arrow must go to a lower one.
const HEIGHTS: [(&str, u8); 16] = [
    ("sphinx", 0),
    ("nym-packet", 1),
    ("nym-protocol", 2),
    ("nym-client-core", 3),
    ("nym-daemon", 4),
    ("nym-transport", 4),
    ("nym-node", 5),
    ("nym-client", 6),
    ("nym-gateway", 6),
    ("nym-loadgen", 6),
    ("nym-mixnode", 6),
    ("nym-sim", 6),
    ("nym-validator", 6),
    ("nym-localnet", 7),
    ("nym-tests", 8),
    ("xtask", 8),
];

/// The cores stand below this height.
const FIRST_SHELL: u8 = 4;

/// What brings sockets, tasks or files with it.
const FORBIDDEN_IN_CORES: [&str; 8] = [
    "axum",
    "hyper",
    "mio",
    "reqwest",
    "rusqlite",
    "socket2",
    "tokio",
    "tokio-tungstenite",
];

/// Whether a package must do without I/O.
pub(super) fn is_core(name: &str) -> bool {
    height(name).is_some_and(|height| height < FIRST_SHELL)
}

/// What ships with nobody, and so may depend on the simulator.
const NEVER_SHIPPED: [&str; 1] = ["nym-tests"];

/// Every dependency inside the workspace stands lower, and nothing that ships has the simulator.
pub(super) fn check_arrows(package: &Package, all: &[Package]) -> Vec<Finding> {
    let Some(own) = height(&package.name) else {
        let rule = "the package has no height in xtask/src/tidy/layering.rs";
        return vec![Finding::new(&package.folder, rule)];
    };
    packages::dependencies(&package.manifest)
        .into_iter()
        .filter(|name| all.iter().any(|other| other.name == *name))
        .filter(|name| {
            let is_simulator = *name == "nym-sim" && !NEVER_SHIPPED.contains(&&*package.name);
            is_simulator || height(name).is_none_or(|height| height >= own)
        })
        .map(|name| Finding::new(&package.folder, format!("may not depend on {name}")))
        .collect()
}

/// Looks for what a core must not have in the output of `cargo tree --prefix none`, whose lines
/// start with a crate's name.
pub(super) fn check_tree(core: &str, tree: &str) -> Vec<Finding> {
    FORBIDDEN_IN_CORES
        .into_iter()
        .filter(|forbidden| {
            tree.lines()
                .any(|line| line.split(' ').next() == Some(forbidden))
        })
        .map(|forbidden| Finding::new(core, format!("a core may not depend on {forbidden}")))
        .collect()
}

fn height(name: &str) -> Option<u8> {
    HEIGHTS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, height)| *height)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &str) -> Package {
        Package {
            name: name.to_owned(),
            folder: name.to_owned(),
            manifest: format!("[dependencies]\n{dependencies}"),
            front: String::new(),
        }
    }

    #[test]
    fn an_arrow_down_is_fine_and_one_up_or_sideways_is_not() {
        let all = [
            "sphinx",
            "nym-packet",
            "nym-daemon",
            "nym-transport",
            "nym-sim",
        ]
        .map(|name| package(name, ""));
        let rules = |package: &Package| check_arrows(package, &all).len();
        assert_eq!(
            rules(&package(
                "nym-packet",
                "sphinx.workspace = true\nserde = \"1\""
            )),
            0
        );
        assert_eq!(rules(&package("sphinx", "nym-packet.workspace = true")), 1);
        assert_eq!(
            rules(&package("nym-daemon", "nym-transport.workspace = true")),
            1
        );
        assert_eq!(
            rules(&package("nym-localnet", "nym-sim.workspace = true")),
            1
        );
        assert_eq!(rules(&package("unheard-of", "")), 1);
    }

    #[test]
    fn a_core_with_a_runtime_anywhere_below_is_found() {
        let tree = "nym-packet v0.1.0 (/r/crates/nym-packet)\nsphinx v0.1.0\ntokio-macros v2\n";
        assert!(check_tree("nym-packet", tree).is_empty());
        assert_eq!(
            check_tree("nym-packet", &format!("{tree}tokio v1.0 (*)\n")).len(),
            1
        );
    }

    #[test]
    fn the_four_cores_are_cores() {
        for name in ["sphinx", "nym-packet", "nym-protocol", "nym-client-core"] {
            assert!(is_core(name), "{name}");
        }
        assert!(!is_core("nym-daemon"));
    }
}
