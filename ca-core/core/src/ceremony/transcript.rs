//! The transcript: what happened, hash-chained, one JSON line for each event.
//!
//! Everything that a ceremony decides is in it before it takes effect, so that a run that was cut off is resumed
//! from it alone. Deliberately absent: files. The shell appends a line, makes it durable, and goes on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CeremonyError, CeremonyKind};
use crate::log::{CHAIN_START, chain};
use crate::model::{AttemptId, AuthorityName, Completion, CredentialName, HolderName, Intent, KeyLabel};
use crate::pki::{KeyAlgorithm, PublicKey, Sha256Digest, Timestamp};
use crate::ports::{Attestation, DeviceIdentity, DeviceLogEntry, DeviceObject, KeyAttributes};

/// Which key store holds a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPlace {
    /// The root's, offline after the ceremony.
    Root,
    /// The issuing authorities', which the worker opens.
    Online,
    /// The backup's, kept elsewhere.
    Backup,
}

impl KeyPlace {
    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Online => "online",
            Self::Backup => "backup",
        }
    }
}

/// An event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TranscriptEvent {
    /// Enough officers signed the plan.
    Opened {
        /// The plan's digest.
        plan_sha256: Sha256Digest,
        /// Production or rehearsal.
        kind: CeremonyKind,
        /// Name and version of this software.
        software: String,
        /// Who signed the plan.
        officers: Vec<String>,
    },
    /// A run begins: what it runs with, and on which machine.
    Started {
        /// SHA-256 of the executable.
        tool_sha256: Sha256Digest,
        /// The kernel's identifier of this boot.
        boot: String,
        /// Seconds since that boot, by the monotonic clock.
        uptime: u64,
        /// In what the machine was not as the plan says; in production the run went no further.
        findings: Vec<String>,
    },
    /// A device was looked at before the ceremony did anything.
    Device {
        /// What it holds.
        place: KeyPlace,
        /// Who it is.
        identity: DeviceIdentity,
        /// Every object in it.
        inventory: Vec<DeviceObject>,
        /// In what it differs from a freshly reset one.
        deviations: Vec<String>,
    },
    /// What was new in a device's own log. Only once the line is durable does the device forget it (requirement 35).
    DeviceLog {
        /// Which device.
        place: KeyPlace,
        /// The entries, oldest first; at most [`crate::log::MAX_ENTRIES`].
        entries: Vec<DeviceLogEntry>,
        /// Boots that the device could not log.
        unlogged_boots: u64,
        /// Authentications that it could not log.
        unlogged_authentications: u64,
    },
    /// Something that people say or see was written down; of several records of one name the last counts.
    Recorded {
        /// Its name: `records/NAME.json`, with `_2` and so on for a later one.
        name: String,
        /// The record, verbatim.
        record: String,
    },
    /// A key is about to be made; its label was free.
    KeyIntended {
        /// Its label.
        label: KeyLabel,
        /// Where.
        place: KeyPlace,
        /// Its kind.
        algorithm: KeyAlgorithm,
    },
    /// The key exists.
    KeyMade {
        /// Its label.
        label: KeyLabel,
        /// Where.
        place: KeyPlace,
        /// Its kind.
        algorithm: KeyAlgorithm,
        /// Its public half.
        public_key: PublicKey,
    },
    /// What the device says of a key that was made or brought in, and its proof where it has one.
    KeyChecked {
        /// Its label.
        label: KeyLabel,
        /// Where.
        place: KeyPlace,
        /// The device.
        device: DeviceIdentity,
        /// What may be done with the key there.
        attributes: KeyAttributes,
        /// The device's proof that it made the key.
        attestation: Option<Attestation>,
    },
    /// A request was taken in: `inputs/AUTHORITY.request.json`.
    RequestTaken {
        /// Whose.
        authority: AuthorityName,
        /// SHA-256 of the file.
        sha256: Sha256Digest,
    },
    /// What a device holds.
    Inventory {
        /// Which device.
        place: KeyPlace,
        /// Who it is.
        device: DeviceIdentity,
        /// Its objects, sorted.
        objects: Vec<DeviceObject>,
    },
    /// A key left its device, wrapped. The wrapped key itself is in no bundle.
    Wrapped {
        /// Its label.
        label: KeyLabel,
        /// SHA-256 of the wrapped key's file.
        sha256: Sha256Digest,
    },
    /// A wrapped key was brought in and yields the same public key.
    Imported {
        /// Its label.
        label: KeyLabel,
        /// Where.
        place: KeyPlace,
        /// Its public half.
        public_key: PublicKey,
    },
    /// A key was destroyed.
    Destroyed {
        /// Its label.
        label: KeyLabel,
        /// Where.
        place: KeyPlace,
    },
    /// A credential was dealt: each share is in its holder's sealed file, was read back and verified, and thresholds of
    /// them gave what was dealt.
    Dealt {
        /// Which.
        credential: CredentialName,
        /// The set's public description, verbatim: it hides the secret and binds every share.
        set: String,
        /// SHA-256 of each holder's sealed file.
        shares: BTreeMap<HolderName, Sha256Digest>,
    },
    /// A device takes its new credentials, and the old ones no more.
    Handed {
        /// Which device.
        place: KeyPlace,
    },
    /// Shares were read from their files, verified alone and recombined, and what came out opened the device
    /// (requirement 23).
    Recombined {
        /// Which credential.
        credential: CredentialName,
        /// The set's id: SHA-256 of its description.
        set: Sha256Digest,
        /// Whose shares were recombined.
        holders: Vec<HolderName>,
        /// What it opens.
        place: KeyPlace,
        /// The device that it opened.
        device: DeviceIdentity,
    },
    /// An act that gives no signature, such as a revocation, which is done once enough officers approved it, took effect.
    Done {
        /// The statement's name.
        name: String,
    },
    /// To-be-signed bytes were linted and are on record.
    Intent {
        /// The intent.
        intent: Box<Intent>,
    },
    /// A statement waits for signatures.
    Prepared {
        /// Its name: `statements/NAME.json`.
        name: String,
        /// The statement, verbatim.
        statement: String,
    },
    /// Enough officers signed a statement.
    Approved {
        /// The statement's name.
        name: String,
        /// Who signed it.
        officers: Vec<String>,
    },
    /// The statement's act begins: from here on its approval is spent.
    Began {
        /// The statement's name.
        name: String,
    },
    /// A signature was verified and released.
    Completed {
        /// The completion.
        completion: Box<Completion>,
    },
    /// The officers' approval put a policy in force.
    PolicyApproved {
        /// The statement's name.
        name: String,
    },
    /// Something that is not in the script (requirement 37). The ceremony is not closed before people dispose of it.
    Exception {
        /// What.
        what: String,
        /// What the software did about it; empty where it did nothing.
        disposition: String,
    },
    /// People decided about an exception.
    Disposed {
        /// The exception's line.
        exception: u64,
        /// What they decided.
        disposition: String,
        /// Who: an officer and a witness at least.
        by: Vec<String>,
    },
    /// The end: every file of the bundle but this one and the signatures over it.
    Closed {
        /// Digests by path.
        files: BTreeMap<String, Sha256Digest>,
    },
}

