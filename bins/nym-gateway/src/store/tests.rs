use nym_protocol::gateway::mailbox::deposit;
use nym_protocol::gateway::{GatewaySession, Lookup};
use tempfile::TempDir;

use super::*;

const ALICE: ClientAddress = ClientAddress::from_bytes([1; 32]);
const BOB: ClientAddress = ClientAddress::from_bytes([2; 32]);

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(directory: &TempDir, quotas: Quotas) -> Store {
    Store::open(&directory.path().join("gateway.sqlite"), quotas).unwrap()
}

fn with_alice(directory: &TempDir, quotas: Quotas) -> Store {
    let mut store = open(directory, quotas);
    store
        .store_keys(&ALICE, &SharedKeys::from_bytes(&[3; 32]))
        .unwrap();
    store
}

/// How many of the messages were stored.
fn put(store: &mut Store, client: ClientAddress, messages: &[&[u8]]) -> usize {
    let batch = messages.iter().map(|message| (client, *message));
    deposit(store, batch)
        .unwrap()
        .into_iter()
        .filter(Result::is_ok)
        .count()
}

fn messages(store: &mut Store) -> Vec<Vec<u8>> {
    store
        .read(&ALICE, None, 100)
        .unwrap()
        .into_iter()
        .map(|stored| stored.message)
        .collect()
}

/// Removes the oldest message of Alice as if it had been pushed.
fn take(store: &mut Store) {
    let oldest = store.read(&ALICE, None, 1).unwrap().remove(0);
    let written = push_of(&oldest.message).written();
    store.remove(&ALICE, vec![(oldest.id, written)]).unwrap();
}

fn push_of(message: &[u8]) -> nym_protocol::gateway::mailbox::PushFrame {
    use nym_packet::keys::IdentityKeyPair;
    use nym_packet::time::Timestamp;
    use nym_protocol::gateway::control::ClientControl;
    use nym_protocol::gateway::{Admission, AuthenticateRequest};

    let identity = std::sync::Arc::new(IdentityKeyPair::from_seed(&[1; 32]));
    let keys = SharedKeys::from_bytes(&[3; 32]);
    let mut session = GatewaySession::new(identity, Timestamp::ZERO);
    let request = AuthenticateRequest::with_iv(ALICE, &keys, [1; 16]).to_credentials();
    let text = ClientControl::Authenticate(request).to_text();
    session.handle_message(Timestamp::ZERO, text.into(), &mut nym_daemon::entropy());
    session.handle_lookup(Lookup::Known(keys));
    session.handle_admission(Admission::Online);
    session.seal_push(message).unwrap()
}

#[test]
fn everything_survives_a_restart() {
    let directory = directory();
    let mut store = with_alice(&directory, Quotas::default());
    assert!(store.use_iv(&ALICE, &[7; 16]).unwrap());
    put(&mut store, ALICE, &[b"one", b"two", b"three"]);
    take(&mut store);
    store.commit().unwrap();
    drop(store);

    let mut store = open(&directory, Quotas::default());
    let keys = store.shared_keys(&ALICE).unwrap().unwrap();
    assert_eq!(*keys.to_bytes(), [3; 32]);
    assert!(!store.use_iv(&ALICE, &[7; 16]).unwrap());
    assert_eq!(messages(&mut store), [b"two".to_vec(), b"three".to_vec()]);
    assert_eq!((store.clients[&ALICE].message_count, store.bytes), (2, 8));
}

#[test]
fn uncommitted_message_is_not_there_after_a_crash() {
    let directory = directory();
    let mut store = with_alice(&directory, Quotas::default());
    store.append(&ALICE, b"one").unwrap();
    drop(store);
    assert!(messages(&mut open(&directory, Quotas::default())).is_empty());
}

#[test]
fn stranger_has_neither_keys_nor_inbox() {
    let mut store = with_alice(&directory(), Quotas::default());
    assert!(store.shared_keys(&BOB).unwrap().is_none());
    assert!(!store.use_iv(&BOB, &[1; 16]).unwrap());
    assert!(matches!(
        store.append(&BOB, b"x"),
        Err(DepositError::UnknownClient)
    ));
}

#[test]
fn new_keys_replace_the_older_and_forget_the_ivs_but_not_the_messages() {
    let mut store = with_alice(&directory(), Quotas::default());
    assert!(store.use_iv(&ALICE, &[7; 16]).unwrap());
    put(&mut store, ALICE, &[b"one"]);
    store
        .store_keys(&ALICE, &SharedKeys::from_bytes(&[4; 32]))
        .unwrap();
    assert_eq!(
        *store.shared_keys(&ALICE).unwrap().unwrap().to_bytes(),
        [4; 32]
    );
    assert!(store.use_iv(&ALICE, &[7; 16]).unwrap());
    assert_eq!(messages(&mut store).len(), 1);
}

