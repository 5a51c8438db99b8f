//! tls-alpn-01 (RFC 8737; RFC 8738 §6 for addresses).

use std::net::IpAddr;
use std::sync::Arc;

use ca_core::model::{LeasedValidation, ProblemType};
use ca_core::pki::Identifier;
use ca_core::validation::{check_challenge_certificate, tls_server_name};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::tls::{handshake, named, verify_by_key};
use super::{Failed, Trace, Validators, no_host, problem};

/// The protocol, exactly (RFC 8737 §6.2; lesson 7).
const PROTOCOL: &[u8] = b"acme-tls/1";

pub(super) async fn validate(validators: &Validators, job: &LeasedValidation, expected: &str, trace: &mut Trace) -> Result<(), Failed> {
    let addresses: Vec<IpAddr> = match &job.identifier {
        Identifier::Ip(address) => vec![*address],
        Identifier::Dns(name) => validators.resolver.addresses(name.as_str()).await?,
        Identifier::PermanentIdentifier(_) | Identifier::HardwareModule(_) => return Err(no_host().into()),
    };
    let verifier = ChallengeCertificate {
        identifier: job.identifier.clone(),
        expected: expected.to_owned(),
        provider: Arc::clone(validators.tls.provider()),
    };
    let config = validators.tls.with(Arc::new(verifier), PROTOCOL)?;
    let stream = validators.connector.connect(&addresses, validators.config.tls_port, trace).await?;
    let stream = handshake(config, named(&tls_server_name(&job.identifier).ok_or_else(no_host)?)?, stream).await?;
    let (_, session) = stream.get_ref();
    // A server that ignores the extension negotiates nothing, and proves nothing.
    if session.alpn_protocol() != Some(PROTOCOL) {
        return Err(problem(ProblemType::Tls, "the server did not negotiate the protocol acme-tls/1").into());
    }
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.ok_or_else(|| problem(ProblemType::Tls, "the server showed no certificate"))?;
    trace.answered(certificate);
    check_challenge_certificate(certificate, &job.identifier, expected)
        .map(|_| ())
        .map_err(|error| problem(ProblemType::IncorrectResponse, error.to_string()).into())
}

/// Takes the key out of the challenge's certificate: its critical extension stops every ordinary verifier.
#[derive(Debug)]
struct ChallengeCertificate {
    identifier: Identifier,
    expected: String,
    provider: Arc<CryptoProvider>,
}

impl ChallengeCertificate {
    fn verify(&self, message: &[u8], certificate: &[u8], signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        let key = check_challenge_certificate(certificate, &self.identifier, &self.expected);
        let key = key.map_err(|error| Error::General(error.to_string()))?;
        verify_by_key(&self.provider, key.spki_der(), message, signed)
    }
}

impl ServerCertVerifier for ChallengeCertificate {
    /// The certificate itself is judged where its key is needed, and again once the protocol is known.
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = check_challenge_certificate(certificate, &self.identifier, &self.expected);
        judged.map(|_| ServerCertVerified::assertion()).map_err(|error| Error::General(error.to_string()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
