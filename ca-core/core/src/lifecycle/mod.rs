//! The worker: leases signing requests and lifecycle jobs, and is the only one that has authority keys used.
//!
//! [`Worker::step_requests`] serves the front end's queue, [`Worker::tick_jobs`] the schedule,
//! [`Worker::reconcile`] closes what a death left open, [`Worker::step_compromises`] revokes what has a compromised key,
//! [`Worker::drain_device_log`] follows the device's own log,
//! [`Worker::apply_statement`] does what operators signed, [`Worker::approve`] what enough officers signed,
//! [`Worker::follow_record`] sees that the database is the one that the anchor remembers. All of them enter
//! [`crate::issuance`]; there is no second signing path. Each may be called at any time and from any
//! task: leases and compare-and-set in the store keep them apart, and a restart just calls them again.
//!
//! Deliberately absent: loops, timers and tasks, which belong to the shell; and trust in rows, see
//! [`crate::evidence::chain`].

mod acts;
mod compromise;
mod device_log;
mod grants;
mod guard;
mod jobs;
mod join;
mod key_use;
mod operator;
mod order;
mod probe;
mod reconcile;
mod released;
mod replace;
mod requests;
mod signer;
mod star;
mod turn;
mod validity;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::evidence::chain::Verifier;
use crate::evidence::memo::Memo;
use crate::evidence::verified::VerifiedSignatures;
use crate::model::{Actor, AuditEntry, AuthorityName, GrantId, OrderId, Outcome, WorkerId};
use crate::pki::{PublicKey, Timestamp};
use crate::policy::Policy;
use crate::ports::{Anchor, AnchorError, Clock, EabSecrets, KeyStore, KeyStoreError, Publisher, Rng, StoreError, WorkerStore};
use crate::profile::BlockedKeys;
use crate::validation::attestation::AttestationCrls;

pub use acts::{Officers, PolicyApproval, ProposalRequest, ProposalView, TrustError, Trusted, roster_chain};
pub use device_log::{FollowedLog, reconcile};
pub use guard::{WINDOW, walk};
pub use operator::{EabKey, OperatorReply};
pub use probe::{HaltPoint, NoProbe, Probe};

/// How many certificates are read, at most, to count an authority's last hour after a start.
pub const SEED_LIMIT: u32 = 10_000;

/// How many orders are remembered as released.
const RELEASED: usize = 100_000;

/// Everything a worker works with.
pub struct WorkerParts {
    /// The store.
    pub store: Arc<dyn WorkerStore>,
    /// What this worker remembers outside the store.
    pub anchor: Arc<dyn Anchor>,
    /// The authority keys.
    pub keys: Arc<dyn KeyStore>,
    /// Where CRLs are put besides the store.
    pub publisher: Option<Arc<dyn Publisher>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// The secrets of external account bindings.
    pub secrets: Arc<dyn EabSecrets>,
    /// The policy, from a bundle whose quorum was verified.
    pub policy: Policy,
    /// The officers, from a verified roster chain, and the policy's digest.
    pub officers: Officers,
    /// The public keys of the CA's own servers and responders. One that the policy does not pin is never used.
    pub own_keys: Vec<PublicKey>,
    /// Lists of published keys, which are never certified, and no account's.
    pub blocked: Arc<BlockedKeys>,
    /// Site settings.
    pub settings: WorkerSettings,
    /// Is told when the worker passes a named point.
    pub probe: Arc<dyn Probe>,
}

/// Site settings of a worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerSettings {
    /// Below which URL status is served, for example `http://127.0.0.1:14002`; it is baked into certificates.
    pub status_base_url: String,
    /// How far times in certificates and CRLs are set back.
    pub skew: Duration,
    /// For how long requests and jobs are leased. Should be well above the time that a batch takes.
    pub lease: Duration,
    /// The most requests in one lease.
    pub batch: u32,
}

impl WorkerSettings {
    /// The defaults: 60 seconds of skew, leases of 60 seconds, 32 requests at once.
    pub fn new(status_base_url: impl Into<String>) -> Self {
        let minute = Duration::from_secs(60);
        Self { status_base_url: status_base_url.into(), skew: minute, lease: minute, batch: 32 }
    }
}

/// Why the worker could not do a round of work; the next round may succeed.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The store.
    #[error("the worker's store: {0}")]
    Store(#[from] StoreError),
    /// The device behind the authority keys.
    #[error("the device of the authority keys: {0}")]
    Device(#[from] KeyStoreError),
    /// The anchor, or what the database is beside it.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The policy that was offered is older than the one in use.
    #[error("the policy has version {offered}, and version {current} is in use: a policy's version only grows")]
    PolicyRollback {
        /// In use.
        current: u64,
        /// Offered.
        offered: u64,
    },
}

/// The worker.
pub struct Worker {
    id: WorkerId,
    store: Arc<dyn WorkerStore>,
    anchor: Arc<dyn Anchor>,
    keys: Arc<dyn KeyStore>,
    publisher: Option<Arc<dyn Publisher>>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    secrets: Arc<dyn EabSecrets>,
    policy: RwLock<Arc<Policy>>,
    officers: RwLock<Arc<Officers>>,
    /// Whether an act of the officers is under way.
    acting: AtomicBool,
    /// The authorities whose certificate officers revoked, once they were read.
    revoked: RwLock<Option<HashSet<AuthorityName>>>,
    own_keys: Vec<PublicKey>,
    blocked: Arc<BlockedKeys>,
    settings: WorkerSettings,
    probe: Arc<dyn Probe>,
    verifier: Verifier,
    /// The authorities whose record of the last hour was counted.
    counted: Mutex<HashSet<AuthorityName>>,
    trouble: Mutex<guard::Trouble>,
    signers: Mutex<signer::Signers>,
    /// The orders whose certificate this worker released or has on record, with the end of the last one.
    released: Mutex<Memo<OrderId, Timestamp>>,
    asked: Mutex<device_log::AskedByKey>,
    /// The grants whose alarm was raised.
    grants_off: Mutex<HashSet<GrantId>>,
    /// How many revoked certificates with a time that cannot be were told of, by authority.
    impossible_times: Mutex<HashMap<AuthorityName, usize>>,
    /// Operators' acts on grants, one after the other.
    grant_acts: turn::Turns,
    /// How many certificates were revoked for another one's compromise.
    followed: AtomicU64,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Worker({})", self.id)
    }
}

