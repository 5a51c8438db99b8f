//! Someone restores an older copy of the database, edits its record or takes the anchor away, and gets no certificate.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use instant_acme::{Identifier, NewOrder, OrderStatus};

use crate::harness::{Demo, block_on, expect_success, succeeds, wait_for};

/// Copies the stopped instance's database, with what SQLite keeps beside it, into `name`.
pub(crate) fn copy_out(demo: &Demo, name: &str) -> PathBuf {
    let folder = demo.path(name);
    std::fs::create_dir(&folder).unwrap();
    for file in ["ca.db", "ca.db-wal", "ca.db-shm"] {
        if demo.var().join(file).exists() {
            std::fs::copy(demo.var().join(file), folder.join(file)).unwrap();
        }
    }
    folder
}

/// Puts a copy in the database's place.
pub(crate) fn copy_in(demo: &Demo, folder: &Path) {
    for file in ["ca.db", "ca.db-wal", "ca.db-shm"] {
        let (from, to) = (folder.join(file), demo.var().join(file));
        let _ = std::fs::remove_file(&to);
        if from.exists() {
            std::fs::copy(from, to).unwrap();
        }
    }
}

fn sql(demo: &Demo, text: &str) -> String {
    let database = demo.var().join("ca.db");
    let output = Command::new("sqlite3").args(["-cmd", ".timeout 10000"]).arg(database).arg(text).output();
    expect_success("sqlite3", &output.expect("sqlite3 runs (package sqlite3)"))
}

