//! Marks for replacement, and what came in their place.

use ca_core::log::intent_leaf;
use ca_core::model::{
    AccountId, CertificateFilter, IntentContent, Origin, ReplacementMark, ReplacementState, RevocationReason, RevocationRequest, Successor,
};
use ca_core::pki::{Identifier, SerialNumber, sha256};
use ca_core::ports::WorkerStore;

use super::revocation::revocation;
use super::{StoreFactory, World, at, audit};

/// A released certificate of an account for one name, perhaps in another one's place.
async fn issued(world: &World, account: &AccountId, name: &str, profile: &str, replaces: Option<SerialNumber>) -> SerialNumber {
    issued_when(world, account, name, profile, replaces, 2, 5000).await
}

/// The same, recorded at `now` and valid until `end`.
async fn issued_when(
    world: &World,
    account: &AccountId,
    name: &str,
    profile: &str,
    replaces: Option<SerialNumber>,
    now: i64,
    end: i64,
) -> SerialNumber {
    let mut new = world.new_order(account, &[name]);
    new.order.replaces = replaces;
    let order = world.store.create_order(&new, &audit("order.create")).await.unwrap().id;
    let request = world.finalize(&order, "finalize", 1).await.unwrap();
    let request = world.lease_one(&request, 1, 60).await;
    let serial = world.serial();
    let mut intent = world.intent(&World::origin(&order, &request, account), serial);
    let IntentContent::Certificate(content) = &mut intent.content else { unreachable!("a certificate's intent") };
    content.identifiers = vec![Identifier::from_text(name).unwrap()];
    content.profile = profile.to_owned();
    content.not_after = at(end);
    intent.at = at(now);
    intent.leaf = intent_leaf(&intent);
    world.store.record_intent(&intent).await.unwrap();
    world.store.complete(&World::completion(&intent, serial.as_bytes())).await.unwrap();
    serial
}

/// For a reason that leaves the key, which every certificate here has.
fn superseded(serial: SerialNumber, when: i64) -> RevocationRequest {
    RevocationRequest { reason: RevocationReason::Superseded, ..revocation(serial, when) }
}

async fn mark_of(store: &dyn WorkerStore, serial: &SerialNumber) -> Option<ReplacementMark> {
    store.certificate(&World::authority(), serial).await.unwrap().unwrap().marked
}

/// A mark is in the certificate's record, keeps its time, and goes away again; each transaction has one audit entry.
pub async fn a20_a_mark_stands_until_it_is_taken_away(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let (authority, entry) = (World::authority(), audit("certificate.replace"));
    let mut serials = Vec::new();
    for _ in 0..5 {
        serials.insert(0, world.certificate(5000).await);
    }
    let mark = |when: i64, url: Option<&str>| ReplacementMark { at: at(when), explanation: url.map(|url| url.parse().unwrap()) };
    let (first, second) = (mark(10, Some("https://ca.test/why")), mark(20, None));
    let store = &world.store;
    let with_others = [serials[1], world.serial(), serials[3]];
    assert_eq!(store.mark_for_replacement(&authority, &with_others, &first, &entry).await.unwrap(), 2, "never issued: passed over");
    assert_eq!(store.mark_for_replacement(&"demo-root".parse().unwrap(), &serials, &first, &entry).await.unwrap(), 0, "another's");
    assert_eq!(store.mark_for_replacement(&authority, &serials[3..], &second, &entry).await.unwrap(), 1);
    let explained_anew = ReplacementMark { explanation: None, ..first.clone() };
    for (serial, expected) in serials.iter().zip([None, Some(&first), None, Some(&explained_anew), Some(&second)]) {
        assert_eq!(mark_of(&**store, serial).await.as_ref(), expected);
    }

    let world = world.reopen(factory).await;
    let store = &world.store;
    let listed = async |marked: bool, after: Option<&SerialNumber>, limit: u32| -> Vec<_> {
        let filter = CertificateFilter { authority: Some(authority.clone()), marked: Some(marked), ..Default::default() };
        store.certificates(&filter, after, limit).await.unwrap().into_iter().map(|c| c.serial).collect()
    };
    assert_eq!(listed(true, None, 10).await, [serials[1], serials[3], serials[4]]);
    assert_eq!(listed(true, Some(&serials[1]), 1).await, [serials[3]]);
    assert_eq!(listed(false, None, 10).await, [serials[0], serials[2]]);
    assert_eq!(listed(false, Some(&serials[0]), 10).await, [serials[2]]);
    let newest = store.newest_for_key(&authority, "client", &sha256(b"key")).await.unwrap().unwrap();
    assert_eq!((newest.serial, newest.marked), (serials[0], None));

    assert_eq!(store.unmark(&authority, &serials[..4], &entry).await.unwrap(), 2);
    assert_eq!(store.unmark(&authority, &serials[..4], &entry).await.unwrap(), 0);
    assert_eq!(listed(true, None, 10).await, [serials[4]]);
    let rows = store.audit_after(0, 1000).await.unwrap();
    assert_eq!(rows.iter().filter(|row| String::from_utf8_lossy(&row.leaf).contains("certificate.replace")).count(), 5);
    store.prune(at(5000), 1000).await.unwrap();
    assert_eq!(listed(true, None, 10).await, [serials[4]], "it has ended, and its mark is looked at still");
    store.prune(at(5000 + 91 * 86_400), 1000).await.unwrap();
    assert_eq!(listed(true, None, 10).await, []);
}

