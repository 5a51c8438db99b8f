//! The embedded store: SQLite behind one writer.
//!
//! [`SqliteStore`] implements every trait of [`ca_core::ports`]'s storage. One process owns the file; in it, one thread
//! owns the only connection that writes, and commits many waiting commands with one fsync (see `writer.rs`). Reads
//! have read-only connections (`readers.rs`), and see every write that was answered before they began.
//!
//! Each file holds one role: what is said on the traits of `ca_core::ports` is not repeated here. The SQL is checked
//! against the migrations at compile time, from the data in `.sqlx` (`sql.rs`; refresh it with `prepare.sh`).

mod accounts;
mod acme;
mod admin;
mod approvals;
mod audit;
mod authorities;
mod authorizations;
mod blocked_keys;
mod certificates;
mod compromises;
mod convert;
mod crls;
mod cross;
mod error;
mod evidence;
mod grant_use;
mod issuance;
mod jobs;
mod lock;
mod numbers;
mod orders;
mod prune;
mod readers;
mod release;
mod remembered;
mod replacements;
mod requests;
mod revocation;
mod shares;
mod sql;
mod standing;
mod star;
mod validations;
mod wake;
mod writer;

pub use numbers::{MOST_COUNTED, StoreNumbers};

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ca_core::pki::hex;
use ca_core::ports::{Rng, StoreError, StoreResult};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{Connection as _, SqliteConnection};

use crate::error::{from_migrate, from_sqlite, from_sqlx};
use crate::readers::Readers;
use crate::remembered::Remembered;
use crate::shares::Shares;
use crate::sql::{execute, one};
use crate::wake::Wakers;
use crate::writer::{Tx, Writer};

/// After how many pages of 4 KiB in the write-ahead log they are copied into the file: pages that are written again and
/// again are copied once. A start after a crash reads as many.
const CHECKPOINT: u32 = 4000;

/// How many prepared statements a connection keeps: more than there are.
const STATEMENTS: usize = 256;

/// The most rows that one call lists, whatever it asks for.
const MAX_LIST: u32 = 10_000;

/// The embedded store. Clones share the writer; when the last one is gone, or after [`SqliteStore::close`], the file
/// is free for another process.
#[derive(Clone)]
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    wakers: Arc<Wakers>,
    remembered: Arc<Remembered>,
    instance: Arc<str>,
    shares: Arc<Shares>,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it when it is missing, brings its schema up to date and voids the leases
    /// of earlier processes. Must be called within a tokio runtime with time enabled. What it costs does not depend
    /// on the number of certificates.
    ///
    /// # Errors
    /// When another process has the file, when it cannot be opened, or when a newer version wrote it.
    pub async fn open(path: impl AsRef<Path>, rng: Arc<dyn Rng>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let lock = lock::acquire(path).await?;
        // SQLite gives its -wal and -shm files the mode of the database file.
        let made = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        made.map_err(|e| StoreError::Unavailable(format!("cannot open {}: {e} (hint: check the folder and its owner)", path.display())))?;

        migrate(path).await?;
        let mut connection = open_to_write(path).map_err(from_sqlite)?;
        let instance = begin_life(&mut connection, rng.as_ref())?;

        let (wakers, remembered) = (Arc::new(Wakers::default()), Arc::new(Remembered::default()));
        remembered.listen(&connection)?;
        let writer = Writer::spawn(connection, lock, Arc::clone(&wakers), Arc::clone(&remembered))?;
        let shares = Arc::new(Shares::new(rng));
        Ok(Self { writer, readers: Readers::new(path), wakers, remembered, instance: instance.into(), shares })
    }

    /// This database's own id, drawn when it was made: tells it from another one in the same place.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Ends the writer after what it was already given, and frees the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Runs a command in the writer; when this returns `Ok`, what it did is durable.
    async fn write<T: Send + 'static>(&self, command: impl FnMut(&mut Tx) -> StoreResult<T> + Send + 'static) -> StoreResult<T> {
        self.writer.run(command).await
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// Brings the schema up to date.
async fn migrate(path: &Path) -> StoreResult<()> {
    let options = SqliteConnectOptions::new().filename(path).journal_mode(SqliteJournalMode::Wal).foreign_keys(true);
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(from_sqlx)?;
    sqlx::migrate!().run_direct(None, &mut connection, false).await.map_err(from_migrate)?;
    connection.close().await.map_err(from_sqlx)
}

fn open_to_write(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // What a savepoint may have to take back is kept in memory: it is as much as one command changes.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
    keep_statements(&connection)?;
    Ok(connection)
}

/// Keeps prepared statements, and their plans whatever is bound to them: a plan that follows a value, as of a LIMIT, is made
/// anew at every run.
fn keep_statements(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// Draws the database's id at its first opening, and voids the leases of processes that are gone: this one owns the
/// file, so no one else can hold any.
fn begin_life(connection: &mut Connection, rng: &dyn Rng) -> StoreResult<String> {
    let mut bytes = [0u8; 16];
    rng.fill(&mut bytes);
    let fresh = hex(&bytes);
    let tx = connection.transaction().map_err(from_sqlite)?;
    execute!(&tx, "INSERT INTO instance (one, id) VALUES (1, $1) ON CONFLICT DO NOTHING", fresh)?;
    let id = one!(&tx, |row| row.get("id"), "SELECT id FROM instance WHERE one = 1")?;
    execute!(
        &tx,
        "UPDATE requests SET state = 'queued', worker = NULL, lease = NULL, lease_until = NULL WHERE ended_at IS NULL AND state = 'leased'"
    )?;
    execute!(&tx, "UPDATE jobs SET worker = NULL, lease = NULL, lease_until = NULL, due_meanwhile = NULL WHERE lease IS NOT NULL")?;
    execute!(&tx, "UPDATE validations SET worker = NULL, lease = NULL, lease_until = NULL WHERE lease IS NOT NULL")?;
    tx.commit().map_err(from_sqlite)?;
    Ok(id)
}
