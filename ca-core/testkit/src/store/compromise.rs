//! Compromised keys: what is to do stays to do until no certificate with the key is left.

use ca_core::model::{
    Actor, CertificateName, CompromisedKey, KeyBlock, Origin, Outcome, RevocationReason, RevocationRequest, SerialStatus,
};
use ca_core::pki::{SerialNumber, sha256};
use ca_core::ports::{KEY_BLOCKED, StoreError};

use super::revocation::revocation;
use super::{StoreFactory, World, assert_conflict, at, audit, together};

fn operator() -> Actor {
    Actor::Operator { name: "ops".to_owned(), fingerprint: "SHA256:x".to_owned() }
}

fn for_the_key(serial: SerialNumber) -> RevocationRequest {
    RevocationRequest { at: at(400), actor: Actor::system("worker"), ..revocation(serial, 400) }
}

/// ACME requirement A11: with the revocation that tells of it a key is to do, a new process finds it, and it ends with its last
/// certificate; until then, and after, nothing is recorded for the key.
pub async fn a11_a_compromised_key_is_to_do_until_no_certificate_is_left(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let authority = World::authority();
    // Every certificate of the world has this key.
    let key = sha256(b"key");
    let [expired, cause, held, stands, last] = [
        world.certificate(350).await,
        world.certificate(5000).await,
        world.certificate(5000).await,
        world.certificate(5000).await,
        world.certificate(5000).await,
    ];
    let store = &world.store;
    store.revoke(&RevocationRequest { reason: RevocationReason::CertificateHold, ..revocation(held, 100) }).await.unwrap();
    for actor in [Actor::system("conformance"), Actor::Anonymous] {
        store.revoke(&RevocationRequest { actor, ..revocation(expired, 150) }).await.unwrap();
    }
    let superseded = RevocationRequest { actor: operator(), reason: RevocationReason::Superseded, ..revocation(last, 160) };
    store.revoke(&superseded).await.unwrap();
    assert_eq!(store.compromises(10).await.unwrap(), [], "nobody's word, and another reason");

    let asked = RevocationRequest { actor: operator(), ..revocation(cause, 200) };
    let results = together((0..4).map(|_| store.revoke(&asked)).collect()).await;
    assert!(results.iter().all(Result::is_ok));
    let found = store.compromises(10).await.unwrap();
    let [to_do] = found.as_slice() else { panic!("{found:?}") };
    let name = CertificateName { authority: authority.clone(), serial: cause };
    assert_eq!((&to_do.cause, to_do.spki_sha256, &to_do.account), (&name, key, &None));
    let row = store.audit_after(to_do.row - 1, 1).await.unwrap().remove(0);
    let text = String::from_utf8(row.leaf).unwrap();
    assert!(text.contains("certificate.revoke") && text.contains(&cause.to_string()) && text.contains("\"ops\""), "{text}");

    let blocked = store.record_intent(&world.intent(&Origin::Ceremony, world.serial())).await;
    assert!(matches!(&blocked, Err(StoreError::Conflict(text)) if text == KEY_BLOCKED), "{blocked:?}");

    let world = world.reopen(factory).await;
    let store = &world.store;
    assert_eq!(store.compromises(10).await.unwrap(), std::slice::from_ref(to_do), "a new process finds it");
    let left = async |now| {
        let found = store.certificates_of_compromise(to_do, at(now), 10).await.unwrap();
        found.into_iter().map(|c| c.serial).collect::<Vec<_>>()
    };
    let mut both = left(400).await;
    both.sort_unstable();
    let mut expected = vec![held, stands];
    expected.sort_unstable();
    assert_eq!(both, expected, "not what has expired, nor what is revoked for good");
    assert_eq!(store.certificates_of_compromise(to_do, at(400), 1).await.unwrap().len(), 1);

    // A certificate that is not of this key, another reason, and a key that is not to do.
    let unknown = for_the_key(world.serial());
    let other_reason = RevocationRequest { reason: RevocationReason::Superseded, ..for_the_key(stands) };
    let not_to_do = CompromisedKey { number: to_do.number + 1, ..to_do.clone() };
    let other_key = CompromisedKey { spki_sha256: sha256(b"other"), ..to_do.clone() };
    for (key, request) in
        [(to_do, &unknown), (to_do, &other_reason), (&not_to_do, &for_the_key(stands)), (&other_key, &for_the_key(stands))]
    {
        assert_conflict(store.revoke_compromised(key, &[for_the_key(held), request.clone()]).await);
    }
    assert_eq!(left(400).await.len(), 2, "all in one transaction, or none");
    assert!(!store.end_compromise(to_do, at(400), None).await.unwrap(), "there is something left");

    assert_eq!(store.revoke_compromised(to_do, &[for_the_key(held)]).await.unwrap(), 1);
    assert_eq!(store.revoke_compromised(to_do, &[for_the_key(held), for_the_key(stands)]).await.unwrap(), 1, "again changes nothing");
    assert_eq!(left(400).await, []);
    // What was on hold has not been good since.
    let compromised = |when| Some(SerialStatus::Revoked { at: at(when), reason: RevocationReason::KeyCompromise });
    assert_eq!(store.status(&authority, &held).await.unwrap(), compromised(100));
    assert_eq!(store.status(&authority, &stands).await.unwrap(), compromised(400));
    assert_eq!(store.certificate(&authority, &stands).await.unwrap().unwrap().follows, Some(name));
    assert_eq!(store.certificate(&authority, &cause).await.unwrap().unwrap().follows, None);
    let rows = store.audit_after(0, 1000).await.unwrap();
    let follows = rows.iter().filter(|row| String::from_utf8_lossy(&row.leaf).contains("\"follows\":")).count();
    assert_eq!(follows, 2, "each names its cause");
    let listed: Vec<_> = store.blocked_keys(10).await.unwrap().into_iter().map(|key| key.block).collect();
    assert!(
        matches!(listed.as_slice(), [KeyBlock::Compromised { serial, .. }, KeyBlock::Compromised { .. }] if *serial == cause),
        "what follows is not told again: {listed:?}"
    );

    assert!(store.end_compromise(to_do, at(400), None).await.unwrap());
    assert!(!store.end_compromise(to_do, at(400), None).await.unwrap(), "it has ended");
    assert_eq!(store.compromises(10).await.unwrap(), []);
    let after = store.record_intent(&world.intent(&Origin::Ceremony, world.serial())).await;
    assert!(matches!(&after, Err(StoreError::Conflict(text)) if text == KEY_BLOCKED), "{after:?}");
}

/// A cause that does not hold ends it, on record.
pub async fn a11_a_compromise_is_refused_on_record(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let (cause, stands) = (world.certificate(5000).await, world.certificate(5000).await);
    store.revoke(&RevocationRequest { actor: operator(), ..revocation(cause, 200) }).await.unwrap();
    let to_do = store.compromises(10).await.unwrap().remove(0);
    let mut refusal = audit("key.follow");
    refusal.outcome = Outcome::Refused { reason: "it does not hold".to_owned() };
    for ended in [true, false] {
        assert_eq!(store.end_compromise(&to_do, at(300), Some(&refusal)).await.unwrap(), ended);
    }
    assert_eq!(store.status(&World::authority(), &stands).await.unwrap(), Some(SerialStatus::Good));
    let rows = store.audit_after(0, 1000).await.unwrap();
    assert_eq!(rows.iter().filter(|row| String::from_utf8_lossy(&row.leaf).contains("it does not hold")).count(), 1);
}
