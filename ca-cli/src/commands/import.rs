//! `ca import` and `ca rehearsal approve`: what changes the database directly, with the instance stopped. Both verify
//! the officers' signatures first; the worker verifies them again at each start.

mod cross;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ca_ceremony::VerifiedBundle;
use ca_core::ceremony::{CeremonyKind, PolicyBundle, Roster, RosterChain, RosterChange};
use ca_core::lifecycle::{TrustError, roster_chain};
use ca_core::log::{DEVICE_LOG_IMPORT, Leaf, read_leaf};
use ca_core::model::{Actor, AuditEntry, AuditRow, Authority, AuthorityName, CrlRecord, CrlScope, Outcome, RevokedAuthority};
use ca_core::pki::crl::Crl;
use ca_core::pki::{Certificate, Sha256Digest, sha256};
use ca_core::policy::Policy;
use ca_core::ports::{AdminStore as _, ApprovalStore as _, AuditStore as _, CertificateStore as _, Clock as _, StatusStore as _};
use ca_store_sqlite::SqliteStore;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::config::Config;
use crate::exit::{Exit, configuration, failure, store};
use crate::render::print;
use crate::serve::compose::read_roster;
use crate::system::{SystemClock, SystemRng};

pub(crate) use cross::import_cross;

/// The action of an import's audit entry, whose detail has the SHA-256 of each authority's certificate: the audit trail,
/// and with it the anchor, says which certificates a verified bundle brought.
const CEREMONY_IMPORT: &str = "ceremony.import";

/// The certificates that an audit row says were imported; none in any other row.
pub(super) fn imported(row: &AuditRow) -> Vec<Sha256Digest> {
    let Some(Leaf::Audit(entry)) = read_leaf(&row.leaf) else { return Vec::new() };
    if entry.action != CEREMONY_IMPORT || entry.outcome != Outcome::Done {
        return Vec::new();
    }
    let certificates = entry.detail.get("certificates").cloned().unwrap_or_default();
    serde_json::from_value::<BTreeMap<AuthorityName, Sha256Digest>>(certificates).unwrap_or_default().into_values().collect()
}

/// The most bytes of a copy.
const MAX_COPY: u64 = 64 * 1024 * 1024;

/// `ca import BUNDLE`
pub(crate) async fn import(config: &Config, previous: &[PathBuf], requests: &[PathBuf], bundle: &Path) -> anyhow::Result<()> {
    let roster = read_roster(config)?;
    let refused = |what: &str, e: ca_ceremony::Error| failure(Exit::from_code(e.exit_code()), format!("the {what} is refused: {e}"));
    let mut verified = ca_ceremony::verify_chain(previous, bundle, Some(&roster)).map_err(|e| refused("bundle", e))?;
    for request in requests {
        let logs = ca_ceremony::request_device_logs(request, &verified).map_err(|e| refused("request's record", e))?;
        verified.device_logs.extend(logs);
    }
    let opened = open(config).await?;
    let result = import_verified(&opened, &verified).await;
    opened.close().await;
    let stopped = result?;
    let names: Vec<&str> = verified.authorities.iter().map(|a| a.name.as_str()).collect();
    let mut with: Vec<String> = verified.policy.iter().map(|p| format!("policy version {}", p.version)).collect();
    with.extend(verified.crls.iter().map(|c| format!("CRL number {} of {}", c.number, c.authority)));
    let serials: BTreeSet<&str> = verified.device_logs.iter().map(|l| l.device.serial.as_str()).collect();
    with.extend(serials.into_iter().map(|serial| format!("the log of the device {serial}")));
    with.extend(verified.cross_certificates.iter().map(|(authority, _)| format!("a cross-certificate of {authority}")));
    let with = if with.is_empty() { String::new() } else { format!(", with {}", with.join(", ")) };
    print(&format!(
        "Imported {} from the {} ceremony `{}` ({}){with}. Start it: ca serve\n",
        names.join(", "),
        verified.roster.kind,
        verified.title,
        verified.acts.name(),
    ))?;
    if stopped.is_empty() {
        return Ok(());
    }
    let stopped: Vec<&str> = stopped.iter().map(AuthorityName::as_str).collect();
    print(&format!(
        "Revoked by the root's CRL: {}. It issues no more; its CRLs and OCSP go on. Send the root's CRL to every terminator.\n",
        stopped.join(", ")
    ))
}

