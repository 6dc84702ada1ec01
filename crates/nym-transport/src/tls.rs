//! Links that nobody on the way can read or change, between peers that know each other's keys.
//!
//! ```text
//!  dialling                                   accepting
//!  ClientHello: X25519MLKEM768 ─────────────►  first byte 0x16: TLS; 1, 2, 3 or G: plain
//!   ◄────────── ServerHello, {raw Ed25519 key, signature, Finished}
//!  key = the bond's?                           node port: asks for a key, too
//!  {raw Ed25519 key, signature, Finished} ──►  key in the topology? (if asked for)
//!            the 0.11 protocol, unchanged, inside of records of up to 16 KiB
//! ```
//!
//! There is one way to do it: TLS 1.3 (RFC 8446) with `TLS_AES_128_GCM_SHA256` and
//! `X25519MLKEM768`, and *identity keys* as raw public keys (RFC 7250) in place of certificates.
//! No authority is involved: who a peer must be is known from the topology. Sessions are never
//! resumed, because a ticket links two of them. `docs/links.md` has the reasons.
//!
//! * [`TlsIdentity`] is the key that a node proves.
//! * [`Acceptor`] makes links of accepted connections, [`NodeDialer`] and [`encrypt`] of dialled
//!   ones.
//! * [`Handshakes`] counts what became of them, [`LinkRefusal`] says why there is no link.
//! * [`WebCertificate`] is for browsers, which know neither raw keys nor the topology, and for
//!   those who ask a validator, which is in no topology: it serves https at a [`WebPort`].

mod accept;
mod config;
mod dial;
mod handshakes;
mod identity;
pub(crate) mod pem_file;
mod verify;
mod web_certificate;
mod web_port;

pub use self::accept::{Acceptor, HANDSHAKE_TIMEOUT, LinkPolicy};
pub use self::config::GROUP;
pub use self::dial::{NodeDialer, encrypt};
pub use self::handshakes::{Handshakes, LinkRefusal, Side};
pub use self::identity::TlsIdentity;
pub use self::pem_file::PemFileError;
pub use self::verify::Expected;
pub use self::web_certificate::{WebCertificate, WebCertificateError};
pub use self::web_port::{WebPort, WebStream};

/// Bytes read from a link between nodes at a time: two records of the longest kind. The TLS
/// library would ask for 4 KiB at a time.
const LINK_BUFFER: usize = 32 * 1024;

/// The same for a client's link, of which there are thousands that mostly idle: none, since reads
/// that are longer than the buffer pass it by.
const NO_BUFFER: usize = 1;

/// Bytes that may wait, encrypted, for the operating system: more than one batch of frames, so
/// that it leaves with one system call.
const WRITE_BUFFER: usize = 128 * 1024;

#[cfg(test)]
mod tests;
