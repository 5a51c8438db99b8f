//! Everything that the builders make, in every profile and kind of key, through the linter: nothing to find.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::Path;

use ca_core::lint::{self, Context, Finding, Object};
use ca_core::pki::{KeyAlgorithm, Timestamp, pem_decode_all};
use ca_testkit::specimens;

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
