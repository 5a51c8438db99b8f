//! CRLs as the encoder writes them, judged by OpenSSL, by the reader and by the lint.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use ca_core::lint;
use ca_core::model::{RevocationReason, RevokedEntry};
use ca_core::pki::crl::{Crl, CrlError, CrlHeader, build_crl_tbs, write_crl_tbs};
use ca_core::pki::{Certificate, SerialNumber, SignatureAlgorithm, Timestamp, assemble_signed};
use ca_core::profile::lint_crl;

const URL: &str = "http://127.0.0.1:1/a/demo/crl/0.crl";

struct Issuer {
    certificate: Certificate,
    key: rcgen::KeyPair,
}

fn issuer() -> Issuer {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign, rcgen::KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(rcgen::DnType::CommonName, "Status Test CA");
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Issuer { certificate: Certificate::from_der(&der).unwrap(), key }
}

impl Issuer {
    fn header(&self, partition_url: Option<&str>) -> CrlHeader {
        CrlHeader {
            issuer_der: self.certificate.subject_der().to_vec(),
            issuer_key_id: self.certificate.key_identifier().unwrap().to_vec(),
            algorithm: SignatureAlgorithm::EcdsaP256Sha256,
            number: 117_669_260_000_000_000,
            this_update: at("2026-11-24T00:00:00Z"),
            next_update: at("2026-11-25T00:00:00Z"),
            partition_url: partition_url.map(str::to_owned),
        }
    }

    fn sign(&self, tbs: &[u8]) -> Vec<u8> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.key.serialize_der()).unwrap();
        assemble_signed(tbs, SignatureAlgorithm::EcdsaP256Sha256, key.sign(&SystemRandom::new(), tbs).unwrap().as_ref())
    }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn entry(serial: u32, reason: RevocationReason) -> RevokedEntry {
    let mut bytes = [0u8; 20];
    bytes[16..].copy_from_slice(&serial.to_be_bytes());
    RevokedEntry {
        serial: SerialNumber::from_bytes(bytes).unwrap(),
        revoked_at: at("2026-11-23T12:34:56Z"),
        reason,
        invalidity_date: serial.is_multiple_of(3).then(|| at("2051-02-03T04:05:06Z")),
    }
}

