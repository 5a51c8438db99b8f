//! An authority, its delegated keys and a store, in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use ca_core::lint;
use ca_core::model::*;
use ca_core::pki::ocsp::{BasicResponse, CertId, HashAlgorithm, IssuerId, build_request};
use ca_core::pki::*;
use ca_core::ports::*;
use ca_core::profile::*;
use ca_testkit::{FakeClock, SeededRng};
use ocsp_responder::{Reply, Responder, ResponderConfig, ResponderKeys};

/// How long an answer, or the end of a connection, is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A P-256 key in memory.
pub(crate) struct TestKey(EcdsaKeyPair, PublicKey);

impl TestKey {
    pub(crate) fn new() -> Arc<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        // SubjectPublicKeyInfo of an uncompressed P-256 point (RFC 5480).
        let mut spki = vec![0x30, 0x59, 0x30, 0x13, 0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
        spki.extend_from_slice(&[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 0x03, 0x42, 0]);
        spki.extend_from_slice(pair.public_key().as_ref());
        Arc::new(Self(pair, PublicKey::from_spki_der(spki)))
    }
}

impl ServiceKey for TestKey {
    fn algorithm(&self) -> KeyAlgorithm {
        KeyAlgorithm::P256
    }
    fn public_key(&self) -> &PublicKey {
        &self.1
    }
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ServiceKeyError> {
        Ok(self.0.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec())
    }
}

#[derive(Default)]
struct Tables {
    statuses: BTreeMap<SerialNumber, SerialStatus>,
    ledger: Vec<LedgerEntry>,
    responder: Option<CertificateRecord>,
    crl: Option<CrlRecord>,
}

/// A store that can go away.
pub(crate) struct FakeStore {
    authorities: Vec<Authority>,
    tables: Mutex<Tables>,
    pub(crate) away: AtomicBool,
    pub(crate) status_reads: AtomicU32,
    /// Held by a test that wants a reading of a status to stay under way.
    pub(crate) status_gate: tokio::sync::Mutex<()>,
    /// Readings of CRLs that have begun, with their scope.
    pub(crate) crl_reads: Mutex<Vec<CrlScope>>,
    /// Held by a test that wants readings of one scope's CRL to stay under way.
    pub(crate) crl_gates: [tokio::sync::Mutex<()>; 2],
    wake: tokio::sync::Notify,
}

impl FakeStore {
    fn here(&self) -> StoreResult<std::sync::MutexGuard<'_, Tables>> {
        if self.away.load(Ordering::SeqCst) { Err(StoreError::Unavailable("switched off".into())) } else { Ok(self.tables.lock().unwrap()) }
    }
    pub(crate) fn issue(&self, serial: SerialNumber) {
        self.tables.lock().unwrap().statuses.insert(serial, SerialStatus::Good);
    }
    pub(crate) fn revoke(&self, serial: SerialNumber, reason: RevocationReason, at: Timestamp) {
        let mut tables = self.tables.lock().unwrap();
        tables.statuses.insert(serial, SerialStatus::Revoked { at, reason });
        let number = tables.ledger.len() as u64 + 1;
        tables.ledger.push(LedgerEntry { authority: name("demo"), number, serial, event: LedgerEvent::Revoke, reason, at });
        self.wake.notify_waiters();
    }
    /// How many readings of a scope's CRL have begun.
    pub(crate) fn crl_reads_of(&self, scope: u32) -> usize {
        self.crl_reads.lock().unwrap().iter().filter(|s| s.0 == scope).count()
    }
    pub(crate) fn set_crl(&self, crl: CrlRecord) {
        self.tables.lock().unwrap().crl = Some(crl);
    }
    pub(crate) fn set_responder(&self, record: Option<CertificateRecord>) {
        self.tables.lock().unwrap().responder = record;
    }
}

