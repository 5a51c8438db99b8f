//! Puts together what proves a request, verbatim as it came in.

use ca_core::model::{Evidence, SignedStatement};
use ca_core::ports::StoreResult;

use crate::error::{damaged, from_sqlx};
use crate::writer::Tx;

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
            Some(order) => sqlx::query!("SELECT jws, finalize_jws FROM orders WHERE id = $1", order)
                .fetch_optional(&mut self.connection)
                .await
                .map_err(from_sqlx)?,
            None => None,
        };
        let (new_order, finalize) = order.map_or((None, None), |row| (Some(row.jws), row.finalize_jws));
        Ok(Evidence {
            grant: grant.map(|row| SignedStatement { statement: row.statement, signature: row.signature }),
            new_account: row.jws,
            key_changes: key_changes.into_iter().map(|row| row.jws).collect(),
            new_order,
            finalize,
        })
    }
}
