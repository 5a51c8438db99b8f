//! What is asked and answered over the control socket.

use ca_core::ceremony::{PolicyBundle, Roster};
use ca_core::lifecycle::{OperatorReply, ProposalRequest, ProposalView};
use ca_core::model::{
    AccountId, AccountRecord, AuditRow, Authority, AuthorityName, BlockedKey, BulkChoice, CertificateFilter, CertificateRecord, CrlRecord,
    GrantId, GrantRecord, GrantUse, JobRecord, ProposalId, ReplacementReport, RevokedAuthority, SignedStatement,
};
use ca_core::pki::{KeyAlgorithm, SerialNumber, Sha256Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// A request: one line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum ControlRequest {
    /// Apply what an operator signed.
    Submit {
        /// The statement and its signature.
        signed: SignedStatement,
    },
    /// How the instance is.
    Status,
    /// The authorities.
    Authorities,
    /// The roots above the authorities of the policy in force; the answer is `Authorities`.
    Roots,
    /// Grants, newest first, as they are in the database.
    Grants {
        /// After this one.
        after: Option<GrantId>,
        /// At most so many.
        limit: u32,
    },
    /// One grant, as it is in the database.
    Grant {
        /// Which one.
        id: GrantId,
    },
    /// What a grant has issued.
    GrantUse {
        /// Which one.
        id: GrantId,
        /// After this time.
        since: Timestamp,
    },
    /// ACME accounts, newest first.
    Accounts {
        /// Paused ones only.
        paused: bool,
        /// At most so many.
        limit: u32,
    },
    /// One ACME account.
    Account {
        /// Which one.
        id: AccountId,
    },
    /// Certificates that match, newest first.
    Certificates {
        /// Which ones.
        filter: CertificateFilter,
        /// After this one, of the filter's authority.
        after: Option<SerialNumber>,
        /// At most so many.
        limit: u32,
    },
    /// One certificate; without an authority, of any.
    Certificate {
        /// Its authority.
        authority: Option<AuthorityName>,
        /// Its serial number.
        serial: SerialNumber,
    },
    /// How far the replacement of marked certificates has come.
    Replacements {
        /// Of which of them.
        filter: CertificateFilter,
    },
    /// Blocked keys: those of statements, then those of certificates revoked for keyCompromise.
    BlockedKeys {
        /// At most so many.
        limit: u32,
    },
    /// Every authority's current CRL.
    Crls,
    /// Audit rows after a number, oldest first.
    Audit {
        /// After this number; none: the newest `limit` rows.
        after: Option<u64>,
        /// At most so many.
        limit: u32,
    },
    /// The standing roster.
    Officers,
    /// The policy in force.
    Policy,
    /// Which certificates a choice means.
    Choose {
        /// The choice.
        choice: BulkChoice,
        /// Whether it may mean none.
        or_none: bool,
    },
    /// Make a proposal for officers to sign.
    Propose {
        /// What for.
        request: Box<ProposalRequest>,
        /// For how many seconds it can be signed.
        seconds: u64,
    },
    /// Proposals, newest first, without their subjects.
    Proposals {
        /// At most so many.
        limit: u32,
    },
    /// One proposal with its subject.
    Proposal {
        /// Which one.
        id: ProposalId,
    },
    /// Take officers' signatures in; with the last one that is needed the act is done.
    Approve {
        /// Of which proposal.
        id: ProposalId,
        /// They, armoured.
        signatures: Vec<String>,
    },
    /// End a proposal that waits.
    Withdraw {
        /// Which one.
        id: ProposalId,
    },
    /// The authorities whose certificate officers revoked.
    RevokedAuthorities,
}

/// An answer: one line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(crate) enum ControlAnswer {
    /// It was not done.
    Failed {
        /// The exit code that the command ends with.
        code: u8,
        /// Why not.
        message: String,
    },
    /// A statement was applied.
    Applied {
        /// What it gave.
        reply: OperatorReply,
    },
    /// How the instance is.
    Status(Box<StatusReport>),
    /// The authorities, the default one first.
    Authorities {
        /// They.
        authorities: Vec<Authority>,
    },
    /// Grants.
    Grants {
        /// They.
        grants: Vec<GrantRecord>,
    },
    /// What a grant has issued.
    GrantUse {
        /// How much.
        used: GrantUse,
    },
    /// ACME accounts.
    Accounts {
        /// They.
        accounts: Vec<AccountRecord>,
    },
    /// Certificates.
    Certificates {
        /// They.
        certificates: Vec<CertificateRecord>,
    },
    /// How far a replacement has come.
    Replacements {
        /// How far.
        report: Box<ReplacementReport>,
    },
    /// Blocked keys.
    BlockedKeys {
        /// They.
        keys: Vec<BlockedKey>,
    },
    /// CRLs.
    Crls {
        /// They.
        crls: Vec<CrlRecord>,
    },
    /// Audit rows.
    Audit {
        /// They.
        rows: Vec<AuditRow>,
    },
    /// The officers.
    Officers(Box<OfficersReport>),
    /// The policy.
    Policy(Box<PolicyReport>),
    /// What a choice means.
    Chosen {
        /// The certificates.
        serials: Vec<SerialNumber>,
        /// How many of them one operator may revoke at once.
        operator_bulk: u32,
    },
    /// Proposals, as they stand now.
    Proposals {
        /// They.
        proposals: Vec<ProposalView>,
    },
    /// A proposal is ended.
    Withdrawn,
    /// Authorities whose certificate is revoked.
    RevokedAuthorities {
        /// They.
        revoked: Vec<RevokedAuthority>,
    },
}

