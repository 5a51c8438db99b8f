//! Behind proxies, at the socket: what counts, from whom, and for how long it is waited.

use std::net::IpAddr;
use std::time::Duration;

use acme_server::{Limits, Unnamed};
use axum::Router;
use axum::extract::Request;
use ca_service::proxies::{Proxies, ProxySays};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::access::Log;
use crate::socket::{PATIENCE, Server};

const DIRECTORY: &str = "/acme/directory";

/// A server that trusts proxies in these networks, and waits for longer than a test: what it refuses it refuses at once.
async fn behind(networks: &[&str], says: ProxySays) -> Server {
    let proxies = Proxies::new(networks.iter().map(|n| n.parse().unwrap()).collect(), says);
    Server::start(proxies, Limits { handshake_timeout: PATIENCE * 2, ..Limits::default() }).await
}

impl Server {
    /// Opens with these octets, then asks for the directory over TLS with these further lines; gives the whole answer, or
    /// nothing where the server hangs up.
    async fn ask(&self, opening: &[u8], more: &str) -> Option<String> {
        let asked = async {
            let mut stream = self.connect(&[], opening).await.ok()?;
            let request = format!("GET {DIRECTORY} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n");
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = Vec::new();
            // A server that has answered need not say goodbye in TLS.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8(answer).ok().filter(|answer| answer.starts_with("HTTP/1.1 200"))
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("the server neither answers nor hangs up")
    }

    /// The address that the log has of a request.
    async fn seen(&self, opening: &[u8], more: &str) -> Option<IpAddr> {
        let log = Log::default();
        let guard = log.start();
        let answered = self.ask(opening, more).await.is_some();
        drop(guard);
        let requests = log.requests();
        assert_eq!(requests.len(), usize::from(answered), "{}", log.text());
        requests.first().map(|line| line["address"].as_str().unwrap().parse().unwrap())
    }
}

fn some(address: &str) -> Option<IpAddr> {
    Some(address.parse().unwrap())
}

const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n";

fn binary(command: u8, client: [u8; 4]) -> Vec<u8> {
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, 0x11, 0, 12], &client, &[10, 0, 0, 1, 1, 2, 3, 4]].concat()
}

#[tokio::test]
async fn a23_a_trusted_proxys_header_says_who_the_client_is() {
    let server = behind(&["127.0.0.0/8"], ProxySays::ProxyProtocol).await;
    assert_eq!(server.seen(LINE, "").await, some("192.0.2.1"));
    assert_eq!(server.seen(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "").await, some("2001:db8::1"));
    assert_eq!(server.seen(&binary(0x21, [192, 0, 2, 7]), "").await, some("192.0.2.7"));
    // The proxy's own checks.
    assert_eq!(server.seen(&binary(0x20, [192, 0, 2, 7]), "").await, some("127.0.0.1"));
    assert_eq!(server.seen(b"PROXY UNKNOWN\r\n", "").await, some("127.0.0.1"));
    // Headers of requests are another way, which this site has not chosen.
    assert_eq!(server.seen(LINE, "x-forwarded-for: 203.0.113.9\r\nforwarded: for=203.0.113.9\r\n").await, some("192.0.2.1"));
    assert_eq!(server.seen(&binary(0x20, [0; 4]), "x-forwarded-for: 203.0.113.9\r\n").await, some("127.0.0.1"));
}

#[tokio::test]
async fn a23_what_a_proxy_says_wrongly_or_late_ends_the_connection() {
    let server = behind(&["127.0.0.0/8"], ProxySays::ProxyProtocol).await;
    let endless = [&b"PROXY UNKNOWN "[..], &[b'a'; 4096]].concat();
    let twice = [LINE, LINE].concat();
    let lengthy = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x21, 0x11, 0xff, 0xff]].concat();
    for wrong in [&b""[..], b"PROXY TCP4 192.0.2.1\r\n", b"GET / HTTP/1.1\r\n\r\n", &endless, &twice, &binary(0x23, [0; 4]), &lengthy] {
        assert_eq!(server.seen(wrong, "").await, None, "{:?}", String::from_utf8_lossy(wrong));
    }
    assert_eq!(server.seen(LINE, "").await, some("192.0.2.1"));
    // Half a header, and then nothing.
    let trusted = Proxies::new(vec!["127.0.0.0/8".parse().unwrap()], ProxySays::ProxyProtocol);
    let server = Server::start(trusted, Limits { handshake_timeout: Duration::from_millis(500), ..Limits::default() }).await;
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    stream.write_all(b"PROXY TCP4 192").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection was left open").unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a23_from_elsewhere_a_header_ends_the_connection_and_forwarded_ones_count_for_nothing() {
    for says in [ProxySays::ProxyProtocol, ProxySays::Forwarded, ProxySays::XForwardedFor] {
        let server = behind(&["10.0.0.0/8", "::1/128"], says).await;
        assert_eq!(server.seen(LINE, "").await, None);
        assert_eq!(server.seen(&binary(0x21, [192, 0, 2, 7]), "").await, None);
        let forged = "x-forwarded-for: 10.0.0.1, 203.0.113.9\r\nforwarded: for=203.0.113.9\r\nx-real-ip: 203.0.113.9\r\n";
        assert_eq!(server.seen(b"", forged).await, some("127.0.0.1"));
    }
}

