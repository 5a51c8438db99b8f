//! Accounts and the grants behind them.

use ca_core::model::{
    AccountId, AccountStatus, Fault, GrantRecord, GrantStatus, NewAccount, OrderStatus, Problem, ProblemType, RequestState,
};
use ca_core::ports::{GRANT_CHANGED, GRANT_FULL, StoreError};
use std::time::Duration;

use crate::acme::{self, ClientKey};

use super::{StoreFactory, World, assert_conflict, assert_not_found, at, audit, together};

/// Of concurrent accounts with one key, one is stored.
pub async fn one_account_per_key(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let accounts: Vec<_> = (0..8).map(|_| world.new_account("same", "grant-1")).collect();
    let entry = audit("account.queue");
    let results = together(accounts.iter().map(|account| world.store.queue_account(account, &entry)).collect()).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    assert!(results.iter().all(|r| matches!(r, Ok(_) | Err(StoreError::Conflict(_)))), "{results:?}");
    let stored = world.store.account_by_key(&World::thumbprint("same")).await.unwrap().unwrap();
    assert_eq!(stored.status, AccountStatus::Pending);
    let sent = accounts.iter().find(|a| a.account.id == stored.id).unwrap();
    assert_eq!(stored, sent.account);
}

/// Contacts, keys and the end of an account are compare-and-set on a valid one.
pub async fn an_account_changes_only_while_valid(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let entry = audit("account.update");
    let id = world.account("one").await.account.id;
    let other = world.account("two").await.account.id;

    let updated = store.update_contact(&id, &["mailto:b@demo.test".to_owned()], &entry).await.unwrap();
    assert_eq!(updated.contact, ["mailto:b@demo.test"]);
    assert_conflict(world.change_key(&id, "two", "fresh").await);
    assert_conflict(world.change_key(&id, "one", "two").await);
    let changed = world.change_key(&id, "one", "fresh").await.unwrap();
    assert_eq!((changed.jwk, changed.thumbprint), (ClientKey::named("fresh").account_key().canonical(), World::thumbprint("fresh")));
    assert_eq!(store.account_by_key(&World::thumbprint("one")).await.unwrap(), None);

    let order = world.order(&id).await.id;
    let ended = store.deactivate_account(&id, &entry).await.unwrap();
    assert_eq!(ended.status, AccountStatus::Deactivated);
    assert_eq!(store.order(&order).await.unwrap().unwrap().status, OrderStatus::Invalid);
    assert_conflict(store.deactivate_account(&id, &entry).await);
    assert_conflict(store.update_contact(&id, &[], &entry).await);
    assert_conflict(store.create_order(&world.new_order(&id, &["a.demo.test"]), &entry).await);
    // Its key is free again, and then means the new account.
    world.change_key(&other, "two", "fresh").await.unwrap();
    assert_eq!(store.account_by_key(&World::thumbprint("fresh")).await.unwrap().unwrap().id, other);
    assert_not_found(store.update_contact(&"missing".parse().unwrap(), &[], &entry).await);
    assert_not_found(world.change_key(&"missing".parse().unwrap(), "two", "another").await);
}

