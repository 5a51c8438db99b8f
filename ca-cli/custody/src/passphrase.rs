//! Holders' passphrases: from files or the terminal, never from arguments or the environment. A file may hold a file key
//! instead, for a holder who keeps it on a medium and remembers nothing.

use std::path::{Path, PathBuf};

use ca_core::model::HolderName;
use ca_keystore::{SealError, Unsealer};
use zeroize::Zeroizing;

use crate::Error;

/// The shortest passphrase that a new share is sealed under, in characters. A share alone opens nothing, and Argon2id
/// makes each guess cost 64 MiB; a short one is guessed all the same.
const MIN_CHARS: usize = 12;
const MAX_BYTES: usize = 1024;

/// Where the passphrases of holders come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Passphrases {
    /// Each holder types their own.
    Terminal,
    /// One file or descriptor, for one holder.
    File(PathBuf),
    /// A folder with a file for each holder, by the holder's name: for rehearsals and tests.
    Folder(PathBuf),
}

impl Passphrases {
    /// The passphrase of a share that exists.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn existing(&self, holder: &HolderName) -> Result<Unsealer, Error> {
        match self {
            Self::Terminal => Ok(Unsealer::Passphrase(ask(holder, &format!("{holder}, your passphrase: "))?)),
            Self::File(path) => from_file(path),
            Self::Folder(folder) => from_file(&folder.join(holder.as_str())),
        }
    }

    /// The passphrase of a share that is being made; at the terminal it is typed twice.
    ///
    /// # Errors
    /// When it cannot be read, is shorter than 12 characters, or was typed differently.
    pub fn new_one(&self, holder: &HolderName) -> Result<Unsealer, Error> {
        let wrong = |reason: &str| Error::Passphrase { holder: holder.to_string(), reason: reason.to_owned() };
        let unsealer = match self {
            Self::Terminal => {
                let typed = ask(holder, &format!("{holder}, a passphrase that only you know, {MIN_CHARS} characters or more: "))?;
                if *ask(holder, "The same again: ")? != *typed {
                    return Err(wrong("the two were different"));
                }
                Unsealer::Passphrase(typed)
            }
            Self::File(_) | Self::Folder(_) => self.existing(holder)?,
        };
        match &unsealer {
            Unsealer::Passphrase(bytes) if String::from_utf8_lossy(bytes).chars().count() < MIN_CHARS => {
                Err(wrong(&format!("it has fewer than {MIN_CHARS} characters (hint: five or six random words)")))
            }
            _ => Ok(unsealer),
        }
    }
}

fn from_file(path: &Path) -> Result<Unsealer, Error> {
    // What begins as a file key does is one.
    match Unsealer::file_key_from(path) {
        Err(SealError::Damaged { .. }) => Ok(Unsealer::passphrase_from_file(path)?),
        given => Ok(given?),
    }
}

fn ask(holder: &HolderName, prompt: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let wrong = |reason: String| Error::Passphrase { holder: holder.to_string(), reason };
    let typed = rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|e| wrong(format!("{e} (hint: without a terminal use --passphrase-file or --passphrase-dir)")))?;
    if typed.is_empty() || typed.len() > MAX_BYTES {
        return Err(wrong(format!("a passphrase has 1 to {MAX_BYTES} bytes")));
    }
    Ok(Zeroizing::new(typed.as_bytes().to_vec()))
}
