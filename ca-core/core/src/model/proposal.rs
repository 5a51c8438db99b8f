//! Proposals: statements that officers have not signed often enough yet, and what became of them.

use serde::{Deserialize, Serialize};

use super::{Actor, AuthorityName, ProposalId, RevocationReason};
use crate::pki::{SerialNumber, Timestamp};

/// What became of a proposal. A row's state allows nothing: the worker verifies the signatures whenever it acts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProposalState {
    /// Waits for signatures.
    Pending,
    /// Enough people signed; the act has begun.
    Begun,
    /// The act is done.
    Done,
    /// It came to nothing: withdrawn, void, or failed.
    Ended,
}

/// One officer's signature, as stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoredApproval {
    /// Whose, as it was verified when it came in.
    pub officer: String,
    /// The armoured signature.
    pub signature: String,
    /// When it came in.
    pub at: Timestamp,
}

/// A proposal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// Its id.
    pub id: ProposalId,
    /// The statement, verbatim: what officers sign.
    pub statement: String,
    /// What the statement's digest is over: a policy, a roster, a list of serial numbers; empty where it has none.
    /// Listings leave it out.
    pub subject: String,
    /// Its state.
    pub state: ProposalState,
    /// How far the act has come, in certificates of a bulk revocation.
    pub progress: u64,
    /// Why it ended, where it did without being done.
    pub reason: Option<String>,
    /// When it was proposed.
    pub proposed_at: Timestamp,
    /// Until when it can be signed.
    pub expires_at: Timestamp,
    /// The signatures.
    pub approvals: Vec<StoredApproval>,
}

/// An authority's certificate that officers revoked: for the next CRL of its issuer, and no more issuance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RevokedAuthority {
    /// Whose certificate.
    pub authority: AuthorityName,
    /// Who issued it; none for a root.
    pub issuer: Option<AuthorityName>,
    /// Its serial number.
    pub serial: SerialNumber,
    /// Why.
    pub reason: RevocationReason,
    /// Since when its key is suspected.
    pub invalidity_date: Option<Timestamp>,
    /// When.
    pub at: Timestamp,
    /// The officers' statement: the evidence for the ceremony.
    pub statement: String,
    /// Their signatures over it.
    pub signatures: Vec<String>,
}

/// Asks to take one certificate off hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UnholdRequest {
    /// Its authority.
    pub authority: AuthorityName,
    /// Its serial number.
    pub serial: SerialNumber,
    /// Who asks, already authorized for this very certificate.
    pub actor: Actor,
    /// When.
    pub at: Timestamp,
    /// One id for the act's audit entries.
    pub correlation: String,
}

/// What taking a certificate off hold did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Unheld {
    /// It is good again, under this number in the authority's ledger.
    Now {
        /// The ledger number.
        number: u64,
    },
    /// It is not on hold; nothing changed.
    NotHeld,
    /// This authority never issued that serial.
    NotFound,
}
