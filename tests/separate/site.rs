//! A production host in a folder: a rehearsed CA whose parts run as three processes under three users.

// With their paths, for the benchmark has this file by its path.
#[path = "site/clients.rs"]
mod clients;
#[path = "site/processes.rs"]
pub(crate) mod processes;
#[path = "site/replicas.rs"]
mod replicas;
#[path = "site/setup.rs"]
mod setup;
#[path = "site/user.rs"]
mod user;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Child;

use tempfile::TempDir;

use crate::harness::free_port;

pub(crate) use user::User;

pub(crate) struct Site {
    folder: TempDir,
    /// The port of the ACME URL.
    acme_port: u16,
    fronts: Vec<Front>,
    status_port: u16,
    facts: BTreeMap<String, String>,
    processes: BTreeMap<User, Child>,
    /// `ca serve` as root, which has the others as its children.
    parent: Option<Child>,
}

/// An ACME server.
struct Front {
    user: User,
    /// Whom the worker sees at the other end of its connection.
    seen_as: User,
    /// Its store socket, below the site's folder.
    store: &'static str,
    /// Where it listens for clients.
    port: u16,
    /// Where it listens for its replicas.
    for_replicas: u16,
}

impl Front {
    /// One that connects to the worker's own socket.
    fn of(user: User, port: u16) -> Self {
        Self { user, seen_as: user, store: "run/store.sock", port, for_replicas: free_port() }
    }
}

impl Site {
    pub(crate) fn store_socket(&self) -> PathBuf {
        self.path("run/store.sock")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn acme_port(&self) -> u16 {
        self.acme_port
    }

    pub(crate) fn fact(&self, name: &str) -> &str {
        &self.facts[name]
    }

    fn log_path(&self, user: User) -> PathBuf {
        self.path(&format!("logs/{}.log", user.folder()))
    }

    pub(crate) fn log(&self, user: User) -> String {
        std::fs::read_to_string(self.log_path(user)).unwrap_or_default()
    }
}
