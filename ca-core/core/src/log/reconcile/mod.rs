//! Reconciliation: does each signature that a device's own log shows belong to an attempt on record?
//!
//! Pure, a row at a time, so that the worker, the command and an auditor with an export use the same code. The device
//! does not log what it signed, only that it signed, with which key; so signatures are counted, per key, against
//! attempts: at any moment no more than were intended, and no fewer than the worker had had answers.
//! An abandoned attempt may or may not have come to its signature: such a surplus is said, not explained away.
//!
//! A ceremony on the same device takes entries that no worker sees. Its record brings them in, at any time: the device's
//! digests say where they belong. Its acts explain its own signatures; whatever else is in it counts as the worker's.
//!
//! Deliberately absent: devices, and whether the rows are all there (the anchor and the log's checkpoints answer that).

mod device;
mod rows;

use std::collections::{BTreeMap, HashMap};

pub use rows::{
    CeremonyShare, ChainError, DEVICE_LOG, DEVICE_LOG_BEGIN, DEVICE_LOG_IMPORT, DeviceLogBatch, DeviceLogBegin, DeviceLogImport,
    KeyAccount, MAX_ENTRIES, Reconciliation,
};

use self::device::{Accounts, Device, Placed, Signatures};
use super::{CHAIN_START, Leaf, chain, first_gap, read_leaf, reads_as_written};
use crate::model::{AuditEntry, AuditRow, Intent, KeyLabel, Outcome};
use crate::pki::Sha256Digest;
use crate::ports::{DeviceIdentity, DeviceLogEntry};

/// The most findings that are kept; more are only counted.
const MAX_FINDINGS: usize = 100;

/// What a gap's finding says to do.
const GAP_HINT: &str = "import the bundle of the ceremony that was held on it: `ca import`; if there was none, somebody else moved its log";

/// A ceremony's acts on a device, and the signatures that they explain so far.
#[derive(Debug, Default)]
struct Share {
    acts: BTreeMap<KeyLabel, u64>,
    explained: BTreeMap<KeyLabel, u64>,
    /// Those since a worker follows the device.
    counted: BTreeMap<KeyLabel, u64>,
}

