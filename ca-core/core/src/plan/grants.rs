//! Grants whose end comes near: a service whose grant ends gets no certificates any more, which is an outage (ACME
//! requirement A16).

use std::time::Duration;

use crate::model::{GrantId, GrantRecord, GrantStatus};
use crate::pki::Timestamp;

/// How far ahead the end of a grant is told.
pub const GRANT_NOTICE: Duration = Duration::from_secs(30 * 86_400);

/// A grant in use whose end is near, or past.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndingGrant {
    /// Its id.
    pub id: GrantId,
    /// The service that it stands for.
    pub service: String,
    /// Its end.
    pub valid_until: Timestamp,
}

/// The grants in use that end within [`GRANT_NOTICE`] or ended no longer ago than that, the first end first. What ended
/// earlier is history: its service has been without certificates for a month.
pub fn ending_grants(grants: &[GrantRecord], now: Timestamp) -> Vec<EndingGrant> {
    let near = |end: Timestamp| end <= now.plus(GRANT_NOTICE) && now <= end.plus(GRANT_NOTICE);
    let ending = grants.iter().filter(|record| record.status != GrantStatus::Revoked).filter_map(|record| {
        let valid_until = record.grant.valid_until.filter(|end| near(*end))?;
        Some(EndingGrant { id: record.grant.id.clone(), service: record.grant.service.clone(), valid_until })
    });
    let mut ending: Vec<_> = ending.collect();
    ending.sort_by(|a, b| (a.valid_until, &a.id).cmp(&(b.valid_until, &b.id)));
    ending
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SignedStatement;

    #[test]
    fn a16_the_end_of_a_grant_is_told_a_month_ahead() {
        let now = Timestamp::from_unix(100 * 86_400);
        let record = |id: &str, days: Option<i64>, status| {
            let grant = serde_json::json!({
                "id": id, "version": 1, "service": "pay", "authority": "demo", "profiles": ["client"], "names": ["dns:a.test"],
                "enrol_by": null, "valid_until": days.map(|days| Timestamp::from_unix((100 + days) * 86_400)), "max_accounts": null,
            });
            GrantRecord {
                grant: serde_json::from_value(grant).unwrap(),
                evidence: SignedStatement { statement: String::new(), signature: String::new() },
                status,
                created_at: now,
                accounts: 0,
            }
        };
        let grants = [
            record("later", Some(31), GrantStatus::Active),
            record("month", Some(30), GrantStatus::Active),
            record("never", None, GrantStatus::Active),
            record("ended", Some(-2), GrantStatus::Active),
            record("rests", Some(3), GrantStatus::Suspended),
            record("gone", Some(3), GrantStatus::Revoked),
            record("history", Some(-31), GrantStatus::Active),
        ];
        let told: Vec<_> = ending_grants(&grants, now).into_iter().map(|grant| grant.id.to_string()).collect();
        assert_eq!(told, ["ended", "rests", "month"]);
    }
}
