//! Reconciliation: does each signature that a device's own log shows belong to an attempt on record?
//!
//! Pure, a row at a time, so that the worker, the command and an auditor with an export use the same code. The device
//! does not log what it signed, only that it signed, with which key; so signatures are counted, per key, against
//! attempts: at any moment no more than were intended, and no fewer than the worker had had answers.
//! An abandoned attempt may or may not have come to its signature: such a surplus is said, not explained away.
//!
//! Deliberately absent: devices, and whether the rows are all there (the anchor and the log's checkpoints answer that).

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{CHAIN_START, Leaf, chain, follows, read_leaf};
use crate::model::{AuditEntry, AuditRow, Intent, KeyLabel, Outcome};
use crate::pki::{Sha256Digest, sha256};
use crate::ports::{DeviceIdentity, DeviceKind, DeviceLogEntry};

/// The action of the row that a worker writes when it begins to follow a device's log.
pub const DEVICE_LOG_BEGIN: &str = "device.log-begin";

/// The action of a row with entries that were drained from a device's log.
pub const DEVICE_LOG: &str = "device.log";

/// The most entries in one row.
pub const MAX_ENTRIES: usize = 1000;

/// How many drained entries of a device are remembered, so that a drain that was repeated after a death is known again:
/// a YubiHSM 2 holds 62.
const REMEMBERED: usize = 128;

/// The most findings that are kept; more are only counted.
const MAX_FINDINGS: usize = 100;

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
    /// Signatures that the device logged.
    pub signatures: u64,
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

/// The result.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Reconciliation {
    /// How many rows there were.
    pub rows: u64,
    /// The chain's head after them.
    pub head: Sha256Digest,
    /// Devices whose logs are in the rows, by serial number, with the entries that were read of each.
    pub devices: BTreeMap<String, u64>,
    /// By key.
    pub keys: BTreeMap<KeyLabel, KeyAccount>,
    /// What is wrong, for people; the first [`MAX_FINDINGS`].
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

/// A device's log so far.
#[derive(Debug)]
struct Device {
    kind: DeviceKind,
    entries: u64,
    last: Option<DeviceLogEntry>,
    remembered: VecDeque<Sha256Digest>,
}

/// Takes the audit trail row by row, from the first.
#[derive(Debug)]
pub struct Reconciler {
    rows: u64,
    head: Sha256Digest,
    devices: BTreeMap<String, Device>,
    keys: BTreeMap<KeyLabel, KeyAccount>,
    /// How many signatures each key has given, as workers told: the log must show as many.
    due: BTreeMap<KeyLabel, u64>,
    /// A worker has begun: what a dead one before it had not told yet is in the next batch.
    begun: bool,
    /// Attempts that have not ended. At most as many as workers sign at a time, and those that a death left.
    open: HashMap<String, KeyLabel>,
    findings: Vec<String>,
    finding_count: u64,
}

impl Default for Reconciler {
    fn default() -> Self {
        Self {
            rows: 0,
            head: CHAIN_START,
            devices: BTreeMap::new(),
            keys: BTreeMap::new(),
            due: BTreeMap::new(),
            begun: false,
            open: HashMap::new(),
            findings: Vec::new(),
            finding_count: 0,
        }
    }
}

impl Reconciler {
    /// Takes the next row.
    ///
    /// # Errors
    /// When it does not follow in the chain; then nothing after it proves anything.
    pub fn take(&mut self, row: &AuditRow) -> Result<(), ChainError> {
        if row.number != self.rows + 1 {
            return Err(ChainError::Gap { after: self.rows, found: row.number });
        }
        let head = chain(&self.head, &row.leaf);
        if head != row.hash {
            return Err(ChainError::Hash(row.number));
        }
        (self.rows, self.head) = (row.number, head);
        match read_leaf(&row.leaf) {
            Some(Leaf::Intent(intent)) => self.intent(&intent),
            Some(Leaf::Audit(entry)) => self.entry(row.number, &entry),
            None => self.find(format!("row {}: its leaf is in no format that this version knows", row.number)),
        }
        Ok(())
    }

