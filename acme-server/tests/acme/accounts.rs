//! Accounts: creation with a binding, update, deactivation, rollover.

use std::sync::Arc;

use acme_server::AcmeServer;
use ca_core::evidence::jwk::Jwk;
use ca_core::model::{AccountStatus, GrantStatus, KeyBlock, Problem, ProblemType};
use ca_core::pki::Timestamp;
use ca_core::profile::BlockedKeys;
use ca_testkit::SeededRng;
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use crate::client::{Account, Key, b64, csr, csr_by};
use crate::fake_store::{Worker, spki_sha256};
use crate::world::{BASE, KID, World};

#[tokio::test]
async fn a06_an_account_is_made_once_for_a_key_and_only_existing_ones_are_returned() {
    let world = World::new();
    let account = world.account().await;
    assert!(account.kid.starts_with(&format!("{BASE}/acme/acct/")));
    // Again, with and without the binding: the same account.
    for payload in ["{}", r#"{"onlyReturnExisting":true}"#] {
        let again = world.post(&account.key, None, "/acme/new-account", payload).await;
        assert_eq!(again.is(200).header("location"), account.kid);
        assert_eq!(again.json()["contact"], json!(["mailto:ops@demo.test"]));
    }
    // §7.3.1: none is made where only an existing one is asked for.
    let unknown = world.post(&Key::new(), None, "/acme/new-account", r#"{"onlyReturnExisting":true}"#).await;
    unknown.is_problem(400, "accountDoesNotExist");
    let state = world.state();
    assert_eq!(state.accounts.len(), 1);
    assert_eq!(state.audit[0].action, "account.request");
}

#[tokio::test]
async fn a06_bindings_that_are_refused() {
    let world = World::new();
    let key = Key::new();
    let check = async |binding: Value, status: u16, kind: &str| {
        let payload = json!({ "externalAccountBinding": binding }).to_string();
        world.post(&key, None, "/acme/new-account", &payload).await.is_problem(status, kind);
    };
    check(Value::Null, 403, "externalAccountRequired").await;
    check(json!({}), 400, "malformed").await;
    check(key.binding("unknown"), 403, "unauthorized").await;
    check(key.binding("-not a kid"), 403, "unauthorized").await;
    check(Key::new().binding(KID), 400, "malformed").await;
    world.grant(|g| g.grant.enrol_by = Some(Timestamp::from_unix(5)));
    check(key.binding(KID), 403, "unauthorized").await;
    world.grant(|g| (g.grant.enrol_by, g.grant.max_accounts) = (None, Some(0)));
    check(key.binding(KID), 403, "unauthorized").await;
    world.grant(|g| (g.grant.max_accounts, g.status) = (None, GrantStatus::Revoked));
    check(key.binding(KID), 403, "unauthorized").await;
    assert!(world.state().accounts.is_empty());
    world.grant(|g| g.status = GrantStatus::Active);
    world.register(key).await;
}

#[tokio::test]
async fn a14_accounts_without_a_binding_stand_on_the_grant_that_the_officers_opened() {
    let world = World::with(|c| c.authorities[0].rules.open_enrolment = Some(KID.parse().unwrap()));
    assert_eq!(world.get("/acme/directory").await.is(200).json()["meta"]["externalAccountRequired"], false);
    let open = async || world.post(&Key::new(), None, "/acme/new-account", "{}").await;
    open().await.is(201);
    assert!(world.state().accounts.values().all(|a| a.grant.as_str() == KID));
    // A binding is judged where there is one, and an operator can still shut the door.
    let wrong = json!({ "externalAccountBinding": Key::new().binding("unknown") }).to_string();
    world.post(&Key::new(), None, "/acme/new-account", &wrong).await.is_problem(400, "malformed");
    world.grant(|g| g.status = GrantStatus::Suspended);
    open().await.is_problem(403, "unauthorized");
    assert_eq!(world.state().accounts.len(), 1);
}

#[tokio::test]
async fn the_worker_has_the_last_word() {
    let world = World::new();
    let key = Key::new();
    let payload = json!({ "externalAccountBinding": key.binding(KID) }).to_string();
    let register = async || world.post(&key, None, "/acme/new-account", &payload).await;

    world.state().worker = Worker::Away;
    let away = register().await;
    away.is_problem(503, "serverInternal");
    assert!(!away.header("retry-after").is_empty());
    // A pending account is not an account yet.
    let id = world.state().accounts.keys().next().unwrap().clone();
    world.post(&key, Some(&format!("{BASE}/acme/acct/{id}")), "/acme/new-order", "{}").await.is_problem(400, "accountDoesNotExist");

    world.state().worker = Worker::Refuses(Problem::new(ProblemType::Unauthorized, "the MAC does not verify"));
    register().await.is_problem(403, "unauthorized");
    assert!(world.state().accounts.is_empty());

    world.state().worker = Worker::Present;
    register().await.is(201);
}

#[tokio::test]
async fn a06_terms_must_be_agreed_to_where_there_are_any() {
    let world = World::with(|c| c.terms_of_service = Some("https://ca.test/terms".into()));
    let key = Key::new();
    let payload = json!({ "externalAccountBinding": key.binding(KID) }).to_string();
    let refused = world.post(&key, None, "/acme/new-account", &payload).await;
    refused.is_problem(403, "userActionRequired");
    assert!(refused.headers.get_all("link").iter().any(|l| l.to_str().unwrap().contains("terms-of-service")));
    assert_eq!(refused.json()["instance"], "https://ca.test/terms", "§7.3.3: where a person reads what to do");
    world.register(key).await;
}

#[tokio::test]
async fn a06_update_and_deactivation() {
    let world = World::new();
    let (account, other) = (world.account().await, world.account().await);
    let updated = account.post(&account.kid, r#"{"contact":["mailto:new@demo.test"]}"#).await;
    assert_eq!(updated.is(200).json()["contact"], json!(["mailto:new@demo.test"]));
    account.post(&account.kid, r#"{"contact":["tel:1"]}"#).await.is_problem(400, "unsupportedContact");
    account.post(&account.kid, r#"{"status":"revoked"}"#).await.is_problem(400, "malformed");
    account.post(&other.kid, "").await.is_problem(403, "unauthorized");
    account.post(&other.kid, r#"{"status":"deactivated"}"#).await.is_problem(403, "unauthorized");
    assert_eq!(account.post(&account.kid, "").await.is(200).json()["status"], "valid");

    assert_eq!(account.post(&account.kid, r#"{"status":"deactivated"}"#).await.is(200).json()["status"], "deactivated");
    account.post(&account.kid, "").await.is_problem(401, "unauthorized");
    account.order(&["a.demo.test"]).await.is_problem(401, "unauthorized");
    world.post(&account.key, None, "/acme/new-account", "{}").await.is_problem(401, "unauthorized");
    other.order(&["a.demo.test"]).await.is(201);
}

#[tokio::test]
async fn an_unknown_account_or_another_key_is_refused() {
    let world = World::new();
    let account = world.account().await;
    for kid in [format!("{BASE}/acme/acct/0123"), format!("{BASE}/acme/acct/../x"), "x".into(), account.kid.replace("https", "http")] {
        world.post(&account.key, Some(&kid), "/acme/new-order", "{}").await.is_problem(400, "accountDoesNotExist");
    }
    world.post(&Key::new(), Some(&account.kid), "/acme/new-order", "{}").await.is_problem(400, "malformed");
    world.post(&account.key, None, "/acme/new-order", "{}").await.is_problem(400, "malformed");
    world.state().accounts.values_mut().for_each(|a| a.status = AccountStatus::Revoked);
    account.order(&["a.demo.test"]).await.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn a06_key_rollover_and_its_conflict_with_the_other_account_s_location() {
    let world = World::new();
    let (mut account, other) = (world.account().await, world.account().await);
    let url = format!("{BASE}/acme/key-change");
    let new = Key::new();
    let inner = |key: &Key, url: &str, kid: &str, old: Value| {
        let header = json!({ "alg": "ES256", "url": url, "jwk": key.jwk() });
        key.sign(&header, &json!({ "account": kid, "oldKey": old }).to_string())
    };
    let refused = [
        inner(&new, &format!("{BASE}/acme/new-order"), &account.kid, account.key.jwk()),
        inner(&new, &url, &other.kid, account.key.jwk()),
        inner(&new, &url, &account.kid, other.key.jwk()),
        inner(&new, &url, &account.kid, Value::Null),
        new.sign(
            &json!({ "alg": "ES256", "url": url, "jwk": other.key.jwk() }),
            &json!({ "account": account.kid, "oldKey": account.key.jwk() }).to_string(),
        ),
        new.sign(&json!({ "alg": "ES256", "url": url, "kid": account.kid }), "{}"),
    ];
    for payload in &refused {
        assert!(account.post(&url, payload).await.status.is_client_error(), "{payload}");
    }
    let conflict = account.post(&url, &inner(&other.key, &url, &account.kid, account.key.jwk())).await;
    assert_eq!(conflict.is_problem(409, "malformed").header("location"), other.kid);

    account.post(&url, &inner(&new, &url, &account.kid, account.key.jwk())).await.is(200);
    account.order(&["a.demo.test"]).await.is_problem(400, "malformed");
    account.key = new;
    account.order(&["a.demo.test"]).await.is(201);
    assert!(world.state().evidence.iter().any(|e| e.contains("protected")));
}

/// RFC 8555 §7.3.5: who is late hears why, and nothing is lost.
#[tokio::test]
async fn a06_a_request_that_meets_a_key_change_is_told_so_and_the_order_stays_ready() {
    let world = World::new();
    let mut account = world.account().await;
    account.certificate(&["b.demo.test"]).await.is(200);
    let order = account.order(&["a.demo.test"]).await.json();
    let [first, second] = [Key::new(), Key::new()];
    let next = |key: &Key| {
        let jwk = Jwk::from_value(&key.jwk()).unwrap();
        world.state().next_key = Some((jwk.canonical(), jwk.thumbprint()));
    };
    next(&first);
    let late = account.finalize(&order, &csr(&["a.demo.test"], None)).await;
    assert!(late.is_problem(403, "unauthorized").json()["detail"].as_str().unwrap().contains("with the new key"), "{}", late.body);
    account.key = first;
    let url = format!("{BASE}/acme/revoke-cert");
    let der = b64(world.state().certificates.values().next().unwrap().der.clone());
    let revocation = json!({ "certificate": der, "reason": 4 }).to_string();
    next(&second);
    let late = account.post(&url, &revocation).await;
    assert!(late.is_problem(403, "unauthorized").json()["detail"].as_str().unwrap().contains("with the new key"), "{}", late.body);
    account.key = second;
    account.post(&url, &revocation).await.is(200);
    assert_eq!(account.finalize(&order, &csr(&["a.demo.test"], None)).await.json()["status"], "valid");
}

/// RFC 8555 §6.3: "The server MUST allow GET requests for the directory and newNonce resources […] in addition to POST-as-GET
/// requests for these resources."
#[tokio::test]
async fn a06_directories_and_new_nonce_answer_a_post_as_get_too() {
    let world = World::new();
    let account = world.account().await;
    for path in ["/acme/directory", "/a/demo/acme/p/short/directory"] {
        assert_eq!(account.post(path, "").await.is(200).json(), world.get(path).await.json());
        account.post(path, "{}").await.is_problem(400, "malformed");
        world.post(&account.key, None, path, "").await.is_problem(400, "malformed");
        world.post(&Key::new(), Some(&account.kid), path, "").await.is_problem(400, "malformed");
    }
    account.post("/a/demo/acme/p/none/directory", "").await.is_problem(404, "malformed");
    let fresh = account.post("/acme/new-nonce", "").await;
    fresh.is(204);
    account.post("/acme/new-nonce", "{}").await.is_problem(400, "malformed");
}

/// RFC 8555 §7.3.4.
#[tokio::test]
async fn a06_a_new_account_shows_the_binding_that_it_was_made_with() {
    let world = World::new();
    let key = Key::new();
    let binding = key.binding(KID);
    let payload = json!({ "externalAccountBinding": binding }).to_string();
    let created = world.post(&key, None, "/acme/new-account", &payload).await;
    assert_eq!(created.is(201).json()["externalAccountBinding"], binding);
    // An existing one is not bound by what comes with the question.
    let again = world.post(&key, None, "/acme/new-account", &json!({ "externalAccountBinding": key.binding("other") }).to_string()).await;
    assert_eq!(again.is(200).json().get("externalAccountBinding"), None);
}

/// Who else has the key would have the account.
#[tokio::test]
async fn a11_a_blocked_key_is_no_account_s() {
    let world = World::new();
    let mut account = world.account().await;
    let (lost, at) = (KeyPair::generate().unwrap(), Timestamp::from_unix(0));
    let compromised = KeyBlock::Statement { reason: "secret".into(), at };
    world.state().blocked.insert(spki_sha256(&lost.subject_public_key_info()), compromised);
    let lost = Key::of(&lost);
    let payload = json!({ "externalAccountBinding": lost.binding(KID) }).to_string();
    let refused = world.post(&lost, None, "/acme/new-account", &payload).await;
    assert!(refused.is_problem(400, "badPublicKey").body.contains("blocked"), "{}", refused.body);
    assert!(!refused.body.contains("secret"), "the operators' reason is theirs");

    let url = format!("{BASE}/acme/key-change");
    let change = |new: &Key| {
        let payload = json!({ "account": account.kid, "oldKey": account.key.jwk() }).to_string();
        new.sign(&json!({ "alg": "ES256", "url": url, "jwk": new.jwk() }), &payload)
    };
    account.post(&url, &change(&lost)).await.is_problem(400, "badPublicKey");
    let new = Key::new();
    account.post(&url, &change(&new)).await.is(200);
    account.key = new;
    account.order(&["a.demo.test"]).await.is(201);
    assert_eq!(world.state().accounts.len(), 1);
}

/// The same of keys whose private half is published, which a site's lists have.
#[tokio::test]
async fn a06_a_published_key_is_no_account_s() {
    let first = World::new();
    let (listed, mut lists) = (KeyPair::generate().unwrap(), BlockedKeys::default());
    lists.add_text(&spki_sha256(&listed.subject_public_key_info()).to_string()).unwrap();
    let server = |lists| {
        let server = AcmeServer::new(first.config.clone(), first.store.clone(), first.clock.clone(), Arc::new(SeededRng::new(3)));
        first.beside(server.unwrap().refusing(Arc::new(lists)))
    };
    let world = server(lists.clone());
    let account = world.account().await;
    let key = Key::of(&listed);
    let payload = json!({ "externalAccountBinding": key.binding(KID) }).to_string();
    let refused = world.post(&key, None, "/acme/new-account", &payload).await;
    assert!(refused.is_problem(400, "badPublicKey").body.contains("private half is known"), "{}", refused.body);
    assert_eq!(world.state().accounts.len(), 1);

    let url = format!("{BASE}/acme/key-change");
    let inner = json!({ "account": account.kid, "oldKey": account.key.jwk() }).to_string();
    let change = key.sign(&json!({ "alg": "ES256", "url": url, "jwk": key.jwk() }), &inner);
    let refused = account.post(&url, &change).await;
    assert!(refused.is_problem(400, "badPublicKey").body.contains("private half is known"), "{}", refused.body);

    // An account that was made before its key was listed keeps its order, and is told the way out.
    let own = Key::new();
    let digest = ca_core::evidence::jwk::Jwk::from_value(&own.jwk()).unwrap().public_key().unwrap().spki_sha256();
    let account = world.register(own).await;
    let order = account.order(&["a.demo.test"]).await.is(201).json();
    lists.add_text(&digest.to_string()).unwrap();
    let later = server(lists);
    let account = Account { world: &later, ..account };
    let answer = account.finalize(&order, &csr_by(&KeyPair::generate().unwrap(), &["a.demo.test"], None)).await;
    assert!(answer.is_problem(400, "badPublicKey").body.contains("give the account another key"), "{}", answer.body);
    let url = order["finalize"].as_str().unwrap().trim_end_matches("/finalize").to_owned();
    assert_eq!(account.post(&url, "").await.json()["status"], "ready");
    let (url, new) = (format!("{BASE}/acme/key-change"), Key::new());
    let inner = json!({ "account": account.kid, "oldKey": account.key.jwk() }).to_string();
    account.post(&url, &new.sign(&json!({ "alg": "ES256", "url": url, "jwk": new.jwk() }), &inner)).await.is(200);
}

/// Nor is one certified; the order stays ready for another CSR.
#[tokio::test]
async fn a09_a_published_key_is_no_certificate_s() {
    let first = World::new();
    let (listed, mut lists) = (KeyPair::generate().unwrap(), BlockedKeys::default());
    lists.add_text(&spki_sha256(&listed.subject_public_key_info()).to_string()).unwrap();
    let server = AcmeServer::new(first.config.clone(), first.store.clone(), first.clock.clone(), Arc::new(SeededRng::new(3)));
    let world = first.beside(server.unwrap().refusing(Arc::new(lists)));
    let account = world.account().await;
    let order = account.order(&["a.demo.test"]).await.is(201).json();
    let answer = account.finalize(&order, &csr_by(&listed, &["a.demo.test"], None)).await;
    let detail = answer.is_problem(400, "badCSR").json()["detail"].to_string();
    assert!(detail.contains("the CSR's key") && detail.contains("private half is known"), "{detail}");
    let answer = account.finalize(&order, &csr_by(&KeyPair::generate().unwrap(), &["a.demo.test"], None)).await;
    assert_ne!(answer.is(200).json()["status"], "invalid");
}

/// It is evidence for as long as the account is there, and goes to the worker with each of its requests.
#[tokio::test]
async fn a06_a_key_change_is_no_longer_than_it_has_to_be() {
    let world = World::new();
    let account = world.account().await;
    let (url, new) = (format!("{BASE}/acme/key-change"), Key::new());
    let change = |more: usize| {
        let inner = json!({ "account": account.kid, "oldKey": account.key.jwk(), "x": "x".repeat(more) }).to_string();
        new.sign(&json!({ "alg": "ES256", "url": url, "jwk": new.jwk() }), &inner)
    };
    let refused = account.post(&url, &change(20 << 10)).await;
    assert!(refused.is_problem(413, "malformed").body.contains("at most 16 KiB"), "{}", refused.body);
    assert_eq!(account.post(&account.kid, "").await.is(200).json()["status"], "valid", "with the key as it was");
    // Two keys of RSA-4096 have 3 KiB more than these.
    account.post(&url, &change(6 << 10)).await.is(200);
}
