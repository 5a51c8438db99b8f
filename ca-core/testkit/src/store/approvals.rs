//! Proposals, signatures, roster changes, holds.

use ca_core::model::{
    Actor, LedgerEvent, Proposal, ProposalId, ProposalState, RevocationReason, Revoked, RevokedAuthority, SerialStatus, StoredApproval,
    Unheld, UnholdRequest,
};
use ca_core::pki::SerialNumber;

use super::{StoreFactory, World, assert_conflict, assert_not_found, at, audit, revocation::revocation, together};

fn proposal(n: u64, expires: i64) -> Proposal {
    let statement = format!("statement {n}");
    Proposal {
        id: ProposalId::of(&statement),
        statement,
        subject: format!("subject {n}"),
        state: ProposalState::Pending,
        progress: 0,
        reason: None,
        proposed_at: at(0),
        expires_at: at(expires),
        approvals: vec![],
    }
}

fn approval(officer: &str, signature: &str) -> StoredApproval {
    StoredApproval { officer: officer.to_owned(), signature: signature.to_owned(), at: at(1) }
}

/// From pending to its end: signatures of people, one beginning, progress that does not go back.
pub async fn a_proposal_begins_once(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let first = proposal(1, 100);
    store.put_proposal(&first, &audit("proposal.create")).await.unwrap();
    assert_conflict(store.put_proposal(&first, &audit("proposal.create")).await);
    assert_eq!(store.proposal(&first.id).await.unwrap(), Some(first.clone()));
    let none = ProposalId::of("another");
    assert_eq!(store.proposal(&none).await.unwrap(), None);
    assert_not_found(store.add_approval(&none, &approval("ana", "a"), &audit("approval.add")).await);

    let signed = async |now: i64| store.signed_proposals(at(now), 10).await.unwrap();
    assert_eq!(signed(0).await, [], "nobody has signed");
    for signed in [approval("cora", "c"), approval("ana", "a"), approval("ana", "a, again")] {
        store.add_approval(&first.id, &signed, &audit("approval.add")).await.unwrap();
    }
    let stored = store.proposal(&first.id).await.unwrap().unwrap();
    assert_eq!(stored.approvals, [approval("ana", "a, again"), approval("cora", "c")], "one for each person, the newest");

    assert_eq!(signed(99).await, [Proposal { subject: String::new(), ..stored }]);
    assert_eq!(signed(100).await, [], "it has expired");

    assert_conflict(store.advance_act(&first.id, 1).await);
    let entry = audit("act.begin");
    let begun = together((0..4).map(|_| store.begin_act(&first.id, "nonce", at(100), &entry)).collect()).await;
    assert_eq!(begun.iter().filter(|r| r.is_ok()).count(), 1, "{begun:?}");
    assert_eq!(signed(0).await, [], "it waits no more");
    let second = proposal(2, 100);
    store.put_proposal(&second, &audit("proposal.create")).await.unwrap();
    assert_conflict(store.begin_act(&second.id, "nonce", at(100), &audit("act.begin")).await);
    assert_conflict(store.add_approval(&first.id, &approval("bela", "b"), &audit("approval.add")).await);
    store.advance_act(&first.id, 7).await.unwrap();
    store.advance_act(&first.id, 3).await.unwrap();
    assert_eq!(store.proposal(&first.id).await.unwrap().unwrap().progress, 7);

    let world = world.reopen(factory).await;
    let store = &world.store;
    let listed = store.proposals(Some(ProposalState::Begun), 10).await.unwrap();
    assert_eq!(listed.iter().map(|p| (&p.id, p.subject.as_str(), p.approvals.len())).collect::<Vec<_>>(), [(&first.id, "", 2)]);
    store.end_act(&first.id, None, &audit("act.end")).await.unwrap();
    assert_conflict(store.end_act(&first.id, Some("late"), &audit("act.end")).await);
    assert_eq!(store.void_proposals("the roster changed", &audit("proposal.void")).await.unwrap(), 1);
    assert_eq!(store.void_proposals("the roster changed", &audit("proposal.void")).await.unwrap(), 0);
    let ends: Vec<_> = store.proposals(None, 10).await.unwrap().into_iter().map(|p| (p.state, p.reason)).collect();
    assert_eq!(ends, [(ProposalState::Ended, Some("the roster changed".to_owned())), (ProposalState::Done, None)], "newest first");
}

