//! The database against the anchor: what was restored or edited behind the worker's back stops it.
//!
//! The audit chain ties every row of the record to the anchor's one place in it. At a start the worker walks the last
//! [`WINDOW`] rows up to that place ([`Worker::check_record`]), and from then on follows the chain as it grows
//! ([`Worker::follow_record`], about once a second). Before it signs anything it asks whether the place is still there.
//! What it finds out of place stays found until a restart, whose check begins anew.
//!
//! Deliberately absent: a walk over the whole chain at each start, whose cost would grow with the number of
//! certificates; `ca anchor verify` makes it.

use std::sync::PoisonError;

use super::released::Released;
use super::{Worker, WorkerError};
use crate::anchor::{AnchorStep, LogHead};
use crate::ceremony::PolicyBundle;
use crate::log::chain;
use crate::model::AuditRow;
use crate::pki::sha256;
use crate::ports::{Anchor, AnchorError, AuditStore};

/// How many rows before the anchor's place a start walks.
pub const WINDOW: u64 = 2000;

/// How many rows are read at once; few, because an old leaf of a CRL has megabytes.
const PAGE: u32 = 64;

/// What is wrong between the database and the anchor.
#[derive(Clone, Debug, Default)]
pub(super) enum Trouble {
    #[default]
    None,
    /// The clock or the anchor's file: it may pass.
    Passing(AnchorError),
    /// The database is not the one that this worker has seen: until a restart.
    Stays(AnchorError),
}

/// Follows the chain from `from` to its end, or to `until`, and gives the last place. Each row is shown to `seen`.
///
/// # Errors
/// [`AnchorError::Behind`] where a row is missing or does not follow from the one before; or the store's.
pub async fn walk(
    store: &(impl AuditStore + ?Sized),
    from: LogHead,
    until: Option<u64>,
    mut seen: impl FnMut(&AuditRow) + Send,
) -> Result<LogHead, WorkerError> {
    let mut at = from;
    while until.is_none_or(|last| at.number < last) {
        let page = until.map_or(PAGE, |last| u32::try_from(last - at.number).unwrap_or(PAGE).min(PAGE));
        let rows = store.audit_after(at.number, page).await?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            if row.number != at.number + 1 || row.hash != chain(&at.head, &row.leaf) {
                let reason =
                    format!("row {} of the audit trail does not follow from row {}: one was edited or removed", row.number, at.number);
                return Err(AnchorError::Behind(reason).into());
            }
            seen(row);
            at = LogHead { number: row.number, head: row.hash };
        }
    }
    Ok(at)
}

/// Refuses a database whose chain does not pass through `place`.
///
/// # Errors
/// [`AnchorError::Behind`], or the store's.
async fn passes_through(store: &(impl AuditStore + ?Sized), place: LogHead) -> Result<(), WorkerError> {
    if place == LogHead::START {
        return Ok(());
    }
    let row = store.audit_after(place.number.saturating_sub(1), 1).await?.into_iter().next();
    match row {
        Some(row) if row.number == place.number && row.hash == place.head => Ok(()),
        Some(row) if row.number == place.number => Err(AnchorError::Behind(format!(
            "row {} of the audit trail has the hash {}, and this worker has seen {} there",
            place.number, row.hash, place.head
        ))
        .into()),
        _ => Err(AnchorError::Behind(format!("the audit trail ends before row {}, which this worker has seen", place.number)).into()),
    }
}

impl Worker {
    /// What this worker remembers outside the database.
    pub fn anchor(&self) -> &dyn Anchor {
        &*self.anchor
    }

