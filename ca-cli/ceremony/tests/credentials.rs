//! Credentials that are dealt, dealt again and rotated in ceremonies, on what they open: a folder of sealed keys, a real
//! SoftHSM2 token, a simulated YubiHSM 2.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use ca_ceremony::{Error, RunOutcome, verify};
use ca_core::ceremony::{KeyPlace, Operation, Statement, Transcript, TranscriptEvent};
use ca_core::ports::KeyStore as _;
use ca_keystore::{KeyStoreSpec, Lock, SoftwareSpec, UnsealSpec, file_key_text};
use common::custody::{CANARY, Deals, credential};
use common::{Ceremony, missing};

const HOLDERS: [&str; 3] = ["ana", "bela", "cora"];

fn transcript(ceremony: &Ceremony) -> Transcript {
    Transcript::parse(&std::fs::read_to_string(ceremony.bundle().join("transcript.jsonl")).unwrap()).unwrap()
}

/// A folder of sealed keys, opened by the file key that a test's ceremonies have.
fn folder(ceremony: &Ceremony, dir: &str) -> Lock {
    let path = ceremony.dir.path().join("test-key");
    if !path.exists() {
        ceremony.secret_file("test-key", &file_key_text(&[7; 32]));
    }
    Lock::Store(KeyStoreSpec::Software(SoftwareSpec { dir: dir.into(), unseal: UnsealSpec::KeyFile("test-key".into()) }))
}

/// A first ceremony that is over, then one that deals the key of the issuing authorities' folder.
async fn dealing() -> Ceremony {
    let mut ceremony = Ceremony::quick();
    ceremony.complete().await;
    let acts = credential("online", "online-key", "software-key", "deal", &HOLDERS, "");
    ceremony.deal("deal", &acts, &HOLDERS);
    ceremony.pin("online", &*ceremony.keys("online-keys")).await;
    let lock = folder(&ceremony, "online-keys");
    ceremony.deals = Some(Deals { shares: "shares", previous: None, place: KeyPlace::Online, lock });
    ceremony
}

#[tokio::test]
async fn ceremony_23_a_ceremony_deals_recombines_and_opens_what_was_dealt() {
    let ceremony = dealing().await;
    let before = ceremony.public_key("online-keys", "bank-2026");
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    assert_eq!(missing(ceremony.run().await)[0].0, "1-online-credentials.json");
    assert!(!ceremony.shares("shares").exists(), "nothing is dealt before the approval");
    let script = common::text(&ceremony.tool(&["script", "deal.toml"]));
    assert!(script.contains("ana, bela, cora") && script.contains("each types a passphrase twice"), "{script}");
    let shown = common::text(&ceremony.tool(&["show", "deal"]));
    assert!(shown.contains("deals `online-key` (software-key): 2 of ana, bela, cora will open it") && shown.contains("agrees"), "{shown}");
    let verified = ceremony.complete().await;

    // What is on record: the set, whose shares, by their files' digests, and that two of them opened the store.
    let [set] = verified.dealt.as_slice() else { panic!("{:?}", verified.dealt) };
    assert_eq!((set.threshold(), set.holders().len(), set.id().to_string()), (2, 3, ceremony.set("shares", "online-key")));
    let transcript = transcript(&ceremony);
    let recombined = transcript.events().find_map(|e| match e {
        TranscriptEvent::Recombined { set, holders, device, .. } => Some((set.to_string(), holders.len(), device.serial.clone())),
        _ => None,
    });
    let serial = ca_core::ports::KeyDevice::identity(&*ceremony.keys("root-keys")).await.unwrap().serial;
    let (id, people, device) = recombined.unwrap();
    assert!(id == set.id().to_string() && people == 2 && device != serial);
    let statement = std::fs::read(ceremony.bundle().join("statements/1-online-credentials.json")).unwrap();
    let Operation::ChangeCredentials { credentials, .. } = Statement::parse(&statement).unwrap().operation else { panic!() };
    assert_eq!(credentials[0].holders.len(), 3);

    // The old file key opens nothing; any two shares open every key, which is the same as before.
    let error = ceremony.keys("online-keys").list().await.unwrap_err().to_string();
    assert!(error.contains("wrong passphrase or file key"), "{error}");
    let mut lock = folder(&ceremony, "online-keys");
    lock.resolve(ceremony.dir.path());
    for pair in [["ana", "bela"], ["cora", "ana"], ["bela", "cora"]] {
        let credential = ceremony.recombined("shares", "online-key", &pair).unwrap();
        let store = lock.open("test", &[ca_keystore::Given { key_id: None, credential: credential.clone() }]).unwrap();
        assert_eq!(store.list().await.unwrap()[0].public_key.spki_sha256().to_string(), before);
        assert!(!contains(&ceremony.bundle(), credential.expose()), "the credential is in no file of the bundle");
    }
    assert!(!contains(&ceremony.bundle(), CANARY.as_bytes()), "nor a passphrase");
    let few = ceremony.recombined("shares", "online-key", &["cora"]).unwrap_err().to_string();
    assert!(few.contains("needs 2 shares and has 1"), "{few}");
    let report = common::text(&ceremony.tool(&["verify", "deal", "--previous", "bundle"]));
    assert!(report.contains("dealt        online-key (software-key): 2 of ana, bela, cora, set "), "{report}");
    let filled = common::text(&ceremony.tool(&["report", "deal"]));
    assert!(filled.contains("the shares of ana, bela opened"), "{filled}");
}

