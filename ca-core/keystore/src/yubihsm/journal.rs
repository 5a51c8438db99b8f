//! The device's log, kept here: durable before the device may forget, and continuous across drains and restarts.
//!
//! The device keeps 62 entries, unsigned. What makes them evidence is that each one's digest covers the one before, and
//! that the copy here was never without its last entry.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ca_core::log::{follows, is_reset};
use ca_core::ports::{DeviceKind, DeviceLogEntry, KeyDevice, KeyStoreError};
use serde::{Deserialize, Serialize};

use super::log::check_chain;

/// Enough for the device's 62 entries and one line more.
const TAIL: u64 = 64 << 10;
const MAX_LINE: usize = 4 << 10;
const KEPT: usize = 62;

/// A line of the journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum JournalLine {
    /// An entry of the device's log.
    Entry(DeviceLogEntry),
    /// The device had no room to log these.
    Unlogged {
        /// Starts.
        boots: u64,
        /// Logins.
        authentications: u64,
    },
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("cannot {action} the device log's journal `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A line is not one, or does not follow the one before.
    #[error("the device log's journal `{}` is damaged: {reason} (hint: keep it as evidence, and restore it from a backup)", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Why a drain failed. The device's log was not moved.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The device.
    #[error(transparent)]
    Device(#[from] KeyStoreError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The device keeps no log.
    #[error("the device keeps no log")]
    NoLog,
    /// Entries are missing between the journal and the device.
    #[error(
        "the device's log does not continue the journal: {0} (hint: something used the device, reset it, or acknowledged its log unseen; \
         after a ceremony give its bundle, otherwise keep both as evidence and record an exception)"
    )]
    Gap(String),
}

/// Where a journal may begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogStart {
    /// At the device's reset: nothing is missing.
    AtReset,
    /// Wherever the device's log begins now: what was before stays unknown.
    Anywhere,
}

/// What a drain brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drained {
    /// Entries that were not in the journal before, oldest first.
    pub entries: Vec<DeviceLogEntry>,
    /// Starts that the device could not log.
    pub unlogged_boots: u64,
    /// Logins that it could not log.
    pub unlogged_authentications: u64,
}

/// The journal: a file of one JSON line for each entry, only ever appended to. One process holds it.
#[derive(Debug)]
pub struct LogJournal {
    path: PathBuf,
    file: File,
    /// The newest entries.
    tail: Vec<DeviceLogEntry>,
}

