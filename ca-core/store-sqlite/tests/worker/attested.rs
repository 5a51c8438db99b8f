//! Devices that attest: the worker judges the evidence anew, whatever the front end says of it.

use std::sync::Arc;
use std::time::Duration;

use ca_core::model::{
    AttestationEvidence, Authorization, AuthorizationId, AuthorizationStatus, Challenge, ChallengeMethod, Grant, LeaseToken, NewOrder,
    Order, OrderId, OrderStatus, ProblemType, TakeUp, ValidationEnd, ValidationRecord, WorkerId,
};
use ca_core::pki::{AltName, Certificate, Identifier, KeyAlgorithm};
use ca_core::policy::{AttestationRoots, ChallengeZone};
use ca_core::ports::{AcmeStore as _, Clock as _, ValidationStore as _};
use ca_core::validation::attestation::AttestationCrls;
use ca_core::validation::key_authorization;
use ca_testkit::SeededRng;
use ca_testkit::acme;
use ca_testkit::attestation::{Maker, Template, Tpm, apple, csr};
use ca_testkit::specimens::Key;
use ca_testkit::store::audit;
use serde_json::json;

use crate::desk::{Client, Desk, demo};

const METHOD: ChallengeMethod = ChallengeMethod::DeviceAttest01;

struct Site {
    desk: Desk,
    maker: Maker,
    client: Client,
}

fn device() -> Identifier {
    Identifier::parse("permanent-identifier", "SN-1").unwrap()
}

impl Site {
    async fn open() -> Self {
        let desk = Desk::open().await;
        let maker = Maker::new("Maker");
        Self::in_force(&desk, &maker, 2);
        let grant =
            Grant { id: "grant-device".parse().unwrap(), names: vec!["permanent-identifier:SN-*".parse().unwrap()], ..desk.wanted_grant() };
        desk.operate(ca_core::evidence::statement::Operation::GrantCreate { grant: grant.clone() }).await.unwrap();
        let client = desk.account_of(&grant).await;
        Self { desk, maker, client }
    }

    /// A policy that challenges devices, with this maker's root for every format.
    fn in_force(desk: &Desk, maker: &Maker, version: u64) {
        let mut policy = desk.policy.clone();
        policy.version = version;
        let names = vec!["permanent-identifier:*".parse().unwrap()];
        policy.authorities[0].names.extend(names.clone());
        let pem = || maker.root_pem().try_into().unwrap();
        let attestation = AttestationRoots { apple: pem(), step: pem(), tpm: pem() };
        policy.authorities[0].challenge_zones = vec![ChallengeZone { names, methods: vec![METHOD], caa: Vec::new(), attestation }];
        desk.set_policy(policy);
    }

