//! Credentials as shares: any m of n have them, fewer do not, and what is wrong is refused by name.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![cfg(feature = "shares")]

use std::collections::BTreeSet;
use std::fs;

use ca_core::model::{CredentialName, HolderName};
use ca_core::pki::Timestamp;
use ca_core::ports::Rng as _;
use ca_keystore::shares::{Collector, Credential, Dealing, Given, Purpose, Share, ShareError, ShareFile, ShareSet, recombine};
use ca_keystore::{SealError, Unsealer};
use ca_testkit::SeededRng;
use proptest::prelude::*;
use zeroize::Zeroizing;

const NAMES: [&str; 8] = ["ana", "bela", "cora", "dina", "ewa", "fay", "gil", "hao"];

fn name(text: &str) -> CredentialName {
    text.parse().unwrap()
}

fn holders(count: usize) -> Vec<HolderName> {
    NAMES[..count].iter().map(|n| n.parse().unwrap()).collect()
}

fn deal(threshold: u8, count: usize, seed: u64) -> Dealing {
    let now = Timestamp::from_unix(1_800_000_000);
    Dealing::of_random(name("token"), Purpose::Pkcs11Pin, threshold, holders(count), now, &SeededRng::new(seed)).unwrap()
}

fn pick(dealing: &Dealing, positions: impl IntoIterator<Item = usize>) -> Vec<Share> {
    positions.into_iter().map(|i| dealing.shares[i].clone()).collect()
}

fn wire(share: &Share) -> serde_json::Value {
    serde_json::to_value(share).unwrap()
}

#[track_caller]
fn check<T: std::fmt::Debug>(got: Result<T, ShareError>, expected: &str) {
    let error = got.expect_err("refused").to_string();
    assert!(error.contains(expected), "`{expected}` is not in: {error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_m_of_n_recombine_and_any_fewer_do_not(seed: u64, threshold in 2u8..=5, extra in 0usize..=3, order in Just(()).prop_perturb(|(), mut rng| rng.next_u64())) {
        let count = usize::from(threshold) + extra;
        let dealing = deal(threshold, count, seed);
        // An order drawn by sorting positions by a keyed value.
        let mut positions: Vec<usize> = (0..count).collect();
        positions.sort_by_key(|p| (*p as u64 + 1).wrapping_mul(order | 1));
        let m = usize::from(threshold);
        let enough = recombine(&dealing.set, &pick(&dealing, positions[..m].iter().copied())).unwrap();
        prop_assert!(enough.same_as(&dealing.secret));
        let all = recombine(&dealing.set, &dealing.shares).unwrap();
        prop_assert!(all.same_as(&dealing.secret));
        let few = recombine(&dealing.set, &pick(&dealing, positions[..m - 1].iter().copied()));
        prop_assert!(matches!(few, Err(ShareError::TooFew { missing: 1, .. })), "{few:?}");
        // One at a time, in the same order.
        let mut collector = Collector::new(dealing.set.clone());
        for (i, p) in positions[..m].iter().enumerate() {
            match collector.give(dealing.shares[*p].clone()).unwrap() {
                Given::Waiting { missing } => prop_assert_eq!(missing, m - i - 1),
                Given::Complete(secret) => prop_assert!(i == m - 1 && secret.same_as(&dealing.secret)),
            }
        }
        prop_assert!(collector.given().is_empty(), "nothing is kept");
    }

    #[test]
    fn a_share_with_random_bytes_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(serde_json::from_slice::<Share>(&bytes).is_err());
        prop_assert!(ShareSet::from_json(&String::from_utf8_lossy(&bytes)).is_err());
    }
}

#[test]
fn shares_of_two_sets_do_not_mix() {
    let (dealing, other) = (deal(3, 5, 9), deal(3, 5, 10));
    let mixed = [pick(&dealing, [0, 1]), pick(&other, [2])].concat();
    check(recombine(&dealing.set, &mixed), "the share of `cora` is of another set");
}

#[test]
fn ceremony_23_shares_are_verified_alone_and_a_threshold_is_recombined() {
    let dealing = deal(2, 3, 1);
    for share in &dealing.shares {
        dealing.set.verify(share).unwrap();
    }
    let mut reached = BTreeSet::new();
    for pair in [[0, 1], [1, 2], [2, 0]] {
        let secret = recombine(&dealing.set, &pick(&dealing, pair)).unwrap();
        reached.insert(secret.credential(&name("token"), Purpose::Pkcs11Pin).expose().to_vec());
    }
    assert_eq!(reached.len(), 1, "every pair opens the same");

    // A changed share is found alone: no other share is needed for it, and the good ones are not lost.
    let mut collector = Collector::new(dealing.set.clone());
    collector.give(dealing.shares[0].clone()).unwrap();
    let mut changed = wire(&dealing.shares[1]);
    let secret = changed["secret"].as_str().unwrap().to_owned();
    changed["secret"] = format!("{}{}", if secret.starts_with('A') { 'B' } else { 'A' }, &secret[1..]).into();
    check(collector.give(serde_json::from_value(changed).unwrap()), "the share of `bela` was changed or damaged");
    assert_eq!(collector.given(), holders(1));
    assert!(matches!(collector.give(dealing.shares[1].clone()).unwrap(), Given::Complete(_)));
}

