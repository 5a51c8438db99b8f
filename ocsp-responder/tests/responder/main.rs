//! The responder over an in-memory store and a fake clock: its answers, and its HTTP face.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod answers;
mod http;
mod proxied;
mod support;