/// Whether a file below a folder has these bytes.
fn contains(folder: &std::path::Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() { contains(&path, bytes) } else { std::fs::read(&path).unwrap().windows(bytes.len()).any(|w| w == bytes) }
    })
}

#[tokio::test]
async fn ceremony_23_a_holder_leaves_and_another_joins_then_the_secret_is_rotated() {
    let mut ceremony = dealing().await;
    ceremony.complete().await;
    let key = ceremony.recombined("shares", "online-key", &["ana", "cora"]).unwrap();
    // Cora leaves, wim joins: the same secret, in other shares.
    let lock = folder(&ceremony, "online-keys");
    let set = |of: &Ceremony, folder: &str| format!("set = \"{}\"\n", of.set(folder, "online-key"));
    let later = ["ana", "bela", "wim"];
    let again = async |ceremony: &mut Ceremony, name: &str, change: &str, shares: &'static str, previous: &'static str, set: &str| {
        let acts = credential("online", "online-key", "software-key", change, &later, set);
        ceremony.deal(name, &acts, &later);
        let device = {
            let mut lock = folder(ceremony, "online-keys");
            lock.resolve(ceremony.dir.path());
            lock.open("test", &[ceremony.given(previous, "online-key", None)]).unwrap()
        };
        ceremony.pin("online", &*device).await;
        ceremony.deals = Some(Deals { shares, previous: Some(previous), place: KeyPlace::Online, lock: lock.clone() });
    };
    let named = set(&ceremony, "shares");
    again(&mut ceremony, "reshare", "reshare", "shares-2", "shares", &named).await;
    let verified = ceremony.complete().await;
    assert_eq!(verified.dealt[0].holders().len(), 3);
    let same = ceremony.recombined("shares-2", "online-key", &["wim", "bela"]).unwrap();
    assert_eq!(same.expose(), key.expose());

    // A share too few, and one of another set: refused, and nothing of what there is changes.
    let named = set(&ceremony, "shares-2");
    again(&mut ceremony, "rotate", "rotate", "shares-3", "shares-2", &named).await;
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    let away = |holder: &str| {
        let path = ceremony.shares(&format!("shares-2/online-key.{holder}.share"));
        std::fs::rename(&path, path.with_extension("away")).unwrap();
        path
    };
    let (ana, wim) = (away("ana"), away("wim"));
    let error = ceremony.run().await.unwrap_err();
    assert!(error.exit_code() == 4 && error.to_string().contains("needs 2 shares and has 1, of bela: 1 more"), "{error}");
    std::fs::copy(ceremony.shares("shares/online-key.ana.share"), &ana).unwrap();
    let error = ceremony.run().await.unwrap_err().to_string();
    assert!(error.contains("the share of `ana` is of another set"), "{error}");
    std::fs::rename(wim.with_extension("away"), &wim).unwrap();
    std::fs::rename(ana.with_extension("away"), &ana).unwrap();
    ceremony.complete().await;
    let fresh = ceremony.recombined("shares-3", "online-key", &["ana", "wim"]).unwrap();
    assert_ne!(fresh.expose(), key.expose());
    let mut lock = folder(&ceremony, "online-keys");
    lock.resolve(ceremony.dir.path());
    for (folder, opens) in [("shares", false), ("shares-2", false), ("shares-3", true)] {
        assert_eq!(lock.open("test", &[ceremony.given(folder, "online-key", None)]).is_ok(), opens, "{folder}");
    }
    assert!(ceremony.keys("online-keys").list().await.is_err());
}

