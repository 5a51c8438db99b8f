//! Verifies what surrounded a ceremony's acts: tool, machine, devices, people, records, exceptions, co-signatures.

use std::collections::BTreeSet;

use ca_core::ceremony::{
    CeremonyKind, ClockMark, KeyPlace, Line, Plan, Records, Role, Transcript, TranscriptEvent, check_disposers, jump_since, signer_among,
};

use crate::Error;
use crate::files::{Folder, TRANSCRIPT, TRANSCRIPT_SUBJECT};
use crate::room::signed_records;

/// An exception of a closed ceremony.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedException {
    /// Its line in the transcript.
    pub line: u64,
    /// What happened.
    pub what: String,
    /// What the software did about it; empty where it did nothing.
    pub done: String,
    /// What people decided.
    pub disposition: String,
    /// Who.
    pub by: Vec<String>,
}

/// Checks everything around the acts.
///
/// # Errors
/// With what does not hold.
pub(crate) fn check(folder: &Folder, plan: &Plan, transcript: &Transcript) -> Result<Vec<VerifiedException>, Error> {
    let wrong = |reason: String| Error::bundle(&folder.path(TRANSCRIPT), reason);
    runs(plan, transcript.lines()).map_err(wrong)?;
    devices(plan, transcript).map_err(wrong)?;
    let records = Records::read(plan, transcript.lines()).map_err(|e| wrong(e.to_string()))?;
    for (name, text) in transcript.records() {
        if folder.text(&format!("records/{name}.json"))? != text {
            return Err(Error::bundle(&folder.record(name), "the transcript has another record of this name"));
        }
    }
    let signed = signed_records(folder, plan, &records)?;
    if let Some(duty) = records.owed_before_end(plan, transcript, &signed).first() {
        return Err(wrong(format!("it was closed too early: {}", crate::guide::duty_line(duty))));
    }
    // Who was there before anything was done. Whether a record was signed by then shows in no file.
    let first = transcript.lines().iter().position(|l| is_done(&l.entry));
    let before = Records::read(plan, &transcript.lines()[..first.unwrap_or(transcript.lines().len())]).map_err(|e| wrong(e.to_string()))?;
    let everything: BTreeSet<String> = transcript.records().map(|(name, _)| name.to_owned()).collect();
    if let Some(duty) = before.owed_before_keys(plan, &everything).first() {
        return Err(wrong(format!("it went on too early: {}", crate::guide::duty_line(duty))));
    }
    let mut exceptions = Vec::new();
    for e in transcript.exceptions() {
        let (disposition, by) = e.disposed.ok_or_else(|| wrong(format!("the exception on line {} has no disposition", e.line)))?;
        check_disposers(&records, by).map_err(|reason| wrong(format!("the exception on line {}: {reason}", e.line)))?;
        let (what, done, disposition) = (e.what.to_owned(), e.done.to_owned(), disposition.to_owned());
        exceptions.push(VerifiedException { line: e.line, what, done, disposition, by: by.to_vec() });
    }
    Ok(exceptions)
}

/// Nothing is done but in a run whose tool is the pinned one and, in a production, whose machine was as planned; and
/// each jump of the clock is an exception.
fn runs(plan: &Plan, lines: &[Line]) -> Result<(), String> {
    let mut sound = false;
    for (i, line) in lines.iter().enumerate() {
        match &line.entry {
            TranscriptEvent::Started { tool_sha256, boot, uptime, findings } => {
                let pinned = plan.frame.tool.as_ref().is_none_or(|pin| pin.sha256 == *tool_sha256);
                sound = pinned && (plan.kind() == CeremonyKind::Rehearsal || findings.is_empty());
                let now = ClockMark { at: line.at, boot: boot.clone(), uptime: *uptime };
                if let Some(jump) = jump_since(&lines[..i], &now) {
                    let noted =
                        lines.get(i + 1).is_some_and(|l| matches!(&l.entry, TranscriptEvent::Exception { what, .. } if *what == jump));
                    if !noted {
                        return Err(format!("line {}: {jump}, and that is no exception", line.number));
                    }
                }
            }
            event if is_done(event) && !sound => {
                return Err(format!("line {} was done with another tool, or on a machine that is not as the plan says", line.number));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Each device was looked at before anything was done, and was the planned one.
fn devices(plan: &Plan, transcript: &Transcript) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let places = plan.acts.places();
    let missing = |seen: &BTreeSet<KeyPlace>| places.iter().find(|p| !seen.contains(p)).map(|p| p.name());
    for line in transcript.lines() {
        if let TranscriptEvent::Device { place, identity, inventory, deviations } = &line.entry {
            if !places.contains(place) || !seen.insert(*place) {
                return Err(format!(
                    "line {}: the device of the {} keys stands twice, or is none of the plan's",
                    line.number,
                    place.name()
                ));
            }
            if let Some(pin) = plan.frame.devices.get(place) {
                let judged = pin.judge_identity(identity).and_then(|()| pin.judge_inventory(inventory, deviations));
                judged.map_err(|reason| format!("the device of the {} keys: {reason}", place.name()))?;
            }
        } else if let (true, Some(place)) = (is_done(&line.entry), missing(&seen)) {
            return Err(format!("line {} was done before the device of the {place} keys was looked at", line.number));
        }
    }
    missing(&seen).map_or(Ok(()), |place| Err(format!("the device of the {place} keys was not looked at")))
}

/// Whether something of the ceremony itself is done here; the rest is what surrounds it.
const fn is_done(event: &TranscriptEvent) -> bool {
    !matches!(
        event,
        TranscriptEvent::Opened { .. }
            | TranscriptEvent::RequestTaken { .. }
            | TranscriptEvent::Started { .. }
            | TranscriptEvent::Device { .. }
            | TranscriptEvent::DeviceLog { .. }
            | TranscriptEvent::Recorded { .. }
            | TranscriptEvent::Exception { .. }
            | TranscriptEvent::Disposed { .. }
    )
}

/// The people who signed the closed transcript, each with the role; anybody else's signature is an error.
pub(crate) fn cosigners(folder: &Folder, plan: &Plan, transcript: &[u8]) -> Result<Vec<(String, Role)>, Error> {
    let people = &plan.frame.people;
    let mut found = BTreeSet::new();
    for (path, armored) in folder.signatures(TRANSCRIPT_SUBJECT)? {
        let everyone = people.everyone(&plan.roster).map(|(name, _, keys)| (name, keys));
        let by = signer_among(everyone, plan.kind(), "transcript", transcript, &armored).map_err(Error::file(&path))?;
        found.extend(people.role(&plan.roster, &by.officer).map(|role| (by.officer, role)));
    }
    Ok(found.into_iter().collect())
}
