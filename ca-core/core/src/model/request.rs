//! Signing requests: what the front end hands to the worker, with its evidence verbatim.

use serde::{Deserialize, Serialize};

use super::{
    AccountId, AuthorityName, CertificateRecord, LeaseToken, Order, OrderId, Problem, ProblemType, RequestId, SignedStatement,
    ValidationRecord,
};
use crate::pki::{SerialNumber, Timestamp};

/// Everything that proves a request, as it came in. The worker believes nothing else.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// The grant as the operator signed it; none when its row is gone.
    pub grant: Option<SignedStatement>,
    /// The newAccount JWS.
    pub new_account: String,
    /// The keyChange JWS, oldest first.
    pub key_changes: Vec<String>,
    /// The newOrder JWS; none for an account request.
    pub new_order: Option<String>,
    /// The finalize JWS; none for an account request.
    pub finalize: Option<String>,
    /// How many of the key changes had been made when the store took the finalize JWS in, as the store itself counted: the
    /// key after them signed it. None: an older version took it in.
    #[serde(default)]
    pub finalized_after: Option<u32>,
    /// What the front end says of identifiers that it challenged: its word, not proof. It counts only where the policy
    /// lists the zone and the method.
    #[serde(default)]
    pub validations: Vec<ValidationRecord>,
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RequestBody {
    /// Make this account valid.
    Account {
        /// The account.
        account: AccountId,
    },
    /// Issue for this order.
    Finalize {
        /// The order.
        order: OrderId,
        /// Its account.
        account: AccountId,
        /// Its authority, which the worker checks against the evidence.
        authority: AuthorityName,
        /// The profile that the client was told, which the worker checks against the evidence.
        profile: String,
    },
}

/// A leased request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SigningRequest {
    /// Its id.
    pub id: RequestId,
    /// What is asked for.
    pub body: RequestBody,
    /// Its evidence.
    pub evidence: Evidence,
    /// The lease under which it may be worked on.
    pub lease: LeaseToken,
    /// How many times it was leased before.
    pub attempts: u32,
    /// When it was submitted.
    pub received_at: Timestamp,
}

/// Whose doing it is that a request is refused for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The client's: it counts towards a pause of its account.
    Client,
    /// The evidence does not hold: what is not believed is not used again.
    Evidence,
    /// Operators or officers changed what is allowed after the client had asked, or this CA failed.
    Change,
    /// The grant has expired, is suspended, or its signer is an operator no longer: operators can lift it and leave the client
    /// as it is, so that what renews itself waits for that (ACME requirement A16).
    Rest,
}

impl Fault {
    /// Whose it is by default. The front end has judged all that a client asks for before the worker does, but the CSR's key
    /// in whole: what else the worker refuses was allowed when the client asked.
    pub const fn of(kind: ProblemType) -> Self {
        match kind {
            ProblemType::BadCsr => Self::Client,
            ProblemType::Unauthorized => Self::Evidence,
            _ => Self::Change,
        }
    }
}

/// A certificate that was released.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Issued {
    /// Its serial number.
    pub serial: SerialNumber,
    /// Its subject, as RFC 4514 writes it.
    pub subject: String,
    /// Its DER.
    pub der: Vec<u8>,
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum RequestState {
    /// Queued or leased.
    Waiting,
    /// Done: the account is valid, or the order is.
    Done {
        /// The order's certificate, which its client fetches at once.
        certificate: Option<Box<Issued>>,
    },
    /// Refused for good.
    Refused {
        /// What the client is told.
        problem: Problem,
    },
}

/// An order that renews itself, with what its next certificate rests on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RenewingOrder {
    /// The order, valid or canceled.
    pub order: Order,
    /// Its evidence, as with its first certificate.
    pub evidence: Evidence,
    /// The certificate that stands.
    pub standing: CertificateRecord,
}
