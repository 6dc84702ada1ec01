//! A client's keys and the files they live in.

use std::path::{Path, PathBuf};

use nym_client_core::ClientKeys;
use nym_daemon::keys::{self as pem, KeyFileError};
use nym_packet::ack::AckKey;
use nym_packet::address::Recipient;
use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey};
use nym_protocol::gateway::SharedKeys;
use rand::CryptoRng;
use sphinx::PrivateKey;

/// Where each key of a client is kept. All files are PEM with mode 0600.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyFiles {
    /// Ed25519 seed, 32 bytes.
    pub private_identity: PathBuf,
    /// Ed25519 public key, 32 bytes.
    pub public_identity: PathBuf,
    /// X25519 private key, 32 bytes.
    pub private_encryption: PathBuf,
    /// X25519 public key, 32 bytes.
    pub public_encryption: PathBuf,
    /// Key of the acknowledgements, 16 bytes.
    pub ack: PathBuf,
    /// Keys shared with the gateway, 32 bytes.
    pub gateway_shared: PathBuf,
}

impl KeyFiles {
    /// The files in a data directory under their usual names.
    #[must_use]
    pub fn in_dir(dir: &Path) -> Self {
        Self {
            private_identity: dir.join("private_identity.pem"),
            public_identity: dir.join("public_identity.pem"),
            private_encryption: dir.join("private_encryption.pem"),
            public_encryption: dir.join("public_encryption.pem"),
            ack: dir.join("ack_key.pem"),
            gateway_shared: dir.join("gateway_shared.pem"),
        }
    }

    /// The directory that they, and whatever else the client keeps, are in.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.private_identity
            .parent()
            .unwrap_or_else(|| Path::new("."))
    }

    /// Whether a gateway has registered this client.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        pem::exists(&self.gateway_shared)
    }

    /// Reads the keys a client makes for itself, or makes and writes them if there are none.
    ///
    /// A directory that holds some of them is read, not written to: what is missing is an error.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] naming the file.
    pub fn load_or_generate<R: CryptoRng>(&self, rng: &mut R) -> Result<OwnKeys, KeyFileError> {
        let own_files = [&self.private_identity, &self.private_encryption, &self.ack];
        if own_files.into_iter().any(|file| pem::exists(file)) {
            return OwnKeys::load(self);
        }
        let keys = OwnKeys::generate(rng);
        keys.save(self)?;
        Ok(keys)
    }

    /// Reads the keys shared with the gateway.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] naming the file.
    pub fn load_shared(&self) -> Result<SharedKeys, KeyFileError> {
        let bytes = pem::load_secret(&self.gateway_shared, pem::GATEWAY_SHARED_KEYS)?;
        Ok(SharedKeys::from_bytes(&bytes))
    }

    /// Writes the keys shared with the gateway.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] naming the file.
    pub fn save_shared(&self, keys: &SharedKeys) -> Result<(), KeyFileError> {
        let bytes = keys.to_bytes();
        pem::save(&self.gateway_shared, pem::GATEWAY_SHARED_KEYS, &bytes[..])
    }
}

/// The keys a client makes for itself, before it knows a gateway.
#[derive(Debug)]
pub struct OwnKeys {
    /// Who the client is.
    pub identity: IdentityKeyPair,
    /// Opens what is encrypted to the client.
    pub encryption: PrivateKey,
    /// Recognises acknowledgements.
    pub ack: AckKey,
}

impl OwnKeys {
    /// Fresh keys.
    pub fn generate<R: CryptoRng>(rng: &mut R) -> Self {
        Self {
            identity: IdentityKeyPair::generate(rng),
            encryption: PrivateKey::generate(rng),
            ack: AckKey::generate(rng),
        }
    }

    /// Reads them; the files of public keys are not needed.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] naming the file.
    pub fn load(files: &KeyFiles) -> Result<Self, KeyFileError> {
        let seed = pem::load_secret(&files.private_identity, pem::ED25519_PRIVATE_KEY)?;
        let encryption = pem::load_secret(&files.private_encryption, pem::X25519_PRIVATE_KEY)?;
        let ack = pem::load_secret(&files.ack, pem::ACK_KEY)?;
        Ok(Self {
            identity: IdentityKeyPair::from_seed(&seed),
            encryption: PrivateKey::from_bytes(*encryption),
            ack: AckKey::from_bytes(*ack),
        })
    }

    /// Writes them and their public halves.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] naming the file.
    pub fn save(&self, files: &KeyFiles) -> Result<(), KeyFileError> {
        let identity = self.identity.public_key();
        let encryption = self.encryption.public_key();
        let secrets = [
            (
                &files.private_identity,
                pem::ED25519_PRIVATE_KEY,
                self.identity.seed(),
            ),
            (
                &files.private_encryption,
                pem::X25519_PRIVATE_KEY,
                self.encryption.to_bytes(),
            ),
        ];
        for (file, tag, secret) in secrets {
            pem::save(file, tag, &secret[..])?;
        }
        pem::save(&files.ack, pem::ACK_KEY, &self.ack.to_bytes()[..])?;
        pem::save(
            &files.public_identity,
            pem::ED25519_PUBLIC_KEY,
            identity.as_bytes(),
        )?;
        pem::save(
            &files.public_encryption,
            pem::X25519_PUBLIC_KEY,
            encryption.as_bytes(),
        )
    }

    /// The address under which these keys receive at a gateway.
    #[must_use]
    pub fn recipient(&self, gateway: IdentityPublicKey) -> Recipient {
        Recipient {
            identity: self.identity.public_key(),
            encryption: self.encryption.public_key(),
            gateway,
        }
    }

    /// What the engine needs of them.
    #[must_use]
    pub fn into_engine_keys(self, gateway: IdentityPublicKey) -> ClientKeys {
        ClientKeys {
            recipient: self.recipient(gateway),
            encryption: self.encryption,
            ack_key: self.ack,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_read_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let files = KeyFiles::in_dir(dir.path());
        let mut rng = nym_daemon::entropy();
        let made = files.load_or_generate(&mut rng).unwrap();
        let read = files.load_or_generate(&mut rng).unwrap();
        let gateway = made.identity.public_key();
        assert_eq!(made.recipient(gateway), read.recipient(gateway));
        assert!(!files.is_registered());
    }

    #[test]
    fn a_missing_key_among_others_is_an_error_and_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let files = KeyFiles::in_dir(dir.path());
        let mut rng = nym_daemon::entropy();
        files.load_or_generate(&mut rng).unwrap();
        std::fs::remove_file(&files.ack).unwrap();
        let error = files.load_or_generate(&mut rng).unwrap_err().to_string();
        assert!(error.contains("ack_key.pem"), "{error}");
        assert!(!files.ack.exists());
    }
}