#[test]
fn ceremony_24_credentials_are_random_and_long() {
    let rng = SeededRng::new(4);
    let mut seen = BTreeSet::new();
    for purpose in Purpose::ALL {
        for _ in 0..100 {
            let dealing = Dealing::of_random(name("token"), purpose, 2, holders(2), Timestamp::from_unix(0), &rng).unwrap();
            let credential = dealing.secret.credential(&name("token"), purpose);
            let bytes = credential.expose();
            assert_eq!(bytes.len(), 32);
            if purpose == Purpose::Pkcs11Pin {
                // 5 bits a character: 160 bits, and every token takes these.
                assert!(bytes.iter().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(b)));
            }
            assert!(seen.insert(bytes.to_vec()), "no two are alike");
            assert!(!format!("{credential:?} {:?} {:?}", dealing.secret, dealing.shares).contains(&String::from_utf8_lossy(bytes)[..]));
        }
    }
    let secret = deal(2, 3, 5).secret;
    let derive = |n: &str, p| secret.credential(&name(n), p).expose().to_vec();
    assert_eq!(derive("a", Purpose::SoftwareKey), derive("a", Purpose::SoftwareKey));
    assert_ne!(derive("a", Purpose::SoftwareKey), derive("b", Purpose::SoftwareKey), "bound to the name");
    assert_ne!(derive("a", Purpose::SoftwareKey), derive("a", Purpose::YubihsmKey), "bound to the purpose");
    let short = Credential::from_bytes(name("a"), Purpose::Pkcs11Pin, Zeroizing::new(b"1234".to_vec()));
    check(short, "has 4 bytes, not 32");
    check(secret.credential(&name("a"), Purpose::Pkcs11Pin).unsealer(), "`a` opens a pkcs11-pin, and a software-key is needed");
}

#[test]
fn what_is_wrong_is_refused_by_name() {
    let dealing = deal(3, 4, 1);
    let check_shares = |shares: Vec<Share>, expected| check(recombine(&dealing.set, &shares), expected);
    check_shares(pick(&dealing, [0, 2]), "needs 3 shares and has 2, of ana, cora: 1 more (hint: any of bela, dina)");
    check_shares(vec![], "needs 3 shares and has 0: 3 more");
    check_shares(pick(&dealing, [0, 1, 0]), "`ana` has given a share already");
    check_shares(pick(&deal(3, 4, 2), [0, 1, 2]), "the share of `ana` is of another set");

    let edited = |key: &str, value: serde_json::Value| {
        let mut json = wire(&dealing.shares[1]);
        json[key] = value;
        serde_json::from_value::<Share>(json)
    };
    let check_edited = |key: &str, value: serde_json::Value, expected| check(dealing.set.verify(&edited(key, value).unwrap()), expected);
    check_edited("index", 0.into(), "at position 0 is not one of this set: there is no such position");
    check_edited("index", 5.into(), "there is no such position");
    check_edited("index", 1.into(), "the position is another holder's");
    check_edited("holder", "mallory".into(), "the share of `mallory` at position 2");
    check_edited("threshold", 2.into(), "it says that it opens something else");
    check_edited("purpose", "software-key".into(), "it says that it opens something else");
    check_edited("credential", "other".into(), "it says that it opens something else");
    for (key, value) in [("secret", "AAAA"), ("secret", "!"), ("holder", "../x"), ("set", "00"), ("purpose", "pin")] {
        assert!(edited(key, value.into()).is_err(), "{key} = {value}");
    }
    assert!(edited("extra", 1.into()).is_err(), "an unknown key");
}

#[test]
fn every_changed_byte_of_a_share_is_caught() {
    let dealing = deal(2, 2, 6);
    let share = wire(&dealing.shares[0]);
    let secret = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, share["secret"].as_str().unwrap()).unwrap();
    for position in 0..secret.len() {
        let mut changed = secret.clone();
        changed[position] ^= 1;
        let mut json = share.clone();
        json["secret"] = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &changed).into();
        check(dealing.set.verify(&serde_json::from_value(json).unwrap()), "the share of `ana` was changed or damaged");
    }
}

