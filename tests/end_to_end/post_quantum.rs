//! A post-quantum hierarchy as its users meet it: made by a ceremony, enrolled with, spoken TLS over, revoked from.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ca_core::pki::crl::Crl;
use ca_core::pki::ocsp::{BasicResponse, CertStatus};
use ca_core::pki::{Certificate, KeyAlgorithm, key_algorithm, pem_decode_all};
use ca_testkit::acme::key_and_request;
use instant_acme::{Account, Identifier, NewOrder};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection};

use crate::harness::{Demo, block_on, expect_success, patience, wait_for};

const NAME: &str = "localhost";

/// A subscriber's key and chain.
struct Holder {
    key: Vec<u8>,
    chain: Vec<Vec<u8>>,
}

impl Holder {
    async fn enrol(account: &Account, profile: &str, algorithm: KeyAlgorithm) -> Self {
        let (key, request) = key_and_request(algorithm, &[NAME]);
        let names = [Identifier::Dns(NAME.to_owned())];
        let mut order = account.new_order(&NewOrder::new(&names).profile(profile)).await.expect("an order");
        order.finalize_csr(&request).await.expect("a CSR with such a key is taken");
        let text = order.poll_certificate(&patience()).await.expect("a certificate");
        Self { key: key.serialize_der(), chain: pem_decode_all(&text, "CERTIFICATE").unwrap() }
    }

    fn leaf(&self) -> Certificate {
        Certificate::from_der(&self.chain[0]).unwrap()
    }

    fn chain_and_key(&self) -> (Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>) {
        (self.chain.iter().cloned().map(CertificateDer::from).collect(), self.key.clone().into())
    }
}

/// Stock rustls, held to TLS 1.3 and a post-quantum key exchange.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768];
    Arc::new(provider)
}

/// Mutual TLS in memory; each side looks the other up on these CRLs.
fn handshake(root: &[u8], crls: &[Vec<u8>], client: &Holder, server: &Holder) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root.to_vec()))?;
    let roots = Arc::new(roots);
    let crls = || crls.iter().cloned().map(CertificateRevocationListDer::from).collect::<Vec<_>>();
    let versions = &[&rustls::version::TLS13];

    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider()).with_crls(crls()).build().unwrap();
    let (chain, key) = server.chain_and_key();
    let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
    let config = config.with_client_cert_verifier(verifier).with_single_cert(chain, key.into())?;
    let mut server = ServerConnection::new(Arc::new(config))?;

    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).with_crls(crls()).build().unwrap();
    let (chain, key) = client.chain_and_key();
    let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
    let config = config.with_webpki_verifier(verifier).with_client_auth_cert(chain, key.into())?;
    let mut client = ClientConnection::new(Arc::new(config), NAME.try_into().unwrap())?;

    while client.is_handshaking() || server.is_handshaking() {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        let mut rest = flight.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let mut answer = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut answer).unwrap();
        }
        assert!(!flight.is_empty() || !answer.is_empty(), "neither side speaks");
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    assert_eq!((client.protocol_version(), server.protocol_version()), (Some(ProtocolVersion::TLSv1_3), Some(ProtocolVersion::TLSv1_3)));
    assert_eq!(server.peer_certificates().map(<[_]>::len), Some(2), "leaf and issuer");
    Ok(())
}

fn certificate_in(path: &str) -> Certificate {
    let text = std::fs::read_to_string(path).unwrap();
    Certificate::from_der(&pem_decode_all(&text, "CERTIFICATE").unwrap()[0]).unwrap()
}

fn crls(demo: &Demo) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(demo.fact("CRL_BUNDLE")).unwrap();
    pem_decode_all(&text, "X509 CRL").unwrap()
}

