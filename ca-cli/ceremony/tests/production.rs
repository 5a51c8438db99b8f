//! Production ceremonies with the keys and signatures of the real `ssh-keygen`.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::time::Duration;

use ca_ceremony::{Moment, RunOutcome, verify};
use ca_core::ceremony::{Role, Roster};
use ca_core::model::AuthorityKind;
use ca_core::pki::Certificate;
use ca_core::ports::{GenerateKey, KeyStore as _};
use common::{Ceremony, missing, owed, refused};

#[tokio::test]
async fn ceremony_11_two_of_three_people_open_the_ceremony_and_allow_each_signature() {
    let ceremony = Ceremony::new();
    assert_eq!(missing(ceremony.run().await), [("plan.toml".to_owned(), vec![])]);
    ceremony.sign_plan(&["ana"]);
    assert_eq!(missing(ceremony.run().await), [("plan.toml".to_owned(), vec!["ana".to_owned()])]);
    assert!(ceremony.keys("root-keys").list().await.unwrap().is_empty(), "no key without the quorum");
    assert!(!ceremony.bundle().join("transcript.jsonl").exists());
    ceremony.sign_plan(&["cora"]);

    let names: Vec<String> = missing(ceremony.run().await).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["1-root.json", "2-bank.json", "3-root-crl.json", "4-policy.json"]);
    ceremony.sign_statements(&["bela"]);
    let (last, name) = ceremony.statements().pop().unwrap();
    for (path, name) in &ceremony.statements()[..3] {
        ceremony.sign(path, name, "ana");
    }
    assert_eq!(missing(ceremony.run().await), [("4-policy.json".to_owned(), vec!["bela".to_owned()])], "one signature short");
    assert_eq!(std::fs::read_dir(ceremony.bundle().join("certs")).unwrap().count(), 0, "nothing is signed while one is short");
    ceremony.sign(&last, &name, "cora");

    let RunOutcome::Complete(done) = ceremony.run().await.unwrap() else { panic!("still something is missing") };
    let roster = Roster::parse(&std::fs::read_to_string(ceremony.bundle().join("roster.toml")).unwrap()).unwrap();
    let verified = verify(&ceremony.bundle(), Some(&roster)).unwrap();
    assert_eq!(verified.transcript_head, done.transcript_head);
    assert!(verified.exceptions.is_empty());
    let [root, issuing] = verified.authorities.as_slice() else { panic!("two authorities") };
    assert_eq!((root.kind, root.key.as_ref(), issuing.is_default), (AuthorityKind::Root, None, true));
    assert_eq!(issuing.key.as_ref().unwrap().as_str(), "bank-2026");
    let certificate = Certificate::from_der(&issuing.certificate).unwrap();
    assert_eq!(certificate.public_key().spki_sha256(), verified.policy.as_ref().unwrap().authorities[0].key_sha256);
    assert_eq!(verified.policy_bundle.as_ref().unwrap().verify(&roster).unwrap().1, ["bela", "cora"]);
    openssl_agrees(&ceremony);

    // Once more: nothing changes.
    let RunOutcome::Complete(again) = ceremony.run().await.unwrap() else { panic!("it was complete") };
    assert_eq!(again.transcript_head, done.transcript_head);
    // The officers may sign the closed transcript; others' signatures there are refused.
    ceremony.sign(&ceremony.bundle().join("transcript.jsonl"), "transcript", "ana");
    assert_eq!(verify(&ceremony.bundle(), None).unwrap().cosigners, [("ana".to_owned(), Role::Officer)]);
    ceremony.sign(&ceremony.bundle().join("transcript.jsonl"), "transcript", "mallory");
    assert!(verify(&ceremony.bundle(), None).unwrap_err().to_string().contains("a key of none of the officers"));
    let mut other = roster.clone();
    other.officers.swap_remove(2);
    let error = verify(&ceremony.bundle(), Some(&other)).unwrap_err().to_string();
    assert!(error.contains("roster.toml") && error.contains("trusted roster"), "{error}");
}

