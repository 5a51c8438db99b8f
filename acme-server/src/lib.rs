//! The ACME API: a registration authority without an authority key.
//!
//! This crate faces the network. It checks what can be checked without a secret, hands signing requests with their
//! evidence to the worker through the store, and tells clients what became of them. It deliberately lacks any
//! authority key, any grant's secret and any way to write a certificate: [`ca_core::ports::FrontStore`] is all it has.
//!
//! It runs within `ca serve`, or as a process of its own ([`process`], the binary `acme-server`), which has no more than
//! its TLS key and the store's socket.
//!
//! Where a new line belongs:
//! - `settings`: the site's file; `assemble`: from it to a server; `identity`: the server's own certificate;
//! - `server`: sockets, TLS, timeouts and limits of connections;
//! - `routes`: paths, and what every answer carries; `request`: from bytes to a verified JWS;
//! - `nonce`: nonces of this process; `replicas`: those of others beside it;
//! - `access`: what operators see of each request; `limits`: who asks too much or fails too often;
//! - `problem`: every error that a client may see;
//! - `validation`: what is connected to and asked while a challenge is validated;
//! - one file for each resource: `directory`, `accounts`, `key_change`, `orders`, `authorizations`, `finalize`, `certificates`,
//!   `star`, `revoke`, `renewal_info`.

pub mod process;

mod access;
mod accounts;
mod alternates;
mod assemble;
mod authorizations;
mod bodies;
mod certificates;
mod config;
mod directory;
mod drain;
mod finalize;
mod front;
mod granted;
mod identity;
mod issuers;
mod key_change;
mod limits;
mod nonce;
mod orders;
mod problem;
mod renewal_info;
mod replaces;
mod replicas;
mod request;
mod revoke;
mod routes;
mod server;
mod settings;
mod settled;
mod star;
mod tls;
mod validation;

pub use access::METRICS;
pub use assemble::{Assembly, offers};
pub use ca_service::proxies::{ClientAddress, Unnamed};
pub use config::{AcmeConfig, AuthorityOffer, ConfigError, ProfileOffer};
pub use front::AcmeServer;
pub use identity::ServerCertificate;
pub use limits::{Override, PauseSection, PerSubject, Rate, RateSection, Rates};
pub use renewal_info::{CertId, CertIdError, suggested_window};
pub use replicas::Replicas;
pub use routes::{Access, ROUTES, Route, metrics_page};
pub use server::{Limits, serve_loopback, serve_tls, serve_tls_behind};
pub use settings::{AcmeLimits, AcmeSection, KeySection, PeerSection, ReplicasSection, ServerSettings};
pub use tls::{TlsError, TlsIdentity};
pub use validation::{ValidationConfig, ValidationSection};
