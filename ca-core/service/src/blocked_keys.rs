//! Lists of keys whose private half is known: which the site has, and reading them.

use std::path::{Path, PathBuf};

use ca_core::profile::BlockedKeys;
use serde::Deserialize;

use crate::exit::configuration;
use crate::read_one_more;

/// `[blocked_keys]`
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockedKeysSection {
    /// Texts with the SHA-256 of a SubjectPublicKeyInfo on each line, in hexadecimal: keys that are never certified, and no
    /// account's.
    #[serde(default)]
    pub spki_sha256: Vec<PathBuf>,
    /// The blocklist of the badkeys project (blocklist.dat), which has the Debian weak keys and millions of published
    /// ones. It is read at the start.
    #[serde(default)]
    pub badkeys: Option<PathBuf>,
}

impl BlockedKeysSection {
    /// Makes every path absolute, starting at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        self.spki_sha256.iter_mut().chain(&mut self.badkeys).for_each(|path| *path = folder.join(&path));
    }

    /// Reads the lists.
    ///
    /// # Errors
    /// As [`read_blocked_keys`].
    pub fn read(&self) -> anyhow::Result<BlockedKeys> {
        read_blocked_keys(&self.spki_sha256, self.badkeys.as_deref())
    }
}

/// Reads texts of SHA-256 digests of SubjectPublicKeyInfos, and a badkeys blocklist. One that is missing or damaged is
/// an error: without it a published key would pass.
///
/// # Errors
/// With the list's name and what is wrong with it.
pub fn read_blocked_keys(texts: &[PathBuf], badkeys: Option<&Path>) -> anyhow::Result<BlockedKeys> {
    let mut lists = BlockedKeys::default();
    let wrong = |path: &Path, why: String| configuration(format!("the list of blocked keys {}: {why}", path.display()));
    for path in texts {
        let text = String::from_utf8(read(path)?).map_err(|_| wrong(path, "it is not a text".to_owned()))?;
        lists.add_text(&text).map_err(|e| wrong(path, e.to_string()))?;
    }
    if let Some(path) = badkeys {
        lists.set_blocklist(read(path)?).map_err(|e| wrong(path, e.to_string()))?;
    }
    Ok(lists)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let unreadable = |e: std::io::Error| {
        configuration(format!(
            "cannot read the list of blocked keys {}: {e} (hint: see [blocked_keys] of the configuration)",
            path.display()
        ))
    };
    read_one_more(path, BlockedKeys::MAX_BYTES).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_missing_or_damaged_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let text = file("text", format!("# leaked\n{}\n", "ab".repeat(32)).as_bytes());
        let list = file("blocklist.dat", &[0; 32]);
        assert_eq!(read_blocked_keys(std::slice::from_ref(&text), Some(&list)).unwrap().len(), 3);
        let error = |texts: &[PathBuf], badkeys: Option<&Path>| read_blocked_keys(texts, badkeys).unwrap_err().to_string();
        assert!(error(&[folder.path().join("none")], None).contains("cannot read"));
        assert!(error(&[file("bad", b"ab\nxyz")], None).contains("line 1"));
        assert!(error(&[file("octets", &[0xff, 0xfe])], None).contains("not a text"));
        assert!(error(&[], Some(&text)).contains("not a badkeys blocklist"));
    }
}
