//! Service keys, master keys and the secrets that open them.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ca_core::pki::KeyAlgorithm;
use ca_core::ports::{EabSecrets as _, ServiceKey as _};
use ca_keystore::{MasterKey, SealError, SoftwareServiceKey, Unsealer};
use ca_testkit::SeededRng;
use zeroize::Zeroizing;

fn private_file(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_file_key_opens_what_it_sealed() {
    let directory = tempfile::tempdir().unwrap();
    let (rng, path) = (SeededRng::default(), directory.path().join("unseal.key"));
    let unsealer = Unsealer::create_file_key(&path, &rng).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(Unsealer::create_file_key(&path, &rng), Err(SealError::Exists(p)) if p == path));
    let again = Unsealer::file_key_from(&path).unwrap();
    assert_eq!(format!("{again:?}"), "Unsealer(file key)", "a secret is not shown");

    for algorithm in KeyAlgorithm::ALL {
        let path = directory.path().join(format!("{algorithm}.sealed"));
        let made = SoftwareServiceKey::generate(&path, algorithm, &unsealer, &rng).unwrap();
        let opened = SoftwareServiceKey::open(&path, &again).unwrap();
        assert_eq!((made.public_key(), made.algorithm()), (opened.public_key(), algorithm));
        assert_eq!(*made.pkcs8(), *opened.pkcs8());
        let signature = opened.sign(b"message").unwrap();
        ca_core::pki::verify_signature(made.public_key(), algorithm.signature_algorithm(), b"message", &signature).unwrap();
        assert!(matches!(SoftwareServiceKey::generate(&path, algorithm, &unsealer, &rng), Err(SealError::Exists(_))));
    }
    let error = MasterKey::open(directory.path().join("p256.sealed"), &again).unwrap_err().to_string();
    assert!(error.contains("it holds a ServiceKey, not a MasterKey"), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Unsealer::file_key_from(&path), Err(SealError::Permissions { mode: 0o644, .. })));
}

#[test]
fn eab_secrets_are_the_same_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.sealed");
    let unsealer = Unsealer::FileKey(Zeroizing::new([3; 32]));
    let (a, b) = ("aa".parse().unwrap(), "ab".parse().unwrap());
    let master = MasterKey::create(&path, &unsealer, &SeededRng::new(1)).unwrap();
    let secret = master.eab_secret(&a, 1);
    assert_eq!(secret.len(), 32);
    assert_eq!(secret, MasterKey::open(&path, &unsealer).unwrap().eab_secret(&a, 1));
    assert_ne!(secret, master.eab_secret(&a, 2));
    assert_ne!(secret, master.eab_secret(&b, 1));
    let other = MasterKey::create(directory.path().join("other.sealed"), &unsealer, &SeededRng::new(2)).unwrap();
    assert_ne!(secret, other.eab_secret(&a, 1));
    // base64url's `-` is 62: the first six bits are never that.
    assert!((0..2000).all(|version| master.eab_secret(&a, version)[0] >> 2 != 62));
}

#[test]
fn passphrase_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("passphrase");
    let check = |content: &[u8], expected: Option<&[u8]>| {
        private_file(&path, content);
        match (Unsealer::passphrase_from_file(&path), expected) {
            (Ok(Unsealer::Passphrase(got)), Some(expected)) => assert_eq!(got.as_slice(), expected),
            (Err(SealError::Damaged { .. }), None) => {}
            (got, _) => panic!("{content:?} gave {got:?}"),
        }
    };
    check(b"secret", Some(b"secret"));
    check(b"secret\n", Some(b"secret"));
    check(b"secret\r\n", Some(b"secret"));
    check(b" two words \n\n", Some(b" two words \n"));
    check(b"", None);
    check(b"\n", None);
    check(&[b'x'; 1025], None);
    check(&[b'x'; 5000], None);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
    assert!(matches!(Unsealer::passphrase_from_file(&path), Err(SealError::Permissions { .. })));
    assert!(matches!(Unsealer::passphrase_from_file("/nonexistent"), Err(SealError::NotFound(_))));
    private_file(&path, b"not a file key");
    assert!(matches!(Unsealer::file_key_from(&path), Err(SealError::Damaged { .. })));
}
