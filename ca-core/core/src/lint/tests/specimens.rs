//! Good specimens, written octet by octet with no help from the builders, and taken apart to be changed.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use const_oid::ObjectIdentifier;

use crate::lint::known;
use crate::pki::encode::{bits, integer, octets, oid as id, sequence, tlv};
use crate::pki::ocsp::HashAlgorithm;
use crate::pki::oid;

pub(super) fn list(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// An RDNSequence of attributes with one each: type, string tag, text.
pub(super) fn name(attributes: &[(ObjectIdentifier, u8, &str)]) -> Vec<u8> {
    let rdn = |(kind, tag, text): &(ObjectIdentifier, u8, &str)| tlv(0x31, &sequence(&[&id(*kind), &tlv(*tag, text.as_bytes())]));
    list(&attributes.iter().map(rdn).collect::<Vec<_>>())
}

pub(super) const UTF8: u8 = 0x0c;
pub(super) const PRINTABLE: u8 = 0x13;
pub(super) const IA5: u8 = 0x16;
pub(super) const ECDSA: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// A P-256 key that signs.
pub(super) struct Key {
    pair: EcdsaKeyPair,
    pub(super) spki: Vec<u8>,
}

impl Key {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let spki = AsDer::<PublicKeyX509Der>::as_der(pair.public_key()).unwrap().as_ref().to_vec();
        Self { pair, spki }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    /// SHA-1 of the key, which is also what OCSP names it by.
    pub(super) fn hash(&self) -> Vec<u8> {
        HashAlgorithm::Sha1.digest(&self.spki[self.spki.len() - 65..])
    }
}

pub(super) struct Keys {
    pub(super) root: Key,
    pub(super) issuing: Key,
    pub(super) responder: Key,
    pub(super) leaf: Key,
    /// subjectPublicKeyInfo.
    pub(super) ed25519: Vec<u8>,
    /// Random digits of 2048 bits stand in for a modulus: whether it is sound is not judged here.
    pub(super) rsa: Vec<u8>,
}

pub(super) static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let ed25519 = AsDer::<PublicKeyX509Der>::as_der(Ed25519KeyPair::generate().unwrap().public_key()).unwrap().as_ref().to_vec();
    Keys { root: Key::new(), issuing: Key::new(), responder: Key::new(), leaf: Key::new(), ed25519, rsa: rsa(&[0xb5; 256], &[1, 0, 1]) }
});

/// An RSA key with these numbers.
pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let number = |n: &[u8]| if n[0] & 0x80 == 0 { tlv(2, n) } else { tlv(2, &[&[0], n].concat()) };
    let key = sequence(&[&number(modulus), &number(exponent)]);
    sequence(&[&sequence(&[&id(oid::RSA_ENCRYPTION), &[5, 0]]), &bits(&key)])
}

pub(super) const RSA_SIGNATURE: &[u8] = &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];

/// An extension: identifier, criticality, value.
pub(super) type Ext = (ObjectIdentifier, bool, Vec<u8>);

pub(super) fn extensions(list: &[Ext]) -> Vec<u8> {
    self::list(&list.iter().map(|(kind, critical, value)| crate::pki::encode::extension(*kind, *critical, value)).collect::<Vec<_>>())
}

pub(super) fn validity(from: &str, to: &str) -> Vec<u8> {
    let time = |text: &str| tlv(if text.len() == 13 { 0x17 } else { 0x18 }, text.as_bytes());
    sequence(&[&time(from), &time(to)])
}

/// A certificate in pieces.
#[derive(Clone)]
pub(super) struct Certificate {
    /// version, serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, and what else is to stand there.
    pub(super) fields: Vec<Vec<u8>>,
    pub(super) extensions: Vec<Ext>,
    /// Instead of the SEQUENCE of extensions.
    pub(super) raw_extensions: Option<Vec<u8>>,
    /// Instead of the inner one.
    pub(super) outer_algorithm: Option<Vec<u8>>,
    /// Instead of the signature, the content of the BIT STRING.
    pub(super) signature: Option<Vec<u8>>,
    pub(super) issuers: Vec<Vec<u8>>,
    by_root: bool,
}

