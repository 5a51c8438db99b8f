//! The ACME surface, asked as clients ask it, over a store in memory.
#![expect(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

mod client;
mod fake_store;
mod tls;
mod world;

mod accounts;
mod certificates;
mod orders;
mod transport;
