//! Identifiers that the front end validated: the worker takes its word where the policy lists zone and method, and
//! nowhere else.

use std::time::Duration;

use ca_core::model::{
    Authorization, AuthorizationId, AuthorizationStatus, Challenge, ChallengeMethod, LeaseToken, NewOrder, Order, OrderId, OrderStatus,
    ProblemType, TakeUp, ValidationEnd, ValidationRecord, WorkerId,
};
use ca_core::pki::Identifier;
use ca_core::policy::{AttestationRoots, ChallengeZone, Policy};
use ca_core::ports::{AcmeStore as _, Clock as _, ValidationStore as _};
use ca_testkit::SeededRng;
use ca_testkit::acme::{self, ClientKey};
use ca_testkit::store::audit;

use crate::desk::{Client, Desk, demo};

const NAME: &str = "x.dmz.demo.test";

/// A desk whose policy challenges `*.dmz.demo.test` by these methods; without any there is no zone.
async fn desk(methods: &[ChallengeMethod]) -> Desk {
    let desk = Desk::open().await;
    let mut policy = desk.policy.clone();
    policy.version = 2;
    let names = vec!["dns:*.dmz.demo.test".parse().unwrap()];
    policy.authorities[0].names.extend(names.clone());
    if !methods.is_empty() {
        policy.authorities[0].challenge_zones =
            vec![ChallengeZone { names, methods: methods.to_vec(), caa: Vec::new(), attestation: AttestationRoots::default() }];
    }
    desk.set_policy(policy);
    desk
}

/// Orders a granted and a challenged name as the front end does, says that `method` proved it, and finalizes.
async fn finalized(desk: &Desk, client: &Client, method: ChallengeMethod, said: impl FnOnce(&mut ValidationRecord)) -> OrderId {
    let names = ["a.demo.test", NAME];
    let now = desk.clock.now();
    let mut payload = acme::order_payload(&names);
    payload["n"] = desk.next().into();
    let jws = acme::by_account(&client.key, &client.id, "/acme/new-order", &payload);
    let id = OrderId::from_evidence(&jws, now);
    let rng = SeededRng::new(1000 + desk.next());
    let identifiers: Vec<Identifier> = names.iter().map(|n| Identifier::from_text(n).unwrap()).collect();
    let authorization = |index: usize, challenged: bool| Authorization {
        id: if challenged { AuthorizationId::new(now, &rng) } else { AuthorizationId::of(&id, index) },
        account: client.id.clone(),
        authority: demo(),
        order: (!challenged).then(|| id.clone()),
        identifier: identifiers[index].clone(),
        status: if challenged { AuthorizationStatus::Pending } else { AuthorizationStatus::Valid },
        expires: now.plus(Duration::from_secs(3600)),
        challenges: if challenged { vec![Challenge::new(method, &rng)] } else { Vec::new() },
    };
    let authorizations = vec![authorization(0, false), authorization(1, true)];
    let challenged = authorizations[1].id.clone();
    let order = Order {
        id: id.clone(),
        account: client.id.clone(),
        authority: demo(),
        profile: "client".to_owned(),
        identifiers: identifiers.clone(),
        authorizations: authorizations.iter().map(|a| a.id.clone()).collect(),
        status: OrderStatus::Pending,
        expires: now.plus(Duration::from_secs(86_400)),
        not_before: None,
        not_after: None,
        error: None,
        serial: None,
        auto_renewal: None,
        replaces: None,
        created_at: now,
    };
    let store = &desk.store;
    store.create_order(&NewOrder { order, authorizations, jws }, &audit("order.create")).await.unwrap();
    store
        .start_challenge(
            &challenged,
            method,
            &TakeUp::by(client.thumbprint()),
            now,
            now.plus(Duration::from_secs(60)),
            &audit("authorization.challenge"),
        )
        .await
        .unwrap();
    let (worker, lease) = (WorkerId::random(&rng), LeaseToken::random(&rng));
    let leased = store.lease_validations(&worker, &lease, now, now.plus(Duration::from_secs(60)), 10, 10).await.unwrap().remove(0);
    let mut record = ValidationRecord {
        account: client.id.clone(),
        authorization: challenged,
        identifier: leased.identifier,
        method,
        attempt: 1,
        at: now,
        addresses: vec!["10.0.0.7".parse().unwrap()],
        answer_sha256: None,
        caa: None,
        attestation: None,
        problem: None,
        fault: None,
        valid_until: now.plus(Duration::from_secs(7200)),
    };
    said(&mut record);
    store.finish_validation(&lease, &record, &ValidationEnd::Decided, &audit("authorization.validate")).await.unwrap();
    assert_eq!(desk.order(&id).await.status, OrderStatus::Ready);
    let csr = ClientKey::default().csr(&names, None);
    let finalize = acme::finalize(&client.key, &client.id, &id, &csr);
    store.queue_finalize(&id, &client.thumbprint(), &finalize, now, &audit("order.finalize")).await.unwrap();
    id
}

