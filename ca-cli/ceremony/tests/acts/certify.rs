//! Certificates for other CAs, from their requests.

use crate::common;
use crate::common::Ceremony;
use crate::common::later::NONCE;
use crate::common::missing;
use crate::common::refused;
use crate::support::begun;
use crate::support::intermediate;
use crate::support::openssl;
use ca_ceremony::verify;
use ca_ceremony::verify_chain;
use ca_core::ceremony::TranscriptEvent;
use ca_core::pki::Certificate;
use ca_core::pki::KeyAlgorithm;
use ca_core::pki::pem_encode;
use ca_core::pki::sha256;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

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
