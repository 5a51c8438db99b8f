//! Orders: their rows, and the commands on them.

use ca_core::model::{AccountId, AuditEntry, Authorization, NewOrder, Order, OrderId, OrderPage, OrderStatus, RequestId};
use ca_core::pki::{Identifier, Timestamp};
use ca_core::ports::{StoreError, StoreResult};
use sqlx::{SqliteExecutor, SqlitePool};

use crate::authorizations::ids;
use crate::convert::{from_json, json, limit, read, serial, time, word};
use crate::error::{conflict, from_sqlx, or_taken};
use crate::writer::Tx;

/// The most orders on a page.
const MAX_PAGE: u32 = 1000;

/// Reads an order.
pub(crate) async fn find(executor: impl SqliteExecutor<'_>, id: &OrderId) -> StoreResult<Option<Order>> {
    let id = id.as_str();
    let row = sqlx::query!(
        r#"SELECT o.id, o.account_id, o.authority, o.profile, o.identifiers, o.authorizations, o.status, o.expires, o.not_before,
                  o.not_after, o.error, o.serial, o.replaces, o.created_at, s.terms AS "terms?", s.canceled_at
           FROM orders o LEFT JOIN star_orders s ON s.order_id = o.id WHERE o.id = $1"#,
        id
    )
    .fetch_optional(executor)
    .await
    .map_err(from_sqlx)?;
    row.map(|row| {
        let id: OrderId = read("order id", row.id)?;
        let identifiers: Vec<Identifier> = from_json("identifiers", &row.identifiers)?;
        Ok(Order {
            authorizations: ids(&id, row.authorizations.as_deref(), identifiers.len())?,
            id,
            account: read("account id", row.account_id)?,
            authority: read("authority", row.authority)?,
            profile: row.profile,
            identifiers,
            status: if row.canceled_at.is_some() { OrderStatus::Canceled } else { read("order status", row.status)? },
            expires: time(row.expires),
            not_before: row.not_before.map(time),
            not_after: row.not_after.map(time),
            error: row.error.map(|text| from_json("problem", &text)).transpose()?,
            serial: row.serial.map(|bytes| serial(&bytes)).transpose()?,
            auto_renewal: row.terms.map(|text| from_json("terms of auto-renewal", &text)).transpose()?,
            replaces: row.replaces.map(|bytes| serial(&bytes)).transpose()?,
            created_at: time(row.created_at),
        })
    })
    .transpose()
}

/// A page of an account's orders, newest first.
pub(crate) async fn page(pool: &SqlitePool, account: &AccountId, cursor: Option<&OrderId>, at_most: u32) -> StoreResult<OrderPage> {
    let (account, cursor) = (account.as_str(), cursor.map(OrderId::as_str));
    let size = at_most.clamp(1, MAX_PAGE);
    let one_more = limit(size + 1);
    // A cursor that names no order of this account gives an empty page.
    let rows = sqlx::query!(
        "SELECT id FROM orders WHERE account_id = $1 AND status <> 'invalid'
           AND ($2 IS NULL OR seq < (SELECT c.seq FROM orders c WHERE c.id = $2 AND c.account_id = $1))
         ORDER BY seq DESC LIMIT $3",
        account,
        cursor,
        one_more
    )
    .fetch_all(pool)
    .await
    .map_err(from_sqlx)?;
    let more = rows.len() > size as usize;
    let orders = rows.into_iter().take(size as usize).map(|row| read("order id", row.id)).collect::<StoreResult<Vec<OrderId>>>()?;
    let next = if more { orders.last().cloned() } else { None };
    Ok(OrderPage { orders, next })
}

