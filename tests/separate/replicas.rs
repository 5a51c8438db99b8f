//! Two ACME servers as replicas of each other, each a program of a user of its own, over one worker.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ca_testkit::acme::{ClientKey, revocation};
use instant_acme::{Account, Identifier, NewOrder};
use serde_json::{Value, json};

use crate::harness::{block_on, wait_for};
use crate::site::{Site, User};
use crate::wire::{self, Reply, Wire};

/// Reads the account with a nonce of one's choice.
async fn read_account(wire: &Wire, account: &wire::Account, nonce: &str) -> Reply {
    let header = json!({ "kid": account.kid, "nonce": nonce, "url": account.kid });
    let reply = wire.try_ask("POST", &account.kid, "", &account.key.jws_of_text(header, "")).await.expect("an answer");
    assert!(reply.header("replay-nonce").is_some_and(|fresh| fresh != nonce), "a fresh one comes with every answer");
    reply
}

async fn is_accepted(wire: &Wire, account: &wire::Account, nonce: &str) -> bool {
    let reply = read_account(wire, account, nonce).await;
    if reply.status == 200 {
        return true;
    }
    assert_eq!((reply.status, reply.problem().as_str()), (400, "badNonce"), "{}", reply.text);
    false
}

/// Tries until it works. It may fail only while one replica gives the other up as too late, which on a busy machine it may.
async fn unless_late(site: &Site, attempt: impl AsyncFn() -> bool) {
    let late = || [User::Acme, User::Replica].map(|user| site.log(user).matches("another replica took too long").count());
    for _ in 0..20 {
        let before = late();
        if attempt().await {
            return;
        }
        assert_ne!(late(), before, "it failed, and no replica was late");
    }
    panic!("the replicas are always late");
}

/// A nonce of the one is accepted by the other.
async fn gets_through(site: &Site, account: &wire::Account, issuer: &Wire, other: &Wire) {
    unless_late(site, async || is_accepted(other, account, &issuer.nonce().await).await).await;
}

async fn finalize(wire: &Wire, account: &wire::Account, order: &Value, name: &str) -> Value {
    wire.finalize(account, order, name, &ClientKey::default()).await
}

#[test]
fn a03_a_nonce_of_one_replica_program_is_accepted_once_by_either() {
    let site = Site::start_replicated();
    let (one, two) = (site.wire(User::Acme), site.wire(User::Replica));
    block_on(async {
        let account = one.account(&site).await;
        for (issuer, other) in [(&one, &two), (&two, &one), (&one, &one), (&two, &two)] {
            unless_late(&site, async || {
                let nonce = issuer.nonce().await;
                let accepted = is_accepted(other, &account, &nonce).await;
                for wire in [&one, &two] {
                    assert!(!accepted || !is_accepted(wire, &account, &nonce).await, "it is used");
                }
                accepted
            })
            .await;
        }
        // At one moment, at both.
        for issuer in [&one, &two, &one, &two] {
            unless_late(&site, async || {
                let nonce = issuer.nonce().await;
                let ask = |wire| is_accepted(wire, &account, &nonce);
                let told = tokio::join!(ask(&two), ask(&one), ask(&two), ask(&one), ask(&two), ask(&one));
                let told = [told.0, told.1, told.2, told.3, told.4, told.5];
                let accepted = told.iter().filter(|accepted| **accepted).count();
                assert!(accepted <= 1, "{told:?}");
                accepted == 1
            })
            .await;
        }
    });
    site.stop();
}

#[test]
fn a03_an_order_begun_at_one_replica_is_finalized_at_the_other() {
    let site = Site::start_replicated();
    let (one, two) = (site.wire(User::Acme), site.wire(User::Replica));
    let name = site.fact("DEMO_NAME").to_owned();
    // Step by step: each at the other than the last.
    block_on(async {
        let account = one.account(&site).await;
        let order = two.order(&account, &name).await;
        let id = finalize(&one, &account, &order, &name).await;
        assert_eq!(id["status"], "valid", "{id}");
        let chain = two.post(&account, id["certificate"].as_str().expect("a URL"), &Value::Null).await;
        assert!(chain.status == 200 && chain.text.starts_with("-----BEGIN CERTIFICATE-----"), "{}", chain.text);
    });
    // A stock client behind a real proxy, which gives each connection to the next.
    let _proxy = site.balancer();
    // Who did, not who refused the nonce before.
    let who_did = |route: &str, order: &str| {
        let of_it = |line: &str| line.contains(route) && line.contains(order) && line.contains(" status=20");
        let did = |user: &User| site.log(*user).lines().any(of_it);
        let users: Vec<User> = [User::Acme, User::Replica].into_iter().filter(did).collect();
        assert_eq!(users.len(), 1, "{route} of {order}: {users:?}");
        users[0]
    };
    let account = block_on(site.account_by(Account::builder_with_http(Box::new(Wire::to(&site))))).expect("an account");
    let each_way = BTreeSet::from([(User::Acme, User::Replica), (User::Replica, User::Acme)]);
    let (mut crossed, mut round) = (BTreeSet::new(), 0);
    wait_for("orders that crossed, each way", || {
        block_on(async {
            let mut order = account.new_order(&NewOrder::new(&[Identifier::Dns(name.clone())])).await.expect("an order");
            let id = order.url().rsplit('/').next().expect("an id").to_owned();
            // Which request comes to whom is the proxy's choice. Of each two in turn another one is next only where their
            // number changes: before the finalization, and in all.
            for _ in 0..round % 4 {
                order.refresh().await.expect("it is there");
            }
            order.finalize().await.expect("it is taken");
            order.poll_certificate(&crate::harness::patience()).await.expect("a certificate");
            let (begun, finalized) = (who_did("/acme/new-order", &id), who_did("/acme/order/{id}/finalize", &id));
            if begun != finalized {
                crossed.insert((begun, finalized));
            }
        });
        round += 1;
        println!("after {round} orders: {crossed:?}");
        crossed == each_way
    });
    site.stop();
}

