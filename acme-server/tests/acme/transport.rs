//! What holds before any resource is reached.

use std::sync::Arc;

use acme_server::{AcmeConfig, AcmeServer, ConfigError, offers};
use axum::body::Body;
use ca_core::model::Authority;
use ca_core::pki::Sha256Digest;
use ca_core::policy::AuthorityPolicy;
use ca_testkit::SeededRng;
use http::{Method, Request};
use serde_json::json;

use crate::client::{Key, b64};
use crate::world::{BASE, World};

/// Policy and authorities come to the record one after the other: what is offered follows both.
#[tokio::test]
async fn a01_an_authority_imported_after_the_policy_that_names_it_is_on_offer() {
    let world = World::new();
    let profile = "[authority.profile.client]\nshape = \"client\"\nlifetime = 3600";
    let mut policy = ca_testkit::policy::demo(Sha256Digest([0; 32]), &["dns:*.demo.test"], profile);
    let second = AuthorityPolicy { name: "second".parse().unwrap(), ..policy.authorities[0].clone() };
    policy.authorities.push(second);
    // As each look at the record has it.
    let look = |authorities: &[Authority]| world.server.offer(offers(&policy, authorities, &[])).unwrap();
    let mut authorities = world.state().authorities.clone();
    assert!(look(&authorities), "another policy");
    world.get("/a/second/acme/p/client/directory").await.is_problem(404, "malformed");
    authorities.push(Authority { name: "second".parse().unwrap(), is_default: false, ..authorities[0].clone() });
    assert!(look(&authorities), "the same policy, and one authority more");
    world.get("/a/second/acme/p/client/directory").await.is(200);
    assert!(!look(&authorities), "nothing new");
}

#[tokio::test]
async fn a01_every_authority_and_profile_has_its_directory_and_meta_says_what_the_site_does() {
    let world = World::with(|c| {
        c.terms_of_service = Some("https://ca.test/terms".to_owned());
        c.website = Some("https://ca.test".to_owned());
        let mut second = c.authorities[0].clone();
        second.rules.name = "second".parse().unwrap();
        second.profiles.truncate(1);
        second.rules.challenge_zones =
            vec![crate::challenges::zone(&[ca_core::model::ChallengeMethod::Http01], &["ca.bank.test", "ca.bank.test", "a.bank.test"])];
        c.authorities.push(second);
    });
    for (path, new_order) in [
        ("/acme/directory", "/acme/new-order"),
        ("/a/demo/acme/p/client/directory", "/a/demo/acme/p/client/new-order"),
        ("/a/demo/acme/p/short/directory", "/a/demo/acme/p/short/new-order"),
        ("/a/second/acme/p/client/directory", "/a/second/acme/p/client/new-order"),
    ] {
        let answer = world.get(path).await;
        let directory = answer.is(200).json();
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(directory["newOrder"], format!("{BASE}{new_order}"), "{path}");
        // Accounts belong to the instance: whatever the directory, the same URL.
        for (field, below) in [
            ("newNonce", "new-nonce"),
            ("newAccount", "new-account"),
            ("revokeCert", "revoke-cert"),
            ("keyChange", "key-change"),
            ("renewalInfo", "renewal-info"),
        ] {
            assert_eq!(directory[field], format!("{BASE}/acme/{below}"), "{path}");
        }
        let meta = &directory["meta"];
        assert_eq!(meta["termsOfService"], "https://ca.test/terms");
        assert_eq!(meta["website"], "https://ca.test");
        assert_eq!(meta["externalAccountRequired"], true);
        assert!(meta["profiles"].is_object());
        // Only where names are challenged.
        let challenges = path.contains("second");
        assert_eq!(meta.get("caaIdentities"), challenges.then_some(&json!(["a.bank.test", "ca.bank.test"])));
        assert_eq!(directory.get("newAuthz").is_some(), challenges);
    }
    world.get("/a/second/acme/p/short/directory").await.is_problem(404, "malformed");
    let plain = World::new().get("/acme/directory").await.json();
    assert_eq!((plain["meta"].get("termsOfService"), plain["meta"].get("website")), (None, None));
}

