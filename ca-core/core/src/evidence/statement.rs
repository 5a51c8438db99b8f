//! Operator statements: what an enrolled operator signed that the worker shall do.
//!
//! A statement is JSON with an SSHSIG signature over its exact bytes, in the namespace [`NAMESPACE`], so that a
//! signature made for git or for a ceremony never counts. Parsing comes after verification. Whether the nonce was
//! spent before is for [`crate::lifecycle`] to ask the store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sshsig;
use crate::model::{AccountId, Actor, AuthorityName, BulkChoice, ExplanationUrl, Grant, GrantId, RevocationReason, SignedStatement};
use crate::pki::{SerialNumber, Sha256Digest, Timestamp};
use crate::policy::{OperatorPolicy, Permission, Policy};

/// The SSHSIG namespace of operator statements: `ssh-keygen -Y sign -n operator@countersign`.
pub const NAMESPACE: &str = "operator@countersign";

/// The format's name and version.
pub const FORMAT: &str = "countersign/operator/1";

/// The most bytes of a statement.
pub const MAX_BYTES: usize = 64 * 1024;

/// The longest time between a statement's issue and its expiry.
pub const MAX_LIFE: Duration = Duration::from_secs(3600);

/// How far ahead of the worker's clock the operator's may be.
pub const MAX_CLOCK_LEAD: Duration = Duration::from_secs(300);

/// The most patterns, and the most profiles, of a grant.
pub const MAX_GRANT_NAMES: usize = 100;

/// What a statement asks for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// Create a grant.
    GrantCreate {
        /// The grant.
        grant: Grant,
    },
    /// Change what a grant allows, or rotate its secret.
    GrantUpdate {
        /// The grant as it shall be: the same id, service and authority; the secret's version is the same, or one more.
        grant: Grant,
        /// SHA-256 of the statement that the grant stands on, so that no change is lost to another.
        replaces: Sha256Digest,
    },
    /// Suspend a grant: it neither binds accounts nor issues until it is resumed.
    GrantSuspend {
        /// Which one.
        id: GrantId,
    },
    /// Let a suspended grant go on.
    GrantResume {
        /// Which one.
        id: GrantId,
    },
    /// Revoke a grant, and with it its accounts.
    GrantRevoke {
        /// Which one.
        id: GrantId,
    },
    /// Let a paused account go on.
    AccountResume {
        /// Which one.
        id: AccountId,
    },
    /// Revoke a certificate.
    CertificateRevoke {
        /// Its authority.
        authority: AuthorityName,
        /// Its serial number.
        serial: SerialNumber,
        /// Why.
        reason: RevocationReason,
        /// Since when the key is suspected.
        invalidity_date: Option<Timestamp>,
    },
    /// Put a certificate on hold, which officers can take back.
    CertificateHold {
        /// Its authority.
        authority: AuthorityName,
        /// Its serial number.
        serial: SerialNumber,
    },
    /// Revoke several certificates: at most as many as the policy lets one operator.
    CertificateRevokeBulk {
        /// Their authority.
        authority: AuthorityName,
        /// Their serial numbers.
        serials: Vec<SerialNumber>,
        /// Why.
        reason: RevocationReason,
    },
    /// Mark certificates for replacement: clients that follow ARI renew them at once (RFC 9773). It stops nothing.
    CertificateReplace {
        /// Which ones, as they are when the statement is applied.
        choice: BulkChoice,
        /// Where their holders read why.
        explanation: Option<ExplanationUrl>,
    },
    /// Take such marks away.
    CertificateReplaceUndo {
        /// Of which certificates.
        choice: BulkChoice,
    },
    /// Block a key for good: it is never certified again.
    KeyBlock {
        /// SHA-256 of its SubjectPublicKeyInfo.
        spki_sha256: Sha256Digest,
        /// Why; 1 to 500 characters.
        reason: String,
    },
    /// Stop issuance at once; officers let it go on.
    IssuanceStop {
        /// Why, for the audit trail; at most 500 characters.
        reason: String,
    },
    /// Make and publish a CRL now.
    CrlPublish {
        /// Whose.
        authority: AuthorityName,
    },
}