impl Tx {
    pub(crate) async fn create_order(&mut self, new: &NewOrder, audit: &AuditEntry) -> StoreResult<Order> {
        let order = &new.order;
        let id = order.id.as_str();
        let account = order.account.as_str();
        let stored = sqlx::query!(
            r#"SELECT (SELECT jws FROM orders WHERE id = $1) AS "jws: String",
                      EXISTS (SELECT 1 FROM accounts WHERE id = $2 AND status = 'valid') AS "valid!: bool""#,
            id,
            account
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        if let Some(jws) = stored.jws {
            if jws != new.jws {
                return conflict("another order has this id");
            }
            return find(&mut self.connection, &order.id).await?.ok_or_else(|| StoreError::NotFound(format!("order {id}")));
        }
        if !matches!(order.status, OrderStatus::Pending | OrderStatus::Ready) {
            return conflict(format!("a new order is pending or ready, not {}", word(&order.status)));
        }
        let (authority, at) = (order.authority.as_str(), order.created_at.unix());
        if !stored.valid {
            return conflict("the account is not valid");
        }
        let (order, authorizations) = self.settle_order(order, &new.authorizations).await?;
        let own = authorizations.iter().all(|authorization| authorization.order.is_some());
        let listed = (!own).then(|| json(&order.authorizations));
        let replaces = order.replaces.as_ref().map(|serial| serial.as_bytes().as_slice());
        if replaces.is_some() {
            // An order that lapsed is invalid, though no one has written it down yet.
            sqlx::query!(
                "UPDATE orders SET status = 'invalid'
                 WHERE authority = $1 AND replaces = $2 AND replaces IS NOT NULL AND status <> 'invalid' AND status IN ('pending', 'ready')
                   AND expires <= $3",
                authority,
                replaces,
                at
            )
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        }
        let (identifiers, status, expires) = (json(&order.identifiers), word(&order.status), order.expires.unix());
        let (not_before, not_after) = (order.not_before.map(Timestamp::unix), order.not_after.map(Timestamp::unix));
        sqlx::query!(
            "INSERT INTO orders (id, account_id, authority, profile, identifiers, status, expires, not_before, not_after, replaces,
                                 created_at, jws, authorizations)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            id,
            account,
            authority,
            order.profile,
            identifiers,
            status,
            expires,
            not_before,
            not_after,
            replaces,
            at,
            new.jws,
            listed
        )
        .execute(&mut self.connection)
        .await
        .map_err(or_taken("another order replaces this certificate already"))?;
        if let Some(terms) = &order.auto_renewal {
            self.put_star_order(id, terms).await?;
        }
        for (position, authorization) in (0_i64..).zip(&authorizations) {
            self.attach_authorization(&order, position, authorization).await?;
        }
        self.audit(audit).await?;
        Ok(order)
    }

    /// Stores an authorization that belongs to the order, or remembers that the order rests on it.
    async fn attach_authorization(&mut self, order: &Order, position: i64, authorization: &Authorization) -> StoreResult<()> {
        let (id, order_id) = (authorization.id.as_str(), order.id.as_str());
        if authorization.order.is_none() {
            sqlx::query!(
                "INSERT INTO order_authorizations (authorization_id, order_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                id,
                order_id
            )
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
            return Ok(());
        }
        let (account, authority, identifier) = (order.account.as_str(), order.authority.as_str(), json(&authorization.identifier));
        let (status, expires) = (word(&authorization.status), authorization.expires.unix());
        sqlx::query!(
            "INSERT INTO authorizations (id, order_id, position, account_id, authority, identifier, status, expires)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            id,
            order_id,
            position,
            account,
            authority,
            identifier,
            status,
            expires
        )
        .execute(&mut self.connection)
        .await
        .map_err(or_taken("another authorization has this id"))?;
        Ok(())
    }

    pub(crate) async fn queue_finalize(
        &mut self,
        order: &OrderId,
        jws: &str,
        now: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<RequestId> {
        let (id, at) = (order.as_str(), now.unix());
        let request = RequestId::for_order(order);
        let request_id = request.as_str();
        // In one call, for each costs two changes of thread. `changes()` is of the statement before.
        let changed = sqlx::query!(
            "UPDATE orders SET status = 'processing', finalize_jws = $2 WHERE id = $1 AND status = 'ready' AND expires > $3;
             INSERT INTO requests (id, account_id, order_id, state, not_before, received_at)
             SELECT $4, account_id, id, 'queued', $5, $5 FROM orders WHERE id = $6 AND changes() > 0",
            id,
            jws,
            at,
            request_id,
            at,
            id
        )
        .execute(&mut self.connection)
        .await
        .map_err(or_taken("the order was finalized before"))?;
        if changed.rows_affected() == 0 {
            let found = find(&mut self.connection, order).await?.ok_or_else(|| StoreError::NotFound(format!("order {order}")))?;
            return conflict(match found.status {
                OrderStatus::Ready => "the order expired".to_owned(),
                other => format!("the order is {}, not ready", word(&other)),
            });
        }
        self.audit(audit).await?;
        self.touched.requests = true;
        Ok(request)
    }
}
