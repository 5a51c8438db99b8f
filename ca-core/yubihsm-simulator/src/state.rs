//! What survives a power cut: objects, options, the log, and the device's own key.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::attestation;
use crate::hex;
use crate::log::Log;
use crate::wire::{DeviceError, algorithm, capability, command};

/// The most objects that the device holds.
pub const MAX_OBJECTS: usize = 256;
const PAGES: usize = 1024;
const PAGE: usize = 126;
const MAX_STATE: u64 = 4 << 20;

/// Kinds of objects.
pub(crate) mod kind {
    pub(crate) const OPAQUE: u8 = 1;
    pub(crate) const AUTHENTICATION_KEY: u8 = 2;
    pub(crate) const ASYMMETRIC_KEY: u8 = 3;
    pub(crate) const WRAP_KEY: u8 = 4;
}

/// How an object came to be.
pub(crate) mod origin {
    pub(crate) const GENERATED: u8 = 0x01;
    pub(crate) const IMPORTED: u8 = 0x02;
    /// Set beside one of the others.
    pub(crate) const WRAPPED: u8 = 0x10;
}

/// An object.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) kind: u8,
    pub(crate) id: u16,
    #[serde(with = "hex")]
    pub(crate) label: Vec<u8>,
    pub(crate) domains: u16,
    pub(crate) capabilities: u64,
    /// Zero for objects that create no others.
    pub(crate) delegated: u64,
    pub(crate) algorithm: u8,
    pub(crate) origin: u8,
    pub(crate) sequence: u8,
    #[serde(with = "hex")]
    pub(crate) value: Vec<u8>,
}

impl Object {
    /// Its size in the device's terms: a key pair holds its public half too, others their delegated capabilities.
    pub(crate) fn length(&self) -> u16 {
        let bytes = match self.kind {
            kind::ASYMMETRIC_KEY => 3 * self.value.len(),
            kind::OPAQUE => self.value.len(),
            _ => 8 + self.value.len(),
        };
        u16::try_from(bytes).expect("an object fits a message")
    }

    fn pages(&self) -> usize {
        usize::from(self.length()).div_ceil(PAGE).max(1)
    }
}

/// Everything that is durable.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) serial: u32,
    pub(crate) firmware: [u8; 3],
    pub(crate) objects: Vec<Object>,
    /// How often an id of a kind was used before: "{kind}/{id}".
    sequences: BTreeMap<String, u8>,
    pub(crate) force_audit: u8,
    pub(crate) command_audit: BTreeMap<u8, u8>,
    pub(crate) log: Log,
    pub(crate) maker: attestation::Maker,
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    aws_lc_rs::rand::fill(&mut out).expect("the operating system gives random bytes");
    out
}

/// The key that a device has after a reset: from the password `password`, with Yubico's salt.
fn default_key() -> Object {
    let mut value = vec![0u8; 32];
    let rounds = std::num::NonZeroU32::new(10_000).expect("not zero");
    aws_lc_rs::pbkdf2::derive(aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256, rounds, b"Yubico", b"password", &mut value);
    let mut label = b"DEFAULT AUTHKEY CHANGE THIS ASAP".to_vec();
    label.resize(40, 0);
    Object {
        kind: kind::AUTHENTICATION_KEY,
        id: 1,
        label,
        domains: 0xffff,
        capabilities: capability::ALL,
        delegated: capability::ALL,
        algorithm: algorithm::AES128_AUTHENTICATION,
        origin: origin::IMPORTED,
        sequence: 0,
        value,
    }
}

impl State {
    /// A device as it leaves the factory.
    pub(crate) fn new(serial: u32, firmware: [u8; 3]) -> Self {
        Self::fresh(serial, firmware, attestation::Maker::new(serial))
    }

    /// Back to the factory's state; the device's own key and certificate stay.
    pub(crate) fn reset(&mut self) {
        *self = Self::fresh(self.serial, self.firmware, self.maker.clone());
    }

    fn fresh(serial: u32, firmware: [u8; 3], maker: attestation::Maker) -> Self {
        Self {
            serial,
            firmware,
            objects: vec![default_key()],
            sequences: BTreeMap::new(),
            force_audit: 0,
            command_audit: command::AUDITABLE.iter().map(|c| (*c, 0)).collect(),
            log: Log::new(random()),
            maker,
        }
    }

    pub(crate) fn find(&self, kind: u8, id: u16) -> Option<&Object> {
        self.objects.iter().find(|o| o.kind == kind && o.id == id)
    }

    /// Used records and pages.
    pub(crate) fn used(&self) -> (usize, usize) {
        (self.objects.len(), self.objects.iter().map(Object::pages).sum())
    }

    /// The response to Get Storage Info.
    pub(crate) fn storage(&self) -> Vec<u8> {
        let (records, pages) = self.used();
        [MAX_OBJECTS, MAX_OBJECTS - records, PAGES, PAGES - pages, PAGE]
            .into_iter()
            .flat_map(|n| u16::try_from(n).expect("small numbers").to_be_bytes())
            .collect()
    }

    /// Stores a new object; id 0 asks the device to choose one. Gives the id.
    pub(crate) fn insert(&mut self, mut object: Object) -> Result<u16, DeviceError> {
        if object.id == 0 {
            object.id = loop {
                let id = u16::from_be_bytes(random());
                if !matches!(id, 0 | 0xffff) && self.find(object.kind, id).is_none() {
                    break id;
                }
            };
        }
        // 0xffff stands for "none" in the log.
        if object.id == 0xffff {
            return Err(DeviceError::InvalidId);
        }
        if self.find(object.kind, object.id).is_some() {
            return Err(DeviceError::ObjectExists);
        }
        let (records, pages) = self.used();
        if records >= MAX_OBJECTS || pages + object.pages() > PAGES {
            return Err(DeviceError::StorageFailed);
        }
        let key = format!("{}/{}", object.kind, object.id);
        object.sequence = self.sequences.get(&key).copied().unwrap_or(0);
        self.sequences.insert(key, object.sequence.wrapping_add(1));
        let id = object.id;
        self.objects.push(object);
        Ok(id)
    }

    /// Reads the state of a device from its directory; none where there is none yet.
    pub(crate) fn load(directory: &Path) -> io::Result<Option<Self>> {
        let path = directory.join("device.json");
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        if metadata.len() > MAX_STATE {
            return Err(io::Error::other(format!("`{}` is longer than a device's state can be", path.display())));
        }
        Ok(Some(serde_json::from_slice(&fs::read(&path)?)?))
    }

    /// Replaces the state in one step: what a power cut leaves is the state before or after.
    pub(crate) fn save(bytes: &[u8], directory: &Path, durable: bool) -> io::Result<()> {
        let temporary = directory.join(".device.tmp");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&temporary, directory.join("device.json"))?;
        if durable { File::open(directory)?.sync_all() } else { Ok(()) }
    }
}
