//! Orders that renew themselves (RFC 8739).

use ca_core::model::{
    AccountId, AutoRenewal, CertificateFilter, Completed, Job, JobId, JobKind, LeasedJob, Order, OrderId, OrderStatus, Origin, Problem,
    ProblemType, ReplacementMark, Successor,
};
use ca_core::pki::SerialNumber;
use ca_core::ports::{OWNER_ENDED, StoreError};

use super::{StoreFactory, World, assert_conflict, assert_fenced, assert_not_found, at, audit};

/// Lives of 1200 from an end at 5000, as [`World::intent`] has it, to 9000.
fn terms() -> AutoRenewal {
    AutoRenewal { start_date: None, end_date: at(9000), lifetime: 1200, lifetime_adjust: 0, allow_certificate_get: true }
}

/// A renewing order with its first certificate.
async fn renewing(world: &World, account: &AccountId) -> (OrderId, SerialNumber) {
    let mut new = world.new_order(account, &["a.demo.test"]);
    new.order.auto_renewal = Some(terms());
    let store = &world.store;
    let id = store.create_order(&new, &audit("order.create")).await.unwrap().id;
    assert_conflict(store.cancel_order(&id, None, &audit("order.cancel")).await);
    assert_eq!(store.renewing_order(&id).await.unwrap(), None, "there is no certificate yet");
    let request = world.finalize(&id, "finalize", 1).await.unwrap();
    let request = world.lease_one(&request, 1, 60).await;
    let serial = world.serial();
    let intent = world.intent(&World::origin(&id, &request, account), serial);
    store.record_intent(&intent).await.unwrap();
    assert_eq!(store.complete(&World::completion(&intent, b"first")).await.unwrap(), Completed::Released);
    (id, serial)
}

async fn lease_of(world: &World, id: &JobId, now: i64) -> Option<LeasedJob> {
    let leased = world.store.lease_jobs(&World::worker(), &world.lease(), at(now), at(now + 50), 100).await.unwrap();
    leased.into_iter().find(|job| job.id == *id)
}

fn job(order: &OrderId) -> JobKind {
    JobKind::RenewOrder { authority: World::authority(), order: order.clone() }
}

fn renewal(order: &OrderId, account: &AccountId, leased: &LeasedJob) -> Origin {
    Origin::Renewal {
        order: order.clone(),
        job: leased.id.clone(),
        lease: leased.lease.clone(),
        account: account.clone(),
        grant: "grant-1".parse().unwrap(),
        cap: None,
    }
}

/// The order's next certificate, by this job.
async fn renewed(world: &World, order: &OrderId, account: &AccountId, leased: &LeasedJob, now: i64) -> SerialNumber {
    let serial = world.serial();
    let mut intent = world.intent(&renewal(order, account, leased), serial);
    intent.at = at(now);
    intent.leaf = ca_core::log::intent_leaf(&intent);
    world.store.record_intent(&intent).await.unwrap();
    assert_eq!(world.store.complete(&World::completion(&intent, serial.as_bytes())).await.unwrap(), Completed::Released);
    serial
}

async fn order(world: &World, id: &OrderId) -> Order {
    world.store.order(id).await.unwrap().unwrap()
}