impl Operation {
    /// The permission that the policy must give to the signer.
    pub const fn permission(&self) -> Permission {
        match self {
            Self::GrantCreate { .. }
            | Self::GrantUpdate { .. }
            | Self::GrantSuspend { .. }
            | Self::GrantResume { .. }
            | Self::GrantRevoke { .. }
            | Self::AccountResume { .. } => Permission::Grant,
            Self::CertificateRevoke { .. }
            | Self::CertificateRevokeBulk { .. }
            | Self::CertificateReplace { .. }
            | Self::CertificateReplaceUndo { .. }
            | Self::KeyBlock { .. } => Permission::Revoke,
            Self::CertificateHold { .. } => Permission::Hold,
            Self::IssuanceStop { .. } => Permission::Stop,
            Self::CrlPublish { .. } => Permission::Publish,
        }
    }

    /// Its name in audit entries, `noun.verb`.
    pub const fn action(&self) -> &'static str {
        match self {
            Self::GrantCreate { .. } => "grant.create",
            Self::GrantUpdate { .. } => "grant.update",
            Self::GrantSuspend { .. } => "grant.suspend",
            Self::GrantResume { .. } => "grant.resume",
            Self::GrantRevoke { .. } => "grant.revoke",
            Self::AccountResume { .. } => "account.resume",
            Self::CertificateRevoke { .. } => "certificate.revoke",
            Self::CertificateRevokeBulk { .. } => "certificate.revoke-bulk",
            Self::CertificateReplace { .. } => "certificate.replace",
            Self::CertificateReplaceUndo { .. } => "certificate.replace-undo",
            Self::CertificateHold { .. } => "certificate.hold",
            Self::KeyBlock { .. } => "key.block",
            Self::IssuanceStop { .. } => "issuance.stop",
            Self::CrlPublish { .. } => "crl.publish",
        }
    }

    /// The authority that it is about, where it names one.
    pub const fn authority(&self) -> Option<&AuthorityName> {
        match self {
            Self::GrantCreate { grant } | Self::GrantUpdate { grant, .. } => Some(&grant.authority),
            Self::GrantSuspend { .. }
            | Self::GrantResume { .. }
            | Self::GrantRevoke { .. }
            | Self::AccountResume { .. }
            | Self::KeyBlock { .. }
            | Self::IssuanceStop { .. } => None,
            Self::CertificateRevoke { authority, .. }
            | Self::CertificateRevokeBulk { authority, .. }
            | Self::CertificateHold { authority, .. }
            | Self::CrlPublish { authority } => Some(authority),
            Self::CertificateReplace { choice, .. } | Self::CertificateReplaceUndo { choice } => Some(&choice.authority),
        }
    }

    /// What it acts on, as audit entries name it.
    pub fn object(&self) -> String {
        match self {
            Self::GrantCreate { grant } | Self::GrantUpdate { grant, .. } => grant.id.to_string(),
            Self::GrantSuspend { id } | Self::GrantResume { id } | Self::GrantRevoke { id } => id.to_string(),
            Self::AccountResume { id } => id.to_string(),
            Self::CertificateRevoke { serial, .. } | Self::CertificateHold { serial, .. } => serial.to_string(),
            Self::CertificateRevokeBulk { serials, .. } => format!("{} certificates", serials.len()),
            Self::CertificateReplace { choice, .. } | Self::CertificateReplaceUndo { choice } => choice.describe(),
            Self::KeyBlock { spki_sha256, .. } => spki_sha256.to_string(),
            Self::IssuanceStop { .. } => "issuance".to_owned(),
            Self::CrlPublish { authority } => authority.to_string(),
        }
    }
}

/// A statement.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorStatement {
    /// [`FORMAT`].
    pub format: String,
    /// What to do.
    pub operation: Operation,
    /// A random text that is accepted once; 16 to 128 characters.
    pub nonce: String,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// Until when it may be applied; at most an hour after `issued_at`.
    pub expires_at: Timestamp,
}

