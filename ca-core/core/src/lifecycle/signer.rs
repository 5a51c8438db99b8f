//! The authorities that this worker may sign for, and the walk from prepared bytes to a released object.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{HaltPoint, Worker};
use crate::evidence::chain::Refusal;
use crate::issuance::{self, IssuanceError, Prepared};
use crate::model::{Abandonment, Actor, AttemptId, AuthorityKind, AuthorityName, Completed, KeyLabel, ProblemType};
use crate::pki::Certificate;
use crate::policy::Policy;
use crate::ports::{AnchorError, GRANT_CAP_REACHED, KEY_BLOCKED, KeyStoreError, StoreError, StoreResult};
use crate::profile::Issuer;

/// An authority with an online key that the policy names.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) authority: AuthorityName,
    pub(super) key: KeyLabel,
    pub(super) issuer: Issuer,
}

pub(super) type Signers = HashMap<AuthorityName, Arc<Signer>>;

/// Why something was not released.
#[derive(Debug)]
pub(super) enum Failure {
    /// For good.
    Refused(Refusal),
    /// May go better later.
    Later { cause: String, wait: Option<Duration> },
    /// The lease has passed to another.
    Fenced,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced => Self::Fenced,
            other => Self::later(other),
        }
    }
}

impl From<AnchorError> for Failure {
    fn from(error: AnchorError) -> Self {
        let wait = match &error {
            AnchorError::RateLimited { wait, .. } => *wait,
            AnchorError::Stopped => Duration::from_secs(10),
            _ => Duration::from_secs(15),
        };
        Self::Later { cause: error.to_string(), wait: Some(wait) }
    }
}

impl Failure {
    pub(super) fn later(cause: impl std::fmt::Display) -> Self {
        Self::Later { cause: cause.to_string(), wait: None }
    }
}

impl Worker {
    /// Reads the authorities; what was parsed before is kept.
    pub(super) async fn signers(&self, policy: &Policy) -> StoreResult<Signers> {
        let authorities = self.store.authorities().await?;
        let mut known = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = Signers::new();
        for authority in authorities {
            let (AuthorityKind::Issuing, Some(key)) = (authority.kind, authority.key) else { continue };
            let Some(rules) = policy.authority(&authority.name) else { continue };
            let same = |s: &&Arc<Signer>| s.key == key && s.issuer.certificate().der() == authority.certificate;
            let signer = match known.get(&authority.name).filter(same) {
                Some(signer) => Arc::clone(signer),
                None => {
                    let issuer = Certificate::from_der(&authority.certificate).map_err(|e| e.to_string());
                    match issuer.and_then(|c| Issuer::new(c).map_err(|e| e.to_string())) {
                        Ok(issuer) => Arc::new(Signer { authority: authority.name.clone(), key, issuer }),
                        Err(error) => {
                            tracing::error!(authority = %authority.name, error, "the authority's certificate is unusable");
                            continue;
                        }
                    }
                }
            };
            // The policy binds keys: a row can't put another certificate in an authority's place.
            if signer.issuer.certificate().public_key().spki_sha256() == rules.key_sha256 {
                now.insert(authority.name, signer);
            } else {
                tracing::error!(authority = %authority.name, "the policy names another key for this authority; nothing is signed for it");
            }
        }
        known.clone_from(&now);
        Ok(now)
    }

    /// Records, signs, verifies and releases; gives the DER. What fails after the intent is abandoned at once.
    pub(super) async fn issue<T: Send>(&self, prepared: Prepared<T>) -> Result<Vec<u8>, Failure> {
        let intent = prepared.intent();
        let (attempt, authority, actor) = (intent.attempt.clone(), intent.authority.clone(), intent.actor.clone());
        let key = intent.key.clone();
        let recorded = issuance::record(&*self.store, prepared).await.map_err(|e| match e {
            IssuanceError::Store(StoreError::Conflict(reason)) if reason == GRANT_CAP_REACHED => {
                Refusal::new(ProblemType::RateLimited, "the enrolment grant's cap was reached meanwhile (hint: order again later)").into()
            }
            IssuanceError::Store(StoreError::Conflict(reason)) if reason == KEY_BLOCKED => {
                Refusal::new(ProblemType::BadCsr, format!("the CSR's key: {reason}")).into()
            }
            // Where the owner has ended or rests it comes again at once, and is judged by what stands then.
            IssuanceError::Store(error) => error.into(),
            other => Failure::later(other),
        })?;
        self.probe.at(HaltPoint::AfterIntent);
        self.count_asked(&key);
        let signed = match issuance::sign(&*self.keys, recorded).await {
            Ok(signed) => signed,
            Err(error) => {
                self.give_up(&attempt, &authority, &error.to_string()).await;
                if !matches!(error, IssuanceError::Key(KeyStoreError::Unavailable(_))) {
                    self.alarm(Some(&authority), attempt.as_str(), attempt.as_str(), &error.to_string()).await;
                }
                return Err(Failure::Later { cause: error.to_string(), wait: Some(Duration::from_secs(15)) });
            }
        };
        self.count_answered(&key);
        self.probe.at(HaltPoint::AfterSign);
        self.probe.at(HaltPoint::BeforeRelease);
        match issuance::release(&*self.store, signed, actor, self.clock.now()).await {
            Ok((Completed::Released, der)) => {
                self.probe.at(HaltPoint::AfterRelease);
                Ok(der)
            }
            Ok((Completed::Fenced, _)) => {
                let reason = "the lease, or the order's account or grant, had ended when the signature came";
                self.give_up(&attempt, &authority, reason).await;
                Err(Failure::later(reason))
            }
            Err(error) => {
                self.give_up(&attempt, &authority, &error.to_string()).await;
                Err(Failure::later(error))
            }
        }
    }

    /// Abandons an attempt now; where that fails too, the reconciler does it later.
    async fn give_up(&self, attempt: &AttemptId, authority: &AuthorityName, reason: &str) {
        let abandonment = Abandonment {
            attempt: attempt.clone(),
            authority: authority.clone(),
            reason: reason.to_owned(),
            actor: Actor::system("worker"),
            at: self.clock.now(),
        };
        if let Err(error) = self.store.abandon(&abandonment).await {
            tracing::warn!(%attempt, %error, "the attempt is not abandoned yet");
        }
    }
}
