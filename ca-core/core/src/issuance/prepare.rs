//! Prepare: build the to-be-signed bytes, lint them, and write down what they say.

use std::marker::PhantomData;

use super::{Attempt, CertificateTbs, CrlTbs, IssuanceError, KeyTest, KeyTestTbs, Prepared, RequestTbs};
use crate::lint::{self, Finding};
use crate::log::intent_leaf;
use crate::model::{ArtefactIntent, CertificateIntent, CrlIntent, CrlScope, Intent, IntentContent, RevokedEntry};
use crate::pki::crl::{CrlHeader, build_crl_tbs};
use crate::pki::{Certificate, PublicKey, SignatureAlgorithm, assemble_signed, key_algorithm, request_info, sha256};
use crate::profile::{
    CrossRequest, IntermediateRequest, Issuer, LeafRequest, ProfileError, RootRequest, build_cross, build_intermediate, build_leaf,
    build_root, check_key, lint_crl, lint_cross, lint_intermediate, lint_leaf, lint_root,
};

/// Prepares a root's certificate, to be signed by its own key.
///
/// # Errors
/// When the request cannot be built or the lint refuses it.
pub fn prepare_root(request: &RootRequest, attempt: Attempt) -> Result<Prepared<CertificateTbs>, IssuanceError> {
    let tbs = build_root(request)?;
    certificate(tbs, None, |tbs| lint_root(tbs, request), "root", (request.algorithm, request.public_key.clone()), 0, attempt)
}

/// Prepares the certificate of an issuing authority.
///
/// # Errors
/// When the request cannot be built or the lint refuses it.
pub fn prepare_intermediate(
    request: &IntermediateRequest,
    issuer: &Issuer,
    attempt: Attempt,
) -> Result<Prepared<CertificateTbs>, IssuanceError> {
    let tbs = build_intermediate(request, issuer)?;
    certificate(tbs, Some(issuer), |tbs| lint_intermediate(tbs, request, issuer), "intermediate", signer(issuer), 0, attempt)
}

/// Prepares a cross-certificate: another CA's name and key under this issuer.
///
/// # Errors
/// When the request cannot be built or the lint refuses it.
pub fn prepare_cross(request: &CrossRequest, issuer: &Issuer, attempt: Attempt) -> Result<Prepared<CertificateTbs>, IssuanceError> {
    let tbs = build_cross(request, issuer)?;
    certificate(tbs, Some(issuer), |tbs| lint_cross(tbs, request, issuer), "cross", signer(issuer), 0, attempt)
}

/// Prepares the request by which `key` asks for a CA certificate, bound to a statement by `challenge`.
///
/// # Errors
/// When the key is refused or the request cannot be built.
pub fn prepare_request(
    subject_der: &[u8],
    key: &PublicKey,
    challenge: &str,
    attempt: Attempt,
) -> Result<Prepared<RequestTbs>, IssuanceError> {
    let algorithm = check_key(key).map_err(ProfileError::from)?.signature_algorithm();
    let tbs = request_info(subject_der, key, challenge);
    let content = ArtefactIntent { tbs, spki_sha256: key.spki_sha256() };
    Ok(prepared(IntentContent::Request(content), algorithm, key.clone(), attempt))
}

/// Prepares a key's test signature.
///
/// # Errors
/// When the key is refused.
pub fn prepare_key_test(test: &KeyTest, attempt: Attempt) -> Result<Prepared<KeyTestTbs>, IssuanceError> {
    let algorithm = key_algorithm(&test.public_key).map_err(ProfileError::from)?.signature_algorithm();
    let content = ArtefactIntent { tbs: test.to_bytes(), spki_sha256: test.public_key.spki_sha256() };
    Ok(prepared(IntentContent::KeyTest(content), algorithm, test.public_key.clone(), attempt))
}