impl OperatorStatement {
    /// A statement in the current format.
    pub fn new(operation: Operation, nonce: String, issued_at: Timestamp, expires_at: Timestamp) -> Self {
        Self { format: FORMAT.to_owned(), operation, nonce, issued_at, expires_at }
    }

    /// The bytes that are signed.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("model types have string keys and no failing serializer")
    }
}

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Too long.
    #[error("the statement has {0} bytes; the most is {MAX_BYTES}")]
    TooLong(usize),
    /// Signed by no key of the policy.
    #[error("no operator key in the policy made this signature (hint: the policy's [[operator]] entries name the keys that count)")]
    UnknownSigner,
    /// Signed by a key that may not do this.
    #[error("operator `{name}` may not do this: its policy entry lacks `{permission}`")]
    NotPermitted {
        /// Who.
        name: String,
        /// What is missing.
        permission: &'static str,
    },
    /// Not JSON of a statement.
    #[error("the statement does not parse: {0}")]
    Syntax(String),
    /// In another format.
    #[error("the statement's format is `{0}`, not `{FORMAT}`")]
    Format(String),
    /// The nonce has a bad form.
    #[error("the statement's nonce must have 16 to 128 printable characters")]
    Nonce,
    /// Not valid now.
    #[error(
        "the statement is not valid at {now}: signed {issued_at}, until {expires_at}, at most an hour (hint: check both clocks, then sign a new one)"
    )]
    Window {
        /// The worker's time.
        now: Timestamp,
        /// From.
        issued_at: Timestamp,
        /// Until.
        expires_at: Timestamp,
    },
}

/// A statement whose signature was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// What was signed.
    pub statement: OperatorStatement,
    /// The operator's name in the policy.
    pub operator: String,
    /// Its key's fingerprint.
    pub fingerprint: String,
}

impl Verified {
    /// The operator as an actor.
    pub fn actor(&self) -> Actor {
        Actor::Operator { name: self.operator.clone(), fingerprint: self.fingerprint.clone() }
    }
}

/// Verifies a statement that is to be applied now.
///
/// # Errors
/// When no operator key that the policy permits this operation signed these bytes, or the statement is not valid now.
pub fn verify(signed: &SignedStatement, policy: &Policy, now: Timestamp) -> Result<Verified, StatementError> {
    let verified = verify_standing(signed, policy)?;
    let OperatorStatement { issued_at, expires_at, .. } = verified.statement;
    let in_window = issued_at <= now.plus(MAX_CLOCK_LEAD) && now < expires_at && expires_at <= issued_at.plus(MAX_LIFE);
    if in_window { Ok(verified) } else { Err(StatementError::Window { now, issued_at, expires_at }) }
}

/// Verifies a statement that was applied earlier and stands as evidence, for example a grant: its window was for
/// applying it. The signer must be permitted by the policy of today.
///
/// # Errors
/// When no operator key that the policy permits this operation signed these bytes.
pub fn verify_standing(signed: &SignedStatement, policy: &Policy) -> Result<Verified, StatementError> {
    if signed.statement.len() > MAX_BYTES || signed.signature.len() > MAX_BYTES {
        return Err(StatementError::TooLong(signed.statement.len().max(signed.signature.len())));
    }
    let message = signed.statement.as_bytes();
    let signer = |operator: &OperatorPolicy| sshsig::verify(&operator.key, NAMESPACE, message, &signed.signature).ok();
    let found: Vec<_> = policy.operators.iter().filter_map(|o| Some((o, signer(o)?))).collect();
    let (first, fingerprint) = found.first().ok_or(StatementError::UnknownSigner)?;

    // Only now, with a signature of ours over it, is the text worth parsing.
    let statement = parse(&signed.statement)?;
    let permission = statement.operation.permission();
    // One key may stand under two names; any entry that permits the operation will do.
    let permitted = found.iter().find(|(o, _)| o.may.contains(&permission));
    let Some((operator, _)) = permitted else {
        return Err(StatementError::NotPermitted { name: first.name.clone(), permission: name_of(permission) });
    };
    Ok(Verified { operator: operator.name.clone(), fingerprint: fingerprint.to_string(), statement })
}

