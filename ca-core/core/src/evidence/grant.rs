//! A grant as an operator signed it, and its place among the statements about it.
//!
//! The row that a grant is stored in has a parsed copy beside its statement, for lists and for the front end. Nothing is
//! signed or issued from that copy.

use super::sshsig::{self, Fingerprint};
use super::statement::{self, Operation, OperatorStatement, StatementError};
use crate::anchor::{AnchorState, GrantPlace};
use crate::model::{Grant, GrantRecord, GrantStatus, SignedStatement};
use crate::pki::sha256;
use crate::policy::Policy;

/// Why a statement gives no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedGrantError {
    /// It does not hold.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// It is about something else.
    #[error("the statement given as a grant is one of {0}")]
    Other(&'static str),
}

impl SignedGrantError {
    /// Whether all that is wrong is that nobody whom the policy permits it signed the statement.
    pub const fn is_for_want_of_a_signer(&self) -> bool {
        matches!(self, Self::Statement(StatementError::UnknownSigner | StatementError::NotPermitted { .. }))
    }
}

/// Reads the grant that a statement made or changed. Whether it is the newest is for the anchor to say.
///
/// # Errors
/// When no operator whom the policy of today permits it signed the statement, or it is about something else.
pub fn read_grant(signed: &SignedStatement, policy: &Policy) -> Result<(Grant, GrantPlace), SignedGrantError> {
    in_place(signed, statement::verify_standing(signed, policy)?.statement)
}

/// Reads the grant of the statement that the anchor has it stand on. Its signature was verified as it was marked, and its
/// hash is the mark's, so that it says what was signed, whoever has left the policy since. Nothing is issued by it before
/// another operator has signed it; none: it is not the one marked, or the grant was revoked.
pub fn read_marked(signed: &SignedStatement, anchor: &AnchorState) -> Option<Grant> {
    let (grant, place) = as_told(signed).ok()?;
    let mark = anchor.grant(&grant.id)?;
    (mark.statement == place.statement && mark.status != GrantStatus::Revoked).then_some(grant)
}

/// What a statement says of a grant; no signature is verified. For who is to sign it anew: the worker then takes only what
/// follows from the statement that it has verified itself.
///
/// # Errors
/// When it is no statement about a grant.
pub fn as_told(signed: &SignedStatement) -> Result<(Grant, GrantPlace), SignedGrantError> {
    in_place(signed, statement::parse(&signed.statement)?)
}

fn in_place(signed: &SignedStatement, statement: OperatorStatement) -> Result<(Grant, GrantPlace), SignedGrantError> {
    let issued_at = statement.issued_at;
    let (grant, replaces) = match statement.operation {
        Operation::GrantCreate { grant } => (grant, None),
        Operation::GrantUpdate { grant, replaces } => (grant, Some(replaces)),
        other => return Err(SignedGrantError::Other(other.action())),
    };
    let place = GrantPlace { version: grant.version, statement: sha256(signed.statement.as_bytes()), replaces, issued_at };
    Ok((grant, place))
}

/// What is wrong between a grant's row and the statement that it stands on: someone edited the database. None: the row says
/// what the statement says.
pub fn row_fault(record: &GrantRecord) -> Option<String> {
    let id = &record.grant.id;
    match as_told(&record.evidence) {
        Ok((signed, _)) if signed == record.grant => None,
        Ok(_) => {
            Some(format!("grant `{id}` says something else in its row than in the statement that it stands on: the database was edited"))
        }
        Err(error) => Some(format!("grant `{id}` stands on no statement about a grant: {error}: the database was edited")),
    }
}

/// Who signed a grant's newest statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrantSigner {
    /// The operator's name in the policy; none: the policy does not name the key.
    pub operator: Option<String>,
    /// The key that the signature names; verified where `operator` is there. None: there is no signature.
    pub fingerprint: Option<Fingerprint>,
    /// Whether the policy lets that operator do so: else nothing is issued under the grant.
    pub counts: bool,
}

/// Who signed this statement about a grant, as a policy has it.
pub fn signer(signed: &SignedStatement, policy: &Policy) -> GrantSigner {
    let fingerprint = sshsig::claimed_signer(&signed.signature).ok();
    match statement::verify_standing(signed, policy) {
        Ok(verified) => GrantSigner { operator: Some(verified.operator), fingerprint, counts: true },
        Err(StatementError::NotPermitted { name, .. }) => GrantSigner { operator: Some(name), fingerprint, counts: false },
        Err(_) => GrantSigner { operator: None, fingerprint, counts: false },
    }
}
