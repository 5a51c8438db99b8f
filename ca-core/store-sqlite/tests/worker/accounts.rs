//! Accounts as the worker meets them: their keys, and those that only fail.

use std::time::Duration;

use ca_core::evidence::chain::{MAX_KEY_CHANGES, MAX_KEY_CHANGES_OCTETS};
use ca_core::evidence::jwk::Jwk;
use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{AccountStatus, AuditEntry, OrderStatus, ProblemType, RequestId, RequestState};
use ca_core::pki::{Sha256Digest, Timestamp};
use ca_core::ports::{
    AccountAdminStore as _, AcmeStore as _, Clock as _, KEY_CHANGED, StandingStore as _, StoreError, TOO_MANY_KEY_CHANGES,
};
use ca_core::profile::BlockedKeys;
use ca_testkit::acme::{self, ClientKey};
use ca_testkit::store::audit;
use serde_json::json;

use crate::desk::{Client, Desk, jwk};

#[tokio::test]
async fn a23_an_operators_statement_ends_a_pause() {
    let desk = Desk::open().await;
    desk.settle().await;
    let grant = desk.grant(None).await;
    let client = desk.account_of(&grant).await;
    // The worker refuses an order for what its client sent: a failure on record.
    let order = desk.finalized_with(&client, json!({}), &ClientKey::default().csr(&["b.demo.test"], None)).await;
    desk.settle().await;
    assert_eq!(desk.refusal(&order).await.kind, ProblemType::BadCsr);
    let standing = async || desk.store.standing(&client.id, &[], Timestamp::from_unix(0)).await.unwrap();
    assert_eq!((standing().await.failures, standing().await.paused), (1, None));
    let entry: AuditEntry = audit("account.pause");
    desk.store.pause_account(&client.id, &entry).await.unwrap();
    assert_eq!(desk.store.accounts(true, 10).await.unwrap().len(), 1);

    let resume = || Operation::AccountResume { id: client.id.clone() };
    assert_eq!(desk.operate(resume()).await.unwrap(), OperatorReply::AccountResumed { paused: true });
    assert!(desk.audit_has(&["account.resume", client.id.as_str(), "operator", "ops"]).await);
    assert_eq!((standing().await.failures, standing().await.paused), (0, None));
    assert_eq!(desk.operate(resume()).await.unwrap(), OperatorReply::AccountResumed { paused: false });
    let missing = desk.operate(Operation::AccountResume { id: "missing".parse().unwrap() }).await.unwrap_err();
    assert!(missing.detail.contains("there is no account"), "{missing:?}");
}

fn spki_sha256(client: &Client) -> Sha256Digest {
    jwk(&client.key).public_key().unwrap().spki_sha256()
}

/// Who else has the key would have the account, whatever the front end let through.
#[tokio::test]
async fn a11_a_blocked_or_published_key_is_no_account_s() {
    let mut desk = Desk::open().await;
    let grant = desk.grant(None).await;
    let refused = async |desk: &Desk, client: &Client, told: &str| {
        assert_eq!(desk.worker.step_requests().await.unwrap(), 1);
        assert_eq!(desk.store.account(&client.id).await.unwrap(), None, "its key is free for nobody");
        match desk.store.await_request(&RequestId::for_account(&client.id), Duration::ZERO).await.unwrap() {
            RequestState::Refused { problem } => {
                assert!(problem.kind == ProblemType::BadPublicKey && problem.detail.contains(told), "{problem:?}");
            }
            other => panic!("{other:?}"),
        }
    };
    let stolen = desk.queue_account(&grant).await;
    desk.operate(Operation::KeyBlock { spki_sha256: spki_sha256(&stolen), reason: "stolen".to_owned() }).await.unwrap();
    refused(&desk, &stolen, "the key is blocked").await;

    let weak = desk.queue_account(&grant).await;
    let mut lists = BlockedKeys::default();
    lists.add_text(&spki_sha256(&weak).to_string()).unwrap();
    desk.restart_with(lists);
    refused(&desk, &weak, "private half is known").await;
    let good = desk.account_of(&grant).await;
    assert_eq!(desk.store.account(&good.id).await.unwrap().unwrap().status, AccountStatus::Valid);
}

/// A key change comes by the front end alone, and a list may be newer than the account: the worker asks with each order.
#[tokio::test]
async fn a06_an_account_whose_key_is_blocked_or_published_gets_nothing() {
    let mut desk = Desk::open().await;
    let refused = async |desk: &Desk, client: &Client, told: &str| {
        let id = desk.finalized(client, json!({})).await;
        desk.worker.step_requests().await.unwrap();
        let problem = desk.refusal(&id).await;
        assert!(problem.kind == ProblemType::BadPublicKey && problem.detail.contains(told), "{problem:?}");
        assert!(desk.of_order(&id).await.is_empty(), "not even an intent");
    };
    let issued = async |desk: &Desk, client: &Client| {
        let id = desk.finalized(client, json!({})).await;
        desk.worker.step_requests().await.unwrap();
        assert_eq!(desk.of_order(&id).await.len(), 1);
    };
    let mut client = desk.account().await;
    issued(&desk, &client).await;
    // As a front end that does not look would have it.
    let change = async |desk: &Desk, client: &mut Client, new: ClientKey| {
        desk.try_change_key(client, &new).await.unwrap();
        client.key = new;
    };
    change(&desk, &mut client, ClientKey::default()).await;
    issued(&desk, &client).await;
    let stolen = ClientKey::default();
    let spki_of = |key: &ClientKey| Jwk::from_value(&key.jwk()).unwrap().public_key().unwrap().spki_sha256();
    desk.operate(Operation::KeyBlock { spki_sha256: spki_of(&stolen), reason: "stolen".to_owned() }).await.unwrap();
    change(&desk, &mut client, stolen).await;
    refused(&desk, &client, "the key is blocked").await;
    let published = ClientKey::default();
    let mut lists = BlockedKeys::default();
    lists.add_text(&spki_of(&published).to_string()).unwrap();
    desk.restart_with(lists);
    change(&desk, &mut client, published).await;
    refused(&desk, &client, "private half is known").await;
    change(&desk, &mut client, ClientKey::default()).await;
    issued(&desk, &client).await;
}

