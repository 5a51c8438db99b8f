//! The anchor's file, and what opens it: the worker's memory outside the database.
//!
//! - `file`: the journal; the only thing here that writes;
//! - `open`: the checks of a start, and the answer to a configuration without an anchor;
//! - `record`: the database's side: where its audit chain stands, what a statement says of it.
//!
//! What the anchor means, and what officers sign about it, is `ca_core::anchor`'s.

mod file;
mod open;
mod record;

pub(crate) use file::{FileAnchor, read};
pub(crate) use open::{Verified, failed, open, round_failed};
pub(crate) use record::{audit_head, crl_steps, root, statement};
