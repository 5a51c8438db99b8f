//! Death at each named point, then a start: nothing is lost, nothing is issued twice (invariants 4 and 10, lesson 27).

use std::sync::Arc;
use std::time::Duration;

use ca_core::lifecycle::HaltPoint;
use ca_core::model::{CertificateState, OrderStatus, RevocationReason, SerialStatus};
use ca_core::ports::StatusStore as _;
use serde_json::json;

use crate::desk::{Desk, demo};

#[tokio::test]
async fn death_at_each_point_then_a_start() {
    for point in HaltPoint::ALL {
        let mut desk = Desk::open().await;
        let client = desk.account().await;
        let id = desk.finalized(&client, json!({})).await;
        *desk.probe.0.lock().unwrap() = Some(point);
        let worker = Arc::clone(&desk.worker);
        let died = tokio::spawn(async move { worker.step_requests().await.map(|_| ()) }).await;
        assert!(died.unwrap_err().is_panic(), "{}", point.name());

        desk.restart();
        // While the lease of the dead one runs, nobody touches its work.
        assert_eq!(desk.worker.reconcile().await.unwrap(), 0, "{}", point.name());
        assert_eq!(desk.worker.step_requests().await.unwrap(), 0, "{}", point.name());
        desk.clock.advance(Duration::from_secs(61));
        let left_open = matches!(point, HaltPoint::AfterIntent | HaltPoint::AfterSign | HaltPoint::BeforeRelease);
        assert_eq!(desk.worker.reconcile().await.unwrap(), usize::from(left_open), "{}", point.name());
        desk.settle().await;

        assert_eq!(desk.order(&id).await.status, OrderStatus::Valid, "{}", point.name());
        let records = desk.of_order(&id).await;
        let of = |state| records.iter().filter(move |r| r.state == state);
        assert_eq!(of(CertificateState::Released).count(), 1, "{}", point.name());
        assert_eq!(of(CertificateState::Abandoned).count(), usize::from(left_open), "{}", point.name());
        for abandoned in of(CertificateState::Abandoned) {
            let status = desk.store.status(&demo(), &abandoned.serial).await.unwrap();
            assert!(matches!(status, Some(SerialStatus::Revoked { reason: RevocationReason::Superseded, .. })), "{status:?}");
            assert!(desk.crl().await.unwrap().entries().iter().any(|e| e.serial == abandoned.serial));
            assert!(desk.audit_has(&["worker.alarm", &abandoned.serial.to_string()]).await, "it raises an alarm");
        }
    }
}

#[tokio::test]
async fn rows_that_are_set_back_bring_no_second_certificate() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let id = desk.finalized(&client, json!({})).await;
    desk.worker.step_requests().await.unwrap();
    assert_eq!(desk.order(&id).await.status, OrderStatus::Valid);
    desk.edit(
        "UPDATE orders SET status = 'processing', serial = NULL;
         UPDATE requests SET state = 'queued', ended_at = NULL WHERE order_id IS NOT NULL;
         UPDATE certificates SET order_id = NULL;
         UPDATE attempts SET order_id = NULL, request_id = NULL",
    )
    .await;
    assert_eq!(desk.worker.step_requests().await.unwrap(), 1);
    assert!(desk.refusal(&id).await.detail.contains("already"));
    assert_eq!(desk.certificates().await.iter().filter(|c| c.profile == "client").count(), 1);
    assert!(desk.audit_has(&["worker.alarm", "changed behind it"]).await);
}
