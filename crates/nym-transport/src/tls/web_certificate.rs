//! An ordinary certificate, for browsers and for https.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::sign::CertifiedKey;
use tokio::time::Instant;

use crate::tls::config::{accepting_browsers, browsers_provider};
use crate::tls::pem_file::{PemFileError, certificates, private_key};

/// How often a handshake looks whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebCertificateError {
    /// A file is not what it should be.
    #[error(transparent)]
    File(#[from] PemFileError),
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

    /// Reads the files now, whether they have changed or not.
    ///
    /// # Errors
    ///
    /// [`WebCertificateError`], as [`WebCertificate::load`]; the old certificate stays in use.
    pub fn reload(&self) -> Result<(), WebCertificateError> {
        let look = self.files.look();
        let config = self.files.read()?;
        let mut loaded = self.lock();
        loaded.look = look;
        loaded.config = config;
        Ok(())
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
                tracing::info!("the web certificate has changed");
            }
            Err(error) => tracing::warn!(%error, "the old web certificate stays in use"),
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
        let (chain, private) = (certificates(certificate)?, private_key(key)?);
        let certified = CertifiedKey::from_der(chain, private, browsers_provider());
        let certified = certified.map_err(|error| WebCertificateError::Mismatch {
            certificate: certificate.clone(),
            key: key.clone(),
            problem: error.to_string(),
        })?;
        Ok(accepting_browsers(certified))
    }
}
