//! Key ceremonies without IO: the plan, the people, what they approve, and the transcript.
//!
//! Dual control is cryptographic here: a step is allowed by statements that enough distinct people signed over the
//! exact bytes (invariant 12), never by a row that says so. The files, the terminal and the keys belong to the
//! `ca-ceremony` crate; the worker uses [`PolicyBundle`] and [`Roster`] to accept a policy.
//! Deliberately absent: shares of secrets, changes of the roster, hardware attestation.

mod bundle;
mod environment;
mod error;
mod frame;
mod people;
mod pins;
mod plan;
mod quorum;
mod record;
mod roster;
mod statement;
mod transcript;
mod words;

pub use bundle::PolicyBundle;
pub use environment::{ClockMark, CoreDumps, EnvironmentPlan, MAX_CLOCK_DIFFERENCE, MachineFacts, clock_jump, findings};
pub use error::CeremonyError;
pub use frame::{EvidencePlan, Frame};
pub use people::{Custodian, People, Person, Role};
pub use pins::{Cps, DevicePin, Inventory, ToolPin, inventory_digest, inventory_lines};
pub use plan::{CaName, IssuingPlan, Plan, RootPlan};
pub use quorum::{Approval, quorum, signer, signer_among};
pub use record::{Fact, Record};
pub use roster::{CeremonyKind, Officer, Roster};
pub use statement::{Operation, Statement};
pub use transcript::{ExceptionEntry, KeyPlace, Line, Transcript, TranscriptEvent};
pub use words::{grouped, spoken, words};
