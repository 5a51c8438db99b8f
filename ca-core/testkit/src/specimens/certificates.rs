//! Authorities, and every profile below them.

use std::sync::Arc;
use std::time::Duration;

use ca_core::model::{AuthorityName, RevocationReason, StatusUrls};
use ca_core::pki::{AltName, Certificate, Identifier, KeyAlgorithm, PublicKey, SerialNumber, Timestamp};
use ca_core::profile::{
    CaSubject, CrossRequest, IntermediateRequest, Issuer, LeafContent, LeafRequest, LeafShape, Revocation, RootRequest, build_cross,
    build_intermediate, build_leaf, build_root, lint_cross, lint_intermediate, lint_leaf, lint_root,
};
use const_oid::ObjectIdentifier;

use super::content::{content, permitted};
use super::{Chain, Key, Kind, Purpose, Specimen, status};
use crate::SeededRng;

/// Where the specimens say that their issuers' files and status are.
const BASE: &str = "http://status.example.com";
const DAY: Duration = Duration::from_secs(24 * 3600);
const SKEW: Duration = Duration::from_secs(60);
/// A certificate policy of nobody's.
const POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.1.1");
/// What the authority of clients, servers and responders may issue for.
const PERMITTED: [&str; 4] = ["dns:*.demo.test", "dns:a.*.bank.test", "ip:127.0.0.0/8", "ip:fd00::/8"];

/// A CA with its key and its current CRL.
pub(super) struct Authority {
    pub(super) key: Key,
    pub(super) issuer: Issuer,
    /// Itself, and what is above it.
    pub(super) chain: Arc<Chain>,
    /// A serial number for each reason, on the current CRL.
    pub(super) revoked: Vec<(SerialNumber, RevocationReason)>,
    /// What stands in what it issues.
    pub(super) urls: StatusUrls,
}

impl Authority {
    fn new(name: &str, key: Key, certificate: Vec<u8>, above: Option<&Chain>, now: Timestamp) -> Self {
        let issuer = Issuer::new(Certificate::from_der(&certificate).unwrap()).unwrap();
        let revoked: Vec<_> = RevocationReason::ALL.into_iter().map(|reason| (serial(), reason)).collect();
        // A root has nothing on its CRL: the CAs below it are specimens that must stand.
        let entries = if above.is_some() { status::entries(&revoked, now) } else { Vec::new() };
        let crl = status::crl(&issuer, &key, None, entries, now);
        let chain = Arc::new(Chain {
            name: name.to_owned(),
            certificates: [vec![certificate], above.map_or(Vec::new(), |c| c.certificates.clone())].concat(),
            crls: [vec![crl], above.map_or(Vec::new(), |c| c.crls.clone())].concat(),
        });
        // Each authority's files have URLs of their own, as in an instance.
        Self { key, issuer, chain, revoked, urls: urls(&name.replace('/', "-")) }
    }

    /// A root's, self-signed.
    fn root(name: &str, common_name: &str, key: Key, now: Timestamp) -> Self {
        let request = RootRequest {
            subject: subject(common_name),
            serial: serial(),
            not_before: now.minus(DAY),
            not_after: now.plus(DAY * 365 * 25),
            public_key: key.public().clone(),
            algorithm: key.algorithm().signature_algorithm(),
        };
        let tbs = build_root(&request).unwrap();
        assert_eq!(lint_root(&tbs, &request), Ok(()));
        let der = key.seal(&tbs);
        Self::new(name, key, der, None, now)
    }

    /// An issuing authority below this root.
    fn intermediate(&self, name: &str, common_name: &str, permitted: &[&str], key: Key, now: Timestamp) -> Self {
        let request = IntermediateRequest {
            subject: subject(common_name),
            serial: serial(),
            not_before: now.minus(DAY),
            not_after: now.plus(DAY * 365 * 5),
            public_key: key.public().clone(),
            urls: self.urls.clone(),
            permitted: permitted.iter().map(|pattern| pattern.parse().unwrap()).collect(),
        };
        let tbs = build_intermediate(&request, &self.issuer).unwrap();
        assert_eq!(lint_intermediate(&tbs, &request, &self.issuer), Ok(()));
        Self::new(name, key, self.key.seal(&tbs), Some(&self.chain), now)
    }

    fn issue(&self, request: &LeafRequest) -> Vec<u8> {
        let tbs = build_leaf(request, &self.issuer).unwrap();
        assert_eq!(lint_leaf(&tbs, request, &self.issuer), Ok(()));
        self.key.seal(&tbs)
    }
}

/// A root, and an issuing authority below it, with keys of one algorithm.
pub(super) struct Hierarchy {
    /// The folder of its specimens.
    pub(super) name: String,
    pub(super) algorithm: KeyAlgorithm,
    pub(super) now: Timestamp,
    pub(super) root: Authority,
    pub(super) issuing: Authority,
    /// Each shape that is bound to an authority has one of its own.
    bound: Vec<(LeafShape, Authority)>,
}

