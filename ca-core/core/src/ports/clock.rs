//! The only source of time (invariant 9).

use crate::pki::Timestamp;

/// Tells the time. Ambient clocks are banned elsewhere by clippy's disallowed-methods.
pub trait Clock: Send + Sync {
    /// Now, in whole seconds.
    fn now(&self) -> Timestamp;
}
