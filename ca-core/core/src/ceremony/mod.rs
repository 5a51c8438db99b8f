//! Key ceremonies without IO: the plan, the people, what they approve, and the transcript.
//!
//! Dual control is cryptographic here: a step is allowed by statements that enough distinct people signed over the
//! exact bytes (invariant 12), never by a row that says so. The files, the terminal and the keys belong to the
//! `ca-ceremony` crate. The worker uses [`RosterChain`], [`PolicyBundle`] and [`ActStatement`] to know who the officers
//! are, what they put in force, and what they let it do. Deliberately absent: shares themselves, and what they open.

mod act;
mod acts;
mod bundle;
pub(crate) mod canonical;
mod credential_plan;
mod device_check;
mod device_log;
mod environment;
mod error;
mod frame;
mod hierarchy;
mod identity;
mod key_request;
mod people;
mod pins;
mod plan;
pub(crate) mod quorum;
mod record;
mod revoked_cas;
mod room;
mod roster;
mod roster_chain;
mod serials;
mod statement;
mod transcript;
mod words;

pub use act::{ActStatement, OfficerAct, Standing};
pub use acts::{Acts, Continues, CrossPlan, KeyPlan, RestorePlan, RevokePlan, RevokedCasPlan};
pub use bundle::PolicyBundle;
pub use credential_plan::{CredentialChange, CredentialPlan};
pub use device_check::{check_attestation, check_attributes};
pub use device_log::{PlannedSignatures, check_device_logs, device_log_imports, log_exception};
pub use environment::{ClockMark, CoreDumps, EnvironmentPlan, MAX_CLOCK_DIFFERENCE, MachineFacts, clock_jump, findings};
pub use error::CeremonyError;
pub use frame::{EvidencePlan, Frame};
pub use hierarchy::{Hierarchy, IssuedCa};
pub use identity::{CaIdentity, roots};
pub use key_request::{CertificateBytes, KeyRequest, RequestStatement, WantedKey};
pub use people::{Custodian, People, Person, Role};
pub use pins::{Cps, DevicePin, Inventory, ToolPin, inventory_digest, inventory_lines};
pub use plan::{CaName, IssuingPlan, Plan, RootPlan};
pub use quorum::{Approval, MOST_SIGNATURES, quorum, signer, signer_among};
pub use record::{Fact, Record};
pub use revoked_cas::{MAX_REVOKED_CAS, revoked_entries};
pub use room::{CLOCK_PEOPLE, Duty, Records, check_disposers, jump_since, record_name};
pub use roster::{CeremonyKind, Officer, Roster};
pub use roster_chain::{RosterChain, RosterChange};
pub use serials::{MAX_BULK, parse_serial_list, serial_list};
pub use statement::{Operation, Statement};
pub use transcript::{ExceptionEntry, KeyPlace, Line, Transcript, TranscriptEvent};
pub use words::{grouped, spoken, words};
