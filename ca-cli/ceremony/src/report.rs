//! The filled transcript of a ceremony, for people: what happened, when, and who stood for it.

use std::path::Path;

use ca_core::ceremony::{Fact, Line, Plan, Record, Transcript, TranscriptEvent};
use ca_core::pki::sha256;

use crate::document::{Cell, Document, Section};
use crate::files::{Folder, PLAN, TRANSCRIPT, read};
use crate::journal::peek_transcript;
use crate::script::{digest_cell, plan_section};
use crate::{Error, verify};

/// Reports on the bundle in `folder`. One that is closed is verified first; one that is not says so.
///
/// # Errors
/// When a file can't be read, or the closed bundle does not verify.
pub(crate) fn report(folder: &Path) -> Result<Document, Error> {
    let folder = Folder(folder.to_owned());
    let plan = Plan::parse(&folder.text(PLAN)?).map_err(Error::file(&folder.path(PLAN)))?;
    let transcript = peek_transcript(&folder.path(TRANSCRIPT))?;
    let mut sections = vec![plan_section(&plan), attendance(&plan, &transcript)?, exceptions(&transcript)];
    sections.extend(device_logs(&transcript));
    let note = if transcript.is_closed() {
        let verified = verify(&folder.0, None)?;
        let signed: Vec<String> = verified.cosigners.iter().map(|(name, role)| format!("{name} ({role})")).collect();
        let row = |name: &str, cell: Cell| vec![Cell::text(name), cell];
        sections.insert(
            0,
            Section {
                heading: "Result".to_owned(),
                columns: vec!["what", "value"],
                rows: vec![
                    row("closed", Cell::text(verified.closed_at.to_rfc3339())),
                    row("SHA-256 of transcript.jsonl", digest_cell(&sha256(&read(&folder.path(TRANSCRIPT))?))),
                    row("authorities", Cell::text(verified.authorities.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", "))),
                    row("co-signed by", Cell::text(if signed.is_empty() { "nobody yet".to_owned() } else { signed.join(", ") })),
                    row("co-signed by enough", Cell::text(if verified.cosigned_by_enough() { "yes" } else { "no" })),
                ],
            },
        );
        "The bundle was verified when this was printed, against the officers that it names itself."
    } else {
        "NOT CLOSED: the ceremony goes on, and nothing here is final."
    };
    sections.push(Section {
        heading: "Transcript".to_owned(),
        columns: vec!["line", "time (UTC)", "what", "detail"],
        rows: transcript.lines().iter().map(line_row).collect(),
    });
    Ok(Document { title: format!("Transcript: {} ({})", plan.title, plan.kind()), note: note.to_owned(), sections })
}

/// Records, by the last one of each fact.
fn attendance(plan: &Plan, transcript: &Transcript) -> Result<Section, Error> {
    let mut rows = Vec::new();
    for (name, text) in transcript.records() {
        let record = Record::parse(text, plan)?;
        let value = match record.fact {
            Fact::Attendance { role, own_clock, .. } => {
                let clock = own_clock.map_or_else(|| "no own clock".to_owned(), |c| format!("own clock {c}, machine {}", record.at));
                Cell::text(format!("{role}; {clock}"))
            }
            Fact::Custody { holds, bag, .. } => Cell::text(format!("keeps {holds}, bag {bag}")),
            Fact::Bag { id, .. } => Cell::text(id),
            Fact::Media { sha256, .. } => digest_cell(&sha256),
        };
        rows.push(vec![Cell::text(name), value]);
    }
    Ok(Section { heading: "Records".to_owned(), columns: vec!["record", "value"], rows })
}

fn exceptions(transcript: &Transcript) -> Section {
    let rows = transcript.exceptions().map(|e| {
        let (disposition, by) = e.disposed.map_or(("OPEN", String::new()), |(text, by)| (text, by.join(", ")));
        [e.line.to_string(), e.at.to_rfc3339(), e.what.to_owned(), e.done.to_owned(), disposition.to_owned(), by].map(Cell::text).to_vec()
    });
    let columns = vec!["line", "time (UTC)", "what", "what the software did", "disposition", "by"];
    Section { heading: "Exceptions".to_owned(), columns, rows: rows.collect() }
}