    /// Orders the device as the front end does; `object` makes what is attested, `said` changes what the front end says of
    /// it; and finalizes with `key`.
    async fn finalized(&self, object: impl FnOnce(&str) -> Vec<u8>, said: impl FnOnce(&mut ValidationRecord), key: &Key) -> OrderId {
        let Self { desk, client, .. } = self;
        let now = desk.clock.now();
        let payload = json!({ "identifiers": [device()], "n": desk.next() });
        let jws = acme::by_account(&client.key, &client.id, "/acme/new-order", &payload);
        let id = OrderId::from_evidence(&jws, now);
        let rng = SeededRng::new(2000 + desk.next());
        let authorization = Authorization {
            id: AuthorizationId::new(now, &rng),
            account: client.id.clone(),
            authority: demo(),
            order: None,
            identifier: device(),
            status: AuthorizationStatus::Pending,
            expires: now.plus(Duration::from_secs(3600)),
            challenges: vec![Challenge::new(METHOD, &rng)],
        };
        let order = Order {
            id: id.clone(),
            account: client.id.clone(),
            authority: demo(),
            profile: "client".to_owned(),
            identifiers: vec![device()],
            authorizations: vec![authorization.id.clone()],
            status: OrderStatus::Pending,
            expires: now.plus(Duration::from_secs(86_400)),
            not_before: None,
            not_after: None,
            error: None,
            serial: None,
            replaces: None,
            auto_renewal: None,
            created_at: now,
        };
        let store = &desk.store;
        let new = NewOrder { order, authorizations: vec![authorization.clone()], jws };
        let stored = store.create_order(&new, &audit("order.create")).await.unwrap();
        assert_eq!(stored.authorizations, std::slice::from_ref(&authorization.id), "what was attested before is no proof for another key");
        let token = authorization.challenges[0].token.clone();
        let proof = key_authorization(&token, &client.thumbprint());
        let answer = Self::answer(client, &authorization.id, &object(&proof));
        let (worker, lease) = (WorkerId::random(&rng), LeaseToken::random(&rng));
        let until = now.plus(Duration::from_secs(60));
        let by = TakeUp { thumbprint: client.thumbprint(), answer: Some(answer.clone()) };
        let entry = audit("authorization.challenge");
        store.start_challenge(&authorization.id, METHOD, &by, now, until, &entry).await.unwrap();
        let leased = store.lease_validations(&worker, &lease, now, until, 10, 10).await.unwrap().remove(0);
        assert_eq!(leased.answer.as_ref(), Some(&answer), "the answer comes with the job");
        let mut record = ValidationRecord {
            account: client.id.clone(),
            authorization: authorization.id.clone(),
            identifier: leased.identifier,
            method: METHOD,
            attempt: 1,
            at: now,
            addresses: Vec::new(),
            answer_sha256: None,
            caa: None,
            attestation: Some(AttestationEvidence { jws: answer, token, key_sha256: key.public().spki_sha256() }),
            problem: None,
            fault: None,
            valid_until: now.plus(Duration::from_secs(7200)),
        };
        said(&mut record);
        store.finish_validation(&lease, &record, &ValidationEnd::Decided, &audit("authorization.validate")).await.unwrap();
        let read = store.authorization(&authorization.id).await.unwrap().unwrap();
        assert_eq!(read.challenge(METHOD).unwrap().attested_key, record.attestation.map(|a| a.key_sha256));
        assert_eq!(desk.order(&id).await.status, OrderStatus::Ready);
        let finalize = acme::finalize(&client.key, &client.id, &id, &csr(key, &[]));
        store.queue_finalize(&id, &by.thumbprint, &finalize, now, &audit("order.finalize")).await.unwrap();
        id
    }

    fn answer(client: &Client, authorization: &AuthorizationId, object: &[u8]) -> String {
        acme::attestation(&client.key, &client.id, authorization, object)
    }

    async fn refused(&self, id: &OrderId, kind: ProblemType, says: &str) {
        self.desk.worker.step_requests().await.unwrap();
        let problem = self.desk.refusal(id).await;
        assert_eq!(problem.kind, kind, "{}", problem.detail);
        assert!(problem.detail.contains(says), "{says}: {}", problem.detail);
        assert!(self.desk.of_order(id).await.is_empty(), "not even an intent");
    }
}

fn p256() -> Key {
    Key::generate(KeyAlgorithm::P256)
}

