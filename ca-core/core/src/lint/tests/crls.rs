//! Specimens of CRLs, and counter-examples to the rules about them.

use const_oid::ObjectIdentifier;

use super::specimens::*;
use super::{Context, Example, Object, Report, crl, of_extension, rules};
use crate::lint::{known, to_be_signed_crl};
use crate::pki::encode::{octets, oid as id, sequence, tlv};
use crate::pki::oid;

/// A CRL in pieces.
#[derive(Clone)]
struct Crl {
    /// version, signature, issuer, thisUpdate, nextUpdate.
    fields: Vec<Vec<u8>>,
    /// revokedCertificates, content; none without the list.
    entries: Option<Vec<Vec<u8>>>,
    extensions: Vec<Ext>,
    outer_algorithm: Option<Vec<u8>>,
    signature: Option<Vec<u8>>,
    previous: Option<Vec<u8>>,
    issuer: Vec<u8>,
}

fn time(text: &str) -> Vec<u8> {
    tlv(0x17, text.as_bytes())
}

fn entry(serial: u8, extensions: &[Ext]) -> Vec<u8> {
    let list = if extensions.is_empty() { Vec::new() } else { self::extensions(extensions) };
    sequence(&[&tlv(2, &[serial]), &time("261124020000Z"), &list])
}

fn reason(code: u8) -> Ext {
    (oid::REASON_CODE, false, vec![0x0a, 1, code])
}

/// The content of an issuing distribution point, after its name.
fn idp(rest: &[u8]) -> Vec<u8> {
    sequence(&[&tlv(0xa0, &tlv(0xa0, &uri("http://pki.bank.test/1.crl"))), rest])
}

fn full() -> Crl {
    let invalid = (oid::INVALIDITY_DATE, false, tlv(0x18, b"20261124010000Z"));
    let access = sequence(&[&sequence(&[&id(oid::ACCESS_CA_ISSUERS), &uri("http://pki.bank.test/ca.cer")])]);
    Crl {
        fields: vec![vec![2, 1, 1], ECDSA.to_vec(), issuing_name(), time("261124030000Z"), time("261125030000Z")],
        entries: Some(vec![entry(1, &[]), entry(2, &[reason(1), invalid]), entry(5, &[reason(6)])]),
        extensions: vec![
            aki(&KEYS.issuing.hash()),
            (oid::CRL_NUMBER, false, number(0x100)),
            (oid::ISSUING_DISTRIBUTION_POINT, true, idp(&[0x81, 1, 0xff])),
            (known::FRESHEST_CRL, false, points(&uri("http://pki.bank.test/1-delta.crl"))),
            (oid::AUTHORITY_INFO_ACCESS, false, access),
            (known::ISSUER_ALT_NAME, false, list(&[uri("http://pki.bank.test/")])),
        ],
        outer_algorithm: None,
        signature: None,
        previous: None,
        issuer: ISSUING_DER.clone(),
    }
}

fn delta() -> Crl {
    let mut delta = full();
    delta.remove(known::FRESHEST_CRL);
    delta.extensions.push((known::DELTA_CRL_INDICATOR, true, number(0xff)));
    delta.entries = Some(vec![entry(3, &[reason(8)])]);
    delta
}

fn indirect() -> Crl {
    let mut indirect = full();
    indirect.set(oid::ISSUING_DISTRIBUTION_POINT, idp(&[0x84, 1, 0xff]));
    let other = (known::CERTIFICATE_ISSUER, true, list(&[tlv(0xa4, &root_name())]));
    indirect.entries = Some(vec![entry(2, &[]), entry(2, &[other])]);
    indirect
}

impl Crl {
    fn tbs(&self) -> Vec<u8> {
        let entries = self.entries.as_ref().map_or(Vec::new(), |e| list(e));
        let extensions = tlv(0xa0, &extensions(&self.extensions));
        sequence(&[&self.fields.concat(), &entries, &extensions])
    }

    fn der(&self) -> Vec<u8> {
        let tbs = self.tbs();
        let signature = self.signature.clone().unwrap_or_else(|| [&[0][..], &KEYS.issuing.sign(&tbs)].concat());
        sequence(&[&tbs, self.outer_algorithm.as_ref().unwrap_or(&self.fields[1]), &tlv(3, &signature)])
    }