/// The first certificate queues the job, its certificates take each other's place, and with the last one the job goes.
pub async fn a21_a_renewing_order_goes_on_until_it_ends(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let (id, first) = renewing(&world, &account).await;
    let valid = order(&world, &id).await;
    assert_eq!((valid.status, valid.expires, valid.serial, valid.auto_renewal), (OrderStatus::Valid, at(9000), Some(first), Some(terms())));
    let job_id = job(&id).id();
    assert!(store.jobs(100).await.unwrap().iter().all(|listed| listed.id != job_id), "orders' jobs are not listed");
    assert!(lease_of(&world, &job_id, 4299).await.is_none(), "due 7/12 of a life before 5000");
    // A job that revocation waits for comes before those of orders, however late they are.
    let crl = JobKind::PublishCrl { authority: World::authority(), scope: ca_core::model::CrlScope::FULL };
    store.ensure_job(&Job { kind: crl.clone(), due: at(4350) }).await.unwrap();
    let leased = store.lease_jobs(&World::worker(), &world.lease(), at(4350), at(4400), 1).await.unwrap();
    assert_eq!(leased[0].kind, crl);
    let leased = lease_of(&world, &job_id, 4350).await.unwrap();
    assert_eq!(leased.kind, job(&id));

    let found = store.renewing_order(&id).await.unwrap().unwrap();
    assert_eq!((found.standing.serial, found.evidence.finalize.as_deref()), (first, Some("finalize")));
    assert!(found.evidence.new_order.is_some() && found.evidence.grant.is_some());
    let second = renewed(&world, &id, &account, &leased, 4360).await;
    assert_eq!(order(&world, &id).await.serial, Some(second));
    let record = store.certificate(&World::authority(), &second).await.unwrap().unwrap();
    assert_eq!((record.account, record.order, record.grant), (Some(account.clone()), Some(id.clone()), Some("grant-1".parse().unwrap())));
    store.finish_job(&leased.id, &leased.lease, at(4361), at(5500)).await.unwrap();

    // A lease that was lost, and another account, renew nothing.
    let late = world.intent(&renewal(&id, &account, &leased), world.serial());
    assert_fenced(store.record_intent(&late).await);
    let leased = lease_of(&world, &job_id, 5500).await.unwrap();
    assert_fenced(store.end_job(&job_id, &world.lease()).await);
    store.end_job(&job_id, &leased.lease).await.unwrap();
    assert!(lease_of(&world, &job_id, 9999).await.is_none());
    assert_eq!(order(&world, &id).await.status, OrderStatus::Valid);

    // Canceled while its certificate is made: that one is not released.
    let (id, first) = renewing(&world, &account).await;
    let leased = lease_of(&world, &job(&id).id(), 4350).await.unwrap();
    let mut intent = world.intent(&renewal(&id, &account, &leased), world.serial());
    intent.at = at(4360);
    intent.leaf = ca_core::log::intent_leaf(&intent);
    store.record_intent(&intent).await.unwrap();
    let entry = ca_core::model::AuditEntry { at: at(4365), ..audit("order.cancel") };
    let problem = Problem::new(ProblemType::Unauthorized, "the grant was revoked");
    let canceled = store.cancel_order(&id, Some(&problem), &entry).await.unwrap();
    assert_eq!((canceled.status, canceled.expires, canceled.error), (OrderStatus::Canceled, at(4365), Some(problem)));
    assert_eq!(store.complete(&World::completion(&intent, b"late")).await.unwrap(), Completed::Fenced);
    assert_eq!(order(&world, &id).await.serial, Some(first));
    assert_conflict(store.cancel_order(&id, None, &entry).await);
    assert_fenced(store.finish_job(&leased.id, &leased.lease, at(4366), at(5500)).await);
    assert_not_found(store.cancel_order(&"missing".parse().unwrap(), None, &entry).await);
}

/// The certificate that stands is marked: its order is renewed now. One mark moves the job up once, however it is repeated.
pub async fn a21_a_mark_moves_the_next_certificate_up(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let (id, first) = renewing(&world, &account).await;
    let job_id = job(&id).id();
    let mark = async |serial: SerialNumber, now: i64| {
        let mark = ReplacementMark { at: at(now), explanation: None };
        store.mark_for_replacement(&World::authority(), &[serial], &mark, &audit("certificate.replace")).await.unwrap()
    };
    let successors = async || -> Vec<Option<Successor>> {
        let found = store.replacements(&CertificateFilter::default(), None, 10, at(150)).await.unwrap();
        found.into_iter().map(|r| r.successor).collect()
    };
    assert_eq!(mark(first, 100).await, 1);
    assert_eq!(successors().await, [None]);
    assert!(lease_of(&world, &job_id, 99).await.is_none());
    let leased = lease_of(&world, &job_id, 100).await.unwrap();
    let found = store.renewing_order(&id).await.unwrap().unwrap();
    assert_eq!(found.standing.marked.map(|mark| mark.at), Some(at(100)));
    let second = renewed(&world, &id, &account, &leased, 110).await;
    assert_eq!(order(&world, &id).await.serial, Some(second));
    let by_renewal = |serial, fetched_by| Some(Successor::Renewal { serial, fetched_by: at(fetched_by) });
    assert_eq!(successors().await, [by_renewal(second, 110 + 1200)]);
    store.finish_job(&job_id, &leased.lease, at(111), at(4350)).await.unwrap();
    assert_eq!(mark(first, 200).await, 0);
    assert!(lease_of(&world, &job_id, 4349).await.is_none(), "it stands no longer");

    // While the job runs the wish waits; after the last certificate the job comes back.
    let leased = lease_of(&world, &job_id, 4350).await.unwrap();
    assert_eq!(mark(second, 4351).await, 1);
    assert_eq!(successors().await, [None, None], "what is marked is no successor");
    store.finish_job(&job_id, &leased.lease, at(4352), at(8000)).await.unwrap();
    let leased = lease_of(&world, &job_id, 4352).await.unwrap();
    let third = renewed(&world, &id, &account, &leased, 4353).await;
    assert_eq!(successors().await, [by_renewal(third, 4353 + 1200), by_renewal(third, 4353 + 1200)]);
    store.end_job(&job_id, &leased.lease).await.unwrap();
    assert_eq!(mark(third, 4400).await, 1);
    let leased = lease_of(&world, &job_id, 4400).await.unwrap();
    store.end_job(&job_id, &leased.lease).await.unwrap();

    // An order that has ended has no next one.
    let (ended, standing) = renewing(&world, &account).await;
    store.cancel_order(&ended, None, &ca_core::model::AuditEntry { at: at(4450), ..audit("order.cancel") }).await.unwrap();
    assert_eq!(mark(standing, 4451).await, 1);
    assert!(lease_of(&world, &job(&ended).id(), 8999).await.is_none());
    assert_eq!(mark(third, 9000).await, 0);
    assert!(lease_of(&world, &job_id, 9999).await.is_none(), "its end date has come");
}