/// RFC 8555 §7.3 and §7.3.5: an account has the key that signed its newAccount request, and another one only where both signed
/// for that. Who has the front end's process alone gives no account a key, and so revokes nothing in its name.
pub async fn a06_an_account_has_no_key_that_did_not_sign_for_it(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let (store, entry) = (&world.store, audit("account.queue"));
    let (victim, other) = (world.account("one").await.account.id, world.account("two").await.account);
    let victim = store.account(&victim).await.unwrap().unwrap();
    let [own, thief, third] = ["one", "thief", "third"].map(ClientKey::named);
    let before = store.audit_after(0, 1000).await.unwrap().len();

    let mut forged: Vec<NewAccount> = (0..6).map(|_| world.new_account("owner", "grant-1")).collect();
    forged[0].account.jwk = thief.account_key().canonical();
    forged[1].account.thumbprint = World::thumbprint("thief");
    (forged[2].account.jwk, forged[2].account.thumbprint) = (thief.account_key().canonical(), World::thumbprint("thief"));
    forged[3].account.id = AccountId::from_evidence("another");
    forged[4].jws = "{}".to_owned();
    forged[5].jws = acme::by_account(&ClientKey::named("owner"), &victim.id, "/acme/new-account", &serde_json::json!({}));
    for new in forged.iter_mut().skip(4) {
        new.account.id = AccountId::from_evidence(&new.jws);
    }
    for new in &forged {
        assert_conflict(store.queue_account(new, &entry).await);
        assert_eq!(store.account(&new.account.id).await.unwrap(), None);
    }

    let told = [
        "{}".to_owned(),
        // By the new key alone, by the old one for another key, by both for another account, and another account's own.
        acme::key_change(&thief, &thief, &victim.id),
        acme::key_change(&own, &third, &victim.id),
        acme::key_change(&own, &thief, &other.id),
        acme::key_change(&ClientKey::named("two"), &thief, &other.id),
        acme::by_account(&own, &victim.id, "/acme/key-change", &serde_json::json!({})),
    ];
    for jws in &told {
        assert_conflict(world.change_key_by(&victim.id, "one", "thief", jws).await);
    }
    let right = acme::key_change(&own, &thief, &victim.id);
    let (jwk, thumbprint) = (thief.account_key().canonical(), World::thumbprint("third"));
    assert_conflict(store.change_key(&victim.id, &victim.thumbprint, &jwk, &thumbprint, &right, &entry).await);
    assert_eq!(store.account(&victim.id).await.unwrap(), Some(victim.clone()));
    assert_eq!(store.account_by_key(&World::thumbprint("thief")).await.unwrap(), None);
    assert_eq!(store.audit_after(0, 1000).await.unwrap().len(), before);

    // What was signed goes on, and a change of before is no change of the key that came by it.
    store.queue_account(&world.new_account("owner", "grant-1"), &entry).await.unwrap();
    let changed = world.change_key_by(&victim.id, "one", "thief", &right).await.unwrap();
    assert_eq!((changed.id, changed.jwk), (victim.id.clone(), jwk));
    assert_conflict(world.change_key_by(&victim.id, "thief", "thief", &right).await);
}

/// A refused account leaves its key free and its request refused.
pub async fn a_refused_account_is_gone(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let new = world.new_account("one", "grant-1");
    let request = world.store.queue_account(&new, &audit("account.queue")).await.unwrap();
    let leased = world.lease_one(&request, 0, 60).await;
    let problem = Problem::new(ProblemType::ExternalAccountRequired, "no");
    world.store.refuse_request(&request, &leased.lease, Fault::of(problem.kind), &problem, &audit("account.refuse")).await.unwrap();
    assert_eq!(world.store.account(&new.account.id).await.unwrap(), None);
    assert_eq!(world.store.await_request(&request, Duration::ZERO).await.unwrap(), RequestState::Refused { problem });
    world.store.queue_account(&world.new_account("one", "grant-1"), &audit("account.queue")).await.unwrap();
}

/// A grant binds no more accounts than it says; what failed changed nothing.
pub async fn a_grant_bounds_its_accounts(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    store.put_grant(&World::grant("narrow", Some(1)), &audit("grant.create")).await.unwrap();
    let mut accounts = Vec::new();
    for key in ["one", "two"] {
        let new = world.new_account(key, "narrow");
        let request = store.queue_account(&new, &audit("account.queue")).await.unwrap();
        let leased = world.lease_one(&request, 0, 60).await;
        let accepted = store.accept_account(&request, &leased.lease, "statement of narrow", &audit("account.create")).await;
        accounts.push((new.account.id, request, accepted));
    }
    assert!(accounts[0].2.is_ok());
    assert!(matches!(&accounts[1].2, Err(StoreError::Conflict(reason)) if reason == GRANT_FULL), "{:?}", accounts[1].2);
    assert_eq!(store.account(&accounts[1].0).await.unwrap().unwrap().status, AccountStatus::Pending);
    assert_eq!(store.await_request(&accounts[1].1, Duration::ZERO).await.unwrap(), RequestState::Waiting);
    assert_eq!(store.grant(&"narrow".parse().unwrap()).await.unwrap().unwrap().accounts, 1);
}