fn openssl_agrees(ceremony: &Ceremony) {
    let openssl = |args: &[&str]| {
        let output =
            std::process::Command::new("openssl").args(args).current_dir(ceremony.bundle()).output().expect("openssl is installed");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    openssl(&["verify", "-x509_strict", "-attime", "1800000100", "-CAfile", "certs/bank-root.pem", "certs/bank.pem"]);
    let crl = openssl(&["crl", "-inform", "DER", "-in", "crls/bank-root.crl", "-noout", "-text", "-CAfile", "certs/bank-root.pem"]);
    assert!(crl.contains("X509v3 CRL Number") && crl.contains("No Revoked Certificates"), "{crl}");
}

#[tokio::test]
async fn two_keys_of_one_officer_are_one_person() {
    let ceremony = Ceremony::new();
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "ana2"]);
    assert_eq!(missing(ceremony.run().await), [("plan.toml".to_owned(), vec!["ana".to_owned()])]);
    ceremony.sign_plan(&["bela"]);
    assert_eq!(missing(ceremony.run().await).len(), 4);
    ceremony.sign_statements(&["ana", "ana2"]);
    let short = missing(ceremony.run().await);
    assert!(short.len() == 4 && short.iter().all(|(_, signed)| signed == &["ana"]), "{short:?}");
}

#[tokio::test]
async fn a_plan_changed_after_signing_is_refused() {
    let ceremony = Ceremony::new();
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    let plan = std::fs::read_to_string(ceremony.plan()).unwrap();
    let changed = plan.replace("lifetime_days = 1825", "lifetime_days = 1826");
    std::fs::write(ceremony.plan(), &changed).unwrap();
    let error = refused(ceremony.run().await);
    assert!(error.contains("plan.toml") && error.contains("differs from"), "{error}");
    std::fs::write(ceremony.bundle().join("plan.toml"), &changed).unwrap();
    let error = refused(ceremony.run().await);
    assert!(error.contains("sigs/plan.ana.sig") && error.contains("does not fit these bytes"), "{error}");
    assert!(ceremony.keys("root-keys").list().await.unwrap().is_empty());
}

