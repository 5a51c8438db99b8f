//! What a leaf costs before its key signs: `prepare_leaf` builds it, lints it, compares it with its request and reads it
//! back. Beside it the lint alone, that of an OCSP answer and of a CRL's entries, and one P-256 signature by aws-lc-rs, in
//! the same run; and a CRL of ten million entries, in seconds. The best of the rounds, in microseconds. The issue wants prepare, lint included, below 200.
//!
//! `cargo bench -p ca-core --bench lint`
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a measurement asks the clock, and a panic is its report")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use ca_core::issuance::{Attempt, prepare_crl, prepare_leaf};
use ca_core::lint::{self, Context};
use ca_core::model::{Actor, AttemptId, AuthorityName, CrlScope, Origin, RevocationReason, RevokedEntry, StatusUrls};
use ca_core::pki::crl::{CrlHeader, build_crl_tbs};
use ca_core::pki::ocsp::{Answer, CertId, CertStatus, HashAlgorithm, IssuerId, ResponseData, build_response_data};
use ca_core::pki::{Certificate, KeyAlgorithm, SerialNumber, Timestamp};
use ca_core::profile::{
    CaSubject, IntermediateRequest, Issuer, LeafRequest, LeafShape, Revocation, RootRequest, build_intermediate, build_leaf, build_root,
};
use ca_testkit::SeededRng;
use ca_testkit::specimens::{Key, content};

const NOW: Timestamp = Timestamp::from_unix(1_795_489_602);
const DAY: Duration = Duration::from_secs(86_400);
const ROUNDS: usize = 20;
const CRL_ENTRIES: u64 = 10_000;

/// Microseconds of one call: the best of the rounds, the one least disturbed.
fn measure(length: Duration, mut call: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let (began, mut calls) = (Instant::now(), 0u32);
        while began.elapsed() < length {
            call();
            calls += 1;
        }
        best = best.min(began.elapsed().as_secs_f64() * 1e6 / f64::from(calls));
    }
    best
}

fn main() {
    // `cargo test` runs benchmarks without this, to see that they work.
    let length = if std::env::args().any(|a| a == "--bench") { Duration::from_millis(50) } else { Duration::from_millis(1) };
    let (root_key, issuing_key) = (Key::generate(KeyAlgorithm::P256), Key::generate(KeyAlgorithm::P256));
    let issuer = hierarchy(&root_key, &issuing_key);
    println!("microseconds, the best of {ROUNDS} rounds");
    let signature = measure(length, || drop(black_box(issuing_key.sign(&[0x5a; 1000]))));
    let line = |what: &str, cost: f64| println!("{what:44} {cost:>9.1}   {:>6.2} P-256 signatures", cost / signature);
    line("one P-256 signature", signature);
    for (kind, name) in [(KeyAlgorithm::P256, "P-256"), (KeyAlgorithm::Rsa2048, "RSA-2048")] {
        let request = leaf(&Key::generate(kind));
        let tbs = build_leaf(&request, &issuer).unwrap();
        line(&format!("prepare a client leaf, {name} key"), measure(length, || drop(black_box(prepare(&request, &issuer)))));
        line(&format!("  of it to build, {name} key"), measure(length, || drop(black_box(build_leaf(&request, &issuer)))));
        let above = [issuer.certificate().der()];
        let context = Context { issuers: &above, previous_crl: None };
        line(&format!("  of it the lint, {name} key"), measure(length, || drop(black_box(lint::to_be_signed_certificate(&tbs, &context)))));
    }
    let (data, crl) = (response_data(&issuer, &issuing_key), crl(&issuer, &issuing_key));
    let above = [issuer.certificate().der()];
    let context = Context { issuers: &above, previous_crl: None };
    line("lint an OCSP answer", measure(length, || drop(black_box(lint::response_data(&data, &context)))));
    let whole = measure(length, || drop(black_box(lint::to_be_signed_crl(&crl, &context))));
    line("lint an entry of a CRL", whole / CRL_ENTRIES as f64);
    drop(crl);
    let entries = if length > Duration::from_millis(1) { 10_000_000 } else { 1000 };
    long_crl(&issuer, &issuing_key, entries);
}

