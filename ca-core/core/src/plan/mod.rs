//! What is due: (inventory, policy, now) to jobs, as a pure function.
//!
//! The driver in [`crate::lifecycle`] loads the inventory, queues what comes out and executes it. Planning twice
//! queues nothing twice: a job that stands and is early enough is left alone, and one that failed keeps its backoff.

mod grants;
pub mod star;

use std::time::Duration;

pub use grants::{EndingGrant, GRANT_NOTICE, ending_grants};

use crate::model::{AuthorityName, CrlScope, Job, JobKind, JobRecord};
use crate::pki::Timestamp;
use crate::policy::Policy;

/// How often expired orders are pruned.
pub const PRUNE_INTERVAL: Duration = Duration::from_secs(3600);

/// At least so long lies between an authority's CRLs, however many revocations come; an operator's `ca crl publish` aside.
/// Status requirement S2 wants a revocation on a CRL within 5 seconds.
pub const CRL_BATCH: Duration = Duration::from_secs(2);

/// One of the CA's own certificates as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnState {
    /// Its authority.
    pub authority: AuthorityName,
    /// The name of its entry in the policy.
    pub own: String,
    /// When the newest one was issued and when it ends; none: there is none that is released and unrevoked.
    pub newest: Option<(Timestamp, Timestamp)>,
    /// When its authority's own certificate ends.
    pub authority_ends: Timestamp,
}

impl OwnState {
    /// When the next one is made; none: the authority has ended, or none that it could issue would last longer than the
    /// newest (lesson 31). What was issued further ahead of `now` than `skew` does not count: it is not valid yet.
    pub fn due(&self, now: Timestamp, skew: Duration) -> Option<Timestamp> {
        if self.authority_ends <= now {
            return None;
        }
        match self.newest.filter(|(issued, _)| !is_ahead(*issued, now, skew)) {
            Some((_, ends)) if self.authority_ends <= ends => None,
            Some((issued, ends)) => Some(renewal_due(issued, ends)),
            None => Some(now),
        }
    }
}

/// Whether something was issued further ahead than times are set back: it is not valid yet.
fn is_ahead(issued: Timestamp, now: Timestamp, skew: Duration) -> bool {
    issued > now.plus(skew)
}

/// A CRL as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CrlState {
    /// Its authority.
    pub authority: AuthorityName,
    /// Its scope.
    pub scope: CrlScope,
    /// When the current one was issued and when its nextUpdate is; none: there is none.
    pub current: Option<(Timestamp, Timestamp)>,
    /// Whether the ledger has entries that it lacks.
    pub dirty: bool,
}

/// What there is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inventory {
    /// The CA's own certificates whose keys the worker has.
    pub own: Vec<OwnState>,
    /// The CRLs of authorities with an online key.
    pub crls: Vec<CrlState>,
    /// The jobs that are queued.
    pub jobs: Vec<JobRecord>,
    /// How far times in certificates and CRLs are set back. What was issued further ahead of now is not valid yet: the clock
    /// was ahead when it was made.
    pub skew: Duration,
}

/// The jobs that must be queued or moved up.
pub fn plan(inventory: &Inventory, policy: &Policy, now: Timestamp) -> Vec<Job> {
    let own = inventory.own.iter().filter_map(|state| {
        policy.authority(&state.authority)?.own.iter().find(|o| o.name == state.own)?;
        let due = state.due(now, inventory.skew)?;
        Some(Job { kind: JobKind::RenewOwn { authority: state.authority.clone(), own: state.own.clone() }, due })
    });
    let crls = inventory.crls.iter().filter_map(|state| {
        let rules = policy.authority(&state.authority)?;
        let due = match state.current {
            Some((issued, _)) if is_ahead(issued, now, inventory.skew) => now,
            Some((issued, _)) if state.dirty => now.max(issued.plus(CRL_BATCH)),
            Some((issued, next_update)) => crl_due(issued, next_update, Duration::from_secs(rules.crl_interval)),
            None => now,
        };
        Some(Job { kind: JobKind::PublishCrl { authority: state.authority.clone(), scope: state.scope }, due })
    });
    let mut wanted: Vec<Job> = own.chain(crls).collect();
    let prunes = inventory.jobs.iter().any(|j| j.kind == JobKind::Prune);
    wanted.push(Job { kind: JobKind::Prune, due: if prunes { now.plus(PRUNE_INTERVAL) } else { now } });
    wanted.retain(|job| {
        let standing = inventory.jobs.iter().find(|j| j.kind == job.kind);
        // A backoff stands, but not one from a clock that was ahead.
        standing.is_none_or(|s| s.due > job.due.max(now) && (s.failures == 0 || s.due > now.plus(LONGEST_BACKOFF)))
    });
    wanted
}

/// When a certificate is renewed: at two thirds of its life, counted from its issue (its notBefore lies before that).
pub fn renewal_due(issued: Timestamp, ends: Timestamp) -> Timestamp {
    issued.plus(ends.since(issued) * 2 / 3)
}

/// When the next CRL is made: after the interval, and by half the life of the current one in any case.
pub fn crl_due(issued: Timestamp, next_update: Timestamp, interval: Duration) -> Timestamp {
    issued.plus(interval.min(next_update.since(issued) / 2))
}

