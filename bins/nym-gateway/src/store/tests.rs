use nym_protocol::gateway::mailbox::{Batch, DepositError, Mailbox, MailboxLimits, Reading, Work};
use nym_protocol::gateway::{ConnectionId, Inbox as _};
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
    let mut next = store.last_id().unwrap();
    let mut batch = Batch::open(store);
    for message in messages {
        next = next.next();
        batch.append(&client, next, message);
    }
    let outcomes = batch.commit().unwrap();
    outcomes.into_iter().filter(Result::is_ok).count()
}

const ALL: Reading = Reading {
    after: MessageId(0),
    before: MessageId::MAX,
};

fn messages(store: &mut Store) -> Vec<Vec<u8>> {
    store
        .read(&ALICE, ALL, 100)
        .unwrap()
        .into_iter()
        .map(|stored| stored.message)
        .collect()
}

/// Removes the oldest message of Alice as if she had it.
fn take(store: &mut Store) {
    let (connection, limits) = (ConnectionId(1), MailboxLimits::default());
    let mut mailbox = Mailbox::default();
    mailbox.handle_login(connection);
    let Work::Read(part) = mailbox.poll_work(connection, &limits) else {
        panic!("a login reads the inbox");
    };
    let oldest = store.read(&ALICE, part, 1).unwrap().remove(0);
    let ping = mailbox.handle_read(connection, part, Some(oldest.id));
    let taken = mailbox.handle_pong(connection, ping.unwrap()).unwrap();
    store.remove(&ALICE, &taken.proof).unwrap();
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
    store.append(&ALICE, MessageId(1), b"one").unwrap();
    drop(store);
    assert!(messages(&mut open(&directory, Quotas::default())).is_empty());
}

#[test]
fn stranger_has_neither_keys_nor_inbox() {
    let mut store = with_alice(&directory(), Quotas::default());
    assert!(store.shared_keys(&BOB).unwrap().is_none());
    assert!(!store.use_iv(&BOB, &[1; 16]).unwrap());
    assert!(matches!(
        store.append(&BOB, MessageId(1), b"x"),
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
    store.append(&ALICE, MessageId(1), b"one").unwrap();
    assert_eq!(store.bytes, 3);
    store.undo();
    assert_eq!(store.bytes, 0);
    assert_eq!(put(&mut store, ALICE, &[b"two"]), 1);
    assert_eq!(messages(&mut store), [b"two"]);
}

#[test]
fn nothing_counts_as_stored_after_sqlite_has_rolled_back_by_itself() {
    let mut store = with_alice(&directory(), Quotas::default());
    store.append(&ALICE, MessageId(1), b"one").unwrap();
    // What SQLite does when the disk is full.
    store.database.execute_batch("ROLLBACK").unwrap();
    let mut batch = Batch::open(&mut store);
    batch.append(&ALICE, MessageId(2), b"two");
    let committed = batch.commit();
    assert!(
        matches!(committed, Err(StoreError::RolledBack)),
        "{committed:?}"
    );
    assert!(messages(&mut store).is_empty());
    assert_eq!(store.bytes, 0);
    assert_eq!(put(&mut store, ALICE, &[b"three"]), 1);
    assert_eq!(messages(&mut store), [b"three"]);
}

#[test]
fn one_change_that_fails_fails_the_commit_with_its_reason() {
    let mut store = with_alice(&directory(), Quotas::default());
    put(&mut store, ALICE, &[b"one"]);
    let mut batch = Batch::open(&mut store);
    batch.append(&ALICE, MessageId(2), b"two");
    batch.append(&ALICE, MessageId(2), b"the same number again");
    batch.append(&ALICE, MessageId(3), b"three");
    let committed = batch.commit();
    assert!(
        matches!(&committed, Err(StoreError::Sqlite(error)) if error.to_string().contains("UNIQUE")),
        "{committed:?}"
    );
    assert_eq!(messages(&mut store), [b"one"]);
    assert_eq!((store.clients[&ALICE].message_count, store.bytes), (1, 3));
}

#[test]
fn messages_are_read_in_the_order_of_their_arrival_whatever_that_of_their_commits() {
    let mut store = with_alice(&directory(), Quotas::default());
    for id in [3, 1, 2] {
        let mut batch = Batch::open(&mut store);
        batch.append(&ALICE, MessageId(id), &[u8::try_from(id).unwrap()]);
        assert!(batch.commit().unwrap().remove(0).is_ok());
    }
    assert_eq!(messages(&mut store), [[1], [2], [3]]);
    let part = Reading {
        after: MessageId(1),
        before: MessageId(3),
    };
    let read = store.read(&ALICE, part, 10).unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].id, MessageId(2));
    assert_eq!(store.last_id().unwrap(), MessageId(3));
}

