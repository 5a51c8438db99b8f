//! A client that signs what it likes and sends it when it likes: many requests at one moment.

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ca_testkit::acme::ClientKey;
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{Demo, PATIENCE};

/// Who knows a CA's facts, as in `demo.env`.
pub(crate) trait Facts {
    fn fact(&self, name: &str) -> &str;
}

impl Facts for Demo {
    fn fact(&self, name: &str) -> &str {
        Demo::fact(self, name)
    }
}

/// A way to an ACME server.
#[derive(Clone)]
pub(crate) struct Wire {
    tls: TlsConnector,
    /// `https://HOST:PORT`
    pub(crate) base: String,
    authority: String,
    /// Where connections go: the server, or a proxy in front of it.
    pub(crate) port: u16,
    /// Which of this host's addresses they come from.
    pub(crate) from: Ipv4Addr,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("no JSON ({e}): {} {}", self.status, self.text))
    }

    /// The last part of a problem's type.
    pub(crate) fn problem(&self) -> String {
        self.json()["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default().to_owned()
    }
}

pub(crate) struct Account {
    pub(crate) key: ClientKey,
    pub(crate) kid: String,
}

impl Wire {
    pub(crate) fn to(ca: &impl Facts) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca.fact("CA_BUNDLE")).expect("a bundle") {
            roots.add(certificate.expect("a certificate")).expect("a root");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        let base = ca.fact("ACME_DIRECTORY").trim_end_matches("/acme/directory").to_owned();
        let authority = base.trim_start_matches("https://").to_owned();
        let port = authority.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        Self { tls: TlsConnector::from(Arc::new(config)), base, authority, port, from: Ipv4Addr::LOCALHOST }
    }

    /// The same through another port of this host, from another of its addresses.
    pub(crate) fn through(&self, port: u16, from: [u8; 4]) -> Self {
        Self { port, from: from.into(), ..self.clone() }
    }

    pub(crate) async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let host = self.authority.rsplit_once(':').expect("a port").0.to_owned();
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.from, 0).into())?;
        let stream = socket.connect((Ipv4Addr::LOCALHOST, self.port).into()).await?;
        self.tls.connect(ServerName::try_from(host).expect("a name"), stream).await
    }

    /// Sends what a connection is asked, with these further header lines.
    async fn exchange(&self, stream: &mut TlsStream<TcpStream>, method: &str, url: &str, more: &str, body: &str) -> std::io::Result<Reply> {
        let path = url.strip_prefix(&self.base).unwrap_or(url);
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{more}", self.authority);
        let body = match method {
            "POST" => format!("content-type: application/jose+json\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
            _ => "\r\n".to_owned(),
        };
        let mut octets = Vec::new();
        let exchange = async {
            stream.write_all(format!("{head}{body}").as_bytes()).await?;
            // A server that has answered need not say goodbye in TLS.
            let _ = stream.read_to_end(&mut octets).await;
            Ok::<_, std::io::Error>(())
        };
        tokio::time::timeout(PATIENCE, exchange).await.map_err(std::io::Error::other)??;
        let text = String::from_utf8_lossy(&octets).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())).collect();
        Ok(Reply { status: status.ok_or(std::io::ErrorKind::InvalidData)?, headers, text: body.to_owned() })
    }

    pub(crate) async fn try_ask(&self, method: &str, url: &str, more: &str, body: &str) -> std::io::Result<Reply> {
        let mut stream = self.connect().await?;
        self.exchange(&mut stream, method, url, more, body).await
    }

    pub(crate) async fn nonce(&self) -> String {
        let reply = self.try_ask("HEAD", "/acme/new-nonce", "", "").await.expect("a nonce");
        reply.header("replay-nonce").expect("a nonce").to_owned()
    }

    pub(crate) async fn post(&self, account: &Account, url: &str, payload: &Value) -> Reply {
        let body = self.signed(account, url, payload).await;
        self.try_ask("POST", url, "", &body).await.expect("an answer")
    }

    /// A request by an account, with a nonce of its own; `null` is POST-as-GET.
    pub(crate) async fn signed(&self, account: &Account, url: &str, payload: &Value) -> String {
        let url = if url.starts_with("https://") { url.to_owned() } else { format!("{}{url}", self.base) };
        let header = json!({ "kid": account.kid, "nonce": self.nonce().await, "url": url });
        if payload.is_null() { account.key.jws_of_text(header, "") } else { account.key.jws(header, payload) }
    }

    /// A newAccount request, bound to the demonstration's grant.
    pub(crate) async fn new_account(&self, ca: &impl Facts, key: &ClientKey) -> String {
        let url = format!("{}/acme/new-account", self.base);
        let secret = URL_SAFE_NO_PAD.decode(ca.fact("EAB_HMAC")).expect("base64url");
        let b64 = |text: String| URL_SAFE_NO_PAD.encode(text);
        let (protected, payload) =
            (b64(json!({ "alg": "HS256", "kid": ca.fact("EAB_KID"), "url": url }).to_string()), b64(key.jwk().to_string()));
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), format!("{protected}.{payload}").as_bytes());
        let binding = json!({ "protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(mac.as_ref()) });
        let header = json!({ "jwk": key.jwk(), "nonce": self.nonce().await, "url": url });
        key.jws(header, &json!({ "termsOfServiceAgreed": true, "externalAccountBinding": binding }))
    }

    pub(crate) async fn account(&self, ca: &impl Facts) -> Account {
        let key = ClientKey::default();
        let body = self.new_account(ca, &key).await;
        let reply = self.try_ask("POST", "/acme/new-account", "", &body).await.expect("an answer");
        assert_eq!(reply.status, 201, "{}", reply.text);
        Account { kid: reply.header("location").expect("a location").to_owned(), key }
    }

    /// A new order, ready.
    pub(crate) async fn order(&self, account: &Account, name: &str) -> Value {
        let reply = self.post(account, "/acme/new-order", &ca_testkit::acme::order_payload(&[name])).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        reply.json()
    }

    /// Asks to finalize an order of `name` with this key.
    pub(crate) async fn try_finalize(&self, account: &Account, order: &Value, name: &str, key: &ClientKey) -> Reply {
        let csr = URL_SAFE_NO_PAD.encode(key.csr(&[name], None));
        self.post(account, order["finalize"].as_str().expect("a URL"), &json!({ "csr": csr })).await
    }

    /// Finalizes an order of `name` with this key, and gives it as it is when the worker has decided.
    pub(crate) async fn finalize(&self, account: &Account, order: &Value, name: &str, key: &ClientKey) -> Value {
        let reply = self.try_finalize(account, order, name, key).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let url = order["finalize"].as_str().expect("a URL").trim_end_matches("/finalize");
        self.decided(account, url, reply.json()).await
    }

    /// Reads an order until the worker has decided; `known` is what was last seen of it. The server waits for that when it
    /// finalizes, but not for as long as a busy machine may take.
    pub(crate) async fn decided(&self, account: &Account, url: &str, mut known: Value) -> Value {
        let decided = async {
            while known["status"] == "processing" {
                tokio::time::sleep(Duration::from_millis(50)).await;
                known = self.post(account, url, &Value::Null).await.json();
            }
            known
        };
        tokio::time::timeout(PATIENCE, decided).await.expect("the worker decides")
    }

    /// Sends all of these POSTs at one moment, each on a connection that is open already.
    pub(crate) async fn at_once(&self, requests: Vec<(String, String)>) -> Vec<Reply> {
        let start = Arc::new(Barrier::new(requests.len()));
        let mut tasks = JoinSet::new();
        for (url, body) in requests {
            let (wire, start) = (self.clone(), Arc::clone(&start));
            tasks.spawn(async move {
                let mut stream = wire.connect().await.expect("a connection");
                start.wait().await;
                wire.exchange(&mut stream, "POST", &url, "", &body).await.expect("an answer")
            });
        }
        tasks.join_all().await
    }
}

/// A stock client's way: each request has a connection of its own.
impl HttpClient for Wire {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let wire = self.clone();
        Box::pin(async move {
            let other = |error: Box<dyn std::error::Error + Send + Sync>| instant_acme::Error::Other(error);
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("it is in memory").to_bytes();
            let reply = wire.try_ask(parts.method.as_str(), &parts.uri.to_string(), "", &String::from_utf8_lossy(&body)).await;
            let reply = reply.map_err(|error| other(error.into()))?;
            let mut response = http::Response::builder().status(reply.status);
            for (name, value) in &reply.headers {
                response = response.header(name, value);
            }
            let (parts, ()) = response.body(()).map_err(|error| other(error.into()))?.into_parts();
            Ok(BytesResponse { parts, body: Box::new(Bytes::from(reply.text)) })
        })
    }
}
