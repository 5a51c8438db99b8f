//! Revocations that nobody asked for: does each follow from a compromise of the same key that is on record before it?
//!
//! Pure, a row at a time, for the command and for an auditor with an export. It takes the trail twice, so that it need not
//! remember every certificate: first it learns which are named, then it holds them against what their intents and causes say.
//! A key's own word is verified from the request in the row. An account's is compared in everything but its signature, for the
//! trail has no accounts' keys; of operators and officers the row is what there is. The report counts them apart.
//!
//! Deliberately absent: the chain, which [`super::Reconciler`] checks, and certificates that should have followed and did not:
//! an auditor sees those in the record itself, by their key.

use std::collections::HashMap;

use serde::Serialize;

use super::{Leaf, read_leaf};
use crate::evidence::compromise::{Compromise, CompromiseError, Word};
use crate::model::{
    AccountId, Actor, AuditEntry, AuditRow, CertificateName, FollowedCompromise, Intent, IntentContent, KeyBlock, Origin, Outcome,
};
use crate::pki::{Sha256Digest, Timestamp};

/// The most findings that are kept; more are only counted.
const MAX_FINDINGS: usize = 100;

/// What an intent says of a certificate.
#[derive(Debug)]
struct Certified {
    spki_sha256: Sha256Digest,
    not_after: Timestamp,
    account: Option<AccountId>,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct FollowedReport {
    /// Certificates revoked because another one's key said of itself that it is compromised.
    pub by_key: u64,
    /// … because their account said so of another one of its own.
    pub by_account: u64,
    /// … because operators or officers said so.
    pub by_operators: u64,
    /// Revocations that do not follow from what they name, each with its row; at most 100.
    pub findings: Vec<String>,
    /// How many findings there were.
    pub finding_count: u64,
}

/// Takes the whole audit trail twice: each row to [`Self::prepare`], then each to [`Self::take`].
#[derive(Debug, Default)]
pub struct FollowedRevocations {
    /// Certificates that are named, with what the trail has of them so far.
    named: HashMap<CertificateName, Option<Certified>>,
    /// Rows that are named, with what they say, once they were passed.
    causes: HashMap<u64, Option<Result<Compromise, CompromiseError>>>,
    /// The last row of the first reading.
    prepared: u64,
    report: FollowedReport,
}

fn followed(entry: &AuditEntry) -> Option<Result<FollowedCompromise, serde_json::Error>> {
    let follows = entry.detail.get("follows")?;
    Some(serde_json::from_value(follows.clone()))
}

fn subject(entry: &AuditEntry) -> Option<CertificateName> {
    Some(CertificateName { authority: entry.authority.clone()?, serial: entry.object.parse().ok()? })
}

fn is_revocation(entry: &AuditEntry) -> bool {
    entry.action == "certificate.revoke" && entry.outcome == Outcome::Done
}

impl FollowedRevocations {
    /// The first reading.
    pub fn prepare(&mut self, row: &AuditRow) {
        self.prepared = row.number;
        let Some(Leaf::Audit(entry)) = read_leaf(&row.leaf) else { return };
        if let Some(Ok(follows)) = followed(&entry).filter(|_| is_revocation(&entry)) {
            self.causes.insert(follows.row, None);
            self.named.insert(follows.cause, None);
            self.named.extend(subject(&entry).map(|name| (name, None)));
        }
    }

    /// The second reading, of the same rows; those that came since are left for another time.
    pub fn take(&mut self, row: &AuditRow) {
        if row.number > self.prepared {
            return;
        }
        match read_leaf(&row.leaf) {
            Some(Leaf::Intent(intent)) => self.intent(&intent),
            Some(Leaf::Audit(entry)) => {
                if is_revocation(&entry)
                    && let Err(finding) = self.judge(row.number, &entry)
                {
                    self.report.finding_count += 1;
                    if self.report.findings.len() < MAX_FINDINGS {
                        let text = format!("row {}: the revocation of certificate {} {finding}", row.number, entry.object);
                        self.report.findings.push(text);
                    }
                }
                if let Some(cause) = self.causes.get_mut(&row.number) {
                    *cause = Some(Compromise::read(&entry));
                }
            }
            None => {}
        }
    }

    /// The report.
    pub fn finish(self) -> FollowedReport {
        self.report
    }

    fn intent(&mut self, intent: &Intent) {
        let IntentContent::Certificate(certificate) = &intent.content else { return };
        let name = CertificateName { authority: intent.authority.clone(), serial: certificate.serial };
        let Some(known) = self.named.get_mut(&name) else { return };
        let account = match &intent.origin {
            Origin::Order { account, .. } | Origin::Renewal { account, .. } => Some(account.clone()),
            Origin::Job { .. } | Origin::Ceremony => None,
        };
        *known = Some(Certified { spki_sha256: certificate.spki_sha256, not_after: certificate.not_after, account });
    }

    fn judge(&mut self, number: u64, entry: &AuditEntry) -> Result<(), String> {
        let follows = match (followed(entry), &entry.actor) {
            (Some(follows), Actor::System { .. }) => follows.map_err(|e| format!("names its cause in a way that does not parse: {e}"))?,
            (None, Actor::System { component }) => return Err(format!("is by the system's {component}, and names no cause")),
            (Some(_), _) => return Err("names a cause, and is somebody's own act".to_owned()),
            (None, _) => return Ok(()),
        };
        let row = follows.row;
        if entry.detail.get("reason").and_then(|reason| reason.as_str()) != Some(KeyBlock::REVOCATION.name()) {
            return Err(format!("follows row {row} for another reason"));
        }
        if row >= number {
            return Err(format!("names row {row}, which comes after it"));
        }
        let cause = match self.causes.get(&row).and_then(Option::as_ref) {
            Some(Ok(cause)) => cause,
            Some(Err(error)) => return Err(format!("names row {row}, which shows no compromise: {error}")),
            None => return Err(format!("names row {row}, which is no act")),
        };
        let known = |name: &CertificateName| self.named.get(name).and_then(Option::as_ref);
        if cause.certificate != follows.cause {
            return Err(format!("names row {row}, which is about certificate {}", cause.certificate.serial));
        }
        let key = cause.spki_sha256.or(known(&follows.cause).map(|c| c.spki_sha256));
        if key != Some(follows.spki_sha256) {
            return Err(format!("names row {row}, whose certificate has another key"));
        }
        let own = subject(entry);
        let own = own.as_ref().and_then(known).ok_or_else(|| "is of one that the trail has no intent of".to_owned())?;
        if own.spki_sha256 != follows.spki_sha256 {
            return Err(format!("follows row {row}, and it has another key"));
        }
        if own.not_after <= entry.at {
            return Err(format!("follows row {row} after its end"));
        }
        match &cause.word {
            Word::Key => self.report.by_key += 1,
            Word::Operators => self.report.by_operators += 1,
            Word::Account(account) if own.account.as_ref() == Some(account) => self.report.by_account += 1,
            Word::Account(account) => return Err(format!("follows row {row}, by which account {account} ends another's certificate")),
        }
        Ok(())
    }
}
