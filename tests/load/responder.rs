//! What http-01 asks: a web server on loopback that knows the open challenges and nothing else (RFC 8555 §8.3).

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const PREFIX: &str = "GET /.well-known/acme-challenge/";
/// The longest request head.
const MAX_HEAD: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(10);

/// A web server. It ends with the runtime that it was started in.
#[derive(Clone, Default)]
pub(crate) struct Responder {
    /// Key authorizations by their tokens.
    open: Arc<Mutex<HashMap<String, String>>>,
}

impl Responder {
    pub(crate) async fn listen(port: u16) -> Self {
        let responder = Self::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("the port is free");
        let serving = responder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let responder = serving.clone();
                tokio::spawn(async move { tokio::time::timeout(PATIENCE, responder.answer(stream)).await });
            }
        });
        responder
    }

    pub(crate) fn publish(&self, token: &str, authorization: &str) {
        self.open.lock().expect("nothing panics with it").insert(token.to_owned(), authorization.to_owned());
    }

    pub(crate) fn withdraw(&self, token: &str) {
        self.open.lock().expect("nothing panics with it").remove(token);
    }

    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::with_capacity(512);
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > MAX_HEAD || stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let token = std::str::from_utf8(&head).ok().and_then(|head| head.strip_prefix(PREFIX)?.split_once(' ')).map(|(token, _)| token);
        let body = token.and_then(|token| self.open.lock().expect("nothing panics with it").get(token).cloned());
        let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
        let body = body.unwrap_or_default();
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    }
}