impl Hierarchy {
    pub(super) fn new(name: &str, algorithm: KeyAlgorithm, now: Timestamp) -> Self {
        let root = Authority::root(&format!("{name}/root"), &format!("Demo Root {name}"), Key::generate(algorithm), now);
        let common_name = format!("Demo Issuing {name}");
        let issuing = root.intermediate(&format!("{name}/issuing"), &common_name, &PERMITTED, Key::generate(algorithm), now);
        let authority = |shape: LeafShape| {
            let (path, common_name) = (format!("{name}/issuing-{}", shape.as_str()), format!("Demo Issuing {name} {}", shape.as_str()));
            (shape, root.intermediate(&path, &common_name, permitted(shape), Key::generate(algorithm), now))
        };
        let bound = LeafShape::ALL.into_iter().filter(|shape| *shape != LeafShape::Ocsp).map(authority).collect();
        Self { name: name.to_owned(), algorithm, now, root, issuing, bound }
    }

    /// The authorities' own certificates.
    pub(super) fn authorities(&self, all: &mut Vec<Specimen>) {
        let mut push = |variant: String, profile: &'static str, authority: &Authority| {
            all.push(Specimen {
                name: format!("{}/{variant}", self.name),
                profile,
                key: self.algorithm,
                der: authority.issuer.certificate().der().to_vec(),
                chain: Arc::clone(&self.root.chain),
                kind: Kind::Certificate { purpose: Purpose::Issuing, is_revoked: false },
            });
        };
        push("root".to_owned(), "root", &self.root);
        push("intermediate".to_owned(), "intermediate", &self.issuing);
        for (shape, authority) in &self.bound {
            push(format!("intermediate-{}", shape.as_str()), "intermediate", authority);
        }
    }

    /// Another root certified by this one, and a leaf of the other that chains here.
    pub(super) fn cross(&self, partner: &Partner, all: &mut Vec<Specimen>) {
        let request = CrossRequest {
            subject: partner.root.issuer.certificate().clone(),
            serial: serial(),
            not_before: self.now.minus(DAY),
            not_after: self.now.plus(DAY * 365),
            urls: self.root.urls.clone(),
            permitted: PERMITTED.iter().map(|pattern| pattern.parse().unwrap()).collect(),
            path_len: 1,
        };
        let tbs = build_cross(&request, &self.root.issuer).unwrap();
        assert_eq!(lint_cross(&tbs, &request, &self.root.issuer), Ok(()));
        let cross = self.root.key.seal(&tbs);
        let above = [&partner.issuing.chain, &partner.root.chain, &self.root.chain];
        let chain = Chain {
            name: format!("{}/cross-chain", self.name),
            certificates: vec![above[0].certificates[0].clone(), cross.clone(), above[2].certificates[0].clone()],
            crls: above.map(|chain| chain.crls[0].clone()).to_vec(),
        };
        all.push(Specimen {
            name: format!("{}/cross", self.name),
            profile: "cross",
            key: partner.root.key.algorithm(),
            der: cross,
            chain: Arc::clone(&self.root.chain),
            kind: Kind::Certificate { purpose: Purpose::Issuing, is_revoked: false },
        });
        all.push(Specimen {
            name: format!("{}/client-crossed", self.name),
            profile: "client",
            key: partner.leaf.algorithm(),
            der: partner.client.clone(),
            chain: Arc::new(chain),
            kind: Kind::Certificate { purpose: Purpose::Client, is_revoked: false },
        });
    }

    /// Every profile with every key, and with the first of them what else a profile may say.
    pub(super) fn leaves(&self, subjects: &[Key], all: &mut Vec<Specimen>) {
        for (i, key) in subjects.iter().enumerate() {
            for (shape, authority) in self.bound.iter().filter(|(shape, _)| shape.takes_key(key.algorithm())) {
                let variants = variants(*shape, &authority.urls, key.public(), self.now);
                let is_first = i == subjects.iter().position(|key| shape.takes_key(key.algorithm())).unwrap();
                for (variant, request) in variants.into_iter().take(if is_first { 3 } else { 1 }) {
                    self.push(&variant, authority, key, &request, false, all);
                }
            }
            self.push("ocsp", &self.issuing, key, &responder(&self.issuing.urls, key.public(), self.now), false, all);
        }
        let key = &subjects[0];
        for (variant, request) in requests(&self.issuing.urls, key.public(), self.now) {
            self.push(variant, &self.issuing, key, &request, false, all);
        }
        // One that the current CRL lists.
        let (serial, _) = self.issuing.revoked[1];
        self.push("client-revoked", &self.issuing, key, &LeafRequest { serial, ..self.client(key) }, true, all);
    }

    fn push(&self, variant: &str, authority: &Authority, key: &Key, request: &LeafRequest, is_revoked: bool, all: &mut Vec<Specimen>) {
        let purpose = match request.shape() {
            LeafShape::Client | LeafShape::Kubernetes | LeafShape::Brcac => Purpose::Client,
            LeafShape::Server => Purpose::Server,
            LeafShape::Spiffe | LeafShape::Obwac => Purpose::ClientAndServer,
            LeafShape::Obseal | LeafShape::Ocsp => Purpose::Other,
        };
        all.push(Specimen {
            name: format!("{}/{variant}-{}", self.name, key.algorithm()),
            profile: request.shape().as_str(),
            key: key.algorithm(),
            der: authority.issue(request),
            chain: Arc::clone(&authority.chain),
            kind: Kind::Certificate { purpose, is_revoked },
        });
    }

    /// A client's certificate as it was asked for, for what is to be broken.
    pub(super) fn client(&self, key: &Key) -> LeafRequest {
        requests(&self.issuing.urls, key.public(), self.now).remove(0).1
    }

    /// A delegated responder's certificate.
    pub(super) fn responder(&self, key: &Key) -> Vec<u8> {
        self.issuing.issue(&responder(&self.issuing.urls, key.public(), self.now))
    }
}