impl Worker {
    /// A worker with an id of its own.
    pub fn new(parts: WorkerParts) -> Self {
        let WorkerParts { store, anchor, keys, publisher, clock, rng, secrets, policy, officers, own_keys, blocked, settings, probe } =
            parts;
        Self {
            id: WorkerId::random(&*rng),
            store,
            anchor,
            keys,
            publisher,
            clock,
            rng,
            secrets,
            policy: RwLock::new(Arc::new(policy)),
            officers: RwLock::new(Arc::new(officers)),
            acting: AtomicBool::new(false),
            revoked: RwLock::default(),
            own_keys,
            blocked,
            settings,
            probe,
            verifier: Verifier::default(),
            counted: Mutex::default(),
            trouble: Mutex::default(),
            signers: Mutex::default(),
            released: Mutex::new(Memo::new(RELEASED)),
            asked: Mutex::default(),
            grants_off: Mutex::default(),
            impossible_times: Mutex::default(),
            grant_acts: turn::Turns::default(),
            followed: AtomicU64::default(),
        }
    }

    /// Lists of published keys; a front end in the same process asks them too.
    pub fn blocked_keys(&self) -> Arc<BlockedKeys> {
        Arc::clone(&self.blocked)
    }

    /// Holds what devices attest against these CRLs of their makers from now on.
    pub fn set_attestation_crls(&self, crls: Arc<AttestationCrls>) {
        self.verifier.set_attestation_crls(crls);
    }

    /// Those in use; a front end in the same process asks them too.
    pub fn attestation_crls(&self) -> Arc<AttestationCrls> {
        self.verifier.attestation_crls()
    }

    /// The signatures of requests that this worker has verified; a front end in the same process may share them.
    pub fn verified_signatures(&self) -> Arc<VerifiedSignatures> {
        Arc::clone(self.verifier.signatures())
    }

    /// The policy in use.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes on under another policy, whose quorum the caller has verified and whose version the anchor has taken
    /// ([`crate::anchor::AnchorStep::Policy`]).
    ///
    /// # Errors
    /// When it is older than the one in use, or not the anchor's.
    pub fn set_policy(&self, policy: Policy) -> Result<(), WorkerError> {
        self.change_policy(policy, |_| Ok(()))
    }

    /// The same; `first` is done after the check of the version and before the policy is used, while nobody reads it.
    fn change_policy(&self, policy: Policy, first: impl FnOnce(&dyn Anchor) -> Result<(), AnchorError>) -> Result<(), WorkerError> {
        let mut current = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        if policy.version < current.version {
            return Err(WorkerError::PolicyRollback { current: current.version, offered: policy.version });
        }
        first(&*self.anchor)?;
        let (anchored, _) = self.anchor.state().policy();
        if policy.version != anchored {
            return Err(AnchorError::Refused(format!("policy version {} is offered, and the anchor has {anchored}", policy.version)).into());
        }
        *current = Arc::new(policy);
        Ok(())
    }

    fn audit(
        &self,
        action: &str,
        authority: Option<&AuthorityName>,
        object: impl Into<String>,
        outcome: Outcome,
        correlation: impl Into<String>,
    ) -> AuditEntry {
        AuditEntry {
            at: self.clock.now(),
            actor: Actor::system("worker"),
            action: action.to_owned(),
            authority: authority.cloned(),
            object: object.into(),
            outcome,
            correlation: correlation.into(),
            detail: serde_json::Value::Null,
        }
    }

    /// Says loudly, in the log and in the audit trail, that something happened which never should.
    async fn alarm(&self, authority: Option<&AuthorityName>, object: &str, correlation: &str, reason: &str) {
        tracing::error!(authority = authority.map(AuthorityName::as_str), object, reason, "alarm");
        let outcome = Outcome::Failed { reason: reason.to_owned() };
        let entry = self.audit("worker.alarm", authority, object, outcome, correlation);
        // Once more: a row that someone else put at the trail's end costs the first writer after it its transaction.
        for _ in 0..2 {
            match self.store.append_audit(&entry).await {
                Ok(_) => return,
                Err(error) => tracing::error!(%error, object, "the alarm could not be written to the audit trail"),
            }
        }
    }

    fn correlation(&self) -> String {
        crate::model::AttemptId::new(self.clock.now(), &*self.rng).to_string()
    }

    fn lease_end(&self, now: Timestamp) -> Timestamp {
        now.plus(self.settings.lease)
    }
}
