//! Who is turned away for asking too much or failing too often (ACME requirement A23).
//!
//! The states of subjects lie in a table of fixed size in memory, and a restart forgets. A server with others beside it
//! takes from the store's table instead, where all count together; failures each counts for itself. A pause lies in the
//! store. What is decided is decided in [`ca_core::limits`]; here is who is asked about what, and the problem that the
//! client sees.
//!
//! Deliberately absent: limits on reading, and on what the CA's officers bound already (certificates within the hour, in
//! the policy).

mod kind;
mod settings;

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ca_core::limits::{Exceeded, Key, PauseRule, Quota, Share, Table, network_of, registered_name};
use ca_core::model::{AccountId, Actor, Grant, GrantId, ProblemType, Standing};
use ca_core::pki::{Identifier, Timestamp};
use ca_core::ports::Rng;
use ca_service::metrics::{Metric, Metrics};
use serde_json::json;

use crate::front::AcmeServer;
use crate::problem::Refusal;
use crate::request::Signed;

use kind::{KINDS, Kind, SUBJECTS, Subject};
pub use settings::{Override, PauseSection, PerSubject, Rate, RateSection, Rates};

/// How many subjects the table has room for: 2 MiB.
const ROOM: usize = 1 << 16;

pub(crate) static LIMITED: Metric = Metric::counter(
    "countersign_acme_limited_total",
    "Requests turned away by a rate limit, by what was counted and by whom.",
    &["limit", "by"],
);
pub(crate) static SUBJECTS_BUSY: Metric = Metric::gauge(
    "countersign_acme_limit_subjects",
    "Accounts, grants, networks and names that have spent some of a limit at this scrape.",
    &[],
);
pub(crate) static DISPLACED: Metric = Metric::counter(
    "countersign_acme_limit_displaced_total",
    "Subjects of limits that were forgotten for want of room, those that had spent least.",
    &[],
);
pub(crate) static PAUSED: Metric = Metric::counter(
    "countersign_acme_paused_total",
    "Accounts that were paused because they only failed, and requests of paused accounts.",
    &["what"],
);

/// The limits of a server.
pub(crate) struct Limiter {
    rates: Rates,
    pause: Option<PauseRule>,
    table: Mutex<Table>,
}

/// Someone who is counted.
enum Who<'a> {
    Account(&'a AccountId),
    Grant(&'a GrantId),
    Network(IpAddr),
    Name(String),
}

impl Who<'_> {
    const fn subject(&self) -> Subject {
        match self {
            Self::Account(_) => Subject::Account,
            Self::Grant(_) => Subject::Grant,
            Self::Network(_) => Subject::Network,
            Self::Name(_) => Subject::Name,
        }
    }

    fn is_meant(&self, entry: &Override) -> bool {
        match self {
            Self::Account(id) => entry.account.as_ref() == Some(*id),
            Self::Grant(id) => entry.grant.as_ref() == Some(*id),
            Self::Network(address) => entry.network.is_some_and(|network| network.contains(*address)),
            Self::Name(name) => entry.name.as_ref() == Some(name),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Account(id) => id.to_string(),
            Self::Grant(id) => id.to_string(),
            Self::Network(address) => network_of(*address).to_string(),
            Self::Name(name) => name.clone(),
        }
    }
}