/// OCSP's answer about a certificate, verified.
fn ocsp(demo: &Demo, issuer: &Certificate, leaf: &Certificate, algorithm: KeyAlgorithm) -> CertStatus {
    let (asked, answered) = (demo.path("ocsp.req"), demo.path("ocsp.der"));
    let request = Command::new("openssl")
        .args(["ocsp", "-no_nonce", "-issuer", demo.fact("ISSUER_CERT"), "-serial", &format!("0x{}", leaf.serial()), "-reqout"])
        .arg(&asked)
        .output();
    expect_success("openssl ocsp", &request.unwrap());
    let data = format!("@{}", asked.display());
    let fetched = Command::new("curl")
        .args(["-sf", "-H", "Content-Type: application/ocsp-request", "--data-binary", &data, demo.fact("OCSP_URL"), "-o"])
        .arg(&answered)
        .output();
    expect_success("curl", &fetched.unwrap());
    let answer = BasicResponse::from_der(&std::fs::read(&answered).unwrap()).unwrap();
    let responder = Certificate::from_der(&answer.certificates[0]).unwrap();
    responder.is_signed_by(issuer).unwrap();
    assert_eq!(key_algorithm(responder.public_key()), Ok(algorithm));
    answer.is_signed_by(responder.public_key()).unwrap();
    answer.data.answers[0].status
}

fn check(algorithm: KeyAlgorithm) {
    let demo = Demo::start_as(&["--algorithm", algorithm.name()]);
    let (root, issuer) = (certificate_in(demo.fact("CA_BUNDLE")), certificate_in(demo.fact("ISSUER_CERT")));
    for certificate in [&root, &issuer] {
        assert_eq!(key_algorithm(certificate.public_key()), Ok(algorithm));
        certificate.is_signed_by(&root).unwrap();
    }
    let (client, other, server) = block_on(async {
        let account = demo.account().await;
        (
            Holder::enrol(&account, "client", algorithm).await,
            Holder::enrol(&account, "client", KeyAlgorithm::P256).await,
            Holder::enrol(&account, "server", algorithm).await,
        )
    });
    for holder in [&client, &server] {
        assert_eq!(key_algorithm(holder.leaf().public_key()), Ok(algorithm));
        holder.leaf().is_signed_by(&issuer).unwrap();
    }
    assert_eq!(handshake(root.der(), &crls(&demo), &client, &server), Ok(()));
    // A classical key below the same root does as well.
    assert_eq!(handshake(root.der(), &crls(&demo), &other, &server), Ok(()));
    let refused = handshake(root.der(), &crls(&demo), &server, &client);
    assert!(matches!(refused, Err(rustls::Error::InvalidCertificate(_))), "the roles are not exchangeable: {refused:?}");
    assert_eq!(ocsp(&demo, &issuer, &client.leaf(), algorithm), CertStatus::Good);

    expect_success("ca cert revoke", &demo.ca(&["cert", "revoke", &client.leaf().serial().to_string(), "--yes"]));
    wait_for("the revocation on a CRL that verifies", || {
        crls(&demo).iter().any(|der| {
            let crl = Crl::from_der(der).unwrap();
            crl.is_signed_by(&issuer).is_ok() && crl.entries().iter().any(|e| e.serial == client.leaf().serial())
        })
    });
    // An answer that was signed before is kept until the responder follows.
    wait_for("OCSP to tell", || matches!(ocsp(&demo, &issuer, &client.leaf(), algorithm), CertStatus::Revoked { .. }));
    let refused = handshake(root.der(), &crls(&demo), &client, &server);
    assert!(matches!(refused, Err(rustls::Error::InvalidCertificate(rustls::CertificateError::Revoked))), "{refused:?}");

    // Whoever looks is told what these keys are.
    let marked = format!("{algorithm} (post-quantum, software only)");
    for command in [&["status"][..], &["config", "check"]] {
        let shown = expect_success("ca", &demo.ca(command));
        assert!(shown.contains(&marked), "{command:?}: {shown}");
    }
    assert_eq!(demo.ca_json(&["status"])["authorities"][0]["post_quantum"], true);
    let again = Command::new(env!("CARGO_BIN_EXE_ca")).args(["demo", "--algorithm", "p384", "--dir"]).arg(demo.var()).output().unwrap();
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.code() == Some(2) && said.contains(algorithm.name()) && said.contains("hint:"), "{said}");
    assert!(Path::new(demo.fact("CA_BUNDLE")).exists());
}

#[test]
fn an_ml_dsa_65_hierarchy_serves_mutual_tls_and_revokes() {
    check(KeyAlgorithm::MlDsa65);
}

#[test]
fn an_ml_dsa_87_hierarchy_serves_mutual_tls_and_revokes() {
    check(KeyAlgorithm::MlDsa87);
}
