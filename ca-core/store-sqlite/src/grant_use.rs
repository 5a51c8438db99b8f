//! What grants have issued, counted from the record.

use ca_core::model::{GrantId, GrantUse, Intent, Origin};
use ca_core::pki::Timestamp;
use ca_core::ports::{GRANT_CAP_REACHED, StoreResult};
use rusqlite::Connection;

use crate::convert::{time, unsigned};
use crate::error::conflict;
use crate::sql::{Row, one};
use crate::writer::Tx;

/// Counts a grant's certificates on record after `since`, the newest first. A serial with an intent counts as issued,
/// unless the attempt was given up.
pub(crate) fn count(connection: &Connection, id: &GrantId, since: Timestamp, at_most: u32) -> StoreResult<GrantUse> {
    let (id, since) = (id.as_str(), since.unix());
    let read = |row: &Row<'_>| {
        let oldest: Option<i64> = row.get("oldest")?;
        Ok(GrantUse { certificates: unsigned("certificates", row.get("certificates")?)?, oldest: oldest.map(time) })
    };
    one!(
        connection,
        read,
        "SELECT min(created_at) AS oldest, count(*) AS certificates
         FROM (SELECT created_at FROM certificates
               WHERE grant_id = $1 AND state <> 'abandoned' AND created_at > $2 ORDER BY created_at DESC LIMIT $3)",
        id,
        since,
        at_most
    )
}

impl Tx {
    /// Holds an intent against its grant's cap, in the transaction that records it: nobody comes in between.
    pub(crate) fn has_volume(&mut self, intent: &Intent) -> StoreResult<()> {
        let (Origin::Order { grant, cap: Some(cap), .. } | Origin::Renewal { grant, cap: Some(cap), .. }) = &intent.origin else {
            return Ok(());
        };
        let used = count(&self.connection, grant, intent.at.minus(cap.window()), cap.certificates())?;
        if cap.judge(used, intent.at).is_err() {
            return conflict(GRANT_CAP_REACHED);
        }
        Ok(())
    }
}