#[test]
fn oldest_iv_is_forgotten_beyond_the_bound() {
    let mut store = with_alice(&directory(), Quotas::default());
    store
        .database
        .execute_batch("PRAGMA synchronous = OFF")
        .unwrap();
    let iv = |number: usize| (number as u128).to_be_bytes();
    for number in 0..USED_IVS_MAX {
        assert!(store.use_iv(&ALICE, &iv(number)).unwrap());
    }
    assert!(!store.use_iv(&ALICE, &iv(0)).unwrap());
    assert!(store.use_iv(&ALICE, &iv(USED_IVS_MAX)).unwrap());
    assert!(store.use_iv(&ALICE, &iv(0)).unwrap());
    assert!(!store.use_iv(&ALICE, &iv(2)).unwrap());
}

#[test]
fn inbox_takes_as_much_as_its_quota_and_again_after_a_removal() {
    let count = Quotas {
        messages_per_client_max: 2,
        ..Quotas::default()
    };
    let bytes = Quotas {
        bytes_per_client_max: 5,
        ..Quotas::default()
    };
    let all = Quotas {
        bytes_max: 5,
        ..Quotas::default()
    };
    for (quotas, sent) in [
        (count, [b"".as_slice(), b"12", b"3"]),
        (bytes, [b"12", b"345", b"6"]),
        (all, [b"12", b"345", b"6"]),
    ] {
        let mut store = with_alice(&directory(), quotas);
        assert_eq!(put(&mut store, ALICE, &sent), 2);
        assert_eq!(put(&mut store, ALICE, &sent[2..]), 0);
        take(&mut store);
        assert_eq!(put(&mut store, ALICE, &sent[2..]), 1);
        assert_eq!(messages(&mut store), sent[1..]);
    }
}

#[test]
fn full_ledger_takes_no_new_client_but_new_keys() {
    let quotas = Quotas {
        clients_max: 1,
        ..Quotas::default()
    };
    let mut store = with_alice(&directory(), quotas);
    let keys = SharedKeys::from_bytes(&[4; 32]);
    assert!(matches!(
        store.store_keys(&BOB, &keys),
        Err(StoreError::LedgerFull)
    ));
    store.store_keys(&ALICE, &keys).unwrap();
}

#[test]
fn failed_commit_takes_the_counts_back() {
    let mut store = with_alice(&directory(), Quotas::default());
    store.append(&ALICE, b"one").unwrap();
    assert_eq!(store.bytes, 3);
    store.undo();
    assert_eq!(store.bytes, 0);
    assert_eq!(put(&mut store, ALICE, &[b"two"]), 1);
    assert_eq!(messages(&mut store), [b"two"]);
}

#[test]
fn nothing_counts_as_stored_after_sqlite_has_rolled_back_by_itself() {
    let mut store = with_alice(&directory(), Quotas::default());
    store.append(&ALICE, b"one").unwrap();
    // What SQLite does when the disk is full.
    store.database.execute_batch("ROLLBACK").unwrap();
    let batch = [(ALICE, b"two".as_slice())];
    let deposited = deposit(&mut store, batch);
    assert!(
        matches!(deposited, Err(StoreError::RolledBack)),
        "{deposited:?}"
    );
    assert!(messages(&mut store).is_empty());
    assert_eq!(store.bytes, 0);
    assert_eq!(put(&mut store, ALICE, &[b"three"]), 1);
    assert_eq!(messages(&mut store), [b"three"]);
}

#[test]
fn database_of_a_newer_program_is_left_alone() {
    let directory = directory();
    let store = open(&directory, Quotas::default());
    store
        .database
        .execute_batch("PRAGMA user_version = 2")
        .unwrap();
    drop(store);
    let path = directory.path().join("gateway.sqlite");
    let error = Store::open(&path, Quotas::default()).err().unwrap();
    assert!(
        error
            .to_string()
            .ends_with("has version 2, this program knows 1"),
        "{error}"
    );
}

#[test]
fn second_gateway_on_the_same_database_is_refused() {
    let directory = directory();
    let _first = with_alice(&directory, Quotas::default());
    let path = directory.path().join("gateway.sqlite");
    assert!(matches!(
        Store::open(&path, Quotas::default()),
        Err(StoreError::Open { .. })
    ));
}
