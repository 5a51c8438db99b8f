//! The record and its steps.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::grants::{GrantMark, GrantPlace, Grants};
use super::rates::Rate;
use crate::log::CHAIN_START;
use crate::model::{AuthorityName, CrlScope, GrantId, GrantRecord, GrantStatus};
use crate::pki::{Sha256Digest, Timestamp};
use crate::ports::AnchorError;

/// A place in the audit chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogHead {
    /// The row's number; 0 is before the first.
    pub number: u64,
    /// The chain's hash there.
    pub head: Sha256Digest,
}

impl LogHead {
    /// Before the first row.
    pub const START: Self = Self { number: 0, head: CHAIN_START };
}

/// The anchor's contents.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorState {
    genesis_roster: Sha256Digest,
    roster_number: u64,
    roster: Sha256Digest,
    policy_version: u64,
    policy: Sha256Digest,
    /// Nonces of approvals that were used, with their expiry.
    spent: BTreeMap<String, Timestamp>,
    /// The latest expiry among the nonces that were forgotten: nothing that ended by then is taken any more.
    spent_floor: Option<Timestamp>,
    stopped: bool,
    issued: BTreeMap<AuthorityName, Rate>,
    crl_numbers: BTreeMap<AuthorityName, BTreeMap<CrlScope, u64>>,
    #[serde(default, skip_serializing_if = "Grants::is_empty")]
    grants: Grants,
    log: LogHead,
    latest: Timestamp,
}

/// A step forward. There is no step back.
///
/// Where a step follows a change in the store, the store comes first and the anchor before the change is used: after a
/// death in between the store is ahead, which the next start takes as a step; the other way round it would look like
/// an older copy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AnchorStep {
    /// The officers changed the roster: after the store has the change. The standing one again is no step.
    Roster {
        /// The change's number: the last one's plus one.
        number: u64,
        /// The new roster's digest.
        roster: Sha256Digest,
    },
    /// The officers put a policy in force: after the store has it. The one in force again is no step.
    Policy {
        /// Its version; greater than the last.
        version: u64,
        /// SHA-256 of the policy document.
        policy: Sha256Digest,
    },
    /// An approval is used: before its act begins.
    Spend {
        /// Its statement's nonce.
        nonce: String,
        /// Until when it would have counted.
        expires_at: Timestamp,
    },
    /// Issuance for orders stops. CRLs, the CA's own certificates and revocations go on.
    Stop,
    /// The officers let it go on.
    Resume,
    /// A certificate is about to be issued for an order: before the key signs.
    Issue {
        /// By which authority.
        authority: AuthorityName,
        /// The most in an hour that the policy allows it.
        cap: u32,
    },
    /// The record shows certificates of the last hour that this anchor may not have counted.
    Issued {
        /// By which authority.
        authority: AuthorityName,
        /// Minutes since 1970, and how many in each; at most [`AnchorState::MAX_MINUTES`].
        minutes: Vec<(i64, u32)>,
    },
    /// A CRL is about to be issued: after its number was allocated, before the key signs.
    Crl {
        /// By which authority.
        authority: AuthorityName,
        /// Which one.
        scope: CrlScope,
        /// Its number; greater than the last.
        number: u64,
    },
    /// A grant stands on this statement: after the store has it. The newest one again is no step.
    Grant {
        /// Which one.
        id: GrantId,
        /// The statement's place.
        place: GrantPlace,
    },
    /// A grant is suspended or revoked, after the store has it; or goes on, before.
    GrantStatus {
        /// Which one.
        id: GrantId,
        /// Its state.
        status: GrantStatus,
    },
    /// The audit chain was followed from the last head to this one. The same head again is no step.
    Log(LogHead),
}

impl AnchorStep {
    /// Whether a power cut may lose the step: counts and log heads are written at once and made durable within a
    /// second or with the next other step. See [`crate::ports::Anchor::take`].
    pub const fn may_lag(&self) -> bool {
        match self {
            Self::Issue { .. } | Self::Issued { .. } | Self::Log(_) => true,
            Self::Roster { .. }
            | Self::Policy { .. }
            | Self::Spend { .. }
            | Self::Stop
            | Self::Resume
            | Self::Crl { .. }
            | Self::Grant { .. }
            | Self::GrantStatus { .. } => false,
        }
    }
}