fn openssl_crl(folder: &Path, issuer: &Issuer, der: &[u8]) -> String {
    std::fs::write(folder.join("a.crl"), der).unwrap();
    std::fs::write(folder.join("ca.pem"), ca_core::pki::pem_encode("CERTIFICATE", issuer.certificate.der())).unwrap();
    let output = Command::new("openssl")
        .args(["crl", "-inform", "DER", "-noout", "-text", "-CAfile", "ca.pem", "-in", "a.crl"])
        .current_dir(folder)
        .output()
        .expect("openssl runs (package openssl)");
    assert!(String::from_utf8_lossy(&output.stderr).contains("verify OK"), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn check(issuer: &Issuer, url: Option<&str>, entries: &[RevokedEntry], expected: &[&str], absent: &[&str]) {
    let header = issuer.header(url);
    let tbs = build_crl_tbs(&header, entries.iter().cloned()).unwrap();
    assert_eq!(lint_crl(&tbs, &header), Ok(()));
    let report = lint::crl(&issuer.sign(&tbs), &lint::Context { issuers: &[issuer.certificate.der()], previous_crl: None });
    assert_eq!(report.findings(), []);
    let crl = Crl::from_der(&issuer.sign(&tbs)).unwrap();
    assert_eq!(crl.entries(), entries);
    assert_eq!((crl.number(), crl.this_update(), crl.next_update()), (header.number, header.this_update, header.next_update));
    assert_eq!((crl.tbs_der(), crl.partition_url()), (tbs.as_slice(), url));
    crl.is_signed_by(&issuer.certificate).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = openssl_crl(folder.path(), issuer, crl.der());
    for part in expected {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    for part in absent {
        assert!(!text.contains(part), "{part:?} is in\n{text}");
    }
}

#[test]
fn openssl_reads_what_the_encoder_writes() {
    let issuer = issuer();
    let number = "X509v3 CRL Number: \n                117669260000000000";
    check(&issuer, None, &[], &["Version 2", "No Revoked Certificates", number], &["Issuing Distribution Point"]);
    let entries: Vec<_> = RevocationReason::ALL.into_iter().zip(0x7f..).map(|(reason, serial)| entry(serial, reason)).collect();
    let expected = [
        "Serial Number: 7F\n",
        "Serial Number: 80\n",
        "Key Compromise",
        "CA Compromise",
        "Affiliation Changed",
        "Superseded",
        "Cessation Of Operation",
        "Certificate Hold",
        "Privilege Withdrawn",
        "Feb  3 04:05:06 2051 GMT",
        "X509v3 Issuing Distribution Point: critical",
        "URI:http://127.0.0.1:1/a/demo/crl/0.crl",
        "X509v3 Authority Key Identifier",
    ];
    check(&issuer, Some(URL), &entries, &expected, &["Unspecified"]);
}

#[test]
fn many_entries_are_streamed_in_small_pieces() {
    let issuer = issuer();
    let header = issuer.header(None);
    let entries = || (1..=100_000).map(|serial| entry(serial, RevocationReason::KeyCompromise));
    let (mut tbs, mut largest) = (Vec::new(), 0);
    write_crl_tbs(&header, entries(), &mut |chunk| {
        largest = largest.max(chunk.len());
        tbs.extend_from_slice(chunk);
    })
    .unwrap();
    assert!(largest < 32 * 1024, "a chunk of {largest} octets");
    assert_eq!(lint_crl(&tbs, &header), Ok(()));
    let crl = Crl::from_der(&issuer.sign(&tbs)).unwrap();
    assert_eq!(crl.entry_count(), 100_000);
    assert!(crl.entries().into_iter().eq(entries()));
}

#[test]
fn what_cannot_be_a_crl_is_not_built() {
    let issuer = issuer();
    let header = issuer.header(None);
    let build = |header: &CrlHeader, entries: &[RevokedEntry]| build_crl_tbs(header, entries.iter().cloned()).map(|_| ());
    let (one, two) = (entry(1, RevocationReason::Superseded), entry(2, RevocationReason::Superseded));
    assert_eq!(build(&header, &[two.clone(), one.clone()]), Err(CrlError::NotSorted(one.serial)));
    assert_eq!(build(&header, &[one.clone(), one.clone()]), Err(CrlError::NotSorted(one.serial)));
    let early = Timestamp::from_unix(-1);
    assert_eq!(build(&header, &[RevokedEntry { revoked_at: early, ..one }]), Err(CrlError::Time(early)));
    assert_eq!(build(&CrlHeader { next_update: header.this_update, ..header.clone() }, &[]), Err(CrlError::NextUpdate));
    assert_eq!(build(&CrlHeader { issuer_key_id: vec![], ..header.clone() }, &[]), Err(CrlError::Field("authority key identifier")));
    assert_eq!(build(&CrlHeader { partition_url: Some("a b".into()), ..header }, &[]), Err(CrlError::Field("distribution point")));
}

/// Lints bytes against another header than they were built from, or with an octet changed.
#[test]
fn the_lint_names_each_difference() {
    let issuer = issuer();
    let header = issuer.header(Some(URL));
    let rules = |tbs: &[u8], header: &CrlHeader| -> Vec<&'static str> {
        lint_crl(tbs, header).err().unwrap_or_default().into_iter().map(|f| f.rule).collect()
    };
    let tbs = build_crl_tbs(&header, [entry(1, RevocationReason::Superseded)].into_iter()).unwrap();
    let other = |change: &dyn Fn(&mut CrlHeader)| {
        let mut other = header.clone();
        change(&mut other);
        rules(&tbs, &other)
    };
    assert_eq!(other(&|h| h.number += 1), ["crl-number"]);
    assert_eq!(other(&|h| h.issuer_key_id[0] ^= 1), ["crl-aki"]);
    assert_eq!(other(&|h| h.issuer_der[5] ^= 1), ["crl-issuer"]);
    assert_eq!(other(&|h| h.algorithm = SignatureAlgorithm::Ed25519), ["crl-algorithm"]);
    assert_eq!(other(&|h| h.next_update = at("2027-01-01T00:00:00Z")), ["crl-time"]);
    assert_eq!(other(&|h| h.partition_url = Some("http://other".into())), ["crl-idp"]);
    assert_eq!(other(&|h| h.partition_url = None), ["crl-extensions", "crl-idp"]);
    // reasonCode superseded (4) becomes unspecified (0), then removeFromCRL (8).
    let reason = tbs.windows(5).position(|w| w == [0x04, 3, 0x0a, 1, 4]).unwrap() + 4;
    let with_reason = |code| {
        let mut changed = tbs.clone();
        changed[reason] = code;
        changed
    };
    assert_eq!(rules(&with_reason(8), &header), ["crl-entry-form"]);
    let unspecified = lint::to_be_signed_crl(&with_reason(0), &lint::Context::default()).refuse_errors().unwrap_err();
    assert_eq!(unspecified.iter().map(|f| f.rule).collect::<Vec<_>>(), ["crl-entry-unspecified"]);
    assert_eq!(rules(&tbs[..tbs.len() - 1], &header), ["crl-form"]);
    assert_eq!(rules(&[], &header), ["crl-form"]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(5_000))]
    #[test]
    fn mutated_crls_are_read_or_refused(
        changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>()), 1..4),
    ) {
        static BASE: std::sync::LazyLock<(CrlHeader, Vec<u8>)> = std::sync::LazyLock::new(|| {
            let issuer = issuer();
            let header = issuer.header(Some(URL));
            let tbs = build_crl_tbs(&header, (1..5).map(|s| entry(s, RevocationReason::KeyCompromise))).unwrap();
            (header, issuer.sign(&tbs))
        });
        let mut der = BASE.1.clone();
        for (index, value) in &changes {
            let at = index.index(der.len());
            der[at] = *value;
        }
        if let Ok(crl) = Crl::from_der(&der) {
            proptest::prop_assert!(crl.entries().len() == crl.entry_count());
            let _ = lint_crl(crl.tbs_der(), &BASE.0);
        }
        let _ = lint_crl(&der, &BASE.0);
    }
}
