//! What only the record, the policy and the site's lists tell of a key: that it stands for something else already, or
//! that its private half is not only its holder's.

use super::Worker;
use super::requests::Batch;
use super::signer::Failure;
use crate::evidence::chain::Refusal;
use crate::evidence::jwk::Jwk;
use crate::model::{KeyAsked, KeyBlock, ProblemType};
use crate::pki::{KeyError, PublicKey, Sha256Digest};
use crate::policy::Policy;
use crate::profile::is_same_key;

/// Whose key of this CA it is, as the policy has it.
fn whose_by_policy(policy: &Policy, digest: &Sha256Digest) -> Option<String> {
    policy.authorities.iter().find_map(|rules| {
        if rules.key_sha256 == *digest {
            return Some(format!("authority `{}`", rules.name));
        }
        let own = rules.own.iter().any(|own| own.key_sha256 == *digest);
        own.then(|| format!("a server or responder of authority `{}`", rules.name))
    })
}

impl Worker {
    /// Judges the key of a request: no authority's, no own server's or responder's, no account's, not blocked.
    pub(super) fn key_is_free(&self, batch: &Batch, key: &PublicKey) -> Result<(), Failure> {
        let taken = |whose: String| Refusal::new(ProblemType::BadCsr, format!("the CSR's key: {}", KeyError::Reused(whose)));
        let digest = key.spki_sha256();
        // The policy first: officers signed it, and a row can't take a key out of it.
        if let Some(whose) = whose_by_policy(&batch.policy, &digest) {
            return Err(taken(whose).into());
        }
        if let Some((name, _)) = batch.authority_keys.iter().find(|(_, other)| is_same_key(key, other)) {
            return Err(taken(format!("authority `{name}`")).into());
        }
        let known = batch.use_of(&Jwk::ask_about(key))?;
        if known.account {
            return Err(taken("an account".to_owned()).into());
        }
        self.judge_block(key, known.block.as_ref()).map_err(|mut refusal| {
            refusal.problem.detail = format!("the CSR's key: {}", refusal.problem.detail);
            refusal.into()
        })
    }

    /// Judges the key of an account that is new or orders: who else has it would have the account. No authority's, none of its
    /// own servers and responders, not blocked, on no list of published keys.
    pub(super) fn account_key_is_free(&self, batch: &Batch, key: &PublicKey) -> Result<(), Failure> {
        let digest = key.spki_sha256();
        let refused = |detail: String| Refusal::new(ProblemType::BadPublicKey, detail);
        if whose_by_policy(&batch.policy, &digest).is_some() {
            return Err(refused("the account's key is one of the CA's own (hint: make another key)".to_owned()).into());
        }
        let known = batch.use_of(&KeyAsked::whether_blocked(digest))?;
        self.judge_block(key, known.block.as_ref()).map_err(|mut refusal| {
            refusal.problem = refused(format!("the account's key: {}", refusal.problem.detail)).problem;
            refusal.into()
        })
    }

    /// No operator blocked the key, no certificate with it was revoked for keyCompromise, and it is on no list of
    /// published keys.
    pub(super) async fn not_blocked(&self, key: &PublicKey) -> Result<(), Failure> {
        let known = self.store.key_use(KeyAsked::whether_blocked(key.spki_sha256())).await?;
        Ok(self.judge_block(key, known.block.as_ref())?)
    }

    fn judge_block(&self, key: &PublicKey, block: Option<&KeyBlock>) -> Result<(), Refusal> {
        if self.blocked.has(key) {
            return Err(Refusal::new(ProblemType::BadCsr, KeyError::Published.to_string()));
        }
        let Some(block) = block else { return Ok(()) };
        let mut refusal = Refusal::new(ProblemType::BadCsr, block.told());
        refusal.cause = format!("the key {} is blocked: {block}", key.spki_sha256());
        Err(refusal)
    }
}
