//! How accounts stand: failures in a row, pauses, renewals.

use std::time::Duration;

use ca_core::limits::{Exceeded, MAX_FAILURES, Share};
use ca_core::model::{AccountId, AccountStatus, AuthorizationId, ChallengeMethod, Fault, OrderStatus, Problem, ProblemType, Standing};
use ca_core::pki::Identifier;
use ca_core::ports::MAX_SHARES;

use super::authorizations::challenged;
use super::{StoreFactory, World, assert_conflict, assert_not_found, at, audit, together};

fn names(list: &[&str]) -> Vec<Identifier> {
    list.iter().map(|name| Identifier::from_text(name).unwrap()).collect()
}

impl World {
    async fn failures(&self, account: &AccountId, since: i64) -> u32 {
        self.store.standing(account, &[], at(since)).await.unwrap().failures
    }

    /// A validation that fails, or succeeds, `seconds` after the start.
    async fn validated(&self, account: &AccountId, seconds: i64, problem: Option<Problem>) {
        self.validated_by(account, seconds, problem, None).await;
    }

    async fn validated_by(&self, account: &AccountId, seconds: i64, problem: Option<Problem>, fault: Option<Fault>) {
        let new = challenged(self, account, &format!("n{}.dmz.test", self.next()), &[ChallengeMethod::Http01]);
        let made = self.store.create_authorization(&new, at(1), &audit("authorization.create")).await.unwrap();
        self.start(&made.id, ChallengeMethod::Http01).await;
        let leased = self.lease_validations(1, 60).await;
        self.decide_by(&leased[0], seconds, problem, fault).await;
    }

    /// An order that the worker refuses for whoever's fault.
    async fn refused(&self, account: &AccountId, fault: Fault, seconds: i64) {
        let (_, request) = self.leased_order(account).await;
        let mut entry = audit("order.refuse");
        entry.at = at(seconds);
        let problem = Problem::new(ProblemType::BadCsr, "no");
        self.store.refuse_request(&request.id, &request.lease, fault, &problem, &entry).await.unwrap();
    }

    /// A certificate of an order of the account.
    async fn issued(&self, account: &AccountId) {
        let (order, request) = self.leased_order(account).await;
        let intent = self.intent(&Self::origin(&order, &request, account), self.serial());
        self.store.record_intent(&intent).await.unwrap();
        self.store.complete(&Self::completion(&intent, b"certificate")).await.unwrap();
        assert_eq!(self.store.order(&order).await.unwrap().unwrap().status, OrderStatus::Valid);
    }
}

/// Failed validations and orders refused for what the client did are failures, this CA's own troubles and what others changed
/// are not; a proof or a certificate ends them.
pub async fn a23_failures_in_a_row_are_counted_until_a_success(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let (account, other) = (world.account("one").await.account.id, world.account("two").await.account.id);
    let refused = Problem::new(ProblemType::Connection, "the connection was refused");
    world.validated_by(&account, 10, Some(refused.clone()), Some(Fault::Client)).await;
    world.validated(&account, 20, Some(refused.clone())).await;
    world.refused(&account, Fault::Client, 30).await;
    for not_its_own in [Fault::Change, Fault::Rest, Fault::Evidence] {
        world.refused(&account, not_its_own, 30).await;
        world.validated_by(&account, 30, Some(refused.clone()), Some(not_its_own)).await;
    }
    for (since, expected) in [(0, 3), (10, 3), (11, 2), (21, 1), (31, 0)] {
        assert_eq!(world.failures(&account, since).await, expected, "since {since}");
    }
    assert_eq!(world.failures(&other, 0).await, 0);

    world.validated(&account, 31, None).await;
    assert_eq!(world.failures(&account, 0).await, 0, "a proof ends them");
    world.validated(&account, 32, Some(refused.clone())).await;
    world.issued(&other).await;
    assert_eq!(world.failures(&account, 0).await, 1, "another's certificate does not");
    world.issued(&account).await;
    assert_eq!(world.failures(&account, 0).await, 0, "the own one does");
    world.validated(&account, 33, Some(refused.clone())).await;
    assert_eq!(world.failures(&account, 0).await, 1, "those after it count again, even in the same second");

    let world = world.reopen(factory).await;
    assert_eq!(world.failures(&account, 0).await, 1);
    for _ in 0..MAX_FAILURES + 5 {
        world.validated(&other, 40, Some(refused.clone())).await;
    }
    assert_eq!(world.failures(&other, 0).await, MAX_FAILURES, "no more are kept");
    world.store.prune(at(40 * 86_400), 10_000).await.unwrap();
    assert_eq!((world.failures(&account, 0).await, world.failures(&other, 0).await), (0, 0), "old ones are pruned");
}