#[tokio::test]
async fn signatures_that_do_not_count_are_named() {
    let ceremony = Ceremony::new();
    missing(ceremony.run().await);
    let plan = ceremony.bundle().join("plan.toml");
    ceremony.sign_plan(&["mallory"]);
    let error = refused(ceremony.run().await);
    assert!(error.contains("plan.mallory.sig") && error.contains("none of the officers"), "{error}");
    std::fs::remove_file(ceremony.bundle().join("sigs/plan.mallory.sig")).unwrap();
    // What officers signed in a rehearsal counts for nothing here.
    ceremony.sign_in("rehearsal@countersign", &plan, "plan", "ana");
    let error = refused(ceremony.run().await);
    assert!(error.contains("plan.ana.sig") && error.contains("rehearsal@countersign"), "{error}");
    ceremony.sign_plan(&["ana", "bela"]);
    missing(ceremony.run().await);
    // A statement's signature is no other statement's.
    let statements = ceremony.statements();
    ceremony.sign(&statements[0].0, &statements[1].1, "ana");
    assert!(refused(ceremony.run().await).contains("2-bank.ana.sig"));
    std::fs::remove_file(ceremony.bundle().join("sigs/2-bank.ana.sig")).unwrap();
    // Nor does a statement count that was edited, even if everybody signs it.
    let text = std::fs::read_to_string(&statements[3].0).unwrap();
    std::fs::write(&statements[3].0, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    assert!(refused(ceremony.run().await).contains("4-policy.json"));
}

#[tokio::test]
async fn a_label_that_exists_ends_it_before_anything_is_made() {
    let ceremony = Ceremony::new();
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    // Once the devices are on record as the plan wants them, somebody else makes a key.
    owed(ceremony.bare().await);
    let request = GenerateKey::new("bank-2026".parse().unwrap(), ca_core::pki::KeyAlgorithm::P256);
    ceremony.keys("online-keys").generate(request).await.unwrap();
    let error = refused(ceremony.run().await);
    assert!(error.contains("`bank-2026` exists already"), "{error}");
    assert!(ceremony.keys("root-keys").list().await.unwrap().is_empty());
}

#[tokio::test]
async fn approvals_end() {
    let ceremony = Ceremony::new();
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    missing(ceremony.run().await);
    ceremony.sign_statements(&["ana", "bela"]);
    ceremony.clock.advance(Duration::from_secs(30 * 86_400));
    let error = refused(ceremony.run().await);
    assert!(error.contains("1-root.json") && error.contains("approvals ended"), "{error}");
    assert_eq!(std::fs::read_dir(ceremony.bundle().join("certs")).unwrap().count(), 0);
}

#[tokio::test]
async fn ceremony_38_a_run_that_dies_at_any_line_is_resumed_into_one_set_of_certificates() {
    let reference = Ceremony::new();
    reference.complete().await;
    let transcript = std::fs::read_to_string(reference.bundle().join("transcript.jsonl")).unwrap();
    // The lines that a run writes; what people note is written by other commands.
    let is_a_runs = |line: &str| !line.contains(r#""entry":{"event":"recorded""#);
    let numbers: Vec<u64> = (1u64..).zip(transcript.lines()).filter(|(_, line)| is_a_runs(line)).map(|(n, _)| n).collect();
    assert!(numbers.len() > 25 && numbers.len() < transcript.lines().count());
    let mut exceptions = 0;
    for number in numbers {
        for moment in [Moment::Before, Moment::After] {
            let ceremony = Ceremony::quick();
            missing(ceremony.run().await);
            ceremony.sign_plan(&["ana", "bela"]);
            assert!(ceremony.dies(number, moment).await, "line {number} {moment:?}");
            let verified = ceremony.complete().await;
            exceptions += verified.exceptions.len();
            assert_eq!(std::fs::read_dir(ceremony.bundle().join("certs")).unwrap().count(), 2, "line {number} {moment:?}");
            assert_eq!(ceremony.keys("root-keys").list().await.unwrap().len(), 1);
            assert_eq!(ceremony.keys("online-keys").list().await.unwrap().len(), 1);
        }
    }
    assert!(exceptions >= 6, "keys and acts that were cut off are on record as exceptions: {exceptions}");
}

#[tokio::test]
async fn a_torn_line_was_never_written() {
    let ceremony = Ceremony::new();
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    missing(ceremony.run().await);
    let path = ceremony.bundle().join("transcript.jsonl");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("{\"number\":9,\"at\":18");
    std::fs::write(&path, text).unwrap();
    ceremony.complete().await;
}

#[tokio::test]
async fn one_changed_byte_anywhere_is_found_and_its_file_named() {
    let ceremony = Ceremony::new();
    ceremony.complete().await;
    let bundle = ceremony.bundle();
    let mut files: Vec<_> = ["", "sigs", "statements", "certs", "crls", "records"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(bundle.join(folder)).unwrap().map(|e| e.unwrap().path()))
        .filter(|p| p.is_file())
        .collect();
    files.sort();
    assert_eq!(files.len(), 6 + 15 + 4 + 2 + 1 + 7, "{files:?}");
    for path in &files {
        let name = path.strip_prefix(&bundle).unwrap().to_str().unwrap();
        let good = std::fs::read(path).unwrap();
        for at in [0, good.len() / 3, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(path, &bad).unwrap();
            let error = verify(&bundle, None).expect_err(name);
            assert!(error.to_string().contains(name), "{name}, byte {at}: {error}");
            assert_eq!(error.exit_code(), 4);
        }
        std::fs::remove_file(path).unwrap();
        assert!(verify(&bundle, None).unwrap_err().to_string().contains(name), "{name} removed");
        std::fs::write(path, &good).unwrap();
    }
    std::fs::copy(bundle.join("sigs/plan.ana.sig"), bundle.join("sigs/plan.cora.sig")).unwrap();
    assert!(verify(&bundle, None).unwrap_err().to_string().contains("plan.cora.sig"));
    std::fs::remove_file(bundle.join("sigs/plan.cora.sig")).unwrap();
    verify(&bundle, None).unwrap();
}
