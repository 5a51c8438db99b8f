//! Serving HTTP with bounds on time, size and number.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ca_service::proxies::{ClientAddress, Proxies};
use ca_service::shares::Shares;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Bounds of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How many connections are served at once; others wait in the listener's queue.
    pub connections: usize,
    /// How many of them one IPv4 /24 or IPv6 /64 may have, unless it is a trusted proxy; one more is closed at once.
    pub per_network: u32,
    /// How long a client may take to send a request's head, or a proxy its PROXY header, and how long an idle connection is kept.
    pub header_timeout: Duration,
    /// How long a connection may live at all.
    pub connection_age: Duration,
    /// How long open requests may take after the shutdown began.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            per_network: u32::MAX,
            header_timeout: Duration::from_secs(10),
            connection_age: Duration::from_secs(600),
            drain: Duration::from_secs(10),
        }
    }
}

/// Serves `router` on `listener` until `shutdown` completes, then finishes open requests; with [`Limits::default`].
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()> + Send) {
    serve_with_limits(listener, router, Limits::default(), shutdown).await;
}

/// Serves `router` on `listener` within `limits` until `shutdown` completes, then finishes open requests.
pub async fn serve_with_limits(listener: TcpListener, router: Router, limits: Limits, shutdown: impl Future<Output = ()> + Send) {
    serve_behind(listener, router, Arc::default(), limits, shutdown).await;
}

/// As [`serve_with_limits`], behind these proxies: the address of each request's client is what they say it is.
///
/// HTTP/1 only: no OCSP or CRL client speaks HTTP/2 in clear text, and the detection of it would wait for a silent
/// client without end.
pub async fn serve_behind(
    listener: TcpListener,
    router: Router,
    proxies: Arc<Proxies>,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) {
    let (slots, shares) = (Arc::new(Semaphore::new(limits.connections)), Arc::<Shares>::default());
    let graceful = GracefulShutdown::new();
    let accept = async {
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // For example no file descriptor is left: wait for a connection to end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (router, proxies, shares, watcher) = (router.clone(), Arc::clone(&proxies), Arc::clone(&shares), graceful.watcher());
            tokio::spawn(async move {
                let _slot = slot;
                serve_connection(stream, peer.ip(), router, &proxies, &shares, limits, watcher).await;
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = shutdown => {}
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time for the shutdown");
    }
}

async fn serve_connection(
    stream: TcpStream,
    peer: IpAddr,
    router: Router,
    proxies: &Arc<Proxies>,
    shares: &Arc<Shares>,
    limits: Limits,
    watcher: Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let (stream, client) = match proxies.open(stream, peer, limits.header_timeout).await {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!(proxy = %peer, %error, "a connection through a proxy is closed");
            return;
        }
    };
    // A proxy that speaks for many in one connection has no share of its own.
    let most = if proxies.is_trusted(client.address) { u32::MAX } else { limits.per_network };
    let Some(_share) = shares.enter(client.address, most) else {
        tracing::debug!(address = %client.address, "a network has as many connections as it may");
        return;
    };
    let (routes, proxies) = (TowerToHyperService::new(router), Arc::clone(proxies));
    let service = service_fn(move |mut request: Request<Incoming>| {
        let values = |name| request.headers().get_all(name).into_iter().map(HeaderValue::as_bytes);
        let address = ClientAddress(proxies.client(client, values).address);
        request.extensions_mut().insert(address);
        routes.call(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(128 * 1024);
    let connection = watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
    // Errors here are the client's: it went away, or sent no HTTP.
    match tokio::time::timeout(limits.connection_age, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended in an error"),
        Err(_) => tracing::debug!("a connection reached its age"),
    }
}
