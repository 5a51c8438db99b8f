//! The transcript as a file: each line is durable before anything relies on it.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ca_core::ceremony::{CeremonyError, Transcript, TranscriptEvent};
use ca_core::model::{Abandonment, Completed, Completion, Intent, IntentContent, OpenIntent};
use ca_core::pki::Timestamp;
use ca_core::ports::{IssuanceStore, StoreError, StoreResult};

use crate::Error;
use crate::files::{parent, read, sync_folder};

/// When an observer is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Before the line is written.
    Before,
    /// Once it is durable.
    After,
}

/// Called around each line of the transcript with its number; an error stops the run there, as a crash would.
/// For tests of resuming.
pub type Observer = Arc<dyn Fn(u64, Moment) -> std::io::Result<()> + Send + Sync>;

/// The one writer of a transcript.
pub(crate) struct Journal {
    path: PathBuf,
    state: Mutex<State>,
    observer: Option<Observer>,
}

struct State {
    file: File,
    transcript: Transcript,
    /// A write failed: what the file ends with is unknown, and only opening it again tells.
    broken: bool,
}

impl Journal {
    /// Opens or creates the transcript and locks it against a second writer. A last line that was cut off is
    /// dropped: its event never took effect.
    pub(crate) fn open(path: &Path, observer: Option<Observer>) -> Result<Self, Error> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(Error::io("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(Error::Busy(path.to_owned())),
            Err(std::fs::TryLockError::Error(e)) => return Err(Error::io("lock", path)(e)),
        }
        sync_folder(&parent(path))?;
        let bytes = read(path)?;
        let (whole, torn) = Transcript::split_torn(&bytes);
        let text = std::str::from_utf8(whole).map_err(|_| Error::bundle(path, "it is not UTF-8 text"))?;
        let transcript = Transcript::parse(text).map_err(Error::file(path))?;
        if !torn.is_empty() {
            file.set_len(whole.len() as u64).and_then(|()| file.sync_all()).map_err(Error::io("repair", path))?;
        }
        file.seek(SeekFrom::Start(whole.len() as u64)).map_err(Error::io("seek in", path))?;
        Ok(Self { path: path.to_owned(), state: Mutex::new(State { file, transcript, broken: false }), observer })
    }

    /// Appends an event; durable when this returns.
    pub(crate) fn append(&self, at: Timestamp, event: TranscriptEvent) -> Result<(), Error> {
        let mut state = self.lock();
        if state.transcript.is_closed() {
            return Err(Error::bundle(&self.path, "the ceremony is closed"));
        }
        if state.broken {
            let why = std::io::Error::other("a write to it failed before (hint: run again)");
            return Err(Error::io("write", &self.path)(why));
        }
        let line = state.transcript.next(at, event);
        let observe = |moment| self.observer.as_ref().map_or(Ok(()), |o| o(line.number, moment));
        let bytes = line.to_bytes();
        let written = observe(Moment::Before).and_then(|()| state.file.write_all(&bytes)).and_then(|()| state.file.sync_all());
        state.broken = written.is_err();
        written.map_err(Error::io("write", &self.path))?;
        let observed = observe(Moment::After);
        state.broken = observed.is_err();
        state.transcript.push(line);
        observed.map_err(Error::io("write", &self.path))
    }

