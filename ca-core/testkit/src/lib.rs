//! Test support: clocks, conformance suites and fixtures.
//!
//! Nothing here may run in production. A conformance suite is data and assertions that every backend of a port must
//! pass; the backend's own tests call it.

#![allow(clippy::unwrap_used, reason = "a suite that meets an error has failed")]

pub mod acme;
pub mod attestation;
pub mod brought;
pub mod key_device;
pub mod key_store;
pub mod officers;
pub mod operator;
pub mod plan;
pub mod policy;
pub mod program;
pub mod sample;
pub mod softhsm;
pub mod specimens;
pub mod store;
pub mod weak_keys;

mod clock;
mod faulty_keys;
mod logging_keys;
mod odd_device;
mod rng;

pub use clock::FakeClock;
pub use faulty_keys::{Fault, FaultyKeys};
pub use logging_keys::LoggingKeys;
pub use odd_device::{Change, OddDevice, sign_off_the_record};
pub use rng::SeededRng;
