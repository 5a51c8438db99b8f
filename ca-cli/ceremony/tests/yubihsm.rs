//! Provisioning, a ceremony, and its end on YubiHSM 2 devices, by the commands as a person gives them, on simulated devices.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![cfg(feature = "yubihsm")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use ca_ceremony::open_key_store;
use ca_core::ceremony::{KeyPlace, Transcript, TranscriptEvent};
use ca_core::pki::SignatureAlgorithm;
use ca_core::ports::DeviceLogEntry;
use ca_testkit::sign_off_the_record;
use ca_yubihsm_simulator::{Fault, Moment, Options, Simulator};
use common::{ANY_MACHINE, Ceremony};

const CANARY: &str = "ca9a4100";

/// A device, its plan `NAME.device.toml`, and its key store file `NAME.toml`.
fn device(dir: &Path, name: &str, serial: u32) -> Simulator {
    let state = dir.join(format!("{name}-device"));
    std::fs::create_dir(&state).unwrap();
    let simulator = Simulator::start(&state, Options { serial: Some(serial), durable: false, ..Options::default() }).unwrap();
    let head = format!("connector = \"{}\"\nserial = \"{serial}\"\n", simulator.address());
    let mut plan = head.clone();
    let mut keys = Vec::new();
    for (id, role) in [(2, "wrap_key"), (10, "ceremony"), (11, "custodian"), (12, "signer"), (13, "auditor")] {
        let file = format!("{name}-{role}");
        let value = ca_core::pki::sha256(file.as_bytes()).to_string();
        let text = format!("{CANARY}{}", &value[CANARY.len()..]);
        let mut options = std::fs::OpenOptions::new();
        std::io::Write::write_all(&mut options.write(true).create_new(true).mode(0o600).open(dir.join(&file)).unwrap(), text.as_bytes())
            .unwrap();
        let label = if role == "wrap_key" { "label = \"backup\", " } else { "" };
        writeln!(plan, "{role} = {{ id = {id}, {label}credential = {{ file = \"{file}\" }} }}").unwrap();
        if matches!(role, "ceremony" | "signer") {
            keys.push(format!("{{ id = {id}, credential = {{ file = \"{file}\" }} }}"));
        }
    }
    std::fs::write(dir.join(format!("{name}.device.toml")), plan).unwrap();
    std::fs::write(dir.join(format!("{name}.toml")), format!("kind = \"yubihsm\"\n{head}keys = [{}]\n", keys.join(", "))).unwrap();
    simulator
}

fn tool(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ca-ceremony")).args(arguments).current_dir(dir).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains(CANARY), "no value of a key is printed: {text}");
    (output.status.code(), text)
}

#[track_caller]
fn check(dir: &Path, arguments: &[&str], code: i32, expected: &str) -> String {
    let (got, text) = tool(dir, arguments);
    assert!(got == Some(code) && text.contains(expected), "{arguments:?} gave {got:?}, not {code} with `{expected}`: {text}");
    text
}

