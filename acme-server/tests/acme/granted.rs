//! What the front end says early of a grant's limits and of the policy's rules; orders and accounts are not spent on it.

use std::net::IpAddr;
use std::time::Duration;

use acme_server::{ClientAddress, ProfileOffer, Unnamed};
use ca_core::model::{GrantLimits, GrantRecord, GrantUse};
use ca_core::pki::KeyAlgorithm;
use ca_core::ports::Clock as _;
use rcgen::KeyPair;
use serde_json::json;

use crate::client::{Key, csr, csr_by, order};
use crate::world::{KID, World, rules};

/// The same server, asked from this address.
fn from(world: &mut World, address: &str) {
    let address: IpAddr = address.parse().unwrap();
    world.router = world.router.clone().layer(axum::Extension(ClientAddress(address)));
}

fn limit(record: &mut GrantRecord, limits: GrantLimits) {
    record.grant.limits = limits;
}

fn near() -> GrantLimits {
    GrantLimits { from: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()], ..GrantLimits::default() }
}

#[tokio::test]
async fn a14_requests_come_from_the_grants_networks() {
    let mut inside = World::new();
    inside.grant(|g| limit(g, near()));
    from(&mut inside, "10.1.2.3");
    let account = inside.account().await;
    let created = account.order(&["a.demo.test"]).await;
    created.is(201);

    let mut outside = World::new();
    let account = outside.account().await;
    let (kid, key) = (account.kid.clone(), account.key);
    let created = outside.post(&key, Some(&kid), "/acme/new-order", &order(&["a.demo.test"]).to_string()).await.is(201).json();
    outside.grant(|g| limit(g, near()));
    from(&mut outside, "192.0.2.7");
    let told = outside.post(&key, Some(&kid), "/acme/new-order", &order(&["a.demo.test"]).to_string()).await;
    assert!(told.is_problem(403, "unauthorized").body.contains("from 192.0.2.7 (hint:"), "{}", told.body);
    assert!(!told.body.contains("10.0.0.0"), "who is outside is not told where inside is");
    let finalize = json!({ "csr": csr(&["a.demo.test"], None) }).to_string();
    let url = created["finalize"].as_str().unwrap();
    outside.post(&key, Some(&kid), url, &finalize).await.is_problem(403, "unauthorized");
    let new = Key::new();
    let payload = json!({ "externalAccountBinding": new.binding(KID) }).to_string();
    outside.post(&new, None, "/acme/new-account", &payload).await.is_problem(403, "unauthorized");
    assert_eq!(outside.state().accounts.len(), 1, "the secret binds nothing from elsewhere");
    // What gives nothing is taken from anywhere: a lost key is revoked from wherever its holder is.
    outside.post(&key, Some(&kid), &kid, r#"{"status":"deactivated"}"#).await.is(200);

    // A proxy inside that does not say who is behind it speaks for nobody.
    let mut silent = World::new();
    silent.grant(|g| limit(g, near()));
    from(&mut silent, "10.0.0.10");
    silent.router = silent.router.clone().layer(axum::Extension(Unnamed));
    let payload = json!({ "externalAccountBinding": new.binding(KID) }).to_string();
    let told = silent.post(&new, None, "/acme/new-account", &payload).await;
    assert!(told.is_problem(403, "unauthorized").body.contains("the proxy in front of the CA must tell"), "{}", told.body);

    // A request whose connection is not known is not inside.
    let nowhere = World::new();
    nowhere.grant(|g| limit(g, near()));
    let payload = json!({ "externalAccountBinding": new.binding(KID) }).to_string();
    nowhere.post(&new, None, "/acme/new-account", &payload).await.is_problem(403, "unauthorized");
}

#[tokio::test]
async fn a14_a_full_grant_is_told_when_there_is_room() {
    let world = World::new();
    let account = world.account().await;
    let created = account.order(&["a.demo.test"]).await.is(201).json();
    world.grant(|g| g.grant.limits.max_certificates = Some("100/day".parse().unwrap()));
    let oldest = world.clock.now().minus(Duration::from_secs(80_000));
    world.state().used = GrantUse { certificates: 100, oldest: Some(oldest) };
    let refused = account.order(&["a.demo.test"]).await;
    assert!(refused.is_problem(429, "rateLimited").body.contains("100/day"), "{}", refused.body);
    assert_eq!(refused.header("retry-after"), "6400");
    account.finalize(&created, &csr(&["a.demo.test"], None)).await.is_problem(429, "rateLimited");
    world.state().used.certificates = 99;
    account.finalize(&created, &csr(&["a.demo.test"], None)).await.is(200);
}

#[tokio::test]
async fn a14_keys_and_lives_outside_the_grant_leave_the_order_ready() {
    let world = World::new();
    let account = world.account().await;
    world.grant(|g| {
        limit(g, GrantLimits { keys: vec![KeyAlgorithm::P384], max_lifetime: Some(3600), ..GrantLimits::default() });
    });
    let late = world.clock.now().plus(Duration::from_secs(7200)).to_rfc3339();
    let mut payload = order(&["a.demo.test"]);
    payload["notAfter"] = json!(late);
    let refused = account.post("/acme/new-order", &payload.to_string()).await;
    assert!(refused.is_problem(400, "malformed").body.contains("3600 seconds"), "{}", refused.body);

    let created = account.order(&["a.demo.test"]).await.is(201).json();
    let refused = account.finalize(&created, &csr(&["a.demo.test"], None)).await;
    assert!(refused.is_problem(400, "badCSR").body.contains("kinds p384"), "{}", refused.body);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    account.finalize(&created, &csr_by(&key, &["a.demo.test"], None)).await.is(200);
}

const CLIENT: &str = r#"
    [authority.profile.client]
    shape = "client"
    lifetime = 3600
    keys = ["p384"]
    names = ["dns:*.demo.test"]
"#;

#[tokio::test]
async fn a14_the_policy_speaks_before_the_worker() {
    let world = World::with(|config| config.authorities[0].rules = rules(&["dns:*.demo.test", "ip:127.0.0.0/8"], CLIENT));
    let account = world.account().await;
    // Inside the grant: one that the authority's policy lacks, then one that only this profile lacks.
    let refused = account.order(&["a.demo.test", "*.demo.test"]).await;
    let body = refused.is_problem(403, "rejectedIdentifier").json();
    assert_eq!(body["subproblems"].as_array().unwrap().len(), 1, "{body}");
    assert_eq!(body["subproblems"][0]["identifier"]["value"], "*.demo.test");
    let refused = account.order(&["127.0.0.1"]).await;
    assert!(refused.is_problem(403, "rejectedIdentifier").body.contains("outside the profile's names"), "{}", refused.body);
    assert!(world.state().orders.is_empty());

    let created = account.order(&["a.demo.test"]).await.is(201).json();
    let refused = account.finalize(&created, &csr(&["a.demo.test"], None)).await;
    assert!(refused.is_problem(400, "badCSR").body.contains("no keys of the kind p256"), "{}", refused.body);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    account.finalize(&created, &csr_by(&key, &["a.demo.test"], None)).await.is(200);
}

const BOUNDED: &str = r#"
    [authority.profile.client]
    shape = "client"
    lifetime = 3600
    min_lifetime = 600
    max_lifetime = 7200
    [authority.profile.server]
    shape = "server"
    lifetime = 3600
"#;

fn bounded() -> World {
    let world = World::with(|config| {
        config.authorities[0].rules = rules(&["dns:*.demo.test"], BOUNDED);
        let server = ProfileOffer { name: "server".into(), description: "A server certificate".into(), star: None };
        config.authorities[0].profiles.push(server);
    });
    world.grant(|g| g.grant.profiles = vec!["client".into()]);
    world
}

/// The worker would refuse it for good, and the order with it.
#[tokio::test]
async fn a09_times_outside_the_profile_are_refused_before_an_order_is_spent_on_them() {
    let world = bounded();
    let account = world.account().await;
    let after = |seconds: u64| json!(world.clock.now().plus(Duration::from_secs(seconds)).to_rfc3339());
    let ask = async |times: serde_json::Value| {
        let mut payload = order(&["a.demo.test"]);
        payload.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
        account.post("/acme/new-order", &payload.to_string()).await
    };
    for (times, told) in [
        (json!({ "notAfter": after(7201) }), "`notAfter` lies beyond"),
        (json!({ "notAfter": after(599) }), "comes sooner than"),
        (json!({ "notBefore": after(7201) }), "`notBefore` lies further ahead"),
        (json!({ "notBefore": after(100), "notAfter": after(699) }), "live 600 to 7200 seconds"),
    ] {
        let refused = ask(times).await;
        assert!(refused.is_problem(400, "malformed").body.contains(told), "{}", refused.body);
    }
    assert!(world.state().orders.is_empty());
    ask(json!({ "notBefore": after(100), "notAfter": after(7300) })).await.is(201);

    // One whose time has nearly come when it is finalized: the policy, or the client, was slow.
    let late = ask(json!({ "notAfter": after(700) })).await.is(201).json();
    world.clock.advance(Duration::from_secs(101));
    let refused = account.finalize(&late, &csr(&["a.demo.test"], None)).await;
    assert!(refused.is_problem(400, "malformed").body.contains("comes sooner than"), "{}", refused.body);
    assert!(world.state().orders.values().all(|order| order.status == ca_core::model::OrderStatus::Ready));
}

#[tokio::test]
async fn a09_a_csr_that_asks_for_more_than_its_profile_carries_leaves_the_order_ready() {
    let world = bounded();
    world.grant(|g| {
        g.grant.profiles = vec!["server".into()];
        g.grant.emails = vec![ca_core::pki::EmailName::parse("ops@demo.test").unwrap()];
    });
    let account = world.account().await;
    let created = account.order(&["a.demo.test"]).await;
    let with_mailbox = {
        let mut params = rcgen::CertificateParams::new(vec!["a.demo.test".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names.push(rcgen::SanType::Rfc822Name("ops@demo.test".try_into().unwrap()));
        crate::client::b64(params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der())
    };
    let refused = account.finalize(&created.is(201).json(), &with_mailbox).await;
    assert!(refused.is_problem(400, "badCSR").body.contains("of this profile do not carry"), "{}", refused.body);
    assert_eq!(account.post(created.header("location"), "").await.json()["status"], "ready");
    account.finalize(&created.json(), &csr(&["a.demo.test"], None)).await.is(200);
}

/// What the officers took from the policy after an order was made: it stays ready, should they put it back.
#[tokio::test]
async fn a09_an_order_is_finalized_under_the_policy_of_that_day() {
    let world = bounded();
    let account = world.account().await;
    let created = account.order(&["a.demo.test"]).await.is(201).json();
    let request = csr(&["a.demo.test"], None);
    let offer = |names: &[&str], without: Option<&str>| {
        let mut offers = world.config.authorities.clone();
        offers[0].rules = rules(names, BOUNDED);
        offers[0].profiles.retain(|profile| Some(profile.name.as_str()) != without);
        world.server.offer(offers).unwrap();
    };
    offer(&["dns:*.demo.test"], Some("client"));
    account.finalize(&created, &request).await.is_problem(400, "invalidProfile");
    offer(&["dns:*.other.test"], None);
    account.finalize(&created, &request).await.is_problem(403, "rejectedIdentifier");
    offer(&["dns:*.demo.test"], None);
    account.finalize(&created, &request).await.is(200);
}
