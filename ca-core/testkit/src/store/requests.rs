//! The queue from the front end to the worker.

use std::time::Duration;

use ca_core::model::{Account, Evidence, Fault, NewAccount, OrderStatus, Problem, ProblemType, RequestBody, RequestState, SigningRequest};
use ca_core::ports::{KEY_CHANGED, MAX_LEASE_OCTETS, StoreError};

use crate::acme::{self, ClientKey};

use super::{StoreFactory, World, assert_fenced, at, audit, together};

/// A leased request carries everything that proves it, verbatim.
pub async fn requests_carry_their_evidence(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let entry = audit("x");
    let account = world.account("one").await;
    let id = account.account.id.clone();
    let mut key_changes = Vec::new();
    for (from, to) in [("one", "second"), ("second", "third")] {
        key_changes.push(acme::key_change(&ClientKey::named(from), &ClientKey::named(to), &id));
        world.change_key_by(&id, from, to, key_changes.last().unwrap()).await.unwrap();
    }
    let new = world.new_order(&id, &["a.demo.test"]);
    let order = store.create_order(&new, &entry).await.unwrap().id;
    let finalize = "{\"payload\":\"\\u0000 \u{e9}\"}";
    let request = world.finalize(&order, finalize, 5).await.unwrap();

    let leased = world.lease_one(&request, 5, 60).await;
    assert_eq!(leased.body, RequestBody::Finalize { order, account: id, authority: World::authority(), profile: "client".to_owned() });
    let expected = Evidence {
        grant: Some(World::grant("grant-1", None).evidence),
        new_account: account.jws,
        key_changes,
        new_order: Some(new.jws),
        finalize: Some(finalize.to_owned()),
        finalized_after: Some(2),
        validations: Vec::new(),
    };
    assert_eq!(leased.evidence, expected);
    assert_eq!((leased.attempts, leased.received_at), (0, at(5)));

    let orphan = world.new_account("two", "unknown-grant");
    let request = store.queue_account(&orphan, &entry).await.unwrap();
    let leased = world.lease_one(&request, 5, 60).await;
    assert_eq!((leased.evidence.grant, leased.evidence.new_order), (None, None));
    assert_eq!(leased.body, RequestBody::Account { account: orphan.account.id });
}

