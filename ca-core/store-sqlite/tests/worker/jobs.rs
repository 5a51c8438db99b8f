//! The schedule.

use std::sync::Arc;
use std::time::Duration;

use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::HaltPoint;
use ca_core::log::{Leaf, read_leaf};
use ca_core::model::{AuditRow, CrlIntent, CrlScope, Grant, IntentContent, Job, JobKind, RevocationReason};
use ca_core::pki::{Certificate, Sha256Digest, sha256};
use ca_core::plan::CRL_BATCH;
use ca_core::ports::{AuditStore as _, CertificateStore as _, Clock as _, JobStore as _};
use ca_testkit::Fault;

use crate::desk::{Desk, demo};

#[tokio::test]
async fn own_certificates_and_the_crl_come_first_and_renew_themselves() {
    let mut desk = Desk::open().await;
    // A key that the policy does not pin is never certified.
    desk.own_keys.push(desk.issuer.public_key().clone());
    desk.restart();
    desk.settle().await;
    let newest = async |desk: &Desk, shape: &str, key: usize| {
        let record = desk.store.newest_for_key(&demo(), shape, &desk.own_keys[key].spki_sha256()).await.unwrap().unwrap();
        Certificate::from_der(&record.der).unwrap().is_signed_by(&desk.issuer).unwrap();
        record
    };
    let (ocsp, server) = (newest(&desk, "ocsp", 0).await, newest(&desk, "server", 1).await);
    assert_eq!(ocsp.not_after, desk.clock.now().plus(Duration::from_secs(604_800)));
    assert_eq!(server.identifiers[0].value(), "localhost");
    assert_eq!(desk.certificates().await.len(), 2);
    let first = desk.crl().await.unwrap();
    assert_eq!(first.this_update(), desk.clock.now().minus(Duration::from_secs(60)));

    // Before two thirds of the responder's seven days nothing but CRLs; after it, a new certificate.
    desk.clock.advance(Duration::from_secs(604_800 * 2 / 3 - 1));
    desk.settle().await;
    assert_eq!(desk.certificates().await.len(), 2);
    desk.clock.advance(Duration::from_secs(1));
    desk.settle().await;
    assert_ne!(newest(&desk, "ocsp", 0).await.serial, ocsp.serial);
    assert_eq!(newest(&desk, "server", 1).await.serial, server.serial);
    assert!(desk.crl().await.unwrap().number() > first.number());
}

#[tokio::test]
async fn a_quiet_schedule_writes_nothing() {
    let desk = Desk::open().await;
    desk.settle().await;
    let before = desk.store.jobs(100).await.unwrap();
    assert_eq!(desk.worker.tick_jobs().await.unwrap(), 0);
    assert_eq!(desk.store.jobs(100).await.unwrap(), before);
    assert_eq!(before.len(), 4, "two own certificates, a CRL, pruning: {before:?}");
}

/// Near its authority's end an own certificate is made once more, to that end; after it none is tried, also where a job
/// for one is left from before, or for one that the policy names no longer.
#[tokio::test]
async fn lesson_31_an_ended_authority_leaves_no_failing_job() {
    let desk = Desk::open().await;
    desk.settle().await;
    let end = desk.issuer.not_after();
    let own_jobs = async || {
        let jobs = desk.store.jobs(100).await.unwrap();
        jobs.into_iter().filter(|job| matches!(job.kind, JobKind::RenewOwn { .. })).count()
    };
    assert_eq!(own_jobs().await, 2);
    desk.clock.set(end.minus(Duration::from_secs(3600)));
    desk.settle().await;
    let made = desk.certificates().await;
    assert_eq!(made.iter().filter(|c| c.not_after == end).count(), 2, "the last responder's and the last server's");
    assert_eq!(own_jobs().await, 0);
    desk.clock.set(end.minus(Duration::from_secs(1)));
    desk.settle().await;
    assert_eq!(desk.certificates().await.len(), made.len(), "none would last longer");

    for after in [0, 30, 61, 3600] {
        desk.clock.set(end.plus(Duration::from_secs(after)));
        for own in ["responder", "front", "gone"] {
            let kind = JobKind::RenewOwn { authority: demo(), own: own.to_owned() };
            desk.store.ensure_job(&Job { kind, due: desk.clock.now() }).await.unwrap();
        }
        desk.settle().await;
        assert_eq!(own_jobs().await, 0);
        assert_eq!(desk.certificates().await.len(), made.len());
    }
    assert!(desk.store.jobs(100).await.unwrap().iter().all(|job| job.failures == 0));
    assert!(!desk.audit_has(&["job.execute", "failed"]).await);
}

#[tokio::test]
async fn a_failed_job_is_on_record_and_comes_back() {
    let desk = Desk::open().await;
    desk.settle().await;
    desk.clock.advance(Duration::from_secs(3600));
    let before = desk.crl().await.unwrap().number();
    desk.keys.fail_once(Fault::FlippedBit);
    desk.worker.tick_jobs().await.unwrap();
    assert_eq!(desk.crl().await.unwrap().number(), before);
    let kind = JobKind::PublishCrl { authority: demo(), scope: CrlScope::FULL };
    let job = desk.store.jobs(100).await.unwrap().into_iter().find(|j| j.kind == kind).unwrap();
    assert_eq!(job.failures, 1);
    assert!(desk.audit_has(&["job.execute", "failed", "not released"]).await);
    assert_eq!(desk.worker.tick_jobs().await.unwrap(), 0, "planning does not undo the backoff");
    desk.clock.advance(Duration::from_secs(2));
    desk.worker.tick_jobs().await.unwrap();
    assert!(desk.crl().await.unwrap().number() > before);
}

