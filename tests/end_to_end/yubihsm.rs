//! A CA whose issuing key is in a YubiHSM 2: every signature in the device's log is one that the CA asked for, and one
//! behind its back is found at once, for good, and by an auditor without the instance.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use ca_ceremony::open_key_store;
use ca_core::pki::{SignatureAlgorithm, pem_encode, sha256};
use ca_testkit::sign_off_the_record;
use ca_yubihsm_simulator::{Options, Simulator};
use tempfile::TempDir;

use crate::harness::{block_on, expect_success, wait_for};
use crate::key_site::{KeySite, order};

/// What stands in the credentials, and nowhere else.
const CANARY: &str = "ca9a4101";
const SERIAL: u32 = 1_000_003;

/// A device from the factory, its plan `device.toml`, and key store files: `online.toml` for the ceremony and
/// `worker.toml` for the worker. The root's keys are sealed files.
pub(crate) fn device(folder: &Path) -> Simulator {
    let state = folder.join("device");
    std::fs::create_dir(&state).unwrap();
    let simulator = Simulator::start(&state, Options { serial: Some(SERIAL), durable: false, ..Options::default() }).unwrap();
    let head = format!("connector = \"{}\"\nserial = \"{SERIAL}\"\n", simulator.address());
    let mut plan = head.clone();
    for (id, role) in [(10, "ceremony"), (11, "custodian"), (12, "signer"), (13, "auditor")] {
        let value = sha256(role.as_bytes()).to_string();
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(folder.join(role)).unwrap();
        file.write_all(format!("{CANARY}{}", &value[CANARY.len()..]).as_bytes()).unwrap();
        plan.push_str(&format!("{role} = {{ id = {id}, credential = {{ file = \"{role}\" }} }}\n"));
    }
    std::fs::write(folder.join("device.toml"), plan).unwrap();
    let keys = |roles: &[(u16, &str)]| {
        let keys = roles.iter().map(|(id, role)| format!("{{ id = {id}, credential = {{ file = \"{role}\" }} }}"));
        format!("kind = \"yubihsm\"\n{head}keys = [{}]\n", keys.collect::<Vec<_>>().join(", "))
    };
    std::fs::write(folder.join("online.toml"), keys(&[(10, "ceremony"), (12, "signer")])).unwrap();
    std::fs::write(folder.join("worker.toml"), keys(&[(12, "signer"), (13, "auditor")])).unwrap();
    let root = "kind = \"software\"\ndir = \"root-keys\"\nunseal = { key_file = \"root.key\" }\n";
    std::fs::write(folder.join("root.toml"), root).unwrap();
    simulator
}

pub(crate) fn provision(folder: &Path) {
    let plan = folder.join("device.toml");
    let provision = Command::new(env!("CARGO_BIN_EXE_ca")).args(["yubihsm", "provision"]).arg(&plan).output().unwrap();
    expect_success("ca yubihsm provision", &provision);
}

#[test]
fn ceremony_35_a_signature_behind_the_back_is_in_the_devices_log_and_found() {
    let folder = TempDir::new().unwrap();
    let simulator = device(folder.path());
    provision(folder.path());

    let mut site = KeySite::new(folder.path());
    site.write_configuration(&std::fs::read_to_string(site.path("worker.toml")).unwrap());
    ca_keystore::Unsealer::create_file_key(site.path("root.key"), &ca_ceremony::SystemRng).unwrap();
    site.rehearse(vec![pem_encode("CERTIFICATE", &simulator.attestation_root())]);
    expect_success("ca import", &site.ca(&["import", "rehearsal/bundle"]));
    site.serve();
    let grant = site.ca_json(&["grant", "create", "--service", "payments", "--name", "payments.demo.test"]);
    let account = block_on(site.account(&grant));
    for _ in 0..3 {
        block_on(order(&account, "payments.demo.test")).expect("issued by a key in the device");
    }

    // Each signature is in the device's log and on record, which follows it: the CA's own certificates, the CRL, and three
    // orders.
    let reconciled = |site: &KeySite| {
        let output = site.ca(&["audit", "reconcile", "--json"]);
        (output.status.code(), serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("a report"))
    };
    let mut report = serde_json::Value::Null;
    wait_for("the device's log to be on record", || {
        let (code, now) = reconciled(&site);
        report = now;
        let key = &report["keys"]["demo"];
        key["signatures"].as_u64() >= Some(6) && (code, &key["signatures"]) == (Some(0), &key["signed"])
    });
    assert_eq!(report["finding_count"], 0, "{report}");
    assert!(report["devices"][SERIAL.to_string()].as_u64() > Some(6), "{report}");

    // Somebody with the signer's credential signs what is not on record.
    std::fs::write(site.path("thief.toml"), std::fs::read_to_string(site.path("worker.toml")).unwrap()).unwrap();
    let thief = open_key_store(&site.path("thief.toml"), "stolen credential").unwrap();
    let key = "demo".parse().unwrap();
    let stolen = sign_off_the_record(&*thief, &key, SignatureAlgorithm::EcdsaP256Sha256, b"not on record");
    block_on(stolen).expect("the device signs for whoever has the credential");
    drop(thief);
    let alarm = || {
        let rows = expect_success("ca audit tail", &site.ca(&["audit", "tail", "-n", "100"]));
        rows.contains("worker.alarm") && rows.contains("1 times more than this CA asked")
    };
    wait_for("the alarm", alarm);
    let (code, report) = reconciled(&site);
    assert_eq!((code, report["keys"]["demo"]["unexplained"].as_u64()), (Some(1), Some(1)), "{report}");

    // An auditor sees it in an export, without the instance and its configuration.
    expect_success("ca audit export", &site.ca(&["audit", "export", "trail.jsonl"]));
    site.stop();
    let audit = |file: &str| Command::new(env!("CARGO_BIN_EXE_ca")).args(["audit", "reconcile"]).arg(site.path(file)).output().unwrap();
    let told = audit("trail.jsonl");
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.code() == Some(1) && text.contains("FINDING") && text.contains("`demo` 1 times more"), "{text}");
    let trail = std::fs::read_to_string(site.path("trail.jsonl")).unwrap();
    let without: Vec<&str> = trail.lines().filter(|line| !line.contains("\"number\":5,")).collect();
    std::fs::write(site.path("shorter.jsonl"), without.join("\n")).unwrap();
    let told = audit("shorter.jsonl");
    assert!(String::from_utf8_lossy(&told.stderr).contains("rows are missing"), "{told:?}");

    let log = std::fs::read_to_string(site.path("serve.log")).unwrap();
    assert!(!log.contains(CANARY) && !trail.contains(CANARY), "no credential is in the log or in the trail");
}
