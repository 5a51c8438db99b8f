//! The store's socket: other processes' way to the database that this one owns.

use std::sync::Arc;

use ca_service::unix::UnixSocket;
use ca_store_socket::{Gate, Peers, Refusals, StoreServer};
use ca_store_sqlite::SqliteStore;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::run::wait;
use crate::config::{Config, User};
use crate::exit::configuration;
use crate::system::SystemClock;

/// Anyone may knock; the user at the other end decides.
const MODE: u32 = 0o666;

/// A bound socket, not served yet.
pub(super) struct StoreSocket {
    socket: UnixSocket,
    peers: Peers,
}

impl StoreSocket {
    /// Binds the socket that the configuration names; none where it names none.
    pub(super) async fn bind(config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(section) = &config.store.socket else { return Ok(None) };
        let uids = |users: &[User]| users.iter().map(User::uid).collect::<Result<Vec<u32>, String>>();
        let peers = uids(&section.acme).and_then(|acme| Peers::new(acme, uids(&section.responder)?));
        let peers = peers.map_err(|e| configuration(format!("store.socket: {e}")))?;
        Ok(Some(Self { socket: UnixSocket::bind(&section.path, MODE, "store.socket.path").await?, peers }))
    }

    /// Serves `store` until `stopped`. Gives the counters of refusals, and the gate that is closed where the store can't be
    /// believed.
    pub(super) fn serve(
        self,
        store: &SqliteStore,
        stopped: &watch::Receiver<bool>,
        tasks: &mut JoinSet<anyhow::Result<()>>,
    ) -> (Arc<Refusals>, Arc<Gate>) {
        let server = StoreServer::new(Arc::new(store.clone()), Arc::new(SystemClock), self.peers);
        let handles = (server.refusals(), server.gate());
        let stopping = wait(stopped.clone());
        let (listener, file) = self.socket.into_parts();
        tasks.spawn(async move {
            server.serve(listener, stopping).await;
            drop(file);
            Ok(())
        });
        handles
    }
}
