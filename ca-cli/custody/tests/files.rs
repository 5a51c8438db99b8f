//! Credentials in files: made, verified, dealt again.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ca_core::model::HolderName;
use ca_custody::credential::{Made, Recipients, create, read_set, reshare, rotate, verify};
use ca_custody::{Error, SystemClock};
use ca_keystore::Unsealer;
use ca_keystore::shares::{Purpose, Share, ShareFile, recombine};
use ca_testkit::SeededRng;
use zeroize::Zeroizing;

fn recipients<'a>(folder: &'a Path, threshold: u8, names: &[&str], rng: &'a SeededRng) -> Recipients<'a> {
    let holders = names.iter().map(|n| (n.parse::<HolderName>().unwrap(), secret_of(n))).collect();
    Recipients { threshold, holders, folder, clock: &SystemClock, rng }
}

/// A file key stands for the holder's passphrase where Argon2id is not the point.
fn secret_of(name: &str) -> Unsealer {
    let mut key = Zeroizing::new([7u8; 32]);
    key[..name.len()].copy_from_slice(name.as_bytes());
    Unsealer::FileKey(key)
}

fn open(made: &Made, positions: &[usize]) -> Vec<Share> {
    let files = positions.iter().map(|i| &made.share_files[*i]);
    files.map(|(holder, path)| ShareFile::read(path).unwrap().open(&secret_of(holder.as_str())).unwrap()).collect()
}

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_credential_is_made_proved_and_handed_once() {
    let (temporary, rng) = (tempfile::tempdir().unwrap(), SeededRng::new(1));
    let folder = temporary.path().join("shares");
    let mut handed = Vec::new();
    let name = "token".parse().unwrap();
    let made = create(name, Purpose::Pkcs11Pin, &recipients(&folder, 2, &["ana", "bela", "cora"], &rng), &mut |credential| {
        // By now every file is there and proved.
        assert_eq!(listing(&folder), ["token.ana.share", "token.bela.share", "token.cora.share", "token.set.json"]);
        handed.push(credential.expose().to_vec());
        Ok(())
    })
    .unwrap();
    assert_eq!(handed.len(), 1);
    for (_, path) in &made.share_files {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read(path).unwrap().windows(32).any(|w| w == handed[0]));
    }
    let set = read_set(&made.set_file).unwrap();
    assert_eq!(set, made.set);
    let given = recombine(&set, &open(&made, &[2, 0])).unwrap().credential(set.credential(), set.purpose());
    assert_eq!(given.expose(), handed[0]);
    let verified = verify(&set, &open(&made, &[1])).unwrap();
    assert_eq!((verified.good.len(), verified.recombined), (1, false), "one is verified alone");
    assert!(verify(&set, &open(&made, &[0, 1, 2])).unwrap().recombined);

    let again = create("token".parse().unwrap(), Purpose::Pkcs11Pin, &recipients(&folder, 2, &["ana", "bela"], &rng), &mut |_| Ok(()));
    assert!(matches!(again, Err(Error::File { .. })), "{again:?}");
    assert_eq!(read_set(&made.set_file).unwrap(), set, "nothing was overwritten");
}

#[test]
fn a_share_that_is_in_the_way_stops_it_before_anything_is_handed() {
    let (folder, rng) = (tempfile::tempdir().unwrap(), SeededRng::new(1));
    fs::write(folder.path().join("token.bela.share"), "mine").unwrap();
    let to = recipients(folder.path(), 2, &["ana", "bela", "cora"], &rng);
    let error = create("token".parse().unwrap(), Purpose::Pkcs11Pin, &to, &mut |_| panic!("not handed")).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    assert_eq!(listing(folder.path()), ["token.bela.share"], "what was made is gone, what was there is not");
}

#[test]
fn what_refuses_the_credential_is_told() {
    let (folder, rng) = (tempfile::tempdir().unwrap(), SeededRng::new(1));
    let to = recipients(folder.path(), 2, &["ana", "bela"], &rng);
    let error = create("token".parse().unwrap(), Purpose::Pkcs11Pin, &to, &mut |_| Err("the token is full".to_owned())).unwrap_err();
    assert!(error.to_string().contains("did not take the credential: the token is full (hint: "), "{error}");
}

#[test]
fn dealt_again_it_is_the_same_and_rotated_it_is_not() {
    let (temporary, rng) = (tempfile::tempdir().unwrap(), SeededRng::new(1));
    let at = |name: &str| temporary.path().join(name);
    let mut first = Vec::new();
    let folder = at("first");
    let made = create("key".parse().unwrap(), Purpose::SoftwareKey, &recipients(&folder, 2, &["ana", "bela", "cora"], &rng), &mut |c| {
        first = c.expose().to_vec();
        Ok(())
    })
    .unwrap();

    let folder = at("second");
    let to = recipients(&folder, 3, &["bela", "dina", "ewa", "fay"], &rng);
    let second = reshare(&made.set, &open(&made, &[0, 1]), &to).unwrap();
    let opens = recombine(&second.set, &open(&second, &[0, 2, 3])).unwrap().credential(second.set.credential(), Purpose::SoftwareKey);
    assert_eq!(opens.expose(), first);
    let mixed = verify(&second.set, &open(&made, &[1])).unwrap_err().to_string();
    assert!(mixed.contains("the share of `bela` is of another set"), "{mixed}");
    let few = reshare(&made.set, &open(&made, &[0]), &recipients(&at("none"), 2, &["x", "y"], &rng)).unwrap_err().to_string();
    assert!(few.contains("needs 2 shares and has 1"), "{few}");
    assert!(!at("none").exists());

    let folder = at("third");
    let mut pair = Vec::new();
    let third = rotate(&second.set, &open(&second, &[1, 2, 3]), &recipients(&folder, 2, &["bela", "dina"], &rng), &mut |old, new| {
        pair = vec![old.expose().to_vec(), new.expose().to_vec()];
        Ok(())
    })
    .unwrap();
    assert_eq!(pair[0], first);
    assert_ne!(pair[1], first);
    let opens = recombine(&third.set, &open(&third, &[0, 1])).unwrap().credential(third.set.credential(), Purpose::SoftwareKey);
    assert_eq!(opens.expose(), pair[1]);
}
