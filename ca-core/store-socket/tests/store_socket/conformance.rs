//! The suite that every store passes, with the front end's and the responder's commands crossing a socket.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use ca_core::ports::WorkerStore;
use ca_store_socket::{Role, SocketStore};
use ca_store_sqlite::SqliteStore;
use ca_testkit::SeededRng;
use ca_testkit::store::StoreFactory;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::joined::Joined;
use crate::owner::{Owner, alone};

/// Each factory has one folder.
struct Sockets {
    folder: TempDir,
    owners: Mutex<Vec<Owner>>,
}

impl Sockets {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), owners: Mutex::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[async_trait]
impl StoreFactory for Sockets {
    async fn open(&self) -> Arc<dyn WorkerStore> {
        let sqlite = Arc::new(SqliteStore::open(self.path("store.db"), Arc::new(SeededRng::new(1))).await.unwrap());
        let mut owners = self.owners.lock().await;
        let mut client = |role: Role| {
            let path = self.path(&format!("{role}.sock"));
            let owner = Owner::start(path.clone(), sqlite.clone(), alone(self.folder.path(), role));
            let clock = owner.clock.clone();
            owners.push(owner);
            (SocketStore::connect(path, role), clock)
        };
        let ((acme, clock), (responder, _)) = (client(Role::Acme), client(Role::Responder));
        Arc::new(Joined { acme, clock, responder, owner: sqlite })
    }

    async fn reopen(&self, store: Arc<dyn WorkerStore>) -> Arc<dyn WorkerStore> {
        drop(store);
        for owner in self.owners.lock().await.drain(..) {
            owner.stop().await;
        }
        self.open().await
    }
}

ca_testkit::store_conformance!(Sockets::new());