#[test]
fn oldest_messages_make_room_only_where_the_operator_says_so() {
    let quotas = Quotas {
        messages_per_client_max: 2,
        bytes_per_client_max: 6,
        when_full: WhenFull::DropOldest,
        ..Quotas::default()
    };
    let mut store = with_alice(&directory(), quotas);
    assert_eq!(put(&mut store, ALICE, &[b"1", b"2", b"3"]), 3);
    assert_eq!(messages(&mut store), [b"2", b"3"]);
    assert_eq!(store.take_losses().displaced_count, 1);
    assert_eq!(put(&mut store, ALICE, &[b"1234567"]), 0, "longer than all");
    assert_eq!(put(&mut store, ALICE, &[b"123456"]), 1);
    assert_eq!(messages(&mut store), [b"123456"]);
    assert_eq!((store.clients[&ALICE].message_count, store.bytes), (1, 6));
}

#[test]
fn message_expires_after_its_time_of_service_and_not_before() {
    let quotas = Quotas {
        age_max: Some(Duration::from_secs(3600)),
        ..Quotas::default()
    };
    let directory = directory();
    let mut store = with_alice(&directory, quotas);
    put(&mut store, ALICE, &[b"one"]);
    store.service.earlier_secs += 1800;
    put(&mut store, ALICE, &[b"two"]);
    for (secs, left) in [(1800, 2), (1, 1)] {
        store.service.earlier_secs += secs;
        store.service.expire_at_secs = 0;
        store.expire().unwrap();
        store.commit().unwrap();
        assert_eq!(messages(&mut store).len(), left, "{secs} s later");
    }
    assert_eq!(messages(&mut store), [b"two"]);
    assert_eq!(store.take_losses().expired_count, 1);
    assert_eq!((store.clients[&ALICE].message_count, store.bytes), (1, 3));
    // The time of service is written down with a commit, by the minute.
    let secs = store.service.now_secs();
    put(&mut store, ALICE, &[b"three"]);
    drop(store);
    let store = open(&directory, quotas);
    assert!((secs..secs + 60).contains(&store.service.earlier_secs));
}

#[test]
fn full_disk_fails_the_commit_and_works_again_when_there_is_room() {
    let mut store = with_alice(&directory(), Quotas::default());
    put(&mut store, ALICE, &[b"before"]);
    // The same error as from a file system without room, SQLITE_FULL.
    let pages: u32 = store
        .database
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    let limit = |store: &Store, pages: u32| {
        let pragma = format!("PRAGMA max_page_count = {pages}");
        let set: u32 = store
            .database
            .query_row(&pragma, [], |row| row.get(0))
            .unwrap();
        assert_eq!(set, pages);
    };
    limit(&store, pages + 2);
    let mut batch = Batch::open(&mut store);
    for id in 2..10 {
        batch.append(&ALICE, MessageId(id), &[0; 4000]);
    }
    let committed = batch.commit();
    assert!(
        matches!(&committed, Err(StoreError::Sqlite(error)) if error.to_string().contains("full")),
        "{committed:?}"
    );
    assert_eq!(messages(&mut store), [b"before"]);
    limit(&store, 1_000_000);
    assert_eq!(put(&mut store, ALICE, &[b"after"]), 1);
    assert_eq!(
        messages(&mut store),
        [b"before".to_vec(), b"after".to_vec()]
    );
}

