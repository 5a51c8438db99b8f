//! Ends the process at a named point of the issuance path, for tests: only in builds with the feature `test-halt`.

use std::sync::Arc;

use ca_core::lifecycle::{NoProbe, Probe};

/// The probe that the environment asks for.
#[cfg(not(feature = "test-halt"))]
pub(super) fn probe() -> anyhow::Result<Arc<dyn Probe>> {
    Ok(Arc::new(NoProbe))
}

/// The probe that `COUNTERSIGN_TEST_HALT=point[:n]` asks for: the n-th time at the point, the process aborts.
#[cfg(feature = "test-halt")]
pub(super) fn probe() -> anyhow::Result<Arc<dyn Probe>> {
    match std::env::var("COUNTERSIGN_TEST_HALT") {
        Ok(text) if !text.is_empty() => Ok(Arc::new(Halt::parse(&text)?)),
        _ => Ok(Arc::new(NoProbe)),
    }
}

#[cfg(feature = "test-halt")]
struct Halt {
    point: ca_core::lifecycle::HaltPoint,
    left: std::sync::atomic::AtomicU32,
}

#[cfg(feature = "test-halt")]
impl Halt {
    fn parse(text: &str) -> anyhow::Result<Self> {
        use ca_core::lifecycle::HaltPoint;
        let (name, count) = text.split_once(':').unwrap_or((text, "1"));
        let point = HaltPoint::ALL.into_iter().find(|p| p.name() == name);
        let names = HaltPoint::ALL.map(HaltPoint::name).join(", ");
        match (point, count.parse::<u32>()) {
            (Some(point), Ok(count)) if count > 0 => Ok(Self { point, left: count.into() }),
            _ => Err(crate::exit::configuration(format!(
                "COUNTERSIGN_TEST_HALT is `{text}`, not one of {names}, with `:N` for the N-th time"
            ))),
        }
    }
}

#[cfg(feature = "test-halt")]
impl Probe for Halt {
    fn at(&self, point: ca_core::lifecycle::HaltPoint) {
        use std::sync::atomic::Ordering;
        if point == self.point && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) == Ok(1) {
            eprintln!("COUNTERSIGN_TEST_HALT: the process ends at {}", point.name());
            std::process::abort();
        }
    }
}