impl Limiter {
    pub(crate) fn new(rates: Rates, pause: Option<PauseRule>, rng: &dyn Rng, metrics: &Metrics) -> Self {
        for kind in KINDS {
            for subject in SUBJECTS.into_iter().filter(|subject| kind.is_by(*subject)) {
                metrics.declare(&LIMITED, &[kind.name(), subject.name()]);
            }
        }
        metrics.declare(&DISPLACED, &[]);
        for what in ["account", "request"] {
            metrics.declare(&PAUSED, &[what]);
        }
        Self { rates, pause, table: Mutex::new(Table::new(ROOM, rng)) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Whoever panicked while holding it left whole states.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of `whom` by whom `kind` is counted, each with its quota.
    fn counted<'a>(&self, kind: Kind, whom: &'a [Who<'a>]) -> impl Iterator<Item = (&'a Who<'a>, Quota)> {
        let by = whom.iter().filter(move |who| kind.is_by(who.subject()));
        by.filter_map(move |who| Some((who, self.rates.quota(kind, who.subject(), |entry| who.is_meant(entry))?)))
    }

    fn wanted(&self, table: &Table, kind: Kind, whom: &[Who<'_>]) -> Vec<(Key, Quota, Subject)> {
        let one = |(who, quota): (&Who<'_>, Quota)| (table.key(&[kind.name(), who.subject().name(), &who.text()]), quota, who.subject());
        self.counted(kind, whom).map(one).collect()
    }

    /// What `whom` share with the other servers, each with its subject.
    fn shares(&self, kind: Kind, whom: &[Who<'_>], takes: bool) -> Vec<(Share, Subject)> {
        let one = |(who, quota): (&Who<'_>, Quota)| {
            // No kind and no subject has a stroke in its name.
            let subject = format!("{}/{}/{}", kind.name(), who.subject().name(), who.text());
            (Share { subject, quota, takes }, who.subject())
        };
        self.counted(kind, whom).map(one).collect()
    }

    /// Takes one of `kind` from each of `whom`, or from none and says why.
    fn take(&self, metrics: &Metrics, kind: Kind, whom: &[Who<'_>], now: Timestamp) -> Result<(), Refusal> {
        let mut table = self.table();
        let wanted = self.wanted(&table, kind, whom);
        let pairs: Vec<(Key, Quota)> = wanted.iter().map(|(key, quota, _)| (*key, *quota)).collect();
        let taken = table.take(&pairs, now);
        count_displaced(metrics, &mut table);
        taken.map_err(|exceeded| {
            let (_, quota, subject) = wanted[exceeded.index];
            refusal(metrics, kind, subject, &quota, exceeded.wait)
        })
    }

    /// Whether there is one of `kind` left.
    fn check(&self, metrics: &Metrics, kind: Kind, whom: &[Who<'_>], now: Timestamp) -> Result<(), Refusal> {
        let table = self.table();
        let spent = |(key, quota, subject): (Key, Quota, Subject)| {
            table.check(key, &quota, now).map_err(|wait| refusal(metrics, kind, subject, &quota, wait))
        };
        self.wanted(&table, kind, whom).into_iter().try_for_each(spent)
    }

    /// Takes one of `kind` from each of `whom`, whether there is one or not: it happened.
    fn charge(&self, metrics: &Metrics, kind: Kind, whom: &[Who<'_>], now: Timestamp) {
        let mut table = self.table();
        for (key, quota, _) in self.wanted(&table, kind, whom) {
            table.charge(key, &quota, now);
        }
        count_displaced(metrics, &mut table);
    }

    /// Counts a failed validation or order of an account.
    pub(crate) fn failed(&self, metrics: &Metrics, account: &AccountId, now: Timestamp) {
        self.charge(metrics, Kind::Failures, &[Who::Account(account)], now);
    }

    /// Shows at a scrape how full the table is.
    pub(crate) fn show(&self, metrics: &Metrics, now: Timestamp) {
        metrics.set(&SUBJECTS_BUSY, &[], self.table().busy(now) as f64);
    }
}

fn count_displaced(metrics: &Metrics, table: &mut Table) {
    for _ in 0..table.take_displaced() {
        metrics.count(&DISPLACED, &[]);
    }
}

fn refusal(metrics: &Metrics, kind: Kind, subject: Subject, quota: &Quota, wait: std::time::Duration) -> Refusal {
    metrics.count(&LIMITED, &[kind.name(), subject.name()]);
    let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1);
    let detail = format!(
        "too many {}: {} has spent its limit of {quota} (hint: try again in {seconds} s; the CA's operators can set another limit)",
        kind.noun(),
        subject.whose()
    );
    // RFC 8555 §6.6: "a Retry-After header field"
    Refusal::new(ProblemType::RateLimited, detail).with_retry_after(seconds)
}

impl AcmeServer {
    /// Takes one of `kind` from each of `whom`, or from none: here, or where all servers of this CA count.
    async fn take(&self, kind: Kind, whom: &[Who<'_>], now: Timestamp) -> Result<(), Refusal> {
        if self.replicas.is_none() {
            return self.limiter.take(self.metrics(), kind, whom, now);
        }
        self.share(kind, whom, true, now).await
    }

    /// What all servers of this CA count together: takes from each, or only asks whether there is one of each.
    async fn share(&self, kind: Kind, whom: &[Who<'_>], takes: bool, now: Timestamp) -> Result<(), Refusal> {
        let (wanted, subjects): (Vec<Share>, Vec<Subject>) = self.limiter.shares(kind, whom, takes).into_iter().unzip();
        if wanted.is_empty() {
            return Ok(());
        }
        match self.store.take_shares(&wanted, now).await? {
            None => Ok(()),
            Some(Exceeded { index, wait }) => match wanted.get(index).zip(subjects.get(index)) {
                Some((share, subject)) => Err(refusal(self.metrics(), kind, *subject, &share.quota, wait)),
                None => Err(Refusal::unavailable()),
            },
        }
    }

    /// Whether an account may begin an order or an authorization for these identifiers now. One that replaces a
    /// certificate (RFC 9773 §5) is outside the limits, but not outside a pause.
    pub(crate) async fn admit_order(
        &self,
        signed: &Signed,
        grant: &Grant,
        identifiers: &[Identifier],
        replaces: bool,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let account = &signed.account.id;
        let standing = self.standing(account, identifiers, now).await?;
        if replaces {
            return Ok(());
        }
        let metrics = self.metrics();
        self.limiter.check(metrics, Kind::Failures, &[Who::Account(account)], now)?;
        if standing.renews {
            return self.take(Kind::Renewals, &[Who::Account(account)], now).await;
        }
        let mut names: Vec<String> = identifiers.iter().map(registered_name).collect();
        names.sort_unstable();
        names.dedup();
        let mut whom = vec![Who::Account(account), Who::Grant(&grant.id)];
        whom.extend(signed.address.map(Who::Network));
        whom.extend(names.into_iter().map(Who::Name));
        self.take(Kind::Orders, &whom, now).await
    }

    /// Whether an account may have a challenge validated now.
    pub(crate) async fn admit_challenge(&self, account: &AccountId, now: Timestamp) -> Result<(), Refusal> {
        self.standing(account, &[], now).await?;
        self.limiter.check(self.metrics(), Kind::Failures, &[Who::Account(account)], now)
    }

    /// Whether a new account may be bound from this address now.
    pub(crate) async fn admit_account_from(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        let whom: Vec<Who<'_>> = address.map(Who::Network).into_iter().collect();
        self.take(Kind::Accounts, &whom, self.clock.now()).await
    }

    /// Whether a grant may bind one more account now. None is taken: who asks has not shown yet that it knows the secret, and
    /// whoever knows the key identifier could spend them all.
    pub(crate) async fn admit_account_of(&self, grant: &GrantId) -> Result<(), Refusal> {
        let (whom, now) = ([Who::Grant(grant)], self.clock.now());
        if self.replicas.is_none() {
            return self.limiter.check(self.metrics(), Kind::Accounts, &whom, now);
        }
        self.share(Kind::Accounts, &whom, false, now).await
    }

    /// Counts an account that a grant has bound.
    pub(crate) async fn count_account_of(&self, grant: &GrantId) {
        let (whom, now) = ([Who::Grant(grant)], self.clock.now());
        if self.replicas.is_none() {
            return self.limiter.charge(self.metrics(), Kind::Accounts, &whom, now);
        }
        // Those that were asked about at the same time may be more than there were; the next one is told.
        if let Err(refusal) = self.share(Kind::Accounts, &whom, true, now).await {
            tracing::debug!(%grant, ?refusal, "an account is bound, and its grant's limit was spent meanwhile");
        }
    }

    /// Whether an account may change something of itself now, which stays on record for good.
    pub(crate) async fn admit_change(&self, account: &AccountId) -> Result<(), Refusal> {
        self.take(Kind::Changes, &[Who::Account(account)], self.clock.now()).await
    }

    /// Whether an account may revoke now.
    pub(crate) async fn admit_revocation(&self, signed: &Signed) -> Result<(), Refusal> {
        let mut whom = vec![Who::Account(&signed.account.id), Who::Grant(&signed.account.grant)];
        whom.extend(signed.address.map(Who::Network));
        self.take(Kind::Revocations, &whom, self.clock.now()).await
    }

    /// How an account stands, which may be that it is paused, or is now.
    async fn standing(&self, account: &AccountId, identifiers: &[Identifier], now: Timestamp) -> Result<Standing, Refusal> {
        let since = self.limiter.pause.map_or(now, |rule| rule.since(now));
        let standing = self.store.standing(account, identifiers, since).await?;
        let met = self.limiter.pause.is_some_and(|rule| rule.is_met(standing.failures));
        let paused = match standing.paused {
            Some(since) => since,
            None if met => {
                let mut audit = self.audit(Actor::system("limits"), "account.pause", account.as_str(), self.correlation());
                audit.detail = json!({ "failures": standing.failures });
                tracing::warn!(%account, failures = standing.failures, "an account that only fails is paused");
                let since = self.store.pause_account(account, &audit).await?;
                self.metrics().count(&PAUSED, &["account"]);
                since
            }
            None => return Ok(standing),
        };
        self.metrics().count(&PAUSED, &["request"]);
        Err(Refusal::unauthorized(format!(
            "this account is paused since {paused}, because it only failed (hint: set right what fails, then ask the CA's operators: \
             ca account resume {account})"
        )))
    }
}
