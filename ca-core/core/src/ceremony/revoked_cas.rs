//! What officers revoked on the running CA, on its way onto the root's next CRL.

use super::{CeremonyError, Hierarchy};
use crate::model::{RevocationReason, RevokedAuthority, RevokedEntry};
use crate::pki::Timestamp;

/// The most bytes of the list.
pub const MAX_REVOKED_CAS: usize = 1 << 22;

/// The entries that the list adds to the root's CRL of this time: of the certificates that this root issued those that
/// are not on its last CRL yet. Another root's are that one's ceremony's.
///
/// # Errors
/// When it is too large, does not parse, holds one, or names a certificate that this root did not issue under that name.
pub fn revoked_entries(list: &[u8], hierarchy: &Hierarchy, this_update: Timestamp) -> Result<Vec<RevokedEntry>, CeremonyError> {
    let syntax = |reason: String| CeremonyError::Syntax { what: "list of revoked CAs", reason };
    if list.len() > MAX_REVOKED_CAS {
        return Err(syntax(format!("it has {} bytes; the most is {MAX_REVOKED_CAS}", list.len())));
    }
    let list: Vec<RevokedAuthority> = serde_json::from_slice(list).map_err(|e| syntax(e.to_string()))?;
    let (root, on_crl) = (hierarchy.root_name(), hierarchy.crl().entries());
    let mut entries: Vec<RevokedEntry> = Vec::new();
    for revoked in list {
        let refused = |reason: &str| {
            let (authority, serial) = (&revoked.authority, revoked.serial);
            Err(CeremonyError::refused("list of revoked CAs", format!("the certificate {serial} of `{authority}` {reason}")))
        };
        if revoked.authority == *root {
            return refused("is the root's own, which no CRL of its own can revoke (hint: every party must stop trusting it)");
        }
        if revoked.issuer.as_ref() != Some(root) {
            continue;
        }
        if !hierarchy.issued().any(|(ca, c)| ca.authority == revoked.authority && c.serial() == revoked.serial) {
            return refused("is none that this root issued");
        }
        // RFC 5280 §5.3.1: a hold may be taken back, and a CA certificate's revocation may not.
        if revoked.reason == RevocationReason::CertificateHold {
            return refused("is held; a CA certificate is revoked for good");
        }
        if entries.iter().any(|e| e.serial == revoked.serial) {
            return refused("stands twice");
        }
        if !on_crl.iter().any(|e| e.serial == revoked.serial) {
            entries.push(RevokedEntry {
                serial: revoked.serial,
                // A clock that was ahead there dates nothing after the CRL.
                revoked_at: revoked.at.min(this_update),
                reason: revoked.reason,
                invalidity_date: revoked.invalidity_date,
            });
        }
    }
    Ok(entries)
}
