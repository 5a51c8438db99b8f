//! Lifecycle jobs: durable, leased, unique by what they are about.

use serde::{Deserialize, Serialize};

use super::{AuthorityName, CrlScope, JobId, LeaseToken, OrderId};
use crate::pki::Timestamp;

/// What a job does.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum JobKind {
    /// Issue one of the CA's own certificates, named in the policy.
    RenewOwn {
        /// The authority.
        authority: AuthorityName,
        /// The name of the own certificate's entry in the policy, for example `ocsp` or `server`.
        own: String,
    },
    /// Make and publish a CRL.
    PublishCrl {
        /// The authority.
        authority: AuthorityName,
        /// Its scope.
        scope: CrlScope,
    },
    /// Issue the next certificate of an order that renews itself (RFC 8739).
    RenewOrder {
        /// The authority.
        authority: AuthorityName,
        /// The order.
        order: OrderId,
    },
    /// Prune what has expired (lesson 32).
    Prune,
}

impl JobKind {
    /// The job's unique id: the same work is never queued twice.
    pub fn id(&self) -> JobId {
        let text = match self {
            Self::RenewOwn { authority, own } => format!("renew.{authority}.{own}"),
            Self::PublishCrl { authority, scope } => format!("crl.{authority}.{scope}"),
            Self::RenewOrder { order, .. } => format!("star.{order}"),
            Self::Prune => "prune".to_owned(),
        };
        // The parts are slugs, but two of 64 make more than an id may have: fall back on their hash.
        text.parse().unwrap_or_else(|_| {
            let hash: String = crate::pki::sha256(text.as_bytes()).to_string();
            hash.parse().expect("64 hexadecimal digits are a slug")
        })
    }
}

/// A job to be queued.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// What it does.
    pub kind: JobKind,
    /// Not before this time.
    pub due: Timestamp,
}

/// A leased job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeasedJob {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// The lease.
    pub lease: LeaseToken,
    /// How many times it failed since it last succeeded.
    pub failures: u32,
}

/// A job as listed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// When it is due.
    pub due: Timestamp,
    /// How many times it failed since it last succeeded.
    pub failures: u32,
    /// The last failure.
    pub last_error: Option<String>,
    /// When it last succeeded.
    pub last_done: Option<Timestamp>,
}
