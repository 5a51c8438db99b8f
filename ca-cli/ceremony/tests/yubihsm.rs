//! Provisioning, a ceremony, and its end on YubiHSM 2 devices, by the commands as a person gives them, on simulated devices.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![cfg(feature = "yubihsm")]

mod common;

use std::fmt::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

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

#[test]
fn a_ceremony_on_devices_from_the_factory_to_retired_ceremony_keys() {
    let ceremony = Ceremony::for_binary("production", ANY_MACHINE);
    let dir = ceremony.dir.path();
    let devices = [("root", device(dir, "root", 1_000_001)), ("online", device(dir, "online", 1_000_002))];
    let run = ["run", "plan.toml", "--out", "bundle", "--root-keystore", "root.toml", "--online-keystore", "online.toml"];

    // Nobody has a key in it yet but the factory's.
    check(dir, &["yubihsm", "log", "root.device.toml", "--journal", "root.log"], 1, "the device refuses the credential");
    devices[0].1.inject(Fault::CutPower { moment: Moment::After, command: Some(0x44), skip: 1 }).unwrap();
    check(dir, &["yubihsm", "provision", "root.device.toml"], 5, "cannot put the custodian key");
    for name in ["root", "online"] {
        let plan = format!("{name}.device.toml");
        let text = check(dir, &["yubihsm", "provision", &plan], 0, "is provisioned");
        assert!(text.contains("0x000c countersign-signer") && !text.contains("DEFAULT AUTHKEY"), "{text}");
        check(dir, &["yubihsm", "log", &plan, "--journal", &format!("{name}.log")], 0, "put-authentication-key");
    }

    ceremony.pin_devices(&mut |arguments| check(dir, arguments, 0, "kind = \"yubi-hsm2\""));
    let pem = |device: &Simulator| ca_core::pki::pem_encode("CERTIFICATE", &device.attestation_root());
    let roots: Vec<String> = devices.iter().map(|(_, device)| format!("\"\"\"{}\"\"\"", pem(device))).collect();
    ceremony.edit_plan("approval_days = 30", &format!("approval_days = 30\nattestation_roots = [{}]", roots.join(", ")));
    let mut note = |arguments: &[&str], code: i32| drop(check(dir, arguments, code, ""));
    check(dir, &run, 5, "STEP 1");
    ceremony.sign_plan(&["ana", "bela"]);
    check(dir, &run, 5, "STEP 2");
    ceremony.attend_by_binary(&mut note);
    check(dir, &run, 5, "STEP 4");
    ceremony.sign_statements(&["ana", "bela"]);
    ceremony.note_by_binary(&mut note);
    devices[1].1.inject(Fault::DropSessions).unwrap();
    check(dir, &run, 0, "Verified: production ceremony");
    check(dir, &["verify", "bundle", "--roster", "bundle/roster.toml"], 0, "Verified");

    // What the ceremony did is in the devices' own logs, and nothing else.
    let log = check(dir, &["yubihsm", "log", "root.device.toml", "--journal", "root.log"], 0, "generate-asymmetric-key");
    assert!(log.contains("sign-ecdsa bank-root-2026") && !log.contains("refused"), "{log}");
    for (name, simulator) in &devices {
        let plan = format!("{name}.device.toml");
        // The sessions of the commands before end after 30 idle seconds; the test does not wait for that.
        simulator.inject(Fault::DropSessions).unwrap();
        check(dir, &["yubihsm", "retire", &plan], 0, "The ceremony key is gone");
        check(dir, &["yubihsm", "retire", &plan], 0, "The ceremony key is gone");
        check(dir, &["yubihsm", "log", &plan, "--journal", &format!("{name}.log")], 0, "delete-object");
        simulator.inject(Fault::Unplug).unwrap();
        check(dir, &["yubihsm", "log", &plan, "--journal", &format!("{name}.log")], 5, "is yubihsm-connector running");
    }
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
