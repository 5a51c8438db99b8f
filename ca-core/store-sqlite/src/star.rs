//! Orders that renew themselves (RFC 8739): their terms, their jobs, and their early end.

use ca_core::model::{
    AccountId, AuditEntry, AuthorityName, AutoRenewal, GrantId, JobId, JobKind, LeaseToken, Order, OrderId, OrderStatus, Problem,
    RenewingOrder,
};
use ca_core::pki::Timestamp;
use ca_core::plan::star;
use ca_core::ports::{StoreError, StoreResult};

use crate::convert::{from_json, json, read, time, word};
use crate::error::{conflict, damaged, from_sqlite};
use crate::sql::{Row, all, execute, one, optional};
use crate::writer::Tx;
use crate::{SqliteStore, certificates, evidence, orders};

/// An order that renews itself, with what its next certificate rests on.
pub(crate) fn find(store: &SqliteStore, id: &OrderId) -> StoreResult<Option<RenewingOrder>> {
    store.readers.look(|c| {
        // One snapshot: what is refused for good ends the order.
        let snapshot = c.unchecked_transaction().map_err(from_sqlite)?;
        let Some(order) = orders::find(&snapshot, id)? else { return Ok(None) };
        let (Some(serial), Some(_)) = (&order.serial, &order.auto_renewal) else { return Ok(None) };
        let standing = certificates::find(&snapshot, &order.authority, serial)?;
        let standing = standing.ok_or_else(|| damaged("order", format!("the certificate of {id} is gone")))?;
        let evidence = evidence::find(&snapshot, order.account.as_str(), Some(id.as_str()))?;
        Ok(Some(RenewingOrder { order, evidence, standing }))
    })
}

impl Tx {
    pub(crate) fn put_star_order(&mut self, order: &str, terms: &AutoRenewal) -> StoreResult<()> {
        let terms = json(terms);
        execute!(&self.connection, "INSERT INTO star_orders (order_id, terms) VALUES ($1, $2)", order, terms).map(drop)
    }

    /// The next certificate takes the place of the one that stands.
    pub(crate) fn replace_standing(&mut self, order: &OrderId, serial: &[u8]) -> StoreResult<()> {
        let order = order.as_str();
        execute!(&self.connection, "UPDATE orders SET serial = $2 WHERE id = $1 AND status = 'valid'", order, serial).map(drop)
    }

