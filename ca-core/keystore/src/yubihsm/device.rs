//! The device behind the keys: what it is, holds, proves and remembers.

use async_trait::async_trait;
use ca_core::log::{YUBIHSM_ENTRY, is_reset};
use ca_core::model::KeyLabel;
use ca_core::pki::{YubiHsmClaims, check_yubihsm_attestation};
use ca_core::ports::{
    Attestation, DeviceIdentity, DeviceKind, DeviceLog, DeviceLogEntry, DeviceObject, KeyAttributes, KeyDevice, KeyInfo, KeyStoreError,
    WrappedKey,
};
use yubihsm::object::{self, Filter, Label, Origin, Type};
use yubihsm::{AuditOption, Capability, Client, wrap};

use super::keys::{Known, device_label};
use super::link::{Device, YubiHsmKeyStore};
use super::log::{check_chain, command_name, is_signature, result_octet};
use super::sessions::{Again, Trouble, domain_numbers, firmware, names, serial_text};

/// The default authentication key's label after a reset.
const DEFAULT_LABEL: &str = "DEFAULT AUTHKEY CHANGE THIS ASAP";
/// The maker's certificate for the device's own key lies in this opaque object.
pub(crate) const DEVICE_CERTIFICATE: object::Id = 0;

/// Runs a reading command on behalf of no key in particular.
fn ask<T>(
    device: &mut Device,
    capability: Capability,
    command: impl Fn(&Client) -> Result<T, yubihsm::client::Error>,
) -> Result<T, KeyStoreError> {
    device.sessions.run(capability, Again::Always, command).map_err(|trouble| device.note(trouble).into())
}

