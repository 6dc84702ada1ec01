//! Every length of the format, derived from the few that are chosen.

/// Length of a node address in a routing record, in bytes. What the bytes mean is the user's affair.
pub const NODE_ADDRESS_LEN: usize = 32;

/// Length of a destination address, in bytes.
pub const DESTINATION_ADDRESS_LEN: usize = 32;

/// Length of the identifier beside a destination address (the SURB identifier), in bytes.
pub const IDENTIFIER_LEN: usize = 16;

/// Length of a group element: α, a public key, a shared secret. A Curve25519 u-coordinate.
pub const GROUP_ELEMENT_LEN: usize = 32;

/// Length of γ, the header's MAC, in bytes: HMAC-SHA256 cut to the security parameter, 128 bits.
pub const MAC_LEN: usize = 16;

/// Longest route a header has room for, in hops. Shorter routes are not visible from outside.
pub const MAX_HOPS: usize = 5;

/// Length of one hop's payload key, in bytes: LIONESS takes two 32-byte and two 64-byte parts.
pub const PAYLOAD_KEY_LEN: usize = 192;

/// Length of the seed that later versions expand to a payload key, in bytes.
pub const PAYLOAD_KEY_SEED_LEN: usize = 16;

/// Length of the encrypted routing information β, in bytes: one step for every possible hop.
pub const ROUTING_INFO_LEN: usize = MAX_HOPS * STEP_LEN;

/// Length of the header in front of the payload, in bytes: α, γ and β.
pub const HEADER_LEN: usize = GROUP_ELEMENT_LEN + MAC_LEN + ROUTING_INFO_LEN;

/// What the payload is longer than the longest message in it: 16 leading zero bytes, by which the
/// recipient knows that nobody changed it, and the byte 1 that ends the message.
pub const PAYLOAD_OVERHEAD: usize = PAYLOAD_PREFIX_LEN + 1;

/// Shortest packet that is looked at, in bytes. (One with a payload below [`MIN_PAYLOAD_LEN`] still
/// fails, but only after its header was found good.)
pub const MIN_PACKET_LEN: usize = HEADER_LEN + PAYLOAD_OVERHEAD;

/// Shortest payload that can be encrypted, in bytes: a LIONESS block has a left half of 32 bytes and
/// a right half that is not empty.
pub const MIN_PAYLOAD_LEN: usize = 33;

pub(crate) const VERSION_LEN: usize = 3;
pub(crate) const PAYLOAD_PREFIX_LEN: usize = 16;
pub(crate) const STREAM_CIPHER_KEY_LEN: usize = 16;
pub(crate) const MAC_KEY_LEN: usize = 16;
pub(crate) const BLINDING_FACTOR_LEN: usize = 32;

/// Flag, version, next node address, delay.
pub(crate) const FORWARD_RECORD_LEN: usize = 1 + VERSION_LEN + NODE_ADDRESS_LEN + 8;

/// Flag, version, destination address, identifier.
pub(crate) const FINAL_RECORD_LEN: usize =
    1 + VERSION_LEN + DESTINATION_ADDRESS_LEN + IDENTIFIER_LEN;

/// What one hop takes off the routing information: its record and the MAC for the next hop.
pub(crate) const STEP_LEN: usize = FORWARD_RECORD_LEN + MAC_LEN;

/// β with the zeros a hop appends before it decrypts, so that β' is as long as β was.
pub(crate) const PADDED_ROUTING_INFO_LEN: usize = ROUTING_INFO_LEN + STEP_LEN;

/// The filler of the longest route: what all hops but the last have appended.
pub(crate) const MAX_FILLER_LEN: usize = (MAX_HOPS - 1) * STEP_LEN;

const _: () = {
    assert!(FORWARD_RECORD_LEN == 44);
    assert!(FINAL_RECORD_LEN == 52);
    assert!(STEP_LEN == 60);
    assert!(FINAL_RECORD_LEN <= STEP_LEN);
    assert!(ROUTING_INFO_LEN == 300);
    assert!(HEADER_LEN == 348);
    assert!(PAYLOAD_OVERHEAD == 17);
    assert!(MIN_PACKET_LEN == 365);
};
