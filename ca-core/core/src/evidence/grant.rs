//! A grant as an operator signed it, and its place among the statements about it.

use super::statement::{self, Operation, StatementError};
use crate::anchor::GrantPlace;
use crate::model::{Grant, SignedStatement};
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

/// Reads the grant that a statement made or changed. Whether it is the newest is for the anchor to say.
///
/// # Errors
/// When no operator whom the policy of today permits it signed the statement, or it is about something else.
pub fn read_grant(signed: &SignedStatement, policy: &Policy) -> Result<(Grant, GrantPlace), SignedGrantError> {
    let verified = statement::verify_standing(signed, policy)?;
    let issued_at = verified.statement.issued_at;
    let (grant, replaces) = match verified.statement.operation {
        Operation::GrantCreate { grant } => (grant, None),
        Operation::GrantUpdate { grant, replaces } => (grant, Some(replaces)),
        other => return Err(SignedGrantError::Other(other.action())),
    };
    let place = GrantPlace { version: grant.version, statement: sha256(signed.statement.as_bytes()), replaces, issued_at };
    Ok((grant, place))
}
