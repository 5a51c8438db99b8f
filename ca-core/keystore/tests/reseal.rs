//! A folder of keys sealed anew: all of it or none, whenever the process dies.
#![cfg(all(feature = "authority", feature = "shares"))]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ca_core::pki::KeyAlgorithm;
use ca_core::ports::{GenerateKey, KeyDevice as _, KeyInfo, KeyStore as _};
use ca_keystore::{SealError, SoftwareKeyStore, Unsealer, reseal_folder};
use ca_testkit::SeededRng;
use zeroize::Zeroizing;

const KEYS: usize = 6;

fn secret(seed: u8) -> Unsealer {
    Unsealer::FileKey(Zeroizing::new([seed; 32]))
}

/// A folder with keys under the first secret, and what they are.
async fn filled(dir: &Path) -> (PathBuf, Vec<KeyInfo>, String) {
    let folder = dir.join("keys");
    let store = SoftwareKeyStore::open(&folder, secret(1)).unwrap().with_wrapping_key("backup", secret(9));
    for i in 0..KEYS {
        let exportable_under = (i == 0).then(|| "backup".to_owned());
        let request = GenerateKey { exportable_under, ..GenerateKey::new(format!("key-{i}").parse().unwrap(), KeyAlgorithm::P256) };
        store.generate(request).await.unwrap();
    }
    let serial = store.identity().await.unwrap().serial;
    (folder.clone(), store.list().await.unwrap(), serial)
}

/// The keys, where every one of them opens with this secret.
async fn opened(folder: &Path, seed: u8) -> Option<Vec<KeyInfo>> {
    SoftwareKeyStore::open(folder, secret(seed)).unwrap().list().await.ok()
}

fn beside(folder: &Path) -> PathBuf {
    folder.parent().unwrap().join(".keys.resealing")
}

#[tokio::test]
async fn every_key_is_sealed_anew_and_is_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, keys, serial) = filled(dir.path()).await;
    assert_eq!(reseal_folder(&folder, &secret(1), &secret(2), &SeededRng::new(1)).unwrap(), KEYS);
    assert_eq!((opened(&folder, 1).await, opened(&folder, 2).await), (None, Some(keys.clone())));
    let store = SoftwareKeyStore::open(&folder, secret(2)).unwrap();
    assert_eq!(store.identity().await.unwrap().serial, serial);
    let extractable = store.attributes(&"key-0".parse().unwrap()).await.unwrap().extractable;
    assert!(extractable && !store.attributes(&"key-1".parse().unwrap()).await.unwrap().extractable, "what may leave stays so");
    assert!(!beside(&folder).exists(), "nothing under the old secret is left");
    // By a passphrase, too; and an empty folder has nothing to lose.
    let passphrase = Unsealer::Passphrase(Zeroizing::new(b"correct horse".to_vec()));
    let few = dir.path().join("few");
    SoftwareKeyStore::open(&few, passphrase.clone()).unwrap();
    assert_eq!(reseal_folder(&few, &passphrase, &secret(2), &SeededRng::new(2)).unwrap(), 0);
}

#[tokio::test]
async fn what_cannot_be_sealed_anew_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, keys, _) = filled(dir.path()).await;
    let rng = SeededRng::new(1);
    assert!(matches!(reseal_folder(&folder, &secret(3), &secret(2), &rng), Err(SealError::Unseal(_))));
    assert_eq!(opened(&folder, 1).await, Some(keys.clone()));
    // One key under another secret: the others stay with theirs.
    let stranger = dir.path().join("strangers");
    SoftwareKeyStore::open(&stranger, secret(3))
        .unwrap()
        .generate(GenerateKey::new("z".parse().unwrap(), KeyAlgorithm::P256))
        .await
        .unwrap();
    fs::copy(stranger.join("z.sealed"), folder.join("z.sealed")).unwrap();
    assert!(matches!(reseal_folder(&folder, &secret(1), &secret(2), &rng), Err(SealError::Unseal(_))));
    fs::rename(folder.join("z.sealed"), folder.join("notes.txt")).unwrap();
    let error = reseal_folder(&folder, &secret(1), &secret(2), &rng).unwrap_err().to_string();
    assert!(error.contains("neither a sealed key nor the store's serial number"), "{error}");
    fs::remove_file(folder.join("notes.txt")).unwrap();
    fs::rename(folder.join("key-5.sealed"), folder.join("key-9.sealed")).unwrap();
    let error = reseal_folder(&folder, &secret(1), &secret(2), &rng).unwrap_err().to_string();
    assert!(error.contains("sealed under another name"), "{error}");
    fs::rename(folder.join("key-9.sealed"), folder.join("key-5.sealed")).unwrap();
    assert_eq!(opened(&folder, 1).await, Some(keys));
    // What those tries left beside does not stand in the way.
    reseal_folder(&folder, &secret(1), &secret(2), &rng).unwrap();
    assert!(reseal_folder(&dir.path().join("absent"), &secret(1), &secret(2), &rng).is_err());
}

const CHILD: &str = "COUNTERSIGN_TEST_RESEALS";

/// In a process of its own: back and forth, until it is killed.
#[test]
fn reseals_until_it_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    for i in 0..u8::MAX {
        let (old, new) = (1 + i % 2, 2 - i % 2);
        reseal_folder(Path::new(&folder), &secret(old), &secret(new), &SeededRng::new(u64::from(i))).unwrap();
    }
}

#[tokio::test]
async fn a_process_that_dies_at_any_moment_leaves_all_keys_under_one_secret() {
    let mut under = BTreeSet::new();
    // Once for each state of the folder beside that can be seen from outside, and past it.
    for seen in 0..=2 * KEYS + 2 {
        let dir = tempfile::tempdir().unwrap();
        let (folder, keys, _) = filled(dir.path()).await;
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["reseals_until_it_is_killed", "--exact", "--test-threads=1"]).env(CHILD, &folder);
        let mut child = child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let beside = beside(&folder);
        let files = || fs::read_dir(&beside).map_or(0, |entries| entries.flatten().count());
        let (mut changes, mut before) = (0, 0);
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            while changes <= seen {
                let now = files();
                changes += usize::from(now != before);
                before = now;
                tokio::task::yield_now().await;
            }
        });
        waited.await.expect("the child reseals");
        child.kill().unwrap();
        child.wait().unwrap();
        let found = [1, 2].map(|seed| (seed, SoftwareKeyStore::open(&folder, secret(seed)).unwrap()));
        let mut open = Vec::new();
        for (seed, store) in found {
            open.extend(store.list().await.ok().map(|keys| (seed, keys)));
        }
        let [(seed, found)] = open.as_slice() else { panic!("after {seen} changes the keys open with {} of the secrets", open.len()) };
        assert_eq!(*found, keys);
        under.insert(*seed);
        // The next try goes on from whatever was left.
        assert_eq!(reseal_folder(&folder, &secret(*seed), &secret(7), &SeededRng::new(7)).unwrap(), KEYS);
        assert_eq!(opened(&folder, 7).await, Some(keys));
        assert!(!beside.exists());
    }
    assert!(under.contains(&1), "some died before the change");
}
