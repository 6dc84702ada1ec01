//! Key files: PEM with the tags of the 0.11 network, readable by their owner alone.
//!
//! The text of a file is exactly (`CR LF` after every line; the base64 of up to 48 bytes is one
//! line, longer keys break after 64 characters):
//!
//! ```text
//! -----BEGIN X25519 PRIVATE KEY-----
//! SFuMsUqaCSbFGvR1A15RPr4MikE9GEOGHTDinKju42A=
//! -----END X25519 PRIVATE KEY-----
//! ```
//!
//! Reading is a little wider than writing: bare `LF` line ends and blank lines are fine.
//!
//! ```
//! use nym_daemon::keys::{self, X25519_PUBLIC_KEY};
//!
//! let text = keys::encode_pem(X25519_PUBLIC_KEY, &[7; 32]);
//! assert!(text.starts_with("-----BEGIN X25519 PUBLIC KEY-----\r\n"));
//! assert_eq!(*keys::parse_pem(X25519_PUBLIC_KEY, &text)?, [7; 32]);
//! # Ok::<(), keys::PemError>(())
//! ```

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::atomic_file::write_atomically;

/// Tag of an Ed25519 seed, 32 bytes: the identity of a node or client.
pub const ED25519_PRIVATE_KEY: &str = "ED25519 PRIVATE KEY";
/// Tag of an Ed25519 public key, 32 bytes.
pub const ED25519_PUBLIC_KEY: &str = "ED25519 PUBLIC KEY";
/// Tag of a client's acknowledgement key, 16 bytes.
pub const ACK_KEY: &str = "AES-128-CTR ACKNOWLEDGEMENTS KEY";
/// Tag of the keys a client shares with its gateway: 16 bytes of cipher key, 16 of MAC key.
pub const GATEWAY_SHARED_KEYS: &str = "AES-128-CTR + HMAC-BLAKE3 GATEWAY SHARED KEYS";
/// Tag of an X25519 private key, 32 bytes: Sphinx key of a node, encryption key of a client.
pub const X25519_PRIVATE_KEY: &str = "X25519 PRIVATE KEY";
/// Tag of an X25519 public key, 32 bytes.
pub const X25519_PUBLIC_KEY: &str = "X25519 PUBLIC KEY";

/// Mode of every key file, public ones included: the owner alone.
const KEY_FILE_MODE: u32 = 0o600;

/// Permission bits of group and others.
const OTHERS_MASK: u32 = 0o077;

/// Characters of base64 on one line.
const LINE_LEN: usize = 64;

/// No key file is longer, in bytes; more is not even read.
const MAX_FILE_LEN: usize = 16 * 1024;

/// Why a text is not a key in PEM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// What stands between the BEGIN and END lines is not base64.
    #[error("the text between the BEGIN and END lines is not base64")]
    Base64,
    /// There is no `-----BEGIN …-----` line at the start.
    #[error("no `-----BEGIN {expected}-----` line at the start")]
    NoBegin {
        /// The tag that was looked for.
        expected: String,
    },
    /// There is no `-----END …-----` line with the tag of the BEGIN line at the end.
    #[error("no `-----END {expected}-----` line at the end")]
    NoEnd {
        /// The tag that was looked for.
        expected: String,
    },
    /// The file holds another kind of key.
    #[error("it holds `{found}` where `{expected}` is needed")]
    WrongTag {
        /// The tag that is needed.
        expected: String,
        /// The tag that is there.
        found: String,
    },
}

/// Why a key file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file is not a key in PEM, or another kind of key.
    #[error("key file {} is not valid: {source}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: PemError,
    },
    /// The key has another length.
    #[error(
        "key file {} holds {found} bytes where {expected} are needed", path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes needed.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// Others than the owner may read or write the file.
    #[error(
        "key file {} may be read or changed by others (mode {mode:04o}): run `chmod 600 {}`",
        path.display(), path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file could not be read.
    #[error("cannot read key file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system answered.
        source: io::Error,
    },
    /// The file is far too long for a key.
    #[error("key file {} is longer than {MAX_FILE_LEN} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be written.
    #[error("cannot write key file {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the file system answered.
        source: io::Error,
    },
}

impl KeyFileError {
    /// What to do about it, where its text does not say so.
    #[must_use]
    pub const fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Open { .. } => None,
            Self::Read { .. } => {
                Some("let the user who runs the program read it, or restore it from a copy")
            }
            Self::Invalid { .. } | Self::Length { .. } | Self::TooLong { .. } => Some(
                "restore it from a copy; without one, move all keys away, and `init` makes others",
            ),
            Self::Write { .. } => Some("see whether its directory has room and may be written to"),
        }
    }
}

