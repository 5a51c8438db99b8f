//! Keys that are checked, copied, brought back and destroyed.

use crate::common;
use crate::common::Ceremony;
use crate::common::later::NONCE;
use crate::common::missing;
use crate::common::refused;
use crate::support::backed_up;
use crate::support::begun;
use crate::support::begun_with_backups;
use crate::support::intermediate;
use crate::support::key_act;
use crate::support::openssl;
use crate::support::statements;
use ca_ceremony::Error;
use ca_ceremony::RunOutcome;
use ca_core::ceremony::Operation;
use ca_core::ceremony::TranscriptEvent;
use ca_core::pki::KeyAlgorithm;
use ca_core::pki::pem_encode;
use ca_core::pki::sha256;
use ca_core::ports::GenerateKey;
use ca_core::ports::KeyDevice as _;
use ca_core::ports::KeyStore as _;
use ca_testkit::OddDevice;
use std::sync::Arc;

#[tokio::test]
async fn ceremony_25_the_backup_signs_a_test_that_verifies_under_the_same_key() {
    let mut ceremony = begun_with_backups().await;
    let verified = backed_up(&mut ceremony).await;
    assert_eq!(ceremony.public_key("backup-keys", "bank-root-2026"), ceremony.public_key("root-keys", "bank-root-2026"));
    let [statement] = statements(&ceremony).try_into().unwrap();
    let Operation::BackUpKey { test_sha256, from_device, to_device, .. } = &statement.operation else { panic!("{statement:?}") };
    assert_ne!(from_device, to_device);
    // The artefact stands in the bundle, and OpenSSL agrees that the key signed it.
    let signed = std::fs::read_to_string(ceremony.bundle().join("artefacts/1-bank-root-2026.txt")).unwrap();
    let (message, signature) = signed.rsplit_once("signature ").unwrap();
    assert_eq!(sha256(message.as_bytes()), *test_sha256, "the officers approved exactly these bytes");
    assert!(message.starts_with("countersign/key-test/1\n"));
    let dir = ceremony.dir.path();
    std::fs::write(dir.join("message"), message).unwrap();
    std::fs::write(dir.join("signature.b64"), signature).unwrap();
    std::fs::write(dir.join("root.pem"), pem_encode("CERTIFICATE", verified.hierarchy.unwrap().root().der())).unwrap();
    std::fs::write(dir.join("root.pub"), openssl(dir, &["x509", "-in", "root.pem", "-noout", "-pubkey"])).unwrap();
    openssl(dir, &["base64", "-d", "-in", "signature.b64", "-out", "signature"]);
    let text = openssl(dir, &["dgst", "-sha384", "-verify", "root.pub", "-signature", "signature", "message"]);
    assert!(text.contains("Verified OK"), "{text}");
    // The wrapped key is in no bundle.
    let wrapped = std::fs::read_to_string(dir.join("wrapped/bank-root-2026.wrapped.json")).unwrap();
    let transcript = std::fs::read_to_string(ceremony.bundle().join("transcript.jsonl")).unwrap();
    let blob: serde_json::Value = serde_json::from_str(&wrapped).unwrap();
    assert!(!transcript.contains(&blob["bytes"].to_string()) && transcript.contains(&sha256(wrapped.as_bytes()).to_string()));
}

