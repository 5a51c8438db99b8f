//! Connections that only read: for short looks in the caller's own thread, for long ones in a thread for such.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ca_core::ports::{StoreError, StoreResult};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::error::from_sqlite;
use crate::keep_statements;

/// How many connections are kept for the next read.
const KEPT: usize = 8;

/// How many long reads run at once; others wait.
const LONG: usize = 4;

/// How long a read waits for a lock that another process should not hold.
const BUSY: Duration = Duration::from_secs(5);

/// The read side of the file.
#[derive(Clone)]
pub(crate) struct Readers(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// Nothing once closed.
    idle: Mutex<Option<Vec<Connection>>>,
    long: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn new(path: &Path) -> Self {
        Self(Arc::new(Inner { path: path.to_owned(), idle: Mutex::new(Some(Vec::new())), long: Arc::new(Semaphore::new(LONG)) }))
    }

    /// A look at a few rows by their keys, in the caller's own thread: it takes microseconds.
    pub(crate) fn look<T>(&self, read: impl FnOnce(&Connection) -> StoreResult<T>) -> StoreResult<T> {
        let connection = self.take()?;
        let found = read(&connection);
        self.put(connection);
        found
    }

    /// A read of many rows.
    pub(crate) async fn list<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let turn = Arc::clone(&self.0.long).acquire_owned().await.map_err(|_| closed())?;
        let readers = self.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let found = readers.look(read);
            drop(turn);
            found
        });
        reading.await.map_err(|error| StoreError::Unavailable(format!("the read did not end: {error}")))?
    }

    /// Frees the file once the reads under way have ended; others fail.
    pub(crate) async fn close(&self) {
        self.lock().take();
        // An error means that it was closed before.
        let _ = self.0.long.acquire_many(LONG as u32).await;
        self.0.long.close();
    }

    fn take(&self) -> StoreResult<Connection> {
        let kept = self.lock().as_mut().ok_or_else(closed)?.pop();
        kept.map_or_else(|| self.open(), Ok)
    }

    fn put(&self, connection: Connection) {
        if let Some(idle) = self.lock().as_mut()
            && idle.len() < KEPT
        {
            idle.push(connection);
        }
    }

    fn open(&self) -> StoreResult<Connection> {
        let open = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&self.0.path, flags)?;
            connection.busy_timeout(BUSY)?;
            keep_statements(&connection)?;
            Ok(connection)
        };
        open().map_err(from_sqlite)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Vec<Connection>>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}