/// Takes the audit trail row by row, from the first.
#[derive(Debug)]
pub struct Reconciler {
    rows: u64,
    head: Sha256Digest,
    devices: BTreeMap<String, Device>,
    keys: Accounts,
    /// How many signatures each key has given, as workers told: the log must show as many.
    due: BTreeMap<KeyLabel, u64>,
    /// A worker has begun: what a dead one before it had not told yet is in the next batch.
    begun: bool,
    /// Attempts that have not ended. At most as many as workers sign at a time, and those that a death left.
    open: HashMap<String, KeyLabel>,
    /// By device and record.
    shares: BTreeMap<(String, Sha256Digest), Share>,
    /// With their rows.
    findings: Vec<(u64, String)>,
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
            shares: BTreeMap::new(),
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
            Some(Leaf::Audit(entry)) => self.entry(&entry),
            None => self.find("its leaf is in no format that this version knows"),
        }
        Ok(())
    }

    /// The number of the last row.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// The account so far.
    pub fn finish(self) -> Reconciliation {
        let Self { rows, head, devices, keys, shares, findings: others, mut finding_count, .. } = self;
        // A gap is a finding for as long as nothing fills it.
        let mut findings = Vec::new();
        for (serial, device) in &devices {
            finding_count += device.gaps.len() as u64;
            findings.extend(device.gaps.iter().map(|gap| {
                let number = gap.before.number;
                (gap.row, format!("row {}: entry {number} of the device {serial} does not follow the one before: its log has a gap (hint: {GAP_HINT})", gap.row))
            }));
        }
        findings.extend(others);
        findings.sort_by_key(|(row, _)| *row);
        findings.truncate(MAX_FINDINGS);
        let ceremonies = shares
            .into_iter()
            .filter(|(_, share)| !share.counted.is_empty())
            .map(|((device, transcript), share)| CeremonyShare { transcript, device, signatures: share.counted })
            .collect();
        let devices = devices.into_iter().filter(|(_, d)| d.followed).map(|(serial, device)| (serial, device.entries)).collect();
        let findings = findings.into_iter().map(|(_, text)| text).collect();
        Reconciliation { rows, head, devices, keys, ceremonies, findings, finding_count }
    }

    /// A finding in the row at hand.
    fn find(&mut self, finding: &str) {
        self.finding_count += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push((self.rows, format!("row {}: {finding}", self.rows)));
        }
    }

    fn intent(&mut self, intent: &Intent) {
        if !self.devices.values().any(|d| d.followed) {
            return;
        }
        self.keys.entry(intent.key.clone()).or_default().intended += 1;
        self.open.insert(intent.attempt.as_str().to_owned(), intent.key.clone());
    }

    fn entry(&mut self, entry: &AuditEntry) {
        match entry.action.as_str() {
            DEVICE_LOG_BEGIN => match serde_json::from_value::<DeviceLogBegin>(entry.detail.clone()) {
                Ok(begin) => self.begin(begin),
                Err(e) => self.find(&format!("the beginning of a device's log does not parse: {e}")),
            },
            DEVICE_LOG => match serde_json::from_value::<DeviceLogBatch>(entry.detail.clone()) {
                Ok(batch) => self.batch(&entry.object, batch),
                Err(e) => self.find(&format!("a drained device log does not parse: {e}")),
            },
            DEVICE_LOG_IMPORT => match serde_json::from_value::<DeviceLogImport>(entry.detail.clone()) {
                Ok(import) => self.import(import),
                Err(e) => self.find(&format!("an imported device log does not parse: {e}")),
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
        self.devices.entry(serial).or_insert_with(|| Device::new(kind)).followed = true;
    }

    fn batch(&mut self, serial: &str, batch: DeviceLogBatch) {
        if batch.entries.len() > MAX_ENTRIES {
            return self.find(&format!("more than {MAX_ENTRIES} entries of a device's log in one row"));
        }
        self.unlogged(serial, (batch.unlogged_boots, batch.unlogged_authentications));
        for entry in batch.entries {
            self.log_entry(serial, entry);
        }
        for (key, answered) in batch.answered {
            let due = self.due.entry(key).or_default();
            *due = due.saturating_add(answered);
        }
        self.judge(serial);
        self.begun = false;
    }

    fn unlogged(&mut self, serial: &str, (boots, logins): (u64, u64)) {
        if boots > 0 || logins > 0 {
            self.find(&format!(
                "the device {serial} booted {boots} times and was opened {logins} times without logging it, because its log was full"
            ));
        }
    }

    /// Holds the accounts against what is on record by now.
    fn judge(&mut self, serial: &str) {
        let mut findings = Vec::new();
        for (key, account) in &mut self.keys {
            let due = self.due.entry(key.clone()).or_default();
            if self.begun {
                *due = (*due).max(account.signatures);
            }
            let beyond = account.signatures.saturating_sub(account.intended);
            let lost = due.saturating_sub(account.signatures);
            if beyond > account.unexplained {
                account.unexplained = beyond;
                findings.push(unexplained(serial, key, beyond));
            }
            if lost > account.missing {
                account.missing = lost;
                findings.push(format!("the log of the device {serial} lacks {lost} signatures with `{key}`"));
            }
        }
        findings.into_iter().for_each(|finding| self.find(&finding));
    }

    fn log_entry(&mut self, serial: &str, entry: DeviceLogEntry) {
        let Some(device) = self.devices.get_mut(serial).filter(|d| d.followed) else {
            return self.find(&format!("entries of the device {serial}, whose log no worker began to follow"));
        };
        let counted = entry.is_signature && entry.succeeded;
        let (number, command, key) = (entry.number, entry.command.clone(), entry.key.clone());
        match device.take(self.rows, entry, &self.keys) {
            Ok(true) => {}
            Ok(false) => return,
            Err(number) => self.find(&format!("entry {number} of the device {serial} does not follow the one before: one of many gaps")),
        }
        match key {
            Some(key) if counted => self.keys.entry(key).or_default().signatures += 1,
            None if counted => self.find(&format!("entry {number} of the device {serial}: `{command}` with a key that is not the CA's")),
            _ => {}
        }
    }

    /// What was drained elsewhere goes to its place. Of a device that no worker follows only the end is remembered.
    fn import(&mut self, import: DeviceLogImport) {
        let DeviceLogImport { device: DeviceIdentity { kind, serial, .. }, source, line, entries, acts, .. } = import;
        if entries.len() > MAX_ENTRIES || first_gap(kind, &entries).is_some() || !entries.iter().all(|e| reads_as_written(kind, e)) {
            return self.find(&format!("imported entries of the device {serial} are too many, or not as a device wrote them"));
        }
        let device = self.devices.entry(serial.clone()).or_insert_with(|| Device::new(kind));
        if !device.is_new(source, line) {
            return;
        }
        let (followed, news) = (device.followed, device.news(&entries).to_vec());
        let share = self.shares.entry((serial.clone(), source)).or_default();
        for (key, count) in acts {
            let began = share.acts.entry(key).or_default();
            *began = began.saturating_add(count);
        }
        let mut foreign = Signatures::new();
        for entry in news.iter().filter(|e| e.is_signature && e.succeeded) {
            let explains = |key: &KeyLabel| share.acts.get(key) > share.explained.get(key);
            match entry.key.as_ref().filter(|key| explains(key)) {
                Some(key) => {
                    *share.explained.entry(key.clone()).or_default() += 1;
                    if followed {
                        *share.counted.entry(key.clone()).or_default() += 1;
                        self.keys.entry(key.clone()).or_default().ceremonies += 1;
                    }
                }
                None => *foreign.entry(entry.key.clone()).or_default() += 1,
            }
        }
        let placed = device.insert(&news, foreign);
        if followed {
            self.unlogged(&serial, (import.unlogged_boots, import.unlogged_authentications));
            placed.into_iter().for_each(|placed| self.count(&serial, placed));
        }
        if let Some(device) = self.devices.get_mut(&serial) {
            device.close_gaps();
        }
        self.judge(&serial);
    }

    /// Counts what a piece has that its own record does not explain.
    fn count(&mut self, serial: &str, placed: Placed) {
        let (gap, piece) = match placed {
            Placed::AtEnd(piece) => (None, piece),
            Placed::InGap(gap, piece) => (Some(gap), piece),
        };
        for (key, count) in piece.foreign {
            let Some(key) = key else {
                self.find(&format!("{count} signatures by the device {serial} with a key that is not the CA's"));
                continue;
            };
            let account = self.keys.entry(key.clone()).or_default();
            account.signatures += count;
            // They neither were told nor stand in for one that was.
            *self.due.entry(key.clone()).or_default() += count;
            let then = gap.and_then(|gap| self.devices.get_mut(serial)?.gaps.get_mut(gap)).map(|gap| {
                let then = gap.accounts.entry(key.clone()).or_default();
                then.signatures += count;
                *then
            });
            let beyond = then.map_or(0, |then| then.signatures.saturating_sub(then.intended));
            if beyond > account.unexplained {
                account.unexplained = beyond;
                self.find(&unexplained(serial, &key, beyond));
            }
        }
    }
}

fn unexplained(serial: &str, key: &KeyLabel, beyond: u64) -> String {
    format!("the device {serial} signed with `{key}` {beyond} times more than was on record")
}

#[cfg(test)]
mod tests;
