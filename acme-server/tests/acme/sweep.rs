//! Every route against everything that a stranger, a thief or a confused client might send it.
//!
//! The routes come from the server's own table, so one that is added without an entry in [`good`] fails here. What is
//! asserted each time is the problem, and that the store's dump is the same before and after.

use std::time::Duration;

use acme_server::{Access, ROUTES, Route};
use axum::body::Body;
use ca_core::model::{AccountStatus, AuthorizationId, CertificateState, ChallengeMethod, OrderId, OrderStatus};
use ca_core::pki::SerialNumber;
use ca_testkit::SeededRng;
use http::{Method, Request};
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::certificates::cert_id;
use crate::challenges::zone;
use crate::client::{Account, Answer, Key, b64, csr, order};
use crate::star;
use crate::world::{BASE, World};

const JOSE: &str = "application/jose+json";

fn world() -> World {
    let world = World::with(|config| config.authorities[0].rules.challenge_zones = vec![zone(&[ChallengeMethod::Http01], &[])]);
    world.grant(|g| g.grant.names = vec!["dns:*.demo.test".parse().unwrap()]);
    world.cross_certify(7, "demo-root", Duration::from_secs(365 * 86_400));
    world
}

/// An account's objects, one for each kind of route.
struct Objects {
    ready: String,
    authorization: String,
    challenge: String,
    certificate: String,
    star: String,
    der: String,
}

async fn objects(owner: &Account<'_>) -> Objects {
    let open = owner.open("a.dmz.test", ChallengeMethod::Http01).await;
    let ready = owner.order(&["b.demo.test"]).await.is(201).header("location").to_owned();
    let valid = owner.order(&["c.demo.test"]).await.is(201).json();
    let valid = owner.finalize(&valid, &csr(&["c.demo.test"], None)).await.is(200).json();
    let der = b64(&owner.world.state().certificates.values().next().unwrap().der);
    let renewing = owner.post("/acme/new-order", &star::order(owner.world, &["f.demo.test"], json!({})).to_string()).await.is(201).json();
    let renewing = owner.finalize(&renewing, &csr(&["f.demo.test"], None)).await.is(200).json();
    Objects {
        ready,
        authorization: open.authorization,
        challenge: open.url,
        certificate: valid["certificate"].as_str().unwrap().to_owned(),
        star: renewing["star-certificate"].as_str().unwrap().to_owned(),
        der,
    }
}

/// A request that is all right, by the owner of the objects or, where a key signs, by `key`.
fn good(route: &Route, objects: &Objects, owner: &Account<'_>, key: &Key) -> (String, String) {
    let whole = |path: &str| format!("{BASE}{path}");
    match route.path {
        "/acme/directory" | "/acme/new-nonce" => (whole(route.path), String::new()),
        "/a/{authority}/acme/p/{profile}/directory" => (whole("/a/demo/acme/p/short/directory"), String::new()),
        "/acme/renewal-info/{id}" => {
            let der = owner.world.state().certificates.values().next().unwrap().der.clone();
            let certificate = ca_core::pki::Certificate::from_der(&der).unwrap();
            (whole(&format!("/acme/renewal-info/{}", cert_id(&certificate))), String::new())
        }
        "/acme/new-account" => (
            whole(route.path),
            json!({ "termsOfServiceAgreed": true, "externalAccountBinding": key.binding(crate::world::KID) }).to_string(),
        ),
        "/acme/acct/{id}" => (owner.kid.clone(), json!({ "contact": ["mailto:new@demo.test"] }).to_string()),
        "/acme/acct/{id}/orders" => (format!("{}/orders", owner.kid), String::new()),
        "/acme/key-change" => {
            let header = json!({ "alg": "ES256", "jwk": key.jwk(), "url": whole(route.path) });
            let payload = json!({ "account": owner.kid, "oldKey": owner.key.jwk() }).to_string();
            (whole(route.path), key.sign(&header, &payload))
        }
        "/acme/new-order" => (whole(route.path), order(&["d.demo.test"]).to_string()),
        "/a/{authority}/acme/p/{profile}/new-order" => (whole("/a/demo/acme/p/client/new-order"), order(&["d.demo.test"]).to_string()),
        "/acme/order/{id}" => (objects.ready.clone(), String::new()),
        "/acme/order/{id}/finalize" => (format!("{}/finalize", objects.ready), json!({ "csr": csr(&["b.demo.test"], None) }).to_string()),
        "/acme/new-authz" => (whole(route.path), json!({ "identifier": { "type": "dns", "value": "e.dmz.test" } }).to_string()),
        "/acme/authz/{id}" => (objects.authorization.clone(), json!({ "status": "deactivated" }).to_string()),
        "/acme/chall/{authorization}/{method}" => (objects.challenge.clone(), "{}".to_owned()),
        "/acme/cert/{authority}/{serial}" => (objects.certificate.clone(), String::new()),
        "/acme/cert/{authority}/{serial}/{n}" => (format!("{}/7", objects.certificate), String::new()),
        "/acme/star/{id}" => (objects.star.clone(), String::new()),
        "/acme/star/{id}/{n}" => (format!("{}/7", objects.star), String::new()),
        "/acme/revoke-cert" => (whole(route.path), json!({ "certificate": objects.der }).to_string()),
        other => panic!("the route {other} is not in this table: add a good request to it"),
    }
}

