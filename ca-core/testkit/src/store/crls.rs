//! CRL numbers, entries and the current CRL.

use ca_core::model::{Completed, CrlScope, Origin};

use super::revocation::revocation;
use super::{NOW, StoreFactory, World, assert_conflict, at};

/// Invariant 7, over allocation, intent and release.
pub async fn crl_numbers_only_grow(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let (authority, scope) = (World::authority(), CrlScope::FULL);
    let base = NOW.unsigned_abs() * 65_536;
    let allocate = |seconds: i64| store.allocate_crl_number(&authority, &scope, at(seconds));
    assert_eq!(allocate(0).await.unwrap(), base);
    assert_eq!(allocate(0).await.unwrap(), base + 1);
    assert_eq!(allocate(-100).await.unwrap(), base + 2, "a clock that went back does not take the number back");
    assert_eq!(allocate(1).await.unwrap(), base + 65_536);
    assert_eq!(store.allocate_crl_number(&authority, &CrlScope(1), at(0)).await.unwrap(), base, "each scope has its own");

    let older = world.crl_intent(&Origin::Ceremony, base + 1, 0, 0);
    let newer = world.crl_intent(&Origin::Ceremony, base + 2, 10, 0);
    store.record_intent(&older).await.unwrap();
    store.record_intent(&newer).await.unwrap();
    assert_conflict(store.record_intent(&world.crl_intent(&Origin::Ceremony, base + 2, 20, 0)).await);
    assert_conflict(store.record_intent(&world.crl_intent(&Origin::Ceremony, base, 20, 0)).await);
    assert_eq!(store.complete(&World::completion(&newer, b"newer")).await.unwrap(), Completed::Released);
    assert_eq!(store.complete(&World::completion(&older, b"older")).await.unwrap(), Completed::Fenced);
    let current = store.current_crl(&authority, &scope).await.unwrap().unwrap();
    assert_eq!((current.number, current.der.as_slice()), (base + 2, b"newer".as_slice()));
    assert_eq!((current.this_update, current.next_update), (at(10), at(3610)));
}

/// RFC 5280 §3.3: an entry is on one CRL issued after the certificate's expiry before it goes.
pub async fn an_entry_stays_until_a_crl_past_its_expiry(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let (authority, scope) = (World::authority(), CrlScope::FULL);
    let short = world.certificate(100).await;
    let long = world.certificate(9000).await;
    for serial in [short, long] {
        store.revoke(&revocation(serial, 50)).await.unwrap();
    }
    let listed = || async {
        let entries = store.revoked_entries(&authority, &scope, None, 10).await.unwrap();
        entries.into_iter().map(|e| e.serial).collect::<Vec<_>>()
    };
    let publish = |number: u64, this_update: i64, ledger_number: u64| {
        let intent = world.crl_intent(&Origin::Ceremony, number, this_update, ledger_number);
        async move {
            store.record_intent(&intent).await.unwrap();
            assert_eq!(store.complete(&World::completion(&intent, b"crl")).await.unwrap(), Completed::Released);
        }
    };
    publish(1, 60, 2).await;
    assert_eq!(listed().await, [short, long], "not expired yet");
    publish(2, 150, 0).await;
    assert_eq!(listed().await, [short, long], "that CRL did not know of it");
    publish(3, 160, 2).await;
    assert_eq!(listed().await, [long]);
    // By a clock that was ahead: what has not expired by the right one comes back.
    publish(4, 10_000, 2).await;
    assert_eq!(listed().await, []);
    assert_eq!(store.relist(&authority, &scope, at(200)).await.unwrap(), 1);
    assert_eq!(listed().await, [long]);
    assert_eq!(store.relist(&authority, &CrlScope(1), at(0)).await.unwrap(), 0);
    let head = store.crl_head(&authority, &scope).await.unwrap().unwrap();
    assert_eq!((head.number, head.this_update, head.next_update, head.ledger_number), (4, at(10_000), at(13_600), 2));
    assert_eq!(store.crl_head(&authority, &CrlScope(1)).await.unwrap(), None);
}