#[tokio::test]
async fn plans_that_would_deal_unsoundly_are_refused() {
    let ceremony = dealing().await;
    let good = std::fs::read_to_string(ceremony.plan()).unwrap();
    let check = async |from: &str, to: &str, part: &str| {
        assert!(good.contains(from), "{from}: {good}");
        std::fs::write(ceremony.plan(), good.replacen(from, to, 1)).unwrap();
        let error = common::refused(ceremony.run().await);
        assert!(error.contains(part), "{part}: {error}");
    };
    let holders = good.lines().find(|l| l.starts_with("holders")).unwrap().to_owned();
    check(&holders, "holders = [\"ana\", \"bela\", \"mallory\"]", "`mallory` gets a share and is none of the plan's custodians").await;
    check(&holders, "holders = [\"ana\", \"ana\"]", "one person, one share").await;
    check(&holders, "holders = [\"ana\"]", "can't be met").await;
    check("software-key\"\nthreshold = 2", "software-key\"\nthreshold = 1", "not dual control").await;
    check("change = \"deal\"", "change = \"rotate\"", "`set` is the id of the shares").await;
    check("change = \"deal\"", "change = \"copy\"", "unknown variant").await;
    check("change = \"deal\"", "change = \"deal\"\nkey_id = 12", "only an authentication key").await;
    check("purpose = \"software-key\"", "purpose = \"yubihsm-key\"", "key_id is the id").await;
    let own = good[good.find("[[acts.credential]]").unwrap()..].split("\n\n").next().unwrap();
    let device = own.replace("software-key", "yubihsm-key").replace("\"deal\"", "\"rotate\"");
    let device = format!("{device}\nkey_id = 12\nset = \"{}\"", "0".repeat(64));
    check(own, &device, "no key in a YubiHSM may change authentication keys").await;
    std::fs::write(ceremony.plan(), &good).unwrap();
    missing(ceremony.run().await);
}

