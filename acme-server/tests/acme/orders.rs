//! Orders, authorizations and finalization.

use std::time::Duration;

use ca_core::model::{GrantStatus, KeyBlock, Problem, ProblemType};
use ca_testkit::weak_keys::WeakKey;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use serde_json::json;

use crate::client::{Key, b64, csr, csr_by, order};
use crate::fake_store::Worker;
use crate::world::{BASE, World};

#[tokio::test]
async fn an_order_that_the_grant_covers_is_ready_at_once() {
    let world = World::new();
    let account = world.account().await;
    let created = account.order(&["B.demo.test", "a.demo.test", "b.demo.test", "127.0.0.1", "*.demo.test"]).await;
    let order = created.is(201).json();
    assert_eq!(order["status"], "ready");
    assert_eq!(order["profile"], "client");
    assert_eq!(order["identifiers"].as_array().unwrap().len(), 4, "duplicates are folded");
    assert_eq!(order["expires"], "2026-11-25T00:00:00Z");
    let read = account.post(created.header("location"), "").await;
    assert_eq!(read.is(200).json(), order);
    let mut wildcards = 0;
    for url in order["authorizations"].as_array().unwrap() {
        let authorization = account.post(url.as_str().unwrap(), "").await.is(200).json();
        assert_eq!((&authorization["status"], &authorization["challenges"]), (&json!("valid"), &json!([])));
        if authorization["wildcard"] == true {
            wildcards += 1;
            assert_eq!(authorization["identifier"], json!({ "type": "dns", "value": "demo.test" }));
        }
    }
    assert_eq!(wildcards, 1);
    account.post(created.header("location"), "{}").await.is_problem(400, "malformed");
}

#[tokio::test]
async fn orders_that_are_refused() {
    let world = World::new();
    let account = world.account().await;
    let uncovered = account.order(&["a.demo.test", "bank.example", "x.bank.example"]).await;
    let body = uncovered.is_problem(403, "rejectedIdentifier").json();
    assert_eq!(body["subproblems"].as_array().unwrap().len(), 2);
    assert_eq!(body["subproblems"][0]["identifier"], json!({ "type": "dns", "value": "bank.example" }));

    let check = async |url: &str, change: serde_json::Value, status: u16, kind: &str| {
        let mut payload = order(&["a.demo.test"]);
        payload.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        account.post(url, &payload.to_string()).await.is_problem(status, kind);
    };
    let default = "/acme/new-order";
    check(default, json!({ "identifiers": [] }), 400, "malformed").await;
    check(default, json!({ "identifiers": [{ "type": "email", "value": "a@b" }] }), 400, "unsupportedIdentifier").await;
    check(default, json!({ "identifiers": [{ "type": "dns", "value": "a_b.demo.test" }] }), 403, "rejectedIdentifier").await;
    check(default, json!({ "notAfter": "2026-01-01T00:00:00Z" }), 400, "malformed").await;
    // Neither offered, nor granted, nor that of the directory.
    check(default, json!({ "profile": "none" }), 400, "invalidProfile").await;
    check(default, json!({ "profile": "server" }), 400, "invalidProfile").await;
    check("/a/demo/acme/p/short/new-order", json!({}), 400, "invalidProfile").await;
    check("/a/demo/acme/p/client/new-order", json!({ "profile": "server" }), 400, "invalidProfile").await;
    check("/a/other/acme/p/client/new-order", json!({}), 403, "unauthorized").await;
    world.grant(|g| g.grant.valid_until = Some(g.created_at));
    check(default, json!({}), 403, "unauthorized").await;
    world.grant(|g| (g.grant.valid_until, g.status) = (None, GrantStatus::Revoked));
    check(default, json!({}), 403, "unauthorized").await;
    assert!(world.state().orders.is_empty());
    world.grant(|g| g.status = GrantStatus::Active);
    account.post("/a/demo/acme/p/client/new-order", &order(&["a.demo.test"]).to_string()).await.is(201);
}

