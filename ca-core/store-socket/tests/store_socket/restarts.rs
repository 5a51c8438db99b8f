//! Connections that break, owners that come back, and much at a time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ca_core::model::{
    Authorization, AuthorizationId, AuthorizationStatus, Challenge, ChallengeMethod, CrlRecord, CrlScope, Fault, RequestState, TakeUp,
};
use ca_core::ports::{AcmeStore as _, CertificateStore as _, RequestBacklog as _, StatusStore as _, StoreError, ValidationStore as _};
use ca_store_socket::{Role, SocketStore};
use ca_store_sqlite::SqliteStore;
use ca_testkit::SeededRng;
use ca_testkit::store::{StoreFactory, World, at, audit};
use tempfile::TempDir;
use tokio::net::UnixListener;

use crate::owner::{Owner, alone};
use crate::raw::Raw;

struct Site {
    folder: TempDir,
}

#[async_trait::async_trait]
impl StoreFactory for Site {
    async fn open(&self) -> Arc<dyn ca_core::ports::WorkerStore> {
        self.sqlite().await
    }
    async fn reopen(&self, store: Arc<dyn ca_core::ports::WorkerStore>) -> Arc<dyn ca_core::ports::WorkerStore> {
        drop(store);
        self.sqlite().await
    }
}

impl Site {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }
    async fn sqlite(&self) -> Arc<SqliteStore> {
        Arc::new(SqliteStore::open(self.folder.path().join("store.db"), Arc::new(SeededRng::new(1))).await.unwrap())
    }
    fn socket(&self) -> PathBuf {
        self.folder.path().join("s.sock")
    }
    fn owner(&self, world: &World, role: Role) -> Owner {
        Owner::start(self.socket(), world.store.clone(), alone(self.folder.path(), role))
    }
}

#[tokio::test]
async fn a_client_outlives_the_owner() {
    let site = Site::new();
    let world = World::new(&site).await;
    // Before the owner is there: the command waits for it.
    let client = SocketStore::connect(site.socket(), Role::Acme);
    let (early, owner) = tokio::join!(client.authorities(), async { site.owner(&world, Role::Acme) });
    assert_eq!(early.unwrap(), World::authorities());

    // It restarts over the same data; who waits for a request goes on waiting and hears of its end.
    let account = world.account("one").await.account.id;
    let (order, request) = world.leased_order(&account).await;
    let waiting = tokio::spawn({
        let (client, id) = (client.clone(), request.id.clone());
        async move { client.await_request(&id, Duration::from_secs(30)).await }
    });
    // A later answer on the same connection shows that the wait is under way.
    client.order(&order).await.unwrap();
    owner.stop().await;
    let world = world.reopen(&site).await;
    let owner = site.owner(&world, Role::Acme);
    assert_eq!(client.order(&order).await.unwrap().map(|o| o.id), Some(order.clone()), "reading goes on");
    let again = world.lease_one(&request.id, 70, 130).await;
    let problem = ca_core::model::Problem::new(ca_core::model::ProblemType::BadCsr, "no");
    world.store.refuse_request(&again.id, &again.lease, Fault::of(problem.kind), &problem, &audit("order.refuse")).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), RequestState::Refused { problem });

    // It stays away: callers hear so, with the cause and the remedy.
    owner.stop().await;
    std::fs::remove_file(site.socket()).unwrap();
    let error = client.order(&order).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("hint: is the worker running")), "{error}");
    let owner = site.owner(&world, Role::Acme);
    let mut back = client.order(&order).await;
    for _ in 0..300 {
        if back.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        back = client.order(&order).await;
    }
    back.expect("the client finds the owner again");
    owner.stop().await;
}