/// Nobody keeps validators busy and gives up before it counts.
pub async fn a23_giving_up_what_is_being_validated_is_a_failure(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let account = world.account("one").await.account.id;
    let create = async || {
        let new = challenged(&world, &account, &format!("n{}.dmz.test", world.next()), &[ChallengeMethod::Http01]);
        world.store.create_authorization(&new, at(1), &audit("authorization.create")).await.unwrap().id
    };
    let give_up = async |id: &AuthorizationId| {
        world.store.deactivate_authorization(id, &audit("authorization.deactivate")).await.unwrap();
    };
    for count in 1..=5 {
        let id = create().await;
        world.start(&id, ChallengeMethod::Http01).await;
        let leased = world.lease_validations(1, 60).await;
        give_up(&id).await;
        assert_eq!(world.failures(&account, 0).await, count);
        world.decide(&leased[0], 2, Some(Problem::new(ProblemType::Connection, "no"))).await;
        assert_eq!(world.failures(&account, 0).await, count, "counted once");
    }
    // What nobody had taken up, and what was proven, is given up freely.
    give_up(&create().await).await;
    assert_eq!(world.failures(&account, 0).await, 5);
    let id = create().await;
    world.start(&id, ChallengeMethod::Http01).await;
    let leased = world.lease_validations(1, 60).await;
    world.decide(&leased[0], 2, None).await;
    give_up(&id).await;
    assert_eq!(world.failures(&account, 0).await, 0);
}

/// A pause is written once, outlives the process, and ends by an operator's word only.
pub async fn a23_a_pause_stands_until_it_is_ended(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let account = world.account("one").await.account;
    world.refused(&account.id, Fault::Client, 5).await;
    let rows = store.audit_after(0, 1000).await.unwrap().len();
    let mut entry = audit("account.pause");
    let pauses = together((0..8).map(|_| store.pause_account(&account.id, &entry)).collect()).await;
    assert!(pauses.iter().all(|since| since.as_ref().ok() == Some(&at(0))), "{pauses:?}");
    entry.at = at(9);
    assert_eq!(store.pause_account(&account.id, &entry).await.unwrap(), at(0));
    assert_eq!(store.audit_after(0, 1000).await.unwrap().len(), rows + 1, "one pause is one row");
    assert_not_found(store.pause_account(&"missing".parse().unwrap(), &entry).await);

    let world = world.reopen(factory).await;
    let store = &world.store;
    let other = world.account("two").await.account.id;
    let standing = store.standing(&account.id, &[], at(0)).await.unwrap();
    assert_eq!(standing, Standing { renews: false, failures: 1, paused: Some(at(0)) });
    assert_eq!(store.account(&account.id).await.unwrap().unwrap().status, AccountStatus::Valid);
    let paused = store.accounts(true, 10).await.unwrap();
    assert_eq!(paused.iter().map(|r| (&r.account.id, r.failures, r.paused)).collect::<Vec<_>>(), [(&account.id, 1, Some(at(0)))]);
    assert_eq!(store.accounts(false, 10).await.unwrap().iter().map(|r| &r.account.id).collect::<Vec<_>>(), [&other, &account.id]);
    assert_eq!(store.accounts(false, 1).await.unwrap().len(), 1);
    assert_eq!(store.account_record(&account.id).await.unwrap().unwrap(), paused[0]);
    assert_eq!(store.account_record(&"missing".parse().unwrap()).await.unwrap(), None);

    world.issued(&account.id).await;
    assert!(store.standing(&account.id, &[], at(0)).await.unwrap().paused.is_some(), "what goes on does not end it");
    let rows = store.audit_after(0, 1000).await.unwrap().len();
    assert!(store.resume_account(&account.id, &audit("account.resume")).await.unwrap());
    assert!(!store.resume_account(&account.id, &audit("account.resume")).await.unwrap());
    assert_eq!(store.audit_after(0, 1000).await.unwrap().len(), rows + 2);
    assert_eq!(store.standing(&account.id, &[], at(0)).await.unwrap(), Standing::default());
    assert_not_found(store.resume_account(&"missing".parse().unwrap(), &audit("account.resume")).await);
}

