use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nym_client_core::{Engine, EngineConfig};
use nym_daemon::entropy;
use nym_packet::reply::{REPLY_SURB_LEN, ReplySurb};
use nym_packet::time::Timestamp;
use rand::rngs::StdRng;

use super::*;
use crate::engine_task::tests::topology;
use crate::keys::OwnKeys;

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn config(&self) -> StoreConfig {
        StoreConfig::beside(&KeyFiles::in_dir(self.0.path()))
    }

    fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.config(), &mut entropy())
    }
}

/// An engine whose batches are something to write.
fn engine() -> Engine<StdRng> {
    let topology = topology();
    let gateway = topology.gateways[0].identity;
    let keys = OwnKeys::generate(&mut entropy()).into_engine_keys(gateway);
    let config = EngineConfig::default();
    let nothing: [Kept; 0] = [];
    let mut engine = Engine::restore(keys, config, entropy(), Timestamp::ZERO, nothing).unwrap();
    assert!(engine.set_topology(topology));
    engine
}

fn batch(engine: &mut Engine<StdRng>, message_len: usize) -> Batch {
    let recipient = *engine.recipient();
    let message = vec![7; message_len];
    engine
        .send(Timestamp::ZERO, &recipient, &message, true)
        .unwrap();
    engine.poll_batch().unwrap()
}

fn text(result: Result<Store, StoreError>) -> String {
    result.map(drop).unwrap_err().to_string()
}

#[test]
fn what_was_written_is_read_and_what_was_removed_is_gone() {
    let home = Home::new();
    let mut engine = engine();
    let first = batch(&mut engine, 5_000);
    home.open().unwrap().write(&first).unwrap();
    let records = home.open().unwrap().records().unwrap();
    assert_eq!(records.len(), first.changes().len());
    for (key, value) in &records {
        let mut written = first.changes().iter().filter(|change| change.key() == key);
        assert_eq!(written.next().unwrap().value(), Some(value.as_slice()));
    }
    // An answer to a SURB removes nothing; giving the message up removes its fragments.
    let surb = ReplySurb::from_bytes(&[3; REPLY_SURB_LEN]).unwrap();
    engine
        .reply(Timestamp::ZERO, surb, b"answer".to_vec())
        .unwrap();
    engine.handle_timeout(Timestamp::MAX);
    let second = engine.poll_batch().unwrap();
    home.open().unwrap().write(&second).unwrap();
    let left = home.open().unwrap().records().unwrap();
    let removed = second
        .changes()
        .iter()
        .filter(|change| change.value().is_none());
    assert!(removed.count() > 4, "fragments and messages");
    for (key, _) in &left {
        let last = second.changes().iter().rfind(|change| change.key() == key);
        assert!(
            last.is_none_or(|change| change.value().is_some()),
            "{key:?}"
        );
    }
}

#[test]
fn no_message_is_readable_in_the_files_and_they_are_their_owners_alone() {
    let home = Home::new();
    let mut store = home.open().unwrap();
    store.write(&batch(&mut engine(), 5_000)).unwrap();
    let mut files = 0;
    for entry in fs::read_dir(home.0.path()).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
        let content = fs::read(&path).unwrap();
        let is_readable = content.windows(64).any(|window| window == [7; 64]);
        assert!(!is_readable, "{}", path.display());
        files += 1;
    }
    assert!(files >= 3, "key, database and log");
}

#[test]
fn a_wrong_key_and_a_missing_one_are_refused_and_nothing_is_replaced() {
    let home = Home::new();
    drop(home.open().unwrap());
    let config = home.config();
    let key = fs::read(&config.key_file).unwrap();
    let database = fs::read(&config.database).unwrap();
    fs::remove_file(&config.key_file).unwrap();
    let missing = text(home.open());
    assert!(missing.contains("store_key.pem"), "{missing}");
    assert!(!config.key_file.exists());
    pem::save(&config.key_file, STORE_KEY, &[9; 32]).unwrap();
    let wrong = text(home.open());
    assert!(wrong.contains("is not the one of the store"), "{wrong}");
    assert_eq!(fs::read(&config.database).unwrap(), database);
    fs::write(&config.key_file, key).unwrap();
    home.open().unwrap();
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    let home = Home::new();
    drop(home.open().unwrap());
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(home.config().key_file, open).unwrap();
    let refused = text(home.open());
    assert!(refused.contains("chmod 600"), "{refused}");
}

#[test]
fn a_damaged_store_is_refused_and_left_as_it_is() {
    let home = Home::new();
    let mut store = home.open().unwrap();
    store.write(&batch(&mut engine(), 50_000)).unwrap();
    drop(store);
    let database = home.config().database;
    let intact = fs::read(&database).unwrap();
    // The header, the middle of the records, and a file that is something else altogether.
    let mut header = intact.clone();
    header[..16].fill(0xff);
    let mut middle = intact.clone();
    let at = middle.len() / 2;
    middle[at..at + 2_000].fill(0xff);
    for damaged in [header, middle, b"not a database at all".repeat(300)] {
        fs::write(&database, &damaged).unwrap();
        let refused = match home.open() {
            Ok(store) => store.records().map(drop).unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
        let left = fs::read(&database).unwrap();
        assert_eq!(left.len(), damaged.len());
    }
    fs::write(&database, intact).unwrap();
    home.open().unwrap().records().unwrap();
}

#[test]
fn a_store_in_use_is_refused() {
    let home = Home::new();
    let _open = home.open().unwrap();
    let refused = text(home.open());
    assert!(refused.contains("in use"), "{refused}");
}

#[test]
fn a_store_that_cannot_be_made_is_refused() {
    let home = Home::new();
    let mut config = home.config();
    config.database = home.0.path().join("missing").join("store.sqlite");
    let refused = text(Store::open(&config, &mut entropy()));
    assert!(refused.contains("cannot use the store"), "{refused}");
    config.database = home.0.path().to_owned();
    let refused = text(Store::open(&config, &mut entropy()));
    assert!(refused.contains("cannot use the store"), "{refused}");
}

#[test]
fn a_store_of_a_newer_program_is_refused() {
    let home = Home::new();
    let store = home.open().unwrap();
    store
        .database
        .execute_batch("PRAGMA user_version = 2")
        .unwrap();
    drop(store);
    let refused = text(home.open());
    assert!(refused.contains("has version 2"), "{refused}");
}

#[test]
fn a_full_store_takes_nothing_of_a_batch_and_takes_it_without_what_did_not_fit() {
    let home = Home::new();
    let config = StoreConfig {
        bytes_max: 200_000,
        ..home.config()
    };
    let mut store = Store::open(&config, &mut entropy()).unwrap();
    let mut engine = engine();
    let small = batch(&mut engine, 10);
    store.write(&small).unwrap();
    engine.handle_committed(small.position());
    let before = store.records().unwrap().len();
    let mut large = batch(&mut engine, 500_000);
    let full = store.write(&large).unwrap_err();
    assert!(matches!(full, StoreError::Unusable { .. }), "{full}");
    assert_eq!(store.records().unwrap().len(), before);
    engine.handle_commit_failed();
    large.append(engine.poll_batch().unwrap());
    store.write(&large).unwrap();
    let left = store.records().unwrap().len();
    assert_eq!(
        left,
        before + 1,
        "a reply key is left of the refused message"
    );
}
