//! The machine's clock and randomness, behind the ports: those of custody, which every offline tool shares.

pub use ca_custody::{SystemClock, SystemRng};
