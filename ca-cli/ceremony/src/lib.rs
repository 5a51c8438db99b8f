//! Key ceremonies: the offline part.
//!
//! [`run`] takes a plan as far as the officers' signatures allow and leaves a bundle that [`verify()`] checks with
//! nothing else at hand. The rules live in `ca_core::ceremony`; here are the files, the terminal and the key stores.
//! There is one signing path: what the worker uses to issue is used here, with the transcript as its store.
//! Deliberately absent: networks, databases, and hardware (the `KeyStore` port is where a device will be).

mod cli;
mod design;
mod document;
mod dump;
mod error;
mod evidence;
mod files;
mod guide;
mod issue;
mod journal;
mod machine;
mod note_cli;
mod notes;
mod pager;
mod rehearsal;
mod report;
mod room;
mod run;
mod script;
mod secret;
mod show;
mod steps;
mod system;
mod verify;

pub use cli::{CeremonyCommand, execute};
pub use error::Error;
pub use evidence::VerifiedException;
pub use journal::{Moment, Observer};
pub use machine::{Machine, SystemMachine};
pub use notes::{Noted, add_exception, dispose_exception, note};
pub use rehearsal::{Rehearsal, RehearsalOptions, approve_policy_rehearsal, rehearse};
pub use run::{Needed, RunOptions, RunOutcome, run};
pub use secret::{SecretSource, unsealer};
pub use system::{SystemClock, SystemRng};
pub use verify::{VerifiedBundle, verify};

/// A plan to start from, as `ca ceremony template` prints it.
pub const PLAN_TEMPLATE: &str = include_str!("../../../ceremony-docs/plan-template.toml");
