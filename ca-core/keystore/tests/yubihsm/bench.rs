//! A simulated device, provisioned or not, and stores on it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ca_core::model::KeyLabel;
use ca_core::pki::KeyAlgorithm;
use ca_core::ports::{FirmwareVersion, GenerateKey, KeyInfo, KeyStore as _, KeyStoreError};
use ca_keystore::yubihsm::{AuthenticationKey, NewKey, NewWrapKey, Provisioning, Role, YubiHsmKeyStore, YubiHsmOptions, provision};
use ca_keystore::{CredentialError, CredentialSource};
use ca_yubihsm_simulator::{ManualClock, Options, Simulator};
use yubihsm::{Client, Connector, Credentials, HttpConfig, authentication};
use zeroize::Zeroizing;

pub(crate) const SERIAL: &str = "12345678";
pub(crate) const DEFAULT_KEY: u16 = 1;

/// Credentials in memory, by the key's id.
pub(crate) struct Known(pub(crate) Zeroizing<Vec<u8>>);

impl CredentialSource for Known {
    fn credential(&self, _name: &str) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
        Ok(self.0.clone())
    }
}

pub(crate) struct Bench {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) clock: ManualClock,
    pub(crate) simulator: Simulator,
}

pub(crate) fn label(text: &str) -> KeyLabel {
    text.parse().unwrap()
}

/// The value of a role's key: the hash of its id, which is as good as random here.
pub(crate) fn value(id: u16) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(ca_core::pki::sha256(&id.to_be_bytes()).0)
}

pub(crate) const fn id(role: Role) -> u16 {
    match role {
        Role::Ceremony => 10,
        Role::Custodian => 11,
        Role::Signer => 12,
        Role::Auditor => 13,
    }
}

pub(crate) fn new_key(role: Role) -> NewKey {
    NewKey { id: id(role), value: value(id(role)) }
}

fn default_value() -> Vec<u8> {
    authentication::Key::derive_from_password(b"password").as_secret_slice().to_vec()
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap(), None, None)
    }

    pub(crate) fn at(directory: tempfile::TempDir, serial: Option<u32>, firmware: Option<[u8; 3]>) -> Self {
        let clock = ManualClock::default();
        let options = Options { serial, firmware, clock: clock.clock(), durable: false, ..Options::default() };
        let simulator = Simulator::start(directory.path(), options).unwrap();
        Self { directory, clock, simulator }
    }

    /// A provisioned device.
    pub(crate) fn provisioned() -> Self {
        let bench = Self::new();
        provision(&bench.plan()).unwrap();
        bench.free_sessions();
        bench
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Sessions cannot be closed; after 30 seconds without use the device ends them.
    pub(crate) fn free_sessions(&self) {
        self.clock.advance(Duration::from_secs(31));
    }

    pub(crate) fn options(&self) -> YubiHsmOptions {
        YubiHsmOptions::new(self.simulator.address(), SERIAL)
    }

    pub(crate) fn plan(&self) -> Provisioning {
        Provisioning {
            options: self.options(),
            ceremony: new_key(Role::Ceremony),
            custodian: new_key(Role::Custodian),
            signer: new_key(Role::Signer),
            auditor: new_key(Role::Auditor),
            wrap_key: Some(NewWrapKey { id: 2, label: "backup".to_owned(), value: value(2) }),
        }
    }

    pub(crate) fn open_with(&self, options: YubiHsmOptions, keys: &[(u16, Vec<u8>)]) -> Result<YubiHsmKeyStore, KeyStoreError> {
        let keys = keys
            .iter()
            .map(|(id, value)| AuthenticationKey { id: *id, source: Box::new(Known(Zeroizing::new(value.clone()))), name: String::new() })
            .collect();
        YubiHsmKeyStore::open(options, keys)
    }

    /// A store with the keys of these roles.
    pub(crate) fn store(&self, roles: &[Role]) -> Arc<YubiHsmKeyStore> {
        let keys: Vec<_> = roles.iter().map(|role| (id(*role), value(id(*role)).to_vec())).collect();
        Arc::new(self.open_with(self.options(), &keys).unwrap())
    }

    /// A store with the default key of a device from the factory.
    pub(crate) fn factory_store(&self) -> Result<YubiHsmKeyStore, KeyStoreError> {
        self.open_with(self.options(), &[(DEFAULT_KEY, default_value())])
    }

    /// The driver alone, so that what refuses is the device.
    pub(crate) fn client(&self, id: u16) -> Result<Client, yubihsm::client::Error> {
        let config = HttpConfig { addr: "127.0.0.1".into(), port: self.simulator.address().port(), timeout_ms: 5000 };
        let value = if id == DEFAULT_KEY { default_value().try_into().unwrap() } else { *value(id) };
        Client::open(Connector::http(&config), Credentials::new(id, authentication::Key::from(value)), false)
    }
}

pub(crate) async fn make(store: &YubiHsmKeyStore, name: &str, algorithm: KeyAlgorithm) -> KeyInfo {
    store.generate(GenerateKey::new(label(name), algorithm)).await.unwrap()
}

pub(crate) fn exportable(name: &str, algorithm: KeyAlgorithm) -> GenerateKey {
    GenerateKey { exportable_under: Some("backup".to_owned()), ..GenerateKey::new(label(name), algorithm) }
}

pub(crate) const OLD: FirmwareVersion = FirmwareVersion(2, 3, 1);
