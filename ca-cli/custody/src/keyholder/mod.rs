//! The keyholder: takes shares until they are enough, has the credential in memory only, gives it to whom it may.
//!
//! - `custody` decides everything from values: who may do what, what a share changes, what is told;
//! - `attempts` bounds wrong shares; `audit` writes what happened before anything is given;
//! - `config` is its TOML; `harden` closes the process to others; `server` has the socket.
//!
//! What protects a credential here: it is never written; it is cleared when it is forgotten or given; the process
//! leaves no core dump, cannot be traced by its own user and keeps its memory out of swap. What does not: root on the
//! host can read any process's memory; copies in the kernel's socket buffers and in registers are not cleared; a
//! suspended host's image has it. Whoever may have a credential, and asks for it, has it.

mod attempts;
mod audit;
mod config;
mod custody;
mod harden;
mod server;

pub use audit::{Audit, AuditEvent, AuditFile};
pub use config::{CredentialConfig, KeyholderConfig, Uid};
pub use custody::{Custody, Peer};
pub use server::{Server, open_credentials};
