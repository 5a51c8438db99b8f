//! Orders that renew themselves (RFC 8739), as clients see them.

use std::time::Duration;

use ca_core::model::OrderStatus;
use ca_core::pki::{SerialNumber, Timestamp};
use serde_json::{Value, json};

use crate::alternates::{alternates, certificates};
use crate::client::{self, Account, Answer, csr, csr_by};
use crate::world::{BASE, World};

const DAY: u64 = 86_400;

/// A newOrder payload for certificates of twelve days, for thirty days from now.
pub(crate) fn order(world: &World, names: &[&str], more: Value) -> Value {
    let mut terms = json!({ "end-date": world.clock_after(30 * DAY).to_rfc3339(), "lifetime": 12 * DAY });
    terms.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut payload = client::order(names);
    payload["auto-renewal"] = terms;
    payload
}

impl World {
    pub(crate) fn now(&self) -> i64 {
        self.clock_after(0).unix()
    }

    fn clock_after(&self, seconds: u64) -> Timestamp {
        use ca_core::ports::Clock as _;
        self.clock.now().plus(Duration::from_secs(seconds))
    }
}

/// Orders and finalizes; gives the order's URL and the order.
async fn valid(account: &Account<'_>, more: Value) -> (String, Value) {
    let created = account.post("/acme/new-order", &order(account.world, &["a.demo.test"], more).to_string()).await;
    let url = created.is(201).header("location").to_owned();
    let valid = account.finalize(&created.json(), &csr_by(&account.world.leaf_key, &["a.demo.test"], None)).await;
    (url, valid.is(200).json())
}

fn star_certificate(order: &Value) -> &str {
    order["star-certificate"].as_str().unwrap()
}

/// The same certificate as on record, with its times in the headers.
fn is_standing(world: &World, answer: &Answer, serial: SerialNumber) {
    assert_eq!(answer.is(200).header("content-type"), "application/pem-certificate-chain");
    let record = world.state().certificates[&serial].clone();
    assert_eq!(ca_core::pki::pem_decode_all(&answer.body, "CERTIFICATE").unwrap()[0], record.der);
    assert_eq!(answer.header("cert-not-before"), record.not_before.to_http_date());
    assert_eq!(answer.header("cert-not-after"), record.not_after.to_http_date());
}

#[tokio::test]
async fn a21_the_directory_tells_the_bounds() {
    let world = World::new();
    let expected = json!({ "min-lifetime": 600, "max-duration": 365 * DAY, "allow-certificate-get": true });
    assert_eq!(world.get("/acme/directory").await.json()["meta"]["auto-renewal"], expected);
    assert_eq!(world.get("/a/demo/acme/p/client/directory").await.json()["meta"]["auto-renewal"], expected);
    let other = world.get("/a/demo/acme/p/short/directory").await.json();
    assert!(other["meta"].get("auto-renewal").is_none(), "{other}");
}

#[tokio::test]
async fn a21_an_order_shows_its_terms_and_its_star_certificate() {
    let world = World::new();
    let (account, other) = (world.account().await, world.account().await);
    let created = account.post("/acme/new-order", &order(&world, &["a.demo.test"], json!({ "lifetime-adjust": 60 })).to_string()).await;
    let end = world.clock_after(30 * DAY).to_rfc3339();
    let ready = created.is(201).json();
    // What is really added to the beginning: two thirds of the lifetime.
    let terms = json!({ "end-date": end, "lifetime": 12 * DAY, "lifetime-adjust": 8 * DAY, "allow-certificate-get": false });
    assert_eq!((&ready["auto-renewal"], &ready["status"]), (&terms, &json!("ready")));
    assert!(ready.get("star-certificate").is_none() && ready.get("certificate").is_none());
    let url = format!("{}/acme/star/{}", BASE, created.header("location").rsplit('/').next().unwrap());
    account.post(&url, "").await.is_problem(404, "malformed");

    let valid = account.finalize(&ready, &csr(&["a.demo.test"], None)).await.is(200).json();
    assert_eq!((star_certificate(&valid), &valid["expires"]), (url.as_str(), &json!(end)));
    assert!(valid.get("certificate").is_none(), "instead of it: {valid}");
    let serial = *world.state().certificates.keys().next().unwrap();
    is_standing(&world, &account.post(&url, "").await, serial);
    account.post(&url, "{}").await.is_problem(400, "malformed");
    other.post(&url, "").await.is_problem(403, "unauthorized");
    // Not granted: nobody but the account, and nobody learns whether there is such an order.
    let unknown = world.get("/acme/star/0123").await;
    let closed = world.get(url.strip_prefix(BASE).unwrap()).await;
    assert_eq!(closed.is_problem(405, "malformed").body, unknown.is_problem(405, "malformed").body);

    // The next certificate takes the place of the first under the same URL.
    let id = created.header("location").rsplit('/').next().unwrap().parse().unwrap();
    let next = world.store.renew(&id);
    assert_ne!(next, serial);
    is_standing(&world, &account.post(&url, "").await, next);
}

