//! A node's two key pairs and their files.
//!
//! | File in `data/` | Key |
//! |---|---|
//! | `private_identity.pem`, `public_identity.pem` | Ed25519: signs what the node says about itself |
//! | `private_sphinx.pem`, `public_sphinx.pem` | X25519: opens the node's layer of packets |

use std::path::{Path, PathBuf};

use nym_daemon::keys::{
    self, ED25519_PRIVATE_KEY, ED25519_PUBLIC_KEY, KeyFileError, X25519_PRIVATE_KEY,
    X25519_PUBLIC_KEY,
};
use nym_packet::keys::{IdentityKeyPair, PrivateKey};
use rand_core::CryptoRng;

/// Where a node's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPaths {
    /// The Ed25519 seed.
    pub private_identity: PathBuf,
    /// The Ed25519 public key.
    pub public_identity: PathBuf,
    /// The X25519 private key.
    pub private_sphinx: PathBuf,
    /// The X25519 public key.
    pub public_sphinx: PathBuf,
}

impl KeyPaths {
    /// The usual names in a directory.
    #[must_use]
    pub fn in_directory(data: &Path) -> Self {
        Self {
            private_identity: data.join("private_identity.pem"),
            public_identity: data.join("public_identity.pem"),
            private_sphinx: data.join("private_sphinx.pem"),
            public_sphinx: data.join("public_sphinx.pem"),
        }
    }

    /// Where the tags of packets that the Sphinx key has opened are: beside it, as they mean nothing
    /// without it. See [`replay_journal`](crate::replay_journal).
    #[must_use]
    pub fn replay_journal(&self) -> PathBuf {
        self.private_sphinx.with_file_name("replay.journal")
    }

    /// Whether at least one of the private keys is there.
    #[must_use]
    pub fn exist(&self) -> bool {
        keys::exists(&self.private_identity) || keys::exists(&self.private_sphinx)
    }
}

/// A node's private keys.
pub struct NodeKeys {
    /// Signs what the node says about itself.
    pub identity: IdentityKeyPair,
    /// Opens the node's layer of packets.
    pub sphinx: PrivateKey,
}

impl NodeKeys {
    /// New keys.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self {
            identity: IdentityKeyPair::generate(rng),
            sphinx: PrivateKey::generate(rng),
        }
    }

    /// Reads the private keys; the public ones follow from them.
    ///
    /// # Errors
    /// [`KeyFileError`] naming the file and what is wrong with it.
    pub fn load(paths: &KeyPaths) -> Result<Self, KeyFileError> {
        let seed = keys::load_secret(&paths.private_identity, ED25519_PRIVATE_KEY)?;
        let sphinx = keys::load_secret(&paths.private_sphinx, X25519_PRIVATE_KEY)?;
        Ok(Self {
            identity: IdentityKeyPair::from_seed(&seed),
            sphinx: PrivateKey::from_bytes(*sphinx),
        })
    }

    /// Reads the keys if there are any; otherwise makes new ones and writes all four files.
    ///
    /// A node whose one key is lost is not given a new identity silently: that is an error.
    ///
    /// # Errors
    /// [`KeyFileError`] naming the file and what is wrong with it.
    pub fn load_or_create<R: CryptoRng + ?Sized>(
        paths: &KeyPaths,
        rng: &mut R,
    ) -> Result<Self, KeyFileError> {
        if paths.exist() {
            return Self::load(paths);
        }
        let keys = Self::generate(rng);
        keys.save(paths)?;
        Ok(keys)
    }

    fn save(&self, paths: &KeyPaths) -> Result<(), KeyFileError> {
        let identity = self.identity.public_key();
        let sphinx = self.sphinx.public_key();
        keys::save(
            &paths.public_identity,
            ED25519_PUBLIC_KEY,
            identity.as_bytes(),
        )?;
        keys::save(&paths.public_sphinx, X25519_PUBLIC_KEY, sphinx.as_bytes())?;
        keys::save(
            &paths.private_identity,
            ED25519_PRIVATE_KEY,
            &*self.identity.seed(),
        )?;
        keys::save(
            &paths.private_sphinx,
            X25519_PRIVATE_KEY,
            &*self.sphinx.to_bytes(),
        )
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn public(keys: &NodeKeys) -> ([u8; 32], [u8; 32]) {
        (
            *keys.identity.public_key().as_bytes(),
            *keys.sphinx.public_key().as_bytes(),
        )
    }

    #[test]
    fn keys_are_made_once_and_read_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let paths = KeyPaths::in_directory(dir.path());
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        assert!(!paths.exist());
        let made = NodeKeys::load_or_create(&paths, &mut rng).unwrap();
        let read = NodeKeys::load_or_create(&paths, &mut rng).unwrap();
        assert_eq!(public(&made), public(&read));
        let identity: [u8; 32] =
            keys::load_public(&paths.public_identity, ED25519_PUBLIC_KEY).unwrap();
        let sphinx: [u8; 32] = keys::load_public(&paths.public_sphinx, X25519_PUBLIC_KEY).unwrap();
        assert_eq!((identity, sphinx), public(&made));
    }

    #[test]
    fn a_single_key_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let paths = KeyPaths::in_directory(dir.path());
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        NodeKeys::load_or_create(&paths, &mut rng).unwrap();
        let before = std::fs::read(&paths.private_identity).unwrap();
        std::fs::remove_file(&paths.private_sphinx).unwrap();
        assert!(NodeKeys::load_or_create(&paths, &mut rng).is_err());
        assert_eq!(std::fs::read(&paths.private_identity).unwrap(), before);
    }

    #[test]
    fn a_missing_key_names_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let Err(error) = NodeKeys::load(&KeyPaths::in_directory(dir.path())) else {
            panic!("there are no keys");
        };
        assert!(
            error.to_string().contains("private_identity.pem"),
            "{error}"
        );
    }
}
