//! The agent's HTTP client: HTTPS only, one connection a request, and a bound on time and size that the ACME
//! library's own client lacks.

use std::error::Error as StdError;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, RETRY_AFTER};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::AgentError;

const MAX_BODY: usize = 1024 * 1024;
const MAX_BUNDLE: u64 = 4 * 1024 * 1024;
const CONNECT: Duration = Duration::from_secs(10);
// Longer than the CA makes a finalize wait.
const WHOLE_REQUEST: Duration = Duration::from_secs(60);

type BoxError = Box<dyn StdError + Send + Sync>;

/// An HTTPS client that trusts the roots of one bundle.
#[derive(Clone)]
pub(super) struct Client {
    tls: TlsConnector,
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl Client {
    /// A client that trusts the certificates of a PEM file and nothing else.
    pub(super) fn trusting(bundle: &Path) -> Result<Self, AgentError> {
        let wrong = |reason: String| AgentError::Configuration(format!("--ca-bundle `{}`: {reason}", bundle.display()));
        let size = std::fs::metadata(bundle).map_err(|e| wrong(e.to_string()))?.len();
        if size > MAX_BUNDLE {
            return Err(wrong(format!("longer than {MAX_BUNDLE} bytes")));
        }
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(bundle).map_err(|e| wrong(e.to_string()))? {
            let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
            roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(wrong("it holds no PEM certificate".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| AgentError::Local(format!("cannot set up TLS: {e}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), retry_after: Arc::default() })
    }

    /// How long the last refusal asked to wait, once.
    pub(super) fn take_retry_after(&self) -> Option<Duration> {
        self.retry_after.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// One request and its answer, of whatever status.
    pub(super) async fn send(&self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        match tokio::time::timeout(WHOLE_REQUEST, self.exchange(request)).await {
            Ok(result) => result.map_err(Error::Other),
            Err(_) => Err(Error::Other(format!("no answer within {} seconds", WHOLE_REQUEST.as_secs()).into())),
        }
    }

    async fn exchange(&self, mut request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, BoxError> {
        let uri = request.uri().clone();
        if uri.scheme_str() != Some("https") {
            // RFC 8555 §6.1
            return Err(format!("`{uri}` is not an https URL, and ACME is spoken over HTTPS only").into());
        }
        let authority = uri.authority().ok_or("the URL names no host")?.clone();
        // In a URL an IPv6 address stands in brackets; for the connection and the certificate it does not.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(443);
        let stream = tokio::time::timeout(CONNECT, async {
            let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|e| format!("cannot connect to {authority}: {e}"))?;
            tcp.set_nodelay(true)?;
            let name = ServerName::try_from(host.clone())?;
            self.tls.connect(name, tcp).await.map_err(|e| BoxError::from(format!("TLS with {authority}: {e}")))
        })
        .await
        .map_err(|_| format!("no connection to {authority} within {} seconds", CONNECT.as_secs()))??;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender; what it has to say reaches the sender too.
        let driver = tokio::spawn(connection);
        request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
        *request.uri_mut() = uri.path_and_query().map_or(Uri::from_static("/"), |p| Uri::from(p.clone()));
        let response = sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await?.to_bytes();
        drop(sender);
        driver.abort();
        if parts.status.is_client_error() || parts.status.is_server_error() {
            let asked = parts.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.trim().parse().ok());
            *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner) = asked.map(Duration::from_secs);
        }
        Ok(BytesResponse { parts, body: Box::new(body) })
    }
}

impl HttpClient for Client {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move { client.send(request).await })
    }
}
