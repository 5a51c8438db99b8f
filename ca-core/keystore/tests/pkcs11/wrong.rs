//! Wrong modules, tokens and PINs: each a clear error that names cause and remedy.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ca_core::ports::KeyStoreError;
use ca_keystore::{CredentialSpec, KeyStoreSpec, Pkcs11Spec};
use ca_testkit::softhsm::{PIN, SoftHsm};

use crate::support::{isolated, module, open, open_spec, spec};

fn refused_module(hsm: &SoftHsm, module: &Path) -> String {
    let spec = Pkcs11Spec { module: module.to_owned(), ..spec(hsm, "online") };
    KeyStoreSpec::Pkcs11(spec).open("test").err().expect("such a module is refused").to_string()
}

#[test]
fn a_path_that_is_no_module() {
    isolated("wrong::a_path_that_is_no_module", &[], async |hsm| {
        let check = |path: &Path, expected: &str| {
            let error = refused_module(&hsm, path);
            assert!(error.contains(expected) && error.contains("hint:"), "`{expected}` is not in: {error}");
        };
        check(Path::new("/nonexistent/module.so"), "No such file");
        check(hsm.folder(), "it is not a file");
        let text = hsm.secret_file("module.so", "not a library");
        check(&text, "it cannot be loaded");
        let libm = fs::canonicalize("/lib/x86_64-linux-gnu/libm.so.6").or_else(|_| fs::canonicalize("/lib64/libm.so.6")).unwrap();
        check(&libm, "it is no PKCS#11 module");
        fs::set_permissions(&text, fs::Permissions::from_mode(0o666)).unwrap();
        check(&text, "others may change it (mode 0666)");
    });
}

#[test]
fn a_token_that_is_not_there() {
    isolated("wrong::a_token_that_is_not_there", &["online", "twin", "twin"], async |hsm| {
        let check = async |spec: Pkcs11Spec, expected: &str| {
            let store = open_spec(spec);
            for error in [store.health().await.unwrap_err(), store.list().await.unwrap_err()] {
                assert!(matches!(error, KeyStoreError::Unavailable(_)), "{error}");
                assert!(error.to_string().contains(expected), "`{expected}` is not in: {error}");
            }
        };
        check(spec(&hsm, "offline"), "the token `offline` of").await;
        check(spec(&hsm, "offline"), "tokens there: `online` (").await;
        check(Pkcs11Spec { serial: Some("0123".to_owned()), ..spec(&hsm, "online") }, "with serial number 0123").await;
        check(spec(&hsm, "twin"), "hint: name its serial number").await;
        let serial = hsm.add_token("triplet");
        let by_serial = Pkcs11Spec { token: None, serial: Some(serial.clone()), ..spec(&hsm, "x") };
        let store = open_spec(by_serial);
        store.health().await.expect("found by its serial number, though it was made after the module was started");
        assert_eq!(store.identity().await.unwrap().serial, serial);
    });
}

#[test]
fn a_wrong_pin_is_tried_once() {
    isolated("wrong::a_wrong_pin_is_tried_once", &["online"], async |hsm| {
        let wrong = CredentialSpec::File(hsm.secret_file("wrong", "canary-wrong"));
        let store = open_spec(Pkcs11Spec { pin: wrong, ..spec(&hsm, "online") });
        let first = store.health().await.unwrap_err();
        assert!(matches!(first, KeyStoreError::Credential(_)), "{first}");
        let text = first.to_string();
        assert!(text.contains("CKR_PIN_INCORRECT") && text.contains("CKF_USER_PIN_COUNT_LOW") && text.contains("hint:"), "{text}");
        assert!(!text.contains("canary"), "no PIN in errors: {text}");
        for _ in 0..3 {
            let later = store.list().await.unwrap_err();
            assert!(matches!(later, KeyStoreError::Credential(_)) && later.to_string().contains("refused this PIN before"), "{later}");
        }
        open(&hsm, "online").health().await.expect("the right PIN opens it, and sets the count back");
    });
}

/// SoftHSM never counts to the lock-out, but it reports the flags that its token's file has.
#[test]
fn the_last_try_is_left_to_people() {
    isolated("wrong::the_last_try_is_left_to_people", &["online"], async |hsm| {
        let folder = fs::read_dir(hsm.tokens()).unwrap().next().unwrap().unwrap().path();
        let file = folder.join("token.object");
        let whole = fs::read(&file).unwrap();
        // CKF_RNG, LOGIN_REQUIRED, USER_PIN_INITIALIZED, RESTORE_KEY_NOT_NEEDED, TOKEN_INITIALIZED: big-endian, 8 bytes.
        let flags = 0x042du64;
        let at: Vec<_> = (0..whole.len() - 7).filter(|i| whole[*i..*i + 8] == flags.to_be_bytes()).collect();
        let [at] = at[..] else { panic!("the flags stand once in the file, not at {at:?}") };
        for (flag, expected) in [(0x0002_0000, "does not spend that try"), (0x0004_0000, "is locked")] {
            let mut changed = whole.clone();
            changed[at..at + 8].copy_from_slice(&(flags | flag).to_be_bytes());
            fs::write(&file, changed).unwrap();
            // SoftHSM reads the file when it is started.
            module().finalize().unwrap();
            let store = open(&hsm, "online");
            let error = store.health().await.unwrap_err();
            assert!(matches!(error, KeyStoreError::Credential(_)) && error.to_string().contains(expected), "{error}");
        }
        fs::write(&file, whole).unwrap();
        module().finalize().unwrap();
        open(&hsm, "online").health().await.expect("the flags are gone");
    });
}

#[test]
fn pin_files_are_private() {
    isolated("wrong::pin_files_are_private", &["online"], async |hsm| {
        let path = hsm.secret_file("open", PIN);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let spec = Pkcs11Spec { pin: CredentialSpec::File(path), ..spec(&hsm, "online") };
        let error = KeyStoreSpec::Pkcs11(spec).open("test").err().unwrap().to_string();
        assert!(error.contains("(mode 0640)") && error.contains("chmod 600") && !error.contains(PIN), "{error}");
    });
}