/// Stops the authorities whose certificate the root's CRL lists (invariant 8: what is revoked is not good, and issues
/// nothing), and tells which were not stopped before.
async fn stop_revoked(opened: &SqliteStore, crl: &CrlRecord, officers: &[String]) -> anyhow::Result<Vec<AuthorityName>> {
    let entries = Crl::from_der(&crl.der).map_err(|e| failure(Exit::Refused, format!("the root's CRL: {e}")))?.entries();
    let known = opened.revoked_authorities().await.map_err(store)?;
    let mut stopped = Vec::new();
    for authority in opened.authorities().await.map_err(store)? {
        if authority.issuer.as_ref() != Some(&crl.authority) || known.iter().any(|r| r.authority == authority.name) {
            continue;
        }
        let serial = Certificate::from_der(&authority.certificate)
            .map_err(|e| failure(Exit::Failed, format!("the certificate of {}: {e}", authority.name)))?
            .serial();
        let Some(entry) = entries.iter().find(|e| e.serial == serial) else { continue };
        let evidence = json!({ "root_crl": crl.number, "sha256": sha256(&crl.der) });
        let revoked = RevokedAuthority {
            authority: authority.name.clone(),
            issuer: authority.issuer,
            serial,
            reason: entry.reason,
            invalidity_date: entry.invalidity_date,
            at: entry.revoked_at,
            statement: evidence.to_string(),
            signatures: Vec::new(),
        };
        let audit = AuditEntry {
            authority: Some(authority.name.clone()),
            ..self::entry("authority.revoke", &serial.to_string(), officers.to_vec(), evidence)
        };
        opened.put_revoked_authority(&revoked, &audit).await.map_err(store)?;
        stopped.push(authority.name);
    }
    Ok(stopped)
}

/// Inserts what a verified bundle has: all of it, or what of it is missing. Tells which authorities issue no more since
/// the root's CRL lists them.
pub(crate) async fn import_verified(opened: &SqliteStore, verified: &VerifiedBundle) -> anyhow::Result<Vec<AuthorityName>> {
    let Some(hierarchy) = &verified.hierarchy else {
        return Err(failure(
            Exit::Refused,
            "the ceremony dealt credentials before there was a root, so there is nothing to import (hint: the first ceremony's bundle)",
        ));
    };
    let now = SystemClock.now();
    let authorities: Vec<Authority> = verified.authorities.iter().cloned().map(|a| Authority { imported_at: now, ..a }).collect();
    let (authorities, crosses) = cross::part(verified, &opened.authorities().await.map_err(store)?, authorities)?;
    let officers: Vec<String> = verified.roster.officers.iter().map(|o| o.name.clone()).collect();
    // First of all what is revoked stops: an import that is cut off later leaves nothing running that should not.
    let mut stopped = Vec::new();
    for crl in &verified.crls {
        stopped.extend(stop_revoked(opened, crl, &officers).await?);
    }
    let certificates: BTreeMap<_, _> = authorities.iter().map(|a| (&a.name, sha256(&a.certificate))).collect();
    let audit = entry(
        CEREMONY_IMPORT,
        &verified.title,
        officers.clone(),
        json!({
            "kind": verified.acts.name(), "plan_sha256": verified.plan_sha256, "transcript": verified.transcript_head,
            "certificates": certificates,
        }),
    );
    opened.import_authorities(&authorities, &verified.crls, &audit).await.map_err(store)?;
    cross::put(opened, verified, &crosses).await?;
    import_device_logs(opened, verified).await?;
    // An older bundle may bring an authority that a later CRL, which is here already, lists.
    if let Some(crl) = opened.current_crl(hierarchy.root_name(), &CrlScope::FULL).await.map_err(store)? {
        stopped.extend(stop_revoked(opened, &crl, &officers).await?);
    }
    let Some(bundle) = &verified.policy_bundle else { return Ok(stopped) };
    let (policy, names) =
        bundle.verify(&verified.roster).map_err(|e| failure(Exit::Refused, format!("the bundle's policy is refused: {e}")))?;
    // A later policy that the officers approved since stands; the bundle's first one does not replace it.
    match opened.policy().await.map_err(store)? {
        Some((version, _)) if version > policy.version => {}
        _ => {
            // What the next start will demand: the officers who stand now, if there was a change since.
            standing(opened, &verified.roster, &policy, bundle).await?;
            put(opened, &policy, names, bundle).await?;
        }
    }
    Ok(stopped)
}

/// What the ceremony took out of its devices' logs, for the reconciliation of a CA whose device was one of them. The same
/// line of the same transcript counts once, however often it is imported.
async fn import_device_logs(opened: &SqliteStore, verified: &VerifiedBundle) -> anyhow::Result<()> {
    for log in &verified.device_logs {
        let officers = verified.roster.officers.iter().map(|o| o.name.clone()).collect();
        let audit = entry(DEVICE_LOG_IMPORT, &log.device.serial, officers, serde_json::to_value(log)?);
        opened.append_audit(&audit).await.map_err(store)?;
    }
    Ok(())
}

