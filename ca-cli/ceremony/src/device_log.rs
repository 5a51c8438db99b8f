//! The devices' own logs: into the transcript, then out of the device (requirement 35).

use std::collections::HashSet;

use ca_core::ceremony::{KeyPlace, Plan, PlannedSignatures, Transcript, TranscriptEvent, check_device_logs, log_exception};
use ca_core::log::MAX_ENTRIES;
use ca_core::ports::{Clock, DeviceLogEntry, KeyDevice};

use crate::Error;
use crate::design::{Act, Effect};
use crate::files::TRANSCRIPT;
use crate::journal::Journal;
use crate::run::Run;

/// The signatures that the plan's acts end in, as far as they are prepared.
pub(crate) fn planned(plan: &Plan, transcript: &Transcript) -> PlannedSignatures {
    let acts = Act::all(plan).into_iter().filter(|act| act.effect() == Effect::Signature);
    let keys = acts.filter_map(|act| Some((act.name(plan), (act.attempt(plan), act.intent(plan, transcript)?.key.clone()))));
    keys.collect()
}

impl Run {
    /// Drains every device of the ceremony, and stops where a log does not fit what is on record.
    pub(crate) async fn drain(&self) -> Result<(), Error> {
        for place in self.scene.plan.acts.places() {
            self.drain_device(place).await?;
        }
        self.logs_fit()
    }

    /// Whether the logs so far are whole and hold what is on record.
    pub(crate) fn logs_fit(&self) -> Result<(), Error> {
        let transcript = self.transcript();
        let planned = planned(&self.scene.plan, &transcript);
        check_device_logs(transcript.lines(), self.scene.target(), &planned).map_err(|what| {
            let hint = "(hint: keep the device and this folder as evidence; what was made here is not to be used)";
            Error::bundle(&self.folder.path(TRANSCRIPT), format!("{what} {hint}"))
        })
    }

    /// Puts what is new in a device's log on record; only then the device may forget it.
    pub(crate) async fn drain_device(&self, place: KeyPlace) -> Result<(), Error> {
        // Provisioning wants to find the log as the reset left it; it is drained from its beginning once audit is forced.
        if self.is_from_factory(place) {
            return Ok(());
        }
        drain(&self.journal, self.options.clock.as_ref(), self.device(place)?, place).await
    }
}

/// Puts what is new in a device's log into a transcript; only then the device may forget it.
pub(crate) async fn drain(journal: &Journal, clock: &dyn Clock, device: &dyn KeyDevice, place: KeyPlace) -> Result<(), Error> {
    let Some(log) = device.log().await? else { return Ok(()) };
    let of = || format!("the log of the device of the {} keys", place.name());
    if log.entries.len() > MAX_ENTRIES {
        return Err(Error::issuance(of(), format!("it holds more than {MAX_ENTRIES} entries")));
    }
    let transcript = journal.transcript();
    let mut known: HashSet<&[u8]> = HashSet::new();
    let mut unlogged_before = (0, 0);
    for event in transcript.events() {
        if let TranscriptEvent::DeviceLog { place: p, entries, unlogged_boots, unlogged_authentications } = event
            && *p == place
        {
            known.extend(entries.iter().map(|e| e.raw.as_slice()));
            unlogged_before = (*unlogged_boots, *unlogged_authentications);
        }
    }
    // A run that was cut off before the device could forget has them on record already.
    let new: Vec<DeviceLogEntry> = log.entries.iter().filter(|e| !known.contains(e.raw.as_slice())).cloned().collect();
    let unlogged = (log.unlogged_boots, log.unlogged_authentications);
    if !new.is_empty() || (unlogged != (0, 0) && unlogged != unlogged_before) {
        // First the exception: a run that is cut off here writes both again, and `verify` wants them together.
        if let Some(what) = log_exception(transcript.lines(), place, &new, unlogged) {
            journal.append(clock.now(), TranscriptEvent::Exception { what, disposition: String::new() })?;
        }
        let (unlogged_boots, unlogged_authentications) = unlogged;
        journal.append(clock.now(), TranscriptEvent::DeviceLog { place, entries: new, unlogged_boots, unlogged_authentications })?;
    }
    match log.entries.last() {
        Some(last) => Ok(device.acknowledge_log(last.number).await?),
        None => Ok(()),
    }
}