    /// The transcript so far.
    pub(crate) fn transcript(&self) -> Transcript {
        self.lock().transcript.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The transcript is pushed to last: a poisoned lock guards a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_for_store(&self, at: Timestamp, event: TranscriptEvent) -> StoreResult<()> {
        self.append(at, event).map_err(|e| StoreError::Unavailable(e.to_string()))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Closing alone would leave the lock to a child process that was forked meanwhile, until it runs its program.
        let _ = self.lock().file.unlock();
    }
}

#[async_trait]
impl IssuanceStore for Journal {
    async fn record_intent(&self, intent: &Intent) -> StoreResult<()> {
        let transcript = self.transcript();
        if let Some(recorded) = transcript.intents().find(|i| i.attempt == intent.attempt) {
            let same = recorded.tbs_sha256 == intent.tbs_sha256
                && (&recorded.authority, &recorded.key, recorded.algorithm, &recorded.content)
                    == (&intent.authority, &intent.key, intent.algorithm, &intent.content);
            return if same { Ok(()) } else { Err(StoreError::Conflict(format!("attempt {} has other bytes on record", intent.attempt))) };
        }
        for recorded in transcript.intents().filter(|i| i.authority == intent.authority) {
            match (&recorded.content, &intent.content) {
                (IntentContent::Certificate(a), IntentContent::Certificate(b)) if a.serial == b.serial => {
                    return Err(StoreError::Conflict(format!("the serial number {} is taken", b.serial)));
                }
                (IntentContent::Crl(a), IntentContent::Crl(b)) if a.scope == b.scope && b.number <= a.number => {
                    return Err(StoreError::Conflict(format!("the CRL number {} does not grow", b.number)));
                }
                _ => {}
            }
        }
        self.append_for_store(intent.at, TranscriptEvent::Intent { intent: Box::new(intent.clone()) })
    }

    async fn complete(&self, completion: &Completion) -> StoreResult<Completed> {
        let transcript = self.transcript();
        if !transcript.intents().any(|i| i.attempt == completion.attempt && i.authority == completion.authority) {
            return Err(StoreError::NotFound(format!("intent {}", completion.attempt)));
        }
        match transcript.completion(&completion.attempt) {
            Some(done) if done.signed == completion.signed => return Ok(Completed::Released),
            Some(_) => return Err(StoreError::Conflict(format!("attempt {} is completed with another signature", completion.attempt))),
            None => {}
        }
        self.append_for_store(completion.at, TranscriptEvent::Completed { completion: Box::new(completion.clone()) })?;
        Ok(Completed::Released)
    }

    async fn abandon(&self, abandonment: &Abandonment) -> StoreResult<()> {
        // What officers approved is signed, or stays open with the ceremony; giving up is for the worker.
        Err(StoreError::Conflict(format!("attempt {}: a ceremony abandons nothing", abandonment.attempt)))
    }

    async fn open_intents(&self, _now: Timestamp, until: Timestamp, limit: u32) -> StoreResult<Vec<OpenIntent>> {
        let transcript = self.transcript();
        let open = transcript.intents().filter(|i| i.at <= until && transcript.completion(&i.attempt).is_none());
        let open = open.map(|i| {
            let (serial, crl) = match &i.content {
                IntentContent::Certificate(c) => (Some(c.serial), None),
                IntentContent::Crl(c) => (None, Some((c.scope, c.number))),
                IntentContent::Request(_) | IntentContent::KeyTest(_) => (None, None),
            };
            OpenIntent { attempt: i.attempt.clone(), authority: i.authority.clone(), serial, crl, at: i.at }
        });
        Ok(open.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect())
    }
}

/// Reads a transcript without writing: for `verify` and `show`. A last line that was cut off is an error.
pub(crate) fn read_transcript(path: &Path) -> Result<Transcript, Error> {
    let text = String::from_utf8(read(path)?).map_err(|_| Error::bundle(path, "it is not UTF-8 text"))?;
    Transcript::parse(&text).map_err(Error::file(path))
}

/// As [`read_transcript`], with a last line that was cut off left out, and an absent file empty.
pub(crate) fn peek_transcript(path: &Path) -> Result<Transcript, Error> {
    if !path.exists() {
        return Ok(Transcript::default());
    }
    let bytes = read(path)?;
    let whole = std::str::from_utf8(Transcript::split_torn(&bytes).0).map_err(|_| Error::bundle(path, "it is not UTF-8 text"))?;
    Transcript::parse(whole).map_err(|e: CeremonyError| Error::file(path)(e))
}
