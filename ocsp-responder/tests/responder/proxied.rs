//! Behind proxies, at the socket: whose address a request has, and what one network has of the connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use ca_core::pki::Timestamp;
use ca_service::proxies::{ClientAddress, Proxies, ProxySays};
use ocsp_responder::{Limits, ResponderConfig, serve_behind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{PATIENCE, World};

const LINE: &str = "PROXY TCP4 192.0.2.1 10.0.0.1 56324 80\r\n";

/// Serves these routes behind proxies in this network.
async fn behind(router: Router, network: &str, says: ProxySays, limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let proxies = Arc::new(Proxies::new(vec![network.parse().unwrap()], says));
    tokio::spawn(serve_behind(listener, router, proxies, limits, std::future::pending()));
    address
}

/// Routes that say where a request comes from.
fn mirror() -> Router {
    Router::new().route("/", get(async |Extension(ClientAddress(address)): Extension<ClientAddress>| address.to_string()))
}

/// What comes back for these octets until the server hangs up.
async fn said(address: SocketAddr, octets: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(octets.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    // A server that hangs up on octets that it did not read resets the connection.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("the connection is closed");
    String::from_utf8(all).unwrap()
}

/// The address that a request has which begins with these octets and has these further lines; nothing where it is refused.
async fn seen(address: SocketAddr, opening: &str, more: &str) -> Option<String> {
    let answer = said(address, &format!("{opening}GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n")).await;
    answer.starts_with("HTTP/1.1 200").then(|| answer.rsplit("\r\n").next().unwrap().to_owned())
}

fn some(address: &str) -> Option<String> {
    Some(address.to_owned())
}

#[tokio::test]
async fn a23_the_responder_takes_a_clients_address_from_trusted_proxies_alone() {
    let forged = "x-forwarded-for: 203.0.113.9\r\nforwarded: for=203.0.113.9\r\n";
    let limits = Limits { header_timeout: Duration::from_secs(1), ..Limits::default() };
    let trusted = behind(mirror(), "127.0.0.0/8", ProxySays::ProxyProtocol, limits).await;
    assert_eq!(seen(trusted, LINE, forged).await, some("192.0.2.1"));
    assert_eq!(seen(trusted, "PROXY UNKNOWN\r\n", forged).await, some("127.0.0.1"));
    // It must say, rightly and in time.
    for wrong in ["", "PROXY TCP4 192.0.2.1\r\n"] {
        assert_eq!(seen(trusted, wrong, "").await, None, "{wrong}");
    }
    assert_eq!(said(trusted, "PROXY TCP4 192").await, "");

    let elsewhere = behind(mirror(), "10.0.0.0/8", ProxySays::ProxyProtocol, Limits::default()).await;
    assert_eq!(seen(elsewhere, "", forged).await, some("127.0.0.1"));
    assert_eq!(seen(elsewhere, LINE, "").await, None, "from elsewhere the header is no HTTP");

    let by_header = behind(mirror(), "127.0.0.0/8", ProxySays::XForwardedFor, Limits::default()).await;
    assert_eq!(seen(by_header, "", "x-forwarded-for: 198.51.100.1, 192.0.2.2\r\n").await, some("192.0.2.2"));
    assert_eq!(seen(by_header, "", "forwarded: for=203.0.113.9\r\n").await, some("127.0.0.1"));
}

#[tokio::test]
async fn a23_one_network_does_not_take_the_responder_from_the_others_through_a_proxy_either() {
    let limits = Limits { per_network: 2, ..Limits::default() };
    let address = behind(mirror(), "127.0.0.0/8", ProxySays::ProxyProtocol, limits).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{LINE}GET / HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        // Answered, so that it is open by now.
        stream.read_u8().await.unwrap();
        held.push(stream);
    }
    let neighbour = LINE.replace("192.0.2.1", "192.0.2.77");
    assert_eq!(seen(address, &neighbour, "").await, None, "the same /24");
    assert_eq!(seen(address, &LINE.replace("192.0.2.1", "192.0.3.1"), "").await, some("192.0.3.1"));
    assert_eq!(seen(address, "PROXY UNKNOWN\r\n", "").await, some("127.0.0.1"), "the proxy itself has no share");
    drop(held);
    let freed = async { while seen(address, &neighbour, "").await.is_none() {} };
    tokio::time::timeout(PATIENCE, freed).await.expect("what has ended no longer counts");
}

#[tokio::test]
async fn the_responders_own_routes_answer_behind_a_proxy() {
    let world = World::new(Timestamp::from_unix(1_795_478_400), ResponderConfig::default());
    world.responder.refresh().await.unwrap();
    let router = Arc::clone(&world.responder).router();
    let address = behind(router, "127.0.0.0/8", ProxySays::ProxyProtocol, Limits::default()).await;
    let answer = said(address, &format!("{LINE}GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
}
