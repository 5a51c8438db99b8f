//! Intents, completions, abandonments (invariants 1 to 4).

use std::time::Duration;

use ca_core::log::intent_leaf;
use ca_core::model::{
    Abandonment, Actor, CertificateState, Completed, CrlScope, Intent, Issued, Job, JobKind, LedgerEvent, OrderStatus, Origin,
    RequestState, RevocationReason, SerialStatus,
};
use ca_core::pki::sha256;
use ca_core::ports::{OWNER_ENDED, StoreError};

use super::{StoreFactory, World, assert_conflict, assert_fenced, assert_not_found, at, audit};

fn abandonment(intent: &Intent, when: i64) -> Abandonment {
    Abandonment {
        attempt: intent.attempt.clone(),
        authority: intent.authority.clone(),
        reason: "the worker died".to_owned(),
        actor: Actor::system("reconciler"),
        at: at(when),
    }
}

/// From the intent to the valid order; a retry of each step changes nothing.
pub async fn an_order_gets_its_certificate(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let authority = World::authority();
    let account = world.account("one").await.account.id;
    let (order, request) = world.leased_order(&account).await;
    let serial = world.serial();
    let intent = world.intent(&World::origin(&order, &request, &account), serial);

    assert_eq!(store.status(&authority, &serial).await.unwrap(), None);
    store.record_intent(&intent).await.unwrap();
    store.record_intent(&intent).await.unwrap();
    assert_eq!(store.status(&authority, &serial).await.unwrap(), Some(SerialStatus::Good), "an intent counts as issued");
    let row = store.certificate(&authority, &serial).await.unwrap().unwrap();
    assert_eq!((row.state, row.der.as_slice()), (CertificateState::Intent, &[][..]));

    let completion = World::completion(&intent, b"certificate");
    assert_eq!(store.complete(&completion).await.unwrap(), Completed::Released);
    assert_eq!(store.complete(&completion).await.unwrap(), Completed::Released);
    assert_eq!(store.complete(&World::completion(&intent, b"another signature")).await.unwrap(), Completed::Fenced);
    let row = store.certificate(&authority, &serial).await.unwrap().unwrap();
    assert_eq!((row.state, row.der.as_slice()), (CertificateState::Released, b"certificate".as_slice()));
    assert_eq!((row.order.as_ref(), row.account.as_ref(), row.revoked), (Some(&order), Some(&account), None));
    assert_eq!(row.not_after, at(5000));
    let order = store.order(&order).await.unwrap().unwrap();
    assert_eq!((order.status, order.serial), (OrderStatus::Valid, Some(serial)));
    let issued = Issued { serial, subject: row.subject, der: b"certificate".to_vec() };
    assert_eq!(store.await_request(&request.id, Duration::ZERO).await.unwrap(), RequestState::Done { certificate: Some(Box::new(issued)) });
    assert_conflict(store.abandon(&abandonment(&intent, 9)).await);
}

/// Taken serials, other bytes, a lease that is not held, an unknown authority, a leaf of something else.
pub async fn an_intent_is_refused_where_it_must_be(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let (order, request) = world.leased_order(&account).await;
    let origin = World::origin(&order, &request, &account);
    let taken = world.certificate(5000).await;
    assert_conflict(store.record_intent(&world.intent(&origin, taken)).await);

    let relabelled = |change: &dyn Fn(&mut Intent)| {
        let mut intent = world.intent(&origin, world.serial());
        change(&mut intent);
        intent.leaf = intent_leaf(&intent);
        intent
    };
    let unknown = relabelled(&|i| (i.authority, i.origin) = ("unknown".parse().unwrap(), Origin::Ceremony));
    assert_not_found(store.record_intent(&unknown).await);
    assert_conflict(store.record_intent(&relabelled(&|i| i.tbs_sha256 = sha256(b"other"))).await);
    let mut other_leaf = world.intent(&origin, world.serial());
    other_leaf.leaf.push(b' ');
    assert_conflict(store.record_intent(&other_leaf).await);

    let Origin::Order { order, request, account, grant, cap, .. } = origin.clone() else { unreachable!("an order's origin") };
    let wrong = Origin::Order { lease: world.lease(), order: order.clone(), request, account, grant, cap };
    assert_fenced(store.record_intent(&world.intent(&wrong, world.serial())).await);
    assert_fenced(store.record_intent(&relabelled(&|i| i.at = at(60))).await);
    let job = Origin::Job { job: JobKind::Prune.id(), lease: world.lease() };
    assert_fenced(store.record_intent(&world.intent(&job, world.serial())).await);

    // What was refused left nothing behind: the order's one live attempt is still to be had, once.
    let intent = world.intent(&origin, world.serial());
    store.record_intent(&intent).await.unwrap();
    assert_conflict(store.record_intent(&world.intent(&origin, world.serial())).await);
    assert_eq!(store.certificates(&Default::default(), None, 10).await.unwrap().len(), 2);
    assert_not_found(store.complete(&World::completion(&world.intent(&origin, world.serial()), b"x")).await);
}

