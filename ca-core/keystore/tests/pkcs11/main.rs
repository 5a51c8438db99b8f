//! The PKCS#11 key store on real SoftHSM2 tokens: the suites that every store passes, what goes wrong, and what dies.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod death;
mod suites;
mod support;
mod wrong;