impl LogJournal {
    /// Opens the journal, or begins one (0600). A last line that a power cut left unfinished is removed: the device still
    /// has that entry.
    ///
    /// # Errors
    /// When the file cannot be used or does not end in a journal's lines.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        let path = path.as_ref().to_owned();
        let failed = |action| {
            let path = path.clone();
            move |source| JournalError::Io { action, path, source }
        };
        let damaged = |reason: String| JournalError::Damaged { path: path.clone(), reason };
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path).map_err(failed("open"))?;
        file.try_lock().map_err(|e| failed("lock")(e.into()))?;
        let length = file.metadata().map_err(failed("inspect"))?.len();
        let from = length.saturating_sub(TAIL);
        file.seek(SeekFrom::Start(from)).map_err(failed("read"))?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(TAIL).read_to_end(&mut bytes).map_err(failed("read"))?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            file.set_len(from + whole as u64).and_then(|()| file.sync_all()).map_err(failed("mend"))?;
        }
        let mut lines: Vec<&[u8]> = bytes[..whole].split_inclusive(|b| *b == b'\n').collect();
        if from > 0 && !lines.is_empty() {
            // The first one is cut off by the limit.
            lines.remove(0);
        }
        let mut tail = Vec::new();
        for line in lines {
            match serde_json::from_slice(line).map_err(|e| damaged(e.to_string()))? {
                JournalLine::Entry(entry) => tail.push(entry),
                JournalLine::Unlogged { .. } => {}
            }
        }
        tail.drain(..tail.len().saturating_sub(KEPT));
        check_chain(&tail).map_err(|e| damaged(e.to_string()))?;
        Ok(Self { path, file, tail })
    }

    /// The newest entry.
    pub fn last(&self) -> Option<&DeviceLogEntry> {
        self.tail.last()
    }

    fn append(&mut self, lines: &[JournalLine]) -> Result<(), JournalError> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line).expect("a line is plain data");
            text.push(b'\n');
        }
        let failed = |source| JournalError::Io { action: "write", path: self.path.clone(), source };
        self.file.write_all(&text).and_then(|()| self.file.sync_all()).map_err(failed)?;
        self.tail.extend(lines.iter().filter_map(|line| match line {
            JournalLine::Entry(entry) => Some(entry.clone()),
            JournalLine::Unlogged { .. } => None,
        }));
        self.tail.drain(..self.tail.len().saturating_sub(KEPT));
        Ok(())
    }

    /// Copies what is new in the device's log, makes it durable, and only then lets the device forget it (ceremony
    /// requirement 35). May be called again at any time, also after a crash in between.
    ///
    /// # Errors
    /// When the device's log does not continue the journal: [`DrainError::Gap`]; then neither is changed.
    pub async fn drain(&mut self, device: &dyn KeyDevice, start: LogStart) -> Result<Drained, DrainError> {
        let log = device.log().await?.ok_or(DrainError::NoLog)?;
        check_chain(&log.entries)?;
        let new = self.continuation(&log.entries, start)?.to_vec();
        let mut lines: Vec<JournalLine> = new.iter().cloned().map(JournalLine::Entry).collect();
        let (boots, authentications) = (log.unlogged_boots, log.unlogged_authentications);
        if boots + authentications > 0 {
            lines.push(JournalLine::Unlogged { boots, authentications });
        }
        if !lines.is_empty() {
            self.append(&lines)?;
        }
        if let Some(last) = log.entries.last() {
            device.acknowledge_log(last.number).await?;
        }
        Ok(Drained { entries: new, unlogged_boots: boots, unlogged_authentications: authentications })
    }

    /// Takes in entries that were drained elsewhere since, as a ceremony's bundle has them: the device's digests chain them
    /// to the journal's. Tells how many were new.
    ///
    /// # Errors
    /// When they do not continue the journal: [`DrainError::Gap`]; then it is not changed.
    pub fn bridge(&mut self, entries: &[DeviceLogEntry], start: LogStart) -> Result<usize, DrainError> {
        check_chain(entries)?;
        let Some(newest) = entries.last() else { return Ok(0) };
        if self.tail.iter().any(|known| known.raw == newest.raw) {
            return Ok(0);
        }
        let new = self.continuation(entries, start)?;
        let lines: Vec<JournalLine> = new.iter().cloned().map(JournalLine::Entry).collect();
        self.append(&lines)?;
        Ok(lines.len())
    }

    /// Which of the device's entries come after the journal's last.
    fn continuation<'a>(&self, entries: &'a [DeviceLogEntry], start: LogStart) -> Result<&'a [DeviceLogEntry], DrainError> {
        let (Some(last), Some(first)) = (self.last(), entries.first()) else {
            return match entries.first() {
                Some(first) if start == LogStart::AtReset && !is_reset(first) => {
                    Err(DrainError::Gap(format!("the journal is empty, and the device's log begins with its entry {}", first.number)))
                }
                _ => Ok(entries),
            };
        };
        if follows(DeviceKind::YubiHsm2, last, first) {
            return Ok(entries);
        }
        // After a crash between the journal and the device's index, the device still has what is here.
        let Some(at) = entries.iter().position(|e| e.raw == last.raw) else {
            return Err(DrainError::Gap(format!(
                "the journal ends with the entry {}, and the device's log begins with {} ({})",
                last.number, first.number, first.command
            )));
        };
        let known = &entries[..=at];
        let recorded = &self.tail[self.tail.len().saturating_sub(known.len())..];
        if known.iter().map(|e| &e.raw).eq(recorded.iter().map(|e| &e.raw)) || known.len() > self.tail.len() {
            Ok(&entries[at + 1..])
        } else {
            Err(DrainError::Gap(format!("entries up to {} are not those that were recorded", last.number)))
        }
    }

    /// Reads a whole journal, checking that each entry follows the one before; for auditors, line by line.
    ///
    /// # Errors
    /// When it cannot be opened; the lines carry their own errors.
    pub fn read(path: impl AsRef<Path>) -> Result<impl Iterator<Item = Result<JournalLine, JournalError>>, JournalError> {
        let path = path.as_ref().to_owned();
        let file = File::open(&path).map_err(|source| JournalError::Io { action: "open", path: path.clone(), source })?;
        let mut reader = BufReader::new(file);
        let mut previous: Option<DeviceLogEntry> = None;
        let mut ended = false;
        Ok(std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let mut line = Vec::new();
            let read = Read::by_ref(&mut reader).take(MAX_LINE as u64).read_until(b'\n', &mut line);
            let damaged = |reason: &str| JournalError::Damaged { path: path.clone(), reason: reason.to_owned() };
            let item = match read {
                Ok(0) => return None,
                Err(source) => Err(JournalError::Io { action: "read", path: path.clone(), source }),
                Ok(_) if line.last() != Some(&b'\n') => Err(damaged("a line is cut off or too long")),
                Ok(_) => serde_json::from_slice(&line).map_err(|e| damaged(&e.to_string())),
            };
            let item = item.and_then(|line| {
                if let JournalLine::Entry(entry) = &line {
                    if previous.as_ref().is_some_and(|before| !follows(DeviceKind::YubiHsm2, before, entry)) {
                        return Err(damaged(&format!("entry {} does not follow the one before", entry.number)));
                    }
                    previous = Some(entry.clone());
                }
                Ok(line)
            });
            ended = item.is_err();
            Some(item)
        }))
    }
}
