//! Pending orders, authorizations with challenges, pre-authorization: what clients see of them.

use std::time::Duration;

use acme_server::ValidationConfig;
use ca_core::model::{AuthorizationStatus, ChallengeMethod, ValidationRecord};
use ca_core::policy::{AttestationRoots, ChallengeZone};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::{Account, csr};
use crate::net::Dns;
use crate::socket::PATIENCE;
use crate::world::{BASE, World, rules};

/// What the tests' policies challenge: the grant covers none of it.
pub(crate) fn zone(methods: &[ChallengeMethod], caa: &[&str]) -> ChallengeZone {
    ChallengeZone {
        names: ["dns:*.dmz.test", "dns-wildcard:dmz.test", "ip:127.0.0.0/8"].iter().map(|n| n.parse().unwrap()).collect(),
        methods: methods.to_vec(),
        attestation: AttestationRoots::default(),
        caa: caa.iter().map(|n| ca_core::pki::DnsName::parse(n).unwrap()).collect(),
    }
}

/// A world that challenges, with a validator at work.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) dns: Dns,
    _validator: JoinSet<()>,
}

impl Site {
    pub(crate) async fn new(zone: ChallengeZone, configure: impl FnOnce(&mut ValidationConfig)) -> Self {
        let dns = Dns::start().await;
        let world = World::with(|config| {
            config.authorities[0].rules.challenge_zones = vec![zone];
            let validation = &mut config.validation;
            validation.resolvers = vec![dns.address];
            validation.networks = vec!["127.0.0.1".parse().unwrap()];
            (validation.attempts, validation.attempt) = (1, PATIENCE);
            configure(validation);
        });
        world.grant(|g| g.grant.names = vec!["dns:*.demo.test".parse().unwrap()]);
        let mut validator = JoinSet::new();
        validator.spawn(std::sync::Arc::clone(&world.server).validate());
        Self { world, dns, _validator: validator }
    }
}

/// A challenge as the client holds it.
pub(crate) struct Open {
    pub(crate) order: String,
    pub(crate) authorization: String,
    pub(crate) url: String,
    pub(crate) token: String,
    /// The key authorization that proves it.
    pub(crate) proof: String,
}

