//! Authorizations with challenges: orders that wait for them, validations under leases, reuse.

use ca_core::model::{
    AccountId, Authorization, AuthorizationId, AuthorizationStatus, Challenge, ChallengeMethod, ChallengeStatus, Fault, LeasedValidation,
    NewOrder, OrderStatus, Problem, ProblemType, TakeUp, ValidationEnd, ValidationRecord,
};
use ca_core::pki::Identifier;
use ca_core::ports::{KEY_CHANGED, MAX_PENDING_AUTHORIZATIONS, StoreError, TOO_MANY_PENDING};

use super::{StoreFactory, World, assert_conflict, assert_fenced, assert_not_found, at, audit, together};
use crate::SeededRng;

const HTTP: ChallengeMethod = ChallengeMethod::Http01;
const DNS: ChallengeMethod = ChallengeMethod::Dns01;

/// A pending authorization for `name` that ends at 1500.
pub(super) fn challenged(world: &World, account: &AccountId, name: &str, methods: &[ChallengeMethod]) -> Authorization {
    let rng = SeededRng::new(world.next());
    Authorization {
        id: AuthorizationId::new(at(0), &rng),
        account: account.clone(),
        authority: World::authority(),
        order: None,
        identifier: Identifier::from_text(name).unwrap(),
        status: AuthorizationStatus::Pending,
        expires: at(1500),
        challenges: methods.iter().map(|method| Challenge::new(*method, &rng)).collect(),
    }
}

/// An order for granted and for challenged names.
fn mixed(world: &World, account: &AccountId, granted: &[&str], names: &[&str]) -> NewOrder {
    let mut new = world.new_order(account, &[granted, names].concat());
    for (index, name) in (granted.len()..).zip(names) {
        new.authorizations[index] = challenged(world, account, name, &[HTTP, DNS]);
    }
    new.order.status = OrderStatus::Pending;
    new
}

/// What an attempt saw: success, or this problem.
fn record(leased: &LeasedValidation, seconds: i64, problem: Option<Problem>) -> ValidationRecord {
    ValidationRecord {
        account: leased.account.clone(),
        authorization: leased.authorization.clone(),
        identifier: leased.identifier.clone(),
        method: leased.method,
        attempt: leased.attempts + 1,
        at: at(seconds),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        answer_sha256: Some(ca_core::pki::sha256(b"answer")),
        caa: None,
        attestation: None,
        problem,
        fault: None,
        valid_until: at(seconds + 5000),
    }
}

fn problem() -> Problem {
    Problem::new(ProblemType::Connection, "the connection was refused")
}

impl World {
    pub(super) async fn start(&self, authorization: &AuthorizationId, method: ChallengeMethod) -> Authorization {
        let by = TakeUp::by(self.thumbprint_behind(authorization).await);
        self.store.start_challenge(authorization, method, &by, at(1), at(61), &audit("authorization.challenge")).await.unwrap()
    }

    /// Of the account whose authorization it is.
    async fn thumbprint_behind(&self, authorization: &AuthorizationId) -> String {
        let account = self.store.authorization(authorization).await.unwrap().unwrap().account;
        self.store.account(&account).await.unwrap().unwrap().thumbprint
    }

    pub(super) async fn lease_validations(&self, now: i64, until: i64) -> Vec<LeasedValidation> {
        self.store.lease_validations(&Self::worker(), &self.lease(), at(now), at(until), 100, 100).await.unwrap()
    }

    pub(super) async fn decide(&self, leased: &LeasedValidation, seconds: i64, problem: Option<Problem>) -> Authorization {
        self.decide_by(leased, seconds, problem, None).await
    }

    /// The same, where the record says whose doing it is.
    pub(super) async fn decide_by(
        &self,
        leased: &LeasedValidation,
        seconds: i64,
        problem: Option<Problem>,
        fault: Option<Fault>,
    ) -> Authorization {
        let record = ValidationRecord { fault, ..record(leased, seconds, problem) };
        self.store.finish_validation(&leased.lease, &record, &ValidationEnd::Decided, &audit("authorization.validate")).await.unwrap()
    }

