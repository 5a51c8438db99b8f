//! The software key store against the suite that every key store passes, and what a file system can do to it.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![cfg(feature = "authority")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use ca_core::pki::{KeyAlgorithm, SignatureAlgorithm};
use ca_core::ports::{DeviceKind, GenerateKey, KeyDevice as _, KeyStore, KeyStoreError, SignInput};
use ca_keystore::{SoftwareKeyStore, Unsealer};
use zeroize::Zeroizing;

fn file_key(byte: u8) -> Unsealer {
    Unsealer::FileKey(Zeroizing::new([byte; 32]))
}

fn passphrase(text: &str) -> Unsealer {
    Unsealer::Passphrase(Zeroizing::new(text.as_bytes().to_vec()))
}

fn open(directory: &Path, unsealer: &Unsealer) -> Arc<dyn KeyStore> {
    Arc::new(SoftwareKeyStore::open(directory, unsealer.clone()).expect("the store opens"))
}

#[tokio::test]
async fn passes_the_suite_with_a_file_key() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    ca_testkit::key_store::conformance(|| open(&keys, &file_key(7)), &KeyAlgorithm::ALL).await;
    assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&keys).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        assert!(entry.path().extension().is_some_and(|e| e == "sealed"), "a temporary file was left: {:?}", entry.path());
    }
}

#[tokio::test]
async fn passes_the_suite_with_a_passphrase() {
    let directory = tempfile::tempdir().unwrap();
    let unsealer = passphrase("correct horse");
    ca_testkit::key_store::conformance(|| open(directory.path(), &unsealer), &[KeyAlgorithm::P256]).await;
}

/// Makes a key `demo`, lets `damage` do something to its file, and tells what a fresh store then says.
async fn after(unsealer: Unsealer, reader: Unsealer, damage: impl FnOnce(&Path)) -> KeyStoreError {
    let directory = tempfile::tempdir().unwrap();
    let label: ca_core::model::KeyLabel = "demo".parse().unwrap();
    open(directory.path(), &unsealer).generate(GenerateKey::new(label.clone(), KeyAlgorithm::P256)).await.unwrap();
    damage(&directory.path().join("demo.sealed"));
    let store = open(directory.path(), &reader);
    let described = store.describe(&label).await.expect_err("the key must not open");
    let signed = store.sign(&label, SignatureAlgorithm::EcdsaP256Sha256, SignInput::Message(b"m")).await;
    assert_eq!(signed.expect_err("the key must not sign").to_string(), described.to_string());
    described
}

fn edit(path: &Path, change: impl FnOnce(&mut String)) {
    let mut text = fs::read_to_string(path).unwrap();
    change(&mut text);
    fs::write(path, text).unwrap();
}

#[tokio::test]
async fn a_wrong_secret_does_not_open() {
    for (sealed, given) in [(file_key(1), file_key(2)), (passphrase("right"), passphrase("wrong"))] {
        let error = after(sealed, given, |_| ()).await;
        assert!(matches!(error, KeyStoreError::Unseal(_)), "{error}");
    }
    let error = after(file_key(1), passphrase("right"), |_| ()).await.to_string();
    assert!(error.contains("sealed with a file key, and a passphrase was given"), "{error}");
}

#[tokio::test]
async fn every_changed_byte_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let label: ca_core::model::KeyLabel = "demo".parse().unwrap();
    open(directory.path(), &file_key(1)).generate(GenerateKey::new(label.clone(), KeyAlgorithm::P256)).await.unwrap();
    let path = directory.path().join("demo.sealed");
    let whole = fs::read(&path).unwrap();
    for position in 0..whole.len() {
        let mut changed = whole.clone();
        changed[position] ^= 0x01;
        fs::write(&path, &changed).unwrap();
        open(directory.path(), &file_key(1)).describe(&label).await.expect_err(&format!("byte {position} was changed"));
        fs::write(&path, &whole[..position]).unwrap();
        open(directory.path(), &file_key(1)).describe(&label).await.expect_err(&format!("only {position} bytes were left"));
    }
    fs::write(&path, [whole.as_slice(), b"x"].concat()).unwrap();
    open(directory.path(), &file_key(1)).describe(&label).await.expect_err("a byte was appended");
    fs::write(&path, &whole).unwrap();
    open(directory.path(), &file_key(1)).describe(&label).await.expect("the whole file opens");
}

