//! Every kind of ceremony after the first, with the keys and signatures of the real `ssh-keygen`.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod certify;
#[path = "../common/mod.rs"]
mod common;
mod crl;
#[cfg(all(feature = "pkcs11", feature = "yubihsm"))]
mod devices;
mod frame;
mod keys;
mod policy;
mod pss;
mod resume;
mod support;