/// What a new anchor begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Beginning {
    /// The digest of the roster that the CA began with: the one that a person compared.
    pub genesis_roster: Sha256Digest,
    /// How many roster changes there were.
    pub roster_number: u64,
    /// The digest of the standing roster.
    pub roster: Sha256Digest,
    /// The policy in force.
    pub policy_version: u64,
    /// SHA-256 of its document.
    pub policy: Sha256Digest,
    /// Where the audit chain stands.
    pub log: LogHead,
    /// The time.
    pub now: Timestamp,
}

impl AnchorState {
    /// The most spent approvals at a time; past it nothing is approved until some expire.
    pub const MAX_SPENT: usize = 4096;
    /// The most authorities, and the most CRL scopes of each.
    pub const MAX_NAMES: usize = 1024;
    /// The most minutes in a step.
    pub const MAX_MINUTES: usize = 61;
    /// The most grants, with revoked ones as long as there is room for them.
    pub const MAX_GRANTS: usize = 10_000;
    /// The most characters of a nonce.
    pub const MAX_NONCE: usize = 128;
    /// How far the clock may be set back; NTP and a person's hand need less.
    pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

    /// The first state of an anchor.
    pub fn new(beginning: Beginning) -> Self {
        let Beginning { genesis_roster, roster_number, roster, policy_version, policy, log, now } = beginning;
        Self {
            genesis_roster,
            roster_number,
            roster,
            policy_version,
            policy,
            spent: BTreeMap::new(),
            spent_floor: None,
            stopped: false,
            issued: BTreeMap::new(),
            crl_numbers: BTreeMap::new(),
            grants: Grants::default(),
            log,
            latest: now,
        }
    }

    /// The digest of the roster that the CA began with.
    pub const fn genesis_roster(&self) -> Sha256Digest {
        self.genesis_roster
    }

    /// How many roster changes there were, and the standing roster's digest.
    pub const fn roster(&self) -> (u64, Sha256Digest) {
        (self.roster_number, self.roster)
    }

    /// The version of the policy in force, and its digest.
    pub const fn policy(&self) -> (u64, Sha256Digest) {
        (self.policy_version, self.policy)
    }

    /// Whether an approval with this nonce was used and could still be shown again.
    pub fn is_spent(&self, nonce: &str) -> bool {
        self.spent.contains_key(nonce)
    }

    /// How many used approvals are remembered.
    pub fn spent(&self) -> usize {
        self.spent.len()
    }

    /// Whether issuance for orders is stopped.
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Each authority's certificates of the hour before [`Self::latest`].
    pub fn issued(&self) -> impl Iterator<Item = (&AuthorityName, u64)> {
        self.issued.iter().map(|(authority, rate)| (authority, rate.within(self.latest)))
    }

    /// The last CRL number of a scope; 0 before the first.
    pub fn crl_number(&self, authority: &AuthorityName, scope: CrlScope) -> u64 {
        self.crl_numbers.get(authority).and_then(|scopes| scopes.get(&scope)).copied().unwrap_or(0)
    }

    /// Every CRL number.
    pub fn crl_numbers(&self) -> impl Iterator<Item = (&AuthorityName, CrlScope, u64)> {
        self.crl_numbers.iter().flat_map(|(authority, scopes)| scopes.iter().map(move |(scope, number)| (authority, *scope, *number)))
    }

    /// What is remembered of a grant.
    pub fn grant(&self, id: &GrantId) -> Option<&GrantMark> {
        self.grants.get(id)
    }

    /// How many grants are remembered.
    pub fn grants(&self) -> usize {
        self.grants.len()
    }

    /// What is wrong with a grant as the database has it: an earlier statement, or a state from before.
    pub fn grant_fault(&self, record: &GrantRecord) -> Option<String> {
        self.grants.fault(record)
    }

