//! The one signing path: prepare, record, sign, verify, release. The only caller of [`KeyStore::sign`].
//!
//! Each step takes the proof of the one before: [`Prepared`] comes only from a `prepare_…` function, whose bytes were
//! linted; [`record`] makes it [`Recorded`], the only thing that can be signed; [`sign`] consumes that, verifies the
//! result with the second library and gives [`Signed`], the only thing that [`release`] stores (invariants 1 to 3).
//! None of these types can be cloned or made elsewhere. The worker and the ceremony both come through here.
//!
//! Deliberately absent: who may have what. [`crate::evidence`] and [`crate::ceremony`] decide that before.

mod key_test;
mod prepare;

use std::marker::PhantomData;

use aws_lc_rs::digest;

use crate::model::{Actor, AttemptId, AuthorityName, Completed, Completion, Intent, IntentContent, KeyLabel, Origin, SignedBytes};
use crate::pki::crl::{Crl, CrlError};
use crate::pki::{Certificate, Csr, DigestAlgorithm, PublicKey, SignatureAlgorithm, Timestamp, assemble_signed, verify_signature};
use crate::ports::{IssuanceStore, KeyStore, KeyStoreError, SignInput, StoreError};
use crate::profile::{Finding, ProfileError};

pub use key_test::KeyTest;
pub use prepare::{prepare_crl, prepare_cross, prepare_intermediate, prepare_key_test, prepare_leaf, prepare_request, prepare_root};

/// Marks the path of a certificate.
#[derive(Debug)]
pub enum CertificateTbs {}

/// Marks the path of a CRL.
#[derive(Debug)]
pub enum CrlTbs {}

/// Marks the path of a certification request for one of this CA's own authorities.
#[derive(Debug)]
pub enum RequestTbs {}

/// Marks the path of a key's test.
#[derive(Debug)]
pub enum KeyTestTbs {}

/// Who signs, on whose account.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// The authority that signs.
    pub authority: AuthorityName,
    /// Its key.
    pub key: KeyLabel,
    /// On whose account.
    pub origin: Origin,
    /// Who.
    pub actor: Actor,
    /// When.
    pub at: Timestamp,
}

/// Why something was not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssuanceError {
    /// It cannot be built.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The CRL cannot be built.
    #[error(transparent)]
    Crl(#[from] CrlError),
    /// The lint refused it.
    #[error("refused by the lint: {}", join(.0))]
    Lint(Vec<Finding>),
    /// It was not recorded or stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key did not sign.
    #[error(transparent)]
    Key(#[from] KeyStoreError),
    /// The key store has another key under the authority's label; it was not asked to sign.
    #[error(
        "the key `{0}` in the key store is not that of the authority's certificate (hint: restore the key that the ceremony made, or check the labels)"
    )]
    OtherKey(KeyLabel),
    /// The signature is not what was asked for; it is not released.
    #[error("what the key signed is not released: {0}")]
    Verify(String),
}

fn join(findings: &[Finding]) -> String {
    findings.iter().map(|f| format!("{} ({}): {}", f.rule, f.clause, f.detail)).collect::<Vec<_>>().join("; ")
}

/// Linted bytes, not recorded yet.
#[derive(Debug)]
pub struct Prepared<T> {
    intent: Intent,
    key: PublicKey,
    kind: PhantomData<T>,
}

/// What is on record and may be signed, once.
#[derive(Debug)]
pub struct Recorded<P>(P);

/// Signed and verified, not released yet.
#[derive(Debug)]
pub struct Signed<T> {
    intent: Intent,
    der: Vec<u8>,
    kind: PhantomData<T>,
}

impl<T> Prepared<T> {
    /// What will be recorded.
    pub const fn intent(&self) -> &Intent {
        &self.intent
    }
}

/// Puts the exact bytes on record. May be run again with what the same arguments prepare.
///
/// # Errors
/// When the store refuses or does not answer; then nothing can be signed.
pub async fn record<T>(store: &dyn IssuanceStore, prepared: Prepared<T>) -> Result<Recorded<Prepared<T>>, IssuanceError> {
    store.record_intent(&prepared.intent).await?;
    Ok(Recorded(prepared))
}

