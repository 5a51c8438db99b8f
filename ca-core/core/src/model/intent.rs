//! Intents and completions: what is durable before and after an authority key signs (invariants 1 to 4).

use serde::{Deserialize, Serialize};

use super::{AccountId, Actor, AttemptId, AuthorityName, CrlScope, GrantId, JobId, KeyLabel, LeaseToken, OrderId, RequestId, VolumeCap};
use crate::pki::{Identifier, SerialNumber, Sha256Digest, SignatureAlgorithm, Timestamp};

/// On whose account a certificate is made, with the lease that fences a late signer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// An ACME order.
    Order {
        /// The order.
        order: OrderId,
        /// The signing request.
        request: RequestId,
        /// The lease on the request.
        lease: LeaseToken,
        /// The account.
        account: AccountId,
        /// The grant.
        grant: GrantId,
        /// The grant's cap, which the store holds the record against.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cap: Option<VolumeCap>,
    },
    /// The next certificate of an order that renews itself (RFC 8739), from a lifecycle job.
    Renewal {
        /// The order.
        order: OrderId,
        /// The job.
        job: JobId,
        /// The lease on the job.
        lease: LeaseToken,
        /// The account.
        account: AccountId,
        /// The grant.
        grant: GrantId,
        /// The grant's cap, which the store holds the record against.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cap: Option<VolumeCap>,
    },
    /// One of the CA's own certificates or CRLs, from a lifecycle job.
    Job {
        /// The job.
        job: JobId,
        /// The lease on the job.
        lease: LeaseToken,
    },
    /// A ceremony.
    Ceremony,
}

/// A certificate about to be signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CertificateIntent {
    /// The exact to-be-signed bytes.
    #[serde(with = "super::bytes")]
    pub tbs: Vec<u8>,
    /// The serial number: unique for the authority; the store refuses a second one.
    pub serial: SerialNumber,
    /// The profile.
    pub profile: String,
    /// The subject as RFC 4514 text.
    pub subject: String,
    /// The names.
    pub identifiers: Vec<Identifier>,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub spki_sha256: Sha256Digest,
    /// notBefore.
    pub not_before: Timestamp,
    /// notAfter.
    pub not_after: Timestamp,
    /// The CRL partition.
    pub partition: u32,
}

/// A CRL about to be signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CrlIntent {
    /// The to-be-signed bytes: the immutable object that the digest belongs to. The audit trail has the digest only.
    #[serde(with = "super::bytes", default, skip_serializing_if = "Vec::is_empty")]
    pub tbs: Vec<u8>,
    /// The scope.
    pub scope: CrlScope,
    /// The number; the store refuses one that does not grow (invariant 7).
    pub number: u64,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// The ledger number that it includes everything up to.
    pub ledger_number: u64,
}

/// What a ceremony has a key sign that is neither a certificate nor a CRL, and can't be taken for one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArtefactIntent {
    /// The exact bytes to be signed.
    #[serde(with = "super::bytes")]
    pub tbs: Vec<u8>,
    /// SHA-256 of the SubjectPublicKeyInfo of the key that signs.
    pub spki_sha256: Sha256Digest,
}

/// What is about to be signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum IntentContent {
    /// A certificate.
    Certificate(CertificateIntent),
    /// A CRL.
    Crl(CrlIntent),
    /// A CertificationRequestInfo (RFC 2986 §4.1), by which a new authority's key proves that it is held.
    Request(ArtefactIntent),
    /// A key's test: a text, so that no signature over it fits anything in DER.
    KeyTest(ArtefactIntent),
}

impl IntentContent {
    /// The exact bytes to be signed.
    pub fn tbs(&self) -> &[u8] {
        match self {
            Self::Certificate(c) => &c.tbs,
            Self::Crl(c) => &c.tbs,
            Self::Request(a) | Self::KeyTest(a) => &a.tbs,
        }
    }
}

/// The record that precedes every signature by an authority key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Intent {
    /// The attempt.
    pub attempt: AttemptId,
    /// The authority.
    pub authority: AuthorityName,
    /// Its key.
    pub key: KeyLabel,
    /// How it will sign.
    pub algorithm: SignatureAlgorithm,
    /// SHA-256 of the to-be-signed bytes.
    pub tbs_sha256: Sha256Digest,
    /// What will be signed.
    pub content: IntentContent,
    /// The canonical log leaf (see [`crate::log`]).
    #[serde(with = "super::bytes")]
    pub leaf: Vec<u8>,
    /// On whose account.
    pub origin: Origin,
    /// Who.
    pub actor: Actor,
    /// When.
    pub at: Timestamp,
}

/// The signed object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedBytes(#[serde(with = "super::bytes")] pub Vec<u8>);

/// A verified signature to be stored and released.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Completion {
    /// The attempt.
    pub attempt: AttemptId,
    /// The authority.
    pub authority: AuthorityName,
    /// The whole certificate, CRL, request or key test.
    pub signed: SignedBytes,
    /// As in the intent.
    pub origin: Origin,
    /// Who.
    pub actor: Actor,
    /// When.
    pub at: Timestamp,
}

/// What became of a completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Completed {
    /// Released: the order is valid, or the CRL is current.
    Released,
    /// The lease had passed to another or the attempt was abandoned: stored as unreleased.
    Fenced,
}

/// Gives an attempt up: its serial is revoked as superseded, in the same transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Abandonment {
    /// The attempt.
    pub attempt: AttemptId,
    /// The authority.
    pub authority: AuthorityName,
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: Actor,
    /// When.
    pub at: Timestamp,
}

/// An intent without a completion, found by the reconciler.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenIntent {
    /// The attempt.
    pub attempt: AttemptId,
    /// The authority.
    pub authority: AuthorityName,
    /// The serial number, of a certificate.
    pub serial: Option<SerialNumber>,
    /// The CRL's scope and number.
    pub crl: Option<(CrlScope, u64)>,
    /// When it was recorded.
    pub at: Timestamp,
}