/// The worker follows so many changes and no more: one beyond would leave an account that gets nothing.
#[tokio::test]
async fn a06_a_key_is_changed_as_often_as_the_worker_follows() {
    let desk = Desk::open().await;
    let mut client = desk.account().await;
    assert_eq!(MAX_KEY_CHANGES, 1000);
    desk.edit("INSERT INTO key_changes (account_id, number, jws) SELECT id, 999, '{}' FROM accounts").await;
    desk.change_key(&mut client).await;
    let refused = desk.try_change_key(&client, &ClientKey::default()).await;
    assert!(matches!(&refused, Err(StoreError::Conflict(reason)) if reason == TOO_MANY_KEY_CHANGES), "{refused:?}");
    assert_eq!(desk.store.account(&client.id).await.unwrap().unwrap().thumbprint, client.thumbprint());
}

/// Each request of the account brings all of them to the worker: what a front end lets through is bounded here once more.
#[tokio::test]
async fn a06_the_key_changes_of_an_account_are_bounded_in_octets() {
    let desk = Desk::open().await;
    let mut client = desk.account().await;
    let (mut stored, entry) = (0, audit("account.key-change"));
    let refused = loop {
        let new = ClientKey::default();
        let jws = acme::padded(&acme::key_change(&client.key, &new, &client.id), 60 * 1024);
        let (old, jwk) = (client.thumbprint(), jwk(&new));
        match desk.store.change_key(&client.id, &old, &jwk.canonical(), &jwk.thumbprint(), &jws, &entry).await {
            Ok(_) => (client.key, stored) = (new, stored + 1),
            refused => break refused,
        }
    };
    assert!(matches!(&refused, Err(StoreError::Conflict(reason)) if reason == TOO_MANY_KEY_CHANGES), "{refused:?}");
    assert_eq!(stored, MAX_KEY_CHANGES_OCTETS / (60 * 1024));
    assert_eq!(desk.store.account(&client.id).await.unwrap().unwrap().thumbprint, client.thumbprint());
    // One that is as long as they are still fits.
    desk.change_key(&mut client).await;
}

/// The worker was behind, or away for hours: what the client did right stays right.
#[tokio::test]
async fn a09_what_waits_is_certified_though_the_account_s_key_is_changed_meanwhile() {
    let mut desk = Desk::open().await;
    let mut client = desk.account().await;
    let first = desk.finalized(&client, json!({})).await;
    desk.change_key(&mut client).await;
    let second = desk.finalized(&client, json!({})).await;
    desk.change_key(&mut client).await;
    desk.clock.advance(Duration::from_secs(3600));
    desk.restart();
    desk.settle().await;
    for id in [&first, &second] {
        assert_eq!(desk.order(id).await.status, OrderStatus::Valid);
        assert_eq!(desk.of_order(id).await.len(), 1);
    }
    let third = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    assert_eq!(desk.order(&third).await.status, OrderStatus::Valid);
}

/// Nobody finalizes with a key that was the account's once: not by the front end's word, whose time the store does not ask for.
#[tokio::test]
async fn a06_a_key_of_before_finalizes_nothing_after_its_change() {
    let desk = Desk::open().await;
    let mut client = desk.account().await;
    let waits = desk.finalized(&client, json!({})).await;
    let old = desk.change_key(&mut client).await;
    let current = std::mem::replace(&mut client.key, old);
    // An honest front end compares, and the order stays ready.
    let honest = desk.ready(&client).await;
    let csr = ClientKey::default().csr(&["a.demo.test"], None);
    let jws = acme::finalize(&client.key, &client.id, &honest, &csr);
    let refused = desk.store.queue_finalize(&honest, &client.thumbprint(), &jws, desk.clock.now(), &audit("x")).await;
    assert!(matches!(&refused, Err(StoreError::Conflict(reason)) if reason == KEY_CHANGED), "{refused:?}");
    assert_eq!(desk.order(&honest).await.status, OrderStatus::Ready);
    // Another one says that it was the current key.
    let current = jwk(&current).thumbprint();
    desk.store.queue_finalize(&honest, &current, &jws, desk.clock.now(), &audit("x")).await.unwrap();
    desk.settle().await;
    let refusal = desk.refusal(&honest).await;
    assert!(refusal.kind == ProblemType::Unauthorized && refusal.detail.contains("did not sign"), "{refusal:?}");
    assert_eq!(desk.order(&waits).await.status, OrderStatus::Valid);
}
