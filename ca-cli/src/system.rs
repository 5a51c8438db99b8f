//! The ambient clock and randomness.

pub use ca_service::system::*;
