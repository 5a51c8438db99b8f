//! At each start: who the officers are and what they put in force, from the roster that a person compared.

use super::Officers;
use crate::anchor::{AnchorState, AnchorStep};
use crate::ceremony::{CaIdentity, CeremonyError, PolicyBundle, Roster, RosterChain, RosterChange};
use crate::pki::Timestamp;
use crate::policy::Policy;
use crate::ports::{AnchorError, StoreError, WorkerStore};

/// What a worker may start under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trusted {
    /// The policy in force.
    pub policy: Policy,
    /// The officers.
    pub officers: Officers,
    /// The approval of the policy.
    pub approval: PolicyApproval,
}

/// The approval behind the newest policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyApproval {
    /// Its statement's nonce.
    pub nonce: String,
    /// Until when the policy could be put in force with it.
    pub expires_at: Timestamp,
    /// Whether it is of an act on the running CA; else of a ceremony.
    pub on_running_ca: bool,
}

/// Why a worker may not start.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// There is none.
    #[error("there is no policy and no authority yet (hint: `ca import BUNDLE` brings a ceremony's bundle in)")]
    NoPolicy,
    /// The stored changes of the roster are not those that officers signed.
    #[error(
        "the stored changes of the officers' roster are refused: {0} (hint: the database was edited, or begins with another roster than trust.roster; bring the right one back)"
    )]
    Roster(CeremonyError),
    /// The stored policy is not what the officers put in force.
    #[error(
        "the stored policy, version {version}, is refused: {source} (hint: nothing is signed under a policy that its officers did not approve; import one that they did)"
    )]
    Policy {
        /// As the row has it.
        version: u64,
        /// Why.
        source: CeremonyError,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Trusted {
    /// Verifies the store's roster changes and its newest policy, beginning with the `genesis` roster.
    ///
    /// # Errors
    /// When there is no policy, or anything on the way is not what enough officers signed.
    pub async fn read(store: &dyn WorkerStore, genesis: Roster) -> Result<Self, TrustError> {
        let chain = roster_chain(store, genesis).await?;
        let (version, text) = store.policy().await?.ok_or(TrustError::NoPolicy)?;
        let refused = |source| TrustError::Policy { version, source };
        let bundle = PolicyBundle::from_json(&text).map_err(refused)?;
        let (policy, policy_approved_by) = bundle.verify(chain.for_policy(version)).map_err(refused)?;
        if policy.version != version {
            return Err(refused(CeremonyError::Refused { what: "policy", reason: format!("it is version {}", policy.version) }));
        }
        // A change that was approved for another CA with the same first roster has no place here.
        if chain.number() > 0 {
            let ca = CaIdentity::of(&store.authorities().await?, &policy);
            chain.check_ca(&ca.map(|ca| ca.roots).unwrap_or_default()).map_err(TrustError::Roster)?;
        }
        let (nonce, expires_at, on_running_ca) = bundle.approval().map_err(refused)?;
        let officers = Officers { chain, policy_sha256: bundle.policy_sha256(), policy_approved_by };
        Ok(Self { policy, officers, approval: PolicyApproval { nonce, expires_at, on_running_ca } })
    }
}

impl Trusted {
    /// The steps that bring an anchor up to what was verified in the store, where that is ahead: a death came between
    /// the store and the anchor, or a ceremony's policy was imported. Where the store is behind there are none, and
    /// [`crate::lifecycle::Worker::check_record`] says so.
    ///
    /// # Errors
    /// [`AnchorError::Refused`] for what no worker let in: the approval of an act on the running CA is spent in the
    /// anchor first, so a row whose approval is not was put there by someone else, be it signed by enough people once.
    /// A ceremony's policy must come within the time of its approval.
    pub fn catch_up(&self, anchor: &AnchorState, now: Timestamp) -> Result<Vec<AnchorStep>, AnchorError> {
        let never = |what: String| {
            Err(AnchorError::Refused(format!(
                "the database has {what}, whose approval was not used here, or has expired since (hint: someone wrote it into the database; bring the last good copy back)"
            )))
        };
        let chain = &self.officers.chain;
        let mut steps = Vec::new();
        for number in anchor.roster().0.saturating_add(1)..=chain.number() {
            let Some((roster, nonce)) = chain.at(number).zip(chain.nonce(number)) else { break };
            if !anchor.is_spent(nonce) {
                return never(format!("the officers' roster number {number}"));
            }
            steps.push(AnchorStep::Roster { number, roster: roster.digest() });
        }
        let version = self.policy.version;
        if version > anchor.policy().0 {
            let PolicyApproval { nonce, expires_at, on_running_ca } = &self.approval;
            let counts = if *on_running_ca { anchor.is_spent(nonce) } else { now < *expires_at };
            if !counts {
                return never(format!("policy version {version}"));
            }
            steps.push(AnchorStep::Policy { version, policy: self.officers.policy_sha256 });
        }
        Ok(steps)
    }
}

/// The officers' rosters, verified from `genesis` on.
///
/// # Errors
/// When a change is missing, or is not what enough officers signed.
pub async fn roster_chain(store: &dyn WorkerStore, genesis: Roster) -> Result<RosterChain, TrustError> {
    let most = u32::try_from(RosterChain::MAX_CHANGES + 1).unwrap_or(u32::MAX);
    let mut changes = Vec::new();
    for (expected, (number, document)) in (1u64..).zip(store.roster_changes(most).await?) {
        if number != expected {
            let reason = format!("change {expected} is missing");
            return Err(TrustError::Roster(CeremonyError::Refused { what: "roster change", reason }));
        }
        changes.push(RosterChange::from_json(&document).map_err(TrustError::Roster)?);
    }
    RosterChain::verify(genesis, &changes).map_err(TrustError::Roster)
}
