//! Entities, their state machines and their typed ids: values only, no behaviour that needs IO.

mod account;
mod actor;
mod audit;
mod authority;
mod authorization;
mod auto_renewal;
pub mod bytes;
mod certificate;
mod compromise;
mod credential;
mod crl;
mod cross;
mod grant;
mod grant_limits;
mod id;
mod intent;
mod job;
mod key_block;
mod order;
mod problem;
mod proposal;
mod replacement;
mod request;
mod revocation;
mod standing;
mod validation;

pub use account::{Account, AccountStatus, NewAccount, OrderPage};
pub use actor::Actor;
pub use audit::{AuditEntry, AuditRow, Outcome};
pub use authority::{Authority, AuthorityKind, StatusUrls};
pub use authorization::{
    Authorization, AuthorizationCommand, AuthorizationRejected, AuthorizationStatus, Challenge, ChallengeMethod, ChallengeStatus,
    ChallengeToken, UnknownMethod,
};
pub use auto_renewal::AutoRenewal;
pub use certificate::{BulkChoice, CertificateFilter, CertificateRecord, CertificateState};
pub use compromise::{CertificateName, CompromisedKey, FollowedCompromise};
pub use credential::CredentialPurpose;
pub use crl::{CrlHead, CrlRecord, CrlScope, RevokedEntry};
pub use cross::{CrossCertificate, CrossError};
pub use grant::{Grant, GrantRecord, GrantStatus, SignedStatement};
pub use grant_limits::{GrantLimits, GrantUse, VolumeCap, VolumeCapError};
pub use id::{
    AccountId, AttemptId, AuthorityName, AuthorizationId, CredentialName, GrantId, HolderName, IdError, JobId, KeyLabel, LeaseToken,
    OrderId, ProposalId, RequestId, WorkerId,
};
pub use intent::{
    Abandonment, ArtefactIntent, CertificateIntent, Completed, Completion, CrlIntent, Intent, IntentContent, OpenIntent, Origin,
    SignedBytes,
};
pub use job::{Job, JobKind, JobRecord, LeasedJob};
pub use key_block::{BlockedKey, KeyAsked, KeyBlock, KeyUse};
pub use order::{NewOrder, Order, OrderCommand, OrderRejected, OrderStatus};
pub use problem::{Problem, ProblemType};
pub use proposal::{Proposal, ProposalState, RevokedAuthority, StoredApproval, Unheld, UnholdRequest};
pub use replacement::{
    ExplanationUrl, ExplanationUrlError, Replacement, ReplacementCount, ReplacementMark, ReplacementReport, ReplacementState,
    ReplacementTally, ServiceReplacements, Successor,
};
pub use request::{Evidence, Fault, Issued, RenewingOrder, RequestBody, RequestState, SigningRequest};
pub use revocation::{LedgerEntry, LedgerEvent, RevocationReason, RevocationRequest, Revoked, SerialStatus, may_be_invalidity_date};
pub use standing::{AccountRecord, Standing};
pub use validation::{AttestationEvidence, LeasedValidation, TakeUp, ValidationEnd, ValidationRecord};
