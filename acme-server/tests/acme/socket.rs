//! A server at a socket over TLS, and connections to it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use acme_server::{Limits, TlsIdentity, serve_tls_behind};
use axum::Router;
use ca_service::proxies::Proxies;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::World;

/// How long an answer, or the end of a connection, is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A certificate for `localhost` with its key.
pub(crate) fn identity() -> (Vec<u8>, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.der().to_vec(), key.serialize_der())
}

/// Speaks TLS with the server at `port`, which should have this certificate, after these octets.
pub(crate) async fn connect(port: u16, trusted: &[u8], alpn: &[&[u8]], opening: &[u8]) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(trusted.to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(opening).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// A server that ends with its test.
pub(crate) struct Server {
    pub(crate) port: u16,
    certificate: Vec<u8>,
    task: JoinHandle<io::Result<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(proxies: Proxies, limits: Limits) -> Self {
        Self::of(World::new().router, proxies, limits).await
    }

    pub(crate) async fn of(router: Router, proxies: Proxies, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tls, (certificate, key)) = (TlsIdentity::new(), identity());
        tls.set(std::slice::from_ref(&certificate), &key).unwrap();
        let task = tokio::spawn(serve_tls_behind(listener, router, tls, Arc::new(proxies), limits, std::future::pending()));
        Self { port, certificate, task }
    }

    /// As [`connect`], with its own certificate.
    pub(crate) async fn connect(&self, alpn: &[&[u8]], opening: &[u8]) -> io::Result<TlsStream<TcpStream>> {
        connect(self.port, &self.certificate, alpn, opening).await
    }
}
