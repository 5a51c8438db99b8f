//! The systemd units in deploy/systemd: hardened, one user each, and naming what is really there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::succeeds;

const SERVICES: [&str; 3] = ["countersign-worker", "countersign-acme", "countersign-ocsp"];

/// What every service must have: a directive and its value.
const HARDENING: [(&str, &str); 26] = [
    ("NoNewPrivileges", "yes"),
    ("CapabilityBoundingSet", ""),
    ("AmbientCapabilities", ""),
    ("UMask", "0077"),
    ("LimitCORE", "0"),
    ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateDevices", "yes"),
    ("ProtectProc", "invisible"),
    ("ProcSubset", "pid"),
    ("ProtectClock", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("LockPersonality", "yes"),
    ("MemoryDenyWriteExecute", "yes"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallFilter", "@system-service"),
    ("SystemCallFilter", "~@privileged @resources"),
    ("StateDirectoryMode", "0700"),
];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy")
}

/// A unit's directives, each with its values in order.
fn read(name: &str) -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(deploy().join("systemd").join(format!("{name}.service"))).unwrap();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines().filter(|l| !l.starts_with(['#', '['])) {
        if let Some((key, value)) = line.split_once('=') {
            found.entry(key.to_owned()).or_default().push(value.to_owned());
        }
    }
    found
}

#[test]
fn every_unit_is_hardened_and_has_a_user_of_its_own() {
    let sysusers = std::fs::read_to_string(deploy().join("systemd/countersign.sysusers")).unwrap();
    let mut users = Vec::new();
    for name in SERVICES {
        let unit = read(name);
        for (key, value) in HARDENING {
            assert!(unit.get(key).is_some_and(|values| values.iter().any(|v| v == value)), "{name}: no {key}={value}");
        }
        let user = &unit["User"][0];
        assert_eq!(unit["Group"], std::slice::from_ref(user), "{name}");
        assert!(sysusers.contains(&format!("u {user} - ")), "{name}: sysusers does not make {user}");
        users.push(user.clone());
    }
    users.sort();
    users.dedup();
    assert_eq!(users.len(), SERVICES.len());

    let worker = read("countersign-worker");
    assert_eq!(
        (&worker["PrivateNetwork"][..], &worker["RestrictAddressFamilies"][..]),
        (&["yes".to_owned()][..], &["AF_UNIX".to_owned()][..])
    );
    // In a namespace of its own it would take every peer for nobody.
    assert_eq!(worker["PrivateUsers"], ["no"]);
    for name in &SERVICES[1..] {
        let unit = read(name);
        assert!(unit["InaccessiblePaths"][0].contains("-/var/lib/countersign "), "{name} may see the worker's files");
    }
}

#[test]
fn the_samples_agree_with_the_units() {
    let sample = |name: &str| -> toml::Table { toml::from_str(&std::fs::read_to_string(deploy().join(name)).unwrap()).unwrap() };
    let (worker, acme, ocsp) = (sample("worker.toml"), sample("acme.toml"), sample("ocsp.toml"));
    let socket = &worker["store"]["socket"];
    assert_eq!(socket["path"], acme["store"]["socket"]);
    assert_eq!(socket["path"], ocsp["store"]["socket"]);
    assert_eq!(socket["acme"][0].as_str(), read("countersign-acme")["User"].first().map(String::as_str));
    assert_eq!(socket["responder"][0].as_str(), read("countersign-ocsp")["User"].first().map(String::as_str));
    assert_eq!(worker["acme"]["url"], acme["acme"]["url"]);
    for (name, program, config, folder) in [
        ("countersign-worker", "/usr/bin/ca --config", "worker.toml worker", "/var/lib/countersign/"),
        ("countersign-acme", "/usr/bin/acme-server --config", "acme.toml", "/var/lib/countersign-acme/"),
        ("countersign-ocsp", "/usr/bin/ocsp-responder --config", "ocsp.toml", "/var/lib/countersign-ocsp/"),
    ] {
        let unit = read(name);
        assert_eq!(unit["ExecStart"], [format!("{program} /etc/countersign/{config}")]);
        let state = unit["StateDirectory"][0].split(' ').next().unwrap();
        assert_eq!(format!("/var/lib/{state}/"), folder);
        let text = std::fs::read_to_string(deploy().join(config.split(' ').next().unwrap())).unwrap();
        assert!(text.contains(folder), "{config} keeps nothing in {folder}");
    }
    // The binaries read their samples; the worker's users are only there once they are made.
    let check = Command::new(env!("CARGO_BIN_EXE_ca"))
        .arg("--config")
        .arg(deploy().join("worker.toml"))
        .args(["config", "check"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert!(said.contains("trust.roster") && !said.contains("unknown field"), "{said}");
}

#[test]
fn systemd_itself_accepts_the_units() {
    if !succeeds(Command::new("systemd-analyze").arg("--version")) {
        println!("systemd-analyze is not here (package systemd): the units were only parsed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    // Every unit that is there, the keyholder's too.
    let files = std::fs::read_dir(deploy().join("systemd")).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
    let services: Vec<String> = files.filter_map(|name| name.strip_suffix(".service").map(str::to_owned)).collect();
    assert!(services.len() >= SERVICES.len(), "{services:?}");
    for name in services {
        // The programs are not installed here: any executable stands for them.
        let text = std::fs::read_to_string(deploy().join(format!("systemd/{name}.service"))).unwrap();
        let program = read(&name)["ExecStart"][0].split(' ').next().unwrap().to_owned();
        let path = folder.path().join(format!("{name}.service"));
        std::fs::write(&path, text.replace(&program, "/bin/true")).unwrap();
        paths.push(path);
    }
    std::fs::copy(deploy().join("systemd/countersign.target"), folder.path().join("countersign.target")).unwrap();
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no", "--recursive-errors=no"]).args(&paths).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    // Units of this host may be missing here, which is no matter of ours.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("countersign-") && !line.contains("does not exist")).collect();
    assert!(ours.is_empty(), "{said}");
    for path in &paths {
        let scored = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", "--threshold=20"])
            .arg(path)
            .output()
            .unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&scored.stdout), String::from_utf8_lossy(&scored.stderr));
        // Of 100; a service without hardening has about 96.
        assert!(scored.status.success(), "the exposure is above 2.0:\n{said}");
        println!("{}", said.lines().last().unwrap_or_default());
    }
}
