//! Values for the checks: an authority, a grant, and short ways to accounts, orders and certificates.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ca_core::log::intent_leaf;
use ca_core::model::{
    Account, AccountId, AccountStatus, Actor, AttemptId, AuditEntry, Authority, AuthorityKind, AuthorityName, Authorization,
    AuthorizationId, AuthorizationStatus, CertificateIntent, Completion, CrlIntent, CrlScope, Grant, GrantId, GrantRecord, GrantStatus,
    Intent, IntentContent, LeaseToken, NewAccount, NewOrder, Order, OrderId, OrderStatus, Origin, Outcome, RequestId, SignedBytes,
    SignedStatement, SigningRequest, WorkerId,
};
use ca_core::pki::{Identifier, SerialNumber, SignatureAlgorithm, Timestamp, sha256};
use ca_core::ports::{StoreResult, WorkerStore};

use super::StoreFactory;
use crate::acme::{self, ClientKey};

/// When every check begins.
pub const NOW: i64 = 1_800_000_000;

/// `seconds` after [`NOW`].
pub const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(NOW + seconds)
}

/// An audit entry for `action`.
pub fn audit(action: &str) -> AuditEntry {
    AuditEntry {
        at: at(0),
        actor: Actor::system("conformance"),
        action: action.to_owned(),
        authority: None,
        object: "x".to_owned(),
        outcome: Outcome::Done,
        correlation: "c".to_owned(),
        detail: serde_json::Value::Null,
    }
}

/// A store with the authorities `demo-root` and `demo` and the grant `grant-1`.
pub struct World {
    /// The store under test.
    pub store: Arc<dyn WorkerStore>,
    counter: AtomicU64,
}

impl World {
    /// Fills a fresh store.
    pub async fn new(factory: &dyn StoreFactory) -> Self {
        let world = Self { store: factory.open().await, counter: AtomicU64::new(0) };
        world.store.import_authorities(&Self::authorities(), &[], &audit("authority.import")).await.unwrap();
        world.store.put_grant(&Self::grant("grant-1", None), &audit("grant.create")).await.unwrap();
        world
    }

    /// The same world over the store as a new process finds it.
    pub async fn reopen(self, factory: &dyn StoreFactory) -> Self {
        Self { store: factory.reopen(self.store).await, counter: self.counter }
    }

