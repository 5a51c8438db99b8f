//! The anchor as an append-only journal: a first line with the whole state, then a line for each step taken.
//!
//! Each line begins with a SHA-256 over the hash of the line before and its own text, so that a byte that changed, a
//! line that went missing and a line that moved are all found. What is durable when:
//!
//! - Spent approvals, stop and resume, policy, roster and CRL numbers are synced before `take` returns: losing one
//!   would let an older database pass. They are rare: one fsync for each CRL or officers' act.
//! - Counts and log heads are written (not synced) before the key signs. A process that is killed loses none of them,
//!   because the kernel has them. A power cut loses those since the last sync, which is at most a second ago: then an
//!   older copy of the database passes if it is less than a second old, and the hour's cap allows that second's
//!   certificates again (the record's rows still count them). In exchange an order costs one `write` and no fsync.
//!
//! A write that failed leaves the tail in doubt; the next one begins a new file. A new file is written beside the old
//! one, synced and renamed, so there is always a whole one. A last line that was cut off (by a power cut; nobody was
//! told that it was taken) is left out; anything else that does not fit is damage and is refused.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ca_core::anchor::{AnchorState, AnchorStep, ApprovedAnchor};
use ca_core::pki::{Sha256Digest, Timestamp, sha256};
use ca_core::ports::{Anchor, AnchorError};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, configuration, failure};

/// The format's name and version.
const FORMAT: &str = "countersign/anchor/1";
/// The journal is begun anew past this size.
const COMPACT: u64 = 8 << 20;
/// The most bytes that are read.
const MAX_BYTES: u64 = 64 << 20;
/// The hexadecimal hash and the blank before a line's text.
const PREFIX: usize = 65;
/// A later time alone is worth a line only this often.
const TIME_STEP: Duration = Duration::from_secs(60);
/// How often, and with which pause, a lock is tried: a predecessor may be just ending.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The first line's text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    format: String,
    state: AnchorState,
}

/// Each other line's.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Taken {
    at: Timestamp,
    steps: Vec<AnchorStep>,
}

/// What a file says.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The state after all its lines.
    pub(crate) state: AnchorState,
    /// Whether a last line was cut off.
    pub(crate) torn: bool,
}

/// The anchor of a running worker; it holds the file's lock.
#[derive(Debug)]
pub(crate) struct FileAnchor {
    path: PathBuf,
    inner: Mutex<Inner>,
    _lock: File,
}

#[derive(Debug)]
struct Inner {
    state: Arc<AnchorState>,
    /// None: the last write failed, and the next begins a new file.
    journal: Option<Journal>,
}

#[derive(Debug)]
struct Journal {
    file: Arc<File>,
    last: Sha256Digest,
    bytes: u64,
    unsynced: bool,
}

/// Reads the file at `path`, without taking its lock.
pub(crate) fn read(path: &Path) -> anyhow::Result<Reading> {
    let shown = path.display();
    let file = File::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => configuration(format!(
            "there is no anchor at {shown} (hint: a new worker's is made with `ca anchor init`, signed by the officers; if this worker had one, bring it back from where it was moved to)"
        )),
        _ => configuration(format!("cannot read the anchor {shown}: {e}")),
    })?;
    let mode = file.metadata()?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(configuration(format!("others may touch the anchor {shown}: its mode is {mode:04o} (hint: chmod 600 {shown})")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    parse(&bytes).map_err(|reason| {
        failure(
            Exit::Refused,
            format!(
                "the anchor {shown} is damaged: {reason} (hint: bring back an undamaged copy that is as new, or have the officers sign a new anchor: docs/officer.md, \"After a restore\")"
            ),
        )
    })
}

fn hash(last: &Sha256Digest, text: &[u8]) -> Sha256Digest {
    sha256(&[last.0.as_slice(), text].concat())
}

/// One whole line, without its newline: its text, and the hash for the next.
fn read_line<'a>(line: &'a [u8], last: &Sha256Digest) -> Option<(&'a [u8], Sha256Digest)> {
    let (prefix, text) = line.split_at_checked(PREFIX)?;
    let found = hash(last, text);
    (prefix == format!("{found} ").as_bytes()).then_some((text, found))
}

