//! Tokens, sessions and modules that die under a live store, and come back without a restart.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use ca_core::pki::KeyAlgorithm;
use ca_core::ports::{GenerateKey, KeyStoreError};
use ca_testkit::softhsm::{PIN, SoftHsm};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

use crate::support::{healthy, isolated, label, make, module, open, rename, sign, slot};

#[track_caller]
fn unavailable<T: std::fmt::Debug>(result: Result<T, KeyStoreError>) -> String {
    match result {
        Err(KeyStoreError::Unavailable(reason)) => reason,
        other => panic!("a dead token must be unavailable, not {other:?}"),
    }
}

#[test]
fn a_token_that_was_deleted_and_restored_works_again() {
    isolated("death::a_token_that_was_deleted_and_restored_works_again", &["online"], async |hsm| {
        let store = open(&hsm, "online");
        let key = make(&*store, "demo").await;
        sign(&*store, &key).await.unwrap();
        let away = hsm.folder().join("away");
        for _ in 0..2 {
            rename(&hsm.tokens(), &away);
            unavailable(store.health().await);
            unavailable(sign(&*store, &key).await);
            unavailable(store.describe(&key.label).await);
            unavailable(store.list().await);
            unavailable(store.inventory().await);
            unavailable(store.generate(GenerateKey::new(label("new"), KeyAlgorithm::P256)).await);
            rename(&away, &hsm.tokens());
            healthy(&*store).await;
            sign(&*store, &key).await.unwrap();
            assert_eq!(store.list().await.unwrap(), std::slice::from_ref(&key), "nothing was made on a dead token");
        }
    });
}

#[test]
fn another_token_in_the_same_place_is_not_taken_for_it() {
    isolated("death::another_token_in_the_same_place_is_not_taken_for_it", &["online"], async |hsm| {
        let store = open(&hsm, "online");
        let key = make(&*store, "demo").await;
        let away = hsm.folder().join("away");
        rename(&hsm.tokens(), &away);
        fs::create_dir(hsm.tokens()).unwrap();
        hsm.add_token("other");
        let reason = unavailable(sign(&*store, &key).await);
        assert!(reason.contains("tokens there: `other`") && reason.contains("hint:"), "{reason}");
        unavailable(store.health().await);
        fs::remove_dir_all(hsm.tokens()).unwrap();
        rename(&away, &hsm.tokens());
        healthy(&*store).await;
        sign(&*store, &key).await.unwrap();
    });
}

#[test]
fn a_neighbour_on_the_same_module_goes_on() {
    isolated("death::a_neighbour_on_the_same_module_goes_on", &["online", "root"], async |hsm| {
        let (online, root) = (open(&hsm, "online"), open(&hsm, "root"));
        let (here, there) = (make(&*online, "here").await, make(&*root, "there").await);
        // Only the online token's folder goes.
        let serial = online.identity().await.unwrap().serial;
        let folders = fs::read_dir(hsm.tokens()).unwrap().map(|e| e.unwrap().path());
        let folder =
            folders.into_iter().find(|p| p.to_string_lossy().replace('-', "").ends_with(&serial)).expect("SoftHSM names the folder so");
        let away = hsm.folder().join("away");
        rename(&folder, &away);
        for _ in 0..20 {
            unavailable(sign(&*online, &here).await);
            sign(&*root, &there).await.expect("the neighbour works all along");
        }
        rename(&away, &folder);
        healthy(&*online).await;
        sign(&*online, &here).await.unwrap();
        sign(&*root, &there).await.unwrap();
    });
}

#[test]
fn sessions_that_die_are_opened_again() {
    isolated("death::sessions_that_die_are_opened_again", &["online"], async |hsm| {
        let store = open(&hsm, "online");
        let key = make(&*store, "demo").await;
        let context = module();
        for round in 0..8 {
            // Every session of the process ends, by a logout or by the module's end; no call fails for it.
            if round % 2 == 0 {
                let session = context.open_rw_session(slot(&context, "online")).unwrap();
                session.logout().unwrap();
            } else {
                context.clone().finalize().unwrap();
            }
            match round {
                0..4 => sign(&*store, &key).await.unwrap(),
                4..6 => store.health().await.unwrap(),
                // Making a key is not tried twice, but a dead session is noticed before.
                _ => drop(make(&*store, &format!("later-{round}")).await),
            }
        }
    });
}

#[test]
fn a_key_that_another_program_destroyed_is_gone() {
    isolated("death::a_key_that_another_program_destroyed_is_gone", &["online"], async |hsm| {
        let store = open(&hsm, "online");
        let key = make(&*store, "demo").await;
        sign(&*store, &key).await.unwrap();
        for kind in ["privkey", "pubkey"] {
            hsm.pkcs11_tool("online", &["--delete-object", "--type", kind, "--label", "demo"]);
        }
        let error = sign(&*store, &key).await.unwrap_err();
        assert!(matches!(error, KeyStoreError::NotFound(_)), "{error}");
        store.health().await.expect("the token itself is well");
    });
}

#[test]
fn a_pin_changed_under_a_live_store_is_a_clear_error() {
    isolated("death::a_pin_changed_under_a_live_store_is_a_clear_error", &["online"], async |hsm| {
        let store = open(&hsm, "online");
        let key = make(&*store, "demo").await;
        hsm.pkcs11_tool("online", &["--change-pin", "--new-pin", "canary-other"]);
        sign(&*store, &key).await.expect("who is logged in stays so");
        module().finalize().unwrap();
        let error = sign(&*store, &key).await.unwrap_err();
        assert!(matches!(error, KeyStoreError::Credential(_)), "{error}");
        let context = module();
        let session = context.open_rw_session(slot(&context, "online")).unwrap();
        session.login(UserType::User, Some(&AuthPin::new("canary-other".into()))).unwrap();
        session.set_pin(&AuthPin::new("canary-other".into()), &AuthPin::new(PIN.into())).unwrap();
        drop(session);
        // The same PIN was refused once, and the store cannot know that it is right now.
        let error = sign(&*store, &key).await.unwrap_err();
        assert!(error.to_string().contains("then restart"), "{error}");
        sign(&*open(&hsm, "online"), &key).await.expect("a restart");
    });
}

/// The folder of the tokens as a file system of 300 KB, until this is dropped.
struct Small(PathBuf);

impl Small {
    fn mount(hsm: &SoftHsm) -> Self {
        let mut mount = Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", "size=300k,mode=700", "tmpfs"]).arg(hsm.tokens()).status();
        assert!(done.is_ok_and(|s| s.success()), "no small file system could be mounted (hint: run the tests as root, with CAP_SYS_ADMIN)");
        Self(hsm.tokens())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily, for the module may have files open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_token_makes_no_key() {
    isolated("death::a_full_token_makes_no_key", &[], async |hsm| {
        let _small = Small::mount(&hsm);
        hsm.add_token("small");
        let store = open(&hsm, "small");
        let mut made = Vec::new();
        let error = loop {
            match store.generate(GenerateKey::new(label(&format!("k{}", made.len())), KeyAlgorithm::P256)).await {
                Ok(key) => made.push(key),
                Err(error) => break error,
            }
            assert!(made.len() < 200, "300 KB do not hold that many keys");
        };
        // What was there before is unharmed, and nothing is half made.
        assert_eq!(store.list().await.unwrap().len(), made.len());
        assert_eq!(store.inventory().await.unwrap().len(), 2 * made.len());
        sign(&*store, &made[0]).await.unwrap();
        assert!(matches!(error, KeyStoreError::Unavailable(_)), "{error}");
        assert!(!made.is_empty());
    });
}