/// The stopped instance's start, or another command, is refused with this code and these words.
#[track_caller]
fn refused(demo: &Demo, arguments: &[&str], code: i32, parts: &[&str]) {
    // A start that is not refused would serve for ever.
    let output = Command::new("timeout")
        .args(["300", env!("CARGO_BIN_EXE_ca"), "--config", demo.fact("CA_CONFIG")])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("timeout runs (package coreutils)");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    for part in parts.iter().chain(&["hint:"]) {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
}

/// Has a rehearsal's officer sign a file as people do, and gives the signature's path.
fn officer_signs(demo: &Demo, officer: &str, file: &Path) -> String {
    let signed = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", "rehearsal@countersign", "-f"])
        .arg(demo.var().join("rehearsal/officers").join(officer))
        .stdin(std::fs::File::open(file).unwrap())
        .output()
        .expect("ssh-keygen runs (package openssh-client)");
    let signature = file.with_extension(format!("{officer}.sig"));
    std::fs::write(&signature, expect_success("ssh-keygen -Y sign", &signed)).unwrap();
    signature.display().to_string()
}

/// Has the rehearsal's officers put the next policy in force, which the stopped instance takes at its next start.
fn approve_policy(demo: &Demo, version: u32) {
    let file = demo.path(&format!("policy-{version}.toml"));
    let text = std::fs::read_to_string(demo.var().join("rehearsal/bundle/policy.toml")).unwrap();
    std::fs::write(&file, text.replacen("version = 1", &format!("version = {version}"), 1)).unwrap();
    expect_success("ca rehearsal approve", &demo.ca(&["rehearsal", "approve", &file.display().to_string()]));
}

fn issue(demo: &Demo) -> crate::harness::Issued {
    let name = demo.fact("DEMO_NAME");
    block_on(async {
        let account = demo.account().await;
        demo.issue(&account, name).await.expect("a certificate")
    })
}

fn crl_number(demo: &Demo) -> u64 {
    let crls = demo.ca_json(&["crl", "show"]);
    let crls = crls.as_array().or_else(|| crls["crls"].as_array()).expect("a list").clone();
    crls.iter().find(|c| c["authority"] == "demo").expect("the issuer's CRL")["number"].as_u64().expect("a number")
}

/// Asks without a nonce, so that an answer may be one that was signed before; gives what openssl prints.
fn cached_ocsp(demo: &Demo, certificate: &Path) -> String {
    let output = Command::new("openssl")
        .args(["ocsp", "-no_nonce", "-noverify", "-issuer", demo.fact("ISSUER_CERT"), "-url", demo.fact("OCSP_URL"), "-cert"])
        .arg(certificate)
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs (package openssl)");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn an_older_copy_brings_no_certificate_until_officers_accept_it() {
    let mut demo = Demo::start();
    issue(&demo);
    demo.stop();
    let older = copy_out(&demo, "older");

    // What the older copy lacks: a certificate, its revocation, a newer policy.
    demo.launch(&[]);
    let revoked = issue(&demo);
    expect_success("ca cert revoke", &demo.ca(&["cert", "revoke", &revoked.serial, "--yes"]));
    wait_for("OCSP to say revoked", || demo.ocsp(&revoked.path) == "revoked");
    wait_for("the CRL to list it", || demo.crl_serials().contains(&revoked.serial));
    let last_crl = crl_number(&demo);
    demo.stop();
    approve_policy(&demo, 2);
    demo.launch(&[]);
    demo.stop();
    let newest = copy_out(&demo, "newest");

    copy_in(&demo, &older);
    refused(&demo, &["serve"], 4, &["the audit trail ends before row", "After a restore"]);
    refused(&demo, &["anchor", "verify"], 4, &["does not pass through row"]);
    assert!(sql(&demo, "SELECT CAST(leaf AS TEXT) FROM audit").contains("worker.alarm"), "the alarm is on record");

    // The newest one is back: as if nothing had happened.
    copy_in(&demo, &newest);
    expect_success("ca anchor verify", &demo.ca(&["anchor", "verify"]));
    refused(&demo, &["anchor", "statement", "--restore", &demo.path("none.json").display().to_string()], 4, &["nothing to accept"]);
    demo.launch(&[]);
    assert_eq!(demo.ca_json(&["status"])["policy"]["version"], 2);
    assert_eq!(demo.ocsp(&revoked.path), "revoked");
    issue(&demo);
    demo.stop();

    // The newest one is lost: officers accept the older one, together.
    copy_in(&demo, &older);
    refused(&demo, &["serve"], 4, &["After a restore"]);
    let file = demo.path("restore.json");
    let shown = file.display().to_string();
    let said = expect_success("ca anchor statement", &demo.ca(&["anchor", "statement", "--restore", &shown]));
    assert!(said.contains("Missing: ") && said.contains("policy version 1, the anchor 2"), "{said}");
    let (ana, bela) = (officer_signs(&demo, "ana", &file), officer_signs(&demo, "bela", &file));
    let accept =
        |first: &str, second: &str| demo.ca(&["anchor", "accept-restore", &shown, "--yes", "--signature", first, "--signature", second]);
    assert_eq!(accept(&ana, &ana).status.code(), Some(4), "one person's signatures count once");
    expect_success("ca anchor accept-restore", &accept(&ana, &bela));
    assert_eq!(accept(&ana, &bela).status.code(), Some(4), "one approval, one restore");
    // The policy never goes back with it: officers put a newer one in force.
    refused(&demo, &["serve"], 4, &["policy version 1 is in use, and this worker has seen version 2"]);
    approve_policy(&demo, 3);
    demo.launch(&[]);
    assert_eq!(demo.ca_json(&["status"])["policy"]["version"], 3);
    assert!(crl_number(&demo) > last_crl, "CRL numbers never go back: a newer one is made before anything is served");
    issue(&demo);
    assert_eq!(demo.ocsp(&revoked.path), "unknown", "what the copy lacks was never issued, as far as it knows");
    expect_success("ca anchor verify", &demo.ca(&["anchor", "verify"]));
    demo.stop();
}

#[test]
fn an_edited_record_brings_no_certificate() {
    let mut demo = Demo::start();
    issue(&demo);
    demo.stop();
    let whole = copy_out(&demo, "whole");
    for edit in [
        "UPDATE audit SET leaf = CAST(replace(CAST(leaf AS TEXT), 'countersign', 'countersigm') AS BLOB) WHERE number = 2",
        "DELETE FROM audit WHERE number = (SELECT max(number) FROM audit)",
        "UPDATE audit SET hash = randomblob(32) WHERE number = (SELECT max(number) FROM audit)",
    ] {
        sql(&demo, edit);
        refused(&demo, &["serve"], 4, &["audit trail", "After a restore"]);
        copy_in(&demo, &whole);
    }
    // Undone, all is well.
    demo.launch(&[]);
    issue(&demo);
}

/// Another root's row, and one whose certificate that root made over the issuing authority's public key.
#[test]
fn a_root_that_no_ceremony_brought_reaches_no_bundle_and_is_named() {
    let mut demo = Demo::start();
    let create = |demo: &Demo| demo.ca_json(&["grant", "create", "--service", "shop", "--dns", "shop.demo.test"]);
    let before = create(&demo);
    let bundle = before["ca_bundle"].as_str().expect("roots").to_owned();
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 1);
    assert_eq!(before["ca_bundle_sha256"].as_array().map(Vec::len), Some(1));
    demo.stop();
    expect_success("ca anchor verify", &demo.ca(&["anchor", "verify"]));

    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "Mallory Root");
    let mallory = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let hex: String = mallory.der().iter().map(|byte| format!("{byte:02x}")).collect();
    let insert = |name: &str| {
        format!(
            "INSERT INTO authorities (name, kind, certificate, issuer, key_label, is_default, imported_at)
             VALUES ('{name}', 'root', x'{hex}', NULL, NULL, 0, 0)"
        )
    };
    sql(&demo, &insert("mallory"));
    let stranger = "no import on record brought the certificate of authority `mallory`";
    refused(&demo, &["anchor", "verify"], 4, &[stranger]);
    demo.launch(&[]);
    refused(&demo, &["anchor", "verify"], 4, &[stranger]);
    let after = create(&demo);
    assert_eq!(after["ca_bundle"], bundle.as_str(), "the ceremony's root alone");
    assert_eq!(after["ca_bundle_sha256"], before["ca_bundle_sha256"]);
    // Where nothing stands below a root, none is handed out.
    demo.stop();
    sql(&demo, "UPDATE authorities SET issuer = 'mallory' WHERE name = 'demo'");
    demo.launch(&[]);
    refused(&demo, &["grant", "create", "--service", "shop", "--dns", "shop.demo.test"], 4, &["no root above an authority"]);
}

