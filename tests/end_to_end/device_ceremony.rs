//! A ceremony on the device that the worker uses: its part of the device's log comes into the record with its bundle,
//! and hides no signature of anybody else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ca_ceremony::{
    RequestOptions, RunOptions, SystemClock, SystemMachine, SystemRng, VerifiedBundle, make_request, open_key_store, rehearse_with, verify,
};
use ca_core::pki::{Sha256Digest, SignatureAlgorithm, pem_encode, sha256};
use ca_testkit::sign_off_the_record;
use ca_yubihsm_simulator::{Fault, Simulator};
use tempfile::TempDir;

use crate::harness::{block_on, expect_success, wait_for};
use crate::key_site::{KeySite, order};
use crate::yubihsm::{device, provision};

/// The plan of a later ceremony, `NAME.toml`. It continues the ceremony in `previous`.
fn plan(site: &KeySite, name: &str, previous: &str, own: &str) {
    let before = verify(&site.path(previous), None).unwrap();
    let text = std::fs::read_to_string(site.path("rehearsal/plan.toml")).unwrap();
    let mut plan: toml::Table = text.parse().unwrap();
    for own in ["issuing", "policy", "device"] {
        plan.remove(own);
    }
    let digest = |digest: Sha256Digest| toml::Value::String(digest.to_string());
    let continues = BTreeMap::from([
        ("transcript".to_owned(), digest(before.transcript_head)),
        ("root_certificate".to_owned(), digest(sha256(before.hierarchy.as_ref().expect("a hierarchy").root().der()))),
        ("hierarchy".to_owned(), digest(before.hierarchy.as_ref().expect("a hierarchy").digest())),
        ("policy_version".to_owned(), toml::Value::Integer(1)),
        ("policy_sha256".to_owned(), digest(sha256(b"policy"))),
    ]);
    let mut own: toml::Table = own.parse().unwrap();
    own["acts"].as_table_mut().unwrap().insert("continues".to_owned(), toml::Value::Table(continues.into_iter().collect()));
    plan.extend(own);
    std::fs::write(site.path(&format!("{name}.toml")), toml::to_string(&plan).unwrap()).unwrap();
}

