//! Every kind of ceremony after the first, with the keys and signatures of the real `ssh-keygen`.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ca_ceremony::{Error, Moment, RunOutcome, VerifiedBundle, assemble, verify, verify_chain};
use ca_core::ceremony::{Operation, Statement, TranscriptEvent};
use ca_core::model::RevocationReason;
use ca_core::pki::crl::Crl;
use ca_core::pki::{Certificate, KeyAlgorithm, pem_encode, sha256};
use ca_core::ports::{GenerateKey, KeyDevice as _, KeyStore as _};
use ca_testkit::OddDevice;
use common::later::{NONCE, dies_at};
use common::{Ceremony, missing, refused};

/// A first ceremony that is over.
async fn begun() -> Ceremony {
    let ceremony = Ceremony::new();
    ceremony.complete().await;
    ceremony
}

/// As [`begun`], with keys that may be backed up.
async fn begun_with_backups() -> Ceremony {
    let ceremony = Ceremony::new();
    ceremony.edit_plan("next_ceremony_days = 330\n", "next_ceremony_days = 330\nwrapping_key = \"backup-2026\"\n");
    ceremony.complete().await;
    ceremony
}

fn openssl(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("openssl").args(args).current_dir(dir).output().expect("openssl is installed");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn intermediate(nonce: &str) -> String {
    format!(
        r#"
[acts]
kind = "intermediate"
nonce = "{nonce}"
[[issuing]]
authority = "bank-b"
key = "bank-b-2027"
algorithm = "p256"
subject = {{ organization = "Bank", common_name = "Bank Issuing B" }}
lifetime_days = 1825
permitted = ["dns:b.bank.test"]
"#
    )
}

fn statements(ceremony: &Ceremony) -> Vec<Statement> {
    ceremony.statements().iter().map(|(path, _)| Statement::parse(&std::fs::read(path).unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn ceremony_28_an_intermediate_is_certified_from_a_request_of_which_only_the_key_is_taken() {
    let mut ceremony = begun().await;
    ceremony.next("b", &intermediate(NONCE), &["root"]);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    let error = refused(ceremony.run().await);
    assert!(error.contains("the request for `bank-b` is missing") && error.contains("ca ceremony request"), "{error}");
    let path = ceremony.request("bank-b", "online-keys", None).await.unwrap();
    let again = ceremony.request("bank-b", "online-keys", None).await.unwrap();
    assert_eq!(path, again, "made once, found again");
    ceremony.requests = vec![path.clone()];
    let verified = ceremony.complete().await;

    let [root, issuing] = verified.authorities.as_slice() else { panic!("the root and the new authority") };
    assert_eq!((root.name.as_str(), issuing.name.as_str(), issuing.is_default), ("bank-root", "bank-b", false));
    assert_eq!(issuing.key.as_ref().unwrap().as_str(), "bank-b-2027");
    let certificate = Certificate::from_der(&issuing.certificate).unwrap();
    assert_eq!(certificate.public_key().spki_sha256().to_string(), ceremony.public_key("online-keys", "bank-b-2027"));
    assert_eq!(certificate.subject_text(), "CN=Bank Issuing B,O=Bank");
    assert!(verified.crls.is_empty() && verified.policy.is_none());
    let bundle = ceremony.bundle();
    std::fs::write(bundle.join("../root.pem"), pem_encode("CERTIFICATE", &root.certificate)).unwrap();
    openssl(&bundle, &["verify", "-x509_strict", "-attime", "1800000100", "-CAfile", "../root.pem", "certs/bank-b.pem"]);
    let shown = common::text(&ceremony.tool(&["show", "b"]));
    assert!(shown.contains("constrained to dns:b.bank.test") && shown.contains("agrees:"), "{shown}");

    // The chain of bundles, and what does not belong in it.
    let first = ceremony.dir.path().join("bundle");
    let roster = verify(&first, None).unwrap().roster;
    verify_chain(std::slice::from_ref(&first), &bundle, Some(&roster)).unwrap();
    assert!(verify_chain(std::slice::from_ref(&bundle), &first, None).unwrap_err().to_string().contains("does not continue"));
    // The same request serves no second ceremony, and its key no second certificate.
    ceremony.next(
        "c",
        &intermediate(&NONCE.replace('f', "1")).replace("bank-b\"", "bank-c\"").replace("Issuing B", "Issuing C"),
        &["root"],
    );
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    ceremony.requests = vec![path];
    let error = refused(ceremony.run().await);
    assert!(error.contains("bank-b.request.json") && error.contains("does not certify"), "{error}");
    let error = ceremony.request("bank-c", "online-keys", None).await.unwrap_err().to_string();
    assert!(error.contains("`bank-b-2027` exists already"), "{error}");
}

#[tokio::test]
async fn requests_for_something_else_are_refused() {
    let mut ceremony = begun().await;
    // A request for another plan: the nonce is another one.
    ceremony.next("other", &intermediate(&NONCE.replace('f', "1")), &["root"]);
    let other = ceremony.request("bank-b", "other-keys", None).await.unwrap();
    ceremony.current.clear();
    ceremony.next("b", &intermediate(NONCE), &["root"]);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    let mut check = async |request: Option<&Path>, part: &str| {
        ceremony.requests = request.iter().map(|p| p.to_path_buf()).collect();
        let error = refused(ceremony.run().await);
        assert!(error.contains(part), "{part}: {error}");
        assert!(!ceremony.bundle().join("inputs/bank-b.request.json").exists(), "nothing of it was taken in");
    };
    check(Some(&other), "it was made for the plan").await;
    let good = ceremony.request("bank-b", "online-keys", None).await.unwrap();
    // Another key in place of the one that signed.
    let theirs: serde_json::Value = serde_json::from_slice(&std::fs::read(&other).unwrap()).unwrap();
    let mut mixed: serde_json::Value = serde_json::from_slice(&std::fs::read(&good).unwrap()).unwrap();
    mixed["request"] = theirs["request"].clone();
    let edited = ceremony.dir.path().join("edited.json");
    let ours = std::fs::read_to_string(&good).unwrap();
    std::fs::write(&edited, ours.replace(mixed_request(&ours), theirs["request"].as_str().unwrap())).unwrap();
    let mut check = async |request: &Path, part: &str| {
        ceremony.requests = vec![request.to_path_buf()];
        let error = refused(ceremony.run().await);
        assert!(error.contains(part), "{part}: {error}");
    };
    check(&edited, "another key than its statement").await;
    std::fs::write(&edited, ours.replace(NONCE, &NONCE.replace('f', "2"))).unwrap();
    check(&edited, "signed for another statement").await;
    std::fs::write(&edited, &ours[..ours.len() - 2]).unwrap();
    check(&edited, "edited.json").await;
    ceremony.clock.advance(Duration::from_secs(72 * 3600));
    ceremony.requests = vec![good];
    let error = refused(ceremony.run().await);
    assert!(error.contains("it ended at") && error.contains("have a new one made"), "{error}");
}

fn mixed_request(text: &str) -> &str {
    text.split("\"request\": \"").nth(1).unwrap().split('"').next().unwrap()
}

#[tokio::test]
async fn ceremony_32_the_next_root_crl_grows_and_lists_what_officers_revoked() {
    let mut ceremony = begun().await;
    let first = verify(&ceremony.bundle(), None).unwrap();
    let serial = Certificate::from_der(&first.authorities[1].certificate).unwrap().serial();
    ceremony.clock.advance(Duration::from_secs(3600));
    let acts = format!(
        "[acts]\nkind = \"revoke-ca\"\n[[acts.certificate]]\nauthority = \"bank\"\nserial = \"{serial}\"\nreason = \"superseded\"\n"
    );
    ceremony.next("revoke", &acts, &["root"]);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    let names: Vec<String> = missing(ceremony.run().await).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["1-bank.json", "2-root-crl.json"], "M of N for the revocation, M of N for the CRL");
    let shown = common::text(&ceremony.tool(&["show", "revoke"]));
    assert!(
        shown.contains(&format!("revokes the certificate {serial} of bank for superseded")) && shown.contains("with 1 entries"),
        "{shown}"
    );
    let revoked = ceremony.complete().await;
    let crl = &revoked.crls[0];
    assert!(crl.number > first.crls[0].number);
    let entries = Crl::from_der(&crl.der).unwrap().entries();
    assert_eq!((entries.len(), entries[0].serial, entries[0].reason), (1, serial, RevocationReason::Superseded));
    let text = openssl(&ceremony.bundle(), &["crl", "-inform", "DER", "-in", "crls/bank-root.crl", "-noout", "-text"]);
    assert!(text.contains("Superseded"), "{text}");
    assert!(crl.next_update > ceremony.clock_now().plus(Duration::from_secs(330 * 86_400)), "it outlives the next planned ceremony");

    // The next one keeps the entry; the same certificate is not revoked twice.
    ceremony.next("again", &acts, &["root"]);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    assert!(refused(ceremony.run().await).contains("is revoked already"));
    ceremony.current = "revoke".to_owned();
    // A clock that stands still, or goes back: the number grows all the same.
    ceremony.next("crl", "[acts]\nkind = \"root-crl\"\n", &["root"]);
    let next = ceremony.complete().await;
    assert!(next.crls[0].number > crl.number);
    assert_eq!(Crl::from_der(&next.crls[0].der).unwrap().entries(), entries);
    let bundles = ["bundle", "revoke"].map(|b| ceremony.dir.path().join(b));
    verify_chain(&bundles, &ceremony.bundle(), Some(&first.roster)).unwrap();
    assert_eq!(next.hierarchy.ceremonies(), [first.transcript_head, revoked.transcript_head]);
    // A serial number that this root never issued.
    let stranger = acts.replace(&serial.to_string(), &"01".repeat(20));
    ceremony.next("stranger", &stranger, &["root"]);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    assert!(refused(ceremony.run().await).contains("is none that this root issued"));
}

#[tokio::test]
async fn a_root_cross_signs_another_that_proves_its_key() {
    let mut ceremony = begun().await;
    let other = begun().await;
    let theirs = verify(&other.bundle(), None).unwrap();
    let der = &theirs.authorities[0].certificate;
    let path = ceremony.dir.path().join("other.pem");
    std::fs::write(&path, pem_encode("CERTIFICATE", der)).unwrap();
    let acts = format!(
        "[acts]\nkind = \"cross-sign\"\nnonce = \"{NONCE}\"\n[[acts.subject]]\nauthority = \"partner\"\nkey = \"bank-root-2026\"\ncertificate_sha256 = \"{}\"\nlifetime_days = 365\npath_len = 1\npermitted = [\"dns:partner.test\"]\n",
        sha256(der)
    );
    // Both roots have the same subject here: a path builder could not tell them apart.
    ceremony.next("same-name", &acts, &["root"]);
    let request = |keys: std::path::PathBuf, path: std::path::PathBuf, ceremony: &Ceremony| {
        let to = ceremony.dir.path().join("partner-keys");
        if !to.exists() {
            std::fs::create_dir(&to).unwrap();
            for entry in std::fs::read_dir(keys).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
        path
    };
    let own = request(other.dir.path().join("root-keys"), path.clone(), &ceremony);
    ceremony.requests = vec![ceremony.request("partner", "partner-keys", Some(own)).await.unwrap()];
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    let error = ceremony.run().await.unwrap_err().to_string();
    assert!(error.contains("it is the issuer's own"), "{error}");

    let partner = Ceremony::new();
    partner.edit_plan("common_name = \"Bank Root\"", "common_name = \"Partner Root\"");
    let theirs = partner.complete().await;
    let der = &theirs.authorities[0].certificate;
    std::fs::write(&path, pem_encode("CERTIFICATE", der)).unwrap();
    ceremony.current.clear();
    let acts = acts.replace(acts.split("certificate_sha256 = \"").nth(1).unwrap().split('"').next().unwrap(), &sha256(der).to_string());
    std::fs::remove_dir_all(ceremony.dir.path().join("partner-keys")).unwrap();
    ceremony.next("cross", &acts, &["root"]);
    let own = request(partner.dir.path().join("root-keys"), path, &ceremony);
    let error = ceremony.request("partner", "online-keys", Some(own.clone())).await.unwrap_err().to_string();
    assert!(error.contains("no key labelled"), "{error}");
    ceremony.requests = vec![ceremony.request("partner", "partner-keys", Some(own)).await.unwrap()];
    let verified = ceremony.complete().await;
    let (name, cross) = &verified.cross_certificates[0];
    let (cross, own) = (Certificate::from_der(cross).unwrap(), Certificate::from_der(der).unwrap());
    assert_eq!(name.as_str(), "partner");
    assert_eq!(
        (cross.subject_der(), cross.public_key(), cross.key_identifier()),
        (own.subject_der(), own.public_key(), own.key_identifier())
    );
    // What the partner issued chains to our root now, by OpenSSL's own path building.
    let dir = ceremony.dir.path();
    std::fs::write(dir.join("root.pem"), pem_encode("CERTIFICATE", &verified.authorities[0].certificate)).unwrap();
    std::fs::copy(partner.bundle().join("certs/bank.pem"), dir.join("theirs.pem")).unwrap();
    let args = ["verify", "-x509_strict", "-attime", "1800000100", "-CAfile", "root.pem", "-untrusted", "cross/certs/partner.pem"];
    let text = Command::new("openssl").args(args).arg("theirs.pem").current_dir(dir).output().unwrap();
    let text = common::text(&text);
    assert!(text.contains("theirs.pem: OK"), "{text}");
}

fn key_act(kind: &str, rest: &str, ceremony: &Ceremony, store: &str, label: &str) -> String {
    let digest = ceremony.public_key(store, label);
    format!("[acts]\nkind = \"{kind}\"\n{rest}\n[[acts.key]]\nkey = \"{label}\"\npublic_key_sha256 = \"{digest}\"\n")
}

/// A backup of the root's key that is over.
async fn backed_up(ceremony: &mut Ceremony) -> VerifiedBundle {
    let acts = key_act("backup", "place = \"root\"\nwrapping_key = \"backup-2026\"", ceremony, "root-keys", "bank-root-2026");
    ceremony.next("backup", &acts, &["root", "backup"]);
    ceremony.complete().await
}

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
    std::fs::write(dir.join("root.pem"), pem_encode("CERTIFICATE", verified.hierarchy.root().der())).unwrap();
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
async fn a_policy_and_the_officers_change_by_ceremonies_of_their_own() {
    let mut ceremony = begun().await;
    let policy = |version: u32, key: &str| {
        format!(
            "[acts]\nkind = \"policy\"\n[policy]\nversion = {version}\n[[policy.authority]]\nname = \"bank\"\nkey_sha256 = \"{key}\"\nnames = [\"dns:*.bank.test\"]\nmax_per_hour = 20\ncrl_validity = 86400\ncrl_interval = 3600\nprofile.client = {{ shape = \"client\", lifetime = 3600 }}\n"
        )
    };
    let key = ceremony.public_key("online-keys", "bank-2026");
    ceremony.next("policy", &policy(2, &key), &[]);
    let verified = ceremony.complete().await;
    assert_eq!(verified.policy.as_ref().unwrap().authorities[0].max_per_hour, 20);
    verified.policy_bundle.as_ref().unwrap().verify(&verified.roster).unwrap();

    // Cora goes, mallory comes. The new officers alone can't let themselves in.
    ceremony.next("officers", "[acts]\nkind = \"officers\"\n", &[]);
    let public = std::fs::read_to_string(ceremony.dir.path().join("mallory.pub")).unwrap().trim().to_owned();
    let cora = std::fs::read_to_string(ceremony.dir.path().join("cora.pub")).unwrap().trim().to_owned();
    ceremony.edit_plan("name = \"cora\"", "name = \"mallory\"");
    ceremony.edit_plan(&cora, &public);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "mallory"]);
    let error = refused(ceremony.run().await);
    assert!(error.contains("1 of 2 officers signed the plan, which changes the roster, of those who stand (so far: ana)"), "{error}");
    ceremony.sign_plan(&["cora"]);
    let RunOutcome::Complete(changed) = ceremony.run().await.unwrap() else { panic!("the plan is all that is signed") };
    assert!(changed.roster.officers.iter().any(|o| o.name == "mallory"));
    let bundles = ["bundle", "policy"].map(|b| ceremony.dir.path().join(b));
    verify_chain(&bundles, &ceremony.bundle(), Some(&verified.roster)).unwrap();

    // From now on the new roster stands: cora's word is nobody's.
    ceremony.next("crl", "[acts]\nkind = \"root-crl\"\n", &["root"]);
    let plan: toml::Table = std::fs::read_to_string(ceremony.plan()).unwrap().parse().unwrap();
    let mut with_mallory: toml::Table = std::fs::read_to_string(ceremony.dir.path().join("officers.toml")).unwrap().parse().unwrap();
    let mut plan = plan;
    plan.insert("roster".to_owned(), with_mallory.remove("roster").unwrap());
    std::fs::write(ceremony.plan(), toml::to_string(&plan).unwrap()).unwrap();
    missing(ceremony.run().await);
    ceremony.sign_plan(&["cora"]);
    assert!(refused(ceremony.run().await).contains("a key of none of the officers"));
    std::fs::remove_file(ceremony.bundle().join("sigs/plan.cora.sig")).unwrap();
    ceremony.sign_plan(&["bela", "mallory"]);
    missing(ceremony.run().await);
    ceremony.sign_statements(&["bela", "mallory"]);
    assert!(matches!(ceremony.run().await.unwrap(), RunOutcome::Complete(_)));
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

#[tokio::test]
async fn ceremony_22_a_request_with_a_key_that_is_in_use_is_refused() {
    let mut ceremony = begun().await;
    // A CA that is certified already asks again, as another one.
    let der = verify(&ceremony.bundle(), None).unwrap().authorities[1].certificate.clone();
    ceremony.next("b", &intermediate(NONCE), &["root"]);
    // The key behind the label is the standing authority's: its file was copied, name and all.
    let keys = ceremony.dir.path().join("copied-keys");
    std::fs::create_dir(&keys).unwrap();
    std::fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::copy(ceremony.dir.path().join("online-keys/bank-2026.sealed"), keys.join("bank-2026.sealed")).unwrap();
    let acts = intermediate(NONCE).replace("bank-b-2027", "bank-2026");
    ceremony.current.clear();
    ceremony.next("reuse", &acts, &["root"]);
    // Its transcript says that the key was announced, as a run that was cut off would have left it.
    let path = forged_request(&ceremony, &keys).await;
    ceremony.requests = vec![path];
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    let error = ceremony.run().await.unwrap_err().to_string();
    assert!(error.contains("already"), "{error}");
    assert!(!der.is_empty());
}

/// A request by someone who holds a key that is certified already, and whose own records say that it is new.
async fn forged_request(ceremony: &Ceremony, keys: &Path) -> std::path::PathBuf {
    let folder = ceremony.dir.path().join("request-reuse-bank-b");
    std::fs::create_dir(&folder).unwrap();
    let mut transcript = ca_core::ceremony::Transcript::default();
    let intended = TranscriptEvent::KeyIntended {
        label: "bank-2026".parse().unwrap(),
        place: ca_core::ceremony::KeyPlace::Online,
        algorithm: KeyAlgorithm::P256,
    };
    let line = transcript.next(ceremony.clock_now(), intended);
    std::fs::write(folder.join("request-transcript.jsonl"), line.to_bytes()).unwrap();
    transcript.push(line);
    let name = keys.file_name().unwrap().to_str().unwrap();
    ceremony.request("bank-b", name, None).await.unwrap()
}

#[tokio::test]
async fn ceremony_26_what_is_signed_is_byte_for_byte_what_was_approved() {
    let mut ceremony = begun().await;
    ceremony.next("crl", "[acts]\nkind = \"root-crl\"\n", &["root"]);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    missing(ceremony.run().await);
    ceremony.sign_statements(&["ana", "bela"]);
    // A device that signs something else: its signature is never released.
    let mut odd = OddDevice::new(ceremony.keys("root-keys"));
    odd.signs_instead = Some(b"something else".to_vec());
    let error = ceremony.with_devices(Arc::new(odd), ceremony.keys("online-keys"), None).await.unwrap_err().to_string();
    assert!(error.contains("is not released"), "{error}");
    assert!(!ceremony.bundle().join("crls/bank-root.crl").exists());
    let verified = ceremony.complete().await;
    assert!(!verified.exceptions.is_empty(), "signing the same bytes again is an exception entry");
    let [statement] = statements(&ceremony).try_into().unwrap();
    let Operation::SignCrl { tbs_sha256, number } = statement.operation else { panic!("{statement:?}") };
    let crl = Crl::from_der(&verified.crls[0].der).unwrap();
    assert_eq!((sha256(crl.tbs_der()), crl.number()), (tbs_sha256, number));
    // In the first ceremony too, for each certificate.
    let first = ceremony.dir.path().join("bundle");
    for (name, file) in [("1-root", "bank-root"), ("2-bank", "bank")] {
        let statement = Statement::parse(&std::fs::read(first.join(format!("statements/{name}.json"))).unwrap()).unwrap();
        let Operation::SignCertificate { tbs_sha256, serial, .. } = statement.operation else { panic!("{name}") };
        let text = std::fs::read_to_string(first.join(format!("certs/{file}.pem"))).unwrap();
        let certificate = Certificate::from_der(&ca_core::pki::pem_decode_all(&text, "CERTIFICATE").unwrap()[0]).unwrap();
        assert_eq!((sha256(certificate.tbs_der()), certificate.serial()), (tbs_sha256, serial));
    }
}

#[tokio::test]
async fn ceremony_33_one_approval_allows_one_act_of_one_ceremony() {
    let mut ceremony = begun().await;
    let crl = "[acts]\nkind = \"root-crl\"\n";
    ceremony.next("one", crl, &["root"]);
    ceremony.complete().await;
    // The statement of one ceremony, with its signatures, in another: it is not the statement on record there.
    ceremony.next("two", crl, &["root"]);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    missing(ceremony.run().await);
    let (one, two) = (ceremony.dir.path().join("one"), ceremony.bundle());
    let statement = |bundle: &Path| Statement::parse(&std::fs::read(bundle.join("statements/1-root-crl.json")).unwrap()).unwrap();
    let (spent, fresh) = (statement(&one), statement(&two));
    assert!(spent.nonce != fresh.nonce && spent.plan_sha256 != fresh.plan_sha256 && fresh.expires_at > fresh.issued_at);
    for officer in ["ana", "bela"] {
        let sig = format!("sigs/1-root-crl.{officer}.sig");
        std::fs::copy(one.join(&sig), two.join(&sig)).unwrap();
    }
    let error = refused(ceremony.run().await);
    assert!(error.contains("1-root-crl.ana.sig") && error.contains("does not fit these bytes"), "{error}");
    std::fs::write(two.join("statements/1-root-crl.json"), std::fs::read(one.join("statements/1-root-crl.json")).unwrap()).unwrap();
    let error = refused(ceremony.run().await);
    assert!(error.contains("statements/1-root-crl.json") && error.contains("exists with other content"), "{error}");
    std::fs::remove_file(two.join("statements/1-root-crl.json")).unwrap();
    for officer in ["ana", "bela"] {
        std::fs::remove_file(two.join(format!("sigs/1-root-crl.{officer}.sig"))).unwrap();
    }
    missing(ceremony.run().await);
    ceremony.sign_statements(&["ana", "bela"]);
    // An approval whose time is over begins nothing.
    ceremony.clock.advance(Duration::from_secs(30 * 86_400));
    let error = refused(ceremony.run().await);
    assert!(error.contains("approvals ended"), "{error}");
    assert!(!two.join("crls/bank-root.crl").exists());
}

#[tokio::test]
async fn ceremony_39_the_same_transcript_gives_the_same_bytes_and_a_third_party_verifies_it() {
    let mut ceremony = begun_with_backups().await;
    backed_up(&mut ceremony).await;
    ceremony.next("b", &intermediate(NONCE), &["root"]);
    ceremony.requests = vec![ceremony.request("bank-b", "online-keys", None).await.unwrap()];
    ceremony.complete().await;
    let roster = verify(&ceremony.dir.path().join("bundle"), None).unwrap().roster;
    for name in ["bundle", "backup", "b"] {
        let from = ceremony.dir.path().join(name);
        let outputs: Vec<_> = (0..2)
            .map(|i| {
                let to = ceremony.dir.path().join(format!("{name}-again-{i}"));
                assemble(&from, &to).unwrap();
                files(&to)
            })
            .collect();
        assert_eq!(outputs[0], outputs[1]);
        assert_eq!(outputs[0], files(&from), "{name}: and the same as the ceremony's own");
        // Elsewhere, with nothing but the bundle and the officers' keys.
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::rename(ceremony.dir.path().join(format!("{name}-again-0")), elsewhere.path().join("bundle")).unwrap();
        verify(&elsewhere.path().join("bundle"), Some(&roster)).unwrap();
        // What is lost comes again; what is changed comes out otherwise.
        let damaged = ceremony.dir.path().join(format!("{name}-again-1"));
        std::fs::remove_file(damaged.join("hierarchy.json")).unwrap();
        std::fs::remove_dir_all(damaged.join("statements")).unwrap();
        assemble(&damaged, &ceremony.dir.path().join(format!("{name}-whole"))).unwrap();
        assert_eq!(files(&ceremony.dir.path().join(format!("{name}-whole"))), files(&from));
    }
    let chain = ["bundle", "backup"].map(|b| ceremony.dir.path().join(b));
    verify_chain(&chain, &ceremony.bundle(), Some(&roster)).unwrap();
    let error = verify_chain(&chain[..1], &ceremony.bundle(), None).unwrap_err().to_string();
    assert!(error.contains("does not continue the ceremony `First ceremony`"), "{error}");
    // One changed byte in what was taken in, too.
    for input in ["inputs/hierarchy.json", "inputs/bank-b.request.json", "hierarchy.json"] {
        let path = ceremony.bundle().join(input);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        std::fs::write(&path, bad).unwrap();
        assert!(verify(&ceremony.bundle(), None).unwrap_err().to_string().contains(input), "{input}");
        std::fs::write(&path, good).unwrap();
    }
}

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[tokio::test]
async fn a_plan_for_another_root_bundle_or_device_is_refused() {
    let mut ceremony = begun().await;
    let stranger = begun().await;
    let crl = "[acts]\nkind = \"root-crl\"\n";
    ceremony.next("crl", crl, &["root"]);
    // Another root's bundle.
    ceremony.previous = Some(stranger.bundle());
    assert!(refused(ceremony.run().await).contains("not the hierarchy that the plan continues"));
    ceremony.previous = None;
    assert!(refused(ceremony.run().await).contains("--previous BUNDLE"));
    ceremony.previous = Some(ceremony.dir.path().join("bundle"));
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    // Another root's key store under the same labels: the device's serial number differs.
    let theirs = ceremony.with_devices(stranger.keys("root-keys"), ceremony.keys("online-keys"), None).await;
    let error = theirs.unwrap_err().to_string();
    assert!(error.contains("the plan pins Software"), "{error}");
    // And where a device lies about its serial number, the key is not the root's.
    let mut odd = OddDevice::new(stranger.keys("root-keys"));
    odd.identity = Some(ceremony.keys("root-keys").identity().await.unwrap());
    let odd: Arc<dyn ca_core::ports::KeyDevice> = Arc::new(odd);
    let error = loop {
        match ceremony.with_devices(Arc::clone(&odd), ceremony.keys("online-keys"), None).await {
            Ok(RunOutcome::NeedsPeople(duties)) => ceremony.fulfil(&duties),
            Ok(other) => panic!("{other:?}"),
            Err(e) => break e.to_string(),
        }
    };
    assert!(error.contains("another key than the root's certificate says"), "{error}");
}

/// Runs the ceremony at hand to its end once for each line that its acts write, with a death before and after it. What
/// was cut off goes on by itself or as an exception entry, and `check` finds the same result each time.
async fn dies_at_every_act_line(begun: &Ceremony, check: impl AsyncFn(&Ceremony, &VerifiedBundle)) {
    let reference = begun.fork();
    let verified = reference.complete().await;
    check(&reference, &verified).await;
    assert!(verified.exceptions.is_empty());
    let transcript = std::fs::read_to_string(reference.bundle().join("transcript.jsonl")).unwrap();
    let of_acts =
        |line: &str| !["opened", "started", "device", "recorded"].iter().any(|e| line.contains(&format!("\"entry\":{{\"event\":\"{e}\"")));
    let numbers: Vec<u64> = (1u64..).zip(transcript.lines()).filter(|(_, line)| of_acts(line)).map(|(n, _)| n).collect();
    assert!(numbers.len() >= 6, "{transcript}");
    let mut survived = 0;
    for number in numbers {
        for moment in [Moment::Before, Moment::After] {
            let ceremony = begun.fork();
            missing(ceremony.run().await);
            ceremony.sign_plan(&["ana", "bela"]);
            let mut died = false;
            for _ in 0..10 {
                match ceremony.observed(Some(dies_at(number, moment))).await {
                    Ok(RunOutcome::NeedsSignatures(_)) => ceremony.sign_statements(&["ana", "bela"]),
                    Ok(RunOutcome::NeedsPeople(duties)) => ceremony.fulfil(&duties),
                    Ok(RunOutcome::Complete(_)) => break,
                    Err(Error::Io { .. } | Error::Issuance { .. }) => {
                        died = true;
                        break;
                    }
                    Err(e) => panic!("line {number} {moment:?}: {e}"),
                }
            }
            survived += usize::from(!died);
            let verified = ceremony.complete().await;
            check(&ceremony, &verified).await;
        }
    }
    // A death right after the last signature is on record leaves nothing undone.
    assert!(survived <= 1, "{survived} lines were not died at");
}

#[tokio::test]
async fn ceremony_38_backups_and_destructions_that_were_cut_off_go_on() {
    let mut ceremony = begun_with_backups().await;
    let acts = key_act("backup", "place = \"root\"\nwrapping_key = \"backup-2026\"", &ceremony, "root-keys", "bank-root-2026");
    ceremony.next("backup", &acts, &["root", "backup"]);
    dies_at_every_act_line(&ceremony, async |ceremony, _| {
        assert_eq!(ceremony.public_key("backup-keys", "bank-root-2026"), ceremony.public_key("root-keys", "bank-root-2026"));
        assert_eq!(ceremony.keys("backup-keys").list().await.unwrap().len(), 1);
        assert_eq!(std::fs::read_dir(ceremony.bundle().join("artefacts")).unwrap().count(), 1);
    })
    .await;
    ceremony.current.clear();
    let acts = key_act("destroy", "place = \"online\"", &ceremony, "online-keys", "bank-2026");
    ceremony.next("destroy", &acts, &["online"]);
    dies_at_every_act_line(&ceremony, async |ceremony, _| {
        assert!(ceremony.keys("online-keys").list().await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn ceremony_38_certificates_and_crls_that_were_cut_off_go_on() {
    let mut ceremony = begun().await;
    let first = verify(&ceremony.bundle(), None).unwrap();
    let serial = Certificate::from_der(&first.authorities[1].certificate).unwrap().serial();
    let acts = format!(
        "[acts]\nkind = \"revoke-ca\"\n[[acts.certificate]]\nauthority = \"bank\"\nserial = \"{serial}\"\nreason = \"superseded\"\n"
    );
    ceremony.next("revoke", &acts, &["root"]);
    dies_at_every_act_line(&ceremony, async |_, verified| {
        assert_eq!(Crl::from_der(&verified.crls[0].der).unwrap().entries().len(), 1);
    })
    .await;
    ceremony.current.clear();
    ceremony.next("b", &intermediate(NONCE), &["root"]);
    ceremony.requests = vec![ceremony.request("bank-b", "online-keys", None).await.unwrap()];
    dies_at_every_act_line(&ceremony, async |ceremony, verified| {
        assert_eq!(verified.hierarchy.issued().count(), 2);
        assert_eq!(std::fs::read_dir(ceremony.bundle().join("certs")).unwrap().count(), 1);
    })
    .await;
}

#[tokio::test]
async fn ceremony_38_a_request_that_was_cut_off_goes_on_with_the_same_key() {
    let mut ceremony = begun().await;
    ceremony.next("b", &intermediate(NONCE), &["root"]);
    let lines = 6;
    for number in 1..=lines {
        for moment in [Moment::Before, Moment::After] {
            let ceremony = ceremony.fork();
            let died = ceremony.request_observed("bank-b", "online-keys", None, Some(dies_at(number, moment))).await;
            // A death right after the last line leaves nothing undone.
            assert!(died.is_err() || (number, moment) == (lines, Moment::After), "line {number} {moment:?}");
            let path = ceremony.request("bank-b", "online-keys", None).await.unwrap();
            let request = ca_core::ceremony::KeyRequest::parse(&std::fs::read(path).unwrap()).unwrap();
            assert_eq!(request.public_key().spki_sha256().to_string(), ceremony.public_key("online-keys", "bank-b-2027"));
            assert_eq!(ceremony.keys("online-keys").list().await.unwrap().len(), 2, "one new key");
        }
    }
    let done = ceremony.request_observed("bank-b", "online-keys", None, Some(dies_at(lines + 1, Moment::Before))).await;
    done.expect("it has no more lines");
}

#[test]
fn every_kind_has_a_template_that_is_a_plan_and_a_page() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ceremony-docs/kinds");
    let index = std::fs::read_to_string(docs.join("README.md")).unwrap();
    for kind in ca_core::ceremony::Acts::KINDS {
        let plan = ca_core::ceremony::Plan::parse(&ca_ceremony::plan_template(kind)).unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_eq!(plan.acts.name(), kind);
        assert!(index.contains(&format!("`{kind}`")), "{kind} is in the index");
        if kind != "first" {
            let page = std::fs::read_to_string(docs.join(format!("{kind}.md"))).unwrap();
            assert!(page.contains(&format!("ca ceremony template --kind {kind}")) && page.contains("ca ceremony show"), "{kind}");
        }
    }
}
