//! Loop cover traffic: packets that a client sends to itself.
//!
//! On the wire they are data packets. Only the client can tell, after decrypting, by what the
//! content begins with; a fragment cannot begin so, because its first bit is set.

use crate::geometry::PacketSize;
use crate::message::pad;

/// What the content of a loop cover packet begins with.
pub const COVER_MARKER: &[u8; 18] = b"The cake is a lie!";

/// The content of a loop cover packet of this size: marker ‖ 1 ‖ 0 …, as long as a fragment;
/// 1,611 bytes in a regular packet.
#[must_use]
pub fn content(size: PacketSize) -> Vec<u8> {
    pad(COVER_MARKER, size.fragment_len())
}

/// Whether decrypted content is that of a loop cover packet. What follows the marker is not
/// looked at.
#[must_use]
pub fn is_cover(content: &[u8]) -> bool {
    content.starts_with(COVER_MARKER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fragment::Fragment;

    #[test]
    fn cover_is_recognised_and_is_no_fragment() {
        let content = content(PacketSize::Regular);
        assert_eq!(content.len(), 1611);
        assert!(is_cover(&content));
        assert!(Fragment::parse(&content).is_err());
    }

    #[test]
    fn marker_must_be_whole() {
        assert!(is_cover(COVER_MARKER));
        assert!(!is_cover(&COVER_MARKER[..17]));
        assert!(!is_cover(b"The cake is a lie?"));
    }
}
