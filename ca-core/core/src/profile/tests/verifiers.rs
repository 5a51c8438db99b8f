//! What other implementations say of a chain: rustls-webpki always, OpenSSL and Java where they are installed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::fixtures::*;
use crate::pki::{Certificate, pem_encode};
use crate::profile::*;

const NOW: &str = "2026-11-25T00:00:00Z";

/// Says what a test did not ask, past the harness's capture: a pass must not hide it.
pub(super) fn left_out(what: &str) {
    writeln!(std::io::stderr(), "left out: {what}").unwrap();
}

pub(super) fn webpki_verdict(leaf: &Certificate, shape: LeafShape, hierarchy: &Hierarchy) -> Result<(), webpki::Error> {
    let der = |certificate: &Certificate| CertificateDer::from(certificate.der().to_vec());
    let (leaf, intermediate, root) = (der(leaf), der(hierarchy.issuing.certificate()), der(hierarchy.root.certificate()));
    let usage = match shape {
        LeafShape::Client | LeafShape::Kubernetes | LeafShape::Brcac => KeyUsage::client_auth(),
        LeafShape::Server | LeafShape::Spiffe | LeafShape::Obwac => KeyUsage::server_auth(),
        // It has no purposes: any is as good.
        LeafShape::Obseal => KeyUsage::client_auth(),
        // `required` would ask it of the intermediate too, which has none (profiles: by plan, never OCSPSigning); the
        // lint tests hold the leaf to it.
        LeafShape::Ocsp => KeyUsage::required_if_present(&[0x2b, 6, 1, 5, 5, 7, 3, 9]),
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at(NOW).unix()).unwrap()));
    EndEntityCert::try_from(&leaf)?
        .verify_for_usage(ALL_VERIFICATION_ALGS, &[anchor_from_trusted_cert(&root)?], &[intermediate], now, usage, None, None)
        .map(|_| ())
}

fn write_pem(dir: &Path, name: &str, certificate: &Certificate) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, pem_encode("CERTIFICATE", certificate.der())).unwrap();
    path
}

/// None where there is no OpenSSL.
pub(super) fn openssl_verdict(leaf: &Certificate, shape: LeafShape, hierarchy: &Hierarchy) -> Option<Result<(), String>> {
    let dir = tempfile::tempdir().unwrap();
    let purpose = match shape {
        LeafShape::Client | LeafShape::Kubernetes | LeafShape::Brcac | LeafShape::Spiffe => "sslclient",
        LeafShape::Server | LeafShape::Obwac => "sslserver",
        LeafShape::Ocsp | LeafShape::Obseal => "any",
    };
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose, "-attime", &at(NOW).unix().to_string(), "-CAfile"])
        .arg(write_pem(dir.path(), "root.pem", hierarchy.root.certificate()))
        .arg("-untrusted")
        .arg(write_pem(dir.path(), "issuing.pem", hierarchy.issuing.certificate()))
        .arg(write_pem(dir.path(), "leaf.pem", leaf))
        .output();
    let Ok(output) = output else {
        left_out("OpenSSL's verdict on a chain: no `openssl` here");
        return None;
    };
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Some(if output.status.success() { Ok(()) } else { Err(text) })
}

/// Java's verdicts on many chains, for one start of its machine; None where no Java can run a source file.
pub(super) fn java_verdicts<'a>(chains: impl Iterator<Item = (&'a Hierarchy, &'a Certificate)>) -> Option<Vec<Result<(), String>>> {
    let modules = Command::new("java").arg("--list-modules").output();
    if !modules.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("jdk.compiler@")) {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("VerifyChains.java");
    std::fs::write(&source, include_str!("VerifyChains.java")).unwrap();
    let mut java = Command::new("java");
    java.arg(source).arg(at(NOW).unix().to_string());
    for (i, (hierarchy, leaf)) in chains.enumerate() {
        java.arg(write_pem(dir.path(), &format!("root-{i}.pem"), hierarchy.root.certificate()));
        java.arg(write_pem(dir.path(), &format!("issuing-{i}.pem"), hierarchy.issuing.certificate()));
        java.arg(write_pem(dir.path(), &format!("leaf-{i}.pem"), leaf));
    }
    let output = java.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(|line| if line == "accepted" { Ok(()) } else { Err(line.to_owned()) }).collect())
}