    /// What keeps this worker from signing, if anything does: an older or edited database, a wrong clock, an anchor
    /// that can't be written.
    pub fn trouble(&self) -> Option<String> {
        match &*self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            Trouble::None => None,
            Trouble::Passing(error) | Trouble::Stays(error) => Some(error.to_string()),
        }
    }

    /// Whether the database itself is out of place, so that what it says of certificates can't be believed either.
    pub fn record_is_off(&self) -> bool {
        matches!(*self.trouble.lock().unwrap_or_else(PoisonError::into_inner), Trouble::Stays(_))
    }

    /// The check of a start: the rows before the anchor's place, the place, and what came after; then as
    /// [`Self::follow_record`]. Remembers from those rows which orders have their certificate, and looks at every grant.
    ///
    /// # Errors
    /// [`WorkerError::Anchor`] when the database lies behind the anchor or beside it; nothing may be signed then.
    pub async fn check_record(&self) -> Result<(), WorkerError> {
        let place = self.anchor.state().log();
        let checked = self.check_window(place).await;
        self.remember(&checked).await;
        checked?;
        self.check_grants().await?;
        self.follow_record().await
    }

    async fn check_window(&self, place: LogHead) -> Result<(), WorkerError> {
        passes_through(&*self.store, place).await?;
        let from = match place.number.checked_sub(WINDOW) {
            None | Some(0) => LogHead::START,
            Some(before) => {
                let row = self.store.audit_after(before - 1, 1).await?.into_iter().next();
                let missing = || AnchorError::Behind(format!("row {before} of the audit trail is missing"));
                row.filter(|r| r.number == before).map(|r| LogHead { number: r.number, head: r.hash }).ok_or_else(missing)?
            }
        };
        let mut released = Released::default();
        let reached = walk(&*self.store, from, Some(place.number), |row| released.see(row)).await?;
        if reached != place {
            return Err(AnchorError::Behind(format!("the rows before row {} of the audit trail were edited", place.number)).into());
        }
        let orders = released.into_orders();
        let mut known = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        orders.into_iter().for_each(|(order, end)| known.insert(order, end));
        Ok(())
    }

    /// Follows the audit chain from the anchor's place and moves it there. Call it about once a second, and before a
    /// clean stop.
    ///
    /// # Errors
    /// [`WorkerError::Anchor`] when the database lies behind the anchor or beside it, when the clock does, or when the
    /// anchor can't be written; [`WorkerError::Store`] when the store does not answer.
    pub async fn follow_record(&self) -> Result<(), WorkerError> {
        let followed = self.follow().await;
        self.remember(&followed).await;
        followed
    }

    async fn follow(&self) -> Result<(), WorkerError> {
        self.stays_off()?;
        self.check_policy().await?;
        let place = self.anchor.state().log();
        passes_through(&*self.store, place).await?;
        let head = walk(&*self.store, place, None, |_| {}).await?;
        match self.anchor.take(&[AnchorStep::Log(head)], self.clock.now()) {
            // Another follower was quicker.
            Err(AnchorError::Behind(_)) if self.anchor.state().log().number > head.number => Ok(()),
            other => Ok(other?),
        }
    }

    /// The policy and the roster in use, and the newest policy in the store: none is older than the anchor's.
    async fn check_policy(&self) -> Result<(), WorkerError> {
        let (used, (version, digest)) = {
            // Held meanwhile: what officers put in force changes both together.
            let policy = self.policy.read().unwrap_or_else(PoisonError::into_inner);
            (policy.version, self.anchor.state().policy())
        };
        if used != version {
            return Err(AnchorError::Behind(format!("policy version {used} is in use, and this worker has seen version {version}")).into());
        }
        let (number, roster, (known, known_roster)) = {
            let officers = self.officers.read().unwrap_or_else(PoisonError::into_inner);
            (officers.chain.number(), officers.chain.standing().digest(), self.anchor.state().roster())
        };
        if (number, roster) != (known, known_roster) {
            return Err(AnchorError::Behind(format!(
                "the officers' roster number {number} ({roster}) is in use, and this worker has seen number {known} ({known_roster})"
            ))
            .into());
        }
        // Without one the next start says so; a newer one counts once its approval is verified.
        let Some((stored, bundle)) = self.store.policy().await? else { return Ok(()) };
        let same = || PolicyBundle::from_json(&bundle).is_ok_and(|b| sha256(b.policy.as_bytes()) == digest);
        if stored < version || stored == version && !same() {
            return Err(AnchorError::Behind(format!(
                "the database has policy version {stored}, which is not the version {version} that this worker has seen"
            ))
            .into());
        }
        Ok(())
    }

    /// That nothing was found out of place so far.
    pub(super) fn untroubled(&self) -> Result<(), WorkerError> {
        match &*self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            Trouble::None => Ok(()),
            Trouble::Passing(error) | Trouble::Stays(error) => Err(WorkerError::Anchor(error.clone())),
        }
    }

    /// Before something is signed: nothing is out of place, and the database still has the anchor's row.
    pub(super) async fn on_record(&self) -> Result<(), WorkerError> {
        self.untroubled()?;
        let found = passes_through(&*self.store, self.anchor.state().log()).await;
        if found.is_err() {
            self.remember(&found).await;
        }
        found
    }

    fn stays_off(&self) -> Result<(), WorkerError> {
        match &*self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            Trouble::Stays(error) => Err(WorkerError::Anchor(error.clone())),
            Trouble::None | Trouble::Passing(_) => Ok(()),
        }
    }

    /// Keeps a check's result, and raises the alarm when it is news.
    async fn remember(&self, result: &Result<(), WorkerError>) {
        let news = {
            let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            let (next, news) = match (result, &*trouble) {
                (_, Trouble::Stays(_)) => return,
                (Err(WorkerError::Anchor(error @ AnchorError::Behind(_))), _) => (Trouble::Stays(error.clone()), Some(error.to_string())),
                (Err(WorkerError::Anchor(error)), Trouble::None) => (Trouble::Passing(error.clone()), Some(error.to_string())),
                (Err(WorkerError::Anchor(error)), Trouble::Passing(_)) => (Trouble::Passing(error.clone()), None),
                (Ok(()), Trouble::Passing(_)) => {
                    tracing::info!("the anchor and the clock are well again");
                    (Trouble::None, None)
                }
                // A store that does not answer proves nothing either way.
                (Ok(()), Trouble::None) | (Err(_), _) => return,
            };
            *trouble = next;
            news
        };
        if let Some(reason) = news {
            self.alarm(None, "anchor", &self.correlation(), &reason).await;
        }
    }
}