/// What the devices logged themselves; none where no device keeps a log.
fn device_logs(transcript: &Transcript) -> Option<Section> {
    let mut rows = Vec::new();
    for line in transcript.lines() {
        let TranscriptEvent::DeviceLog { place, entries, unlogged_boots, unlogged_authentications } = &line.entry else { continue };
        let signed = entries.iter().filter(|e| e.is_signature && e.succeeded);
        let keys: Vec<&str> = signed.map(|e| e.key.as_ref().map_or("a key without a known label", |k| k.as_str())).collect();
        let numbers = match (entries.first(), entries.last()) {
            (Some(first), Some(last)) => format!("{} to {}", first.number, last.number),
            _ => "none".to_owned(),
        };
        let (signed, unlogged) = (keys.join(", "), format!("{unlogged_boots} starts, {unlogged_authentications} logins"));
        let cells = [line.number.to_string(), place.name().to_owned(), numbers, entries.len().to_string(), signed, unlogged];
        rows.push(cells.map(Cell::text).to_vec());
    }
    let columns = vec!["line", "device", "numbers", "entries", "signatures with", "not logged"];
    (!rows.is_empty()).then(|| Section { heading: "Device logs".to_owned(), columns, rows })
}

fn line_row(line: &Line) -> Vec<Cell> {
    let value = serde_json::to_value(&line.entry).unwrap_or_default();
    let what = value.get("event").and_then(serde_json::Value::as_str).unwrap_or_default().replace('-', " ");
    vec![Cell::text(line.number.to_string()), Cell::text(line.at.to_rfc3339()), Cell::text(what), detail(&line.entry, value)]
}

fn detail(event: &TranscriptEvent, value: serde_json::Value) -> Cell {
    const MOST: usize = 200;
    match event {
        TranscriptEvent::Opened { plan_sha256, software, officers, .. } => {
            Cell::text(format!("{software}; plan {plan_sha256}; signed by {}", officers.join(", ")))
        }
        TranscriptEvent::Started { tool_sha256, findings, .. } => {
            let found = if findings.is_empty() { "the machine is as planned".to_owned() } else { findings.join("; ") };
            Cell::text(format!("tool {tool_sha256}; {found}"))
        }
        TranscriptEvent::Device { place, identity, inventory, .. } => {
            Cell::text(format!("{} keys: {} {}, {} objects before", place.name(), identity.model, identity.serial, inventory.len()))
        }
        TranscriptEvent::DeviceLog { place, entries, .. } => {
            let signed = entries.iter().filter(|e| e.is_signature && e.succeeded).count();
            Cell::text(format!("{} keys: {} entries, {signed} signatures", place.name(), entries.len()))
        }
        TranscriptEvent::Recorded { name, .. } => Cell::text(name),
        TranscriptEvent::Exception { what, disposition } => Cell::text(format!("{what}\n{disposition}")),
        TranscriptEvent::Disposed { exception, disposition, by } => {
            Cell::text(format!("of line {exception}: {disposition} ({})", by.join(", ")))
        }
        TranscriptEvent::KeyIntended { label, place, algorithm } => {
            Cell::text(format!("{label}: {}, {}", algorithm.described(), place.name()))
        }
        TranscriptEvent::KeyMade { label, public_key, .. } => Cell::text(format!("{label}: SHA-256 {}", public_key.spki_sha256())),
        TranscriptEvent::Intent { intent } => Cell::text(format!("to be signed, SHA-256 {}", intent.tbs_sha256)),
        TranscriptEvent::Prepared { name, statement } => Cell::text(format!("statement {name}, SHA-256 {}", sha256(statement.as_bytes()))),
        TranscriptEvent::Approved { name, officers } => Cell::text(format!("statement {name}, by {}", officers.join(", "))),
        TranscriptEvent::Dealt { credential, set, shares } => {
            let holders: Vec<String> = shares.iter().map(|(holder, sha256)| format!("{holder} (file {sha256})")).collect();
            Cell::text(format!("{credential}: set {}; shares of {}", sha256(set.as_bytes()), holders.join(", ")))
        }
        TranscriptEvent::Handed { place } => Cell::text(format!("the device of the {} keys takes the new credentials", place.name())),
        TranscriptEvent::Recombined { credential, set, holders, device, .. } => {
            let holders: Vec<&str> = holders.iter().map(|h| h.as_str()).collect();
            Cell::text(format!("{credential}, set {set}: the shares of {} opened {} {}", holders.join(", "), device.model, device.serial))
        }
        // Whatever else there is: its fields, in short.
        _ => {
            let mut value = value;
            if let Some(fields) = value.as_object_mut() {
                fields.remove("event");
            }
            let text = value.to_string();
            let short: String = text.chars().take(MOST).collect();
            Cell::code(if short.len() < text.len() { format!("{short} …") } else { short })
        }
    }
}
