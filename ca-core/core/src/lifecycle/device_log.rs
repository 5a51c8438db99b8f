//! Follows the log of the device behind the authority keys: every signature in it must be one that this worker asked for.
//!
//! Entries become rows of the audit trail before the device may forget them (ceremony requirement 35). Two checks read
//! them: at once, against what this process asked the key for; and over the whole trail, by [`crate::log::Reconciler`],
//! which also covers what happened while no worker ran. One worker follows one device.

use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;

use super::{Worker, WorkerError};
use crate::log::{
    ChainError, DEVICE_LOG, DEVICE_LOG_BEGIN, DeviceLogBatch, DeviceLogBegin, MAX_ENTRIES, Reconciler, Reconciliation, follows,
};
use crate::model::{KeyLabel, Outcome};
use crate::ports::{AuditStore, DeviceIdentity, DeviceLog, DeviceLogEntry, KeyDevice, StoreResult};

/// How many rows are read at once.
const PAGE: u32 = 1000;

/// How often a key was asked, and answered, since the process began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Asked {
    pub(super) asked: u64,
    pub(super) answered: u64,
}

pub(super) type AskedByKey = HashMap<KeyLabel, Asked>;

/// What one loop has seen of a device's log.
#[derive(Debug, Default)]
pub struct FollowedLog {
    device: Option<DeviceIdentity>,
    /// The newest entry that is on record and that the device may have forgotten.
    last: Option<DeviceLogEntry>,
    seen: HashMap<KeyLabel, u64>,
    /// How many answers of each key are on record with the log.
    told: HashMap<KeyLabel, u64>,
    /// The last alarm of each key, so that one cause raises one.
    alarmed: HashMap<KeyLabel, i128>,
}

