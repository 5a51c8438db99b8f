//! Key ceremonies without IO: the plan, the people, what they approve, and the transcript.
//!
//! Dual control is cryptographic here: a step is allowed by statements that enough distinct people signed over the
//! exact bytes (invariant 12), never by a row that says so. The files, the terminal and the keys belong to the
//! `ca-ceremony` crate. The worker uses [`RosterChain`], [`PolicyBundle`] and [`ActStatement`] to know who the officers
//! are, what they put in force, and what they let it do. Deliberately absent: shares of secrets.

mod act;
mod acts;
mod bundle;
pub(crate) mod canonical;
mod device_check;
mod error;
mod hierarchy;
mod identity;
mod key_request;
mod plan;
pub(crate) mod quorum;
mod roster;
mod roster_chain;
mod serials;
mod statement;
mod transcript;

pub use act::{ActStatement, OfficerAct, Standing};
pub use acts::{Acts, Continues, CrossPlan, KeyPlan, RestorePlan, RevokePlan};
pub use bundle::PolicyBundle;
pub use device_check::{check_attestation, check_attributes, inventory_digest};
pub use error::CeremonyError;
pub use hierarchy::{Hierarchy, IssuedCa};
pub use identity::CaIdentity;
pub use key_request::{CertificateBytes, KeyRequest, RequestStatement, WantedKey};
pub use plan::{CaName, IssuingPlan, Plan, RootPlan};
pub use quorum::{Approval, MOST_SIGNATURES, quorum, signer};
pub use roster::{CeremonyKind, Officer, Roster};
pub use roster_chain::{RosterChain, RosterChange};
pub use serials::{MAX_BULK, parse_serial_list, serial_list};
pub use statement::{Operation, Statement};
pub use transcript::{KeyPlace, Line, Transcript, TranscriptEvent};
