//! Keys that the worker does not certify, whatever the front end let through.

use std::sync::Arc;

use ca_core::anchor::{AnchorStep, MemoryAnchor};
use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{KeyAsked, OrderStatus, Problem, ProblemType, RevocationReason, RevocationRequest, Revoked};
use ca_core::pki::Csr;
use ca_core::ports::{AdminStore as _, Anchor as _, CertificateStore as _, Clock as _, RevocationStore as _};
use ca_core::profile::BlockedKeys;
use ca_testkit::acme::ClientKey;
use ca_testkit::store::audit;
use ca_testkit::weak_keys::WeakKey;
use serde_json::json;

use crate::between::{Between, beside};
use crate::desk::{Client, Desk, demo};

const NAMES: [&str; 1] = ["a.demo.test"];

/// Has an order with this CSR refused.
async fn refused(desk: &Desk, client: &Client, csr: &[u8]) -> Problem {
    let id = desk.finalized_with(client, json!({}), csr).await;
    desk.worker.step_requests().await.unwrap();
    assert!(desk.of_order(&id).await.is_empty(), "not even an intent");
    let problem = desk.refusal(&id).await;
    assert_eq!(problem.kind, ProblemType::BadCsr, "{problem:?}");
    problem
}

async fn issued(desk: &Desk, client: &Client, csr: &[u8]) -> bool {
    let id = desk.finalized_with(client, json!({}), csr).await;
    desk.worker.step_requests().await.unwrap();
    desk.order(&id).await.status == OrderStatus::Valid
}

#[tokio::test]
async fn lesson_26_weak_keys_are_refused_with_the_reason() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    for key in WeakKey::all() {
        let problem = refused(&desk, &client, &key.csr(&NAMES)).await;
        assert!(problem.detail.contains(key.refused), "{}: {problem:?}", key.refused);
    }
    // A point that is not on its curve: the octet before the first attribute's tag is the last of the key.
    let mut off_curve = ClientKey::default().csr(&NAMES, None);
    let spki = Csr::from_der(&off_curve).unwrap().public_key().spki_der().to_vec();
    let end = off_curve.windows(spki.len()).position(|w| w == spki).unwrap() + spki.len();
    off_curve[end - 1] ^= 1;
    assert!(refused(&desk, &client, &off_curve).await.detail.contains("not on its curve"));
}

#[tokio::test]
async fn a11_a_key_revoked_for_key_compromise_is_blocked_for_good() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let csr = ClientKey::default().csr(&NAMES, None);
    let id = desk.finalized_with(&client, json!({}), &csr).await;
    desk.worker.step_requests().await.unwrap();
    let serial = desk.order(&id).await.serial.unwrap();
    assert!(issued(&desk, &client, &csr).await, "a renewal may keep its key");
    let request = RevocationRequest {
        authority: demo(),
        serial,
        reason: RevocationReason::KeyCompromise,
        invalidity_date: None,
        actor: ca_core::model::Actor::CertificateKey { spki_sha256: Csr::from_der(&csr).unwrap().public_key().spki_sha256() },
        at: desk.clock.now(),
        correlation: "x".to_owned(),
    };
    assert!(matches!(desk.store.revoke(&request).await.unwrap(), Revoked::Now { .. }));
    let other = desk.account().await;
    for client in [&client, &other] {
        assert!(refused(&desk, client, &csr).await.detail.contains("revoked for keyCompromise"));
    }
    assert!(desk.audit_has(&["refused", "is blocked: certificate", &serial.to_string()]).await, "the operator sees which certificate");
}

