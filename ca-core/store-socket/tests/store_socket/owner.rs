//! A process that owns a store, as far as its clients can tell.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ca_core::ports::WorkerStore;
use ca_store_socket::{Gate, Peers, Refusals, Role, StoreServer};
use ca_testkit::FakeClock;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server on a socket, for as long as this lives.
pub(crate) struct Owner {
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) path: PathBuf,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

/// The user that the tests run as.
pub(crate) fn own_uid(folder: &Path) -> u32 {
    std::fs::metadata(folder).unwrap().uid()
}

/// The tests' own user in this role, and nobody else in any.
pub(crate) fn alone(folder: &Path, role: Role) -> Peers {
    let uid = own_uid(folder);
    match role {
        Role::Acme => Peers::new(vec![uid], vec![]),
        Role::Responder => Peers::new(vec![], vec![uid]),
    }
    .unwrap()
}

impl Owner {
    pub(crate) fn start(path: PathBuf, store: Arc<dyn WorkerStore>, peers: Peers) -> Self {
        if path.exists() {
            std::fs::remove_file(&path).unwrap();
        }
        let listener = UnixListener::bind(&path).unwrap();
        let clock = Arc::new(FakeClock::default());
        let server = StoreServer::new(store, clock.clone(), peers);
        let (refusals, gate) = (server.refusals(), server.gate());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server.serve(listener, async {
            let _ = stopped.await;
        }));
        Self { refusals, gate, clock, path, stop, serving }
    }

    /// Ends it with everything that it holds of the store.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
    }
}
