//! Orders: their rows, and the commands on them.

use ca_core::model::{AccountId, AuditEntry, Authorization, NewOrder, Order, OrderId, OrderPage, OrderStatus, RequestId, RequestState};
use ca_core::pki::{Identifier, Timestamp};
use ca_core::ports::{KEY_CHANGED, StoreError, StoreResult};
use rusqlite::Connection;

use crate::authorizations::{ACCOUNT_NOT_VALID, ids};
use crate::convert::{from_json, json, limit, read, serial, time, word};
use crate::error::{conflict, or_taken};
use crate::sql::{Row, all, execute, one, optional};
use crate::writer::Tx;

/// The most orders on a page.
const MAX_PAGE: u32 = 1000;

/// Reads an order.
pub(crate) fn find(connection: &Connection, id: &OrderId) -> StoreResult<Option<Order>> {
    let id = id.as_str();
    optional!(
        connection,
        read_order,
        "SELECT o.id, o.identifiers, s.canceled_at, o.authorizations, o.account_id, o.authority, o.profile, o.status, o.expires,
                o.not_before, o.not_after, o.error, o.serial, s.terms, o.replaces, o.created_at
         FROM orders o LEFT JOIN star_orders s ON s.order_id = o.id WHERE o.id = $1",
        id
    )
}

fn read_order(row: &Row<'_>) -> StoreResult<Order> {
    let id: OrderId = read("order id", row.get("id")?)?;
    let identifiers: Vec<Identifier> = from_json("identifiers", &row.get::<String>("identifiers")?)?;
    let number = |column: &str| row.get::<Option<Vec<u8>>>(column)?.map(|octets| serial(&octets)).transpose();
    let canceled = row.get::<Option<i64>>("canceled_at")?.is_some();
    Ok(Order {
        authorizations: ids(&id, row.get::<Option<String>>("authorizations")?.as_deref(), identifiers.len())?,
        id,
        account: read("account id", row.get("account_id")?)?,
        authority: read("authority", row.get("authority")?)?,
        profile: row.get("profile")?,
        identifiers,
        status: if canceled { OrderStatus::Canceled } else { read("order status", row.get("status")?)? },
        expires: time(row.get("expires")?),
        not_before: row.get::<Option<i64>>("not_before")?.map(time),
        not_after: row.get::<Option<i64>>("not_after")?.map(time),
        error: row.get::<Option<String>>("error")?.map(|text| from_json("problem", &text)).transpose()?,
        serial: number("serial")?,
        auto_renewal: row.get::<Option<String>>("terms")?.map(|text| from_json("terms of auto-renewal", &text)).transpose()?,
        replaces: number("replaces")?,
        created_at: time(row.get("created_at")?),
    })
}

/// A page of an account's orders, newest first. One that lapsed is invalid, though no one has written it down yet.
pub(crate) fn page(
    connection: &Connection,
    account: &AccountId,
    cursor: Option<&OrderId>,
    now: Timestamp,
    at_most: u32,
) -> StoreResult<OrderPage> {
    let (account, cursor, now) = (account.as_str(), cursor.map(OrderId::as_str), now.unix());
    let size = at_most.clamp(1, MAX_PAGE);
    let one_more = limit(size + 1);
    // A cursor that names no order of this account gives an empty page.
    let mut orders: Vec<OrderId> = all!(
        connection,
        |row| read("order id", row.get("id")?),
        "SELECT id FROM orders WHERE account_id = $1 AND status <> 'invalid'
           AND NOT (status IN ('pending', 'ready') AND expires <= $3)
           AND ($2 IS NULL OR seq < (SELECT c.seq FROM orders c WHERE c.id = $2 AND c.account_id = $1))
         ORDER BY seq DESC LIMIT $4",
        account,
        cursor,
        now,
        one_more
    )?;
    let more = orders.len() > size as usize;
    orders.truncate(size as usize);
    let next = if more { orders.last().cloned() } else { None };
    Ok(OrderPage { orders, next })
}

