//! Sockets: TLS, HTTP/1.1 and HTTP/2, and the limits that keep slow or numerous clients from holding the server.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use ca_core::evidence::json::MAX_BYTES;
use ca_service::proxies::{Client, ClientAddress, Proxies, Unnamed};
use ca_service::shares::Shares;
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::tls::TlsIdentity;

/// Limits of a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How many connections are open at a time; more wait in the kernel's queue.
    pub max_connections: u32,
    /// How many of them one IPv4 /24 or IPv6 /64 may have, unless it is a trusted proxy; one more is closed at once.
    pub max_per_network: u32,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a request's header may take, the wait for the next request on an open connection included.
    pub header_timeout: Duration,
    /// After how long a connection is asked to close.
    pub max_age: Duration,
    /// How long open connections may take to finish once they are asked to.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_per_network: u32::MAX,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(15),
            max_age: Duration::from_secs(600),
            drain: Duration::from_secs(15),
        }
    }
}

const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Requests at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 16;
/// What a client may send on an HTTP/2 stream, and on all of a connection, before it is read.
const STREAM_WINDOW: u32 = MAX_BYTES as u32;
const CONNECTION_WINDOW: u32 = 2 * STREAM_WINDOW;

/// Serves `router` over TLS until `shutdown` is done, then lets open requests finish.
///
/// # Errors
/// When TLS cannot be set up at all. Errors of single connections are logged.
pub async fn serve_tls(
    listener: TcpListener,
    router: Router,
    identity: Arc<TlsIdentity>,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    serve_tls_behind(listener, router, identity, Arc::default(), limits, shutdown).await
}

/// As [`serve_tls`], behind these proxies: the address of each request's client is what they say it is.
///
/// # Errors
/// As [`serve_tls`].
pub async fn serve_tls_behind(
    listener: TcpListener,
    router: Router,
    identity: Arc<TlsIdentity>,
    proxies: Arc<Proxies>,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let config = identity.server_config().map_err(io::Error::other)?;
    accept(listener, router, Some(TlsAcceptor::from(Arc::new(config))), proxies, limits, shutdown).await;
    Ok(())
}

/// Serves `router` over plain HTTP, on a loopback address only (ACME requirement A2).
///
/// # Errors
/// When the listener is bound to any other address.
pub async fn serve_loopback(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        let message = format!("plain HTTP is served on loopback addresses only, not on {address} (hint: configure TLS)");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    accept(listener, router, None, Arc::default(), limits, shutdown).await;
    Ok(())
}

async fn accept(
    listener: TcpListener,
    router: Router,
    tls: Option<TlsAcceptor>,
    proxies: Arc<Proxies>,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) {
    let slots = Arc::new(Semaphore::new(limits.max_connections.max(1) as usize));
    let shares = Arc::<Shares>::default();
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = &mut shutdown => break,
            next = next => next,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let (tls, shares, stopped) = (tls.clone(), Arc::clone(&shares), stopped.clone());
                let peer = Client { address: peer.ip(), named: true };
                let router = Addressed { router: router.clone(), peer, proxies: Arc::clone(&proxies), last_from: None };
                connections.spawn(async move {
                    serve_connection(stream, router, tls, &shares, limits, stopped).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: give open connections time to end.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    // Receivers may all be gone already.
    let _ = stop.send(true);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain, finished).await.is_err() {
        tracing::warn!("connections that did not finish in time are closed");
    }
}

/// The routes as one connection reaches them: each request tells where it comes from.
#[derive(Clone)]
struct Addressed {
    router: Router,
    peer: Client,
    proxies: Arc<Proxies>,
    /// From when on answers end the connection; nothing: its protocol has its own way.
    last_from: Option<Instant>,
}

impl Service<Request<Incoming>> for Addressed {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let values = |name| request.headers().get_all(name).into_iter().map(HeaderValue::as_bytes);
        let client = self.proxies.client(self.peer, values);
        request.extensions_mut().insert(ClientAddress(client.address));
        if !client.named {
            request.extensions_mut().insert(Unnamed);
        }
        let (answering, last_from) = (TowerToHyperService::new(self.router.clone()).call(request), self.last_from);
        Box::pin(async move {
            let mut response = answering.await?;
            if last_from.is_some_and(|at| Instant::now() >= at) {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        })
    }
}

async fn serve_connection(
    stream: TcpStream,
    mut router: Addressed,
    tls: Option<TlsAcceptor>,
    shares: &Arc<Shares>,
    limits: Limits,
    stopped: watch::Receiver<bool>,
) {
    // Answers are small; waiting to fill a segment would only delay them.
    let _ = stream.set_nodelay(true);
    let stream = match router.proxies.open(stream, router.peer.address, limits.handshake_timeout).await {
        Ok((stream, client)) => {
            router.peer = client;
            stream
        }
        Err(error) => {
            tracing::warn!(proxy = %router.peer.address, %error, "a connection through a proxy is closed");
            return;
        }
    };
    // A proxy that speaks for itself, or for many in one connection, has no share of its own.
    let most = if router.proxies.is_trusted(router.peer.address) { u32::MAX } else { limits.max_per_network };
    let Some(_share) = shares.enter(router.peer.address, most) else {
        tracing::debug!(address = %router.peer.address, "a network has as many connections as it may");
        return;
    };
    let Some(tls) = tls else {
        return serve_http1(stream, router, limits, stopped).await;
    };
    match tokio::time::timeout(limits.handshake_timeout, tls.accept(stream)).await {
        Err(_) => tracing::debug!("a TLS handshake took too long"),
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => serve_http2(stream, router, limits, stopped).await,
        Ok(Ok(stream)) => serve_http1(stream, router, limits, stopped).await,
    }
}

/// An old connection ends with an answer: a request that comes while an idle one is closed would get none. One that never
/// asks again runs into the header timeout.
async fn serve_http1<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    stream: S,
    mut router: Addressed,
    limits: Limits,
    stopped: watch::Receiver<bool>,
) {
    router.last_from = Some(Instant::now() + limits.max_age);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), router);
    drive(connection, limits.max_age + 2 * limits.header_timeout, limits.drain, stopped).await;
}

async fn serve_http2<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    stream: S,
    router: Addressed,
    limits: Limits,
    stopped: watch::Receiver<bool>,
) {
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .serve_connection(TokioIo::new(stream), router);
    drive(connection, limits.max_age, limits.drain, stopped).await;
}

/// Runs a connection to its end; asks it to end when the server stops or it is old, and leaves it `drain` for that.
async fn drive<C>(connection: C, max_age: Duration, drain: Duration, mut stopped: watch::Receiver<bool>)
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => Some(result),
        _ = stopped.wait_for(|stop| *stop) => None,
        () = tokio::time::sleep(max_age) => None,
    };
    let result = match result {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(drain, connection).await {
                Ok(result) => result,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