/// Reads a statement's text and verifies no signature: for a caller who has, who knows the text by the hash of one that was
/// verified, or who only shows it.
///
/// # Errors
/// When it is longer than [`MAX_BYTES`], or no statement of this format.
pub(super) fn parse(text: &str) -> Result<OperatorStatement, StatementError> {
    if text.len() > MAX_BYTES {
        return Err(StatementError::TooLong(text.len()));
    }
    let statement: OperatorStatement = serde_json::from_str(text).map_err(|e| StatementError::Syntax(e.to_string()))?;
    if statement.format != FORMAT {
        return Err(StatementError::Format(statement.format.chars().take(60).collect()));
    }
    if !(16..=128).contains(&statement.nonce.len()) || !statement.nonce.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(StatementError::Nonce);
    }
    Ok(statement)
}

const fn name_of(permission: Permission) -> &'static str {
    match permission {
        Permission::Grant => "grant",
        Permission::Revoke => "revoke",
        Permission::Publish => "publish",
        Permission::Hold => "hold",
        Permission::Stop => "stop",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::test_keys::{operator_key, public_text};

    fn policy(may: &[Permission]) -> Policy {
        let key = public_text(&operator_key(1));
        Policy {
            version: 1,
            operator_bulk: 100,
            authorities: vec![],
            operators: vec![OperatorPolicy { name: "ops".into(), key, may: may.to_vec() }],
        }
    }

    fn statement() -> OperatorStatement {
        let operation = Operation::CrlPublish { authority: "demo".parse().unwrap() };
        OperatorStatement::new(operation, "0123456789abcdef".into(), Timestamp::from_unix(1000), Timestamp::from_unix(1600))
    }

    fn signed(text: String, key: u8, namespace: &str) -> SignedStatement {
        let signature = sshsig::sign(&operator_key(key), namespace, text.as_bytes()).unwrap();
        SignedStatement { statement: text, signature }
    }

    #[track_caller]
    fn check(signed: &SignedStatement, may: &[Permission], at: i64, expected: Result<(), &str>) {
        let got = verify(signed, &policy(may), Timestamp::from_unix(at)).map(|v| assert_eq!(v.operator, "ops")).map_err(|e| e.to_string());
        match (got, expected) {
            (Ok(()), Ok(())) => {}
            (Err(got), Err(part)) => assert!(got.contains(part), "{got}"),
            (got, expected) => panic!("{got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn only_a_permitted_operator_within_the_window() {
        use Permission::{Grant, Publish};
        let good = signed(statement().to_json(), 1, NAMESPACE);
        check(&good, &[Publish], 1000, Ok(()));
        check(&good, &[Grant], 1000, Err("lacks `publish`"));
        check(&good, &[Publish], 1600, Err("not valid at"));
        check(&good, &[Publish], 600, Err("not valid at"));
        check(&signed(statement().to_json(), 2, NAMESPACE), &[Publish], 1000, Err("no operator key"));
        check(&signed(statement().to_json(), 1, "ceremony@countersign"), &[Publish], 1000, Err("no operator key"));
        let edited = SignedStatement { statement: good.statement.replace("demo", "live"), ..good };
        check(&edited, &[Publish], 1000, Err("no operator key"));
        let long = OperatorStatement { expires_at: Timestamp::from_unix(1000 + 3601), ..statement() };
        check(&signed(long.to_json(), 1, NAMESPACE), &[Publish], 1000, Err("not valid at"));
        let short = OperatorStatement { nonce: "x".into(), ..statement() };
        check(&signed(short.to_json(), 1, NAMESPACE), &[Publish], 1000, Err("nonce"));
        let unknown = statement().to_json().replacen('{', "{\"also\":1,", 1);
        check(&signed(unknown, 1, NAMESPACE), &[Publish], 1000, Err("does not parse"));
    }
}
