//! `ca serve` and `ca worker`: the parts in one process, or each in its own.
//!
//! - `compose` opens what the configuration names and refuses what is wrong before anything listens;
//! - `run` has the order of start and stop; `fronts` puts the ACME server and the responder together;
//! - `loops` drives the worker; `key_watch` tells it whether the keys can be used; `control` answers the commands; `store_socket` serves the store to other processes;
//! - `supervise` starts and keeps the parts as processes of other users;
//! - `halt` lets tests end the process at a named point, in builds that have the feature.

pub(crate) mod compose;
mod control;
mod fronts;
mod given_secrets;
mod halt;
mod key_watch;
mod loops;
mod numbers;
mod run;
mod store_socket;
mod supervise;

pub(crate) use ca_service::listen::{Held, hold};
pub(crate) use ca_service::signal::until_signal;
pub(crate) use run::{Ready, Role, TrustedPolicy, serve, start, trusted_policy};
pub(crate) use supervise::{one_process_is_enough, supervise};
