//! The vectors of the packet format itself, in `tests/vectors/packet`.
//!
//! Each case is read through [`Case`], which fails when a member of it was not looked at: what a
//! vector gives is checked, or named here as somebody else's.

use serde_json::Value;
use sphinx::{
    Backend, Batch, Delay, Destination, Error, HEADER_LEN, Hop, NodeAddress, Peeled, PrivateKey,
    PublicKey, Surb, SurbRecovery, Version, build, hazmat, process, recover_plaintext, verify,
};

use self::inputs::{Inputs, Scripted};
use super::{VectorFile, case::Case, hex, hex_array};

pub(super) mod inputs;

super::vector_files! {
    "packet":
    lioness => "lioness.json", |file| file.each("vectors", lioness_block);
    sphinx080 => "sphinx080.json", |file| each_of_type(file, &[
        ("build_process", build_and_process_later),
        ("expand", expand_later),
        ("process_failure", process_later_failure),
        ("surb", surb),
        ("surb_parse", surb_parse),
    ]);
    sphinx_build => "sphinx_build.json", |file| file.each("vectors", build_packet);
    sphinx_cross_version => "sphinx_cross_version.json", |file| each_of_type(file, &[
        ("new_in_old", |case| cross_version(case, Version::NYM_0_11)),
        ("old_in_new", |case| cross_version(case, Version::V260)),
        ("old_in_new_last", |case| cross_version(case, Version::V260)),
    ]);
    sphinx_keys => "sphinx_keys.json", |file| each_of_type(file, &[
        ("kdf", kdf),
        ("route", route_keys),
    ]);
    sphinx_payload_padding => "sphinx_payload_padding.json",
        |file| file.each("vectors", payload_padding);
    sphinx_process => "sphinx_process.json", |file| file.each("vectors", process_packet);
    sphinx_surb => "sphinx_surb.json", |file| each_of_type(file, &[
        ("parse", surb_parse),
        ("surb", surb),
        ("use_error", surb_use_error),
    ]);
}

fn lioness_block(value: &Value) {
    let case = Case::new(value);
    let key: [u8; 192] = case.array("key");
    let plaintext = case.bytes("plaintext");
    let mut block = plaintext.clone();
    let encrypted = hazmat::lioness_encrypt(&key, &mut block);
    if let Some(error) = case.get("error") {
        assert_eq!(error, "BlockSizeError");
        assert_error(encrypted, "InvalidPayload");
        assert_error(hazmat::lioness_decrypt(&key, &mut block), "InvalidPayload");
    } else {
        encrypted.unwrap();
        assert_bytes("ciphertext", &block, &case.bytes("ciphertext"));
        hazmat::lioness_decrypt(&key, &mut block).unwrap();
        assert_bytes("plaintext", &block, &plaintext);
        let parts = ["k1", "k2", "k3", "k4"]
            .map(|part| case.bytes(part))
            .concat();
        assert_bytes("key parts", &key, &parts);
    }
    case.finish();
}

fn kdf(value: &Value) {
    let case = Case::new(value);
    let keys = hazmat::KeyBlock::derive(case.array("shared_secret"));
    assert_bytes("okm", &keys.bytes[..256], &case.bytes("okm"));
    check_keys(&keys, case.field("keys"));
    case.finish();
}

fn check_keys(keys: &hazmat::KeyBlock, value: &Value) {
    let case = Case::new(value);
    assert_bytes(
        "stream cipher key",
        keys.stream_cipher_key(),
        &case.bytes("stream_cipher_key"),
    );
    assert_bytes(
        "header MAC key",
        keys.header_mac_key(),
        &case.bytes("header_mac_key"),
    );
    assert_bytes(
        "payload key",
        keys.payload_key(),
        &case.bytes("payload_key"),
    );
    assert_bytes(
        "blinding factor",
        keys.blinding_factor(),
        &case.bytes("blinding_factor"),
    );
    let scalar = keys.reduced_blinding_scalar.as_slice();
    assert_bytes("blinding scalar", scalar, &case.bytes("blinding_scalar"));
    case.finish();
}