impl Certificate {
    fn new(issuer: Vec<u8>, subject: Vec<u8>, spki: &[u8], extensions: Vec<Ext>) -> Self {
        let serial = tlv(2, &[0x4d; 16]);
        let fields = vec![
            vec![0xa0, 3, 2, 1, 2],
            serial,
            ECDSA.to_vec(),
            issuer,
            validity("261124030000Z", "261224030000Z"),
            subject,
            spki.to_vec(),
        ];
        Self { fields, extensions, raw_extensions: None, outer_algorithm: None, signature: None, issuers: Vec::new(), by_root: false }
    }

    pub(super) fn tbs(&self) -> Vec<u8> {
        let list = self.raw_extensions.clone().unwrap_or_else(|| extensions(&self.extensions));
        let wrapped = if list.is_empty() { list } else { tlv(0xa3, &list) };
        sequence(&[&self.fields.concat(), &wrapped])
    }

    pub(super) fn der(&self) -> Vec<u8> {
        let tbs = self.tbs();
        let key = if self.by_root { &KEYS.root } else { &KEYS.issuing };
        let signature = self.signature.clone().unwrap_or_else(|| [&[0][..], &key.sign(&tbs)].concat());
        sequence(&[&tbs, self.outer_algorithm.as_ref().unwrap_or(&self.fields[2]), &tlv(3, &signature)])
    }

    pub(super) fn set(&mut self, kind: ObjectIdentifier, value: Vec<u8>) {
        self.extension(kind).2 = value;
    }

    pub(super) fn extension(&mut self, kind: ObjectIdentifier) -> &mut Ext {
        self.extensions.iter_mut().find(|(k, ..)| *k == kind).unwrap()
    }

    pub(super) fn remove(&mut self, kind: ObjectIdentifier) {
        self.extension(kind);
        self.extensions.retain(|(k, ..)| *k != kind);
    }

    pub(super) fn add(&mut self, kind: ObjectIdentifier, critical: bool, value: Vec<u8>) {
        self.extensions.push((kind, critical, value));
    }

    /// The subject, with another attribute.
    pub(super) fn subject_with(&mut self, attribute: (ObjectIdentifier, u8, &str)) {
        let mut content = crate::pki::walk::Walker::new(&self.fields[5]).next().unwrap().content.to_vec();
        let added = name(&[attribute]);
        content.extend_from_slice(crate::pki::walk::Walker::new(&added).next().unwrap().content);
        self.fields[5] = tlv(0x30, &content);
    }

    /// The names of the subjectAltName, with another.
    pub(super) fn names_with(&mut self, added: Vec<u8>) {
        let value = &self.extension(oid::SUBJECT_ALT_NAME).2;
        let content = crate::pki::walk::Walker::new(value).next().unwrap().content;
        let value = tlv(0x30, &[content, &added].concat());
        self.set(oid::SUBJECT_ALT_NAME, value);
    }
}

pub(super) fn root_name() -> Vec<u8> {
    name(&[(oid::COUNTRY, PRINTABLE, "GB"), (oid::ORGANIZATION, UTF8, "Démo, Ltd"), (oid::COMMON_NAME, UTF8, "Root")])
}

pub(super) fn issuing_name() -> Vec<u8> {
    name(&[(oid::ORGANIZATION, UTF8, "Démo, Ltd"), (oid::COMMON_NAME, UTF8, "Issuing")])
}

pub(super) fn ski(hash: &[u8]) -> Ext {
    (oid::SUBJECT_KEY_IDENTIFIER, false, octets(hash))
}

pub(super) fn aki(hash: &[u8]) -> Ext {
    (oid::AUTHORITY_KEY_IDENTIFIER, false, sequence(&[&tlv(0x80, hash)]))
}

pub(super) fn usage(unused: u8, octets: &[u8]) -> Vec<u8> {
    tlv(3, &[&[unused], octets].concat())
}

pub(super) fn uri(text: &str) -> Vec<u8> {
    tlv(0x86, text.as_bytes())
}

/// One point with this fullName.
pub(super) fn points(names: &[u8]) -> Vec<u8> {
    sequence(&[&sequence(&[&tlv(0xa0, &tlv(0xa0, names))])])
}

pub(super) fn purposes(all: &[ObjectIdentifier]) -> Vec<u8> {
    list(&all.iter().map(|p| id(*p)).collect::<Vec<_>>())
}

pub(super) fn subtree(base: Vec<u8>) -> Vec<u8> {
    sequence(&[&base])
}

