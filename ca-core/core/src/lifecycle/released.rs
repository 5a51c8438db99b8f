//! Which orders have their certificate, read from the audit trail: rows that were set back don't bring a second.

use std::collections::HashMap;

use crate::log::{Leaf, read_leaf};
use crate::model::{AttemptId, AuditRow, OrderId, Origin, Outcome};

/// What the store calls the release of a certificate.
const RELEASE: &str = "certificate.release";

/// Collects, row by row.
#[derive(Default)]
pub(super) struct Released {
    attempts: HashMap<String, OrderId>,
    orders: Vec<OrderId>,
}

impl Released {
    /// Takes the next row. The caller bounds how many.
    pub(super) fn see(&mut self, row: &AuditRow) {
        match read_leaf(&row.leaf) {
            Some(Leaf::Intent(intent)) => {
                if let Origin::Order { order, .. } = intent.origin {
                    self.attempts.insert(text(&intent.attempt), order);
                }
            }
            Some(Leaf::Audit(entry)) if entry.action == RELEASE && entry.outcome == Outcome::Done => {
                self.orders.extend(self.attempts.remove(&entry.correlation));
            }
            Some(Leaf::Audit(_)) | None => {}
        }
    }

    pub(super) fn into_orders(self) -> Vec<OrderId> {
        self.orders
    }
}

fn text(attempt: &AttemptId) -> String {
    attempt.as_str().to_owned()
}