/// Signs what is on record and verifies the result with the second library.
///
/// # Errors
/// When the key store has another key than the authority's, the key does not sign, or what it signed is not exactly
/// what is on record.
pub async fn sign<T>(keys: &dyn KeyStore, recorded: Recorded<Prepared<T>>) -> Result<Signed<T>, IssuanceError> {
    let Prepared { intent, key, .. } = recorded.0;
    // Before, not after: a signature by another authority's key is a misissuance even when nobody sees it.
    if keys.describe(&intent.key).await?.public_key != key {
        return Err(IssuanceError::OtherKey(intent.key));
    }
    let tbs = intent.content.tbs();
    let signature = match (&intent.content, digest_of(intent.algorithm)) {
        // A CRL can have megabytes: what goes to a device is its digest, where the algorithm has one. A key's test goes
        // the same way as the CRLs that the key will sign (ceremony requirement 25).
        (IntentContent::Crl(_) | IntentContent::KeyTest(_), Some(algorithm)) => {
            let digest = digest::digest(algorithm, tbs);
            keys.sign(&intent.key, intent.algorithm, SignInput::Digest(digest.as_ref())).await?
        }
        _ => keys.sign(&intent.key, intent.algorithm, SignInput::Message(tbs)).await?,
    };
    let der = match &intent.content {
        IntentContent::KeyTest(_) => key_test::assemble(tbs, &signature),
        _ => assemble_signed(tbs, intent.algorithm, &signature),
    };
    check(&intent, &key, &der).map_err(IssuanceError::Verify)?;
    Ok(Signed { intent, der, kind: PhantomData })
}

fn digest_of(algorithm: SignatureAlgorithm) -> Option<&'static digest::Algorithm> {
    algorithm.digest().map(|d| match d {
        DigestAlgorithm::Sha256 => &digest::SHA256,
        DigestAlgorithm::Sha384 => &digest::SHA384,
    })
}

/// Judges the bytes that will leave, from nothing but themselves (invariant 3).
fn check(intent: &Intent, key: &PublicKey, der: &[u8]) -> Result<(), String> {
    let recorded = intent.content.tbs();
    let verify = |tbs: &[u8], algorithm: SignatureAlgorithm, signature: &[u8]| {
        if tbs != recorded || algorithm != intent.algorithm {
            return Err("the signed bytes are not the recorded ones".to_owned());
        }
        verify_signature(key, algorithm, tbs, signature).map_err(|e| e.to_string())
    };
    match &intent.content {
        IntentContent::Certificate(_) => {
            let read = Certificate::from_der(der).map_err(|e| e.to_string())?;
            verify(read.tbs_der(), read.signature_algorithm(), read.signature())
        }
        IntentContent::Crl(_) => {
            let read = Crl::from_der(der).map_err(|e| e.to_string())?;
            verify(read.tbs_der(), read.signature_algorithm(), read.signature())
        }
        IntentContent::Request(_) => {
            // Reading it verifies the signature with the key that it names.
            let read = Csr::from_own_der(der).map_err(|e| e.to_string())?;
            let (info, own) = (read.info_der(), read.public_key());
            if info == recorded && own == key { Ok(()) } else { Err("the request is not the recorded one".to_owned()) }
        }
        IntentContent::KeyTest(_) => {
            let (tbs, signature) = key_test::read(der)?;
            verify(tbs, intent.algorithm, &signature)
        }
    }
}

/// Stores a verified signature; tells whether it was released, and gives its DER.
///
/// # Errors
/// When the store refuses or does not answer.
pub async fn release<T>(
    store: &dyn IssuanceStore,
    signed: Signed<T>,
    actor: Actor,
    at: Timestamp,
) -> Result<(Completed, Vec<u8>), IssuanceError> {
    let Signed { intent, der, .. } = signed;
    let completion =
        Completion { attempt: intent.attempt, authority: intent.authority, signed: SignedBytes(der), origin: intent.origin, actor, at };
    let mut result = store.complete(&completion).await;
    // The same completion may be made again; giving up here would abandon a good certificate.
    for _ in 0..2 {
        if !matches!(result, Err(StoreError::Unavailable(_))) {
            break;
        }
        result = store.complete(&completion).await;
    }
    Ok((result?, completion.signed.0))
}
