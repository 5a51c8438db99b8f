//! Lifecycle jobs.

use std::time::Duration;

use ca_core::model::{Completed, CrlScope, Job, JobKind, Origin};
use ca_core::plan::CRL_BATCH;

use super::revocation::revocation;
use super::{StoreFactory, World, assert_fenced, at, audit};

/// Queued once, leased by one, moved up even while leased.
pub async fn jobs_are_leased_and_moved_up(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let kind = JobKind::PublishCrl { authority: World::authority(), scope: CrlScope::FULL };
    let id = kind.id();
    for due in [500, 200, 900] {
        store.ensure_job(&Job { kind: kind.clone(), due: at(due) }).await.unwrap();
    }
    store.await_jobs(Duration::from_secs(600)).await;
    let due = || async { store.jobs(10).await.unwrap().iter().map(|j| j.due).collect::<Vec<_>>() };
    assert_eq!(due().await, [at(200)], "one job, the earliest due time");
    let lease = |now: i64| {
        let token = world.lease();
        async move { store.lease_jobs(&World::worker(), &token, at(now), at(now + 50), 10).await.unwrap() }
    };
    assert!(lease(199).await.is_empty());
    let first = lease(200).await.remove(0);
    assert_eq!((&first.id, &first.kind, first.failures), (&id, &kind, 0));
    assert!(lease(249).await.is_empty());
    let second = lease(250).await.remove(0);
    assert_fenced(store.finish_job(&id, &first.lease, at(251), at(900)).await);

    // Revoked while the CRL is being made: it is due again soon.
    let serial = world.certificate(5000).await;
    store.revoke(&revocation(serial, 252)).await.unwrap();
    let mut intent = world.crl_intent(&Origin::Job { job: id.clone(), lease: second.lease.clone() }, 1, 252, 0);
    intent.at = at(253);
    intent.leaf = ca_core::log::intent_leaf(&intent);
    store.record_intent(&intent).await.unwrap();
    assert_eq!(store.complete(&World::completion(&intent, b"crl")).await.unwrap(), Completed::Released);
    store.finish_job(&id, &second.lease, at(254), at(900)).await.unwrap();
    assert_eq!(due().await, [at(252).plus(CRL_BATCH)]);

    let third = lease(255).await.remove(0);
    assert_fenced(store.fail_job(&id, &second.lease, "no", at(300), &audit("job.fail")).await);
    store.fail_job(&id, &third.lease, "the key store is away", at(300), &audit("job.fail")).await.unwrap();
    let job = store.jobs(10).await.unwrap().remove(0);
    assert_eq!((job.due, job.failures, job.last_done), (at(300), 1, Some(at(254))));
    assert_eq!(job.last_error.as_deref(), Some("the key store is away"));
    let fourth = lease(300).await.remove(0);
    assert_eq!(fourth.failures, 1);
    store.finish_job(&id, &fourth.lease, at(301), at(900)).await.unwrap();
    let job = store.jobs(10).await.unwrap().remove(0);
    assert_eq!((job.due, job.failures, job.last_error), (at(900), 0, None));
}

/// What was leased under a clock that was ahead is free again by the right one, and due when it is wished for.
pub async fn a_lease_from_a_clock_that_was_ahead_has_ended(factory: &dyn StoreFactory) {
    const YEAR: i64 = 365 * 86_400;
    let world = World::new(factory).await;
    let (store, account) = (&world.store, world.account("one").await.account.id);
    let kind = JobKind::PublishCrl { authority: World::authority(), scope: CrlScope::FULL };
    store.ensure_job(&Job { kind: kind.clone(), due: at(YEAR) }).await.unwrap();
    let lease = |now: i64| {
        let token = world.lease();
        async move { store.lease_jobs(&World::worker(), &token, at(now), at(now + 50), 10).await.unwrap() }
    };
    let lost = lease(YEAR).await.remove(0);
    let origin = Origin::Job { job: lost.id.clone(), lease: lost.lease.clone() };
    let mut intent = world.crl_intent(&origin, 1, YEAR, 0);
    intent.at = at(YEAR);
    intent.leaf = ca_core::log::intent_leaf(&intent);
    store.record_intent(&intent).await.unwrap();
    let order = world.order(&account).await.id;
    let request = world.finalize(&order, "finalize", 1).await.unwrap();
    world.lease_one(&request, YEAR, YEAR + 50).await;

    let open = store.open_intents(at(5), at(5), 10).await.unwrap();
    assert_eq!(open.iter().map(|intent| &intent.attempt).collect::<Vec<_>>(), [&intent.attempt]);
    assert!(lease(5).await.is_empty(), "it is not due yet");
    store.ensure_job(&Job { kind, due: at(5) }).await.unwrap();
    assert_eq!(lease(5).await.len(), 1);
    assert!(lease(6).await.is_empty(), "an honest lease is held");
    assert_fenced(store.finish_job(&lost.id, &lost.lease, at(6), at(900)).await);
    let leased = world.lease_one(&request, 5, 60).await;
    store.postpone_request(&request, &leased.lease, at(YEAR)).await.unwrap();
    world.lease_one(&request, 6, 60).await;
    let none = store.lease_requests(&World::worker(), &world.lease(), at(7), at(60), 10).await.unwrap();
    assert!(none.is_empty(), "an honest lease is held");
}
