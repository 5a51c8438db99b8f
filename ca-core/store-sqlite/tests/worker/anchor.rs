//! The database against the anchor, as the worker sees it.

use std::sync::Arc;
use std::time::Duration;

use ca_core::anchor::{AnchorOperation, AnchorStatement, AnchorStep, ApprovedAnchor, MemoryAnchor};
use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::{HaltPoint, OperatorReply, WorkerError};
use ca_core::model::{CrlScope, OrderId, OrderStatus, RevocationReason};
use ca_core::pki::Certificate;
use ca_core::plan::CRL_BATCH;
use ca_core::ports::{Anchor as _, AnchorError, CertificateStore as _, Clock as _};
use ca_testkit::officers;
use serde_json::json;

use crate::desk::{Desk, demo};

/// A desk with one certificate, its chain followed.
async fn desk() -> (Desk, OrderId) {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let first = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    desk.worker.check_record().await.unwrap();
    let waiting = desk.finalized(&client, json!({})).await;
    assert_eq!(desk.order(&first).await.status, OrderStatus::Valid);
    (desk, waiting)
}

#[track_caller]
fn is_behind(result: Result<impl std::fmt::Debug, WorkerError>, part: &str) {
    match result {
        Err(WorkerError::Anchor(error @ AnchorError::Behind(_))) => assert!(error.to_string().contains(part), "{error}"),
        other => panic!("{other:?}, not behind"),
    }
}

/// Nothing is issued, and the alarm is on record; a revocation still is.
async fn nothing_is_issued(desk: &Desk, waiting: &OrderId) {
    let issued = desk.certificates().await;
    is_behind(desk.worker.step_requests().await, "hint:");
    is_behind(desk.worker.tick_jobs().await, "hint:");
    assert_eq!(desk.order(waiting).await.status, OrderStatus::Processing);
    assert_eq!(desk.certificates().await.len(), issued.len());
    assert!(desk.worker.record_is_off());
    assert!(desk.worker.trouble().unwrap().contains("After a restore"));
    assert!(desk.audit_has(&["worker.alarm", "audit trail"]).await);
    let refused = desk.operate(Operation::GrantCreate { grant: desk.wanted_grant() }).await.unwrap_err();
    assert!(refused.detail.contains("audit trail"), "{}", refused.detail);
    let serial = issued.iter().find(|c| c.profile == "client").unwrap().serial;
    let revoke = Operation::CertificateRevoke { authority: demo(), serial, reason: RevocationReason::KeyCompromise, invalidity_date: None };
    assert!(matches!(desk.operate(revoke).await.unwrap(), OperatorReply::CertificateRevoked { number: Some(_), .. }));
}

#[tokio::test]
async fn rows_cut_off_while_running_stop_the_worker() {
    let (desk, waiting) = desk().await;
    desk.worker.follow_record().await.unwrap();
    desk.edit("DELETE FROM audit WHERE number > (SELECT max(number) - 3 FROM audit)").await;
    is_behind(desk.worker.step_requests().await, "older copy");
    nothing_is_issued(&desk, &waiting).await;
}

#[tokio::test]
async fn an_edited_row_stops_the_next_start() {
    let (mut desk, waiting) = desk().await;
    desk.edit("UPDATE audit SET leaf = CAST(replace(CAST(leaf AS TEXT), 'demo', 'd3mo') AS BLOB) WHERE number = 3").await;
    desk.restart();
    is_behind(desk.worker.check_record().await, "row 3 of the audit trail does not follow");
    nothing_is_issued(&desk, &waiting).await;
}

#[tokio::test]
async fn a_new_row_that_does_not_follow_stops_the_worker() {
    let (desk, waiting) = desk().await;
    desk.edit("INSERT INTO audit (number, leaf, hash) SELECT max(number) + 1, 'x', randomblob(32) FROM audit").await;
    is_behind(desk.worker.follow_record().await, "does not follow");
    nothing_is_issued(&desk, &waiting).await;
}

#[tokio::test]
async fn a_rewritten_chain_is_another_chain() {
    let (mut desk, waiting) = desk().await;
    // Whoever can edit can compute hashes, but not those that the anchor has seen.
    desk.edit("UPDATE audit SET hash = randomblob(32) WHERE number = (SELECT max(number) FROM audit)").await;
    desk.anchor.flush().unwrap();
    desk.restart();
    desk.worker.follow_record().await.unwrap_err();
    nothing_is_issued(&desk, &waiting).await;
}

#[tokio::test]
async fn an_older_policy_is_found_out() {
    let (mut desk, _) = desk().await;
    let step = AnchorStep::Policy { version: 2, policy: ca_core::pki::sha256(b"2") };
    desk.anchor.take(&[step], desk.clock.now()).unwrap();
    desk.restart();
    is_behind(desk.worker.check_record().await, "policy version 1 is in use, and this worker has seen version 2");
}

