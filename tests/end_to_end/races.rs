//! The same thing many times at one moment, on the real store: exactly one wins, the others hear the right thing, and
//! nothing is issued twice.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ca_testkit::acme::{ClientKey, order_payload};
use serde_json::{Value, json};

use crate::harness::{Demo, block_on};
use crate::wire::{Account, Reply, Wire};

const MANY: usize = 16;

/// Asserts that one reply has the status `won` and that all others are `lost`.
#[track_caller]
fn one_wins(replies: &[Reply], won: u16, lost: impl Fn(&Reply) -> bool) {
    let told: Vec<_> = replies.iter().map(|reply| (reply.status, &reply.text)).collect();
    assert_eq!(replies.iter().filter(|reply| reply.status == won).count(), 1, "{told:?}");
    assert!(replies.iter().all(|reply| reply.status == won || lost(reply)), "{told:?}");
}

#[test]
fn a09_of_sixteen_finalizations_at_once_one_wins_and_one_certificate_is_issued() {
    let demo = Demo::start();
    block_on(async {
        let wire = Wire::to(&demo);
        let account = wire.account(&demo).await;
        for round in 0..3 {
            let order = wire.order(&account, demo.fact("DEMO_NAME")).await;
            let url = order["finalize"].as_str().expect("a URL").to_owned();
            let mut requests = Vec::new();
            for _ in 0..MANY {
                let csr = URL_SAFE_NO_PAD.encode(ClientKey::default().csr(&[demo.fact("DEMO_NAME")], None));
                requests.push((url.clone(), wire.signed(&account, &url, &json!({ "csr": csr })).await));
            }
            let replies = wire.at_once(requests).await;
            one_wins(&replies, 200, |reply| reply.status == 403 && reply.problem() == "orderNotReady");
            let id = url.trim_end_matches("/finalize");
            let finalized = replies.iter().find(|reply| reply.status == 200).expect("one won").json();
            let valid = wire.decided(&account, id, finalized).await;
            assert_eq!(valid["status"], "valid", "{valid}");
            let id = id.rsplit('/').next().expect("an id");
            let issued: Vec<_> = demo.certificates().into_iter().filter(|c| c["order"] == id).collect();
            assert_eq!(issued.len(), 1, "round {round}: {issued:?}");
        }
    });
}

#[test]
fn a06_of_new_accounts_at_once_with_one_key_there_is_one() {
    let demo = Demo::start();
    block_on(async {
        let wire = Wire::to(&demo);
        let key = ClientKey::default();
        let mut requests = Vec::new();
        for _ in 0..MANY {
            requests.push(("/acme/new-account".to_owned(), wire.new_account(&demo, &key).await));
        }
        let replies = wire.at_once(requests).await;
        // RFC 8555 §7.3: who has an account already is told so with 200 (OK).
        one_wins(&replies, 201, |reply| reply.status == 200);
        let locations: BTreeSet<_> = replies.iter().map(|reply| reply.header("location").expect("a location")).collect();
        assert_eq!(locations.len(), 1);
        assert_eq!(demo.ca_json(&["account", "list"]).as_array().map(Vec::len), Some(1));
        let grants = demo.ca_json(&["grant", "list"]);
        assert_eq!(grants[0]["accounts"], 1, "the grant has bound one account: {grants}");
    });
}

async fn key_change(wire: &Wire, account: &Account, new: &ClientKey) -> (String, String) {
    let url = format!("{}/acme/key-change", wire.base);
    let inner = new.jws(json!({ "jwk": new.jwk(), "url": url }), &json!({ "account": account.kid, "oldKey": account.key.jwk() }));
    let inner: Value = serde_json::from_str(&inner).expect("a JWS is JSON");
    let body = wire.signed(account, &url, &inner).await;
    (url, body)
}

#[test]
fn a06_of_key_changes_at_once_one_wins() {
    let demo = Demo::start();
    block_on(async {
        let wire = Wire::to(&demo);
        // One account, many new keys.
        let account = wire.account(&demo).await;
        let keys: Vec<ClientKey> = (0..MANY).map(|_| ClientKey::default()).collect();
        let mut requests = Vec::new();
        for new in &keys {
            requests.push(key_change(&wire, &account, new).await);
        }
        let replies = wire.at_once(requests).await;
        // Who comes after the change is signed by a key that is the account's no longer.
        one_wins(&replies, 200, |reply| matches!(reply.status, 409 | 400) && reply.problem() == "malformed");
        let mut accepted = 0;
        for key in keys.into_iter().chain([account.key]) {
            let reply = wire.post(&Account { key, kid: account.kid.clone() }, &account.kid, &Value::Null).await;
            accepted += usize::from(reply.status == 200);
        }
        assert_eq!(accepted, 1, "one key is the account's");

        // Many accounts, one new key.
        let new = ClientKey::default();
        let (mut accounts, mut requests) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            let account = wire.account(&demo).await;
            requests.push(key_change(&wire, &account, &new).await);
            accounts.push(account);
        }
        let replies = wire.at_once(requests).await;
        // RFC 8555 §7.3.5: 409 (Conflict).
        one_wins(&replies, 200, |reply| reply.status == 409);
        let mut kept = 0;
        for account in &accounts {
            kept += usize::from(wire.post(account, &account.kid, &Value::Null).await.status == 200);
        }
        assert_eq!(kept, 7, "the others keep their keys");
    });
}

#[test]
fn a03_of_requests_at_once_with_one_nonce_one_is_taken() {
    let demo = Demo::start();
    block_on(async {
        let wire = Wire::to(&demo);
        let account = wire.account(&demo).await;
        let url = format!("{}/acme/new-order", wire.base);
        let header = json!({ "kid": account.kid, "nonce": wire.nonce().await, "url": url });
        // One request again and again, and others with the same nonce.
        let same = account.key.jws(header.clone(), &order_payload(&[demo.fact("DEMO_NAME")]));
        let mut requests = vec![(url.clone(), same); MANY / 2];
        for _ in 0..MANY / 2 {
            requests.push((url.clone(), account.key.jws(header.clone(), &order_payload(&[demo.fact("DEMO_NAME")]))));
        }
        let replies = wire.at_once(requests).await;
        one_wins(&replies, 201, |reply| reply.status == 400 && reply.problem() == "badNonce");
        // Each refusal brings a nonce that is good.
        let fresh = replies.iter().find(|reply| reply.status == 400).and_then(|reply| reply.header("replay-nonce")).expect("a nonce");
        let header = json!({ "kid": account.kid, "nonce": fresh, "url": url });
        let body = account.key.jws(header, &order_payload(&[demo.fact("DEMO_NAME")]));
        assert_eq!(wire.try_ask("POST", &url, "", &body).await.expect("an answer").status, 201);
        let listed = wire.post(&account, &format!("{}/orders", account.kid), &Value::Null).await.json();
        assert_eq!(listed["orders"].as_array().map(Vec::len), Some(2), "{listed}");
    });
}