#[tokio::test]
async fn a_key_that_an_operator_blocked_is_refused() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let csr = ClientKey::default().csr(&NAMES, None);
    let spki_sha256 = Csr::from_der(&csr).unwrap().public_key().spki_sha256();
    let block = |reason: &str| Operation::KeyBlock { spki_sha256, reason: reason.to_owned() };
    for bad in ["", "  ", &"x".repeat(501)] {
        assert!(desk.operate(block(bad)).await.unwrap_err().detail.contains("1 to 500"));
    }
    assert!(issued(&desk, &client, &csr).await);
    assert_eq!(desk.operate(block("found in a repository")).await.unwrap(), OperatorReply::KeyBlocked { new: true });
    assert_eq!(desk.operate(block("again")).await.unwrap(), OperatorReply::KeyBlocked { new: false });
    let problem = refused(&desk, &client, &csr).await;
    assert!(problem.detail.contains("the key is blocked") && !problem.detail.contains("repository"), "{problem:?}");
    assert!(desk.audit_has(&["key.block", "operator", "ops", &spki_sha256.to_string(), "found in a repository"]).await);
    assert!(desk.audit_has(&["refused", "an operator blocked it: found in a repository"]).await);

    // A revoker's act: who may only grant may not block.
    let mut policy = desk.policy.clone();
    policy.version = 2;
    policy.operators[0].may = vec![ca_core::policy::Permission::Grant];
    desk.set_policy(policy);
    assert!(desk.operate(block("x")).await.unwrap_err().detail.contains("lacks `revoke`"));
}

/// Between the look at the key and the intent lie moments, in which an operator may block it.
#[tokio::test]
async fn a11_a_key_that_is_blocked_while_its_certificate_is_prepared_gets_none() {
    let mut desk = Desk::open().await;
    let client = desk.account().await;
    let csr = ClientKey::default().csr(&NAMES, None);
    let spki_sha256 = Csr::from_der(&csr).unwrap().public_key().spki_sha256();
    let store = Arc::clone(&desk.store);
    let block = move |_: &MemoryAnchor| {
        beside(async move {
            assert!(store.block_key(&spki_sha256, "found in a repository", &audit("key.block")).await.unwrap());
        });
    };
    let before = desk.anchor.state();
    desk.restart_on(Between::new(&before, |step| matches!(step, AnchorStep::Issue { .. }), block));
    assert!(refused(&desk, &client, &csr).await.detail.contains("the CSR's key: the key is blocked (hint: make another key)"));
}

#[tokio::test]
async fn a09_an_account_key_is_no_certificate_key_whosever_it_is() {
    let desk = Desk::open().await;
    let (client, other) = (desk.account().await, desk.account().await);
    assert!(refused(&desk, &client, &client.key.csr(&NAMES, None)).await.detail.contains("account's own key"));
    assert!(refused(&desk, &client, &other.key.csr(&NAMES, None)).await.detail.contains("that of an account already"));
}

#[tokio::test]
async fn a_key_of_the_ca_is_no_certificate_key() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let csr = ClientKey::default().csr(&NAMES, None);
    let digest = Csr::from_der(&csr).unwrap().public_key().spki_sha256();
    // As if the requester held them: nobody else proves possession.
    let mut policy = desk.policy.clone();
    policy.version = 2;
    policy.authorities[0].own[1].key_sha256 = digest;
    desk.set_policy(policy.clone());
    assert!(refused(&desk, &client, &csr).await.detail.contains("a server or responder of authority `demo`"));
    policy.version = 3;
    policy.authorities.push(ca_core::policy::AuthorityPolicy {
        name: "other".parse().unwrap(),
        key_sha256: digest,
        ..policy.authorities[0].clone()
    });
    policy.authorities[0].own.clear();
    policy.authorities[1].own.clear();
    desk.set_policy(policy);
    assert!(refused(&desk, &client, &csr).await.detail.contains("authority `other`"));
}

#[tokio::test]
async fn lesson_26_a_published_key_is_refused() {
    let mut desk = Desk::open().await;
    let client = desk.account().await;
    let (listed, free) = (ClientKey::default().csr(&NAMES, None), ClientKey::default().csr(&NAMES, None));
    let mut lists = BlockedKeys::default();
    lists.add_text(&Csr::from_der(&listed).unwrap().public_key().spki_sha256().to_string()).unwrap();
    desk.restart_with(lists);
    assert!(refused(&desk, &client, &listed).await.detail.contains("private half is known"));
    assert!(issued(&desk, &client, &free).await);
    assert_eq!(
        desk.store.key_use(KeyAsked::whether_blocked(Csr::from_der(&listed).unwrap().public_key().spki_sha256())).await.unwrap().block,
        None
    );
}
