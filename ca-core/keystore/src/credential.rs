//! Secrets that open key stores and devices: how they are asked for.

use zeroize::Zeroizing;

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

/// Hands out secrets by name, to a device's key store for example.
pub trait CredentialSource: Send + Sync {
    /// Gives the secret called `name`. It may block, so it is called off the async threads, and it is called again at
    /// each login: a source that can be sealed keeps nothing.
    ///
    /// # Errors
    /// [`CredentialError::Unavailable`] where it may come later.
    fn credential(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, CredentialError>;
}
