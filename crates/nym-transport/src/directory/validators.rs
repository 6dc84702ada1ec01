//! Whom to ask, and whose word to take that it is them.

use std::path::{Path, PathBuf};

use nym_protocol::validator::ValidatorUrl;
use reqwest::Certificate;
use rustls::pki_types::CertificateDer;
use rustls::{Error as TlsError, RootCertStore};

use crate::directory::DirectoryError;
use crate::tls::PemFileError;
use crate::tls::pem_file::certificates;

/// The key of every configuration file that names [`Validators::ca_file`].
pub const CA_FILE_KEY: &str = "validator_ca_file";

/// What the key means, for those files and their readers.
pub const CA_FILE_COMMENT: &str = "PEM file with the certificates of who may vouch for https \
    validators; empty for those whom this system trusts.";

/// The configured validators.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Validators {
    /// Where they are.
    pub urls: Vec<ValidatorUrl>,
    /// A PEM file with the certificates of those who may vouch for the https ones. Without it, those
    /// may whom the operating system trusts.
    pub ca_file: Option<PathBuf>,
}

impl From<Vec<ValidatorUrl>> for Validators {
    fn from(urls: Vec<ValidatorUrl>) -> Self {
        Self {
            urls,
            ca_file: None,
        }
    }
}

impl Validators {
    /// As a configuration file names them: without a file of authorities if its name is empty.
    #[must_use]
    pub fn new(urls: Vec<ValidatorUrl>, ca_file: &Path) -> Self {
        let is_named = !ca_file.as_os_str().is_empty();
        Self {
            urls,
            ca_file: is_named.then(|| ca_file.to_owned()),
        }
    }
}

impl Validators {
    /// The certificates of those whose word is taken that a validator is who it says: of nobody when
    /// none is asked by https, since reading all that the system has takes time and memory.
    pub(super) fn authorities(&self) -> Result<Vec<Certificate>, DirectoryError> {
        match &self.ca_file {
            Some(file) => Ok(named_authorities(file)?),
            None if self.urls.iter().any(ValidatorUrl::is_https) => system_authorities(),
            None => Ok(Vec::new()),
        }
    }

    /// Tells, if it is so, that what some validators say can be changed on the way.
    pub(super) fn warn_of_forgeable(&self) {
        let forgeable = self.urls.iter().filter(|url| url.is_forgeable());
        let forgeable: Vec<_> = forgeable.map(ToString::to_string).collect();
        if !forgeable.is_empty() {
            tracing::warn!(
                validators = forgeable.join(", "),
                "asked by plain HTTP: whoever is on the way can name nodes of their own, and then \
                 sees who talks to whom; ask by https where the validator serves it"
            );
        }
    }
}

fn named_authorities(file: &Path) -> Result<Vec<Certificate>, PemFileError> {
    let wrong = |error| PemFileError::new(file, &error);
    let certificates = certificates(file)?;
    let authorities = certificates.iter().map(authority);
    authorities.map(|read| read.map_err(wrong)).collect()
}

/// Those whom the operating system trusts, as far as their certificates are understood.
fn system_authorities() -> Result<Vec<Certificate>, DirectoryError> {
    let found = rustls_native_certs::load_native_certs();
    let understood: Vec<_> = found.certs.iter().flat_map(authority).collect();
    if understood.is_empty() {
        let first = found.errors.first();
        return Err(DirectoryError::NoSystemAuthorities {
            problem: first.map_or_else(|| "there are none".to_owned(), ToString::to_string),
        });
    }
    Ok(understood)
}

fn authority(certificate: &CertificateDer<'static>) -> Result<Certificate, TlsError> {
    // The HTTP client would refuse all of them for one, and not say which.
    RootCertStore::empty().add(certificate.clone())?;
    Certificate::from_der(certificate).map_err(|error| TlsError::General(error.to_string()))
}
