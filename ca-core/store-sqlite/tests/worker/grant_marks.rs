//! What the anchor remembers of grants: who edits the database can put no earlier statement, secret or state back.

use std::sync::Arc;

use ca_core::anchor::{AnchorState, MemoryAnchor};
use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{Grant, GrantId, GrantLimits, GrantStatus, OrderStatus, ProblemType};
use ca_core::pki::sha256;
use ca_core::ports::{AcmeStore as _, Anchor as _, AuditStore as _, each_grant};
use serde_json::json;

use crate::desk::Desk;

/// Keeps every grant's row as it is now.
const KEEP: &str = "CREATE TABLE kept AS SELECT * FROM grants";
/// Puts the kept rows back.
const PUT_BACK: &str = "UPDATE grants SET (version, body, max_accounts, statement, signature, status, suspended_at)
     = (SELECT version, body, max_accounts, statement, signature, status, suspended_at FROM kept WHERE kept.id = grants.id)";

async fn update(desk: &Desk, grant: &Grant) {
    desk.operate(desk.update_of(grant).await).await.unwrap();
}

/// How many alarms name this.
pub(crate) async fn alarms(desk: &Desk, part: &str) -> usize {
    let rows = desk.store.audit_after(0, 10_000).await.unwrap();
    let texts = rows.iter().map(|row| String::from_utf8_lossy(&row.leaf));
    texts.filter(|text| text.contains("worker.alarm") && text.contains(part)).count()
}

#[tokio::test]
async fn a15_a_leaked_secret_binds_nothing_after_its_rotation_though_the_row_is_put_back() {
    let mut desk = Desk::open().await;
    desk.settle().await;
    let grant = desk.grant(None).await;
    let client = desk.account_of(&grant).await;
    desk.edit(KEEP).await;
    let rotated = Grant { version: 2, ..grant.clone() };
    update(&desk, &rotated).await;

    desk.edit(PUT_BACK).await;
    let thief = desk.queue_account(&grant).await;
    let order = desk.finalized(&client, json!({})).await;
    desk.worker.step_requests().await.unwrap();
    assert!(desk.store.account(&thief.id).await.unwrap().is_none(), "the old secret binds nothing");
    let refusal = desk.refusal(&order).await;
    assert!(refusal.kind == ProblemType::Unauthorized && refusal.detail.contains("could not be verified"), "{refusal:?}");
    assert!(desk.audit_has(&["certificate.issue", "refused", "of the secret's version 1; the newest"]).await, "the cause is on record");
    assert_eq!(alarms(&desk, grant.id.as_str()).await, 1, "once, not for each request");

    // Nor after a restart, which says so by itself; other grants go on.
    desk.restart();
    desk.worker.check_record().await.unwrap();
    assert_eq!(alarms(&desk, grant.id.as_str()).await, 2);
    assert!(!desk.worker.record_is_off());
    let stored = desk.store.grant(&grant.id).await.unwrap().unwrap();
    let fault = desk.anchor.state().grant_fault(&stored).unwrap();
    assert!(fault.contains(grant.id.as_str()) && fault.contains("version 2"), "{fault}");
    let thief = desk.queue_account(&grant).await;
    desk.worker.step_requests().await.unwrap();
    assert!(desk.store.account(&thief.id).await.unwrap().is_none());
    let other = desk.account().await;
    let order = desk.finalized(&other, json!({})).await;
    desk.settle().await;
    assert_eq!(desk.order(&order).await.status, OrderStatus::Valid);
    // An operator's change on top of the old row is refused: it would make the old scope new.
    let replaces = sha256(stored.evidence.statement.as_bytes());
    let again = desk.operate(Operation::GrantUpdate { grant: Grant { max_accounts: Some(9), ..grant }, replaces }).await.unwrap_err();
    assert!(again.kind == ProblemType::Unauthorized && again.detail.contains("the newest that this worker has seen"), "{again:?}");
}

