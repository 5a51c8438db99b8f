//! The root's next CRL, and what is revoked on it.

use crate::common;
use crate::common::Ceremony;
use crate::common::missing;
use crate::common::refused;
use crate::support::begun;
use crate::support::openssl;
use ca_ceremony::verify;
use ca_ceremony::verify_chain;
use ca_core::model::RevocationReason;
use ca_core::pki::Certificate;
use ca_core::pki::crl::Crl;
use ca_core::pki::sha256;
use std::time::Duration;

#[tokio::test]
async fn ceremony_32_the_next_root_crl_grows_and_lists_what_officers_revoked() {
    let mut ceremony = begun().await;
    let first = verify(&ceremony.bundle(), None).unwrap();
    let serial = Certificate::from_der(&first.authorities[1].certificate).unwrap().serial();
    ceremony.clock.advance(Duration::from_secs(3600));
    let acts = format!(
        "[acts]\nkind = \"revoke-ca\"\n[[acts.certificate]]\nauthority = \"bank\"\nserial = \"{serial}\"\nreason = \"superseded\"\n"
    );
    ceremony.next("revoke", &acts, &["root"]);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    let names: Vec<String> = missing(ceremony.run().await).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["1-bank.json", "2-root-crl.json"], "M of N for the revocation, M of N for the CRL");
    let shown = common::text(&ceremony.tool(&["show", "revoke"]));
    assert!(
        shown.contains(&format!("revokes the certificate {serial} of bank for superseded")) && shown.contains("with 1 entries"),
        "{shown}"
    );
    let revoked = ceremony.complete().await;
    let crl = &revoked.crls[0];
    assert!(crl.number > first.crls[0].number);
    let entries = Crl::from_der(&crl.der).unwrap().entries();
    assert_eq!((entries.len(), entries[0].serial, entries[0].reason), (1, serial, RevocationReason::Superseded));
    let text = openssl(&ceremony.bundle(), &["crl", "-inform", "DER", "-in", "crls/bank-root.crl", "-noout", "-text"]);
    assert!(text.contains("Superseded"), "{text}");
    assert!(crl.next_update > ceremony.clock_now().plus(Duration::from_secs(330 * 86_400)), "it outlives the next planned ceremony");

    // The next one keeps the entry; the same certificate is not revoked twice.
    ceremony.next("again", &acts, &["root"]);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    assert!(refused(ceremony.run().await).contains("is revoked already"));
    ceremony.current = "revoke".to_owned();
    // A clock that stands still, or goes back: the number grows all the same.
    ceremony.next("crl", "[acts]\nkind = \"root-crl\"\n", &["root"]);
    let next = ceremony.complete().await;
    assert!(next.crls[0].number > crl.number);
    assert_eq!(Crl::from_der(&next.crls[0].der).unwrap().entries(), entries);
    let bundles = ["bundle", "revoke"].map(|b| ceremony.dir.path().join(b));
    verify_chain(&bundles, &ceremony.bundle(), Some(&first.roster)).unwrap();
    assert_eq!(next.hierarchy.unwrap().ceremonies(), [first.transcript_head, revoked.transcript_head]);
    // A serial number that this root never issued.
    let stranger = acts.replace(&serial.to_string(), &"01".repeat(20));
    ceremony.next("stranger", &stranger, &["root"]);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    assert!(refused(ceremony.run().await).contains("is none that this root issued"));
}

#[tokio::test]
async fn ceremony_32_what_officers_revoked_on_the_running_ca_goes_on_the_roots_crl() {
    let mut ceremony = begun().await;
    let first = verify(&ceremony.bundle(), None).unwrap();
    let serial = Certificate::from_der(&first.authorities[1].certificate).unwrap().serial();
    let now = ceremony.clock_now();
    ceremony.clock.advance(Duration::from_secs(7200));
    // As `ca crl revoked-cas --json` prints it: ours, and one below another root.
    let listed = |authority: &str, issuer: &str, serial: &str, reason: &str| {
        serde_json::json!({
            "authority": authority, "issuer": issuer, "serial": serial, "reason": reason, "invalidity_date": null, "at": now,
            "statement": "{}", "signatures": [],
        })
    };
    let write = |ceremony: &Ceremony, entries: &[serde_json::Value]| {
        let text = serde_json::to_string_pretty(entries).unwrap();
        std::fs::write(ceremony.dir.path().join("revoked-cas.json"), &text).unwrap();
        format!("[acts]\nkind = \"root-crl\"\nrevoked_cas = {{ file = \"revoked-cas.json\", sha256 = \"{}\" }}\n", sha256(text.as_bytes()))
    };
    let reason = serde_json::to_value(RevocationReason::KeyCompromise).unwrap().as_str().unwrap().to_owned();
    let ours = listed("bank", "bank-root", &serial.to_string(), &reason);
    let foreign = listed("partner", "other-root", &"01".repeat(20), &reason);
    let good = write(&ceremony, &[ours.clone(), foreign]);
    let refusals = [
        (listed("bank", "bank-root", &"02".repeat(20), &reason), "is none that this root issued"),
        (listed("bank-b", "bank-root", &serial.to_string(), &reason), "is none that this root issued"),
        (listed("bank-root", "bank-root", &serial.to_string(), &reason), "is the root's own"),
        (serde_json::json!({ "authority": "bank" }), "does not parse"),
    ];
    for (i, (entry, part)) in refusals.into_iter().enumerate() {
        let acts = write(&ceremony, &[entry]);
        ceremony.next(&format!("refused-{i}"), &acts, &["root"]);
        missing(ceremony.run().await);
        ceremony.sign_plan(&["ana", "bela"]);
        let error = refused(ceremony.run().await);
        assert!(error.contains(part), "{part}: {error}");
        ceremony.current.clear();
    }

    ceremony.next("crl", &good, &["root"]);
    let error = refused(ceremony.run().await);
    assert!(error.contains("not the list that the plan pins"), "{error}");
    assert_eq!(write(&ceremony, &[ours, listed("partner", "other-root", &"01".repeat(20), &reason)]), good);
    missing(ceremony.run().await);
    // It lies in the bundle now; what becomes of the file makes no difference.
    std::fs::remove_file(ceremony.dir.path().join("revoked-cas.json")).unwrap();
    ceremony.sign_plan(&["ana", "bela"]);
    missing(ceremony.run().await);
    let shown = common::text(&ceremony.tool(&["show", "crl"]));
    assert!(shown.contains("with 1 entries") && shown.contains(&format!("{serial} revoked {now}, keyCompromise")), "{shown}");
    let verified = ceremony.complete().await;
    let entries = Crl::from_der(&verified.crls[0].der).unwrap().entries();
    assert_eq!((entries.len(), entries[0].serial, entries[0].revoked_at), (1, serial, now));
    openssl(&ceremony.bundle(), &["crl", "-inform", "DER", "-in", "crls/bank-root.crl", "-noout", "-text"]);
    // The list again, which only grows: nothing is revoked twice.
    let again = ceremony.bundle().join("inputs/revoked-cas.json");
    std::fs::copy(&again, ceremony.dir.path().join("revoked-cas.json")).unwrap();
    ceremony.next("again", &good, &["root"]);
    let verified = ceremony.complete().await;
    assert_eq!(Crl::from_der(&verified.crls[0].der).unwrap().entries(), entries);
    // One changed byte of the list in a bundle.
    let path = ceremony.bundle().join("inputs/revoked-cas.json");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(verify(&ceremony.bundle(), None).unwrap_err().to_string().contains("inputs/revoked-cas.json"));
}
