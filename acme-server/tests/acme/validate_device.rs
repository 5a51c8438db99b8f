//! device-attest-01: what clients send and see.

use ca_core::model::ChallengeMethod::DeviceAttest01;
use ca_core::pki::{Identifier, KeyAlgorithm};
use ca_core::policy::{AttestationRoots, ChallengeZone};
use ca_core::validation::attestation::AttestationCrls;
use ca_testkit::attestation::{Maker, Tpm, apple, csr, step, yubikey_serial};
use ca_testkit::specimens::Key;
use serde_json::{Value, json};

use crate::challenges::{Open, Site};
use crate::client::{Account, b64};

const DEVICE: &str = "SN-1";

/// What a device of one of two makers answers to a challenge.
type Attests = fn(&Maker, &Maker, &Key, &Open) -> Vec<u8>;

fn zone(maker: &Maker) -> ChallengeZone {
    let pem = || maker.root_pem().try_into().unwrap();
    ChallengeZone {
        names: ["permanent-identifier:*", "hardware-module:*/1.2.3"].iter().map(|n| n.parse().unwrap()).collect(),
        methods: vec![DeviceAttest01],
        caa: Vec::new(),
        attestation: AttestationRoots { apple: pem(), step: pem(), tpm: pem() },
    }
}

async fn site(maker: &Maker) -> Site {
    let site = Site::new(zone(maker), |_| {}).await;
    site.world.grant(|g| {
        g.grant.names = ["dns:*.demo.test", "permanent-identifier:SN-*", "permanent-identifier:1337", "hardware-module:*/1.2.3"]
            .iter()
            .map(|n| n.parse().unwrap())
            .collect();
    });
    site
}

fn device(name: &str) -> Identifier {
    Identifier::parse("permanent-identifier", name).unwrap()
}

async fn order(account: &Account<'_>, identifiers: &[Identifier]) -> crate::client::Answer {
    account.post("/acme/new-order", &json!({ "identifiers": identifiers }).to_string()).await
}

/// The challenge of the order's only identifier.
async fn open(account: &Account<'_>, identifier: &Identifier) -> Open {
    let created = order(account, std::slice::from_ref(identifier)).await;
    let body = created.is(201).json();
    assert_eq!((&body["status"], &body["identifiers"]), (&json!("pending"), &json!([identifier])));
    let authorization = body["authorizations"][0].as_str().unwrap().to_owned();
    let read = account.post(&authorization, "").await.is(200).json();
    assert_eq!(read["identifier"], json!(identifier));
    assert_eq!(read["challenges"].as_array().unwrap().len(), 1);
    let challenge = &read["challenges"][0];
    assert_eq!((&challenge["type"], &challenge["status"]), (&json!("device-attest-01"), &json!("pending")));
    let token = challenge["token"].as_str().unwrap().to_owned();
    Open {
        order: created.header("location").to_owned(),
        authorization,
        url: challenge["url"].as_str().unwrap().to_owned(),
        proof: format!("{token}.{}", account.thumbprint()),
        token,
    }
}

/// Answers and waits until the authorization is decided.
async fn answer(account: &Account<'_>, open: &Open, object: &[u8]) -> Value {
    // Unknown members are passed over, as the draft's §5 has it.
    account.post(&open.url, &json!({ "attObj": b64(object), "more": 1 }).to_string()).await.is(200);
    account.decided(open).await
}

#[tokio::test]
async fn a12_an_attestation_proves_a_device_and_is_good_for_its_key_alone() {
    let maker = Maker::new("Maker");
    let site = site(&maker).await;
    let account = site.world.account().await;
    let module = Identifier::parse("hardware-module", "M-1/1.2.3").unwrap();
    for (name, make) in [
        (device(DEVICE), (|maker, _, key, open| apple(maker, key, DEVICE, "U", &open.token)) as Attests),
        (device("1337"), |maker, _, key, open| step(maker, key, yubikey_serial(1337), &open.proof)),
        (module, |maker, _, key, open| {
            let module = Identifier::parse("hardware-module", "M-1/1.2.3").unwrap();
            Tpm::new(&[module], &open.proof).object(maker, key)
        }),
    ] {
        let (key, other) = (Key::generate(KeyAlgorithm::P256), Key::generate(KeyAlgorithm::P256));
        let open = open(&account, &name).await;
        let read = answer(&account, &open, &make(&maker, &maker, &key, &open)).await;
        assert_eq!(read["status"], "valid", "{read}");
        let order = account.post(&open.order, "").await.is(200).json();
        assert_eq!(order["status"], "ready");
        let refused = account.finalize(&order, &b64(csr(&other, &[]))).await;
        assert!(refused.is_problem(400, "badCSR").json()["detail"].as_str().unwrap().contains("not the one that was attested"));
        assert_eq!(account.post(&open.order, "").await.json()["status"], "ready", "the order stays ready");
        // The CSR may name the device, or leave it out.
        let named = [name.clone()];
        let valid = account.finalize(&order, &b64(csr(&key, if name.kind() == "hardware-module" { &named } else { &[] }))).await;
        assert_eq!(valid.is(200).json()["status"], "valid");
    }
    let state = site.world.state();
    let record = state.records.last().unwrap();
    let evidence = record.attestation.as_ref().unwrap();
    assert!(evidence.jws.contains("protected") && record.answer_sha256.is_some());
    let audited = state.audit.iter().rfind(|entry| entry.action == "authorization.validate").unwrap();
    assert_eq!(audited.detail["attestation"]["key_sha256"], json!(evidence.key_sha256));
    assert!(audited.detail["attestation"].get("jws").is_none(), "the trail has the digest, not the statement");
}