    async fn order_status(&self, order: &ca_core::model::OrderId) -> OrderStatus {
        self.store.order(order).await.unwrap().unwrap().status
    }
}

/// A pending order is ready with its last authorization; what validation saw goes to the worker as evidence.
pub async fn orders_wait_for_their_authorizations(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let new = mixed(&world, &account, &["a.demo.test"], &["b.demo.test", "c.demo.test"]);
    let order = store.create_order(&new, &audit("order.create")).await.unwrap();
    assert_eq!((order.status, order.expires), (OrderStatus::Pending, at(1000)));
    assert_eq!(order.authorizations, new.authorizations.iter().map(|a| a.id.clone()).collect::<Vec<_>>());
    assert_eq!(store.order(&order.id).await.unwrap().as_ref(), Some(&order));
    assert_eq!(store.authorizations_of(&order.id).await.unwrap(), new.authorizations);
    assert_eq!(store.create_order(&new, &audit("order.create")).await.unwrap(), order);
    assert_conflict(world.finalize(&order.id, "jws", 1).await);

    let ids = [&order.authorizations[1], &order.authorizations[2]];
    assert!(world.lease_validations(1, 60).await.is_empty(), "nobody asked for a validation");
    for id in ids {
        let started = world.start(id, HTTP).await;
        assert_eq!(started.challenge(HTTP).unwrap().status, ChallengeStatus::Processing);
        assert_eq!(world.start(id, HTTP).await, started, "asking again changes nothing");
    }
    let leased = world.lease_validations(1, 60).await;
    assert_eq!(leased.len(), 2);
    assert_eq!((&leased[0].thumbprint, leased[0].deadline, leased[0].attempts), (&World::thumbprint("one"), at(61), 0));
    let proven = world.decide(&leased[0], 2, None).await;
    assert_eq!((proven.status, proven.proven_by(), proven.expires), (AuthorizationStatus::Valid, Some(HTTP), at(5002)));
    assert_eq!(store.authorization(&proven.id).await.unwrap(), Some(proven));
    assert_eq!(world.order_status(&order.id).await, OrderStatus::Pending);
    world.decide(&leased[1], 3, None).await;
    assert_eq!(world.order_status(&order.id).await, OrderStatus::Ready);
    assert!(world.lease_validations(3, 60).await.is_empty());

    let request = world.finalize(&order.id, "finalize", 4).await.unwrap();
    let evidence = world.lease_one(&request, 4, 60).await.evidence;
    let mut seen: Vec<_> = evidence.validations.iter().map(|r| r.identifier.value()).collect();
    seen.sort();
    assert_eq!(seen, ["b.demo.test", "c.demo.test"]);
    assert!(evidence.validations.iter().all(|r| r.problem.is_none() && r.account == account));
}

/// RFC 8555 §8.1: the proof contains the key by which the challenge was taken up, whatever key follows.
pub async fn a06_a_challenge_stays_its_key_s(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let order = store.create_order(&mixed(&world, &account, &[], &["b.demo.test", "c.demo.test"]), &audit("order.create")).await.unwrap();
    let [first, second] = [&order.authorizations[0], &order.authorizations[1]];
    world.start(first, HTTP).await;
    world.change_key(&account, "one", "second").await.unwrap();
    let late = store.start_challenge(second, HTTP, &TakeUp::by(World::thumbprint("one")), at(1), at(61), &audit("x")).await;
    assert!(matches!(&late, Err(StoreError::Conflict(reason)) if reason == KEY_CHANGED), "{late:?}");
    let open = store.authorization(second).await.unwrap().unwrap();
    assert_eq!(open.challenge(HTTP).unwrap().status, ChallengeStatus::Pending, "the client takes it up again");
    world.start(second, HTTP).await;
    let mut keys: Vec<_> = world.lease_validations(1, 60).await.into_iter().map(|job| (job.authorization, job.thumbprint)).collect();
    keys.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    let mut expected = vec![(first.clone(), World::thumbprint("one")), (second.clone(), World::thumbprint("second"))];
    expected.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    assert_eq!(keys, expected);
}

