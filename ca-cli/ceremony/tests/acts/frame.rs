//! What holds for every kind: approvals, bundles, what a plan continues.

use crate::common::later::NONCE;
use crate::common::missing;
use crate::common::refused;
use crate::support::backed_up;
use crate::support::begun;
use crate::support::begun_with_backups;
use crate::support::intermediate;
use crate::support::statements;
use ca_ceremony::RunOutcome;
use ca_ceremony::assemble;
use ca_ceremony::verify;
use ca_ceremony::verify_chain;
use ca_core::ceremony::Operation;
use ca_core::ceremony::Statement;
use ca_core::pki::Certificate;
use ca_core::pki::crl::Crl;
use ca_core::pki::sha256;
use ca_core::ports::KeyDevice as _;
use ca_testkit::OddDevice;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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