/// A line: an event in the chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// From 1, without gaps.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// The hash of the line before; zeros at first.
    pub before: Sha256Digest,
    /// What happened.
    pub entry: TranscriptEvent,
    /// SHA-256 over `before` and this line's JSON without its hash.
    pub hash: Sha256Digest,
}

/// The part of a line that its hash covers, besides `before`.
#[derive(Serialize)]
struct Hashed<'a> {
    number: u64,
    at: Timestamp,
    entry: &'a TranscriptEvent,
}

impl Line {
    fn new(number: u64, at: Timestamp, before: Sha256Digest, entry: TranscriptEvent) -> Self {
        let hash = Self::hash_of(number, at, &before, &entry);
        Self { number, at, before, entry, hash }
    }

    fn hash_of(number: u64, at: Timestamp, before: &Sha256Digest, entry: &TranscriptEvent) -> Sha256Digest {
        let hashed = Hashed { number, at, entry };
        chain(before, &serde_json::to_vec(&hashed).expect("events have string keys and no failing serializer"))
    }

    /// The line as it stands in the file, with its newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = serde_json::to_vec(self).expect("events have string keys and no failing serializer");
        out.push(b'\n');
        out
    }
}

/// An exception, as the transcript has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExceptionEntry<'a> {
    /// Its line.
    pub line: u64,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub what: &'a str,
    /// What the software did about it.
    pub done: &'a str,
    /// What people decided, and who; none while it is open.
    pub disposed: Option<(&'a str, &'a [String])>,
}

/// The lines so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transcript {
    lines: Vec<Line>,
}

impl Transcript {
    /// The most bytes of a transcript.
    pub const MAX_BYTES: usize = 1 << 26;

    /// Reads a transcript and verifies its chain; every byte counts.
    ///
    /// # Errors
    /// With the number of the first line that is not as this software writes it, or that does not follow.
    pub fn parse(text: &str) -> Result<Self, CeremonyError> {
        let mut transcript = Self::default();
        let wrong = |line: usize, reason: &str| CeremonyError::Transcript { line, reason: reason.to_owned() };
        if text.len() > Self::MAX_BYTES {
            return Err(wrong(0, "the file is too large"));
        }
        for (i, text) in text.split_inclusive('\n').enumerate() {
            let number = i + 1;
            let line: Line = serde_json::from_str(text).map_err(|e| wrong(number, &format!("it does not parse: {e}")))?;
            if line.to_bytes() != text.as_bytes() {
                return Err(wrong(number, "it is not in the form that it was written in"));
            }
            if line.before != transcript.head() || line.number != number as u64 {
                return Err(wrong(number, "it does not follow the line before"));
            }
            if line.hash != Line::hash_of(line.number, line.at, &line.before, &line.entry) {
                return Err(wrong(number, "it was changed: its hash does not fit"));
            }
            if transcript.is_closed() {
                return Err(wrong(number, "it stands after the end"));
            }
            transcript.lines.push(line);
        }
        Ok(transcript)
    }

