//! What a grant has issued, and its cap.

use ca_core::log::intent_leaf;
use ca_core::model::{Abandonment, Actor, GrantUse, Intent, Origin};
use ca_core::ports::{GRANT_CAP_REACHED, StoreError};

use super::{StoreFactory, World, at};

/// ACME requirement A14: an intent is held against its grant's cap as it is recorded. Attempts that were given up are not
/// counted, nor what is older than the cap's time, nor other grants' certificates.
pub async fn a14_a_cap_is_counted_as_the_intent_is_recorded(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let id = "grant-1".parse().unwrap();
    let account = world.account("one").await.account.id;
    let attempt = async || -> Intent {
        let (order, request) = world.leased_order(&account).await;
        let mut origin = World::origin(&order, &request, &account);
        let Origin::Order { cap, .. } = &mut origin else { unreachable!("an order's origin") };
        *cap = Some("2/hour".parse().unwrap());
        world.intent(&origin, world.serial())
    };
    let used = async |since: i64, at_most: u32| store.grant_use(&id, at(since), at_most).await.unwrap();
    assert_eq!(used(0, 10).await, GrantUse::default());
    world.certificate(5000).await;

    let given_up = attempt().await;
    store.record_intent(&given_up).await.unwrap();
    let (attempt_id, authority) = (given_up.attempt.clone(), given_up.authority.clone());
    let abandonment =
        Abandonment { attempt: attempt_id, authority, reason: "the device is away".to_owned(), actor: Actor::system("worker"), at: at(3) };
    store.abandon(&abandonment).await.unwrap();
    assert_eq!(used(0, 10).await, GrantUse::default(), "neither what was given up nor a certificate of no grant");
    // Its order goes on, with a new serial.
    let Origin::Order { request, .. } = &given_up.origin else { unreachable!("an order's origin") };
    let leased = store.lease_requests(&World::worker(), &world.lease(), at(61), at(120), 10).await.unwrap();
    assert_eq!(leased.iter().map(|r| &r.id).collect::<Vec<_>>(), [request]);
    let mut again = given_up.clone();
    let Origin::Order { lease, .. } = &mut again.origin else { unreachable!("an order's origin") };
    *lease = leased[0].lease.clone();
    let mut again = world.intent(&again.origin, world.serial());
    again.at = at(62);
    again.leaf = intent_leaf(&again);
    store.record_intent(&again).await.unwrap();
    store.complete(&World::completion(&again, b"first")).await.unwrap();

    let second = attempt().await;
    store.record_intent(&second).await.unwrap();
    assert_eq!(used(0, 10).await, GrantUse { certificates: 2, oldest: Some(at(2)) });
    assert_eq!(used(0, 1).await, GrantUse { certificates: 1, oldest: Some(at(62)) }, "the newest first");
    assert_eq!(used(2, 10).await.certificates, 1, "only what came after");
    store.record_intent(&second).await.unwrap();
    store.complete(&World::completion(&second, b"second")).await.unwrap();

    let third = attempt().await;
    let refused = store.record_intent(&third).await;
    assert!(matches!(&refused, Err(StoreError::Conflict(text)) if text == GRANT_CAP_REACHED), "{refused:?}");
    assert_eq!(used(0, 10).await.certificates, 2, "what was refused left nothing behind");
}
