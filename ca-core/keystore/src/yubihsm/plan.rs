//! The file that says what a device is to become, and where the values of its keys come from.

use std::path::Path;

use ca_core::ports::FirmwareVersion;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::provision::{NewKey, NewWrapKey, Provisioning};
use super::roles::Role;
use super::sessions::{AuthenticationKey, SAFE_FIRMWARE, YubiHsmOptions, key_bytes};
use crate::{CredentialError, CredentialSpec, YubiHsmConnector};

/// What a device is to become: the form of a TOML file.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevicePlan {
    /// Where `yubihsm-connector` listens, on loopback; or `usb:` and the serial number.
    pub connector: YubiHsmConnector,
    /// The device's serial number, in decimal.
    pub serial: String,
    /// The lowest firmware that is good enough.
    #[serde(default = "default_firmware")]
    pub minimum_firmware: FirmwareVersion,
    /// The domains of all keys, 1 to 16.
    #[serde(default = "default_domains")]
    pub domains: Vec<u16>,
    /// The key that makes keys, for the ceremony only.
    pub ceremony: PlannedKey,
    /// Officer A's.
    pub custodian: PlannedKey,
    /// Officer B's, or the worker's.
    pub signer: PlannedKey,
    /// The auditor's.
    pub auditor: PlannedKey,
    /// Under which keys leave wrapped.
    #[serde(default)]
    pub wrap_key: Option<PlannedWrapKey>,
}

/// An authentication key of the plan.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedKey {
    /// Its id, 2 to 65534.
    pub id: u16,
    /// Where its value comes from: 32 random bytes, or 64 hexadecimal digits.
    pub credential: CredentialSpec,
}

/// The wrap key of the plan.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedWrapKey {
    /// Its id.
    pub id: u16,
    /// Its label: what a plan calls it.
    pub label: String,
    /// Where its value comes from.
    pub credential: CredentialSpec,
}

const fn default_firmware() -> FirmwareVersion {
    SAFE_FIRMWARE
}

fn default_domains() -> Vec<u16> {
    vec![1]
}

fn read(what: &str, credential: &CredentialSpec) -> Result<Zeroizing<[u8; 32]>, CredentialError> {
    let given = credential.source(&format!("Value of the {what} key"))?.credential(credential.name())?;
    key_bytes(&given).ok_or_else(|| {
        CredentialError::Wrong(format!("the value of the {what} key is not 32 bytes or 64 hexadecimal digits (hint: draw it at random)"))
    })
}

impl DevicePlan {
    /// Makes relative paths start at `base`.
    pub fn resolve(&mut self, base: &Path) {
        for key in [&mut self.ceremony, &mut self.custodian, &mut self.signer, &mut self.auditor] {
            key.credential.resolve(base);
        }
        if let Some(key) = &mut self.wrap_key {
            key.credential.resolve(base);
        }
    }

    /// Which device.
    pub fn options(&self) -> YubiHsmOptions {
        YubiHsmOptions {
            connector: self.connector.clone(),
            serial: self.serial.clone(),
            minimum_firmware: self.minimum_firmware,
            domains: self.domains.clone(),
        }
    }

    const fn key(&self, role: Role) -> &PlannedKey {
        match role {
            Role::Ceremony => &self.ceremony,
            Role::Custodian => &self.custodian,
            Role::Signer => &self.signer,
            Role::Auditor => &self.auditor,
        }
    }

    /// A role's key with its value.
    ///
    /// # Errors
    /// When its source does not give 32 bytes.
    pub fn value(&self, role: Role) -> Result<NewKey, CredentialError> {
        let PlannedKey { id, credential } = self.key(role);
        Ok(NewKey { id: *id, value: read(&role.to_string(), credential)? })
    }

    /// A role's key, to open a store with.
    ///
    /// # Errors
    /// When its source cannot be opened.
    pub fn login(&self, role: Role) -> Result<AuthenticationKey, CredentialError> {
        let PlannedKey { id, credential } = self.key(role);
        let source = credential.source(&format!("Value of the {role} key"))?;
        Ok(AuthenticationKey { id: *id, source, name: credential.name().to_owned() })
    }

    /// The id of every role's key.
    #[cfg(feature = "shares")]
    pub(crate) fn ids(&self) -> [u16; 4] {
        Role::ALL.map(|role| self.key(role).id)
    }

    /// The plan with every value, of which those of these ids are given.
    ///
    /// # Errors
    /// When a source does not give 32 bytes.
    #[cfg(feature = "shares")]
    pub(crate) fn with_values_of(&self, given: &[(u16, Zeroizing<[u8; 32]>)]) -> Result<Provisioning, CredentialError> {
        let value = |role: Role| {
            let id = self.key(role).id;
            match given.iter().find(|(given, _)| *given == id) {
                Some((_, value)) => Ok(NewKey { id, value: value.clone() }),
                None => self.value(role),
            }
        };
        Ok(Provisioning {
            options: self.options(),
            ceremony: value(Role::Ceremony)?,
            custodian: value(Role::Custodian)?,
            signer: value(Role::Signer)?,
            auditor: value(Role::Auditor)?,
            wrap_key: self.wrap_value()?,
        })
    }

    fn wrap_value(&self) -> Result<Option<NewWrapKey>, CredentialError> {
        let Some(key) = &self.wrap_key else { return Ok(None) };
        Ok(Some(NewWrapKey { id: key.id, label: key.label.clone(), value: read("wrap", &key.credential)? }))
    }

    /// The plan with every value.
    ///
    /// # Errors
    /// When a source does not give 32 bytes.
    pub fn with_values(&self) -> Result<Provisioning, CredentialError> {
        Ok(Provisioning {
            options: self.options(),
            ceremony: self.value(Role::Ceremony)?,
            custodian: self.value(Role::Custodian)?,
            signer: self.value(Role::Signer)?,
            auditor: self.value(Role::Auditor)?,
            wrap_key: self.wrap_value()?,
        })
    }
}