fn route_keys(value: &Value) {
    let case = Case::new(value);
    let initial_secret = case.array("initial_secret");
    let clamped = hazmat::clamp_secret(initial_secret);
    assert_bytes(
        "clamped initial secret",
        &clamped,
        &case.bytes("initial_secret_clamped"),
    );

    let hops: Vec<Case> = case.list("hops").iter().map(Case::new).collect();
    let public_keys: Vec<PublicKey> = hops
        .iter()
        .map(|hop| PublicKey::from_bytes(hop.array("public_key")))
        .collect();
    let version = Version::NYM_0_11;
    let (steps, filler) = hazmat::route_steps(version, &initial_secret, &public_keys).unwrap();
    assert_bytes("filler", &filler, &case.bytes("filler"));
    assert_eq!(steps.len(), hops.len());
    for (index, (step, hop)) in steps.iter().zip(&hops).enumerate() {
        let key = PrivateKey::from_bytes(hop.array("private_key"));
        assert_eq!(key.public_key(), public_keys[index]);
        let accumulator = step.accumulator.expect("these rules have an accumulator");
        assert_bytes("accumulator", &accumulator, &hop.bytes("accumulator"));
        assert_bytes("alpha", &step.alpha, &hop.bytes("alpha"));
        let secret: [u8; 32] = hop.array("shared_secret");
        assert_bytes("sender's secret", step.shared_secret.as_bytes(), &secret);
        let nodes = key.diffie_hellman(&PublicKey::from_bytes(step.alpha));
        assert_bytes("node's secret", nodes.as_bytes(), &secret);
        check_keys(&hazmat::KeyBlock::derive(secret), hop.field("keys"));
        if let Some(next) = steps.get(index + 1) {
            let alpha = hazmat::next_alpha(version, &nodes, &step.alpha);
            assert_bytes("next alpha", &alpha, &next.alpha);
        }
        hop.finish();
    }
    case.finish();
}

fn expand_later(value: &Value) {
    let case = Case::new(value);
    let key = PrivateKey::from_bytes(case.array("node_private_key"));
    let secret = key.diffie_hellman(&PublicKey::from_bytes(case.array("alpha")));
    assert_bytes(
        "shared secret",
        secret.as_bytes(),
        &case.bytes("shared_secret"),
    );
    let keys = hazmat::KeyBlock::derive(*secret.as_bytes());
    assert_bytes("okm", keys.bytes.as_slice(), &case.bytes("okm"));
    assert_bytes(
        "legacy payload key",
        keys.payload_key(),
        &case.bytes("legacy_payload_key"),
    );
    let seed = *keys.payload_key().first_chunk().unwrap();
    assert_bytes("payload key seed", &seed, &case.bytes("payload_key_seed"));
    let from_seed = hazmat::payload_key(&seed);
    assert_bytes(
        "payload key",
        from_seed.as_slice(),
        &case.bytes("payload_key_from_seed"),
    );
    assert_bytes("replay tag", keys.replay_tag(), &case.bytes("replay_tag"));
    case.finish();
}

fn build_packet(value: &Value) {
    let case = Case::new(value);
    if let Some(error) = case.get("error") {
        let hop = Hop {
            address: NodeAddress([1; 32]),
            public_key: PrivateKey::from_bytes([2; 32]).public_key(),
        };
        let destination = Destination {
            address: [3; 32],
            identifier: [4; 16],
        };
        let message = vec![5; case.len("message_len")];
        let built = build(
            Version::NYM_0_11,
            &[hop; 2],
            &[Delay::ZERO; 2],
            &destination,
            &message,
            case.len("payload_size"),
            &mut Scripted::new(vec![0; 32 + 300]),
        );
        assert_error(built, error.as_str().unwrap());
    } else {
        let packet = Inputs::read(&case).build(Version::NYM_0_11);
        assert_bytes("packet", &packet, &case.bytes("packet"));
    }
    case.finish();
}

fn build_and_process_later(value: &Value) {
    let case = Case::new(value);
    let version = Version::later(u16::try_from(case.u64("version")).unwrap());
    let packet = Inputs::read(&case).build(version);
    assert_bytes("packet", &packet, &case.bytes("packet"));
    let hops = case.list("hops");
    assert_eq!(hops.len(), case.list("route").len());
    for hop in hops {
        check_step_at(version, &Case::new(hop));
    }
    case.finish();
}

fn process_packet(value: &Value) {
    let case = Case::new(value);
    check_step_at(Version::NYM_0_11, &case);
}

fn process_later_failure(value: &Value) {
    check_step_at(Version::V259, &Case::new(value));
}

