//! The store conformance suite on SQLite, and what is SQLite's own: who owns the file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ca_core::ports::{AuditStore as _, StoreError, WorkerStore};
use ca_store_sqlite::SqliteStore;
use ca_testkit::SeededRng;
use ca_testkit::store::{StoreFactory, audit};
use tempfile::TempDir;

/// Each factory has one folder.
struct Sqlite {
    folder: TempDir,
    /// The store itself, to be closed: a trait object has no way to.
    open: Mutex<Option<SqliteStore>>,
}

impl Sqlite {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), open: Mutex::new(None) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }
}

#[async_trait]
impl StoreFactory for Sqlite {
    async fn open(&self) -> Arc<dyn WorkerStore> {
        let store = SqliteStore::open(self.path(), Arc::new(SeededRng::new(1))).await.unwrap();
        *self.open.lock().unwrap() = Some(store.clone());
        Arc::new(store)
    }

    async fn reopen(&self, store: Arc<dyn WorkerStore>) -> Arc<dyn WorkerStore> {
        drop(store);
        // Not closed: dropped, as at the end of a process.
        drop(self.open.lock().unwrap().take());
        self.open().await
    }
}

ca_testkit::store_conformance!(Sqlite::new());

#[tokio::test]
async fn a_second_owner_is_turned_away() {
    let factory = Sqlite::new();
    let rng = Arc::new(SeededRng::new(1));
    let first = SqliteStore::open(factory.path(), rng.clone()).await.unwrap();
    let second = SqliteStore::open(factory.path(), rng.clone()).await;
    let Err(StoreError::Unavailable(text)) = second else { panic!("expected the store to be in use, got {second:?}") };
    assert!(text.contains("another process holds") && text.contains("hint:"), "{text}");

    first.append_audit(&audit("x")).await.unwrap();
    let instance = first.instance().to_owned();
    first.close().await;
    assert!(matches!(first.append_audit(&audit("x")).await, Err(StoreError::Unavailable(_))), "a closed store says so");
    let third = SqliteStore::open(factory.path(), rng).await.unwrap();
    assert_eq!(third.instance(), instance);
    assert_eq!(third.audit_after(0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let factory = Sqlite::new();
    std::fs::write(factory.path(), [b'x'; 4096]).unwrap();
    let opened = SqliteStore::open(factory.path(), Arc::new(SeededRng::new(1))).await;
    assert!(matches!(opened, Err(StoreError::Damaged(_))), "{opened:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_belong_to_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let factory = Sqlite::new();
    let store = factory.open().await;
    store.append_audit(&audit("x")).await.unwrap();
    for entry in std::fs::read_dir(factory.folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.file_name());
    }
}
