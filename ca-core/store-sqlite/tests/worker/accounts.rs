//! Accounts that only fail, as the worker meets them.

use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{AuditEntry, ProblemType};
use ca_core::pki::Timestamp;
use ca_core::ports::{AccountAdminStore as _, StandingStore as _};
use ca_testkit::store::audit;
use serde_json::json;

use crate::desk::Desk;

#[tokio::test]
async fn a23_an_operators_statement_ends_a_pause() {
    let desk = Desk::open().await;
    desk.settle().await;
    let grant = desk.grant(None).await;
    let client = desk.account_of(&grant).await;
    // The worker refuses an order: a failure on record.
    desk.operate(Operation::GrantSuspend { id: grant.id.clone() }).await.unwrap();
    let order = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    assert_eq!(desk.refusal(&order).await.kind, ProblemType::Unauthorized);
    desk.operate(Operation::GrantResume { id: grant.id.clone() }).await.unwrap();
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
