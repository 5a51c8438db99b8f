//! Rate limits and pauses, as clients meet them.

use std::sync::Arc;
use std::time::Duration;

use acme_server::{RateSection, Rates};
use axum::body::{Body, to_bytes};
use ca_core::limits::PauseRule;
use ca_core::model::{ChallengeMethod, Fault, Problem, ProblemType};
use ca_core::policy::ChallengeZone;
use hickory_resolver::proto::rr::RecordType;
use http::Request;
use serde_json::json;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::certificates::cert_id;
use crate::challenges::{Site, zone};
use crate::client::{Account, Answer, Key, csr, order};
use crate::fake_store::Worker;
use crate::net::Says;
use crate::replicas::beside;
use crate::world::{BASE, KID, World};

/// A world with these `[acme.limits]`.
fn limited(limits: &str) -> World {
    World::with(|config| config.rates = rates(limits))
}

/// One that challenges names too, with nobody who validates.
fn challenging(limits: &str) -> World {
    let world = World::with(|config| {
        config.rates = rates(limits);
        config.authorities[0].rules.challenge_zones = vec![zone(&[ChallengeMethod::Dns01], &[])];
    });
    world.grant(|g| g.grant.names = vec!["dns:*.demo.test".parse().unwrap()]);
    world
}

fn rates(limits: &str) -> Rates {
    let section: RateSection = toml::from_str(limits).unwrap();
    section.check().unwrap();
    Rates::from(&section)
}

fn pausing(failures: u32, seconds: u64) -> Option<PauseRule> {
    Some(PauseRule::new(failures, Duration::from_secs(seconds)).unwrap())
}

impl World {
    fn comes_from(&self, address: &str) {
        *self.address.lock().unwrap() = Some(address.parse().unwrap());
    }

    async fn counted(&self, limit: &str, by: &str) -> String {
        let router = Arc::clone(&self.server).metrics_router();
        let response = router.oneshot(Request::get("/metrics").body(Body::empty()).unwrap()).await.unwrap();
        let text = String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap();
        let series = format!("countersign_acme_limited_total{{limit=\"{limit}\",by=\"{by}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or_else(|| panic!("{series}: {text}")).to_owned()
    }

    async fn enrol(&self, kid: &str) -> Answer {
        let key = Key::new();
        let payload = json!({ "termsOfServiceAgreed": true, "externalAccountBinding": key.binding(kid) });
        self.post(&key, None, "/acme/new-account", &payload.to_string()).await
    }
}

impl Answer {
    /// Asserts a rate limit, whose detail names `whose` and whose wait is `seconds`.
    #[track_caller]
    fn is_limited(&self, whose: &str, seconds: u32) {
        self.is_problem(429, "rateLimited");
        let detail = self.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(whose) && detail.contains(&format!("in {seconds} s")), "{detail}");
        assert_eq!(self.header("retry-after"), seconds.to_string());
    }
}

