//! What a worker remembers outside the database, so that an older copy of the database is found out.
//!
//! A database administrator can restore yesterday's file: an old policy, an officer who was removed, an approval that
//! was spent, a stop that was ordered. [`AnchorState`] is a small record that only grows: [`AnchorState::after`] takes
//! [`AnchorStep`]s or says why not, and there is no step back. The one exception is signed by the officers:
//! [`AnchorState::accept_restore`] lets the log begin again at an older row, and nothing else.
//!
//! Pure: where the record is kept, and what is durable when, is the business of [`crate::ports::Anchor`].
//! [`MemoryAnchor`] keeps it in memory, for rehearsals that have no anchor, and for tests.

mod approval;
mod grants;
mod memory;
mod rates;
mod state;
#[cfg(test)]
mod tests;

pub use approval::{AnchorOperation, AnchorStatement, ApprovedAnchor};
pub use grants::{GrantMark, GrantPlace};
pub use memory::MemoryAnchor;
pub use state::{AnchorState, AnchorStep, Beginning, LogHead};
