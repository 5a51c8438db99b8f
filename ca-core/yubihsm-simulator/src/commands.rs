//! What each command inside a session does, and what it requires of the caller's key and of the object it touches.

use crate::attestation;
use crate::keys;
use crate::log::LOG_CAPACITY;
use crate::state::{Object, State, kind, origin, random};
use crate::wire::{DeviceError, Reader, algorithm, capability, command};
use crate::wrap;

type Answer = Result<Vec<u8>, DeviceError>;

/// "None" in the log.
pub(crate) const NONE: u16 = 0xffff;
/// The built-in certificate's id.
const DEVICE_CERTIFICATE: u16 = 0;
const MAX_RANDOM: usize = 2019;

/// One command at work.
pub(crate) struct Context<'a> {
    pub(crate) state: &'a mut State,
    /// The session's authentication key.
    pub(crate) caller: Object,
    /// For the log: the object used, and the second one.
    pub(crate) target: u16,
    pub(crate) second: u16,
    pub(crate) ends: Ends,
}

/// What ends with a command.
#[derive(Clone, Copy)]
pub(crate) enum Ends {
    Nothing,
    /// The session.
    Session,
    /// Everything: the device starts as from the factory.
    Device,
}

/// Device Info, which needs no session. `page` 1 exists since firmware 2.4.
pub(crate) fn device_info(state: &State, data: &[u8]) -> Answer {
    match data {
        [] | [0] => {
            let mut out = state.firmware.to_vec();
            out.extend_from_slice(&state.serial.to_be_bytes());
            out.push(u8::try_from(LOG_CAPACITY).expect("62"));
            out.push(state.log.used());
            out.extend_from_slice(&algorithm::ALL);
            Ok(out)
        }
        [1] if state.firmware >= [2, 4, 0] => Ok(b"simulator".to_vec()),
        _ => Err(DeviceError::InvalidData),
    }
}

const fn delete_capability(kind: u8) -> Option<u64> {
    match kind {
        kind::OPAQUE => Some(capability::DELETE_OPAQUE),
        kind::AUTHENTICATION_KEY => Some(capability::DELETE_AUTHENTICATION_KEY),
        kind::ASYMMETRIC_KEY => Some(capability::DELETE_ASYMMETRIC_KEY),
        kind::WRAP_KEY => Some(capability::DELETE_WRAP_KEY),
        _ => None,
    }
}

