//! From the factory's state to split capabilities, so that a power cut at any step leaves nothing half-made: every step can
//! be taken again, and the default authentication key goes last, once the new ones have opened sessions.

use ca_core::ports::{DeviceObject, FirmwareVersion, KeyStoreError};
use yubihsm::device::ErrorKind as DeviceErrorKind;
use yubihsm::object::{self, Label, Origin, Type};
use yubihsm::{AuditOption, Capability, Client, Domain, authentication, command, wrap};
use zeroize::Zeroizing;

use super::device::{DEVICE_CERTIFICATE, deviations, objects};
use super::roles::{Role, key_capabilities, resident_capabilities};
use super::sessions::{Trouble, YubiHsmOptions, check_device, firmware, names, open_session, serial_text, trouble};

const DEFAULT_KEY: object::Id = 1;

/// Commands whose audit is fixed until the device is reset: what uses, makes, moves or destroys keys, changes what is
/// audited, or logs in. Never the commands that read and acknowledge the log, nor session messages: the device could then
/// not be drained when its log is full.
const AUDITED: [command::Code; 22] = [
    command::Code::AuthenticateSession,
    command::Code::ResetDevice,
    command::Code::PutOpaqueObject,
    command::Code::PutAuthenticationKey,
    command::Code::ChangeAuthenticationKey,
    command::Code::PutAsymmetricKey,
    command::Code::GenerateAsymmetricKey,
    command::Code::PutWrapKey,
    command::Code::GenerateWrapKey,
    command::Code::ExportWrapped,
    command::Code::ImportWrapped,
    command::Code::SetOption,
    command::Code::DeleteObject,
    command::Code::SignPkcs1,
    command::Code::SignPss,
    command::Code::SignEcdsa,
    command::Code::SignEddsa,
    command::Code::SignAttestationCertificate,
    command::Code::SignSshCertificate,
    command::Code::DecryptPkcs1,
    command::Code::DecryptOaep,
    command::Code::DeriveEcdh,
];

/// A new authentication key.
pub struct NewKey {
    /// Its id, 2 to 65534.
    pub id: u16,
    /// Its value: 32 random bytes, never derived from a password (ceremony requirement 24).
    pub value: Zeroizing<[u8; 32]>,
}

/// A new wrap key, AES-256, for keys that are absent at rest or backed up.
pub struct NewWrapKey {
    /// Its id.
    pub id: u16,
    /// Its label, at most 40 bytes.
    pub label: String,
    /// Its value: 32 random bytes. It exists outside the device as shares only.
    pub value: Zeroizing<[u8; 32]>,
}

/// What a device is to become.
pub struct Provisioning {
    /// Which device, at least which firmware, and the domains of all its keys.
    pub options: YubiHsmOptions,
    /// Makes keys; deleted by [`retire_ceremony_key`].
    pub ceremony: NewKey,
    /// Officer A's.
    pub custodian: NewKey,
    /// Officer B's, or the worker's.
    pub signer: NewKey,
    /// The auditor's.
    pub auditor: NewKey,
    /// Where keys leave wrapped.
    pub wrap_key: Option<NewWrapKey>,
}

/// What a device became.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provisioned {
    /// Its serial number.
    pub serial: String,
    /// Its firmware.
    pub firmware: FirmwareVersion,
    /// Every object in it.
    pub objects: Vec<DeviceObject>,
    /// The maker's certificate (DER) for the device's own key, which signs its attestations.
    pub certificate: Vec<u8>,
}

/// Why a device is not what it should become. What was done so far can be done again.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The device is not as a reset leaves it (ceremony requirement 17).
    #[error("the device is not freshly reset: {} (hint: reset it, and start it once)", .0.join("; "))]
    NotFresh(Vec<String>),
    /// An object is there, or was made, with other attributes than planned.
    #[error("the device's {what} is not as planned: {found} (hint: reset the device and begin anew)")]
    Differs {
        /// Which object.
        what: String,
        /// What was found.
        found: String,
    },
    /// The plan itself.
    #[error("{0}")]
    Plan(String),
    /// The device, at a step.
    #[error("cannot {step}: {source}")]
    Device {
        /// What was tried.
        step: String,
        /// Why it failed.
        source: KeyStoreError,
    },
}

fn at(step: impl Into<String>) -> impl FnOnce(Trouble) -> ProvisionError {
    let step = step.into();
    move |source| ProvisionError::Device { step, source: source.into() }
}

