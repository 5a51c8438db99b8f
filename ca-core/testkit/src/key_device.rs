//! What every [`KeyDevice`] must do, besides what every key store must.

use std::sync::Arc;

use ca_core::model::KeyLabel;
use ca_core::pki::{KeyAlgorithm, verify_signature};
use ca_core::ports::{DeviceKind, GenerateKey, KeyDevice, KeyStoreError, SignInput};

/// What the device under test offers.
#[derive(Clone, Copy, Debug)]
pub struct Offers<'a> {
    /// Its kind.
    pub kind: DeviceKind,
    /// Algorithms of keys that it makes.
    pub algorithms: &'a [KeyAlgorithm],
    /// A wrapping key that both devices of [`backups`] hold.
    pub wrapping_key: &'a str,
    /// Whether it attests.
    pub attests: bool,
    /// Whether it keeps a log.
    pub logs: bool,
}

fn label(text: &str) -> KeyLabel {
    text.parse().expect("a test's label is a slug")
}

/// That a device says plainly what it cannot make yet, and makes nothing.
///
/// # Panics
/// When it makes such a key, or refuses without the reason.
pub async fn refuses_post_quantum_keys(device: &dyn KeyDevice) {
    let before = device.inventory().await.expect("a device can be listed");
    for algorithm in KeyAlgorithm::ALL.into_iter().filter(|a| a.is_post_quantum()) {
        let refused = device.generate(GenerateKey::new(label("device-post-quantum"), algorithm)).await;
        let Err(KeyStoreError::Unsupported { reason, .. }) = refused else { panic!("{algorithm}: {refused:?}") };
        assert!(reason.contains("not yet on hardware") && reason.contains("hint:"), "{reason}");
    }
    assert_eq!(device.inventory().await.expect("again"), before, "nothing was half made");
}

/// Identity, inventory, attributes and destruction. Each call of `open` opens the same device anew, and it holds no key
/// with a label that begins with `device-`.
///
/// # Panics
/// When the device breaks the contract.
pub async fn conformance(mut open: impl FnMut() -> Arc<dyn KeyDevice>, offers: Offers<'_>) {
    let device = open();
    let identity = device.identity().await.expect("a device says who it is");
    assert_eq!(identity.kind, offers.kind);
    assert!(!identity.serial.is_empty() && !identity.model.is_empty());
    assert_eq!(open().identity().await.expect("again"), identity, "a device stays the same");
    let missing = label("device-missing");
    assert!(matches!(device.attributes(&missing).await, Err(KeyStoreError::NotFound(l)) if l == missing));
    assert!(matches!(device.destroy(&missing).await, Err(KeyStoreError::NotFound(l)) if l == missing));
    assert!(matches!(device.export_wrapped(&missing, offers.wrapping_key).await, Err(KeyStoreError::NotFound(l)) if l == missing));

    for &algorithm in offers.algorithms {
        let stays = label(&format!("device-{algorithm}"));
        let before = open().inventory().await.expect("an inventory");
        let made = device.generate(GenerateKey::new(stays.clone(), algorithm)).await.expect("a new key");
        let during = open().inventory().await.expect("an inventory");
        assert!(during.is_sorted(), "an inventory is sorted");
        assert!(during.iter().any(|o| o.label == stays.as_str()) && !before.iter().any(|o| o.label == stays.as_str()));
        assert!(!open().deviations_from_reset().await.expect("deviations").is_empty(), "a device with a key is not as reset");

        let attributes = open().attributes(&stays).await.expect("attributes");
        assert!(attributes.made_inside && !attributes.extractable, "{algorithm}: made here, and stays: {attributes:?}");
        assert!(attributes.sensitive || offers.kind == DeviceKind::Software, "{algorithm}: a device keeps the value to itself");
        let refused = device.export_wrapped(&stays, offers.wrapping_key).await;
        assert!(matches!(refused, Err(KeyStoreError::Unsupported { .. })), "{algorithm}: what is to stay does not leave: {refused:?}");
        let proof = device.attest(&stays).await.expect("attestation or none");
        assert_eq!(proof.is_some_and(|p| !p.chain.is_empty()), offers.attests);

        device.destroy(&stays).await.expect("destroyed");
        for device in [&device, &open()] {
            assert!(matches!(device.describe(&stays).await, Err(KeyStoreError::NotFound(_))), "{algorithm}: gone");
            let signature = device.sign(&stays, algorithm.signature_algorithm(), SignInput::Message(b"x")).await;
            assert!(matches!(signature, Err(KeyStoreError::NotFound(_))), "{algorithm}: gone from memory too");
            assert_eq!(device.inventory().await.expect("an inventory"), before, "{algorithm}: nothing else changed");
        }
        let again = device.generate(GenerateKey::new(stays.clone(), algorithm)).await.expect("the label is free");
        assert_ne!(again.public_key, made.public_key);
        device.destroy(&stays).await.expect("destroyed");
    }
    assert_eq!(device.log().await.expect("a log or none").is_some(), offers.logs);
}

/// A key goes from `device` to `backup` under a wrapping key that both hold.
///
/// # Panics
/// When a device breaks the contract.
pub async fn backups(device: &dyn KeyDevice, backup: &dyn KeyDevice, offers: Offers<'_>) {
    for &algorithm in offers.algorithms {
        let leaves = label(&format!("device-backup-{algorithm}"));
        let exportable_under = Some(offers.wrapping_key.to_owned());
        let request = GenerateKey { exportable_under, ..GenerateKey::new(leaves.clone(), algorithm) };
        let made = device.generate(request).await.expect("a key that may be backed up");
        let attributes = device.attributes(&leaves).await.expect("attributes");
        assert!(attributes.extractable && attributes.wrap_with_trusted_only, "{algorithm}: {attributes:?}");
        assert!(device.export_wrapped(&leaves, "another").await.is_err(), "{algorithm}: under no other wrapping key");

        let wrapped = device.export_wrapped(&leaves, offers.wrapping_key).await.expect("wrapped");
        assert_eq!((&wrapped.label, wrapped.algorithm, &wrapped.public_key), (&leaves, algorithm, &made.public_key));
        let again = device.import_wrapped(&wrapped).await;
        assert!(matches!(again, Err(KeyStoreError::Exists(l)) if l == leaves), "{algorithm}: nothing is overwritten");
        for at in [0, wrapped.bytes.len() / 2, wrapped.bytes.len() - 1] {
            let mut damaged = wrapped.clone();
            damaged.bytes[at] ^= 1;
            backup.import_wrapped(&damaged).await.expect_err("a changed byte is noticed");
        }
        // Ceremony requirement 21: the copy yields the same public key; requirement 25: it signs.
        let copy = backup.import_wrapped(&wrapped).await.expect("imported");
        assert_eq!(copy, made);
        assert!(!backup.attributes(&leaves).await.expect("attributes").made_inside, "{algorithm}: the copy says that it is one");
        let ours = algorithm.signature_algorithm();
        let signature = backup.sign(&leaves, ours, SignInput::Message(b"message")).await.expect("a signature");
        verify_signature(&made.public_key, ours, b"message", &signature).expect("the copy signs as the key");
        device.destroy(&leaves).await.expect("destroyed");
        assert_eq!(backup.describe(&leaves).await.expect("the copy lives on"), made);
    }
}
