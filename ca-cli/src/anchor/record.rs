//! What the database says, for a statement that officers sign.

use std::time::Duration;

use ca_core::anchor::{AnchorOperation, AnchorState, AnchorStatement, AnchorStep, LogHead};
use ca_core::ceremony::Roster;
use ca_core::model::{Authority, AuthorityKind, AuthorityName, CrlScope};
use ca_core::pki::{Timestamp, hex};
use ca_core::ports::{AuditStore as _, CertificateStore as _, Rng, StatusStore as _, StoreResult};
use ca_store_sqlite::SqliteStore;

use super::open::Verified;
use crate::exit::{configuration, store as store_failure};

/// How long the officers have to sign.
const LIFE: Duration = Duration::from_secs(7 * 86_400);

/// Where the audit chain ends, by search: rows are numbered without gaps.
pub(crate) async fn audit_head(store: &SqliteStore) -> StoreResult<LogHead> {
    let row = async |number: u64| {
        let Some(before) = number.checked_sub(1) else { return Ok(None) };
        StoreResult::Ok(store.audit_after(before, 1).await?.into_iter().next())
    };
    let mut above = 1u64;
    while row(above).await?.is_some() {
        above = above.saturating_mul(2);
    }
    // Now the end is below `above`.
    let mut below = 0;
    while below + 1 < above {
        let middle = below + (above - below) / 2;
        if row(middle).await?.is_some() { below = middle } else { above = middle }
    }
    Ok(row(below).await?.map_or(LogHead::START, |row| LogHead { number: row.number, head: row.hash }))
}

/// The CA as statements name it: its root.
pub(crate) async fn root(store: &SqliteStore) -> anyhow::Result<AuthorityName> {
    let authorities: Vec<Authority> = store.authorities().await.map_err(store_failure)?;
    authorities
        .into_iter()
        .find(|a| a.kind == AuthorityKind::Root)
        .map(|a| a.name)
        .ok_or_else(|| configuration("there is no authority yet (hint: `ca import BUNDLE` brings a ceremony's bundle in)"))
}

/// The statement for the officers. With the anchor's state it is about a restore.
pub(crate) async fn statement(
    store: &SqliteStore,
    roster: &Roster,
    policy: &Verified,
    restored: Option<&AnchorState>,
    rng: &dyn Rng,
    now: Timestamp,
) -> anyhow::Result<AnchorStatement> {
    let mut nonce = [0u8; 16];
    rng.fill(&mut nonce);
    // What stays is the anchor's.
    let (genesis_roster, (roster_number, standing), (policy_version, policy_sha256)) = match restored {
        Some(state) => (state.genesis_roster(), state.roster(), state.policy()),
        None => {
            let chain = &policy.chain;
            (roster.digest(), (chain.number(), chain.standing().digest()), (policy.version, policy.sha256))
        }
    };
    Ok(AnchorStatement {
        format: AnchorStatement::FORMAT.to_owned(),
        operation: if restored.is_some() { AnchorOperation::AcceptRestore } else { AnchorOperation::Init },
        authority: root(store).await?,
        genesis_roster,
        roster_number,
        roster: standing,
        policy_version,
        policy_sha256,
        log: audit_head(store).await.map_err(store_failure)?,
        replaces: restored.map(AnchorState::log),
        nonce: hex(&nonce),
        issued_at: now,
        expires_at: now.plus(LIFE),
    })
}

/// The CRL numbers that the database has, for a new anchor to begin with.
pub(crate) async fn crl_steps(store: &SqliteStore) -> StoreResult<Vec<AnchorStep>> {
    let mut steps = Vec::new();
    for authority in store.authorities().await? {
        let scope = CrlScope::FULL;
        if let Some(crl) = store.current_crl(&authority.name, &scope).await? {
            steps.push(AnchorStep::Crl { authority: authority.name, scope, number: crl.number });
        }
    }
    Ok(steps)
}
