//! What opens sealed files, and what is said when it does not.

use std::path::PathBuf;

use ca_keystore::Unsealer;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::exit::configuration;

/// One of `{ key_file = "…" }`, `{ passphrase_file = "…" }` and `"terminal"`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum UnsealConfig {
    /// 32 random bytes in a file (0600), for hosts that start unattended: whoever reads it has the keys.
    KeyFile(PathBuf),
    /// A passphrase in a file (0600) or a descriptor, `/dev/fd/3`.
    PassphraseFile(PathBuf),
    /// A passphrase typed at the terminal at each start.
    Terminal,
}

impl UnsealConfig {
    pub(super) fn path_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::KeyFile(path) | Self::PassphraseFile(path) => Some(path),
            Self::Terminal => None,
        }
    }

    /// Reads the secret for `what`.
    pub(crate) fn unsealer(&self, what: &str) -> anyhow::Result<Unsealer> {
        let wrong = |e: &dyn std::fmt::Display| configuration(format!("the secret of the {what}: {e}"));
        match self {
            Self::KeyFile(path) => Unsealer::file_key_from(path).map_err(|e| wrong(&e)),
            Self::PassphraseFile(path) => Unsealer::passphrase_from_file(path).map_err(|e| wrong(&e)),
            Self::Terminal => {
                let typed = rpassword::prompt_password(format!("Passphrase of the {what}: "))
                    .map(Zeroizing::new)
                    .map_err(|e| wrong(&format!("{e} (hint: without a terminal use key_file or passphrase_file)")))?;
                if typed.is_empty() || typed.len() > 1024 {
                    return Err(wrong(&"a passphrase has 1 to 1024 bytes"));
                }
                Ok(Unsealer::Passphrase(Zeroizing::new(typed.as_bytes().to_vec())))
            }
        }
    }
}