/// RFC 8555 §7.3.5: a request by a key that is the account's no longer is not taken in, and the order stays as it is. What was
/// taken in before stays what it was, and the record says after how many changes that was.
pub async fn a06_what_waits_stays_its_key_s(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let entry = audit("x");
    let account = world.account("one").await.account.id;
    let orders = [world.order(&account).await.id, world.order(&account).await.id, world.order(&account).await.id];
    let first = world.finalize(&orders[0], "by the first key", 1).await.unwrap();
    world.change_key(&account, "one", "second").await.unwrap();
    let late = store.queue_finalize(&orders[1], &World::thumbprint("one"), "by the first key", at(1), &entry).await;
    assert!(matches!(&late, Err(StoreError::Conflict(reason)) if reason == KEY_CHANGED), "{late:?}");
    assert_eq!(store.order(&orders[1]).await.unwrap().unwrap().status, OrderStatus::Ready);
    let second = world.finalize(&orders[1], "by the second key", 1).await.unwrap();
    world.change_key(&account, "second", "one").await.unwrap();
    let third = world.finalize(&orders[2], "by the first key again", 1).await.unwrap();

    let leased = store.lease_requests(&World::worker(), &world.lease(), at(1), at(60), 10).await.unwrap();
    assert_eq!(leased.iter().map(|request| &request.id).collect::<Vec<_>>(), [&first, &second, &third]);
    assert_eq!(leased.iter().map(|request| request.evidence.finalized_after).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    assert!(leased.iter().all(|request| request.evidence.key_changes.len() == 2), "with every change, for the worker to follow");
}

/// What a lease brings is bounded, however much each request has; the others are another lease's.
pub async fn the_evidence_of_a_lease_is_bounded(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let large = "x".repeat(60 * 1024);
    let mut key = "one".to_owned();
    for number in 0..8 {
        let next = format!("key {number}");
        let jws = acme::key_change(&ClientKey::named(&key), &ClientKey::named(&next), &account);
        world.change_key_by(&account, &key, &next, &acme::padded(&jws, large.len())).await.unwrap();
        key = next;
    }
    let mut requests = Vec::new();
    for _ in 0..40 {
        let order = world.order(&account).await.id;
        requests.push(world.finalize(&order, &large, 1).await.unwrap());
    }
    let mut seen = Vec::new();
    while seen.len() < requests.len() {
        let leased = store.lease_requests(&World::worker(), &world.lease(), at(1), at(60), 100).await.unwrap();
        let octets =
            |request: &SigningRequest| request.evidence.key_changes.iter().chain(&request.evidence.finalize).map(String::len).sum();
        let sizes: Vec<usize> = leased.iter().map(octets).collect();
        assert!(!sizes.is_empty() && sizes[1..].iter().sum::<usize>() <= MAX_LEASE_OCTETS, "{sizes:?}");
        seen.extend(leased.into_iter().map(|request| request.id));
    }
    assert_eq!(seen, requests, "each once, oldest first");
}

/// One holder at a time; who lost the lease is fenced.
pub async fn a_lease_is_held_by_one(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let mut requests = Vec::new();
    for _ in 0..3 {
        let order = world.order(&account).await.id;
        requests.push(world.finalize(&order, "jws", 1).await.unwrap());
    }
    let lease = |now: i64, limit: u32| {
        let token = world.lease();
        async move { store.lease_requests(&World::worker(), &token, at(now), at(now + 50), limit).await.unwrap() }
    };
    let both = together(vec![lease(1, 2), lease(1, 2)]).await;
    let order_of_leases: Vec<_> = both.iter().flatten().map(|r| r.id.clone()).collect();
    assert_eq!(order_of_leases, requests, "each once, oldest first");
    assert!(lease(50, 10).await.is_empty());
    let again = lease(51, 10).await;
    assert_eq!(again.iter().map(|r| r.attempts).collect::<Vec<_>>(), [1, 1, 1]);

    let (lost, held) = (&both[0][0], &again[0]);
    let problem = Problem::new(ProblemType::ServerInternal, "x");
    assert_fenced(store.refuse_request(&lost.id, &lost.lease, Fault::of(problem.kind), &problem, &audit("x")).await);
    assert_fenced(store.postpone_request(&lost.id, &lost.lease, at(70)).await);
    store.postpone_request(&held.id, &held.lease, at(70)).await.unwrap();
    assert_fenced(store.postpone_request(&held.id, &held.lease, at(70)).await);
    assert!(lease(69, 10).await.is_empty());
    assert_eq!(lease(70, 10).await.len(), 1);
}

/// The clock of a front end may be ahead of the worker's: what it took in is due at once, and again when its lease ends.
pub async fn a_new_request_is_due_at_once(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let order = world.order(&account).await.id;
    let request = world.finalize(&order, "jws", 100).await.unwrap();
    world.lease_one(&request, 70, 80).await;
    assert!(store.lease_requests(&World::worker(), &world.lease(), at(79), at(90), 10).await.unwrap().is_empty());
    let again = world.lease_one(&request, 80, 90).await;
    store.postpone_request(&again.id, &again.lease, at(95)).await.unwrap();
    assert!(store.lease_requests(&World::worker(), &world.lease(), at(94), at(120), 10).await.unwrap().is_empty(), "this has a time");
    world.lease_one(&request, 95, 120).await;
    assert_eq!(store.backlog().await.unwrap(), (1, Some(at(95))));

    let ahead = world.new_account("two", "grant-1");
    let ahead = NewAccount { account: Account { created_at: at(500), ..ahead.account }, ..ahead };
    let request = store.queue_account(&ahead, &audit("account.queue")).await.unwrap();
    world.lease_one(&request, 96, 120).await;
}

/// Waiting ends when the request does; a refusal makes the order invalid.
pub async fn waiting_ends_with_the_request(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let (order, request) = world.leased_order(&account).await;
    assert_eq!(store.await_request(&request.id, Duration::ZERO).await.unwrap(), RequestState::Waiting);
    let problem = Problem::new(ProblemType::BadCsr, "the key is weak");
    let refuse = async {
        store.refuse_request(&request.id, &request.lease, Fault::of(problem.kind), &problem, &audit("order.refuse")).await.unwrap();
        RequestState::Waiting
    };
    type Pinned<'a> = std::pin::Pin<Box<dyn Future<Output = RequestState> + 'a>>;
    let wait = || -> Pinned<'_> { Box::pin(async { store.await_request(&request.id, Duration::from_secs(600)).await.unwrap() }) };
    let states = together(vec![wait(), wait(), Box::pin(refuse)]).await;
    let refused = RequestState::Refused { problem: problem.clone() };
    assert_eq!(states[..2], [refused.clone(), refused]);
    let order = store.order(&order).await.unwrap().unwrap();
    assert_eq!((order.status, order.error), (OrderStatus::Invalid, Some(problem)));
    let missing = store.await_request(&"missing".parse().unwrap(), Duration::ZERO).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))));
}

/// How many wait and since when.
pub async fn the_backlog_is_told(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    assert_eq!(store.backlog().await.unwrap(), (0, None));
    for seconds in [20, 10, 30] {
        let order = world.order(&account).await.id;
        world.finalize(&order, "jws", seconds).await.unwrap();
    }
    assert_eq!(store.backlog().await.unwrap(), (3, Some(at(10))));
    // The queue was told of them, so this does not wait.
    store.await_requests(Duration::from_secs(600)).await;
}