impl Tx {
    pub(crate) fn create_order(&mut self, new: &NewOrder, audit: &AuditEntry) -> StoreResult<Order> {
        let order = &new.order;
        let id = order.id.as_str();
        let account = order.account.as_str();
        let (jws, valid_account) = one!(
            &self.connection,
            |row| Ok((row.get::<Option<String>>("jws")?, row.get::<bool>("valid_account")?)),
            "SELECT (SELECT jws FROM orders WHERE id = $1) AS jws,
                    EXISTS (SELECT 1 FROM accounts WHERE id = $2 AND status = 'valid') AS valid_account",
            id,
            account
        )?;
        if let Some(jws) = jws {
            if jws != new.jws {
                return conflict("another order has this id");
            }
            return find(&self.connection, &order.id)?.ok_or_else(|| StoreError::NotFound(format!("order {id}")));
        }
        if !matches!(order.status, OrderStatus::Pending | OrderStatus::Ready) {
            return conflict(format!("a new order is pending or ready, not {}", word(&order.status)));
        }
        let (authority, at) = (order.authority.as_str(), order.created_at.unix());
        if !valid_account {
            return conflict(ACCOUNT_NOT_VALID);
        }
        let (order, authorizations) = self.settle_order(order, &new.authorizations)?;
        let own = authorizations.iter().all(|authorization| authorization.order.is_some());
        let listed = (!own).then(|| json(&order.authorizations));
        let replaces = order.replaces.as_ref().map(|serial| serial.as_bytes().as_slice());
        if replaces.is_some() {
            // An order that lapsed is invalid, though no one has written it down yet.
            execute!(
                &self.connection,
                "UPDATE orders SET status = 'invalid'
                 WHERE authority = $1 AND replaces = $2 AND replaces IS NOT NULL AND status <> 'invalid' AND status IN ('pending', 'ready')
                   AND expires <= $3",
                authority,
                replaces,
                at
            )?;
        }
        let (identifiers, status, expires) = (json(&order.identifiers), word(&order.status), order.expires.unix());
        let (not_before, not_after) = (order.not_before.map(Timestamp::unix), order.not_after.map(Timestamp::unix));
        execute!(
            &self.connection,
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
        .map_err(or_taken("another order replaces this certificate already"))?;
        if let Some(terms) = &order.auto_renewal {
            self.put_star_order(id, terms)?;
        }
        for authorization in authorizations.iter().filter(|authorization| authorization.order.is_none()) {
            self.rest_on(&order, authorization)?;
        }
        self.audit(audit)?;
        Ok(order)
    }

    /// Remembers that the order rests on an authorization that stands for itself.
    fn rest_on(&mut self, order: &Order, authorization: &Authorization) -> StoreResult<()> {
        let (id, order_id) = (authorization.id.as_str(), order.id.as_str());
        execute!(
            &self.connection,
            "INSERT INTO order_authorizations (authorization_id, order_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            id,
            order_id
        )?;
        Ok(())
    }

    pub(crate) fn queue_finalize(
        &mut self,
        order: &OrderId,
        thumbprint: &str,
        jws: &str,
        now: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<RequestId> {
        let (id, at) = (order.as_str(), now.unix());
        let changed = execute!(
            &self.connection,
            "UPDATE orders SET status = 'processing', finalize_jws = $2,
                    finalized_after = (SELECT coalesce(max(k.number), 0) FROM key_changes k WHERE k.account_id = orders.account_id)
             WHERE id = $1 AND status = 'ready' AND expires > $3
               AND EXISTS (SELECT 1 FROM accounts a WHERE a.id = orders.account_id AND a.thumbprint = $4)",
            id,
            jws,
            at,
            thumbprint
        )?;
        if changed == 0 {
            let found = find(&self.connection, order)?.ok_or_else(|| StoreError::NotFound(format!("order {order}")))?;
            return conflict(match found.status {
                OrderStatus::Ready if found.expires > now => KEY_CHANGED.to_owned(),
                OrderStatus::Ready => "the order expired".to_owned(),
                other => format!("the order is {}, not ready", word(&other)),
            });
        }
        let request = RequestId::for_order(order);
        let request_id = request.as_str();
        execute!(
            &self.connection,
            "INSERT INTO requests (id, account_id, order_id, state, not_before, received_at)
             SELECT $1, account_id, id, 'queued', $3, $3 FROM orders WHERE id = $2",
            request_id,
            id,
            at
        )
        .map_err(or_taken("the order was finalized before"))?;
        self.audit(audit)?;
        self.touched.requests = true;
        self.touched.states.push((request.clone(), RequestState::Waiting));
        Ok(request)
    }
}