fn parse(bytes: &[u8]) -> Result<Reading, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it has more than {MAX_BYTES} bytes"));
    }
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    let (lines, tail) = bytes.split_at(whole);
    let count = lines.iter().filter(|b| **b == b'\n').count();
    let mut last = Sha256Digest([0; 32]);
    let mut state: Option<AnchorState> = None;
    let mut torn = !tail.is_empty();
    for (i, line) in lines.split(|b| *b == b'\n').take(count).enumerate() {
        let wrong = |what: &str| format!("line {} {what}", i + 1);
        let Some((text, next)) = read_line(line, &last) else {
            // Blocks that a power cut left unwritten read as zeros; text has none.
            if i + 1 == count && i > 0 && line.contains(&0) {
                torn = true;
                break;
            }
            return Err(wrong("does not fit its checksum"));
        };
        state = Some(match state {
            None => match serde_json::from_slice::<Whole>(text) {
                Ok(whole) if whole.format == FORMAT => whole.state,
                Ok(whole) => return Err(format!("its format is `{}`, not `{FORMAT}`", whole.format)),
                Err(error) => return Err(wrong(&format!("is not a state: {error}"))),
            },
            Some(state) => {
                let Taken { at, steps } = serde_json::from_slice(text).map_err(|e| wrong(&format!("has no steps: {e}")))?;
                state.after(&steps, at).map_err(|e| wrong(&format!("does not follow: {e}")))?
            }
        });
        last = next;
    }
    // Only the newline was cut off: the step is whole, and to have taken it is the safe side.
    if read_line(tail, &last).is_some() {
        return parse(&[bytes, b"\n"].concat()).map(|reading| Reading { torn: true, ..reading });
    }
    // A whole line in front of one wrong byte is no torn write: it was acknowledged, and its newline changed.
    if tail.len().checked_sub(1).is_some_and(|end| read_line(&tail[..end], &last).is_some()) {
        return Err("its last line has lost its end".to_owned());
    }
    let state = state.ok_or_else(|| "it has no first line".to_owned())?;
    Ok(Reading { state, torn })
}

impl FileAnchor {
    /// Opens the anchor at `path` and holds it.
    pub(crate) async fn open(path: &Path) -> anyhow::Result<Self> {
        let lock = lock(path).await?;
        let Reading { state, torn } = read(path)?;
        if torn {
            tracing::warn!(path = %path.display(), "the anchor's last line was cut off; it was never acknowledged and is left out");
        }
        Self::begin(path, lock, state)
    }

    /// Makes the anchor that the officers let begin; one that exists is left alone.
    pub(crate) async fn create(path: &Path, approved: &ApprovedAnchor, crls: &[AnchorStep], now: Timestamp) -> anyhow::Result<Self> {
        let lock = lock(path).await?;
        if fs::symlink_metadata(path).is_ok() {
            return Err(failure(
                Exit::Refused,
                format!(
                    "there is an anchor at {} already (hint: it is never replaced; move it away only if the officers agree)",
                    path.display()
                ),
            ));
        }
        let state = approved.begin(now).and_then(|state| state.after(crls, now));
        Self::begin(path, lock, state.map_err(super::failed)?)
    }

    fn begin(path: &Path, lock: File, state: AnchorState) -> anyhow::Result<Self> {
        let journal = Journal::begin(path, &state).map_err(|e| failure(Exit::Temporary, unwritable(path, &e)))?;
        let inner = Mutex::new(Inner { state: Arc::new(state), journal: Some(journal) });
        Ok(Self { path: path.to_owned(), inner, _lock: lock })
    }

