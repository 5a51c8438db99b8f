//! Enrolment grants: the identity of a service (ACME requirements A14 to A19).

use serde::{Deserialize, Serialize};

use super::{AuthorityName, GrantId, GrantLimits};
use crate::pki::{EmailName, Timestamp, UriName};
use crate::policy::{NamePattern, SubjectParts};

/// A statement with the SSHSIG signature over its exact bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedStatement {
    /// The statement's JSON, verbatim as signed.
    pub statement: String,
    /// The armored SSH signature.
    pub signature: String,
}

/// What a grant allows. It travels inside a signed statement, so its serde form is part of what operators sign.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Its id, which is the EAB key identifier.
    pub id: GrantId,
    /// Which version of its secret is current; a rotation raises it.
    pub version: u32,
    /// The service that it stands for.
    pub service: String,
    /// The authority that issues for it.
    pub authority: AuthorityName,
    /// The profiles that it may ask for.
    pub profiles: Vec<String>,
    /// The identifiers that it covers; covered means authorized without a challenge.
    pub names: Vec<NamePattern>,
    /// Until when its secret may bind new accounts; none: without end.
    pub enrol_by: Option<Timestamp>,
    /// Until when it may issue; none: without end (an expiring scope would be an outage).
    pub valid_until: Option<Timestamp>,
    /// How many accounts its secret may bind; none: without limit.
    pub max_accounts: Option<u32>,
    /// The URI in its certificates, where a profile takes one: a SPIFFE id, or a client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<UriName>,
    /// The mailboxes in its certificates, where a profile takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<EmailName>,
    /// The parts of its certificates' subject that the policy does not fix.
    #[serde(default, skip_serializing_if = "SubjectParts::is_empty")]
    pub subject: SubjectParts,
    /// What bounds it besides.
    #[serde(default, skip_serializing_if = "GrantLimits::is_empty")]
    pub limits: GrantLimits,
}

/// The state of a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantStatus {
    /// In use.
    Active,
    /// Neither binds accounts nor issues until it is resumed; its accounts stay.
    Suspended,
    /// Revoked: its accounts are revoked with it.
    Revoked,
}

/// A grant as stored: the parsed form for the front end and lists, the signed form as evidence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GrantRecord {
    /// What it allows. The worker does not believe this copy; it reads the statement.
    pub grant: Grant,
    /// The operator's statement.
    pub evidence: SignedStatement,
    /// Its state.
    pub status: GrantStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many accounts are bound to it.
    pub accounts: u32,
}