/// A route with a good request to it, in a world of its own.
struct Aim<'a> {
    route: &'static Route,
    url: String,
    payload: String,
    owner: &'a Account<'a>,
    /// A key without an account.
    key: Key,
}

impl<'a> Aim<'a> {
    async fn at(route: &'static Route, owner: &'a Account<'a>) -> Self {
        let (objects, key) = (objects(owner).await, Key::new());
        let (url, payload) = good(route, &objects, owner, &key);
        Self { route, url, payload, owner, key }
    }

    fn path(&self) -> &str {
        self.url.strip_prefix(BASE).unwrap()
    }

    fn signer(&self) -> &Key {
        if self.route.access == Access::Key { &self.key } else { &self.owner.key }
    }

    /// The protected header of the good request.
    async fn header(&self) -> Value {
        let mut header = json!({ "alg": "ES256", "nonce": self.owner.world.nonce().await, "url": self.url });
        match self.route.access {
            Access::Key => header["jwk"] = self.key.jwk(),
            Access::Anyone | Access::Account | Access::AccountOrKey => header["kid"] = json!(self.owner.kid),
        }
        header
    }

    async fn post(&self, body: impl Into<Body>) -> Answer {
        self.owner.world.post_raw(self.path(), body).await
    }

    /// Sends what `sent` makes; it must be refused in this way, and nothing may have changed.
    async fn refused(&self, what: &str, status: u16, kind: &str, sent: impl Future<Output = Answer>) {
        let before = dump(self.owner.world);
        let answer = sent.await;
        let told = format!("{}: {what}: {} {}", self.route.path, answer.status, answer.body);
        assert_eq!(answer.status.as_u16(), status, "{told}");
        assert_eq!(answer.json()["type"], format!("urn:ietf:params:acme:error:{kind}"), "{told}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{told}");
        // RFC 9110 §15.5.6: which methods it takes.
        assert_eq!(answer.headers.contains_key("allow"), status == 405, "{told}");
        assert_eq!(dump(self.owner.world), before, "{told}");
    }

    /// The good request with another header.
    async fn altered(&self, what: &str, status: u16, kind: &str, alter: impl FnOnce(&mut Value)) {
        let mut header = self.header().await;
        alter(&mut header);
        self.refused(what, status, kind, self.post(self.signer().sign(&header, &self.payload))).await;
    }
}

fn dump(world: &World) -> String {
    format!("{:?}", *world.state())
}

fn signed() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| route.access != Access::Anyone)
}

