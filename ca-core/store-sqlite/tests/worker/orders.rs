//! Accounts and orders.

use std::time::Duration;

use ca_core::model::{AccountStatus, CertificateState, OrderStatus, ProblemType, RevocationReason};
use ca_core::pki::Certificate;
use ca_core::ports::{AcmeStore as _, Clock as _};
use ca_testkit::Fault;
use serde_json::json;

use crate::desk::{BASE, Desk};

#[tokio::test]
async fn an_order_becomes_a_certificate() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let id = desk.finalized(&client, json!({})).await;
    assert_eq!(desk.worker.step_requests().await.unwrap(), 1);
    assert_eq!(desk.worker.step_requests().await.unwrap(), 0);

    let order = desk.order(&id).await;
    assert_eq!(order.status, OrderStatus::Valid);
    let record = desk.certificate(order.serial.unwrap()).await;
    assert_eq!((record.state, record.profile.as_str(), record.order.as_ref()), (CertificateState::Released, "client", Some(&id)));
    let certificate = Certificate::from_der(&record.der).unwrap();
    certificate.is_signed_by(&desk.issuer).unwrap();
    assert_eq!(certificate.serial(), record.serial);
    assert_eq!(certificate.identifiers().iter().map(|i| i.value()).collect::<Vec<_>>(), ["a.demo.test"]);
    assert_eq!(certificate.subject_text(), "", "the names stand in the subject alternative name only");
    let now = desk.clock.now();
    assert_eq!(certificate.not_before(), now.minus(Duration::from_secs(60)));
    assert_eq!(certificate.not_after(), now.plus(Duration::from_secs(2_592_000)));
    assert!(certificate.der().windows(BASE.len()).any(|w| w == BASE.as_bytes()), "it says where status is");
}

#[tokio::test]
async fn a_batch_is_served_together() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let mut orders = Vec::new();
    for _ in 0..10 {
        orders.push(desk.finalized(&client, json!({})).await);
    }
    assert_eq!(desk.worker.step_requests().await.unwrap(), 10);
    let mut serials = Vec::new();
    for id in &orders {
        serials.push(desk.order(id).await.serial.unwrap());
    }
    serials.sort_unstable();
    serials.dedup();
    assert_eq!(serials.len(), 10, "each has a serial of its own");
}

#[tokio::test]
async fn times_that_were_asked_for_stay_within_the_profile() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let end = desk.clock.now().plus(Duration::from_secs(3600));
    let asked = desk.finalized(&client, json!({ "notAfter": end.to_rfc3339() })).await;
    let too_long = desk.finalized(&client, json!({ "notAfter": "2030-01-01T00:00:00Z" })).await;
    let short = desk.finalized(&client, json!({ "profile": "short" })).await;
    // The issuer ends in 40 days: a certificate of the client profile is clamped to it.
    desk.settle().await;
    let serial = desk.order(&asked).await.serial.unwrap();
    assert_eq!(desk.certificate(serial).await.not_after, end);
    assert_eq!(desk.refusal(&too_long).await.kind, ProblemType::Malformed);
    assert_eq!(desk.order(&too_long).await.status, OrderStatus::Invalid);
    let record = desk.certificate(desk.order(&short).await.serial.unwrap()).await;
    assert_eq!((record.profile.as_str(), record.subject.as_str()), ("short", "CN=a.demo.test"));
    assert_eq!(record.not_after, desk.clock.now().plus(Duration::from_secs(60)));

    desk.clock.advance(Duration::from_secs(20 * 86_400));
    let late = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    assert_eq!(desk.certificate(desk.order(&late).await.serial.unwrap()).await.not_after, desk.issuer.not_after());
}

#[tokio::test]
async fn a_grant_binds_as_many_accounts_as_it_says() {
    let desk = Desk::open().await;
    let grant = desk.grant(Some(2)).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(desk.queue_account(&grant).await);
    }
    desk.worker.step_requests().await.unwrap();
    let mut valid = 0;
    for client in &clients {
        valid += usize::from(desk.store.account(&client.id).await.unwrap().is_some_and(|a| a.status == AccountStatus::Valid));
    }
    assert_eq!(valid, 2);
}