#[test]
fn sets_that_make_no_sense_are_refused() {
    let rng = SeededRng::new(1);
    let make = |threshold, names: &[&str]| {
        let holders = names.iter().map(|n| n.parse().unwrap()).collect();
        Dealing::of_random(name("x"), Purpose::SoftwareKey, threshold, holders, Timestamp::from_unix(0), &rng).map(|d| d.set)
    };
    check(make(1, &["ana", "bela"]), "not dual control");
    check(make(0, &["ana", "bela"]), "not dual control");
    check(make(3, &["ana", "bela"]), "can't be met");
    check(make(2, &["ana", "bela", "ana"]), "`ana` stands twice (hint: one person, one share)");
    let many: Vec<String> = (0..17).map(|i| format!("h{i}")).collect();
    check(make(2, &many.iter().map(String::as_str).collect::<Vec<_>>()), "17 holders; the most is 16");

    let json = deal(2, 3, 1).set.to_json();
    assert_eq!(ShareSet::from_json(&json).unwrap().to_json(), json);
    let edited = |from: &str, to: &str| {
        assert!(json.contains(from), "{from} in {json}");
        ShareSet::from_json(&json.replacen(from, to, 1))
    };
    check(edited("share-set/1", "share-set/2"), "its format");
    check(edited("\"threshold\": 2", "\"threshold\": 3"), "3 commitments");
    check(edited("\"threshold\": 2", "\"threshold\": 1"), "not dual control");
    check(edited("\"ana\"", "\"bela\""), "stands twice");
    check(edited("{", "{\"extra\": 1,"), "does not parse");
    check(ShareSet::from_json(&" ".repeat(9000)), "more than 8192 bytes");
    // A description that was exchanged for a consistent other one voids every share, so it is noticed.
    let other = edited("\"bela\"", "\"mallory\"").unwrap();
    check(other.verify(&deal(2, 3, 1).shares[0]), "is of another set");
}

#[test]
fn a_new_set_of_the_same_secret_opens_the_same() {
    let old = deal(2, 3, 1);
    let secret = recombine(&old.set, &pick(&old, [0, 2])).unwrap();
    let new_holders = holders(8)[3..].to_vec();
    let now = Timestamp::from_unix(1_900_000_000);
    let new = Dealing::of(secret, name("token"), Purpose::Pkcs11Pin, 3, new_holders, now, &SeededRng::new(77)).unwrap();
    assert!(recombine(&new.set, &pick(&new, [0, 2, 4])).unwrap().same_as(&old.secret));
    check(recombine(&new.set, &pick(&old, [0, 1, 2])), "is of another set");
}

#[test]
fn a_share_is_at_rest_only_sealed() {
    let (folder, rng) = (tempfile::tempdir().unwrap(), SeededRng::new(8));
    let dealing = deal(2, 3, 1);
    let unsealer = Unsealer::FileKey(Zeroizing::new([9; 32]));
    let path = folder.path().join("ana.share");
    let share = &dealing.shares[0];
    share.seal(&path, &unsealer, &rng).unwrap();
    assert!(matches!(share.seal(&path, &unsealer, &rng), Err(SealError::Exists(_))));

    let file = ShareFile::read(&path).unwrap();
    let told = (file.credential().as_str(), file.holder().as_str(), file.threshold(), file.purpose(), file.set());
    assert_eq!(told, ("token", "ana", 2, Purpose::Pkcs11Pin, dealing.set.id()), "told without opening it");
    let opened = file.open(&unsealer).unwrap();
    assert_eq!(wire(&opened), wire(share));
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains(wire(share)["secret"].as_str().unwrap()));
    check(ShareFile::read(&path).unwrap().open(&Unsealer::FileKey(Zeroizing::new([1; 32]))), "wrong passphrase or file key");

    // Every byte of the file, label and secret alike.
    let whole = fs::read(&path).unwrap();
    for position in 0..whole.len() {
        let mut changed = whole.clone();
        changed[position] ^= 1;
        fs::write(&path, changed).unwrap();
        let opened = ShareFile::read(&path).map_err(ShareError::from).and_then(|f| f.open(&unsealer));
        assert!(opened.is_err(), "byte {position} was changed");
    }
    fs::write(&path, b"no share").unwrap();
    assert!(matches!(ShareFile::read(&path), Err(SealError::Damaged { .. })));
}

#[test]
fn a_share_under_a_passphrase() {
    let (folder, rng) = (tempfile::tempdir().unwrap(), SeededRng::new(8));
    let mut random = [0u8; 16];
    rng.fill(&mut random);
    let dealing = deal(2, 2, 1);
    let (path, passphrase) = (folder.path().join("bela.share"), Unsealer::Passphrase(Zeroizing::new(random.to_vec())));
    dealing.shares[1].seal(&path, &passphrase, &rng).unwrap();
    assert_eq!(wire(&ShareFile::read(&path).unwrap().open(&passphrase).unwrap()), wire(&dealing.shares[1]));
    check(ShareFile::read(&path).unwrap().open(&Unsealer::Passphrase(Zeroizing::new(b"wrong".to_vec()))), "wrong passphrase");
}
