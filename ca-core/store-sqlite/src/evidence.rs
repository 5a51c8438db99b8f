//! Puts together what proves a request, verbatim as it came in.

use ca_core::evidence::new_order::MAX_IDENTIFIERS;
use ca_core::model::{Evidence, SignedStatement, ValidationRecord};
use ca_core::ports::StoreResult;

use crate::convert::from_json;
use crate::error::{damaged, from_sqlx};
use crate::writer::Tx;

/// An authorization is proven once, so that each identifier has one.
const MAX_VALIDATIONS: i64 = MAX_IDENTIFIERS as i64;

impl Tx {
    /// The evidence of a request by `account`, for `order` where there is one.
    pub(crate) async fn evidence(&mut self, account: &str, order: Option<&str>) -> StoreResult<Evidence> {
        let row = sqlx::query!("SELECT jws, grant_id FROM accounts WHERE id = $1", account)
            .fetch_optional(&mut self.connection)
            .await
            .map_err(from_sqlx)?
            .ok_or_else(|| damaged("request", format!("its account {account} is gone")))?;
        let grant = sqlx::query!("SELECT statement, signature FROM grants WHERE id = $1", row.grant_id)
            .fetch_optional(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        let key_changes = sqlx::query!("SELECT jws FROM key_changes WHERE account_id = $1 ORDER BY number", account)
            .fetch_all(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        let order = match order {
            Some(order) => sqlx::query!("SELECT id, jws, finalize_jws, authorizations FROM orders WHERE id = $1", order)
                .fetch_optional(&mut self.connection)
                .await
                .map_err(from_sqlx)?,
            None => None,
        };
        let validations = match &order {
            // An order that its grant covers rests on no validation.
            Some(row) if row.authorizations.is_some() => self.validations_behind(&row.id).await?,
            _ => Vec::new(),
        };
        let (new_order, finalize) = order.map_or((None, None), |row| (Some(row.jws), row.finalize_jws));
        Ok(Evidence {
            grant: grant.map(|row| SignedStatement { statement: row.statement, signature: row.signature }),
            new_account: row.jws,
            key_changes: key_changes.into_iter().map(|row| row.jws).collect(),
            new_order,
            finalize,
            validations,
        })
    }

    /// The successful validations of the authorizations that an order rests on, the newest first.
    async fn validations_behind(&mut self, order: &str) -> StoreResult<Vec<ValidationRecord>> {
        let rows = sqlx::query!(
            "SELECT r.body FROM order_authorizations m JOIN validation_records r ON r.authorization_id = m.authorization_id
             WHERE m.order_id = $1 AND r.proven = 1 ORDER BY r.seq DESC LIMIT $2",
            order,
            MAX_VALIDATIONS
        )
        .fetch_all(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        rows.into_iter().map(|row| from_json("validation record", &row.body)).collect()
    }
}