    /// The number of the last row.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// The account so far.
    pub fn finish(self) -> Reconciliation {
        let devices = self.devices.into_iter().map(|(serial, device)| (serial, device.entries)).collect();
        let Self { rows, head, keys, findings, finding_count, .. } = self;
        Reconciliation { rows, head, devices, keys, findings, finding_count }
    }

    fn find(&mut self, finding: String) {
        self.finding_count += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    fn intent(&mut self, intent: &Intent) {
        if self.devices.is_empty() {
            return;
        }
        self.keys.entry(intent.key.clone()).or_default().intended += 1;
        self.open.insert(intent.attempt.as_str().to_owned(), intent.key.clone());
    }

    fn entry(&mut self, row: u64, entry: &AuditEntry) {
        match entry.action.as_str() {
            DEVICE_LOG_BEGIN => match serde_json::from_value::<DeviceLogBegin>(entry.detail.clone()) {
                Ok(begin) => self.begin(begin),
                Err(e) => self.find(format!("row {row}: the beginning of a device's log does not parse: {e}")),
            },
            DEVICE_LOG => match serde_json::from_value::<DeviceLogBatch>(entry.detail.clone()) {
                Ok(batch) => self.batch(row, &entry.object, batch),
                Err(e) => self.find(format!("row {row}: a drained device log does not parse: {e}")),
            },
            action => {
                let verb = action.rsplit('.').next().unwrap_or_default();
                let signed = matches!((verb, &entry.outcome), ("release", Outcome::Done) | ("unreleased", _));
                if (signed || verb == "abandon")
                    && let Some(key) = self.open.remove(&entry.correlation)
                    && signed
                {
                    self.keys.entry(key).or_default().signed += 1;
                }
            }
        }
    }

    fn begin(&mut self, begin: DeviceLogBegin) {
        let DeviceIdentity { kind, serial, .. } = begin.device;
        self.begun = true;
        // Each start of a worker writes one; only the first begins the account.
        self.devices.entry(serial).or_insert_with(|| Device { kind, entries: 0, last: None, remembered: VecDeque::new() });
    }

    fn batch(&mut self, row: u64, serial: &str, batch: DeviceLogBatch) {
        if batch.entries.len() > MAX_ENTRIES {
            return self.find(format!("row {row}: more than {MAX_ENTRIES} entries of a device's log in one row"));
        }
        if batch.unlogged_boots > 0 || batch.unlogged_authentications > 0 {
            self.find(format!(
                "row {row}: the device {serial} booted {} times and was opened {} times without logging it, because its log was full",
                batch.unlogged_boots, batch.unlogged_authentications
            ));
        }
        for entry in batch.entries {
            self.log_entry(row, serial, entry);
        }
        let mut findings = Vec::new();
        for (key, answered) in batch.answered {
            let due = self.due.entry(key).or_default();
            *due = due.saturating_add(answered);
        }
        for (key, account) in &mut self.keys {
            let due = self.due.entry(key.clone()).or_default();
            if self.begun {
                *due = (*due).max(account.signatures);
            }
            let beyond = account.signatures.saturating_sub(account.intended);
            let lost = due.saturating_sub(account.signatures);
            if beyond > account.unexplained {
                account.unexplained = beyond;
                findings.push(format!("row {row}: the device {serial} signed with `{key}` {beyond} times more than was on record"));
            }
            if lost > account.missing {
                account.missing = lost;
                findings.push(format!("row {row}: the log of the device {serial} lacks {lost} signatures with `{key}`"));
            }
        }
        self.begun = false;
        findings.into_iter().for_each(|finding| self.find(finding));
    }

    fn log_entry(&mut self, row: u64, serial: &str, entry: DeviceLogEntry) {
        let Some(device) = self.devices.get_mut(serial) else {
            return self.find(format!("row {row}: entries of the device {serial}, whose log no worker began to follow"));
        };
        let digest = sha256(&entry.raw);
        if device.remembered.contains(&digest) {
            // Drained again after a death between the record and the device's acknowledgement.
            return;
        }
        let follows = device.last.as_ref().is_none_or(|last| follows(device.kind, last, &entry));
        device.entries += 1;
        device.remembered.push_back(digest);
        if device.remembered.len() > REMEMBERED {
            device.remembered.pop_front();
        }
        let counted = entry.is_signature && entry.succeeded;
        let (number, command, key) = (entry.number, entry.command.clone(), entry.key.clone());
        device.last = Some(entry);
        if !follows {
            self.find(format!("row {row}: entry {number} of the device {serial} does not follow the one before: its log has a gap"));
        }
        match key {
            Some(key) if counted => self.keys.entry(key).or_default().signatures += 1,
            None if counted => {
                self.find(format!("row {row}: entry {number} of the device {serial}: `{command}` with a key that is not the CA's"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::audit_leaf;
    use crate::model::{Actor, IntentContent};
    use crate::pki::Timestamp;

    /// An audit trail in the making, with a device that logs.
    struct Trail {
        rows: Vec<AuditRow>,
        device: Vec<DeviceLogEntry>,
        drained: usize,
        answered: u64,
    }

    impl Trail {
        fn begun() -> Self {
            let mut trail = Self { rows: vec![], device: vec![], drained: 0, answered: 0 };
            let device =
                DeviceIdentity { kind: DeviceKind::YubiHsm2, model: "simulated".to_owned(), serial: "7".to_owned(), firmware: None };
            trail.entry(DEVICE_LOG_BEGIN, "", Outcome::Done, serde_json::to_value(DeviceLogBegin { device }).unwrap());
            trail
        }

        fn push(&mut self, leaf: Vec<u8>) {
            let before = self.rows.last().map_or(CHAIN_START, |r| r.hash);
            self.rows.push(AuditRow { number: self.rows.len() as u64 + 1, hash: chain(&before, &leaf), leaf });
        }

        fn entry(&mut self, action: &str, correlation: &str, outcome: Outcome, detail: serde_json::Value) {
            let entry = AuditEntry {
                at: Timestamp::from_unix(0),
                actor: Actor::system("worker"),
                action: action.to_owned(),
                authority: None,
                object: "7".to_owned(),
                outcome,
                correlation: correlation.to_owned(),
                detail,
            };
            self.push(audit_leaf(&entry));
        }

        fn intent(&mut self, attempt: &str) {
            let content = crate::model::CrlIntent {
                tbs: vec![],
                scope: crate::model::CrlScope::FULL,
                number: 1,
                this_update: Timestamp::from_unix(0),
                next_update: Timestamp::from_unix(1),
                ledger_number: 0,
            };
            let intent = Intent {
                attempt: attempt.parse().unwrap(),
                authority: "demo".parse().unwrap(),
                key: "ca".parse().unwrap(),
                algorithm: crate::pki::SignatureAlgorithm::EcdsaP256Sha256,
                tbs_sha256: sha256(b""),
                content: IntentContent::Crl(content),
                leaf: vec![],
                origin: crate::model::Origin::Ceremony,
                actor: Actor::system("worker"),
                at: Timestamp::from_unix(0),
            };
            self.push(crate::log::intent_leaf(&intent));
        }

        fn device_signs(&mut self, key: Option<&str>) {
            let number = self.device.len() as u64 + 1;
            let before = self.device.last().map_or(vec![0; 16], |e| e.raw[16..].to_vec());
            let mut raw = vec![0u8; 16];
            raw[..2].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
            let digest = sha256(&[raw.clone(), before].concat()).0[..16].to_vec();
            raw.extend(digest);
            let key = key.map(|k| k.parse().unwrap());
            self.device.push(DeviceLogEntry { number, command: "sign-ecdsa".to_owned(), key, is_signature: true, succeeded: true, raw });
        }

        fn drain_from(&mut self, from: usize) {
            let entries = self.device[from..].to_vec();
            self.drained = self.device.len();
            let answered = [("ca".parse().unwrap(), std::mem::take(&mut self.answered))].into();
            let batch = DeviceLogBatch { entries, answered, unlogged_boots: 0, unlogged_authentications: 0 };
            self.entry(DEVICE_LOG, "", Outcome::Done, serde_json::to_value(batch).unwrap());
        }

        fn drain(&mut self) {
            self.drain_from(self.drained);
        }

        fn issue(&mut self, attempt: &str) {
            self.intent(attempt);
            self.device_signs(Some("ca"));
            self.answered += 1;
            self.entry("certificate.release", attempt, Outcome::Done, serde_json::Value::Null);
        }

        fn result(&self) -> Reconciliation {
            let mut reconciler = Reconciler::default();
            self.rows.iter().for_each(|row| reconciler.take(row).unwrap());
            reconciler.finish()
        }
    }

    #[track_caller]
    fn check(trail: &Trail, expected: &[&str]) {
        let result = trail.result();
        assert_eq!(result.findings.len(), expected.len(), "{:#?}", result.findings);
        for (finding, part) in result.findings.iter().zip(expected) {
            assert!(finding.contains(part), "{finding}: {part}");
        }
    }

    #[test]
    fn recorded_signatures_are_clean() {
        let mut trail = Trail::begun();
        trail.issue("a1");
        trail.drain();
        trail.issue("a2");
        // This one's signature is read before its release is on record.
        trail.intent("a3");
        trail.device_signs(Some("ca"));
        trail.drain();
        trail.entry("crl.release", "a3", Outcome::Done, serde_json::Value::Null);
        trail.drain();
        check(&trail, &[]);
        let account = trail.result().keys[&"ca".parse().unwrap()];
        assert_eq!(account, KeyAccount { signatures: 3, intended: 3, signed: 3, unexplained: 0, missing: 0 });
        assert_eq!(trail.result().devices["7"], 3);
    }

    #[test]
    fn a_signature_behind_the_back_is_found() {
        let mut trail = Trail::begun();
        trail.issue("a1");
        trail.device_signs(Some("ca"));
        trail.drain();
        check(&trail, &["signed with `ca` 1 times more"]);
        // A later intent does not explain it.
        trail.issue("a2");
        trail.drain();
        check(&trail, &["signed with `ca` 1 times more"]);
        trail.device_signs(None);
        trail.drain();
        check(&trail, &["signed with `ca` 1 times more", "not the CA's"]);
    }

    #[test]
    fn an_abandoned_attempt_may_have_been_signed() {
        let mut trail = Trail::begun();
        trail.intent("a1");
        trail.device_signs(Some("ca"));
        trail.entry("certificate.abandon", "a1", Outcome::Done, serde_json::Value::Null);
        trail.drain();
        check(&trail, &[]);
        assert_eq!(trail.result().keys[&"ca".parse().unwrap()].surplus(), 1);
    }

    #[test]
    fn a_log_with_a_gap_or_less_than_the_record_is_found() {
        let mut trail = Trail::begun();
        trail.issue("a1");
        trail.drain();
        trail.issue("a2");
        trail.issue("a3");
        trail.drain_from(2);
        check(&trail, &["does not follow", "lacks 1 signatures with `ca`"]);
        // A later signature does not hide it, and says nothing new.
        trail.issue("a4");
        trail.drain();
        check(&trail, &["does not follow", "lacks 1 signatures with `ca`"]);
    }

    #[test]
    fn a_drain_that_was_repeated_counts_once() {
        let mut trail = Trail::begun();
        trail.issue("a1");
        trail.drain();
        trail.issue("a2");
        trail.drain_from(0);
        check(&trail, &[]);
        assert_eq!(trail.result().keys[&"ca".parse().unwrap()].signatures, 2);
    }

    #[test]
    fn the_chain_is_checked_first() {
        let mut trail = Trail::begun();
        trail.issue("a1");
        let take = |rows: &[AuditRow]| {
            let mut reconciler = Reconciler::default();
            rows.iter().try_for_each(|row| reconciler.take(row))
        };
        assert_eq!(take(&trail.rows[1..]), Err(ChainError::Gap { after: 0, found: 2 }));
        trail.rows[1].leaf.push(b' ');
        assert_eq!(take(&trail.rows), Err(ChainError::Hash(2)));
    }
}
