//! A request for a CA certificate, brought from where the key is to where the root is (requirement 28).
//!
//! A statement says for which plan, which authority and until when; the PKCS#10 request is signed by the key and carries
//! the statement's digest as its challenge. So the key's own signature binds it to the plan's nonce, and nothing of the
//! request but the key reaches a certificate.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CeremonyError, canonical};
use crate::model::{AuthorityName, KeyLabel};
use crate::pki::{Csr, KeyAlgorithm, PublicKey, Sha256Digest, Timestamp, sha256};
use crate::ports::{Attestation, DeviceIdentity, KeyAttributes};
use crate::profile::check_key;

/// What the request is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestStatement {
    /// [`Self::FORMAT`].
    pub format: String,
    /// The plan of the ceremony that is asked.
    pub plan_sha256: Sha256Digest,
    /// That plan's nonce.
    pub nonce: String,
    /// The root that is asked.
    pub root: AuthorityName,
    /// Whose certificate is asked for.
    pub authority: AuthorityName,
    /// The label of its key.
    pub key: KeyLabel,
    /// Its public half.
    pub public_key: PublicKey,
    /// The device that holds it.
    pub device: DeviceIdentity,
    /// What may be done with it there, read back from the device.
    pub attributes: KeyAttributes,
    /// The device's proof that it made the key, where it attests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
    /// Of a CA that is to be cross-signed: its own certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateBytes>,
    /// When it was made.
    pub made_at: Timestamp,
    /// Until when a ceremony may take it; at most [`Self::MAX_LIFE`] later.
    pub expires_at: Timestamp,
}

/// A certificate's DER.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CertificateBytes(#[serde(with = "crate::model::bytes")] pub Vec<u8>);

impl RequestStatement {
    /// The format's name and version.
    pub const FORMAT: &'static str = "countersign/key-request/1";
    /// The longest life of a request: 30 days.
    pub const MAX_LIFE: Duration = Duration::from_secs(30 * 86_400);

    /// The canonical form.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self)
    }

    /// The challenge that binds the PKCS#10 request to this statement.
    pub fn challenge(&self) -> String {
        sha256(&self.to_bytes()).to_string()
    }
}

/// The file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestFile {
    statement: RequestStatement,
    #[serde(with = "crate::model::bytes")]
    request: Vec<u8>,
}

/// What a plan wants of a request.
#[derive(Clone, Debug)]
pub struct WantedKey<'a> {
    /// The plan.
    pub plan_sha256: Sha256Digest,
    /// Its nonce.
    pub nonce: &'a str,
    /// The root.
    pub root: &'a AuthorityName,
    /// Whose certificate.
    pub authority: &'a AuthorityName,
    /// The label of its key.
    pub key: &'a KeyLabel,
    /// The kind of its key, where the plan says.
    pub algorithm: Option<KeyAlgorithm>,
    /// SHA-256 of its own certificate, of a CA that is to be cross-signed.
    pub certificate_sha256: Option<Sha256Digest>,
}

/// A request whose proof of possession was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRequest {
    statement: RequestStatement,
    der: Vec<u8>,
}

impl KeyRequest {
    /// The most bytes of a request's file.
    pub const MAX_BYTES: usize = 1 << 18;

    /// From a statement and the signed PKCS#10 request.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn new(statement: RequestStatement, request: Vec<u8>) -> Result<Self, CeremonyError> {
        let refused = |reason: String| Err(CeremonyError::refused("request", reason));
        if statement.format != RequestStatement::FORMAT {
            return refused(format!("its format is not {}", RequestStatement::FORMAT));
        }
        if statement.expires_at <= statement.made_at || statement.expires_at > statement.made_at.plus(RequestStatement::MAX_LIFE) {
            return refused("it must end after it begins, within 30 days".to_owned());
        }
        // Reading it verifies its signature with the key in it: proof of possession.
        let read = match Csr::from_der(&request) {
            Ok(read) => read,
            Err(e) => return refused(e.to_string()),
        };
        if *read.public_key() != statement.public_key {
            return refused("its PKCS#10 request has another key than its statement".to_owned());
        }
        if read.challenge() != Some(statement.challenge().as_str()) {
            return refused("its PKCS#10 request was signed for another statement (hint: a request serves one plan)".to_owned());
        }
        if let Err(e) = check_key(&statement.public_key) {
            return refused(e.to_string());
        }
        Ok(Self { statement, der: request })
    }

    /// Reads a request's file and verifies its proof of possession.
    ///
    /// # Errors
    /// When it is too large, does not parse or is not in canonical form, or the PKCS#10 request does not verify, has
    /// another key, or was signed for another statement.
    pub fn parse(bytes: &[u8]) -> Result<Self, CeremonyError> {
        let file: RequestFile = canonical::parse("request", Self::MAX_BYTES, bytes)?;
        Self::new(file.statement, file.request)
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(&RequestFile { statement: self.statement.clone(), request: self.der.clone() })
    }

    /// What it is for.
    pub const fn statement(&self) -> &RequestStatement {
        &self.statement
    }

    /// The key: all that is taken from it.
    pub const fn public_key(&self) -> &PublicKey {
        &self.statement.public_key
    }

    /// The PKCS#10 request, DER.
    pub fn request_der(&self) -> &[u8] {
        &self.der
    }

    /// Whether it answers what the plan asks, at `taken_at`.
    ///
    /// # Errors
    /// With what of it is for something else, or over.
    pub fn answers(&self, wanted: &WantedKey<'_>, taken_at: Timestamp) -> Result<(), CeremonyError> {
        let refused = |reason: String| Err(CeremonyError::refused("request", reason));
        let said = &self.statement;
        if said.plan_sha256 != wanted.plan_sha256 {
            return refused(format!("it was made for the plan {}, and this one is {}", said.plan_sha256, wanted.plan_sha256));
        }
        if said.nonce != wanted.nonce {
            return refused("it repeats another nonce than the plan's".to_owned());
        }
        if said.root != *wanted.root || said.authority != *wanted.authority || said.key != *wanted.key {
            return refused(format!("it asks {} for {} with the key `{}`, not what the plan says", said.root, said.authority, said.key));
        }
        let algorithm = check_key(&said.public_key).map_err(|e| CeremonyError::refused("request", e.to_string()))?;
        if wanted.algorithm.is_some_and(|a| a != algorithm) {
            return refused(format!("its key is a {algorithm} key, not the one that the plan says"));
        }
        if wanted.certificate_sha256 != said.certificate.as_ref().map(|c| sha256(&c.0)) {
            return refused("it carries another certificate than the plan pins".to_owned());
        }
        if taken_at >= said.expires_at {
            return refused(format!("it ended at {} (hint: have a new one made on the online side)", said.expires_at));
        }
        // A small step back is a clock being set; the rest is a wrong clock.
        if taken_at.plus(Duration::from_secs(300)) < said.made_at {
            return refused(format!("it is from {}, and the clock says {taken_at}", said.made_at));
        }
        Ok(())
    }
}