    fn judged(&self) -> Report {
        let issuers = [self.issuer.as_slice()];
        let context = Context { issuers: &issuers, previous_crl: self.previous.as_deref() };
        let (whole, tbs) = (crl(&self.der(), &context), to_be_signed_crl(&self.tbs(), &context));
        for finding in tbs.findings() {
            assert!(whole.findings().iter().any(|f| f.rule == finding.rule), "{finding} is found in the to-be-signed part alone");
        }
        whole
    }

    fn extension(&mut self, kind: ObjectIdentifier) -> &mut Ext {
        self.extensions.iter_mut().find(|(k, ..)| *k == kind).unwrap()
    }

    fn set(&mut self, kind: ObjectIdentifier, value: Vec<u8>) {
        self.extension(kind).2 = value;
    }

    fn remove(&mut self, kind: ObjectIdentifier) {
        self.extension(kind);
        self.extensions.retain(|(k, ..)| *k != kind);
    }
}

fn example(rule: &'static str, also: &'static [&'static str], mut specimen: Crl, change: impl FnOnce(&mut Crl)) -> Example {
    change(&mut specimen);
    Example { rule, also, report: specimen.judged() }
}

pub(super) fn good() -> Vec<(&'static str, Report)> {
    let mut empty = full();
    empty.entries = None;
    empty.previous = Some(full().der());
    empty.set(oid::CRL_NUMBER, number(0x101));
    vec![
        ("full CRL", full().judged()),
        ("empty CRL", empty.judged()),
        ("delta CRL", delta().judged()),
        ("indirect CRL", indirect().judged()),
    ]
}

pub(super) fn examples() -> Vec<Example> {
    let algorithm = |kind| sequence(&[&id(kind)]);
    let entries = |entries: Vec<Vec<u8>>| move |c: &mut Crl| c.entries = Some(entries);
    let mut all = generic();
    let mut other_issuer = issuing();
    other_issuer.fields[5] = root_name();
    let mut without_sign = issuing();
    without_sign.set(oid::KEY_USAGE, usage(2, &[0x04]));
    let mut compressed = issuing();
    compressed.fields[6] = sequence(&[&algorithm(policy("1.2.3")), &crate::pki::encode::bits(&[1])]);
    all.extend([
        example("crl-structure", &[], full(), |c| drop(c.fields.remove(2))),
        example("crl-version", &[], full(), |c| c.fields[0] = Vec::new()),
        example("crl-version", &[], full(), |c| c.fields[0] = vec![2, 1, 0]),
        example("crl-algorithms-equal", &["crl-signature-verifies"], full(), |c| {
            c.outer_algorithm = Some(algorithm(oid::ECDSA_WITH_SHA384))
        }),
        example("crl-algorithm-unknown", &["crl-signature-not-judged"], full(), |c| c.fields[1] = algorithm(policy("1.2.3"))),
        example("crl-algorithm-parameters", &["crl-signature-not-judged"], full(), |c| {
            c.fields[1] = sequence(&[&id(oid::ECDSA_WITH_SHA256), &[5, 0]]);
        }),
        example("crl-algorithm-broken", &["crl-signature-not-judged"], full(), |c| c.fields[1] = algorithm(known::ECDSA_WITH_SHA1)),
        example("crl-signature-value", &["crl-signature-verifies"], full(), |c| c.signature = Some(vec![0, 1, 2, 3])),
        example("crl-signature-verifies", &[], full(), |c| c.signature = Some([&[0][..], &KEYS.leaf.sign(b"x")].concat())),
        example("crl-signature-not-judged", &[], full(), |c| c.issuer = compressed.der()),
        example("crl-algorithm-of-issuer", &["crl-signature-value", "crl-signature-verifies"], full(), |c| {
            c.fields[1] = algorithm(oid::ED25519);
        }),
        example("crl-issuer-name", &["crl-issuer-chains"], full(), |c| c.fields[2] = vec![0x30, 0]),
        example("crl-issuer-chains", &[], full(), |c| c.issuer = other_issuer.der()),
        example("crl-issuer-key-identifier", &[], full(), |c| c.set(oid::AUTHORITY_KEY_IDENTIFIER, aki(&[1]).2)),
        example("crl-issuer-key-usage", &[], full(), |c| c.issuer = without_sign.der()),
        example("crl-time-form", &[], full(), |c| c.fields[4] = tlv(0x18, b"20261125030000Z")),
        example("crl-next-update", &[], full(), |c| c.fields[4] = c.fields[3].clone()),
        example("crl-next-update", &[], full(), |c| drop(c.fields.pop())),
        example("crl-list-empty", &[], full(), entries(Vec::new())),
        example("crl-number-present", &[], full(), |c| c.remove(oid::CRL_NUMBER)),
        example("crl-number-length", &[], full(), |c| c.set(oid::CRL_NUMBER, tlv(2, &[1; 21]))),
        example("crl-number-syntax", &[], full(), |c| c.set(oid::CRL_NUMBER, tlv(2, &[0x80]))),
        example("crl-number-grows", &[], full(), |c| c.previous = Some(c.der())),
        example("crl-number-grows", &[], full(), |c| {
            c.previous = Some(c.der());
            c.set(oid::CRL_NUMBER, number(0xff));
        }),
        example("crl-number-grows", &[], full(), |c| {
            c.previous = Some(c.der());
            c.set(oid::CRL_NUMBER, number(0x1_0000));
            c.fields[3] = time("261124025959Z");
        }),
        example("crl-authority-key-present", &[], full(), |c| c.remove(oid::AUTHORITY_KEY_IDENTIFIER)),
        example("issuing-point-empty", &[], full(), |c| c.set(oid::ISSUING_DISTRIBUTION_POINT, vec![0x30, 0])),
        // FALSE is the default.
        example("issuing-point-syntax", &[], full(), |c| c.set(oid::ISSUING_DISTRIBUTION_POINT, idp(&[0x81, 1, 0]))),
        example("issuing-point-scope", &[], full(), |c| c.set(oid::ISSUING_DISTRIBUTION_POINT, idp(&[0x81, 1, 0xff, 0x82, 1, 0xff]))),
        example("issuing-point-reasons", &[], full(), |c| c.set(oid::ISSUING_DISTRIBUTION_POINT, idp(&[0x83, 2, 6, 0x40]))),
        example("issuing-point-uri", &[], full(), |c| {
            c.set(oid::ISSUING_DISTRIBUTION_POINT, sequence(&[&tlv(0xa0, &tlv(0xa0, &uri("1.crl")))]));
        }),
        example("delta-base-number", &[], delta(), |c| c.set(known::DELTA_CRL_INDICATOR, number(0x100))),
        example("delta-freshest", &[], full(), |c| c.extensions.push((known::DELTA_CRL_INDICATOR, true, number(1)))),
        example("crl-entry-structure", &[], full(), entries(vec![sequence(&[&tlv(2, &[1])])])),
        example("crl-entry-serial", &[], full(), entries(vec![entry(0, &[])])),
        example("crl-entry-serial", &[], full(), entries(vec![entry(0x80, &[])])),
        example("crl-entry-time-form", &[], full(), entries(vec![sequence(&[&tlv(2, &[1]), &tlv(0x18, b"20261124020000Z")])])),
        example("crl-entry-date", &[], full(), entries(vec![sequence(&[&tlv(2, &[1]), &time("261124030001Z")])])),
        example(
            "crl-entry-date",
            &["crl-entry-time-form"],
            full(),
            entries(vec![sequence(&[&tlv(2, &[1]), &tlv(0x18, b"20261124030001Z")])]),
        ),
        example("crl-entry-reason", &[], full(), entries(vec![entry(1, &[(oid::REASON_CODE, false, vec![0x0a, 1, 7])])])),
        example("crl-entry-reason", &[], full(), entries(vec![entry(1, &[(oid::REASON_CODE, false, vec![2, 1, 1])])])),
        example("crl-entry-reason-critical", &[], full(), entries(vec![entry(1, &[(oid::REASON_CODE, true, vec![0x0a, 1, 1])])])),
        example("crl-entry-unspecified", &[], full(), entries(vec![entry(1, &[reason(0)])])),
        example("crl-entry-remove-from-crl", &[], full(), entries(vec![entry(1, &[reason(8)])])),
        example("crl-entry-invalidity-date", &[], full(), entries(vec![entry(1, &[(oid::INVALIDITY_DATE, false, time("261124010000Z"))])])),
        example("crl-entry-invalidity-critical", &[], full(), {
            entries(vec![entry(1, &[(oid::INVALIDITY_DATE, true, tlv(0x18, b"20261124010000Z"))])])
        }),
        example("crl-entry-issuer", &[], full(), |c| c.entries = indirect().entries.map(|e| vec![e[1].clone()])),
        example("crl-entry-issuer", &[], indirect(), entries(vec![entry(2, &[(known::CERTIFICATE_ISSUER, true, vec![0x30, 0])])])),
        example("crl-entry-repeated", &[], full(), entries(vec![entry(1, &[]), entry(1, &[])])),
        example("crl-entry-repeated", &["crl-entry-order"], full(), entries(vec![entry(2, &[]), entry(1, &[]), entry(2, &[])])),
        example("crl-entry-order", &[], full(), entries(vec![entry(2, &[]), entry(1, &[])])),
        example("extensions-empty", &[], full(), entries(vec![sequence(&[&tlv(2, &[1]), &time("261124020000Z"), &[0x30, 0]])])),
        example("extension-unknown-critical", &[], full(), entries(vec![entry(1, &[(policy("1.2.3"), true, vec![5, 0])])])),
        example("extension-unknown-critical", &[], full(), |c| c.extensions.push((policy("1.2.3"), true, vec![5, 0]))),
        example("extension-unknown", &[], full(), |c| c.extensions.push((policy("1.2.3"), false, octets(&[])))),
    ]);
    all.push(too_large());
    all
}

/// Of each rule on an extension's syntax or criticality.
fn generic() -> Vec<Example> {
    let mut found = Vec::new();
    for rule in rules() {
        let Some((Object::Crl, kind, critical)) = of_extension(rule) else { continue };
        let specimen = [full(), delta()].into_iter().find(|s| s.extensions.iter().any(|(k, ..)| *k == kind)).unwrap();
        let also: &[_] = if rule.name == "crl-authority-key-syntax" { &["crl-authority-key-present"] } else { &[] };
        found.push(example(rule.name, also, specimen, |c| match critical {
            Some(critical) => c.extension(kind).1 = critical,
            None => c.set(kind, vec![1, 1, 0xff]),
        }));
    }
    found
}

/// Zeros that nobody touches take no memory.
fn too_large() -> Example {
    let report = crl(&vec![0; crate::lint::crl::MAX_LEN + 1], &Context::default());
    Example { rule: "crl-size", also: &[], report }
}

/// Entries in order or not: what is found does not depend on how many there are.
#[test]
fn long_lists_are_walked() {
    let long = |serial: &dyn Fn(u32) -> u32| {
        let entries = (0..70_000).map(|i| sequence(&[&tlv(2, &[&[1][..], &serial(i).to_be_bytes()].concat()), &time("261124020000Z")]));
        let mut specimen = full();
        specimen.entries = Some(entries.collect());
        specimen.judged()
    };
    assert_eq!(long(&|i| i).findings(), []);
    let found: Vec<_> = long(&|i| i ^ 1).findings().iter().map(|f| (f.rule, f.detail.clone())).collect();
    assert_eq!(found, [("crl-entry-order", "70000 entries are not in order; whether one stands twice was not looked for".to_owned())]);
    let twice = long(&|i| i / 2);
    assert_eq!((twice.findings().len(), twice.omitted()), (20, 35_000 - 20));
    assert!(twice.findings().iter().all(|f| f.rule == "crl-entry-repeated"));
}

/// A length of four octets, which only CRLs have.
#[test]
fn more_than_16_mib_are_read() {
    let long = uri(&format!("http://pki.bank.test/{}", "x".repeat(60_000)));
    let other = (known::CERTIFICATE_ISSUER, true, list(&[long]));
    let mut specimen = indirect();
    specimen.entries = Some(vec![entry(1, &[other]); 300]);
    assert!(specimen.der().len() > 1 << 24);
    assert_eq!(specimen.judged().findings(), []);
}

/// For the tests with random changes.
pub(super) fn specimens() -> Vec<Vec<u8>> {
    vec![full().der(), delta().der(), indirect().tbs()]
}
