//! What a validation must find, decided from values: no socket, no resolver, no clock.
//!
//! - `proof`: what a challenge's proof contains and where it is looked for;
//! - `address`: which addresses validation may connect to;
//! - `tls_alpn`: the certificate of a tls-alpn-01 handshake;
//! - `attestation`: what a device attested;
//! - `caa`: whether CAA records allow this CA.
//!
//! The front end connects and asks; it deliberately decides none of this by itself.

mod address;
pub mod attestation;
mod caa;
mod proof;
mod tls_alpn;

pub use address::{AddressGuard, AddressRefused, Network, NetworkError};
pub use caa::{CaaError, CaaRecord, CaaRequest, climb, evaluate_caa};
pub use proof::{dns_name, dns_value, http_path, key_authorization, tls_server_name};
pub use tls_alpn::{ChallengeCertificateError, check_challenge_certificate};