/// Where a profile was wrong, what comes in a certificate's place has another: it counts where it is no other one's renewal.
pub async fn lesson_24_a_later_certificate_of_another_profile_counts_where_the_account_had_none(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let (one, two) = (world.account("one").await.account.id, world.account("two").await.account.id);
    let issued_at = async |account: &AccountId, name: &str, profile: &str, now: i64| -> SerialNumber {
        issued_when(&world, account, name, profile, None, now, 5000).await
    };
    let moved = issued_at(&one, "a.demo.test", "client", 2).await;
    // Under both profiles at once.
    let both = issued_at(&one, "b.demo.test", "client", 2).await;
    issued_at(&one, "b.demo.test", "server", 2).await;
    let alone = issued_at(&two, "a.demo.test", "client", 2).await;
    let marked = [moved, both, alone];
    let mark = ReplacementMark { at: at(10), explanation: None };
    store.mark_for_replacement(&World::authority(), &marked, &mark, &audit("certificate.replace")).await.unwrap();
    let successors = async || -> Vec<Option<Successor>> {
        let found = store.replacements(&CertificateFilter::default(), None, 10, at(150)).await.unwrap();
        found.into_iter().rev().map(|r| r.successor).collect()
    };
    // As old as the mark: nobody knows which was first.
    issued_at(&one, "a.demo.test", "spare", 10).await;
    assert_eq!(successors().await, [None, None, None]);

    let other = |serial| Some(Successor::OtherProfile { serial, profile: "server".to_owned() });
    let server = issued_at(&one, "a.demo.test", "server", 11).await;
    issued_at(&one, "b.demo.test", "server", 11).await;
    assert_eq!(successors().await, [other(server), None, None], "what may be another one's renewal is none; nor is another account's");
    issued_at(&one, "a.demo.test", "spare", 12).await;
    let newest = issued_at(&one, "a.demo.test", "server", 13).await;
    assert_eq!(successors().await, [other(newest), None, None]);

    // The same profile says more.
    let same = issued_at(&one, "a.demo.test", "client", 14).await;
    assert_eq!(successors().await, [Some(Successor::Later { serial: same }), None, None]);
    store.revoke(&superseded(same, 100)).await.unwrap();
    store.revoke(&superseded(newest, 100)).await.unwrap();
    assert_eq!(successors().await, [other(server), None, None]);
    let mark = ReplacementMark { at: at(20), explanation: None };
    store.mark_for_replacement(&World::authority(), &[server], &mark, &audit("certificate.replace")).await.unwrap();
    assert_eq!(successors().await, [None, None, None, None], "it is to be replaced itself");
}