#[tokio::test]
async fn a23_new_orders_of_an_account_are_limited_and_the_answer_says_how_long() {
    let world = limited(r#"orders = { account = "2/1m" }"#);
    let (account, other) = (world.account().await, world.account().await);
    account.order(&["a.demo.test"]).await.is(201);
    account.order(&["b.demo.test"]).await.is(201);
    let stored = world.state().orders.len();
    account.order(&["c.demo.test"]).await.is_limited("new orders: this account has spent its limit of 2/1m", 30);
    assert_eq!(world.state().orders.len(), stored, "what is refused leaves nothing");
    assert_eq!(world.counted("orders", "account").await, "1");
    other.order(&["a.demo.test"]).await.is(201);
    // Reading is not limited, and what is refused for another reason is not counted.
    account.post(&format!("{}/orders", account.kid), "").await.is(200);
    world.clock.advance(Duration::from_secs(29));
    account.order(&["bank.example"]).await.is_problem(403, "rejectedIdentifier");
    account.order(&["c.demo.test"]).await.is_limited("this account", 1);
    world.clock.advance(Duration::from_secs(1));
    account.order(&["c.demo.test"]).await.is(201);
}

#[tokio::test]
async fn a23_grants_networks_and_registered_names_have_limits_of_their_own() {
    let world = limited(
        r#"
        orders = { grant = "3/1h", network = "2/1h", name = "4/1h" }
        [[override]]
        network = "192.0.2.0/24"
        orders = "off"
        "#,
    );
    let (one, two) = (world.account().await, world.account().await);
    world.comes_from("10.0.0.1");
    one.order(&["a.demo.test"]).await.is(201);
    world.comes_from("10.0.0.200");
    two.order(&["b.demo.test"]).await.is(201);
    two.order(&["c.demo.test"]).await.is_limited("this network", 1800);
    // Neither refusal took from the grant: there is one left.
    world.comes_from("2001:db8::1");
    two.order(&["c.demo.test"]).await.is(201);
    one.order(&["d.demo.test"]).await.is_limited("this account's enrolment grant", 1200);

    let world = limited(r#"orders = { name = "2/1h", network = "1/1h" }"#);
    let account = world.account().await;
    // One order counts once for each registered domain in it.
    account.order(&["a.demo.test", "b.demo.test", "127.0.0.1"]).await.is(201);
    account.order(&["c.demo.test"]).await.is(201);
    account.order(&["d.demo.test"]).await.is_limited("this registered domain", 1800);
    account.order(&["127.0.0.2"]).await.is(201);
    assert_eq!(world.counted("orders", "name").await, "1");
    for address in ["192.0.2.1", "192.0.2.2", "::ffff:192.0.2.3"] {
        world.comes_from(address);
        let answer = account.order(&[&format!("127.0.0.{}", address.len())]).await;
        match address {
            "192.0.2.1" => assert_eq!(answer.status.as_u16(), 201, "{}", answer.body),
            _ => answer.is_limited("this network", 3600),
        }
    }
}

#[tokio::test]
async fn a23_overrides_are_for_one_account_one_grant_or_one_network() {
    let rates_for = |kid: &str| {
        rates(&format!(
            "orders = {{ account = \"1/1h\", network = \"1/1h\" }}\n[[override]]\naccount = \"{kid}\"\norders = \"3/1h\"\n\
             [[override]]\nnetwork = \"10.1.0.0/16\"\norders = \"off\"\n[[override]]\ngrant = \"{KID}\"\naccounts = \"2/1h\""
        ))
    };
    // Accounts are named for the request that made them, so the override is for one that another world made.
    let key = rcgen::KeyPair::generate().unwrap();
    let known = World::new().register(Key::of(&key)).await.kid.rsplit('/').next().unwrap().to_owned();
    let world = World::with(|config| config.rates = rates_for(&known));
    let (plain, special) = (world.account().await, world.account().await);
    world.enrol(KID).await.is_limited("this account's enrolment grant", 1800);
    let mut stored = world.state().accounts.remove(&special.kid.rsplit('/').next().unwrap().parse().unwrap()).unwrap();
    stored.id = known.parse().unwrap();
    world.state().accounts.insert(stored.id.clone(), stored);
    let special = Account { kid: format!("{}/acme/acct/{known}", crate::world::BASE), ..special };
    plain.order(&["a.demo.test"]).await.is(201);
    plain.order(&["b.demo.test"]).await.is_limited("this account", 3600);
    for name in ["a.demo.test", "b.demo.test", "c.demo.test"] {
        special.order(&[name]).await.is(201);
    }
    special.order(&["d.demo.test"]).await.is_limited("limit of 3/1h", 1200);
    world.clock.advance(Duration::from_secs(3600));
    world.comes_from("10.2.0.1");
    special.order(&["e.demo.test"]).await.is(201);
    special.order(&["f.demo.test"]).await.is_limited("this network", 3600);
    world.comes_from("10.1.2.3");
    special.order(&["f.demo.test"]).await.is(201);
    special.order(&["g.demo.test"]).await.is(201);
}

#[tokio::test]
async fn a23_a_registered_domain_may_have_a_limit_of_its_own() {
    let world = limited(
        r#"
        orders = { name = "1/1h" }
        [[override]]
        name = "demo.test"
        orders = "2/1h"
        [[override]]
        name = "127.0.0.1"
        orders = "off"
        "#,
    );
    let account = world.account().await;
    account.order(&["a.demo.test"]).await.is(201);
    account.order(&["b.demo.test"]).await.is(201);
    account.order(&["d.demo.test"]).await.is_limited("this registered domain has spent its limit of 2/1h", 1800);
    for _ in 0..3 {
        account.order(&["127.0.0.1"]).await.is(201);
    }
    account.order(&["127.0.0.2"]).await.is(201);
    account.order(&["127.0.0.2"]).await.is_limited("limit of 1/1h", 3600);
}

#[tokio::test]
async fn a23_what_the_ca_fails_at_or_others_change_is_no_failure_of_the_account() {
    let world = limited(r#"failures = { account = "1/1h" }"#);
    let account = world.account().await;
    use ProblemType::{InvalidProfile, RateLimited, RejectedIdentifier, ServerInternal, Unauthorized};
    for kind in [ServerInternal, RateLimited, RejectedIdentifier, InvalidProfile, Unauthorized] {
        world.state().worker = Worker::Refuses(Problem::new(kind, "not now"));
        let order = account.order(&["a.demo.test"]).await.is(201).json();
        assert_eq!(account.finalize(&order, &csr(&["a.demo.test"], None)).await.is(200).json()["status"], "invalid");
    }
    account.order(&["b.demo.test"]).await.is(201);
}

#[tokio::test]
async fn a23_renewals_are_exempt_by_name_and_by_certificate() {
    let world = limited(r#"orders = { account = "2/1d", grant = "2/1d", network = "2/1d", name = "2/1d" }"#);
    world.comes_from("10.0.0.1");
    let account = world.account().await;
    account.certificate(&["a.demo.test", "b.demo.test"]).await.is(200);
    account.order(&["c.demo.test"]).await.is(201);
    account.order(&["d.demo.test"]).await.is_problem(429, "rateLimited");
    // The same names, in any order: again and again.
    for _ in 0..5 {
        account.order(&["b.demo.test", "a.demo.test"]).await.is(201);
    }
    // What was ordered and never issued is no renewal, nor is a part of what was.
    account.order(&["c.demo.test"]).await.is_problem(429, "rateLimited");
    account.order(&["a.demo.test"]).await.is_problem(429, "rateLimited");
    // A20: an order that names the certificate that it replaces is outside the limits, whatever else is in it.
    let der = world.state().certificates.values().next().unwrap().der.clone();
    let id = cert_id(&ca_core::pki::Certificate::from_der(&der).unwrap());
    let mut payload = order(&["a.demo.test", "e.demo.test"]);
    payload["replaces"] = json!(id);
    let first = account.post("/acme/new-order", &payload.to_string()).await.is(201).header("location").to_owned();
    // The same once more is the same order.
    assert_eq!(account.post("/acme/new-order", &payload.to_string()).await.is(201).header("location"), first);
    // Another account's names are new ones to this one.
    let other = world.account().await;
    other.order(&["a.demo.test", "b.demo.test"]).await.is_problem(429, "rateLimited");
}

#[tokio::test]
async fn a23_a_site_may_limit_renewals_too() {
    let world = limited(r#"renewals = { account = "2/1h" }"#);
    let account = world.account().await;
    account.certificate(&["a.demo.test"]).await.is(200);
    account.order(&["a.demo.test"]).await.is(201);
    account.order(&["a.demo.test"]).await.is(201);
    account.order(&["a.demo.test"]).await.is_limited("too many renewals", 1800);
    account.order(&["b.demo.test"]).await.is(201);
}

#[tokio::test]
async fn a23_new_accounts_are_limited_by_network_and_by_grant() {
    let world = limited(r#"accounts = { network = "2/1h", grant = "3/1h" }"#);
    world.comes_from("10.0.0.1");
    let account = world.account().await;
    // A key identifier that is guessed counts as well.
    world.enrol("nosuchgrant").await.is_problem(403, "unauthorized");
    world.enrol(KID).await.is_limited("this network", 1800);
    world.enrol("nosuchgrant").await.is_problem(429, "rateLimited");
    // Who has an account is told so, however often.
    for _ in 0..5 {
        let found = world.post(&account.key, None, "/acme/new-account", r#"{"onlyReturnExisting":true}"#).await;
        assert_eq!(found.is(200).header("location"), account.kid);
    }
    world.comes_from("10.0.1.1");
    world.enrol(KID).await.is(201);
    world.enrol(KID).await.is(201);
    world.comes_from("10.0.2.1");
    world.enrol(KID).await.is_limited("this account's enrolment grant", 1200);
    assert_eq!((world.counted("accounts", "network").await, world.counted("accounts", "grant").await), ("2".into(), "1".into()));
}

#[tokio::test]
async fn a23_revocations_by_accounts_are_limited_and_those_by_the_key_itself_never() {
    let world = limited(r#"revocations = { account = "1/1h" }"#);
    let account = world.account().await;
    let mut payloads = Vec::new();
    for name in ["a.demo.test", "b.demo.test", "c.demo.test"] {
        account.certificate(&[name]).await.is(200);
    }
    for record in world.state().certificates.values() {
        payloads.push(json!({ "certificate": crate::client::b64(&record.der), "reason": 4 }).to_string());
    }
    account.post("/acme/revoke-cert", &payloads[0]).await.is(200);
    account.post("/acme/revoke-cert", &payloads[1]).await.is_limited("too many revocations", 3600);
    let key = Key::of(&world.leaf_key);
    for payload in &payloads[1..] {
        world.post(&key, None, "/acme/revoke-cert", payload).await.is(200);
    }
}

#[tokio::test]
async fn a23_past_its_failures_an_account_begins_nothing_new() {
    let world = limited(r#"failures = { account = "2/1h" }"#);
    let account = world.account().await;
    let ready = account.order(&["z.demo.test"]).await.is(201).json();
    world.state().worker = Worker::Refuses(Problem::new(ProblemType::BadCsr, "the key is published"));
    for name in ["a.demo.test", "b.demo.test"] {
        let order = account.order(&[name]).await.is(201).json();
        assert_eq!(account.finalize(&order, &csr(&[name], None)).await.is(200).json()["status"], "invalid");
    }
    account.order(&["c.demo.test"]).await.is_limited("failed validations and orders: this account", 1800);
    world.state().worker = Worker::Present;
    // What was begun goes on.
    account.finalize(&ready, &csr(&["z.demo.test"], None)).await.is(200);
    world.clock.advance(Duration::from_secs(1800));
    account.order(&["c.demo.test"]).await.is(201);
}

#[tokio::test]
async fn a23_a_failed_validation_counts_and_a_paused_account_begins_none() {
    let site = Site::new(zone(&[ChallengeMethod::Dns01], &[]), |_| {}).await;
    let account = site.world.account().await;
    let open = account.open("a.dmz.test", ChallengeMethod::Dns01).await;
    account.post(&open.url, "{}").await.is(200);
    account.decided(&open).await;
    let id = account.kid.rsplit('/').next().unwrap().parse().unwrap();
    assert_eq!(site.world.state().failures[&id].len(), 1);
    let open = account.open("b.dmz.test", ChallengeMethod::Dns01).await;
    site.world.state().paused.insert(id, ca_core::pki::Timestamp::from_unix(0));
    account.post(&open.url, "{}").await.is_problem(403, "unauthorized");
    account.post(&open.url, "").await.is(200);
    assert!(site.world.state().started.is_empty());
}

/// The failures of the only account.
fn failures(world: &World, account: &Account<'_>) -> usize {
    let id = account.kid.rsplit('/').next().unwrap().parse().unwrap();
    world.state().failures.get(&id).map_or(0, Vec::len)
}

#[tokio::test]
async fn a23_what_officers_took_out_meanwhile_is_no_failure() {
    let world = challenging(r#"failures = { account = "1/1h" }"#);
    let account = world.account().await;
    let open = account.open("a.dmz.test", ChallengeMethod::Dns01).await;
    account.post(&open.url, "{}").await.is(200);
    let mut offers = world.config.authorities.clone();
    offers[0].rules.challenge_zones.clear();
    offers[0].rules.challenge_zones.push(ChallengeZone { methods: vec![ChallengeMethod::Http01], ..zone(&[], &[]) });
    world.server.offer(offers).unwrap();
    let mut validator = JoinSet::new();
    validator.spawn(Arc::clone(&world.server).validate());
    let read = account.decided(&open).await;
    assert_eq!((&read["status"], failures(&world, &account)), (&json!("invalid"), 0), "{read}");
    assert_eq!(world.state().records[0].fault, Some(Fault::Change));
    account.order(&["a.demo.test"]).await.is(201);
}

#[tokio::test]
async fn a23_a_resolver_that_does_not_answer_is_no_failure_of_a_client() {
    let site = Site::new(zone(&[ChallengeMethod::Dns01, ChallengeMethod::Http01], &[]), |_| {}).await;
    let account = site.world.account().await;
    let failed = async |name: &str, method| {
        let open = account.open(name, method).await;
        account.fails(&open, "dns", "Server Failure").await;
        failures(&site.world, &account)
    };
    for name in ["_acme-challenge.a.dmz.test", "_acme-challenge.b.dmz.test"] {
        site.dns.says(name, RecordType::CNAME, Says::Fails);
    }
    site.dns.says("c.dmz.test", RecordType::A, Says::Fails);
    site.dns.says("c.dmz.test", RecordType::AAAA, Says::Fails);
    assert_eq!(failed("a.dmz.test", ChallengeMethod::Dns01).await, 1, "the resolver answers what is not the client's");
    site.dns.says("", RecordType::NS, Says::Fails);
    assert_eq!(failed("b.dmz.test", ChallengeMethod::Dns01).await, 1);
    assert_eq!(failed("c.dmz.test", ChallengeMethod::Http01).await, 1);
}

#[tokio::test]
async fn a23_giving_up_what_is_being_validated_counts() {
    let world = challenging(r#"failures = { account = "2/1h" }"#);
    let account = world.account().await;
    for name in ["a.dmz.test", "b.dmz.test"] {
        let open = account.open(name, ChallengeMethod::Dns01).await;
        account.post(&open.url, "{}").await.is(200);
        account.post(&open.authorization, r#"{"status":"deactivated"}"#).await.is(200);
    }
    account.order(&["c.demo.test"]).await.is_limited("failed validations and orders: this account", 1800);
}

#[tokio::test]
async fn a23_an_account_that_only_fails_is_paused_and_says_how_to_go_on() {
    let world = World::with(|config| config.pause = pausing(3, 3600));
    let (account, other) = (world.account().await, world.account().await);
    let id = account.kid.rsplit('/').next().unwrap().to_owned();
    let fail = async |name: &str| {
        world.state().worker = Worker::Refuses(Problem::new(ProblemType::BadCsr, "the key is published"));
        let order = account.order(&[name]).await.is(201).json();
        account.finalize(&order, &csr(&[name], None)).await.is(200);
        world.state().worker = Worker::Present;
    };
    fail("a.demo.test").await;
    fail("b.demo.test").await;
    // A success resets the count.
    account.certificate(&["c.demo.test"]).await.is(200);
    let ready = account.order(&["ready.demo.test"]).await.is(201).json();
    fail("a.demo.test").await;
    // One that lies too far back does not count.
    world.clock.advance(Duration::from_secs(3601));
    fail("a.demo.test").await;
    fail("b.demo.test").await;
    assert!(world.state().paused.is_empty());
    fail("c.demo.test").await;
    let refused = account.order(&["d.demo.test"]).await;
    let detail = refused.is_problem(403, "unauthorized").json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("is paused since 2026-") && detail.contains(&format!("ca account resume {id}")), "{detail}");
    let paused = world.state().audit.iter().filter(|entry| entry.action == "account.pause").cloned().collect::<Vec<_>>();
    assert_eq!(paused.len(), 1);
    assert_eq!((paused[0].object.as_str(), &paused[0].detail["failures"]), (id.as_str(), &json!(3)));
    // It stays so: by time alone, for renewals, for authorizations; an operator's word ends it.
    world.clock.advance(Duration::from_secs(40_000));
    account.order(&["c.demo.test"]).await.is_problem(403, "unauthorized");
    account.post("/acme/new-authz", &json!({ "identifier": { "type": "dns", "value": "a.demo.test" } }).to_string()).await.is(403);
    assert_eq!(world.state().audit.iter().filter(|entry| entry.action == "account.pause").count(), 1);
    other.order(&["a.demo.test"]).await.is(201);
    account.finalize(&ready, &csr(&["ready.demo.test"], None)).await.is(200);
    account.post(&account.kid, "").await.is(200);
    world.state().paused.clear();
    account.order(&["d.demo.test"]).await.is(201);
}

/// A client gets no more by going to each of them; one server alone asks nobody.
#[tokio::test]
async fn a23_servers_beside_each_other_count_together() {
    let world = limited(
        r#"
        orders = { account = "off", grant = "4/1h" }
        accounts = { network = "2/1h" }
        revocations = { account = "1/1h" }
        renewals = { account = "1/1h" }
        "#,
    );
    world.comes_from("10.0.0.1");
    let (one, two, _answering) = beside(world, [7, 7]).await;
    one.comes_from("10.0.0.1");
    two.comes_from("10.0.0.2");
    let (first, second) = (one.account().await, two.account().await);
    one.enrol(KID).await.is_limited("this network", 1800);
    two.enrol(KID).await.is_limited("this network", 1800);
    assert_eq!((one.counted("accounts", "network").await, two.counted("accounts", "network").await), ("1".into(), "1".into()));

    first.certificate(&["a.demo.test"]).await.is(200);
    second.certificate(&["b.demo.test"]).await.is(200);
    first.order(&["c.demo.test"]).await.is(201);
    second.order(&["d.demo.test"]).await.is(201);
    for account in [&first, &second] {
        account.order(&["e.demo.test"]).await.is_limited("this account's enrolment grant has spent its limit of 4/1h", 900);
    }
    // The same account at the other server.
    let elsewhere = Account { world: &two, kid: first.kid.clone(), key: first.key };
    elsewhere.order(&["a.demo.test"]).await.is(201);
    let again = Account { world: &one, ..elsewhere };
    again.order(&["a.demo.test"]).await.is_limited("this account has spent its limit of 1/1h", 3600);
    one.clock.advance(Duration::from_secs(900));
    again.order(&["f.demo.test"]).await.is(201);
    second.order(&["f.demo.test"]).await.is_limited("this account's enrolment grant", 900);
    one.state().down = true;
    again.order(&["g.demo.test"]).await.is_problem(503, "serverInternal");
}

/// Each leaves an audit row for good, and none is bounded by anything else.
#[tokio::test]
async fn a23_what_an_account_changes_of_itself_is_limited() {
    let world = limited(r#"changes = { account = "3/1h" }"#);
    let (mut account, other) = (world.account().await, world.account().await);
    let contact = |name: &str| json!({ "contact": [format!("mailto:{name}@demo.test")] }).to_string();
    account.post(&account.kid, &contact("a")).await.is(200);
    // What changes nothing is not counted.
    for _ in 0..5 {
        account.post(&account.kid, &contact("a")).await.is(200);
    }
    let order = account.order(&["a.demo.test"]).await.is(201).json();
    let authorization = |order: &serde_json::Value| order["authorizations"][0].as_str().unwrap().to_owned();
    account.post(&authorization(&order), r#"{"status":"deactivated"}"#).await.is(200);
    let url = format!("{BASE}/acme/key-change");
    let change = |account: &Account<'_>, new: &Key| {
        let inner = json!({ "account": account.kid, "oldKey": account.key.jwk() }).to_string();
        new.sign(&json!({ "alg": "ES256", "url": url, "jwk": new.jwk() }), &inner)
    };
    let new = Key::new();
    account.post(&url, &change(&account, &new)).await.is(200);
    account.key = new;

    let rows = world.state().audit.len();
    let whose = "changes of contacts, key and authorizations: this account has spent its limit of 3/1h";
    account.post(&account.kid, &contact("b")).await.is_limited(whose, 1200);
    account.post(&url, &change(&account, &Key::new())).await.is_limited(whose, 1200);
    let order = account.order(&["b.demo.test"]).await.is(201).json();
    account.post(&authorization(&order), r#"{"status":"deactivated"}"#).await.is_limited(whose, 1200);
    assert_eq!(account.post(&account.kid, "").await.json()["contact"][0], "mailto:a@demo.test");
    assert_eq!(world.state().audit.len(), rows + 1, "of the order alone");
    assert_eq!(world.counted("changes", "account").await, "3");
    other.post(&other.kid, &contact("b")).await.is(200);
    // An account can always end.
    account.post(&account.kid, r#"{"status":"deactivated"}"#).await.is(200);
}

/// A key identifier is no secret; the worker alone knows whether a binding is right.
#[tokio::test]
async fn a23_bindings_that_do_not_hold_leave_the_grant_its_accounts() {
    let limits = r#"accounts = { network = "off", grant = "2/1h" }"#;
    let check = async |world: &World| {
        world.state().worker = Worker::Refuses(Problem::new(ProblemType::Unauthorized, "the MAC is wrong"));
        for _ in 0..5 {
            world.enrol(KID).await.is_problem(403, "unauthorized");
        }
        // Nor does one that the worker has said nothing of yet; but once it has, it counts, whoever still waits.
        world.state().worker = Worker::Away;
        let key = Key::new();
        let payload = json!({ "externalAccountBinding": key.binding(KID) }).to_string();
        world.post(&key, None, "/acme/new-account", &payload).await.is_problem(503, "serverInternal");
        world.state().worker = Worker::Present;
        world.post(&key, None, "/acme/new-account", &payload).await.is(200);
        world.enrol(KID).await.is(201);
        world.enrol(KID).await.is_limited("this account's enrolment grant has spent its limit of 2/1h", 1800);
        world.clock.advance(Duration::from_secs(1800));
        world.enrol(KID).await.is(201);
        world.enrol(KID).await.is_limited("this account's enrolment grant", 1800);
    };
    check(&limited(limits)).await;
    let (one, _two, _answering) = beside(limited(limits), [7, 7]).await;
    check(&one).await;
}