/// RFC 8555 §7.1.6: a challenge that fails for good takes authorization and order with it.
pub async fn a_failed_validation_ends_its_orders(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let order = store.create_order(&mixed(&world, &account, &[], &["b.demo.test"]), &audit("order.create")).await.unwrap();
    let id = &order.authorizations[0];
    world.start(id, HTTP).await;
    // Another attempt follows a failure that may pass.
    let leased = world.lease_validations(1, 60).await.remove(0);
    let again = ValidationEnd::Again { at: at(10) };
    let entry = audit("authorization.validate");
    let stumbled = store.finish_validation(&leased.lease, &record(&leased, 2, Some(problem())), &again, &entry).await.unwrap();
    assert_eq!(stumbled.status, AuthorizationStatus::Pending);
    assert_eq!(stumbled.challenge(HTTP).unwrap().error, Some(problem()));
    assert_conflict(store.finish_validation(&leased.lease, &record(&leased, 2, None), &again, &entry).await);
    assert!(world.lease_validations(9, 60).await.is_empty());
    let leased = world.lease_validations(10, 60).await.remove(0);
    assert_eq!(leased.attempts, 1);
    let failed = world.decide(&leased, 11, Some(problem())).await;
    assert_eq!((failed.status, failed.challenge(HTTP).unwrap().status), (AuthorizationStatus::Invalid, ChallengeStatus::Invalid));
    let order = store.order(&order.id).await.unwrap().unwrap();
    let told = Problem::new(problem().kind, "`b.demo.test`: the connection was refused");
    assert_eq!((order.status, order.error), (OrderStatus::Invalid, Some(told)), "of which identifier it is");
    assert_conflict(store.start_challenge(id, DNS, &TakeUp::by(World::thumbprint("one")), at(12), at(60), &audit("x")).await);
    let seen: Vec<_> = store.validations_of(id, 10).await.unwrap().iter().map(|r| (r.attempt, r.at)).collect();
    assert_eq!(seen, [(1, at(2)), (2, at(11))]);
}

/// One holder at a time; a lease that ended comes back; a restart goes on.
pub async fn validations_are_leased_by_one(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let account = world.account("one").await.account.id;
    let new = mixed(&world, &account, &[], &["b.demo.test", "c.demo.test", "d.demo.test"]);
    let order = world.store.create_order(&new, &audit("order.create")).await.unwrap();
    for id in &order.authorizations {
        world.start(id, HTTP).await;
    }
    let both = together(vec![world.lease_validations(1, 50), world.lease_validations(1, 50)]).await;
    assert_eq!(both.iter().map(Vec::len).sum::<usize>(), 3, "each once");
    let lost = both.iter().flatten().next().unwrap().clone();
    assert!(world.lease_validations(49, 60).await.is_empty());
    let again = world.lease_validations(50, 90).await;
    assert_eq!(again.iter().map(|l| l.attempts).collect::<Vec<_>>(), [1, 1, 1]);
    let late = record(&lost, 51, None);
    assert_fenced(world.store.finish_validation(&lost.lease, &late, &ValidationEnd::Decided, &audit("x")).await);
    assert_eq!(world.store.authorization(&lost.authorization).await.unwrap().unwrap().status, AuthorizationStatus::Pending);

    let world = world.reopen(factory).await;
    let resumed = world.lease_validations(52, 90).await;
    assert_eq!(resumed.len(), 3, "leased by a process that is gone");
    for leased in &resumed {
        world.decide(leased, 53, None).await;
    }
    assert_eq!(world.order_status(&order.id).await, OrderStatus::Ready);
}