/// A CRL near the longest that there may be, prepared as the worker does; what is left for the key is a digest.
fn long_crl(issuer: &Issuer, key: &Key, entries: u64) {
    let began = Instant::now();
    let prepared = prepare_crl(&header(issuer, key), revoked(entries), CrlScope::FULL, 1, issuer, attempt()).unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let tbs = prepared.intent().content.tbs();
    let began = Instant::now();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, tbs);
    println!(
        "prepare a CRL of {entries} entries, {} MB: {seconds:.2} s ({:.2} µs an entry), its digest {:.2} s; the key signs {} octets once",
        tbs.len() / 1_000_000,
        seconds * 1e6 / entries as f64,
        began.elapsed().as_secs_f64(),
        digest.as_ref().len()
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(peak) = status.lines().find(|l| l.starts_with("VmHWM")) {
        println!("most memory of all this: {}", peak.trim_start_matches("VmHWM:").trim());
    }
}

fn urls() -> StatusUrls {
    StatusUrls::below("http://status.bank.test", &"demo".parse::<AuthorityName>().unwrap(), 0)
}

fn hierarchy(root_key: &Key, issuing_key: &Key) -> Issuer {
    let subject = |common_name: &str| CaSubject { country: None, organization: "Bank".to_owned(), common_name: common_name.to_owned() };
    let rng = SeededRng::default();
    let root = build_root(&RootRequest {
        subject: subject("Root"),
        serial: SerialNumber::random(&rng),
        not_before: NOW.minus(DAY),
        not_after: NOW.plus(DAY * 3650),
        public_key: root_key.public().clone(),
        algorithm: root_key.algorithm().signature_algorithm(),
    });
    let root = Issuer::new(certificate(root_key, &root.unwrap())).unwrap();
    let issuing = IntermediateRequest {
        subject: subject("Issuing"),
        serial: SerialNumber::random(&rng),
        not_before: NOW.minus(DAY),
        not_after: NOW.plus(DAY * 1825),
        public_key: issuing_key.public().clone(),
        urls: urls(),
        permitted: ["dns:*.example.com", "ip:10.0.0.0/8"].map(|p| p.parse().unwrap()).to_vec(),
    };
    Issuer::new(certificate(root_key, &build_intermediate(&issuing, &root).unwrap())).unwrap()
}

fn certificate(key: &Key, tbs: &[u8]) -> Certificate {
    Certificate::from_der(&key.seal(tbs)).unwrap()
}

fn leaf(key: &Key) -> LeafRequest {
    LeafRequest {
        serial: SerialNumber::random(&SeededRng::default()),
        not_before: NOW,
        not_after: NOW.plus(DAY * 30),
        public_key: key.public().clone(),
        content: content(LeafShape::Client, false),
        policies: Vec::new(),
        revocation: Revocation::Published(urls()),
    }
}

fn attempt() -> Attempt {
    Attempt {
        id: AttemptId::new(NOW, &SeededRng::default()),
        authority: "demo".parse().unwrap(),
        key: "ca".parse().unwrap(),
        origin: Origin::Ceremony,
        actor: Actor::system("bench"),
        at: NOW,
    }
}

fn prepare(request: &LeafRequest, issuer: &Issuer) -> ca_core::model::Intent {
    prepare_leaf(request, issuer, "client", 0, attempt()).unwrap().intent().clone()
}

fn response_data(issuer: &Issuer, key: &Key) -> Vec<u8> {
    let id = IssuerId::new(issuer.certificate().subject_der(), issuer.certificate().public_key()).unwrap();
    let answer = Answer {
        cert_id: CertId::new(HashAlgorithm::Sha1, &id, SerialNumber::random(&SeededRng::default())).unwrap(),
        status: CertStatus::Good,
        this_update: NOW,
        next_update: NOW.plus(DAY),
    };
    let data = ResponseData { produced_at: NOW, answers: vec![answer], nonce: Some(vec![7; 32]), extended_revoke: false };
    build_response_data(&data, key.public()).unwrap()
}

fn header(issuer: &Issuer, key: &Key) -> CrlHeader {
    CrlHeader {
        issuer_der: issuer.certificate().subject_der().to_vec(),
        issuer_key_id: issuer.certificate().key_identifier().unwrap().to_vec(),
        algorithm: key.algorithm().signature_algorithm(),
        number: 1,
        this_update: NOW,
        next_update: NOW.plus(DAY),
        partition_url: None,
    }
}

fn revoked(count: u64) -> impl Iterator<Item = RevokedEntry> + Clone {
    (1..=count).map(|n| {
        let mut serial = [0x4d; 20];
        serial[12..].copy_from_slice(&n.to_be_bytes());
        let serial = SerialNumber::from_bytes(serial).unwrap();
        RevokedEntry { serial, revoked_at: NOW, reason: RevocationReason::KeyCompromise, invalidity_date: None }
    })
}

fn crl(issuer: &Issuer, key: &Key) -> Vec<u8> {
    build_crl_tbs(&header(issuer, key), revoked(CRL_ENTRIES)).unwrap()
}
