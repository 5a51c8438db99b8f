//! Wrong input from outside and from the operator: the right error, the right exit code, nothing changed.

use std::process::{Command, Stdio};

use crate::harness::{Demo, block_on};

/// Runs `ca` bare.
fn ca(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ca")).args(arguments).stdin(Stdio::null()).output().expect("ca runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn usage_and_configuration_errors_have_their_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.toml");
    let wrong = folder.path().join("wrong.toml");
    std::fs::write(&wrong, "no_such_key = 1\n").unwrap();

    let (code, printed) = ca(&["no-such-command"]);
    assert_eq!(code, Some(2), "{printed}");
    let (code, printed) = ca(&["--config", &missing.display().to_string(), "config", "check"]);
    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.contains("none.toml"), "the message names the file: {printed}");
    let (code, printed) = ca(&["--config", &wrong.display().to_string(), "config", "check"]);
    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.contains("no_such_key"), "the message names the key: {printed}");
}

#[test]
fn the_acme_front_refuses_what_is_wrong_and_changes_nothing() {
    let demo = Demo::start();
    let directory = demo.fact("ACME_DIRECTORY").to_owned();
    let base = directory.trim_end_matches("/directory");
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["-s", "-w", "\n%{http_code}", "--cacert", demo.fact("CA_BUNDLE")])
            .args(arguments)
            .output()
            .expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let jose = "content-type: application/jose+json";
    let check = |arguments: &[&str], status: &str, problem: &str| {
        let answer = curl(arguments);
        assert!(answer.ends_with(status), "{arguments:?}: {answer}");
        assert!(answer.contains(problem), "{arguments:?}: {answer}");
    };
    let new_account = format!("{base}/new-account");
    check(&["-H", jose, "-d", "{}", &new_account], "400", "malformed");
    check(&["-H", "content-type: text/plain", "-d", "{}", &new_account], "415", "malformed");
    check(&["-H", jose, "-d", r#"{"protected":"e30","payload":"","signature":""}"#, &new_account], "400", "urn:ietf:params:acme:error:");
    let large = demo.path("large.json");
    std::fs::write(&large, format!(r#"{{"protected":"{}"}}"#, "A".repeat(200_000))).unwrap();
    check(&["-H", jose, "--data-binary", &format!("@{}", large.display()), &new_account], "413", "malformed");
    check(&[&format!("{base}/order/0123456789abcdef")], "405", "malformed");
    let listed: Vec<_> = demo.certificates().into_iter().filter(|c| !c["order"].is_null()).collect();
    assert!(listed.is_empty(), "nothing was issued: {listed:?}");
}

#[test]
fn an_order_outside_the_grant_is_refused() {
    let demo = Demo::start();
    block_on(async {
        let account = demo.account().await;
        let identifiers = [instant_acme::Identifier::Dns("bank.example".to_owned())];
        let Err(refused) = account.new_order(&instant_acme::NewOrder::new(&identifiers)).await else { panic!("the order was accepted") };
        assert!(refused.to_string().contains("rejectedIdentifier"), "{refused}");
    });
}

#[test]
fn a_wrong_binding_secret_makes_no_account() {
    let demo = Demo::start();
    block_on(async {
        let binding = instant_acme::ExternalAccountKey::new(demo.fact("EAB_KID").to_owned(), &[7; 32]);
        let new = instant_acme::NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
        let builder = instant_acme::Account::builder_with_root(demo.fact("CA_BUNDLE")).unwrap();
        let Err(refused) = builder.create(&new, demo.fact("ACME_DIRECTORY").to_owned(), Some(&binding)).await else { panic!("accepted") };
        assert!(refused.to_string().contains("unauthorized") || refused.to_string().contains("externalAccountRequired"), "{refused}");
    });
}

#[test]
fn ocsp_survives_the_request_that_panicked_another_responder() {
    let demo = Demo::start();
    let request = demo.path("request.der");
    std::fs::write(&request, [0x30, 0x04, 0x30, 0x02, 0xa0, 0x00]).unwrap();
    let answer = demo.path("answer.der");
    let status = Command::new("curl")
        .args(["-s", "-H", "content-type: application/ocsp-request", "--data-binary", &format!("@{}", request.display()), "-o"])
        .arg(&answer)
        .arg(demo.fact("OCSP_URL"))
        .status()
        .expect("curl runs");
    assert!(status.success());
    // OCSPResponse { responseStatus malformedRequest (1) } (RFC 6960 §4.2.1)
    assert_eq!(std::fs::read(&answer).unwrap(), [0x30, 0x03, 0x0a, 0x01, 0x01]);
}

#[test]
fn a_port_in_use_is_named_and_a_wrong_serial_is_refused() {
    let demo = Demo::start();
    let holder = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = holder.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let (code, printed) = ca(&[
        "demo",
        "--dir",
        &folder.path().join("var").display().to_string(),
        "--acme-port",
        &crate::harness::free_port().to_string(),
        "--status-port",
        &taken,
    ]);
    assert!(matches!(code, Some(1 | 3 | 5)), "{code:?} {printed}");
    assert!(printed.contains(&taken), "the message names the port: {printed}");

    let refused = demo.ca(&["cert", "revoke", "0123", "--yes"]);
    assert!(!refused.status.success(), "a serial that was never issued cannot be revoked");
}
