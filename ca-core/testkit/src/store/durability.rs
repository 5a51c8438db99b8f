//! What lasts: over restarts, over pruning, under load.

use std::time::Duration;

use ca_core::model::{AuthorizationStatus, Fault, Job, JobKind, OrderStatus, Problem, ProblemType, RequestState};
use ca_core::ports::{StoreError, StoreResult};

use super::revocation::revocation;
use super::{StoreFactory, World, assert_fenced, at, audit, together};

/// Everything that was answered is there in the next process; leases of the last one are void.
pub async fn a_new_process_finds_everything(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let account = world.account("one").await.account;
    let serial = world.certificate(5000).await;
    world.store.revoke(&revocation(serial, 10)).await.unwrap();
    let (order, request) = world.leased_order(&account.id).await;
    world.store.ensure_job(&Job { kind: JobKind::Prune, due: at(0) }).await.unwrap();
    let jobs = world.store.lease_jobs(&World::worker(), &world.lease(), at(10), at(60), 10).await.unwrap();
    let trail = world.store.audit_after(0, 1000).await.unwrap();

    let world = world.reopen(factory).await;
    let store = &world.store;
    assert_eq!(store.account(&account.id).await.unwrap().unwrap().thumbprint, account.thumbprint);
    assert_eq!(store.order(&order).await.unwrap().unwrap().status, OrderStatus::Processing);
    assert_eq!(store.ledger_head(&World::authority()).await.unwrap(), 1);
    assert_eq!(store.audit_after(0, 1000).await.unwrap(), trail);
    assert_fenced(store.postpone_request(&request.id, &request.lease, at(1)).await);
    assert_eq!(world.lease_one(&request.id, 11, 60).await.attempts, 1, "queued again at once");
    let again = store.lease_jobs(&World::worker(), &world.lease(), at(11), at(60), 10).await.unwrap();
    assert_eq!(again.len(), jobs.len());
    assert_eq!(store.append_audit(&audit("x")).await.unwrap(), trail.len() as u64 + 1, "the chain goes on");
}

/// What expired without fruit goes; certificates and the orders behind them stay.
pub async fn pruning_keeps_certificates(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let unused = world.order(&account).await.id;
    let authorization = store.authorizations_of(&unused).await.unwrap()[0].clone();
    assert_eq!(authorization.status, AuthorizationStatus::Valid);
    let (released, request) = world.leased_order(&account).await;
    let serial = world.serial();
    let intent = world.intent(&World::origin(&released, &request, &account), serial);
    store.record_intent(&intent).await.unwrap();
    store.complete(&World::completion(&intent, b"certificate")).await.unwrap();
    let (processing, waiting) = world.leased_order(&account).await;
    store.spend_nonce("n", at(60), &audit("x")).await.unwrap();

    assert_eq!(store.prune(at(59), 100).await.unwrap(), 0);
    assert_eq!(store.prune(at(1000), 1).await.unwrap(), 1, "no more than asked for");
    assert_eq!(store.prune(at(1000), 100).await.unwrap(), 1);
    assert_eq!(store.order(&unused).await.unwrap(), None);
    assert_eq!(store.authorization(&authorization.id).await.unwrap(), None);
    store.spend_nonce("n", at(2000), &audit("x")).await.unwrap();

    let (refused, ended) = world.leased_order(&account).await;
    let problem = Problem::new(ProblemType::BadCsr, "refused");
    store.refuse_request(&ended.id, &ended.lease, Fault::of(problem.kind), &problem, &audit("order.refuse")).await.unwrap();
    assert_eq!(store.prune(at(1000), 100).await.unwrap(), 1);
    assert_eq!(store.order(&refused).await.unwrap(), None);
    let gone = store.await_request(&ended.id, Duration::ZERO).await;
    assert!(matches!(gone, Err(StoreError::NotFound(_))), "a request goes with its order");

    let far = at(10 * 365 * 86_400);
    store.prune(far, 100).await.unwrap();
    assert_eq!(store.order(&released).await.unwrap().unwrap().serial, Some(serial));
    assert_eq!(store.certificate(&World::authority(), &serial).await.unwrap().unwrap().der, b"certificate");
    let gone = store.await_request(&request.id, Duration::ZERO).await;
    assert!(matches!(gone, Err(StoreError::NotFound(_))), "the old request went");
    assert_eq!(store.await_request(&waiting.id, Duration::ZERO).await.unwrap(), RequestState::Waiting);
    assert_eq!(store.order(&processing).await.unwrap().unwrap().status, OrderStatus::Processing);
    assert_eq!(store.account(&account).await.unwrap().map(|a| a.id), Some(account));
}

/// Many at once, some of which fail: each gets its own answer, and the chain has exactly those that succeeded.
pub async fn concurrent_commands_all_commit(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let before = store.audit_after(0, 1000).await.unwrap().len() as u64;
    let entry = audit("load");
    let command = |index: u64| {
        let entry = &entry;
        async move {
            // Every fourth spends a nonce that is spent already, but for the first.
            if index.is_multiple_of(4) {
                store.spend_nonce("the same", at(60), entry).await.map(|()| 0)
            } else {
                store.append_audit(entry).await
            }
        }
    };
    let results: Vec<StoreResult<u64>> = together((0..200).map(command).collect()).await;
    let mut numbers: Vec<u64> = results.iter().flatten().copied().filter(|number| *number != 0).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 150);
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 151);
    assert_eq!(results.iter().filter(|r| matches!(r, Err(StoreError::Conflict(_)))).count(), 49);
    let rows = store.audit_after(before, 1000).await.unwrap();
    assert_eq!(rows.len(), 151);
    assert_eq!(rows.last().unwrap().number, before + 151);
}