/// RFC 8555 §6.7.1.
#[tokio::test]
async fn a04_each_identifier_that_is_refused_has_its_subproblem() {
    let world = World::new();
    let account = world.account().await;
    let ask = async |identifiers: &[(&str, &str)]| {
        let list: Vec<_> = identifiers.iter().map(|(kind, value)| json!({ "type": kind, "value": value })).collect();
        account.post("/acme/new-order", &json!({ "identifiers": list }).to_string()).await
    };
    let good = ("dns", "a.demo.test");
    let refused = ask(&[good, ("dns", "a_b.demo.test"), ("dns", "*.*.demo.test")]).await;
    let body = refused.is_problem(403, "rejectedIdentifier").json();
    let told: Vec<_> = body["subproblems"].as_array().unwrap().iter().map(|one| (&one["identifier"]["value"], &one["type"])).collect();
    let rejected = json!("urn:ietf:params:acme:error:rejectedIdentifier");
    assert_eq!(told, [(&json!("a_b.demo.test"), &rejected), (&json!("*.*.demo.test"), &rejected)]);

    let mixed = ask(&[("email", "a@demo.test"), good, ("ip", "127.0.0.01")]).await;
    let body = mixed.is_problem(400, "compound").json();
    assert_eq!(body["subproblems"][0]["type"], "urn:ietf:params:acme:error:unsupportedIdentifier");
    assert_eq!(body["subproblems"][0]["identifier"], json!({ "type": "email", "value": "a@demo.test" }));
    assert_eq!(body["subproblems"][1]["identifier"], json!({ "type": "ip", "value": "127.0.0.01" }));
    let one = ask(&[("email", "a@demo.test")]).await;
    assert_eq!(one.is_problem(400, "unsupportedIdentifier").json()["subproblems"].as_array().unwrap().len(), 1);
    assert!(world.state().orders.is_empty());
}

#[tokio::test]
async fn a22_an_order_names_its_profile_or_gets_the_directorys_or_the_grants_first() {
    let world = World::new();
    world.grant(|g| g.grant.profiles = vec!["short".into(), "client".into()]);
    let account = world.account().await;
    let ask = async |url: &str, profile: Option<&str>| {
        let mut payload = order(&["a.demo.test"]);
        if let Some(profile) = profile {
            payload["profile"] = json!(profile);
        }
        account.post(url, &payload.to_string()).await
    };
    for (url, profile, expected) in [
        ("/acme/new-order", None, "short"),
        ("/acme/new-order", Some("client"), "client"),
        ("/a/demo/acme/p/client/new-order", None, "client"),
        ("/a/demo/acme/p/client/new-order", Some("client"), "client"),
    ] {
        let created = ask(url, profile).await;
        assert_eq!(created.is(201).json()["profile"], expected, "{url} {profile:?}");
        // It is in the order wherever it is read.
        assert_eq!(account.post(created.header("location"), "").await.is(200).json()["profile"], expected);
    }
    for (url, profile) in [
        ("/acme/new-order", Some("none")),
        ("/acme/new-order", Some("")),
        ("/a/demo/acme/p/client/new-order", Some("short")),
        ("/a/demo/acme/p/none/new-order", None),
    ] {
        ask(url, profile).await.is_problem(400, "invalidProfile");
    }
    account
        .post("/acme/new-order", &json!({ "identifiers": order(&["a.demo.test"])["identifiers"], "profile": 1 }).to_string())
        .await
        .is_problem(400, "malformed");
}