#[tokio::test]
async fn ceremony_38_a_dealing_that_was_cut_off_at_any_line_goes_on() {
    let begun = dealing().await;
    let lines = {
        let reference = begun.fork();
        reference.complete().await;
        let transcript = transcript(&reference);
        let own = |e: &TranscriptEvent| {
            matches!(
                e,
                TranscriptEvent::Began { .. }
                    | TranscriptEvent::Dealt { .. }
                    | TranscriptEvent::Handed { .. }
                    | TranscriptEvent::Recombined { .. }
                    | TranscriptEvent::Done { .. }
            )
        };
        let lines: Vec<u64> = transcript.lines().iter().filter(|l| own(&l.entry)).map(|l| l.number).collect();
        assert_eq!(lines.len(), 5);
        lines
    };
    let (first, last) = (lines[0], lines[4]);
    for number in lines {
        for moment in [ca_ceremony::Moment::Before, ca_ceremony::Moment::After] {
            let ceremony = begun.fork();
            missing(ceremony.run().await);
            ceremony.sign_plan(&["ana", "bela"]);
            missing(ceremony.run().await);
            ceremony.sign_statements(&["ana", "bela"]);
            let died = ceremony.observed(Some(common::later::dies_at(number, moment))).await;
            assert!(matches!(died, Err(Error::Io { .. })), "line {number} {moment:?}: {died:?}");
            let verified = ceremony.complete().await;
            // Before the act begins, and once it is done, nothing was cut off that people must hear of.
            let edge = (number, moment) == (first, ca_ceremony::Moment::Before) || (number, moment) == (last, ca_ceremony::Moment::After);
            assert_eq!(verified.exceptions.is_empty(), edge, "line {number} {moment:?}");
            let key = ceremony.given("shares", "online-key", None);
            let mut lock = folder(&ceremony, "online-keys");
            lock.resolve(ceremony.dir.path());
            assert_eq!(lock.open("test", &[key]).unwrap().list().await.unwrap().len(), 1, "line {number} {moment:?}");
            assert_eq!(verified.dealt[0].id().to_string(), ceremony.set("shares", "online-key"));
        }
    }
}

#[tokio::test]
async fn ceremony_23_a_bundle_whose_shares_were_not_recombined_does_not_verify() {
    let ceremony = dealing().await;
    ceremony.complete().await;
    let whole = transcript(&ceremony);
    let path = ceremony.bundle().join("transcript.jsonl");
    let refused = |part: &str, change: &dyn Fn(&mut TranscriptEvent) -> bool| {
        let mut other = Transcript::default();
        for line in whole.lines() {
            let mut event = line.entry.clone();
            if change(&mut event) {
                let line = other.next(line.at, event);
                other.push(line);
            }
        }
        std::fs::write(&path, other.lines().iter().flat_map(|l| l.to_bytes()).collect::<Vec<u8>>()).unwrap();
        let error = verify(&ceremony.bundle(), None).unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    };
    refused("were not recombined before the end", &|e| !matches!(e, TranscriptEvent::Recombined { .. }));
    refused("too few gave shares", &|e| {
        if let TranscriptEvent::Recombined { holders, .. } = e {
            holders.truncate(1);
        }
        true
    });
    refused("did not open its device", &|e| {
        if let TranscriptEvent::Recombined { device, .. } = e {
            device.serial = "another".to_owned();
        }
        true
    });
    refused("by their own act only", &|e| !matches!(e, TranscriptEvent::Handed { .. }));
    refused("to others than the plan says", &|e| {
        if let TranscriptEvent::Dealt { shares, .. } = e {
            shares.pop_last();
        }
        true
    });
    refused("another description of this set", &|e| {
        if let TranscriptEvent::Dealt { set, .. } = e {
            *set = set.replace("\"dealt_at\": ", "\"dealt_at\":  ");
        }
        true
    });
    std::fs::write(&path, whole.lines().iter().flat_map(|l| l.to_bytes()).collect::<Vec<u8>>()).unwrap();
    verify(&ceremony.bundle(), None).unwrap();
}

#[tokio::test]
async fn a_run_without_shares_or_with_another_store_says_what_is_missing() {
    let mut ceremony = dealing().await;
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    let deals = ceremony.deals.take().unwrap();
    let error = ceremony.bare().await.unwrap_err().to_string();
    assert!(error.contains("hint: --shares DIR"), "{error}");
    ceremony.deals = Some(Deals { place: KeyPlace::Root, ..deals.clone() });
    let error = ceremony.bare().await.unwrap_err().to_string();
    assert!(error.contains("hint: --online-keystore FILE"), "{error}");
    // Somebody else's store under the same plan.
    ceremony.deals = Some(Deals { lock: folder(&ceremony, "root-keys"), ..deals.clone() });
    let error = common::refused(ceremony.bare().await);
    assert!(error.contains("the plan pins Software"), "{error}");
    ceremony.deals = Some(deals);
    assert!(matches!(ceremony.bare().await.unwrap(), RunOutcome::NeedsPeople(_)));
}
