//! What every [`KeyStore`] must do.

use std::sync::Arc;

use aws_lc_rs::digest;
use ca_core::model::KeyLabel;
use ca_core::pki::{DigestAlgorithm, KeyAlgorithm, SignatureAlgorithm};
use ca_core::ports::{GenerateKey, KeyInfo, KeyStore, KeyStoreError, SignInput};

fn label(text: &str) -> KeyLabel {
    text.parse().expect("a test's label is a slug")
}

/// Runs the suite on an empty store. Each call of `open` opens the same store anew, as another process would, so
/// that what is promised to be durable is read back. `algorithms` are those that the backend offers.
///
/// # Panics
/// When the backend breaks the contract.
pub async fn conformance(open: impl FnMut() -> Arc<dyn KeyStore>, algorithms: &[KeyAlgorithm]) {
    conformance_within(open, algorithms, usize::MAX).await;
}

/// As [`conformance`], for a store that signs whole messages (Ed25519) of at most `longest` bytes and refuses longer ones.
///
/// # Panics
/// When the backend breaks the contract.
pub async fn conformance_within(mut open: impl FnMut() -> Arc<dyn KeyStore>, algorithms: &[KeyAlgorithm], longest: usize) {
    let store = open();
    store.health().await.expect("a fresh store is healthy");
    assert!(store.list().await.expect("an empty store can be listed").is_empty(), "the suite wants an empty store");
    let missing = label("missing");
    let input = SignInput::Message(b"message");
    assert!(matches!(store.describe(&missing).await, Err(KeyStoreError::NotFound(l)) if l == missing));
    let refused = store.sign(&missing, SignatureAlgorithm::EcdsaP256Sha256, input).await;
    assert!(matches!(refused, Err(KeyStoreError::NotFound(l)) if l == missing));

    for &algorithm in algorithms {
        one_algorithm(&mut open, algorithm, longest).await;
    }

    let mut expected: Vec<_> = algorithms.iter().map(|a| key_label(*a)).collect();
    expected.sort();
    let listed = open().list().await.expect("keys can be listed");
    assert_eq!(listed.iter().map(|info| info.label.clone()).collect::<Vec<_>>(), expected, "list is by label and complete");
}

fn key_label(algorithm: KeyAlgorithm) -> KeyLabel {
    label(&format!("suite-{algorithm}"))
}

async fn one_algorithm(open: &mut impl FnMut() -> Arc<dyn KeyStore>, algorithm: KeyAlgorithm, longest: usize) {
    let label = key_label(algorithm);
    let store = open();
    let made = store.generate(GenerateKey::new(label.clone(), algorithm)).await.expect("a new key");
    assert_eq!((&made.label, made.algorithm), (&label, algorithm));

    // Ceremony requirement 20: a label that exists is an error, and the key behind it stays as it was.
    for again in [&store, &open()] {
        let second = again.generate(GenerateKey::new(label.clone(), algorithm)).await;
        assert!(matches!(second, Err(KeyStoreError::Exists(l)) if l == label), "{algorithm}: a label is used once");
        assert_eq!(again.describe(&label).await.expect("the key is described"), made);
    }

    pss(&*store, &made).await;
    let ours = algorithm.signature_algorithm();
    for (which, store) in [("the store that made the key", store), ("another process", open())] {
        for message in [&b""[..], b"message", &[7u8; 100_000]] {
            if ours.digest().is_none() && message.len() > longest {
                let refused = store.sign(&label, ours, SignInput::Message(message)).await;
                assert!(matches!(refused, Err(KeyStoreError::Unsupported { .. })), "{algorithm}: a message of {} bytes", message.len());
                continue;
            }
            let signature = store.sign(&label, ours, SignInput::Message(message)).await.expect("a signature");
            assert_verifies(&made.public_key, ours, message, &signature, which);
            let Some(digest_algorithm) = ours.digest() else {
                let refused = store.sign(&label, ours, SignInput::Digest(&[0u8; 32])).await;
                assert!(matches!(refused, Err(KeyStoreError::Unsupported { .. })), "{algorithm} signs no digest");
                continue;
            };
            let value = match digest_algorithm {
                DigestAlgorithm::Sha256 => digest::digest(&digest::SHA256, message),
                DigestAlgorithm::Sha384 => digest::digest(&digest::SHA384, message),
            };
            let signature = store.sign(&label, ours, SignInput::Digest(value.as_ref())).await.expect("a signature over a digest");
            assert_verifies(&made.public_key, ours, message, &signature, which);
            let short = store.sign(&label, ours, SignInput::Digest(&value.as_ref()[1..])).await;
            assert!(matches!(short, Err(KeyStoreError::Unsupported { .. })), "{algorithm}: a digest of another length is refused");
        }
        for other in KeyAlgorithm::ALL.map(KeyAlgorithm::signature_algorithm).into_iter().filter(|a| *a != ours) {
            let refused = store.sign(&label, other, SignInput::Message(b"message")).await;
            assert!(matches!(refused, Err(KeyStoreError::Unsupported { .. })), "{algorithm} does not sign as {other:?}");
        }
    }
}

/// Every RSA key signs by RSASSA-PSS, too, and no other key does.
async fn pss(store: &dyn KeyStore, key: &KeyInfo) {
    const PSS: SignatureAlgorithm = SignatureAlgorithm::RsaPssSha256;
    let signed = store.sign(&key.label, PSS, SignInput::Message(b"message")).await;
    if !key.algorithm.signs_as(PSS) {
        assert!(matches!(signed, Err(KeyStoreError::Unsupported { .. })), "{}: {signed:?}", key.algorithm);
        return;
    }
    let digest = digest::digest(&digest::SHA256, b"message");
    let of_digest = store.sign(&key.label, PSS, SignInput::Digest(digest.as_ref())).await.expect("a signature over a digest");
    for signature in [signed.expect("a signature"), of_digest] {
        assert_verifies(&key.public_key, PSS, b"message", &signature, "PSS");
        let other = ca_core::pki::verify_signature(&key.public_key, SignatureAlgorithm::RsaPkcs1Sha256, b"message", &signature);
        assert!(other.is_err(), "PSS is not PKCS #1 v1.5");
    }
}

fn assert_verifies(key: &ca_core::pki::PublicKey, algorithm: SignatureAlgorithm, message: &[u8], made: &[u8], which: &str) {
    ca_core::pki::verify_signature(key, algorithm, message, made)
        .unwrap_or_else(|e| panic!("{algorithm:?}, {which}: the second library refuses the signature: {e}"));
}