    /// Queues the job of an order that renews itself and has its first certificate now.
    pub(crate) fn begin_renewals(&mut self, order: &OrderId, authority: &AuthorityName) -> StoreResult<()> {
        let id = order.as_str();
        let read = |row: &Row<'_>| {
            let terms: String = row.get("terms")?;
            Ok((from_json::<AutoRenewal>("terms of auto-renewal", &terms)?, time(row.get("not_after")?)))
        };
        let (terms, not_after) = one!(
            &self.connection,
            read,
            "SELECT s.terms, c.not_after FROM star_orders s JOIN orders o ON o.id = s.order_id
             JOIN certificates c ON c.authority = o.authority AND c.serial = o.serial WHERE s.order_id = $1",
            id
        )?;
        let end = terms.end_date.unix();
        execute!(&self.connection, "UPDATE orders SET expires = $2 WHERE id = $1", id, end)?;
        if let Some(due) = star::due(&terms, not_after) {
            let kind = JobKind::RenewOrder { authority: authority.clone(), order: order.clone() };
            self.ensure_job(&kind, due)?;
        }
        Ok(())
    }

    /// Moves up the job of an order that renews itself where this certificate stands: it is marked for replacement. A job that
    /// ended with the order's last certificate comes back.
    pub(crate) fn move_renewal_up(&mut self, authority: &AuthorityName, serial: &[u8], at: Timestamp) -> StoreResult<()> {
        let (name, now) = (authority.as_str(), at.unix());
        let order = optional!(
            &self.connection,
            |row| read::<OrderId>("order id", row.get("id")?),
            "SELECT o.id FROM certificates c JOIN star_orders s ON s.order_id = c.order_id JOIN orders o ON o.id = c.order_id
             WHERE c.authority = $1 AND c.serial = $2 AND o.serial = $2 AND o.status = 'valid' AND s.canceled_at IS NULL
               AND o.expires > $3",
            name,
            serial,
            now
        )?;
        let Some(order) = order else { return Ok(()) };
        self.ensure_job(&JobKind::RenewOrder { authority: authority.clone(), order }, at)
    }

    /// Whether the order may have another certificate by this job: the lease is held at `at`, and the order goes on.
    pub(crate) fn may_renew(
        &mut self,
        order: &OrderId,
        job: &JobId,
        lease: &LeaseToken,
        account: &AccountId,
        authority: &AuthorityName,
        at: i64,
    ) -> StoreResult<bool> {
        let (order, job, lease) = (order.as_str(), job.as_str(), lease.as_str());
        let (account, authority) = (account.as_str(), authority.as_str());
        let found = optional!(
            &self.connection,
            |_| Ok(()),
            "SELECT o.id FROM orders o JOIN star_orders s ON s.order_id = o.id JOIN jobs j ON j.id = $2
             WHERE o.id = $1 AND o.status = 'valid' AND s.canceled_at IS NULL AND o.account_id = $4 AND o.authority = $5
               AND j.lease = $3 AND j.lease_until > $6",
            order,
            job,
            lease,
            account,
            authority,
            at
        )?;
        Ok(found.is_some())
    }

    pub(crate) fn cancel_order(&mut self, id: &OrderId, problem: Option<&Problem>, audit: &AuditEntry) -> StoreResult<Order> {
        let (text, at) = (id.as_str(), audit.at.unix());
        let changed = execute!(
            &self.connection,
            "UPDATE star_orders SET canceled_at = $2 WHERE order_id = $1 AND canceled_at IS NULL
               AND EXISTS (SELECT 1 FROM orders o WHERE o.id = $1 AND o.status = 'valid')",
            text,
            at
        )?;
        if changed == 0 {
            let found = orders::find(&self.connection, id)?.ok_or_else(|| StoreError::NotFound(format!("order {id}")))?;
            return conflict(match found.status {
                OrderStatus::Valid => "the order does not renew itself".to_owned(),
                other => format!("the order is {}, not valid", word(&other)),
            });
        }
        self.end_canceled(text, at, problem)?;
        self.audit(audit)?;
        orders::find(&self.connection, id)?.ok_or_else(|| StoreError::NotFound(format!("order {id}")))
    }

    /// Cancels what an account that ends has.
    pub(crate) fn cancel_orders_of_account(&mut self, account: &str, at: Timestamp) -> StoreResult<()> {
        let at = at.unix();
        let canceled = all!(
            &self.connection,
            |row| row.get::<String>("order_id"),
            "UPDATE star_orders SET canceled_at = $2 WHERE canceled_at IS NULL
               AND order_id IN (SELECT id FROM orders WHERE account_id = $1 AND status = 'valid') RETURNING order_id",
            account,
            at
        )?;
        self.end_all(&canceled, at)
    }

    /// Cancels what the accounts of a grant that ends have.
    pub(crate) fn cancel_orders_of_grant(&mut self, grant: &GrantId, at: Timestamp) -> StoreResult<()> {
        let (grant, at) = (grant.as_str(), at.unix());
        let canceled = all!(
            &self.connection,
            |row| row.get::<String>("order_id"),
            "UPDATE star_orders SET canceled_at = $2 WHERE canceled_at IS NULL AND order_id IN (
               SELECT o.id FROM accounts a JOIN orders o ON o.account_id = a.id WHERE a.grant_id = $1 AND o.status = 'valid')
             RETURNING order_id",
            grant,
            at
        )?;
        self.end_all(&canceled, at)
    }

    /// Has the renewals looked at that rest, or are looked at just now, under a grant that changes or goes on.
    pub(crate) fn wake_renewals(&mut self, grant: &GrantId, at: Timestamp) -> StoreResult<()> {
        let (grant, at) = (grant.as_str(), at.unix());
        execute!(
            &self.connection,
            "UPDATE jobs SET
               due = CASE WHEN lease IS NULL THEN min(due, $2) ELSE due END,
               due_meanwhile = CASE WHEN lease IS NULL THEN NULL ELSE min(coalesce(due_meanwhile, $2), $2) END
             WHERE (last_error IS NOT NULL OR lease IS NOT NULL) AND id IN (
               SELECT 'star.' || o.id FROM accounts a JOIN orders o ON o.account_id = a.id JOIN star_orders s ON s.order_id = o.id
               WHERE a.grant_id = $1 AND o.status = 'valid' AND s.canceled_at IS NULL)",
            grant,
            at
        )?;
        self.touched.jobs = true;
        Ok(())
    }

    fn end_all(&mut self, canceled: &[String], at: i64) -> StoreResult<()> {
        canceled.iter().try_for_each(|order| self.end_canceled(order, at, None))
    }

    fn end_canceled(&mut self, order: &str, at: i64, problem: Option<&Problem>) -> StoreResult<()> {
        let problem = problem.map(json);
        execute!(&self.connection, "UPDATE orders SET expires = $2, error = $3 WHERE id = $1", order, at, problem)?;
        let job = format!("star.{order}");
        execute!(&self.connection, "DELETE FROM jobs WHERE id = $1", job)?;
        self.touched.jobs = true;
        Ok(())
    }
}
