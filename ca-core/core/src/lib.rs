//! The pure heart of the certificate authority, and the one signing path.
//!
//! Nothing here performs IO, reads the clock or draws randomness by itself: the [`ports`] say what a shell must
//! provide, and every function takes `now` and its random bytes as arguments. The crate deliberately lacks a
//! database, a network client, an HTTP server and any hardware driver; a test keeps it so.
//!
//! Where a new line belongs:
//! - [`pki`]: newtypes, to-be-signed structures, DER in and out, verification by the second library;
//! - [`profile`]: what a certificate may look like, and the lints that refuse anything else;
//! - [`lint`]: certificates, CRLs and OCSP responses judged against the standards, whoever made them;
//! - [`policy`]: what the officers signed that may be issued;
//! - [`model`]: entities and their state machines;
//! - [`evidence`]: JWS, external account binding and operator statements, verified from bytes to meaning;
//! - [`validation`]: what the validation of a challenge must find;
//! - [`limits`]: rate limits and pauses of the ACME front end;
//! - [`peer`]: what proxies say of the clients behind them;
//! - [`issuance`]: prepare, record, sign, verify, release: the only caller of [`ports::KeyStore::sign`];
//! - [`lifecycle`] and [`plan`]: what is due, and the executors that enter the issuance path;
//! - [`ceremony`]: plan, quorum, statements, transcript;
//! - [`anchor`]: what a worker remembers outside the database;
//! - [`log`]: the canonical leaf of each signature and the audit chain.

pub mod anchor;
pub mod ceremony;
pub mod evidence;
pub mod issuance;
pub mod lifecycle;
pub mod limits;
pub mod lint;
pub mod log;
pub mod model;
pub mod peer;
pub mod pki;
pub mod plan;
pub mod policy;
pub mod ports;
pub mod profile;
pub mod validation;
