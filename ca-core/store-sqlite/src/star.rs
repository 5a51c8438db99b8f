//! Orders that renew themselves (RFC 8739): their terms, their jobs, and their early end.

use ca_core::model::{
    AccountId, AuditEntry, AuthorityName, AutoRenewal, GrantId, JobId, JobKind, LeaseToken, Order, OrderId, OrderStatus, Problem,
    RenewingOrder,
};
use ca_core::pki::Timestamp;
use ca_core::plan::star;
use ca_core::ports::{CertificateStore as _, StoreError, StoreResult};

use crate::convert::{from_json, json, time, word};
use crate::error::{conflict, damaged, from_sqlx};
use crate::writer::Tx;
use crate::{SqliteStore, orders};

/// An order that renews itself, with what its next certificate rests on.
pub(crate) async fn find(store: &SqliteStore, id: &OrderId) -> StoreResult<Option<RenewingOrder>> {
    let Some(order) = orders::find(&store.readers, id).await? else { return Ok(None) };
    let (Some(serial), Some(_)) = (&order.serial, &order.auto_renewal) else { return Ok(None) };
    let standing = store.certificate(&order.authority, serial).await?;
    let standing = standing.ok_or_else(|| damaged("order", format!("the certificate of {id} is gone")))?;
    let (account, order_id) = (order.account.clone(), id.clone());
    let evidence = store.write(move |tx| Box::pin(async move { tx.evidence(account.as_str(), Some(order_id.as_str())).await })).await?;
    Ok(Some(RenewingOrder { order, evidence, standing }))
}

impl Tx {
    pub(crate) async fn put_star_order(&mut self, order: &str, terms: &AutoRenewal) -> StoreResult<()> {
        let terms = json(terms);
        sqlx::query!("INSERT INTO star_orders (order_id, terms) VALUES ($1, $2)", order, terms)
            .execute(&mut self.connection)
            .await
            .map(drop)
            .map_err(from_sqlx)
    }

    /// The next certificate takes the place of the one that stands.
    pub(crate) async fn replace_standing(&mut self, order: &OrderId, serial: &[u8]) -> StoreResult<()> {
        let order = order.as_str();
        sqlx::query!("UPDATE orders SET serial = $2 WHERE id = $1 AND status = 'valid'", order, serial)
            .execute(&mut self.connection)
            .await
            .map(drop)
            .map_err(from_sqlx)
    }

    /// Queues the job of an order that renews itself and has its first certificate now.
    pub(crate) async fn begin_renewals(&mut self, order: &OrderId, authority: &AuthorityName) -> StoreResult<()> {
        let id = order.as_str();
        let row = sqlx::query!(
            "SELECT s.terms, c.not_after FROM star_orders s JOIN orders o ON o.id = s.order_id
             JOIN certificates c ON c.authority = o.authority AND c.serial = o.serial WHERE s.order_id = $1",
            id
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        let terms: AutoRenewal = from_json("terms of auto-renewal", &row.terms)?;
        let end = terms.end_date.unix();
        sqlx::query!("UPDATE orders SET expires = $2 WHERE id = $1", id, end).execute(&mut self.connection).await.map_err(from_sqlx)?;
        if let Some(due) = star::due(&terms, time(row.not_after)) {
            let kind = JobKind::RenewOrder { authority: authority.clone(), order: order.clone() };
            self.ensure_job(&kind, due).await?;
        }
        Ok(())
    }

    /// Whether the order may have another certificate by this job: the lease is held at `at`, and the order goes on.
    pub(crate) async fn may_renew(
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
        let found = sqlx::query_scalar!(
            "SELECT o.id FROM orders o JOIN star_orders s ON s.order_id = o.id JOIN jobs j ON j.id = $2
             WHERE o.id = $1 AND o.status = 'valid' AND s.canceled_at IS NULL AND o.account_id = $4 AND o.authority = $5
               AND j.lease = $3 AND j.lease_until > $6",
            order,
            job,
            lease,
            account,
            authority,
            at
        )
        .fetch_optional(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        Ok(found.is_some())
    }

    pub(crate) async fn cancel_order(&mut self, id: &OrderId, problem: Option<&Problem>, audit: &AuditEntry) -> StoreResult<Order> {
        let (text, at) = (id.as_str(), audit.at.unix());
        let changed = sqlx::query!(
            "UPDATE star_orders SET canceled_at = $2 WHERE order_id = $1 AND canceled_at IS NULL
               AND EXISTS (SELECT 1 FROM orders o WHERE o.id = $1 AND o.status = 'valid')",
            text,
            at
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        if changed.rows_affected() == 0 {
            let found = orders::find(&mut self.connection, id).await?.ok_or_else(|| StoreError::NotFound(format!("order {id}")))?;
            return conflict(match found.status {
                OrderStatus::Valid => "the order does not renew itself".to_owned(),
                other => format!("the order is {}, not valid", word(&other)),
            });
        }
        self.end_canceled(text, at, problem).await?;
        self.audit(audit).await?;
        orders::find(&mut self.connection, id).await?.ok_or_else(|| StoreError::NotFound(format!("order {id}")))
    }

    /// Cancels what an account that ends has.
    pub(crate) async fn cancel_orders_of_account(&mut self, account: &str, at: Timestamp) -> StoreResult<()> {
        let at = at.unix();
        let canceled = sqlx::query!(
            "UPDATE star_orders SET canceled_at = $2 WHERE canceled_at IS NULL
               AND order_id IN (SELECT id FROM orders WHERE account_id = $1 AND status = 'valid') RETURNING order_id",
            account,
            at
        )
        .fetch_all(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        for row in canceled {
            self.end_canceled(&row.order_id, at, None).await?;
        }
        Ok(())
    }

    /// Cancels what the accounts of a grant that ends or rests have.
    pub(crate) async fn cancel_orders_of_grant(&mut self, grant: &GrantId, at: Timestamp) -> StoreResult<()> {
        let grant = grant.as_str();
        let accounts =
            sqlx::query!("SELECT id FROM accounts WHERE grant_id = $1", grant).fetch_all(&mut self.connection).await.map_err(from_sqlx)?;
        for account in accounts {
            self.cancel_orders_of_account(&account.id, at).await?;
        }
        Ok(())
    }

    async fn end_canceled(&mut self, order: &str, at: i64, problem: Option<&Problem>) -> StoreResult<()> {
        let problem = problem.map(json);
        sqlx::query!("UPDATE orders SET expires = $2, error = $3 WHERE id = $1", order, at, problem)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        let job = format!("star.{order}");
        sqlx::query!("DELETE FROM jobs WHERE id = $1", job).execute(&mut self.connection).await.map_err(from_sqlx)?;
        self.touched.jobs = true;
        Ok(())
    }
}
