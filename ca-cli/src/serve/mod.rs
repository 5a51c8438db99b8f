//! `ca serve` and `ca worker`: all the parts in one process.
//!
//! - `compose` opens what the configuration names and refuses what is wrong before anything listens;
//! - `ports` holds addresses; `run` has the order of start and stop;
//! - `loops` drives the worker; `identity` keeps the server certificate fresh; `control` answers the commands;
//! - `halt` lets tests end the process at a named point, in builds that have the feature.

pub(crate) mod compose;
mod control;
mod halt;
mod identity;
mod loops;
mod ports;
mod run;

pub(crate) use ports::{Held, hold};
pub(crate) use run::{Ready, Role, TrustedPolicy, serve, start, trusted_policy, until_signal};