/// What came in a marked certificate's place: what an order says, or a later one of the same account, profile and names.
pub async fn lesson_24_what_came_in_a_certificate_s_place_is_known(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let (authority, entry) = (World::authority(), audit("certificate.replace"));
    let (one, two) = (world.account("one").await.account.id, world.account("two").await.account.id);
    let marked = [
        issued(&world, &one, "a.demo.test", "client", None).await,
        issued(&world, &one, "b.demo.test", "client", None).await,
        issued(&world, &two, "a.demo.test", "client", None).await,
        world.certificate(5000).await,
    ];
    let mark = ReplacementMark { at: at(10), explanation: None };
    assert_eq!(store.mark_for_replacement(&authority, &marked, &mark, &entry).await.unwrap(), 4);
    let successors = async || -> Vec<Option<Successor>> {
        let found = store.replacements(&CertificateFilter::default(), None, 10, at(150)).await.unwrap();
        assert!(found.iter().map(|r| &r.record.serial).eq(marked.iter().rev()) && found.iter().all(|r| r.record.marked.is_some()));
        found.into_iter().rev().map(|r| r.successor).collect()
    };
    assert_eq!(successors().await, [None, None, None, None], "another account's is none");

    // Another account's, another profile's, other names, or an order alone: nothing yet.
    issued(&world, &two, "b.demo.test", "client", None).await;
    issued(&world, &one, "a.demo.test", "server", None).await;
    issued(&world, &one, "c.demo.test", "client", None).await;
    let mut ordered = world.new_order(&two, &["a.demo.test"]);
    ordered.order.replaces = Some(marked[2]);
    store.create_order(&ordered, &audit("order.create")).await.unwrap();
    assert_eq!(successors().await, [None, None, None, None]);

    // Another authority's is a hint.
    let mut moved = world.intent(&Origin::Ceremony, world.serial());
    moved.authority = "demo-root".parse().unwrap();
    moved.leaf = intent_leaf(&moved);
    store.record_intent(&moved).await.unwrap();
    store.complete(&World::completion(&moved, b"moved")).await.unwrap();
    let found = store.replacements(&CertificateFilter::default(), None, 10, at(150)).await.unwrap();
    let elsewhere: Vec<_> = found.iter().rev().map(|r| r.elsewhere.is_some()).collect();
    assert_eq!(elsewhere, [true, false, true, true], "those of a.demo.test");
    assert_eq!(successors().await, [None, None, None, None]);

    let named = issued(&world, &one, "b.demo.test", "server", Some(marked[1])).await;
    let later = issued(&world, &one, "a.demo.test", "client", None).await;
    let own = world.certificate(6000).await;
    let found = successors().await;
    assert!(matches!(&found[1], Some(Successor::Order { serial, .. }) if *serial == named), "{found:?}");
    assert_eq!(found[0], Some(Successor::Later { serial: later }));
    assert_eq!(found[2], None);
    assert_eq!(found[3], Some(Successor::Later { serial: own }), "the CA's own keeps its key");

    // One that is revoked, or is to be replaced itself, is no successor.
    store.revoke(&superseded(later, 100)).await.unwrap();
    let newest = issued(&world, &one, "a.demo.test", "client", None).await;
    assert_eq!(successors().await[0], Some(Successor::Later { serial: newest }));
    store.mark_for_replacement(&authority, &[newest], &mark, &entry).await.unwrap();
    let all = store.replacements(&CertificateFilter::default(), Some(&newest), 10, at(150)).await.unwrap();
    assert_eq!((all.len(), all[3].successor.clone()), (4, None));
    let filter = CertificateFilter { account: Some(two), ..Default::default() };
    let of_two = store.replacements(&filter, None, 10, at(150)).await.unwrap();
    assert_eq!(of_two.into_iter().map(|r| r.record.serial).collect::<Vec<_>>(), [marked[2]]);
}

/// Revoking is safe where something is in use: what has expired, was revoked or is on hold stands in for nothing, however it came.
pub async fn lesson_24_what_has_ended_is_no_successor(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let (store, entry) = (&world.store, audit("certificate.replace"));
    let account = world.account("one").await.account.id;
    let of = async |name: &str, profile: &str, replaces, now, end| issued_when(&world, &account, name, profile, replaces, now, end).await;
    let later = of("a.demo.test", "client", None, 2, 5000).await;
    let named = of("b.demo.test", "client", None, 2, 5000).await;
    let moved = of("c.demo.test", "client", None, 2, 5000).await;
    let own = world.certificate(5000).await;
    let marked = [later, named, moved, own];
    let mark = ReplacementMark { at: at(10), explanation: None };
    store.mark_for_replacement(&World::authority(), &marked, &mark, &entry).await.unwrap();
    // Their successors end at 400; a newer one that ends sooner hides none.
    of("a.demo.test", "client", None, 20, 400).await;
    of("a.demo.test", "client", None, 21, 300).await;
    let successor = of("b.demo.test", "server", Some(named), 20, 400).await;
    of("c.demo.test", "server", None, 20, 400).await;
    world.certificate(400).await;
    let replaced = async |now| -> Vec<bool> {
        let found = store.replacements(&CertificateFilter::default(), None, 10, at(now)).await.unwrap();
        found.iter().rev().map(|r| r.is_safe_to_revoke(at(now))).collect()
    };
    assert_eq!(replaced(399).await, [true; 4]);
    assert_eq!(replaced(400).await, [false; 4]);
    let states = async |now| -> Vec<ReplacementState> {
        let found = store.replacements(&CertificateFilter::default(), None, 10, at(now)).await.unwrap();
        found.iter().rev().map(|r| r.state(at(now))).collect()
    };
    assert_eq!(states(400).await, [ReplacementState::ToGo; 4]);

    // What was replaced as long as it was needed stays so in the report.
    store.revoke(&superseded(later, 399)).await.unwrap();
    let hold = RevocationRequest { reason: RevocationReason::CertificateHold, ..superseded(moved, 399) };
    store.revoke(&hold).await.unwrap();
    for now in [400, 6000] {
        assert_eq!(states(now).await[0], ReplacementState::Replaced);
    }
    assert!(!replaced(400).await[2], "it may come off hold");

    // An order's word does not make a revoked one stand, nor one on hold.
    for reason in [RevocationReason::CertificateHold, RevocationReason::Superseded] {
        store.revoke(&RevocationRequest { reason, ..superseded(successor, 50) }).await.unwrap();
        assert!(!replaced(300).await[1], "{reason:?}");
    }
}