#[tokio::test]
async fn a_stop_stops_orders_and_nothing_else() {
    let (mut desk, waiting) = desk().await;
    desk.anchor.take(&[AnchorStep::Stop], desk.clock.now()).unwrap();
    desk.worker.step_requests().await.unwrap();
    assert_eq!(desk.order(&waiting).await.status, OrderStatus::Processing);
    // Over a restart too; CRLs and the CA's own certificates go on.
    desk.restart();
    desk.worker.check_record().await.unwrap();
    let before = desk.crl().await.unwrap().number();
    let own = desk.certificates().await.iter().filter(|c| c.profile != "client").count();
    desk.clock.advance(Duration::from_secs(6 * 86_400));
    desk.settle().await;
    assert!(desk.crl().await.unwrap().number() > before);
    assert!(desk.certificates().await.iter().filter(|c| c.profile != "client").count() > own, "the responder's is renewed");
    assert_eq!(desk.certificates().await.iter().filter(|c| c.profile == "client").count(), 1);
}

#[tokio::test]
async fn a_resumed_order_gets_its_certificate() {
    let (desk, waiting) = desk().await;
    desk.anchor.take(&[AnchorStep::Stop], desk.clock.now()).unwrap();
    desk.worker.step_requests().await.unwrap();
    desk.anchor.take(&[AnchorStep::Resume], desk.clock.now()).unwrap();
    desk.clock.advance(Duration::from_secs(60));
    desk.worker.step_requests().await.unwrap();
    assert_eq!(desk.order(&waiting).await.status, OrderStatus::Valid);
}

#[tokio::test]
async fn the_cap_is_not_only_counted_from_rows() {
    let mut desk = Desk::open().await;
    let client = desk.account().await;
    for _ in 0..25 {
        desk.finalized(&client, json!({})).await;
    }
    desk.worker.step_requests().await.unwrap();
    let issued = async |desk: &Desk| desk.certificates().await.iter().filter(|c| c.profile == "client").count();
    assert_eq!(issued(&desk).await, 20);
    desk.worker.follow_record().await.unwrap();
    desk.edit("UPDATE certificates SET created_at = created_at - 86400").await;
    desk.restart();
    desk.worker.check_record().await.unwrap();
    desk.clock.advance(Duration::from_secs(120));
    desk.worker.step_requests().await.unwrap();
    assert_eq!(issued(&desk).await, 20, "rows that were made to look old bring no fresh allowance");
}

#[tokio::test]
async fn rows_set_back_bring_no_second_certificate_over_a_restart() {
    let (mut desk, id) = desk().await;
    desk.worker.step_requests().await.unwrap();
    assert_eq!(desk.order(&id).await.status, OrderStatus::Valid);
    desk.worker.follow_record().await.unwrap();
    desk.edit(
        "UPDATE orders SET status = 'processing', serial = NULL;
         UPDATE requests SET state = 'queued', ended_at = NULL WHERE order_id IS NOT NULL;
         UPDATE certificates SET order_id = NULL;
         UPDATE attempts SET order_id = NULL, request_id = NULL",
    )
    .await;
    desk.restart();
    desk.worker.check_record().await.unwrap();
    desk.worker.step_requests().await.unwrap();
    assert!(desk.refusal(&id).await.detail.contains("already"));
    assert_eq!(desk.certificates().await.iter().filter(|c| c.profile == "client").count(), 2);
}

#[tokio::test]
async fn a_crl_number_is_above_the_anchors() {
    let (desk, _) = desk().await;
    let far = (u64::try_from(desk.clock.now().unix()).unwrap() + 1000) * 65_536 + 7;
    let step = AnchorStep::Crl { authority: demo(), scope: CrlScope::FULL, number: far };
    desk.anchor.take(&[step], desk.clock.now()).unwrap();
    // The schedule makes one, because the anchor has seen a newer one than the store has.
    desk.clock.advance(CRL_BATCH);
    desk.worker.tick_jobs().await.unwrap();
    let number = desk.crl().await.unwrap().number();
    assert!(number > far, "{number}");
    assert_eq!(desk.anchor.state().crl_number(&demo(), CrlScope::FULL), number);
}