#[async_trait]
impl StatusStore for FakeStore {
    async fn status(&self, _: &AuthorityName, serial: &SerialNumber) -> StoreResult<Option<SerialStatus>> {
        let status = self.here()?.statuses.get(serial).copied();
        self.status_reads.fetch_add(1, Ordering::SeqCst);
        let _gate = self.status_gate.lock().await;
        Ok(status)
    }
    async fn ledger_head(&self, authority: &AuthorityName) -> StoreResult<u64> {
        Ok(if authority.as_str() == "demo" { self.here()?.ledger.len() as u64 } else { 0 })
    }
    async fn ledger_after(&self, _: &AuthorityName, number: u64, limit: u32) -> StoreResult<Vec<LedgerEntry>> {
        Ok(self.here()?.ledger.iter().filter(|e| e.number > number).take(limit as usize).cloned().collect())
    }
    async fn await_ledger(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.wake.notified()).await;
    }
    async fn current_crl(&self, authority: &AuthorityName, scope: &CrlScope) -> StoreResult<Option<CrlRecord>> {
        self.crl_reads.lock().unwrap().push(*scope);
        if let Some(gate) = self.crl_gates.get(scope.0 as usize) {
            drop(gate.lock().await);
        }
        Ok(self.here()?.crl.clone().filter(|c| c.authority == *authority && c.scope == *scope))
    }
}

#[async_trait]
impl CertificateStore for FakeStore {
    async fn authorities(&self) -> StoreResult<Vec<Authority>> {
        self.here().map(|_| self.authorities.clone())
    }
    async fn cross_certificates(&self) -> StoreResult<Vec<CrossCertificate>> {
        Ok(Vec::new())
    }
    async fn certificate(&self, _: &AuthorityName, _: &SerialNumber) -> StoreResult<Option<CertificateRecord>> {
        Ok(None)
    }
    async fn certificates(&self, _: &CertificateFilter, _: Option<&SerialNumber>, _: u32) -> StoreResult<Vec<CertificateRecord>> {
        Ok(Vec::new())
    }
    async fn newest_for_key(&self, _: &AuthorityName, profile: &str, key: &Sha256Digest) -> StoreResult<Option<CertificateRecord>> {
        assert_eq!(profile, "ocsp");
        Ok(self.here()?.responder.clone().filter(|r| r.spki_sha256 == *key))
    }
    async fn key_uses(&self, asked: &[KeyAsked]) -> StoreResult<Vec<KeyUse>> {
        Ok(vec![KeyUse::default(); asked.len()])
    }
}

/// A root that issues, and a responder with its delegated key. The clock begins at the time given.
pub(crate) struct World {
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) responder: Arc<Responder>,
    pub(crate) root: Certificate,
    pub(crate) key: Arc<TestKey>,
    root_key: Arc<TestKey>,
}

pub(crate) fn name(text: &str) -> AuthorityName {
    text.parse().unwrap()
}

pub(crate) fn serial(text: &str) -> SerialNumber {
    text.parse().unwrap()
}

fn authority(text: &str, certificate: &Certificate, is_default: bool, at: Timestamp) -> Authority {
    Authority {
        name: name(text),
        kind: AuthorityKind::Issuing,
        certificate: certificate.der().to_vec(),
        issuer: None,
        key: None,
        is_default,
        imported_at: at,
    }
}

const DAY: Duration = Duration::from_secs(86_400);

fn root(common_name: &str, key: &TestKey, now: Timestamp, until: Timestamp) -> Certificate {
    let tbs = build_root(&RootRequest {
        subject: CaSubject { country: Some("DE".into()), organization: "Status Test".into(), common_name: common_name.into() },
        serial: SerialNumber::random(&SeededRng::default()),
        not_before: now.minus(DAY),
        not_after: until,
        public_key: key.public_key().clone(),
        algorithm: SignatureAlgorithm::EcdsaP256Sha256,
    })
    .unwrap();
    signed(&tbs, key)
}

fn signed(tbs: &[u8], key: &TestKey) -> Certificate {
    Certificate::from_der(&assemble_signed(tbs, SignatureAlgorithm::EcdsaP256Sha256, &key.sign(tbs).unwrap())).unwrap()
}

impl World {
    pub(crate) fn new(now: Timestamp, config: ResponderConfig) -> Self {
        Self::beside(now, config, now.plus(DAY * 365), ResponderKeys::new())
    }

