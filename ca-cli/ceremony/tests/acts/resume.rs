//! Runs that were cut off.

use crate::common::Ceremony;
use crate::common::later::NONCE;
use crate::common::later::dies_at;
use crate::common::missing;
use crate::support::begun;
use crate::support::begun_with_backups;
use crate::support::intermediate;
use crate::support::key_act;
use ca_ceremony::Moment;
use ca_ceremony::VerifiedBundle;
use ca_ceremony::verify;
use ca_core::pki::Certificate;
use ca_core::pki::crl::Crl;
use ca_core::ports::KeyStore as _;

/// Runs the ceremony at hand to its end once for each line that its acts write, with a death before and after it. What
/// was cut off goes on by itself or as an exception entry, and `check` finds the same result each time.
async fn dies_at_every_act_line(begun: &Ceremony, check: impl AsyncFn(&Ceremony, &VerifiedBundle)) {
    let reference = begun.fork();
    let verified = reference.complete().await;
    check(&reference, &verified).await;
    assert!(verified.exceptions.is_empty());
    let transcript = std::fs::read_to_string(reference.bundle().join("transcript.jsonl")).unwrap();
    let of_acts =
        |line: &str| !["opened", "started", "device", "recorded"].iter().any(|e| line.contains(&format!("\"entry\":{{\"event\":\"{e}\"")));
    let numbers: Vec<u64> = (1u64..).zip(transcript.lines()).filter(|(_, line)| of_acts(line)).map(|(n, _)| n).collect();
    assert!(numbers.len() >= 6, "{transcript}");
    let mut survived = 0;
    for number in numbers {
        for moment in [Moment::Before, Moment::After] {
            let ceremony = begun.fork();
            missing(ceremony.run().await);
            ceremony.sign_plan(&["ana", "bela"]);
            survived += usize::from(!ceremony.dies(number, moment).await);
            let verified = ceremony.complete().await;
            check(&ceremony, &verified).await;
        }
    }
    // A death right after the last signature is on record leaves nothing undone.
    assert!(survived <= 1, "{survived} lines were not died at");
}

#[tokio::test]
async fn ceremony_38_backups_and_destructions_that_were_cut_off_go_on() {
    let mut ceremony = begun_with_backups().await;
    let acts = key_act("backup", "place = \"root\"\nwrapping_key = \"backup-2026\"", &ceremony, "root-keys", "bank-root-2026");
    ceremony.next("backup", &acts, &["root", "backup"]);
    dies_at_every_act_line(&ceremony, async |ceremony, _| {
        assert_eq!(ceremony.public_key("backup-keys", "bank-root-2026"), ceremony.public_key("root-keys", "bank-root-2026"));
        assert_eq!(ceremony.keys("backup-keys").list().await.unwrap().len(), 1);
        assert_eq!(std::fs::read_dir(ceremony.bundle().join("artefacts")).unwrap().count(), 1);
    })
    .await;
    ceremony.current.clear();
    let acts = key_act("destroy", "place = \"online\"", &ceremony, "online-keys", "bank-2026");
    ceremony.next("destroy", &acts, &["online"]);
    dies_at_every_act_line(&ceremony, async |ceremony, _| {
        assert!(ceremony.keys("online-keys").list().await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn ceremony_38_certificates_and_crls_that_were_cut_off_go_on() {
    let mut ceremony = begun().await;
    let first = verify(&ceremony.bundle(), None).unwrap();
    let serial = Certificate::from_der(&first.authorities[1].certificate).unwrap().serial();
    let acts = format!(
        "[acts]\nkind = \"revoke-ca\"\n[[acts.certificate]]\nauthority = \"bank\"\nserial = \"{serial}\"\nreason = \"superseded\"\n"
    );
    ceremony.next("revoke", &acts, &["root"]);
    dies_at_every_act_line(&ceremony, async |_, verified| {
        assert_eq!(Crl::from_der(&verified.crls[0].der).unwrap().entries().len(), 1);
    })
    .await;
    ceremony.current.clear();
    ceremony.next("b", &intermediate(NONCE), &["root"]);
    ceremony.requests = vec![ceremony.request("bank-b", "online-keys", None).await.unwrap()];
    dies_at_every_act_line(&ceremony, async |ceremony, verified| {
        assert_eq!(verified.hierarchy.as_ref().unwrap().issued().count(), 2);
        assert_eq!(std::fs::read_dir(ceremony.bundle().join("certs")).unwrap().count(), 1);
    })
    .await;
}

#[tokio::test]
async fn ceremony_38_a_request_that_was_cut_off_goes_on_with_the_same_key() {
    let mut ceremony = begun().await;
    ceremony.next("b", &intermediate(NONCE), &["root"]);
    let lines = 6;
    for number in 1..=lines {
        for moment in [Moment::Before, Moment::After] {
            let ceremony = ceremony.fork();
            let died = ceremony.request_observed("bank-b", "online-keys", None, Some(dies_at(number, moment))).await;
            // A death right after the last line leaves nothing undone.
            assert!(died.is_err() || (number, moment) == (lines, Moment::After), "line {number} {moment:?}");
            let path = ceremony.request("bank-b", "online-keys", None).await.unwrap();
            let request = ca_core::ceremony::KeyRequest::parse(&std::fs::read(path).unwrap()).unwrap();
            assert_eq!(request.public_key().spki_sha256().to_string(), ceremony.public_key("online-keys", "bank-b-2027"));
            assert_eq!(ceremony.keys("online-keys").list().await.unwrap().len(), 2, "one new key");
        }
    }
    let done = ceremony.request_observed("bank-b", "online-keys", None, Some(dies_at(lines + 1, Moment::Before))).await;
    done.expect("it has no more lines");
}