/// Prepares an end-entity certificate of `profile` in CRL `partition`.
///
/// # Errors
/// When the request cannot be built or the lint refuses it.
pub fn prepare_leaf(
    request: &LeafRequest,
    issuer: &Issuer,
    profile: &str,
    partition: u32,
    attempt: Attempt,
) -> Result<Prepared<CertificateTbs>, IssuanceError> {
    let tbs = build_leaf(request, issuer)?;
    certificate(tbs, Some(issuer), |tbs| lint_leaf(tbs, request, issuer), profile, signer(issuer), partition, attempt)
}

/// Prepares a CRL with `entries`, sorted by serial number, that include the ledger up to `ledger_number`.
///
/// # Errors
/// When it cannot be built or the lint refuses it.
pub fn prepare_crl(
    header: &CrlHeader,
    entries: impl Iterator<Item = RevokedEntry> + Clone,
    scope: CrlScope,
    ledger_number: u64,
    issuer: &Issuer,
    attempt: Attempt,
) -> Result<Prepared<CrlTbs>, IssuanceError> {
    if header.issuer_der != issuer.certificate().subject_der() || header.algorithm != issuer.signature_algorithm() {
        return Err(IssuanceError::Verify("the CRL's header is not that of its issuer".to_owned()));
    }
    let tbs = build_crl_tbs(header, entries)?;
    let above = [issuer.certificate().der()];
    lint::to_be_signed_crl(&tbs, &lint::Context { issuers: &above, previous_crl: None })
        .refuse_errors()
        .and_then(|()| lint_crl(&tbs, header))
        .map_err(IssuanceError::Lint)?;
    let content =
        CrlIntent { tbs, scope, number: header.number, this_update: header.this_update, next_update: header.next_update, ledger_number };
    Ok(prepared(IntentContent::Crl(content), header.algorithm, issuer.certificate().public_key().clone(), attempt))
}

/// How an issuer signs, and with which key.
fn signer(issuer: &Issuer) -> (SignatureAlgorithm, PublicKey) {
    (issuer.signature_algorithm(), issuer.certificate().public_key().clone())
}

/// The only way to a prepared certificate: first what the standards want of any, beside its issuer, then what the
/// request wants of this one.
fn certificate(
    tbs: Vec<u8>,
    issuer: Option<&Issuer>,
    compare: impl FnOnce(&[u8]) -> Result<(), Vec<Finding>>,
    profile: &str,
    (algorithm, key): (SignatureAlgorithm, PublicKey),
    partition: u32,
    attempt: Attempt,
) -> Result<Prepared<CertificateTbs>, IssuanceError> {
    let above: Vec<_> = issuer.iter().map(|i| i.certificate().der()).collect();
    lint::to_be_signed_certificate(&tbs, &lint::Context { issuers: &above, previous_crl: None })
        .refuse_errors()
        .and_then(|()| compare(&tbs))
        .map_err(IssuanceError::Lint)?;
    // Behind a filler that verifies under no key the bytes can be read as the certificate that they will be, so that
    // the record says what the bytes say.
    let read = Certificate::from_der(&assemble_signed(&tbs, algorithm, &[0; 64])).map_err(|e| IssuanceError::Verify(e.to_string()))?;
    let content = CertificateIntent {
        serial: read.serial(),
        profile: profile.to_owned(),
        subject: read.subject_text().to_owned(),
        identifiers: read.identifiers().to_vec(),
        spki_sha256: read.public_key().spki_sha256(),
        not_before: read.not_before(),
        not_after: read.not_after(),
        partition,
        tbs,
    };
    Ok(prepared(IntentContent::Certificate(content), algorithm, key, attempt))
}

fn prepared<T>(content: IntentContent, algorithm: SignatureAlgorithm, key: PublicKey, attempt: Attempt) -> Prepared<T> {
    let Attempt { id, authority, key: label, origin, actor, at } = attempt;
    let tbs_sha256 = sha256(content.tbs());
    let mut intent = Intent { attempt: id, authority, key: label, algorithm, tbs_sha256, content, leaf: Vec::new(), origin, actor, at };
    intent.leaf = intent_leaf(&intent);
    Prepared { intent, key, kind: PhantomData }
}
