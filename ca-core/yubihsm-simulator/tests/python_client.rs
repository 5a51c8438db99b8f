//! Yubico's own Python library drives the simulator: a second client, written by others from the device's documents.

use std::path::Path;
use std::process::Command;

use ca_testkit::brought::python_with;
use ca_testkit::program::output;
use ca_yubihsm_simulator::{Options, Simulator};

#[test]
fn yubicos_library_drives_the_simulator() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root.der");
    let simulator = Simulator::start(directory.path(), Options { serial: Some(7_654_321), ..Options::default() }).unwrap();
    std::fs::write(&root, simulator.attestation_root()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drive.py");
    let python = python_with(Path::new(env!("CARGO_TARGET_TMPDIR")), "yubihsm");
    let url = format!("http://{}", simulator.address());
    let remedy = "read the traceback: the simulator and Yubico's library disagree";
    let said = output(Command::new(python).arg(script).arg(url).arg(root), remedy);
    assert_eq!(said.trim(), "all steps passed");
}