pub(super) fn policy(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new(text).unwrap()
}

/// A self-signed root.
pub(super) fn root() -> Certificate {
    let extensions =
        vec![(oid::BASIC_CONSTRAINTS, true, vec![0x30, 3, 1, 1, 0xff]), (oid::KEY_USAGE, true, usage(1, &[0x06])), ski(&KEYS.root.hash())];
    let mut root = Certificate::new(root_name(), root_name(), &KEYS.root.spki, extensions);
    root.fields[4] = validity("261124030000Z", "20561124030000Z");
    root.by_root = true;
    root
}

/// A CA with every extension that only a CA has.
pub(super) fn issuing() -> Certificate {
    let constraints = sequence(&[
        &tlv(
            0xa0,
            &[
                subtree(tlv(0x82, b"bank.test")),
                subtree(tlv(0x87, &[10, 0, 0, 0, 255, 0, 0, 0])),
                subtree(tlv(0x81, b"bank.test")),
                subtree(tlv(0x86, b".bank.test")),
            ]
            .concat(),
        ),
        &tlv(0xa1, &[subtree(tlv(0x87, &[0; 32])), subtree(tlv(0xa4, &name(&[(oid::COUNTRY, PRINTABLE, "FR")])))].concat()),
    ]);
    let (one, two) = (policy("1.3.6.1.4.1.55555.1"), policy("1.3.6.1.4.1.55555.2"));
    let extensions = vec![
        (oid::BASIC_CONSTRAINTS, true, vec![0x30, 6, 1, 1, 0xff, 2, 1, 0]),
        (oid::KEY_USAGE, true, usage(1, &[0x06])),
        ski(&KEYS.issuing.hash()),
        aki(&KEYS.root.hash()),
        (oid::NAME_CONSTRAINTS, true, constraints),
        (known::CERTIFICATE_POLICIES, false, sequence(&[&sequence(&[&id(one)])])),
        (known::POLICY_MAPPINGS, true, sequence(&[&sequence(&[&id(one), &id(two)])])),
        (known::POLICY_CONSTRAINTS, true, vec![0x30, 3, 0x80, 1, 0]),
        (known::INHIBIT_ANY_POLICY, true, vec![2, 1, 0]),
        (oid::CRL_DISTRIBUTION_POINTS, false, points(&uri("http://pki.bank.test/root.crl"))),
    ];
    let mut ca = Certificate::new(root_name(), issuing_name(), &KEYS.issuing.spki, extensions);
    ca.fields[4] = validity("261124030000Z", "20501124030000Z");
    ca.by_root = true;
    ca.issuers = vec![root().der()];
    ca
}

fn below_issuing(subject: Vec<u8>, spki: &[u8], extensions: Vec<Ext>) -> Certificate {
    let mut leaf = Certificate::new(issuing_name(), subject, spki, extensions);
    leaf.issuers = vec![ISSUING_DER.clone(), ROOT_DER.clone()];
    leaf
}

pub(super) static ROOT_DER: LazyLock<Vec<u8>> = LazyLock::new(|| root().der());
pub(super) static ISSUING_DER: LazyLock<Vec<u8>> = LazyLock::new(|| issuing().der());