#[tokio::test]
async fn tampering_has_a_telling_error() {
    let check = async |damage: &dyn Fn(&Path), expected: &str| {
        let error = after(file_key(1), file_key(1), damage).await.to_string();
        assert!(error.contains(expected), "`{expected}` is not in: {error}");
    };
    check(&|path| edit(path, |t| *t = t.replace("p256", "p384")), "wrong passphrase or file key, or the file was changed").await;
    check(&|path| edit(path, |t| *t = t.replace("\"demo\"", "\"else\"")), "under another name").await;
    check(&|path| edit(path, |t| *t = t.replace("authority-key", "service-key")), "it holds a ServiceKey").await;
    check(&|path| edit(path, |t| *t = t.replace("sealed/1", "sealed/2")), "not a sealed file of version 1").await;
    check(&|path| edit(path, |t| t.truncate(t.len() / 2)), "damaged").await;
    check(&|path| edit(path, |t| t.push_str(&"A".repeat(9000))), "longer than 8192 bytes").await;
    check(&|path| fs::write(path, b"").unwrap(), "ends too early").await;
    check(&|path| fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap(), "(mode 0640); it is not used (hint: chmod 600")
        .await;
    check(&|path| fs::set_permissions(path, fs::Permissions::from_mode(0o604)).unwrap(), "hint: chmod 600").await;
    check(&|path| fs::remove_file(path).unwrap(), "no key labelled `demo`").await;
}

#[tokio::test]
async fn argon2_parameters_from_the_file_are_bounded() {
    for (from, to) in [("65536", "4294967295"), ("65536", "8"), ("\"passes\":3", "\"passes\":1"), ("\"lanes\":1", "\"lanes\":255")] {
        let error = after(passphrase("p"), passphrase("p"), |path| edit(path, |t| *t = t.replace(from, to))).await.to_string();
        assert!(error.contains("Argon2id parameters are out of bounds"), "{error}");
    }
}

#[test]
fn a_directory_that_others_may_change_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = SoftwareKeyStore::open(directory.path(), file_key(1)).expect_err("refused").to_string();
    assert!(error.contains("hint: chmod 700"), "{error}");
}

const OFFERS: ca_testkit::key_device::Offers<'_> = ca_testkit::key_device::Offers {
    kind: DeviceKind::Software,
    algorithms: &[KeyAlgorithm::P256, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa2048, KeyAlgorithm::MlDsa87],
    wrapping_key: "backup",
    attests: false,
    logs: false,
};

fn device(directory: &Path) -> SoftwareKeyStore {
    SoftwareKeyStore::open(directory, file_key(1)).unwrap().with_wrapping_key("backup", file_key(9))
}

#[tokio::test]
async fn passes_the_device_suite() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    ca_testkit::key_device::conformance(|| Arc::new(device(&keys)), OFFERS).await;
    ca_testkit::key_device::backups(&device(&keys), &device(&directory.path().join("backup")), OFFERS).await;
    let other = device(&directory.path().join("other"));
    assert_ne!(other.identity().await.unwrap().serial, device(&keys).identity().await.unwrap().serial);
    fs::write(directory.path().join("other/serial"), "countersign-software-store/1 x\n").unwrap();
    assert!(other.identity().await.unwrap_err().to_string().contains("holds no serial number"));
}

#[tokio::test]
async fn a_key_leaves_only_under_the_wrapping_key_that_it_was_made_for() {
    let directory = tempfile::tempdir().unwrap();
    let store = device(&directory.path().join("a"));
    let label: ca_core::model::KeyLabel = "demo".parse().unwrap();
    let request =
        |name: &str| GenerateKey { exportable_under: Some(name.to_owned()), ..GenerateKey::new(label.clone(), KeyAlgorithm::P256) };
    assert!(store.generate(request("unknown")).await.unwrap_err().to_string().contains("no wrapping key `unknown`"));
    store.generate(request("backup")).await.unwrap();
    let wrapped = store.export_wrapped(&label, "backup").await.unwrap();
    let stranger = SoftwareKeyStore::open(directory.path().join("b"), file_key(1)).unwrap();
    assert!(stranger.import_wrapped(&wrapped).await.unwrap_err().to_string().contains("no wrapping key `backup`"));
    let stranger = stranger.with_wrapping_key("backup", file_key(8));
    assert!(matches!(stranger.import_wrapped(&wrapped).await, Err(KeyStoreError::Unseal(_))), "another secret");
    let mut renamed = wrapped.clone();
    renamed.label = "else".parse().unwrap();
    assert!(store.import_wrapped(&renamed).await.unwrap_err().to_string().contains("under another name"));
    // The wrapped file is none of the store's own, and the other way around.
    fs::write(directory.path().join("a/else.sealed"), &wrapped.bytes).unwrap();
    fs::set_permissions(directory.path().join("a/else.sealed"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(store.describe(&"else".parse().unwrap()).await.unwrap_err().to_string().contains("it holds a WrappedKey"));
}
