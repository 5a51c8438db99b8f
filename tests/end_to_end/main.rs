//! The product as its users meet it: a demonstration instance of its own for each test, real clients against it.
//!
//! Every test starts `ca demo` in a temporary folder on free ports and stops it. What is missing on the machine is
//! named with the package that brings it (`tests/tools/install.sh` installs them all).

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod agent;
mod alternates;
mod anchor;
mod approvals;
mod attended;
mod attestation;
mod bad_input;
mod blocked_key;
mod challenges;
mod clients;
mod clients_page;
mod compromise;
#[cfg(feature = "yubihsm")]
mod device_ceremony;
mod grants;
#[cfg(feature = "pkcs11")]
mod hardware;
mod harness;
#[cfg(any(feature = "pkcs11", feature = "yubihsm"))]
mod key_site;
mod operations;
mod paused;
mod post_quantum;
mod printed;
mod production;
#[cfg(any(feature = "pkcs11", feature = "yubihsm"))]
mod profiles;
mod proxied;
mod races;
mod recovery;
mod replace;
mod tampering;
mod terminators;
mod wire;
#[cfg(feature = "yubihsm")]
mod yubihsm;
mod zone;
