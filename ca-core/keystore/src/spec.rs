//! Which key store, and how it is opened: one form for the configuration's `[keystore]` and for a ceremony's key store files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ca_core::ports::{KeyDevice, KeyStoreError};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::{CredentialError, CredentialSpec, SoftwareKeyStore, UnsealSpec, YubiHsmSpec};

/// Names a key store: its `kind`, which is `software` where it is left out, and what that kind needs. Unknown keys
/// are refused. Every kind can be named in every build; opening one that was left out of the build is an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyStoreSpec {
    /// `kind = "software"`: sealed files in a folder.
    Software(SoftwareSpec),
    /// `kind = "pkcs11"`: a PKCS#11 token.
    Pkcs11(Pkcs11Spec),
    /// `kind = "yubihsm"`: a YubiHSM 2, natively.
    YubiHsm(YubiHsmSpec),
}

/// Sealed files in a folder.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftwareSpec {
    /// The folder (0700).
    pub dir: PathBuf,
    /// What opens the files.
    pub unseal: UnsealSpec,
}

/// A PKCS#11 token, found by its label, its serial number or both.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11Spec {
    /// The vendor's module, a shared library. It is loaded into the process.
    pub module: PathBuf,
    /// The token's label.
    #[serde(default)]
    pub token: Option<String>,
    /// The token's serial number; slots may move, and labels may repeat.
    #[serde(default)]
    pub serial: Option<String>,
    /// Where the user's PIN comes from.
    pub pin: CredentialSpec,
    /// How many sessions sign at once, 1 to 64.
    #[serde(default = "default_sessions")]
    pub sessions: u8,
}

const fn default_sessions() -> u8 {
    4
}

impl<'de> Deserialize<'de> for KeyStoreSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fn of<T: DeserializeOwned, E: serde::de::Error>(map: Map<String, Value>) -> Result<T, E> {
            serde_json::from_value(Value::Object(map)).map_err(E::custom)
        }
        let mut map = Map::deserialize(deserializer)?;
        match map.remove("kind") {
            None => of(map).map(Self::Software),
            Some(Value::String(kind)) if kind == "software" => of(map).map(Self::Software),
            Some(Value::String(kind)) if kind == "pkcs11" => {
                let spec: Pkcs11Spec = of(map)?;
                spec.check().map_err(D::Error::custom)?;
                Ok(Self::Pkcs11(spec))
            }
            Some(Value::String(kind)) if kind == "yubihsm" => {
                let spec: YubiHsmSpec = of(map)?;
                spec.check().map_err(D::Error::custom)?;
                Ok(Self::YubiHsm(spec))
            }
            Some(other) => Err(D::Error::custom(format!("the kind of key store is {other}, not \"software\", \"pkcs11\" or \"yubihsm\""))),
        }
    }
}

impl Pkcs11Spec {
    fn check(&self) -> Result<(), &'static str> {
        // PKCS#11 §4.4 (CK_TOKEN_INFO): fixed widths, padded with blanks.
        let fits = |text: &Option<String>, width| text.as_ref().is_none_or(|t| !t.trim().is_empty() && t.len() <= width);
        match (&self.token, &self.serial) {
            (None, None) => Err("a pkcs11 key store needs `token` (the token's label), `serial` or both"),
            _ if !fits(&self.token, 32) => Err("`token` is a label of 1 to 32 bytes"),
            _ if !fits(&self.serial, 16) => Err("`serial` is a serial number of 1 to 16 bytes"),
            _ if !(1..=64).contains(&self.sessions) => Err("`sessions` is 1 to 64"),
            _ => Ok(()),
        }
    }
}

/// Why a key store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The secret that opens it was not had.
    #[error("the secret of the {what}: {source}")]
    Credential {
        /// Of what.
        what: String,
        /// Why not.
        source: CredentialError,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] KeyStoreError),
    /// This program was built without that kind.
    #[error("this build knows no {0} key stores (hint: build with the feature `{0}`)")]
    NotBuilt(&'static str),
}

impl KeyStoreSpec {
    /// Makes relative paths start at `base`.
    pub fn resolve(&mut self, base: &Path) {
        match self {
            Self::Software(spec) => {
                spec.dir = base.join(&spec.dir);
                spec.unseal.resolve(base);
            }
            Self::Pkcs11(spec) => {
                spec.module = base.join(&spec.module);
                spec.pin.resolve(base);
            }
            Self::YubiHsm(spec) => spec.resolve(base),
        }
    }

    /// The keyholder's socket and the credential that its secret is, where it is asked of one.
    pub fn keyholder(&self) -> Option<(&Path, &str)> {
        match self {
            Self::Software(SoftwareSpec { unseal: UnsealSpec::Keyholder { socket, credential }, .. })
            | Self::Pkcs11(Pkcs11Spec { pin: CredentialSpec::Keyholder { socket, credential }, .. }) => Some((socket, credential)),
            Self::YubiHsm(spec) => spec.keyholder(),
            Self::Software(_) | Self::Pkcs11(_) => None,
        }
    }