/// Another CA, to be cross-certified.
pub(super) struct Partner {
    root: Authority,
    issuing: Authority,
    leaf: Key,
    client: Vec<u8>,
}

impl Partner {
    pub(super) fn new(now: Timestamp) -> Self {
        let key = || Key::generate(KeyAlgorithm::P256);
        let root = Authority::root("partner/root", "Partner Root", key(), now);
        let issuing = root.intermediate("partner/issuing", "Partner Issuing", &PERMITTED, key(), now);
        let leaf = key();
        let client = issuing.issue(&requests(&issuing.urls, leaf.public(), now).remove(0).1);
        Self { root, issuing, leaf, client }
    }
}

/// A shape with all that it may say, with the least, and without revocation.
fn variants(shape: LeafShape, urls: &StatusUrls, key: &PublicKey, now: Timestamp) -> [(String, LeafRequest); 3] {
    let name = |suffix: &str| format!("{}{suffix}", shape.as_str());
    let full = LeafRequest { policies: vec![POLICY], ..leaf(content(shape, true), urls, key, now) };
    let least = leaf(content(shape, false), urls, key, now);
    let revocation = Revocation::NotAvailable { issuer: urls.issuer.clone() };
    [(name(""), full), (name("-least"), least.clone()), (name("-no-rev-avail"), LeafRequest { revocation, ..least })]
}

/// Names of clients and servers in their variants; the first is a client's.
fn requests(urls: &StatusUrls, key: &PublicKey, now: Timestamp) -> Vec<(&'static str, LeafRequest)> {
    let identifiers = |names: &[&str]| names.iter().map(|name| Identifier::from_text(name).unwrap()).collect::<Vec<_>>();
    let client = |names: &[&str]| {
        let names = identifiers(names).into_iter().map(AltName::from).collect();
        leaf(LeafContent::Client { common_name: None, names }, urls, key, now)
    };
    let server = |names: &[&str], common_name: Option<&str>| {
        let common_name = common_name.map(str::to_owned);
        leaf(LeafContent::Server { common_name, names: identifiers(names) }, urls, key, now)
    };
    let names = ["b.demo.test", "a.demo.test", "127.0.0.1", "fd00::7"];
    vec![
        ("client-names", client(&names)),
        ("client-ip", client(&["127.0.0.1"])),
        ("server-names", server(&names, Some("b.demo.test"))),
        ("server-wildcard", server(&["*.demo.test"], None)),
    ]
}

fn leaf(content: LeafContent, urls: &StatusUrls, key: &PublicKey, now: Timestamp) -> LeafRequest {
    LeafRequest {
        serial: serial(),
        not_before: now.minus(SKEW),
        not_after: now.plus(DAY * 30),
        public_key: key.clone(),
        content,
        policies: Vec::new(),
        revocation: Revocation::Published(urls.clone()),
    }
}

fn responder(urls: &StatusUrls, key: &PublicKey, now: Timestamp) -> LeafRequest {
    LeafRequest { not_after: now.plus(DAY * 7), ..leaf(content(LeafShape::Ocsp, false), urls, key, now) }
}

fn subject(common_name: &str) -> CaSubject {
    CaSubject { country: Some("GB".to_owned()), organization: "Démo, Ltd".to_owned(), common_name: common_name.to_owned() }
}

fn urls(authority: &str) -> StatusUrls {
    StatusUrls::below(BASE, &authority.parse::<AuthorityName>().unwrap(), 0)
}

/// A serial number of which no two are the same in a process.
pub(super) fn serial() -> SerialNumber {
    static RNG: SeededRng = SeededRng::new(4);
    SerialNumber::random(&RNG)
}
