//! Which orders have their certificate, and until when the last one lasts, read from the audit trail: rows that were set
//! back don't bring a second.

use std::collections::HashMap;

use crate::log::{Leaf, read_leaf};
use crate::model::{AttemptId, AuditRow, IntentContent, OrderId, Origin, Outcome};
use crate::pki::Timestamp;

/// What the store calls the release of a certificate.
const RELEASE: &str = "certificate.release";

/// Collects, row by row.
#[derive(Default)]
pub(super) struct Released {
    attempts: HashMap<String, (OrderId, Timestamp)>,
    orders: Vec<(OrderId, Timestamp)>,
}

impl Released {
    /// Takes the next row. The caller bounds how many.
    pub(super) fn see(&mut self, row: &AuditRow) {
        match read_leaf(&row.leaf) {
            Some(Leaf::Intent(intent)) => {
                if let (Origin::Order { order, .. } | Origin::Renewal { order, .. }, IntentContent::Certificate(certificate)) =
                    (intent.origin, intent.content)
                {
                    self.attempts.insert(text(&intent.attempt), (order, certificate.not_after));
                }
            }
            Some(Leaf::Audit(entry)) if entry.action == RELEASE && entry.outcome == Outcome::Done => {
                self.orders.extend(self.attempts.remove(&entry.correlation));
            }
            Some(Leaf::Audit(_)) | None => {}
        }
    }

    /// The oldest release first.
    pub(super) fn into_orders(self) -> Vec<(OrderId, Timestamp)> {
        self.orders
    }
}

fn text(attempt: &AttemptId) -> String {
    attempt.as_str().to_owned()
}
