//! The secrets of external account bindings, which only the worker can derive.

use zeroize::Zeroizing;

use crate::model::GrantId;

/// Derives the HMAC secret of a grant. Nothing stores these secrets; the front end has no implementation.
pub trait EabSecrets: Send + Sync {
    /// The secret of `grant` in `version`; the same arguments always give the same 32 octets.
    fn eab_secret(&self, grant: &GrantId, version: u32) -> Zeroizing<Vec<u8>>;
}
