use std::cell::Cell;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ca_core::model::{
    AccountStatus, AuditEntry, Authority, CrossCertificate, Fault, GrantId, GrantStatus, Problem, ProblemType, RequestId,
};
use ca_core::ports::{AcmeStore as _, AdminStore as _, CertificateStore as _, StoreError, StoreResult, WorkerStore};
use ca_testkit::SeededRng;
use ca_testkit::store::{StoreFactory, World, at, audit};
use tempfile::TempDir;

use super::{MOST, Memory};
use crate::SqliteStore;

/// Reads the row of `key`: the same number.
fn read(key: u32, reads: &Cell<u32>) -> StoreResult<Option<(i64, u32)>> {
    reads.set(reads.get() + 1);
    Ok(Some((key.into(), reads.get())))
}

#[test]
fn what_is_remembered_is_read_once_until_its_own_row_changes() {
    let (memory, reads) = (Memory::<u32, u32>::default(), Cell::new(0));
    let get = |key| memory.get_or(&key, || read(key, &reads)).unwrap().unwrap();
    assert_eq!([get(7), get(8), get(7), get(8)], [1, 2, 1, 2]);
    memory.touch(7);
    assert_eq!(get(7), 1, "not durable yet");
    memory.drop_touched();
    assert_eq!([get(7), get(8)], [3, 2]);
    memory.drop_touched();
    assert_eq!([get(7), get(8)], [3, 2]);
}

#[test]
fn what_was_read_before_a_change_is_not_remembered_after_it() {
    let (memory, reads) = (Memory::<u32, u32>::default(), Cell::new(0));
    let slow = || {
        let value = read(7, &reads);
        memory.touch(7);
        memory.drop_touched();
        value
    };
    assert_eq!(memory.get_or(&7, slow).unwrap(), Some(1));
    assert_eq!(memory.get_or(&7, || read(7, &reads)).unwrap(), Some(2));
    // Read before the change, remembered before it is told: dropped with it.
    memory.touch(7);
    assert_eq!(memory.get_or(&7, || read(7, &reads)).unwrap(), Some(2));
    memory.drop_touched();
    assert_eq!(memory.get_or(&7, || read(7, &reads)).unwrap(), Some(3));
}

#[test]
fn a_number_that_another_row_has_later_drops_the_later_one() {
    let memory = Memory::<u32, u32>::default();
    memory.get_or(&1, || Ok(Some((5, 1)))).unwrap();
    memory.touch(5);
    memory.drop_touched();
    memory.get_or(&2, || Ok(Some((5, 2)))).unwrap();
    memory.touch(5);
    memory.drop_touched();
    assert_eq!(memory.get_or(&2, || Ok(None)).unwrap(), None);
}

#[test]
fn nothing_is_remembered_of_what_is_missing_and_no_more_than_its_bound() {
    let memory = Memory::<u32, u32>::default();
    assert_eq!(memory.get_or(&0, || Ok(None)).unwrap(), None);
    for key in 0..=MOST as u32 {
        memory.get_or(&key, || Ok(Some((key.into(), key)))).unwrap();
    }
    let inner = memory.lock();
    assert!(inner.known.len() <= MOST && inner.rows.len() == inner.known.len());
}

#[test]
fn more_changes_than_are_told_apart_drop_everything() {
    let (memory, reads) = (Memory::<u32, u32>::default(), Cell::new(0));
    let get = || memory.get_or(&7, || read(7, &reads)).unwrap();
    assert_eq!(get(), Some(1));
    for row in 0..=MOST as i64 + 8 {
        memory.touch(1000 + row);
    }
    assert!(memory.lock().touched.is_none());
    memory.drop_touched();
    assert_eq!(get(), Some(2));
    memory.touch(1000);
    memory.drop_touched();
    assert_eq!(get(), Some(2), "told apart again");
}

/// A store in a folder of its own, which the factory can be asked for.
#[derive(Default)]
struct Sqlite(Mutex<Option<(SqliteStore, TempDir)>>);

#[async_trait]
impl StoreFactory for Sqlite {
    async fn open(&self) -> Arc<dyn WorkerStore> {
        let folder = TempDir::new().unwrap();
        let store = SqliteStore::open(folder.path().join("db"), Arc::new(SeededRng::new(1))).await.unwrap();
        *self.0.lock().unwrap() = Some((store.clone(), folder));
        Arc::new(store)
    }

