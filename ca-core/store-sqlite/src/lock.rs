//! Exclusive ownership of the database file.
//!
//! SQLite would let many processes in; the leases, the wake-ups and the group commit of this store would not notice
//! each other. The lock is an advisory one on a file beside the database, and ends with the process.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ca_core::ports::StoreError;

/// A held lock; dropping it frees the database.
pub(crate) struct FileLock {
    _file: File,
}

/// Takes the lock of the database at `path`. Tries for a second, because a predecessor may be just ending.
pub(crate) async fn acquire(path: &Path) -> Result<FileLock, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = PathBuf::from(name);
    let unavailable = |e: std::io::Error| {
        StoreError::Unavailable(format!("cannot lock {}: {e} (hint: the folder must exist and belong to this user)", lock.display()))
    };
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&lock).map_err(unavailable)?;
    for attempt in 1..=20 {
        match file.try_lock() {
            Ok(()) => return Ok(FileLock { _file: file }),
            Err(TryLockError::WouldBlock) if attempt < 20 => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(e)) => return Err(unavailable(e)),
        }
    }
    Err(StoreError::Unavailable(format!(
        "{} is in use: another process holds {} (hint: one process owns an SQLite store; stop the other one, or talk to it over its socket)",
        path.display(),
        lock.display()
    )))
}