#[tokio::test]
async fn a23_forwarded_headers_count_from_trusted_proxies_and_only_the_chosen_one() {
    let forwarded = "forwarded: for=198.51.100.1;proto=https, for=\"192.0.2.1:4711\"\r\n";
    let x = "x-forwarded-for: 198.51.100.1\r\nx-forwarded-for: 192.0.2.2\r\n";
    let both = format!("{forwarded}{x}");
    let server = behind(&["127.0.0.0/8"], ProxySays::Forwarded).await;
    assert_eq!(server.seen(b"", &both).await, some("192.0.2.1"));
    assert_eq!(server.seen(b"", x).await, some("127.0.0.1"));
    assert_eq!(server.seen(b"", "forwarded: for=unknown\r\n").await, some("127.0.0.1"));
    assert_eq!(server.seen(b"", "forwarded: ;;;,\"\r\n").await, some("127.0.0.1"));
    // In this mode connections begin with TLS.
    assert_eq!(server.seen(LINE, "").await, None);
    let server = behind(&["127.0.0.0/8", "192.0.2.2/32"], ProxySays::XForwardedFor).await;
    assert_eq!(server.seen(b"", &both).await, some("198.51.100.1"), "through two of the site's proxies");
    assert_eq!(server.seen(b"", forwarded).await, some("127.0.0.1"));
    let long = format!("x-forwarded-for: {}\r\n", vec!["203.0.113.9"; 600].join(", "));
    assert_eq!(server.seen(b"", &long).await, some("203.0.113.9"));
}

/// Whoever stands behind a proxy that does not say so is inside no network of a grant by the proxy's address.
#[tokio::test]
async fn a14_the_routes_are_told_where_a_proxy_does_not_say_who_is_behind_it() {
    let told = async |request: Request| match request.extensions().get::<Unnamed>() {
        Some(Unnamed) => "a proxy",
        None => "a client",
    };
    let check = async |says: ProxySays, opening: &[u8], more: &str, expected: &str| {
        let proxies = Proxies::new(vec!["127.0.0.0/8".parse().unwrap()], says);
        let server = Server::of(Router::new().fallback(told), proxies, Limits::default()).await;
        let answer = server.ask(opening, more).await.unwrap();
        assert!(answer.ends_with(expected), "{says:?} {more}: {answer}");
    };
    check(ProxySays::ProxyProtocol, LINE, "", "a client").await;
    check(ProxySays::ProxyProtocol, b"PROXY UNKNOWN\r\n", "", "a proxy").await;
    check(ProxySays::XForwardedFor, b"", "x-forwarded-for: 192.0.2.1\r\n", "a client").await;
    check(ProxySays::XForwardedFor, b"", "", "a proxy").await;
    check(ProxySays::Forwarded, b"", "forwarded: for=192.0.2.1\r\n", "a client").await;
    // The client's own quotation mark swallows what the proxy adds.
    check(ProxySays::Forwarded, b"", "forwarded: for=\", for=192.0.2.1\r\n", "a proxy").await;
}

#[tokio::test]
async fn a23_behind_a_proxy_each_network_has_its_share_of_connections() {
    let proxies = Proxies::new(vec!["127.0.0.0/8".parse().unwrap()], ProxySays::ProxyProtocol);
    let server = Server::start(proxies, Limits { max_per_network: 2, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        // Once TLS is spoken it counts.
        held.push(server.connect(&[], LINE).await.unwrap());
    }
    let neighbour = binary(0x21, [192, 0, 2, 77]);
    assert_eq!(server.ask(&neighbour, "").await, None, "the same /24");
    assert!(server.ask(&binary(0x21, [192, 0, 3, 1]), "").await.is_some());
    assert!(server.ask(b"PROXY UNKNOWN\r\n", "").await.is_some(), "the proxy itself has no share");
    drop(held);
    let freed = async { while server.ask(&neighbour, "").await.is_none() {} };
    tokio::time::timeout(PATIENCE, freed).await.expect("what has ended no longer counts");
}
