//! Stores on a set of tokens, and a security officer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ca_core::model::KeyLabel;
use ca_core::pki::SignatureAlgorithm;
use ca_core::ports::{GenerateKey, KeyDevice, KeyInfo, KeyStore, KeyStoreError, SignInput};
use ca_keystore::{CredentialSpec, KeyStoreSpec, Pkcs11Spec};
use ca_testkit::softhsm::{self, SoftHsm};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::slot::Slot;

pub(crate) const P256: SignatureAlgorithm = SignatureAlgorithm::EcdsaP256Sha256;

pub(crate) fn spec(hsm: &SoftHsm, token: &str) -> Pkcs11Spec {
    let pin = CredentialSpec::File(hsm.pin_file());
    Pkcs11Spec { module: softhsm::module(), token: Some(token.to_owned()), serial: None, pin, sessions: 2 }
}

pub(crate) fn open_spec(spec: Pkcs11Spec) -> Arc<dyn KeyDevice> {
    KeyStoreSpec::Pkcs11(spec).open("test").unwrap()
}

pub(crate) fn open(hsm: &SoftHsm, token: &str) -> Arc<dyn KeyDevice> {
    open_spec(spec(hsm, token))
}

pub(crate) fn label(text: &str) -> KeyLabel {
    text.parse().unwrap()
}

pub(crate) async fn make(store: &dyn KeyStore, name: &str) -> KeyInfo {
    store.generate(GenerateKey::new(label(name), ca_core::pki::KeyAlgorithm::P256)).await.unwrap()
}

/// Signs with a P-256 key and verifies with the second library.
pub(crate) async fn sign(store: &dyn KeyStore, key: &KeyInfo) -> Result<(), KeyStoreError> {
    let signature = store.sign(&key.label, P256, SignInput::Message(b"message")).await?;
    ca_core::pki::verify_signature(&key.public_key, P256, b"message", &signature).unwrap();
    Ok(())
}

/// Runs a test's body with a runtime, in a process and with tokens of its own.
pub(crate) fn isolated<F: Future<Output = ()>>(name: &str, tokens: &[&str], body: impl FnOnce(SoftHsm) -> F) {
    softhsm::isolated(name, tokens, |_| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(body(SoftHsm::current()));
    });
}

/// Waits until the store is healthy again.
pub(crate) async fn healthy(store: &dyn KeyStore) {
    let wait = async {
        while store.health().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the store comes back");
}

/// The module as another part of this process sees it.
pub(crate) fn module() -> Pkcs11 {
    let context = Pkcs11::new(softhsm::module()).unwrap();
    // The store may have been first.
    let _ = context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    context
}

pub(crate) fn slot(context: &Pkcs11, token: &str) -> Slot {
    let slots = context.get_slots_with_token().unwrap();
    slots.into_iter().find(|s| context.get_token_info(*s).is_ok_and(|i| i.label() == token)).unwrap()
}

/// Moves a folder, or fails the test.
pub(crate) fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}