fn cross_version(value: &Value, processed_by: Version) {
    let case = Case::new(value);
    let hops = case.list("hops");
    let message = case.bytes("message");
    if let (Some(version), Some(first)) = (case.get("version"), hops.first()) {
        let key = PrivateKey::from_bytes(hex_array(&first["node_private_key"]));
        let stated = hazmat::record_version(Version::V260, &key, &hex(&first["input_packet"]));
        assert_eq!(u64::from(stated.unwrap()), version.as_u64().unwrap());
    }
    for hop in hops {
        check_step_at(processed_by, &Case::new(hop));
        if let Some(plaintext) = hop["expected"].get("plaintext") {
            assert_bytes("message", &hex(plaintext), &message);
        }
    }
    case.finish();
}

fn payload_padding(value: &Value) {
    let case = Case::new(value);
    let payload = case.bytes("payload");
    let recovered = recover_plaintext(&payload);
    match case.get("error") {
        Some(error) => assert_error(recovered, error.as_str().unwrap()),
        None => assert_bytes("plaintext", recovered.unwrap(), &case.bytes("plaintext")),
    }
    case.finish();
}

fn surb(value: &Value) {
    let case = Case::new(value);
    let version = case.get("version").map_or(Version::NYM_0_11, |number| {
        Version::later(u16::try_from(number.as_u64().unwrap()).unwrap())
    });
    let inputs = Inputs::read(&case);
    let recovery = case.get("recovery").map(hex);
    let mut rng = inputs.rng();
    let (route, delays, destination) = (&inputs.route, &inputs.delays, &inputs.destination);
    let (surb, built_recovery) = if recovery.is_some() {
        let (surb, recovery) =
            Surb::build_recoverable(version, route, delays, destination, &mut rng).unwrap();
        (surb, Some(recovery))
    } else {
        (
            Surb::build(version, route, delays, destination, &mut rng).unwrap(),
            None,
        )
    };
    rng.assert_spent();
    assert_bytes("SURB", &surb.to_bytes(), &case.bytes("surb"));

    let surb = Surb::from_bytes(version, &case.bytes("surb")).unwrap();
    assert_bytes(
        "first hop",
        &surb.first_hop().0,
        &case.bytes("first_hop_address"),
    );
    let mut packet = surb.use_surb(&inputs.message, inputs.payload_len).unwrap();
    assert_bytes("packet", &packet, &case.bytes("packet"));

    let (last, before) = inputs.private_keys.split_last().unwrap();
    for (index, key) in before.iter().enumerate() {
        let expected = Peeled::Forward {
            next_hop: inputs.route[index + 1].address,
            delay: inputs.delays[index],
        };
        let peeled = process(version, &PrivateKey::from_bytes(*key), &mut packet).unwrap();
        assert_eq!(peeled, expected);
    }
    check_step(
        version,
        &PrivateKey::from_bytes(*last),
        &packet,
        case.field("final"),
    );

    if let (Some(expected), Some(built)) = (recovery, built_recovery) {
        assert_bytes("recovery material", &built.to_bytes(), &expected);
        let recovery = SurbRecovery::from_bytes(&expected).unwrap();
        assert_eq!(*recovery.identifier(), inputs.destination.identifier);
        let mut payload = hex(&case.field("final")["payload"]);
        let recovered = recovery.recover_plaintext(&mut payload).unwrap();
        assert_bytes(
            "recovered plaintext",
            recovered,
            &case.bytes("recovered_plaintext"),
        );
    }
    case.finish();
}

fn surb_parse(value: &Value) {
    let case = Case::new(value);
    let bytes = case.bytes("surb");
    // The files tell the families apart by the name of what they count.
    let later = case.get("type").is_some_and(|kind| kind == "surb_parse");
    let (versions, count) = if later {
        (&[Version::V259, Version::V260][..], "seed_count")
    } else {
        (&[Version::NYM_0_11][..], "payload_key_count")
    };
    for version in versions {
        let parsed = Surb::from_bytes(*version, &bytes);
        match case.get("error") {
            Some(error) => assert_error(parsed, error.as_str().unwrap()),
            None => assert_eq!(parsed.unwrap().payload_key_count(), case.len(count)),
        }
    }
    case.finish();
}

