//! What grants have issued, counted from the record.

use ca_core::model::{GrantId, GrantUse, Intent, Origin};
use ca_core::pki::Timestamp;
use ca_core::ports::{GRANT_CAP_REACHED, StoreResult};
use sqlx::SqliteExecutor;

use crate::convert::{time, unsigned};
use crate::error::{conflict, from_sqlx};
use crate::writer::Tx;

/// Counts a grant's certificates on record after `since`, the newest first. A serial with an intent counts as issued,
/// unless the attempt was given up.
pub(crate) async fn count(executor: impl SqliteExecutor<'_>, id: &GrantId, since: Timestamp, at_most: u32) -> StoreResult<GrantUse> {
    let (id, since) = (id.as_str(), since.unix());
    let row = sqlx::query!(
        r#"SELECT count(*) AS "certificates!: i64", min(created_at) AS "oldest: i64"
           FROM (SELECT created_at FROM certificates
                 WHERE grant_id = $1 AND state <> 'abandoned' AND created_at > $2 ORDER BY created_at DESC LIMIT $3)"#,
        id,
        since,
        at_most
    )
    .fetch_one(executor)
    .await
    .map_err(from_sqlx)?;
    Ok(GrantUse { certificates: unsigned("certificates", row.certificates)?, oldest: row.oldest.map(time) })
}

impl Tx {
    /// Holds an intent against its grant's cap, in the transaction that records it: nobody comes in between.
    pub(crate) async fn has_volume(&mut self, intent: &Intent) -> StoreResult<()> {
        let (Origin::Order { grant, cap: Some(cap), .. } | Origin::Renewal { grant, cap: Some(cap), .. }) = &intent.origin else {
            return Ok(());
        };
        let used = count(&mut self.connection, grant, intent.at.minus(cap.window()), cap.certificates()).await?;
        if cap.judge(used, intent.at).is_err() {
            return conflict(GRANT_CAP_REACHED);
        }
        Ok(())
    }
}
