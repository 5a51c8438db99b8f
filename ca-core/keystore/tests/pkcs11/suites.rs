//! The suites of every key store and every device, and what the token says about our keys.

use std::sync::Arc;

use ca_core::pki::KeyAlgorithm;
use ca_core::ports::{DeviceKind, GenerateKey, KeyStoreError};
use ca_testkit::key_device::{self, Offers};
use ca_testkit::key_store;
use ca_testkit::softhsm::share_wrapping_key;

use crate::support::{isolated, label, make, open, sign};

const OFFERS: Offers<'_> = Offers {
    kind: DeviceKind::Pkcs11,
    algorithms: &[KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048],
    wrapping_key: "backup",
    attests: false,
    logs: false,
};

#[test]
fn passes_the_suite() {
    isolated("suites::passes_the_suite", &["online"], async |hsm| {
        let on_hardware: Vec<_> = KeyAlgorithm::ALL.into_iter().filter(|a| !a.is_post_quantum()).collect();
        key_store::conformance(|| open(&hsm, "online"), &on_hardware).await;
    });
}

#[test]
fn post_quantum_keys_are_refused() {
    isolated("suites::post_quantum_keys_are_refused", &["online"], async |hsm| {
        key_device::refuses_post_quantum_keys(&*open(&hsm, "online")).await;
    });
}

#[test]
fn passes_the_device_suite() {
    isolated("suites::passes_the_device_suite", &["online", "spare"], async |hsm| {
        share_wrapping_key(&["online", "spare"], "backup");
        key_device::conformance(|| open(&hsm, "online"), OFFERS).await;
        key_device::backups(&*open(&hsm, "online"), &*open(&hsm, "spare"), OFFERS).await;
    });
}

#[test]
fn ceremony_19_keys_on_a_token_are_sensitive_and_stay_there() {
    isolated("suites::ceremony_19_keys_on_a_token_are_sensitive_and_stay_there", &["online"], async |hsm| {
        let store = open(&hsm, "online");
        make(&*store, "ours").await;
        let attributes = store.attributes(&label("ours")).await.unwrap();
        assert!(attributes.made_inside && attributes.sensitive && !attributes.extractable, "{attributes:?}");
        assert_eq!(attributes.capabilities, ["sign"], "it does nothing but sign");
        // Another program's view of the same key.
        let shown = hsm.pkcs11_tool("online", &["--list-objects", "--type", "privkey"]);
        assert!(shown.contains("label:      ours") && shown.contains("Usage:      sign\n"), "{shown}");
        assert!(shown.contains("sensitive, always sensitive, never extractable, local"), "{shown}");

        // What others made worse is told.
        hsm.pkcs11_tool("online", &["--keypairgen", "--key-type", "EC:prime256v1", "--label", "theirs", "--extractable", "--usage-derive"]);
        let attributes = store.attributes(&label("theirs")).await.unwrap();
        assert!(attributes.extractable && !attributes.wrap_with_trusted_only, "{attributes:?}");
        assert!(attributes.capabilities.contains(&"derive".to_owned()), "{attributes:?}");
    });
}

#[test]
fn ceremony_19_a_backup_wants_a_trusted_wrapping_key() {
    isolated("suites::ceremony_19_a_backup_wants_a_trusted_wrapping_key", &["online"], async |hsm| {
        let store = open(&hsm, "online");
        hsm.pkcs11_tool("online", &["--keygen", "--key-type", "AES:32", "--label", "untrusted", "--usage-wrap", "--sensitive"]);
        for (under, expected) in [("absent", "no secret key on the token is labelled `absent`"), ("untrusted", "is not trusted")] {
            let request = GenerateKey { exportable_under: Some(under.to_owned()), ..GenerateKey::new(label("k"), KeyAlgorithm::P256) };
            let error = store.generate(request).await.unwrap_err();
            assert!(matches!(error, KeyStoreError::Unsupported { .. }) && error.to_string().contains(expected), "{error}");
        }
        assert!(store.list().await.unwrap().is_empty(), "nothing was half made");
    });
}

#[test]
fn ceremony_20_a_label_of_any_object_on_the_token_is_taken() {
    isolated("suites::ceremony_20_a_label_of_any_object_on_the_token_is_taken", &["online"], async |hsm| {
        let store = open(&hsm, "online");
        hsm.pkcs11_tool("online", &["--keygen", "--key-type", "AES:32", "--label", "taken"]);
        let before = store.inventory().await.unwrap();
        let refused = store.generate(GenerateKey::new(label("taken"), KeyAlgorithm::P256)).await;
        assert!(matches!(refused, Err(KeyStoreError::Exists(l)) if l == label("taken")));
        assert_eq!(store.inventory().await.unwrap(), before);
    });
}

#[test]
fn ceremony_20_two_at_once_do_not_share_a_label() {
    isolated("suites::ceremony_20_two_at_once_do_not_share_a_label", &["online"], async |hsm| {
        let (one, two) = (open(&hsm, "online"), open(&hsm, "online"));
        for round in 0..10 {
            let request = GenerateKey::new(label(&format!("k{round}")), KeyAlgorithm::P256);
            let (a, b) = tokio::join!(one.generate(request.clone()), two.generate(request.clone()));
            let made: Vec<_> = [&a, &b].into_iter().filter_map(|r| r.as_ref().ok()).collect();
            assert!(made.len() < 2, "{a:?} {b:?}");
            let found = one.describe(&request.label).await;
            match made.as_slice() {
                [key] => assert_eq!(found.unwrap(), **key),
                _ => {
                    assert!(matches!(found, Err(KeyStoreError::NotFound(_))), "{found:?}");
                    // Where both gave way, the label is free again.
                    let alone = two.generate(request.clone()).await.unwrap();
                    assert_eq!(one.describe(&request.label).await.unwrap(), alone);
                }
            }
        }
    });
}

#[test]
fn ceremony_16_the_inventory_shows_what_others_made() {
    isolated("suites::ceremony_16_the_inventory_shows_what_others_made", &["online"], async |hsm| {
        let store = open(&hsm, "online");
        assert!(store.inventory().await.unwrap().is_empty());
        assert!(store.deviations_from_reset().await.unwrap().is_empty(), "a token just initialized");
        make(&*store, "ours").await;
        hsm.pkcs11_tool("online", &["--keygen", "--key-type", "AES:32", "--label", "intruder"]);
        let kinds: Vec<_> = store.inventory().await.unwrap().into_iter().map(|o| (o.kind, o.label, o.algorithm)).collect();
        let expected = [("private-key", "ours", "ec"), ("public-key", "ours", "ec"), ("secret-key", "intruder", "aes")];
        assert_eq!(kinds, expected.map(|(k, l, a)| (k.to_owned(), l.to_owned(), a.to_owned())));
        let deviations = store.deviations_from_reset().await.unwrap();
        assert!(deviations.iter().any(|d| d.contains("secret-key labelled `intruder`")), "{deviations:?}");
    });
}

#[test]
fn many_callers_share_few_sessions() {
    isolated("suites::many_callers_share_few_sessions", &["online"], async |hsm| {
        let store = open(&hsm, "online");
        let key = Arc::new(make(&*store, "shared").await);
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (store, key) = (Arc::clone(&store), Arc::clone(&key));
                tokio::spawn(async move { sign(&*store, &key).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
}
