//! Everything that the builders make, in every profile and kind of key, through the linter: nothing to find.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::Path;

use ca_core::issuance::{Attempt, IssuanceError, prepare_crl, prepare_leaf};
use ca_core::lint::{self, Context, Finding, Object};
use ca_core::model::{Actor, AttemptId, CrlScope, Origin, RevocationReason, RevokedEntry};
use ca_core::pki::crl::CrlHeader;
use ca_core::pki::{AltName, Certificate, DnsName, KeyAlgorithm, SerialNumber, Timestamp, pem_decode_all};
use ca_core::profile::{Issuer, LeafContent, LeafRequest, LeafShape, Revocation, lint_leaf};
use ca_testkit::{SeededRng, specimens};

/// The DER of a file; a certificate's is PEM.
fn read(folder: &Path, file: &str) -> Vec<u8> {
    let bytes = std::fs::read(folder.join(file)).unwrap();
    if file.ends_with(".pem") { pem_decode_all(&String::from_utf8(bytes).unwrap(), "CERTIFICATE").unwrap().remove(0) } else { bytes }
}

#[test]
fn every_profile_in_every_kind_of_key_is_without_a_finding() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa2048, KeyAlgorithm::MlDsa65];
    let written = specimens::write(folder.path(), &kinds, Timestamp::from_unix(1_795_489_602));
    let mut judged: BTreeMap<&str, usize> = BTreeMap::new();
    let mut found: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
    for specimen in &written {
        let der = read(folder.path(), &specimen.file);
        let issuers = [read(folder.path(), &specimen.issuer), read(folder.path(), &specimen.root)];
        let issuers: Vec<&[u8]> = issuers.iter().map(Vec::as_slice).collect();
        let context = Context { issuers: if specimen.profile == "root" { &issuers[..1] } else { &issuers }, previous_crl: None };
        let (kind, report) = match lint::recognize(&der) {
            Some(Object::Certificate) => ("certificates", lint::certificate(&der, &context)),
            Some(Object::Crl) => ("CRLs", lint::crl(&der, &context)),
            Some(Object::OcspResponse) => ("OCSP responses", lint::ocsp_response(&der, &context)),
            other => panic!("{}: {other:?}", specimen.file),
        };
        *judged.entry(kind).or_default() += 1;
        if !report.findings().is_empty() {
            found.insert(specimen.file.clone(), report.findings().to_vec());
        }
    }
    assert!(judged.len() == 3 && judged["certificates"] > 50, "{judged:?}");
    assert!(found.is_empty(), "{found:#?}");
}

fn attempt() -> Attempt {
    Attempt {
        id: AttemptId::random(&SeededRng::default()),
        authority: "demo".parse().unwrap(),
        key: "ca".parse().unwrap(),
        origin: Origin::Ceremony,
        actor: Actor::system("test"),
        at: Timestamp::from_unix(1_795_489_602),
    }
}

/// The issuing authority of the client profile, P-256.
fn issuer() -> Issuer {
    let folder = tempfile::tempdir().unwrap();
    let written = specimens::write(folder.path(), &[KeyAlgorithm::P256], Timestamp::from_unix(1_795_489_602));
    let leaf = written.iter().find(|s| s.profile == LeafShape::Client.as_str()).unwrap();
    Issuer::new(Certificate::from_der(&read(folder.path(), &leaf.issuer)).unwrap()).unwrap()
}

fn rules(error: &IssuanceError) -> Vec<&'static str> {
    match error {
        IssuanceError::Lint(findings) => findings.iter().map(|f| f.rule).collect(),
        other => panic!("{other}"),
    }
}

/// The bytes are exactly what was asked for; the issuer's own constraints forbid them.
#[test]
fn nothing_is_prepared_that_the_linter_refuses() {
    let issuer = issuer();
    let now = Timestamp::from_unix(1_795_489_602);
    let request = LeafRequest {
        serial: SerialNumber::random(&SeededRng::default()),
        not_before: now,
        not_after: now.plus(std::time::Duration::from_secs(3600)),
        public_key: specimens::SpecimenKey::generate(KeyAlgorithm::P256).public_key().clone(),
        content: LeafContent::Client { common_name: None, names: vec![AltName::Dns(DnsName::parse("payments.other.test").unwrap())] },
        policies: Vec::new(),
        revocation: Revocation::NotAvailable { issuer: "http://status.bank.test/issuer.cer".to_owned() },
    };
    let tbs = ca_core::profile::build_leaf(&request, &issuer).unwrap();
    assert_eq!(lint_leaf(&tbs, &request, &issuer), Ok(()));
    let error = prepare_leaf(&request, &issuer, "client", 0, attempt()).unwrap_err();
    assert_eq!(rules(&error), ["issuer-name-constraints"]);
    assert!(error.to_string().contains("dNSName `payments.other.test` is not permitted"), "{error}");

    let header = CrlHeader {
        issuer_der: issuer.certificate().subject_der().to_vec(),
        issuer_key_id: issuer.certificate().key_identifier().unwrap().to_vec(),
        algorithm: issuer.signature_algorithm(),
        number: 1,
        this_update: now,
        next_update: now.plus(std::time::Duration::from_secs(3600)),
        // Visible ASCII, and so taken by the encoder; no URI all the same.
        partition_url: Some("partition-1.crl".to_owned()),
    };
    let entry = RevokedEntry { serial: request.serial, revoked_at: now, reason: RevocationReason::Unspecified, invalidity_date: None };
    let error = prepare_crl(&header, [entry].into_iter(), CrlScope::FULL, 1, &issuer, attempt()).unwrap_err();
    assert_eq!(rules(&error), ["issuing-point-uri"]);
}