/// Renewal is by the account's own certificate for exactly these names, in whatever order the list grew.
pub async fn a23_a_renewal_is_an_order_of_the_same_names(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let (account, other) = (world.account("one").await.account.id, world.account("two").await.account.id);
    let renews = async |account: &AccountId, list: &[&str]| world.store.standing(account, &names(list), at(0)).await.unwrap().renews;
    world.order(&account).await;
    world.refused(&account, Fault::Client, 5).await;
    assert!(!renews(&account, &["a.demo.test"]).await, "an order without a certificate is none to renew");
    world.issued(&account).await;
    assert!(renews(&account, &["a.demo.test"]).await);
    assert!(!renews(&other, &["a.demo.test"]).await);
    for list in [&["b.demo.test"][..], &["a.demo.test", "b.demo.test"], &["a.demo.tes"], &[]] {
        assert!(!renews(&account, list).await, "{list:?}");
    }
}

/// Quotas that several servers share are taken from all or from none, and no command of another process comes in between.
pub async fn a23_shared_quotas_are_counted_in_one_place(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let share = |subject: &str, quota: &str| Share { subject: subject.to_owned(), quota: quota.parse().unwrap(), takes: true };
    let (network, grant) = (share("orders/network/10.0.0.0/24", "10/1h"), share("orders/grant/grant-1", "4/1h"));
    let both = [network.clone(), grant.clone()];
    let taken = together((0..8).map(|_| world.store.take_shares(&both, at(0))).collect()).await;
    let spent: Vec<_> = taken.into_iter().filter_map(|taken| taken.unwrap()).collect();
    assert_eq!(spent, [Exceeded { index: 1, wait: Duration::from_secs(900) }; 4], "four of eight, and whose quota it was");
    for _ in 0..6 {
        assert_eq!(world.store.take_shares(std::slice::from_ref(&network), at(0)).await.unwrap(), None, "nothing was taken in vain");
    }
    assert!(world.store.take_shares(std::slice::from_ref(&network), at(0)).await.unwrap().is_some());
    // Who only asks takes none, and hears when there is none.
    let asked = Share { takes: false, ..share("accounts/grant/grant-1", "1/1h") };
    for _ in 0..3 {
        assert_eq!(world.store.take_shares(std::slice::from_ref(&asked), at(0)).await.unwrap(), None);
    }
    let taken = Share { takes: true, ..asked.clone() };
    assert_eq!(world.store.take_shares(std::slice::from_ref(&taken), at(0)).await.unwrap(), None);
    assert!(world.store.take_shares(std::slice::from_ref(&asked), at(0)).await.unwrap().is_some());
    assert_eq!(world.store.take_shares(std::slice::from_ref(&grant), at(900)).await.unwrap(), None);
    assert_eq!(world.store.take_shares(&[], at(0)).await.unwrap(), None);
    let many: Vec<Share> = (0..=MAX_SHARES).map(|n| share(&n.to_string(), "1/1h")).collect();
    assert_conflict(world.store.take_shares(&many, at(0)).await);
}
