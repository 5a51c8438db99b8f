//! One device's log as the trail has it: what workers drained, and pieces that were drained elsewhere.
//!
//! The device's digests say where a piece belongs, so it may come in late, and gaps close when it does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::rows::KeyAccount;
use crate::log::follows;
use crate::model::KeyLabel;
use crate::pki::{Sha256Digest, sha256};
use crate::ports::{DeviceKind, DeviceLogEntry};

/// How many entries of a device are remembered, so that a drain that was repeated after a death is known again: a
/// YubiHSM 2 holds 62.
const REMEMBERED: usize = 128;

/// The most pieces that wait for their place, and the most gaps.
const MAX_PIECES: usize = 100;

/// Signatures by key; none: a key that is not the CA's.
pub(super) type Signatures = BTreeMap<Option<KeyLabel>, u64>;

/// The accounts of the keys at a moment.
pub(super) type Accounts = BTreeMap<KeyLabel, KeyAccount>;

/// Entries that follow each other and were drained elsewhere.
#[derive(Debug)]
pub(super) struct Piece {
    first: DeviceLogEntry,
    last: DeviceLogEntry,
    /// Signatures that the record which they come from does not explain.
    pub(super) foreign: Signatures,
}

/// A place where the log does not go on.
#[derive(Debug)]
pub(super) struct Gap {
    pub(super) row: u64,
    after: DeviceLogEntry,
    pub(super) before: DeviceLogEntry,
    /// The accounts when it was found, with what filled it since: nothing that came later explains a signature in it.
    pub(super) accounts: Accounts,
}

/// Where a piece went.
pub(super) enum Placed {
    /// After the newest entry.
    AtEnd(Piece),
    /// Into the gap with this number.
    InGap(usize, Piece),
}

/// A device's log so far.
#[derive(Debug)]
pub(super) struct Device {
    kind: DeviceKind,
    /// A worker has begun to follow it: from there on signatures are accounted for.
    pub(super) followed: bool,
    pub(super) entries: u64,
    last: Option<DeviceLogEntry>,
    remembered: VecDeque<Sha256Digest>,
    pub(super) gaps: Vec<Gap>,
    pieces: Vec<Piece>,
    /// Places of records that were read.
    read: BTreeSet<(Sha256Digest, u64)>,
}

impl Device {
    pub(super) fn new(kind: DeviceKind) -> Self {
        let (gaps, pieces) = (Vec::new(), Vec::new());
        Self { kind, followed: false, entries: 0, last: None, remembered: VecDeque::new(), gaps, pieces, read: BTreeSet::new() }
    }

    /// Takes an entry that a worker drained. False: it is on record already, drained again after a death between the
    /// record and the device's acknowledgement.
    ///
    /// # Errors
    /// When it opens a gap, and there are too many.
    pub(super) fn take(&mut self, row: u64, entry: DeviceLogEntry, accounts: &Accounts) -> Result<bool, u64> {
        if !self.remember(&entry) {
            return Ok(false);
        }
        self.entries += 1;
        let after = self.last.replace(entry.clone()).or_else(|| {
            // The first that a worker sees comes after a ceremony, where one is on record.
            let at = self.pieces.iter().position(|p| follows(self.kind, &p.last, &entry)).or(self.pieces.len().checked_sub(1))?;
            Some(self.pieces.remove(at).last)
        });
        match after {
            Some(after) if !follows(self.kind, &after, &entry) => {
                if self.gaps.len() >= MAX_PIECES {
                    return Err(entry.number);
                }
                self.gaps.push(Gap { row, after, before: entry, accounts: accounts.clone() });
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    fn remember(&mut self, entry: &DeviceLogEntry) -> bool {
        let digest = sha256(&entry.raw);
        if self.remembered.contains(&digest) {
            return false;
        }
        self.remembered.push_back(digest);
        if self.remembered.len() > REMEMBERED {
            self.remembered.pop_front();
        }
        true
    }

    /// Whether this place of a record was not read before.
    pub(super) fn is_new(&mut self, source: Sha256Digest, line: u64) -> bool {
        self.read.insert((source, line))
    }

    /// The part of `entries`, which follow each other, that is not on record yet.
    pub(super) fn news<'a>(&self, entries: &'a [DeviceLogEntry]) -> &'a [DeviceLogEntry] {
        let ends = || self.last.iter().chain(self.gaps.iter().map(|g| &g.after)).chain(self.pieces.iter().map(|p| &p.last));
        let start = entries.iter().position(|e| ends().any(|end| follows(self.kind, end, e)));
        let start = start.or_else(|| entries.iter().position(|e| !self.remembered.contains(&sha256(&e.raw))));
        let news = &entries[start.unwrap_or(entries.len())..];
        let end = news.iter().position(|e| self.gaps.iter().any(|g| g.before.raw == e.raw));
        &news[..end.unwrap_or(news.len())]
    }

    /// Takes what [`Self::news`] gave, and puts it and what waited for it in their places.
    pub(super) fn insert(&mut self, news: &[DeviceLogEntry], foreign: Signatures) -> Vec<Placed> {
        let (Some(first), Some(last)) = (news.first(), news.last()) else { return Vec::new() };
        for entry in news {
            self.remember(entry);
        }
        self.entries += news.len() as u64;
        self.wait(Piece { first: first.clone(), last: last.clone(), foreign });
        let mut placed = Vec::new();
        while let Some(next) = self.place() {
            placed.push(next);
        }
        placed
    }

    /// Joins a piece with those that wait.
    fn wait(&mut self, mut piece: Piece) {
        let kind = self.kind;
        if let Some(at) = self.pieces.iter().position(|p| follows(kind, &p.last, &piece.first)) {
            let before = self.pieces.remove(at);
            piece.first = before.first;
            add(&mut piece.foreign, before.foreign);
        }
        if let Some(at) = self.pieces.iter().position(|p| follows(kind, &piece.last, &p.first)) {
            let after = self.pieces.remove(at);
            piece.last = after.last;
            add(&mut piece.foreign, after.foreign);
        }
        self.pieces.push(piece);
        if self.pieces.len() > MAX_PIECES {
            // The oldest: the gap that it would have filled stays open.
            self.pieces.remove(0);
        }
    }

    fn place(&mut self) -> Option<Placed> {
        let kind = self.kind;
        if let Some(last) = &self.last
            && let Some(at) = self.pieces.iter().position(|p| follows(kind, last, &p.first))
        {
            let piece = self.pieces.remove(at);
            self.last = Some(piece.last.clone());
            return Some(Placed::AtEnd(piece));
        }
        for (number, gap) in self.gaps.iter_mut().enumerate() {
            if let Some(at) = self.pieces.iter().position(|p| follows(kind, &gap.after, &p.first)) {
                let piece = self.pieces.remove(at);
                gap.after = piece.last.clone();
                return Some(Placed::InGap(number, piece));
            }
        }
        None
    }

    /// Forgets gaps that are filled.
    pub(super) fn close_gaps(&mut self) {
        let kind = self.kind;
        self.gaps.retain(|gap| !follows(kind, &gap.after, &gap.before));
    }
}

fn add(to: &mut Signatures, from: Signatures) {
    for (key, count) in from {
        *to.entry(key).or_default() += count;
    }
}
