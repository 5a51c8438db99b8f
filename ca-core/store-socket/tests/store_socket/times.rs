//! Whatever time a front end says, the owner's clock counts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ca_core::evidence::jwk::Jwk;
use ca_core::log::{Leaf, intent_leaf, read_leaf};
use ca_core::model::{
    Actor, AuditEntry, Authorization, AuthorizationStatus, Challenge, ChallengeMethod, CrlScope, IntentContent, Origin, RevocationReason,
    RevocationRequest, Revoked, SerialStatus, TakeUp,
};
use ca_core::pki::{Identifier, KeyAlgorithm, PublicKey, SerialNumber, Timestamp, assemble_signed};
use ca_core::ports::{
    AcmeStore as _, AuditStore as _, Clock as _, CompromiseStore as _, CrlStore as _, IssuanceStore as _, JobStore as _, StatusStore as _,
    StoreError, ValidationStore as _, WorkerStore,
};
use ca_core::profile::{CaSubject, RootRequest, build_root};
use ca_store_socket::{Role, SocketStore};
use ca_store_sqlite::SqliteStore;
use ca_testkit::SeededRng;
use ca_testkit::acme::{self, ClientKey};
use ca_testkit::store::{StoreFactory, World, at, audit};
use tempfile::TempDir;

use crate::owner::{Owner, alone};

/// Before all that a CRL can carry, and after it.
const IMPOSSIBLE: [i64; 4] = [i64::MIN, -1, 253_402_300_800, i64::MAX];

struct One(Arc<SqliteStore>);

#[async_trait]
impl StoreFactory for One {
    async fn open(&self) -> Arc<dyn WorkerStore> {
        self.0.clone()
    }
    async fn reopen(&self, store: Arc<dyn WorkerStore>) -> Arc<dyn WorkerStore> {
        store
    }
}

struct Site {
    store: Arc<SqliteStore>,
    world: World,
    owner: Owner,
    front: SocketStore,
    _folder: TempDir,
}

impl Site {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = Arc::new(SqliteStore::open(folder.path().join("store.db"), Arc::new(SeededRng::new(1))).await.unwrap());
        let world = World::new(&One(store.clone())).await;
        let owner = Owner::start(folder.path().join("s.sock"), store.clone(), alone(folder.path(), Role::Acme));
        owner.clock.set(at(10));
        let front = SocketStore::connect(owner.path.clone(), Role::Acme);
        Self { store, world, owner, front, _folder: folder }
    }

    /// A released certificate for the key, and its DER.
    async fn certificate(&self, key: &PublicKey) -> (SerialNumber, Vec<u8>) {
        let serial = self.world.serial();
        let request = RootRequest {
            subject: CaSubject { country: None, organization: "Countersign".to_owned(), common_name: serial.to_string() },
            serial,
            not_before: at(-60),
            not_after: at(5000),
            algorithm: KeyAlgorithm::P256.signature_algorithm(),
            public_key: key.clone(),
        };
        // Behind a filler: the store reads it, and verifies the request.
        let der = assemble_signed(&build_root(&request).unwrap(), request.algorithm, &[0; 64]);
        let mut intent = self.world.intent(&Origin::Ceremony, serial);
        let IntentContent::Certificate(content) = &mut intent.content else { unreachable!("made above") };
        content.spki_sha256 = key.spki_sha256();
        intent.leaf = intent_leaf(&intent);
        self.store.record_intent(&intent).await.unwrap();
        self.store.complete(&World::completion(&intent, &der)).await.unwrap();
        (serial, der)
    }

    async fn last_entry(&self) -> AuditEntry {
        let row = self.store.audit_after(0, 1000).await.unwrap().pop().unwrap();
        match read_leaf(&row.leaf) {
            Some(Leaf::Audit(entry)) => *entry,
            other => panic!("{other:?}, not an act"),
        }
    }
}