#[tokio::test]
async fn a_clock_far_behind_is_refused_until_it_is_set() {
    let (desk, waiting) = desk().await;
    let now = desk.clock.now();
    desk.clock.set(now.minus(Duration::from_secs(3600)));
    let refused = desk.worker.follow_record().await.unwrap_err();
    assert!(refused.to_string().contains("set the clock"), "{refused}");
    assert!(desk.worker.step_requests().await.is_err());
    assert!(!desk.worker.record_is_off(), "the record itself is not in doubt");
    desk.clock.set(now);
    desk.worker.follow_record().await.unwrap();
    assert_eq!(desk.worker.trouble(), None);
    desk.worker.step_requests().await.unwrap();
    assert_eq!(desk.order(&waiting).await.status, OrderStatus::Valid);
}

/// The officers say that the clock was wrong: what `ca anchor accept-restore` does with the anchor.
fn corrected(desk: &Desk) -> MemoryAnchor {
    let (roster, state, now) = (officers::roster(), desk.anchor.state(), desk.clock.now());
    let statement = AnchorStatement {
        format: AnchorStatement::FORMAT.to_owned(),
        operation: AnchorOperation::AcceptRestore,
        authority: demo(),
        genesis_roster: roster.digest(),
        roster_number: 0,
        roster: roster.digest(),
        policy_version: 1,
        policy_sha256: state.policy().1,
        log: state.log(),
        replaces: Some(state.log()),
        nonce: "ab".repeat(16),
        issued_at: now,
        expires_at: now.plus(Duration::from_secs(3600)),
    };
    let bytes = statement.to_bytes();
    let signatures = officers::signatures(&[101, 103], std::str::from_utf8(&bytes).unwrap());
    let approved = ApprovedAnchor::verify(statement.operation, &bytes, &signatures, &roster, now).unwrap();
    MemoryAnchor::new(state.accept_restore(&approved, now).unwrap())
}

#[tokio::test]
async fn after_a_clock_that_was_ahead_everything_goes_on_by_the_right_one() {
    let mut desk = Desk::open().await;
    let client = desk.account().await;
    let id = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    let serial = desk.order(&id).await.serial.unwrap();
    let revoke = Operation::CertificateRevoke { authority: demo(), serial, reason: RevocationReason::Superseded, invalidity_date: None };
    desk.operate(revoke).await.unwrap();
    desk.clock.advance(CRL_BATCH);
    desk.settle().await;
    let right = desk.clock.now();

    // Long enough for the revoked certificate to expire by that clock, and to leave the CRL.
    desk.clock.set(right.plus(Duration::from_secs(35 * 86_400)));
    desk.settle().await;
    desk.clock.advance(Duration::from_secs(86_400));
    desk.settle().await;
    assert!(!desk.crl().await.unwrap().entries().iter().any(|entry| entry.serial == serial));
    // A process dies with a lease, and with an intent.
    desk.clock.advance(Duration::from_secs(86_400));
    *desk.probe.0.lock().unwrap() = Some(HaltPoint::AfterIntent);
    let worker = Arc::clone(&desk.worker);
    let died = tokio::spawn(async move { worker.tick_jobs().await.map(|_| ()) }).await;
    assert!(died.unwrap_err().is_panic());
    desk.worker.follow_record().await.unwrap();
    let last = desk.anchor.state().crl_number(&demo(), CrlScope::FULL);

    desk.clock.set(right.plus(Duration::from_secs(10)));
    desk.worker.follow_record().await.unwrap_err();
    desk.anchor = Arc::new(corrected(&desk));
    desk.restart();
    desk.worker.check_record().await.unwrap();
    assert_eq!(desk.worker.reconcile().await.unwrap(), 1, "the intent is closed");
    desk.settle().await;
    let now = desk.clock.now();
    for (shape, key) in [("ocsp", 0), ("server", 1)] {
        let newest = desk.store.newest_for_key(&demo(), shape, &desk.own_keys[key].spki_sha256()).await.unwrap().unwrap();
        let certificate = Certificate::from_der(&newest.der).unwrap();
        assert!(certificate.not_before() <= now && now < certificate.not_after(), "{shape}: from {}", certificate.not_before());
    }
    let crl = desk.crl().await.unwrap();
    assert!(crl.this_update() <= now && crl.number() > last, "{} of {}, after {last}", crl.number(), crl.this_update());
    assert!(crl.entries().iter().any(|entry| entry.serial == serial), "what has not expired is listed again");

    // From here on it is as it was: quiet, then by the interval.
    assert_eq!(desk.worker.tick_jobs().await.unwrap(), 0);
    desk.clock.advance(Duration::from_secs(3600));
    desk.settle().await;
    assert!(desk.crl().await.unwrap().number() > crl.number());
    assert_eq!(desk.order(&desk.finalized(&client, json!({})).await).await.status, OrderStatus::Processing);
    desk.settle().await;
    assert_eq!(desk.certificates().await.iter().filter(|c| c.profile == "client").count(), 2);
}