/// What the sweeps stand on: each request that they spoil is a good one, and all routes come from the table.
#[tokio::test]
async fn a24_the_table_has_a_request_that_works_for_every_route() {
    for route in &ROUTES {
        let world = world();
        let owner = world.account().await;
        let aim = Aim::at(route, &owner).await;
        let answer = if route.access == Access::Anyone {
            world.get(aim.path()).await
        } else {
            aim.post(aim.signer().sign(&aim.header().await, &aim.payload)).await
        };
        assert!(answer.status.is_success(), "{}: {} {}", route.path, answer.status, answer.body);
    }
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap() {
        let path = file.unwrap().path();
        let elsewhere = path.is_file() && !path.ends_with("routes.rs") && std::fs::read_to_string(&path).unwrap().contains(".route(");
        assert!(!elsewhere, "{} has a route of its own (hint: it belongs into ROUTES)", path.display());
    }
}

#[tokio::test]
async fn a24_without_credentials_nothing_acts_on_any_route() {
    for route in &ROUTES {
        let world = world();
        let owner = world.account().await;
        let aim = Aim::at(route, &owner).await;
        let open = route.access == Access::Anyone;
        let others = [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::TRACE, Method::POST];
        for method in others.into_iter().filter(|m| *m != if open { Method::GET } else { Method::POST }) {
            let request = Request::builder().method(&method).uri(aim.path()).header("content-type", JOSE);
            let sent = world.send(request.body(Body::from(aim.payload.clone())).unwrap());
            // What anyone may GET, accounts read by POST-as-GET too (RFC 8555 §6.3), but for renewal information.
            let read_by_post = open && method == Method::POST && !route.path.starts_with("/acme/renewal-info/");
            aim.refused(method.as_str(), if read_by_post { 400 } else { 405 }, "malformed", sent).await;
        }
        if open {
            continue;
        }
        let (protected, payload) = (b64(aim.header().await.to_string()), b64(&aim.payload));
        let unsigned = json!({ "protected": protected, "payload": payload, "signature": "" }).to_string();
        let bodies: [(&str, Vec<u8>); 9] = [
            ("no body", Vec::new()),
            ("no JWS", b"{}".to_vec()),
            ("the payload alone", aim.payload.clone().into_bytes()),
            ("no JSON", b"<html>".to_vec()),
            ("no UTF-8", vec![0xff, 0xfe, 0x00]),
            ("NULs", vec![0; 1000]),
            ("a number", b"1e999999".to_vec()),
            ("a compact JWS", format!("{protected}.{payload}.AAAA").into_bytes()),
            ("no signature", unsigned.into_bytes()),
        ];
        for (what, body) in bodies {
            // A keyChange's payload is a JWS itself, without a nonce.
            let kind = if what == "the payload alone" && route.path == "/acme/key-change" { "badNonce" } else { "malformed" };
            aim.refused(what, 400, kind, aim.post(body)).await;
        }
        aim.altered("alg none", 400, "badSignatureAlgorithm", |h| h["alg"] = json!("none")).await;
        if route.access != Access::Key {
            let header = aim.header().await;
            aim.refused("a stranger's signature", 400, "malformed", aim.post(aim.key.sign(&header, &aim.payload))).await;
        }
    }
}

#[tokio::test]
async fn a04_every_route_wants_the_content_type_of_a_jws() {
    for route in signed() {
        let world = world();
        let owner = world.account().await;
        let aim = Aim::at(route, &owner).await;
        for content_type in ["application/json", "text/plain", "application/x-www-form-urlencoded", "application/jose", ""] {
            let body = aim.signer().sign(&aim.header().await, &aim.payload);
            let request = Request::post(aim.path()).header("content-type", content_type).body(Body::from(body)).unwrap();
            aim.refused(content_type, 415, "malformed", world.send(request)).await;
        }
    }
}

