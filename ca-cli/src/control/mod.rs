//! The control socket: how the commands reach the running instance.
//!
//! A Unix socket (0600), one JSON value a line each way, bounded in size and time. Reading needs the socket; changing
//! something needs a statement that an operator key signed, which the worker verifies: the socket alone changes
//! nothing.

pub(crate) mod client;
mod frame;
pub(crate) mod protocol;
pub(crate) mod server;
