//! A mass revocation that stops no service: certificates are marked, clients renew by what renewalInfo says, and only then the
//! marked ones are revoked.

use std::path::Path;
use std::process::Command;

use ca_core::pki::{Timestamp, pem_decode_all};
use ca_testkit::acme::{ClientKey, order_payload};
use instant_acme::{Account, CertificateIdentifier, Identifier, NewOrder, RenewalInfo};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};

use crate::harness::{Demo, Issued, block_on, check_refused, expect_success, patience, serial_of, wait_for};
use crate::wire::Wire;

const WHY: &str = "https://ca.demo.test/incident-7";

fn certificate_id(path: &Path) -> CertificateIdentifier<'static> {
    let chain = std::fs::read_to_string(path).unwrap();
    let leaf = CertificateDer::from(pem_decode_all(&chain, "CERTIFICATE").unwrap().remove(0));
    CertificateIdentifier::try_from(&leaf).unwrap().into_owned()
}

async fn info(account: &Account, issued: &Issued) -> RenewalInfo {
    account.renewal_info(&certificate_id(&issued.path)).await.expect("renewalInfo").0
}

/// Whether a client that follows RFC 9773 renews now.
async fn is_due(account: &Account, issued: &Issued) -> bool {
    info(account, issued).await.suggested_window.end.unix_timestamp() < now()
}

#[expect(clippy::disallowed_methods, reason = "a client has the real clock")]
fn now() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// Renews as clients do that say what they replace.
async fn renew_saying_so(demo: &Demo, account: &Account, name: &str, issued: &Issued) -> Issued {
    let identifiers = [Identifier::Dns(name.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers).replaces(certificate_id(&issued.path))).await.expect("an order");
    order.finalize().await.expect("finalized");
    let chain = order.poll_certificate(&patience()).await.expect("a certificate");
    let path = demo.path("renewed.pem");
    std::fs::write(&path, chain).unwrap();
    let serial = serial_of(&path);
    Issued { path, serial }
}

fn grant(demo: &Demo, service: &str) -> (String, String) {
    let created = demo.ca_json(&["grant", "create", "--service", service, "--dns", "*.demo.test", "--profile", "client"]);
    let text = |name: &str| created[name].as_str().expect("a text").to_owned();
    (text("kid"), text("hmac_key"))
}

fn counts(report: &Value) -> [u64; 5] {
    ["marked", "replaced", "replaced_by_order", "to_go", "ended"].map(|name| report[name].as_u64().expect("a count"))
}

