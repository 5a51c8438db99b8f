//! Drops what has expired (lesson 32), a bounded number of rows at a time. Never a certificate, nor the order, account
//! or evidence behind one.

use std::time::Duration;

use ca_core::anchor::AnchorState;
use ca_core::pki::Timestamp;
use ca_core::ports::StoreResult;

use crate::convert::{limit, unsigned};
use crate::sql::{all, execute};
use crate::writer::Tx;

/// How long an ended request is kept for questions about it; its evidence stays with the order.
const KEEP_REQUESTS: Duration = Duration::from_secs(7 * 86_400);

/// How long a CRL is kept after its nextUpdate, once another one is current.
const KEEP_CRLS: Duration = Duration::from_secs(30 * 86_400);

/// How long a proposal can be looked at after it expired.
const KEEP_PROPOSALS: Duration = Duration::from_secs(90 * 86_400);

/// How long what validations saw can be looked up; the audit trail has it for good.
const KEEP_VALIDATIONS: Duration = Duration::from_secs(400 * 86_400);

/// How long failures of accounts are remembered: longer than any rule looks back.
const KEEP_FAILURES: Duration = Duration::from_secs(32 * 86_400);

/// How long a mark for replacement is kept after its certificate's end; the audit trail has it for good.
const KEEP_MARKS: Duration = Duration::from_secs(90 * 86_400);

impl Tx {
    pub(crate) fn prune(&mut self, now: Timestamp, at_most: u32) -> StoreResult<u64> {
        let most = limit(at_most);
        let mut left = most;
        let (requests_before, crls_before) = (now.minus(KEEP_REQUESTS).unix(), now.minus(KEEP_CRLS).unix());
        let proposals_before = now.minus(KEEP_PROPOSALS).unix();
        let validations_before = now.minus(KEEP_VALIDATIONS).unix();
        let failures_before = now.minus(KEEP_FAILURES).unix();
        let marks_before = now.minus(KEEP_MARKS).unix();
        // The clock may be set back so far: a statement would be valid again, and must not count again.
        let nonces_before = now.minus(AnchorState::CLOCK_TOLERANCE).unix();
        let now = now.unix();
        // An order without any attempt: its authorizations go with it, and its request.
        let dropped: Vec<String> = all!(
            &self.connection,
            |row| row.get("id"),
            "DELETE FROM orders WHERE seq IN (
               SELECT o.seq FROM orders o WHERE o.status <> 'processing' AND o.status <> 'valid' AND o.expires <= $1
                 AND NOT EXISTS (SELECT 1 FROM certificates c WHERE c.order_id = o.id)
                 AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.id = 'f.' || o.id AND r.ended_at IS NULL)
               ORDER BY o.expires LIMIT $2) RETURNING id",
            now,
            left
        )?;
        left -= count(dropped.len());
        for order in dropped {
            execute!(&self.connection, "DELETE FROM requests WHERE id = 'f.' || $1", order)?;
        }
        left -= count(execute!(
            &self.connection,
            "DELETE FROM requests WHERE seq IN (
               SELECT seq FROM requests WHERE ended_at IS NOT NULL AND ended_at <= $1 ORDER BY ended_at LIMIT $2)",
            requests_before,
            left
        )?);
        // Those of dropped orders went with them.
        self.touched.pruned = left < most;
        left -= count(execute!(
            &self.connection,
            "DELETE FROM nonces WHERE nonce IN (SELECT nonce FROM nonces WHERE expires <= $1 ORDER BY expires LIMIT $2)",
            nonces_before,
            left
        )?);
        left -= count(execute!(
            &self.connection,
            "DELETE FROM crls WHERE seq IN (
               SELECT c.seq FROM crls c JOIN crl_heads h ON h.authority = c.authority AND h.scope = c.scope
               WHERE c.next_update <= $1 AND c.number < h.released ORDER BY c.next_update LIMIT $2)",
            crls_before,
            left
        )?);
        // What a roster change or a revocation stands on is kept with it, and the audit trail has it all.
        left -= count(execute!(
            &self.connection,
            "DELETE FROM proposals WHERE seq IN (
               SELECT seq FROM proposals WHERE expires_at <= $1 AND state <> 'begun' ORDER BY expires_at LIMIT $2)",
            proposals_before,
            left
        )?);
        // Orders that rest on one lapse with it.
        left -= count(execute!(
            &self.connection,
            "DELETE FROM authorizations WHERE id IN (
               SELECT id FROM authorizations WHERE expires <= $1 ORDER BY expires LIMIT $2)",
            now,
            left
        )?);
        left -= count(execute!(
            &self.connection,
            "DELETE FROM validation_records WHERE seq IN (SELECT seq FROM validation_records WHERE at <= $1 ORDER BY at LIMIT $2)",
            validations_before,
            left
        )?);
        left -= count(execute!(
            &self.connection,
            "DELETE FROM account_failures WHERE (account_id, number) IN (
               SELECT account_id, number FROM account_failures WHERE at <= $1 ORDER BY at LIMIT $2)",
            failures_before,
            left
        )?);
        left -= count(execute!(
            &self.connection,
            "DELETE FROM replacement_marks WHERE certificate IN (
               SELECT certificate FROM replacement_marks WHERE not_after <= $1 ORDER BY not_after LIMIT $2)",
            marks_before,
            left
        )?);
        unsigned("rows", most - left)
    }
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