/// Who the officers are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct OfficersReport {
    /// How many changes there were.
    pub(crate) number: u64,
    /// The chain's head.
    pub(crate) head: Sha256Digest,
    /// The digest of the roster that the chain begins with.
    pub(crate) genesis: Sha256Digest,
    /// The standing roster's digest.
    pub(crate) digest: Sha256Digest,
    /// The standing roster.
    pub(crate) roster: Roster,
    /// The changes, as officers signed them, oldest first.
    pub(crate) changes: Vec<String>,
}

/// The policy in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct PolicyReport {
    /// Its version.
    pub(crate) version: u64,
    /// Its digest.
    pub(crate) sha256: Sha256Digest,
    /// Who approved it.
    pub(crate) officers: Vec<String>,
    /// The document, with what officers signed over it.
    pub(crate) bundle: PolicyBundle,
}

/// How the instance is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct StatusReport {
    /// Its version.
    pub(crate) version: String,
    /// Since when it runs.
    pub(crate) started_at: Timestamp,
    /// Now, by its clock.
    pub(crate) now: Timestamp,
    /// The policy's version.
    pub(crate) policy_version: u64,
    /// Who approved it.
    pub(crate) policy_officers: Vec<String>,
    /// Whether the officers and keys are a rehearsal's.
    pub(crate) rehearsal: bool,
    /// What keeps the responder from being ready; empty: ready.
    pub(crate) responder_not_ready: Vec<String>,
    /// What the worker finds wrong between the database, the clock and its anchor; then it signs nothing.
    pub(crate) anchor_trouble: Option<String>,
    /// Whether issuance for orders is stopped.
    pub(crate) stopped: bool,
    /// Why authority keys cannot be used, if they cannot.
    pub(crate) keystore_error: Option<String>,
    /// How many connections to the store's socket were refused since the start.
    pub(crate) refused_store_peers: u64,
    /// How many commands there were refused: no part of this product sends such.
    pub(crate) refused_store_commands: u64,
    /// How many requests wait.
    pub(crate) backlog: u64,
    /// Since when the oldest does.
    pub(crate) backlog_oldest: Option<Timestamp>,
    /// The authorities.
    pub(crate) authorities: Vec<AuthorityStatus>,
    /// The CA's own certificates.
    pub(crate) own: Vec<OwnStatus>,
    /// Grants in use whose end is near, or past.
    #[serde(default)]
    pub(crate) ending_grants: Vec<GrantEnd>,
    /// The next jobs.
    pub(crate) jobs: Vec<JobRecord>,
}

/// When a grant ends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct GrantEnd {
    /// Its id.
    pub(crate) id: GrantId,
    /// The service that it stands for.
    pub(crate) service: String,
    /// Its end.
    pub(crate) valid_until: Timestamp,
}

/// How an authority is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct AuthorityStatus {
    /// Its name.
    pub(crate) name: AuthorityName,
    /// Whether commands mean it when they name none.
    pub(crate) is_default: bool,
    /// Whether it is a root.
    pub(crate) root: bool,
    /// The kind of its key.
    pub(crate) algorithm: Option<KeyAlgorithm>,
    /// Its certificate's end.
    pub(crate) not_after: Option<Timestamp>,
    /// Its current CRL's number.
    pub(crate) crl_number: Option<u64>,
    /// Its current CRL's nextUpdate.
    pub(crate) crl_next_update: Option<Timestamp>,
    /// The number of its newest ledger entry.
    pub(crate) ledger: u64,
}

/// How one of the CA's own certificates is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct OwnStatus {
    /// Its authority.
    pub(crate) authority: AuthorityName,
    /// Its name in the policy.
    pub(crate) name: String,
    /// The newest one's serial number; none: not issued yet.
    pub(crate) serial: Option<SerialNumber>,
    /// Its end.
    pub(crate) not_after: Option<Timestamp>,
}