/// A certificate with most extensions.
pub(super) fn leaf() -> Certificate {
    let mailbox = sequence(&[&id(known::SMTP_UTF8_MAILBOX)]);
    let mailbox = &mailbox[2..];
    let names = [
        tlv(0x82, b"a.bank.test"),
        tlv(0x82, b"*.api.bank.test"),
        tlv(0x82, b"xn--bcher-kva.bank.test"),
        tlv(0x87, &[10, 1, 2, 3]),
        tlv(0x81, b"ops+pki@bank.test"),
        uri("spiffe://ns.bank.test/payments"),
        tlv(0xa0, &[mailbox, &tlv(0xa0, &tlv(UTF8, "bücher@bank.test".as_bytes()))].concat()),
        tlv(0xa4, &name(&[(oid::COMMON_NAME, UTF8, "a")])),
    ];
    let cps = sequence(&[&id(known::CPS), &tlv(IA5, b"https://bank.test/cps")]);
    let notice = sequence(&[&id(known::USER_NOTICE), &sequence(&[&tlv(UTF8, b"For tests")])]);
    let access = |method, url: &str| sequence(&[&id(method), &uri(url)]);
    let role = sequence(&[&id(policy("0.4.0.19495.1.2")), &tlv(UTF8, b"PSP_PI")]);
    let psd2 = sequence(&[&sequence(&[&role]), &tlv(UTF8, b"Financial Conduct Authority"), &tlv(UTF8, b"GB-FCA")]);
    let qc_type = sequence(&[&id(policy("0.4.0.1862.1.6.3"))]);
    let extensions = vec![
        (oid::BASIC_CONSTRAINTS, true, vec![0x30, 0]),
        (oid::KEY_USAGE, true, usage(7, &[0x80])),
        (oid::EXTENDED_KEY_USAGE, false, purposes(&[oid::CLIENT_AUTH, oid::SERVER_AUTH])),
        ski(&KEYS.leaf.hash()),
        aki(&KEYS.issuing.hash()),
        (oid::SUBJECT_ALT_NAME, false, list(&names)),
        (known::ISSUER_ALT_NAME, false, list(&[uri("http://pki.bank.test/")])),
        (oid::CRL_DISTRIBUTION_POINTS, false, points(&uri("http://pki.bank.test/1.crl"))),
        (known::FRESHEST_CRL, false, points(&uri("http://pki.bank.test/1-delta.crl"))),
        (
            oid::AUTHORITY_INFO_ACCESS,
            false,
            list(&[access(oid::ACCESS_OCSP, "http://pki.bank.test/ocsp"), access(oid::ACCESS_CA_ISSUERS, "http://pki.bank.test/ca.cer")]),
        ),
        (known::SUBJECT_INFO_ACCESS, false, list(&[access(policy("1.3.6.1.5.5.7.48.5"), "http://pki.bank.test/")])),
        (known::CERTIFICATE_POLICIES, false, sequence(&[&sequence(&[&id(policy("1.3.6.1.4.1.55555.1")), &sequence(&[&cps, &notice])])])),
        (known::TLS_FEATURE, false, vec![0x30, 3, 2, 1, 5]),
        (
            known::SUBJECT_DIRECTORY_ATTRIBUTES,
            false,
            sequence(&[&sequence(&[&id(policy("1.3.6.1.5.5.7.9.4")), &tlv(0x31, &tlv(PRINTABLE, b"GB"))])]),
        ),
        (known::QC_STATEMENTS, false, sequence(&[&sequence(&[&id(known::QC_TYPE), &qc_type]), &sequence(&[&id(known::PSD2), &psd2])])),
    ];
    let subject = name(&[
        (oid::COUNTRY, PRINTABLE, "GB"),
        (oid::ORGANIZATION, UTF8, "Bank"),
        (known::ORGANIZATION_IDENTIFIER, UTF8, "PSDGB-FCA-123456"),
        (oid::COMMON_NAME, UTF8, "a.bank.test"),
    ]);
    below_issuing(subject, &KEYS.leaf.spki, extensions)
}

/// A certificate of these extensions alone, and an empty subject.
pub(super) fn short_lived(spki: &[u8]) -> Certificate {
    let extensions = vec![
        (oid::KEY_USAGE, true, usage(7, &[0x80])),
        (oid::EXTENDED_KEY_USAGE, false, purposes(&[oid::CLIENT_AUTH])),
        ski(&[7; 20]),
        aki(&KEYS.issuing.hash()),
        (oid::SUBJECT_ALT_NAME, true, list(&[tlv(0x82, b"a.bank.test")])),
        (known::NO_REV_AVAIL, false, vec![5, 0]),
    ];
    below_issuing(vec![0x30, 0], spki, extensions)
}

/// A delegated responder's.
pub(super) fn responder() -> Certificate {
    let extensions = vec![
        (oid::KEY_USAGE, true, usage(7, &[0x80])),
        (oid::EXTENDED_KEY_USAGE, false, purposes(&[oid::OCSP_SIGNING])),
        ski(&KEYS.responder.hash()),
        aki(&KEYS.issuing.hash()),
        (oid::OCSP_NOCHECK, false, vec![5, 0]),
    ];
    below_issuing(name(&[(oid::COMMON_NAME, UTF8, "OCSP")]), &KEYS.responder.spki, extensions)
}

pub(super) fn number(n: u64) -> Vec<u8> {
    integer(n)
}