fn step<T>(name: &str, result: Result<T, yubihsm::client::Error>) -> Result<T, ProvisionError> {
    result.map_err(|e| at(name)(trouble(&e)))
}

/// The authentication key after a reset: PBKDF2 over `password` with Yubico's fixed salt, as the maker documents it.
fn default_key() -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0u8; 32]);
    let rounds = std::num::NonZeroU32::new(10_000).expect("not zero");
    aws_lc_rs::pbkdf2::derive(aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256, rounds, b"Yubico", b"password", key.as_mut_slice());
    key
}

/// The authentication key of a device from the factory.
#[cfg(feature = "shares")]
pub(crate) fn factory_key() -> super::AuthenticationKey {
    let mut keys = super::sessions::given_keys(&[(DEFAULT_KEY, default_key())]);
    keys.pop().expect("one was given")
}

impl Provisioning {
    /// Every role's value, by the key's id.
    #[cfg(feature = "shares")]
    pub(crate) fn values(&self) -> Vec<(u16, Zeroizing<[u8; 32]>)> {
        Role::ALL.map(|role| (self.key(role).id, self.key(role).value.clone())).to_vec()
    }

    fn key(&self, role: Role) -> &NewKey {
        match role {
            Role::Ceremony => &self.ceremony,
            Role::Custodian => &self.custodian,
            Role::Signer => &self.signer,
            Role::Auditor => &self.auditor,
        }
    }

    fn check(&self) -> Result<Domain, ProvisionError> {
        let plan = |reason: &str| ProvisionError::Plan(reason.to_owned());
        self.options.connector.check(&self.options.serial).map_err(ProvisionError::Plan)?;
        let keys = Role::ALL.map(|role| self.key(role));
        if keys.iter().any(|k| matches!(k.id, 0 | DEFAULT_KEY | 0xffff)) {
            return Err(plan("an authentication key's id is 2 to 65534"));
        }
        if keys.iter().enumerate().any(|(n, k)| keys[..n].iter().any(|other| other.id == k.id || other.value == k.value)) {
            return Err(plan("two roles have the same id or the same value (hint: draw each value at random)"));
        }
        if keys.iter().any(|k| k.value.iter().all(|b| *b == k.value[0])) || self.wrap_key.as_ref().is_some_and(|w| *w.value == [0; 32]) {
            return Err(plan("a key's value is not random (hint: draw 32 bytes from the operating system)"));
        }
        if self.wrap_key.as_ref().is_some_and(|w| matches!(w.id, 0 | 0xffff) || w.label.is_empty() || w.label.len() > 40) {
            return Err(plan("a wrap key has an id of 1 to 65534 and a label of 1 to 40 bytes"));
        }
        self.options.domain_bits().map_err(at("read the plan"))
    }

    /// Whether an object is one that this plan makes.
    fn plans(&self, info: &object::Info) -> bool {
        match info.object_type {
            Type::AuthenticationKey => {
                Role::ALL.iter().any(|role| self.key(*role).id == info.object_id && info.label.to_string() == role.label())
            }
            Type::WrapKey => self.wrap_key.as_ref().is_some_and(|w| w.id == info.object_id && info.label.to_string() == w.label),
            _ => false,
        }
    }
}

