//! Authorizations: rows for those that stand for themselves, as those with challenges do; an order's own follow from it.

use ca_core::model::{
    AuditEntry, Authorization, AuthorizationId, AuthorizationStatus, Challenge, ChallengeMethod, ChallengeStatus, Order, OrderId,
    OrderStatus,
};
use ca_core::pki::Timestamp;
use ca_core::ports::{MAX_PENDING_AUTHORIZATIONS, REUSE_MARGIN, StoreError, StoreResult, TOO_MANY_PENDING};
use rusqlite::Connection;

use crate::convert::{from_json, json, read, read_opt, signed, time, unsigned, word};
use crate::error::{conflict, damaged, or_taken};
use crate::orders;
use crate::sql::{Row, all, execute, one, optional};
use crate::writer::Tx;

/// How many authorizations for one identifier are looked at for one that can be used again.
const CANDIDATES: i64 = 20;

/// Why an account gets nothing new.
pub(crate) const ACCOUNT_NOT_VALID: &str = "the account is not valid";

/// An authorization without challenges, and the challenge of this row.
fn read_authorization(row: &Row<'_>) -> StoreResult<(Authorization, Option<Challenge>)> {
    let authorization = Authorization {
        id: read("authorization id", row.get("id")?)?,
        account: read("account id", row.get("account_id")?)?,
        authority: read("authority", row.get("authority")?)?,
        order: None,
        identifier: from_json("identifier", &row.get::<String>("identifier")?)?,
        status: read("authorization status", row.get("status")?)?,
        expires: time(row.get("expires")?),
        challenges: Vec::new(),
    };
    Ok((authorization, read_challenge(row)?))
}

fn read_challenge(row: &Row<'_>) -> StoreResult<Option<Challenge>> {
    let (Some(method), Some(token), Some(status)) = (row.get("method")?, row.get("token")?, row.get("challenge_status")?) else {
        return Ok(None);
    };
    let (validated, error) = (row.get::<Option<i64>>("validated")?, row.get::<Option<String>>("error")?);
    Ok(Some(Challenge {
        method: read("challenge method", method)?,
        token: read("challenge token", token)?,
        status: read("challenge status", status)?,
        validated: validated.map(time),
        attested_key: read_opt("attested key", row.get("attested_key")?)?,
        error: error.map(|text| from_json("problem", &text)).transpose()?,
    }))
}

/// Puts authorizations together from rows in which those of one follow one another.
fn assemble(rows: Vec<(Authorization, Option<Challenge>)>) -> Vec<Authorization> {
    let mut found: Vec<Authorization> = Vec::new();
    for (authorization, challenge) in rows {
        if found.last().is_none_or(|last| last.id != authorization.id) {
            found.push(authorization);
        }
        if let (Some(challenge), Some(last)) = (challenge, found.last_mut()) {
            last.challenges.push(challenge);
        }
    }
    found.iter_mut().for_each(|authorization| authorization.challenges.sort_by_key(|c| c.method));
    found
}

/// Reads an authorization.
pub(crate) fn find(connection: &Connection, id: &AuthorizationId) -> StoreResult<Option<Authorization>> {
    if let Some((order, index)) = id.of_order() {
        let order = orders::find(connection, &order)?;
        return order.map_or(Ok(None), |order| Ok(own(&order, index, &withdrawn(connection, &order)?)));
    }
    let id = id.as_str();
    let rows = all!(
        connection,
        read_authorization,
        "SELECT a.id, a.account_id, a.authority, a.identifier, a.status, a.expires, c.method,
                c.token, c.status AS challenge_status, c.validated, c.error, c.attested_key
         FROM authorizations a LEFT JOIN challenges c ON c.authorization_id = a.id WHERE a.id = $1",
        id
    )?;
    Ok(assemble(rows).pop())
}