#[test]
fn without_its_anchor_nothing_starts_and_none_is_made() {
    let mut demo = Demo::start();
    demo.stop();
    let (anchor, away) = (demo.var().join("anchor/anchor"), demo.path("away"));
    std::fs::rename(&anchor, &away).unwrap();
    refused(&demo, &["serve"], 3, &["there is no anchor"]);
    refused(&demo, &["anchor", "show"], 3, &["there is no anchor"]);
    assert_eq!(demo.ca(&["config", "check"]).status.code(), Some(3));
    assert!(!anchor.exists());

    let mut damaged = std::fs::read(&away).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&anchor, &damaged).unwrap();
    std::fs::set_permissions(&anchor, std::fs::Permissions::from_mode(0o600)).unwrap();
    refused(&demo, &["serve"], 4, &["is damaged", "checksum"]);

    // One of another CA.
    let mut other = Demo::start();
    other.stop();
    std::fs::copy(other.var().join("anchor/anchor"), &anchor).unwrap();
    refused(&demo, &["serve"], 4, &["is not the one that the anchor"]);

    std::fs::rename(&away, &anchor).unwrap();
    demo.launch(&[]);
    let shown = demo.ca_json(&["anchor", "show"]);
    assert_eq!((shown["policy_version"].as_u64(), shown["stopped"].as_bool()), (Some(1), Some(false)));
    assert!(shown["log"]["number"].as_u64().unwrap() > 0);
    expect_success("ca anchor verify", &demo.ca(&["anchor", "verify"]));
}

/// Takes the trail's last two rows out under the running instance, and waits for it to show that.
fn cut_off(demo: &Demo) {
    // The anchor has followed when its row is the trail's last; from there on, whatever else comes on record meanwhile.
    let mut last: u64 = 0;
    wait_for("the anchor to follow", || {
        last = sql(demo, "SELECT max(number) FROM audit").trim().parse().expect("a number");
        demo.ca_json(&["anchor", "show"])["log"]["number"].as_u64() == Some(last)
    });
    sql(demo, &format!("DELETE FROM audit WHERE number > {}", last - 2));
    let ready = demo.fact("OCSP_URL").split("/a/").next().unwrap().trim_end_matches("/ocsp").to_owned() + "/readyz";
    wait_for("readiness to turn red", || !succeeds(Command::new("curl").args(["-sf", "-o", "/dev/null", &ready])));
    let status = demo.ca_json(&["status"]);
    assert_eq!(status["ready"], false);
    assert!(status["anchor_trouble"].as_str().unwrap().contains("After a restore"), "{status}");
}

#[test]
fn a_record_cut_off_under_a_running_instance_stops_it_and_shows() {
    let demo = Demo::start();
    let kept = issue(&demo);
    let other = issue(&demo);
    assert!(cached_ocsp(&demo, &kept.path).contains(": good"));
    let before = block_on(async {
        let account = demo.account().await;
        let identifiers = [Identifier::Dns(demo.fact("DEMO_NAME").to_owned())];
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await.expect("the order is ready");
        let before = demo.certificates().len();
        cut_off(&demo);
        // No certificate, for an order that was ready before either.
        let _ = order.finalize().await;
        let status = order.refresh().await.map(|state| state.status);
        assert!(matches!(status, Ok(OrderStatus::Ready | OrderStatus::Processing | OrderStatus::Invalid)), "{status:?}");
        before
    });
    assert_eq!(demo.certificates().len(), before);
    // And a revocation is still taken.
    expect_success("ca cert revoke", &demo.ca(&["cert", "revoke", &other.serial, "--yes"]));
    // What was signed before is handed out; nothing new is signed from a database that can't be believed.
    assert!(cached_ocsp(&demo, &kept.path).contains(": good"));
    assert!(cached_ocsp(&demo, &other.path).contains("trylater"));
    wait_for("the alarm to be in the log", || demo.log().contains("alarm"));
}