/// A copy of `ca policy show --json`; what else it says does not count.
#[derive(Deserialize)]
struct PolicyCopy {
    policy: String,
    statement: String,
    signatures: Vec<String>,
}

/// A copy of `ca officer list --json`.
#[derive(Deserialize)]
struct RosterCopy {
    changes: Vec<String>,
}

fn read_copy<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let wrong = |e: &dyn std::fmt::Display| configuration(format!("cannot read the copy {}: {e}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path).map_err(|e| wrong(&e))?.take(MAX_COPY).read_to_string(&mut text).map_err(|e| wrong(&e))?;
    serde_json::from_str(&text).map_err(|e| wrong(&e))
}

/// `ca policy import FILE`
pub(super) async fn import_policy(config: &Config, path: &Path) -> anyhow::Result<()> {
    let copy: PolicyCopy = read_copy(path)?;
    let bundle = PolicyBundle { policy: copy.policy, statement: copy.statement, signatures: copy.signatures };
    let refused = |e: &dyn std::fmt::Display| failure(Exit::Refused, format!("the policy is refused: {e}"));
    let version = Policy::parse(&bundle.policy).map_err(|e| refused(&e))?.version;
    let roster = read_roster(config)?;
    let opened = open(config).await?;
    let result: anyhow::Result<()> = async {
        let chain = chain(&opened, &roster).await?;
        let (policy, names) = bundle.verify(chain.for_policy(version)).map_err(|e| refused(&e))?;
        put(&opened, &policy, names, &bundle).await
    }
    .await;
    opened.close().await;
    result?;
    print(&format!("Policy version {version} is back; the worker takes it at its next start.\n"))
}

/// `ca officer import FILE`
pub(super) async fn import_roster(config: &Config, path: &Path) -> anyhow::Result<()> {
    let copy: RosterCopy = read_copy(path)?;
    let refused = |e: &dyn std::fmt::Display| failure(Exit::Refused, format!("the changes of the roster are refused: {e}"));
    let roster = read_roster(config)?;
    let opened = open(config).await?;
    let result: anyhow::Result<u64> = async {
        let here = chain(&opened, &roster).await?;
        let (mut whole, mut taken) = (RosterChain::new(roster.clone()).map_err(|e| refused(&e))?, 0);
        for document in &copy.changes {
            let change = RosterChange::from_json(document).map_err(|e| refused(&e))?;
            let (next, names) = whole.followed_by(&change).map_err(|e| refused(&e))?;
            whole = next;
            let number = whole.number();
            if number > here.number() {
                let audit = entry("roster.import", &format!("roster {number}"), names, serde_json::Value::Null);
                opened.put_roster_change(number, document, &audit).await.map_err(store)?;
                taken += 1;
            } else if here.at(number) != Some(whole.standing()) {
                return Err(refused(&format!("change {number} is another one than the database has")));
            }
        }
        Ok(taken)
    }
    .await;
    opened.close().await;
    let taken = result?;
    print(&format!("{taken} changes of the roster are back; the worker takes them at its next start.\n"))
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
        let version = Policy::parse(&text).map_err(|e| failure(Exit::Refused, e.to_string()))?.version;
        let chain = chain(&opened, &roster).await?;
        let (policy, names) =
            bundle.verify(chain.for_policy(version)).map_err(|e| failure(Exit::Refused, format!("the approval is refused: {e}")))?;
        put(&opened, &policy, names, &bundle).await?;
        Ok(policy.version)
    }
    .await;
    opened.close().await;
    let version = result?;
    print(&format!("The rehearsal's officers approved policy version {version}; the worker takes it at its next start.\n"))
}

/// The officers over time.
async fn chain(opened: &SqliteStore, genesis: &Roster) -> anyhow::Result<RosterChain> {
    roster_chain(opened, genesis.clone()).await.map_err(|e| match e {
        TrustError::Store(e) => store(e),
        other => failure(Exit::Refused, other.to_string()),
    })
}

async fn standing(opened: &SqliteStore, genesis: &Roster, policy: &Policy, bundle: &PolicyBundle) -> anyhow::Result<()> {
    let chain = chain(opened, genesis).await?;
    let verified = bundle.verify(chain.for_policy(policy.version));
    verified
        .map(|_| ())
        .map_err(|e| failure(Exit::Refused, format!("the bundle's policy is refused by the standing officers' roster: {e}")))
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]
mod tests;
