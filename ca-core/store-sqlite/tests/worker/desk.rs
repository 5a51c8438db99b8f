//! A worker over the embedded store, with an authority, an operator and a client at hand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ca_core::anchor::{AnchorState, AnchorStep, Beginning, LogHead, MemoryAnchor};
use ca_core::ceremony::RosterChain;
use ca_core::evidence::jwk::Jwk;
use ca_core::evidence::jws::ParsedJws;
use ca_core::evidence::new_order::NewOrderRequest;
use ca_core::evidence::statement::Operation;
use ca_core::issuance::{self, Attempt, prepare_root};
use ca_core::lifecycle::{HaltPoint, Officers, OperatorReply, PolicyApproval, Probe, Trusted, Worker, WorkerParts, WorkerSettings};
use ca_core::model::{
    Abandonment, Account, AccountId, AccountStatus, Actor, AttemptId, AuditRow, Authority, AuthorityKind, AuthorityName, CertificateFilter,
    CertificateRecord, Completed, Completion, CrlScope, Grant, GrantId, GrantLimits, Intent, NewAccount, NewOrder, OpenIntent, Order,
    OrderId, OrderStatus, Origin, Problem, RequestState, SignedStatement,
};
use ca_core::pki::crl::Crl;
use ca_core::pki::{Certificate, Identifier, KeyAlgorithm, PublicKey, SerialNumber, Timestamp, key_algorithm, sha256};
use ca_core::policy::{Permission, Policy, SubjectParts};
use ca_core::ports::{
    AcmeStore as _, AdminStore as _, Anchor, AuditStore as _, CertificateStore as _, Clock as _, EabSecrets, GenerateKey, IssuanceStore,
    KeyStore, Rng, StatusStore as _, StoreResult, WorkerStore,
};
use ca_core::profile::{BlockedKeys, CaSubject, RootRequest};
use ca_keystore::{SoftwareKeyStore, Unsealer};
use ca_store_sqlite::SqliteStore;
use ca_testkit::acme::{self, ClientKey};
use ca_testkit::officers;
use ca_testkit::operator::Operator;
use ca_testkit::store::audit;
use ca_testkit::{FakeClock, FaultyKeys, LoggingKeys, SeededRng};
use sqlx::Connection as _;
use tempfile::TempDir;
use zeroize::Zeroizing;

pub(crate) const BASE: &str = "http://127.0.0.1:14002";

pub(crate) struct Secrets;

impl EabSecrets for Secrets {
    fn eab_secret(&self, grant: &GrantId, version: u32) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(format!("secret of {grant} {version}").into_bytes())
    }
}

/// Ends the worker at a point: the task panics there, as a process would die.
#[derive(Default)]
pub(crate) struct DieAt(pub(crate) Mutex<Option<HaltPoint>>);

impl Probe for DieAt {
    fn at(&self, point: HaltPoint) {
        let mut die = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *die == Some(point) {
            *die = None;
            drop(die);
            panic!("the process dies at {}", point.name());
        }
    }
}

/// Records nothing: for the one certificate that comes before the store.
struct Nowhere;

#[async_trait::async_trait]
impl IssuanceStore for Nowhere {
    async fn record_intent(&self, _: &Intent) -> StoreResult<()> {
        Ok(())
    }
    async fn complete(&self, _: &Completion) -> StoreResult<Completed> {
        Ok(Completed::Released)
    }
    async fn abandon(&self, _: &Abandonment) -> StoreResult<()> {
        Ok(())
    }
    async fn open_intents(&self, _: Timestamp, _: Timestamp, _: u32) -> StoreResult<Vec<OpenIntent>> {
        Ok(vec![])
    }
}

pub(crate) struct Desk {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) anchor: Arc<MemoryAnchor>,
    pub(crate) keys: Arc<FaultyKeys>,
    pub(crate) device: Arc<LoggingKeys>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) probe: Arc<DieAt>,
    pub(crate) policy: Policy,
    pub(crate) issuer: Certificate,
    pub(crate) own_keys: Vec<PublicKey>,
    pub(crate) worker: Arc<Worker>,
    counter: AtomicU64,
    folder: TempDir,
}

impl Desk {
    pub(crate) async fn open() -> Self {
        let folder = TempDir::new().unwrap();
        let unsealer = || Unsealer::FileKey(Zeroizing::new([7; 32]));
        let software = Arc::new(SoftwareKeyStore::open(folder.path().join("keys"), unsealer()).unwrap());
        Self::over(folder, software).await
    }