/// Every object that the client's key can see, sorted.
pub(crate) fn objects(client: &Client) -> Result<Vec<(DeviceObject, object::Info)>, yubihsm::client::Error> {
    let mut found = Vec::new();
    for entry in client.list_objects(&[])? {
        let info = client.get_object_info(entry.object_id, entry.object_type)?;
        let kind = match info.object_type {
            Type::AsymmetricKey => "private-key".to_owned(),
            other => other.to_string(),
        };
        let algorithm = match info.algorithm {
            yubihsm::Algorithm::Asymmetric(algorithm) => format!("{algorithm:?}"),
            yubihsm::Algorithm::Wrap(algorithm) => format!("{algorithm:?}"),
            _ => String::new(),
        };
        let algorithm = algorithm.to_ascii_lowercase();
        found.push((DeviceObject { kind, id: format!("{:#06x}", info.object_id), label: info.label.to_string(), algorithm }, info));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// The log as the device has it. Its chain is checked, as is that the driver could read all of it.
pub(crate) fn read_log(client: &Client) -> Result<Result<DeviceLog, KeyStoreError>, yubihsm::client::Error> {
    let log = client.get_log_entries()?;
    if log.entries.len() != usize::from(log.num_entries) {
        return Ok(Err(KeyStoreError::Damaged(format!(
            "the driver reads {} of the {} entries of the device's log (hint: read it with yubihsm-shell, and report the command of the next)",
            log.entries.len(),
            log.num_entries
        ))));
    }
    let entries: Vec<DeviceLogEntry> = log
        .entries
        .iter()
        .map(|entry| {
            let mut raw = Vec::with_capacity(YUBIHSM_ENTRY);
            raw.extend_from_slice(&entry.item.to_be_bytes());
            raw.push(entry.cmd.to_u8());
            for field in [entry.length, entry.session_key, entry.target_key, entry.second_key] {
                raw.extend_from_slice(&field.to_be_bytes());
            }
            raw.push(result_octet(entry.result));
            raw.extend_from_slice(&entry.tick.to_be_bytes());
            raw.extend_from_slice(entry.digest.as_ref());
            DeviceLogEntry {
                number: entry.item.into(),
                command: command_name(entry.cmd),
                key: None,
                is_signature: is_signature(entry.cmd),
                // A boot is written with result 0, which is the device's "ok".
                succeeded: entry.result.is_success() || entry.result == yubihsm::response::Code::DeviceOk,
                raw,
            }
        })
        .collect();
    Ok(check_chain(&entries).map(|()| DeviceLog {
        entries,
        unlogged_boots: log.unlogged_boot_events.into(),
        unlogged_authentications: log.unlogged_auth_events.into(),
    }))
}

/// In what the device differs from a freshly reset one, save for objects that `expected` knows.
pub(crate) fn deviations(client: &Client, expected: impl Fn(&object::Info) -> bool) -> Result<Vec<String>, yubihsm::client::Error> {
    let mut found = Vec::new();
    let mut has_default = false;
    for (described, info) in objects(client)? {
        if (info.object_type, info.object_id) == (Type::AuthenticationKey, 1) && described.label == DEFAULT_LABEL {
            has_default = true;
        } else if !expected(&info) {
            found.push(format!("it holds the {} {} `{}`", described.kind, described.id, described.label));
        }
    }
    if !has_default {
        found.push("the default authentication key is not there, or not as a reset leaves it".to_owned());
    }
    if client.get_force_audit_option()? != AuditOption::Off {
        found.push("audit is forced".to_owned());
    }
    let audited = client.get_commands_audit_options()?.iter().filter(|o| o.audit_option() != AuditOption::Off).count();
    if audited > 0 {
        found.push(format!("{audited} commands are audited"));
    }
    match read_log(client)? {
        Err(error) => found.push(error.to_string()),
        Ok(log) => found.extend(log_deviations(&log)),
    }
    Ok(found)
}

/// After a reset the log says that, and that the device started, once.
fn log_deviations(log: &DeviceLog) -> Vec<String> {
    let mut found = Vec::new();
    match log.entries.as_slice() {
        [first, rest @ ..] if is_reset(first) => {
            let boots = rest.iter().filter(|e| e.command == "boot").count();
            if boots != 1 {
                found.push(format!("it was started {boots} times since the reset"));
            }
            let others: Vec<&str> = rest.iter().map(|e| e.command.as_str()).filter(|c| *c != "boot").collect();
            if !others.is_empty() {
                found.push(format!("its log holds {}", others.join(", ")));
            }
        }
        _ => found.push("its log does not begin with a reset".to_owned()),
    }
    if log.unlogged_boots + log.unlogged_authentications > 0 {
        found.push(format!("{} starts and {} logins went unlogged", log.unlogged_boots, log.unlogged_authentications));
    }
    found
}

impl Device {
    /// A wrap key by its label, or by its id as `0x0002`.
    fn wrap_key(&mut self, label: &KeyLabel, name: &str) -> Result<object::Info, KeyStoreError> {
        let unsupported = |reason: String| KeyStoreError::Unsupported { label: label.clone(), reason };
        let id = match name.strip_prefix("0x").map(|digits| u16::from_str_radix(digits, 16)) {
            Some(Ok(id)) => id,
            _ => {
                let written = Label::from_bytes(name.as_bytes()).map_err(|_| unsupported(format!("`{name}` is no wrap key's label")))?;
                let found =
                    self.read(label, move |client| client.list_objects(&[Filter::Type(Type::WrapKey), Filter::Label(written.clone())]))?;
                match found.as_slice() {
                    [one] => one.object_id,
                    _ => {
                        return Err(unsupported(format!(
                            "{} wrap keys in the device are labelled `{name}` (hint: name one by its label, or by its id as 0x0002)",
                            found.len()
                        )));
                    }
                }
            }
        };
        self.read(label, move |client| client.get_object_info(id, Type::WrapKey)).map_err(|e| match e {
            KeyStoreError::NotFound(_) => unsupported(format!("the device has no wrap key `{name}`")),
            other => other,
        })
    }

    /// Whether a key with these capabilities can leave under the wrap key.
    pub(crate) fn check_wrap_key(&mut self, label: &KeyLabel, name: &str, capabilities: Capability) -> Result<(), KeyStoreError> {
        let wrap_key = self.wrap_key(label, name)?;
        if wrap_key.delegated_capabilities.contains(capabilities) {
            return Ok(());
        }
        Err(KeyStoreError::Unsupported {
            label: label.clone(),
            reason: format!("the wrap key `{name}` does not carry keys with {}", names(capabilities).join(", ")),
        })
    }

    fn identity(&mut self) -> Result<DeviceIdentity, KeyStoreError> {
        let info = ask(self, Capability::empty(), Client::device_info)?;
        let (serial, firmware) = (serial_text(&info), Some(firmware(&info)));
        Ok(DeviceIdentity { kind: DeviceKind::YubiHsm2, model: "Yubico YubiHSM 2".to_owned(), serial, firmware })
    }

    fn attributes(&mut self, label: &KeyLabel) -> Result<KeyAttributes, KeyStoreError> {
        self.known.remove(label);
        let Known { id, .. } = self.find(label)?;
        let info = self.read(label, move |client| client.get_object_info(id, Type::AsymmetricKey))?;
        let extractable = info.capabilities.contains(Capability::EXPORTABLE_UNDER_WRAP);
        Ok(KeyAttributes {
            made_inside: info.origin == Origin::Generated,
            // No command gives a private value in the clear, and only the device's own wrap keys wrap.
            sensitive: true,
            extractable,
            wrap_with_trusted_only: extractable,
            capabilities: names(info.capabilities),
            domains: domain_numbers(info.domains),
        })
    }

    fn attest(&mut self, label: &KeyLabel) -> Result<Attestation, KeyStoreError> {
        let Known { id, info } = self.find(label)?;
        let capabilities = Capability::SIGN_ATTESTATION_CERTIFICATE | Capability::GET_OPAQUE;
        let chain = self.run(label, capabilities, Again::Always, move |client| {
            Ok(vec![client.sign_attestation_certificate(id, None)?.into_vec(), client.get_opaque(DEVICE_CERTIFICATE)?])
        })?;
        let held = self.read(label, move |client| client.get_object_info(id, Type::AsymmetricKey))?;
        let attestation = Attestation { chain };
        // Without the maker's root: that the chain holds together and tells what the device itself tells.
        let damaged = |reason: String| KeyStoreError::Damaged(format!("the device's attestation of `{label}`: {reason}"));
        let claims = check_yubihsm_attestation(&attestation, &info.public_key, &[]).map_err(|e| damaged(e.to_string()))?;
        let YubiHsmClaims { serial, object_id, domains, capabilities, .. } = &claims;
        let as_held = (held.object_id, held.domains.bits(), held.capabilities.bits());
        if *serial != self.sessions.options.serial || (*object_id, *domains, *capabilities) != as_held {
            return Err(damaged(format!("it tells of another key or device: {claims:?}")));
        }
        Ok(attestation)
    }

    fn export_wrapped(&mut self, label: &KeyLabel, wrapping_key: &str) -> Result<WrappedKey, KeyStoreError> {
        let Known { id, info } = self.find(label)?;
        let wrap_id = self.wrap_key(label, wrapping_key)?.object_id;
        let message = self.run(label, Capability::EXPORT_WRAPPED, Again::IfNotDone, move |client| {
            client.export_wrapped(wrap_id, Type::AsymmetricKey, id)
        })?;
        Ok(WrappedKey {
            label: label.clone(),
            algorithm: info.algorithm,
            public_key: info.public_key,
            wrapping_key: wrapping_key.to_owned(),
            bytes: message.into_vec(),
        })
    }

    fn import_wrapped(&mut self, wrapped: &WrappedKey) -> Result<KeyInfo, KeyStoreError> {
        let label = &wrapped.label;
        let damaged = |reason: &str| KeyStoreError::Damaged(format!("the wrapped key `{label}`: {reason}"));
        if self.id_of(label)?.is_some() {
            return Err(KeyStoreError::Exists(label.clone()));
        }
        // 13 octets of nonce, 16 of MAC, and at most what a message carries.
        if !(29..=2000).contains(&wrapped.bytes.len()) {
            return Err(damaged("it is too short or too long"));
        }
        let wrap_id = self.wrap_key(label, &wrapped.wrapping_key)?.object_id;
        let message = wrap::Message::from_vec(wrapped.bytes.clone()).map_err(|_| damaged("it is too short"))?;
        let imported = self
            .sessions
            .run(Capability::IMPORT_WRAPPED, Again::IfNotDone, |client| client.import_wrapped(wrap_id, message.clone()))
            .map_err(|trouble| match trouble {
                Trouble::Device(yubihsm::device::ErrorKind::InvalidData) => {
                    damaged("the device's wrapping key does not open it (hint: it was changed, or wrapped under another key)")
                }
                other => self.note(other).about(label),
            })?;
        self.known.remove(label);
        match self.find(label) {
            Ok(known) if known.info.public_key == wrapped.public_key && known.id == imported.object_id => Ok(known.info),
            found => {
                // What came in is not what was named, so it goes again.
                let (id, kind) = (imported.object_id, imported.object_type);
                let removed = self.run(label, Capability::DELETE_ASYMMETRIC_KEY, Again::Always, move |c| c.delete_object(id, kind));
                self.known.remove(label);
                let left = if removed.is_ok() { "it was removed again" } else { "it could not be removed" };
                let why = found.map_or_else(|e| e.to_string(), |_| "its public half is another".to_owned());
                Err(damaged(&format!("what it held is not that key ({why}); {left}")))
            }
        }
    }

    fn destroy(&mut self, label: &KeyLabel) -> Result<(), KeyStoreError> {
        self.known.remove(label);
        let id = self.id_of(label)?.ok_or_else(|| KeyStoreError::NotFound(label.clone()))?;
        self.run(label, Capability::DELETE_ASYMMETRIC_KEY, Again::IfNotDone, move |client| client.delete_object(id, Type::AsymmetricKey))?;
        self.known.remove(label);
        match self.id_of(label)? {
            None => Ok(()),
            Some(_) => Err(KeyStoreError::Damaged(format!("the device still holds `{label}` after it was destroyed"))),
        }
    }

    fn log(&mut self) -> Result<DeviceLog, KeyStoreError> {
        let mut log = ask(self, Capability::GET_LOG_ENTRIES, read_log)??;
        let keys = ask(self, Capability::empty(), |client| client.list_objects(&[Filter::Type(Type::AsymmetricKey)]))?;
        for key in keys {
            let info = ask(self, Capability::empty(), |client| client.get_object_info(key.object_id, Type::AsymmetricKey))?;
            if let Some(label) = info.label.try_as_str().ok().and_then(|text| text.parse::<KeyLabel>().ok()) {
                self.labels.insert(key.object_id, label);
            }
        }
        for entry in log.entries.iter_mut().filter(|e| e.is_signature) {
            entry.key = self.labels.get(&u16::from_be_bytes([entry.raw[7], entry.raw[8]])).cloned();
        }
        Ok(log)
    }

    fn acknowledge(&mut self, number: u64) -> Result<(), KeyStoreError> {
        let number = u16::try_from(number).map_err(|_| KeyStoreError::Damaged(format!("the device counts to 65,535, not to {number}")))?;
        let set = self.sessions.run(Capability::GET_LOG_ENTRIES, Again::IfNotDone, |client| client.set_log_index(number));
        set.map_err(|trouble| KeyStoreError::from(self.note(trouble)))?;
        self.log_is_full = false;
        Ok(())
    }
}

#[async_trait]
impl KeyDevice for YubiHsmKeyStore {
    async fn identity(&self) -> Result<DeviceIdentity, KeyStoreError> {
        self.ask(Device::identity).await
    }

    async fn inventory(&self) -> Result<Vec<DeviceObject>, KeyStoreError> {
        self.ask(|device| ask(device, Capability::empty(), objects).map(|all| all.into_iter().map(|(object, _)| object).collect())).await
    }

    async fn deviations_from_reset(&self) -> Result<Vec<String>, KeyStoreError> {
        self.ask(|device| {
            let capabilities = Capability::GET_OPTION | Capability::GET_LOG_ENTRIES;
            match device.sessions.run(capabilities, Again::Always, |client| deviations(client, |_| false)) {
                // The factory's key could, and the ceremony key; those that stay cannot.
                Err(Trouble::Missing(_)) => {
                    Ok(vec!["no key that was given may read its settings, so that it was set up before".to_owned()])
                }
                other => other.map_err(|trouble| device.note(trouble).into()),
            }
        })
        .await
    }

    async fn attributes(&self, label: &KeyLabel) -> Result<KeyAttributes, KeyStoreError> {
        let label = label.clone();
        self.ask(move |device| device.attributes(&label)).await
    }

    async fn attest(&self, label: &KeyLabel) -> Result<Option<Attestation>, KeyStoreError> {
        let label = label.clone();
        self.ask(move |device| device.attest(&label)).await.map(Some)
    }

    async fn export_wrapped(&self, label: &KeyLabel, wrapping_key: &str) -> Result<WrappedKey, KeyStoreError> {
        let (label, wrapping_key) = (label.clone(), wrapping_key.to_owned());
        self.ask(move |device| device.export_wrapped(&label, &wrapping_key)).await
    }

    async fn import_wrapped(&self, wrapped: &WrappedKey) -> Result<KeyInfo, KeyStoreError> {
        device_label(&wrapped.label)?;
        let wrapped = wrapped.clone();
        self.ask(move |device| device.import_wrapped(&wrapped)).await
    }

    async fn destroy(&self, label: &KeyLabel) -> Result<(), KeyStoreError> {
        let label = label.clone();
        self.ask(move |device| device.destroy(&label)).await
    }

    async fn log(&self) -> Result<Option<DeviceLog>, KeyStoreError> {
        self.ask(Device::log).await.map(Some)
    }

    async fn acknowledge_log(&self, number: u64) -> Result<(), KeyStoreError> {
        self.ask(move |device| device.acknowledge(number)).await
    }
}
