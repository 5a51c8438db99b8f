//! Cross-certificates out of a ceremony's bundle: those of authorities here, by their own root or by another one.

use std::path::{Path, PathBuf};

use ca_ceremony::VerifiedBundle;
use ca_core::ceremony::{Hierarchy, Roster};
use ca_core::model::{AuditEntry, Authority, CrossCertificate, CrossError};
use ca_core::pki::sha256;
use ca_core::ports::{AdminStore as _, CertificateStore as _, Clock as _};
use ca_store_sqlite::SqliteStore;
use serde_json::json;

use super::{entry, open, read_roster};
use crate::config::Config;
use crate::exit::{Exit, failure, store};
use crate::render::print;
use crate::serve::compose::read_bounded;
use crate::system::SystemClock;

/// `ca import BUNDLE --cross-signed-by ROSTER`
pub(crate) async fn import_cross(config: &Config, previous: &[PathBuf], theirs: &Path, bundle: &Path) -> anyhow::Result<()> {
    let own = read_roster(config)?;
    let text = read_bounded(theirs, Roster::MAX_BYTES).map_err(|e| refused(format!("the roster {}: {e}", theirs.display())))?;
    let roster = Roster::parse(&text).map_err(|e| refused(format!("the roster {}: {e}", theirs.display())))?;
    if roster.kind != own.kind {
        return Err(refused(format!("the trusted roster is a {} one, that of the other root a {} one", own.kind, roster.kind)));
    }
    let verified = ca_ceremony::verify_chain(previous, bundle, Some(&roster))
        .map_err(|e| failure(Exit::from_code(e.exit_code()), format!("the bundle is refused: {e}")))?;
    let opened = open(config).await?;
    let result = import_cross_verified(&opened, &verified).await;
    opened.close().await;
    let (new, names) = result?;
    print(&format!(
        "Imported {new} new cross-certificates from the {} ceremony `{}`, which has those of {names}. Start it: ca serve\n",
        verified.roster.kind, verified.title
    ))
}

/// Inserts the cross-certificates of a bundle of another root, and nothing else of it. Tells how many were not here
/// before, and whose they are.
pub(super) async fn import_cross_verified(opened: &SqliteStore, verified: &VerifiedBundle) -> anyhow::Result<(u32, String)> {
    let authorities = opened.authorities().await.map_err(store)?;
    let mut found = Vec::new();
    for (_, der) in &verified.cross_certificates {
        found.extend(read(verified, der, &authorities)?);
    }
    if found.is_empty() {
        return Err(refused("the bundle has no cross-certificate of an authority here (hint: the bundle of the ceremony that made it)"));
    }
    let names: Vec<&str> = found.iter().map(|cross| cross.authority.as_str()).collect();
    Ok((put(opened, verified, &found).await?, names.join(", ")))
}

/// Parts a bundle of an own root into the authorities to import and the cross-certificates of those that are here without
/// it. Of a CA that was not known, the cross-certificate is what makes it an authority below that root.
///
/// A root that is another one than those here makes no authority of a stranger: all that it cross-certified must be known.
pub(super) fn part(
    verified: &VerifiedBundle,
    stored: &[Authority],
    mut authorities: Vec<Authority>,
) -> anyhow::Result<(Vec<Authority>, Vec<CrossCertificate>)> {
    let crosses = &verified.cross_certificates;
    let own = authorities.iter().filter(|a| crosses.iter().all(|(_, der)| *der != a.certificate));
    let known: Vec<Authority> = stored.iter().chain(own).cloned().collect();
    let root = verified.hierarchy.as_ref().map(|h| h.root().der());
    let is_own = stored.is_empty() || stored.iter().any(|a| Some(&*a.certificate) == root);
    let mut found = Vec::new();
    for (_, der) in crosses {
        match CrossCertificate::read(der, issuer(verified)?.root(), &known) {
            Ok(None) => {}
            Ok(Some(cross)) => {
                authorities.retain(|a| a.certificate != *der);
                found.push(cross);
            }
            Err(CrossError::Unknown(_)) if is_own => {}
            Err(error) => return Err(no_cross(error)),
        }
    }
    Ok((authorities, found))
}

/// Stores them, on record with what proves them.
pub(super) async fn put(opened: &SqliteStore, verified: &VerifiedBundle, found: &[CrossCertificate]) -> anyhow::Result<u32> {
    if found.is_empty() {
        return Ok(0);
    }
    let told: Vec<_> =
        found.iter().map(|c| json!({ "authority": c.authority, "issuer": c.issuer, "sha256": sha256(&c.certificate) })).collect();
    let officers = verified.roster.officers.iter().map(|o| o.name.clone()).collect();
    let detail = json!({ "plan_sha256": verified.plan_sha256, "transcript": verified.transcript_head, "certificates": told });
    let audit = AuditEntry { at: SystemClock.now(), ..entry("cross.import", &verified.title, officers, detail) };
    opened.import_cross_certificates(found, &audit).await.map_err(store)
}

fn read(verified: &VerifiedBundle, der: &[u8], authorities: &[Authority]) -> anyhow::Result<Option<CrossCertificate>> {
    CrossCertificate::read(der, issuer(verified)?.root(), authorities).map_err(no_cross)
}

fn issuer(verified: &VerifiedBundle) -> anyhow::Result<&Hierarchy> {
    verified.hierarchy.as_ref().ok_or_else(|| refused("the bundle has no root"))
}

fn no_cross(error: CrossError) -> anyhow::Error {
    refused(format!("{:#}", anyhow::Error::new(error)))
}

fn refused(why: impl std::fmt::Display) -> anyhow::Error {
    failure(Exit::Refused, format!("cross-certificates are refused: {why}"))
}