    /// A desk whose authority has a key of this kind, in software; and so has its responder. Its profiles take such keys.
    pub(crate) async fn of(algorithm: KeyAlgorithm) -> Self {
        let folder = TempDir::new().unwrap();
        let unsealer = Unsealer::FileKey(Zeroizing::new([7; 32]));
        let software = Arc::new(SoftwareKeyStore::open(folder.path().join("keys"), unsealer).unwrap());
        Self::with(folder, software, algorithm).await
    }

    /// A desk whose keys are made in this store.
    pub(crate) async fn over(folder: TempDir, keys: Arc<dyn KeyStore>) -> Self {
        Self::with(folder, keys, KeyAlgorithm::P256).await
    }

    async fn with(folder: TempDir, keys: Arc<dyn KeyStore>, algorithm: KeyAlgorithm) -> Self {
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(3));
        let store = Arc::new(SqliteStore::open(folder.path().join("store.db"), Arc::clone(&rng)).await.unwrap());
        let device = Arc::new(LoggingKeys::new(keys));
        let keys = Arc::new(FaultyKeys::new(Arc::clone(&device) as Arc<dyn KeyStore>));
        let clock = Arc::new(FakeClock::default());
        let mut own_keys = Vec::new();
        for (label, kind) in [("ca", algorithm), ("ocsp", algorithm), ("server", KeyAlgorithm::P256)] {
            let request = GenerateKey::new(label.parse().unwrap(), kind);
            own_keys.push(keys.generate(request).await.unwrap().public_key);
        }
        let ca_key = own_keys.remove(0);
        let issuer = self_signed(&*keys, &*rng, ca_key.clone(), clock.now()).await;
        let authority = Authority {
            name: "demo".parse().unwrap(),
            kind: AuthorityKind::Issuing,
            certificate: issuer.der().to_vec(),
            issuer: None,
            key: Some("ca".parse().unwrap()),
            is_default: true,
            imported_at: clock.now(),
        };
        store.import_authorities(&[authority], &[], &audit("authority.import")).await.unwrap();
        let mut policy = policy(&ca_key, &own_keys);
        if algorithm.is_post_quantum() {
            policy.authorities[0].profiles.values_mut().for_each(|p| p.keys = vec![algorithm, KeyAlgorithm::P256]);
        }
        let probe = Arc::new(DieAt::default());
        let anchor = Arc::new(MemoryAnchor::new(AnchorState::new(beginning(clock.now()))));
        let worker = Arc::new(worker(
            &store,
            Arc::clone(&anchor) as _,
            &keys,
            &clock,
            &probe,
            first_officers(policy.clone()),
            own_keys.clone(),
            BlockedKeys::default(),
            4,
        ));
        Self { store, anchor, keys, device, clock, probe, policy, issuer, own_keys, worker, counter: AtomicU64::new(0), folder }
    }

    /// Another process on the same store.
    pub(crate) fn restart(&mut self) {
        let seed = 100 + self.next();
        let mut trusted = first_officers(self.policy.clone());
        trusted.officers = Officers::clone(&self.worker.officers());
        self.begin(trusted, seed);
    }

    /// Another process on the same store, which begins with what it can verify there.
    pub(crate) async fn restart_from_record(&mut self) -> Trusted {
        let trusted = Trusted::read(&*self.store, officers::roster()).await.unwrap();
        let steps = trusted.catch_up(&self.anchor.state(), self.clock.now()).unwrap();
        self.anchor.take(&steps, self.clock.now()).unwrap();
        let seed = 100 + self.next();
        self.begin(trusted.clone(), seed);
        trusted
    }

    fn begin(&mut self, trusted: Trusted, seed: u64) {
        self.begin_with(trusted, seed, BlockedKeys::default());
    }

    /// Another process on the same store, with lists of published keys.
    pub(crate) fn restart_with(&mut self, blocked: BlockedKeys) {
        let seed = 100 + self.next();
        self.begin_with(first_officers(self.policy.clone()), seed, blocked);
    }

    fn begin_with(&mut self, trusted: Trusted, seed: u64, blocked: BlockedKeys) {
        let anchor = Arc::clone(&self.anchor) as _;
        self.begin_on(anchor, trusted, seed, blocked);
    }

    /// Another process on the same store, with this anchor.
    pub(crate) fn restart_on(&mut self, anchor: Arc<dyn Anchor>) {
        let seed = 100 + self.next();
        self.begin_on(anchor, first_officers(self.policy.clone()), seed, BlockedKeys::default());
    }

    fn begin_on(&mut self, anchor: Arc<dyn Anchor>, trusted: Trusted, seed: u64, blocked: BlockedKeys) {
        let own_keys = self.own_keys.clone();
        self.worker = Arc::new(worker(&self.store, anchor, &self.keys, &self.clock, &self.probe, trusted, own_keys, blocked, seed));
    }

    /// Goes on under another policy, as officers put it in force.
    pub(crate) fn set_policy(&self, policy: Policy) {
        let step = AnchorStep::Policy { version: policy.version, policy: sha256(&policy.version.to_be_bytes()) };
        self.anchor.take(&[step], self.clock.now()).unwrap();
        self.worker.set_policy(policy).unwrap();
    }

    pub(crate) fn next(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn sign(&self, operation: Operation) -> SignedStatement {
        Operator::new("ops", 1).sign(operation, &self.next().to_string(), self.clock.now())
    }

    pub(crate) async fn operate(&self, operation: Operation) -> Result<OperatorReply, Problem> {
        self.worker.apply_statement(&self.sign(operation)).await
    }

    /// A grant for the demonstration's names.
    pub(crate) async fn grant(&self, max_accounts: Option<u32>) -> Grant {
        let grant = Grant { id: format!("grant-{}", self.next()).parse().unwrap(), max_accounts, ..self.wanted_grant() };
        self.operate(Operation::GrantCreate { grant: grant.clone() }).await.unwrap();
        grant
    }

    pub(crate) fn wanted_grant(&self) -> Grant {
        Grant {
            id: "grant-x".parse().unwrap(),
            version: 1,
            service: "payments".to_owned(),
            authority: "demo".parse().unwrap(),
            profiles: vec!["client".to_owned(), "short".to_owned()],
            names: vec!["dns:*.demo.test".parse().unwrap()],
            enrol_by: None,
            valid_until: None,
            max_accounts: None,
            uri: None,
            emails: Vec::new(),
            subject: SubjectParts::default(),
            limits: GrantLimits::default(),
        }
    }

    /// Queues a new account as the front end does.
    pub(crate) async fn queue_account(&self, grant: &Grant) -> Client {
        let key = ClientKey::default();
        let jws = acme::new_account(&key, grant.id.as_str(), &Secrets.eab_secret(&grant.id, grant.version));
        let jwk = Jwk::from_value(&key.jwk()).unwrap();
        let account = Account {
            id: AccountId::from_evidence(&jws),
            status: AccountStatus::Pending,
            jwk: jwk.canonical(),
            thumbprint: jwk.thumbprint(),
            contact: vec![],
            terms_of_service_agreed: true,
            grant: grant.id.clone(),
            created_at: self.clock.now(),
        };
        let id = account.id.clone();
        self.store.queue_account(&NewAccount { account, jws }, &audit("account.queue")).await.unwrap();
        Client { key, id }
    }

    pub(crate) async fn account(&self) -> Client {
        let grant = self.grant(None).await;
        self.account_of(&grant).await
    }

    pub(crate) async fn account_of(&self, grant: &Grant) -> Client {
        let client = self.queue_account(grant).await;
        assert_eq!(self.worker.step_requests().await.unwrap(), 1);
        assert_eq!(self.store.account(&client.id).await.unwrap().unwrap().status, AccountStatus::Valid);
        client
    }

    /// Stores an order as the front end does, and finalizes it with a fresh key.
    pub(crate) async fn finalized(&self, client: &Client, more: serde_json::Value) -> OrderId {
        self.finalized_with(client, more, &ClientKey::default().csr(&["a.demo.test"], None)).await
    }

    /// The same with this CSR for a.demo.test.
    pub(crate) async fn finalized_with(&self, client: &Client, more: serde_json::Value, csr: &[u8]) -> OrderId {
        let id = self.ready_with(client, more).await;
        let finalize = acme::finalize(&client.key, &client.id, &id, csr);
        let entry = audit("order.finalize");
        self.store.queue_finalize(&id, &client.thumbprint(), &finalize, self.clock.now(), &entry).await.unwrap();
        id
    }

    /// The operation that puts `grant` in the place of what stands under its id.
    pub(crate) async fn update_of(&self, grant: &Grant) -> Operation {
        let stored = self.store.grant(&grant.id).await.unwrap().unwrap();
        Operation::GrantUpdate { grant: grant.clone(), replaces: sha256(stored.evidence.statement.as_bytes()) }
    }

    /// Stores an order as the front end does.
    pub(crate) async fn ready(&self, client: &Client) -> OrderId {
        self.ready_with(client, serde_json::json!({})).await
    }

    /// The profile that the front end tells for a new order.
    async fn profile_of(&self, client: &Client, request: &NewOrderRequest) -> String {
        let account = self.store.account(&client.id).await.unwrap().unwrap();
        let record = self.store.grant(&account.grant).await.unwrap().unwrap();
        request.profile.clone().unwrap_or_else(|| record.grant.profiles[0].clone())
    }

    async fn ready_with(&self, client: &Client, more: serde_json::Value) -> OrderId {
        let names = ["a.demo.test"];
        let mut payload = acme::order_payload(&names);
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        payload["n"] = self.next().into();
        let jws = acme::by_account(&client.key, &client.id, "/acme/new-order", &payload);
        let id = OrderId::from_evidence(&jws, self.clock.now());
        let request = NewOrderRequest::parse(&ParsedJws::parse(&jws).unwrap()).unwrap();
        let order = Order {
            id: id.clone(),
            account: client.id.clone(),
            authority: "demo".parse().unwrap(),
            profile: self.profile_of(client, &request).await,
            identifiers: names.iter().map(|n| Identifier::from_text(n).unwrap()).collect(),
            authorizations: Vec::new(),
            status: OrderStatus::Ready,
            expires: self.clock.now().plus(Duration::from_secs(86_400)),
            not_before: None,
            not_after: None,
            error: None,
            serial: None,
            auto_renewal: request.auto_renewal,
            replaces: None,
            created_at: self.clock.now(),
        };
        self.store.create_order(&NewOrder { order, authorizations: vec![], jws }, &audit("order.create")).await.unwrap();
        id
    }

    /// Puts another key in the place of the account's (RFC 8555 §7.3.5); gives the one of before.
    pub(crate) async fn change_key(&self, client: &mut Client) -> ClientKey {
        let new = ClientKey::default();
        self.try_change_key(client, &new).await.unwrap();
        std::mem::replace(&mut client.key, new)
    }

    pub(crate) async fn try_change_key(&self, client: &Client, new: &ClientKey) -> StoreResult<Account> {
        let (jws, jwk, old) = (acme::key_change(&client.key, new, &client.id), jwk(new), client.thumbprint());
        let entry = audit("account.key-change");
        self.store.change_key(&client.id, &old, &jwk.canonical(), &jwk.thumbprint(), &jws, &entry).await
    }

    pub(crate) async fn order(&self, id: &OrderId) -> Order {
        self.store.order(id).await.unwrap().unwrap()
    }

    pub(crate) async fn refusal(&self, id: &OrderId) -> Problem {
        match self.store.await_request(&ca_core::model::RequestId::for_order(id), Duration::ZERO).await.unwrap() {
            RequestState::Refused { problem } => problem,
            other => panic!("{other:?}, not refused"),
        }
    }

    pub(crate) async fn certificates(&self) -> Vec<CertificateRecord> {
        self.store.certificates(&CertificateFilter::default(), None, 1000).await.unwrap()
    }

    pub(crate) async fn of_order(&self, id: &OrderId) -> Vec<CertificateRecord> {
        self.certificates().await.into_iter().filter(|c| c.order.as_ref() == Some(id)).collect()
    }

    pub(crate) async fn certificate(&self, serial: SerialNumber) -> CertificateRecord {
        self.store.certificate(&demo(), &serial).await.unwrap().unwrap()
    }

    pub(crate) async fn crl(&self) -> Option<Crl> {
        let record = self.store.current_crl(&demo(), &CrlScope::FULL).await.unwrap()?;
        let crl = Crl::from_der(&record.der).unwrap();
        crl.is_signed_by(&self.issuer).unwrap();
        Some(crl)
    }

    pub(crate) async fn audit_has(&self, parts: &[&str]) -> bool {
        let rows: Vec<AuditRow> = self.store.audit_after(0, 10_000).await.unwrap();
        rows.iter().any(|row| {
            let text = String::from_utf8_lossy(&row.leaf).into_owned();
            parts.iter().all(|part| text.contains(part))
        })
    }

    /// Edits the database behind the worker's back.
    pub(crate) async fn edit(&self, sql: &'static str) {
        let path = self.folder.path().join("store.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(10));
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Works until nothing is left, the clock standing still.
    pub(crate) async fn settle(&self) {
        for _ in 0..20 {
            if self.worker.step_requests().await.unwrap() + self.worker.tick_jobs().await.unwrap() == 0 {
                return;
            }
        }
        panic!("there is always more to do");
    }
}

pub(crate) struct Client {
    pub(crate) key: ClientKey,
    pub(crate) id: AccountId,
}

impl Client {
    pub(crate) fn thumbprint(&self) -> String {
        jwk(&self.key).thumbprint()
    }
}

pub(crate) fn jwk(key: &ClientKey) -> Jwk {
    Jwk::from_value(&key.jwk()).unwrap()
}

pub(crate) fn demo() -> AuthorityName {
    "demo".parse().unwrap()
}

fn beginning(now: Timestamp) -> Beginning {
    let (roster, policy) = (officers::roster().digest(), sha256(&1u64.to_be_bytes()));
    Beginning { genesis_roster: roster, roster_number: 0, roster, policy_version: 1, policy, log: LogHead::START, now }
}

fn first_officers(policy: Policy) -> Trusted {
    let officers = Officers {
        chain: RosterChain::new(officers::roster()).unwrap(),
        policy_sha256: sha256(&policy.version.to_be_bytes()),
        policy_approved_by: vec!["ana".to_owned(), "cora".to_owned()],
    };
    let approval = PolicyApproval { nonce: String::new(), expires_at: Timestamp::from_unix(0), on_running_ca: false };
    Trusted { policy, officers, approval }
}

#[expect(clippy::too_many_arguments, reason = "the parts of a worker")]
fn worker(
    store: &Arc<SqliteStore>,
    anchor: Arc<dyn Anchor>,
    keys: &Arc<FaultyKeys>,
    clock: &Arc<FakeClock>,
    probe: &Arc<DieAt>,
    trusted: Trusted,
    own_keys: Vec<PublicKey>,
    blocked: BlockedKeys,
    seed: u64,
) -> Worker {
    Worker::new(WorkerParts {
        store: Arc::clone(store) as Arc<dyn WorkerStore>,
        anchor,
        keys: Arc::clone(keys) as Arc<dyn KeyStore>,
        publisher: None,
        clock: Arc::clone(clock) as _,
        rng: Arc::new(SeededRng::new(seed)),
        secrets: Arc::new(Secrets),
        policy: trusted.policy,
        officers: trusted.officers,
        own_keys,
        blocked: Arc::new(blocked),
        settings: WorkerSettings::new(BASE),
        probe: Arc::clone(probe) as _,
    })
}

fn policy(ca: &PublicKey, own: &[PublicKey]) -> Policy {
    let parts = format!(
        r#"
        [authority.profile.client]
        shape = "client"
        lifetime = 2592000
        star = {{ min_lifetime = 3600, max_duration = 31536000, certificate_get = true }}
        [authority.profile.short]
        shape = "client"
        lifetime = 60
        subject_cn = true
        [[authority.own]]
        name = "responder"
        shape = "ocsp"
        key_sha256 = "{}"
        lifetime = 604800
        [[authority.own]]
        name = "front"
        shape = "server"
        names = [{{ type = "dns", value = "localhost" }}]
        key_sha256 = "{}"
        lifetime = 2592000
        "#,
        own[0].spki_sha256(),
        own[1].spki_sha256(),
    );
    let mut policy = ca_testkit::policy::demo(ca.spki_sha256(), &["dns:*.demo.test", "dns:localhost"], &parts);
    policy.operators.push(Operator::new("ops", 1).policy(&[
        Permission::Grant,
        Permission::Revoke,
        Permission::Publish,
        Permission::Hold,
        Permission::Stop,
    ]));
    policy
}

async fn self_signed(keys: &dyn KeyStore, rng: &dyn Rng, key: PublicKey, now: Timestamp) -> Certificate {
    let request = RootRequest {
        subject: CaSubject { country: None, organization: "Countersign".to_owned(), common_name: "Demo CA".to_owned() },
        serial: SerialNumber::random(rng),
        not_before: now,
        not_after: now.plus(Duration::from_secs(40 * 86_400)),
        algorithm: key_algorithm(&key).unwrap().signature_algorithm(),
        public_key: key,
    };
    let attempt = Attempt {
        id: AttemptId::new(now, rng),
        authority: demo(),
        key: "ca".parse().unwrap(),
        origin: Origin::Ceremony,
        actor: Actor::system("test"),
        at: now,
    };
    let recorded = issuance::record(&Nowhere, prepare_root(&request, attempt).unwrap()).await.unwrap();
    let signed = issuance::sign(keys, recorded).await.unwrap();
    let (_, der) = issuance::release(&Nowhere, signed, Actor::system("test"), now).await.unwrap();
    Certificate::from_der(&der).unwrap()
}