    /// Opens the key store; `what` names it to a person who is asked for its secret. Blocks.
    ///
    /// # Errors
    /// When its secret cannot be read, what the specification names is wrong, or this build has no such kind. A device
    /// that is merely away is no error here: [`ca_core::ports::KeyStore::health`] tells.
    pub fn open(&self, what: &str) -> Result<Arc<dyn KeyDevice>, OpenError> {
        let no_secret = |source| OpenError::Credential { what: what.to_owned(), source };
        match self {
            Self::Software(spec) => {
                let store = SoftwareKeyStore::open(&spec.dir, spec.unseal.opening(what).map_err(no_secret)?)?;
                Ok(Arc::new(store))
            }
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11(spec) => {
                let pin = spec.pin.source(&format!("PIN of the {spec}")).map_err(no_secret)?;
                Ok(Arc::new(crate::Pkcs11KeyStore::open(spec, pin)?))
            }
            #[cfg(not(feature = "pkcs11"))]
            Self::Pkcs11(_) => Err(OpenError::NotBuilt("pkcs11")),
            #[cfg(feature = "yubihsm")]
            Self::YubiHsm(spec) => Ok(Arc::new(crate::yubihsm::YubiHsmKeyStore::open(spec.options(), spec.sources().map_err(no_secret)?)?)),
            #[cfg(not(feature = "yubihsm"))]
            Self::YubiHsm(_) => Err(OpenError::NotBuilt("yubihsm")),
        }
    }
}

impl fmt::Display for KeyStoreSpec {
    /// The store's place, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Software(spec) => write!(f, "{}", spec.dir.display()),
            Self::Pkcs11(spec) => spec.fmt(f),
            Self::YubiHsm(spec) => spec.fmt(f),
        }
    }
}

impl fmt::Display for Pkcs11Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("token")?;
        if let Some(label) = &self.token {
            write!(f, " `{label}`")?;
        }
        if let Some(serial) = &self.serial {
            write!(f, " with serial number {serial}")?;
        }
        write!(f, " of {}", self.module.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Result<&KeyStoreSpec, &str>) {
        match (serde_json::from_str::<KeyStoreSpec>(json), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, *expected, "{json}"),
            (Err(got), Err(expected)) => assert!(got.to_string().contains(expected), "{json}: {got}"),
            (got, _) => panic!("{json} gave {got:?}"),
        }
    }

    #[test]
    fn the_forms() {
        let software = KeyStoreSpec::Software(SoftwareSpec { dir: "k".into(), unseal: UnsealSpec::Terminal });
        check(r#"{"dir":"k","unseal":"terminal"}"#, Ok(&software));
        check(r#"{"kind":"software","dir":"k","unseal":"terminal"}"#, Ok(&software));
        check(r#"{"dir":"k","unseal":"terminal","token":"t"}"#, Err("token"));
        let unseal = UnsealSpec::Keyholder { socket: "s".into(), credential: "authority".to_owned() };
        let attended = KeyStoreSpec::Software(SoftwareSpec { dir: "k".into(), unseal });
        check(r#"{"dir":"k","unseal":{"keyholder":"s","credential":"authority"}}"#, Ok(&attended));
        for wrong in [r#"{"keyholder":"s"}"#, r#"{"key_file":"a","passphrase_file":"b"}"#, r#"{"file":"a"}"#, r#""secret""#, "{}"] {
            let error = serde_json::from_str::<KeyStoreSpec>(&format!(r#"{{"dir":"k","unseal":{wrong}}}"#)).unwrap_err().to_string();
            assert!(!error.contains("secret"), "a secret written in the wrong place is not shown: {error}");
        }
        check(r#"{"kind":"tpm"}"#, Err("\"tpm\""));
        let pkcs11 = |pin| {
            KeyStoreSpec::Pkcs11(Pkcs11Spec { module: "m.so".into(), token: Some("online".to_owned()), serial: None, pin, sessions: 4 })
        };
        let with = |pin: &str| format!(r#"{{"kind":"pkcs11","module":"m.so","token":"online","pin":{pin}}}"#);
        check(&with(r#""terminal""#), Ok(&pkcs11(CredentialSpec::Terminal)));
        check(&with(r#"{"file":"pin"}"#), Ok(&pkcs11(CredentialSpec::File("pin".into()))));
        let keyholder = CredentialSpec::Keyholder { socket: "s".into(), credential: "online-pin".to_owned() };
        check(&with(r#"{"keyholder":"s","credential":"online-pin"}"#), Ok(&pkcs11(keyholder)));
        for wrong in [r#""1234""#, r#"{"keyholder":"s"}"#, r#"{"file":"pin","credential":"x"}"#, "{}", r#"{"pin":"1234"}"#] {
            let error = serde_json::from_str::<KeyStoreSpec>(&with(wrong)).unwrap_err().to_string();
            assert!(!error.contains("1234"), "a PIN written in the wrong place is not shown: {error}");
        }
        check(r#"{"kind":"pkcs11","module":"m.so","pin":"terminal"}"#, Err("needs `token`"));
        check(r#"{"kind":"pkcs11","module":"m.so","pin":"terminal","serial":"12345678901234567"}"#, Err("1 to 16 bytes"));
        check(r#"{"kind":"pkcs11","module":"m.so","pin":"terminal","token":"t","sessions":0}"#, Err("1 to 64"));
    }

    #[test]
    fn relative_paths_start_at_the_file() {
        let text = r#"{"kind":"pkcs11","module":"/usr/lib/m.so","token":"t","pin":{"file":"pin"}}"#;
        let mut spec: KeyStoreSpec = serde_json::from_str(text).unwrap();
        spec.resolve(Path::new("/etc/ca"));
        let KeyStoreSpec::Pkcs11(inner) = &spec else { panic!("{spec:?}") };
        assert_eq!((inner.module.as_path(), &inner.pin), (Path::new("/usr/lib/m.so"), &CredentialSpec::File("/etc/ca/pin".into())));
        assert_eq!(spec.to_string(), "token `t` of /usr/lib/m.so");
    }
}
