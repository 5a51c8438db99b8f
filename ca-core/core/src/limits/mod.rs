//! Rate limits, and when an account that only fails is paused: decided from values (ACME requirement A23).
//!
//! - `quota`: how many in which time, and the generic cell rate algorithm as one function over (state, now);
//! - `table`: the states of many subjects in memory of a fixed size;
//! - `subject`: who shares a limit: an address's network, a name's registered domain;
//! - `pause`: the rule for accounts.
//!
//! Deliberately absent: what is limited by how much (the front end's configuration), and storage: a restart begins with
//! all quotas unspent.

mod pause;
mod quota;
mod subject;
mod table;

pub use pause::{MAX_FAILURES, PauseRule};
pub use quota::{Quota, QuotaError, parse_span};
pub use subject::{network_of, registered_name};
pub use table::{Exceeded, Key, Share, Table};