/// The intents of CRLs in the audit trail, with the lengths of their leaves.
async fn crl_intents(desk: &Desk) -> Vec<(CrlIntent, Sha256Digest, usize)> {
    let rows = desk.store.audit_after(0, 10_000).await.unwrap();
    let of_crl = |row: AuditRow| match read_leaf(&row.leaf) {
        Some(Leaf::Intent(intent)) => match intent.content {
            IntentContent::Crl(crl) => Some((crl, intent.tbs_sha256, row.leaf.len())),
            _ => None,
        },
        _ => None,
    };
    rows.into_iter().filter_map(of_crl).collect()
}

#[tokio::test]
async fn s2_revocations_in_a_row_make_few_crls_and_the_last_one_lists_them_all() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    for _ in 0..3 {
        for _ in 0..17 {
            desk.finalized(&client, serde_json::json!({})).await;
        }
        desk.settle().await;
        // The authority's cap is 20 an hour.
        desk.clock.advance(Duration::from_secs(3600));
    }
    desk.settle().await;
    let before = crl_intents(&desk).await.len();
    let records = desk.certificates().await;
    let serials: Vec<_> = records.iter().filter(|c| c.profile == "client").map(|c| c.serial).collect();
    assert_eq!(serials.len(), 51);
    for (index, serial) in serials.iter().enumerate() {
        let reason = RevocationReason::Superseded;
        desk.operate(Operation::CertificateRevoke { authority: demo(), serial: *serial, reason, invalidity_date: None }).await.unwrap();
        desk.settle().await;
        if index % 25 == 24 {
            desk.clock.advance(Duration::from_secs(1));
        }
    }
    desk.clock.advance(CRL_BATCH);
    desk.settle().await;
    let made = crl_intents(&desk).await;
    assert!((1..=3).contains(&(made.len() - before)), "{} CRLs", made.len() - before);
    let crl = desk.crl().await.unwrap();
    let listed: Vec<_> = crl.entries().iter().map(|entry| entry.serial).collect();
    assert!(serials.iter().all(|serial| listed.contains(serial)), "{} of {}", listed.len(), serials.len());

    // Invariant 1: the record has the digest of what was signed; how much that was costs the audit trail nothing.
    let ((_, _, first), (last, digest, length)) = (&made[0], made.last().unwrap());
    assert_eq!((last.number, last.tbs.len(), *digest), (crl.number(), 0, sha256(crl.tbs_der())));
    assert!(length.abs_diff(*first) <= 4, "{first} octets for an empty CRL, {length} for one with 51 entries");
}

#[tokio::test]
async fn a_crl_s_intent_that_a_death_left_open_is_closed_and_another_crl_is_made() {
    let mut desk = Desk::open().await;
    *desk.probe.0.lock().unwrap() = Some(HaltPoint::AfterIntent);
    let worker = Arc::clone(&desk.worker);
    // CRLs come first.
    let died = tokio::spawn(async move { worker.tick_jobs().await.map(|_| ()) }).await;
    assert!(died.unwrap_err().is_panic());
    let number = crl_intents(&desk).await[0].0.number;
    desk.restart();
    desk.clock.advance(Duration::from_secs(61));
    assert_eq!(desk.worker.reconcile().await.unwrap(), 1);
    assert!(desk.audit_has(&["crl.abandon", &format!("0/{number}")]).await);
    desk.settle().await;
    assert!(desk.crl().await.unwrap().number() > number);
}

#[tokio::test]
async fn certificates_are_counted_as_their_states_change() {
    let desk = Desk::open().await;
    desk.settle().await;
    let counted = async |state: &str| {
        let now = desk.clock.now();
        let numbers = desk.store.numbers(now, now.plus(Duration::from_secs(86_400)), now.plus(Duration::from_secs(86_400))).await.unwrap();
        let found: Vec<u64> = numbers.certificates.iter().filter(|(a, s, _)| *a == demo() && s == state).map(|(_, _, n)| *n).collect();
        (found.first().copied().unwrap_or(0), numbers)
    };
    // The two own ones.
    assert_eq!(counted("released").await.0, 2);
    let client = desk.account().await;
    let order = desk.finalized(&client, serde_json::json!({})).await;
    desk.settle().await;
    let (released, numbers) = counted("released").await;
    assert_eq!((released, numbers.failing_jobs), (3, 0), "{numbers:?}");
    let (now, certificate) = (desk.clock.now(), desk.of_order(&order).await.remove(0));
    let by_its_end = desk.certificates().await.iter().filter(|c| c.not_after <= certificate.not_after).count() as u64;
    assert_eq!(desk.store.numbers(now, certificate.not_after, now).await.unwrap().ending_certificates, by_its_end);
    let serial = certificate.serial;
    let revoke = Operation::CertificateRevoke { authority: demo(), serial, reason: RevocationReason::Superseded, invalidity_date: None };
    desk.operate(revoke).await.unwrap();
    assert_eq!((counted("released").await.0, counted("revoked").await.0, counted("intent").await.0), (2, 1, 0));
    let ending = Grant {
        id: "grant-z".parse().unwrap(),
        valid_until: Some(desk.clock.now().plus(Duration::from_secs(3600))),
        ..desk.wanted_grant()
    };
    let end = ending.valid_until;
    desk.operate(Operation::GrantCreate { grant: ending }).await.unwrap();
    let numbers = counted("released").await.1;
    assert_eq!((numbers.ending_grants, numbers.next_grant_end), (1, end), "{numbers:?}");
}
