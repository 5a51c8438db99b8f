//! Revocation, status, and finding certificates.

use std::time::Duration;

use ca_core::model::{
    Actor, BlockedKey, CertificateFilter, CrlScope, JobKind, KeyAsked, KeyBlock, RevocationReason, RevocationRequest, Revoked, SerialStatus,
};
use ca_core::pki::{SerialNumber, sha256};
use ca_core::ports::StoreError;

use super::{StoreFactory, World, at, audit, together};

pub(super) fn revocation(serial: SerialNumber, when: i64) -> RevocationRequest {
    RevocationRequest {
        authority: World::authority(),
        serial,
        reason: RevocationReason::KeyCompromise,
        invalidity_date: Some(at(when - 50)),
        actor: Actor::system("conformance"),
        at: at(when),
        correlation: "c".to_owned(),
    }
}

/// Ledger numbers have no gaps, whoever comes first; a second revocation changes nothing.
pub async fn revocation_is_numbered_in_order(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let authority = World::authority();
    let mut serials = Vec::new();
    for _ in 0..20 {
        serials.push(world.certificate(5000).await);
    }
    assert_eq!(store.ledger_head(&authority).await.unwrap(), 0);
    let requests: Vec<_> = serials.iter().chain(&serials[..5]).map(|serial| revocation(*serial, 100)).collect();
    let results: Vec<_> = together(requests.iter().map(|request| store.revoke(request)).collect()).await;
    let mut numbers: Vec<u64> = Vec::new();
    for result in results {
        match result.unwrap() {
            Revoked::Now { number } => numbers.push(number),
            other => assert_eq!(other, Revoked::Already),
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    assert_eq!(store.ledger_head(&authority).await.unwrap(), 20);
    let page = store.ledger_after(&authority, 15, 3).await.unwrap();
    assert_eq!(page.iter().map(|e| e.number).collect::<Vec<_>>(), [16, 17, 18]);
    store.await_ledger(Duration::from_secs(600)).await;

    let status = store.status(&authority, &serials[0]).await.unwrap();
    assert_eq!(status, Some(SerialStatus::Revoked { at: at(100), reason: RevocationReason::KeyCompromise }));
    assert_eq!(store.revoke(&revocation(world.serial(), 100)).await.unwrap(), Revoked::NotFound);
    let job = JobKind::PublishCrl { authority: authority.clone(), scope: CrlScope::FULL };
    assert_eq!(store.jobs(10).await.unwrap().iter().map(|j| (&j.kind, j.due)).collect::<Vec<_>>(), [(&job, at(100))]);

    let entries = store.revoked_entries(&authority, &CrlScope::FULL, None, 100).await.unwrap();
    assert_eq!(entries.len(), 20);
    assert!(entries.windows(2).all(|pair| pair[0].serial < pair[1].serial), "sorted by serial number");
    assert_eq!((entries[0].revoked_at, entries[0].invalidity_date), (at(100), Some(at(50))));
    let rest = store.revoked_entries(&authority, &CrlScope::FULL, Some(&entries[17].serial), 100).await.unwrap();
    assert_eq!(rest, entries[18..]);
    assert!(store.revoked_entries(&authority, &CrlScope(1), None, 100).await.unwrap().is_empty());
}

/// Filters, pages, and the newest one of a key.
pub async fn certificates_are_found(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let authority = World::authority();
    let mut serials = Vec::new();
    for not_after in [1000, 2000, 3000] {
        serials.insert(0, world.certificate(not_after).await);
    }
    store.revoke(&revocation(serials[0], 100)).await.unwrap();
    let newest = store.newest_for_key(&authority, "client", &sha256(b"key")).await.unwrap();
    assert_eq!(newest.map(|c| c.serial), Some(serials[1]), "the newest that is not revoked");
    assert_eq!(store.newest_for_key(&authority, "client", &sha256(b"other")).await.unwrap(), None);
    assert_eq!(store.newest_for_key(&authority, "server", &sha256(b"key")).await.unwrap(), None);

    let filters: [(CertificateFilter, &[SerialNumber]); 9] = [
        (CertificateFilter::default(), &serials),
        (CertificateFilter { revoked: Some(true), ..Default::default() }, &serials[..1]),
        (CertificateFilter { revoked: Some(false), ..Default::default() }, &serials[1..]),
        (CertificateFilter { expires_before: Some(at(2000)), ..Default::default() }, &serials[2..]),
        (CertificateFilter { name: Some("a.demo.test".to_owned()), revoked: Some(false), ..Default::default() }, &serials[1..]),
        (CertificateFilter { name: Some("demo.test".to_owned()), ..Default::default() }, &[]),
        (CertificateFilter { authority: Some(authority.clone()), profile: Some("client".to_owned()), ..Default::default() }, &serials),
        (CertificateFilter { profile: Some("server".to_owned()), ..Default::default() }, &[]),
        (CertificateFilter { grant: Some("grant-1".parse().unwrap()), ..Default::default() }, &[]),
    ];
    for (filter, expected) in filters {
        let found: Vec<_> = store.certificates(&filter, None, 10).await.unwrap().into_iter().map(|c| c.serial).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    let page = store.certificates(&CertificateFilter::default(), Some(&serials[0]), 1).await.unwrap();
    assert_eq!(page.into_iter().map(|c| c.serial).collect::<Vec<_>>(), [serials[1]]);
    let names: Vec<_> = store.authorities().await.unwrap().into_iter().collect();
    assert_eq!(names, World::authorities(), "the default one first");
}

/// A key is blocked by a statement, or by its certificate's revocation for keyCompromise, and stays so.
pub async fn a_blocked_key_stays_blocked(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    // Every certificate of the world has this key.
    let (key, other) = (sha256(b"key"), sha256(b"other"));
    let serials = [world.certificate(5000).await, world.certificate(5000).await, world.certificate(5000).await];
    let mut request = revocation(serials[0], 100);
    request.reason = RevocationReason::Superseded;
    store.revoke(&request).await.unwrap();
    assert_eq!(store.key_use(KeyAsked::whether_blocked(key)).await.unwrap().block, None, "another reason blocks nothing");
    store.revoke(&revocation(serials[1], 200)).await.unwrap();
    store.revoke(&revocation(serials[2], 300)).await.unwrap();
    let compromised = |serial: SerialNumber, when: i64| KeyBlock::Compromised { authority: World::authority(), serial, at: at(when) };
    assert_eq!(store.key_use(KeyAsked::whether_blocked(key)).await.unwrap().block, Some(compromised(serials[1], 200)));

    let entry = audit("key.block");
    let results = together((0..4).map(|_| store.block_key(&other, "leaked", &entry)).collect()).await;
    assert_eq!(results.into_iter().filter(|r| *r.as_ref().unwrap()).count(), 1, "the first one blocks");
    assert!(!store.block_key(&other, "for another reason", &entry).await.unwrap());
    let stated = KeyBlock::Statement { reason: "leaked".to_owned(), at: entry.at };
    assert_eq!(store.key_use(KeyAsked::whether_blocked(other)).await.unwrap().block, Some(stated.clone()));
    assert_eq!(store.key_use(KeyAsked::whether_blocked(sha256(b"third"))).await.unwrap().block, None);

    // Several at once, answered in their order.
    let all = [other, sha256(b"third"), key].map(KeyAsked::whether_blocked);
    let blocks: Vec<_> = store.key_uses(&all).await.unwrap().into_iter().map(|found| found.block).collect();
    assert_eq!(blocks, [Some(stated.clone()), None, Some(compromised(serials[1], 200))]);
    let too_many = vec![KeyAsked::whether_blocked(key); KeyAsked::MAX + 1];
    assert!(matches!(store.key_uses(&too_many).await, Err(StoreError::Conflict(_))));
    let rows = store.audit_after(0, 1000).await.unwrap();
    assert_eq!(rows.iter().filter(|row| String::from_utf8_lossy(&row.leaf).contains("key.block")).count(), 1);

    let listed = store.blocked_keys(10).await.unwrap();
    let expected = [(other, stated), (key, compromised(serials[2], 300)), (key, compromised(serials[1], 200))];
    assert_eq!(listed, expected.map(|(spki_sha256, block)| BlockedKey { spki_sha256, block }));
    assert_eq!(store.blocked_keys(2).await.unwrap(), listed[..2]);
    store.prune(at(1_000_000_000), 1000).await.unwrap();
    assert_eq!(store.blocked_keys(10).await.unwrap(), listed, "nothing ends it");
}
