//! A clock that stands still until it is told.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ca_core::pki::Timestamp;
use ca_core::ports::Clock;

/// A settable clock. Share it as `Arc<FakeClock>` between a test and what it tests.
#[derive(Debug)]
pub struct FakeClock(AtomicI64);

impl FakeClock {
    /// A clock that shows `now`.
    pub const fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.unix()))
    }

    /// Sets the time, backwards too.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.unix(), Ordering::SeqCst);
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }
}

impl Default for FakeClock {
    /// 2026-11-24T00:00:00Z.
    fn default() -> Self {
        Self::at(Timestamp::from_unix(1_795_478_400))
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_only_when_told() {
        let clock = FakeClock::default();
        assert_eq!(clock.now().to_rfc3339(), "2026-11-24T00:00:00Z");
        clock.advance(Duration::from_secs(90));
        assert_eq!(clock.now().to_rfc3339(), "2026-11-24T00:01:30Z");
        clock.set(Timestamp::from_unix(0));
        assert_eq!(clock.now().unix(), 0);
    }
}