/// ACME requirement A15: once a revocation, a suspension or a deactivation is on record, nothing is recorded or released for
/// an order that was finalized before it.
pub async fn a15_an_order_in_flight_gets_nothing_after_its_owner_ended(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let grant = "grant-1".parse().unwrap();
    for end in ["deactivate", "suspend", "revoke"] {
        let account = world.account(end).await.account.id;
        let (early, request) = world.leased_order(&account).await;
        let recorded = world.intent(&World::origin(&early, &request, &account), world.serial());
        store.record_intent(&recorded).await.unwrap();
        let (late, request) = world.leased_order(&account).await;
        let wanted = world.intent(&World::origin(&late, &request, &account), world.serial());
        match end {
            "deactivate" => drop(store.deactivate_account(&account, &audit("account.deactivate")).await.unwrap()),
            "suspend" => store.suspend_grant(&grant, true, &audit("grant.suspend")).await.unwrap(),
            _ => drop(store.revoke_grant(&grant, &audit("grant.revoke")).await.unwrap()),
        }
        let refused = store.record_intent(&wanted).await;
        assert!(matches!(&refused, Err(StoreError::Conflict(text)) if text == OWNER_ENDED), "{end}: {refused:?}");
        assert_eq!(store.complete(&World::completion(&recorded, b"late")).await.unwrap(), Completed::Fenced, "{end}");
        store.abandon(&abandonment(&recorded, 9)).await.unwrap();
        for order in [early, late] {
            assert_eq!(store.order(&order).await.unwrap().unwrap().status, OrderStatus::Processing, "{end}: for the worker to refuse");
        }
        store.suspend_grant(&grant, false, &audit("grant.resume")).await.unwrap_or_default();
    }
    let left = store.certificates(&Default::default(), None, 10).await.unwrap();
    assert!(left.len() == 3 && left.iter().all(|c| c.state == CertificateState::Abandoned), "{left:?}");
}

/// Invariant 4: the serial of an attempt that was given up is revoked at once, and its late signature is not released.
pub async fn an_abandoned_serial_is_revoked_and_its_signer_fenced(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let authority = World::authority();
    let account = world.account("one").await.account.id;
    let crl = Job { kind: JobKind::PublishCrl { authority: authority.clone(), scope: CrlScope::FULL }, due: at(9000) };
    store.ensure_job(&crl).await.unwrap();
    let (order, request) = world.leased_order(&account).await;
    let serial = world.serial();
    let intent = world.intent(&World::origin(&order, &request, &account), serial);
    store.record_intent(&intent).await.unwrap();

    // Not leased again while its intent is open, even when the lease is over.
    assert!(store.lease_requests(&World::worker(), &world.lease(), at(61), at(90), 10).await.unwrap().is_empty());
    store.abandon(&abandonment(&intent, 62)).await.unwrap();
    assert_conflict(store.abandon(&abandonment(&intent, 63)).await);
    let revoked = SerialStatus::Revoked { at: at(62), reason: RevocationReason::Superseded };
    assert_eq!(store.status(&authority, &serial).await.unwrap(), Some(revoked));
    let entries = store.revoked_entries(&authority, &CrlScope::FULL, None, 10).await.unwrap();
    assert_eq!(entries.iter().map(|e| (e.serial, e.reason)).collect::<Vec<_>>(), [(serial, RevocationReason::Superseded)]);
    let ledger = store.ledger_after(&authority, 0, 10).await.unwrap();
    assert_eq!(ledger.iter().map(|e| (e.number, e.serial, e.event)).collect::<Vec<_>>(), [(1, serial, LedgerEvent::Revoke)]);
    assert_eq!(store.jobs(10).await.unwrap()[0].due, at(62), "the CRL is due now");

    let second = world.lease_one(&request.id, 63, 120).await;
    assert_eq!(second.attempts, 1);
    assert_eq!(store.complete(&World::completion(&intent, b"late")).await.unwrap(), Completed::Fenced);
    let row = store.certificate(&authority, &serial).await.unwrap().unwrap();
    assert_eq!((row.state, row.der.as_slice()), (CertificateState::Abandoned, &[][..]), "the late signature is not released");
    assert_eq!(store.order(&order).await.unwrap().unwrap().status, OrderStatus::Processing);

    let next = world.serial();
    let intent = world.intent(&World::origin(&order, &second, &account), next);
    store.record_intent(&intent).await.unwrap();
    assert_eq!(store.complete(&World::completion(&intent, b"in time")).await.unwrap(), Completed::Released);
    assert_eq!(store.order(&order).await.unwrap().unwrap().serial, Some(next));
    assert_conflict(store.record_intent(&world.intent(&World::origin(&order, &second, &account), world.serial())).await.map_err(|e| {
        // The request is done, so its lease is gone: fenced says the same.
        if matches!(e, StoreError::Fenced) { StoreError::Conflict(String::new()) } else { e }
    }));
}

/// What the reconciler is shown.
pub async fn open_intents_are_those_without_a_lease(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let (order, request) = world.leased_order(&account).await;
    let serial = world.serial();
    let ordered = world.intent(&World::origin(&order, &request, &account), serial);
    store.record_intent(&ordered).await.unwrap();
    let ceremony = world.crl_intent(&Origin::Ceremony, 7, 0, 0);
    store.record_intent(&ceremony).await.unwrap();
    world.certificate(5000).await;

    let open = |now: i64, until: i64| async move {
        let found = store.open_intents(at(now), at(until), 10).await.unwrap();
        found.into_iter().map(|o| (o.attempt, o.serial, o.crl)).collect::<Vec<_>>()
    };
    let crl = (ceremony.attempt.clone(), None, Some((CrlScope::FULL, 7)));
    assert_eq!(open(59, 1).await, []);
    assert_eq!(open(59, 2).await, std::slice::from_ref(&crl));
    let mut found = open(60, 2).await;
    found.sort_by_key(|o| o.1.is_none());
    assert_eq!(found, [(ordered.attempt.clone(), Some(serial), None), crl]);
    store.abandon(&abandonment(&ordered, 60)).await.unwrap();
    store.abandon(&abandonment(&ceremony, 60)).await.unwrap();
    assert_eq!(open(99, 99).await, []);
    assert_eq!(store.complete(&World::completion(&ceremony, b"late")).await.unwrap(), Completed::Fenced);
    assert_eq!(store.current_crl(&World::authority(), &CrlScope::FULL).await.unwrap(), None);
    store.append_audit(&audit("x")).await.unwrap();
}
