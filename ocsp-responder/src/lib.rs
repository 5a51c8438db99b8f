//! The validation authority: OCSP, CRLs and issuer certificates over HTTP.
//!
//! Read-only towards the store, and without any authority key: answers are signed by short-lived delegated keys
//! (RFC 6960 §2.6), one per authority. Status comes from the issuance record; what was never issued is never good.
//!
//! - [`Responder`] follows each authority's revocation ledger ([`Responder::follow_ledger`]), and its own
//!   certificates, which it swaps in memory when newer ones appear;
//! - [`Responder::router`] answers HTTP; [`serve`] runs it with bounds on everything;
//! - what is signed without a nonce is kept, within a bound, until it is half as old as it may get or the ledger
//!   names its serial number.
//!
//! It runs within `ca serve`, or as a process of its own ([`process`], the binary `ocsp-responder`).
//!
//! Deliberately absent: TLS (the standards have OCSP and CRLs over plain HTTP, signed by themselves), signed
//! requests, archive cutoff.

pub mod process;

mod answer;
mod authority;
mod cache;
mod config;
mod counted;
mod files;
mod follow;
mod http;
mod serve;
mod settings;

pub use answer::Reply;
pub use authority::CertificateError;
pub use config::{NeverIssued, ResponderConfig, ResponderKeys};
pub use counted::METRICS;
pub use follow::Responder;
pub use http::{ROUTES, Route};
pub use serve::{Limits, serve, serve_behind, serve_with_limits};
pub use settings::{KeysSection, ResponderLimits, ResponderSettings, StatusSection};
