//! Certificates and private keys in PEM files.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// The longest file that is read, in bytes. A chain of certificates has a few kilobytes, all the
/// authorities that a system trusts have 220.
const FILE_LEN_MAX: u64 = 1 << 20;

/// A file does not hold what it should.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct PemFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

impl PemFileError {
    pub(crate) fn new(path: &Path, problem: &dyn std::fmt::Display) -> Self {
        Self {
            path: path.to_owned(),
            problem: problem.to_string(),
        }
    }
}

/// All certificates of a file in their order, one at least.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemFileError> {
    let text = read(path)?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| PemFileError::new(path, &error))?;
    if all.is_empty() {
        return Err(PemFileError::new(path, &"there is no certificate in it"));
    }
    Ok(all)
}

/// The first private key of a file (PKCS #8, PKCS #1 or SEC 1).
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemFileError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| PemFileError::new(path, &error))
}

/// The content, which is wiped after use: it may be a key.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, PemFileError> {
    let failed = |error| PemFileError::new(path, &error);
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    // Room for all of it from the start: growing would leave copies of a key behind.
    let room = usize::try_from(len.min(FILE_LEN_MAX)).unwrap_or_default() + 1;
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    file.take(FILE_LEN_MAX + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    let is_short = u64::try_from(text.len()).is_ok_and(|len| len <= FILE_LEN_MAX);
    if !is_short {
        return Err(PemFileError::new(path, &"it is too long for a PEM file"));
    }
    Ok(text)
}