impl Context<'_> {
    pub(crate) fn run(&mut self, code: u8, data: &[u8]) -> Answer {
        let reader = Reader(data);
        match code {
            command::ECHO => Ok(data.to_vec()),
            command::DEVICE_INFO => device_info(self.state, data),
            command::CLOSE_SESSION => self.close(reader),
            command::GET_STORAGE_INFO => reader.end().map(|()| self.state.storage()),
            command::RESET_DEVICE => self.reset(reader),
            command::BLINK_DEVICE => self.blink(reader),
            command::GET_PSEUDO_RANDOM => self.pseudo_random(reader),
            command::LIST_OBJECTS => self.list(reader),
            command::GET_OBJECT_INFO => self.info(reader),
            command::DELETE_OBJECT => self.delete(reader),
            command::PUT_OPAQUE => self.put_opaque(reader),
            command::GET_OPAQUE => self.get_opaque(reader),
            command::PUT_AUTHENTICATION_KEY => self.put_authentication_key(reader),
            command::CHANGE_AUTHENTICATION_KEY => self.change_authentication_key(reader),
            command::PUT_ASYMMETRIC_KEY => self.put_asymmetric_key(reader),
            command::GENERATE_ASYMMETRIC_KEY => self.generate_asymmetric_key(reader),
            command::GET_PUBLIC_KEY => self.public_key(reader),
            command::SIGN_ECDSA => self.sign(reader, capability::SIGN_ECDSA, keys::sign_ecdsa),
            command::SIGN_EDDSA => self.sign(reader, capability::SIGN_EDDSA, keys::sign_eddsa),
            command::SIGN_ATTESTATION_CERTIFICATE => self.attest(reader),
            command::PUT_WRAP_KEY => self.put_wrap_key(reader),
            command::GENERATE_WRAP_KEY => self.generate_wrap_key(reader),
            command::EXPORT_WRAPPED => self.export_wrapped(reader),
            command::IMPORT_WRAPPED => self.import_wrapped(reader),
            command::GET_LOG_ENTRIES => self.log_entries(reader),
            command::SET_LOG_INDEX => self.set_log_index(reader),
            command::SET_OPTION => self.set_option(reader),
            command::GET_OPTION => self.get_option(reader),
            _ => Err(DeviceError::InvalidCommand),
        }
    }

    fn require(&self, capability: u64) -> Result<(), DeviceError> {
        if self.caller.capabilities & capability == capability { Ok(()) } else { Err(DeviceError::InsufficientPermissions) }
    }

    /// An object that shares a domain with the caller's key; others do not exist for it.
    fn visible(&self, kind: u8, id: u16) -> Result<&Object, DeviceError> {
        self.state.find(kind, id).filter(|o| o.domains & self.caller.domains != 0).ok_or(DeviceError::ObjectNotFound)
    }

    /// One that may also be used with `capability`.
    fn usable(&self, kind: u8, id: u16, capability: u64) -> Result<&Object, DeviceError> {
        self.require(capability)?;
        let object = self.visible(kind, id)?;
        if object.capabilities & capability == capability { Ok(object) } else { Err(DeviceError::InsufficientPermissions) }
    }

    /// Reads what all commands that make an object begin with, and holds it against what the caller may hand on.
    fn new_object(&mut self, reader: &mut Reader<'_>, kind: u8, has_delegated: bool) -> Result<Object, DeviceError> {
        let id = reader.u16()?;
        self.target = id;
        let label = reader.take(40)?.to_vec();
        let (domains, capabilities, algorithm) = (reader.u16()?, reader.u64()?, reader.u8()?);
        let delegated = if has_delegated { reader.u64()? } else { 0 };
        if domains == 0 {
            return Err(DeviceError::InvalidData);
        }
        let beyond_domains = domains & !self.caller.domains != 0;
        let beyond_capabilities = (capabilities | delegated) & !self.caller.delegated != 0;
        if beyond_domains || beyond_capabilities {
            return Err(DeviceError::InsufficientPermissions);
        }
        let value = Vec::new();
        Ok(Object { kind, id, label, domains, capabilities, delegated, algorithm, origin: origin::IMPORTED, sequence: 0, value })
    }

    fn insert(&mut self, object: Object) -> Answer {
        let id = self.state.insert(object)?;
        self.target = id;
        Ok(id.to_be_bytes().to_vec())
    }

    fn close(&mut self, reader: Reader<'_>) -> Answer {
        reader.end()?;
        self.ends = Ends::Session;
        Ok(Vec::new())
    }

    fn reset(&mut self, reader: Reader<'_>) -> Answer {
        reader.end()?;
        self.require(capability::RESET_DEVICE)?;
        self.ends = Ends::Device;
        Ok(Vec::new())
    }

    fn blink(&self, mut reader: Reader<'_>) -> Answer {
        reader.u8()?;
        reader.end().map(|()| Vec::new())
    }

    fn pseudo_random(&self, mut reader: Reader<'_>) -> Answer {
        let count = usize::from(reader.u16()?);
        reader.end()?;
        self.require(capability::GET_PSEUDO_RANDOM)?;
        if count > MAX_RANDOM {
            return Err(DeviceError::WrongLength);
        }
        Ok(random::<MAX_RANDOM>()[..count].to_vec())
    }

    fn list(&self, mut reader: Reader<'_>) -> Answer {
        let mut found: Vec<&Object> = self.state.objects.iter().filter(|o| o.domains & self.caller.domains != 0).collect();
        while !reader.0.is_empty() {
            match reader.u8()? {
                1 => {
                    let id = reader.u16()?;
                    found.retain(|o| o.id == id);
                }
                2 => {
                    let kind = reader.u8()?;
                    found.retain(|o| o.kind == kind);
                }
                3 => {
                    let domains = reader.u16()?;
                    found.retain(|o| o.domains & domains != 0);
                }
                4 => {
                    let capabilities = reader.u64()?;
                    found.retain(|o| o.capabilities & capabilities != 0);
                }
                5 => {
                    let algorithm = reader.u8()?;
                    found.retain(|o| o.algorithm == algorithm);
                }
                6 => {
                    let label = reader.take(40)?;
                    found.retain(|o| o.label == label);
                }
                _ => return Err(DeviceError::InvalidData),
            }
        }
        Ok(found.iter().flat_map(|o| [o.id.to_be_bytes().as_slice(), &[o.kind, o.sequence]].concat()).collect())
    }

    fn info(&mut self, mut reader: Reader<'_>) -> Answer {
        let (id, kind) = (reader.u16()?, reader.u8()?);
        reader.end()?;
        self.target = id;
        let object = self.visible(kind, id)?;
        let mut out = object.capabilities.to_be_bytes().to_vec();
        for field in [object.id, object.length(), object.domains] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        out.extend_from_slice(&[object.kind, object.algorithm, object.sequence, object.origin]);
        out.extend_from_slice(&object.label);
        out.extend_from_slice(&object.delegated.to_be_bytes());
        Ok(out)
    }

    fn delete(&mut self, mut reader: Reader<'_>) -> Answer {
        let (id, kind) = (reader.u16()?, reader.u8()?);
        reader.end()?;
        self.target = id;
        self.require(delete_capability(kind).ok_or(DeviceError::InvalidData)?)?;
        self.visible(kind, id)?;
        self.state.objects.retain(|o| (o.kind, o.id) != (kind, id));
        Ok(Vec::new())
    }

    fn put_opaque(&mut self, mut reader: Reader<'_>) -> Answer {
        self.require(capability::PUT_OPAQUE)?;
        let mut object = self.new_object(&mut reader, kind::OPAQUE, false)?;
        if !matches!(object.algorithm, algorithm::OPAQUE_DATA | algorithm::OPAQUE_X509_CERTIFICATE) || reader.0.is_empty() {
            return Err(DeviceError::InvalidData);
        }
        object.value = reader.rest().to_vec();
        self.insert(object)
    }

    fn get_opaque(&mut self, mut reader: Reader<'_>) -> Answer {
        let id = reader.u16()?;
        reader.end()?;
        self.target = id;
        self.require(capability::GET_OPAQUE)?;
        if id == DEVICE_CERTIFICATE {
            return Ok(self.state.maker.certificate.clone());
        }
        Ok(self.visible(kind::OPAQUE, id)?.value.clone())
    }

    fn put_authentication_key(&mut self, mut reader: Reader<'_>) -> Answer {
        self.require(capability::PUT_AUTHENTICATION_KEY)?;
        let mut object = self.new_object(&mut reader, kind::AUTHENTICATION_KEY, true)?;
        object.value = reader.take(32)?.to_vec();
        reader.end()?;
        if object.algorithm != algorithm::AES128_AUTHENTICATION {
            return Err(DeviceError::InvalidData);
        }
        self.insert(object)
    }

    fn change_authentication_key(&mut self, mut reader: Reader<'_>) -> Answer {
        let (id, algorithm, value) = (reader.u16()?, reader.u8()?, reader.take(32)?.to_vec());
        reader.end()?;
        self.target = id;
        self.require(capability::CHANGE_AUTHENTICATION_KEY)?;
        self.visible(kind::AUTHENTICATION_KEY, id)?;
        if algorithm != algorithm::AES128_AUTHENTICATION {
            return Err(DeviceError::InvalidData);
        }
        for object in self.state.objects.iter_mut().filter(|o| (o.kind, o.id) == (kind::AUTHENTICATION_KEY, id)) {
            object.value.clone_from(&value);
        }
        Ok(id.to_be_bytes().to_vec())
    }

    fn put_asymmetric_key(&mut self, mut reader: Reader<'_>) -> Answer {
        self.require(capability::PUT_ASYMMETRIC_KEY)?;
        let mut object = self.new_object(&mut reader, kind::ASYMMETRIC_KEY, false)?;
        object.value = reader.rest().to_vec();
        keys::import(object.algorithm, &object.value)?;
        self.insert(object)
    }

    fn generate_asymmetric_key(&mut self, mut reader: Reader<'_>) -> Answer {
        self.require(capability::GENERATE_ASYMMETRIC_KEY)?;
        let mut object = self.new_object(&mut reader, kind::ASYMMETRIC_KEY, false)?;
        reader.end()?;
        object.value = keys::generate(object.algorithm)?;
        object.origin = origin::GENERATED;
        self.insert(object)
    }

    fn public_key(&mut self, mut reader: Reader<'_>) -> Answer {
        let id = reader.u16()?;
        let kind = if reader.0.is_empty() { kind::ASYMMETRIC_KEY } else { reader.u8()? };
        reader.end()?;
        self.target = id;
        if kind != kind::ASYMMETRIC_KEY {
            return Err(DeviceError::InvalidData);
        }
        let object = self.visible(kind, id)?;
        Ok([&[object.algorithm], keys::public(object.algorithm, &object.value)?.as_slice()].concat())
    }

    fn sign(&mut self, mut reader: Reader<'_>, capability: u64, sign: fn(u8, &[u8], &[u8]) -> Answer) -> Answer {
        let id = reader.u16()?;
        self.target = id;
        let object = self.usable(kind::ASYMMETRIC_KEY, id, capability)?;
        sign(object.algorithm, &object.value, reader.rest())
    }

    fn attest(&mut self, mut reader: Reader<'_>) -> Answer {
        let (id, by) = (reader.u16()?, reader.u16()?);
        reader.end()?;
        (self.target, self.second) = (id, by);
        self.require(capability::SIGN_ATTESTATION_CERTIFICATE)?;
        let object = self.visible(kind::ASYMMETRIC_KEY, id)?;
        // Another key than the built-in one needs a template certificate, which nothing here has.
        if by != DEVICE_CERTIFICATE {
            return Err(DeviceError::ObjectNotFound);
        }
        attestation::certify(&self.state.maker, self.state.serial, self.state.firmware, object)
    }

    fn put_wrap_key(&mut self, mut reader: Reader<'_>) -> Answer {
        self.require(capability::PUT_WRAP_KEY)?;
        let mut object = self.new_object(&mut reader, kind::WRAP_KEY, true)?;
        object.value = reader.rest().to_vec();
        if object.value.len() != wrap::key_length(object.algorithm)? {
            return Err(DeviceError::WrongLength);
        }
        self.insert(object)
    }

    fn generate_wrap_key(&mut self, mut reader: Reader<'_>) -> Answer {
        self.require(capability::GENERATE_WRAP_KEY)?;
        let mut object = self.new_object(&mut reader, kind::WRAP_KEY, true)?;
        reader.end()?;
        object.value = random::<32>()[..wrap::key_length(object.algorithm)?].to_vec();
        object.origin = origin::GENERATED;
        self.insert(object)
    }

    fn export_wrapped(&mut self, mut reader: Reader<'_>) -> Answer {
        let (wrap_id, kind, id) = (reader.u16()?, reader.u8()?, reader.u16()?);
        // Since firmware 2.4 a flag asks for an Ed25519 seed; a seed is what the simulator keeps anyway.
        if !reader.0.is_empty() {
            reader.u8()?;
        }
        reader.end()?;
        (self.target, self.second) = (wrap_id, id);
        let wrap_key = self.usable(kind::WRAP_KEY, wrap_id, capability::EXPORT_WRAPPED)?;
        let object = self.visible(kind, id)?;
        let exportable = object.capabilities & capability::EXPORTABLE_UNDER_WRAP != 0;
        if !exportable || !covers(wrap_key, object) {
            return Err(DeviceError::InsufficientPermissions);
        }
        wrap::wrap(wrap_key, object)
    }

    fn import_wrapped(&mut self, mut reader: Reader<'_>) -> Answer {
        let wrap_id = reader.u16()?;
        self.target = wrap_id;
        let wrap_key = self.usable(kind::WRAP_KEY, wrap_id, capability::IMPORT_WRAPPED)?;
        let mut object = wrap::unwrap(wrap_key, reader.rest())?;
        let allowed = covers(wrap_key, &object);
        self.second = object.id;
        if !allowed {
            return Err(DeviceError::InsufficientPermissions);
        }
        object.origin |= origin::WRAPPED;
        let kind = object.kind;
        let id = self.state.insert(object)?;
        Ok([&[kind], id.to_be_bytes().as_slice()].concat())
    }

    fn log_entries(&self, reader: Reader<'_>) -> Answer {
        reader.end()?;
        self.require(capability::GET_LOG_ENTRIES)?;
        Ok(self.state.log.response())
    }

    fn set_log_index(&mut self, mut reader: Reader<'_>) -> Answer {
        let number = reader.u16()?;
        reader.end()?;
        self.require(capability::GET_LOG_ENTRIES)?;
        if self.state.log.acknowledge(number) { Ok(Vec::new()) } else { Err(DeviceError::InvalidData) }
    }

    fn set_option(&mut self, mut reader: Reader<'_>) -> Answer {
        let (option, length) = (reader.u8()?, reader.u16()?);
        let value = reader.take(usize::from(length))?;
        reader.end()?;
        self.require(capability::SET_OPTION)?;
        // A setting that is fixed stays until a reset.
        let may = |old: u8, new: u8| if new > 2 || (old == 2 && new != 2) { Err(DeviceError::InvalidData) } else { Ok(()) };
        match (option, value) {
            (1, [new]) => {
                may(self.state.force_audit, *new)?;
                self.state.force_audit = *new;
            }
            (3, pairs) if pairs.len().is_multiple_of(2) => {
                let mut changed = self.state.command_audit.clone();
                for pair in pairs.chunks(2) {
                    let old = changed.get_mut(&pair[0]).ok_or(DeviceError::InvalidData)?;
                    may(*old, pair[1])?;
                    *old = pair[1];
                }
                self.state.command_audit = changed;
            }
            _ => return Err(DeviceError::InvalidData),
        }
        Ok(Vec::new())
    }

    fn get_option(&self, mut reader: Reader<'_>) -> Answer {
        let option = reader.u8()?;
        reader.end()?;
        self.require(capability::GET_OPTION)?;
        match option {
            1 => Ok(vec![self.state.force_audit]),
            3 => Ok(command::AUDITABLE.iter().flat_map(|c| [*c, self.state.command_audit.get(c).copied().unwrap_or(0)]).collect()),
            _ => Err(DeviceError::InvalidData),
        }
    }
}

/// Whether a wrap key may carry an object: capabilities within its delegated ones, domains within its own.
fn covers(wrap_key: &Object, object: &Object) -> bool {
    (object.capabilities | object.delegated) & !wrap_key.delegated == 0 && object.domains & !wrap_key.domains == 0
}