#[test]
fn a03_where_a_replica_was_killed_its_nonces_are_refused_and_the_other_goes_on() {
    let mut site = Site::start_replicated();
    let proxy = site.balancer();
    let (one, two) = (site.wire(User::Acme), site.wire(User::Replica));
    let name = site.fact("DEMO_NAME").to_owned();
    let (account, order, nonces, stock) = block_on(async {
        let account = one.account(&site).await;
        let order = one.order(&account, &name).await;
        // The way between the two is open by then.
        gets_through(&site, &account, &one, &two).await;
        let stock = site.account_by(Account::builder_with_http(Box::new(Wire::to(&site)))).await.expect("an account");
        (account, order, [one.nonce().await, one.nonce().await], stock)
    });
    site.kill(User::Acme);
    block_on(async {
        let refused = read_account(&two, &account, &nonces[0]).await;
        assert_eq!((refused.status, refused.problem().as_str()), (400, "badNonce"), "{}", refused.text);
        let fresh = refused.header("replay-nonce").expect("a fresh nonce");
        assert!(is_accepted(&two, &account, fresh).await, "the retry of RFC 8555 §6.5 succeeds");
        // What the dead one began, the other ends.
        assert_eq!(finalize(&two, &account, &order, &name).await["status"], "valid");
        for _ in 0..3 {
            site.issue(&stock).await.expect("the proxy's clients are served");
        }
    });
    let told = site.log(User::Replica);
    let told = told.lines().any(|line| line.contains("another replica ") && line.contains("its nonce is refused"));
    assert!(told, "operators are told");

    // Once it is back, each takes the other's again, and still none of those from before its death.
    site.launch(User::Acme);
    site.wait_until_ready();
    block_on(async {
        assert!(!is_accepted(&one, &account, &nonces[1]).await && !is_accepted(&two, &account, &nonces[1]).await);
        for (issuer, other) in [(&one, &two), (&two, &one)] {
            gets_through(&site, &account, issuer, other).await;
        }
    });
    // An order may be an even number of requests, so which of them comes to whom never changes: any of them counts.
    let before = site.log(User::Acme).len();
    wait_for("the proxy to hand clients to both again", || {
        block_on(site.issue(&stock)).expect("an order");
        site.log(User::Acme)[before..].contains(r#" route="/acme/"#)
    });
    drop(proxy);
    site.stop();
}

/// The worker's machine sees a user of the role at its socket. The way between the two is docs/platform-engineer.md's, to the
/// letter but for users, addresses and paths.
#[test]
fn a03_a_replica_on_another_machine_reaches_the_store_through_tls() {
    let (site, port, [worker_end, replica_end]) = Site::start_replicated_apart();
    let (one, two) = (site.wire(User::Acme), site.wire(User::Replica));
    let name = site.fact("DEMO_NAME").to_owned();
    let (account, order) = block_on(async {
        let account = two.account(&site).await;
        for (issuer, other) in [(&one, &two), (&two, &one)] {
            gets_through(&site, &account, issuer, other).await;
        }
        let order = two.order(&account, &name).await;
        assert_eq!(finalize(&one, &account, &order, &name).await["status"], "valid");
        let order = one.order(&account, &name).await;
        (account, order)
    });
    let seen = format!("uid={}", User::Gateway.uid());
    assert!(site.log(User::Worker).lines().any(|line| line.contains("is connected to the store") && line.contains(&seen)));

    // Without the way only the one behind it says "come back", and it finds the store again by itself.
    drop(worker_end);
    // Nobody may see this order, which only the store can tell.
    let asked = |wire: &Wire| block_on(wire.try_ask("GET", "/acme/star/0", "", "")).expect("an answer").status;
    wait_for("the replica to say that the store is away", || asked(&two) == 503);
    assert_eq!(asked(&one), 405);
    let _worker_end = site.store_to_tcp(port);
    wait_for("the replica to find the store again", || asked(&two) == 405);
    block_on(async { assert_eq!(finalize(&two, &account, &order, &name).await["status"], "valid") });
    drop(replica_end);
    site.stop();
}

/// Whichever of them a client goes to: what it spent at the one is spent at the other.
#[test]
fn a23_replica_programs_count_together() {
    let site = Site::start_replicated();
    let (one, two) = (site.wire(User::Acme), site.wire(User::Replica));
    let name = site.fact("DEMO_NAME").to_owned();
    block_on(async {
        let account = one.account(&site).await;
        let mut revocations = Vec::new();
        for _ in 0..2 {
            let order = one.order(&account, &name).await;
            let valid = finalize(&one, &account, &order, &name).await;
            let chain = one.post(&account, valid["certificate"].as_str().expect("a URL"), &Value::Null).await;
            let pem: String = chain.text.lines().skip(1).take_while(|line| !line.starts_with("-----END")).collect();
            revocations.push(revocation(&STANDARD.decode(pem).expect("base64"), 4));
        }
        let revoked = one.post(&account, "/acme/revoke-cert", &revocations[0]).await;
        assert_eq!(revoked.status, 200, "{}", revoked.text);
        for wire in [&two, &one] {
            let limited = wire.post(&account, "/acme/revoke-cert", &revocations[1]).await;
            assert_eq!((limited.status, limited.problem().as_str()), (429, "rateLimited"), "{}", limited.text);
        }
    });
    site.stop();
}