#[tokio::test]
async fn urls_begin_with_a_base_of_host_and_port_alone() {
    let world = World::new();
    let server = |base: &str| {
        let config = AcmeConfig { public_base_url: base.to_owned(), ..world.config.clone() };
        AcmeServer::new(config, world.store.clone(), world.clock.clone(), Arc::new(SeededRng::new(7)))
    };
    for (base, begins) in [("https://127.0.0.1:14000/", "https://127.0.0.1:14000"), ("https://[::1]:14000", "https://[::1]:14000")] {
        let directory = world.beside(server(base).unwrap()).get("/acme/directory").await.json();
        assert_eq!(directory["newNonce"], format!("{begins}/acme/new-nonce"));
    }
    for bad in ["", "ftp://x", "https://", "https://x/y", "https://u@x", "https://x\n"] {
        assert!(matches!(server(bad), Err(ConfigError::BaseUrl(_))), "{bad}");
    }
    let nothing = AcmeConfig { authorities: Vec::new(), ..world.config.clone() };
    let server = AcmeServer::new(nothing, world.store.clone(), world.clock.clone(), Arc::new(SeededRng::new(7)));
    assert!(matches!(server, Err(ConfigError::DefaultAuthority(_))));
}

#[tokio::test]
async fn a22_profiles_are_told_in_the_directory() {
    let world = World::new();
    let default = world.get("/acme/directory").await.is(200).json();
    assert_eq!(default["newOrder"], format!("{BASE}/acme/new-order"));
    assert_eq!(default["renewalInfo"], format!("{BASE}/acme/renewal-info"));
    assert_eq!(default["meta"]["externalAccountRequired"], true);
    assert_eq!(default["meta"]["profiles"]["client"], "A client certificate");
    let scoped = world.get("/a/demo/acme/p/short/directory").await.is(200).json();
    assert_eq!(scoped["newOrder"], format!("{BASE}/a/demo/acme/p/short/new-order"));
    assert_eq!(scoped["newAccount"], format!("{BASE}/acme/new-account"));
    assert_eq!(scoped["meta"]["profiles"].as_object().unwrap().len(), 1);
    world.get("/a/demo/acme/p/none/directory").await.is_problem(404, "malformed");
    world.get("/a/other/acme/p/short/directory").await.is_problem(404, "malformed");
}