#[tokio::test]
async fn a05_every_route_refuses_a_jws_that_is_not_made_for_it() {
    for route in signed() {
        let world = world();
        let owner = world.account().await;
        let aim = Aim::at(route, &owner).await;
        let (own, other) = (owner.key.jwk(), Key::new());
        let drop = |h: &mut Value, name: &str| drop(h.as_object_mut().unwrap().remove(name));
        for url in [format!("{BASE}/acme/nothing"), format!("{}?x", aim.url), aim.url.replace("ca.test", "other.test"), "x".to_owned()] {
            aim.altered("another URL", 403, "unauthorized", |h| h["url"] = json!(url)).await;
        }
        aim.altered("no URL", 400, "malformed", |h| drop(h, "url")).await;
        aim.altered("no algorithm", 400, "malformed", |h| drop(h, "alg")).await;
        for alg in ["HS256", "HS384", "HS512", "ES512", "PS256", "es256"] {
            aim.altered(alg, 400, "badSignatureAlgorithm", |h| h["alg"] = json!(alg)).await;
        }
        for alg in ["ES384", "EdDSA", "RS256"] {
            aim.altered("another key's algorithm", 400, "malformed", |h| h["alg"] = json!(alg)).await;
        }
        aim.altered("a critical extension", 400, "malformed", |h| h["crit"] = json!(["b64"])).await;
        aim.altered("kid and jwk", 400, "malformed", |h| (h["kid"], h["jwk"]) = (json!(owner.kid), own.clone())).await;
        aim.altered("neither kid nor jwk", 400, "malformed", |h| {
            drop(h, "kid");
            drop(h, "jwk");
        })
        .await;
        match route.access {
            Access::Key => {
                aim.altered("kid for jwk", 400, "malformed", |h| {
                    drop(h, "jwk");
                    h["kid"] = json!(owner.kid);
                })
                .await;
            }
            Access::Account => {
                aim.altered("jwk for kid", 400, "malformed", |h| {
                    drop(h, "kid");
                    h["jwk"] = own.clone();
                })
                .await;
            }
            // Here a key may speak, but this one is neither the certificate's nor does it come as an account.
            Access::AccountOrKey | Access::Anyone => {
                aim.altered("a key that is not the certificate's", 403, "unauthorized", |h| {
                    drop(h, "kid");
                    h["jwk"] = own.clone();
                })
                .await;
            }
        }
        if route.access != Access::Key {
            for kid in [format!("{BASE}/acme/acct/{}", "0".repeat(32)), "https://other.test/acme/acct/1".to_owned(), String::new()] {
                aim.altered("no account of this CA", 400, "accountDoesNotExist", |h| h["kid"] = json!(kid)).await;
            }
        }
        aim.altered("an embedded MAC key", 400, if route.access == Access::Key { "badPublicKey" } else { "malformed" }, |h| {
            h["jwk"] = json!({ "kty": "oct", "k": "AA" });
        })
        .await;
        // What no header says: the message itself is spoilt.
        let message = async || aim.signer().sign(&aim.header().await, &aim.payload);
        let with = |text: &str, end: &str| format!("{}{end}", text.strip_suffix('}').unwrap());
        for end in [r#","header":{}}"#, r#","signatures":[]}"#, r#","payload":""}"#, r#","protected":"e30"}"#] {
            let body = with(&message().await, end);
            aim.refused(end, 400, "malformed", aim.post(body)).await;
        }
        let deep = format!(r#","x":{}1{}}}"#, "[".repeat(16), "]".repeat(16));
        let body = with(&message().await, &deep);
        aim.refused("nested too deeply", 400, "malformed", aim.post(body)).await;
        let mut value: Value = serde_json::from_str(&message().await).unwrap();
        value["payload"] = json!(b64(r#"{"other":1}"#));
        aim.refused("another payload than was signed", 400, "malformed", aim.post(value.to_string())).await;
        let mut value: Value = serde_json::from_str(&message().await).unwrap();
        let foreign: Value = serde_json::from_str(&other.sign(&aim.header().await, &aim.payload)).unwrap();
        value["signature"] = foreign["signature"].clone();
        aim.refused("another's signature", 400, "malformed", aim.post(value.to_string())).await;
    }
}

#[tokio::test]
async fn a03_every_route_refuses_a_nonce_that_is_missing_invented_or_used() {
    for route in signed() {
        let world = world();
        let owner = world.account().await;
        let aim = Aim::at(route, &owner).await;
        aim.altered("no nonce", 400, "badNonce", |h| drop(h.as_object_mut().unwrap().remove("nonce"))).await;
        aim.altered("an invented nonce", 400, "badNonce", |h| h["nonce"] = json!("A".repeat(32))).await;
        aim.altered("no base64url", 400, "malformed", |h| h["nonce"] = json!("a b")).await;
        let body = aim.signer().sign(&aim.header().await, &aim.payload);
        assert!(aim.post(body.clone()).await.status.is_success(), "{}", route.path);
        aim.refused("a replay of what was done", 400, "badNonce", aim.post(body)).await;
    }
}

#[tokio::test]
async fn a06_every_route_refuses_another_accounts_objects() {
    let mut with_objects = 0;
    for route in
        signed().filter(|r| r.path.contains("{id}") || r.path.contains("/chall/") || r.path.contains("/cert/") || r.path.contains("revoke"))
    {
        let world = world();
        let (owner, thief) = (world.account().await, world.account().await);
        let aim = Aim::at(route, &owner).await;
        aim.refused("another account", 403, "unauthorized", thief.post(&aim.url, &aim.payload)).await;
        with_objects += 1;
    }
    assert_eq!(with_objects, 11);
}

#[tokio::test]
async fn a06_every_route_refuses_an_account_that_is_not_valid() {
    for route in signed().filter(|r| r.access != Access::Key) {
        let world = world();
        let owner = world.account().await;
        let aim = Aim::at(route, &owner).await;
        let id = owner.kid.rsplit('/').next().unwrap().parse().unwrap();
        for (state, status, kind) in [
            (AccountStatus::Deactivated, 401, "unauthorized"),
            (AccountStatus::Revoked, 401, "unauthorized"),
            (AccountStatus::Pending, 400, "accountDoesNotExist"),
        ] {
            world.state().accounts.get_mut(&id).unwrap().status = state;
            aim.refused(&format!("{state:?}"), status, kind, owner.post(&aim.url, &aim.payload)).await;
        }
    }
}

#[tokio::test]
async fn a09_every_object_refuses_what_its_state_does_not_allow() {
    let world = world();
    let owner = world.account().await;
    let route = |path: &str| ROUTES.iter().find(|r| r.path == path).unwrap();
    let check = async |path: &str, what: &str, status: u16, kind: &str, enter: &dyn Fn(&mut Aim<'_>)| {
        let mut aim = Aim::at(route(path), &owner).await;
        enter(&mut aim);
        aim.refused(what, status, kind, owner.post(&aim.url, &aim.payload)).await;
    };
    let order_of = |aim: &Aim<'_>| {
        aim.url.split('/').rev().find_map(|part| part.parse::<OrderId>().ok().filter(|id| world.state().orders.contains_key(id))).unwrap()
    };
    for state in [OrderStatus::Pending, OrderStatus::Processing, OrderStatus::Valid, OrderStatus::Invalid] {
        check("/acme/order/{id}/finalize", &format!("{state:?}"), 403, "orderNotReady", &|aim| {
            let id = order_of(aim);
            world.state().orders.get_mut(&id).unwrap().status = state;
        })
        .await;
    }
    check("/acme/order/{id}", "no such order", 404, "malformed", &|aim| {
        let id = order_of(aim);
        world.state().orders.remove(&id);
    })
    .await;
    for path in ["/acme/authz/{id}", "/acme/chall/{authorization}/{method}"] {
        check(path, "deactivated", 400, "malformed", &|aim| {
            let id: AuthorizationId =
                aim.url.split('/').find_map(|part| part.parse().ok().filter(|id| world.state().authorizations.contains_key(id))).unwrap();
            world.state().authorizations.get_mut(&id).unwrap().status = ca_core::model::AuthorizationStatus::Deactivated;
        })
        .await;
    }
    for path in ["/acme/cert/{authority}/{serial}", "/acme/cert/{authority}/{serial}/{n}"] {
        // Another one beside it: what was released once stays so.
        check(path, "not released", 404, "malformed", &|aim| {
            let mut state = world.state();
            let mut other = state.certificates.values().find(|c| aim.url.contains(&c.serial.to_string())).unwrap().clone();
            let serial = SerialNumber::random(&SeededRng::new(9));
            aim.url = aim.url.replace(&other.serial.to_string(), &serial.to_string());
            (other.serial, other.state) = (serial, CertificateState::Intent);
            state.certificates.insert(serial, other);
        })
        .await;
    }
    check("/acme/revoke-cert", "not released", 404, "malformed", &|_| {
        world.state().certificates.values_mut().for_each(|c| c.state = CertificateState::Intent);
    })
    .await;
    world.state().certificates.values_mut().for_each(|c| c.state = CertificateState::Released);
    let aim = Aim::at(route("/acme/key-change"), &owner).await;
    let second = world.register(Key::of(&KeyPair::generate().unwrap())).await;
    let taken = second.key.sign(
        &json!({ "alg": "ES256", "jwk": second.key.jwk(), "url": aim.url }),
        &json!({ "account": owner.kid, "oldKey": owner.key.jwk() }).to_string(),
    );
    aim.refused("a key that is taken", 409, "malformed", owner.post(&aim.url, &taken)).await;
}

#[tokio::test]
async fn a04_every_route_refuses_a_payload_that_is_not_its_own() {
    for route in signed() {
        let world = world();
        let owner = world.account().await;
        let aim = Aim::at(route, &owner).await;
        let reads = aim.payload.is_empty();
        let others: &[&str] = if reads { &["{}", "[]", "x"] } else { &["[]", "null", "1", "{", "{\"a\":1,\"a\":2}", "\u{0}"] };
        for payload in others {
            let body = aim.signer().sign(&aim.header().await, payload);
            aim.refused(payload, 400, "malformed", aim.post(body)).await;
        }
    }
}

/// Beside each route lies nothing: no prefix, suffix or other spelling of its path is taken for it.
#[tokio::test]
async fn lesson_11_no_path_beside_a_route_acts() {
    for route in &ROUTES {
        let world = world();
        let owner = world.account().await;
        let aim = Aim::at(route, &owner).await;
        let path = aim.path().to_owned();
        let last = path.rfind('/').unwrap();
        let neighbours = [
            format!("{path}/"),
            format!("{path}/x"),
            format!("{path}/*"),
            format!("{path}%00"),
            format!("/{path}"),
            format!("{}/.{}", &path[..last], &path[last..]),
            format!("{}%2f{}", &path[..last], &path[last + 1..]),
            path.to_uppercase(),
        ];
        for neighbour in neighbours {
            let before = dump(&world);
            for method in [Method::GET, Method::POST] {
                let request = Request::builder().method(&method).uri(&neighbour).header("content-type", JOSE);
                let answer = world.send(request.body(Body::from(aim.signer().sign(&aim.header().await, &aim.payload))).unwrap()).await;
                assert!(answer.status.is_client_error(), "{method} {neighbour}: {} {}", answer.status, answer.body);
            }
            assert_eq!(dump(&world), before, "{neighbour}");
        }
    }
}

#[tokio::test]
async fn lesson_12_a_store_that_fails_lets_nothing_through() {
    for route in signed() {
        let world = world();
        let owner = world.account().await;
        let aim = Aim::at(route, &owner).await;
        let body = aim.signer().sign(&aim.header().await, &aim.payload);
        world.state().down = true;
        aim.refused("the store is away", 503, "serverInternal", aim.post(body)).await;
    }
}
