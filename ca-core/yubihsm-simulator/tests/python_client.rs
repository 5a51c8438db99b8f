//! Yubico's own Python library drives the simulator: a second client, written by others from the device's documents.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ca_yubihsm_simulator::{Options, Simulator};

const LIBRARY: &str = "yubihsm[http]==3.1.2";

fn run(command: &mut Command, remedy: &str) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e} (hint: {remedy})"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed (hint: {remedy}):\n{said}");
    output
}

/// The interpreter of a virtual environment that has the library; made once, kept in the build directory.
fn python() -> PathBuf {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("yubihsm-python-3.1.2");
    let python = environment.join("bin/python");
    let ready = environment.join("ready");
    if !ready.exists() {
        run(
            Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment),
            "install Debian's packages python3 and python3-venv",
        );
        let remedy = format!("make a package index reachable for `pip install '{LIBRARY}'`");
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", LIBRARY]), &remedy);
        std::fs::write(&ready, LIBRARY).unwrap();
    }
    python
}

#[test]
fn yubicos_library_drives_the_simulator() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root.der");
    let simulator = Simulator::start(directory.path(), Options { serial: Some(7_654_321), ..Options::default() }).unwrap();
    std::fs::write(&root, simulator.attestation_root()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drive.py");
    let mut command = Command::new(python());
    let url = format!("http://{}", simulator.address());
    let output = run(command.arg(script).arg(url).arg(root), "read the traceback: the simulator and Yubico's library disagree");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "all steps passed");
}