    /// A number that was not drawn before.
    pub fn next(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A serial number that was not drawn before.
    pub fn serial(&self) -> SerialNumber {
        let mut bytes = [0u8; 20];
        bytes[12..].copy_from_slice(&self.next().to_be_bytes());
        SerialNumber::from_bytes(bytes).unwrap()
    }

    /// A lease token that was not drawn before.
    pub fn lease(&self) -> LeaseToken {
        format!("lease-{}", self.next()).parse().unwrap()
    }

    /// The one worker.
    pub fn worker() -> WorkerId {
        "worker-1".parse().unwrap()
    }

    /// The issuing authority.
    pub fn authority() -> AuthorityName {
        "demo".parse().unwrap()
    }

    /// Both authorities, the default one first.
    pub fn authorities() -> [Authority; 2] {
        let root = Authority {
            name: "demo-root".parse().unwrap(),
            kind: AuthorityKind::Root,
            certificate: b"root certificate".to_vec(),
            issuer: None,
            key: None,
            is_default: false,
            imported_at: at(0),
        };
        let issuing = Authority {
            name: Self::authority(),
            kind: AuthorityKind::Issuing,
            certificate: b"intermediate certificate".to_vec(),
            issuer: Some(root.name.clone()),
            key: Some("demo-key".parse().unwrap()),
            is_default: true,
            imported_at: at(0),
        };
        [issuing, root]
    }

    /// A grant.
    pub fn grant(id: &str, max_accounts: Option<u32>) -> GrantRecord {
        let grant = Grant {
            id: id.parse().unwrap(),
            version: 1,
            service: "payments".to_owned(),
            authority: Self::authority(),
            profiles: vec!["client".to_owned()],
            names: vec!["dns:*.demo.test".parse().unwrap()],
            enrol_by: None,
            valid_until: None,
            max_accounts,
            uri: None,
            emails: Vec::new(),
            subject: ca_core::policy::SubjectParts::default(),
            limits: ca_core::model::GrantLimits::default(),
        };
        let evidence = SignedStatement { statement: format!("statement of {id}"), signature: format!("signature of {id}") };
        GrantRecord { grant, evidence, status: GrantStatus::Active, created_at: at(0), accounts: 0 }
    }

    /// A new account with the key named `key`, by a JWS of its own.
    pub fn new_account(&self, key: &str, grant: &str) -> NewAccount {
        let key = ClientKey::named(key);
        let jws = acme::new_account(&key, grant, b"secret").replacen('{', "{\n\"\u{1f511}\": 1,", 1);
        let account = Account {
            id: AccountId::from_evidence(&jws),
            status: AccountStatus::Pending,
            jwk: key.account_key().canonical(),
            thumbprint: key.account_key().thumbprint(),
            contact: vec!["mailto:a@demo.test".to_owned()],
            terms_of_service_agreed: true,
            grant: grant.parse().unwrap(),
            created_at: at(0),
        };
        NewAccount { account, jws }
    }

    /// The RFC 7638 thumbprint of the key named `key`.
    pub fn thumbprint(key: &str) -> String {
        ClientKey::named(key).account_key().thumbprint()
    }

    /// Puts the key named `to` in the place of the account's, as the holders of both sign.
    pub async fn change_key(&self, id: &AccountId, from: &str, to: &str) -> StoreResult<Account> {
        let jws = acme::key_change(&ClientKey::named(from), &ClientKey::named(to), id);
        self.change_key_by(id, from, to, &jws).await
    }

    /// The same by this request.
    pub async fn change_key_by(&self, id: &AccountId, from: &str, to: &str, jws: &str) -> StoreResult<Account> {
        let new = ClientKey::named(to).account_key();
        let entry = audit("account.key-change");
        self.store.change_key(id, &Self::thumbprint(from), &new.canonical(), &new.thumbprint(), jws, &entry).await
    }

    /// An account that the worker has accepted, under `grant-1`.
    pub async fn account(&self, key: &str) -> NewAccount {
        let new = self.new_account(key, "grant-1");
        let request = self.store.queue_account(&new, &audit("account.queue")).await.unwrap();
        let lease = self.lease();
        let leased = self.store.lease_requests(&Self::worker(), &lease, at(0), at(60), 100).await.unwrap();
        assert!(leased.iter().any(|r| r.id == request), "the account's request was leased");
        for other in leased.iter().filter(|r| r.id != request) {
            self.store.postpone_request(&other.id, &lease, other.received_at).await.unwrap();
        }
        let statement = self.store.grant(&new.account.grant).await.unwrap().unwrap().evidence.statement;
        self.store.accept_account(&request, &lease, &statement, &audit("account.create")).await.unwrap();
        new
    }

    /// A ready order for `names`, not stored yet; it lapses at 1000.
    pub fn new_order(&self, account: &AccountId, names: &[&str]) -> NewOrder {
        let jws = format!("newOrder {}", self.next());
        let id = OrderId::from_evidence(&jws, at(0));
        let identifiers: Vec<Identifier> = names.iter().map(|name| Identifier::from_text(name).unwrap()).collect();
        let authorization = |(index, identifier): (usize, &Identifier)| Authorization {
            id: AuthorizationId::of(&id, index),
            account: account.clone(),
            authority: Self::authority(),
            order: Some(id.clone()),
            identifier: identifier.clone(),
            status: AuthorizationStatus::Valid,
            expires: at(1000),
            challenges: Vec::new(),
        };
        let authorizations: Vec<Authorization> = identifiers.iter().enumerate().map(authorization).collect();
        let order = Order {
            id: id.clone(),
            account: account.clone(),
            authority: Self::authority(),
            profile: "client".to_owned(),
            identifiers,
            authorizations: authorizations.iter().map(|a| a.id.clone()).collect(),
            status: OrderStatus::Ready,
            expires: at(1000),
            not_before: None,
            not_after: Some(at(86_400)),
            error: None,
            serial: None,
            auto_renewal: None,
            replaces: None,
            created_at: at(0),
        };
        NewOrder { order, authorizations, jws }
    }

    /// A stored, ready order.
    pub async fn order(&self, account: &AccountId) -> Order {
        let new = self.new_order(account, &["a.demo.test"]);
        self.store.create_order(&new, &audit("order.create")).await.unwrap()
    }

    /// Finalizes an order, as its account's key signs.
    pub async fn finalize(&self, order: &OrderId, jws: &str, now: i64) -> StoreResult<RequestId> {
        let account = match self.store.order(order).await.unwrap() {
            Some(found) => self.store.account(&found.account).await.unwrap(),
            None => None,
        };
        let thumbprint = account.map(|account| account.thumbprint).unwrap_or_default();
        self.store.queue_finalize(order, &thumbprint, jws, at(now), &audit("order.finalize")).await
    }

    /// A finalized order with its request, leased until 60.
    pub async fn leased_order(&self, account: &AccountId) -> (OrderId, SigningRequest) {
        let order = self.order(account).await.id;
        let request = self.finalize(&order, "finalize", 1).await.unwrap();
        (order, self.lease_one(&request, 1, 60).await)
    }

    /// Leases exactly this request from `now` until `until`.
    pub async fn lease_one(&self, request: &RequestId, now: i64, until: i64) -> SigningRequest {
        let lease = self.lease();
        let mut leased = self.store.lease_requests(&Self::worker(), &lease, at(now), at(until), 100).await.unwrap();
        assert_eq!(leased.iter().map(|r| &r.id).collect::<Vec<_>>(), [request]);
        leased.remove(0)
    }

    /// The origin of an attempt at `order`.
    pub fn origin(order: &OrderId, request: &SigningRequest, account: &AccountId) -> Origin {
        let grant: GrantId = "grant-1".parse().unwrap();
        Origin::Order {
            order: order.clone(),
            request: request.id.clone(),
            lease: request.lease.clone(),
            account: account.clone(),
            grant,
            cap: None,
        }
    }

    /// An attempt at a certificate with `serial`, recorded at 2 and valid until 5000.
    pub fn intent(&self, origin: &Origin, serial: SerialNumber) -> Intent {
        let content = CertificateIntent {
            tbs: format!("to be signed {serial}").into_bytes(),
            serial,
            profile: "client".to_owned(),
            subject: String::new(),
            identifiers: vec![Identifier::from_text("a.demo.test").unwrap()],
            spki_sha256: sha256(b"key"),
            not_before: at(-60),
            not_after: at(5000),
            partition: 0,
        };
        self.any_intent(origin, IntentContent::Certificate(content))
    }

    /// An attempt at a CRL.
    pub fn crl_intent(&self, origin: &Origin, number: u64, this_update: i64, ledger_number: u64) -> Intent {
        let content = CrlIntent {
            tbs: format!("CRL {number}").into_bytes(),
            scope: CrlScope::FULL,
            number,
            this_update: at(this_update),
            next_update: at(this_update + 3600),
            ledger_number,
        };
        self.any_intent(origin, IntentContent::Crl(content))
    }

    fn any_intent(&self, origin: &Origin, content: IntentContent) -> Intent {
        let tbs = content.tbs();
        let attempt: AttemptId = format!("attempt-{}", self.next()).parse().unwrap();
        let mut intent = Intent {
            attempt,
            authority: Self::authority(),
            key: "demo-key".parse().unwrap(),
            algorithm: SignatureAlgorithm::EcdsaP256Sha256,
            tbs_sha256: sha256(tbs),
            content,
            leaf: Vec::new(),
            origin: origin.clone(),
            actor: Actor::system("worker"),
            at: at(2),
        };
        intent.leaf = intent_leaf(&intent);
        intent
    }

    /// The completion of an attempt with these signed bytes.
    pub fn completion(intent: &Intent, signed: &[u8]) -> Completion {
        Completion {
            attempt: intent.attempt.clone(),
            authority: intent.authority.clone(),
            signed: SignedBytes(signed.to_vec()),
            origin: intent.origin.clone(),
            actor: Actor::system("worker"),
            at: at(3),
        }
    }

    /// A released certificate from a ceremony's origin, valid until `not_after`.
    pub async fn certificate(&self, not_after: i64) -> SerialNumber {
        let serial = self.serial();
        let mut intent = self.intent(&Origin::Ceremony, serial);
        let IntentContent::Certificate(content) = &mut intent.content else { unreachable!("made above") };
        content.not_after = at(not_after);
        intent.leaf = intent_leaf(&intent);
        self.store.record_intent(&intent).await.unwrap();
        self.store.complete(&Self::completion(&intent, serial.as_bytes())).await.unwrap();
        serial
    }
}
