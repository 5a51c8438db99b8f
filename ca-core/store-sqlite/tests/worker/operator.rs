//! Operator statements.

use std::time::Duration;

use ca_core::anchor::AnchorState;
use ca_core::evidence::statement::{Operation, OperatorStatement};
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{Grant, ProblemType, RevocationReason, SignedStatement};
use ca_core::pki::{SerialNumber, Timestamp};
use ca_core::plan::CRL_BATCH;
use ca_core::ports::{AdminStore as _, Clock as _, JobStore as _};
use ca_testkit::operator::Operator;
use serde_json::json;

use crate::desk::{Desk, demo};

#[tokio::test]
async fn a_grant_is_inside_the_policy_and_its_secret_is_told_once() {
    let desk = Desk::open().await;
    let reply = desk.operate(Operation::GrantCreate { grant: desk.wanted_grant() }).await.unwrap();
    let OperatorReply::GrantCreated { kid, hmac_key } = &reply else { panic!("{reply:?}") };
    assert_eq!(kid.as_str(), "grant-x");
    assert!(!hmac_key.reveal().is_empty());
    assert!(!format!("{reply:?}").contains(hmac_key.reveal()), "a secret is not in Debug");
    assert!(!desk.audit_has(&[hmac_key.reveal()]).await, "nor in the audit trail");
    assert!(desk.audit_has(&["grant.create", "grant-x", "operator", "ops"]).await);

    let refused = async |change: &dyn Fn(&mut Grant), part: &str| {
        let mut grant = Grant { id: "grant-y".parse().unwrap(), ..desk.wanted_grant() };
        change(&mut grant);
        let problem = desk.operate(Operation::GrantCreate { grant }).await.unwrap_err();
        assert!(problem.detail.contains(part), "{problem:?}");
        assert!(desk.audit_has(&["grant.create", "refused", part]).await, "a refusal is on record: {part}");
    };
    refused(&|g| g.id = "grant-x".parse().unwrap(), "exists already").await;
    refused(&|g| g.authority = "other".parse().unwrap(), "does not name authority").await;
    refused(&|g| g.profiles.push("server".into()), "does not offer").await;
    refused(&|g| g.profiles.clear(), "at least one profile").await;
    refused(&|g| g.names = vec!["dns:*.bank.test".parse().unwrap()], "not inside the policy").await;
    refused(&|g| g.names = vec!["dns-wildcard:demo.test".parse().unwrap()], "not inside the policy").await;
    refused(&|g| g.names = vec!["ip:0.0.0.0/0".parse().unwrap()], "not inside the policy").await;
    refused(&|g| g.valid_until = Some(Timestamp::from_unix(1)), "expired already").await;
    let end = desk.clock.now();
    refused(&|g| g.enrol_by = Some(end), "could bind no account").await;
    refused(&|g| (g.enrol_by, g.valid_until) = (Some(end), Some(end.plus(Duration::from_secs(86_400)))), "could bind no account").await;
    refused(&|g| g.version = 10_001, "at most 10000 versions").await;
    assert_eq!(desk.store.grants(None, 100).await.unwrap().len(), 1);
}

/// The clock may be set back by as much as the anchor bears, also after what has expired was pruned.
#[tokio::test]
async fn a_statement_counts_once_though_the_clock_is_set_back() {
    let desk = Desk::open().await;
    desk.settle().await;
    let statement = desk.sign(Operation::GrantCreate { grant: desk.wanted_grant() });
    desk.worker.apply_statement(&statement).await.unwrap();
    let expires = serde_json::from_str::<OperatorStatement>(&statement.statement).unwrap().expires_at;
    for back in [Duration::from_secs(60), AnchorState::CLOCK_TOLERANCE] {
        desk.clock.set(expires.plus(back).minus(Duration::from_secs(1)));
        desk.store.prune(desk.clock.now(), 1000).await.unwrap();
        desk.clock.set(desk.clock.now().minus(back));
        let again = desk.worker.apply_statement(&statement).await.unwrap_err();
        assert!(again.detail.contains("was submitted before"), "{again:?}");
    }
    // Later it is out of date whatever the clock may be set to.
    let nonces = async || desk.store.prune(desk.clock.now(), 1000).await.unwrap();
    desk.clock.set(expires.plus(AnchorState::CLOCK_TOLERANCE));
    assert_eq!(nonces().await, 1);
}