#[tokio::test]
async fn ceremony_21_a_wrapped_copy_is_imported_again_and_yields_the_same_public_key() {
    let mut ceremony = begun_with_backups().await;
    backed_up(&mut ceremony).await;
    // The root's device is lost; another takes its place.
    let public_key = ceremony.public_key("root-keys", "bank-root-2026");
    std::fs::rename(ceremony.dir.path().join("root-keys"), ceremony.dir.path().join("lost")).unwrap();
    let wrapped = ceremony.dir.path().join("wrapped/bank-root-2026.wrapped.json");
    let bytes = std::fs::read(&wrapped).unwrap();
    let acts = format!(
        "[acts]\nkind = \"restore\"\nplace = \"root\"\n[[acts.key]]\nkey = \"bank-root-2026\"\npublic_key_sha256 = \"{public_key}\"\nwrapped_sha256 = \"{}\"\n",
        sha256(&bytes)
    );
    ceremony.next("restore", &acts, &["root"]);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    // Another file than the plan pins.
    std::fs::write(&wrapped, [&bytes[..], b" "].concat()).unwrap();
    let error = refused(ceremony.run().await);
    assert!(error.contains("not the wrapped key that the plan pins"), "{error}");
    std::fs::write(&wrapped, &bytes).unwrap();
    let verified = ceremony.complete().await;
    assert_eq!(ceremony.public_key("root-keys", "bank-root-2026"), public_key);
    assert!(!ceremony.keys("root-keys").attributes(&"bank-root-2026".parse().unwrap()).await.unwrap().made_inside);
    assert_eq!(verified.exceptions.len(), 1, "the abort is on record: {:?}", verified.exceptions);
    // The restored key goes on where the lost one stopped.
    ceremony.next("crl", "[acts]\nkind = \"root-crl\"\n", &["root"]);
    ceremony.complete().await;
}

#[tokio::test]
async fn ceremony_40_destruction_lists_what_was_there_before_and_after() {
    let mut ceremony = begun().await;
    let extra = GenerateKey::new("stays".parse().unwrap(), KeyAlgorithm::P256);
    ceremony.keys("online-keys").generate(extra).await.unwrap();
    let acts = key_act("destroy", "place = \"online\"", &ceremony, "online-keys", "bank-2026");
    ceremony.next("destroy", &acts, &["online"]);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    assert_eq!(missing(ceremony.run().await)[0].0, "1-bank-2026.json");
    assert_eq!(ceremony.keys("online-keys").list().await.unwrap().len(), 2, "nothing is gone before the approval");
    ceremony.sign_statements(&["ana", "bela"]);
    // Only now the device holds what the second statement attests.
    assert_eq!(missing(ceremony.run().await), [("2-inventory.json".to_owned(), vec![])]);
    assert_eq!(ceremony.keys("online-keys").list().await.unwrap().len(), 1);
    let shown = common::text(&ceremony.tool(&["show", "destroy"]));
    assert!(shown.contains("DESTROYS the key `bank-2026`") && shown.contains("attests what device"), "{shown}");
    ceremony.complete().await;
    let path = ceremony.bundle().join("transcript.jsonl");
    let transcript = ca_core::ceremony::Transcript::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let lists: Vec<Vec<String>> = transcript
        .events()
        .filter_map(|e| match e {
            TranscriptEvent::Inventory { objects, .. } => Some(objects.iter().map(|o| o.label.clone()).collect()),
            _ => None,
        })
        .collect();
    assert_eq!(lists, [vec!["bank-2026".to_owned(), "stays".to_owned()], vec!["stays".to_owned()]]);
    let [before, after] = statements(&ceremony).try_into().unwrap();
    assert!(matches!(before.operation, Operation::DestroyKey { .. }) && matches!(after.operation, Operation::AttestInventory { .. }));
    assert!(!ceremony.dir.path().join("online-keys/bank-2026.sealed").exists());
}

#[tokio::test]
async fn a_device_that_changed_after_the_destruction_is_not_attested() {
    let mut ceremony = begun().await;
    let acts = key_act("destroy", "place = \"online\"", &ceremony, "online-keys", "bank-2026");
    ceremony.next("destroy", &acts, &["online"]);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    missing(ceremony.run().await);
    ceremony.sign_statements(&["ana", "bela"]);
    missing(ceremony.run().await);
    ceremony.sign_statements(&["ana", "bela"]);
    ceremony.keys("online-keys").generate(GenerateKey::new("new".parse().unwrap(), KeyAlgorithm::P256)).await.unwrap();
    let error = ceremony.run().await.unwrap_err().to_string();
    assert!(error.contains("does not hold what the officers were shown"), "{error}");
}