/// The PEM text of `key` under `tag`, lines ended by `CR LF`.
///
/// The text of a private key is as secret as the key: wrap it in [`Zeroizing`].
#[must_use]
pub fn encode_pem(tag: &str, key: &[u8]) -> String {
    let base64 = Zeroizing::new(STANDARD.encode(key));
    let mut text = format!("-----BEGIN {tag}-----\r\n");
    // Grown once, so that no half-written copy of the key stays behind in freed memory.
    text.reserve_exact(2 * base64.len() + tag.len() + 32);
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(LINE_LEN).unwrap_or((rest, ""));
        text.push_str(line);
        text.push_str("\r\n");
        rest = after;
    }
    text.push_str("-----END ");
    text.push_str(tag);
    text.push_str("-----\r\n");
    text
}

/// The key in a PEM text whose tag must be `tag`.
///
/// # Errors
///
/// [`PemError`] by what is missing or wrong; [`PemError::WrongTag`] names both tags.
pub fn parse_pem(tag: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let no_begin = || PemError::NoBegin {
        expected: tag.to_owned(),
    };
    let found = lines
        .next()
        .and_then(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
        .ok_or_else(no_begin)?;
    if found != tag {
        return Err(PemError::WrongTag {
            expected: tag.to_owned(),
            found: found.to_owned(),
        });
    }
    let end = lines
        .next_back()
        .and_then(|line| line.strip_prefix("-----END ")?.strip_suffix("-----"));
    if end != Some(tag) {
        return Err(PemError::NoEnd {
            expected: tag.to_owned(),
        });
    }
    let mut base64 = Zeroizing::new(String::with_capacity(text.len()));
    for line in lines {
        base64.push_str(line);
    }
    STANDARD
        .decode(base64.as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| PemError::Base64)
}

/// Writes a key file with mode 0600, replacing an old one at once or not at all.
///
/// # Errors
///
/// [`KeyFileError::Write`] with what the file system answered.
pub fn save(path: &Path, tag: &str, key: &[u8]) -> Result<(), KeyFileError> {
    let text = Zeroizing::new(encode_pem(tag, key));
    write_atomically(path, text.as_bytes(), KEY_FILE_MODE).map_err(|source| KeyFileError::Write {
        path: path.to_path_buf(),
        source,
    })
}

/// Reads a key file of any length that holds a secret.
///
/// # Errors
///
/// [`KeyFileError`]; [`KeyFileError::Open`] when group or others have any permission on the file.
pub fn load(path: &Path, tag: &str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let text = read(path, Readers::OwnerOnly)?;
    parse_pem(tag, &text).map_err(|source| KeyFileError::Invalid {
        path: path.to_path_buf(),
        source,
    })
}

/// Reads a key file that holds a secret of exactly `N` bytes.
///
/// # Errors
///
/// As [`load`], and [`KeyFileError::Length`] when the key has another length.
pub fn load_secret<const N: usize>(
    path: &Path,
    tag: &str,
) -> Result<Zeroizing<[u8; N]>, KeyFileError> {
    let key = load(path, tag)?;
    let array: &[u8; N] = key
        .as_slice()
        .try_into()
        .map_err(|_| KeyFileError::Length {
            path: path.to_path_buf(),
            expected: N,
            found: key.len(),
        })?;
    Ok(Zeroizing::new(*array))
}

/// Reads a key file that holds a public key of exactly `N` bytes; others may read it too.
///
/// # Errors
///
/// As [`load_secret`], without [`KeyFileError::Open`].
pub fn load_public<const N: usize>(path: &Path, tag: &str) -> Result<[u8; N], KeyFileError> {
    let text = read(path, Readers::Anyone)?;
    let key = parse_pem(tag, &text).map_err(|source| KeyFileError::Invalid {
        path: path.to_path_buf(),
        source,
    })?;
    key.as_slice().try_into().map_err(|_| KeyFileError::Length {
        path: path.to_path_buf(),
        expected: N,
        found: key.len(),
    })
}

/// Who may read a key file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    Anyone,
    OwnerOnly,
}

