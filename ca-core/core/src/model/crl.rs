//! Certificate revocation lists as recorded.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AuthorityName, RevocationReason};
use crate::pki::{SerialNumber, Timestamp};

/// Which certificates of an authority a CRL covers: a partition. Numbers grow per authority and scope.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CrlScope(pub u32);

impl CrlScope {
    /// The partition that holds everything while an authority has one.
    pub const FULL: Self = Self(0);
}

impl fmt::Display for CrlScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A revoked certificate as a CRL lists it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RevokedEntry {
    /// Its serial number.
    pub serial: SerialNumber,
    /// When it was revoked.
    pub revoked_at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
    /// Since when the key is suspected.
    pub invalidity_date: Option<Timestamp>,
}

/// A CRL that was signed and released.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CrlRecord {
    /// Its authority.
    pub authority: AuthorityName,
    /// Its scope.
    pub scope: CrlScope,
    /// Its number (RFC 5280 §5.2.3).
    pub number: u64,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// The ledger number that it includes everything up to.
    pub ledger_number: u64,
    /// Its DER.
    #[serde(with = "super::bytes")]
    pub der: Vec<u8>,
}

impl CrlRecord {
    /// The least number of a CRL that is made at this time: seconds since 1970, shifted by 16 bits. What was made before that
    /// second has a number below it, what is made later in that second one above.
    pub const fn first_number(made_at: Timestamp) -> u64 {
        let seconds = made_at.unix();
        if seconds < 0 { 0 } else { seconds.unsigned_abs().saturating_mul(1 << 16) }
    }
}
