//! `ca credential reshare --rotate --reseal`, by the command as a person gives it.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use ca_core::pki::KeyAlgorithm;
use ca_core::ports::{GenerateKey, KeyStore as _};
use ca_custody::credential::{read_set, share_file};
use ca_keystore::shares::{ShareFile, recombine};
use ca_keystore::{SoftwareKeyStore, Unsealer};

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// What the shares of ana and bela in this folder open.
fn opened_by(dir: &Path, folder: &str) -> Unsealer {
    let folder = dir.join(folder);
    let set = read_set(&folder.join("authority.set.json")).unwrap();
    let open = |holder: &str| {
        let secret = Unsealer::passphrase_from_file(dir.join("passphrases").join(holder)).unwrap();
        ShareFile::read(&share_file(&folder, set.credential(), &holder.parse().unwrap())).unwrap().open(&secret).unwrap()
    };
    let secret = recombine(&set, &[open("ana"), open("bela")]).unwrap();
    secret.credential(set.credential(), set.purpose()).unsealer().unwrap()
}

#[tokio::test]
async fn a_rotated_key_seals_every_file_of_its_folder_anew() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("passphrases")).unwrap();
    for holder in ["ana", "bela"] {
        private(&dir.join("passphrases").join(holder), &format!("the long passphrase of {holder}\n"));
    }
    let run = |arguments: &[&str]| -> Output {
        Command::new(env!("CARGO_BIN_EXE_ca-keyholder")).arg("credential").args(arguments).current_dir(dir).output().unwrap()
    };
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let to = ["--holders", "ana,bela", "--threshold", "2", "--passphrase-dir", "passphrases", "--out"];
    let made = run(&[&["create", "--for", "software-key:authority"], to.as_slice(), &["one"]].concat());
    assert!(made.status.success(), "{}", text(&made));
    let folder = dir.join("keys");
    let store = |unsealer| SoftwareKeyStore::open(&folder, unsealer).unwrap();
    for label in ["a", "b"] {
        store(opened_by(dir, "one")).generate(GenerateKey::new(label.parse().unwrap(), KeyAlgorithm::P256)).await.unwrap();
    }
    let keys = store(opened_by(dir, "one")).list().await.unwrap();

    let old = ["reshare", "one/authority.set.json", "one/authority.ana.share", "one/authority.bela.share"];
    let again = |rest: &[&str]| run(&[&old, ["--old-passphrase-dir", "passphrases"].as_slice(), &to, rest].concat());
    let nothing = again(&["two", "--rotate"]);
    assert!(nothing.status.code() == Some(2) && text(&nothing).contains("--rotate needs --reseal or --hand-to"), "{}", text(&nothing));
    // A folder that cannot be sealed anew: the old shares still open it.
    let absent = again(&["two", "--rotate", "--reseal", "absent"]);
    assert!(!absent.status.success() && text(&absent).contains("did not take the credential"), "{}", text(&absent));
    assert_eq!(store(opened_by(dir, "one")).list().await.unwrap(), keys);

    let rotated = again(&["three", "--rotate", "--reseal", "keys"]);
    assert!(rotated.status.success() && text(&rotated).contains("The old shares open nothing any more"), "{}", text(&rotated));
    assert_eq!(store(opened_by(dir, "three")).list().await.unwrap(), keys);
    assert!(store(opened_by(dir, "one")).list().await.is_err());
}