#[tokio::test]
async fn a_revoked_grant_issues_nothing_more() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let grant = desk.store.account(&client.id).await.unwrap().unwrap().grant;
    let id = desk.finalized(&client, json!({})).await;
    desk.operate(ca_core::evidence::statement::Operation::GrantRevoke { id: grant }).await.unwrap();
    desk.worker.step_requests().await.unwrap();
    assert_eq!(desk.refusal(&id).await.kind, ProblemType::Unauthorized);
    assert!(desk.of_order(&id).await.is_empty(), "not even an intent");
}

#[tokio::test]
async fn what_a_key_signs_wrongly_is_never_released() {
    for fault in [Fault::Unavailable, Fault::OtherBytes, Fault::FlippedBit] {
        never_released(&Desk::open().await, fault).await;
    }
}

/// What is signed with this fault is abandoned, and the order goes on with another serial number.
pub(crate) async fn never_released(desk: &Desk, fault: Fault) {
    let client = desk.account().await;
    let id = desk.finalized(&client, json!({})).await;
    desk.keys.fail_once(fault);
    desk.worker.step_requests().await.unwrap();
    assert_eq!(desk.order(&id).await.status, OrderStatus::Processing, "{fault:?}: a passing failure");
    desk.clock.advance(Duration::from_secs(61));
    desk.settle().await;
    assert_eq!(desk.order(&id).await.status, OrderStatus::Valid, "{fault:?}");
    let records = desk.of_order(&id).await;
    let abandoned: Vec<_> = records.iter().filter(|r| r.state == CertificateState::Abandoned).collect();
    assert_eq!((records.len(), abandoned.len()), (2, 1), "{fault:?}: a serial is never used again");
    assert_eq!(abandoned[0].revoked.unwrap().1, RevocationReason::Superseded);
    assert!(desk.crl().await.unwrap().entries().iter().any(|e| e.serial == abandoned[0].serial), "{fault:?}: and it is on the CRL");
    let alarmed = desk.audit_has(&["worker.alarm", "not released"]).await;
    assert_eq!(alarmed, fault != Fault::Unavailable, "{fault:?}");
}

#[tokio::test]
async fn the_hourly_cap_holds_over_a_restart() {
    let mut desk = Desk::open().await;
    let client = desk.account().await;
    let mut orders = Vec::new();
    for _ in 0..21 {
        orders.push(desk.finalized(&client, json!({})).await);
    }
    desk.worker.step_requests().await.unwrap();
    let waiting = async |desk: &Desk| {
        let mut waiting = 0;
        for id in &orders {
            waiting += usize::from(desk.order(id).await.status == OrderStatus::Processing);
        }
        waiting
    };
    assert_eq!(waiting(&desk).await, 1, "the policy allows 20 an hour");
    desk.restart();
    desk.clock.advance(Duration::from_secs(120));
    desk.worker.step_requests().await.unwrap();
    assert_eq!(waiting(&desk).await, 1, "a restart brings no fresh allowance");
    desk.clock.advance(Duration::from_secs(3600));
    desk.worker.step_requests().await.unwrap();
    assert_eq!(waiting(&desk).await, 0);
}

#[tokio::test]
async fn a_policy_that_narrows_applies_at_once_and_never_goes_back() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let id = desk.finalized(&client, json!({})).await;
    let mut narrower = desk.policy.clone();
    narrower.version = 2;
    narrower.authorities[0].names.remove(0);
    assert!(desk.worker.set_policy(narrower.clone()).unwrap_err().to_string().contains("the anchor has 1"), "the anchor comes first");
    desk.set_policy(narrower);
    assert!(desk.worker.set_policy(desk.policy.clone()).is_err());
    desk.worker.step_requests().await.unwrap();
    assert_eq!(desk.refusal(&id).await.kind, ProblemType::RejectedIdentifier);
}

#[tokio::test]
async fn without_its_key_an_order_waits_and_says_so() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let id = desk.finalized(&client, json!({})).await;
    let mut other_key = desk.policy.clone();
    other_key.version = 2;
    other_key.authorities[0].key_sha256 = ca_core::pki::sha256(b"another key");
    desk.set_policy(other_key);
    desk.worker.step_requests().await.unwrap();
    assert_eq!(desk.order(&id).await.status, OrderStatus::Processing);
    desk.clock.advance(Duration::from_secs(86_500));
    desk.worker.step_requests().await.unwrap();
    assert_eq!(desk.refusal(&id).await.kind, ProblemType::ServerInternal, "after a day it is given up");
}