/// Provisions a device: forces audit, puts each role's key in with its capabilities and no more, reads everything back, opens a
/// session with each new key, and only then deletes the default one (ceremony requirement 18). Blocks.
///
/// It may be called again with the same plan after a failure at any step, and goes on where it stopped; on a finished
/// device it only checks.
///
/// # Errors
/// When the device is not freshly reset and holds something that the plan does not, or says other than was asked.
pub fn provision(plan: &Provisioning) -> Result<Provisioned, ProvisionError> {
    let domains = plan.check()?;
    let options = &plan.options;
    match open_session(&options.connector, DEFAULT_KEY, &default_key()) {
        Ok(factory) => {
            let info = step("read the device's serial number", factory.device_info())?;
            check_device(&info, options).map_err(at("check the device"))?;
            check_fresh(plan, &factory)?;
            force_audit(&factory)?;
            install(plan, &factory, domains)?;
        }
        // It is gone: then the ceremony key is there, or this is not the device that was begun with.
        Err(Trouble::Credential(_)) => {}
        Err(other) => return Err(at("open a session with the default authentication key")(other)),
    }
    // Requirement 18: each new key opens a session, with the value that its holder will have.
    let mut sessions = Vec::new();
    for role in Role::ALL {
        let key = plan.key(role);
        sessions.push(open_session(&options.connector, key.id, &key.value).map_err(at(format!("open a session as {role}")))?);
    }
    let ceremony = &sessions[0];
    check_device(&step("read the device's serial number", ceremony.device_info())?, options).map_err(at("check the device"))?;
    verify(plan, ceremony, domains)?;
    match ceremony.delete_object(DEFAULT_KEY, Type::AuthenticationKey) {
        Ok(()) => {}
        Err(e) if e.device_error() == Some(DeviceErrorKind::ObjectNotFound) => {}
        Err(e) => return Err(at("delete the default authentication key")(trouble(&e))),
    }
    match open_session(&options.connector, DEFAULT_KEY, &default_key()) {
        Err(Trouble::Credential(_)) => {}
        Err(other) => return Err(at("see that the default authentication key is gone")(other)),
        Ok(_) => return Err(ProvisionError::Differs { what: "default authentication key".to_owned(), found: "still there".to_owned() }),
    }
    let info = step("read the device's serial number", ceremony.device_info())?;
    let objects = step("list the device's objects", objects(ceremony))?;
    Ok(Provisioned {
        serial: serial_text(&info),
        firmware: firmware(&info),
        objects: objects.into_iter().map(|(object, _)| object).collect(),
        certificate: step("read the device's certificate", ceremony.get_opaque(DEVICE_CERTIFICATE))?,
    })
}

/// Requirement 17, on a device where nothing was begun; on one where something was, that there is nothing else.
fn check_fresh(plan: &Provisioning, factory: &Client) -> Result<(), ProvisionError> {
    let held = step("list the device's objects", objects(factory))?;
    let begun = held.iter().any(|(_, info)| plan.plans(info)) || step("read the audit settings", is_audited(factory))?;
    let found = step("compare the device with a freshly reset one", deviations(factory, |info| plan.plans(info)))?;
    // Once audit is on, settings and log differ by this program's own doing.
    let found: Vec<String> = found.into_iter().filter(|d| !begun || d.starts_with("it holds")).collect();
    if found.is_empty() { Ok(()) } else { Err(ProvisionError::NotFresh(found)) }
}

fn is_audited(client: &Client) -> Result<bool, yubihsm::client::Error> {
    Ok(client.get_commands_audit_options()?.iter().any(|o| o.audit_option() != AuditOption::Off))
}

fn force_audit(factory: &Client) -> Result<(), ProvisionError> {
    let set = step("read the audit settings", factory.get_commands_audit_options())?;
    // What sets options is audited first, so that the rest of the settings are on record.
    for code in std::iter::once(command::Code::SetOption).chain(AUDITED) {
        let fixed = set.iter().any(|o| o.command_type() == code && o.audit_option() == AuditOption::Fix);
        if !fixed {
            step("have a command audited", factory.set_command_audit_option(code, AuditOption::Fix))?;
        }
    }
    if step("read whether audit is forced", factory.get_force_audit_option())? != AuditOption::Fix {
        step("force audit", factory.set_force_audit_option(AuditOption::Fix))?;
    }
    Ok(())
}

fn wrap_capabilities() -> Capability {
    Capability::EXPORT_WRAPPED | Capability::IMPORT_WRAPPED
}

fn label(text: &str) -> Result<Label, ProvisionError> {
    Label::from_bytes(text.as_bytes()).map_err(|e| ProvisionError::Plan(e.to_string()))
}

fn install(plan: &Provisioning, factory: &Client, domains: Domain) -> Result<(), ProvisionError> {
    let is_there = |id, kind| match factory.get_object_info(id, kind) {
        Ok(_) => Ok(true),
        Err(e) if e.device_error() == Some(DeviceErrorKind::ObjectNotFound) => Ok(false),
        Err(e) => Err(at("look for an object")(trouble(&e))),
    };
    if let Some(key) = &plan.wrap_key
        && !is_there(key.id, Type::WrapKey)?
    {
        let put = factory.put_wrap_key(
            key.id,
            label(&key.label)?,
            domains,
            wrap_capabilities(),
            key_capabilities(),
            wrap::Algorithm::Aes256Ccm,
            key.value.to_vec(),
        );
        step("put the wrap key", put)?;
    }
    for role in Role::ALL {
        let key = plan.key(role);
        if !is_there(key.id, Type::AuthenticationKey)? {
            let put = factory.put_authentication_key(
                key.id,
                label(role.label())?,
                domains,
                role.capabilities(),
                role.delegated(),
                authentication::Algorithm::YubicoAes,
                authentication::Key::new(*key.value),
            );
            step(&format!("put the {role} key"), put)?;
        }
    }
    Ok(())
}

