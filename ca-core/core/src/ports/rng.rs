//! The only source of randomness.

/// A cryptographically secure random number generator.
pub trait Rng: Send + Sync {
    /// Fills `out` with random bytes. An implementation that cannot must abort rather than return.
    fn fill(&self, out: &mut [u8]);
}
