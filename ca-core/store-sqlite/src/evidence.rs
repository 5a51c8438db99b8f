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
        let row = sqlx::query!(
            r#"SELECT a.jws, g.statement AS "statement?", g.signature AS "signature?",
                      EXISTS (SELECT 1 FROM key_changes k WHERE k.account_id = a.id) AS "changed!: bool",
                      o.jws AS "new_order?", o.finalize_jws AS "finalize?", o.authorizations AS "authorizations?"
               FROM accounts a LEFT JOIN grants g ON g.id = a.grant_id LEFT JOIN orders o ON o.id = $2
               WHERE a.id = $1"#,
            account,
            order
        )
        .fetch_optional(&mut self.connection)
        .await
        .map_err(from_sqlx)?
        .ok_or_else(|| damaged("request", format!("its account {account} is gone")))?;
        let key_changes = if row.changed { self.key_changes(account).await? } else { Vec::new() };
        let validations = match (order, &row.authorizations) {
            (Some(order), Some(_)) => self.validations_behind(order).await?,
            // An order that its grant covers rests on no validation.
            _ => Vec::new(),
        };
        Ok(Evidence {
            grant: row.statement.zip(row.signature).map(|(statement, signature)| SignedStatement { statement, signature }),
            new_account: row.jws,
            key_changes,
            new_order: row.new_order,
            finalize: row.finalize,
            validations,
        })
    }

    /// The key changes of an account, the first first.
    async fn key_changes(&mut self, account: &str) -> StoreResult<Vec<String>> {
        sqlx::query_scalar!("SELECT jws FROM key_changes WHERE account_id = $1 ORDER BY number", account)
            .fetch_all(&mut self.connection)
            .await
            .map_err(from_sqlx)
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