/// A deactivated account and a revoked grant, suspended or not, cancel what they have.
pub async fn a21_what_its_owner_loses_cancels_it(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let grant = "grant-1".parse().unwrap();
    for end in ["deactivate", "revoke"] {
        let account = world.account(end).await.account.id;
        let (id, _) = renewing(&world, &account).await;
        let entry = ca_core::model::AuditEntry { at: at(700), ..audit("grant.end") };
        match end {
            "deactivate" => drop(store.deactivate_account(&account, &entry).await.unwrap()),
            _ => {
                store.suspend_grant(&grant, true, &entry).await.unwrap();
                store.revoke_grant(&grant, &entry).await.unwrap();
            }
        }
        let canceled = order(&world, &id).await;
        assert_eq!((canceled.status, canceled.expires), (OrderStatus::Canceled, at(700)), "{end}");
        assert!(lease_of(&world, &job(&id).id(), 8000).await.is_none(), "{end}: and its job is gone");
        let again = store.cancel_order(&id, None, &entry).await;
        assert!(matches!(again, Err(StoreError::Conflict(_))), "{end}: {again:?}");
    }
}

/// ACME requirement A16: under a grant that is suspended, or that operators have to extend, a renewal rests. It gets nothing
/// meanwhile, is no failure, and is due as soon as the grant goes on or changes.
pub async fn a16_a_renewal_rests_while_its_grant_does(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let grant = "grant-1".parse().unwrap();
    let account = world.account("one").await.account.id;
    let (id, _) = renewing(&world, &account).await;
    let (later, _) = renewing(&world, &account).await;
    let job_id = job(&id).id();
    let entry = |seconds: i64| ca_core::model::AuditEntry { at: at(seconds), ..audit("grant.change") };

    store.suspend_grant(&grant, true, &entry(700)).await.unwrap();
    assert_eq!(order(&world, &id).await.status, OrderStatus::Valid, "it stays");
    let leased = lease_of(&world, &job_id, 4350).await.unwrap();
    let mut intent = world.intent(&renewal(&id, &account, &leased), world.serial());
    intent.at = at(4360);
    intent.leaf = ca_core::log::intent_leaf(&intent);
    let refused = store.record_intent(&intent).await;
    assert!(matches!(&refused, Err(StoreError::Conflict(text)) if text == OWNER_ENDED), "{refused:?}");
    assert_fenced(store.rest_job(&job_id, &world.lease(), "suspended", at(5000), &entry(4361)).await);
    store.rest_job(&job_id, &leased.lease, "suspended", at(5000), &entry(4361)).await.unwrap();
    assert!(lease_of(&world, &job_id, 4999).await.is_none());
    let leased = lease_of(&world, &job_id, 5000).await.unwrap();
    assert_eq!(leased.failures, 0, "resting is no failure");

    // It goes on while the job is being looked at: at once again.
    store.suspend_grant(&grant, false, &entry(5010)).await.unwrap();
    store.rest_job(&job_id, &leased.lease, "suspended", at(6000), &entry(5011)).await.unwrap();
    let leased = lease_of(&world, &job_id, 5011).await.unwrap();
    store.rest_job(&job_id, &leased.lease, "expired", at(8000), &entry(5012)).await.unwrap();
    let before = store.grant(&grant).await.unwrap().unwrap();
    let mut next = before.clone();
    (next.grant.valid_until, next.evidence.statement) = (Some(at(9999)), "{\"next\":1}".to_owned());
    store.update_grant(&next.grant, &next.evidence, &before.evidence.statement, &entry(5020)).await.unwrap();
    assert!(lease_of(&world, &job_id, 5019).await.is_none());
    let leased = lease_of(&world, &job_id, 5020).await.unwrap();
    renewed(&world, &id, &account, &leased, 5021).await;
    store.finish_job(&job_id, &leased.lease, at(5022), at(5500)).await.unwrap();

    // One that did not rest keeps its time.
    let leased = lease_of(&world, &job(&later).id(), 5100).await.unwrap();
    store.finish_job(&leased.id, &leased.lease, at(5101), at(5600)).await.unwrap();
    let last = store.grant(&grant).await.unwrap().unwrap();
    (next.grant.max_accounts, next.evidence.statement) = (Some(9), "{\"next\":2}".to_owned());
    store.update_grant(&next.grant, &next.evidence, &last.evidence.statement, &entry(5110)).await.unwrap();
    assert!(lease_of(&world, &leased.id, 5599).await.is_none());
    assert!(lease_of(&world, &leased.id, 5600).await.is_some());
}