/// No more wait than are allowed; what has expired does not count, and goes in the end.
pub async fn waiting_proposals_are_bounded(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let most = u64::from(ca_core::ports::MAX_PENDING_PROPOSALS);
    for n in 0..most {
        store.put_proposal(&proposal(n, 100), &audit("proposal.create")).await.unwrap();
    }
    assert_conflict(store.put_proposal(&proposal(most, 100), &audit("proposal.create")).await);
    let later = Proposal { proposed_at: at(100), ..proposal(most, 200) };
    store.put_proposal(&later, &audit("proposal.create")).await.unwrap();
    store.prune(at(91 * 86_400), 1000).await.unwrap();
    assert_eq!(store.proposals(None, 100).await.unwrap(), []);
}

/// Changes of the roster follow each other; a revoked authority stays revoked.
pub async fn roster_changes_are_numbered(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let entry = audit("roster.change");
    assert_conflict(store.put_roster_change(2, "two", &entry).await);
    store.put_roster_change(1, "one", &entry).await.unwrap();
    store.put_roster_change(1, "one", &entry).await.unwrap();
    assert_conflict(store.put_roster_change(1, "another one", &entry).await);
    assert_conflict(store.put_roster_change(3, "three", &entry).await);
    store.put_roster_change(2, "two", &entry).await.unwrap();
    assert_eq!(store.roster_changes(10).await.unwrap(), [(1, "one".to_owned()), (2, "two".to_owned())]);
    assert_eq!(store.roster_changes(1).await.unwrap().len(), 1);

    let revoked = |reason| RevokedAuthority {
        authority: World::authority(),
        issuer: Some("demo-root".parse().unwrap()),
        serial: SerialNumber::from_bytes([1; 20]).unwrap(),
        reason,
        invalidity_date: Some(at(-5)),
        at: at(5),
        statement: "statement".to_owned(),
        signatures: vec!["a".to_owned(), "b".to_owned()],
    };
    let compromised = revoked(RevocationReason::CaCompromise);
    assert!(store.put_revoked_authority(&compromised, &audit("authority.revoke")).await.unwrap());
    assert!(!store.put_revoked_authority(&revoked(RevocationReason::Superseded), &audit("authority.revoke")).await.unwrap());
    assert_eq!(store.revoked_authorities().await.unwrap(), [compromised]);
}

/// A hold is taken back by its ledger row, or becomes final; nothing else is taken back.
pub async fn a_hold_ends_one_way_or_the_other(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let authority = World::authority();
    let (one, two, free) = (world.certificate(5000).await, world.certificate(5000).await, world.certificate(5000).await);
    let unhold = |serial| UnholdRequest {
        authority: World::authority(),
        serial,
        actor: Actor::Officers { names: vec!["ana".to_owned()] },
        at: at(200),
        correlation: "c".to_owned(),
    };
    for serial in [one, two] {
        let mut hold = revocation(serial, 100);
        (hold.reason, hold.invalidity_date) = (RevocationReason::CertificateHold, None);
        assert!(matches!(store.revoke(&hold).await.unwrap(), Revoked::Now { .. }));
        assert_eq!(store.revoke(&hold).await.unwrap(), Revoked::Already);
    }
    assert_eq!(store.unhold(&unhold(free)).await.unwrap(), Unheld::NotHeld);
    assert_eq!(store.unhold(&unhold(world.serial())).await.unwrap(), Unheld::NotFound);
    assert_eq!(store.unhold(&unhold(one)).await.unwrap(), Unheld::Now { number: 3 });
    assert_eq!(store.unhold(&unhold(one)).await.unwrap(), Unheld::NotHeld);
    assert_eq!(store.status(&authority, &one).await.unwrap(), Some(SerialStatus::Good));

    assert_eq!(store.revoke(&revocation(two, 300)).await.unwrap(), Revoked::Now { number: 4 });
    assert_eq!(store.revoke(&revocation(two, 400)).await.unwrap(), Revoked::Already);
    let status = store.status(&authority, &two).await.unwrap();
    assert_eq!(status, Some(SerialStatus::Revoked { at: at(100), reason: RevocationReason::KeyCompromise }), "since the hold");
    assert_eq!(store.unhold(&unhold(two)).await.unwrap(), Unheld::NotHeld);
    let events: Vec<_> = store.ledger_after(&authority, 0, 10).await.unwrap().into_iter().map(|e| (e.number, e.serial, e.event)).collect();
    let expected =
        [(1, one, LedgerEvent::Revoke), (2, two, LedgerEvent::Revoke), (3, one, LedgerEvent::Unhold), (4, two, LedgerEvent::Revoke)];
    assert_eq!(events, expected);
}