#[tokio::test]
async fn a_revocation_is_of_the_owner_s_time_whatever_the_front_end_says() {
    let site = Site::new().await;
    for (index, said) in IMPOSSIBLE.into_iter().enumerate() {
        let now = at(100 * (index as i64 + 1));
        site.owner.clock.set(now);
        let key = ClientKey::default();
        let public = Jwk::from_value(&key.jwk()).unwrap().public_key().unwrap();
        let (serial, der) = site.certificate(&public).await;
        let (other, _) = site.certificate(&public).await;
        let url = format!("{}/acme/revoke-cert", acme::BASE);
        let jws = key.jws(serde_json::json!({ "jwk": key.jwk(), "nonce": "bm9uY2U", "url": url }), &acme::revocation(&der, 1));
        let reason = RevocationReason::KeyCompromise;
        let request = RevocationRequest {
            authority: World::authority(),
            serial,
            reason,
            invalidity_date: None,
            actor: Actor::CertificateKey { spki_sha256: public.spki_sha256() },
            at: Timestamp::from_unix(said),
            correlation: "x".to_owned(),
        };
        assert!(matches!(site.front.revoke_on_request(&jws, &request).await.unwrap(), Revoked::Now { .. }));
        let status = site.store.status(&World::authority(), &serial).await.unwrap();
        assert_eq!(status, Some(SerialStatus::Revoked { at: now, reason }), "{said}");
        let listed = site.store.revoked_entries(&World::authority(), &CrlScope::FULL, None, 100).await.unwrap();
        assert_eq!(listed.iter().find(|entry| entry.serial == serial).unwrap().revoked_at, now);
        let ledger = site.store.ledger_after(&World::authority(), index as u64, 1).await.unwrap();
        assert_eq!((ledger[0].serial, ledger[0].at), (serial, now));
        assert_eq!(site.last_entry().await.at, now);
        assert!(site.store.jobs(10).await.unwrap().iter().all(|job| job.due <= now), "the CRL is due");
        // S4: the key's other certificate is found, however far ahead the front end says that it is.
        let compromised = site.store.compromises(10).await.unwrap();
        let key = compromised.iter().find(|key| key.spki_sha256 == public.spki_sha256()).unwrap();
        let left = site.store.certificates_of_compromise(key, now, 10).await.unwrap();
        assert_eq!(left.iter().map(|record| record.serial).collect::<Vec<_>>(), [other], "{said}");
    }
    site.owner.stop().await;
}

#[tokio::test]
async fn no_row_of_the_front_end_stands_for_ever() {
    let site = Site::new().await;
    let account = site.world.account("key").await.account;
    let (now, never) = (at(10), Timestamp::from_unix(i64::MAX));
    let longest = now.plus(Duration::from_secs(30 * 86_400));
    let entry = |action: &str| AuditEntry { actor: Actor::Anonymous, action: action.to_owned(), at: never, ..audit("x") };

    let mut new = site.world.new_order(&account.id, &["a.demo.test"]);
    (new.order.created_at, new.order.expires) = (at(0), never);
    let order = site.front.create_order(&new, &entry("order.create")).await.unwrap();
    assert_eq!((order.created_at, order.expires), (now, longest));
    assert_eq!(site.last_entry().await.at, now);

    let method = ChallengeMethod::Http01;
    let offered = Authorization {
        id: "z".parse().unwrap(),
        account: account.id.clone(),
        authority: World::authority(),
        order: None,
        identifier: Identifier::from_text("b.demo.test").unwrap(),
        status: AuthorizationStatus::Pending,
        expires: never,
        challenges: vec![Challenge::new(method, &SeededRng::new(1))],
    };
    let authorization = site.front.create_authorization(&offered, at(0), &entry("authorization.create")).await.unwrap();
    assert_eq!(authorization.expires, longest);
    let by = TakeUp::by(account.thumbprint.clone());
    site.front.start_challenge(&offered.id, method, &by, at(0), never, &entry("authorization.challenge")).await.unwrap();
    // Taken for ever, it is free again after a while.
    let lease = |token: &str, at: Timestamp| {
        let (token, front) = (token.parse().unwrap(), &site.front);
        async move { front.lease_validations(&World::worker(), &token, at, never, 10, 10).await.unwrap() }
    };
    let held = lease("one", at(0)).await.remove(0);
    assert_eq!(held.deadline, longest);
    assert!(lease("two", Timestamp::from_unix(i64::MAX - 1)).await.is_empty());
    site.owner.clock.advance(Duration::from_secs(600));
    assert_eq!(lease("two", at(0)).await.len(), 1);

    // One that a clock behind asks for lasts as long as it asks for.
    let mut behind = site.world.new_order(&account.id, &["c.demo.test"]);
    (behind.order.created_at, behind.order.expires) = (at(-200), at(-100));
    let order = site.front.create_order(&behind, &entry("order.create")).await.unwrap();
    assert_eq!(order.expires, site.owner.clock.now().plus(Duration::from_secs(100)));
    site.owner.stop().await;
}

#[tokio::test]
async fn what_has_ended_does_not_go_on_because_the_front_end_says_an_earlier_time() {
    let site = Site::new().await;
    let account = site.world.account("key").await.account;
    let order = site.world.order(&account.id).await;
    site.owner.clock.set(order.expires);
    let entry = AuditEntry { actor: Actor::Anonymous, action: "order.finalize".to_owned(), ..audit("x") };
    let refused = site.front.queue_finalize(&order.id, &account.thumbprint, "jws", at(1), &entry).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Conflict(reason) if reason.contains("expired")), "{refused}");
    site.owner.stop().await;
}
