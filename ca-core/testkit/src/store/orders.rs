//! Orders and authorizations.

use ca_core::model::{AuthorizationStatus, OrderStatus};
use ca_core::ports::StoreError;

use super::{StoreFactory, World, assert_conflict, assert_not_found, at, audit, together};

/// Of concurrent finalizations of one order, one is queued (lesson 27).
pub async fn exactly_one_finalize_wins(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let account = world.account("one").await.account.id;
    let order = world.order(&account).await.id;
    let results = together((0..16).map(|_| world.finalize(&order, "jws", 1)).collect()).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1, "{results:?}");
    assert!(results.iter().all(|r| matches!(r, Ok(_) | Err(StoreError::Conflict(_)))), "{results:?}");
    assert_eq!(world.store.order(&order).await.unwrap().unwrap().status, OrderStatus::Processing);
    assert_eq!(world.store.lease_requests(&World::worker(), &world.lease(), at(1), at(60), 10).await.unwrap().len(), 1);

    let late = world.order(&account).await.id;
    assert_conflict(world.finalize(&late, "jws", 1000).await);
    assert_not_found(world.finalize(&"missing".parse().unwrap(), "jws", 1).await);
}

/// The same order twice is one order; a page follows its cursor.
pub async fn orders_are_stored_once_and_listed(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let other = world.account("two").await.account.id;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let new = world.new_order(&account, &["10.0.0.1", "*.demo.test", "a.demo.test"]);
        let stored = store.create_order(&new, &audit("order.create")).await.unwrap();
        assert_eq!(stored, new.order);
        assert_eq!(store.create_order(&new, &audit("order.create")).await.unwrap(), stored);
        assert_eq!(store.order(&stored.id).await.unwrap(), Some(stored.clone()));
        assert_eq!(store.authorizations_of(&stored.id).await.unwrap(), new.authorizations);
        assert_eq!(store.authorization(&new.authorizations[1].id).await.unwrap().as_ref(), Some(&new.authorizations[1]));
        ids.insert(0, stored.id);
    }
    world.order(&other).await;
    let first = store.orders_of(&account, None, at(1), 2).await.unwrap();
    assert_eq!((first.orders.as_slice(), first.next.as_ref()), (&ids[..2], Some(&ids[1])));
    let second = store.orders_of(&account, first.next.as_ref(), at(1), 3).await.unwrap();
    assert_eq!((second.orders.as_slice(), second.next), (&ids[2..], None));
    assert_eq!(store.orders_of(&other, Some(&ids[1]), at(1), 3).await.unwrap().orders, [], "another account's cursor shows nothing");
    // §7.1.2.1: invalid ones are left out, those too that nobody has ticked; one that is being processed does not lapse.
    world.finalize(&ids[3], "finalize", 999).await.unwrap();
    assert_eq!(store.orders_of(&account, None, at(999), 10).await.unwrap().orders, ids);
    assert_eq!(store.orders_of(&account, None, at(1000), 10).await.unwrap().orders, ids[3..4]);
}

/// RFC 9773 §5: one order replaces a certificate; an invalid one no longer does.
pub async fn a_certificate_is_replaced_once(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let serial = world.certificate(5000).await;
    let replacing = |created: i64| {
        let mut new = world.new_order(&account, &["a.demo.test"]);
        (new.order.replaces, new.order.created_at) = (Some(serial), at(created));
        new.order.expires = at(created + 1000);
        new
    };
    let entry = audit("order.create");
    let first = store.create_order(&replacing(0), &entry).await.unwrap();
    let replaced_by = || async { store.certificate(&World::authority(), &serial).await.unwrap().unwrap().replaced_by };
    assert_eq!(replaced_by().await.as_ref(), Some(&first.id));
    assert_conflict(store.create_order(&replacing(10), &entry).await);
    // It lapses without having been finalized.
    let second = store.create_order(&replacing(1000), &entry).await.unwrap();
    assert_eq!(replaced_by().await.as_ref(), Some(&second.id));
    assert_eq!(store.order(&first.id).await.unwrap().unwrap().status, OrderStatus::Invalid);
}

/// A deactivated authorization takes its order with it (RFC 8555 §7.1.6).
pub async fn a_lost_authorization_ends_its_order(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let order = world.order(&account).await.id;
    let id = store.authorizations_of(&order).await.unwrap()[0].id.clone();
    let entry = audit("authorization.deactivate");
    assert_eq!(store.deactivate_authorization(&id, &entry).await.unwrap().status, AuthorizationStatus::Deactivated);
    assert_eq!(store.order(&order).await.unwrap().unwrap().status, OrderStatus::Invalid);
    assert_conflict(store.deactivate_authorization(&id, &entry).await);
    assert_conflict(world.finalize(&order, "jws", 1).await);
    assert_eq!(store.orders_of(&account, None, at(1), 10).await.unwrap().orders, []);
}