#[tokio::test]
async fn a07_an_order_of_every_kind_of_identifier() {
    let world = World::new();
    world.grant(|g| {
        let names = [
            "dns:*.demo.test",
            "dns-wildcard:demo.test",
            "ip:127.0.0.0/8",
            "ip:fd00::/8",
            "permanent-identifier:SN-*",
            "hardware-module:*/1.2.3",
        ];
        g.grant.names = names.iter().map(|n| n.parse().unwrap()).collect();
    });
    let account = world.account().await;
    let ask = async |identifiers: serde_json::Value, more: serde_json::Value| {
        let mut payload = json!({ "identifiers": identifiers });
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        account.post("/acme/new-order", &payload.to_string()).await
    };
    let all = json!([
        { "type": "dns", "value": "B.Demo.test" },
        { "type": "dns", "value": "b.demo.test" },
        { "type": "dns", "value": "*.demo.test" },
        // An internationalised name comes as A-labels (RFC 8555 §7.1.4, RFC 5890).
        { "type": "dns", "value": "xn--bcher-kva.demo.test" },
        { "type": "ip", "value": "127.0.0.1" },
        { "type": "ip", "value": "fd00::1" },
        { "type": "ip", "value": "fd00::1" },
        { "type": "permanent-identifier", "value": "SN-1" },
        { "type": "hardware-module", "value": "M-1/1.2.3" },
    ]);
    let created = ask(all, json!({ "notBefore": "2026-11-24T00:00:00Z", "notAfter": "2026-11-25T00:00:00Z" })).await;
    let order = created.is(201).json();
    let shown: Vec<_> = order["identifiers"].as_array().unwrap().iter().map(|i| i["value"].as_str().unwrap()).collect();
    let expected = ["*.demo.test", "b.demo.test", "xn--bcher-kva.demo.test", "127.0.0.1", "fd00::1", "SN-1", "M-1/1.2.3"];
    assert_eq!(shown, expected, "sorted, duplicates folded");
    assert_eq!(order["authorizations"].as_array().unwrap().len(), expected.len());
    assert_eq!((&order["notBefore"], &order["notAfter"]), (&json!("2026-11-24T00:00:00Z"), &json!("2026-11-25T00:00:00Z")));

    let one = |kind: &str, value: &str| json!([{ "type": kind, "value": value }]);
    for value in ["b\u{fc}cher.demo.test", "xn--a.demo.test", "a.demo.test.", "*.*.demo.test", "127.0.0.1", "a b.demo.test", ""] {
        ask(one("dns", value), json!({})).await.is_problem(403, "rejectedIdentifier");
    }
    // RFC 8738 §3: the canonical text of an address.
    for value in ["127.0.0.01", "fd00:0::1", "127.0.0.1/32", "FD00::1"] {
        ask(one("ip", value), json!({})).await.is_problem(403, "rejectedIdentifier");
    }
    ask(one("email", "a@demo.test"), json!({})).await.is_problem(400, "unsupportedIdentifier");
    for times in [
        json!({ "notAfter": "2026-11-23T23:59:59Z" }),
        json!({ "notBefore": "2026-11-26T00:00:00Z", "notAfter": "2026-11-25T00:00:00Z" }),
        json!({ "notAfter": "tomorrow" }),
        json!({ "notBefore": 1 }),
    ] {
        ask(one("dns", "a.demo.test"), times).await.is_problem(400, "malformed");
    }
    let many = |count: usize| json!((0..count).map(|i| json!({ "type": "dns", "value": format!("h{i}.demo.test") })).collect::<Vec<_>>());
    ask(many(100), json!({})).await.is(201);
    ask(many(101), json!({})).await.is_problem(400, "malformed");
}

#[tokio::test]
async fn a_long_queue_turns_orders_away() {
    let world = World::new();
    let account = world.account().await;
    world.state().backlog = Duration::from_secs(21);
    let refused = account.order(&["a.demo.test"]).await;
    assert!(!refused.is_problem(429, "rateLimited").header("retry-after").is_empty());
    // The queue is looked at once a second.
    world.state().backlog = Duration::from_secs(20);
    world.clock.advance(Duration::from_secs(1));
    account.order(&["a.demo.test"]).await.is(201);
}

