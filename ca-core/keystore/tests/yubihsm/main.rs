//! The YubiHSM 2 key store on the simulator, which enforces what the device enforces.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod ceremony;
mod log;
mod split;
mod store;