#[tokio::test]
async fn a14_a_challenged_name_is_certified_where_the_policy_lists_its_zone() {
    let desk = desk(&[ChallengeMethod::Http01]).await;
    let client = desk.account().await;
    let id = finalized(&desk, &client, ChallengeMethod::Http01, |_| {}).await;
    desk.settle().await;
    let order = desk.order(&id).await;
    assert_eq!(order.status, OrderStatus::Valid, "{:?}", order.error);
    let record = desk.certificate(order.serial.unwrap()).await;
    assert_eq!(record.identifiers.iter().map(Identifier::value).collect::<Vec<_>>(), ["a.demo.test", NAME]);
    assert!(desk.audit_has(&["order.believe", NAME, "http-01", "10.0.0.7"]).await, "on whose word, and what it saw, is on record");
}

#[tokio::test]
async fn a14_the_front_ends_word_counts_in_zones_of_the_policy_only() {
    let check = async |methods: &[ChallengeMethod], kind: ProblemType| {
        let desk = desk(methods).await;
        let client = desk.account().await;
        let id = finalized(&desk, &client, ChallengeMethod::Http01, |_| {}).await;
        desk.settle().await;
        assert_eq!(desk.refusal(&id).await.kind, kind, "{methods:?}");
        assert!(desk.of_order(&id).await.is_empty(), "not even an intent");
    };
    // Inside the authority's names, in no zone; in a zone by another method.
    check(&[], ProblemType::RejectedIdentifier).await;
    check(&[ChallengeMethod::Dns01], ProblemType::Unauthorized).await;
}

/// Nobody's proof is in doubt because an operator has left.
#[tokio::test]
async fn a16_a_name_stays_proven_while_its_grant_has_lost_its_signer() {
    let desk = desk(&[ChallengeMethod::Http01]).await;
    let client = desk.account().await;
    let id = finalized(&desk, &client, ChallengeMethod::Http01, |_| {}).await;
    let mut policy = Policy::clone(&desk.worker.policy());
    (policy.version, policy.operators) = (3, Vec::new());
    desk.set_policy(policy);
    desk.settle().await;
    assert!(desk.refusal(&id).await.detail.contains("operators can sign it anew"));
    assert_eq!(desk.order(&id).await.status, OrderStatus::Invalid);
    let proven = desk.store.authorizations_of(&id).await.unwrap().remove(1);
    assert_eq!(proven.status, AuthorizationStatus::Valid);
}

#[tokio::test]
async fn a14_a_validation_that_lapsed_or_is_anothers_does_not_count() {
    let desk = desk(&[ChallengeMethod::Http01]).await;
    let client = desk.account().await;
    let lapsed = finalized(&desk, &client, ChallengeMethod::Http01, |_| {}).await;
    desk.clock.advance(Duration::from_secs(7200));
    desk.worker.step_requests().await.unwrap();
    assert_eq!(desk.refusal(&lapsed).await.kind, ProblemType::Unauthorized);
    // Nobody orders again on what the worker does not believe.
    let spent = desk.store.authorizations_of(&lapsed).await.unwrap().remove(1);
    assert_eq!(spent.status, AuthorizationStatus::Revoked);

    let gone = finalized(&desk, &client, ChallengeMethod::Http01, |_| {}).await;
    desk.edit("DELETE FROM validation_records").await;
    desk.settle().await;
    assert_eq!(desk.refusal(&gone).await.kind, ProblemType::Unauthorized);
    let other = desk.account().await;
    let id = finalized(&desk, &other, ChallengeMethod::Http01, |_| {}).await;
    let moved = finalized(&desk, &client, ChallengeMethod::Http01, |_| {}).await;
    // Another account's validation of the same name is put in the place of this one's.
    desk.edit(
        "DELETE FROM validation_records WHERE seq = (SELECT max(seq) FROM validation_records);
         UPDATE order_authorizations SET authorization_id = (SELECT max(authorization_id) FROM validation_records)",
    )
    .await;
    desk.settle().await;
    assert_eq!(desk.order(&id).await.status, OrderStatus::Valid, "the other account's own order");
    assert_eq!(desk.refusal(&moved).await.kind, ProblemType::Unauthorized);
}
