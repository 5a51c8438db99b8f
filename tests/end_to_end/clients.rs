//! Stock ACME clients, unchanged: certbot and lego enrol, renew and revoke; status follows.

use std::process::Command;

use crate::harness::{Demo, expect_success, serial_of, wait_for};

/// Verifies a chain as a strict relying party would.
#[track_caller]
fn verify_strictly(demo: &Demo, certificate: &std::path::Path) {
    let bundle = demo.path("issuer-and-crls.pem");
    let output = Command::new("openssl")
        .args([
            "verify",
            "-x509_strict",
            "-purpose",
            "sslclient",
            "-CAfile",
            demo.fact("CA_BUNDLE"),
            "-untrusted",
            demo.fact("ISSUER_CERT"),
        ])
        .arg(certificate)
        .output()
        .expect("openssl runs (package openssl)");
    expect_success("openssl verify", &output);
    let published = demo.ca(&["crl", "show", "--pem"]);
    std::fs::write(&bundle, expect_success("ca crl show --pem", &published)).expect("the folder is writable");
    let output = Command::new("openssl")
        .args([
            "verify",
            "-x509_strict",
            "-crl_check_all",
            "-CAfile",
            demo.fact("CA_BUNDLE"),
            "-untrusted",
            demo.fact("ISSUER_CERT"),
            "-CRLfile",
        ])
        .arg(&bundle)
        .arg(certificate)
        .output()
        .expect("openssl runs");
    expect_success("openssl verify -crl_check_all", &output);
}

#[test]
fn certbot_enrols_and_revocation_reaches_ocsp_and_crl() {
    let demo = Demo::start();
    let name = demo.fact("DEMO_NAME").to_owned();
    let folder = demo.path("certbot");
    let output = Command::new("certbot")
        .env("REQUESTS_CA_BUNDLE", demo.fact("CA_BUNDLE"))
        .args(["certonly", "--standalone", "--non-interactive", "--agree-tos", "--register-unsafely-without-email"])
        .args(["--server", demo.fact("ACME_DIRECTORY"), "--eab-kid", demo.fact("EAB_KID"), "--eab-hmac-key", demo.fact("EAB_HMAC")])
        .args(["--http-01-port", &crate::harness::free_port().to_string(), "-d", &name])
        .arg("--config-dir")
        .arg(folder.join("config"))
        .arg("--work-dir")
        .arg(folder.join("work"))
        .arg("--logs-dir")
        .arg(folder.join("logs"))
        .output()
        .expect("certbot runs (package certbot)");
    expect_success("certbot", &output);
    let certificate = folder.join("config/live").join(&name).join("cert.pem");
    verify_strictly(&demo, &certificate);
    assert_eq!(demo.ocsp(&certificate), "good");

    let serial = serial_of(&certificate);
    expect_success("ca cert revoke", &demo.ca(&["cert", "revoke", &serial, "--reason", "keyCompromise", "--yes"]));
    let took = wait_for("OCSP to say revoked", || demo.ocsp(&certificate) == "revoked");
    println!("OCSP said revoked after {took:?}");
    let took = wait_for("the CRL to list the serial", || demo.crl_serials().contains(&serial));
    println!("the CRL listed the serial after {took:?}");
    demo_stops_and_goes_on(demo, &certificate);
}

/// A second start goes on with the same state.
fn demo_stops_and_goes_on(mut demo: Demo, revoked: &std::path::Path) {
    let kid = demo.fact("EAB_KID").to_owned();
    demo.stop();
    demo.launch(&[]);
    assert_eq!(demo.fact("EAB_KID"), kid, "the same grant");
    assert_eq!(demo.ocsp(revoked), "revoked");
}

#[test]
fn lego_enrols_and_renews() {
    let demo = Demo::start();
    let name = demo.fact("DEMO_NAME").to_owned();
    let folder = demo.path("lego");
    let run = |arguments: &[&str]| {
        Command::new("lego")
            .env("LEGO_CA_CERTIFICATES", demo.fact("CA_BUNDLE"))
            .arg("--path")
            .arg(&folder)
            .args(["--server", demo.fact("ACME_DIRECTORY"), "--eab", "--kid", demo.fact("EAB_KID"), "--hmac", demo.fact("EAB_HMAC")])
            .args(["--accept-tos", "--email", "ops@demo.test", "--http", "--http.port", &format!(":{}", crate::harness::free_port())])
            .args(["--domains", &name])
            .args(arguments)
            .output()
            .expect("lego runs (package lego)")
    };
    expect_success("lego run", &run(&["run"]));
    let certificate = folder.join("certificates").join(format!("{name}.crt"));
    let first = serial_of(&certificate);
    assert_eq!(demo.ocsp(&certificate), "good");
    expect_success("lego renew", &run(&["renew", "--days", "90", "--no-random-sleep"]));
    assert_ne!(serial_of(&certificate), first, "a new certificate");
    assert_eq!(demo.ocsp(&certificate), "good");
    verify_strictly(&demo, &certificate);
    expect_success("lego revoke", &run(&["revoke"]));
    wait_for("OCSP to say revoked", || demo.certificates().iter().filter(|c| !c["revoked"].is_null()).count() == 1);
}

#[test]
fn a_serial_never_issued_is_never_good() {
    let demo = Demo::start();
    assert_ne!(demo.ocsp_serial("1234567890abcdef"), "good");
}