/// What one account leaves unanswered keeps nobody else waiting, whatever it gives up meanwhile.
pub async fn a23_of_one_account_a_worker_holds_a_share(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let (account, other) = (world.account("one").await.account.id, world.account("two").await.account.id);
    let names: Vec<String> = (0..100).map(|n| format!("n{n}.demo.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = store.create_order(&mixed(&world, &account, &[], &names), &audit("order.create")).await.unwrap();
    for id in &many.authorizations {
        world.start(id, HTTP).await;
    }
    let one = store.create_order(&mixed(&world, &other, &[], &["b.demo.test"]), &audit("order.create")).await.unwrap();
    world.start(&one.authorizations[0], HTTP).await;

    let lease = async |now: i64, limit: u32| {
        let leased = store.lease_validations(&World::worker(), &world.lease(), at(now), at(60), limit, 8).await.unwrap();
        let own = leased.iter().filter(|job| job.account == account).cloned().collect::<Vec<_>>();
        let others = leased.len() - own.len();
        (own, others)
    };
    let (held, others) = lease(1, 32).await;
    assert_eq!((held.len(), others), (8, 1));
    assert_eq!(lease(1, 23).await, (vec![], 0), "it has its share");
    // One that ended makes room for one. One that was given up does not, until its validator has done with it.
    world.decide(&held[0], 2, None).await;
    store.deactivate_authorization(&held[1].authorization, &audit("authorization.deactivate")).await.unwrap();
    assert_eq!(lease(2, 23).await.0.len(), 1);
    let late = world.decide(&held[1], 3, Some(problem())).await;
    assert_eq!(late.status, AuthorizationStatus::Deactivated);
    assert_eq!(lease(3, 23).await.0.len(), 1);
    // Another worker has a share of its own; leases that ended are nobody's.
    let another = store.lease_validations(&"another".parse().unwrap(), &world.lease(), at(4), at(60), 32, 8).await.unwrap();
    assert_eq!(another.len(), 8);
    let (again, others) = lease(60, 100).await;
    assert_eq!((again.len(), others), (8, 1));
}

/// While it is valid an authorization serves further orders of its account, and of nobody else (A8).
pub async fn a08_authorizations_are_used_again_while_valid(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let other = world.account("two").await.account.id;
    let entry = audit("order.create");
    let create = async |account: &AccountId, now: i64, methods: &[ChallengeMethod]| {
        let mut new = mixed(&world, account, &[], &["b.demo.test"]);
        new.authorizations[0] = challenged(&world, account, "b.demo.test", methods);
        (new.order.created_at, new.order.expires, new.authorizations[0].expires) = (at(now), at(now + 1000), at(now + 1500));
        store.create_order(&new, &entry).await.unwrap()
    };
    let first = create(&account, 0, &[HTTP, DNS]).await;
    let id = &first.authorizations[0];
    // Pending: the same promise is made once. Other methods, or another account, are another promise.
    let second = create(&account, 5, &[HTTP, DNS]).await;
    assert_eq!((&second.authorizations, second.status), (&first.authorizations, OrderStatus::Pending));
    assert_ne!(create(&account, 5, &[DNS]).await.authorizations, first.authorizations);
    assert_ne!(create(&other, 5, &[HTTP, DNS]).await.authorizations, first.authorizations);

    world.start(id, HTTP).await;
    let leased = world.lease_validations(6, 60).await.remove(0);
    world.decide(&leased, 7, None).await;
    assert_eq!(world.order_status(&first.id).await, OrderStatus::Ready);
    assert_eq!(world.order_status(&second.id).await, OrderStatus::Ready, "both waited for it");

    let third = create(&account, 100, &[HTTP]).await;
    assert_eq!((&third.authorizations, third.status, third.expires), (&first.authorizations, OrderStatus::Ready, at(1100)));
    let near = create(&account, 4300, &[HTTP]).await;
    assert_eq!((near.status, near.expires), (OrderStatus::Ready, at(5007)), "no order outlives its authorization");
    // A method that does not count any more, and one that is about to end.
    let elsewise = create(&account, 100, &[ChallengeMethod::TlsAlpn01]).await;
    assert_eq!(elsewise.status, OrderStatus::Pending);
    assert_eq!(create(&account, 4500, &[HTTP]).await.status, OrderStatus::Pending);
    // An identifier's wildcard is another identifier.
    let mut wildcard = mixed(&world, &account, &[], &["*.b.demo.test"]);
    wildcard.authorizations[0] = challenged(&world, &account, "*.b.demo.test", &[DNS]);
    assert_eq!(store.create_order(&wildcard, &entry).await.unwrap().status, OrderStatus::Pending);

    store.deactivate_authorization(id, &audit("authorization.deactivate")).await.unwrap();
    for order in [&first, &second, &third] {
        assert_eq!(world.order_status(&order.id).await, OrderStatus::Invalid);
    }
    assert_ne!(create(&account, 200, &[HTTP]).await.authorizations[0], *id, "a deactivated one serves nobody");
}

/// RFC 8555 §7.5.2: an authorization that the client gives up proves nothing to an order that is being processed; one that
/// the worker does not believe takes the orders with it that wait on it (A8).
pub async fn a08_what_is_given_up_or_revoked_proves_nothing(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let create = async |names: &[&str]| store.create_order(&mixed(&world, &account, &[], names), &audit("order.create")).await.unwrap();
    let first = create(&["b.demo.test", "c.demo.test"]).await;
    for id in &first.authorizations {
        world.start(id, HTTP).await;
    }
    for leased in world.lease_validations(1, 60).await {
        world.decide(&leased, 2, None).await;
    }
    let (ready, pending) = (create(&["b.demo.test"]).await, create(&["b.demo.test", "d.demo.test"]).await);
    let apart = create(&["e.demo.test"]).await;
    let finalize = async |order: &ca_core::model::OrderId, now: i64| {
        let request = world.finalize(order, "finalize", now).await.unwrap();
        let leased = world.lease_one(&request, now, now + 60).await;
        (request, leased)
    };
    let given_up = create(&["c.demo.test"]).await;
    let processed = world.finalize(&given_up.id, "finalize", 3).await.unwrap();
    store.deactivate_authorization(&given_up.authorizations[0], &audit("authorization.deactivate")).await.unwrap();
    assert_eq!(world.order_status(&given_up.id).await, OrderStatus::Processing);
    assert_eq!(world.lease_one(&processed, 3, 60).await.evidence.validations, []);
    assert_eq!(world.order_status(&first.id).await, OrderStatus::Invalid);

    let refused = create(&["b.demo.test"]).await;
    let (request, leased) = finalize(&refused.id, 4).await;
    assert_eq!(leased.evidence.validations.len(), 1);
    let unproven = Problem::new(ProblemType::Unauthorized, "no validation that counts");
    store.refuse_request(&request, &leased.lease, Fault::Evidence, &unproven, &audit("certificate.issue")).await.unwrap();
    assert_eq!(store.authorization(&ready.authorizations[0]).await.unwrap().unwrap().status, AuthorizationStatus::Revoked);
    for order in [&ready, &pending] {
        let ended = store.order(&order.id).await.unwrap().unwrap();
        assert_eq!((ended.status, ended.error), (OrderStatus::Invalid, Some(unproven.clone())));
    }
    assert_eq!(world.order_status(&apart.id).await, OrderStatus::Pending, "it waits for something else");
    assert_eq!(create(&["b.demo.test"]).await.status, OrderStatus::Pending, "proven anew");
}

/// RFC 8555 §7.4.1: an authorization before any order, and the bound on promises.
pub async fn authorizations_stand_for_themselves(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let entry = audit("authorization.create");
    let new = challenged(&world, &account, "b.demo.test", &[HTTP, DNS]);
    assert_eq!(store.create_authorization(&new, at(0), &entry).await.unwrap(), new);
    let again = challenged(&world, &account, "b.demo.test", &[HTTP, DNS]);
    assert_eq!(store.create_authorization(&again, at(0), &entry).await.unwrap(), new);
    let mut forged = challenged(&world, &account, "c.demo.test", &[HTTP]);
    forged.status = AuthorizationStatus::Valid;
    assert_conflict(store.create_authorization(&forged, at(0), &entry).await);
    let stranger = challenged(&world, &AccountId::from_evidence("nobody"), "c.demo.test", &[HTTP]);
    assert_conflict(store.create_authorization(&stranger, at(0), &entry).await);
    assert_not_found(
        store.start_challenge(&"missing".parse().unwrap(), HTTP, &TakeUp::by(World::thumbprint("one")), at(1), at(60), &entry).await,
    );
    assert_conflict(
        store.start_challenge(&new.id, ChallengeMethod::TlsAlpn01, &TakeUp::by(World::thumbprint("one")), at(1), at(60), &entry).await,
    );
    assert_conflict(store.start_challenge(&new.id, HTTP, &TakeUp::by(World::thumbprint("one")), at(1500), at(1600), &entry).await);

    for index in 1..MAX_PENDING_AUTHORIZATIONS {
        let new = challenged(&world, &account, &format!("x{index}.demo.test"), &[HTTP]);
        store.create_authorization(&new, at(0), &entry).await.unwrap();
    }
    let one_more = challenged(&world, &account, "y.demo.test", &[HTTP]);
    let refused = store.create_authorization(&one_more, at(0), &entry).await;
    assert!(matches!(&refused, Err(StoreError::Conflict(text)) if text == TOO_MANY_PENDING), "{refused:?}");
    // What has lapsed does not count.
    let mut later = one_more;
    later.expires = at(3000);
    store.create_authorization(&later, at(1500), &entry).await.unwrap();
}

/// What was given up or decided otherwise meanwhile stays so; the record says what was seen.
pub async fn a_late_result_changes_nothing(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account.id;
    let order = store.create_order(&mixed(&world, &account, &[], &["b.demo.test", "c.demo.test"]), &audit("x")).await.unwrap();
    let (lapsing, decided) = (&order.authorizations[0], &order.authorizations[1]);
    world.start(lapsing, HTTP).await;
    world.start(decided, HTTP).await;
    world.start(decided, DNS).await;
    let leased = world.lease_validations(1, 2000).await;
    let of = |id: &AuthorizationId, method| leased.iter().find(|l| l.authorization == *id && l.method == method).unwrap();
    let late = world.decide(of(lapsing, HTTP), 1500, None).await;
    assert_eq!(late.status, AuthorizationStatus::Pending, "it had lapsed");
    world.decide(of(decided, HTTP), 3, Some(problem())).await;
    let other = of(decided, DNS);
    assert_eq!(world.decide(other, 4, None).await.status, AuthorizationStatus::Invalid, "another method had decided it");
    assert_eq!(store.authorization(decided).await.unwrap().unwrap().status, AuthorizationStatus::Invalid);
    assert_eq!(store.validations_of(decided, 10).await.unwrap().len(), 2);
    let twice = store.finish_validation(&other.lease, &record(other, 5, None), &ValidationEnd::Decided, &audit("x")).await;
    assert_fenced(twice);
    assert_eq!(world.order_status(&order.id).await, OrderStatus::Invalid);
    assert_eq!(store.validations_of(lapsing, 10).await.unwrap().len(), 1);

    // Lapsed ones go; the evidence stays.
    store.prune(at(2000), 100).await.unwrap();
    assert_eq!(store.authorization(lapsing).await.unwrap(), None);
    assert_eq!(store.validations_of(lapsing, 10).await.unwrap().len(), 1);
    store.prune(at(500 * 86_400), 100).await.unwrap();
    assert_eq!(store.validations_of(lapsing, 10).await.unwrap(), []);
}
