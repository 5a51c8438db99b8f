//! The ACME surface, asked as clients ask it, over a store in memory.
#![expect(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

mod client;
mod fake_store;
mod net;
mod socket;
mod tls;
mod world;

mod abuse;
mod access;
mod accounts;
mod alternates;
mod certificates;
mod challenges;
mod granted;
mod http2;
mod limits;
mod openapi;
mod orders;
mod proxies;
mod replicas;
mod star;
mod sweep;
mod transport;
mod validate_device;
mod validate_dns;
mod validate_http;
mod validate_tls;
mod vectors;
