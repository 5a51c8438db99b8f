//! A server over a fake store, with a root, an issuing authority and a grant.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acme_server::{AcmeConfig, AcmeServer, AuthorityOffer, ProfileOffer};
use axum::Router;
use ca_core::model::{
    Authority, AuthorityKind, AuthorityName, CrossCertificate, Grant, GrantId, GrantRecord, GrantStatus, SignedStatement,
};
use ca_core::pki::{Certificate, Identifier, SerialNumber, Sha256Digest, Timestamp};
use ca_core::policy::{AuthorityPolicy, StarBounds};
use ca_core::ports::Clock as _;
use ca_testkit::{FakeClock, SeededRng};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData as _, SanType};

use crate::fake_store::{FakeStore, State, spki_sha256};

pub(crate) const BASE: &str = "https://ca.test:14000";
pub(crate) const KID: &str = "0123456789abcdef";

/// What the tests order, where the policy's rules are not what they are about.
const EVERY_NAME: [&str; 8] = [
    "dns:*.demo.test",
    "dns-wildcard:demo.test",
    "dns:*.dmz.test",
    "dns-wildcard:dmz.test",
    "ip:127.0.0.0/8",
    "ip:fd00::/8",
    "permanent-identifier:*",
    "hardware-module:*/1.2.3",
];

/// What the officers let the authority `demo` issue: for these names, with these parts of a policy document.
pub(crate) fn rules(names: &[&str], parts: &str) -> AuthorityPolicy {
    ca_testkit::policy::demo(Sha256Digest([0; 32]), names, parts).authorities.remove(0)
}

pub(crate) struct World {
    pub(crate) server: Arc<AcmeServer>,
    pub(crate) router: Router,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) config: AcmeConfig,
    /// The key of every certificate that the fake worker issues.
    pub(crate) leaf_key: Arc<KeyPair>,
    /// The keys of the authorities, which others may certify too.
    authority_keys: Arc<BTreeMap<&'static str, KeyPair>>,
    /// Where requests come from; none: from no socket.
    pub(crate) address: Mutex<Option<IpAddr>>,
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params
}

