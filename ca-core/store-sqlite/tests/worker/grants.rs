//! A grant's life: its scope and its secret change by signed statements, its accounts stay.

use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{AccountStatus, Grant, OrderStatus, ProblemType};
use ca_core::pki::sha256;
use ca_core::ports::{AcmeStore as _, Clock as _};
use serde_json::json;

use crate::desk::Desk;

/// The operation that puts `grant` in the place of what stands under its id.
async fn update(desk: &Desk, grant: &Grant) -> Operation {
    let stored = desk.store.grant(&grant.id).await.unwrap().unwrap();
    Operation::GrantUpdate { grant: grant.clone(), replaces: sha256(stored.evidence.statement.as_bytes()) }
}

#[tokio::test]
async fn a15_a_rotated_secret_binds_no_more_and_its_accounts_stay() {
    let desk = Desk::open().await;
    desk.settle().await;
    let grant = desk.grant(None).await;
    let client = desk.account_of(&grant).await;

    let rotated = Grant { version: 2, ..grant.clone() };
    let reply = desk.operate(update(&desk, &rotated).await).await.unwrap();
    let OperatorReply::GrantUpdated { hmac_key: Some(secret) } = &reply else { panic!("{reply:?}") };
    assert!(!desk.audit_has(&[secret.reveal()]).await, "a secret is not in the audit trail");
    assert!(desk.audit_has(&["grant.update", grant.id.as_str(), "operator", "ops"]).await);

    let late = desk.queue_account(&grant).await;
    assert_eq!(desk.worker.step_requests().await.unwrap(), 1);
    assert!(desk.store.account(&late.id).await.unwrap().is_none(), "the secret of before binds nothing");
    desk.account_of(&rotated).await;
    let order = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    assert_eq!(desk.order(&order).await.status, OrderStatus::Valid, "an account of before goes on");
}

#[tokio::test]
async fn a16_a_grant_is_extended_without_touching_its_accounts() {
    let desk = Desk::open().await;
    desk.settle().await;
    let day = std::time::Duration::from_secs(86_400);
    let start = desk.clock.now();
    let mut grant = desk.grant(None).await;
    let client = desk.account_of(&grant).await;
    (grant.valid_until, grant.enrol_by) = (Some(start.plus(day)), Some(start.plus(day / 24)));
    assert_eq!(desk.operate(update(&desk, &grant).await).await.unwrap(), OperatorReply::GrantUpdated { hmac_key: None });

    desk.clock.advance(day);
    let order = desk.finalized(&client, json!({})).await;
    desk.worker.step_requests().await.unwrap();
    assert!(desk.refusal(&order).await.detail.contains("expired"));

    grant.valid_until = Some(start.plus(day * 3));
    desk.operate(update(&desk, &grant).await).await.unwrap();
    let order = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    assert_eq!(desk.order(&order).await.status, OrderStatus::Valid);
}

#[tokio::test]
async fn a18_a_change_stays_inside_the_policy_and_follows_what_stands() {
    let desk = Desk::open().await;
    let grant = desk.grant(None).await;
    let stale = update(&desk, &Grant { max_accounts: Some(5), ..grant.clone() }).await;
    let refused = async |change: &dyn Fn(&mut Grant), part: &str| {
        let mut changed = grant.clone();
        change(&mut changed);
        let problem = desk.operate(update(&desk, &changed).await).await.unwrap_err();
        assert!(problem.detail.contains(part), "{problem:?}");
        assert_eq!(desk.store.grant(&grant.id).await.unwrap().unwrap().grant, grant, "nothing was changed");
    };
    refused(&|g| g.names = vec!["dns:*.bank.test".parse().unwrap()], "not inside the policy").await;
    refused(&|g| g.profiles.push("server".into()), "does not offer").await;
    refused(&|g| g.service = "treasury".into(), "keeps its id, service and authority").await;
    refused(&|g| g.version = 3, "goes from 1 to the next").await;
    refused(&|g| g.valid_until = Some(ca_core::pki::Timestamp::from_unix(1)), "expired already").await;

    desk.operate(update(&desk, &Grant { max_accounts: Some(2), ..grant.clone() }).await).await.unwrap();
    let lost = desk.operate(stale).await.unwrap_err();
    assert!(lost.kind == ProblemType::Malformed && lost.detail.contains("changed meanwhile"), "{lost:?}");
    let none = Operation::GrantUpdate { grant: Grant { id: "missing".parse().unwrap(), ..grant }, replaces: sha256(b"") };
    assert!(desk.operate(none).await.unwrap_err().detail.contains("there is no grant"));
}

#[tokio::test]
async fn a15_a_suspended_grant_neither_binds_nor_issues_until_it_is_resumed() {
    let desk = Desk::open().await;
    desk.settle().await;
    let grant = desk.grant(None).await;
    let client = desk.account_of(&grant).await;
    assert_eq!(desk.operate(Operation::GrantSuspend { id: grant.id.clone() }).await.unwrap(), OperatorReply::GrantSuspended);
    assert!(desk.audit_has(&["grant.suspend", grant.id.as_str(), "operator", "ops"]).await);

    let order = desk.finalized(&client, json!({})).await;
    let late = desk.queue_account(&grant).await;
    desk.worker.step_requests().await.unwrap();
    assert!(desk.refusal(&order).await.detail.contains("suspended"));
    assert!(desk.store.account(&late.id).await.unwrap().is_none());
    assert_eq!(desk.store.account(&client.id).await.unwrap().unwrap().status, AccountStatus::Valid, "its accounts stay");

    assert_eq!(desk.operate(Operation::GrantResume { id: grant.id.clone() }).await.unwrap(), OperatorReply::GrantResumed);
    let order = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    assert_eq!(desk.order(&order).await.status, OrderStatus::Valid);
    let missing = Operation::GrantResume { id: "missing".parse().unwrap() };
    assert!(desk.operate(missing).await.unwrap_err().detail.contains("there is no grant"));
}

/// What operators' alarms rest on: an end that has come is an outage, and is told as long after as before.
#[tokio::test]
async fn a16_the_end_of_a_grant_is_counted_for_a_while_after_it_has_come() {
    let desk = Desk::open().await;
    let month = std::time::Duration::from_secs(30 * 86_400);
    let told = async |desk: &Desk| {
        let now = desk.clock.now();
        let numbers = desk.store.numbers(now, now, now.plus(month)).await.unwrap();
        (numbers.ending_grants, numbers.next_grant_end)
    };
    let mut grant = desk.grant(None).await;
    assert_eq!(told(&desk).await, (0, None));
    let end = desk.clock.now().plus(month);
    grant.valid_until = Some(end);
    desk.operate(update(&desk, &grant).await).await.unwrap();
    assert_eq!(told(&desk).await, (1, Some(end)));
    desk.clock.advance(month + month / 2);
    assert_eq!(told(&desk).await, (1, Some(end)));
    let other = desk.grant(None).await;
    desk.operate(update(&desk, &Grant { valid_until: Some(desk.clock.now().plus(month * 2)), ..other }).await).await.unwrap();
    assert_eq!(told(&desk).await, (1, Some(end)), "the one that ended comes first");
    desk.operate(Operation::GrantRevoke { id: grant.id }).await.unwrap();
    assert_eq!(told(&desk).await.0, 0);
    desk.clock.advance(month);
    assert_eq!(told(&desk).await.0, 1);
}
