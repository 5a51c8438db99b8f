//! Keys, requests and a small hierarchy.

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, ML_DSA_65_SIGNING,
    ML_DSA_87_SIGNING, PqdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};

use crate::model::{AuthorityName, StatusUrls};
use crate::pki::{
    AltName, Certificate, DnsName, EmailName, Identifier, KeyAlgorithm, PublicKey, SerialNumber, SpiffeId, Timestamp, UriName,
    assemble_signed,
};
use crate::profile::*;

pub(super) enum Signer {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
    MlDsa(PqdsaKeyPair),
}

pub(super) struct Key {
    pub(super) algorithm: KeyAlgorithm,
    pub(super) public: PublicKey,
    signer: Signer,
}

impl Key {
    pub(super) fn generate(algorithm: KeyAlgorithm) -> Self {
        let rsa = |size| RsaKeyPair::generate(size).map(Signer::Rsa).unwrap();
        let signer = match algorithm {
            KeyAlgorithm::P256 => Signer::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()),
            KeyAlgorithm::P384 => Signer::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap()),
            KeyAlgorithm::Ed25519 => Signer::Ed25519(Ed25519KeyPair::generate().unwrap()),
            KeyAlgorithm::Rsa2048 => rsa(KeySize::Rsa2048),
            KeyAlgorithm::Rsa3072 => rsa(KeySize::Rsa3072),
            KeyAlgorithm::Rsa4096 => rsa(KeySize::Rsa4096),
            KeyAlgorithm::MlDsa65 => Signer::MlDsa(PqdsaKeyPair::generate(&ML_DSA_65_SIGNING).unwrap()),
            KeyAlgorithm::MlDsa87 => Signer::MlDsa(PqdsaKeyPair::generate(&ML_DSA_87_SIGNING).unwrap()),
        };
        let spki = match &signer {
            Signer::Ecdsa(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Signer::Ed25519(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Signer::MlDsa(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Signer::Rsa(pair) => AsDer::<aws_lc_rs::encoding::PublicKeyX509Der>::as_der(pair.public_key()).unwrap().as_ref().to_vec(),
        };
        Self { algorithm, public: PublicKey::from_spki_der(spki), signer }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let rng = SystemRandom::new();
        match &self.signer {
            Signer::Ecdsa(pair) => pair.sign(&rng, message).unwrap().as_ref().to_vec(),
            Signer::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &rng, message, &mut signature).unwrap();
                signature
            }
            Signer::MlDsa(pair) => {
                let mut signature = vec![0; pair.algorithm().signature_len()];
                pair.sign(message, &mut signature).unwrap();
                signature
            }
        }
    }

    pub(super) fn certify(&self, tbs: &[u8]) -> Certificate {
        let alg = self.algorithm.signature_algorithm();
        Certificate::from_der(&assemble_signed(tbs, alg, &self.sign(tbs))).unwrap()
    }
}

/// A root, an intermediate below it, and keys for what comes below that.
pub(super) struct Hierarchy {
    pub(super) root_key: Key,
    pub(super) root: Issuer,
    pub(super) issuing_key: Key,
    pub(super) issuing: Issuer,
    pub(super) leaf_key: Key,
    pub(super) rsa_key: &'static Key,
}

/// What an authority may have that issues every form of name.
pub(super) const OPEN: [&str; 4] = ["dns:*.demo.test", "ip:127.0.0.0/8", "uri:spiffe://demo.test/ns/*", "email:*@demo.test"];

/// For tests that don't depend on the algorithm.
pub(super) static HIERARCHY: LazyLock<Hierarchy> = LazyLock::new(|| Hierarchy::new(KeyAlgorithm::P256, &OPEN));

/// For the profile that takes no other kind.
static RSA: LazyLock<Key> = LazyLock::new(|| Key::generate(KeyAlgorithm::Rsa2048));

pub(super) fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

pub(super) fn serial(last: u8) -> SerialNumber {
    let mut bytes = [0x7f; 20];
    bytes[19] = last;
    SerialNumber::from_bytes(bytes).unwrap()
}

pub(super) fn urls() -> StatusUrls {
    StatusUrls::below("http://127.0.0.1:14002", &"demo".parse::<AuthorityName>().unwrap(), 3)
}

pub(super) fn names(texts: &[&str]) -> Vec<Identifier> {
    texts.iter().map(|t| Identifier::from_text(t).unwrap()).collect()
}

pub(super) fn alt_names(texts: &[&str]) -> Vec<AltName> {
    let read = |text: &&str| match text.split_once("://") {
        Some(_) => AltName::Uri(UriName::parse(text).unwrap()),
        None if text.contains('@') => AltName::Email(EmailName::parse(text).unwrap()),
        None => AltName::from(Identifier::from_text(text).unwrap()),
    };
    texts.iter().map(read).collect()
}

pub(super) fn psd2() -> Psd2 {
    Psd2 {
        roles: vec![Psd2Role::PaymentInitiation, Psd2Role::AccountInformation],
        nca_name: "Financial Conduct Authority".to_owned(),
        nca_id: "GB-FCA".to_owned(),
    }
}

