//! A YubiHSM 2 as a configuration names it. In every build, so that every build can say why it does not open one.

use std::fmt;
use std::path::Path;

use ca_core::ports::FirmwareVersion;
use serde::Deserialize;

use crate::connector::is_serial;
use crate::{CredentialSpec, YubiHsmConnector};

/// A YubiHSM 2 and how it is reached.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct YubiHsmSpec {
    /// Where `yubihsm-connector` listens, on loopback: `127.0.0.1:12345`; or `usb:` and the serial number.
    pub connector: YubiHsmConnector,
    /// The device's serial number, in decimal.
    pub serial: String,
    /// The lowest firmware that is good enough.
    #[serde(default = "default_firmware")]
    pub minimum_firmware: FirmwareVersion,
    /// The domains of the keys, 1 to 16.
    #[serde(default = "default_domains")]
    pub domains: Vec<u16>,
    /// The authentication keys that this process has: a worker the signer's, and the auditor's where it drains the log.
    pub keys: Vec<YubiHsmKeySpec>,
}

/// One of the device's authentication keys.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct YubiHsmKeySpec {
    /// Its id.
    pub id: u16,
    /// Where its value comes from: 64 hexadecimal digits, or the 32 bytes themselves from a keyholder.
    pub credential: CredentialSpec,
}

/// CVE-2024-45678: below it, an ECDSA key can be read out by whoever holds the device.
const fn default_firmware() -> FirmwareVersion {
    FirmwareVersion(2, 4, 0)
}

fn default_domains() -> Vec<u16> {
    vec![1]
}

impl YubiHsmSpec {
    pub(crate) fn check(&self) -> Result<(), String> {
        let ids: Vec<u16> = self.keys.iter().map(|key| key.id).collect();
        let wrong = |reason: &str| Err(reason.to_owned());
        if !is_serial(&self.serial) {
            wrong("`serial` is the device's serial number: 1 to 10 digits, without zeros in front")
        } else if self.domains.is_empty() || self.domains.iter().any(|d| !(1..=16).contains(d)) {
            wrong("`domains` are one or more of 1 to 16")
        } else if ids.is_empty() || ids.len() > 8 || ids.iter().enumerate().any(|(n, id)| ids[..n].contains(id)) {
            wrong("`keys` are 1 to 8 authentication keys with different ids")
        } else {
            self.connector.check(&self.serial)
        }
    }

    pub(crate) fn resolve(&mut self, base: &Path) {
        for key in &mut self.keys {
            key.credential.resolve(base);
        }
    }

    /// The first keyholder that a value is asked of, and that credential.
    pub(crate) fn keyholder(&self) -> Option<(&Path, &str)> {
        self.keys.iter().find_map(|key| match &key.credential {
            CredentialSpec::Keyholder { socket, credential } => Some((socket.as_path(), credential.as_str())),
            CredentialSpec::File(_) | CredentialSpec::Terminal => None,
        })
    }

    #[cfg(feature = "yubihsm")]
    pub(crate) fn options(&self) -> crate::yubihsm::YubiHsmOptions {
        crate::yubihsm::YubiHsmOptions {
            connector: self.connector.clone(),
            serial: self.serial.clone(),
            minimum_firmware: self.minimum_firmware,
            domains: self.domains.clone(),
        }
    }

    /// The authentication keys that it names, of which those of these ids are given.
    #[cfg(all(feature = "yubihsm", feature = "shares"))]
    pub(crate) fn sources_with(
        &self,
        given: &[(u16, zeroize::Zeroizing<[u8; 32]>)],
    ) -> Result<Vec<crate::yubihsm::AuthenticationKey>, crate::CredentialError> {
        let mut keys = crate::yubihsm::given_keys(given);
        let others =
            Self { keys: self.keys.iter().filter(|k| !given.iter().any(|(id, _)| *id == k.id)).cloned().collect(), ..self.clone() };
        keys.extend(others.sources()?);
        Ok(keys)
    }

    /// Opens the sources of the keys' values.
    #[cfg(feature = "yubihsm")]
    pub(crate) fn sources(&self) -> Result<Vec<crate::yubihsm::AuthenticationKey>, crate::CredentialError> {
        let open = |key: &YubiHsmKeySpec| {
            let source = key.credential.source(&format!("Authentication key {:#06x} of the {self}", key.id))?;
            Ok(crate::yubihsm::AuthenticationKey { id: key.id, source, name: key.credential.name().to_owned() })
        };
        self.keys.iter().map(open).collect()
    }
}

impl fmt::Display for YubiHsmSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "YubiHSM 2 with serial number {} at {}", self.serial, self.connector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyStoreSpec;

    fn parse(json: &str) -> Result<KeyStoreSpec, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    const KEYS: &str = r#"[{"id":12,"credential":{"file":"signer"}}]"#;

    #[test]
    fn the_form() {
        let text = format!(r#"{{"kind":"yubihsm","connector":"127.0.0.1:12345","serial":"12345678","keys":{KEYS}}}"#);
        let mut spec = parse(&text).unwrap();
        spec.resolve(Path::new("/etc/ca"));
        let expected = YubiHsmSpec {
            connector: "127.0.0.1:12345".parse().unwrap(),
            serial: "12345678".to_owned(),
            minimum_firmware: FirmwareVersion(2, 4, 0),
            domains: vec![1],
            keys: vec![YubiHsmKeySpec { id: 12, credential: CredentialSpec::File("/etc/ca/signer".into()) }],
        };
        assert_eq!(spec, KeyStoreSpec::YubiHsm(expected));
        assert_eq!(spec.to_string(), "YubiHSM 2 with serial number 12345678 at 127.0.0.1:12345");
    }

    #[test]
    fn over_usb_where_the_build_has_it() {
        let text = format!(r#"{{"kind":"yubihsm","connector":"usb:12345678","serial":"12345678","keys":{KEYS}}}"#);
        if cfg!(feature = "yubihsm-usb") {
            assert_eq!(parse(&text).unwrap().to_string(), "YubiHSM 2 with serial number 12345678 at usb:12345678");
        } else {
            assert!(parse(&text).unwrap_err().contains("build with the feature `yubihsm-usb`"));
        }
    }

    #[test]
    fn wrong_forms() {
        let check = |from: &str, to: &str, expected: &str| {
            let text = format!(
                r#"{{"kind":"yubihsm","connector":"127.0.0.1:12345","serial":"12345678","domains":[1],"minimum_firmware":"2.4.0","keys":{KEYS}}}"#
            );
            let error = parse(&text.replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "`{expected}` is not in: {error}");
        };
        check("127.0.0.1", "192.0.2.7", "not on loopback");
        check("127.0.0.1:12345", "usb:12345679", "they are one device");
        check("127.0.0.1:12345", "usb", "or `usb:` and the device's serial number");
        check("12345678\"", "0012345678\"", "without zeros in front");
        check("[1]", "[]", "one or more of 1 to 16");
        check("[1]", "[17]", "one or more of 1 to 16");
        check("2.4.0", "two", "is not a firmware version");
        check(KEYS, "[]", "1 to 8 authentication keys");
        check(r#""id":12"#, r#""id":12,"password":"x""#, "unknown field `password`");
        check(r#""serial""#, r#""speed":1,"serial""#, "unknown field `speed`");
    }
}
