//! What people add to an open ceremony beside their signatures: records and exceptions.

use std::path::{Path, PathBuf};

use ca_core::ceremony::{CeremonyError, Fact, Plan, Record, Records, TranscriptEvent, check_disposers, record_name};
use ca_core::ports::Clock;

use crate::Error;
use crate::files::{Folder, PLAN, TRANSCRIPT, write_new};
use crate::journal::{Journal, Observer, peek_transcript};
use crate::room::record_subject;

/// The most characters of an exception's text.
const MAX_EXCEPTION: usize = 1000;

/// A record that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Noted {
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// Where the signature goes, and whose, where it is somebody's own word.
    pub signature: Option<(PathBuf, String)>,
    /// The SSHSIG namespace.
    pub namespace: &'static str,
}

struct Open {
    folder: Folder,
    plan: Plan,
    journal: Journal,
}

/// Opens a bundle whose ceremony goes on.
fn open(bundle: &Path) -> Result<Open, Error> {
    let folder = Folder(bundle.to_owned());
    let plan = Plan::parse(&folder.text(PLAN)?).map_err(Error::file(&folder.path(PLAN)))?;
    let path = folder.path(TRANSCRIPT);
    match peek_transcript(&path)?.events().next() {
        Some(TranscriptEvent::Opened { plan_sha256, .. }) if *plan_sha256 == plan.sha256 => {}
        Some(_) => return Err(Error::bundle(&path, "it belongs to another plan")),
        None => return Err(Error::bundle(&path, "the ceremony is not open yet (hint: officers sign the plan, then `ca ceremony run`)")),
    }
    let journal = Journal::open(&path, None)?;
    Ok(Open { folder, plan, journal })
}

/// Writes a record down. `again` is the reason for writing a fact a second time, which is an exception (requirement
/// 37).
///
/// # Errors
/// When the ceremony is not open, the plan does not ask for this, or the fact is on record and no reason is given.
pub fn note(bundle: &Path, fact: Fact, again: Option<&str>, clock: &dyn Clock) -> Result<Noted, Error> {
    let Open { folder, plan, journal } = open(bundle)?;
    let record = Record::new(&plan, clock.now(), fact);
    record.check(&plan)?;
    let base = record.fact.name();
    let transcript = journal.transcript();
    let before = transcript.records().filter(|(name, _)| *name == base || name.starts_with(&format!("{base}_"))).count();
    let name = record_name(&base, before + 1);
    match (before, again) {
        (0, _) => {}
        (_, None) => {
            let reason = format!("`{base}` is on record already (hint: to correct it say why: --again REASON, which is an exception)");
            return Err(CeremonyError::Refused { what: "record", reason }.into());
        }
        (_, Some(reason)) => {
            let what = exception_text(&format!("`{base}` was written again: {reason}"))?;
            journal.append(clock.now(), TranscriptEvent::Exception { what, disposition: String::new() })?;
        }
    }
    let text = record.to_text();
    journal.append(clock.now(), TranscriptEvent::Recorded { name: name.clone(), record: text.clone() })?;
    let file = folder.record(&name);
    write_new(&file, text.as_bytes(), 0o644)?;
    let signature =
        record.fact.signer().map(|who| (folder.path("sigs").join(format!("{}.{who}.sig", record_subject(&name))), who.to_owned()));
    Ok(Noted { name, file, signature, namespace: plan.kind().namespace() })
}

/// Puts an exception on record: something that is not in the script. Gives its line.
///
/// # Errors
/// When the ceremony is not open, or the text is none.
pub fn add_exception(bundle: &Path, what: &str, clock: &dyn Clock) -> Result<u64, Error> {
    let what = exception_text(what)?;
    let journal = open(bundle)?.journal;
    journal.append(clock.now(), TranscriptEvent::Exception { what, disposition: String::new() })?;
    Ok(journal.transcript().lines().len() as u64)
}

/// Puts on record what people decided about the exception on this line.
///
/// # Errors
/// When there is no open exception on this line, or these people may not decide.
pub fn dispose_exception(bundle: &Path, line: u64, disposition: &str, by: &[String], clock: &dyn Clock) -> Result<(), Error> {
    let disposition = exception_text(disposition)?;
    let Open { folder, plan, journal } = open(bundle)?;
    let transcript = journal.transcript();
    let refused = |reason: String| Error::from(CeremonyError::Refused { what: "disposition", reason });
    match transcript.exceptions().find(|e| e.line == line) {
        Some(entry) if entry.disposed.is_none() => {}
        Some(_) => return Err(refused(format!("the exception on line {line} has one already"))),
        None => return Err(refused(format!("line {line} is no exception (hint: `ca ceremony exception list`)"))),
    }
    let records = Records::read(&plan, transcript.lines()).map_err(Error::file(&folder.path(TRANSCRIPT)))?;
    check_disposers(&records, by)?;
    let mut by = by.to_vec();
    by.sort();
    by.dedup();
    journal.append(clock.now(), TranscriptEvent::Disposed { exception: line, disposition, by })
}

/// Puts on record that a run, or its preparation, ended with an error: an abort is an exception (requirement 37). The
/// error is the caller's to report, and stands whether or not this works: a ceremony that is not open, or whose
/// transcript another process holds or can't be written, has nothing added.
pub(crate) fn record_abort(bundle: &Path, clock: &dyn Clock, observer: Option<Observer>, error: &Error) {
    let path = Folder(bundle.to_owned()).path(TRANSCRIPT);
    let open = peek_transcript(&path).is_ok_and(|t| !t.is_closed() && t.events().next().is_some());
    if !open || matches!(error, Error::Busy(_)) {
        return;
    }
    let what: String =
        format!("a run was aborted: {error}").chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_EXCEPTION).collect();
    if let Ok(journal) = Journal::open(&path, observer) {
        let _ = journal.append(clock.now(), TranscriptEvent::Exception { what, disposition: String::new() });
    }
}

fn exception_text(text: &str) -> Result<String, Error> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > MAX_EXCEPTION || text.chars().any(char::is_control) {
        let reason = format!("its text has 1 to {MAX_EXCEPTION} characters on one line");
        return Err(CeremonyError::Refused { what: "exception", reason }.into());
    }
    Ok(text.to_owned())
}
