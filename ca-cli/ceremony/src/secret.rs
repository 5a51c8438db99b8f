//! Passphrases and file keys: from a file, a descriptor or the terminal, never from arguments or the environment.

use std::path::PathBuf;

use ca_core::ports::Rng;
use ca_keystore::Unsealer;
use zeroize::Zeroizing;

use crate::Error;

/// Where the secret that opens a key store comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// A passphrase in the first line of a file or a descriptor (`/dev/fd/3`).
    PassphraseFile(PathBuf),
    /// A file key, which is made where it is missing.
    KeyFile(PathBuf),
    /// Typed at the terminal.
    Terminal,
}

/// Reads the secret for the key store called `what`; `new` asks for a typed passphrase twice.
///
/// # Errors
/// When it can't be read, or was typed differently.
pub fn unsealer(source: &SecretSource, what: &str, new: bool, rng: &dyn Rng) -> Result<Unsealer, Error> {
    let wrong = |e: &dyn std::fmt::Display| Error::Secret(format!("the secret of the {what}: {e}"));
    match source {
        SecretSource::PassphraseFile(path) => Unsealer::passphrase_from_file(path).map_err(|e| wrong(&e)),
        SecretSource::KeyFile(path) if path.exists() => Unsealer::file_key_from(path).map_err(|e| wrong(&e)),
        SecretSource::KeyFile(path) => Unsealer::create_file_key(path, rng).map_err(|e| wrong(&e)),
        SecretSource::Terminal => {
            let ask = |prompt: String| {
                rpassword::prompt_password(prompt)
                    .map(Zeroizing::new)
                    .map_err(|e| wrong(&format!("{e} (hint: without a terminal use a passphrase file or a key file)")))
            };
            let typed = ask(format!("Passphrase of the {what}: "))?;
            if new && *ask(format!("The same again for the {what}: "))? != *typed {
                return Err(wrong(&"the two were different"));
            }
            if typed.is_empty() || typed.len() > 1024 {
                return Err(wrong(&"a passphrase has 1 to 1024 bytes"));
            }
            Ok(Unsealer::Passphrase(Zeroizing::new(typed.as_bytes().to_vec())))
        }
    }
}
