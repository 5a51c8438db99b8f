//! TLS as validation speaks it: what the peer's certificate says is judged by the validator, not by a chain.

use std::sync::Arc;

use ca_core::model::{Problem, ProblemType};
use ca_core::pki::Identifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{no_host, problem};

/// The configurations, made once.
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    /// For redirects to https: RFC 8555 §8.3 does not want the certificate verified, which the client may not have yet.
    pub(super) redirects: Arc<ClientConfig>,
}

impl Tls {
    pub(super) fn new() -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let redirects = client(&provider, Arc::new(AnyCertificate(Arc::clone(&provider))))?;
        Ok(Self { provider, redirects: Arc::new(redirects) })
    }

    /// A configuration for one handshake with this verifier and exactly this protocol (lesson 7).
    pub(super) fn with(&self, verifier: Arc<dyn ServerCertVerifier>, protocol: &[u8]) -> Result<Arc<ClientConfig>, Problem> {
        let config = client(&self.provider, verifier);
        let mut config = config.map_err(|_| problem(ProblemType::ServerInternal, "the CA cannot set up TLS"))?;
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Arc::new(config))
    }

    pub(super) const fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }
}

/// TLS 1.2 and 1.3 (lesson 7), without resumption: each handshake shows the certificate.
fn client(provider: &Arc<CryptoProvider>, verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12]).map_err(|e| e.to_string())?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// The name in the handshake of a redirect's target.
pub(super) fn server_name(host: &Identifier) -> Result<ServerName<'static>, Problem> {
    match host {
        Identifier::Ip(address) => Ok(ServerName::IpAddress((*address).into())),
        Identifier::Dns(name) => named(name.as_str()),
        Identifier::PermanentIdentifier(_) | Identifier::HardwareModule(_) => Err(no_host()),
    }
}

/// A name in a handshake.
pub(super) fn named(name: &str) -> Result<ServerName<'static>, Problem> {
    ServerName::try_from(name.to_owned()).map_err(|_| problem(ProblemType::Tls, "the name cannot be asked for in a TLS handshake"))
}

/// Shakes hands. What went wrong is told by its kind only.
pub(super) async fn handshake(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Problem> {
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
        let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
        let why = match inner {
            Some(Error::NoApplicationProtocol | Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)) => {
                "the server does not offer the protocol".to_owned()
            }
            Some(Error::AlertReceived(alert)) => format!("the server ended it with the alert {alert:?}"),
            Some(Error::General(text)) => text.clone(),
            Some(Error::PeerIncompatible(_)) => "the server speaks neither TLS 1.2 nor TLS 1.3 as this CA does".to_owned(),
            Some(_) => "the server did not keep to the protocol".to_owned(),
            None => error.kind().to_string(),
        };
        problem(ProblemType::Tls, format!("the TLS handshake failed: {why}"))
    })
}

/// Verifies the signature of a handshake by a key, whatever its certificate has in critical extensions.
pub(super) fn verify_by_key(
    provider: &CryptoProvider,
    spki: &[u8],
    message: &[u8],
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let bad = || Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme);
    let key = SubjectPublicKeyInfoDer::from(spki);
    let key = webpki::RawPublicKeyEntity::try_from(&key).map_err(|_| bad())?;
    let schemes = provider.signature_verification_algorithms.mapping;
    let (_, algorithms) = schemes.iter().find(|(scheme, _)| *scheme == signed.scheme).ok_or_else(bad)?;
    let verified = algorithms.iter().any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok());
    if verified {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(Error::General("the server does not hold the key of its certificate".to_owned()))
    }
}

/// Accepts any certificate; the handshake's signature still has to be by its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
