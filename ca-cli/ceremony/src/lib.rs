//! Key ceremonies: the offline part.
//!
//! [`run`] takes a plan as far as the officers' signatures allow and leaves a bundle that [`verify()`] checks with
//! nothing else at hand. The rules live in `ca_core::ceremony`; here are the files, the terminal and the key stores.
//! There is one signing path: what the worker uses to issue is used here, with the transcript as its store.
//! Deliberately absent: networks and databases. Devices are `ca_keystore`'s.

mod cli;
mod design;
mod dump;
mod error;
mod files;
mod issue;
mod journal;
mod key_store;
mod rehearsal;
mod run;
mod secret;
mod show;
mod system;
mod verify;
#[cfg(feature = "yubihsm")]
mod yubihsm;

pub use cli::{CeremonyCommand, execute};
pub use error::Error;
pub use journal::{Moment, Observer};
pub use key_store::open_key_store;
pub use rehearsal::{Rehearsal, RehearsalOptions, approve_policy_rehearsal, rehearse};
pub use run::{Needed, RunOptions, RunOutcome, run};
pub use secret::{SecretSource, unsealer};
pub use system::{SystemClock, SystemRng};
pub use verify::{VerifiedBundle, verify};
#[cfg(feature = "yubihsm")]
pub use yubihsm::{YubiHsmCommand, yubihsm_command};

/// A plan to start from, as `ca ceremony template` prints it.
pub const PLAN_TEMPLATE: &str = include_str!("../../../ceremony-docs/plan-template.toml");