impl Worker {
    pub(super) fn count_asked(&self, key: &KeyLabel) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().asked += 1;
    }

    pub(super) fn count_answered(&self, key: &KeyLabel) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().answered += 1;
    }

    fn asked(&self) -> AskedByKey {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes what the device logged into the audit trail, lets the device forget it, and raises an alarm where it
    /// shows more or fewer signatures than this worker asked for. Tells how many entries there were. The first call
    /// must come before anything is signed. A device without a log gives 0.
    ///
    /// # Errors
    /// When the device or the store does not answer; the next call goes on.
    pub async fn drain_device_log(&self, device: &dyn KeyDevice, followed: &mut FollowedLog) -> Result<usize, WorkerError> {
        // What was answered before the log is read must be in it.
        let before = self.asked();
        let Some(log) = device.log().await? else { return Ok(0) };
        let (identity, first) = match &followed.device {
            Some(identity) => (identity.clone(), false),
            None => (self.begin(device).await?, true),
        };
        followed.device = Some(identity.clone());
        let DeviceIdentity { kind, serial, .. } = identity;
        let untold = |(key, asked): (&KeyLabel, &Asked)| asked.answered.checked_sub(followed.told.get(key).copied().unwrap_or(0));
        let answered: BTreeMap<_, _> =
            before.iter().filter_map(|key| Some((key.0.clone(), untold(key)?))).filter(|(_, count)| *count > 0).collect();
        if log.entries.is_empty() && log.unlogged_boots == 0 && log.unlogged_authentications == 0 && answered.is_empty() {
            return Ok(0);
        }
        self.keep(&serial, &log, answered).await?;
        followed.told.extend(before.iter().map(|(key, asked)| (key.clone(), asked.answered)));
        if let Some(last) = log.entries.last() {
            device.acknowledge_log(last.number).await?;
        }
        if log.unlogged_boots > 0 || log.unlogged_authentications > 0 {
            let reason = format!(
                "the device booted {} times and was opened {} times without logging it: its log was full (hint: keep the worker running, it drains the log)",
                log.unlogged_boots, log.unlogged_authentications
            );
            self.alarm(None, &serial, &self.correlation(), &reason).await;
        }
        if let (Some(last), Some(next)) = (&followed.last, log.entries.first())
            && !follows(kind, last, next)
        {
            let reason = format!(
                "the device's log has a gap before its entry {}: another program took entries (hint: stop the worker for a ceremony on its \
                 device, then import the bundle: `ca import`; if there was none, somebody else uses the device)",
                next.number
            );
            self.alarm(None, &serial, &self.correlation(), &reason).await;
        }
        if let Some(last) = log.entries.last() {
            followed.last = Some(last.clone());
        }
        // What the first drain brings was signed before this process began: the whole trail's reconciliation judges it.
        if !first {
            for key in log.entries.iter().filter(|e| e.is_signature && e.succeeded).filter_map(|e| e.key.as_ref()) {
                *followed.seen.entry(key.clone()).or_default() += 1;
            }
            self.compare(&serial, &before, followed).await;
        }
        Ok(log.entries.len())
    }

    async fn begin(&self, device: &dyn KeyDevice) -> Result<DeviceIdentity, WorkerError> {
        let device = device.identity().await?;
        let mut entry = self.audit(DEVICE_LOG_BEGIN, None, device.serial.clone(), Outcome::Done, self.correlation());
        let detail = DeviceLogBegin { device: device.clone() };
        entry.detail = serde_json::to_value(detail).expect("text and numbers have a JSON form");
        self.store.append_audit(&entry).await?;
        Ok(device)
    }

    async fn keep(&self, serial: &str, log: &DeviceLog, mut answered: BTreeMap<KeyLabel, u64>) -> Result<(), WorkerError> {
        let mut batches: Vec<_> = log.entries.chunks(MAX_ENTRIES).map(<[_]>::to_vec).collect();
        if batches.is_empty() {
            batches.push(Vec::new());
        }
        let last = batches.len() - 1;
        for (i, entries) in batches.into_iter().enumerate() {
            let unlogged = |count: u64| if i == last { count } else { 0 };
            let batch = DeviceLogBatch {
                entries,
                // With the last batch all of the log is on record.
                answered: if i == last { std::mem::take(&mut answered) } else { BTreeMap::new() },
                unlogged_boots: unlogged(log.unlogged_boots),
                unlogged_authentications: unlogged(log.unlogged_authentications),
            };
            let mut entry = self.audit(DEVICE_LOG, None, serial, Outcome::Done, self.correlation());
            entry.detail = serde_json::to_value(batch).expect("text and numbers have a JSON form");
            self.store.append_audit(&entry).await?;
        }
        Ok(())
    }

    async fn compare(&self, serial: &str, before: &AskedByKey, followed: &mut FollowedLog) {
        let now = self.asked();
        let mut keys: Vec<KeyLabel> = followed.seen.keys().chain(before.keys()).cloned().collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let seen = followed.seen.get(&key).copied().unwrap_or(0);
            let asked = now.get(&key).copied().unwrap_or_default().asked;
            let answered = before.get(&key).copied().unwrap_or_default().answered;
            let (difference, reason) = if seen > asked {
                let extra = seen - asked;
                (
                    i128::from(extra),
                    format!("the device signed with `{key}` {extra} times more than this CA asked: somebody signs behind its back"),
                )
            } else if seen < answered {
                let lost = answered - seen;
                let hint = "hint: sign commands must be audited by the device; another program must not move its log";
                (-i128::from(lost), format!("the device's log lacks {lost} signatures with `{key}` that it made ({hint})"))
            } else {
                (0, String::new())
            };
            if difference != 0 && followed.alarmed.get(&key) != Some(&difference) {
                self.alarm(None, serial, &self.correlation(), &reason).await;
            }
            followed.alarmed.insert(key, difference);
        }
    }

    /// Reconciles the whole audit trail and raises an alarm for each finding beyond the `known` first ones. Tells how
    /// many there are. Reads every row: run it beside the work, not before it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn reconcile_device_logs(&self, known: u64) -> Result<u64, WorkerError> {
        match reconcile(&*self.store).await? {
            Ok(result) => {
                let news = usize::try_from(result.finding_count.saturating_sub(known)).unwrap_or(usize::MAX);
                for finding in result.findings.iter().rev().take(news).rev() {
                    self.alarm(None, "device.log", &self.correlation(), finding).await;
                }
                Ok(result.finding_count)
            }
            Err(broken) => {
                self.alarm(None, "audit", &self.correlation(), &broken.to_string()).await;
                Ok(known)
            }
        }
    }
}

/// Reconciles a whole audit trail, page by page.
///
/// # Errors
/// When the store does not answer; inside, when the trail's chain is broken.
pub async fn reconcile(store: &(impl AuditStore + ?Sized)) -> StoreResult<Result<Reconciliation, ChainError>> {
    let mut reconciler = Reconciler::default();
    loop {
        let rows = store.audit_after(reconciler.rows(), PAGE).await?;
        if rows.is_empty() {
            return Ok(Ok(reconciler.finish()));
        }
        for row in &rows {
            if let Err(broken) = reconciler.take(row) {
                return Ok(Err(broken));
            }
        }
    }
}