/// An owner that takes commands and dies before it answers.
#[tokio::test]
async fn a_change_that_got_no_answer_is_not_sent_again() {
    let site = Site::new();
    let listener = UnixListener::bind(site.socket()).unwrap();
    let client = SocketStore::connect(site.socket(), Role::Acme);
    let entry = { ca_core::model::AuditEntry { actor: ca_core::model::Actor::Anonymous, ..audit("order.finalize") } };
    let order = "order-1".parse().unwrap();
    let calls = async { tokio::join!(client.queue_finalize(&order, "thumbprint", "jws", at(0), &entry), client.order(&order)) };
    let owner = async {
        let welcome = b"{\"welcome\":{\"version\":10,\"role\":\"acme\"}}";
        let mut first = Raw(listener.accept().await.unwrap().0);
        first.send(0, welcome).await;
        let mut heard = [first.receive().await.unwrap(), first.receive().await.unwrap()];
        heard.sort();
        assert!(heard[0].contains("\"order\"") && heard[1].contains("queue-finalize"), "{heard:?}");
        drop(first);
        let mut second = Raw(listener.accept().await.unwrap().0);
        second.send(0, welcome).await;
        let repeated = second.receive().await.unwrap();
        assert!(repeated.starts_with("{\"order\""), "only reading is sent again: {repeated}");
        second.send(1, b"{\"done\":null}").await;
        // Nothing else comes.
        let more = tokio::time::timeout(Duration::from_millis(200), second.receive()).await;
        assert!(more.is_err(), "{more:?}");
    };
    let ((changed, read), ()) = tokio::join!(calls, owner);
    assert!(matches!(changed, Err(StoreError::Unavailable(_))), "{changed:?}");
    assert_eq!(read.unwrap(), None);
}

#[tokio::test]
async fn thousands_are_under_way_on_one_connection() {
    let site = Site::new();
    let world = World::new(&site).await;
    let owner = site.owner(&world, Role::Acme);
    let client = SocketStore::connect(site.socket(), Role::Acme);
    let account = world.account("one").await.account.id;
    let (_, request) = world.leased_order(&account).await;
    // Three thousand wait for one request, and the connection still carries everything else.
    let waits: Vec<_> = (0..3000)
        .map(|_| {
            let (client, id) = (client.clone(), request.id.clone());
            tokio::spawn(async move { client.await_request(&id, Duration::from_secs(60)).await })
        })
        .collect();
    let reads: Vec<_> = (0..3000)
        .map(|_| {
            let (client, account) = (client.clone(), account.clone());
            tokio::spawn(async move { client.account(&account).await })
        })
        .collect();
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap().unwrap().id, account);
    }
    let problem = ca_core::model::Problem::new(ca_core::model::ProblemType::BadCsr, "no");
    world.store.refuse_request(&request.id, &request.lease, Fault::of(problem.kind), &problem, &audit("order.refuse")).await.unwrap();
    for wait in waits {
        assert_eq!(wait.await.unwrap().unwrap(), RequestState::Refused { problem: problem.clone() });
    }
    owner.stop().await;
}

#[tokio::test]
async fn a_large_crl_is_sent_once_and_lets_others_pass() {
    let site = Site::new();
    let world = World::new(&site).await;
    let crl = |number: u64, octets: usize| CrlRecord {
        authority: "demo-root".parse().unwrap(),
        scope: CrlScope::FULL,
        number,
        this_update: at(0),
        next_update: at(3600),
        ledger_number: 0,
        der: vec![number as u8; octets],
    };
    let large = crl(1, 12 << 20);
    let authorities = World::authorities();
    world.store.import_authorities(&authorities, std::slice::from_ref(&large), &audit("authority.import")).await.unwrap();
    let owner = site.owner(&world, Role::Responder);
    let client = SocketStore::connect(site.socket(), Role::Responder);
    let root = &large.authority;
    let (found, head) = tokio::join!(client.current_crl(root, &CrlScope::FULL), client.ledger_head(root));
    assert_eq!((found.unwrap(), head.unwrap()), (Some(large.clone()), 0));
    assert_eq!(client.current_crl(root, &CrlScope::FULL).await.unwrap(), Some(large.clone()));
    assert_eq!(client.current_crl(root, &CrlScope(7)).await.unwrap(), None);

    // What the client holds is named, not sent: the owner's octets show it.
    let (mut raw, _) = Raw::connect(&owner.path).await;
    raw.send(1, b"{\"current-crl\":{\"authority\":\"demo-root\",\"scope\":0,\"have\":1}}").await;
    assert_eq!(raw.receive().await.as_deref(), Some("{\"done\":\"same\"}"));
    owner.stop().await;
}

