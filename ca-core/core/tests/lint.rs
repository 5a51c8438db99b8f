//! Everything that the builders make, in every profile and kind of key, through the linter: nothing to find.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use ca_core::issuance::{Attempt, IssuanceError, prepare_crl, prepare_leaf};
use ca_core::lint::{self, Context, Finding, Object, Report};
use ca_core::model::{Actor, AttemptId, CrlScope, Origin, RevocationReason, RevokedEntry};
use ca_core::pki::crl::CrlHeader;
use ca_core::pki::{AltName, Certificate, DnsName, KeyAlgorithm, SerialNumber, Timestamp};
use ca_core::profile::{Issuer, LeafContent, LeafRequest, LeafShape, Revocation, lint_leaf};
use ca_testkit::SeededRng;
use ca_testkit::specimens::{self, Key, Kind, Selection, Specimen};

const NOW: Timestamp = Timestamp::from_unix(1_795_489_602);

fn judged(specimen: &Specimen) -> Report {
    let above: Vec<&[u8]> = specimen.chain.certificates.iter().map(Vec::as_slice).collect();
    let context = Context { issuers: &above, previous_crl: None };
    match &specimen.kind {
        Kind::Certificate { .. } => lint::certificate(&specimen.der, &context),
        Kind::Crl => lint::crl(&specimen.der, &context),
        Kind::OcspResponse { .. } => lint::ocsp_response(&specimen.der, &context),
    }
}

#[test]
fn every_profile_in_every_kind_of_key_is_without_a_finding() {
    let kinds = [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa2048, KeyAlgorithm::MlDsa65];
    let all = specimens::make(Selection { authorities: &kinds[..3], subjects: &kinds }, NOW);
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    let mut found: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
    for specimen in &all {
        let object = match specimen.kind {
            Kind::Certificate { .. } => Object::Certificate,
            Kind::Crl => Object::Crl,
            Kind::OcspResponse { .. } => Object::OcspResponse,
        };
        assert_eq!(lint::recognize(&specimen.der), Some(object), "{}", specimen.name);
        *count.entry(object.name()).or_default() += 1;
        let report = judged(specimen);
        if !report.findings().is_empty() {
            found.insert(specimen.name.clone(), report.findings().to_vec());
        }
    }
    assert!(count.len() == 3 && count["certificate"] > 50, "{count:?}");
    assert!(found.is_empty(), "{found:#?}");
}

/// What other implementations must refuse, the linter refuses too, but for what changes with the time and with
/// revocation.
#[test]
fn every_flawed_specimen_is_an_error() {
    let passed: Vec<_> = specimens::broken::make(NOW)
        .iter()
        .filter(|s| !BEYOND.iter().any(|part| s.name.contains(part)) && !judged(s).has_errors())
        .map(|s| s.name.clone())
        .collect();
    assert!(passed.is_empty(), "{passed:?}");
}

/// Parts of the names of flaws that no linter sees: the time, and what was asked.
const BEYOND: [&str; 2] = ["expired", "about-another"];

fn attempt() -> Attempt {
    Attempt {
        id: AttemptId::new(NOW, &SeededRng::default()),
        authority: "demo".parse().unwrap(),
        key: "ca".parse().unwrap(),
        origin: Origin::Ceremony,
        actor: Actor::system("test"),
        at: NOW,
    }
}

/// An authority with name constraints, P-256.
fn issuer() -> Issuer {
    let kinds = [KeyAlgorithm::P256];
    let all = specimens::make(Selection { authorities: &kinds, subjects: &kinds }, NOW);
    let leaf = all.iter().find(|s| s.profile == LeafShape::Client.as_str()).unwrap();
    Issuer::new(Certificate::from_der(&leaf.chain.certificates[0]).unwrap()).unwrap()
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
    let now = NOW;
    let request = LeafRequest {
        serial: SerialNumber::random(&SeededRng::default()),
        not_before: now,
        not_after: now.plus(std::time::Duration::from_secs(3600)),
        public_key: Key::generate(KeyAlgorithm::P256).public().clone(),
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