#[tokio::test]
async fn a12_an_attested_key_is_certified_for_its_device() {
    let site = Site::open().await;
    let key = p256();
    for _ in 0..2 {
        let id = site.finalized(|proof| Tpm::new(&[device()], proof).object(&site.maker, &key), |_| {}, &key).await;
        site.desk.settle().await;
        let order = site.desk.order(&id).await;
        assert_eq!(order.status, OrderStatus::Valid, "{:?}", order.error);
        let record = site.desk.certificate(order.serial.unwrap()).await;
        let certificate = Certificate::from_der(&record.der).unwrap();
        assert_eq!((certificate.public_key(), record.identifiers), (key.public(), vec![device()]));
        assert_eq!(certificate.alt_names(), [AltName::from(device())]);
        let digest = key.public().spki_sha256().to_string();
        assert!(site.desk.audit_has(&["order.believe", "SN-1", "device-attest-01", &digest]).await);
        assert!(!site.desk.audit_has(&["order.believe", "\"jws\""]).await, "the statement itself is evidence, not the trail's");
        // Another order, other evidence: the device attests again.
        site.desk.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a12_the_worker_believes_no_front_end_about_an_attestation() {
    let site = Site::open().await;
    let (key, other) = (p256(), p256());
    let good = |proof: &str| Tpm::new(&[device()], proof).object(&site.maker, &key);
    let unproven = ProblemType::Unauthorized;

    // The front end says that the CSR's key was attested; another was.
    let id = site.finalized(good, |_| {}, &other).await;
    site.refused(&id, ProblemType::BadCsr, "not the one that was attested").await;
    let id = site.finalized(good, |r| r.attestation = None, &key).await;
    site.refused(&id, unproven, "no attestation").await;
    let id = site.finalized(good, |r| r.method = METHOD, &key).await;
    site.desk.settle().await;
    assert_eq!(site.desk.order(&id).await.status, OrderStatus::Valid, "the same without a lie");

    // Another device, another maker, another challenge.
    let another = Identifier::parse("permanent-identifier", "SN-2").unwrap();
    let id = site.finalized(|proof| Tpm::new(&[another], proof).object(&site.maker, &key), |_| {}, &key).await;
    site.refused(&id, unproven, "not about `SN-1`").await;
    let stranger = Maker::new("Maker");
    let id = site.finalized(|proof| Tpm::new(&[device()], proof).object(&stranger, &key), |_| {}, &key).await;
    site.refused(&id, unproven, "do not lead to a root").await;
    let id = site.finalized(|_| Tpm::new(&[device()], "another.challenge").object(&site.maker, &key), |_| {}, &key).await;
    site.refused(&id, unproven, "not of this challenge").await;
    let token = |r: &mut ValidationRecord| r.attestation.as_mut().unwrap().token = "A".repeat(43).try_into().unwrap();
    let id = site.finalized(good, token, &key).await;
    site.refused(&id, unproven, "not of this challenge").await;

    // An answer that the account did not sign, or gave to another challenge.
    let signed = |r: &mut ValidationRecord, client: &Client, id: &AuthorizationId| {
        let attestation = r.attestation.as_mut().unwrap();
        let proof = key_authorization(&attestation.token, &site.client.thumbprint());
        attestation.jws = Site::answer(client, id, &good(&proof));
    };
    let thief = site.desk.account().await;
    let id = site.finalized(good, |r| signed(r, &thief, &r.authorization.clone()), &key).await;
    site.refused(&id, unproven, "another account").await;
    let forger = Client { key: acme::ClientKey::default(), id: site.client.id.clone() };
    let id = site.finalized(good, |r| signed(r, &forger, &r.authorization.clone()), &key).await;
    site.refused(&id, unproven, "did not sign").await;
    let id = site.finalized(good, |r| signed(r, &site.client, &"elsewhere".parse().unwrap()), &key).await;
    site.refused(&id, unproven, "another challenge").await;
    let id = site.finalized(good, |r| r.attestation.as_mut().unwrap().jws = "{}".to_owned(), &key).await;
    site.refused(&id, ProblemType::Malformed, "").await;
}

#[tokio::test]
async fn a12_an_attestation_is_judged_by_the_policy_and_at_the_time_of_the_certificate() {
    let site = Site::open().await;
    let key = p256();
    let tpm = |proof: &str| {
        let mut tpm = Tpm::new(&[device()], proof);
        tpm.certificate = Template { validity: ("20000101000000Z", "20261124013000Z"), ..tpm.certificate };
        tpm.object(&site.maker, &key)
    };
    let id = site.finalized(tpm, |_| {}, &key).await;
    site.desk.clock.advance(Duration::from_secs(7000));
    site.refused(&id, ProblemType::Unauthorized, "not valid at this time").await;
    // Officers take another maker's root in its place.
    let id = site.finalized(|proof| apple(&site.maker, &key, "SN-1", "U", proof), |_| {}, &key).await;
    Site::in_force(&site.desk, &Maker::new("Maker"), 3);
    site.refused(&id, ProblemType::Unauthorized, "do not lead to a root").await;
}

/// Every certificate of the maker has the serial number 1.
#[tokio::test]
async fn a12_a_device_whose_certificate_its_maker_revoked_gets_nothing() {
    let site = Site::open().await;
    let key = Key::generate(KeyAlgorithm::P256);
    let ordered = async || site.finalized(|proof| apple(&site.maker, &key, "SN-1", "U", proof), |_| {}, &key).await;
    let with = |revoked: &[u8], end: &str| {
        let mut crls = AttestationCrls::default();
        crls.add(&site.maker.crl(false, revoked, ("20000101000000Z", Some(end)), &[])).unwrap();
        site.desk.worker.set_attestation_crls(Arc::new(crls));
    };
    with(&[2], "20491231235959Z");
    let id = ordered().await;
    site.desk.worker.step_requests().await.unwrap();
    assert_eq!(site.desk.of_order(&id).await.len(), 1);
    // As if it was revoked after the front end had looked.
    let id = ordered().await;
    with(&[1], "20491231235959Z");
    site.refused(&id, ProblemType::Unauthorized, "certificate 1 of the attestation is revoked by its issuer").await;
    let id = ordered().await;
    with(&[], "20010101000000Z");
    site.refused(&id, ProblemType::Unauthorized, "the CRL of its issuer is out of date").await;
}