    /// Lets the log begin again where the officers say.
    pub(crate) fn accept_restore(&self, approved: &ApprovedAnchor, now: Timestamp) -> Result<(), AnchorError> {
        let mut inner = self.lock();
        let state = inner.state.accept_restore(approved, now)?;
        inner.journal = None;
        inner.journal = Some(Journal::begin(&self.path, &state).map_err(|e| AnchorError::Unavailable(unwritable(&self.path, &e)))?);
        inner.state = Arc::new(state);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // State and journal are replaced last: a poisoned lock guards whole ones.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unwritable(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error} (hint: its folder must belong to this user and have room)", path.display())
}

impl Anchor for FileAnchor {
    fn state(&self) -> Arc<AnchorState> {
        Arc::clone(&self.lock().state)
    }

    fn take(&self, steps: &[AnchorStep], now: Timestamp) -> Result<(), AnchorError> {
        let mut inner = self.lock();
        let next = inner.state.after(steps, now)?;
        let idle = steps.iter().all(|step| *step == AnchorStep::Log(inner.state.log()));
        if idle && next.latest().since(inner.state.latest()) < TIME_STEP {
            return Ok(());
        }
        let durable = !steps.iter().all(AnchorStep::may_lag);
        let unavailable = |e: io::Error| AnchorError::Unavailable(unwritable(&self.path, &e));
        // Taken out for the time of the write: where that fails, the next begins a new file.
        let mut journal = match inner.journal.take() {
            Some(journal) if journal.bytes < COMPACT => journal,
            _ => Journal::begin(&self.path, &inner.state).map_err(unavailable)?,
        };
        journal.append(&Taken { at: now, steps: steps.to_vec() }, durable).map_err(unavailable)?;
        inner.journal = Some(journal);
        inner.state = Arc::new(next);
        Ok(())
    }

    fn flush(&self) -> Result<(), AnchorError> {
        let lagging = |journal: &mut Journal| std::mem::take(&mut journal.unsynced).then(|| Arc::clone(&journal.file));
        let Some(file) = self.lock().journal.as_mut().and_then(lagging) else { return Ok(()) };
        // Outside the lock: orders go on meanwhile.
        file.sync_data().map_err(|e| {
            self.lock().journal = None;
            AnchorError::Unavailable(unwritable(&self.path, &e))
        })
    }
}

impl Journal {
    /// A new file with `state` in its first line, in place of the one at `path`.
    fn begin(path: &Path, state: &AnchorState) -> io::Result<Self> {
        let fresh = beside(path, ".new");
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&fresh)?;
        let mut journal = Self { file: Arc::new(file), last: Sha256Digest([0; 32]), bytes: 0, unsynced: false };
        journal.append(&Whole { format: FORMAT.to_owned(), state: state.clone() }, false)?;
        journal.file.sync_all()?;
        fs::rename(&fresh, path)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        journal.unsynced = false;
        Ok(journal)
    }

    fn append(&mut self, line: &impl Serialize, durable: bool) -> io::Result<()> {
        let text = serde_json::to_vec(line)?;
        let next = hash(&self.last, &text);
        let mut bytes = format!("{next} ").into_bytes();
        bytes.extend(text);
        bytes.push(b'\n');
        (&*self.file).write_all(&bytes)?;
        if durable {
            self.file.sync_data()?;
        }
        self.unsynced = !durable;
        self.last = next;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The lock of the anchor at `path`; it ends with the process. The folder must be one that only its owner may change.
async fn lock(path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    let folder = path.parent().unwrap_or(Path::new("/"));
    let meta = fs::metadata(folder).map_err(|e| {
        configuration(format!(
            "the folder of the anchor {shown}: {e} (hint: make it, mode 0700, owned by the worker's user, and not beside the database; if it is a mount, mount it)"
        ))
    })?;
    if meta.mode() & 0o022 != 0 {
        return Err(configuration(format!("others may change the folder {} of the anchor (hint: chmod 700 {0})", folder.display())));
    }
    let name = beside(path, ".lock");
    let wrong = |e: io::Error| configuration(format!("cannot lock {}: {e} (hint: the folder must belong to this user)", name.display()));
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&name).map_err(wrong)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(TryLockError::Error(e)) => return Err(wrong(e)),
        }
    }
    Err(failure(
        Exit::Temporary,
        format!(
            "the anchor {shown} is in use: another process holds {} (hint: one worker holds an anchor; stop the other one)",
            name.display()
        ),
    ))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
