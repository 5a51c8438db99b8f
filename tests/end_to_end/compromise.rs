//! A key that says of itself that it is compromised takes every certificate with it, though the process is killed meanwhile.

use acme_server::CertId;
use ca_core::pki::{Certificate, Timestamp, pem_decode_all};
use ca_testkit::acme::{ClientKey, revocation};
use serde_json::{Value, json};

use crate::harness::{Demo, block_on, expect_success, wait_for};
use crate::wire::{Account, Wire};

/// A certificate for the name with this key; gives its serial number.
async fn issued(wire: &Wire, account: &Account, name: &str, key: &ClientKey) -> String {
    let order = wire.finalize(account, &wire.order(account, name).await, name, key).await;
    assert_eq!(order["status"], "valid", "{order}");
    order["certificate"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
}

fn certificate(demo: &Demo, serial: &str) -> Certificate {
    let pem = expect_success("ca cert show", &demo.ca(&["cert", "show", serial, "--pem"]));
    Certificate::from_der(&pem_decode_all(&pem, "CERTIFICATE").unwrap()[0]).unwrap()
}

fn verdict(demo: &Demo, serial: &str) -> Value {
    demo.ca_json(&["cert", "show", serial])["revoked"]["reason"].clone()
}

#[test]
fn a11_a_compromised_key_takes_every_certificate_with_it_though_the_process_is_killed() {
    let mut demo = Demo::start();
    let name = demo.fact("DEMO_NAME").to_owned();
    let (key, unrelated_key) = (ClientKey::default(), ClientKey::default());
    let (first, same, others, unrelated) = block_on(async {
        let wire = Wire::to(&demo);
        let (owner, other) = (wire.account(&demo).await, wire.account(&demo).await);
        let (first, same) = (issued(&wire, &owner, &name, &key).await, issued(&wire, &owner, &name, &key).await);
        (first, same, issued(&wire, &other, &name, &key).await, issued(&wire, &owner, &name, &unrelated_key).await)
    });
    let lost = certificate(&demo, &first);
    block_on(async {
        let wire = Wire::to(&demo);
        let header = json!({ "jwk": key.jwk(), "nonce": wire.nonce().await, "url": format!("{}/acme/revoke-cert", wire.base) });
        let request = key.jws(header, &revocation(lost.der(), 1));
        let reply = wire.try_ask("POST", "/acme/revoke-cert", "", &request).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text);
    });
    demo.kill();
    demo.launch(&[]);
    wait_for("the other certificates' revocation", || {
        [&same, &others].iter().all(|serial| verdict(&demo, serial) == json!("keyCompromise"))
    });
    assert_eq!((verdict(&demo, &first), verdict(&demo, &unrelated)), (json!("keyCompromise"), Value::Null));

    // People see why, and so does whoever audits.
    let shown = expect_success("ca cert show", &demo.ca(&["cert", "show", &others]));
    assert!(shown.contains("same key") && shown.lines().any(|l| l.starts_with("because") && l.contains(&first)), "{shown}");
    let listed = expect_success("ca cert list", &demo.ca(&["cert", "list", "--revoked"]));
    assert_eq!(listed.matches("revoked (keyCompromise, same key)").count(), 2, "{listed}");
    assert_eq!(demo.ca_json(&["key", "blocked"]).as_array().unwrap().len(), 1, "one key, once");
    let audited = expect_success("ca audit reconcile", &demo.ca(&["audit", "reconcile"]));
    assert!(audited.contains("2 revocations followed") && audited.contains("2 on the key's own word"), "{audited}");
    let export = demo.path("trail.jsonl");
    expect_success("ca audit export", &demo.ca(&["audit", "export", &export.display().to_string()]));
    assert_eq!(demo.ca_json(&["audit", "reconcile", &export.display().to_string()])["followed"]["by_key"], 2);

    // Clients and relying parties are told.
    wait_for("OCSP to say so", || [&first, &same, &others].iter().all(|serial| demo.ocsp_serial(serial) == "revoked"));
    assert_eq!(demo.ocsp_serial(&unrelated), "good");
    wait_for("the CRL to say so", || {
        let serials = demo.crl_serials();
        [&first, &same, &others].iter().all(|serial| serials.contains(serial)) && !serials.contains(&unrelated)
    });
    let others = certificate(&demo, &others);
    let id = CertId { key_identifier: others.authority_key_identifier().unwrap().to_vec(), serial: others.serial() };
    block_on(async {
        let wire = Wire::to(&demo);
        let window = wire.try_ask("GET", &format!("/acme/renewal-info/{id}"), "", "").await.unwrap().json();
        let end = Timestamp::parse_rfc3339(window["suggestedWindow"]["end"].as_str().unwrap()).unwrap();
        let now = Timestamp::from_unix(i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap());
        assert!(end < now, "the time to renew has passed: {window}");
        let account = wire.account(&demo).await;
        let order = wire.order(&account, &name).await;
        let refused = wire.try_finalize(&account, &order, &name, &key).await;
        assert_eq!((refused.status, refused.problem().as_str()), (400, "badCSR"), "{}", refused.text);
    });
}