/// Reads back what the plan asks for: capabilities, delegated ones, domains, origin, and the audit settings.
fn verify(plan: &Provisioning, client: &Client, domains: Domain) -> Result<(), ProvisionError> {
    let mut wanted: Vec<(object::Id, Type, String, Capability, Capability)> = Role::ALL
        .iter()
        .map(|role| {
            let id = plan.key(*role).id;
            (id, Type::AuthenticationKey, role.label().to_owned(), role.capabilities(), role.delegated())
        })
        .collect();
    if let Some(key) = &plan.wrap_key {
        wanted.push((key.id, Type::WrapKey, key.label.clone(), wrap_capabilities(), key_capabilities()));
    }
    for (id, kind, name, capabilities, delegated) in wanted {
        let info = step("read an object back", client.get_object_info(id, kind))?;
        let as_planned = info.capabilities == capabilities
            && info.delegated_capabilities == delegated
            && info.domains == domains
            && info.origin == Origin::Imported
            && info.label == label(&name)?;
        if !as_planned {
            return Err(ProvisionError::Differs { what: format!("{kind} {id:#06x}"), found: format!("{info:?}") });
        }
    }
    let set = step("read the audit settings", client.get_commands_audit_options())?;
    for code in AUDITED {
        if !set.iter().any(|o| o.command_type() == code && o.audit_option() == AuditOption::Fix) {
            return Err(ProvisionError::Differs { what: format!("audit of {code:?}"), found: "not fixed".to_owned() });
        }
    }
    for code in [command::Code::GetLogEntries, command::Code::SetLogIndex, command::Code::SessionMessage] {
        if set.iter().any(|o| o.command_type() == code && o.audit_option() != AuditOption::Off) {
            let found = "on: a full log would lock the device".to_owned();
            return Err(ProvisionError::Differs { what: format!("audit of {code:?}"), found });
        }
    }
    if step("read whether audit is forced", client.get_force_audit_option())? != AuditOption::Fix {
        return Err(ProvisionError::Differs { what: "forced audit".to_owned(), found: "not fixed".to_owned() });
    }
    Ok(())
}

/// Ends a ceremony: deletes the ceremony key with its own session, after seeing that no key that stays can make keys, export,
/// or change the device. Blocks. May be called again.
///
/// # Errors
/// When a key that stays may do more, or the device refuses.
pub fn retire_ceremony_key(options: &YubiHsmOptions, key: &NewKey) -> Result<(), ProvisionError> {
    let connector = &options.connector;
    connector.check(&options.serial).map_err(ProvisionError::Plan)?;
    let client = match open_session(connector, key.id, &key.value) {
        Ok(client) => client,
        // It is gone already.
        Err(Trouble::Credential(reason)) if reason.contains("not found") => return Ok(()),
        Err(other) => return Err(at("open a session as ceremony")(other)),
    };
    check_device(&step("read the device's serial number", client.device_info())?, options).map_err(at("check the device"))?;
    for (described, info) in step("list the device's objects", objects(&client))? {
        let stays = info.object_type == Type::AuthenticationKey && info.object_id != key.id;
        let beyond = (info.capabilities | info.delegated_capabilities).difference(resident_capabilities());
        if stays && !beyond.is_empty() {
            let found = format!("it may {}", names(beyond).join(", "));
            return Err(ProvisionError::Differs { what: format!("authentication key {} `{}`", described.id, described.label), found });
        }
    }
    step("delete the ceremony key", client.delete_object(key.id, Type::AuthenticationKey))?;
    match open_session(connector, key.id, &key.value) {
        Err(Trouble::Credential(_)) => Ok(()),
        Err(other) => Err(at("see that the ceremony key is gone")(other)),
        Ok(_) => Err(ProvisionError::Differs { what: "ceremony key".to_owned(), found: "still there".to_owned() }),
    }
}
