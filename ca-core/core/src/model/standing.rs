//! How an account stands: whether it renews, and whether it only fails.

use serde::{Deserialize, Serialize};

use super::Account;
use crate::pki::Timestamp;

/// What the front end asks before an account orders.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Whether the account had a certificate for exactly these identifiers.
    pub renews: bool,
    /// How often it failed since the time asked for, without a success in between.
    pub failures: u32,
    /// Since when it is paused; none: it is not.
    pub paused: Option<Timestamp>,
}

/// An account as operators see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountRecord {
    /// The account.
    pub account: Account,
    /// How often it failed in a row, as far as that is remembered.
    pub failures: u32,
    /// Since when it is paused; none: it is not.
    pub paused: Option<Timestamp>,
}
