//! The keyholder from outside: what is said over its Unix socket, and the client.
//!
//! The keyholder is a process of its own (crate `ca-custody`). It has recombined credentials in memory only, outlives
//! the worker, and gives a credential to the users that its configuration names. A share crosses the socket in the
//! clear, and the socket does not leave the machine: what crosses it can be read by the keyholder and by root, who can
//! read the keyholder's memory anyway. So that no other user can put a socket in its place, the client wants the
//! socket's folder to be changeable by its owner alone, and that owner, or root, at the other end.

mod client;
mod protocol;

pub use ca_core::policy::Unlock;
pub use client::{Keyholder, KeyholderError};
pub use protocol::{Answer, CredentialStatus, GivenShare, MAX_ANSWER, MAX_REQUEST, Refusal, Request, read_line, write_line};

/// Where the keyholder listens when nothing else is said.
pub const DEFAULT_SOCKET: &str = "/run/countersign-keyholder/keyholder.sock";
