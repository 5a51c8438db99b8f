//! Every sealed key of a folder under another secret: all of them or none.
//!
//! The keys are sealed anew in a folder beside, opened there again and compared, and then the two folders change places
//! in one step. So whenever the power fails, the folder's keys all open with the old secret, or all with the new one; what
//! is left beside it is cleared at the next try. Deliberately absent: processes that have the folder open. One that has
//! the old secret keeps the keys that it opened, and finds the rest sealed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use ca_core::ports::Rng;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::files::{create_exclusive, private_directory, read_private, shred};
use crate::sealed::{self, Kind, Sealed};
use crate::{SealError, Unsealer};

const EXTENSION: &str = "sealed";
/// What a folder of keys holds besides: the store's serial number.
const SERIAL: &str = "serial";
const MAX_ENTRIES: usize = 1001;

/// Seals every key in `folder` under `new` instead of `old`, and tells how many there are. When it returns, the change is
/// durable. With an error before the change the folder is as it was.
///
/// # Errors
/// When a key does not open with `old`, the folder holds anything else than keys, or the file system refuses.
pub fn reseal_folder(folder: &Path, old: &Unsealer, new: &Unsealer, rng: &dyn Rng) -> Result<usize, SealError> {
    // Through a link, the folder itself is what changes places.
    let folder = fs::canonicalize(folder).map_err(SealError::io("find", folder))?;
    let (Some(above), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Err(SealError::damaged(&folder, "it has no folder above it"));
    };
    let beside = above.join(format!(".{}.resealing", name.to_string_lossy()));
    clear(&beside)?;
    let names = names(&folder)?;
    private_directory(&beside)?;
    for name in &names {
        let (from, to) = (folder.join(name), beside.join(name));
        if name == SERIAL {
            create_exclusive(&to, &read_private(&from, 128)?, rng)?;
            continue;
        }
        let label = name.strip_suffix(&format!(".{EXTENSION}"));
        let sealed = Sealed::read(&from, Kind::AuthorityKey)?;
        let description = sealed.description().clone();
        if description.name.as_deref() != label {
            return Err(SealError::damaged(&from, "it was sealed under another name"));
        }
        let secret = sealed.open(old)?;
        sealed::create(&to, &description, &secret, new, rng)?;
        let (again, back) = sealed::open(&to, Kind::AuthorityKey, label, new)?;
        if again != description || back != secret {
            return Err(SealError::damaged(&to, "it does not come back as it was sealed"));
        }
    }
    keep_owner(&folder, &beside, &names)?;
    let exchange = renameat_with(CWD, &beside, CWD, &folder, RenameFlags::EXCHANGE);
    exchange.map_err(|e| SealError::io("change places with", &folder)(e.into()))?;
    File::open(above).and_then(|d| d.sync_all()).map_err(SealError::io("make durable", above))?;
    // What came into the folder meanwhile is in the old one now, and is not thrown away.
    if let Some(late) = self::names(&beside)?.into_iter().find(|n| !names.contains(n)) {
        return Err(SealError::damaged(
            &beside.join(late),
            "it was made while the folder was sealed anew, which is done; bring it over by hand",
        ));
    }
    clear(&beside)?;
    Ok(names.iter().filter(|n| *n != SERIAL).count())
}

/// What is to be sealed anew. A file that is neither a key nor the serial number would be left behind, so it is refused.
fn names(folder: &Path) -> Result<BTreeSet<String>, SealError> {
    let mut found = BTreeSet::new();
    for path in entries(folder)? {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        // What a write that was cut off left.
        if name.starts_with('.') && path.extension().is_some_and(|e| e == "tmp") {
            continue;
        }
        if name != SERIAL && path.extension().is_none_or(|e| e != EXTENSION) {
            return Err(SealError::damaged(&path, "it is neither a sealed key nor the store's serial number (hint: move it away first)"));
        }
        found.insert(name);
    }
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, SealError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(SealError::io("list", folder))? {
        found.push(entry.map_err(SealError::io("list", folder))?.path());
        if found.len() > MAX_ENTRIES {
            return Err(SealError::damaged(folder, format!("it holds more than {MAX_ENTRIES} files")));
        }
    }
    Ok(found)
}

/// Whoever may open the folder now may open it afterwards.
fn keep_owner(folder: &Path, beside: &Path, names: &BTreeSet<String>) -> Result<(), SealError> {
    let owner = |path: &Path| fs::metadata(path).map(|m| (m.uid(), m.gid())).map_err(SealError::io("inspect", path));
    let pairs = names.iter().map(|n| (folder.join(n), beside.join(n))).chain([(folder.to_owned(), beside.to_owned())]);
    for (from, to) in pairs {
        let wanted = owner(&from)?;
        if owner(&to)? != wanted {
            chown(&to, Some(wanted.0), Some(wanted.1)).map_err(SealError::io("give to its owner", &to))?;
        }
    }
    Ok(())
}

/// Removes the folder beside. Whenever it is there the folder itself is whole, so nothing is lost with it.
fn clear(beside: &Path) -> Result<(), SealError> {
    if fs::symlink_metadata(beside).is_err() {
        return Ok(());
    }
    entries(beside)?.iter().try_for_each(|path| shred(path))?;
    fs::remove_dir(beside).map_err(SealError::io("remove", beside))
}