#[tokio::test]
async fn a_statement_counts_once_and_only_from_its_operator() {
    let desk = Desk::open().await;
    let statement = desk.sign(Operation::GrantCreate { grant: desk.wanted_grant() });
    desk.worker.apply_statement(&statement).await.unwrap();
    let replay = desk.worker.apply_statement(&statement).await.unwrap_err();
    assert!(replay.kind == ProblemType::Unauthorized && replay.detail.contains("before"), "{replay:?}");

    let operation = || Operation::GrantRevoke { id: "grant-x".parse().unwrap() };
    let stranger = Operator::new("ops", 9).sign(operation(), "77", desk.clock.now());
    let edited = SignedStatement { statement: statement.statement.replace("payments", "treasury"), ..statement };
    let old = desk.sign(operation());
    desk.clock.advance(Duration::from_secs(601));
    for wrong in [stranger, edited, old] {
        assert_eq!(desk.worker.apply_statement(&wrong).await.unwrap_err().kind, ProblemType::Unauthorized);
    }
    assert!(desk.audit_has(&["statement.apply", "anonymous", "refused", "no operator key"]).await);
    assert_eq!(desk.operate(operation()).await.unwrap(), OperatorReply::GrantRevoked { accounts: 0 });
}

#[tokio::test]
async fn a_revoked_certificate_is_on_the_next_crl() {
    let desk = Desk::open().await;
    desk.settle().await;
    let client = desk.account().await;
    let id = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    let serial = desk.order(&id).await.serial.unwrap();
    let revoke = |serial, reason| Operation::CertificateRevoke { authority: demo(), serial, reason, invalidity_date: None };
    let never = SerialNumber::from_bytes([1; 20]).unwrap();
    assert!(desk.operate(revoke(never, RevocationReason::KeyCompromise)).await.unwrap_err().detail.contains("never issued"));
    let hold = desk.operate(revoke(serial, RevocationReason::CertificateHold)).await.unwrap_err();
    assert_eq!(hold.kind, ProblemType::BadRevocationReason);

    let before = desk.crl().await.unwrap();
    let reply = desk.operate(revoke(serial, RevocationReason::KeyCompromise)).await.unwrap();
    assert_eq!(reply, OperatorReply::CertificateRevoked { authority: demo(), serial, number: Some(1) });
    desk.clock.advance(CRL_BATCH);
    assert_eq!(desk.worker.tick_jobs().await.unwrap(), 1, "the CRL is due");
    let crl = desk.crl().await.unwrap();
    assert!(crl.number() > before.number());
    assert_eq!(crl.entries().iter().map(|e| (e.serial, e.reason)).collect::<Vec<_>>(), [(serial, RevocationReason::KeyCompromise)]);
    let again = desk.operate(revoke(serial, RevocationReason::Superseded)).await.unwrap();
    assert_eq!(again, OperatorReply::CertificateRevoked { authority: demo(), serial, number: None });
}

#[tokio::test]
async fn a_crl_on_demand() {
    let desk = Desk::open().await;
    desk.settle().await;
    let before = desk.crl().await.unwrap().number();
    let reply = desk.operate(Operation::CrlPublish { authority: demo() }).await.unwrap();
    let after = desk.crl().await.unwrap().number();
    assert!(after > before);
    assert_eq!(reply, OperatorReply::CrlPublished { authority: demo(), number: Some(after) });
    let nowhere = desk.operate(Operation::CrlPublish { authority: "other".parse().unwrap() }).await.unwrap_err();
    assert!(nowhere.detail.contains("no online key"));
}
