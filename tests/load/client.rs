//! The load's HTTPS client: one connection kept for each account, without Nagle's delay. The ACME library's own client
//! leaves that delay on, and the kernel's late acknowledgements would be most of what is measured. So would the pauses that
//! a server asks for: its `Retry-After` is not heard.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HOST, HeaderValue, RETRY_AFTER};
use http::{Request, Uri};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use crate::process::now;

/// How old a connection may grow. Servers close old ones, this product's after ten minutes, and what a client has just
/// sent on one is lost then.
const OLDEST: Duration = Duration::from_secs(300);

type Sender = SendRequest<BodyWrapper<Bytes>>;

/// A connection, made then.
type Kept = (Sender, Instant);

/// Clones share their connection.
#[derive(Clone)]
pub(crate) struct Client {
    tls: TlsConnector,
    kept: Arc<Mutex<Option<Kept>>>,
    /// Of all clients that were made of one.
    requests: Arc<AtomicU64>,
}

impl Client {
    /// A client that trusts the certificates of a PEM file and nothing else.
    pub(crate) fn trusting(bundle: &Path) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(bundle).expect("a bundle") {
            roots.add(certificate.expect("PEM")).expect("a root");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { tls: TlsConnector::from(Arc::new(config)), kept: Arc::default(), requests: Arc::default() }
    }

    /// A client that trusts the same, with a connection of its own.
    pub(crate) fn another(&self) -> Self {
        Self { tls: self.tls.clone(), kept: Arc::default(), requests: Arc::clone(&self.requests) }
    }

    /// How many requests it and its others have sent.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    async fn connect(&self, host: &str, port: u16) -> Result<Sender, Box<dyn std::error::Error + Send + Sync>> {
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::try_from(host.to_owned())?, tcp).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn exchange(&self, mut request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Box<dyn std::error::Error + Send + Sync>> {
        let authority = request.uri().authority().ok_or("the URL names no host")?.clone();
        request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
        *request.uri_mut() = request.uri().path_and_query().map_or(Uri::from_static("/"), |p| Uri::from(p.clone()));
        let mut kept = self.kept.lock().await;
        let alive = match kept.take() {
            Some((mut sender, since)) if since.elapsed() < OLDEST => sender.ready().await.is_ok().then_some((sender, since)),
            _ => None,
        };
        let (mut sender, since) = match alive {
            Some(alive) => alive,
            None => (self.connect(authority.host(), authority.port_u16().unwrap_or(443)).await?, now()),
        };
        self.requests.fetch_add(1, Ordering::Relaxed);
        let (mut parts, body) = sender.send_request(request).await?.into_parts();
        parts.headers.remove(RETRY_AFTER);
        let body = body.collect().await?.to_bytes();
        *kept = Some((sender, since));
        Ok(BytesResponse { parts, body: Box::new(body) })
    }
}

impl HttpClient for Client {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move { client.exchange(request).await.map_err(Error::Other) })
    }
}