impl Account<'_> {
    /// Orders `name` and finds the challenge of `method`.
    pub(crate) async fn open(&self, name: &str, method: ChallengeMethod) -> Open {
        let created = self.order(&[name]).await;
        let order = created.is(201).json();
        assert_eq!(order["status"], "pending");
        let authorization = order["authorizations"][0].as_str().unwrap().to_owned();
        let read = self.post(&authorization, "").await.is(200).json();
        let challenge = read["challenges"].as_array().unwrap().iter().find(|c| c["type"] == method.name()).unwrap().clone();
        let token = challenge["token"].as_str().unwrap().to_owned();
        Open {
            order: created.header("location").to_owned(),
            authorization,
            url: challenge["url"].as_str().unwrap().to_owned(),
            proof: format!("{token}.{}", self.thumbprint()),
            token,
        }
    }

    pub(crate) fn thumbprint(&self) -> String {
        let id = self.kid.rsplit('/').next().unwrap().parse().unwrap();
        self.world.state().accounts[&id].thumbprint.clone()
    }

    /// Takes the challenge up and waits until its authorization is decided.
    pub(crate) async fn settle(&self, open: &Open) -> Value {
        self.post(&open.url, "{}").await.is(200);
        self.decided(open).await
    }

    /// Waits until the authorization is decided.
    pub(crate) async fn decided(&self, open: &Open) -> Value {
        let decided = async {
            loop {
                let read = self.post(&open.authorization, "").await.is(200).json();
                if read["status"] != "pending" {
                    return read;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(2 * PATIENCE, decided).await.expect("the authorization is decided")
    }

    /// Asserts that validation fails in this way, and that nothing that was fetched is told.
    pub(crate) async fn fails(&self, open: &Open, kind: &str, says: &str) {
        let read = self.settle(open).await;
        assert_eq!(read["status"], "invalid", "{read}");
        let error = &read["challenges"][0]["error"];
        assert_eq!(error["type"], format!("urn:ietf:params:acme:error:{kind}"), "{error}");
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{detail}");
        assert!(!detail.contains("secret"), "what was fetched is told: {detail}");
        let order = self.post(&open.order, "").await.json();
        assert_eq!((&order["status"], &order["error"]["type"]), (&json!("invalid"), &error["type"]));
    }

    /// Asserts that validation succeeds, and gives its evidence.
    pub(crate) async fn succeeds(&self, open: &Open) -> ValidationRecord {
        let read = self.settle(open).await;
        assert_eq!(read["status"], "valid", "{read}");
        assert_eq!(self.post(&open.order, "").await.json()["status"], "ready");
        let state = self.world.state();
        let audited = state.audit.iter().filter(|entry| entry.action == "authorization.validate").count();
        assert_eq!(audited, state.records.len(), "each attempt is in the audit trail");
        state.records.last().unwrap().clone()
    }
}

#[tokio::test]
async fn a07_identifiers_are_granted_challenged_or_refused() {
    let world =
        World::with(|c| c.authorities[0].rules.challenge_zones = vec![zone(&[ChallengeMethod::Http01, ChallengeMethod::Dns01], &[])]);
    let account = world.account().await;
    let created = account.order(&["a.demo.test", "x.dmz.test", "*.dmz.test"]).await;
    let order = created.is(201).json();
    assert_eq!(order["status"], "pending");
    assert_eq!(created.header("retry-after"), "2", "A8: on pending");
    assert_eq!(order["authorizations"].as_array().unwrap().len(), 3);
    let mut seen = Vec::new();
    for url in order["authorizations"].as_array().unwrap() {
        let answer = account.post(url.as_str().unwrap(), "").await;
        let authorization = answer.is(200).json();
        assert_eq!(answer.headers.contains_key("retry-after"), authorization["status"] == "pending");
        let methods: Vec<_> = authorization["challenges"].as_array().unwrap().iter().map(|c| c["type"].clone()).collect();
        seen.push((authorization["identifier"]["value"].clone(), authorization["wildcard"].clone(), json!(methods)));
    }
    assert_eq!(
        seen,
        [
            (json!("dmz.test"), json!(true), json!(["dns-01"])),
            (json!("a.demo.test"), Value::Null, json!([])),
            (json!("x.dmz.test"), Value::Null, json!(["http-01", "dns-01"])),
        ]
    );
    account.finalize(&order, &csr(&["a.demo.test", "x.dmz.test", "*.dmz.test"], None)).await.is_problem(403, "orderNotReady");
    let refused = account.order(&["x.dmz.test", "x.bank.example"]).await;
    let subproblems = refused.is_problem(403, "rejectedIdentifier").json()["subproblems"].clone();
    assert_eq!(subproblems.as_array().unwrap().len(), 1);
    assert_eq!(subproblems[0]["identifier"]["value"], "x.bank.example");
}

#[tokio::test]
async fn a04_a_challenge_shows_the_way_up_and_is_taken_up_once() {
    let world = World::with(|c| c.authorities[0].rules.challenge_zones = vec![zone(&ChallengeMethod::ALL, &[])]);
    let (account, other) = (world.account().await, world.account().await);
    let open = account.open("x.dmz.test", ChallengeMethod::Http01).await;
    assert_eq!(open.token.len(), 43, "256 bits");
    let read = account.post(&open.url, "").await;
    assert_eq!(read.is(200).json()["status"], "pending");
    let up = format!("<{}>;rel=\"up\"", open.authorization);
    assert!(read.headers.get_all("link").iter().any(|l| l == up.as_str()));
    other.post(&open.url, "{}").await.is_problem(403, "unauthorized");
    account.post(&open.url, "[]").await.is_problem(400, "malformed");
    for wrong in ["/http-02", "/dns-1", "/"] {
        let url = format!("{}{wrong}", open.url.rsplit_once('/').unwrap().0);
        account.post(&url, "{}").await.is_problem(404, "malformed");
    }
    assert!(world.state().started.is_empty());

    let started = account.post(&open.url, "{}").await;
    assert_eq!(started.is(200).json()["status"], "processing");
    assert!(!started.header("retry-after").is_empty());
    assert!(started.headers.get_all("link").iter().any(|l| l == up.as_str()));
    assert_eq!(account.post(&open.url, "{}").await.is(200).json()["status"], "processing");
    assert_eq!(world.state().started.len(), 1);
    assert_eq!(world.state().audit.iter().filter(|a| a.action == "authorization.challenge").count(), 1);

    assert_eq!(account.post(&open.authorization, r#"{"status":"deactivated"}"#).await.is(200).json()["status"], "deactivated");
    let others = open.url.replace("http-01", "dns-01");
    account.post(&others, "{}").await.is_problem(400, "malformed");
    assert_eq!(account.post(&open.order, "").await.json()["status"], "invalid");
}

#[tokio::test]
async fn a08_what_nobody_proves_expires() {
    let world = World::with(|c| c.authorities[0].rules.challenge_zones = vec![zone(&[ChallengeMethod::Http01], &[])]);
    let account = world.account().await;
    let open = account.open("x.dmz.test", ChallengeMethod::Http01).await;
    let read = account.post(&open.authorization, "").await.json();
    assert_eq!(read["expires"], "2026-11-24T01:00:00Z");
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(account.post(&open.authorization, "").await.json()["status"], "expired");
    account.post(&open.url, "{}").await.is_problem(400, "malformed");
    account.post(&open.authorization, r#"{"status":"deactivated"}"#).await.is_problem(400, "malformed");
    // The stores end the order with its authorization; this one keeps the order's own time.
    world.clock.advance(Duration::from_secs(86_400));
    assert_eq!(account.post(&open.order, "").await.json()["status"], "invalid");
}

#[tokio::test]
async fn a07_authorizations_before_any_order() {
    let plain = World::new();
    assert!(plain.get("/acme/directory").await.json().get("newAuthz").is_none(), "without zones there is nothing to authorize");
    let world = World::with(|c| c.authorities[0].rules.challenge_zones = vec![zone(&[ChallengeMethod::Http01], &["ca.bank.test"])]);
    let directory = world.get("/acme/directory").await.json();
    assert_eq!(directory["newAuthz"], format!("{BASE}/acme/new-authz"));
    assert_eq!(directory["meta"]["caaIdentities"], json!(["ca.bank.test"]));
    assert_eq!(world.get("/a/demo/acme/p/short/directory").await.json()["newAuthz"], directory["newAuthz"]);
    let account = world.account().await;
    let ask = async |kind: &str, value: &str| {
        account.post("/acme/new-authz", &json!({ "identifier": { "type": kind, "value": value } }).to_string()).await
    };
    let created = ask("dns", "x.dmz.test").await;
    let body = created.is(201).json();
    assert_eq!((&body["status"], &body["challenges"][0]["type"]), (&json!("pending"), &json!("http-01")));
    assert_eq!(account.post(created.header("location"), "").await.is(200).json(), body);
    assert_eq!(ask("dns", "a.demo.test").await.is(201).json()["status"], "valid", "the grant covers it");
    ask("dns", "*.dmz.test").await.is_problem(400, "malformed");
    ask("dns", "x.bank.example").await.is_problem(403, "rejectedIdentifier");
    ask("email", "a@b").await.is_problem(400, "unsupportedIdentifier");
    account.post("/acme/new-authz", "{}").await.is_problem(400, "malformed");
    account.post("/acme/new-authz", "").await.is_problem(400, "malformed");
    let kept = world.state().authorizations.values().filter(|a| a.status == AuthorizationStatus::Pending).count();
    assert_eq!(kept, 1);
}

/// RFC 8555 §7.4.1: "Before processing the authorization request, the server SHOULD determine whether it is willing to issue
/// certificates for the identifier."
#[tokio::test]
async fn a07_a_name_that_the_authority_would_not_certify_is_not_authorized_before_an_order() {
    let world = World::with(|config| {
        config.authorities[0].rules = rules(&["dns:*.dmz.test", "dns:*.demo.test"], "");
        config.authorities[0].rules.challenge_zones = vec![zone(&[ChallengeMethod::Http01], &[])];
    });
    let account = world.account().await;
    let ask = async |kind: &str, value: &str| {
        account.post("/acme/new-authz", &json!({ "identifier": { "type": kind, "value": value } }).to_string()).await
    };
    ask("dns", "x.dmz.test").await.is(201);
    let made = world.state().authorizations.len();
    // In the zone, and in the grant, but not among the authority's names; and one that looks like another.
    for (kind, value) in [("ip", "127.0.0.1"), ("dns", "xn--80ak6aa92e.dmz.test")] {
        let refused = ask(kind, value).await;
        assert_eq!(refused.is_problem(403, "rejectedIdentifier").json()["subproblems"][0]["identifier"]["value"], value);
    }
    assert_eq!(world.state().authorizations.len(), made, "nobody is connected to");
}
