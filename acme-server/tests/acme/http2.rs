//! HTTP/2: with a real client, and frame by frame with one that abuses it.

use std::process::Command;
use std::time::Duration;

use acme_server::Limits;
use ca_service::proxies::Proxies;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::socket::{PATIENCE, Server};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// RFC 9113 §6.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags][..], &stream.to_be_bytes()[..], payload].concat()
}

/// `GET` or `POST /acme/directory` by HPACK's static table (RFC 7541 appendix A) and literals that are not indexed.
fn request(method: u8) -> Vec<u8> {
    [&[method, 0x87, 0x04, 15][..], b"/acme/directory", &[0x01, 9], b"localhost"].concat()
}
const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// A server whose timeouts are short.
async fn server() -> Server {
    let limits = Limits { header_timeout: Duration::from_secs(1), drain: Duration::from_secs(1), ..Limits::default() };
    Server::start(Proxies::none(), limits).await
}

impl Server {
    /// A connection on which the preface and these settings were sent.
    async fn h2(&self, settings: &[u8]) -> TlsStream<TcpStream> {
        let mut stream = self.connect(&[b"h2"], b"").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await.unwrap();
        stream
    }

    /// curl gets the directory over HTTP/2.
    async fn is_ready(&self) {
        let url = format!("https://localhost:{}/acme/directory", self.port);
        let curl = move || {
            let options = [
                "--http2",
                "--silent",
                "--show-error",
                "--insecure",
                "--noproxy",
                "*",
                "--max-time",
                "60",
                // A connection that a stalled machine did not use in time was rightly closed.
                "--retry",
                "5",
                "--retry-all-errors",
                "-w",
                "\n%{http_version} %{http_code}",
            ];
            Command::new("curl").args(options).arg(url).output().unwrap()
        };
        let done = tokio::task::spawn_blocking(curl).await.unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        assert!(text.contains("newNonce") && text.ends_with("\n2 200"), "{text} {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Reads frames until one is `wanted` or the server hangs up; gives that one.
async fn until(stream: &mut TlsStream<TcpStream>, wanted: impl Fn(u8, u32, &[u8]) -> bool) -> Option<(u8, Vec<u8>)> {
    let read = async {
        loop {
            let mut head = [0u8; 9];
            stream.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).await.ok()?;
            if wanted(head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), &payload) {
                return Some((head[3], payload));
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the server neither answers nor hangs up")
}

#[tokio::test]
async fn a02_curl_speaks_http_2_with_the_server() {
    server().await.is_ready().await;
}

#[tokio::test]
async fn a23_http_2_streams_are_bounded() {
    let server = server().await;
    let mut stream = server.h2(&[]).await;
    // Requests whose bodies never come.
    let open: Vec<u8> = (0..200).flat_map(|i| frame(HEADERS, END_HEADERS, 2 * i + 1, &request(POST))).collect();
    stream.write_all(&open).await.unwrap();
    let refused =
        until(&mut stream, |kind, _, payload| kind == GOAWAY || kind == RST_STREAM && payload == REFUSED_STREAM.to_be_bytes()).await;
    assert!(refused.is_some(), "the connection ended without a word");
    server.is_ready().await;
}

#[tokio::test]
async fn a23_http_2_rapid_reset_does_not_hold_the_server() {
    let server = server().await;
    let mut stream = server.h2(&[]).await;
    for round in 0..100u32 {
        let one =
            |i: u32| [frame(HEADERS, END_HEADERS | END_STREAM, i, &request(GET)), frame(RST_STREAM, 0, i, &8u32.to_be_bytes())].concat();
        let burst: Vec<u8> = (0..100).flat_map(|i| one(2 * (round * 100 + i) + 1)).collect();
        // The server may have had enough already.
        if stream.write_all(&burst).await.is_err() {
            break;
        }
    }
    let _ = stream.shutdown().await;
    until(&mut stream, |_, _, _| false).await;
    server.is_ready().await;
}

#[tokio::test]
async fn a23_http_2_headers_without_end_are_refused() {
    let server = server().await;
    let mut stream = server.h2(&[]).await;
    let mut sent = stream.write_all(&frame(HEADERS, END_STREAM, 1, &request(GET))).await;
    // A literal header of 4 KiB in each: far more than a request may have.
    let field = [&[0x00, 1][..], b"x", &[0x7f, 0x81, 0x1f], &[b'a'; 4096]].concat();
    for _ in 0..1000 {
        if sent.is_err() {
            break;
        }
        sent = stream.write_all(&frame(CONTINUATION, 0, 1, &field)).await;
    }
    until(&mut stream, |_, _, _| false).await;
    server.is_ready().await;
}

#[tokio::test]
async fn a23_http_2_a_window_of_nothing_does_not_hold_the_server() {
    let server = server().await;
    // SETTINGS_INITIAL_WINDOW_SIZE is 0: answers can never be sent.
    let mut stream = server.h2(&[0, 4, 0, 0, 0, 0]).await;
    let asked: Vec<u8> = (0..50).flat_map(|i| frame(HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, &request(GET))).collect();
    stream.write_all(&asked).await.unwrap();
    assert!(until(&mut stream, |kind, _, _| kind == HEADERS).await.is_some());
    server.is_ready().await;
    // It does not answer pings either, so the server lets it go.
    until(&mut stream, |_, _, _| false).await;
    server.is_ready().await;
}
