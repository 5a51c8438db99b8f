//! The server's TLS identity, which can be exchanged while it serves.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A TLS identity that was refused.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no certificate in the chain.
    #[error("the certificate chain is empty")]
    EmptyChain,
    /// The key cannot be used, or is not that of the certificate.
    #[error("the TLS key and certificate do not make an identity")]
    Identity(#[source] rustls::Error),
}

/// A certificate chain and its key, swappable: connections made from then on get the new ones, no listener restarts.
#[derive(Default)]
pub struct TlsIdentity(RwLock<Option<Arc<CertifiedKey>>>);

impl TlsIdentity {
    /// No identity yet: handshakes fail until [`Self::set`].
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Sets the chain (DER, leaf first) and the key (PKCS #8, DER).
    ///
    /// # Errors
    /// When the chain is empty, the key cannot be used, or it is not the leaf's; the identity then stays as it was.
    pub fn set(&self, chain: &[Vec<u8>], pkcs8: &[u8]) -> Result<(), TlsError> {
        if chain.is_empty() {
            return Err(TlsError::EmptyChain);
        }
        let chain = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8));
        let key = aws_lc_rs::sign::any_supported_type(&key).map_err(TlsError::Identity)?;
        let identity = CertifiedKey::new(chain, key);
        identity.keys_match().map_err(TlsError::Identity)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(identity));
        Ok(())
    }

    /// TLS 1.3 and 1.2 with this identity.
    pub(crate) fn server_config(self: Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(self);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ResolvesServerCert for TlsIdentity {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity")
    }
}
