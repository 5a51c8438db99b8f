//! From the configuration to an anchor, or to the reason why nothing starts.

use std::sync::Arc;

use ca_core::anchor::{AnchorState, Beginning, LogHead, MemoryAnchor};
use ca_core::ceremony::{CeremonyKind, Roster, RosterChain};
use ca_core::lifecycle::{Trusted, WorkerError};
use ca_core::pki::{Sha256Digest, Timestamp};
use ca_core::ports::{Anchor, AnchorError};
use ca_store_sqlite::SqliteStore;

use super::{FileAnchor, audit_head};
use crate::config::Config;
use crate::exit::{Exit, configuration, failure, store as store_failure};

/// What a start knows of the policy in the store, whose quorum it has verified.
pub(crate) struct Verified {
    pub(crate) version: u64,
    pub(crate) sha256: Sha256Digest,
    /// The officers' rosters, from the first one on.
    pub(crate) chain: RosterChain,
    /// What of it an anchor has not taken yet.
    trusted: Trusted,
}

impl Verified {
    /// Of what was verified at the start.
    pub(crate) fn of(trusted: &Trusted) -> Self {
        let (policy, officers) = (&trusted.policy, &trusted.officers);
        Self { version: policy.version, sha256: officers.policy_sha256, chain: officers.chain.clone(), trusted: trusted.clone() }
    }
}

/// The anchor that the configuration names, held. A policy that the officers approved since is taken.
pub(crate) async fn open(
    config: &Config,
    roster: &Roster,
    policy: &Verified,
    store: &SqliteStore,
    now: Timestamp,
) -> anyhow::Result<Arc<dyn Anchor>> {
    let Some(section) = &config.anchor else { return without(roster, policy, store, now).await };
    let anchor = FileAnchor::open(&section.file).await?;
    let state = anchor.state();
    if state.genesis_roster() != roster.digest() {
        return Err(failure(
            Exit::Refused,
            format!(
                "the roster {} is not the one that the anchor {} began with: its digest is {}, the anchor's {} (hint: trust.roster names the roster of the first ceremony; later changes are in the database)",
                config.trust.roster.display(),
                section.file.display(),
                roster.digest(),
                state.genesis_roster()
            ),
        ));
    }
    // Older ones are for the worker's check, which raises the alarm.
    let steps = policy.trusted.catch_up(&state, now).map_err(failed)?;
    if !steps.is_empty() {
        anchor.take(&steps, now).map_err(failed)?;
        let (version, roster) = (policy.version, policy.chain.number());
        tracing::info!(version, roster, "the anchor has taken what the officers approved");
    }
    Ok(Arc::new(anchor))
}

/// A rehearsal may go without; production may not.
async fn without(roster: &Roster, policy: &Verified, store: &SqliteStore, now: Timestamp) -> anyhow::Result<Arc<dyn Anchor>> {
    if roster.kind == CeremonyKind::Production {
        return Err(configuration(
            "a production CA needs an anchor, and the configuration has none (hint: name its file under [anchor], and make it with `ca anchor init`: docs/officer.md, \"The anchor\")",
        ));
    }
    tracing::warn!("this rehearsal has no [anchor]: an older copy of its database will not be noticed after a restart");
    let digest = roster.digest();
    let log = match audit_head(store).await.map_err(store_failure)? {
        head if head.number > 0 => head,
        _ => LogHead::START,
    };
    let beginning = Beginning {
        genesis_roster: digest,
        roster_number: policy.chain.number(),
        roster: policy.chain.standing().digest(),
        policy_version: policy.version,
        policy: policy.sha256,
        log,
        now,
    };
    Ok(Arc::new(MemoryAnchor::new(AnchorState::new(beginning))))
}

/// An anchor's refusal with its exit code.
pub(crate) fn failed(error: AnchorError) -> anyhow::Error {
    let exit = match &error {
        AnchorError::Unavailable(_) | AnchorError::RateLimited { .. } | AnchorError::Clock { .. } => Exit::Temporary,
        AnchorError::Behind(_) | AnchorError::Spent | AnchorError::Stopped | AnchorError::Refused(_) => Exit::Refused,
    };
    failure(exit, error.to_string())
}

/// The same for a worker's round.
pub(crate) fn round_failed(error: WorkerError) -> anyhow::Error {
    match error {
        WorkerError::Anchor(error) => failed(error),
        WorkerError::Store(error) => store_failure(error),
        other => failure(Exit::Refused, other.to_string()),
    }
}
