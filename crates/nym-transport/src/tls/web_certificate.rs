//! An ordinary certificate, for browsers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tokio::time::Instant;

use crate::tls::config::{accepting_browsers, browsers_provider};

/// How often a handshake looks whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The longest file that is read; a chain of certificates has a few kilobytes.
const FILE_LEN_MAX: u64 = 1 << 20;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebCertificateError {
    /// A file is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The two files do not belong together.
    #[error("{} and {} do not belong together: {problem}", certificate.display(), key.display())]
    Mismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// A certificate in two PEM files. They are read again when they change: the handshake that finds
/// out, at most every ten seconds, uses the new ones. While they are wrong the old ones stay.
#[derive(Debug)]
pub struct WebCertificate {
    files: Files,
    loaded: Mutex<Loaded>,
}

#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// When the files were last looked at, and what they looked like.
    looked_at: Instant,
    look: Look,
}

/// By what a changed file is recognised.
type Look = [Option<(u64, std::time::SystemTime)>; 2];

impl WebCertificate {
    /// Reads the certificate with its chain, and its private key (PKCS #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    ///
    /// [`WebCertificateError`] names the file and what is wrong with it.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, WebCertificateError> {
        let files = Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        let look = files.look();
        let loaded = Loaded {
            config: files.read()?,
            looked_at: Instant::now(),
            look,
        };
        Ok(Self {
            files,
            loaded: Mutex::new(loaded),
        })
    }

    /// What a handshake with a browser needs.
    pub(super) async fn config(&self) -> Arc<ServerConfig> {
        let is_due = {
            let mut loaded = self.lock();
            let is_due = loaded.looked_at.elapsed() >= LOOK_EVERY;
            if is_due {
                loaded.looked_at = Instant::now();
            }
            is_due
        };
        if is_due {
            let files = self.files.clone();
            // Fails only when the program stops.
            if let Ok((look, read)) =
                tokio::task::spawn_blocking(move || (files.look(), files.read())).await
            {
                self.take_over(look, read);
            }
        }
        Arc::clone(&self.lock().config)
    }

    fn take_over(&self, look: Look, read: Result<Arc<ServerConfig>, WebCertificateError>) {
        let mut loaded = self.lock();
        if loaded.look == look {
            return;
        }
        loaded.look = look;
        match read {
            Ok(config) => {
                loaded.config = config;
                tracing::info!("the certificate for browsers has changed");
            }
            Err(error) => tracing::warn!(%error, "the old certificate for browsers stays in use"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn look(&self) -> Look {
        [&self.certificate, &self.key].map(|path| {
            let metadata = path.metadata().ok()?;
            Some((metadata.len(), metadata.modified().ok()?))
        })
    }

    fn read(&self) -> Result<Arc<ServerConfig>, WebCertificateError> {
        let (certificate, key) = (&self.certificate, &self.key);
        let text = read(certificate)?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(certificate, &error))?;
        if chain.is_empty() {
            return Err(wrong(certificate, &"there is no certificate in it"));
        }
        let text = zeroize::Zeroizing::new(read(key)?);
        let private = PrivateKeyDer::from_pem_slice(&text).map_err(|error| wrong(key, &error))?;
        let certified = CertifiedKey::from_der(chain, private, browsers_provider());
        let certified = certified.map_err(|error| WebCertificateError::Mismatch {
            certificate: certificate.clone(),
            key: key.clone(),
            problem: error.to_string(),
        })?;
        Ok(accepting_browsers(certified))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, WebCertificateError> {
    let metadata = path.metadata().map_err(|error| wrong(path, &error))?;
    if metadata.len() > FILE_LEN_MAX {
        return Err(wrong(path, &"it is too long for a PEM file"));
    }
    std::fs::read(path).map_err(|error| wrong(path, &error))
}

fn wrong(path: &Path, problem: &dyn std::fmt::Display) -> WebCertificateError {
    WebCertificateError::File {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}