    /// The same beside another authority that ends then; its key, where there is one, has no certificate.
    pub(crate) fn beside(now: Timestamp, config: ResponderConfig, other_until: Timestamp, other_keys: ResponderKeys) -> Self {
        let (root_key, other_key, key) = (TestKey::new(), TestKey::new(), TestKey::new());
        let main = root("Status Test Root", &root_key, now, now.plus(DAY * 365));
        let other = root("Another Root", &other_key, now, other_until);
        let store = Arc::new(FakeStore {
            authorities: vec![authority("demo", &main, true, now), authority("other", &other, false, now)],
            tables: Mutex::default(),
            away: AtomicBool::new(false),
            status_reads: AtomicU32::new(0),
            status_gate: tokio::sync::Mutex::default(),
            crl_reads: Mutex::default(),
            crl_gates: Default::default(),
            wake: tokio::sync::Notify::new(),
        });
        let clock = Arc::new(FakeClock::at(now));
        let keys = other_keys.with(name("demo"), key.clone());
        let responder = Arc::new(Responder::new(config, store.clone(), clock.clone(), Arc::new(SeededRng::default()), keys));
        let world = Self { clock, store, responder, root: main, key, root_key };
        world.store.set_responder(Some(world.responder_certificate("1001", DAY)));
        world
    }

    /// A delegated certificate that lives for `life` from now on.
    pub(crate) fn responder_certificate(&self, number: &str, life: Duration) -> CertificateRecord {
        let now = self.clock.now();
        let tbs = build_leaf(
            &LeafRequest {
                // The record goes by it; as long as real ones.
                serial: serial(&format!("{number:0>32}").replacen('0', "1", 1)),
                not_before: now.minus(Duration::from_secs(60)),
                not_after: now.plus(life),
                public_key: self.key.public_key().clone(),
                content: LeafContent::Ocsp { common_name: "OCSP responder".into() },
                policies: vec![],
                revocation: Revocation::Published(StatusUrls::below("http://127.0.0.1:1", &name("demo"), 0)),
            },
            &Issuer::new(self.root.clone()).unwrap(),
        )
        .unwrap();
        let certificate = signed(&tbs, &self.root_key);
        CertificateRecord {
            authority: name("demo"),
            serial: certificate.serial(),
            state: CertificateState::Released,
            profile: "ocsp".into(),
            subject: String::new(),
            identifiers: vec![],
            spki_sha256: self.key.public_key().spki_sha256(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            partition: 0,
            der: certificate.der().to_vec(),
            account: None,
            grant: None,
            order: None,
            revoked: None,
            follows: None,
            replaced_by: None,
            marked: None,
            created_at: now,
        }
    }

    pub(crate) fn cert_id(&self, hash: HashAlgorithm, number: &str) -> CertId {
        CertId::new(hash, &IssuerId::new(self.root.subject_der(), self.root.public_key()).unwrap(), serial(number)).unwrap()
    }

    pub(crate) fn request(&self, numbers: &[&str], nonce: Option<&[u8]>) -> Vec<u8> {
        let ids: Vec<_> = numbers.iter().map(|n| self.cert_id(HashAlgorithm::Sha1, n)).collect();
        build_request(&ids, nonce).unwrap()
    }

    pub(crate) async fn ask(&self, request: &[u8]) -> Reply {
        self.responder.answer(Some("demo"), request).await.expect("demo is an authority")
    }

    /// Asks about one certificate without a nonce; the answer is verified.
    pub(crate) async fn ask_one(&self, number: &str) -> BasicResponse {
        self.verified(&self.ask(&self.request(&[number], None)).await)
    }

    /// Reads an answer and verifies it with the certificate that came along, and that with the root.
    #[track_caller]
    pub(crate) fn verified(&self, reply: &Reply) -> BasicResponse {
        let Reply::Signed { answer, .. } = reply else { panic!("{reply:?}") };
        let read = BasicResponse::from_der(&answer.der).unwrap();
        let certificate = Certificate::from_der(&read.certificates[0]).unwrap();
        certificate.is_signed_by(&self.root).unwrap();
        read.is_signed_by(certificate.public_key()).unwrap();
        let report = lint::ocsp_response(&answer.der, &lint::Context { issuers: &[self.root.der()], previous_crl: None });
        let heavy: Vec<_> = report.findings().iter().filter(|f| f.severity >= lint::Severity::Warning).collect();
        assert!(heavy.is_empty(), "{heavy:?}");
        for one in &read.data.answers {
            assert!(one.next_update <= certificate.not_after(), "nextUpdate passes the responder certificate's notAfter");
            assert!(one.this_update <= self.clock.now() && self.clock.now() < one.next_update);
        }
        read
    }
}