#[tokio::test]
async fn the_ledger_wakes_a_follower_over_the_socket() {
    let site = Site::new();
    let world = World::new(&site).await;
    let serial = world.certificate(5000).await;
    let owner = site.owner(&world, Role::Responder);
    let client = SocketStore::connect(site.socket(), Role::Responder);
    let authority = World::authority();
    assert_eq!(client.ledger_head(&authority).await.unwrap(), 0);
    let follower = tokio::spawn({
        let (client, authority) = (client.clone(), authority.clone());
        async move {
            // Far longer than the test's patience: only a wake-up ends it.
            while client.ledger_head(&authority).await.unwrap() == 0 {
                client.await_ledger(Duration::from_secs(50)).await;
            }
        }
    });
    let request = ca_core::model::RevocationRequest {
        authority: authority.clone(),
        serial,
        reason: ca_core::model::RevocationReason::Superseded,
        invalidity_date: None,
        actor: ca_core::model::Actor::Anonymous,
        at: at(1),
        correlation: "x".to_owned(),
    };
    world.store.revoke(&request).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), follower).await.expect("woken").unwrap();
    owner.stop().await;
}

#[tokio::test]
async fn a_challenge_wakes_the_validators_over_the_socket_and_nothing_else_does() {
    let site = Site::new();
    let world = World::new(&site).await;
    let account = world.account("one").await.account;
    let rng = SeededRng::new(9);
    let pending = Authorization {
        id: AuthorizationId::new(at(0), &rng),
        order: None,
        status: AuthorizationStatus::Pending,
        challenges: vec![Challenge::new(ChallengeMethod::Http01, &rng)],
        ..world.new_order(&account.id, &["b.demo.test"]).authorizations.remove(0)
    };
    let id = world.store.create_authorization(&pending, at(0), &audit("authorization.create")).await.unwrap().id;
    let owner = site.owner(&world, Role::Acme);
    owner.clock.set(at(1));
    let client = SocketStore::connect(site.socket(), Role::Acme);
    let (leasing, mut turns) = tokio::sync::mpsc::unbounded_channel();
    let validators = tokio::spawn({
        let client = client.clone();
        async move {
            loop {
                let leased = client.lease_validations(&World::worker(), &"lease".parse().unwrap(), at(1), at(60), 10, 10).await.unwrap();
                leasing.send(()).unwrap();
                if !leased.is_empty() {
                    return leased;
                }
                // Far longer than the test's patience: only a wake-up ends it.
                client.await_validations(Duration::from_secs(50)).await;
            }
        }
    });
    // With nothing due they look once, whatever else goes over the connection.
    turns.recv().await.unwrap();
    for _ in 0..500 {
        assert_eq!(client.account(&account.id).await.unwrap().unwrap().id, account.id);
    }
    assert!(turns.try_recv().is_err(), "nothing was due, and yet they looked again");
    let by = TakeUp::by(&account.thumbprint);
    world.store.start_challenge(&id, ChallengeMethod::Http01, &by, at(1), at(61), &audit("authorization.challenge")).await.unwrap();
    let leased = tokio::time::timeout(Duration::from_secs(30), validators).await.expect("woken").unwrap();
    assert_eq!(leased.iter().map(|job| &job.authorization).collect::<Vec<_>>(), [&id]);
    owner.stop().await;
}

/// Front ends have clocks of their own, which may be ahead or behind.
#[tokio::test]
async fn how_long_the_queue_waits_is_told_by_the_owner_s_clock() {
    let site = Site::new();
    let world = World::new(&site).await;
    let account = world.account("one").await.account.id;
    let owner = site.owner(&world, Role::Acme);
    let client = SocketStore::connect(site.socket(), Role::Acme);
    owner.clock.set(at(10));
    assert_eq!(client.oldest_wait(at(10)).await.unwrap(), Duration::ZERO, "nothing waits");
    let order = world.order(&account).await.id;
    world.finalize(&order, "finalize", 10).await.unwrap();
    owner.clock.set(at(25));
    for clock in [-1000, 10, 25, 1000] {
        assert_eq!(client.oldest_wait(at(clock)).await.unwrap(), Duration::from_secs(15), "asked at {clock}");
    }
    owner.stop().await;
}
