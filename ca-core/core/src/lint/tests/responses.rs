//! Specimens of OCSP responses, and counter-examples to the rules about them.

use super::specimens::*;
use super::{Context, Example, Object, Report, ocsp_response, of_extension, response_data, rules};
use crate::lint::{MAX_RESPONSE_LEN, known};
use crate::pki::encode::{bits, octets, oid as id, sequence, tlv};
use crate::pki::ocsp::HashAlgorithm;
use crate::pki::oid;

/// A response in pieces.
#[derive(Clone)]
struct Response {
    status: u8,
    kind: const_oid::ObjectIdentifier,
    /// version, responderID, producedAt.
    fields: Vec<Vec<u8>>,
    answers: Vec<Answer>,
    extensions: Vec<Ext>,
    algorithm: Vec<u8>,
    signature: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    issuer: Vec<u8>,
    /// Without the issuer.
    alone: bool,
}

/// A SingleResponse: certID, certStatus, thisUpdate, nextUpdate and its extensions.
#[derive(Clone)]
struct Answer([Vec<u8>; 4], Vec<Ext>);

fn time(text: &str) -> Vec<u8> {
    tlv(0x18, text.as_bytes())
}

fn cert_id(serial: &[u8], hash: const_oid::ObjectIdentifier, algorithm: HashAlgorithm) -> Vec<u8> {
    let key = &KEYS.issuing.spki[KEYS.issuing.spki.len() - 65..];
    let digests = [octets(&algorithm.digest(&issuing_name())), octets(&algorithm.digest(key))];
    sequence(&[&sequence(&[&id(hash), &[5, 0]]), &digests[0], &digests[1], &tlv(2, serial)])
}

fn answer(serial: u8, status: Vec<u8>) -> Answer {
    let id = cert_id(&[serial], known::SHA1, HashAlgorithm::Sha1);
    Answer([id, status, time("20261124030000Z"), tlv(0xa0, &time("20261124040000Z"))], Vec::new())
}

fn revoked(at: &str, reason: Option<u8>) -> Vec<u8> {
    let reason = reason.map_or(Vec::new(), |code| tlv(0xa0, &[0x0a, 1, code]));
    tlv(0xa1, &[time(at), reason].concat())
}

const GOOD: &[u8] = &[0x80, 0];
const UNKNOWN: &[u8] = &[0x82, 0];

fn response() -> Response {
    let mut second = answer(2, revoked("20261124020000Z", Some(1)));
    second.0[0] = cert_id(&[2], known::SHA256, HashAlgorithm::Sha256);
    second.1 = vec![
        (known::OCSP_ARCHIVE_CUTOFF, false, time("20200101000000Z")),
        (known::OCSP_CRL_REFERENCES, false, sequence(&[&tlv(0xa1, &number(5))])),
    ];
    Response {
        status: 0,
        kind: known::OCSP_BASIC,
        fields: vec![Vec::new(), tlv(0xa2, &octets(&KEYS.responder.hash())), time("20261124030000Z")],
        answers: vec![answer(1, GOOD.to_vec()), second, answer(3, UNKNOWN.to_vec()), answer(4, revoked("19700101000000Z", Some(6)))],
        extensions: vec![(known::OCSP_NONCE, false, octets(&[7; 32])), (known::OCSP_EXTENDED_REVOKE, false, vec![5, 0])],
        algorithm: ECDSA.to_vec(),
        signature: None,
        certificate: Some(responder().der()),
        issuer: ISSUING_DER.clone(),
        alone: false,
    }
}

impl Response {
    fn data(&self) -> Vec<u8> {
        let single = |Answer(fields, list): &Answer| {
            let list = if list.is_empty() { Vec::new() } else { tlv(0xa1, &extensions(list)) };
            sequence(&[&fields.concat(), &list])
        };
        let answers = list(&self.answers.iter().map(single).collect::<Vec<_>>());
        let extensions = if self.extensions.is_empty() { Vec::new() } else { tlv(0xa1, &extensions(&self.extensions)) };
        sequence(&[&self.fields.concat(), &answers, &extensions])
    }

    fn der(&self) -> Vec<u8> {
        let data = self.data();
        let signature = self.signature.clone().unwrap_or_else(|| KEYS.responder.sign(&data));
        let certificates = self.certificate.as_ref().map_or(Vec::new(), |c| tlv(0xa0, &sequence(&[c])));
        let basic = sequence(&[&data, &self.algorithm, &bits(&signature), &certificates]);
        sequence(&[&[0x0a, 1, self.status], &tlv(0xa0, &sequence(&[&id(self.kind), &octets(&basic)]))])
    }

