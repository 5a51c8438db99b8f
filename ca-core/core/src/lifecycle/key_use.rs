//! What only the record, the policy and the site's lists tell of a key: that it stands for something else already, or
//! that its private half is not only its holder's.

use super::Worker;
use super::requests::Batch;
use super::signer::Failure;
use crate::evidence::chain::Refusal;
use crate::evidence::jwk::Jwk;
use crate::model::ProblemType;
use crate::pki::{KeyError, PublicKey};
use crate::profile::is_same_key;

impl Worker {
    /// Judges the key of a request: no authority's, no own server's or responder's, no account's, not blocked.
    pub(super) async fn key_is_free(&self, batch: &Batch, key: &PublicKey) -> Result<(), Failure> {
        let taken = |whose: String| Refusal::new(ProblemType::BadCsr, format!("the CSR's key: {}", KeyError::Reused(whose)));
        let digest = key.spki_sha256();
        // The policy first: officers signed it, and a row can't take a key out of it.
        for rules in &batch.policy.authorities {
            if rules.key_sha256 == digest {
                return Err(taken(format!("authority `{}`", rules.name)).into());
            }
            if rules.own.iter().any(|own| own.key_sha256 == digest) {
                return Err(taken(format!("a server or responder of authority `{}`", rules.name)).into());
            }
        }
        if let Some((name, _)) = batch.authority_keys.iter().find(|(_, other)| is_same_key(key, other)) {
            return Err(taken(format!("authority `{name}`")).into());
        }
        // RFC 8555 §11.1: an account key must not be certified, whosever account it is.
        if let Some(jwk) = Jwk::of_key(key)
            && self.store.account_by_key(&jwk.thumbprint()).await?.is_some()
        {
            return Err(taken("an account".to_owned()).into());
        }
        self.not_blocked(key).await.map_err(|failure| match failure {
            Failure::Refused(mut refusal) => {
                refusal.problem.detail = format!("the CSR's key: {}", refusal.problem.detail);
                Failure::Refused(refusal)
            }
            other => other,
        })
    }

    /// No operator blocked the key, no certificate with it was revoked for keyCompromise, and it is on no list of
    /// published keys.
    pub(super) async fn not_blocked(&self, key: &PublicKey) -> Result<(), Failure> {
        if self.blocked.has(key) {
            return Err(Refusal::new(ProblemType::BadCsr, KeyError::Published.to_string()).into());
        }
        match self.store.key_block(&key.spki_sha256()).await? {
            None => Ok(()),
            Some(block) => {
                let mut refusal = Refusal::new(ProblemType::BadCsr, block.told());
                refusal.cause = format!("the key {} is blocked: {block}", key.spki_sha256());
                Err(refusal.into())
            }
        }
    }
}