#[tokio::test]
async fn a14_a_scope_that_was_narrowed_is_not_widened_by_the_earlier_statement() {
    let desk = Desk::open().await;
    desk.settle().await;
    let grant = desk.grant(None).await;
    let client = desk.account_of(&grant).await;
    desk.edit(KEEP).await;
    let limits = GrantLimits { max_certificates: Some("1/day".parse().unwrap()), ..GrantLimits::default() };
    update(&desk, &Grant { limits, ..grant.clone() }).await;
    let first = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    assert_eq!(desk.order(&first).await.status, OrderStatus::Valid);
    desk.edit(PUT_BACK).await;
    let second = desk.finalized(&client, json!({})).await;
    desk.worker.step_requests().await.unwrap();
    assert_eq!(desk.refusal(&second).await.kind, ProblemType::Unauthorized);
}

#[tokio::test]
async fn a15_a_revoked_or_suspended_grant_stays_so_whatever_its_row_says() {
    let desk = Desk::open().await;
    desk.settle().await;
    let (revoked, suspended) = (desk.grant(None).await, desk.grant(None).await);
    let client = desk.account_of(&suspended).await;
    desk.edit(KEEP).await;
    assert_eq!(desk.operate(Operation::GrantRevoke { id: revoked.id.clone() }).await.unwrap(), OperatorReply::GrantRevoked { accounts: 0 });
    desk.operate(Operation::GrantSuspend { id: suspended.id.clone() }).await.unwrap();
    desk.edit(PUT_BACK).await;
    let late = desk.queue_account(&revoked).await;
    let order = desk.finalized(&client, json!({})).await;
    desk.worker.step_requests().await.unwrap();
    assert!(desk.store.account(&late.id).await.unwrap().is_none(), "a revoked grant binds nothing again");
    assert!(desk.refusal(&order).await.detail.contains("could not be verified"));
    assert_eq!((alarms(&desk, revoked.id.as_str()).await, alarms(&desk, suspended.id.as_str()).await), (1, 1));

    // What the operator says goes on; what was revoked does not.
    desk.operate(Operation::GrantResume { id: suspended.id.clone() }).await.unwrap();
    let order = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    assert_eq!(desk.order(&order).await.status, OrderStatus::Valid);
    let stored = desk.store.grant(&revoked.id).await.unwrap().unwrap();
    assert!(desk.anchor.state().grant_fault(&stored).unwrap().contains("seen it revoked"));
}

#[tokio::test]
async fn a15_a_death_between_store_and_anchor_is_caught_up() {
    let mut desk = Desk::open().await;
    desk.settle().await;
    let grant = desk.grant(None).await;
    let before = desk.anchor.state();
    let rotated = Grant { version: 2, ..grant.clone() };
    update(&desk, &rotated).await;
    // The anchor as it was when the process died: the store is ahead by one signed statement.
    desk.anchor = Arc::new(MemoryAnchor::new(AnchorState::clone(&before)));
    desk.restart();
    desk.worker.check_record().await.unwrap();
    assert_eq!(desk.anchor.state().grant(&grant.id).map(|mark| mark.version), Some(2));
    assert_eq!(alarms(&desk, grant.id.as_str()).await, 0);
    desk.account_of(&rotated).await;

    // An anchor from before grants were remembered takes them all at its first start.
    let mut state = serde_json::to_value(&*desk.anchor.state()).unwrap();
    assert!(state.as_object_mut().unwrap().remove("grants").is_some());
    desk.anchor = Arc::new(MemoryAnchor::new(serde_json::from_value(state).unwrap()));
    desk.restart();
    desk.worker.check_record().await.unwrap();
    assert_eq!(desk.anchor.state().grants(), 1);
}

