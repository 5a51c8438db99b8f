//! Key ceremonies without IO: the plan, the people, what they approve, and the transcript.
//!
//! Dual control is cryptographic here: a step is allowed by statements that enough distinct people signed over the
//! exact bytes (invariant 12), never by a row that says so. The files, the terminal and the keys belong to the
//! `ca-ceremony` crate; the worker uses [`PolicyBundle`] and [`Roster`] to accept a policy.
//! Deliberately absent: shares of secrets, changes of the roster, hardware attestation.

mod bundle;
pub(crate) mod canonical;
mod error;
mod plan;
pub(crate) mod quorum;
mod roster;
mod statement;
mod transcript;

pub use bundle::PolicyBundle;
pub use error::CeremonyError;
pub use plan::{CaName, IssuingPlan, Plan, RootPlan};
pub use quorum::{Approval, quorum, signer};
pub use roster::{CeremonyKind, Officer, Roster};
pub use statement::{Operation, Statement};
pub use transcript::{KeyPlace, Line, Transcript, TranscriptEvent};