    async fn reopen(&self, store: Arc<dyn WorkerStore>) -> Arc<dyn WorkerStore> {
        store
    }
}

async fn world(factory: &Sqlite) -> (World, SqliteStore) {
    let world = World::new(factory).await;
    let store = factory.0.lock().unwrap().as_ref().unwrap().0.clone();
    (world, store)
}

#[tokio::test]
async fn a_change_of_an_account_drops_that_account_alone() {
    let factory = Sqlite::default();
    let (world, store) = world(&factory).await;
    let [changed, other] = [world.account("k1").await.account.id, world.account("k2").await.account.id];
    let grant: GrantId = "grant-1".parse().unwrap();
    let remember = async || {
        store.account(&changed).await.unwrap().unwrap();
        store.account(&other).await.unwrap().unwrap();
        store.grant(&grant).await.unwrap().unwrap();
    };
    // Which of the two accounts and the grant are remembered.
    let known = || {
        let (accounts, grants) = (store.remembered.accounts.lock(), store.remembered.grants.lock());
        [accounts.known.contains_key(&changed), accounts.known.contains_key(&other), grants.known.contains_key(&grant)]
    };
    assert_eq!(known(), [false; 3], "nothing was read yet");
    remember().await;
    assert_eq!(known(), [true; 3]);

    // A new account is a row that nobody remembers.
    let pending = world.new_account("k3", "grant-1");
    store.queue_account(&pending, &audit("account.queue")).await.unwrap();
    assert_eq!(known(), [true; 3]);

    let contact = ["mailto:b@demo.test".to_owned()];
    store.update_contact(&changed, &contact, &audit("account.update")).await.unwrap();
    assert_eq!(known(), [false, true, true]);
    assert_eq!(store.account(&changed).await.unwrap().unwrap().contact, contact);

    world.change_key(&changed, "k1", "another").await.unwrap();
    assert_eq!(known(), [false, true, true]);
    assert_eq!(store.account(&changed).await.unwrap().unwrap().thumbprint, World::thumbprint("another"));

    // Accepted and refused: the worker's changes.
    store.account(&pending.account.id).await.unwrap().unwrap();
    let request = RequestId::for_account(&pending.account.id);
    let leased = world.lease_one(&request, 1, 60).await;
    let problem = Problem::new(ProblemType::Unauthorized, "no");
    world.store.refuse_request(&request, &leased.lease, Fault::of(problem.kind), &problem, &audit("account.refuse")).await.unwrap();
    assert_eq!(store.account(&pending.account.id).await.unwrap(), None, "deleted");
    assert_eq!(known(), [true; 3]);
    let accepted = world.account("k4").await.account.id;
    assert_eq!(known(), [true, true, false], "the grant counts its accounts");
    assert_eq!(store.grant(&grant).await.unwrap().unwrap().accounts, 3);

    store.account(&accepted).await.unwrap().unwrap();
    store.deactivate_account(&changed, &audit("account.deactivate")).await.unwrap();
    assert_eq!(known(), [false, true, true]);
    assert!(store.remembered.accounts.lock().known.contains_key(&accepted));

    remember().await;
    store.revoke_grant(&grant, &audit("grant.revoke")).await.unwrap();
    assert_eq!(known(), [true, false, false], "a deactivated account stays as it is");
    assert_eq!(store.grant(&grant).await.unwrap().unwrap().status, GrantStatus::Revoked);
    assert_eq!(store.account(&other).await.unwrap().unwrap().status, AccountStatus::Revoked);
}

#[tokio::test]
async fn a_change_of_a_grant_drops_that_grant_alone() {
    let factory = Sqlite::default();
    let (_world, store) = world(&factory).await;
    let second = World::grant("grant-2", None);
    store.grant(&"grant-1".parse().unwrap()).await.unwrap().unwrap();
    store.put_grant(&second, &audit("grant.create")).await.unwrap();
    let known = || store.remembered.grants.lock().known.len();
    assert_eq!(known(), 1);
    store.grant(&second.grant.id).await.unwrap().unwrap();
    assert_eq!(known(), 2);
    store.suspend_grant(&second.grant.id, true, &audit("grant.suspend")).await.unwrap();
    assert_eq!(known(), 1);
    assert_eq!(store.grant(&second.grant.id).await.unwrap().unwrap().status, GrantStatus::Suspended);
}

