//! The device's own log against the record.

use ca_core::lifecycle::{FollowedLog, reconcile};
use ca_core::log::Reconciliation;
use ca_core::pki::SignatureAlgorithm;
use ca_core::ports::KeyDevice as _;
use ca_testkit::Fault;
use serde_json::json;

use crate::desk::Desk;

const ALARM: &str = "worker.alarm";

async fn begun() -> (Desk, FollowedLog) {
    let desk = Desk::open().await;
    // Opening the desk made its issuer; a ceremony would have drained that.
    desk.device.acknowledge_log(u64::MAX).await.unwrap();
    let mut followed = FollowedLog::default();
    desk.worker.drain_device_log(&*desk.device, &mut followed).await.unwrap();
    (desk, followed)
}

async fn reconciled(desk: &Desk) -> Reconciliation {
    reconcile(&*desk.store).await.unwrap().unwrap()
}

#[tokio::test]
async fn ceremony_35_each_logged_signature_matches_an_attempt() {
    let (desk, mut followed) = begun().await;
    desk.settle().await;
    let client = desk.account().await;
    desk.finalized(&client, json!({})).await;
    desk.settle().await;
    // A fault on the way: one signature that is abandoned, one that was never made.
    desk.keys.fail_once(Fault::FlippedBit);
    desk.finalized(&client, json!({})).await;
    desk.settle().await;
    assert!(desk.worker.drain_device_log(&*desk.device, &mut followed).await.unwrap() >= 5);
    assert!(desk.device.log().await.unwrap().unwrap().entries.is_empty(), "the device may forget what is on record");
    assert_eq!(desk.worker.drain_device_log(&*desk.device, &mut followed).await.unwrap(), 0);

    let result = reconciled(&desk).await;
    assert!(result.is_clean(), "{:?}", result.findings);
    let account = result.keys[&"ca".parse().unwrap()];
    assert_eq!((account.signatures, account.surplus()), (account.intended, 1), "{account:?}");
    assert!(!desk.audit_has(&[ALARM, "behind its back"]).await);
}

#[tokio::test]
async fn a_signature_behind_the_back_raises_an_alarm_at_once_and_for_good() {
    let (mut desk, mut followed) = begun().await;
    desk.settle().await;
    let key = "ca".parse().unwrap();
    desk.device.sign_behind_the_back(&key, SignatureAlgorithm::EcdsaP256Sha256).await;
    desk.worker.drain_device_log(&*desk.device, &mut followed).await.unwrap();
    assert!(desk.audit_has(&[ALARM, "1 times more than this CA asked", "behind its back"]).await);
    let result = reconciled(&desk).await;
    assert_eq!((result.finding_count, result.keys[&key].unexplained), (1, 1), "{:?}", result.findings);

    // While no worker runs, somebody signs again: the next one's reconciliation of the whole trail says so.
    desk.device.sign_behind_the_back(&key, SignatureAlgorithm::EcdsaP256Sha256).await;
    desk.restart();
    let mut followed = FollowedLog::default();
    desk.worker.drain_device_log(&*desk.device, &mut followed).await.unwrap();
    assert_eq!(desk.worker.reconcile_device_logs(0).await.unwrap(), 2);
    assert!(desk.audit_has(&[ALARM, "signed with `ca` 2 times more than was on record"]).await);
}

#[tokio::test]
async fn a_log_that_lacks_a_signature_raises_an_alarm() {
    let (desk, mut followed) = begun().await;
    desk.settle().await;
    desk.device.forget_newest();
    desk.worker.drain_device_log(&*desk.device, &mut followed).await.unwrap();
    assert!(desk.audit_has(&[ALARM, "lacks 1 signatures with `ca`"]).await);
    // A later signature does not hide it.
    let client = desk.account().await;
    desk.finalized(&client, json!({})).await;
    desk.settle().await;
    desk.worker.drain_device_log(&*desk.device, &mut followed).await.unwrap();
    let result = reconciled(&desk).await;
    assert_eq!(result.keys[&"ca".parse().unwrap()].missing, 1, "{:?}", result.findings);
}

#[tokio::test]
async fn a_log_that_another_program_moved_raises_an_alarm_that_says_what_to_import() {
    let (desk, mut followed) = begun().await;
    desk.settle().await;
    desk.worker.drain_device_log(&*desk.device, &mut followed).await.unwrap();
    assert!(!desk.audit_has(&[ALARM]).await);
    // A ceremony, or somebody else, takes an entry.
    let key = "ca".parse().unwrap();
    desk.device.sign_behind_the_back(&key, SignatureAlgorithm::EcdsaP256Sha256).await;
    desk.device.acknowledge_log(u64::MAX).await.unwrap();
    let client = desk.account().await;
    desk.finalized(&client, json!({})).await;
    desk.settle().await;
    desk.worker.drain_device_log(&*desk.device, &mut followed).await.unwrap();
    assert!(desk.audit_has(&[ALARM, "has a gap before its entry", "import the bundle"]).await);
    assert!(reconciled(&desk).await.findings.iter().any(|f| f.contains("has a gap") && f.contains("`ca import`")));
}

#[tokio::test]
async fn a_death_between_record_and_acknowledgement_counts_nothing_twice() {
    let (mut desk, _) = begun().await;
    desk.settle().await;
    let log = desk.device.log().await.unwrap().unwrap();
    // What a worker writes before it dies.
    let batch =
        ca_core::log::DeviceLogBatch { entries: log.entries, answered: Default::default(), unlogged_boots: 0, unlogged_authentications: 0 };
    let mut entry = ca_testkit::store::audit(ca_core::log::DEVICE_LOG);
    entry.object = "42".to_owned();
    entry.detail = serde_json::to_value(batch).unwrap();
    ca_core::ports::AuditStore::append_audit(&*desk.store, &entry).await.unwrap();
    desk.restart();
    let mut followed = FollowedLog::default();
    desk.worker.drain_device_log(&*desk.device, &mut followed).await.unwrap();
    let result = reconciled(&desk).await;
    assert!(result.is_clean(), "{:?}", result.findings);
    assert_eq!(result.keys[&"ca".parse().unwrap()].signatures, 3);
}
