//! Secrets that open key stores and devices: where a configuration says that they come from, and how they are asked for.
//!
//! They come from a file, the terminal or the keyholder; never from arguments or the environment.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::unsealer::{MAX_PASSPHRASE, secret_from_file};
use crate::{SealError, Unsealer};

/// Why a secret was not had. No variant carries one.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// It is not there now; it may come, for example when the holders of its shares unseal it.
    #[error("the secret is not available: {0}")]
    Unavailable(String),
    /// It will not come without somebody's doing: what names it is wrong.
    #[error("{0}")]
    Wrong(String),
}

impl From<SealError> for CredentialError {
    fn from(error: SealError) -> Self {
        Self::Wrong(error.to_string())
    }
}

/// Hands out secrets by name, to a device's key store for example.
pub trait CredentialSource: Send + Sync {
    /// Gives the secret called `name`. It may block, so it is called off the async threads, and it is called again at
    /// each login: a source that can be sealed keeps nothing.
    ///
    /// # Errors
    /// [`CredentialError::Unavailable`] where it may come later.
    fn credential(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, CredentialError>;
}

/// Where a device's credential (a PIN, an authentication key) comes from: `{ file = "…" }`, `"terminal"` or
/// `{ keyholder = "SOCKET", credential = "NAME" }`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "CredentialForm", into = "CredentialForm")]
pub enum CredentialSpec {
    /// In a file (0600) or a descriptor, `/dev/fd/3`, without the line's end. It is read once, when the store is opened.
    File(PathBuf),
    /// Typed when the store is opened.
    Terminal,
    /// Asked of the keyholder at each login.
    Keyholder {
        /// The keyholder's socket.
        socket: PathBuf,
        /// The name under which it has the credential.
        credential: String,
    },
}

/// How the configuration writes a [`CredentialSpec`].
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum CredentialForm {
    Word(String),
    Table(CredentialTable),
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialTable {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyholder: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

impl TryFrom<CredentialForm> for CredentialSpec {
    type Error = &'static str;

    fn try_from(form: CredentialForm) -> Result<Self, Self::Error> {
        match form {
            CredentialForm::Word(word) if word == "terminal" => Ok(Self::Terminal),
            CredentialForm::Table(CredentialTable { file: Some(path), keyholder: None, credential: None }) => Ok(Self::File(path)),
            CredentialForm::Table(CredentialTable { file: None, keyholder: Some(socket), credential: Some(credential) })
                if !credential.is_empty() && credential.len() <= 64 =>
            {
                Ok(Self::Keyholder { socket, credential })
            }
            _ => Err("a credential comes from { file = \"FILE\" }, { keyholder = \"SOCKET\", credential = \"NAME\" } or \"terminal\""),
        }
    }
}

impl From<CredentialSpec> for CredentialForm {
    fn from(spec: CredentialSpec) -> Self {
        match spec {
            CredentialSpec::Terminal => Self::Word("terminal".to_owned()),
            CredentialSpec::File(path) => Self::Table(CredentialTable { file: Some(path), ..CredentialTable::default() }),
            CredentialSpec::Keyholder { socket, credential } => {
                Self::Table(CredentialTable { file: None, keyholder: Some(socket), credential: Some(credential) })
            }
        }
    }
}

impl CredentialSpec {
    /// Makes relative paths start at `base`.
    pub fn resolve(&mut self, base: &Path) {
        match self {
            Self::File(path) | Self::Keyholder { socket: path, .. } => *path = base.join(&*path),
            Self::Terminal => {}
        }
    }

    /// The name to ask the source for; files and terminals hold one secret and need none.
    pub fn name(&self) -> &str {
        match self {
            Self::Keyholder { credential, .. } => credential,
            Self::File(_) | Self::Terminal => "",
        }
    }

    /// Opens the source; `what` tells the person at the terminal which secret is asked for.
    ///
    /// # Errors
    /// When the file or the terminal gives none.
    pub fn source(&self, what: &str) -> Result<Box<dyn CredentialSource>, CredentialError> {
        match self {
            Self::File(path) => Ok(Box::new(Held(secret_from_file(path)?))),
            Self::Terminal => Ok(Box::new(Held(ask_terminal(what, "file or keyholder")?))),
            Self::Keyholder { socket, .. } => keyholder_at(socket).map(|k| Box::new(k) as Box<dyn CredentialSource>),
        }
    }
}

#[cfg(feature = "shares")]
fn keyholder_at(socket: &Path) -> Result<crate::keyholder::Keyholder, CredentialError> {
    Ok(crate::keyholder::Keyholder::at(socket))
}

#[cfg(not(feature = "shares"))]
fn keyholder_at(socket: &Path) -> Result<Held, CredentialError> {
    let shown = socket.display();
    Err(CredentialError::Wrong(format!(
        "this build has no client of a keyholder, so {shown} is not asked (hint: use a file or the terminal)"
    )))
}

/// A secret that stays in memory, because what it came from may be readable only once.
pub(crate) struct Held(pub(crate) Zeroizing<Vec<u8>>);

impl CredentialSource for Held {
    fn credential(&self, _name: &str) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
        Ok(self.0.clone())
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

/// What opens sealed files: `{ key_file = "…" }`, `{ passphrase_file = "…" }`, `"terminal"` or
/// `{ keyholder = "SOCKET", credential = "NAME" }`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "UnsealForm", into = "UnsealForm")]
pub enum UnsealSpec {
    /// 32 random bytes in a file (0600), for hosts that start unattended: whoever reads it has the keys.
    KeyFile(PathBuf),
    /// A passphrase in a file (0600) or a descriptor, `/dev/fd/3`.
    PassphraseFile(PathBuf),
    /// A passphrase typed at the terminal at each start.
    Terminal,
    /// A software key that holders of its shares unseal: asked of the keyholder whenever a file is opened.
    Keyholder {
        /// The keyholder's socket.
        socket: PathBuf,
        /// The name under which it has the credential.
        credential: String,
    },
}

/// How the configuration writes an [`UnsealSpec`].
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum UnsealForm {
    Word(String),
    Table(UnsealTable),
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnsealTable {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passphrase_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyholder: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

impl TryFrom<UnsealForm> for UnsealSpec {
    type Error = &'static str;

    fn try_from(form: UnsealForm) -> Result<Self, Self::Error> {
        const WRONG: &str = "what opens sealed files is one of { key_file = \"FILE\" }, { passphrase_file = \"FILE\" }, { keyholder = \"SOCKET\", credential = \"NAME\" } or \"terminal\"";
        let table = match form {
            UnsealForm::Word(word) if word == "terminal" => return Ok(Self::Terminal),
            UnsealForm::Word(_) => return Err(WRONG),
            UnsealForm::Table(table) => table,
        };
        match (table.key_file, table.passphrase_file, table.keyholder, table.credential) {
            (Some(path), None, None, None) => Ok(Self::KeyFile(path)),
            (None, Some(path), None, None) => Ok(Self::PassphraseFile(path)),
            (None, None, Some(socket), Some(credential)) if (1..=64).contains(&credential.len()) => {
                Ok(Self::Keyholder { socket, credential })
            }
            _ => Err(WRONG),
        }
    }
}

impl From<UnsealSpec> for UnsealForm {
    fn from(spec: UnsealSpec) -> Self {
        let empty = UnsealTable::default();
        Self::Table(match spec {
            UnsealSpec::Terminal => return Self::Word("terminal".to_owned()),
            UnsealSpec::KeyFile(path) => UnsealTable { key_file: Some(path), ..empty },
            UnsealSpec::PassphraseFile(path) => UnsealTable { passphrase_file: Some(path), ..empty },
            UnsealSpec::Keyholder { socket, credential } => UnsealTable { keyholder: Some(socket), credential: Some(credential), ..empty },
        })
    }
}

impl UnsealSpec {
    /// Makes relative paths start at `base`.
    pub fn resolve(&mut self, base: &Path) {
        match self {
            Self::KeyFile(path) | Self::PassphraseFile(path) | Self::Keyholder { socket: path, .. } => *path = base.join(&*path),
            Self::Terminal => {}
        }
    }

    /// Reads the secret for `what`, now.
    ///
    /// # Errors
    /// When it cannot be read, or the keyholder has it sealed ([`CredentialError::Unavailable`]).
    pub fn unsealer(&self, what: &str) -> Result<Unsealer, CredentialError> {
        self.opening(what)?.unsealer()
    }

    /// What opens files of `what`: read now, save that a keyholder is asked each time.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn opening(&self, what: &str) -> Result<Opening, CredentialError> {
        Ok(match self {
            Self::KeyFile(path) => Unsealer::file_key_from(path)?.into(),
            Self::PassphraseFile(path) => Unsealer::passphrase_from_file(path)?.into(),
            Self::Terminal => {
                Unsealer::Passphrase(ask_terminal(&format!("Passphrase of the {what}"), "key_file or passphrase_file")?).into()
            }
            Self::Keyholder { socket, credential } => {
                Opening::Asked { source: Arc::new(keyholder_at(socket)?), credential: credential.clone() }
            }
        })
    }
}

/// What opens sealed files: at hand, or asked for each time one is opened.
#[derive(Clone)]
pub enum Opening {
    /// At hand.
    Held(Unsealer),
    /// Asked of a source, which may have it sealed: nothing is kept but what was opened with it.
    Asked {
        /// The source.
        source: Arc<dyn CredentialSource>,
        /// The name to ask for: a key of 32 bytes.
        credential: String,
    },
}

impl Opening {
    /// The secret, now.
    ///
    /// # Errors
    /// When the source does not give it, or gives no key of 32 bytes.
    pub fn unsealer(&self) -> Result<Unsealer, CredentialError> {
        match self {
            Self::Held(unsealer) => Ok(unsealer.clone()),
            Self::Asked { source, credential } => {
                let bytes = source.credential(credential)?;
                let key = <[u8; 32]>::try_from(bytes.as_slice()).map(Zeroizing::new);
                key.map(Unsealer::FileKey)
                    .map_err(|_| CredentialError::Wrong(format!("the credential `{credential}` is no key of 32 bytes")))
            }
        }
    }
}

impl From<Unsealer> for Opening {
    fn from(unsealer: Unsealer) -> Self {
        Self::Held(unsealer)
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(unsealer) => unsealer.fmt(f),
            Self::Asked { credential, .. } => write!(f, "Asked({credential})"),
        }
    }
}

fn ask_terminal(prompt: &str, otherwise: &str) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let typed = rpassword::prompt_password(format!("{prompt}: "))
        .map(Zeroizing::new)
        .map_err(|e| CredentialError::Wrong(format!("{e} (hint: without a terminal use {otherwise})")))?;
    if typed.is_empty() || typed.len() > MAX_PASSPHRASE {
        return Err(CredentialError::Wrong(format!("a secret has 1 to {MAX_PASSPHRASE} bytes")));
    }
    Ok(Zeroizing::new(typed.as_bytes().to_vec()))
}
