//! `ca import` and `ca rehearsal approve`: what changes the database directly, with the instance stopped. Both verify
//! the officers' signatures first; the worker verifies them again at each start.

use std::path::Path;
use std::sync::Arc;

use ca_ceremony::VerifiedBundle;
use ca_core::ceremony::{CeremonyKind, PolicyBundle};
use ca_core::model::{Actor, AuditEntry, Authority, Outcome};
use ca_core::policy::Policy;
use ca_core::ports::{AdminStore as _, Clock as _};
use ca_store_sqlite::SqliteStore;
use serde_json::json;

use crate::config::Config;
use crate::exit::{Exit, configuration, failure, store};
use crate::render::print;
use crate::serve::compose::read_roster;
use crate::system::{SystemClock, SystemRng};

/// `ca import BUNDLE`
pub(crate) async fn import(config: &Config, bundle: &Path) -> anyhow::Result<()> {
    let roster = read_roster(config)?;
    let verified = ca_ceremony::verify(bundle, Some(&roster))
        .map_err(|e| failure(Exit::from_code(e.exit_code()), format!("the bundle is refused: {e}")))?;
    let opened = open(config).await?;
    let result = import_verified(&opened, &verified).await;
    opened.close().await;
    result?;
    let names: Vec<&str> = verified.authorities.iter().map(|a| a.name.as_str()).collect();
    let mut with: Vec<String> = verified.policy.iter().map(|p| format!("policy version {}", p.version)).collect();
    with.extend(verified.crls.iter().map(|c| format!("CRL number {} of {}", c.number, c.authority)));
    with.extend(verified.cross_certificates.iter().map(|(authority, _)| format!("a cross-certificate of {authority}")));
    let with = if with.is_empty() { String::new() } else { format!(", with {}", with.join(", ")) };
    print(&format!(
        "Imported {} from the {} ceremony `{}` ({}){with}. Start it: ca serve\n",
        names.join(", "),
        verified.roster.kind,
        verified.title,
        verified.acts.name(),
    ))
}

/// Inserts what a verified bundle has: all of it, or what of it is missing.
pub(crate) async fn import_verified(opened: &SqliteStore, verified: &VerifiedBundle) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let authorities: Vec<Authority> = verified.authorities.iter().cloned().map(|a| Authority { imported_at: now, ..a }).collect();
    let officers = verified.roster.officers.iter().map(|o| o.name.clone()).collect();
    let audit = entry(
        "ceremony.import",
        &verified.title,
        officers,
        json!({ "kind": verified.acts.name(), "plan_sha256": verified.plan_sha256, "transcript": verified.transcript_head }),
    );
    opened.import_authorities(&authorities, &verified.crls, &audit).await.map_err(store)?;
    let Some(bundle) = &verified.policy_bundle else { return Ok(()) };
    let (policy, names) =
        bundle.verify(&verified.roster).map_err(|e| failure(Exit::Refused, format!("the bundle's policy is refused: {e}")))?;
    // A later policy that the officers approved since stands; the bundle's first one does not replace it.
    match opened.policy().await.map_err(store)? {
        Some((version, _)) if version > policy.version => Ok(()),
        _ => put(opened, &policy, names, bundle).await,
    }
}

/// `ca rehearsal approve POLICY`
pub(crate) async fn approve(config: &Config, path: &Path, dir: &Path) -> anyhow::Result<()> {
    let roster = read_roster(config)?;
    if roster.kind != CeremonyKind::Rehearsal {
        return Err(failure(
            Exit::Refused,
            "the trusted roster is a production one: its officers approve policies in a ceremony (hint: ca ceremony)",
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|e| configuration(format!("cannot read the policy {}: {e}", path.display())))?;
    // Opened first: with the instance running nothing gets signed.
    let opened = open(config).await?;
    let result: anyhow::Result<u64> = async {
        let bundle = ca_ceremony::approve_policy_rehearsal(dir, &text, &SystemClock, &SystemRng)
            .map_err(|e| failure(Exit::from_code(e.exit_code()), format!("the policy is not approved: {e}")))?;
        let (policy, names) = bundle.verify(&roster).map_err(|e| failure(Exit::Refused, format!("the approval is refused: {e}")))?;
        put(&opened, &policy, names, &bundle).await?;
        Ok(policy.version)
    }
    .await;
    opened.close().await;
    let version = result?;
    print(&format!("The rehearsal's officers approved policy version {version}; the worker takes it at its next start.\n"))
}

async fn put(opened: &SqliteStore, policy: &Policy, officers: Vec<String>, bundle: &PolicyBundle) -> anyhow::Result<()> {
    let audit = entry("policy.import", &format!("version {}", policy.version), officers, serde_json::Value::Null);
    opened.put_policy(policy.version, &bundle.to_json(), &audit).await.map_err(store)
}

async fn open(config: &Config) -> anyhow::Result<SqliteStore> {
    SqliteStore::open(&config.store.path, Arc::new(SystemRng)).await.map_err(store)
}

fn entry(action: &str, object: &str, officers: Vec<String>, detail: serde_json::Value) -> AuditEntry {
    AuditEntry {
        at: SystemClock.now(),
        actor: Actor::Officers { names: officers },
        action: action.to_owned(),
        authority: None,
        object: object.to_owned(),
        outcome: Outcome::Done,
        correlation: format!("{action} {object}"),
        detail,
    }
}