#[test]
fn lesson_24_clients_renew_what_is_marked_and_only_then_it_is_revoked() {
    let demo = Demo::start();
    let status = || demo.ca_json(&["cert", "replace", "--status"]);
    let (payments, treasury) = (grant(&demo, "payments"), grant(&demo, "treasury"));
    block_on(async {
        let pay = demo.account_of(&payments.0, &payments.1).await.expect("an account");
        let lag = demo.account_of(&treasury.0, &treasury.1).await.expect("an account");
        let (a, b) = (demo.issue(&pay, "a.demo.test").await.unwrap(), demo.issue(&pay, "b.demo.test").await.unwrap());
        let c = demo.issue(&lag, "c.demo.test").await.unwrap();
        assert!(!is_due(&pay, &a).await && info(&pay, &a).await.explanation_url.is_none());
        assert_eq!(counts(&status()), [0; 5]);

        // How many would it be, then for good. Nothing stops working.
        let meant = demo.ca_json(&["cert", "replace", "--profile", "client", "--dry-run"]);
        assert_eq!((&meant["meant"], counts(&status())), (&json!(3), [0; 5]), "{meant}");
        let marked = demo.ca_json(&["cert", "replace", "--profile", "client", "--explain", WHY]);
        assert_eq!((&marked["meant"], &marked["marked"]), (&json!(3), &json!(3)), "{marked}");
        for (account, issued) in [(&pay, &a), (&pay, &b), (&lag, &c)] {
            assert!(is_due(account, issued).await, "in the past");
            assert_eq!(info(account, issued).await.explanation_url.as_deref(), Some(WHY));
            assert_eq!(demo.ocsp(&issued.path), "good");
        }

        // One client says what it replaces, one does not, one is away.
        let a2 = renew_saying_so(&demo, &pay, "a.demo.test", &a).await;
        let b2 = demo.issue(&pay, "b.demo.test").await.unwrap();
        let report = status();
        assert_eq!(counts(&report), [3, 2, 1, 1, 0], "{report}");
        assert_eq!(
            (&report["services"][0]["service"], &report["services"][0]["to_go"]),
            (&json!("treasury"), &json!(1)),
            "who lags is first"
        );
        assert_eq!(report["certificates_to_go"][0]["serial"], c.serial);
        let text = expect_success("ca cert replace --status", &demo.ca(&["cert", "replace", "--status"]));
        assert!(text.contains("to go     1") && text.contains("treasury") && text.contains(&c.serial), "{text}");
        let one = demo.ca_json(&["cert", "replace", "--status", "--grant", &payments.0]);
        assert_eq!(counts(&one), [2, 2, 1, 0, 0]);
        assert!(!is_due(&pay, &b2).await, "what came in its place is not marked");

        // Those that are replaced go first, and who lags goes on.
        let safe = demo.ca_json(&["cert", "revoke-bulk", "--replaced", "--reason", "superseded", "--yes"]);
        assert_eq!(safe["revoked"], 2, "{safe}");
        assert_eq!(demo.ocsp(&c.path), "good");
        let c2 = renew_saying_so(&demo, &lag, "c.demo.test", &c).await;
        assert_eq!(counts(&status()), [3, 3, 2, 0, 0]);
        let text = expect_success("ca cert replace --status", &demo.ca(&["cert", "replace", "--status"]));
        assert!(text.contains("ca cert revoke-bulk --marked"), "{text}");
        let rest = demo.ca_json(&["cert", "revoke-bulk", "--marked", "--reason", "superseded", "--yes"]);
        assert_eq!(rest["revoked"], 1, "{rest}");
        for (issued, expected) in [(&a, "revoked"), (&b, "revoked"), (&c, "revoked"), (&b2, "good"), (&c2, "good")] {
            wait_for("OCSP to tell", || demo.ocsp(&issued.path) == expected);
        }
        assert_eq!(demo.ocsp_serial(&a2.serial), "good");
        assert_eq!(status()["revoked"], 3);
    });
    let trail = String::from_utf8(demo.ca(&["audit", "tail", "-n", "50"]).stdout).expect("text");
    assert!(trail.contains("certificate.replace"), "{trail}");
}

/// An order that renews itself is renewed by the CA at once; whoever fetches its certificate has the next one.
#[test]
fn a21_an_order_that_renews_itself_has_its_next_certificate_at_once_when_it_is_marked() {
    let demo = Demo::start();
    let name = demo.fact("DEMO_NAME").to_owned();
    block_on(async {
        let wire = Wire::to(&demo);
        let account = wire.account(&demo).await;
        let end = Timestamp::from_unix(now() + 30 * 86_400).to_rfc3339();
        let mut payload = order_payload(&[&name]);
        payload["profile"] = json!("client");
        payload["auto-renewal"] = json!({ "end-date": end, "lifetime": 10 * 86_400, "allow-certificate-get": true });
        let created = wire.post(&account, "/acme/new-order", &payload).await;
        assert_eq!(created.status, 201, "{}", created.text);
        let (url, key) = (created.header("location").expect("a URL").to_owned(), ClientKey::default());
        let valid = wire.finalize(&account, &created.json(), &name, &key).await;
        let star = valid["star-certificate"].as_str().unwrap_or_else(|| panic!("{valid}")).to_owned();
        // What any of the order's hosts gets, as a file.
        let fetched = async |file: &str| {
            let reply = wire.try_ask("GET", &star, "", "").await.expect("an answer");
            assert_eq!(reply.status, 200, "{}", reply.text);
            let path = demo.path(file);
            std::fs::write(&path, &reply.text).unwrap();
            (serial_of(&path), path, reply.header("cert-not-after").map(str::to_owned))
        };
        let (first, first_file, ends) = fetched("first.pem").await;
        demo.ca_json(&["cert", "replace", &first, "--explain", WHY]);
        wait_for("the order's next certificate", || counts(&demo.ca_json(&["cert", "replace", "--status"])) == [1, 1, 0, 0, 0]);
        let (second, second_file, next_ends) = fetched("second.pem").await;
        assert_ne!(second, first);
        assert_eq!(next_ends, ends, "the next dates have not begun");
        let verified = Command::new("openssl")
            .args(["verify", "-CAfile", demo.fact("CA_BUNDLE"), "-untrusted"])
            .args([&second_file, &second_file])
            .output();
        expect_success("openssl verify", &verified.expect("openssl runs"));
        assert_eq!((demo.ocsp(&first_file), demo.ocsp(&second_file)), ("good".to_owned(), "good".to_owned()));
        assert_eq!(wire.post(&account, &url, &Value::Null).await.json()["status"], "valid");

        // Its hosts fetch once in a life; until then nothing of it is among what can go without a risk.
        let report = demo.ca_json(&["cert", "replace", "--status"]);
        assert_eq!((&report["fetching"], report["fetched_by"].is_string()), (&json!(1), true), "{report}");
        let text = expect_success("ca cert replace --status", &demo.ca(&["cert", "replace", "--status"]));
        assert!(text.contains("fetching  1 of these") && text.contains("hosts still fetch"), "{text}");
        let early = demo.ca(&["cert", "revoke-bulk", "--replaced", "--reason", "superseded", "--yes"]);
        assert!(!early.status.success() && demo.ocsp(&first_file) == "good");
        let rest = demo.ca_json(&["cert", "revoke-bulk", "--marked", "--reason", "superseded", "--yes"]);
        assert_eq!(rest["revoked"], 1, "{rest}");
        wait_for("OCSP to tell", || demo.ocsp(&first_file) == "revoked");
        assert_eq!((fetched("again.pem").await.0, demo.ocsp(&second_file)), (second, "good".to_owned()), "the order goes on");
        assert_eq!(wire.post(&account, &url, &Value::Null).await.json()["status"], "valid");
    });
}

