//! The worker's master key.

use std::fmt;
use std::path::Path;

use aws_lc_rs::hmac;
use ca_core::model::GrantId;
use ca_core::ports::{EabSecrets, Rng};
use zeroize::Zeroizing;

use crate::sealed::{self, Description, Kind};
use crate::{SealError, Unsealer, random};

/// The secret that the secrets of external account bindings are derived from, so that none is ever stored.
pub struct MasterKey(hmac::Key);

impl MasterKey {
    /// Makes a master key in a new sealed file. When this returns, the file is durable.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn create(path: impl AsRef<Path>, unsealer: &Unsealer, rng: &dyn Rng) -> Result<Self, SealError> {
        let secret = Zeroizing::new(random::<32>(rng));
        let description = Description::new(Kind::MasterKey, None, None);
        sealed::create(path.as_ref(), &description, secret.as_slice(), unsealer, rng)?;
        // Secrets handed out must be derivable after a restart, so what the disk holds is what is used.
        Self::open(path, unsealer)
    }

    /// Opens a master key.
    ///
    /// # Errors
    /// When the file is missing, open to others, damaged, or does not open with this secret.
    pub fn open(path: impl AsRef<Path>, unsealer: &Unsealer) -> Result<Self, SealError> {
        let path = path.as_ref();
        let (_, secret) = sealed::open(path, Kind::MasterKey, None, unsealer)?;
        if secret.len() != 32 {
            return Err(SealError::damaged(path, "it holds no 32-byte key"));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
    }
}

impl EabSecrets for MasterKey {
    /// The secret of a grant's external account binding: HMAC-SHA256(master, "countersign/eab/1" ‖ kid ‖ version),
    /// 32 bytes. The top bit of the first is cleared: base64url then never begins with `-`, which the command lines
    /// of ACME clients would take for an option.
    fn eab_secret(&self, grant: &GrantId, version: u32) -> Zeroizing<Vec<u8>> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"countersign/eab/1");
        // The version's fixed length makes the boundary after the kid certain.
        context.update(grant.as_str().as_bytes());
        context.update(&version.to_be_bytes());
        let mut secret = Zeroizing::new(context.sign().as_ref().to_vec());
        if let Some(first) = secret.first_mut() {
            *first &= 0x7f;
        }
        secret
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}
