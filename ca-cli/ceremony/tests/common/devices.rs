//! Ceremonies on real tokens and simulated devices.

use std::sync::Arc;

use ca_ceremony::{RunOptions, RunOutcome, SystemRng, VerifiedBundle, run};
use ca_core::ports::KeyDevice;
use ca_keystore::{CredentialSpec, KeyStoreSpec, Pkcs11Spec};
use ca_testkit::softhsm::{self, SoftHsm};

use super::Ceremony;

/// The devices of a ceremony.
pub struct Devices {
    pub root: Option<Arc<dyn KeyDevice>>,
    pub online: Option<Arc<dyn KeyDevice>>,
    pub backup: Option<Arc<dyn KeyDevice>>,
}

/// A token with the PIN that the tests' tokens have.
pub fn token(hsm: &SoftHsm, label: &str) -> Arc<dyn KeyDevice> {
    let pin = CredentialSpec::File(hsm.pin_file());
    let spec = Pkcs11Spec { module: softhsm::module(), token: Some(label.to_owned()), serial: None, pin, sessions: 1 };
    KeyStoreSpec::Pkcs11(spec).open("test").unwrap()
}

impl Ceremony {
    /// Runs until nothing is missing, with ana and bela signing.
    pub async fn complete_on(&self, devices: &Devices) -> VerifiedBundle {
        for _ in 0..12 {
            let options = RunOptions {
                plan: self.plan(),
                bundle: self.bundle(),
                root_keys: devices.root.clone(),
                online_keys: devices.online.clone(),
                backup_keys: devices.backup.clone(),
                wrapped: Some(self.dir.path().join("wrapped")),
                previous: self.previous.clone(),
                requests: Vec::new(),
                custody: None,
                machine: self.machine.clone(),
                clock: self.clock.clone(),
                rng: Arc::new(SystemRng),
                observer: None,
            };
            match run(options).await.unwrap() {
                RunOutcome::Complete(verified) => return *verified,
                RunOutcome::NeedsSignatures(needed) if needed[0].file.ends_with("plan.toml") => self.sign_plan(&["ana", "bela"]),
                RunOutcome::NeedsSignatures(_) => self.sign_statements(&["ana", "bela"]),
                RunOutcome::NeedsPeople(duties) => self.fulfil(&duties),
            }
        }
        panic!("the ceremony does not end");
    }
}
