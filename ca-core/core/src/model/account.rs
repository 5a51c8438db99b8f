//! ACME accounts (RFC 8555 §7.1.2).

use serde::{Deserialize, Serialize};

use super::{AccountId, GrantId, OrderId};
use crate::pki::Timestamp;

/// The state of an account. `Pending` is before the worker has verified its external account binding; the protocol
/// never shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountStatus {
    /// Waits for the worker.
    Pending,
    /// In use.
    Valid,
    /// Deactivated by its holder (RFC 8555 §7.3.6).
    Deactivated,
    /// Revoked by the server, for example with its grant.
    Revoked,
}

/// An account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its state.
    pub status: AccountStatus,
    /// Its current key: a JWK in canonical form (RFC 7638 member set and order).
    pub jwk: String,
    /// The key's RFC 7638 SHA-256 thumbprint, base64url.
    pub thumbprint: String,
    /// `mailto:` URLs.
    pub contact: Vec<String>,
    /// Whether the terms were agreed to.
    pub terms_of_service_agreed: bool,
    /// The grant that it was bound to.
    pub grant: GrantId,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A newAccount request that the front end found well formed and hands to the worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewAccount {
    /// The account as it will be; its status is [`AccountStatus::Pending`].
    pub account: Account,
    /// The newAccount JWS with its inner binding, verbatim.
    pub jws: String,
}

/// A page of an account's orders (RFC 8555 §7.1.2.1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderPage {
    /// The orders.
    pub orders: Vec<OrderId>,
    /// The cursor of the next page.
    pub next: Option<OrderId>,
}
