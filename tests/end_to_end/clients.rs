//! Stock ACME clients, unchanged: certbot and lego enrol, renew and revoke; status follows.

use std::process::Command;

use crate::harness::{Demo, expect_success, serial_of, wait_for};
use crate::printed::run_printed;

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
    let (live, output) = demo.certbot("certbot", crate::harness::free_port(), &name, &[]);
    expect_success("certbot", &output);
    let certificate = live.join("cert.pem");
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
fn a15_a_grant_lives_and_ends_with_what_it_issued() {
    let demo = Demo::start();
    let created = demo.ca_json(&["grant", "create", "--service", "shop", "--name", "shop.demo.test", "--enrol-by", "2d"]);
    let kid = created["kid"].as_str().expect("a kid");
    let folder = demo.path("printed");
    run_printed(&folder, &created, "lego");
    let certificate = folder.join(".lego/certificates/shop.demo.test.crt");

    let extended = demo.ca_json(&["grant", "extend", kid, "--valid-until", "90d"]);
    assert!(extended["grant"]["valid_until"].is_u64(), "{extended}");
    demo.ca_json(&["grant", "update", kid, "--name", "shop.demo.test", "--name", "till.demo.test"]);
    let spent = expect_success("ca grant rotate", &demo.ca(&["grant", "rotate", kid]));
    assert!(spent.contains("has bound 1 of 1 account (hint: ca grant update") && spent.contains("--max-accounts 2"), "{spent}");
    let rotated = demo.ca_json(&["grant", "rotate", kid, "--max-accounts", "2"]);
    assert_ne!(rotated["hmac_key"], created["hmac_key"]);
    assert_eq!(demo.ca_json(&["grant", "suspend", kid])["status"], "suspended");
    let shown = demo.ca_json(&["grant", "show", kid]);
    assert_eq!((&shown["status"], &shown["version"], &shown["accounts"]), (&"suspended".into(), &3.into(), &1.into()));
    assert_eq!(shown["names"], serde_json::json!(["dns:shop.demo.test", "dns:till.demo.test"]));
    assert_eq!(shown["certificates"].as_array().map(Vec::len), Some(1), "{shown}");
    demo.ca_json(&["grant", "resume", kid]);

    let revoked = demo.ca_json(&["grant", "revoke", kid, "--revoke-certificates", "--yes"]);
    assert_eq!((&revoked["accounts"], &revoked["certificates"]), (&1.into(), &1.into()), "{revoked}");
    wait_for("OCSP to say revoked", || demo.ocsp(&certificate) == "revoked");
    // Once more there is nothing left to revoke, which is no failure.
    let again = demo.ca_json(&["grant", "revoke", kid, "--revoke-certificates", "--yes"]);
    assert_eq!((&again["accounts"], &again["certificates"]), (&0.into(), &0.into()), "{again}");
    let late = demo.ca(&["grant", "extend", kid, "--valid-until", "91d"]);
    let told = String::from_utf8_lossy(&late.stderr);
    assert!(!late.status.success() && told.contains("revoked"), "a revoked grant stays so: {told}");
}

#[test]
fn a15_the_secret_is_printed_once_and_in_no_command() {
    let demo = Demo::start();
    let create = ["grant", "create", "--service", "shop", "--name", "shop.demo.test"];
    let created = demo.ca_json(&create);
    let secret = created["hmac_key"].as_str().expect("a secret");
    assert_eq!(created.to_string().matches(secret).count(), 1, "{created}");
    let printed = expect_success("ca grant create", &demo.ca(&create));
    let secret = printed.lines().find_map(|line| line.trim().strip_prefix("EAB HMAC")).expect("a line with the secret").trim();
    assert_eq!(printed.matches(secret).count(), 1, "{printed}");
    for client in ["certbot", "lego", "acme.sh", "uacme", "dehydrated", "caddy", "cert-manager", "ca agent"] {
        assert!(printed.contains(&format!("With {client}:\n")), "{client}: {printed}");
    }
    assert!(printed.contains("-----BEGIN CERTIFICATE-----"), "{printed}");
}

#[test]
fn a_serial_never_issued_is_never_good() {
    let demo = Demo::start();
    assert_ne!(demo.ocsp_serial("1234567890abcdef"), "good");
}
