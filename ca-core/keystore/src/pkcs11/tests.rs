//! What only the inside can show: a token that makes a key otherwise than it was asked.

use ca_core::pki::KeyAlgorithm;
use ca_core::ports::{KeyDevice as _, KeyStoreError};
use ca_testkit::softhsm::{self, SoftHsm};
use cryptoki::object::Attribute;

use super::*;
use crate::CredentialSpec;

#[test]
fn ceremony_19_a_key_with_other_attributes_than_asked_is_destroyed_again() {
    let name = "pkcs11::tests::ceremony_19_a_key_with_other_attributes_than_asked_is_destroyed_again";
    softhsm::isolated(name, &["online"], |hsm| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body(hsm));
    });
}

async fn body(hsm: &SoftHsm) {
    let pin = CredentialSpec::File(hsm.pin_file());
    let spec = Pkcs11Spec { module: softhsm::module(), token: Some("online".to_owned()), serial: None, pin: pin.clone(), sessions: 1 };
    let store = Pkcs11KeyStore::open(&spec, pin.source("PIN").unwrap()).unwrap();
    let worse = [
        (Attribute::Extractable(true), "extractable is not false, never-extractable is not true"),
        (Attribute::Sensitive(false), "sensitive is not true, always-sensitive is not true"),
        (Attribute::Decrypt(true), "decrypt is allowed"),
        (Attribute::Derive(true), "derive is allowed"),
        (Attribute::Sign(false), "sign is not true"),
    ];
    for (attribute, expected) in worse {
        // The token obeys a request that our own never makes, as if it had not heard ours.
        let made = store.pool.run(Again::MustNot, PATIENCE, move |link| {
            let label: KeyLabel = "demo".parse().expect("a slug");
            let mut private = keys::private_template(&label, [1; 16], false);
            private.retain(|a| a.attribute_type() != attribute.attribute_type());
            private.insert(0, attribute.clone());
            keys::make(link, &label, KeyAlgorithm::P256, [1; 16], &private, false).map_err(|f| f.with_key(&label))
        });
        let error = made.await.unwrap_err();
        assert!(matches!(error, KeyStoreError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(expected) && error.to_string().contains("was destroyed again"), "`{expected}`: {error}");
        assert!(store.inventory().await.unwrap().is_empty(), "nothing is left");
    }
}