fn surb_use_error(value: &Value) {
    let case = Case::new(value);
    let surb = Surb::from_bytes(Version::NYM_0_11, &case.bytes("surb")).unwrap();
    let message = vec![7; case.len("message_len")];
    let used = surb.use_surb(&message, case.len("payload_size"));
    assert_error(used, case.field("error").as_str().unwrap());
    case.finish();
}

/// Processes a case's `input_packet` at the node of `node_private_key`.
fn check_step_at(version: Version, case: &Case) {
    let key = PrivateKey::from_bytes(case.array("node_private_key"));
    let packet = case.bytes("input_packet");
    let expected = case.field("expected");
    if case.get("may_reject").is_some_and(|may| may == true)
        && process(version, &key, &mut packet.clone()).is_err()
    {
        case.finish();
        return;
    }
    check_step(version, &key, &packet, expected);
    case.finish();
}

fn check_step(version: Version, key: &PrivateKey, packet: &[u8], expected: &Value) {
    let expected = Case::new(expected);
    let mut work = packet.to_vec();
    let result = process(version, key, &mut work);
    for backend in Backend::available() {
        let mut batch = Batch::with_backend(backend);
        for count in [1, 5, 8] {
            let mut together = vec![packet.to_vec(); count];
            let results = batch.process(version, key, &mut together);
            assert_eq!(results, vec![result; count], "{count} with {backend}");
            for packet in &together {
                assert_bytes("packet of a batch", packet, &work);
            }
        }
    }
    match expected.text("kind") {
        "error" => {
            assert_error(result, expected.text("error"));
            let stage = if matches!(result, Err(Error::InvalidPacket { .. })) {
                "parse"
            } else {
                "process"
            };
            assert_eq!(stage, expected.text("stage"));
            assert_bytes("packet after an error", &work, packet);
        }
        "forward" => {
            let peeled = Peeled::Forward {
                next_hop: NodeAddress(expected.array("next_hop_address")),
                delay: Delay::from_nanos(expected.u64("delay_ns")),
            };
            assert_eq!(result, Ok(peeled));
            assert_bytes("next packet", &work, &expected.bytes("next_packet"));
        }
        "final" => {
            let destination = Destination {
                address: expected.array("destination"),
                identifier: expected.array("surb_identifier"),
            };
            assert_eq!(result, Ok(Peeled::Final { destination }));
            let payload = &work[HEADER_LEN..];
            assert_bytes("payload", payload, &expected.bytes("payload"));
            let recovered = recover_plaintext(payload);
            match expected.get("plaintext_error") {
                Some(error) => assert_error(recovered, error.as_str().unwrap()),
                None => assert_bytes(
                    "plaintext",
                    recovered.unwrap(),
                    &expected.bytes("plaintext"),
                ),
            }
        }
        kind => panic!("unknown kind of result `{kind}`"),
    }
    if result.is_ok() {
        assert_eq!(
            verify(version, key, packet).unwrap().mac()[..],
            packet[32..48]
        );
    }
    if let Some(number) = expected.get("version") {
        let stated = hazmat::record_version(version, key, packet).unwrap();
        assert_eq!(u64::from(stated), number.as_u64().unwrap());
    }
    expected.finish();
}

/// A type of cases, and what to do with one.
type Check = (&'static str, fn(&Value));

/// Runs each case by the function for its `type`.
fn each_of_type(file: &mut VectorFile, checks: &[Check]) {
    file.each("vectors", |case| {
        let kind = case["type"].as_str().expect("a case has a type");
        let check = checks.iter().find(|(name, _)| *name == kind);
        let (_, check) = check.unwrap_or_else(|| panic!("unknown type `{kind}`"));
        check(case);
    });
}

#[track_caller]
fn assert_bytes(what: &str, found: &[u8], expected: &[u8]) {
    assert!(
        found == expected,
        "{what}:\n   found {}\nexpected {}",
        hex::encode(found),
        hex::encode(expected)
    );
}

#[track_caller]
fn assert_error<T>(result: Result<T, Error>, expected: &str) {
    let found = match result.err() {
        None => "no error",
        Some(Error::InvalidHeader) => "InvalidHeader",
        Some(Error::InvalidPacket { .. }) => "InvalidPacket",
        Some(Error::InvalidPayload(_)) => "InvalidPayload",
        Some(Error::InvalidRouting(_)) => "InvalidRouting",
        Some(Error::InvalidSurb(_)) => "InvalidSURB",
        Some(_) => "another error",
    };
    assert_eq!(found, expected);
}
