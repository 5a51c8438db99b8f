//! Every other certificate with a compromised key is revoked (BR 4.9.1.1; ACME requirement A11).
//!
//! What there is to do stands in the store from the transaction on that recorded the cause, and goes once nothing is left:
//! a death in between only puts it off. Its row is not believed: the cause is read from the audit trail and verified each
//! time, and so is that the certificates have the key. Like every revocation it goes on whatever else is wrong.

use std::sync::atomic::Ordering;

use super::{Worker, WorkerError};
use crate::evidence::compromise::{Compromise, Word};
use crate::log::{Leaf, read_leaf};
use crate::model::{Actor, AuditEntry, CertificateRecord, CompromisedKey, KeyBlock, Outcome, RevocationRequest};
use crate::pki::{Certificate, Sha256Digest};
use crate::ports::StoreResult;

/// How many keys one round looks at.
const ROUND: u32 = 16;

/// How many certificates of a key are read, and revoked, in one round.
const PAGE: u32 = 1024;

/// How many of them are revoked in one transaction.
const TOGETHER: usize = 64;

/// A cause that holds.
struct Cause {
    entry: Box<AuditEntry>,
    compromise: Compromise,
}

impl Worker {
    /// Revokes the next certificates whose key is compromised; tells how many, and how many keys it is done with. Runs at each
    /// start, and while the worker runs.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn step_compromises(&self) -> Result<usize, WorkerError> {
        let mut done = 0;
        for key in self.store.compromises(ROUND).await? {
            let followed = match self.cause_of(&key).await? {
                Ok(cause) => self.follow_compromise(&key, &cause).await?,
                Err(reason) => Err(reason),
            };
            let (revoked, refusal) = match followed {
                Ok(revoked) => (revoked, None),
                Err(reason) => {
                    let reason = format!("certificates with the key {} are not revoked for its compromise: {reason}", key.spki_sha256);
                    let object = key.cause.serial.to_string();
                    self.alarm(Some(&key.cause.authority), &object, &format!("row {}", key.row), &reason).await;
                    let outcome = Outcome::Refused { reason };
                    let entry = self.audit("key.follow", Some(&key.cause.authority), key.spki_sha256.to_string(), outcome, object);
                    (0, Some(entry))
                }
            };
            let ended = self.store.end_compromise(&key, self.clock.now(), refusal.as_ref()).await?;
            done += revoked + usize::from(ended);
        }
        Ok(done)
    }

    /// How many certificates this worker has revoked because another one's key was compromised.
    pub fn followed_compromises(&self) -> u64 {
        self.followed.load(Ordering::Relaxed)
    }

    /// Reads why the key is compromised; the reason when the trail does not show it.
    async fn cause_of(&self, key: &CompromisedKey) -> StoreResult<Result<Cause, String>> {
        let rows = self.store.audit_after(key.row.saturating_sub(1), 1).await?;
        let leaf = rows.into_iter().next().filter(|row| row.number == key.row).and_then(|row| read_leaf(&row.leaf));
        let Some(Leaf::Audit(entry)) = leaf else { return Ok(Err(format!("row {} of the audit trail is no act", key.row))) };
        let compromise = match Compromise::read(&entry) {
            Ok(compromise) => compromise,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if compromise.certificate != key.cause {
            return Ok(Err(format!("row {} of the audit trail is about another certificate", key.row)));
        }
        let record = self.store.certificate(&key.cause.authority, &key.cause.serial).await?;
        let same = record.is_some_and(|record| has_key(&record, &key.spki_sha256));
        if !same || compromise.spki_sha256.is_some_and(|other| other != key.spki_sha256) {
            return Ok(Err(format!("certificate {} has another key", key.cause.serial)));
        }
        match (&compromise.word, &key.account) {
            (Word::Key | Word::Operators, None) => {}
            (Word::Account(id), Some(account)) if id == account => {
                let account = self.store.account(account).await?;
                let signed = account.map(|account| Compromise::is_signed_by(&entry, &account));
                if !matches!(signed, Some(Ok(()))) {
                    let hint = "hint: it may have changed its key since; revoke its certificates with this key yourself";
                    return Ok(Err(format!("the request is not signed by the key of account {id} ({hint})")));
                }
            }
            (Word::Key | Word::Operators | Word::Account(_), _) => {
                return Ok(Err("it is on another word than its row says".to_owned()));
            }
        }
        Ok(Ok(Cause { entry, compromise }))
    }

    /// Revokes the next certificates of a key; tells how many, or why none.
    async fn follow_compromise(&self, key: &CompromisedKey, cause: &Cause) -> StoreResult<Result<usize, String>> {
        let now = self.clock.now();
        let records = self.store.certificates_of_compromise(key, now, PAGE).await?;
        if let Some(other) = records.iter().find(|record| !has_key(record, &key.spki_sha256)) {
            return Ok(Err(format!("certificate {} has another key than its record says", other.serial)));
        }
        let request = |record: &CertificateRecord| RevocationRequest {
            authority: record.authority.clone(),
            serial: record.serial,
            reason: KeyBlock::REVOCATION,
            // The key is the same, and so is since when it is suspected.
            invalidity_date: cause.compromise.invalidity_date,
            actor: Actor::system("worker"),
            at: now,
            correlation: cause.entry.correlation.clone(),
        };
        let mut revoked = 0;
        for group in records.chunks(TOGETHER) {
            let requests: Vec<_> = group.iter().map(request).collect();
            revoked += self.store.revoke_compromised(key, &requests).await?;
        }
        if revoked > 0 {
            self.followed.fetch_add(revoked, Ordering::Relaxed);
            let (key, cause) = (&key.spki_sha256, &key.cause.serial);
            tracing::warn!(%key, %cause, revoked, "certificates are revoked: another one with their key was revoked for keyCompromise");
        }
        Ok(Ok(usize::try_from(revoked).unwrap_or(usize::MAX)))
    }
}

/// Whether a certificate has the key, by its bytes where there are any.
fn has_key(record: &CertificateRecord, spki_sha256: &Sha256Digest) -> bool {
    let by_bytes = || {
        let certificate = Certificate::from_der(&record.der);
        certificate.is_ok_and(|c| c.serial() == record.serial && c.public_key().spki_sha256() == *spki_sha256)
    };
    record.spki_sha256 == *spki_sha256 && (record.der.is_empty() || by_bytes())
}