    fn judged(&self) -> Report {
        let issuers = [self.issuer.as_slice()];
        let context = Context { issuers: if self.alone { &[] } else { &issuers }, previous_crl: None };
        let (whole, data) = (ocsp_response(&self.der(), &context), response_data(&self.data(), &context));
        for finding in data.findings() {
            assert!(whole.findings().iter().any(|f| f.rule == finding.rule), "{finding} is found in the to-be-signed part alone");
        }
        whole
    }
}

pub(super) fn good() -> Vec<(&'static str, Report)> {
    let mut by_issuer = response();
    by_issuer.certificate = None;
    by_issuer.fields[1] = tlv(0xa1, &issuing_name());
    by_issuer.signature = Some(KEYS.issuing.sign(&by_issuer.data()));
    let mut alone = response();
    alone.alone = true;
    let mut by_issuer_alone = by_issuer.clone();
    by_issuer_alone.alone = true;
    vec![
        ("delegated response", response().judged()),
        ("response by the issuer", by_issuer.judged()),
        ("response without the issuer", alone.judged()),
        ("response without any certificate", by_issuer_alone.judged()),
        ("tryLater", ocsp_response(&[0x30, 3, 0x0a, 1, 3], &Context::default())),
    ]
}

fn example(rule: &'static str, also: &'static [&'static str], change: impl FnOnce(&mut Response)) -> Example {
    let mut specimen = response();
    change(&mut specimen);
    Example { rule, also, report: specimen.judged() }
}

/// Changes the first answer.
fn of_answer(rule: &'static str, also: &'static [&'static str], at: usize, value: Vec<u8>) -> Example {
    example(rule, also, |r| r.answers[0].0[at] = value)
}

pub(super) fn examples() -> Vec<Example> {
    let algorithm = |kind| sequence(&[&id(kind)]);
    let status = |der: &[u8]| Example { rule: "ocsp-status", also: &[], report: ocsp_response(der, &Context::default()) };
    let certificate = |rule, also, change: &dyn Fn(&mut Certificate)| {
        let mut other = responder();
        change(&mut other);
        example(rule, also, |r| r.certificate = Some(other.der()))
    };
    let mut all = vec![
        Example { rule: "ocsp-size", also: &[], report: ocsp_response(&vec![0; MAX_RESPONSE_LEN + 1], &Context::default()) },
        example("ocsp-structure", &[], |r| drop(r.fields.remove(2))),
        example("ocsp-structure", &[], |r| r.answers = vec![r.answers[0].clone(); 1025]),
        example("ocsp-status", &[], |r| r.status = 1),
        status(&[0x30, 3, 0x0a, 1, 4]),
        status(&[0x30, 3, 0x0a, 1, 0]),
        example("ocsp-type", &[], |r| r.kind = policy("1.2.3")),
        example("ocsp-version", &[], |r| r.fields[0] = vec![0xa0, 3, 2, 1, 0]),
        example("ocsp-responder-id", &["ocsp-responder-named"], |r| r.fields[1] = tlv(0xa2, &octets(&[1; 32]))),
        example("ocsp-responder-id", &[], |r| r.fields[1] = tlv(0xa3, &[])),
        example("ocsp-responder-named", &[], |r| r.fields[1] = tlv(0xa2, &octets(&[1; 20]))),
        example("ocsp-responder-named", &[], |r| r.certificate = None),
        example("ocsp-answers", &[], |r| r.answers.clear()),
        example("ocsp-answer-repeated", &[], |r| r.answers.push(r.answers[0].clone())),
        of_answer("ocsp-cert-id", &["ocsp-cert-id-issuer"], 0, cert_id(&[1], known::SHA256, HashAlgorithm::Sha1)),
        of_answer("ocsp-cert-id", &[], 0, cert_id(&[1], policy("1.2.3"), HashAlgorithm::Sha1)),
        of_answer("ocsp-cert-id-serial", &[], 0, cert_id(&[0], known::SHA1, HashAlgorithm::Sha1)),
        example("ocsp-cert-id-issuer", &["ocsp-responder-issued"], |r| r.issuer = ROOT_DER.clone()),
        of_answer("ocsp-cert-status", &[], 1, vec![0x80, 1, 0]),
        of_answer("ocsp-cert-status", &[], 1, revoked("20261124020000Z", Some(7))),
        of_answer("ocsp-reason", &[], 1, revoked("20261124020000Z", Some(0))),
        of_answer("ocsp-reason", &[], 1, revoked("20261124020000Z", Some(8))),
        of_answer("ocsp-revocation-time", &[], 1, revoked("20261124030001Z", Some(1))),
        of_answer("ocsp-this-update", &[], 2, time("20261124030001Z")),
        of_answer("ocsp-next-update", &[], 3, tlv(0xa0, &time("20261124030000Z"))),
        of_answer("ocsp-next-update-present", &[], 3, Vec::new()),
        example("ocsp-nonce-syntax", &[], |r| r.extensions[0].2 = octets(&[])),
        example("ocsp-nonce-syntax", &[], |r| r.extensions[0].2 = octets(&[7; 129])),
        example("ocsp-never-issued", &[], |r| drop(r.extensions.pop())),
        example("ocsp-algorithm-unknown", &["ocsp-signature-not-judged"], |r| r.algorithm = algorithm(policy("1.2.3"))),
        example("ocsp-algorithm-parameters", &["ocsp-signature-not-judged"], |r| {
            r.algorithm = sequence(&[&id(oid::ECDSA_WITH_SHA256), &[5, 0]]);
        }),
        example("ocsp-algorithm-broken", &["ocsp-signature-not-judged"], |r| r.algorithm = algorithm(known::ECDSA_WITH_SHA1)),
        example("ocsp-algorithm-of-responder", &["ocsp-signature-value", "ocsp-signature-verifies"], |r| {
            r.algorithm = algorithm(oid::ED25519)
        }),
        example("ocsp-signature-value", &["ocsp-signature-verifies"], |r| r.signature = Some(vec![1, 2, 3])),
        example("ocsp-signature-verifies", &[], |r| r.signature = Some(KEYS.leaf.sign(b"x"))),
        example("ocsp-signature-not-judged", &["key-point-compressed"], |r| {
            let mut compressed = responder();
            compressed.fields[6] = sequence(&[&sequence(&[&id(oid::EC_PUBLIC_KEY), &id(oid::SECP256R1)]), &bits(&[2; 33])]);
            r.fields[1] = tlv(0xa1, &compressed.fields[5]);
            r.certificate = Some(compressed.der());
        }),
        certificate("ocsp-responder-purpose", &["ocsp-nocheck-of-responder"], &|c| {
            c.set(oid::EXTENDED_KEY_USAGE, purposes(&[oid::CLIENT_AUTH]));
        }),
        certificate("ocsp-responder-key-usage", &["extended-key-usage-consistent"], &|c| c.set(oid::KEY_USAGE, usage(3, &[0x08]))),
        certificate("ocsp-responder-issued", &[], &|c| c.signature = Some([&[0][..], &KEYS.leaf.sign(b"x")].concat())),
        certificate("ocsp-responder-validity", &[], &|c| c.fields[4] = validity("261124030000Z", "261124033000Z")),
        certificate("certificate-structure", &["ocsp-responder-named"], &|c| drop(c.fields.remove(2))),
        of_answer("extensions-empty", &[], 3, [tlv(0xa0, &time("20261124040000Z")), vec![0xa1, 2, 0x30, 0]].concat()),
        example("extension-unknown-critical", &[], |r| r.extensions.push((policy("1.2.3"), true, vec![5, 0]))),
        example("extension-unknown", &[], |r| r.answers[0].1.push((policy("1.2.3"), false, vec![5, 0]))),
        example("extension-repeated", &[], |r| r.extensions.push(r.extensions[1].clone())),
    ];
    for rule in rules() {
        let Some((Object::OcspResponse, kind, critical)) = of_extension(rule) else { continue };
        all.push(example(rule.name, &[], |r| {
            let in_answers = r.answers.iter_mut().flat_map(|a| &mut a.1);
            let extension = r.extensions.iter_mut().chain(in_answers).find(|(k, ..)| *k == kind).unwrap();
            match critical {
                Some(critical) => extension.1 = critical,
                None => extension.2 = vec![1, 1, 0xff],
            }
        }));
    }
    all
}

/// For the tests with random changes.
pub(super) fn specimens() -> Vec<Vec<u8>> {
    vec![response().der(), response().data()]
}
