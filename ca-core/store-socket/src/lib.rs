//! The store over a Unix socket.
//!
//! One process owns the store ([`StoreServer`]); the ACME front end and the OCSP responder, each under a user of its
//! own, send it the commands of their role ([`SocketStore`]). The kernel tells the server who is at the other end;
//! the user decides the role, and the role the commands ([`Command::is_for`]). Any other user, any other command
//! and any entry for the audit trail that is not the role's to make is refused, counted and put on record.
//!
//! On the wire (`frame`): frames with a length and a number, so that many commands are under way on one connection
//! and answers come in the order in which they are done. Waiting is a command like any other: its answer is the
//! wake-up. Large answers go in pieces, between which others pass.
//!
//! Deliberately absent: any command that writes a certificate, a policy, a grant or a lease. They are not refused,
//! they cannot be said.

mod client;
mod command;
mod execute;
mod frame;
mod link;
mod server;
mod times;

pub use client::SocketStore;
pub use command::{Command, Role};
pub use server::{Gate, Peers, Refusals, StoreServer};
