//! When an account that only fails is paused.

use std::time::Duration;

use crate::pki::Timestamp;

/// The most failures of an account that are remembered, and so the most that a rule can ask for.
pub const MAX_FAILURES: u32 = 100;

/// So many failures of orders and validations in a row, within so much time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PauseRule {
    failures: u32,
    within: Duration,
}

impl PauseRule {
    /// A rule.
    ///
    /// # Errors
    /// When `failures` is not 1 to [`MAX_FAILURES`], or `within` is zero.
    pub fn new(failures: u32, within: Duration) -> Result<Self, String> {
        if !(1..=MAX_FAILURES).contains(&failures) || within.is_zero() {
            return Err(format!("an account is paused after 1 to {MAX_FAILURES} failures within some time"));
        }
        Ok(Self { failures, within })
    }

    /// From when on failures count.
    pub const fn since(&self, now: Timestamp) -> Timestamp {
        now.minus(self.within)
    }

    /// Whether an account that failed so often since then, without a success in between, is to be paused.
    pub const fn is_met(&self, failures: u32) -> bool {
        failures >= self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a23_the_rule_counts_failures_within_its_time() {
        let rule = PauseRule::new(3, Duration::from_secs(60)).unwrap();
        assert_eq!(rule.since(Timestamp::from_unix(100)).unix(), 40);
        assert_eq!([2, 3, 4].map(|n| rule.is_met(n)), [false, true, true]);
        assert!(PauseRule::new(0, Duration::from_secs(60)).is_err());
        assert!(PauseRule::new(MAX_FAILURES + 1, Duration::from_secs(60)).is_err());
        assert!(PauseRule::new(3, Duration::ZERO).is_err());
    }
}