#[tokio::test]
async fn ceremony_19_a_key_that_is_not_as_the_plan_says_gets_no_certificate() {
    for (change, part) in [
        (Arc::new(|a: &mut ca_core::ports::KeyAttributes| a.made_inside = false) as ca_testkit::Change, "did not make it itself"),
        (Arc::new(|a: &mut ca_core::ports::KeyAttributes| a.extractable = true), "it can leave the device"),
    ] {
        let ceremony = Ceremony::new();
        missing(ceremony.run().await);
        ceremony.sign_plan(&["ana", "bela"]);
        let mut odd = OddDevice::new(ceremony.keys("root-keys"));
        odd.attributes = Some(change);
        let odd = Arc::new(odd);
        // The people come first.
        let RunOutcome::NeedsPeople(duties) = ceremony.bare().await.unwrap() else { panic!("people owe their attendance") };
        ceremony.fulfil(&duties);
        let RunOutcome::NeedsPeople(duties) = ceremony.bare().await.unwrap() else { panic!("people owe their signatures") };
        ceremony.fulfil(&duties);
        let error = ceremony.with_devices(odd, ceremony.keys("online-keys"), None).await.unwrap_err().to_string();
        assert!(error.contains("bank-root-2026") && error.contains(part), "{error}");
        assert!(!ceremony.bundle().join("statements/1-root.json").exists(), "nothing was prepared for it");
    }
    // Where the plan lets a key leave, it must be able to, under a trusted wrapping key only; and that is on record.
    let ceremony = begun_with_backups().await;
    let text = std::fs::read_to_string(ceremony.bundle().join("transcript.jsonl")).unwrap();
    let transcript = ca_core::ceremony::Transcript::parse(&text).unwrap();
    let checked: Vec<_> = transcript
        .events()
        .filter_map(|e| match e {
            TranscriptEvent::KeyChecked { label, attributes, .. } => {
                Some((label.as_str(), attributes.extractable, attributes.wrap_with_trusted_only))
            }
            _ => None,
        })
        .collect();
    assert_eq!(checked, [("bank-root-2026", true, true), ("bank-2026", false, false)]);
}

#[tokio::test]
async fn ceremony_20_a_label_or_a_file_that_exists_aborts() {
    // In the device that a backup goes to.
    let mut ceremony = begun_with_backups().await;
    let taken = GenerateKey::new("bank-root-2026".parse().unwrap(), KeyAlgorithm::P256);
    let made = ceremony.keys("backup-keys").generate(taken).await.unwrap();
    let acts = key_act("backup", "place = \"root\"\nwrapping_key = \"backup-2026\"", &ceremony, "root-keys", "bank-root-2026");
    ceremony.next("backup", &acts, &["root", "backup"]);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    let error = refused(ceremony.run().await);
    assert!(error.contains("`bank-root-2026` exists already"), "{error}");
    assert_eq!(ceremony.keys("backup-keys").describe(&made.label).await.unwrap(), made, "it was left alone");
    // In the online key store that a request is made in.
    let mut ceremony = begun().await;
    ceremony.next("b", &intermediate(NONCE), &["root"]);
    ceremony.keys("online-keys").generate(GenerateKey::new("bank-b-2027".parse().unwrap(), KeyAlgorithm::P256)).await.unwrap();
    assert!(refused_request(ceremony.request("bank-b", "online-keys", None).await).contains("`bank-b-2027` exists already"));
    // A file where the result would go.
    let mut ceremony = begun().await;
    ceremony.next("crl", "[acts]\nkind = \"root-crl\"\n", &["root"]);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    missing(ceremony.run().await);
    ceremony.sign_statements(&["ana", "bela"]);
    std::fs::write(ceremony.bundle().join("crls/bank-root.crl"), "another").unwrap();
    let error = refused(ceremony.run().await);
    assert!(error.contains("crls/bank-root.crl") && error.contains("nothing is overwritten"), "{error}");
    assert_eq!(std::fs::read_to_string(ceremony.bundle().join("crls/bank-root.crl")).unwrap(), "another");
}

fn refused_request(result: Result<std::path::PathBuf, Error>) -> String {
    result.expect_err("it is refused").to_string()
}
