//! RSASSA-PSS against OpenSSL: the one form of its parameters, and signatures both ways of a mistake.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::process::Command;

use ca_core::pki::{Certificate, KeyAlgorithm, SignatureAlgorithm, VerifyError, verify_signature};

/// A self-signed certificate by OpenSSL.
fn certificate(salt: &str, digest: &str) -> Result<Certificate, String> {
    let folder = tempfile::tempdir().unwrap();
    let (key, out) = (folder.path().join("key"), folder.path().join("der"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "30", "-outform", "DER", digest])
        .args(["-sigopt", "rsa_padding_mode:pss", "-sigopt", &format!("rsa_pss_saltlen:{salt}"), "-keyout"])
        .arg(key)
        .arg("-out")
        .arg(&out)
        .output()
        .expect("openssl runs (package openssl)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Certificate::from_der(&std::fs::read(out).unwrap()).map_err(|e| e.to_string())
}

#[test]
fn openssl_makes_what_is_read_here() {
    let made = certificate("32", "-sha256").unwrap();
    let (key, tbs) = (made.public_key(), made.tbs_der());
    assert_eq!(made.signature_algorithm(), SignatureAlgorithm::RsaPssSha256);
    verify_signature(key, SignatureAlgorithm::RsaPssSha256, tbs, made.signature()).unwrap();

    let changed = [tbs, b"x"].concat();
    assert_eq!(verify_signature(key, SignatureAlgorithm::RsaPssSha256, &changed, made.signature()), Err(VerifyError::Signature));
    assert_eq!(verify_signature(key, SignatureAlgorithm::RsaPkcs1Sha256, tbs, made.signature()), Err(VerifyError::Signature));
    assert!(verify_signature(key, SignatureAlgorithm::RsaPssSha256, tbs, &made.signature()[1..]).is_err());
}

#[test]
fn other_parameters_are_not_taken_for_these() {
    for (salt, digest) in [("20", "-sha256"), ("48", "-sha384")] {
        let error = certificate(salt, digest).unwrap_err();
        assert!(error.contains("algorithm"), "{error}");
    }
}

#[test]
fn only_rsa_keys_sign_so() {
    for algorithm in KeyAlgorithm::ALL {
        assert!(algorithm.signs_as(algorithm.signature_algorithm()));
        assert_eq!(algorithm.signs_as(SignatureAlgorithm::RsaPssSha256), algorithm.name().starts_with("rsa"), "{algorithm}");
    }
}
