//! The store over its socket: the ports' conformance suite, roles, broken connections, bounds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod joined;
mod owner;
mod raw;
mod restarts;
mod roles;
mod times;
