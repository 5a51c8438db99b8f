//! The keyholder's systemd unit: hardened, with a user of its own, and agreeing with what the program wants.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ca_custody::keyholder::KeyholderConfig;
use ca_keystore::keyholder::DEFAULT_SOCKET;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd").join(name)
}

#[test]
fn the_unit_closes_what_the_program_needs_closed() {
    let text = fs::read_to_string(deploy("countersign-keyholder.service")).unwrap();
    for line in [
        // Without these two it does not start.
        "LimitCORE=0",
        "LimitMEMLOCK=infinity",
        "MemorySwapMax=0",
        "PrivateNetwork=yes",
        "RestrictAddressFamilies=AF_UNIX",
        // In a namespace of its own it would take every peer for nobody.
        "PrivateUsers=no",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "ProtectProc=invisible",
        "MemoryDenyWriteExecute=yes",
        "RestrictNamespaces=yes",
        "SystemCallFilter=@system-service @memlock",
        "SystemCallFilter=~@privileged",
        "UMask=0077",
        "StateDirectoryMode=0700",
        // The client refuses a socket in a folder that others may change.
        "RuntimeDirectoryMode=0755",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line}");
    }
    let value = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)).unwrap().to_owned();
    let user = value("User=");
    assert!(fs::read_to_string(deploy("countersign.sysusers")).unwrap().contains(&format!("u {user} - ")));
    assert!(DEFAULT_SOCKET.starts_with(&format!("/run/{}/", value("RuntimeDirectory="))));
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("keyholder.sample.toml");
    assert_eq!(KeyholderConfig::load(&sample).unwrap().socket, Path::new(DEFAULT_SOCKET));
    assert!(value("ExecStart=").ends_with("ca-keyholder serve --keyholder-config /etc/countersign/keyholder.toml"));
}

#[test]
fn systemd_itself_accepts_the_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("systemd-analyze is not here (package systemd): the unit was only parsed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("countersign-keyholder.service");
    // The program is not installed here: any executable stands for it.
    let text = fs::read_to_string(deploy("countersign-keyholder.service")).unwrap();
    fs::write(&path, text.replace("/usr/bin/ca-keyholder", "/bin/true")).unwrap();
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no", "--recursive-errors=no"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(!said.lines().any(|l| l.contains("countersign-keyholder") && !l.contains("does not exist")), "{said}");
    let scored =
        Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager", "--threshold=20"]).arg(&path).output().unwrap();
    // Of 100; a service without hardening has about 96.
    assert!(scored.status.success(), "the exposure is above 2.0: {}", String::from_utf8_lossy(&scored.stdout));
}
