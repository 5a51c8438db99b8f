//! Who signed a grant: an operator leaves and a colleague takes over; a row that says something else is nobody's.

use ca_core::evidence::grant::{as_told, row_fault, signer};
use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{Grant, OrderStatus, Problem, ProblemType};
use ca_core::pki::sha256;
use ca_core::policy::{OperatorPolicy, Permission, Policy};
use ca_core::ports::{AdminStore as _, Anchor as _, Clock as _};
use ca_testkit::operator::Operator;
use serde_json::json;

use crate::desk::Desk;
use crate::grant_marks::alarms;
use crate::star::{days, star};

fn colleague() -> Operator {
    Operator::new("bela", 2)
}

fn after(desk: &Desk, operators: Vec<OperatorPolicy>) -> Policy {
    Policy { version: 2, operators, ..desk.policy.clone() }
}

/// The colleague signs what the statement in the database says.
async fn signs_anew(desk: &Desk, grant: &Grant) -> Result<OperatorReply, Problem> {
    let evidence = desk.store.stored_grant(&grant.id).await.unwrap().unwrap().evidence;
    let operation = Operation::GrantUpdate { grant: as_told(&evidence).unwrap().0, replaces: sha256(evidence.statement.as_bytes()) };
    desk.worker.apply_statement(&colleague().sign(operation, &desk.next().to_string(), desk.clock.now())).await
}

#[tokio::test]
async fn a16_when_an_operator_leaves_its_grants_rest_until_a_colleague_signs_them() {
    let mut desk = Desk::open().await;
    desk.settle().await;
    let grant = desk.grant(None).await;
    let client = desk.account_of(&grant).await;
    let renewing = star(&desk, &client).await;
    desk.settle().await;
    let signed = desk.store.stored_grant(&grant.id).await.unwrap().unwrap().evidence;
    assert_eq!(signer(&signed, &desk.policy).operator.as_deref(), Some("ops"));

    // Gone, or there and without the permission.
    for (version, operators) in [(2, vec![]), (3, vec![Operator::new("ops", 1).policy(&[Permission::Revoke])])] {
        let mut policy = after(&desk, operators);
        policy.version = version;
        policy.operators.push(colleague().policy(&[Permission::Grant]));
        let named = signer(&signed, &policy);
        assert!(!named.counts && named.operator.is_some() == (version == 3), "{named:?}");
        desk.set_policy(policy);
        let order = desk.finalized(&client, json!({})).await;
        desk.settle().await;
        let refusal = desk.refusal(&order).await;
        assert!(refusal.kind == ProblemType::Unauthorized && refusal.detail.contains("operators can sign it anew"), "{refusal:?}");
        assert!(desk.audit_has(&["certificate.issue", "refused", "ca grant sign", grant.id.as_str()]).await);
        days(&desk, 5);
        desk.settle().await;
        assert_eq!((desk.of_order(&renewing).await.len(), desk.order(&renewing).await.status), (1, OrderStatus::Valid));
    }
    assert!(desk.audit_has(&["order.rest", "refused", renewing.as_str(), "lost its signer"]).await);
    assert_eq!(alarms(&desk, grant.id.as_str()).await, 0, "it is no fraud");

    assert_eq!(signs_anew(&desk, &grant).await.unwrap(), OperatorReply::GrantUpdated { hmac_key: None });
    desk.settle().await;
    assert_eq!(desk.of_order(&renewing).await.len(), 2, "at once");
    let order = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    assert_eq!(desk.order(&order).await.status, OrderStatus::Valid, "the account of before orders");
    let stored = desk.store.stored_grant(&grant.id).await.unwrap().unwrap();
    assert_eq!(stored.grant, grant, "its terms are as they were");
    desk.policy = Policy::clone(&desk.worker.policy());
    desk.restart();
    desk.worker.check_record().await.unwrap();
    assert_eq!(alarms(&desk, grant.id.as_str()).await, 0);
}

#[tokio::test]
async fn a15_what_the_anchor_does_not_know_gets_no_new_signer() {
    let desk = Desk::open().await;
    desk.settle().await;
    let (edited, revoked) = (desk.grant(None).await, desk.grant(None).await);
    let client = desk.account_of(&edited).await;
    desk.operate(Operation::GrantRevoke { id: revoked.id.clone() }).await.unwrap();
    desk.set_policy(after(&desk, vec![colleague().policy(&[Permission::Grant])]));
    desk.edit("UPDATE grants SET statement = replace(statement, 'payments', 'treasury'), body = replace(body, 'payments', 'treasury')")
        .await;
    let order = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    let refusal = desk.refusal(&order).await;
    assert!(refusal.detail.contains("could not be verified"), "{refusal:?}");
    for grant in [edited, revoked] {
        let refused = signs_anew(&desk, &grant).await.unwrap_err();
        assert!(refused.kind == ProblemType::Unauthorized && refused.detail.contains("does not hold"), "{refused:?}");
    }
}

#[tokio::test]
async fn a14_a_row_that_says_something_else_than_its_statement_is_told_and_put_right_by_the_signed_terms() {
    let mut desk = Desk::open().await;
    desk.settle().await;
    let grant = desk.grant(Some(1)).await;
    desk.edit("UPDATE grants SET body = replace(body, '*.demo.test', '*.bank.test')").await;
    desk.restart();
    desk.worker.check_record().await.unwrap();
    assert_eq!(alarms(&desk, "something else in its row").await, 1);
    assert!(!desk.worker.record_is_off());
    let stored = desk.store.stored_grant(&grant.id).await.unwrap().unwrap();
    assert!(stored.grant != grant && row_fault(&stored).unwrap().contains("the database was edited"));
    assert!(desk.anchor.state().grant_fault(&stored).is_none(), "it stands on its newest statement");
    assert_eq!(as_told(&stored.evidence).unwrap().0, grant);

    desk.operate(desk.update_of(&grant).await).await.unwrap();
    let stored = desk.store.stored_grant(&grant.id).await.unwrap().unwrap();
    assert_eq!((row_fault(&stored), stored.grant), (None, grant));
}