#[tokio::test]
async fn a12_what_is_not_attested_is_told_as_bad_attestation_statement() {
    let (maker, other) = (Maker::new("Maker"), Maker::new("Maker"));
    let site = site(&maker).await;
    let account = site.world.account().await;
    let key = Key::generate(KeyAlgorithm::P256);
    // No attestation at all: told at once, and the challenge stays open.
    let first = open(&account, &device(DEVICE)).await;
    for payload in [json!({}), json!({ "attObj": 1 }), json!({ "attObj": "" }), json!({ "attObj": "=" }), json!({ "error": "none" })] {
        account.post(&first.url, &payload.to_string()).await.is_problem(400, "badAttestationStatement");
    }
    let large = json!({ "attObj": "A".repeat(33_000) });
    account.post(&first.url, &large.to_string()).await.is_problem(400, "badAttestationStatement");
    assert_eq!(account.post(&first.url, "").await.json()["status"], "pending");
    assert!(site.world.state().started.is_empty());

    let cases: [(&str, Attests); 5] = [
        ("not canonical CBOR", |_, _, _, _| b"{}".to_vec()),
        ("do not lead to a root", |_, other, key, open| apple(other, key, DEVICE, "U", &open.proof)),
        ("not about `SN-1`", |maker, _, key, open| apple(maker, key, "SN-2", "U", &open.proof)),
        ("not of this challenge", |maker, _, key, _| apple(maker, key, DEVICE, "U", "another")),
        ("signature does not hold", |maker, _, key, open| step(maker, key, yubikey_serial(1), &open.token)),
    ];
    for (says, make) in cases {
        let open = open(&account, &device(DEVICE)).await;
        let read = answer(&account, &open, &make(&maker, &other, &key, &open)).await;
        assert_eq!(read["status"], "invalid", "{says}: {read}");
        let error = &read["challenges"][0]["error"];
        assert_eq!(error["type"], "urn:ietf:params:acme:error:badAttestationStatement", "{error}");
        assert!(error["detail"].as_str().unwrap().contains(says), "{says}: {error}");
        let order = account.post(&open.order, "").await.json();
        assert_eq!((&order["status"], &order["error"]["type"]), (&json!("invalid"), &error["type"]));
    }
    // Another account's answer to this challenge is another account's.
    let stranger = site.world.account().await;
    let mine = open(&account, &device(DEVICE)).await;
    stranger.post(&mine.url, &json!({ "attObj": "AA" }).to_string()).await.is_problem(403, "unauthorized");
}

#[tokio::test]
async fn a23_a_crl_that_is_out_of_date_is_no_failure_of_a_client() {
    let maker = Maker::new("Maker");
    let site = site(&maker).await;
    let account = site.world.account().await;
    let key = Key::generate(KeyAlgorithm::P256);
    let id = account.kid.rsplit('/').next().unwrap().parse().unwrap();
    for (revoked, end, says, failures) in
        [(&[][..], "20010101000000Z", "out of date", 0), (&[1][..], "20491231235959Z", "is revoked by its issuer", 1)]
    {
        let mut crls = AttestationCrls::default();
        crls.add(&maker.crl(false, revoked, ("20000101000000Z", Some(end)), &[])).unwrap();
        site.world.server.set_attestation_crls(std::sync::Arc::new(crls));
        let open = open(&account, &device(DEVICE)).await;
        let read = answer(&account, &open, &apple(&maker, &key, DEVICE, "U", &open.proof)).await;
        assert!(read["challenges"][0]["error"]["detail"].as_str().unwrap().contains(says), "{read}");
        assert_eq!(site.world.state().failures.get(&id).map_or(0, Vec::len), failures, "{says}");
    }
}

