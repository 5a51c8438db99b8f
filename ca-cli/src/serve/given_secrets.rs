//! Secrets of grants that a foreign suite chose, for tests: only in builds with the feature `test-halt`.
//!
//! The product's own come from the master key alone. Suites written for Pebble bring MAC keys of their own.

use std::sync::Arc;

use ca_core::ports::EabSecrets;
use ca_keystore::MasterKey;

/// The master key's secrets.
#[cfg(not(feature = "test-halt"))]
pub(super) fn over(master: MasterKey) -> anyhow::Result<Arc<dyn EabSecrets>> {
    Ok(Arc::new(master))
}

/// The master key's secrets, but for those in the file that `COUNTERSIGN_TEST_EAB_FILE` names: a JSON object from grant
/// ids to keys in base64url.
#[cfg(feature = "test-halt")]
pub(super) fn over(master: MasterKey) -> anyhow::Result<Arc<dyn EabSecrets>> {
    Ok(match std::env::var_os("COUNTERSIGN_TEST_EAB_FILE") {
        Some(path) if !path.is_empty() => Arc::new(given::Given::read(master, std::path::Path::new(&path))?),
        _ => Arc::new(master),
    })
}

#[cfg(feature = "test-halt")]
mod given {
    use std::collections::BTreeMap;
    use std::path::Path;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ca_core::model::GrantId;
    use ca_core::ports::EabSecrets;
    use ca_keystore::MasterKey;
    use zeroize::Zeroizing;

    use crate::exit::configuration;
    use crate::serve::compose::read_bounded;

    /// The most octets of the file.
    const MAX: usize = 64 * 1024;

    pub(super) struct Given {
        master: MasterKey,
        keys: BTreeMap<GrantId, Zeroizing<Vec<u8>>>,
    }

    impl Given {
        pub(super) fn read(master: MasterKey, path: &Path) -> anyhow::Result<Self> {
            let wrong = |e: &dyn std::fmt::Display| configuration(format!("COUNTERSIGN_TEST_EAB_FILE, {}: {e}", path.display()));
            let text = Zeroizing::new(read_bounded(path, MAX).map_err(|e| wrong(&e))?);
            let given: BTreeMap<GrantId, String> = serde_json::from_str(&text).map_err(|e| wrong(&e))?;
            let decode = |(id, key): (GrantId, String)| {
                Ok((id, Zeroizing::new(URL_SAFE_NO_PAD.decode(key.trim_end_matches('=')).map_err(|e| wrong(&e))?)))
            };
            Ok(Self { master, keys: given.into_iter().map(decode).collect::<anyhow::Result<_>>()? })
        }
    }

    impl EabSecrets for Given {
        fn eab_secret(&self, grant: &GrantId, version: u32) -> Zeroizing<Vec<u8>> {
            self.keys.get(grant).cloned().unwrap_or_else(|| self.master.eab_secret(grant, version))
        }
    }
}
