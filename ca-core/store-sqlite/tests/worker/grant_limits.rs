//! What bounds a grant beside its names, as the worker holds orders against it.

use std::time::Duration;

use ca_core::evidence::statement::Operation;
use ca_core::model::{Grant, GrantLimits, OrderStatus, ProblemType};
use ca_core::pki::KeyAlgorithm;
use ca_core::ports::{AcmeStore as _, Anchor as _, CertificateStore as _, Clock as _};
use serde_json::json;

use crate::desk::{Client, Desk, demo};

/// A desk with an account of a grant that has these limits.
async fn limited(limits: GrantLimits) -> (Desk, Grant, Client) {
    let desk = Desk::open().await;
    desk.settle().await;
    let grant = Grant { limits, ..desk.wanted_grant() };
    desk.operate(Operation::GrantCreate { grant: grant.clone() }).await.unwrap();
    let client = desk.account_of(&grant).await;
    (desk, grant, client)
}

fn capped(cap: &str) -> GrantLimits {
    GrantLimits { max_certificates: Some(cap.parse().unwrap()), ..GrantLimits::default() }
}

/// How many certificates of orders the anchor has counted.
fn counted(desk: &Desk) -> u64 {
    desk.anchor.state().issued().map(|(_, count)| count).sum()
}

#[tokio::test]
async fn a14_a_volume_cap_holds_in_any_window() {
    let (desk, grant, client) = limited(capped("2/day")).await;
    for _ in 0..2 {
        let order = desk.finalized(&client, json!({})).await;
        desk.settle().await;
        assert_eq!(desk.order(&order).await.status, OrderStatus::Valid);
        desk.clock.advance(Duration::from_secs(3600));
    }
    let before = counted(&desk);
    let third = desk.finalized(&client, json!({})).await;
    desk.worker.step_requests().await.unwrap();
    let refusal = desk.refusal(&third).await;
    assert_eq!(refusal.kind, ProblemType::RateLimited);
    assert!(refusal.detail.contains("2/day") && refusal.detail.contains("--max-certs"), "{}", refusal.detail);
    assert_eq!(counted(&desk), before, "a full grant takes nothing from the authority's own cap");
    assert!(desk.audit_has(&["certificate.issue", "refused", "2/day"]).await);

    let since = desk.clock.now().minus(Duration::from_secs(86_400));
    assert_eq!(desk.store.grant_use(&grant.id, since, 100).await.unwrap().certificates, 2);
    // A day after the first one there is room for one again.
    desk.clock.advance(Duration::from_secs(86_400 - 2 * 3600));
    let order = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    assert_eq!(desk.order(&order).await.status, OrderStatus::Valid);
}

#[tokio::test]
async fn a14_a_batch_cannot_go_round_the_cap() {
    let (desk, _, client) = limited(capped("3/hour")).await;
    let mut orders = Vec::new();
    for _ in 0..8 {
        orders.push(desk.finalized(&client, json!({})).await);
    }
    // One batch: the first look finds room for each, and the transaction counts again.
    desk.worker.step_requests().await.unwrap();
    desk.settle().await;
    let mut valid = 0;
    for order in &orders {
        match desk.order(order).await.status {
            OrderStatus::Valid => valid += 1,
            _ => assert_eq!(desk.refusal(order).await.kind, ProblemType::RateLimited),
        }
    }
    assert_eq!(valid, 3);
    assert_eq!(desk.certificates().await.iter().filter(|c| c.profile == "client").count(), 3, "nor is one on record");
}

#[tokio::test]
async fn a14_kinds_of_keys_and_the_longest_life_are_the_grants() {
    let limits = GrantLimits { keys: vec![KeyAlgorithm::P384], max_lifetime: Some(3600), ..GrantLimits::default() };
    let (desk, mut grant, client) = limited(limits).await;
    let refused = async |more: serde_json::Value, kind: ProblemType, part: &str| {
        let order = desk.finalized(&client, more).await;
        desk.worker.step_requests().await.unwrap();
        let refusal = desk.refusal(&order).await;
        assert!(refusal.kind == kind && refusal.detail.contains(part), "{refusal:?}");
    };
    // Clients' keys here are P-256.
    refused(json!({}), ProblemType::BadCsr, "of the kinds p384, not p256").await;

    grant.limits.keys.clear();
    desk.operate(desk.update_of(&grant).await).await.unwrap();
    let late = desk.clock.now().plus(Duration::from_secs(3601)).to_rfc3339();
    refused(json!({ "notAfter": late }), ProblemType::Malformed, "3600 seconds that the enrolment grant").await;
    let order = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    let serial = desk.order(&order).await.serial.unwrap();
    let certificate = desk.store.certificate(&demo(), &serial).await.unwrap().unwrap();
    assert_eq!(certificate.not_after, desk.clock.now().plus(Duration::from_secs(3600)), "the profile's month is cut to the grant's hour");
}

#[tokio::test]
async fn a18_limits_lie_inside_the_policy() {
    let desk = Desk::open().await;
    let refused = async |limits: GrantLimits, part: &str| {
        let grant = Grant { limits, ..desk.wanted_grant() };
        let problem = desk.operate(Operation::GrantCreate { grant }).await.unwrap_err();
        assert!(problem.detail.contains(part), "{problem:?}");
    };
    let none = GrantLimits::default;
    // The authority may issue 20 an hour.
    refused(capped("21/hour"), "the policy allows it 20 an hour").await;
    refused(capped("481/day"), "at most 480").await;
    refused(GrantLimits { max_lifetime: Some(2_592_001), ..none() }, "at most 2592000").await;
    refused(GrantLimits { max_lifetime: Some(0), ..none() }, "1 seconds or longer").await;
    refused(GrantLimits { keys: vec![KeyAlgorithm::MlDsa65], ..none() }, "keys of the kind ml-dsa-65").await;
    refused(GrantLimits { keys: vec![KeyAlgorithm::P256; 2], ..none() }, "each kind of key once").await;
    refused(GrantLimits { from: vec!["10.0.0.0/8".parse().unwrap(); 101], ..none() }, "at most 100 source networks").await;
    let inside = GrantLimits {
        from: vec!["10.0.0.0/8".parse().unwrap()],
        keys: vec![KeyAlgorithm::P256, KeyAlgorithm::Rsa2048],
        max_lifetime: Some(86_400),
        ..capped("480/day")
    };
    desk.operate(Operation::GrantCreate { grant: Grant { limits: inside, ..desk.wanted_grant() } }).await.unwrap();
}
