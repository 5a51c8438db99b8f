//! The terms of an order that renews itself (RFC 8739 §3.1.1).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pki::Timestamp;

/// What a client asked for, signed in its newOrder request. The order's certificates follow from it: see
/// [`crate::plan::star`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AutoRenewal {
    /// When the first certificate begins, at the earliest; none: at once.
    pub start_date: Option<Timestamp>,
    /// When the last one ends, at the latest.
    pub end_date: Timestamp,
    /// The nominal life of each, in seconds, without what is added to its beginning.
    pub lifetime: u64,
    /// How much earlier than nominal each begins, in seconds, as far as the client wants it.
    pub lifetime_adjust: u64,
    /// Whether anyone may fetch the current certificate.
    pub allow_certificate_get: bool,
}

impl AutoRenewal {
    /// How far a certificate's notBefore lies before its nominal date (§3.5): what the client asks for, at most one life;
    /// and two thirds of a life at least, so that the next certificate is valid well before it is published.
    pub fn padding(&self) -> Duration {
        let server = self.lifetime - self.lifetime / 3;
        Duration::from_secs(self.lifetime_adjust.min(self.lifetime).max(server))
    }
}
