//! What is answered, when, and for how long: on a fake clock and a store that can go away.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::support::{PATIENCE, TestKey, World, name, serial};
use ca_core::model::RevocationReason;
use ca_core::pki::ocsp::{BasicResponse, CertStatus, HashAlgorithm, ResponseStatus, build_request};
use ca_core::pki::{Certificate, Timestamp};
use ca_core::ports::Clock as _;
use ocsp_responder::{NeverIssued, Reply, ResponderConfig, ResponderKeys};

const NOW: Timestamp = Timestamp::from_unix(1_795_478_400);

async fn world() -> World {
    let world = World::new(NOW, ResponderConfig::default());
    world.store.issue(serial("0a"));
    world.store.issue(serial("0b"));
    world.responder.refresh().await.unwrap();
    world
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn status(response: &BasicResponse) -> CertStatus {
    response.data.answers[0].status
}

#[tokio::test]
async fn good_then_revoked_as_soon_as_the_ledger_is_followed() {
    let world = world().await;
    let first = world.ask_one("0a").await;
    assert_eq!(status(&first), CertStatus::Good);
    let one = &first.data.answers[0];
    assert_eq!((one.this_update, one.next_update), (NOW.minus(seconds(60)), NOW.plus(seconds(3600))));
    assert_eq!(world.ask_one("0a").await, first, "the second comes from the cache");
    assert_eq!(world.store.status_reads.load(Ordering::SeqCst), 1);

    world.ask_one("0b").await;
    world.store.revoke(serial("0a"), RevocationReason::KeyCompromise, NOW);
    world.responder.refresh().await.unwrap();
    let revoked = CertStatus::Revoked { at: NOW, reason: RevocationReason::KeyCompromise };
    assert_eq!(status(&world.ask_one("0a").await), revoked);
    let reads = world.store.status_reads.load(Ordering::SeqCst);
    world.ask_one("0b").await;
    assert_eq!(world.store.status_reads.load(Ordering::SeqCst), reads, "only that serial's answer was dropped");
}

#[tokio::test]
async fn the_follower_is_woken_by_a_revocation() {
    // The poll is far longer than the test may take, so that only the wake-up can bring the news.
    let config = ResponderConfig { poll: seconds(3600), ..ResponderConfig::default() };
    let world = World::new(NOW, config);
    world.store.issue(serial("0a"));
    world.responder.refresh().await.unwrap();
    assert_eq!(status(&world.ask_one("0a").await), CertStatus::Good);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let follower = tokio::spawn(world.responder.clone().follow_ledger(async {
        let _ = stopped.await;
    }));
    let revoked = async {
        loop {
            // Also wakes a follower that was not waiting yet.
            world.store.revoke(serial("0a"), RevocationReason::Superseded, NOW);
            tokio::task::yield_now().await;
            if status(&world.ask_one("0a").await) != CertStatus::Good {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, revoked).await.expect("it is woken");
    stop.send(()).unwrap();
    follower.await.unwrap();
}

/// The status is read as good, then the certificate is revoked and the ledger followed, then the answer is signed:
/// it may be given once, as if it had been asked earlier, and must not be kept.
#[tokio::test]
async fn an_answer_overtaken_by_a_revocation_is_not_kept() {
    let world = world().await;
    let gate = world.store.status_gate.lock().await;
    let (responder, request) = (world.responder.clone(), world.request(&["0a"], None));
    let asking = tokio::spawn(async move { responder.answer(Some("demo"), &request).await.unwrap() });
    while world.store.status_reads.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    world.store.revoke(serial("0a"), RevocationReason::KeyCompromise, NOW);
    world.responder.refresh().await.unwrap();
    drop(gate);
    assert_eq!(status(&world.verified(&asking.await.unwrap())), CertStatus::Good);
    assert!(matches!(status(&world.ask_one("0a").await), CertStatus::Revoked { .. }));
}

#[tokio::test]
async fn never_issued_is_never_good() {
    let mut world = world().await;
    let unknown = world.ask_one("0f00").await;
    assert_eq!((status(&unknown), unknown.data.extended_revoke), (CertStatus::Unknown, false));
    // It is not kept, so that the first question after the issuance is answered from the record.
    world.store.issue(serial("0f00"));
    assert_eq!(status(&world.ask_one("0f00").await), CertStatus::Good);

    world = World::new(NOW, ResponderConfig { never_issued: NeverIssued::Revoked, ..ResponderConfig::default() });
    world.store.issue(serial("0a"));
    world.responder.refresh().await.unwrap();
    let held = world.ask_one("0f00").await;
    // RFC 6960 §2.2
    let expected = CertStatus::Revoked { at: Timestamp::from_unix(0), reason: RevocationReason::CertificateHold };
    assert_eq!((status(&held), held.data.extended_revoke), (expected, true));
    assert!(!world.ask_one("0a").await.data.extended_revoke);
}

#[tokio::test]
async fn several_certificates_and_hashes_in_one_request() {
    let world = world().await;
    world.store.revoke(serial("0b"), RevocationReason::Unspecified, NOW);
    let ids =
        [world.cert_id(HashAlgorithm::Sha256, "0a"), world.cert_id(HashAlgorithm::Sha1, "0b"), world.cert_id(HashAlgorithm::Sha512, "0c")];
    let reply = world.ask(&build_request(&ids, None).unwrap()).await;
    assert!(matches!(reply, Reply::Signed { cacheable: false, .. }));
    let read = world.verified(&reply);
    let statuses: Vec<_> = read.data.answers.iter().map(|a| a.status).collect();
    let revoked = CertStatus::Revoked { at: NOW, reason: RevocationReason::Unspecified };
    assert_eq!(statuses, [CertStatus::Good, revoked, CertStatus::Unknown]);
    assert!(read.data.answers.iter().map(|a| &a.cert_id).eq(&ids), "the CertIDs come back as they were sent");
}

#[tokio::test]
async fn nonces_are_answered_live() {
    let world = world().await;
    world.ask_one("0a").await;
    for len in [1usize, 32, 128] {
        let nonce = vec![5; len];
        let reply = world.ask(&world.request(&["0a"], Some(&nonce))).await;
        assert!(matches!(reply, Reply::Signed { cacheable: false, .. }));
        assert_eq!(world.verified(&reply).data.nonce, Some(nonce));
    }
    assert_eq!(world.store.status_reads.load(Ordering::SeqCst), 4);
    assert_eq!(world.ask(&[0x30, 0x04, 0x30, 0x02, 0xa0, 0x00]).await, Reply::Error(ResponseStatus::MalformedRequest));
}

#[tokio::test]
async fn what_is_not_this_authoritys_is_unauthorized() {
    let world = world().await;
    let request = world.request(&["0a"], None);
    assert_eq!(world.responder.answer(Some("other"), &request).await, Some(Reply::Error(ResponseStatus::Unauthorized)));
    assert_eq!(world.responder.answer(Some("nobody"), &request).await, None);
    assert!(matches!(world.responder.answer(None, &request).await, Some(Reply::Signed { .. })), "demo is the default authority");
}

/// S17: after 60 seconds without the ledger nothing new is signed; what is signed serves until its nextUpdate.
#[tokio::test]
async fn answers_stay_correct_while_the_database_is_away() {
    let world = world().await;
    let kept = world.ask_one("0a").await;
    world.store.away.store(true, Ordering::SeqCst);
    world.clock.advance(seconds(60));
    assert!(world.responder.refresh().await.is_err());
    assert_eq!(world.responder.not_ready(), Vec::<String>::new(), "60 seconds are not too long yet");
    let nothing = Reply::Error(ResponseStatus::TryLater);
    assert_eq!(world.ask(&world.request(&["0b"], None)).await, nothing, "the record cannot be read");

    world.clock.advance(seconds(1));
    assert!(world.responder.not_ready().iter().any(|r| r.contains("ledger")));
    // Even if a reading of the status worked, a ledger that is not read could have revoked it.
    world.store.away.store(false, Ordering::SeqCst);
    assert_eq!(world.ask(&world.request(&["0b"], None)).await, nothing);
    assert_eq!(world.ask(&world.request(&["0a"], Some(&[1]))).await, nothing);
    assert_eq!(world.ask_one("0a").await, kept);
    world.store.away.store(true, Ordering::SeqCst);
    world.clock.set(NOW.plus(seconds(3599)));
    assert_eq!(world.ask_one("0a").await, kept);
    world.clock.set(NOW.plus(seconds(3600)));
    assert_eq!(world.ask(&world.request(&["0a"], None)).await, nothing, "past its nextUpdate");

    world.store.away.store(false, Ordering::SeqCst);
    world.store.revoke(serial("0a"), RevocationReason::Superseded, world.clock.now());
    world.responder.refresh().await.unwrap();
    assert!(world.responder.not_ready().is_empty());
    assert!(matches!(status(&world.ask_one("0a").await), CertStatus::Revoked { .. }));
}

#[tokio::test]
async fn nothing_is_signed_before_the_first_reading() {
    let world = World::new(NOW, ResponderConfig::default());
    world.store.issue(serial("0a"));
    world.store.away.store(true, Ordering::SeqCst);
    assert!(world.responder.refresh().await.is_err());
    assert!(!world.responder.not_ready().is_empty());
    assert_eq!(world.responder.answer(None, &world.request(&["0a"], None)).await, None);
    world.store.away.store(false, Ordering::SeqCst);
    world.store.set_responder(None);
    world.responder.refresh().await.unwrap();
    assert_eq!(world.ask(&world.request(&["0a"], None)).await, Reply::Error(ResponseStatus::TryLater), "no certificate yet");
    assert!(world.responder.not_ready().iter().any(|r| r.contains("certificate")));
    world.store.set_responder(Some(world.responder_certificate("1001", seconds(100))));
    world.responder.refresh().await.unwrap();
    // nextUpdate never passes the responder certificate's notAfter.
    assert_eq!(world.ask_one("0a").await.data.answers[0].next_update, NOW.plus(seconds(100)));
}

/// An authority that has ended certifies no OCSP key any more; its successor does not wait for that.
#[tokio::test]
async fn lesson_31_an_authority_that_has_ended_keeps_none_from_being_ready() {
    let keys = ResponderKeys::new().with(name("other"), TestKey::new());
    let world = World::beside(NOW, ResponderConfig::default(), NOW.plus(seconds(100)), keys);
    world.store.issue(serial("0a"));
    world.clock.advance(seconds(99));
    world.responder.refresh().await.unwrap();
    assert!(world.responder.not_ready().iter().any(|r| r.starts_with("other: the OCSP key has no valid certificate")));
    world.clock.advance(seconds(1));
    world.responder.refresh().await.unwrap();
    assert_eq!(world.responder.not_ready(), Vec::<String>::new());
    assert_eq!(status(&world.ask_one("0a").await), CertStatus::Good);
    let metrics = world.responder.metrics_text();
    for (line, is_told) in [
        ("countersign_status_ready 1\n", true),
        ("countersign_status_authority_ended{authority=\"other\"} 1\n", true),
        ("countersign_status_authority_ended{authority=\"demo\"} 0\n", true),
        ("countersign_ocsp_signer_valid{authority=\"demo\"} 1\n", true),
        ("countersign_ocsp_signer_valid{authority=\"other\"}", false),
    ] {
        assert_eq!(metrics.contains(line), is_told, "{line}\n{metrics}");
    }
    // Once none is left that could answer, that is said.
    world.clock.advance(seconds(366 * 86_400));
    world.responder.refresh().await.unwrap();
    let reasons = world.responder.not_ready();
    assert!(reasons.len() == 1 && reasons[0].contains("has ended: demo, other"), "{reasons:?}");
}

#[tokio::test]
async fn responder_certificates_are_swapped_in_memory() {
    let world = world().await;
    let embedded = |response: &BasicResponse| response.certificates[0].clone();
    let first = world.ask_one("0a").await;
    let newer = world.responder_certificate("1002", seconds(86_400 * 7));
    world.store.set_responder(Some(newer.clone()));
    world.clock.advance(seconds(5));
    world.responder.refresh().await.unwrap();
    assert_eq!(embedded(&world.ask_one("0b").await), newer.der);
    assert_eq!(embedded(&world.ask_one("0a").await), embedded(&first), "a kept answer is still valid");
    // Past three quarters of its life the kept answer is signed again.
    world.clock.advance(seconds(2701));
    world.responder.refresh().await.unwrap();
    assert_eq!(embedded(&world.ask_one("0a").await), newer.der);

    // A certificate of another key, or not from the authority, is not used.
    let stranger = World::new(world.clock.now(), ResponderConfig::default());
    let mut forged = stranger.responder_certificate("1003", seconds(1000));
    forged.spki_sha256 = newer.spki_sha256;
    world.store.set_responder(Some(forged));
    world.clock.advance(seconds(5));
    world.responder.refresh().await.unwrap();
    assert_eq!(embedded(&world.ask_one("0b").await), newer.der);
    // One that was revoked takes its answers with it.
    world.store.set_responder(None);
    world.clock.advance(seconds(5));
    world.responder.refresh().await.unwrap();
    assert_eq!(world.ask(&world.request(&["0a"], None)).await, Reply::Error(ResponseStatus::TryLater));
}

/// The worker's clock is ahead of the responder's: its newest certificate begins later.
#[tokio::test]
async fn a_certificate_that_begins_later_takes_no_valid_ones_place() {
    let world = world().await;
    let embedded = |response: &BasicResponse| response.certificates[0].clone();
    let before = embedded(&world.ask_one("0a").await);
    // It is dated a minute back: so it begins in 100 seconds.
    world.clock.set(NOW.plus(seconds(160)));
    let later = world.responder_certificate("1002", seconds(86_400 * 7));
    world.clock.set(NOW);
    assert_eq!(later.not_before, NOW.plus(seconds(100)));
    world.store.set_responder(Some(later.clone()));
    // Answers are dated a minute back as well, and that minute must be the certificate's.
    for after in [5, 99, 159] {
        world.clock.set(NOW.plus(seconds(after)));
        world.responder.refresh().await.unwrap();
        assert_eq!(world.responder.not_ready(), Vec::<String>::new());
        let fresh = world.verified(&world.ask(&world.request(&["0a"], Some(&[1]))).await);
        assert_eq!(embedded(&fresh), before);
    }
    // The next look is five seconds after the last.
    world.clock.set(NOW.plus(seconds(164)));
    world.responder.refresh().await.unwrap();
    assert_eq!(embedded(&world.ask_one("0b").await), later.der);
}

/// While a later one is awaited the one in use may be revoked, and what it signed goes with it.
#[tokio::test]
async fn a_revoked_certificate_does_not_stay_for_one_that_begins_later() {
    let world = world().await;
    let current = Certificate::from_der(&world.ask_one("0a").await.certificates[0]).unwrap().serial();
    world.clock.set(NOW.plus(seconds(160)));
    world.store.set_responder(Some(world.responder_certificate("1002", seconds(86_400 * 7))));
    world.clock.set(NOW.plus(seconds(5)));
    world.store.revoke(current, RevocationReason::KeyCompromise, world.clock.now());
    world.responder.refresh().await.unwrap();
    assert_eq!(world.ask(&world.request(&["0a"], None)).await, Reply::Error(ResponseStatus::TryLater));
    world.clock.set(NOW.plus(seconds(160)));
    world.responder.refresh().await.unwrap();
    assert_eq!(status(&world.ask_one("0a").await), CertStatus::Good);
}
