//! Where a worker's memory outside the database is kept; what it says is [`crate::anchor`]'s.

use std::sync::Arc;
use std::time::Duration;

use crate::anchor::{AnchorState, AnchorStep};
use crate::model::AuthorityName;
use crate::pki::Timestamp;

/// Why a step is not taken. Nothing that it stands before may happen then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// What the database says lies behind, or beside, what this worker has seen.
    #[error(
        "{0} (hint: the database is an older copy, or was edited; nothing is signed until the newest one is back, see docs/officer.md, \"After a restore\")"
    )]
    Behind(String),
    /// An approval is shown a second time.
    #[error("this approval was used before: one approval allows one act (hint: have the officers sign a new statement)")]
    Spent,
    /// Issuance is stopped.
    #[error("issuance is stopped (hint: officers let it go on together; revocations, CRLs and OCSP go on meanwhile)")]
    Stopped,
    /// The hour's certificates are used up.
    #[error("authority `{authority}` has issued the {cap} certificates an hour that its policy allows")]
    RateLimited {
        /// Which authority.
        authority: AuthorityName,
        /// Its cap.
        cap: u32,
        /// How long until there is one more.
        wait: Duration,
    },
    /// The clock is far behind what it has shown before.
    #[error(
        "the clock says {now}, and it has shown {latest} before (hint: set the clock; if it was wrong before, officers confirm the time with `ca anchor accept-restore`)"
    )]
    Clock {
        /// What it says.
        now: Timestamp,
        /// What it has shown.
        latest: Timestamp,
    },
    /// The step does not follow.
    #[error("the anchor refuses: {0}")]
    Refused(String),
    /// It could not be written.
    #[error("the anchor is not available: {0}")]
    Unavailable(String),
}

/// The record. One process holds it.
pub trait Anchor: Send + Sync {
    /// What it says.
    fn state(&self) -> Arc<AnchorState>;

    /// Takes all steps or none; `now` moves [`AnchorState::latest`]. When this returns `Ok` the steps are durable, but
    /// for those that [may lag](AnchorStep::may_lag): these outlive the process at once, and a power cut after
    /// [`Self::flush`]. Called again with the same steps it judges them anew: a spent approval is refused.
    ///
    /// # Errors
    /// When a step does not follow, or cannot be written: then the act that it stands before must not happen.
    fn take(&self, steps: &[AnchorStep], now: Timestamp) -> Result<(), AnchorError>;

    /// Makes durable what lags.
    ///
    /// # Errors
    /// [`AnchorError::Unavailable`].
    fn flush(&self) -> Result<(), AnchorError>;
}