#[test]
fn a20_marking_is_an_operator_s_statement_about_named_certificates() {
    let demo = Demo::start();
    let name = demo.fact("DEMO_NAME").to_owned();
    let issued = block_on(async { demo.issue(&demo.account().await, &name).await.unwrap() });
    let replace = |more: &[&str]| demo.ca(&[&["cert", "replace"], more].concat());
    check_refused("nothing named", &replace(&[]), 2, "no certificates are named");
    check_refused("no https", &replace(&[&issued.serial, "--explain", "http://ca.demo.test/"]), 2, "not an https URL");
    check_refused("two choices", &replace(&[&issued.serial, "--profile", "client"]), 2, "cannot be used with");
    check_refused("a serial of nobody", &replace(&["0123"]), 1, "ever issued");
    let stranger = demo.var().join("rehearsal/officers/ana").display().to_string();
    check_refused("an officer's key", &replace(&[&issued.serial, "--operator-key", &stranger]), 4, "no operator key");
    assert_eq!(expect_success("ca", &replace(&["--status"])), "No certificate is marked for replacement.\n");

    let marked = demo.ca_json(&["cert", "replace", &issued.serial]);
    assert_eq!((&marked["authority"], &marked["marked"]), (&json!("demo"), &json!(1)), "{marked}");
    let again = expect_success("ca cert replace", &replace(&[&issued.serial]));
    assert!(again.contains("1 of them before") && again.contains("--status"), "{again}");
    let listed = demo.ca_json(&["cert", "list", "--marked"]);
    assert_eq!((listed[0]["serial"].as_str(), listed.as_array().map(Vec::len)), (Some(issued.serial.as_str()), Some(1)));
    assert!(listed[0]["marked"]["at"].is_string() && listed[0]["revoked"].is_null(), "{listed}");
    let shown = expect_success("ca cert show", &demo.ca(&["cert", "show", &issued.serial]));
    assert!(shown.contains("to be replaced") && shown.contains("for replacement"), "{shown}");

    let undone = demo.ca_json(&["cert", "replace", "--undo", "--authority", "demo"]);
    assert_eq!(undone["unmarked"], 1, "{undone}");
    // All of an authority: its own certificates too, which it renews by itself.
    let all = demo.ca_json(&["cert", "replace", "--authority", "demo"]);
    assert_eq!(all["marked"], 3, "{all}");
    wait_for("the CA's own to be replaced", || counts(&demo.ca_json(&["cert", "replace", "--status"])) == [3, 2, 0, 1, 0]);
    let text = expect_success("ca", &replace(&["--status"]));
    assert!(text.contains("(this CA's own)"), "{text}");
}