#[tokio::test]
async fn a21_anyone_may_get_it_where_client_and_policy_allow() {
    let world = World::new();
    let account = world.account().await;
    let (_, open) = valid(&account, json!({ "allow-certificate-get": true })).await;
    assert_eq!(open["auto-renewal"]["allow-certificate-get"], true);
    let path = star_certificate(&open).strip_prefix(BASE).unwrap();
    let serial = *world.state().certificates.keys().next().unwrap();
    let got = world.get(path).await;
    is_standing(&world, &got, serial);
    assert!(got.headers.get("replay-nonce").is_none());
    let head = world.send(http::Request::head(path).body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!((head.is(200).body.as_str(), head.header("cert-not-after")), ("", got.header("cert-not-after")));

    let closed = World::with(|config| {
        for profile in &mut config.authorities[0].profiles {
            profile.star = profile.star.map(|star| ca_core::policy::StarBounds { certificate_get: false, ..star });
        }
    });
    assert_eq!(closed.get("/acme/directory").await.json()["meta"]["auto-renewal"]["allow-certificate-get"], false);
    let account = closed.account().await;
    let (_, order) = valid(&account, json!({ "allow-certificate-get": true })).await;
    assert_eq!(order["auto-renewal"]["allow-certificate-get"], false, "what is not granted is not reflected");
    closed.get(star_certificate(&order).strip_prefix(BASE).unwrap()).await.is_problem(405, "malformed");
}

#[tokio::test]
async fn a21_its_alternate_chains_are_below_its_url_under_the_same_rule() {
    let world = World::new();
    let root = world.cross_certify(3, "demo-root", Duration::from_secs(365 * DAY));
    world.cross_certify(8, "demo", Duration::from_secs(DAY));
    let (account, other) = (world.account().await, world.account().await);
    let (order, open) = valid(&account, json!({ "allow-certificate-get": true })).await;
    let (_, closed) = valid(&account, json!({})).await;
    for order in [&open, &closed] {
        let url = star_certificate(order);
        let [third, eighth] = [3, 8].map(|number| format!("{url}/{number}"));
        let default = account.post(url, "").await;
        assert_eq!(alternates(&default), [third.clone(), eighth.clone()]);
        let by_root = account.post(&third, "").await;
        assert_eq!(alternates(&by_root), [url.to_owned(), eighth]);
        assert_eq!(by_root.header("cert-not-after"), default.header("cert-not-after"));
        let chain = certificates(&by_root);
        assert_eq!((chain.len(), &chain[0]), (3, &certificates(&default)[0]), "the same certificate (RFC 8555 §7.4.2)");
        chain[2].is_signed_by(&root).unwrap();
        other.post(&third, "").await.is_problem(403, "unauthorized");
        account.post(&third, "{}").await.is_problem(400, "malformed");
        account.post(&format!("{url}/4"), "").await.is_problem(404, "malformed");
    }
    // Whoever may GET the one may GET the others.
    let path = |order: &Value, number: u64| format!("{}/{number}", star_certificate(order).strip_prefix(BASE).unwrap());
    let got = world.get(&path(&open, 3)).await;
    assert_eq!(got.is(200).body, account.post(&path(&open, 3), "").await.body);
    world.get(&path(&open, 4)).await.is_problem(404, "malformed");
    for number in [3, 4] {
        world.get(&path(&closed, number)).await.is_problem(405, "malformed");
    }

    // The next certificate has the same URLs; a chain ends with its cross-certificate, and all of them with the order.
    world.store.renew(&order.rsplit('/').next().unwrap().parse().unwrap());
    world.clock.advance(Duration::from_secs(DAY + 1));
    let renewed = world.get(&path(&open, 3)).await;
    assert_ne!(certificates(&renewed)[0], certificates(&got)[0]);
    world.get(&path(&open, 8)).await.is_problem(404, "malformed");
    account.post(&order, r#"{"status":"canceled"}"#).await.is(200);
    world.get(&path(&open, 3)).await.is_problem(403, "autoRenewalCanceled");
}

#[tokio::test]
async fn a21_cancellation_closes_the_star_certificate_at_once() {
    let world = World::new();
    let (account, other) = (world.account().await, world.account().await);
    let (url, open) = valid(&account, json!({ "allow-certificate-get": true })).await;
    let cancel = r#"{"status":"canceled"}"#;
    other.post(&url, cancel).await.is_problem(403, "unauthorized");
    account.post(&url, r#"{"status":"valid"}"#).await.is_problem(400, "malformed");
    world.clock.advance(Duration::from_secs(60));
    let canceled = account.post(&url, cancel).await.is(200).json();
    assert_eq!((&canceled["status"], &canceled["expires"]), (&json!("canceled"), &json!(world.clock_after(0).to_rfc3339())));
    assert_eq!(account.post(&url, "").await.json()["status"], "canceled");
    account.post(star_certificate(&open), "").await.is_problem(403, "autoRenewalCanceled");
    world.get(star_certificate(&open).strip_prefix(BASE).unwrap()).await.is_problem(403, "autoRenewalCanceled");
    let entry = world.state().audit.iter().rev().find(|entry| entry.action == "order.cancel").cloned().unwrap();
    assert_eq!(entry.actor.to_string(), format!("account {}", account.kid.rsplit('/').next().unwrap()));

    // §3.1.2: any order that is not valid, or never renewed itself.
    account.post(&url, cancel).await.is_problem(400, "autoRenewalCancellationInvalid");
    let ready = account.post("/acme/new-order", &order(&world, &["a.demo.test"], json!({})).to_string()).await;
    account.post(ready.header("location"), cancel).await.is_problem(400, "autoRenewalCancellationInvalid");
    let plain = account.order(&["a.demo.test"]).await;
    account.finalize(&plain.json(), &csr(&["a.demo.test"], None)).await.is(200);
    account.post(plain.header("location"), cancel).await.is_problem(400, "autoRenewalCancellationInvalid");
}

#[tokio::test]
async fn a21_an_order_that_has_ended_gives_no_certificate() {
    let world = World::new();
    let account = world.account().await;
    let (url, open) = valid(&account, json!({ "allow-certificate-get": true })).await;
    let path = star_certificate(&open).strip_prefix(BASE).unwrap();
    world.clock.advance(Duration::from_secs(30 * DAY - 1));
    world.get(path).await.is(200);
    world.clock.advance(Duration::from_secs(1));
    world.get(path).await.is_problem(403, "autoRenewalExpired");
    account.post(path, "").await.is_problem(403, "autoRenewalExpired");
    assert_eq!(account.post(&url, "").await.json()["status"], "valid", "the status remains");
}

#[tokio::test]
async fn a21_a_star_certificate_is_not_revoked_by_its_subscriber() {
    let world = World::new();
    let account = world.account().await;
    valid(&account, json!({})).await;
    let der = world.state().certificates.values().next().unwrap().der.clone();
    let payload = json!({ "certificate": client::b64(&der), "reason": 1 }).to_string();
    account.post("/acme/revoke-cert", &payload).await.is_problem(403, "autoRenewalRevocationNotSupported");
    let key = client::Key::of(&world.leaf_key);
    world.post(&key, None, "/acme/revoke-cert", &payload).await.is_problem(403, "autoRenewalRevocationNotSupported");
    assert!(world.state().revocations.is_empty());
}

#[tokio::test]
async fn a21_terms_outside_the_policy_are_refused() {
    let world = World::new();
    world.grant(|g| g.grant.profiles = vec!["client".into(), "short".into()]);
    let account = world.account().await;
    let refused = async |payload: Value, status: u16, kind: &str, part: &str| {
        let answer = account.post("/acme/new-order", &payload.to_string()).await;
        assert!(answer.is_problem(status, kind).body.contains(part), "{}", answer.body);
    };
    let with = |more: Value| order(&world, &["a.demo.test"], more);
    refused(with(json!({ "lifetime": 599 })), 400, "malformed", "600 seconds at least").await;
    refused(with(json!({ "lifetime": 19 * DAY })), 400, "malformed", "seconds at most").await;
    refused(with(json!({ "end-date": world.clock_after(366 * DAY).to_rfc3339() })), 400, "malformed", "after the start").await;
    refused(with(json!({ "end-date": "2001-01-01T00:00:00Z" })), 400, "malformed", "in the past").await;
    refused(with(json!({ "lifetime": "12" })), 400, "malformed", "not a number of seconds").await;
    let mut both = with(json!({}));
    both["notAfter"] = json!(world.clock_after(DAY).to_rfc3339());
    refused(both, 400, "malformed", "does not go with").await;
    let mut short = with(json!({}));
    short["profile"] = json!("short");
    refused(short, 400, "malformed", "do not renew themselves").await;
    assert!(world.state().orders.is_empty());

    // A name that is challenged is validated for days, not for as long as an order renews itself.
    let challenging = World::with(|c| {
        c.authorities[0].rules.challenge_zones = vec![crate::challenges::zone(&[ca_core::model::ChallengeMethod::Http01], &[])]
    });
    let account = challenging.account().await;
    let payload = order(&challenging, &["a.demo.test", "a.dmz.test"], json!({})).to_string();
    let answer = account.post("/acme/new-order", &payload).await;
    assert!(answer.is_problem(403, "rejectedIdentifier").body.contains("a.dmz.test"), "{}", answer.body);
    assert!(challenging.state().orders.values().all(|order| order.status != OrderStatus::Ready));
}
