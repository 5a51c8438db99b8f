//! Whatever the bytes are: an answer, no panic, and a field in each finding of an object that can be read.

use proptest::prelude::*;

use super::specimens::{ISSUING_DER, ROOT_DER, issuing, leaf, responder};
use super::{Context, Report, certificate, crl, ocsp_response, recognize, response_data, to_be_signed_certificate, to_be_signed_crl};
use crate::pki::crl::Crl;
use crate::pki::ocsp::{BasicResponse, OcspRequest};
use crate::pki::{Certificate, Csr};

/// Everything that reads bytes from outside, with and without an issuer.
fn all(bytes: &[u8]) -> Vec<Report> {
    let issuers: [&[u8]; 2] = [&ISSUING_DER, &ROOT_DER];
    let context = Context { issuers: &issuers, previous_crl: Some(bytes) };
    let below_itself = [bytes];
    let _ = recognize(bytes);
    let mut reports = Vec::new();
    for context in [context, Context { issuers: &below_itself, previous_crl: None }, Context::default()] {
        reports.push(certificate(bytes, &context));
        reports.push(to_be_signed_certificate(bytes, &context));
        reports.push(crl(bytes, &context));
        reports.push(to_be_signed_crl(bytes, &context));
        reports.push(ocsp_response(bytes, &context));
        reports.push(response_data(bytes, &context));
    }
    // The parsers of the signing path: an error is a text that names what was read.
    let errors = [
        Certificate::from_der(bytes).err().map(|e| e.to_string()),
        Crl::from_der(bytes).err().map(|e| e.to_string()),
        Csr::from_der(bytes).err().map(|e| e.to_string()),
        BasicResponse::from_der(bytes).err().map(|e| e.to_string()),
        OcspRequest::from_der(bytes).err().map(|e| e.to_string()),
    ];
    assert!(errors.iter().flatten().all(|e| !e.is_empty()));
    reports
}

fn check(bytes: &[u8]) {
    for report in all(bytes) {
        assert!(report.findings().len() <= 101);
        for finding in report.findings() {
            assert!(!finding.detail.is_empty() && finding.to_string().len() < 1024, "{finding}");
        }
    }
}

/// Overwrites, cuts and inserts.
fn mutate(der: &[u8], changes: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut out = der.to_vec();
    for (at, kind, octet) in changes {
        let at = at % out.len().max(1);
        match kind % 5 {
            0 | 1 if at < out.len() => out[at] = *octet,
            2 if at < out.len() => out[at] ^= 1 << (octet % 8),
            3 => out.truncate(at),
            _ => out.insert(at, *octet),
        }
    }
    out
}

fn changes() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    prop::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..6)
}

fn specimens() -> Vec<Vec<u8>> {
    let request = rcgen::CertificateParams::new(vec!["a.bank.test".to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let request = request.serialize_request(&key).unwrap().der().to_vec();
    let mut all = vec![leaf().der(), issuing().der(), responder().der(), leaf().tbs(), request];
    all.extend(super::crls::specimens());
    all.extend(super::responses::specimens());
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
        // Where the outer shape is right, more is read.
        check(&crate::pki::encode::tlv(0x30, &crate::pki::encode::tlv(0x30, &bytes)));
    }

    #[test]
    fn mutated_specimens(changes in changes(), which in any::<usize>()) {
        thread_local!(static SPECIMENS: Vec<Vec<u8>> = specimens());
        SPECIMENS.with(|all| check(&mutate(&all[which % all.len()], &changes)));
    }
}

/// Each prefix, and each specimen with any one bit of its frame turned.
#[test]
fn every_prefix() {
    for specimen in specimens() {
        (0..specimen.len()).for_each(|end| check(&specimen[..end]));
    }
}