    /// Where the audit chain was when it was last followed.
    pub const fn log(&self) -> LogHead {
        self.log
    }

    /// How many rows of the audit trail a database that ends at `found` lacks, at least.
    pub fn rows_behind(&self, found: LogHead) -> u64 {
        self.log.number.saturating_sub(found.number)
    }

    /// The latest time seen.
    pub const fn latest(&self) -> Timestamp {
        self.latest
    }

    /// The state after all of `steps`.
    ///
    /// # Errors
    /// For the first step that does not follow; see [`AnchorError`].
    pub fn after(&self, steps: &[AnchorStep], now: Timestamp) -> Result<Self, AnchorError> {
        let mut next = self.clone();
        next.see(now)?;
        for step in steps {
            next.step(step, now)?;
        }
        Ok(next)
    }

    fn see(&mut self, now: Timestamp) -> Result<(), AnchorError> {
        if now.plus(Self::CLOCK_TOLERANCE) < self.latest {
            return Err(AnchorError::Clock { now, latest: self.latest });
        }
        self.latest = self.latest.max(now);
        let latest = self.latest;
        // What has expired can't be shown again, so it need not be remembered; the floor stands for it.
        let floor = self.spent.values().filter(|end| **end <= latest).max().copied();
        self.spent_floor = self.spent_floor.max(floor);
        self.spent.retain(|_, end| *end > latest);
        Ok(())
    }

    fn step(&mut self, step: &AnchorStep, now: Timestamp) -> Result<(), AnchorError> {
        match step {
            AnchorStep::Roster { number, roster } => self.change_roster(*number, *roster),
            AnchorStep::Policy { version, policy } => self.change_policy(*version, *policy),
            AnchorStep::Spend { nonce, expires_at } => self.spend(nonce, *expires_at),
            AnchorStep::Stop => {
                self.stopped = true;
                Ok(())
            }
            AnchorStep::Resume => {
                self.stopped = false;
                Ok(())
            }
            AnchorStep::Issue { .. } if self.stopped => Err(AnchorError::Stopped),
            AnchorStep::Issue { authority, cap } => self.rate(authority)?.take(*cap, now).map_err(|wait| AnchorError::RateLimited {
                authority: authority.clone(),
                cap: *cap,
                wait,
            }),
            AnchorStep::Issued { minutes, .. } if minutes.len() > Self::MAX_MINUTES => {
                Err(AnchorError::Refused(format!("{} minutes in one step; the most is {}", minutes.len(), Self::MAX_MINUTES)))
            }
            AnchorStep::Issued { authority, minutes } => {
                self.rate(authority)?.raise(minutes, now);
                Ok(())
            }
            AnchorStep::Crl { authority, scope, number } => self.crl(authority, *scope, *number),
            AnchorStep::Grant { id, place } => self.grants.stand(id, place, Self::MAX_GRANTS),
            AnchorStep::GrantStatus { id, status } => self.grants.change(id, *status),
            AnchorStep::Log(head) => self.follow(*head),
        }
    }

    fn change_roster(&mut self, number: u64, roster: Sha256Digest) -> Result<(), AnchorError> {
        let (known, digest) = self.roster();
        if number < known || number == known && roster != digest {
            return Err(AnchorError::Behind(format!(
                "the database has the officers' roster number {number} ({roster}), and this worker has seen number {known} ({digest})"
            )));
        }
        if number > known + 1 {
            return Err(AnchorError::Refused(format!("roster number {number} does not follow number {known}: one in between is missing")));
        }
        (self.roster_number, self.roster) = (number, roster);
        Ok(())
    }

    fn change_policy(&mut self, version: u64, policy: Sha256Digest) -> Result<(), AnchorError> {
        let (known, digest) = self.policy();
        if version < known || version == known && policy != digest {
            return Err(AnchorError::Behind(format!(
                "the database has policy version {version} ({policy}), and this worker has seen version {known} ({digest})"
            )));
        }
        (self.policy_version, self.policy) = (version, policy);
        Ok(())
    }

