//! The worker over the embedded store: from evidence to released certificates, through deaths and faults.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod acts;
mod anchor;
mod attested;
mod between;
mod challenged;
mod compromise;
mod crash;
mod desk;
mod device_log;
mod grant_limits;
mod grant_marks;
mod grants;
mod jobs;
mod keys;
mod operator;
mod orders;
mod post_quantum;
mod profiles;
mod replace;
mod revocation;
mod signers;
mod star;
mod yubihsm;
