//! Files that hold secrets: exclusive and durable creation, bounded reading, permissions.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ca_core::ports::Rng;
use zeroize::Zeroizing;

use crate::{SealError, random};

const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

/// Creates `path` with mode 0600 and these bytes, or fails with [`SealError::Exists`] and changes nothing. When it
/// returns, file and directory entry are durable; at no moment is there a partial file at `path`.
pub(crate) fn create_exclusive(path: &Path, bytes: &[u8], rng: &dyn Rng) -> Result<(), SealError> {
    // A link to an existing name fails, so that of two writers one wins; the check here only spares the work.
    if fs::symlink_metadata(path).is_ok() {
        return Err(SealError::Exists(path.to_owned()));
    }
    let directory = parent(path);
    let unique = u64::from_be_bytes(random(rng));
    let temporary = directory.join(format!(".{unique:016x}.tmp"));
    let written = write_new(&temporary, bytes).map_err(SealError::io("write", &temporary)).and_then(|()| {
        fs::hard_link(&temporary, path).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => SealError::Exists(path.to_owned()),
            _ => SealError::io("create", path)(e),
        })
    });
    // A leftover holds nothing that is not sealed or wanted; the first error matters more.
    let _ = fs::remove_file(&temporary);
    written?;
    File::open(&directory).and_then(|d| d.sync_all()).map_err(SealError::io("make durable", &directory))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Reads a file of at most `limit` bytes. A regular file that group or others may touch is refused; pipes and
/// descriptors are as private as the process that made them.
pub(crate) fn read_private(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let file = File::open(path).map_err(SealError::io("open", path))?;
    let metadata = file.metadata().map_err(SealError::io("inspect", path))?;
    if metadata.is_dir() {
        return Err(SealError::damaged(path, "it is a directory"));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_file() && mode & OTHERS != 0 {
        return Err(SealError::Permissions { path: path.to_owned(), mode, wanted: 0o600 });
    }
    // The whole capacity at once: a growing buffer would leave copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(SealError::io("read", path))?;
    if bytes.len() > limit {
        return Err(SealError::damaged(path, format!("longer than {limit} bytes")));
    }
    Ok(bytes)
}

/// Overwrites a file and removes it. When this returns, the name is gone for good; what a file system kept of the old
/// blocks was sealed.
#[cfg(any(feature = "authority", feature = "shares"))]
pub(crate) fn shred(path: &Path) -> Result<(), SealError> {
    let mut file = OpenOptions::new().write(true).open(path).map_err(SealError::io("open", path))?;
    let length = file.metadata().map_err(SealError::io("inspect", path))?.len();
    let zeros = vec![0u8; usize::try_from(length).unwrap_or(0)];
    file.write_all(&zeros).and_then(|()| file.sync_all()).map_err(SealError::io("overwrite", path))?;
    fs::remove_file(path).map_err(SealError::io("remove", path))?;
    let directory = parent(path);
    File::open(&directory).and_then(|d| d.sync_all()).map_err(SealError::io("make durable", &directory))
}

/// Makes sure of a directory that only its owner may change, creating it (0700) where it is missing.
#[cfg_attr(not(any(feature = "authority", feature = "shares")), expect(dead_code, reason = "only the key store keeps a directory"))]
pub(crate) fn private_directory(path: &Path) -> Result<(), SealError> {
    match DirBuilder::new().recursive(false).mode(0o700).create(path) {
        Ok(()) => {
            let above = parent(path);
            return File::open(&above).and_then(|d| d.sync_all()).map_err(SealError::io("make durable", &above));
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(SealError::io("create the directory", path)(e)),
    }
    let metadata = fs::metadata(path).map_err(SealError::io("inspect", path))?;
    if !metadata.is_dir() {
        return Err(SealError::damaged(path, "it is not a directory"));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 {
        return Err(SealError::Permissions { path: path.to_owned(), mode, wanted: 0o700 });
    }
    Ok(())
}