    fn spend(&mut self, nonce: &str, expires_at: Timestamp) -> Result<(), AnchorError> {
        if nonce.is_empty() || nonce.len() > Self::MAX_NONCE || !nonce.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(AnchorError::Refused(format!("an approval's nonce has 1 to {} printable characters", Self::MAX_NONCE)));
        }
        if self.spent.contains_key(nonce) {
            return Err(AnchorError::Spent);
        }
        if expires_at <= self.latest || self.spent_floor.is_some_and(|floor| expires_at <= floor) {
            return Err(AnchorError::Refused(format!("the approval ended at {expires_at} (hint: have the officers sign a new statement)")));
        }
        if self.spent.len() >= Self::MAX_SPENT {
            return Err(AnchorError::Refused(format!(
                "{} approvals were used and have not expired (hint: wait until some do; give approvals shorter lives)",
                Self::MAX_SPENT
            )));
        }
        self.spent.insert(nonce.to_owned(), expires_at);
        Ok(())
    }

    fn rate(&mut self, authority: &AuthorityName) -> Result<&mut Rate, AnchorError> {
        bounded(&self.issued, authority)?;
        Ok(self.issued.entry(authority.clone()).or_default())
    }

    fn crl(&mut self, authority: &AuthorityName, scope: CrlScope, number: u64) -> Result<(), AnchorError> {
        let last = self.crl_number(authority, scope);
        if number <= last {
            return Err(AnchorError::Behind(format!(
                "the database gives the next CRL of `{authority}` (scope {scope}) the number {number}, and this worker has signed {last}"
            )));
        }
        bounded(&self.crl_numbers, authority)?;
        let scopes = self.crl_numbers.entry(authority.clone()).or_default();
        bounded(scopes, &scope)?;
        scopes.insert(scope, number);
        Ok(())
    }

    fn follow(&mut self, to: LogHead) -> Result<(), AnchorError> {
        let from = self.log;
        if to.number < from.number || to.number == from.number && to.head != from.head {
            return Err(AnchorError::Behind(format!(
                "the audit chain ends at number {} ({}), and this worker has seen number {} ({})",
                to.number, to.head, from.number, from.head
            )));
        }
        self.log = to;
        Ok(())
    }

    /// Lets the log begin again where the officers say, because what followed is lost. Policy, roster, CRL numbers,
    /// spent approvals, grants and the stop stay as they are; the statement's own nonce is spent; its time becomes the latest.
    ///
    /// # Errors
    /// When the statement was used before, or is about another CA, roster or policy than this anchor's.
    pub fn accept_restore(&self, approved: &super::ApprovedAnchor, now: Timestamp) -> Result<Self, AnchorError> {
        let statement = approved.statement();
        let mut next = self.clone();
        if statement.operation != super::AnchorOperation::AcceptRestore {
            return Err(AnchorError::Refused("the officers' statement is not about a restore".to_owned()));
        }
        if (statement.genesis_roster, statement.roster_number, statement.roster) != (self.genesis_roster, self.roster_number, self.roster) {
            return Err(AnchorError::Refused(format!(
                "the officers' statement names another roster than number {} of this anchor",
                self.roster_number
            )));
        }
        if statement.replaces != Some(self.log) {
            return Err(AnchorError::Refused(format!(
                "the officers' statement gives up another record than this anchor's, which ends at number {} (hint: have a new one made)",
                self.log.number
            )));
        }
        next.latest = statement.issued_at;
        for rate in next.issued.values_mut() {
            rate.forget_after(now);
        }
        next.see(now)?;
        next.spend(&statement.nonce, statement.expires_at)?;
        next.log = statement.log;
        Ok(next)
    }
}

fn bounded<K: Ord, V>(map: &BTreeMap<K, V>, key: &K) -> Result<(), AnchorError> {
    if map.len() >= AnchorState::MAX_NAMES && !map.contains_key(key) {
        return Err(AnchorError::Refused(format!("{} authorities or scopes; there is no room for one more", AnchorState::MAX_NAMES)));
    }
    Ok(())
}
