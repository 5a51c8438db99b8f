//! What is counted, and by whom.

use std::time::Duration;

use ca_core::limits::Quota;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// New orders and authorizations.
    Orders,
    /// Orders for the names of an earlier certificate of the account.
    Renewals,
    /// New accounts.
    Accounts,
    /// Validations and orders that failed.
    Failures,
    /// Revocations by accounts.
    Revocations,
    /// What an account changes of itself and gives up: contacts, key, authorizations.
    Changes,
}

/// By whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Subject {
    /// One account.
    Account,
    /// All accounts of a grant.
    Grant,
    /// An IPv4 /24 or IPv6 /64.
    Network,
    /// A registered domain.
    Name,
}

pub(crate) const KINDS: [Kind; 6] = [Kind::Orders, Kind::Renewals, Kind::Accounts, Kind::Failures, Kind::Revocations, Kind::Changes];
pub(crate) const SUBJECTS: [Subject; 4] = [Subject::Account, Subject::Grant, Subject::Network, Subject::Name];

impl Kind {
    /// Its name in the configuration and in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Renewals => "renewals",
            Self::Accounts => "accounts",
            Self::Failures => "failures",
            Self::Revocations => "revocations",
            Self::Changes => "changes",
        }
    }

    /// What a client has too many of.
    pub(super) const fn noun(self) -> &'static str {
        match self {
            Self::Orders => "new orders",
            Self::Renewals => "renewals",
            Self::Accounts => "new accounts",
            Self::Failures => "failed validations and orders",
            Self::Revocations => "revocations",
            Self::Changes => "changes of contacts, key and authorizations",
        }
    }

    /// Whether it is counted by that subject.
    pub(crate) const fn is_by(self, subject: Subject) -> bool {
        match (self, subject) {
            (Self::Orders, _) => true,
            (Self::Renewals | Self::Failures | Self::Changes, subject) => matches!(subject, Subject::Account),
            (Self::Accounts, subject) => matches!(subject, Subject::Grant | Subject::Network),
            (Self::Revocations, subject) => !matches!(subject, Subject::Name),
        }
    }

    /// How many a site gets that says nothing: far above what a fleet does that enrols in an hour, far below what a
    /// client does that loops.
    pub(super) fn default(self, subject: Subject) -> Option<Quota> {
        let hourly = |count| Some(Quota::new(count, Duration::from_secs(3600)).expect("the number is within its bounds"));
        match (self, subject) {
            (Self::Orders, Subject::Account) => hourly(1000),
            (Self::Orders, Subject::Grant | Subject::Network) => hourly(5000),
            (Self::Orders, Subject::Name) => hourly(20_000),
            (Self::Accounts, Subject::Grant) => hourly(1000),
            (Self::Accounts, Subject::Network) => hourly(2000),
            (Self::Failures, Subject::Account) => hourly(100),
            (Self::Revocations, Subject::Account) => hourly(1000),
            (Self::Revocations, Subject::Grant) => hourly(5000),
            // Room for the authorizations of a few orders that a client gives up one by one.
            (Self::Changes, Subject::Account) => hourly(300),
            (Self::Renewals | Self::Accounts | Self::Failures | Self::Revocations | Self::Changes, _) => None,
        }
    }
}

impl Subject {
    /// Its name in the configuration and in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Grant => "grant",
            Self::Network => "network",
            Self::Name => "name",
        }
    }

    /// Whose limit it is, as a refusal says it.
    pub(super) const fn whose(self) -> &'static str {
        match self {
            Self::Account => "this account",
            Self::Grant => "this account's enrolment grant",
            Self::Network => "this network",
            Self::Name => "this registered domain",
        }
    }
}
