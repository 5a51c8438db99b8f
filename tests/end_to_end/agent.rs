//! The agent beside a service: enrols, renews by itself, survives the CA being away, runs the reload hook.

use std::process::{Command, Stdio};

use crate::harness::{Demo, serial_of, wait_for};

#[test]
fn the_agent_enrols_renews_a_short_lived_certificate_and_reloads() {
    let mut demo = Demo::start();
    let folder = demo.path("agent");
    let secret = demo.path("hmac");
    std::fs::write(&secret, demo.fact("EAB_HMAC")).unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let marker = demo.path("reloaded");
    let log = std::fs::File::create(demo.path("agent.log")).unwrap();
    let mut agent = Command::new(env!("CARGO_BIN_EXE_ca"))
        .args(["agent", "run", "--directory", demo.fact("ACME_DIRECTORY"), "--ca-bundle", demo.fact("CA_BUNDLE")])
        .args(["--eab-kid", demo.fact("EAB_KID"), "--name", demo.fact("DEMO_NAME"), "--profile", "short"])
        .arg("--eab-hmac-file")
        .arg(&secret)
        .arg("--dir")
        .arg(&folder)
        .args(["--reload-cmd", &format!("touch {}", marker.display())])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("ca agent starts");
    let certificate = folder.join("live/cert.pem");
    wait_for("the first certificate", || certificate.exists());
    let first = serial_of(&certificate);
    wait_for("the reload hook", || marker.exists());
    let key = std::fs::metadata(folder.join("live/key.pem")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600, "the key is its owner's alone");

    // The CA is away for a while: the agent goes on and renews once it is back.
    demo.kill();
    std::thread::sleep(std::time::Duration::from_secs(2));
    demo.launch(&[]);
    let begun = std::fs::metadata(&certificate).unwrap().modified().unwrap();
    let mut renewed = false;
    for _ in 0..90 {
        if serial_of(&certificate) != first {
            renewed = true;
            break;
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    let _ = agent.kill();
    let _ = agent.wait();
    let printed = std::fs::read_to_string(demo.path("agent.log")).unwrap();
    assert!(renewed, "no renewal since {begun:?}:\n{printed}");
    assert!(!printed.contains(demo.fact("EAB_HMAC")), "the agent's log carries the grant's secret");
    assert_eq!(demo.ocsp(&certificate), "good");
}
