//! The bodies of the fuzz targets in `fuzz/`: any bytes, and what must hold for them. They panic if it
//! does not. Nothing here is for other use.

use crate::{
    batch::Batch,
    hazmat::{Multiples, MultiplesTogether, products},
    keys::PrivateKey,
    payload::recover_plaintext,
    process::process,
    scalar_mult::Backend,
    sizes::HEADER_LEN,
    surb::{Surb, SurbRecovery},
    version::Version,
};

/// All backends compute the same products: in lanes, alone, with tables, and with tables in lanes.
///
/// The bytes are pairs of an integer and a point, 64 bytes each, at most 20.
pub fn products_agree(bytes: &[u8]) {
    let (pairs, _) = bytes.as_chunks::<64>();
    let halves = pairs.iter().take(20).map(|pair| {
        let (integer, point) = pair.split_at(32);
        let integer: [u8; 32] = integer.try_into().expect("half of 64 bytes");
        let point: [u8; 32] = point.try_into().expect("half of 64 bytes");
        (integer, point)
    });
    let (integers, points): (Vec<_>, Vec<_>) = halves.unzip();
    let portable = Backend::by_name("portable").expect("it runs everywhere");
    let expected = products(portable, &integers, &points);
    for backend in Backend::available() {
        assert_eq!(products(backend, &integers, &points), expected, "{backend}");
        for ((integer, point), expected) in integers.iter().zip(&points).zip(&expected) {
            let product = Multiples::of(backend, point).product(integer);
            assert_eq!(product, *expected, "{backend}, by tables");
        }
        let groups = integers.chunks(8).zip(points.chunks(8));
        for ((integers, points), expected) in groups.zip(expected.chunks(8)) {
            if let Some(multiples) = MultiplesTogether::of(backend, points) {
                let products = multiples.products(integers);
                assert_eq!(products, expected, "{backend}, by tables in lanes");
            }
        }
    }
}

/// Any bytes are packets or errors, the same for a batch as one by one, with every backend.
///
/// The first byte is the number of packets less one, modulo 20, for the key made of 32 bytes 7; they
/// are equal parts of the rest.
pub fn batches_agree(bytes: &[u8]) {
    let Some((count, rest)) = bytes.split_first() else {
        return;
    };
    let key = PrivateKey::from_bytes([7; 32]);
    let len = rest.len() / (usize::from(count % 20) + 1);
    let packets: Vec<Vec<u8>> = match len {
        0 => vec![rest.to_vec()],
        len => rest.chunks(len).map(<[u8]>::to_vec).collect(),
    };
    for version in [Version::NYM_0_11, Version::V260] {
        let mut alone = packets.clone();
        let expected: Vec<_> = alone
            .iter_mut()
            .map(|packet| process(version, &key, packet))
            .collect();
        for backend in Backend::available() {
            let mut together = packets.clone();
            let mut batch = Batch::with_backend(backend);
            assert_eq!(
                batch.process(version, &key, &mut together),
                expected,
                "{backend}"
            );
            assert_eq!(together, alone, "{backend}");
        }
    }
}

/// Any bytes are a SURB, recovery material and a payload, or errors.
pub fn parsers_take_anything(bytes: &[u8]) {
    for version in [Version::NYM_0_11, Version::V259, Version::V260] {
        if let Ok(surb) = Surb::from_bytes(version, bytes) {
            assert_eq!(surb.to_bytes().as_slice(), bytes);
            if let Ok(packet) = surb.use_surb(b"message", 100) {
                assert_eq!(packet.len(), HEADER_LEN + 100);
            }
        }
    }
    if let Ok(recovery) = SurbRecovery::from_bytes(bytes) {
        assert_eq!(recovery.to_bytes().as_slice(), bytes);
    }
    if let Ok(message) = recover_plaintext(bytes) {
        assert!(message.len() < bytes.len());
    }
}
