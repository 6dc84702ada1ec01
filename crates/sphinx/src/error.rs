//! What can be wrong with a packet, a route, a payload or a SURB.

use thiserror::Error;

/// Why a packet or SURB could not be made, unwrapped or read.
///
/// The variants say *which part* is at fault; they are what a relay counts. None of them tells
/// anything about key material: a header that fails its MAC is [`Error::InvalidHeader`], whatever
/// byte of it was wrong.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are too short to be a packet.
    #[error("packet of {found} bytes is shorter than the minimum of {minimum}")]
    InvalidPacket {
        /// Bytes there are.
        found: usize,
        /// Bytes there must be, [`MIN_PACKET_LEN`](crate::MIN_PACKET_LEN).
        minimum: usize,
    },
    /// The header's MAC is wrong: the header was changed, or it is meant for another key.
    #[error("header fails its integrity check")]
    InvalidHeader,
    /// The route cannot be built, or the decrypted routing record makes no sense.
    #[error("routing information is invalid: {0}")]
    InvalidRouting(RoutingFault),
    /// The payload cannot be encrypted, decrypted or read.
    #[error("payload is invalid: {0}")]
    InvalidPayload(PayloadFault),
    /// The SURB cannot be built, parsed or used.
    #[error("SURB is invalid: {0}")]
    InvalidSurb(SurbFault),
    /// The header was processed before. This crate remembers no header; a replay filter between
    /// [`Batch::verify`](crate::Batch::verify) and [`Batch::peel`](crate::Batch::peel) says this.
    #[error("header was processed before")]
    Replayed,
}

/// What is wrong with a route or a routing record.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum RoutingFault {
    /// The number of delays differs from the number of hops.
    #[error("{found} delays for {expected} hops")]
    DelayCount {
        /// Delays given.
        found: usize,
        /// Hops of the route.
        expected: usize,
    },
    /// The route is empty or too long.
    #[error("a route of {found} hops, must be 1 to {maximum}")]
    HopCount {
        /// Hops of the route.
        found: usize,
        /// Most hops a header has room for, [`MAX_HOPS`](crate::MAX_HOPS).
        maximum: usize,
    },
    /// The record of an authentic header is neither a forward (1) nor a final (2) one.
    #[error("unknown routing flag {flag}")]
    UnknownFlag {
        /// The flag found.
        flag: u8,
    },
}

/// What is wrong with a payload.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PayloadFault {
    /// The message does not fit.
    #[error("message of {found} bytes exceeds the {maximum} that fit")]
    MessageTooLong {
        /// Length of the message in bytes.
        found: usize,
        /// Longest message for this payload in bytes.
        maximum: usize,
    },
    /// No byte 1 ends the message.
    #[error("end of the message is not marked")]
    MissingEndMarker,
    /// The leading 16 bytes are not zero: the payload was changed on its way, or not all layers of
    /// encryption have been taken off.
    #[error("leading bytes are not zero")]
    NonZeroPrefix,
    /// The payload is too short for this step.
    #[error("{found} bytes are fewer than the minimum of {minimum}")]
    TooShort {
        /// Length of the payload in bytes.
        found: usize,
        /// Shortest allowed length in bytes.
        minimum: usize,
    },
}

/// What is wrong with a SURB.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SurbFault {
    /// The length is not that of a header, an address and a whole number of keys, or there are too
    /// few or too many keys.
    #[error("{found} bytes are not a header, an address and a whole number of keys")]
    Length {
        /// Length of the SURB in bytes.
        found: usize,
    },
    /// The route is unusable.
    #[error("{0}")]
    Route(RoutingFault),
    /// Replies of this version can only be read with recovery material; use
    /// [`Surb::build_recoverable`](crate::Surb::build_recoverable).
    #[error("version {version} needs recovery material")]
    NeedsRecovery {
        /// The version asked for.
        version: u16,
    },
    /// No SURB of this kind exists in this version.
    #[error("version {version} has no such SURB")]
    Version {
        /// The version asked for.
        version: u16,
    },
    /// The identifier, by which the owner finds the recovery material, is zero.
    #[error("identifier is zero")]
    ZeroIdentifier,
}