#[test]
fn damaged_page_is_told_from_a_failure_that_passes() {
    let directory = directory();
    let mut store = with_alice(&directory, Quotas::default());
    for _ in 0..100 {
        put(&mut store, ALICE, &[&[7; 2000]]);
    }
    drop(store);
    let path = directory.path().join("gateway.sqlite");
    let mut file = std::fs::read(&path).unwrap();
    for byte in &mut file[4096..] {
        *byte = 0xff;
    }
    std::fs::write(&path, file).unwrap();
    let error = Store::open(&path, Quotas::default()).err().unwrap();
    assert!(error.is_damage(), "{error}");
    std::fs::write(&path, [b'x'; 8192]).unwrap();
    let error = Store::open(&path, Quotas::default()).err().unwrap();
    assert!(error.is_damage(), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), [b'x'; 8192], "left alone");
}

#[test]
fn database_of_version_1_keeps_its_messages() {
    let directory = directory();
    let path = directory.path().join("gateway.sqlite");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "CREATE TABLE clients (id INTEGER PRIMARY KEY, address BLOB NOT NULL UNIQUE,
                               keys BLOB NOT NULL) STRICT;
         CREATE TABLE used_ivs (id INTEGER PRIMARY KEY, client INTEGER NOT NULL, iv BLOB NOT NULL,
                                UNIQUE (client, iv)) STRICT;
         CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, client INTEGER NOT NULL,
                                message BLOB NOT NULL) STRICT;
         CREATE INDEX messages_of_client ON messages (client, id);
         PRAGMA user_version = 1;",
    )
    .unwrap();
    old.execute(
        "INSERT INTO clients VALUES (1, ?1, ?2)",
        params![ALICE.as_bytes(), [3_u8; 32]],
    )
    .unwrap();
    old.execute("INSERT INTO messages VALUES (5, 1, ?1)", [b"one"])
        .unwrap();
    drop(old);
    let mut store = open(&directory, Quotas::default());
    assert_eq!(messages(&mut store), [b"one"]);
    assert_eq!(put(&mut store, ALICE, &[b"two"]), 1);
    assert_eq!(messages(&mut store), [b"one", b"two"]);
}

#[test]
fn operator_sees_and_removes_clients_beside_a_running_gateway() {
    let directory = directory();
    let path = directory.path().join("gateway.sqlite");
    assert!(matches!(
        Inspector::open(&path),
        Err(StoreError::Missing { .. })
    ));
    let mut store = with_alice(&directory, Quotas::default());
    store
        .store_keys(&BOB, &SharedKeys::from_bytes(&[4; 32]))
        .unwrap();
    put(&mut store, ALICE, &[b"one", b"two"]);
    put(&mut store, BOB, &[b"three"]);

    let mut inspector = Inspector::open(&path).unwrap();
    let stats = inspector.stats().unwrap();
    assert_eq!(
        (
            stats.clients,
            stats.clients_with_messages,
            stats.messages,
            stats.bytes
        ),
        (2, 2, 3, 11)
    );
    assert_eq!(inspector.clients().unwrap()[0].messages, 2);
    assert_eq!(inspector.remove(&ALICE).unwrap(), Some(2));
    assert_eq!(inspector.remove(&ALICE).unwrap(), None);

    // The gateway takes note.
    assert!(store.shared_keys(&ALICE).unwrap().is_none());
    assert_eq!(put(&mut store, ALICE, &[b"four"]), 0);
    assert_eq!(put(&mut store, BOB, &[b"five"]), 1);
    assert_eq!(store.bytes, 9);
    assert_eq!(inspector.stats().unwrap().messages, 2);
}

#[test]
fn database_of_a_newer_program_is_left_alone() {
    let directory = directory();
    let store = open(&directory, Quotas::default());
    store
        .database
        .execute_batch("PRAGMA user_version = 3")
        .unwrap();
    drop(store);
    let path = directory.path().join("gateway.sqlite");
    let error = Store::open(&path, Quotas::default()).err().unwrap();
    assert!(
        error
            .to_string()
            .ends_with("has version 3, this program knows 2"),
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
        Err(StoreError::InUse { .. })
    ));
}
