//! Where a run stops for people and for the machine: before the first key is made, and before the ceremony closes.

use std::collections::BTreeSet;

use ca_core::ceremony::{
    CeremonyError, CeremonyKind, ClockMark, Duty, Inventory, KeyPlace, Plan, Records, Transcript, TranscriptEvent, findings, jump_since,
    signer_among,
};
use ca_core::ports::DeviceIdentity;

use crate::Error;
use crate::files::{Folder, TRANSCRIPT, write_new};
use crate::run::Run;

impl Run {
    /// Tool, machine, devices, people: everything that must hold before this run does anything. Tells what people owe.
    pub(crate) async fn enter(&self) -> Result<Vec<Duty>, Error> {
        self.machine()?;
        for place in self.scene.plan.acts.places() {
            self.check_device(place).await?;
        }
        self.logs_fit()?;
        self.write_records()?;
        let (records, signed) = self.records()?;
        Ok(records.owed_before_keys(&self.scene.plan, &signed))
    }

    /// What people owe before the ceremony may close.
    pub(crate) fn leave(&self) -> Result<Vec<Duty>, Error> {
        let (records, signed) = self.records()?;
        Ok(records.owed_before_end(&self.scene.plan, &self.transcript(), &signed))
    }

    fn records(&self) -> Result<(Records, BTreeSet<String>), Error> {
        let transcript = self.transcript();
        let records = Records::read(&self.scene.plan, transcript.lines()).map_err(Error::file(&self.folder.path(TRANSCRIPT)))?;
        let signed = signed_records(&self.folder, &self.scene.plan, &records)?;
        Ok((records, signed))
    }

    /// A record that was cut off between the transcript and its file.
    fn write_records(&self) -> Result<(), Error> {
        self.transcript().records().try_for_each(|(name, text)| write_new(&self.folder.record(name), text.as_bytes(), 0o644))
    }

    /// Puts the tool and the machine on record, then judges them. In a production an error; a rehearsal goes on.
    fn machine(&self) -> Result<(), Error> {
        let tool_sha256 = self.options.machine.tool_sha256()?;
        let facts = self.options.machine.facts();
        let now = ClockMark { at: self.options.clock.now(), boot: facts.boot.clone(), uptime: facts.uptime };
        let jump = jump_since(self.transcript().lines(), &now);
        let findings = findings(self.scene.plan.frame.environment, &facts);
        let ClockMark { at, boot, uptime } = now;
        self.journal.append(at, TranscriptEvent::Started { tool_sha256, boot, uptime, findings: findings.clone() })?;
        if let Some(what) = jump {
            self.journal.append(at, TranscriptEvent::Exception { what, disposition: String::new() })?;
        }
        // Requirement 4, whatever the kind: a rehearsal that pins its tool means it.
        if let Some(pin) = self.scene.plan.frame.tool.as_ref().filter(|pin| pin.sha256 != tool_sha256) {
            return Err(Error::Surroundings(format!(
                "the running tool has SHA-256 {tool_sha256}, and the plan pins {} (hint: use the tool that was reviewed, or another plan)",
                pin.sha256
            )));
        }
        if self.scene.plan.kind() == CeremonyKind::Production && !findings.is_empty() {
            return Err(Error::Surroundings(format!("the machine is not as the plan says: {}", findings.join("; "))));
        }
        Ok(())
    }

    /// Checks a device against its pin; its inventory before the first key only, after that it is the ceremony's.
    async fn check_device(&self, place: KeyPlace) -> Result<(), Error> {
        let device = self.device(place)?;
        let wrong = |reason: String| Error::Surroundings(format!("the device of the {} keys: {reason}", place.name()));
        let identity = device.identity().await?;
        let pin = self.scene.plan.frame.devices.get(&place);
        if let Some(pin) = pin {
            pin.judge_identity(&identity).map_err(wrong)?;
        }
        if let Some(before) = recorded_device(&self.transcript(), place) {
            let same = before.kind == identity.kind && before.serial == identity.serial;
            return if same {
                self.drain_device(place).await
            } else {
                Err(wrong(format!("it is `{}`, and this ceremony began with `{}`", identity.serial, before.serial)))
            };
        }
        let (inventory, deviations) = (device.inventory().await?, device.deviations_from_reset().await?);
        if inventory.len() > Inventory::MAX_OBJECTS || deviations.len() > Inventory::MAX_OBJECTS {
            return Err(wrong(format!("it holds more than {} objects", Inventory::MAX_OBJECTS)));
        }
        if let Some(pin) = pin {
            pin.judge_inventory(&inventory, &deviations).map_err(wrong)?;
        }
        // What the device logged before this line is not the ceremony's.
        self.drain_device(place).await?;
        self.append(TranscriptEvent::Device { place, identity, inventory, deviations })
    }
}

/// The device that this ceremony began with.
pub(crate) fn recorded_device(transcript: &Transcript, place: KeyPlace) -> Option<DeviceIdentity> {
    transcript.events().find_map(|e| match e {
        TranscriptEvent::Device { place: p, identity, .. } if *p == place => Some(identity.clone()),
        _ => None,
    })
}

/// The subject of the signatures over a record.
pub(crate) fn record_subject(name: &str) -> String {
    format!("record-{name}")
}

/// The names of the records that carry the signature of the person whose word they are. A signature that does not
/// count is an error, as everywhere.
pub(crate) fn signed_records(folder: &Folder, plan: &Plan, records: &Records) -> Result<BTreeSet<String>, Error> {
    let mut signed = BTreeSet::new();
    for (name, who, text) in records.to_sign() {
        for (path, armored) in folder.signatures(&record_subject(name))? {
            let everyone = plan.frame.people.everyone(&plan.roster).map(|(name, _, keys)| (name, keys));
            let by = signer_among(everyone, plan.kind(), "record", text.as_bytes(), &armored).map_err(Error::file(&path))?;
            if by.officer != who {
                let reason = format!("it is by `{}`, and the record is the word of `{who}`", by.officer);
                return Err(Error::file(&path)(CeremonyError::Refused { what: "signature", reason }));
            }
            signed.insert(name.to_owned());
        }
    }
    Ok(signed)
}