/// The longest that a failed job waits.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// How long a failed job waits: doubling from 1 second to 5 minutes.
pub fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.min(9)).min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::AuthorityPolicy;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_000_000 + seconds)
    }

    fn policy() -> Policy {
        Policy::parse(&format!(
            r#"
            version = 1
            [[authority]]
            name = "demo"
            key_sha256 = "{0}"
            names = ["dns:*.demo.test"]
            max_per_hour = 10
            crl_validity = 1000
            crl_interval = 300
            [[authority.own]]
            name = "ocsp"
            shape = "ocsp"
            key_sha256 = "{0}"
            lifetime = 600
            "#,
            "0".repeat(64)
        ))
        .unwrap()
    }

    fn own(newest: Option<(i64, i64)>) -> Inventory {
        let newest = newest.map(|(a, b)| (at(a), at(b)));
        let state = OwnState { authority: "demo".parse().unwrap(), own: "ocsp".into(), newest, authority_ends: at(10_000) };
        Inventory { own: vec![state], ..quiet() }
    }

    fn crl(current: Option<(i64, i64)>, dirty: bool) -> Inventory {
        let current = current.map(|(a, b)| (at(a), at(b)));
        let state = CrlState { authority: "demo".parse().unwrap(), scope: CrlScope::FULL, current, dirty };
        Inventory { crls: vec![state], ..quiet() }
    }

    fn record(kind: JobKind, due: i64, failures: u32) -> JobRecord {
        JobRecord { id: kind.id(), kind, due: at(due), failures, last_error: None, last_done: None }
    }

    fn quiet() -> Inventory {
        Inventory { jobs: vec![record(JobKind::Prune, 3600, 0)], skew: Duration::from_secs(60), ..Inventory::default() }
    }

    #[track_caller]
    fn check(inventory: &Inventory, now: i64, expected: &[i64]) {
        let due: Vec<i64> = plan(inventory, &policy(), at(now)).iter().map(|j| j.due.unix() - 1_000_000).collect();
        assert_eq!(due, expected);
    }

    #[test]
    fn own_certificates_at_two_thirds_of_their_life() {
        check(&own(None), 5, &[5]);
        check(&own(Some((0, 600))), 5, &[400]);
        // The demonstration's 60 seconds.
        check(&own(Some((0, 60))), 5, &[40]);
        let unknown = Inventory { own: vec![OwnState { own: "other".into(), ..own(None).own.remove(0) }], ..quiet() };
        check(&unknown, 5, &[]);
    }

    #[test]
    fn lesson_31_nothing_is_planned_that_an_authority_can_no_longer_certify() {
        check(&own(None), 9999, &[9999]);
        check(&own(None), 10_000, &[]);
        check(&own(Some((9400, 9999))), 9999, &[9799]);
        check(&own(Some((9400, 9999))), 10_000, &[]);
        // The newest ends with its authority already.
        check(&own(Some((9400, 10_000))), 9999, &[]);
        // One from a clock that was ahead does not stand in the way.
        check(&own(Some((9999, 10_000))), 9000, &[9000]);
        // Another authority goes on.
        let mut two = own(None);
        two.own.push(OwnState { authority: "successor".parse().unwrap(), authority_ends: at(20_000), ..two.own[0].clone() });
        let mut both = policy();
        both.authorities.push(AuthorityPolicy { name: "successor".parse().unwrap(), ..both.authorities[0].clone() });
        let jobs = plan(&two, &both, at(10_000));
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        assert!(matches!(&jobs[0].kind, JobKind::RenewOwn { authority, .. } if authority.as_str() == "successor"));
    }

    #[test]
    fn s2_crls_by_interval_by_half_their_life_and_soon_when_dirty() {
        check(&crl(None, true), 5, &[5]);
        check(&crl(Some((5, 1005)), true), 5, &[7]);
        check(&crl(Some((5, 1005)), true), 6, &[7]);
        check(&crl(None, false), 5, &[5]);
        check(&crl(Some((0, 1000)), false), 5, &[300]);
        check(&crl(Some((0, 400)), false), 5, &[200]);
        check(&crl(Some((0, 1000)), true), 5, &[5]);
    }

    #[test]
    fn what_a_clock_made_that_was_ahead_is_made_anew() {
        const YEAR: i64 = 365 * 86_400;
        check(&own(Some((65, 665))), 5, &[465]);
        check(&own(Some((66, 666))), 5, &[5]);
        check(&own(Some((YEAR, YEAR + 600))), 5, &[5]);
        for dirty in [false, true] {
            check(&crl(Some((YEAR, YEAR + 1000)), dirty), 5, &[5]);
        }
        // So are jobs that it put off, those that failed too.
        let kind = JobKind::RenewOwn { authority: "demo".parse().unwrap(), own: "ocsp".into() };
        for failures in [0, 1] {
            let mut inventory = own(Some((YEAR, YEAR + 600)));
            inventory.jobs.push(record(kind.clone(), YEAR, failures));
            check(&inventory, 5, &[5]);
        }
        let prune = Inventory { jobs: vec![record(JobKind::Prune, YEAR, 0)], ..Inventory::default() };
        check(&prune, 5, &[3605]);
    }

    #[test]
    fn nothing_is_queued_twice_and_backoff_stands() {
        let kind = JobKind::PublishCrl { authority: "demo".parse().unwrap(), scope: CrlScope::FULL };
        let with = |due, failures| {
            let mut inventory = crl(Some((0, 1000)), true);
            inventory.jobs.push(record(kind.clone(), due, failures));
            inventory
        };
        check(&with(500, 0), 5, &[5]);
        check(&with(5, 0), 5, &[]);
        check(&with(-100, 0), 5, &[]);
        check(&with(305, 1), 5, &[]);
        check(&Inventory::default(), 5, &[5]);
        assert_eq!((backoff(0).as_secs(), backoff(3).as_secs(), backoff(99).as_secs()), (1, 8, 300));
    }
}
