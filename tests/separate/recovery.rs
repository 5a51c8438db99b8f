//! Each process dies in turn; the others go on, and find it again without a restart of their own.

use std::process::Command;

use crate::harness::{block_on, expect_success, serial_of, wait_for};
use crate::site::{Site, User};

#[test]
fn each_process_dies_and_comes_back_alone() {
    let mut site = Site::start();
    let (account, certificate) = block_on(async {
        let account = site.account().await;
        let chain = site.issue(&account).await.expect("an order");
        (account, chain)
    });
    let path = site.path("first.pem");
    std::fs::write(&path, certificate).unwrap();
    assert_eq!(site.ocsp(&path), "good");

    // The front end: the responder and the worker do not notice.
    site.kill(User::Acme);
    assert_eq!(site.ocsp(&path), "good");
    expect_success("ca status", &site.ca(&["status"]));
    site.launch(User::Acme);
    site.wait_until_ready();
    block_on(async { site.issue(&account).await }).expect("the account goes on after the front end's death");

    // The responder.
    site.kill(User::Responder);
    block_on(async { site.issue(&account).await }).expect("issuance does not need the responder");
    site.launch(User::Responder);
    site.wait_until_ready();
    assert_eq!(site.ocsp(&path), "good");

    // The worker: the front end says "come back", the responder goes on with what it signed.
    let (acme, responder) = (site.pid(User::Acme), site.pid(User::Responder));
    site.kill(User::Worker);
    let answer = wait_for_unavailable(&site);
    assert!(answer.to_lowercase().contains("retry-after: 10"), "{answer}");
    let refused = block_on(async { site.issue(&account).await }).expect_err("nothing is issued without a worker");
    assert!(refused.to_string().contains("try again"), "{refused}");
    assert_eq!(site.ocsp(&path), "good", "an answer that was signed serves until its nextUpdate");
    site.launch(User::Worker);
    site.wait_until_ready();
    wait_for("issuance to go on", || block_on(async { site.issue(&account).await }).is_ok());
    expect_success("ca cert revoke", &site.ca(&["cert", "revoke", &serial_of(&path), "--reason", "superseded", "--yes"]));
    let took = wait_for("the responder to hear of a revocation again", || site.ocsp(&path) == "revoked");
    println!("after the worker's death OCSP said revoked within {took:?}");
    assert_eq!((site.pid(User::Acme), site.pid(User::Responder)), (acme, responder), "neither was restarted");
    site.stop();
}

/// Asks something that needs the store until the answer is 503; gives its header and body.
fn wait_for_unavailable(site: &Site) -> String {
    let newest = site.path("first.pem");
    let id = renewal_id(&newest);
    let url = site.fact("ACME_DIRECTORY").replace("/directory", &format!("/renewal-info/{id}"));
    let mut last = String::new();
    wait_for("the front end to say that the store is away", || {
        let output = Command::new("curl").args(["-ski", &url]).output().expect("curl runs (package curl)");
        last = String::from_utf8_lossy(&output.stdout).into_owned();
        last.lines().next().is_some_and(|line| line.contains(" 503"))
    });
    last
}

/// RFC 9773 §4.1: the key identifier and the serial number, each base64url.
fn renewal_id(certificate: &std::path::Path) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let hex = |text: &str| -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    };
    let output =
        Command::new("openssl").args(["x509", "-noout", "-ext", "authorityKeyIdentifier", "-in"]).arg(certificate).output().unwrap();
    let text = expect_success("openssl x509", &output);
    let key = text
        .lines()
        .find(|l| l.contains(':') && !l.contains("X509"))
        .expect("an identifier")
        .trim()
        .trim_start_matches("keyid:")
        .to_owned();
    let mut serial = hex(&serial_of(certificate));
    if serial[0] & 0x80 != 0 {
        serial.insert(0, 0);
    }
    format!("{}.{}", URL_SAFE_NO_PAD.encode(hex(&key)), URL_SAFE_NO_PAD.encode(serial))
}
