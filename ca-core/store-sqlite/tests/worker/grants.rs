//! A grant's life: its scope and its secret change by signed statements, its accounts stay.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ca_core::anchor::{AnchorState, AnchorStep, MemoryAnchor};
use ca_core::evidence::chain::MAX_SECRETS;
use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{AccountStatus, Grant, GrantStatus, OrderStatus, ProblemType};
use ca_core::pki::{KeyAlgorithm, Timestamp, sha256};
use ca_core::ports::{AcmeStore as _, AdminStore as _, Anchor, AnchorError, Clock as _, StandingStore as _};
use ca_testkit::store::audit;
use serde_json::json;

use crate::between::{Between, beside};
use crate::desk::Desk;

#[tokio::test]
async fn a15_a_rotated_secret_binds_no_more_and_its_accounts_stay() {
    let desk = Desk::open().await;
    desk.settle().await;
    let grant = desk.grant(None).await;
    let client = desk.account_of(&grant).await;

    let rotated = Grant { version: 2, ..grant.clone() };
    let reply = desk.operate(desk.update_of(&rotated).await).await.unwrap();
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

/// As long as a grant's secret can be rotated, whom it bound goes on.
#[tokio::test]
async fn a15_a_rotation_never_cuts_off_an_account_however_many_came_before() {
    let desk = Desk::open().await;
    desk.settle().await;
    let mut grant = desk.grant(None).await;
    let client = desk.account_of(&grant).await;
    for version in 2..=130 {
        grant.version = version;
        desk.operate(desk.update_of(&grant).await).await.unwrap();
    }
    let order = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    assert_eq!(desk.order(&order).await.status, OrderStatus::Valid);

    // The last of them, and an account that the first one bound.
    let last = Grant { id: "grant-last".parse().unwrap(), version: MAX_SECRETS, ..desk.wanted_grant() };
    desk.operate(Operation::GrantCreate { grant: last.clone() }).await.unwrap();
    let refused = desk.operate(desk.update_of(&Grant { version: MAX_SECRETS + 1, ..last.clone() }).await).await.unwrap_err();
    assert!(refused.detail.contains("(hint: make another grant)"), "{refused:?}");
    let early = desk.queue_account(&Grant { version: 1, ..last }).await;
    desk.worker.step_requests().await.unwrap();
    assert!(desk.store.account(&early.id).await.unwrap().is_none());
    assert!(desk.audit_has(&["account.create", "refused", "the grant's secret was rotated"]).await, "its secret is still known");
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
    assert_eq!(desk.operate(desk.update_of(&grant).await).await.unwrap(), OperatorReply::GrantUpdated { hmac_key: None });

    desk.clock.advance(day);
    let order = desk.finalized(&client, json!({})).await;
    desk.worker.step_requests().await.unwrap();
    assert!(desk.refusal(&order).await.detail.contains("expired"));

    grant.valid_until = Some(start.plus(day * 3));
    desk.operate(desk.update_of(&grant).await).await.unwrap();
    let order = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    assert_eq!(desk.order(&order).await.status, OrderStatus::Valid);
}

#[tokio::test]
async fn a18_a_change_stays_inside_the_policy_and_follows_what_stands() {
    let desk = Desk::open().await;
    let grant = desk.grant(None).await;
    let stale = desk.update_of(&Grant { max_accounts: Some(5), ..grant.clone() }).await;
    let refused = async |change: &dyn Fn(&mut Grant), part: &str| {
        let mut changed = grant.clone();
        change(&mut changed);
        let problem = desk.operate(desk.update_of(&changed).await).await.unwrap_err();
        assert!(problem.detail.contains(part), "{problem:?}");
        assert_eq!(desk.store.grant(&grant.id).await.unwrap().unwrap().grant, grant, "nothing was changed");
    };
    refused(&|g| g.names = vec!["dns:*.bank.test".parse().unwrap()], "not inside the policy").await;
    refused(&|g| g.profiles.push("server".into()), "does not offer").await;
    refused(&|g| g.service = "treasury".into(), "keeps its id, service and authority").await;
    refused(&|g| g.version = 3, "goes from 1 to the next").await;
    refused(&|g| g.valid_until = Some(ca_core::pki::Timestamp::from_unix(1)), "expired already").await;

    desk.operate(desk.update_of(&Grant { max_accounts: Some(2), ..grant.clone() }).await).await.unwrap();
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
    desk.operate(desk.update_of(&grant).await).await.unwrap();
    assert_eq!(told(&desk).await, (1, Some(end)));
    desk.clock.advance(month + month / 2);
    assert_eq!(told(&desk).await, (1, Some(end)));
    let other = desk.grant(None).await;
    desk.operate(desk.update_of(&Grant { valid_until: Some(desk.clock.now().plus(month * 2)), ..other }).await).await.unwrap();
    assert_eq!(told(&desk).await, (1, Some(end)), "the one that ended comes first");
    desk.operate(Operation::GrantRevoke { id: grant.id }).await.unwrap();
    assert_eq!(told(&desk).await.0, 0);
    desk.clock.advance(month);
    assert_eq!(told(&desk).await.0, 1);
}

/// RFC 8555 §7.1.3: the order says what became of it and what to do; and nobody is paused for what others changed.
#[tokio::test]
async fn a14_an_order_that_a_change_overtook_names_cause_and_remedy_and_counts_against_nobody() {
    type Narrowing = fn(&mut Grant);
    let cases: [(Narrowing, ProblemType, &str); 4] = [
        (|g| g.names = vec!["dns:b.demo.test".parse().unwrap()], ProblemType::RejectedIdentifier, "`a.demo.test` is outside"),
        (|g| g.profiles = vec!["short".to_owned()], ProblemType::InvalidProfile, "may order the profiles short"),
        (|g| g.limits.keys = vec![KeyAlgorithm::P384], ProblemType::BadCsr, "p384"),
        (|g| g.valid_until = Some(Timestamp::from_unix(i64::MAX / 2)), ProblemType::Unauthorized, "suspended"),
    ];
    let desk = Desk::open().await;
    desk.settle().await;
    for (narrow, kind, cause) in cases {
        let grant = desk.grant(None).await;
        let client = desk.account_of(&grant).await;
        let order = desk.finalized(&client, json!({ "profile": "client" })).await;
        let mut narrowed = grant.clone();
        narrow(&mut narrowed);
        desk.operate(desk.update_of(&narrowed).await).await.unwrap();
        if cause == "suspended" {
            desk.operate(Operation::GrantSuspend { id: grant.id.clone() }).await.unwrap();
        }
        desk.settle().await;
        let found = desk.order(&order).await;
        let error = found.error.unwrap();
        assert_eq!((found.status, error.kind), (OrderStatus::Invalid, kind), "{error:?}");
        assert!(error.detail.contains(cause) && error.detail.contains("(hint:") && error.detail.contains("operators"), "{error:?}");
        let standing = desk.store.standing(&client.id, &[], Timestamp::from_unix(0)).await.unwrap();
        assert_eq!(standing.failures, 0, "{cause}");
        assert!(desk.audit_has(&["certificate.issue", "refused", order.as_str()]).await);
    }
}

/// What the client was told is what it gets, or nothing.
#[tokio::test]
async fn a22_an_order_without_a_profile_is_not_certified_by_another_than_it_was_told() {
    let desk = Desk::open().await;
    desk.settle().await;
    let grant = desk.grant(None).await;
    let client = desk.account_of(&grant).await;
    let (told_first, named) = (desk.finalized(&client, json!({})).await, desk.finalized(&client, json!({ "profile": "client" })).await);
    let reordered = Grant { profiles: grant.profiles.iter().rev().cloned().collect(), ..grant.clone() };
    assert_eq!(reordered.profiles, ["short", "client"]);
    desk.operate(desk.update_of(&reordered).await).await.unwrap();
    desk.settle().await;
    let found = desk.order(&told_first).await;
    let error = found.error.unwrap();
    assert_eq!((found.status, error.kind), (OrderStatus::Invalid, ProblemType::InvalidProfile), "{error:?}");
    assert!(
        error.detail.contains("`client`") && error.detail.contains("`short`") && error.detail.contains("(hint: order again"),
        "{error:?}"
    );
    let standing = desk.store.standing(&client.id, &[], Timestamp::from_unix(0)).await.unwrap();
    assert_eq!(standing.failures, 0, "it is not the client's doing");
    assert_eq!(desk.order(&named).await.status, OrderStatus::Valid);
    // Orders that are made now are for the one that stands first now.
    let after = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    assert_eq!(desk.certificate(desk.order(&after).await.serial.unwrap()).await.profile, "short");
}

/// Between the look at the anchor and the commit lie moments, in which the rotation's reply may go to the operator.
#[tokio::test]
async fn a15_a_secret_that_is_rotated_while_it_binds_an_account_binds_none() {
    for rotates in [true, false] {
        let mut desk = Desk::open().await;
        desk.settle().await;
        // An anchor that has not seen the grant yet takes the step as its account is looked at.
        let before = desk.anchor.state();
        let grant = desk.grant(None).await;
        let next = Grant { version: if rotates { 2 } else { 1 }, max_accounts: Some(7), ..grant.clone() };
        let signed = desk.sign(desk.update_of(&next).await);
        let place = ca_core::evidence::grant::read_grant(&signed, &desk.policy).unwrap().1;
        let (store, now, policy_grant) = (Arc::clone(&desk.store), desk.clock.now(), next.clone());
        let rotate = move |anchor: &MemoryAnchor| {
            let step = place.step(&policy_grant.id);
            let change = async move {
                let stands = store.grant(&policy_grant.id).await.unwrap().unwrap().evidence.statement;
                store.update_grant(&policy_grant, &signed, &stands, &audit("grant.update")).await.unwrap();
            };
            beside(change);
            anchor.take(&[step], now).unwrap();
        };
        desk.restart_on(Between::new(&before, |step| matches!(step, AnchorStep::Grant { .. }), rotate));

        let late = desk.queue_account(&grant).await;
        assert_eq!(desk.worker.step_requests().await.unwrap(), 1);
        let stored = desk.store.grant(&grant.id).await.unwrap().unwrap();
        assert_eq!((stored.grant, stored.accounts), (next, 0), "the operator was first");
        assert_eq!(desk.store.account(&late.id).await.unwrap().unwrap().status, AccountStatus::Pending, "it is judged anew");
        desk.clock.advance(std::time::Duration::from_secs(60));
        assert_eq!(desk.worker.step_requests().await.unwrap(), 1);
        let bound = desk.store.account(&late.id).await.unwrap().map(|account| account.status);
        assert_eq!(bound, if rotates { None } else { Some(AccountStatus::Valid) });
    }
}

/// An anchor that lets something happen right before it takes a suspension.
struct Before {
    anchor: MemoryAnchor,
    act: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Anchor for Before {
    fn state(&self) -> Arc<AnchorState> {
        self.anchor.state()
    }

    fn take(&self, steps: &[AnchorStep], now: Timestamp) -> Result<(), AnchorError> {
        let suspends = |step: &AnchorStep| matches!(step, AnchorStep::GrantStatus { status: GrantStatus::Suspended, .. });
        if steps.iter().any(suspends)
            && let Some(act) = self.act.lock().unwrap().take()
        {
            act();
        }
        self.anchor.take(steps, now)
    }

    fn flush(&self) -> Result<(), AnchorError> {
        self.anchor.flush()
    }
}

/// Two operators at once: the store and the anchor tell the same act as the last.
#[tokio::test]
async fn a15_a_suspension_and_a_resumption_at_once_leave_store_and_anchor_as_one() {
    let mut desk = Desk::open().await;
    let grant = desk.grant(None).await;
    let anchor = Arc::new(Before { anchor: MemoryAnchor::new(AnchorState::clone(&desk.anchor.state())), act: Mutex::default() });
    desk.restart_on(Arc::clone(&anchor) as _);
    let (worker, resume) = (Arc::clone(&desk.worker), desk.sign(Operation::GrantResume { id: grant.id.clone() }));
    let (done, resumed) = mpsc::channel();
    let (began, waited) = mpsc::channel();
    // The store has the suspension; the other one's act goes as far as it goes by itself.
    let act = move || {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            done.send(runtime.block_on(worker.apply_statement(&resume)).is_ok()).unwrap();
        });
        began.send(resumed.recv_timeout(Duration::from_millis(500)).map_err(|_| resumed)).unwrap();
    };
    *anchor.act.lock().unwrap() = Some(Box::new(act));
    desk.operate(Operation::GrantSuspend { id: grant.id.clone() }).await.unwrap();
    let is_resumed = match waited.recv().unwrap() {
        Ok(done) => done,
        Err(resumed) => tokio::task::spawn_blocking(move || resumed.recv_timeout(Duration::from_secs(10)).unwrap()).await.unwrap(),
    };
    assert!(is_resumed);
    let status = desk.store.stored_grant(&grant.id).await.unwrap().unwrap().status;
    assert_eq!(anchor.state().grant(&grant.id).map(|mark| mark.status), Some(status));
    assert_eq!(status, GrantStatus::Active, "the resumption came second");
}