#[tokio::test]
async fn what_belongs_to_another_is_refused() {
    let world = World::new();
    let (account, other) = (world.account().await, world.account().await);
    let created = account.order(&["a.demo.test"]).await;
    let order = created.json();
    other.post(created.header("location"), "").await.is_problem(403, "unauthorized");
    other.post(order["authorizations"][0].as_str().unwrap(), "").await.is_problem(403, "unauthorized");
    other.post(order["authorizations"][0].as_str().unwrap(), r#"{"status":"deactivated"}"#).await.is_problem(403, "unauthorized");
    other.finalize(&order, &csr(&["a.demo.test"], None)).await.is_problem(403, "unauthorized");
    other.post(&format!("{}/orders", account.kid), "").await.is_problem(403, "unauthorized");
    account.post("/acme/order/0123", "").await.is_problem(404, "malformed");
    account.post("/acme/authz/0123.0", "").await.is_problem(404, "malformed");
    assert_eq!(account.post(created.header("location"), "").await.json()["status"], "ready");
}

#[tokio::test]
async fn a06_the_list_of_orders_has_pages() {
    let world = World::new();
    let account = world.account().await;
    for name in ["a.demo.test", "b.demo.test", "c.demo.test"] {
        account.order(&[name]).await.is(201);
    }
    let first = account.post(&format!("{}/orders", account.kid), "").await;
    let next = first.headers.get_all("link").iter().find_map(|l| l.to_str().unwrap().strip_suffix(r#">;rel="next""#)).unwrap();
    let second = account.post(next.strip_prefix('<').unwrap(), "").await;
    let mut all: Vec<_> = [&first, &second].iter().flat_map(|a| a.is(200).json()["orders"].as_array().unwrap().clone()).collect();
    assert!(second.headers.get_all("link").iter().all(|l| !l.to_str().unwrap().contains("next")));
    all.sort_by_key(ToString::to_string);
    all.dedup();
    assert_eq!(all.len(), 3);
    account.post(&format!("{}/orders?page=2", account.kid), "").await.is_problem(400, "malformed");
    world.clock.advance(Duration::from_secs(86_400));
    let lapsed = account.post(&format!("{}/orders", account.kid), "").await.is(200).json();
    assert_eq!(lapsed["orders"], json!([]), "§7.1.2.1: none that is invalid");
}

#[tokio::test]
async fn csrs_that_are_refused_leave_the_order_ready() {
    let world = World::new();
    let pair = KeyPair::generate().unwrap();
    let account = world.register(Key::of(&pair)).await;
    let created = account.order(&["a.demo.test", "b.demo.test"]).await;
    let order = created.json();
    let both = ["a.demo.test", "b.demo.test"];
    let mut damaged = csr(&both, None);
    damaged.replace_range(200..201, if &damaged[200..201] == "A" { "B" } else { "A" });
    let refused = [
        csr(&["a.demo.test"], None),
        csr(&["a.demo.test", "b.demo.test", "c.demo.test"], None),
        csr(&both, Some("c.demo.test")),
        csr(&both, Some("Some Person")),
        csr(&[], Some("a.demo.test")),
        csr_by(&pair, &both, None),
        damaged,
        "AAAA".to_owned(),
        "not base64url!".to_owned(),
    ];
    for csr in &refused {
        account.finalize(&order, csr).await.is_problem(400, "badCSR");
    }
    account.post(order["finalize"].as_str().unwrap(), "{}").await.is_problem(400, "malformed");
    assert_eq!(account.post(created.header("location"), "").await.json()["status"], "ready");
    let valid = account.finalize(&order, &csr(&both, Some("b.demo.test"))).await;
    assert_eq!(valid.is(200).json()["status"], "valid");
    // A second finalize, and one that comes too late.
    account.finalize(&order, &csr(&both, None)).await.is_problem(403, "orderNotReady");
    // A CN may stand for a name that the SAN lacks.
    let both_again = account.order(&both).await.json();
    account.finalize(&both_again, &csr(&["a.demo.test"], Some("b.demo.test"))).await.is(200);
    let expired = account.order(&["a.demo.test"]).await;
    world.clock.advance(Duration::from_secs(86_400));
    account.finalize(&expired.json(), &csr(&["a.demo.test"], None)).await.is_problem(403, "orderNotReady");
    assert_eq!(account.post(expired.header("location"), "").await.json()["status"], "invalid");
}

#[tokio::test]
async fn a_worker_that_is_away_or_refuses() {
    let world = World::new();
    let account = world.account().await;
    let created = account.order(&["a.demo.test"]).await;
    world.state().worker = Worker::Away;
    let processing = account.finalize(&created.json(), &csr(&["a.demo.test"], None)).await;
    assert_eq!(processing.is(200).json()["status"], "processing");
    assert!(!processing.header("retry-after").is_empty());
    assert_eq!(processing.header("location"), created.header("location"));
    account.finalize(&created.json(), &csr(&["a.demo.test"], None)).await.is_problem(403, "orderNotReady");

    world.state().worker = Worker::Refuses(Problem::new(ProblemType::RejectedIdentifier, "not in the policy"));
    let created = account.order(&["b.demo.test"]).await;
    let invalid = account.finalize(&created.json(), &csr(&["b.demo.test"], None)).await.is(200).json();
    assert_eq!(invalid["status"], "invalid");
    assert_eq!(invalid["error"]["type"], "urn:ietf:params:acme:error:rejectedIdentifier");
}

#[tokio::test]
async fn a_deactivated_authorization_ends_its_order() {
    let world = World::new();
    let account = world.account().await;
    let created = account.order(&["a.demo.test"]).await;
    let url = created.json()["authorizations"][0].as_str().unwrap().to_owned();
    account.post(&url, r#"{"status":"valid"}"#).await.is_problem(400, "malformed");
    assert_eq!(account.post(&url, r#"{"status":"deactivated"}"#).await.is(200).json()["status"], "deactivated");
    account.post(&url, r#"{"status":"deactivated"}"#).await.is_problem(400, "malformed");
    account.finalize(&created.json(), &csr(&["a.demo.test"], None)).await.is_problem(403, "orderNotReady");
    assert!(url.starts_with(BASE));
}

#[tokio::test]
async fn lesson_26_weak_keys_are_refused_and_the_order_stays_ready() {
    let world = World::new();
    let account = world.account().await;
    let order = account.order(&["a.demo.test"]).await.is(201).json();
    let url = order["finalize"].as_str().unwrap().trim_end_matches("/finalize").to_owned();
    for key in WeakKey::all() {
        let answer = account.finalize(&order, &b64(key.csr(&["a.demo.test"]))).await;
        assert!(answer.is_problem(400, "badCSR").body.contains(key.refused), "{}: {}", key.refused, answer.body);
    }
    assert_eq!(account.post(&url, "").await.json()["status"], "ready");
}

#[tokio::test]
async fn a09_a_key_in_use_or_blocked_is_refused_and_the_order_stays_ready() {
    let world = World::new();
    let authority = KeyPair::generate().unwrap();
    let mut certificate = CertificateParams::new(Vec::new()).unwrap();
    certificate.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let mut record = world.state().authorities[1].clone();
    (record.name, record.certificate) = ("second".parse().unwrap(), certificate.self_signed(&authority).unwrap().der().to_vec());
    world.state().authorities.push(record);
    let account = world.account().await;
    let order = account.order(&["a.demo.test"]).await.is(201).json();
    let url = order["finalize"].as_str().unwrap().trim_end_matches("/finalize").to_owned();
    let refused = async |key: &KeyPair, part: &str| {
        let answer = account.finalize(&order, &csr_by(key, &["a.demo.test"], None)).await;
        assert!(answer.is_problem(400, "badCSR").body.contains(part), "{part}: {}", answer.body);
        assert_eq!(account.post(&url, "").await.json()["status"], "ready");
    };
    let other = KeyPair::generate().unwrap();
    world.register(Key::of(&other)).await;
    refused(&other, "that of an account already").await;

    refused(&authority, "that of authority `second` already").await;

    let blocked = KeyPair::generate().unwrap();
    let digest = ca_core::pki::sha256(&blocked.subject_public_key_info());
    let at = ca_core::pki::Timestamp::from_unix(0);
    world.state().blocked.insert(digest, KeyBlock::Statement { reason: "in a repository".to_owned(), at });
    refused(&blocked, "the key is blocked").await;
}