/// A content of each shape, that needs nothing but names of `demo.test`.
pub(super) fn content(shape: LeafShape) -> LeafContent {
    let bank = || OpenBankingSubject {
        country: "GB".to_owned(),
        organization: "Démo Bank plc".to_owned(),
        organization_identifier: "PSDGB-FCA-123456".to_owned(),
        common_name: "0015800001HQQrZAAX".to_owned(),
    };
    match shape {
        LeafShape::Client => LeafContent::Client { common_name: None, names: alt_names(&["b.demo.test", "a.demo.test", "127.0.0.1"]) },
        LeafShape::Server => LeafContent::Server { common_name: None, names: names(&["b.demo.test", "a.demo.test", "127.0.0.1"]) },
        LeafShape::Spiffe => {
            LeafContent::Spiffe { id: SpiffeId::parse("spiffe://demo.test/ns/payments").unwrap(), subject: Subject::default() }
        }
        LeafShape::Kubernetes => {
            LeafContent::Kubernetes { user: "payments".to_owned(), groups: vec!["deployers".to_owned(), "auditors".to_owned()] }
        }
        LeafShape::Obwac => LeafContent::Obwac { subject: bank(), names: alt_names(&["a.demo.test"]), psd2: psd2() },
        LeafShape::Obseal => LeafContent::Obseal { subject: bank(), psd2: psd2() },
        LeafShape::Brcac => LeafContent::Brcac {
            subject: BrcacSubject {
                business_category: "Private Organization".to_owned(),
                cnpj: "11222333000181".to_owned(),
                organization: "Banco Demo S.A.".to_owned(),
                state: "SP".to_owned(),
                locality: "São Paulo".to_owned(),
                organization_identifier: "OFBBR-4b75db2e-a0c0-4359-a077-684e88fa695c".to_owned(),
                software_statement: "d7384bd0-842f-43c5-be02-9d2b2d5efc2c".to_owned(),
                common_name: DnsName::parse("a.demo.test").unwrap(),
            },
            names: vec![DnsName::parse("b.demo.test").unwrap(), DnsName::parse("a.demo.test").unwrap()],
        },
        LeafShape::Ocsp => LeafContent::Ocsp { common_name: "Demo OCSP 1".to_owned() },
    }
}

impl Hierarchy {
    pub(super) fn new(algorithm: KeyAlgorithm, permitted: &[&str]) -> Self {
        // Below a post-quantum issuer the leaves' keys are such, too.
        let of_leaf = if algorithm.is_post_quantum() { algorithm } else { KeyAlgorithm::P256 };
        let (root_key, issuing_key, leaf_key) = (Key::generate(algorithm), Key::generate(algorithm), Key::generate(of_leaf));
        let request = root_request(&root_key);
        let tbs = build_root(&request).unwrap();
        assert_eq!(lint_root(&tbs, &request), Ok(()));
        let root = Issuer::new(root_key.certify(&tbs)).unwrap();

        let request = intermediate_request(&issuing_key, permitted);
        let tbs = build_intermediate(&request, &root).unwrap();
        assert_eq!(lint_intermediate(&tbs, &request, &root), Ok(()));
        let issuing = Issuer::new(root_key.certify(&tbs)).unwrap();
        Self { root_key, root, issuing_key, issuing, leaf_key, rsa_key: &RSA }
    }

    pub(super) fn leaf_request(&self, shape: LeafShape) -> LeafRequest {
        LeafRequest {
            serial: serial(3),
            not_before: at("2026-11-24T03:00:00Z"),
            not_after: at("2026-12-24T03:00:00Z"),
            public_key: if shape == LeafShape::Brcac { self.rsa_key.public.clone() } else { self.leaf_key.public.clone() },
            content: content(shape),
            policies: Vec::new(),
            revocation: Revocation::Published(urls()),
        }
    }

    /// Builds, lints and signs.
    pub(super) fn issue(&self, request: &LeafRequest) -> Certificate {
        let tbs = build_leaf(request, &self.issuing).unwrap();
        assert_eq!(lint_leaf(&tbs, request, &self.issuing), Ok(()));
        self.issuing_key.certify(&tbs)
    }
}

pub(super) fn root_request(key: &Key) -> RootRequest {
    RootRequest {
        subject: CaSubject { country: Some("GB".to_owned()), organization: "Démo, Ltd".to_owned(), common_name: "Demo Root".to_owned() },
        serial: serial(1),
        not_before: at("2026-11-24T00:00:00Z"),
        not_after: at("2056-11-24T00:00:00Z"),
        public_key: key.public.clone(),
        algorithm: key.algorithm.signature_algorithm(),
    }
}

pub(super) fn intermediate_request(key: &Key, permitted: &[&str]) -> IntermediateRequest {
    IntermediateRequest {
        subject: CaSubject { country: None, organization: "Démo, Ltd".to_owned(), common_name: "Demo Issuing 1".to_owned() },
        serial: serial(2),
        not_before: at("2026-11-24T00:00:00Z"),
        not_after: at("2049-12-31T23:59:59Z"),
        public_key: key.public.clone(),
        urls: StatusUrls::below("http://127.0.0.1:14002", &"root".parse::<AuthorityName>().unwrap(), 0),
        permitted: permitted.iter().map(|p| p.parse().unwrap()).collect(),
    }
}