/// A grant's statement gives way to the next one only; while it is suspended it binds no accounts, nor by what it said before.
pub async fn a_grant_changes_and_rests(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let (store, entry, id) = (&world.store, audit("grant.change"), "grant-1".parse().unwrap());
    let account = world.account("one").await.account.id;
    let before = store.grant(&id).await.unwrap().unwrap();
    let mut next = before.clone();
    (next.grant.max_accounts, next.evidence.statement) = (Some(9), "{\"next\":1}".to_owned());
    assert_conflict(store.update_grant(&next.grant, &next.evidence, "{}", &entry).await);
    store.update_grant(&next.grant, &next.evidence, &before.evidence.statement, &entry).await.unwrap();
    assert_conflict(store.update_grant(&before.grant, &before.evidence, &before.evidence.statement, &entry).await);
    assert_eq!(store.grant(&id).await.unwrap().unwrap(), next);

    let request = store.queue_account(&world.new_account("two", "grant-1"), &entry).await.unwrap();
    store.suspend_grant(&id, true, &entry).await.unwrap();
    store.suspend_grant(&id, true, &entry).await.unwrap();
    assert_eq!(store.grant(&id).await.unwrap().unwrap().status, GrantStatus::Suspended);
    assert_eq!(store.account(&account).await.unwrap().unwrap().status, AccountStatus::Valid);
    let lease = world.lease();
    assert_eq!(store.lease_requests(&World::worker(), &lease, at(9), at(60), 10).await.unwrap().len(), 1);
    let changed =
        |result: Result<(), StoreError>| assert!(matches!(&result, Err(StoreError::Conflict(r)) if r == GRANT_CHANGED), "{result:?}");
    changed(store.accept_account(&request, &lease, &next.evidence.statement, &entry).await);
    store.suspend_grant(&id, false, &entry).await.unwrap();
    // ACME requirement A15: what it was judged by stands no longer.
    changed(store.accept_account(&request, &lease, &before.evidence.statement, &entry).await);
    assert_eq!(store.await_request(&request, Duration::ZERO).await.unwrap(), RequestState::Waiting, "nothing was changed");
    store.accept_account(&request, &lease, &next.evidence.statement, &entry).await.unwrap();
    assert_eq!(store.grant(&id).await.unwrap().unwrap().accounts, 2);

    store.suspend_grant(&id, true, &entry).await.unwrap();
    assert_eq!(store.revoke_grant(&id, &entry).await.unwrap(), 2, "a suspended grant is revoked like any");
    assert_conflict(store.suspend_grant(&id, false, &entry).await);
    assert_conflict(store.update_grant(&before.grant, &before.evidence, &next.evidence.statement, &entry).await);
    assert_not_found(store.suspend_grant(&"missing".parse().unwrap(), true, &entry).await);
}

/// Revoking a grant ends its accounts, their orders and the requests that wait for it. An id that is taken stays taken.
pub async fn a_grant_is_revoked_with_its_accounts(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let entry = audit("grant.change");
    let id = "grant-1".parse().unwrap();
    let account = world.account("one").await.account.id;
    let order = world.order(&account).await.id;
    let pending = world.new_account("two", "grant-1");
    let request = store.queue_account(&pending, &entry).await.unwrap();

    let mut next = World::grant("grant-1", Some(7));
    assert_eq!(store.put_grant(&World::grant("grant-1", None), &entry).await.ok(), Some(()), "the same again changes nothing");
    assert_conflict(store.put_grant(&next, &entry).await);
    next.grant.version = 2;
    assert_conflict(store.put_grant(&next, &entry).await);
    let stored = store.grant(&id).await.unwrap().unwrap();
    assert_eq!((stored.grant.version, stored.accounts), (1, 1));

    assert_eq!(store.revoke_grant(&id, &entry).await.unwrap(), 2);
    assert_eq!(store.revoke_grant(&id, &entry).await.unwrap(), 0);
    assert_not_found(store.revoke_grant(&"missing".parse().unwrap(), &entry).await);
    assert_eq!(store.grant(&id).await.unwrap().unwrap().status, GrantStatus::Revoked);
    assert_eq!(store.account(&account).await.unwrap().unwrap().status, AccountStatus::Revoked);
    assert_eq!(store.order(&order).await.unwrap().unwrap().status, OrderStatus::Invalid);
    assert!(matches!(store.await_request(&request, Duration::ZERO).await.unwrap(), RequestState::Refused { .. }));
    assert!(store.lease_requests(&World::worker(), &world.lease(), at(9), at(60), 10).await.unwrap().is_empty());
    next.grant.version = 3;
    assert_conflict(store.put_grant(&next, &entry).await);
    assert_eq!(store.grants(None, 10).await.unwrap().len(), 1);

    for name in ["grant-2", "grant-3"] {
        store.put_grant(&World::grant(name, None), &entry).await.unwrap();
    }
    let ids = |records: Vec<GrantRecord>| records.into_iter().map(|record| record.grant.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(store.grants(None, 2).await.unwrap()), ["grant-3", "grant-2"]);
    assert_eq!(ids(store.grants(Some(&"grant-2".parse().unwrap()), 2).await.unwrap()), ["grant-1"]);
    assert!(store.grants(Some(&id), 2).await.unwrap().is_empty());
    assert_conflict(store.grants(Some(&"missing".parse().unwrap()), 2).await);
    assert_eq!(store.stored_grant(&id).await.unwrap(), store.grant(&id).await.unwrap());
    assert_eq!(store.stored_grant(&"missing".parse().unwrap()).await.unwrap(), None);
}