/// What renews itself has one key and one proof for months; an attestation is of one order.
#[tokio::test]
async fn a21_no_order_for_a_device_that_attests_renews_itself() {
    let maker = Maker::new("Maker");
    let site = site(&maker).await;
    let account = site.world.account().await;
    let mut payload = crate::star::order(&site.world, &[], json!({}));
    let refused = async |payload: &Value| {
        let refused = account.post("/acme/new-order", &payload.to_string()).await;
        refused.is_problem(403, "rejectedIdentifier").json()["detail"].as_str().unwrap().to_owned()
    };
    payload["identifiers"] = json!([device(DEVICE)]);
    let detail = refused(&payload).await;
    assert!(detail.contains("`SN-1` has to attest its key"), "{detail}");
    payload["identifiers"] = json!([device("XN-1")]);
    assert!(refused(&payload).await.contains("outside this account's enrolment grant"));
    assert!(site.world.state().orders.is_empty());
}

#[tokio::test]
async fn a07_devices_need_the_grant_and_are_attested_within_orders() {
    let maker = Maker::new("Maker");
    let site = site(&maker).await;
    let account = site.world.account().await;
    // In the zone, outside the grant.
    order(&account, &[device("XN-1")]).await.is_problem(403, "rejectedIdentifier");
    let ask = async |identifier: &Identifier| account.post("/acme/new-authz", &json!({ "identifier": identifier }).to_string()).await;
    ask(&device(DEVICE)).await.is_problem(403, "rejectedIdentifier");
    for (kind, value) in [("permanent-identifier", "a/b"), ("hardware-module", "SN-1"), ("permanent-identifier", "")] {
        let payload = json!({ "identifiers": [{ "type": kind, "value": value }] });
        account.post("/acme/new-order", &payload.to_string()).await.is_problem(400, "malformed");
    }
    // Without a format's roots the challenge is not offered, and nothing takes its place.
    let mut rootless = zone(&maker);
    rootless.attestation = AttestationRoots::default();
    let closed = crate::world::World::with(|c| c.authorities[0].rules.challenge_zones = vec![rootless]);
    closed.grant(|g| g.grant.names = vec!["permanent-identifier:SN-*".parse().unwrap()]);
    order(&closed.account().await, &[device(DEVICE)]).await.is_problem(403, "rejectedIdentifier");
    // Where no zone has it, the grant's word is the operators'.
    let plain = crate::world::World::new();
    plain.grant(|g| g.grant.names = vec!["permanent-identifier:SN-*".parse().unwrap()]);
    let account = plain.account().await;
    let created = order(&account, &[device(DEVICE)]).await.is(201).json();
    assert_eq!(created["status"], "ready");
    let authorization = account.post(created["authorizations"][0].as_str().unwrap(), "").await.json();
    assert_eq!((&authorization["status"], &authorization["challenges"]), (&json!("valid"), &json!([])));
}

#[tokio::test]
async fn a09_a_csr_may_ask_for_the_grants_uri_and_mailboxes_and_no_other() {
    let world = crate::world::World::new();
    world.grant(|g| {
        g.grant.uri = Some(ca_core::pki::UriName::parse("https://demo.test/pay").unwrap());
        g.grant.emails = vec![ca_core::pki::EmailName::parse("ops@demo.test").unwrap()];
    });
    let account = world.account().await;
    let csr = |uri: &str, mailbox: &str| {
        let mut params = rcgen::CertificateParams::new(vec!["a.demo.test".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names.push(rcgen::SanType::URI(uri.try_into().unwrap()));
        params.subject_alt_names.push(rcgen::SanType::Rfc822Name(mailbox.try_into().unwrap()));
        b64(params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().der())
    };
    let order = account.order(&["a.demo.test"]).await.is(201).json();
    let refused = account.finalize(&order, &csr("https://demo.test/other", "ops@demo.test")).await;
    assert!(refused.is_problem(400, "badCSR").body.contains("https://demo.test/other"));
    account.finalize(&order, &csr("https://demo.test/pay", "Ops@demo.test")).await.is_problem(400, "badCSR");
    let valid = account.finalize(&order, &csr("https://demo.test/pay", "ops@demo.test")).await;
    assert_eq!(valid.is(200).json()["status"], "valid");
}