fn read(path: &Path, readers: Readers) -> Result<Zeroizing<String>, KeyFileError> {
    let failed = |source| KeyFileError::Read {
        path: path.to_path_buf(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    // Asked of the open file, so that nobody can exchange it between the check and the reading.
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if readers == Readers::OwnerOnly && mode & OTHERS_MASK != 0 {
        return Err(KeyFileError::Open {
            path: path.to_path_buf(),
            mode,
        });
    }
    if metadata.len() > MAX_FILE_LEN as u64 {
        return Err(KeyFileError::TooLong {
            path: path.to_path_buf(),
        });
    }
    // Room for the longest file, so that the text is not copied about while it grows.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_LEN));
    file.take(MAX_FILE_LEN as u64)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

/// Whether a key file is there, for `init` commands that must not replace one.
#[must_use]
pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs::Permissions;

    #[test]
    fn files_of_the_reference_are_read_and_written_exactly() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/vectors/gateway/keyfiles.json"))
                .unwrap();
        let files = vectors["files"].as_array().unwrap();
        assert!(!files.is_empty());
        for file in files {
            let tag = file["tag"].as_str().unwrap();
            let text = file["file_text"].as_str().unwrap();
            let raw = hex::decode(file["raw"].as_str().unwrap()).unwrap();
            assert_eq!(encode_pem(tag, &raw), text);
            assert_eq!(*parse_pem(tag, text).unwrap(), raw);
        }
    }

    #[test]
    fn bare_line_feeds_are_read() {
        let text = encode_pem(ACK_KEY, &[9; 16]).replace("\r\n", "\n");
        assert_eq!(*parse_pem(ACK_KEY, &text).unwrap(), [9; 16]);
    }

    #[test]
    fn each_defect_of_a_text_has_its_own_error() {
        let text = encode_pem(ACK_KEY, &[9; 16]);
        let expected = || ACK_KEY.to_owned();
        assert_eq!(
            parse_pem(X25519_PRIVATE_KEY, &text),
            Err(PemError::WrongTag {
                expected: X25519_PRIVATE_KEY.to_owned(),
                found: expected()
            })
        );
        assert_eq!(
            parse_pem(ACK_KEY, ""),
            Err(PemError::NoBegin {
                expected: expected()
            })
        );
        let headless = text.replacen("-----BEGIN", "----BEGIN", 1);
        assert_eq!(
            parse_pem(ACK_KEY, &headless),
            Err(PemError::NoBegin {
                expected: expected()
            })
        );
        let endless = text.replace("-----END", "-----FIN");
        assert_eq!(
            parse_pem(ACK_KEY, &endless),
            Err(PemError::NoEnd {
                expected: expected()
            })
        );
        let garbled = text.replace("CQkJ", "C*kJ");
        assert_eq!(parse_pem(ACK_KEY, &garbled), Err(PemError::Base64));
    }

    #[test]
    fn a_saved_key_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        save(&path, X25519_PRIVATE_KEY, &[3; 32]).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            *load_secret::<32>(&path, X25519_PRIVATE_KEY).unwrap(),
            [3; 32]
        );
    }

    #[test]
    fn a_key_file_is_replaced_whole_and_never_written_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        save(&path, X25519_PRIVATE_KEY, &[3; 32]).unwrap();
        let old = fs::read_to_string(&path).unwrap();
        let mut opened = File::open(&path).unwrap();
        save(&path, X25519_PRIVATE_KEY, &[4; 32]).unwrap();
        // What a crash in between would have left is what was there before.
        let mut kept = String::new();
        opened.read_to_string(&mut kept).unwrap();
        assert_eq!(kept, old);
        assert_ne!(fs::read_to_string(&path).unwrap(), old);
    }

    #[test]
    fn a_private_key_that_others_may_read_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        save(&path, X25519_PRIVATE_KEY, &[3; 32]).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o620, 0o601] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = load(&path, X25519_PRIVATE_KEY).unwrap_err();
            assert!(matches!(error, KeyFileError::Open { mode: found, .. } if found == mode));
            assert!(error.to_string().contains("run `chmod 600 "), "{error}");
        }
        for mode in [0o600, 0o400, 0o700] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            load(&path, X25519_PRIVATE_KEY).unwrap();
        }
    }

    #[test]
    fn a_public_key_may_be_readable_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        save(&path, X25519_PUBLIC_KEY, &[3; 32]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(
            load_public::<32>(&path, X25519_PUBLIC_KEY).unwrap(),
            [3; 32]
        );
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        for (len, fits) in [(31, false), (32, true), (33, false)] {
            save(&path, ED25519_PRIVATE_KEY, &vec![1; len]).unwrap();
            assert_eq!(
                load_secret::<32>(&path, ED25519_PRIVATE_KEY).is_ok(),
                fits,
                "{len} bytes"
            );
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        write_atomically(&path, &vec![b' '; 16 * 1024 + 1], 0o600).unwrap();
        assert!(matches!(
            load(&path, ACK_KEY),
            Err(KeyFileError::TooLong { .. })
        ));
        write_atomically(&path, &vec![b' '; 16 * 1024], 0o600).unwrap();
        assert!(matches!(
            load(&path, ACK_KEY),
            Err(KeyFileError::Invalid { .. })
        ));
    }

    proptest! {
        #[test]
        fn every_key_survives_the_round_trip(key in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(&*parse_pem(ACK_KEY, &encode_pem(ACK_KEY, &key)).unwrap(), &key);
        }

        #[test]
        fn any_text_gives_a_key_or_an_error(text in "(-----BEGIN AES-128-CTR ACKNOWLEDGEMENTS KEY-----\n)?.{0,99}(\n.{0,99})*") {
            let _ = parse_pem(ACK_KEY, &text);
        }
    }
}