#[tokio::test]
async fn a15_a_grant_that_exists_is_not_made_again() {
    let desk = Desk::open().await;
    let grant = desk.grant(None).await;
    let again =
        desk.operate(Operation::GrantCreate { grant: Grant { version: 2, max_accounts: Some(9), ..grant.clone() } }).await.unwrap_err();
    assert!(again.detail.contains("exists already (hint: change it with `ca grant update"), "{again:?}");
    assert_eq!(desk.store.grant(&grant.id).await.unwrap().unwrap().grant, grant, "nothing was changed");
}

/// What takes away is durable in the store first; a process that dies before the anchor has it must not lose it there.
#[tokio::test]
async fn a15_a_grant_revoked_or_suspended_as_the_process_died_is_so_in_the_anchor_after_its_restart() {
    let mut desk = Desk::open().await;
    desk.settle().await;
    let (revoked, suspended) = (desk.grant(None).await, desk.grant(None).await);
    let client = desk.account_of(&suspended).await;
    desk.edit(KEEP).await;
    let before = desk.anchor.state();
    desk.operate(Operation::GrantRevoke { id: revoked.id.clone() }).await.unwrap();
    desk.operate(Operation::GrantSuspend { id: suspended.id.clone() }).await.unwrap();
    desk.anchor = Arc::new(MemoryAnchor::new(AnchorState::clone(&before)));
    desk.restart();
    desk.worker.check_record().await.unwrap();
    let status = |desk: &Desk, grant: &Grant| desk.anchor.state().grant(&grant.id).map(|mark| mark.status);
    assert_eq!((status(&desk, &revoked), status(&desk, &suspended)), (Some(GrantStatus::Revoked), Some(GrantStatus::Suspended)));
    assert!(!desk.audit_has(&["worker.alarm"]).await);

    desk.edit(PUT_BACK).await;
    let late = desk.queue_account(&revoked).await;
    let order = desk.finalized(&client, json!({})).await;
    desk.worker.step_requests().await.unwrap();
    assert!(desk.store.account(&late.id).await.unwrap().is_none());
    assert!(desk.refusal(&order).await.detail.contains("could not be verified"));
    assert_eq!((alarms(&desk, revoked.id.as_str()).await, alarms(&desk, suspended.id.as_str()).await), (1, 1));
    // What goes on in the database and not in the anchor stays put back, also at the next start.
    desk.restart();
    desk.worker.check_record().await.unwrap();
    assert_eq!((status(&desk, &revoked), status(&desk, &suspended)), (Some(GrantStatus::Revoked), Some(GrantStatus::Suspended)));
}

#[tokio::test]
async fn a15_a_grant_is_looked_at_however_many_were_made_after_it() {
    const LATER: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= 10000)
         INSERT INTO grants (id, version, body, max_accounts, statement, signature, status, created_at, accounts)
         SELECT 'later-' || i, version, replace(body, id, 'later-' || i), max_accounts, replace(statement, id, 'later-' || i), 'none',
           status, created_at, 0 FROM n, grants";
    let mut desk = Desk::open().await;
    desk.settle().await;
    let grant = desk.grant(None).await;
    let client = desk.account_of(&grant).await;
    desk.edit(KEEP).await;
    update(&desk, &Grant { version: 2, ..grant.clone() }).await;
    desk.edit(PUT_BACK).await;
    desk.edit(LATER).await;
    let mut found = Vec::new();
    each_grant(&*desk.store, |record| found.push(record.grant.id.clone())).await.unwrap();
    assert_eq!((found.len(), found.last(), found.first().map(GrantId::as_str)), (10_002, Some(&grant.id), Some("later-10001")));

    let order = desk.finalized(&client, json!({})).await;
    desk.worker.step_requests().await.unwrap();
    assert!(desk.refusal(&order).await.detail.contains("could not be verified"), "refused, and not put off");
    assert_eq!(alarms(&desk, grant.id.as_str()).await, 1);
    desk.restart();
    desk.worker.check_record().await.unwrap();
    assert_eq!(alarms(&desk, grant.id.as_str()).await, 2, "and its start says so");
}
