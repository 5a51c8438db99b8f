//! Puts together what proves a request, verbatim as it came in.

use ca_core::evidence::new_order::MAX_IDENTIFIERS;
use ca_core::model::{Evidence, SignedStatement};
use ca_core::ports::StoreResult;
use rusqlite::Connection;

use crate::convert::{from_json, unsigned};
use crate::error::damaged;
use crate::sql::{Row, all, optional};

/// An authorization is proven once, so that each identifier has one.
const MAX_VALIDATIONS: i64 = MAX_IDENTIFIERS as i64;

/// The evidence of a request by `account`, for `order` where there is one.
pub(crate) fn find(connection: &Connection, account: &str, order: Option<&str>) -> StoreResult<Evidence> {
    find_weighed(connection, account, order).map(|(evidence, _)| evidence)
}

/// The same, with the number of its octets.
pub(crate) fn find_weighed(connection: &Connection, account: &str, order: Option<&str>) -> StoreResult<(Evidence, usize)> {
    let read = |row: &Row<'_>| {
        let (statement, signature) = (row.get::<Option<String>>("statement")?, row.get::<Option<String>>("signature")?);
        let evidence = Evidence {
            grant: statement.zip(signature).map(|(statement, signature)| SignedStatement { statement, signature }),
            new_account: row.get("jws")?,
            key_changes: Vec::new(),
            new_order: row.get("new_order")?,
            finalize: row.get("finalize_jws")?,
            finalized_after: row.get::<Option<i64>>("finalized_after")?.map(|n| unsigned("key changes", n)).transpose()?,
            validations: Vec::new(),
        };
        Ok((evidence, row.get::<bool>("rests")?, row.get::<bool>("changed")?))
    };
    let found = optional!(
        connection,
        read,
        "SELECT g.statement, g.signature, a.jws, o.jws AS new_order, o.finalize_jws, o.finalized_after,
                o.authorizations IS NOT NULL AS rests, EXISTS (SELECT 1 FROM key_changes k WHERE k.account_id = a.id) AS changed
         FROM accounts a LEFT JOIN grants g ON g.id = a.grant_id LEFT JOIN orders o ON o.id = $2
         WHERE a.id = $1",
        account,
        order
    )?;
    let (mut evidence, rests, changed) = found.ok_or_else(|| damaged("request", format!("its account {account} is gone")))?;
    if changed {
        evidence.key_changes = key_changes(connection, account)?;
    }
    let mut octets = octets_of(&evidence);
    // An order that its grant covers rests on no validation, and lists no authorizations.
    if let (Some(order), true) = (order, rests) {
        for body in validations_behind(connection, order)? {
            octets += body.len();
            evidence.validations.push(from_json("validation record", &body)?);
        }
    }
    Ok((evidence, octets))
}

/// Of everything but the validations.
fn octets_of(evidence: &Evidence) -> usize {
    let grant = evidence.grant.iter().flat_map(|grant| [&grant.statement, &grant.signature]);
    let requests = evidence.key_changes.iter().chain(&evidence.new_order).chain(&evidence.finalize);
    evidence.new_account.len() + grant.chain(requests).map(String::len).sum::<usize>()
}

/// The key changes of an account, the first first.
fn key_changes(connection: &Connection, account: &str) -> StoreResult<Vec<String>> {
    all!(connection, |row| row.get("jws"), "SELECT jws FROM key_changes WHERE account_id = $1 ORDER BY number", account)
}

/// The records of the successful validations of the authorizations that an order rests on, the newest first. One that the
/// client has given up since, or that was revoked, proves nothing (RFC 8555 §7.5.2).
fn validations_behind(connection: &Connection, order: &str) -> StoreResult<Vec<String>> {
    all!(
        connection,
        |row| row.get("body"),
        "SELECT r.body FROM order_authorizations m
           JOIN authorizations a ON a.id = m.authorization_id AND a.status = 'valid'
           JOIN validation_records r ON r.authorization_id = m.authorization_id
         WHERE m.order_id = $1 AND r.proven = 1 ORDER BY r.seq DESC LIMIT $2",
        order,
        MAX_VALIDATIONS
    )
}
