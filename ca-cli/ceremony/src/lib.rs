//! Key ceremonies: the offline part.
//!
//! [`run`] takes a plan as far as the officers' signatures allow and leaves a bundle that [`verify()`] checks with
//! nothing else at hand. The rules live in `ca_core::ceremony`; here are the files, the terminal and the key stores.
//! There is one signing path: what the worker uses to issue is used here, with the transcript as its store.
//! Deliberately absent: networks and databases. Devices are `ca_keystore`'s.

mod acts_cli;
mod approval;
mod assemble;
mod cli;
mod custody;
mod custody_check;
mod custody_cli;
mod design;
mod device_log;
mod document;
mod dump;
mod error;
mod evidence;
mod files;
mod guide;
mod inputs;
mod issue;
mod journal;
mod key_store;
mod keys;
mod machine;
mod note_cli;
mod notes;
mod pager;
mod perform;
mod rehearsal;
mod report;
mod request;
mod request_log;
mod results;
mod room;
mod run;
mod scene;
mod script;
mod secret;
mod show;
mod steps;
mod system;
mod verify;
#[cfg(feature = "yubihsm")]
mod yubihsm;

pub use assemble::assemble;
pub use cli::{CeremonyCommand, execute};
pub use custody::Custody;
pub use error::Error;
pub use evidence::VerifiedException;
pub use files::write_new;
pub use journal::{Moment, Observer};
pub use key_store::open_key_store;
pub use machine::{Machine, SystemMachine};
pub use notes::{Noted, add_exception, dispose_exception, note};
pub use rehearsal::{Rehearsal, RehearsalOptions, approve_policy_rehearsal, rehearse, rehearse_with, sign_rehearsal};
pub use request::{RequestOptions, make_request};
pub use request_log::request_device_logs;
pub use run::{Needed, RunOptions, RunOutcome, run};
pub use secret::{SecretSource, unsealer};
pub use system::{SystemClock, SystemRng};
pub use verify::{VerifiedBundle, verify, verify_chain};
#[cfg(feature = "yubihsm")]
pub use yubihsm::{YubiHsmCommand, yubihsm_command};

/// A plan of a first ceremony to start from.
pub const PLAN_TEMPLATE: &str = include_str!("../../../ceremony-docs/plan-template.toml");

/// Where what is the first ceremony's own begins in [`PLAN_TEMPLATE`].
const FIRST_ONLY: &str = "# One or more; the first is the default authority.";

/// A plan of this kind to start from, as `ca ceremony template` prints it: what surrounds the acts is the same in each.
pub fn plan_template(kind: &str) -> String {
    let own = match kind {
        "intermediate" => include_str!("../../../ceremony-docs/kinds/intermediate.toml"),
        "cross-sign" => include_str!("../../../ceremony-docs/kinds/cross-sign.toml"),
        "root-crl" => include_str!("../../../ceremony-docs/kinds/root-crl.toml"),
        "revoke-ca" => include_str!("../../../ceremony-docs/kinds/revoke-ca.toml"),
        "backup" => include_str!("../../../ceremony-docs/kinds/backup.toml"),
        "restore" => include_str!("../../../ceremony-docs/kinds/restore.toml"),
        "destroy" => include_str!("../../../ceremony-docs/kinds/destroy.toml"),
        "policy" => include_str!("../../../ceremony-docs/kinds/policy.toml"),
        "officers" => include_str!("../../../ceremony-docs/kinds/officers.toml"),
        "credentials" => include_str!("../../../ceremony-docs/kinds/credentials.toml"),
        _ => return PLAN_TEMPLATE.to_owned(),
    };
    let frame = PLAN_TEMPLATE.split(FIRST_ONLY).next().unwrap_or(PLAN_TEMPLATE);
    format!("{frame}{own}")
}
