//! From a request's bytes to a signed answer.

use std::sync::Arc;
use std::time::Duration;

use ca_core::lint;
use ca_core::model::{RevocationReason, SerialStatus};
use ca_core::pki::Timestamp;
use ca_core::pki::ocsp::{
    Answer, CertId, CertStatus, OcspError, OcspRequest, ResponseData, ResponseStatus, assemble_response, build_response_data,
};
use ca_core::ports::{ServiceKeyError, StoreError};

use crate::authority::AuthorityState;
use crate::cache::{Key, Signed};
use crate::config::NeverIssued;
use crate::follow::{Responder, in_time};

/// What goes back to a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// A signed answer.
    Signed {
        /// The answer.
        answer: Arc<Signed>,
        /// Whether HTTP caches may keep it: it answers one CertID and no nonce (RFC 5019).
        cacheable: bool,
    },
    /// A status alone.
    Error(ResponseStatus),
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
enum NotSigned {
    #[error("the revocation ledger was not read lately")]
    Stale,
    #[error("the store can't be believed at the moment")]
    Impeded,
    #[error("the OCSP key has no valid certificate")]
    NoCertificate,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] ServiceKeyError),
    #[error(transparent)]
    Encoding(#[from] OcspError),
    /// The first of what was found.
    #[error("the linter refuses the answer: {0}")]
    Lint(String),
}

impl NotSigned {
    fn lint(findings: Vec<lint::Finding>) -> Self {
        Self::Lint(findings.first().map(ToString::to_string).unwrap_or_default())
    }
}

impl Responder {
    /// Answers a request about certificates of the authority named, or of the default one. None: no such authority.
    pub async fn answer(&self, authority: Option<&str>, request: &[u8]) -> Option<Reply> {
        let authority = self.authority(authority)?;
        Some(self.answer_for(&authority, request).await)
    }

    async fn answer_for(&self, authority: &AuthorityState, request: &[u8]) -> Reply {
        let Ok(request) = OcspRequest::from_der(request) else {
            return Reply::Error(ResponseStatus::MalformedRequest);
        };
        // RFC 5019 §2.2.3: unauthorized when nothing asked about is this authority's; where mixed, the others are unknown.
        if authority.key.is_none() || !request.cert_ids.iter().any(|id| authority.id.is_issuer_of(id)) {
            return Reply::Error(ResponseStatus::Unauthorized);
        }
        let now = self.clock.now();
        let cacheable = request.nonce.is_none() && request.cert_ids.len() == 1;
        let key = request.cert_ids.first().filter(|_| cacheable).and_then(|id| Key::of(authority.index, id));
        let kept = key.and_then(|key| self.cache.get(&key)).filter(|answer| now < answer.next_update);
        if let Some(answer) = &kept
            && (now < answer.refresh_at || !self.may_sign() || !authority.is_fresh(now, self.config.max_stale))
        {
            return Reply::Signed { answer: Arc::clone(answer), cacheable };
        }
        match (self.sign(authority, request, key, now).await, kept) {
            (Ok(answer), _) | (Err(_), Some(answer)) => Reply::Signed { answer, cacheable },
            (Err(error @ (NotSigned::Key(_) | NotSigned::Encoding(_) | NotSigned::Lint(_))), None) => {
                tracing::error!(authority = %authority.name, %error, "no OCSP answer could be signed");
                Reply::Error(ResponseStatus::InternalError)
            }
            (Err(error), None) => {
                tracing::debug!(authority = %authority.name, %error, "no OCSP answer was signed");
                Reply::Error(ResponseStatus::TryLater)
            }
        }
    }

    async fn sign(
        &self,
        authority: &AuthorityState,
        request: OcspRequest,
        key: Option<Key>,
        now: Timestamp,
    ) -> Result<Arc<Signed>, NotSigned> {
        if !self.may_sign() {
            return Err(NotSigned::Impeded);
        }
        if !authority.is_fresh(now, self.config.max_stale) {
            return Err(NotSigned::Stale);
        }
        let signer = authority.signer(now).ok_or(NotSigned::NoCertificate)?;
        // Before the status is read: a revocation that is followed meanwhile then shows as another number.
        let ledger_number = authority.ledger().number;

        let this_update = now.minus(self.config.skew);
        let next_update = now.plus(self.config.validity).min(signer.certificate.not_after());
        let mut data = ResponseData {
            produced_at: this_update,
            answers: Vec::with_capacity(request.cert_ids.len()),
            nonce: request.nonce,
            extended_revoke: false,
        };
        let mut was_issued = true;
        for cert_id in request.cert_ids {
            let status = if authority.id.is_issuer_of(&cert_id) {
                self.status(authority, &cert_id).await?.unwrap_or_else(|| {
                    was_issued = false;
                    self.never_issued(&mut data)
                })
            } else {
                CertStatus::Unknown
            };
            data.answers.push(Answer { cert_id, status, this_update, next_update });
        }
        let tbs = build_response_data(&data, signer.key.public_key())?;
        let above = [authority.certificate.der()];
        lint::response_data(&tbs, &lint::Context { issuers: &above, previous_crl: None }).refuse_errors().map_err(NotSigned::lint)?;
        let signature = signer.key.sign(&tbs)?;
        let der = assemble_response(&tbs, signer.algorithm, &signature, signer.certificate.der())?;
        let signed = Arc::new(Signed::new(der, this_update, next_update, self.refresh_at(now, next_update)));

        if let Some(key) = key.filter(|_| was_issued) {
            let ledger = authority.ledger();
            if ledger.number == ledger_number {
                self.cache.insert(key, Arc::clone(&signed));
            }
        }
        Ok(signed)
    }

    /// What the record says; none for a serial that was never issued.
    async fn status(&self, authority: &AuthorityState, id: &CertId) -> Result<Option<CertStatus>, StoreError> {
        let Some(serial) = id.serial() else { return Ok(None) };
        Ok(in_time(self.store.status(&authority.name, &serial)).await?.map(|status| match status {
            SerialStatus::Good => CertStatus::Good,
            SerialStatus::Revoked { at, reason } => CertStatus::Revoked { at, reason },
        }))
    }

    fn never_issued(&self, data: &mut ResponseData) -> CertStatus {
        match self.config.never_issued {
            NeverIssued::Unknown => CertStatus::Unknown,
            NeverIssued::Revoked => {
                // RFC 6960 §2.2, §4.4.8: certificateHold, 1970-01-01, and the extension that says what it means.
                data.extended_revoke = true;
                CertStatus::Revoked { at: Timestamp::from_unix(0), reason: RevocationReason::CertificateHold }
            }
        }
    }

    /// Between a half and three quarters of its life, so that answers signed together are not all signed again together.
    fn refresh_at(&self, now: Timestamp, next_update: Timestamp) -> Timestamp {
        let life = next_update.since(now).as_secs();
        let mut random = [0u8; 8];
        self.rng.fill(&mut random);
        now.plus(Duration::from_secs(life / 2 + u64::from_be_bytes(random) % (life / 4 + 1)))
    }
}
