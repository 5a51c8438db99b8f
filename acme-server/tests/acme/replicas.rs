//! Two servers over one store, each with nonces of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use acme_server::{AcmeServer, Replicas};
use ca_keystore::Unsealer;
use ca_testkit::SeededRng;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use zeroize::Zeroizing;

use crate::client::Key;
use crate::socket::PATIENCE;
use crate::world::World;

const NEW_ACCOUNT: &str = "/acme/new-account";

async fn bound() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The second server over the first one's store; each knows the other, with these keys.
pub(crate) async fn beside(first: World, keys: [u8; 2]) -> (World, World, JoinHandle<()>) {
    let ((one, one_at), (two, two_at)) = (bound().await, bound().await);
    let key = |octet| Unsealer::FileKey(Zeroizing::new([octet; 32]));
    let with = |world: &World, seed: u64, number: u16, key: Unsealer, peer: (u16, SocketAddr)| {
        let config = world.config.clone();
        let server = AcmeServer::new(config, world.store.clone(), world.clock.clone(), Arc::new(SeededRng::new(seed))).unwrap();
        world.beside(server.with_replicas(number, Replicas::new(&key, [peer]).unwrap().with_patience(PATIENCE)))
    };
    let second = with(&first, 22, 2, key(keys[1]), (1, one_at));
    let first = with(&first, 21, 1, key(keys[0]), (2, two_at));
    tokio::spawn(Arc::clone(&second.server).serve_replicas(two, std::future::pending()));
    let answering = tokio::spawn(Arc::clone(&first.server).serve_replicas(one, std::future::pending()));
    (first, second, answering)
}

/// A request with a nonce of one's choice; gives the status and the problem's type.
async fn with_nonce(world: &World, key: &Key, nonce: &str) -> (u16, String) {
    let url = format!("{}{NEW_ACCOUNT}", crate::world::BASE);
    let header = serde_json::json!({ "alg": "ES256", "nonce": nonce, "url": url, "jwk": key.jwk() });
    let answer = world.post_raw(NEW_ACCOUNT, key.sign(&header, r#"{"onlyReturnExisting":true}"#)).await;
    assert!(!answer.header("replay-nonce").is_empty(), "a fresh one comes with every answer");
    (answer.status.as_u16(), answer.json()["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default().to_owned())
}

async fn nonce_of(world: &World) -> String {
    world.get("/acme/new-nonce").await.is(204).header("replay-nonce").to_owned()
}

fn accepted() -> (u16, String) {
    (400, "accountDoesNotExist".to_owned())
}

fn refused() -> (u16, String) {
    (400, "badNonce".to_owned())
}

#[tokio::test]
async fn a03_a_nonce_of_one_replica_is_accepted_once_by_any() {
    let (one, two, _answering) = beside(World::new(), [7, 7]).await;
    let key = Key::new();
    let nonce = nonce_of(&one).await;
    assert_eq!(with_nonce(&two, &key, &nonce).await, accepted());
    for world in [&one, &two] {
        assert_eq!(with_nonce(world, &key, &nonce).await, refused());
    }
    let nonce = nonce_of(&two).await;
    assert_eq!(with_nonce(&two, &key, &nonce).await, accepted());
    assert_eq!(with_nonce(&one, &key, &nonce).await, refused());
}

#[tokio::test]
async fn a03_of_concurrent_requests_with_one_nonce_at_several_replicas_one_is_accepted() {
    let (one, two, _answering) = beside(World::new(), [7, 7]).await;
    let key = Key::new();
    for _ in 0..20 {
        let nonce = nonce_of(&one).await;
        let ask = |world| with_nonce(world, &key, &nonce);
        let told = tokio::join!(ask(&two), ask(&one), ask(&two), ask(&two), ask(&one), ask(&two));
        let told = [told.0, told.1, told.2, told.3, told.4, told.5];
        assert_eq!(told.iter().filter(|t| **t == accepted()).count(), 1, "{told:?}");
        assert_eq!(told.iter().filter(|t| **t == refused()).count(), 5, "{told:?}");
    }
}

#[tokio::test]
async fn a03_an_issuer_that_is_gone_or_has_another_key_gives_bad_nonce() {
    let (one, two, answering) = beside(World::new(), [7, 7]).await;
    let key = Key::new();
    let (nonce, later) = (nonce_of(&one).await, nonce_of(&one).await);
    assert_eq!(with_nonce(&two, &key, &nonce).await, accepted());
    answering.abort();
    assert!(answering.await.unwrap_err().is_cancelled());
    assert_eq!(with_nonce(&two, &key, &later).await, refused());
    // Its own go on.
    assert_eq!(with_nonce(&two, &key, &nonce_of(&two).await).await, accepted());
    // Whoever has not the shared key can neither use nonces up nor say that one is good.
    let (one, two, _answering) = beside(World::new(), [7, 8]).await;
    let nonce = nonce_of(&one).await;
    assert_eq!(with_nonce(&two, &key, &nonce).await, refused());
    assert_eq!(with_nonce(&one, &key, &nonce).await, accepted());
}

/// The first of two servers; the second is at `address`, whatever answers there.
fn before(address: SocketAddr, patience: Duration) -> Arc<World> {
    let world = World::new();
    let server = AcmeServer::new(world.config.clone(), world.store.clone(), world.clock.clone(), Arc::new(SeededRng::new(21))).unwrap();
    let key = Unsealer::FileKey(Zeroizing::new([7; 32]));
    let replicas = Replicas::new(&key, [(2, address)]).unwrap().with_patience(patience);
    Arc::new(world.beside(server.with_replicas(1, replicas)))
}

/// A nonce of the second replica that nobody issued: who asks needs no account for that.
fn invented() -> String {
    crate::client::b64([&[0, 2][..], &[9; 22]].concat())
}

/// One that takes connections and says nothing, as a hung process does.
#[tokio::test]
async fn a03_a_replica_that_hangs_holds_few_connections() {
    let (listener, address) = bound().await;
    let (world, key) = (before(address, PATIENCE), Arc::new(Key::new()));
    let mut asking = JoinSet::new();
    for _ in 0..200 {
        let (world, key) = (Arc::clone(&world), Arc::clone(&key));
        asking.spawn(async move { with_nonce(&world, &key, &invented()).await });
    }
    let mut held = Vec::new();
    for _ in 0..128 {
        held.push(listener.accept().await.unwrap().0);
    }
    // Nothing comes to its end meanwhile, so that nobody's turn comes.
    let one_more = tokio::time::timeout(Duration::from_millis(300), listener.accept()).await;
    assert!(one_more.is_err(), "the others wait for their turn");
    drop((held, listener));
    while let Some(told) = asking.join_next().await {
        assert_eq!(told.unwrap(), refused());
    }
}

#[tokio::test]
async fn a03_a_replica_that_hangs_is_not_waited_for() {
    let (_listener, address) = bound().await;
    let world = before(address, Duration::from_millis(50));
    let told = tokio::time::timeout(PATIENCE, with_nonce(&world, &Key::new(), &invented())).await;
    assert_eq!(told.unwrap(), refused());
}
