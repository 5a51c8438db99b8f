//! The rows that reconciliation reads, and what it comes to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::KeyLabel;
use crate::pki::Sha256Digest;
use crate::ports::{DeviceIdentity, DeviceLogEntry};

/// The action of the row that a worker writes when it begins to follow a device's log.
pub const DEVICE_LOG_BEGIN: &str = "device.log-begin";

/// The action of a row with entries that a worker drained from a device's log.
pub const DEVICE_LOG: &str = "device.log";

/// The action of a row with entries that were drained elsewhere: in a ceremony, or into a journal.
pub const DEVICE_LOG_IMPORT: &str = "device.log-import";

/// The most entries in one row.
pub const MAX_ENTRIES: usize = 1000;

/// What [`DEVICE_LOG_BEGIN`] carries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceLogBegin {
    /// The device.
    pub device: DeviceIdentity,
}

/// What [`DEVICE_LOG`] carries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceLogBatch {
    /// Entries, oldest first; none where signatures were answered and the log shows nothing.
    pub entries: Vec<DeviceLogEntry>,
    /// Signatures that the worker got from each key between its last reading of the log and this one.
    pub answered: BTreeMap<KeyLabel, u64>,
    /// Boots that the device could not log.
    pub unlogged_boots: u64,
    /// Authentications that it could not log.
    pub unlogged_authentications: u64,
}

/// What [`DEVICE_LOG_IMPORT`] carries: one line of a ceremony's transcript, or a part of another record. The entries
/// need no trust, because the device's own digests chain them; what they are matched with does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceLogImport {
    /// The device.
    pub device: DeviceIdentity,
    /// Which record: the hash of a transcript's last line, or SHA-256 of a file.
    pub source: Sha256Digest,
    /// Where in it; the same place of the same record counts once.
    pub line: u64,
    /// Entries, oldest first.
    pub entries: Vec<DeviceLogEntry>,
    /// Signatures that acts of a verified ceremony began, by key, since the line before with this device's log. They
    /// explain as many of this record's entries, and none of any other's.
    pub acts: BTreeMap<KeyLabel, u64>,
    /// Boots that the device could not log and nobody has decided about.
    pub unlogged_boots: u64,
    /// Authentications that it could not log and nobody has decided about.
    pub unlogged_authentications: u64,
}

/// Why rows are no audit trail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A row is missing or out of order.
    #[error("after audit row {after} comes row {found}: rows are missing, doubled or out of order")]
    Gap {
        /// The row before.
        after: u64,
        /// The row found.
        found: u64,
    },
    /// A row was changed.
    #[error("audit row {0} does not fit the hash chain: it or a row before it was changed")]
    Hash(u64),
}

/// One key's account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct KeyAccount {
    /// Signatures that the device logged, save for those of ceremonies.
    pub signatures: u64,
    /// Signatures that the device logged in ceremonies, each matched by an act there.
    pub ceremonies: u64,
    /// Attempts with an intent on record.
    pub intended: u64,
    /// Attempts whose signature is on record, released or not.
    pub signed: u64,
    /// Signatures beyond what was intended by then: made behind the CA's back.
    pub unexplained: u64,
    /// Signatures that a worker got and the device's log does not show.
    pub missing: u64,
}

impl KeyAccount {
    /// Signatures that belong to no attempt with a signature on record: they may be those of abandoned attempts.
    pub const fn surplus(&self) -> u64 {
        self.signatures.saturating_sub(self.signed)
    }
}

/// What the account rests on besides the trail: a ceremony's bundle, which an auditor verifies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CeremonyShare {
    /// The hash of its transcript's last line.
    pub transcript: Sha256Digest,
    /// The device's serial number.
    pub device: String,
    /// The signatures that its acts explain, by key, since a worker follows the device.
    pub signatures: BTreeMap<KeyLabel, u64>,
}

/// The result.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Reconciliation {
    /// How many rows there were.
    pub rows: u64,
    /// The chain's head after them.
    pub head: Sha256Digest,
    /// Devices whose logs workers followed, by serial number, with the entries that were read of each.
    pub devices: BTreeMap<String, u64>,
    /// By key.
    pub keys: BTreeMap<KeyLabel, KeyAccount>,
    /// Ceremonies on those devices.
    pub ceremonies: Vec<CeremonyShare>,
    /// What is wrong, for people, in the rows' order; the first 100.
    pub findings: Vec<String>,
    /// How many findings there were.
    pub finding_count: u64,
}

impl Reconciliation {
    /// Whether every logged signature belongs to an attempt, and nothing else is wrong.
    pub const fn is_clean(&self) -> bool {
        self.finding_count == 0
    }
}
