//! Sockets: TLS with an identity that is swapped while it serves, limits, graceful shutdown.

use std::sync::Arc;
use std::time::Duration;

use acme_server::{Limits, TlsIdentity, serve_loopback, serve_tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::socket::{PATIENCE, connect, identity};
use crate::world::World;

/// Gets the directory over TLS from a server that should have this certificate; tells the answer and the protocol.
async fn get(port: u16, trusted: &[u8], alpn: &[u8]) -> std::io::Result<(String, Option<Vec<u8>>)> {
    let mut stream = connect(port, trusted, &[alpn], b"").await?;
    let negotiated = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    if negotiated.as_deref() == Some(b"h2") {
        return Ok((String::new(), negotiated));
    }
    stream.write_all(b"GET /acme/directory HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok((answer, negotiated))
}

#[tokio::test]
async fn the_identity_is_swapped_without_a_restart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = TlsIdentity::new();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let server = tokio::spawn(serve_tls(listener, World::new().router, Arc::clone(&tls), Limits::default(), shutdown));

    let ((old, old_key), (new, new_key)) = (identity(), identity());
    assert!(get(port, &old, b"http/1.1").await.is_err(), "no identity yet");
    tls.set(std::slice::from_ref(&old), &old_key).unwrap();
    assert!(get(port, &old, b"http/1.1").await.unwrap().0.contains("newNonce"));
    assert_eq!(get(port, &old, b"h2").await.unwrap().1.as_deref(), Some(&b"h2"[..]));
    // A key that is not the certificate's changes nothing.
    assert!(tls.set(std::slice::from_ref(&new), &old_key).is_err());
    assert!(tls.set(&[], &new_key).is_err());
    assert!(get(port, &old, b"http/1.1").await.is_ok());
    tls.set(std::slice::from_ref(&new), &new_key).unwrap();
    assert!(get(port, &new, b"http/1.1").await.is_ok());
    assert!(get(port, &old, b"http/1.1").await.is_err());

    stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn slow_and_idle_clients_are_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let limits = Limits { header_timeout: Duration::from_millis(200), max_connections: 1, ..Limits::default() };
    let server = tokio::spawn(serve_loopback(listener, World::new().router, limits, std::future::pending()));
    for sent in [&b""[..], b"GET /acme/direct", b"GET /acme/directory HTTP/1.1\r\nhost: x\r\n\r\n"] {
        // The only slot is free again each time.
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "a connection was left open after {sent:?}");
    }
    server.abort();
}

#[tokio::test]
async fn plain_http_is_for_loopback_only() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = serve_loopback(listener, World::new().router, Limits::default(), std::future::pending()).await;
    assert!(refused.unwrap_err().to_string().contains("loopback"));
}