/// A later ceremony whose root key is in the worker's device.
fn later(site: &KeySite, simulator: &Simulator, name: &str, previous: &str, requests: &[PathBuf]) -> VerifiedBundle {
    let path = |name: &str| -> PathBuf { site.path(name) };
    // The sessions of the processes before end after 30 idle seconds; the test does not wait for that.
    simulator.inject(Fault::DropSessions).unwrap();
    let keys = open_key_store(&path("root.toml"), "root").unwrap();
    let options = || RunOptions {
        plan: path(&format!("{name}.toml")),
        bundle: path(name),
        root_keys: Some(Arc::clone(&keys)),
        online_keys: None,
        backup_keys: None,
        wrapped: None,
        custody: None,
        previous: Some(path(previous)),
        requests: requests.to_vec(),
        machine: Arc::new(SystemMachine::default()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        observer: None,
    };
    let verified = block_on(rehearse_with(&path("rehearsal"), options)).expect("the ceremony");
    simulator.inject(Fault::DropSessions).unwrap();
    verified
}

const INTERMEDIATE: &str = r#"
[acts]
kind = "intermediate"
nonce = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
[[issuing]]
authority = "other"
key = "other"
algorithm = "p256"
subject = { organization = "Demo", common_name = "REHEARSAL Other" }
lifetime_days = 100
permitted = ["dns:other.demo.test"]
"#;
const ROOT_CRL: &str = "[acts]\nkind = \"root-crl\"\n";

/// A request for another authority, whose key is made in the worker's device.
fn request(site: &KeySite, simulator: &Simulator, name: &str) -> PathBuf {
    simulator.inject(Fault::DropSessions).unwrap();
    let options = RequestOptions {
        plan: site.path(&format!("{name}.toml")),
        authority: "other".parse().unwrap(),
        keys: open_key_store(&site.path("online.toml"), "online").unwrap(),
        certificate: None,
        life: std::time::Duration::from_secs(3600),
        folder: site.path("request"),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        observer: None,
    };
    block_on(make_request(options)).expect("the request").0
}

fn reconciled(site: &KeySite) -> (Option<i32>, serde_json::Value) {
    let output = site.ca(&["audit", "reconcile", "--json"]);
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

/// Whether there are so many signatures in the account, all of them on record.
fn clean(site: &KeySite, signatures: u64) -> bool {
    let (code, report) = reconciled(site);
    let key = &report["keys"]["demo"];
    code == Some(0) && key["signatures"].as_u64() >= Some(signatures) && key["signatures"] == key["signed"] && report["finding_count"] == 0
}

fn alarms(site: &KeySite) -> Vec<String> {
    let rows = expect_success("ca audit tail", &site.ca(&["audit", "tail", "-n", "1000"]));
    rows.lines().filter(|row| row.contains("worker.alarm")).map(str::to_owned).collect()
}

#[test]
fn ceremony_35_a_ceremony_on_the_workers_device_is_a_gap_until_its_bundle_is_imported() {
    let folder = TempDir::new().unwrap();
    let simulator = device(folder.path());
    provision(folder.path());
    let mut site = KeySite::new(folder.path());
    site.write_configuration(&std::fs::read_to_string(site.path("worker.toml")).unwrap());
    // The root's key is in the same device.
    std::fs::copy(site.path("online.toml"), site.path("root.toml")).unwrap();
    site.rehearse(vec![pem_encode("CERTIFICATE", &simulator.attestation_root())]);
    expect_success("ca import", &site.ca(&["import", "rehearsal/bundle"]));
    site.serve();
    let grant = site.ca_json(&["grant", "create", "--service", "payments", "--name", "payments.demo.test"]);
    let account = block_on(site.account(&grant));
    block_on(order(&account, "payments.demo.test")).expect("issued");
    // From the ceremony that made the keys to the worker the log is without a gap.
    wait_for("a clean account", || clean(&site, 4));
    site.stop();

    // The ceremony key is not among the keys any more; those that stay are enough.
    std::fs::copy(site.path("worker.toml"), site.path("root.toml")).unwrap();
    plan(&site, "second", "rehearsal/bundle", ROOT_CRL);
    let crl = later(&site, &simulator, "second", "rehearsal/bundle", &[]);
    assert!(crl.device_logs.iter().any(|log| !log.acts.is_empty()), "{:?}", crl.device_logs);
    site.serve();
    wait_for("the alarm", || {
        alarms(&site).iter().any(|row| row.contains("has a gap") && row.contains("import the bundle of the ceremony"))
    });
    let (code, report) = reconciled(&site);
    assert_eq!((code, report["finding_count"].as_u64()), (Some(1), Some(1)), "{report}");
    site.stop();

    // With the bundle the worker goes on by itself, and its account is whole.
    let said = expect_success("ca import", &site.ca(&["import", "second", "--previous", "rehearsal/bundle"]));
    assert!(said.contains("the log of the device"), "{said}");
    simulator.inject(Fault::DropSessions).unwrap();
    site.serve();
    block_on(order(&account, "payments.demo.test")).expect("issued");
    wait_for("a clean account", || clean(&site, 5));
    let (_, report) = reconciled(&site);
    assert_eq!(report["keys"]["demo-root"]["ceremonies"], 1, "{report}");
    assert_eq!(report["ceremonies"].as_array().map(Vec::len), Some(1), "{report}");
    assert_eq!(report["ceremonies"][0]["transcript"], serde_json::json!(crl.transcript_head), "{report}");
    assert_eq!(alarms(&site).len(), 1, "no new one: {:?}", alarms(&site));
    site.stop();

    // Another authority's key is made in the device, and signs the request: the ceremony that took it explains that.
    plan(&site, "third", "second", INTERMEDIATE);
    let file = request(&site, &simulator, "third");
    later(&site, &simulator, "third", "second", &[file]);
    let import = ["import", "third", "--previous", "rehearsal/bundle", "--previous", "second"];
    let wrong = site.ca(&[&import[..], &["--request", "second"]].concat());
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("the request's record is refused"), "{wrong:?}");
    expect_success("ca import", &site.ca(&[&import[..], &["--request", "request"]].concat()));
    simulator.inject(Fault::DropSessions).unwrap();
    site.serve();
    block_on(order(&account, "payments.demo.test")).expect("issued");
    wait_for("a clean account", || clean(&site, 6));
    let (_, report) = reconciled(&site);
    assert_eq!((&report["keys"]["other"]["ceremonies"], &report["keys"]["demo-root"]["ceremonies"]), (&1.into(), &2.into()), "{report}");
    assert_eq!(alarms(&site).len(), 1, "no new one: {:?}", alarms(&site));
    site.stop();

    // Between the worker and the next ceremony somebody signs: the ceremony's bundle has the entry, and explains none of it.
    simulator.inject(Fault::DropSessions).unwrap();
    let thief = open_key_store(&site.path("worker.toml"), "stolen credential").unwrap();
    let key = "demo".parse().unwrap();
    block_on(sign_off_the_record(&*thief, &key, SignatureAlgorithm::EcdsaP256Sha256, b"not on record")).expect("signed");
    drop(thief);
    plan(&site, "fourth", "third", ROOT_CRL);
    later(&site, &simulator, "fourth", "third", &[]);
    let previous = ["--previous", "rehearsal/bundle", "--previous", "second", "--previous", "third"];
    expect_success("ca import", &site.ca(&[&["import", "fourth"], &previous[..]].concat()));
    simulator.inject(Fault::DropSessions).unwrap();
    site.serve();
    wait_for("the alarm", || alarms(&site).iter().any(|row| row.contains("signed with `demo` 1 times more than was on record")));
    let (code, report) = reconciled(&site);
    assert_eq!((code, report["finding_count"].as_u64()), (Some(1), Some(1)), "only that: {report}");
    assert_eq!((&report["keys"]["demo"]["unexplained"], &report["keys"]["demo-root"]["ceremonies"]), (&1.into(), &3.into()), "{report}");
}