/// Which of its own authorizations an order's account gave up, by their identifiers' places.
fn withdrawn(connection: &Connection, order: &Order) -> StoreResult<Vec<u64>> {
    let (id, place) = (order.id.as_str(), |row: &Row<'_>| unsigned("position", row.get("position")?));
    all!(connection, place, "SELECT position FROM withdrawn_authorizations WHERE order_id = $1", id)
}

/// An order's own authorization for its identifier at `index`; none: it rests on another one there.
fn own(order: &Order, index: usize, withdrawn: &[u64]) -> Option<Authorization> {
    let id = AuthorizationId::of(&order.id, index);
    let identifier = order.identifiers.get(index).filter(|_| order.authorizations.get(index) == Some(&id))?;
    let gave_up = withdrawn.contains(&(index as u64));
    Some(Authorization {
        id,
        account: order.account.clone(),
        authority: order.authority.clone(),
        order: Some(order.id.clone()),
        identifier: identifier.clone(),
        status: if gave_up { AuthorizationStatus::Deactivated } else { AuthorizationStatus::Valid },
        expires: order.expires,
        challenges: Vec::new(),
    })
}

/// Reads an order's authorizations, in its order; one that is gone is left out.
pub(crate) fn of(connection: &Connection, order: &Order) -> StoreResult<Vec<Authorization>> {
    let withdrawn = withdrawn(connection, order)?;
    let mut found: Vec<_> = (0..order.authorizations.len()).filter_map(|index| own(order, index, &withdrawn)).collect();
    if found.len() < order.authorizations.len() {
        let id = order.id.as_str();
        let rows = all!(
            connection,
            read_authorization,
            "SELECT a.id, a.account_id, a.authority, a.identifier, a.status, a.expires, c.method,
                    c.token, c.status AS challenge_status, c.validated, c.error, c.attested_key
             FROM authorizations a LEFT JOIN challenges c ON c.authorization_id = a.id
             WHERE a.id IN (SELECT m.authorization_id FROM order_authorizations m WHERE m.order_id = $1)
             ORDER BY a.id",
            id
        )?;
        found.extend(assemble(rows));
    }
    found.sort_by_key(|authorization| order.authorizations.iter().position(|id| *id == authorization.id));
    Ok(found)
}

/// Whether what the account has serves in the place of what is offered.
fn serves(existing: &Authorization, offered: &Authorization) -> bool {
    match existing.status {
        AuthorizationStatus::Valid => match existing.proven_by() {
            // What was attested is good for one key: the next order has another.
            Some(ChallengeMethod::DeviceAttest01) => false,
            Some(method) => offered.challenge(method).is_some(),
            None => offered.challenges.is_empty(),
        },
        AuthorizationStatus::Pending => {
            existing.challenges.iter().map(|c| c.method).eq(offered.challenges.iter().map(|c| c.method))
                && existing.challenges.iter().all(|c| matches!(c.status, ChallengeStatus::Pending | ChallengeStatus::Processing))
        }
        AuthorizationStatus::Invalid | AuthorizationStatus::Deactivated | AuthorizationStatus::Expired | AuthorizationStatus::Revoked => {
            false
        }
    }
}

impl Tx {
    /// Stores an authorization that stands for itself, or gives one that serves in its place.
    pub(crate) fn settle_authorization(&mut self, new: &Authorization, now: Timestamp) -> StoreResult<Authorization> {
        if new.order.is_some() {
            return conflict("an authorization of an order is stored with it");
        }
        let (account, authority, identifier) = (new.account.as_str(), new.authority.as_str(), json(&new.identifier));
        let holds_until = now.plus(REUSE_MARGIN).unix();
        let read_candidate = |row: &Row<'_>| Ok((read("authorization id", row.get("id")?)?, row.get::<String>("status")?));
        let candidates = all!(
            &self.connection,
            read_candidate,
            "SELECT id, status FROM authorizations
             WHERE account_id = $1 AND authority = $2 AND identifier = $3 AND expires >= $4
               AND status IN ('pending', 'valid')
             ORDER BY expires DESC LIMIT $5",
            account,
            authority,
            identifier,
            holds_until,
            CANDIDATES
        )?;
        // A proof before a promise.
        let (valid, pending): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|(_, status)| status == "valid");
        for (id, _) in valid.into_iter().chain(pending) {
            let existing = find(&self.connection, &id)?;
            if let Some(existing) = existing.filter(|existing| serves(existing, new)) {
                return Ok(existing);
            }
        }
        self.insert_authorization(new, now)?;
        Ok(new.clone())
    }

    fn insert_authorization(&mut self, new: &Authorization, now: Timestamp) -> StoreResult<()> {
        let (id, account, authority, identifier) = (new.id.as_str(), new.account.as_str(), new.authority.as_str(), json(&new.identifier));
        let (status, expires, now) = (word(&new.status), new.expires.unix(), now.unix());
        match (new.status, new.challenges.is_empty()) {
            (AuthorizationStatus::Valid, true) => {}
            (AuthorizationStatus::Pending, false) => {
                let pending = one!(
                    &self.connection,
                    |row| row.get::<i64>("pending"),
                    "SELECT count(*) AS pending FROM authorizations
                     WHERE status = 'pending' AND account_id = $1 AND expires > $2",
                    account,
                    now
                )?;
                if pending >= i64::from(MAX_PENDING_AUTHORIZATIONS) {
                    return conflict(TOO_MANY_PENDING);
                }
            }
            _ => return conflict("a new authorization is pending with challenges, or valid without"),
        }
        execute!(
            &self.connection,
            "INSERT INTO authorizations (id, account_id, authority, identifier, status, expires) VALUES ($1, $2, $3, $4, $5, $6)",
            id,
            account,
            authority,
            identifier,
            status,
            expires
        )
        .map_err(or_taken("another authorization has this id"))?;
        for challenge in &new.challenges {
            let (method, token, status) = (challenge.method.name(), challenge.token.as_str(), word(&challenge.status));
            execute!(
                &self.connection,
                "INSERT INTO challenges (authorization_id, method, token, status) VALUES ($1, $2, $3, $4)",
                id,
                method,
                token,
                status
            )
            .map_err(or_taken("an authorization has one challenge of each method"))?;
        }
        Ok(())
    }

    pub(crate) fn create_authorization(&mut self, new: &Authorization, now: Timestamp, audit: &AuditEntry) -> StoreResult<Authorization> {
        self.require_valid_account(new.account.as_str())?;
        let settled = self.settle_authorization(new, now)?;
        if settled.id == new.id {
            self.audit(audit)?;
        }
        Ok(settled)
    }

    fn require_valid_account(&mut self, account: &str) -> StoreResult<()> {
        let valid = optional!(&self.connection, |_| Ok(()), "SELECT id FROM accounts WHERE id = $1 AND status = 'valid'", account)?;
        if valid.is_none() { conflict(ACCOUNT_NOT_VALID) } else { Ok(()) }
    }

    /// Puts in the places of an order's authorizations those that it will rest on, and makes its state and its end
    /// follow from them. Nothing changes for an order that its grant covers.
    pub(crate) fn settle_order(&mut self, order: &Order, offered: &[Authorization]) -> StoreResult<(Order, Vec<Authorization>)> {
        let mut order = order.clone();
        let mut settled = Vec::with_capacity(offered.len());
        for authorization in offered {
            if authorization.account != order.account || authorization.order.as_ref().is_some_and(|id| *id != order.id) {
                return conflict("an authorization belongs to its order and to the order's account");
            }
            if authorization.order.is_some() && authorization.status != AuthorizationStatus::Valid {
                return conflict("an order's own authorizations are valid");
            }
            settled.push(match authorization.order {
                Some(_) => authorization.clone(),
                None => self.settle_authorization(authorization, order.created_at)?,
            });
        }
        if settled.iter().any(|a| a.order.is_none()) {
            let all_valid = settled.iter().all(|a| a.status == AuthorizationStatus::Valid);
            order.status = if all_valid { OrderStatus::Ready } else { OrderStatus::Pending };
            order.expires = settled.iter().map(|a| a.expires).fold(order.expires, Timestamp::min);
        }
        order.authorizations = settled.iter().map(|a| a.id.clone()).collect();
        Ok((order, settled))
    }

    pub(crate) fn deactivate_authorization(&mut self, id: &AuthorizationId, audit: &AuditEntry) -> StoreResult<Authorization> {
        let authorization = self.authorization(id)?;
        if !matches!(authorization.status, AuthorizationStatus::Pending | AuthorizationStatus::Valid) {
            return conflict(format!("the authorization is {}", word(&authorization.status)));
        }
        let text = id.as_str();
        match id.of_order() {
            Some((order, index)) => {
                let (order, position) = (order.as_str(), signed(index as u64)?);
                execute!(&self.connection, "INSERT INTO withdrawn_authorizations (order_id, position) VALUES ($1, $2)", order, position)?
            }
            None => execute!(&self.connection, "UPDATE authorizations SET status = 'deactivated' WHERE id = $1", text)?,
        };
        // Else an account could keep validators busy that fail, and give up before any has said so.
        if authorization.status == AuthorizationStatus::Pending && authorization.has_validation_under_way() {
            self.note_failure(authorization.account.as_str(), audit.at)?;
        }
        let authorization = Authorization { status: AuthorizationStatus::Deactivated, ..authorization };
        self.drop_waiting_validations(text)?;
        let order = authorization.order.as_ref().map(OrderId::as_str);
        execute!(
            &self.connection,
            "UPDATE orders SET status = 'invalid'
             WHERE id IN (SELECT $2 UNION ALL SELECT m.order_id FROM order_authorizations m WHERE m.authorization_id = $1)
               AND status IN ('pending', 'ready')",
            text,
            order
        )?;
        self.audit(audit)?;
        Ok(authorization)
    }

    pub(crate) fn authorization(&mut self, id: &AuthorizationId) -> StoreResult<Authorization> {
        find(&self.connection, id)?.ok_or_else(|| StoreError::NotFound(format!("authorization {id}")))
    }
}

/// The ids in an order's column; none there: those that belong to it.
pub(crate) fn ids(order: &OrderId, column: Option<&str>, identifiers: usize) -> StoreResult<Vec<AuthorizationId>> {
    let Some(text) = column else { return Ok((0..identifiers).map(|index| AuthorizationId::of(order, index)).collect()) };
    let ids: Vec<AuthorizationId> = from_json("authorizations", text)?;
    if ids.len() == identifiers { Ok(ids) } else { Err(damaged("authorizations", "not as many as identifiers")) }
}
