//! Certificate revocation lists as recorded.

use std::fmt;
use std::time::Duration;

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

impl RevokedEntry {
    /// The entry as a CRL of `this_update`, made at `now`, lists it, and whether a time of it had to give way. No row
    /// may end an authority's CRLs: a time before 1970 becomes that, and one further ahead of `now` than `tolerance`
    /// becomes thisUpdate.
    #[must_use]
    pub fn listed(mut self, this_update: Timestamp, now: Timestamp, tolerance: Duration) -> (Self, bool) {
        let possible = Timestamp::EPOCH..=now.plus(tolerance).min(Timestamp::LAST);
        let mut gave_way = false;
        for at in std::iter::once(&mut self.revoked_at).chain(&mut self.invalidity_date).filter(|at| !possible.contains(&**at)) {
            *at = (*at).clamp(Timestamp::EPOCH, this_update.max(Timestamp::EPOCH));
            gave_way = true;
        }
        (self, gave_way)
    }
}

/// What a released CRL says of itself, without its entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CrlHead {
    /// Its number (RFC 5280 §5.2.3).
    pub number: u64,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// The ledger number that it includes everything up to.
    pub ledger_number: u64,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_000_000 + seconds)
    }

    #[track_caller]
    fn check(revoked_at: Timestamp, invalidity_date: Option<Timestamp>, expected: (Timestamp, Option<Timestamp>, bool)) {
        let serial = SerialNumber::from_bytes([1; 20]).unwrap();
        let entry = RevokedEntry { serial, revoked_at, reason: RevocationReason::Superseded, invalidity_date };
        let (listed, gave_way) = entry.listed(at(-60), at(0), Duration::from_secs(300));
        assert_eq!((listed.revoked_at, listed.invalidity_date, gave_way), expected);
    }

    #[test]
    fn impossible_times_give_way_and_others_stay() {
        let never = Timestamp::from_unix;
        for possible in [Timestamp::EPOCH, at(-60), at(0), at(300)] {
            check(possible, Some(possible), (possible, Some(possible), false));
        }
        for early in [-1, i64::MIN] {
            check(never(early), None, (Timestamp::EPOCH, None, true));
            check(at(-5), Some(never(early)), (at(-5), Some(Timestamp::EPOCH), true));
        }
        for late in [at(301), Timestamp::LAST, never(253_402_300_800), never(i64::MAX)] {
            check(late, None, (at(-60), None, true));
            check(at(-5), Some(late), (at(-5), Some(at(-60)), true));
        }
    }
}