#[tokio::test]
async fn nonces_come_with_head_and_get_and_count_once() {
    let world = World::new();
    let got = world.get("/acme/new-nonce").await;
    got.is(204);
    assert_eq!(got.header("cache-control"), "no-store");
    let key = Key::new();
    let header =
        json!({ "alg": "ES256", "nonce": got.header("replay-nonce"), "url": format!("{BASE}/acme/new-account"), "jwk": key.jwk() });
    let message = key.sign(&header, r#"{"onlyReturnExisting":true}"#);
    world.post_raw("/acme/new-account", message.clone()).await.is_problem(400, "accountDoesNotExist");
    let replayed = world.post_raw("/acme/new-account", message).await;
    replayed.is_problem(400, "badNonce");
    let header =
        json!({ "alg": "ES256", "nonce": replayed.header("replay-nonce"), "url": format!("{BASE}/acme/new-account"), "jwk": key.jwk() });
    let again = world.post_raw("/acme/new-account", key.sign(&header, r#"{"onlyReturnExisting":true}"#)).await;
    again.is_problem(400, "accountDoesNotExist");
    let mut without = header.clone();
    without.as_object_mut().unwrap().remove("nonce");
    world.post_raw("/acme/new-account", key.sign(&without, "{}")).await.is_problem(400, "badNonce");
    let invented = json!({ "alg": "ES256", "nonce": "A".repeat(32), "url": format!("{BASE}/acme/new-account"), "jwk": key.jwk() });
    world.post_raw("/acme/new-account", key.sign(&invented, "{}")).await.is_problem(400, "badNonce");
}

#[tokio::test]
async fn headers_of_a_jws_that_are_refused() {
    let world = World::new();
    let key = Key::new();
    let good = json!({ "alg": "ES256", "url": format!("{BASE}/acme/new-account"), "jwk": key.jwk() });
    let check = async |change: serde_json::Value, status: u16, kind: &str| {
        let mut header = good.clone();
        header["nonce"] = json!(world.nonce().await);
        header.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = world.post_raw("/acme/new-account", key.sign(&header, "{}")).await;
        answer.is_problem(status, kind);
        answer
    };
    for alg in ["none", "HS256", "ES512", "RS512"] {
        let answer = check(json!({ "alg": alg }), 400, "badSignatureAlgorithm").await;
        assert_eq!(answer.json()["algorithms"], json!(["ES256", "ES384", "EdDSA", "RS256"]));
    }
    // An algorithm on offer that is not the key's.
    check(json!({ "alg": "EdDSA" }), 400, "malformed").await;
    check(json!({ "url": format!("{BASE}/acme/new-order") }), 403, "unauthorized").await;
    check(json!({ "url": "https://other.test/acme/new-account" }), 403, "unauthorized").await;
    check(json!({ "url": format!("{BASE}/acme/new-account?x") }), 403, "unauthorized").await;
    check(json!({ "kid": format!("{BASE}/acme/acct/1") }), 400, "malformed").await;
    check(json!({ "crit": ["x"] }), 400, "malformed").await;
    check(json!({ "jwk": { "kty": "oct", "k": "AA" } }), 400, "badPublicKey").await;
    // Nothing is left but the binding to complain of.
    check(json!({}), 403, "externalAccountRequired").await;
}

#[tokio::test]
async fn bodies_that_are_refused() {
    let world = World::new();
    let path = "/acme/new-account";
    world.post_raw(path, "{}").await.is_problem(400, "malformed");
    world.post_raw(path, "").await.is_problem(400, "malformed");
    world.post_raw(path, vec![0xff, 0xfe]).await.is_problem(400, "malformed");
    let protected = b64(r#"{"alg":"ES256","alg":"none"}"#);
    world.post_raw(path, format!(r#"{{"protected":"{protected}","payload":"","signature":""}}"#)).await.is_problem(400, "malformed");
    world.post_raw(path, r#"{"payload":"","payload":"e30","protected":"","signature":""}"#).await.is_problem(400, "malformed");
    world.post_raw(path, format!(r#"{{"payload":{}"#, "[".repeat(10_000))).await.is_problem(400, "malformed");
    // Larger than allowed: told by its length, and found out while reading.
    let large = "A".repeat(70_000);
    world.post_raw(path, large.clone()).await.is_problem(413, "malformed");
    let announced = Request::post(path).header("content-type", "application/jose+json").header("content-length", "70000");
    world.send(announced.body(Body::empty()).unwrap()).await.is_problem(413, "malformed");
    for content_type in [Some("application/json"), Some("text/plain"), Some(""), None] {
        let mut request = Request::post(path);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let answer = world.send(request.body(Body::from("{}")).unwrap()).await;
        answer.is_problem(415, "malformed");
        assert!(!answer.header("replay-nonce").is_empty());
    }
    let with_parameter = Request::post(path).header("content-type", "Application/JOSE+JSON; charset=utf-8");
    world.send(with_parameter.body(Body::from("{}")).unwrap()).await.is_problem(400, "malformed");
}

/// A24: without a signature, nothing acts.
#[tokio::test]
async fn an_unauthenticated_sweep_finds_nothing_that_acts() {
    let world = World::new();
    let paths = [
        "/acme/new-account",
        "/acme/acct/0123",
        "/acme/acct/0123/orders",
        "/acme/key-change",
        "/acme/new-order",
        "/a/demo/acme/p/client/new-order",
        "/acme/order/0123",
        "/acme/order/0123/finalize",
        "/acme/authz/0123.0",
        "/acme/new-authz",
        "/acme/chall/0123/http-01",
        "/acme/cert/demo/0123",
        "/acme/revoke-cert",
    ];
    for path in paths {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
            let answer = world.send(Request::builder().method(method).uri(path).body(Body::from("{}")).unwrap()).await;
            answer.is_problem(405, "malformed");
        }
        world.post_raw(path, "{}").await.is_problem(400, "malformed");
    }
    for path in ["/", "/acme", "/acme/order/", "/acme/nothing", "/a/demo/ocsp", "/acme/renewal-info/x"] {
        world.get(path).await.is_problem(404, "malformed");
        assert!(world.send(Request::post(path).body(Body::empty()).unwrap()).await.status.is_client_error());
    }
    let state = world.state();
    assert!(state.accounts.is_empty() && state.orders.is_empty() && state.audit.is_empty() && state.evidence.is_empty());
}

#[tokio::test]
async fn what_goes_wrong_inside_stays_inside() {
    let world = World::new();
    let account = world.account().await;
    world.state().down = true;
    let answer = account.order(&["a.demo.test"]).await;
    answer.is_problem(503, "serverInternal");
    assert!(!answer.body.contains("secret"), "{}", answer.body);
    assert!(!answer.header("retry-after").is_empty());
}

#[tokio::test]
async fn browsers_may_ask() {
    let world = World::new();
    let preflight = world.send(Request::builder().method(Method::OPTIONS).uri("/acme/new-order").body(Body::empty()).unwrap()).await;
    assert_eq!(preflight.is(204).header("access-control-allow-origin"), "*");
    assert!(world.get("/acme/directory").await.header("access-control-expose-headers").contains("Replay-Nonce"));
}
