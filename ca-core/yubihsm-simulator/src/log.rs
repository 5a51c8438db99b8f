//! The device's log: 62 entries, each chained to the last by a digest.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::hex;
use crate::wire::command;

/// How many entries the device keeps.
pub const LOG_CAPACITY: usize = 62;

/// An entry as it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    number: u16,
    #[serde(with = "hex")]
    bytes: Vec<u8>,
}

/// What is logged of one command.
pub(crate) struct Event {
    pub(crate) command: u8,
    pub(crate) length: u16,
    pub(crate) session_key: u16,
    pub(crate) target: u16,
    pub(crate) second: u16,
    pub(crate) result: u8,
    pub(crate) tick: u32,
}

/// The log store.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Log {
    entries: Vec<Entry>,
    last_number: u16,
    #[serde(with = "hex")]
    last_digest: Vec<u8>,
    unlogged_boots: u16,
    unlogged_authentications: u16,
}

impl Log {
    /// The log after a reset: one entry of ones, with a digest that begins the chain.
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        let mut bytes = vec![0xff; 16];
        bytes[..2].copy_from_slice(&1u16.to_be_bytes());
        bytes.extend_from_slice(&seed);
        Self {
            entries: vec![Entry { number: 1, bytes }],
            last_number: 1,
            last_digest: seed.to_vec(),
            unlogged_boots: 0,
            unlogged_authentications: 0,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= LOG_CAPACITY
    }

    pub(crate) fn used(&self) -> u8 {
        u8::try_from(self.entries.len()).expect("at most 62 entries")
    }

    /// Logs an event. Where the log is full, the oldest entry makes room, unless audit is forced: then a counter says
    /// that something went unlogged.
    pub(crate) fn push(&mut self, event: &Event, forced: bool) {
        if self.is_full() {
            if forced {
                match event.command {
                    command::BOOT => self.unlogged_boots = self.unlogged_boots.saturating_add(1),
                    command::AUTHENTICATE_SESSION => self.unlogged_authentications = self.unlogged_authentications.saturating_add(1),
                    _ => {}
                }
                return;
            }
            self.entries.remove(0);
        }
        let number = self.last_number.wrapping_add(1);
        let mut bytes = Vec::with_capacity(32);
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.push(event.command);
        for field in [event.length, event.session_key, event.target, event.second] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.push(event.result);
        bytes.extend_from_slice(&event.tick.to_be_bytes());
        let chained = digest(&SHA256, &[bytes.as_slice(), &self.last_digest].concat());
        self.last_digest = chained.as_ref()[..16].to_vec();
        bytes.extend_from_slice(&self.last_digest);
        self.last_number = number;
        self.entries.push(Entry { number, bytes });
    }

    /// The response to Get Log Entries.
    pub(crate) fn response(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(5 + 32 * self.entries.len());
        out.extend_from_slice(&self.unlogged_boots.to_be_bytes());
        out.extend_from_slice(&self.unlogged_authentications.to_be_bytes());
        out.push(self.used());
        for entry in &self.entries {
            out.extend_from_slice(&entry.bytes);
        }
        out
    }

    /// Forgets entries up to and including `number`, which must be one that is there. Counters begin anew.
    pub(crate) fn acknowledge(&mut self, number: u16) -> bool {
        let Some(at) = self.entries.iter().position(|e| e.number == number) else { return false };
        self.entries.drain(..=at);
        (self.unlogged_boots, self.unlogged_authentications) = (0, 0);
        true
    }
}