#[tokio::test]
async fn lists_are_dropped_by_each_row_of_theirs_that_comes_changes_or_goes() {
    let factory = Sqlite::default();
    let (world, store) = world(&factory).await;
    let lists = async || (store.authorities().await.unwrap().len(), store.cross_certificates().await.unwrap().len());
    let known = || (store.remembered.authorities.lock().known.len(), store.remembered.crosses.lock().known.len());
    assert_eq!((lists().await, known()), ((2, 0), (1, 1)), "an empty list is remembered too");
    world.account("k1").await;
    assert_eq!(known(), (1, 1));

    let third = Authority { name: "third".parse().unwrap(), is_default: false, ..World::authorities()[0].clone() };
    store.import_authorities(&[third], &[], &audit("authority.import")).await.unwrap();
    assert_eq!((known(), lists().await), ((0, 1), (3, 0)));

    let cross = CrossCertificate {
        number: 0,
        authority: World::authority(),
        issuer: "CN=Other".to_owned(),
        certificate: b"cross-certificate".to_vec(),
        not_after: at(100),
    };
    store.import_cross_certificates(&[cross], &audit("cross.import")).await.unwrap();
    assert_eq!((known(), lists().await), ((1, 0), (3, 1)));
    let later = AuditEntry { at: at(101), ..audit("cross.import") };
    store.import_cross_certificates(&[], &later).await.unwrap();
    assert_eq!((known(), lists().await), ((1, 0), (3, 0)), "expired ones go");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn whoever_reads_meanwhile_whatever_was_answered_is_read() {
    let factory = Sqlite::default();
    let (world, store) = world(&factory).await;
    let id = world.account("k1").await.account.id;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (store, id) = (store.clone(), id.clone());
        readers.spawn(async move {
            loop {
                store.account(&id).await.unwrap().unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    for round in 0..200 {
        let contact = [format!("mailto:{round}@demo.test")];
        store.update_contact(&id, &contact, &audit("account.update")).await.unwrap();
        assert_eq!(store.account(&id).await.unwrap().unwrap().contact, contact);
    }
    readers.abort_all();
}

#[tokio::test]
async fn what_a_failed_command_changed_is_as_it_was() {
    let factory = Sqlite::default();
    let (world, store) = world(&factory).await;
    let id = world.account("k1").await.account.id;
    let before = store.account(&id).await.unwrap();
    let text = id.to_string();
    let fails = move |tx: &mut crate::Tx| -> StoreResult<()> {
        crate::execute!(&tx.connection, "UPDATE accounts SET contact = $2 WHERE id = $1 AND status = 'valid'", text, "[]")?;
        Err(StoreError::Fenced)
    };
    store.write(fails).await.unwrap_err();
    assert_eq!(store.account(&id).await.unwrap(), before);
}

/// What the head of `remembered.rs` asks of the tables and of the statements.
#[tokio::test]
async fn sqlite_tells_of_every_change_to_what_is_remembered() {
    const TABLES: [&str; 4] = ["accounts", "grants", "authorities", "cross_certificates"];
    let factory = Sqlite::default();
    let (_world, store) = world(&factory).await;
    let has_row_numbers = |table: &str| {
        let sql = "SELECT NOT wr FROM pragma_table_list WHERE name = ?1 AND type = 'table'";
        store.readers.look(|c| c.query_one(sql, [table], |row| row.get::<_, bool>(0)).map_err(crate::from_sqlite)).unwrap()
    };
    assert!(!has_row_numbers("jobs") && TABLES.iter().all(|table| has_row_numbers(table)));

    let mut deletes = 0;
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx")).unwrap() {
        let data: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        let words: Vec<&str> = data["query"].as_str().unwrap().split_whitespace().collect();
        assert!(!words.contains(&"REPLACE"), "{words:?}");
        if words[0] == "DELETE" && TABLES.contains(&words[2]) {
            deletes += 1;
            assert_eq!(words[3], "WHERE", "{words:?}");
        }
    }
    assert_eq!(deletes, 2);
}
