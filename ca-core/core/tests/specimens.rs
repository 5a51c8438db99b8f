//! Specimens of every profile, judged by OpenSSL.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;

use ca_core::pki::crl::Crl;
use ca_core::pki::ocsp::BasicResponse;
use ca_core::pki::{Certificate, KeyAlgorithm, Timestamp, pem_decode_all};
use ca_core::profile::LeafShape;
use ca_testkit::specimens::{self, Specimen};

fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-25T12:00:00Z").unwrap()
}

fn certificate(dir: &Path, file: &str) -> Certificate {
    let pem = std::fs::read_to_string(dir.join(file)).unwrap();
    Certificate::from_der(&pem_decode_all(&pem, "CERTIFICATE").unwrap()[0]).unwrap()
}

/// OpenSSL's verdict with every check that it has; none where it is not installed.
fn verify(dir: &Path, specimen: &Specimen) -> Option<(bool, String)> {
    let purpose = match specimen.profile.as_str() {
        "client" | "kubernetes" | "brcac" | "spiffe" => "sslclient",
        "server" | "obwac" => "sslserver",
        _ => "any",
    };
    let mut openssl = Command::new("openssl");
    openssl.current_dir(dir).args(["verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose]);
    openssl.args(["-attime", &now().unix().to_string(), "-CAfile", &specimen.root, "-untrusted", &specimen.issuer, &specimen.file]);
    match openssl.output() {
        Ok(output) => Some((output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())),
        Err(_) => {
            eprintln!("left out: OpenSSL's verdict on {}: no `openssl` here", specimen.file);
            None
        }
    }
}

#[test]
fn every_profile_in_every_kind_of_key_stands_before_openssl() {
    let dir = tempfile::tempdir().unwrap();
    let algorithms = [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa2048];
    let written = specimens::write(dir.path(), &algorithms, now());
    for algorithm in algorithms {
        for shape in LeafShape::ALL {
            let there = written.iter().any(|s| s.key == algorithm && s.profile == shape.as_str());
            assert_eq!(there, shape.takes_key(algorithm), "{algorithm} {}", shape.as_str());
        }
    }
    for specimen in &written {
        let issuer = certificate(dir.path(), &specimen.issuer);
        match specimen.profile.as_str() {
            "crl" => {
                let crl = Crl::from_der(&std::fs::read(dir.path().join(&specimen.file)).unwrap()).unwrap();
                crl.is_signed_by(&issuer).unwrap();
            }
            "ocsp-response" => {
                let response = BasicResponse::from_der(&std::fs::read(dir.path().join(&specimen.file)).unwrap()).unwrap();
                let responder = certificate(dir.path(), &specimen.issuer.replace("issuing.pem", "responder.pem"));
                response.is_signed_by(responder.public_key()).unwrap();
            }
            _ => {
                certificate(dir.path(), &specimen.file).is_signed_by(&issuer).unwrap();
                if let Some((accepted, text)) = verify(dir.path(), specimen) {
                    assert!(accepted, "{}: {text}", specimen.file);
                }
            }
        }
    }
    let list: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.path().join("specimens.json")).unwrap()).unwrap();
    assert_eq!(list.as_array().unwrap().len(), written.len());
}
