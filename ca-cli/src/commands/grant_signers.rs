//! Who signed which grant, and `ca grant sign`: one operator takes over what another one signed.

use std::collections::BTreeMap;
use std::path::Path;

use ca_core::evidence::grant::{GrantSigner, as_told, row_fault, signer};
use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{GrantId, GrantRecord, GrantStatus};
use ca_core::policy::Policy;
use ca_core::ports::Clock as _;
use serde_json::{Value, json};

use super::grant::{policy, told_edited};
use super::{confirm, grant_life, grant_terms, submit};
use crate::cli::{GrantSign, Signing};
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, code_of, failure};
use crate::render::{many, plain, print, print_json};
use crate::system::SystemClock;

/// How many grants are asked for at once.
const PAGE: u32 = 1000;

/// Every grant of a running instance, newest first.
pub(super) async fn every_grant(socket: &Path) -> anyhow::Result<Vec<GrantRecord>> {
    let mut every: Vec<GrantRecord> = Vec::new();
    loop {
        let after = every.last().map(|record| record.grant.id.clone());
        let ControlAnswer::Grants { grants } = ask(socket, &ControlRequest::Grants { after, limit: PAGE }).await? else {
            return Err(unexpected());
        };
        if grants.is_empty() {
            return Ok(every);
        }
        every.extend(grants);
    }
}

/// A signer in a table.
pub(super) fn told(signer: &GrantSigner) -> String {
    match &signer.operator {
        Some(name) if signer.counts => name.clone(),
        Some(name) => format!("{name} (may not)"),
        None => "nobody in the policy".to_owned(),
    }
}

/// A signer with its key, and with what follows where it does not count.
pub(super) fn told_in_full(signer: &GrantSigner) -> String {
    let key = signer.fingerprint.as_ref().map_or_else(|| "no key".to_owned(), |key| key.0.clone());
    let rests = if signer.counts { "" } else { ": nothing is issued until another operator signs it (hint: ca grant sign)" };
    plain(&format!("{} ({key}){rests}", told(signer)))
}

/// Grants whose signer counts in one policy, and in the next no longer.
pub(super) struct Orphans(BTreeMap<String, usize>);

/// What a policy would leave without a signer. Revoked grants need none.
pub(super) async fn orphans(config: &Config, before: &Policy, after: &Policy) -> anyhow::Result<Orphans> {
    let mut lost = BTreeMap::new();
    if before.operators != after.operators {
        for record in every_grant(&config.control.socket).await? {
            let now = signer(&record.evidence, before);
            if record.status != GrantStatus::Revoked && now.counts && !signer(&record.evidence, after).counts {
                *lost.entry(now.operator.unwrap_or_default()).or_default() += 1;
            }
        }
    }
    Ok(Orphans(lost))
}

impl Orphans {
    /// A warning; nothing where none is lost.
    pub(super) fn told(&self) -> String {
        let line = |(name, count): (&String, &usize)| {
            let (name, grants) = (plain(name), many(*count as u64, "grant"));
            format!(
                "WARNING: {grants} that {name} signed would be good for nothing under this policy: nothing is issued or renewed under them \
                 until another operator signs them (hint: before it is in force, ca grant sign --signed-by {name})\n"
            )
        };
        self.0.iter().map(line).collect()
    }

    pub(super) fn to_json(&self) -> Value {
        json!(self.0)
    }
}

/// `ca grant sign`
pub(super) async fn sign(config: &Config, args: GrantSign) -> anyhow::Result<()> {
    let policy = policy(config).await?;
    let GrantSign { ids, signed_by, without_signer, yes, signing, output } = args;
    let (mut chosen, mut ended) = (Vec::new(), Vec::new());
    if ids.is_empty() {
        let now = SystemClock.now();
        let meant = |record: &GrantRecord| {
            let signer = signer(&record.evidence, &policy);
            let is =
                |name: &String| signer.operator.as_ref() == Some(name) || signer.fingerprint.as_ref().is_some_and(|key| key.0 == *name);
            if without_signer { !signer.counts } else { signed_by.as_ref().is_some_and(is) }
        };
        for record in every_grant(&config.control.socket).await? {
            if record.status == GrantStatus::Revoked || !meant(&record) {
                continue;
            }
            let end = as_told(&record.evidence).ok().and_then(|(grant, _)| grant.valid_until);
            if end.is_some_and(|end| end <= now) { ended.push(record.grant.id) } else { chosen.push(record) }
        }
    } else {
        for id in &ids {
            chosen.push(grant_life::find(config, id).await?);
        }
    }
    if chosen.is_empty() && ended.is_empty() {
        return Err(failure(Exit::Failed, "there is no such grant (hint: ca grant list says who signed which)"));
    }
    let (mut signed, mut failed) = (Vec::new(), Vec::new());
    if !chosen.is_empty() {
        for record in &chosen {
            eprint!("{}", terms(record)?);
        }
        confirm(&format!("{}, as shown, will stand on your signature", many(chosen.len() as u64, "grant")), yes)?;
    }
    for record in &chosen {
        match sign_one(config, record, &signing).await {
            Ok(()) => signed.push(record.grant.id.clone()),
            Err(error) => failed.push((record.grant.id.clone(), error)),
        }
    }
    tell(&signed, &ended, &failed, output.json)
}

/// What would be signed: the statement's terms, which take the place of what an edited row says.
fn terms(record: &GrantRecord) -> anyhow::Result<String> {
    let edited = row_fault(record).map_or_else(String::new, |fault| told_edited(&fault));
    let (grant, _) = as_told(&record.evidence).map_err(|e| failure(Exit::Refused, format!("grant `{}`: {e}", record.grant.id)))?;
    Ok(format!("{edited}{}", grant_terms::whole(&grant)))
}

async fn sign_one(config: &Config, record: &GrantRecord, signing: &Signing) -> anyhow::Result<()> {
    let (grant, place) = as_told(&record.evidence).map_err(|e| failure(Exit::Refused, e.to_string()))?;
    let operation = Operation::GrantUpdate { grant, replaces: place.statement };
    match submit(config, signing, operation).await? {
        OperatorReply::GrantUpdated { hmac_key: None } => Ok(()),
        _ => Err(unexpected()),
    }
}

/// One that fails leaves the others signed; the exit code is the first one's.
fn tell(signed: &[GrantId], ended: &[GrantId], failed: &[(GrantId, anyhow::Error)], is_json: bool) -> anyhow::Result<()> {
    if is_json {
        let failed: Vec<Value> = failed.iter().map(|(id, error)| json!({ "id": id, "error": format!("{error:#}") })).collect();
        print_json(&json!({ "signed": signed, "ended": ended, "failed": failed }))?;
    } else if !signed.is_empty() {
        print(&format!("Signed {}. Their accounts go on as they are; clients need nothing new.\n", many(signed.len() as u64, "grant")))?;
    }
    for id in ended {
        eprintln!("grant {id} has ended, and was not signed (hint: ca grant extend, which signs it too, or revoke it)");
    }
    let Some((_, first)) = failed.first() else { return Ok(()) };
    let told: Vec<String> = failed.iter().map(|(id, error)| format!("grant {id} was not signed: {error:#}")).collect();
    Err(failure(code_of(first), told.join("; ")))
}