type Devices = [(&'static str, Simulator); 2];

const RUN: [&str; 8] = ["run", "plan.toml", "--out", "bundle", "--root-keystore", "root.toml", "--online-keystore", "online.toml"];

fn provision(dir: &Path) {
    for name in ["root", "online"] {
        let plan = format!("{name}.device.toml");
        let text = check(dir, &["yubihsm", "provision", &plan], 0, "is provisioned");
        assert!(text.contains("0x000c countersign-signer") && !text.contains("DEFAULT AUTHKEY"), "{text}");
        check(dir, &["yubihsm", "log", &plan, "--journal", &format!("{name}.log")], 0, "put-authentication-key");
    }
}

/// Up to the last run: the statements are signed, and what is written down is.
fn until_the_last_run(ceremony: &Ceremony, devices: &Devices) {
    let dir = ceremony.dir.path();
    ceremony.pin_devices(&mut |arguments| check(dir, arguments, 0, "kind = \"yubi-hsm2\""));
    let pem = |device: &Simulator| ca_core::pki::pem_encode("CERTIFICATE", &device.attestation_root());
    let roots: Vec<String> = devices.iter().map(|(_, device)| format!("\"\"\"{}\"\"\"", pem(device))).collect();
    ceremony.edit_plan("approval_days = 30", &format!("approval_days = 30\nattestation_roots = [{}]", roots.join(", ")));
    let mut note = |arguments: &[&str], code: i32| drop(check(dir, arguments, code, ""));
    check(dir, &RUN, 5, "STEP 1");
    ceremony.sign_plan(&["ana", "bela"]);
    check(dir, &RUN, 5, "STEP 2");
    ceremony.attend_by_binary(&mut note);
    check(dir, &RUN, 5, "STEP 4");
    ceremony.sign_statements(&["ana", "bela"]);
    ceremony.note_by_binary(&mut note);
    for (_, device) in devices {
        // The sessions of the commands before end after 30 idle seconds; the test does not wait for that.
        device.inject(Fault::DropSessions).unwrap();
    }
}

/// A ceremony right before its last run, on provisioned devices.
fn before_the_last_run() -> (Ceremony, Devices) {
    let ceremony = Ceremony::for_binary("production", ANY_MACHINE);
    let dir = ceremony.dir.path();
    let devices = [("root", device(dir, "root", 1_000_001)), ("online", device(dir, "online", 1_000_002))];
    provision(dir);
    until_the_last_run(&ceremony, &devices);
    (ceremony, devices)
}

fn transcript(dir: &Path) -> Transcript {
    Transcript::parse(&std::fs::read_to_string(dir.join("bundle/transcript.jsonl")).unwrap()).unwrap()
}

/// The root device's entries in the transcript.
fn logged(transcript: &Transcript) -> Vec<DeviceLogEntry> {
    let logs = transcript.events().filter_map(|e| match e {
        TranscriptEvent::DeviceLog { place: KeyPlace::Root, entries, .. } => Some(entries.clone()),
        _ => None,
    });
    logs.flatten().collect()
}

/// The transcript again with changed events, each line in its chain.
fn rewritten(transcript: &Transcript, change: impl Fn(&mut TranscriptEvent)) -> String {
    let mut other = Transcript::default();
    for line in transcript.lines() {
        let mut event = line.entry.clone();
        change(&mut event);
        let line = other.next(line.at, event);
        other.push(line);
    }
    other.lines().iter().map(|l| String::from_utf8(l.to_bytes()).unwrap()).collect()
}

#[test]
fn a_ceremony_on_devices_from_the_factory_to_retired_ceremony_keys() {
    let ceremony = Ceremony::for_binary("production", ANY_MACHINE);
    let dir = ceremony.dir.path();
    let devices = [("root", device(dir, "root", 1_000_001)), ("online", device(dir, "online", 1_000_002))];

    // Nobody has a key in it yet but the factory's.
    check(dir, &["yubihsm", "log", "root.device.toml", "--journal", "root.log"], 1, "the device refuses the credential");
    devices[0].1.inject(Fault::CutPower { moment: Moment::After, command: Some(0x44), skip: 1 }).unwrap();
    check(dir, &["yubihsm", "provision", "root.device.toml"], 5, "cannot put the custodian key");
    provision(dir);
    until_the_last_run(&ceremony, &devices);
    check(dir, &RUN, 0, "Verified: production ceremony");
    check(dir, &["verify", "bundle", "--roster", "bundle/roster.toml"], 0, "Verified");

    for (name, simulator) in &devices {
        let plan = format!("{name}.device.toml");
        simulator.inject(Fault::DropSessions).unwrap();
        check(dir, &["yubihsm", "retire", &plan], 0, "The ceremony key is gone");
        check(dir, &["yubihsm", "retire", &plan], 0, "The ceremony key is gone");
        // What the ceremony did is in its transcript, with which the journal goes on.
        let journal = format!("{name}.log");
        check(dir, &["yubihsm", "log", &plan, "--journal", &journal], 4, "after a ceremony give its bundle");
        let text = check(dir, &["yubihsm", "log", &plan, "--journal", &journal, "--bundle", "bundle"], 0, "delete-object");
        assert!(text.contains("new entries out of the bundle") && !text.starts_with("0 new"), "{text}");
        check(dir, &["yubihsm", "log", &plan, "--journal", &journal, "--bundle", "bundle"], 0, "0 new entries out of the bundle");
        simulator.inject(Fault::Unplug).unwrap();
        check(dir, &["yubihsm", "log", &plan, "--journal", &journal], 5, "is yubihsm-connector running");
    }
}

#[test]
fn ceremony_35_the_devices_log_is_in_the_transcript_and_matches_its_acts() {
    let (ceremony, _devices) = before_the_last_run();
    let dir = ceremony.dir.path();
    check(dir, &RUN, 0, "Verified: production ceremony");
    let closed = transcript(dir);
    let entries = logged(&closed);
    let root = "bank-root-2026".parse().unwrap();
    let signed = entries.iter().filter(|e| e.is_signature && e.succeeded && e.key.as_ref() == Some(&root)).count();
    assert_eq!((signed, closed.intents().count()), (3, 3), "root, issuing CA, CRL: {entries:?}");
    assert!(entries.iter().any(|e| e.command == "generate-asymmetric-key"), "{entries:?}");
    let shown = check(dir, &["report", "bundle"], 0, "Device logs");
    assert!(shown.contains("bank-root-2026") && shown.contains("0 starts, 0 logins"), "{shown}");

    // Whoever closes a transcript with less, or other, in its logs does not get it verified.
    let path = dir.join("bundle/transcript.jsonl");
    let refused = |expected: &str, change: &dyn Fn(&mut Vec<DeviceLogEntry>)| {
        let text = rewritten(&closed, |event| {
            if let TranscriptEvent::DeviceLog { entries, .. } = event {
                change(entries);
            }
        });
        std::fs::write(&path, text).unwrap();
        check(dir, &["verify", "bundle"], 4, expected);
    };
    refused("the log lacks 1 signatures with the key `bank-root-2026`", &Vec::clear);
    refused("does not follow the one before", &|entries| entries.retain(|e| e.command != "generate-asymmetric-key"));
    refused("something else than the device wrote", &|entries| entries.iter_mut().for_each(|e| e.is_signature = false));
    refused("and that is no exception", &|entries| entries.iter_mut().for_each(|e| e.key = None));
}

#[tokio::test]
async fn ceremony_35_a_signature_that_no_one_recorded_keeps_the_ceremony_from_verifying() {
    let (ceremony, devices) = before_the_last_run();
    let dir = ceremony.dir.path();
    // Without a key that may read the log nothing is signed.
    let keys = std::fs::read_to_string(dir.join("root.toml")).unwrap();
    let signer = keys.find("{ id = 12").unwrap();
    std::fs::write(dir.join("root.toml"), format!("{}[{}", &keys[..keys.find('[').unwrap()], &keys[signer..])).unwrap();
    check(dir, &RUN, 5, "can get-log-entries");
    std::fs::write(dir.join("root.toml"), keys).unwrap();

    // Between the officers' approval and the act somebody with the credentials signs.
    let thief = open_key_store(&dir.join("root.toml"), "stolen credential").unwrap();
    let key = "bank-root-2026".parse().unwrap();
    sign_off_the_record(&*thief, &key, SignatureAlgorithm::EcdsaP384Sha384, b"not on record").await.unwrap();
    drop(thief);
    for _ in 0..2 {
        devices[0].1.inject(Fault::DropSessions).unwrap();
        check(dir, &RUN, 4, "a signature that is not on record: 1 with the key `bank-root-2026`, and 0 acts");
    }
    check(dir, &["verify", "bundle"], 4, "the ceremony is not closed");
    let found = transcript(dir);
    assert!(found.events().all(|e| !matches!(e, TranscriptEvent::Began { .. })), "the root signed nothing after it");
    assert_eq!(logged(&found).iter().filter(|e| e.is_signature).count(), 1);
}

/// An officer and a witness decide about each exception.
fn dispose(dir: &Path) {
    let list = check(dir, &["exception", "list", "bundle"], 0, "line ");
    for line in list.lines().filter_map(|l| l.strip_prefix("line ")?.split(' ').next()) {
        check(dir, &["exception", "dispose", "bundle", line, "the power was cut at the device", "--by", "ana,wim"], 0, "");
    }
}

#[test]
fn ceremony_35_a_power_cut_before_the_device_forgets_counts_nothing_twice() {
    let (ceremony, devices) = before_the_last_run();
    let dir = ceremony.dir.path();
    // Setting the log's index: what the run's start logged passes, what the first act did does not.
    devices[0].1.inject(Fault::CutPower { moment: Moment::Before, command: Some(0x67), skip: 1 }).unwrap();
    check(dir, &RUN, 5, "the key store is not available");
    let cut = transcript(dir);
    assert!(logged(&cut).last().is_some_and(|e| e.is_signature), "the signature is on record, and still in the device");
    dispose(dir);
    devices[0].1.inject(Fault::DropSessions).unwrap();
    check(dir, &RUN, 0, "Verified: production ceremony");
    let entries = logged(&transcript(dir));
    let different: BTreeSet<&[u8]> = entries.iter().map(|e| e.raw.as_slice()).collect();
    assert_eq!(different.len(), entries.len(), "{entries:?}");
    assert_eq!(entries.iter().filter(|e| e.is_signature).count(), 3);
    assert!(entries.iter().any(|e| e.command == "boot"), "it started again: {entries:?}");
}

#[test]
fn ceremony_35_a_signature_whose_answer_was_lost_is_an_exception_and_matches() {
    let (ceremony, devices) = before_the_last_run();
    let dir = ceremony.dir.path();
    devices[0].1.inject(Fault::CutPower { moment: Moment::After, command: Some(0x56), skip: 0 }).unwrap();
    check(dir, &RUN, 1, "the key store is not available");
    // The next run begins the act again, which is an exception; then people decide about both.
    devices[0].1.inject(Fault::DropSessions).unwrap();
    check(dir, &RUN, 5, "STEP 6");
    dispose(dir);
    devices[0].1.inject(Fault::DropSessions).unwrap();
    check(dir, &RUN, 0, "Verified: production ceremony");
    let closed = transcript(dir);
    let began = closed.statements().map(|(name, _)| closed.began(name)).max();
    let signed = logged(&closed).iter().filter(|e| e.is_signature && e.succeeded).count();
    assert_eq!((began, signed), (Some(2), 4), "the first act signed twice");
}

#[test]
fn device_plans_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let _device = device(dir.path(), "root", 1_000_001);
    let path = dir.path().join("root.device.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let refused = |from: &str, to: &str, code: i32, expected: &str| {
        std::fs::write(&path, good.replace(from, to)).unwrap();
        check(dir.path(), &["yubihsm", "provision", "root.device.toml"], code, expected);
    };
    refused("serial = \"1000001\"", "serial = \"1000009\"", 5, "has the serial number 1000001, and 1000009 is pinned");
    refused("serial =", "speed = 1\nserial =", 4, "speed");
    refused("root-auditor", "root-signer", 4, "the same id or the same value");
    refused("id = 12", "id = 13", 4, "the same id or the same value");
    refused("\"root-wrap_key\"", "\"absent\"", 1, "absent");
    refused("connector = \"127.0.0.1", "connector = \"192.0.2.1", 4, "not on loopback");
    std::fs::write(dir.path().join("root-signer"), "a password").unwrap();
    refused("", "", 1, "not 32 bytes or 64 hexadecimal digits");
}