fn san(identifier: &Identifier) -> SanType {
    match identifier {
        Identifier::Dns(name) => SanType::DnsName(name.as_str().try_into().unwrap()),
        Identifier::Ip(address) => SanType::IpAddress(*address),
        // What a certificate carries of a device is the core's to test.
        Identifier::PermanentIdentifier(name) => SanType::URI(format!("urn:device:{}", name.serial()).as_str().try_into().unwrap()),
        Identifier::HardwareModule(name) => SanType::URI(format!("urn:module:{}", name.serial()).as_str().try_into().unwrap()),
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(configure: impl FnOnce(&mut AcmeConfig)) -> Self {
        let clock = Arc::new(FakeClock::default());
        let name: AuthorityName = "demo".parse().unwrap();
        let authority_keys = Arc::new(BTreeMap::from(["root", "issuing"].map(|name| (name, KeyPair::generate().unwrap()))));
        let (root_key, issuing_key) = (&authority_keys["root"], &authority_keys["issuing"]);
        let (root, issuing) = (ca("root"), ca("issuing"));
        let root_der = root.self_signed(root_key).unwrap().der().to_vec();
        let issuing_der = issuing.signed_by(issuing_key, &Issuer::from_params(&root, root_key)).unwrap().der().to_vec();
        let authority = |name: &str, kind, certificate: &[u8], issuer: Option<&str>, is_default| Authority {
            name: name.parse().unwrap(),
            kind,
            certificate: certificate.to_vec(),
            issuer: issuer.map(|i| i.parse().unwrap()),
            key: None,
            is_default,
            imported_at: Timestamp::from_unix(0),
        };
        let grant = Grant {
            id: KID.parse().unwrap(),
            version: 1,
            service: "payments".into(),
            authority: name.clone(),
            profiles: vec!["client".into(), "server".into()],
            names: vec!["dns:*.demo.test".parse().unwrap(), "ip:127.0.0.0/8".parse().unwrap(), "dns-wildcard:demo.test".parse().unwrap()],
            enrol_by: None,
            valid_until: None,
            max_accounts: None,
            uri: None,
            emails: Vec::new(),
            subject: ca_core::policy::SubjectParts::default(),
            limits: ca_core::model::GrantLimits::default(),
        };
        let record = GrantRecord {
            grant,
            evidence: SignedStatement { statement: String::new(), signature: String::new() },
            status: GrantStatus::Active,
            created_at: Timestamp::from_unix(0),
            accounts: 0,
        };
        let leaf_key = Arc::new(KeyPair::generate().unwrap());
        let key = Arc::clone(&leaf_key);
        let keys = Arc::clone(&authority_keys);
        let issue = move |identifiers: &[Identifier], serial: SerialNumber| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.subject_alt_names = identifiers.iter().map(san).collect();
            params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial.to_der_integer()));
            params.use_authority_key_identifier_extension = true;
            let der = params.signed_by(&*key, &Issuer::from_params(&issuing, &keys["issuing"])).unwrap().der().to_vec();
            (der, spki_sha256(&key.subject_public_key_info()))
        };
        let state = State {
            grants: [(record.grant.id.clone(), record)].into(),
            authorities: vec![
                authority("demo", AuthorityKind::Issuing, &issuing_der, Some("demo-root"), true),
                authority("demo-root", AuthorityKind::Root, &root_der, None, false),
            ],
            ..State::default()
        };
        let store = Arc::new(FakeStore { state: Mutex::new(state), issue: Box::new(issue), shares: Mutex::default() });
        let offer = |name: &str| ProfileOffer { name: name.to_owned(), description: format!("A {name} certificate"), star: None };
        let seconds = std::time::Duration::from_secs;
        let star = StarBounds {
            min_lifetime: seconds(600),
            longest: seconds(30 * 86_400),
            max_duration: seconds(365 * 86_400),
            certificate_get: true,
        };
        let client = ProfileOffer { star: Some(star), ..offer("client") };
        let offers = AuthorityOffer { profiles: vec![client, offer("short")], rules: rules(&EVERY_NAME, "") };
        let mut config = AcmeConfig::new(BASE, name, vec![offers]);
        configure(&mut config);
        let server = Arc::new(AcmeServer::new(config.clone(), store.clone(), clock.clone(), Arc::new(SeededRng::new(7))).unwrap());
        Self { router: Arc::clone(&server).router(), server, store, clock, config, leaf_key, authority_keys, address: Mutex::default() }
    }

    /// Another server, which it shares everything with but what only that process knows.
    pub(crate) fn beside(&self, server: AcmeServer) -> Self {
        let server = Arc::new(server);
        Self {
            router: Arc::clone(&server).router(),
            server,
            store: self.store.clone(),
            clock: self.clock.clone(),
            config: self.config.clone(),
            leaf_key: self.leaf_key.clone(),
            authority_keys: self.authority_keys.clone(),
            address: Mutex::default(),
        }
    }

    /// Another root certifies the authority `demo-root` or `demo` too, for so long from now on. Gives its own certificate.
    pub(crate) fn cross_certify(&self, number: u64, authority: &str, lifetime: Duration) -> Certificate {
        self.cross_certify_from(number, authority, (2026, 11, 1), lifetime)
    }

    /// The same from this day on.
    pub(crate) fn cross_certify_from(&self, number: u64, authority: &str, (y, m, d): (i32, u8, u8), lifetime: Duration) -> Certificate {
        let (other, key) = (ca(&format!("other {number}")), KeyPair::generate().unwrap());
        let other_der = other.self_signed(&key).unwrap().der().to_vec();
        let name = if authority == "demo" { "issuing" } else { "root" };
        let mut params = ca(name);
        params.not_before = rcgen::date_time_ymd(y, m, d);
        let der = params.signed_by(&self.authority_keys[name], &Issuer::from_params(&other, &key)).unwrap().der().to_vec();
        let issuer = Certificate::from_der(&other_der).unwrap();
        let mut state = self.state();
        let read = CrossCertificate::read(&der, &issuer, &state.authorities).unwrap().unwrap();
        assert_eq!(read.authority.as_str(), authority);
        state.cross_certificates.push(CrossCertificate { number, not_after: self.clock.now().plus(lifetime), ..read });
        issuer
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.store.state.lock().unwrap()
    }

    pub(crate) fn grant(&self, change: impl FnOnce(&mut GrantRecord)) {
        let id: GrantId = KID.parse().unwrap();
        change(self.state().grants.get_mut(&id).unwrap());
    }
}