    /// Splits off a last line that was cut off while it was written (it has no newline, so nothing relied on it).
    pub fn split_torn(text: &[u8]) -> (&[u8], &[u8]) {
        text.split_at(text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1))
    }

    /// The line that the event would be; [`Self::push`] it once it is durable.
    pub fn next(&self, at: Timestamp, entry: TranscriptEvent) -> Line {
        Line::new(self.lines.len() as u64 + 1, at, self.head(), entry)
    }

    /// Adds a line made by [`Self::next`].
    ///
    /// # Panics
    /// When the line does not follow: one writer holds the transcript.
    pub fn push(&mut self, line: Line) {
        assert!(line.before == self.head(), "a line is added right after it was made");
        self.lines.push(line);
    }

    /// The lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The events.
    pub fn events(&self) -> impl Iterator<Item = &TranscriptEvent> {
        self.lines.iter().map(|l| &l.entry)
    }

    /// The last line's hash.
    pub fn head(&self) -> Sha256Digest {
        self.lines.last().map_or(CHAIN_START, |l| l.hash)
    }

    /// Whether the ceremony ended.
    pub fn is_closed(&self) -> bool {
        matches!(self.lines.last().map(|l| &l.entry), Some(TranscriptEvent::Closed { .. }))
    }

    /// The public key that was made under this label.
    pub fn key(&self, label: &KeyLabel) -> Option<&PublicKey> {
        self.events().find_map(|e| match e {
            TranscriptEvent::KeyMade { label: l, public_key, .. } if l == label => Some(public_key),
            _ => None,
        })
    }

    /// Whether a key with this label was announced here.
    pub fn key_intended(&self, label: &KeyLabel) -> bool {
        self.events().any(|e| matches!(e, TranscriptEvent::KeyIntended { label: l, .. } if l == label))
    }

    /// The intents, in order.
    pub fn intents(&self) -> impl Iterator<Item = &Intent> {
        self.events().filter_map(|e| match e {
            TranscriptEvent::Intent { intent } => Some(&**intent),
            _ => None,
        })
    }

    /// The completion of an attempt.
    pub fn completion(&self, attempt: &AttemptId) -> Option<&Completion> {
        self.events().find_map(|e| match e {
            TranscriptEvent::Completed { completion } if completion.attempt == *attempt => Some(&**completion),
            _ => None,
        })
    }

    /// The statement of this name.
    pub fn statement(&self, name: &str) -> Option<&str> {
        self.statements().find(|(n, _)| *n == name).map(|(_, text)| text)
    }

    /// The statements with their names, in order.
    pub fn statements(&self) -> impl Iterator<Item = (&str, &str)> {
        self.events().filter_map(|e| match e {
            TranscriptEvent::Prepared { name, statement } => Some((name.as_str(), statement.as_str())),
            _ => None,
        })
    }

    /// The records with their names, in order.
    pub fn records(&self) -> impl Iterator<Item = (&str, &str)> {
        self.events().filter_map(|e| match e {
            TranscriptEvent::Recorded { name, record } => Some((name.as_str(), record.as_str())),
            _ => None,
        })
    }

    /// The dealt credentials with their sets' descriptions, in order.
    pub fn dealt(&self) -> impl Iterator<Item = (&CredentialName, &str)> {
        self.events().filter_map(|e| match e {
            TranscriptEvent::Dealt { credential, set, .. } => Some((credential, set.as_str())),
            _ => None,
        })
    }

    /// The exceptions, in order.
    pub fn exceptions(&self) -> impl Iterator<Item = ExceptionEntry<'_>> {
        self.lines.iter().filter_map(|line| match &line.entry {
            TranscriptEvent::Exception { what, disposition } => {
                let disposed = self.events().find_map(|e| match e {
                    TranscriptEvent::Disposed { exception, disposition, by } if *exception == line.number => {
                        Some((disposition.as_str(), by.as_slice()))
                    }
                    _ => None,
                });
                Some(ExceptionEntry { line: line.number, at: line.at, what, done: disposition, disposed })
            }
            _ => None,
        })
    }

    /// How often the act of this statement began.
    pub fn began(&self, name: &str) -> usize {
        self.events().filter(|e| matches!(e, TranscriptEvent::Began { name: n } if n == name)).count()
    }
}

#[cfg(test)]
mod tests;
