//! Servers that validation talks to, on loopback: names, HTTP, TLS. Each can do what a hostile one would.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CAA, CNAME, NS, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What a name server says to a question.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    Records(Vec<RData>),
    /// One after the other, the last for ever: a rebinding server.
    Each(Vec<Vec<RData>>),
    Fails,
    /// It does not know, but others may.
    Refers,
    /// Cut off, and not to be had whole.
    Truncated,
}

/// A server that ends with its handle.
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) const fn of(task: JoinHandle<()>) -> Self {
        Self(task)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Zone = HashMap<(String, RecordType), Says>;

/// A name server over UDP. What it does not know has no records.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<Mutex<Vec<(String, RecordType)>>>,
    _task: Task,
}

impl Dns {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::<Mutex<Zone>>::default();
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let (shared, log) = (Arc::clone(&zone), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            let mut buffer = [0u8; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
                let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
                let answer = answer(&query, &shared, &log);
                let _ = socket.send_to(&answer.to_vec().unwrap(), peer).await;
            }
        });
        Self { address, zone, asked, _task: Task(task) }
    }

    pub(crate) fn says(&self, name: &str, kind: RecordType, says: Says) {
        self.zone.lock().unwrap().insert((format!("{name}."), kind), says);
    }

    pub(crate) fn address(&self, name: &str, addresses: &[[u8; 4]]) {
        let records = addresses.iter().map(|a| RData::A(A(Ipv4Addr::from(*a)))).collect();
        self.says(name, RecordType::A, Says::Records(records));
    }

    pub(crate) fn text(&self, name: &str, values: &[&str]) {
        let records = values.iter().map(|v| RData::TXT(TXT::new(vec![(*v).to_owned()]))).collect();
        self.says(name, RecordType::TXT, Says::Records(records));
    }

    /// An alias, for every kind of question.
    pub(crate) fn alias(&self, name: &str, target: &str) {
        let record = RData::CNAME(CNAME(Name::from_ascii(format!("{target}.")).unwrap()));
        self.says(name, RecordType::CNAME, Says::Records(vec![record]));
    }

    pub(crate) fn caa(&self, name: &str, records: &[(&str, &str)]) {
        let one = |(tag, value): &(&str, &str)| {
            let mut caa = CAA::new_issue(false, None, Vec::new());
            (caa.tag, caa.value) = ((*tag).to_owned(), value.as_bytes().to_vec());
            RData::CAA(caa)
        };
        self.says(name, RecordType::CAA, Says::Records(records.iter().map(one).collect()));
    }

    /// How often it was asked this.
    pub(crate) fn asked(&self, name: &str, kind: RecordType) -> usize {
        self.asked.lock().unwrap().iter().filter(|(n, k)| *n == format!("{name}.") && *k == kind).count()
    }
}

fn answer(query: &Message, zone: &Mutex<Zone>, asked: &Mutex<Vec<(String, RecordType)>>) -> Message {
    let mut answer = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    answer.metadata.recursion_available = true;
    let Some(question) = query.queries.first() else { return answer };
    answer.add_query(question.clone());
    let (name, kind) = (question.name().to_ascii().to_lowercase(), question.query_type());
    asked.lock().unwrap().push((name.clone(), kind));
    let mut zone = zone.lock().unwrap();
    let key = if zone.contains_key(&(name.clone(), kind)) { (name, kind) } else { (name, RecordType::CNAME) };
    let records = match zone.get_mut(&key) {
        None => Vec::new(),
        Some(Says::Records(records)) => records.clone(),
        Some(Says::Each(rounds)) if rounds.len() > 1 => rounds.remove(0),
        Some(Says::Each(rounds)) => rounds[0].clone(),
        Some(Says::Refers) => {
            let server = Name::from_ascii("ns.other.test.").unwrap();
            answer.add_authority(Record::from_rdata(question.name().clone(), 60, RData::NS(NS(server))));
            return answer;
        }
        Some(Says::Truncated) => {
            answer.metadata.truncation = true;
            return answer;
        }
        Some(Says::Fails) => {
            answer.metadata.response_code = ResponseCode::ServFail;
            return answer;
        }
    };
    for data in records {
        answer.add_answer(Record::from_rdata(question.name().clone(), 60, data));
    }
    answer
}

/// What a web server does with a path.
#[derive(Clone)]
pub(crate) enum Page {
    /// A whole answer, verbatim.
    Raw(Vec<u8>),
    /// Nothing, with the connection left open.
    Silence,
}

impl Page {
    pub(crate) fn ok(body: &str) -> Self {
        Self::Raw(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes())
    }

    pub(crate) fn redirect(location: &str) -> Self {
        Self::Raw(format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").into_bytes())
    }
}

type Pages = HashMap<String, Page>;

/// TLS with a certificate that nobody trusts.
fn self_signed() -> TlsAcceptor {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["nobody.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()))
}

/// Answers one request.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, pages: &Mutex<Pages>, log: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut buffer = [0u8; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => head.extend_from_slice(&buffer[..length]),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    log.lock().unwrap().push(head);
    let page = pages.lock().unwrap().get(&path).cloned();
    let octets = match page {
        Some(Page::Raw(octets)) => octets,
        Some(Page::Silence) => std::future::pending().await,
        None => b"HTTP/1.1 404 Not Found\r\ncontent-length: 6\r\n\r\nsecret".to_vec(),
    };
    // The client may have seen enough.
    let _ = stream.write_all(&octets).await;
    let _ = stream.shutdown().await;
}

/// A web server, over TLS as well; what it does not know is 404. It keeps what it was asked, Host and path.
pub(crate) struct Web {
    pub(crate) port: u16,
    pages: Arc<Mutex<Pages>>,
    heads: Arc<Mutex<Vec<String>>>,
    _task: Task,
}

impl Web {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (pages, heads) = (Arc::<Mutex<Pages>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (shared, log) = (Arc::clone(&pages), Arc::clone(&heads));
        let tls = self_signed();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, log) = (Arc::clone(&shared), Arc::clone(&log));
                let tls = tls.clone();
                tokio::spawn(async move {
                    let mut first = [0u8; 1];
                    // The first octet of a TLS handshake.
                    match stream.peek(&mut first).await {
                        Ok(1) if first[0] == 0x16 => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &shared, &log).await;
                            }
                        }
                        _ => serve(stream, &shared, &log).await,
                    }
                });
            }
        });
        Self { port, pages, heads, _task: Task(task) }
    }

    pub(crate) fn page(&self, path: &str, page: Page) {
        self.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    /// The requests that came, as they came.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}
