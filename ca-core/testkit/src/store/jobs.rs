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
