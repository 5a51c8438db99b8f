//! Over HTTP, as clients see it: `openssl ocsp`, `ocsptool` where it is installed, raw requests.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{PATIENCE, World, name, serial};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ca_core::model::{CrlRecord, CrlScope, RevocationReason};
use ca_core::pki::ocsp::{BasicResponse, CertStatus};
use ca_core::pki::{Timestamp, pem_encode};
use ocsp_responder::{Limits, ResponderConfig, serve_with_limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

struct Server {
    world: World,
    address: SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

async fn start(now: Timestamp, limits: Limits) -> Server {
    let world = World::new(now, ResponderConfig::default());
    world.store.issue(serial("0a"));
    world.store.issue(serial("0b"));
    world.store.revoke(serial("0b"), RevocationReason::KeyCompromise, now);
    world.responder.refresh().await.unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let router = world.responder.clone().router();
    let task = tokio::spawn(serve_with_limits(listener, router, limits, async {
        let _ = stopped.await;
    }));
    Server { world, address, stop, task }
}

const NOW: Timestamp = Timestamp::from_unix(1_795_478_400);

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| l.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v))
    }
}

impl Server {
    async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut all = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("the connection is closed").unwrap();
        let split = all.windows(4).position(|w| w == b"\r\n\r\n").map_or(all.len(), |at| at + 4);
        let head = String::from_utf8(all[..split].to_vec()).unwrap();
        Answer { status: head.get(9..12).unwrap_or("0").parse().unwrap(), head, body: all[split..].to_vec() }
    }

    async fn get(&self, path: &str, headers: &str) -> Answer {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").as_bytes()).await
    }

    async fn post(&self, path: &str, body: &[u8]) -> Answer {
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        self.raw(&[head.as_bytes(), body].concat()).await
    }
}

#[tokio::test]
async fn get_and_post_in_every_common_form() {
    let server = start(NOW, Limits::default()).await;
    let request = server.world.request(&["0a"], None);
    let base64 = STANDARD.encode(&request);
    assert!(base64.contains('/') || base64.contains('+'), "the sample shows something: {base64}");
    let every: String = base64.bytes().map(|b| format!("%{b:02X}")).collect();
    let reserved = base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let expected = server.post("/a/demo/ocsp", &request).await;
    let signed = BasicResponse::from_der(&expected.body).unwrap();
    assert_eq!((expected.status, signed.data.answers[0].status), (200, CertStatus::Good));
    assert_eq!(expected.header("content-type"), Some("application/ocsp-response"));
    let lowercase = reserved.replace("%2B", "%2b").replace("%2F", "%2f").replace("%3D", "%3d");
    for form in [base64, reserved, lowercase, every, URL_SAFE_NO_PAD.encode(&request)] {
        for path in ["/ocsp/", "/ocsp//", "/a/demo/ocsp/", "/a/demo/ocsp//"] {
            let answer = server.get(&format!("{path}{form}"), "").await;
            assert_eq!((answer.status, &answer.body), (200, &expected.body), "{path}{form}");
        }
    }
    for path in ["/ocsp", "/ocsp/", "/a/demo/ocsp/"] {
        assert_eq!(server.post(path, &request).await.body, expected.body, "{path}");
    }
    let malformed = [0x30, 3, 0x0a, 1, 1];
    for path in ["/a/demo/ocsp", "/a/demo/ocsp/", "/a/demo/ocsp/%zz", "/ocsp/MAQwAqAA"] {
        let answer = server.get(path, "").await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, &malformed[..]), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    assert_eq!(server.get("/a/nobody/ocsp/MAQwAqAA", "").await.status, 404);
    assert_eq!(server.get("/a/other/ocsp/MAQwAqAA", "").await.body, malformed);
}

#[tokio::test]
async fn caching_headers_agree_with_the_answer() {
    let server = start(NOW, Limits::default()).await;
    let path = format!("/a/demo/ocsp/{}", URL_SAFE_NO_PAD.encode(server.world.request(&["0a"], None)));
    let answer = server.get(&path, "").await;
    assert_eq!(answer.header("cache-control"), Some("max-age=10, public, no-transform, must-revalidate"));
    assert_eq!(answer.header("last-modified"), Some("Mon, 23 Nov 2026 23:59:00 GMT"));
    assert_eq!(answer.header("expires"), Some("Tue, 24 Nov 2026 01:00:00 GMT"));
    let etag = answer.header("etag").unwrap().to_owned();
    let again = server.get(&path, &format!("If-None-Match: \"x\", {etag}\r\n")).await;
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(etag.as_str())));
    // Near the end of its life max-age shrinks with it.
    server.world.store.away.store(true, std::sync::atomic::Ordering::SeqCst);
    server.world.clock.set(NOW.plus(Duration::from_secs(3597)));
    assert!(server.get(&path, "").await.header("cache-control").unwrap().starts_with("max-age=3,"));
    let live = server.post("/ocsp", &server.world.request(&["0a"], Some(&[1; 32]))).await;
    assert_eq!((live.body.as_slice(), live.header("cache-control")), (&[0x30, 3, 0x0a, 1, 3][..], Some("no-store")));
}

/// A CRL that was made at [`NOW`].
fn record(number: u64, der: &[u8]) -> CrlRecord {
    CrlRecord {
        authority: name("demo"),
        scope: CrlScope::FULL,
        number,
        this_update: NOW.minus(Duration::from_secs(60)),
        next_update: NOW.plus(Duration::from_secs(86_400)),
        ledger_number: 1,
        der: der.to_vec(),
    }
}

/// Asks for a partition's CRL in a task of its own.
fn ask_crl(server: &Arc<Server>, partition: u32) -> JoinHandle<Answer> {
    let server = Arc::clone(server);
    tokio::spawn(async move { server.get(&format!("/a/demo/crl/{partition}.crl"), "").await })
}

/// Waits until so many readings of a partition's CRL have begun.
async fn crl_reads(server: &Server, partition: u32, count: usize) {
    let begun = async {
        while server.world.store.crl_reads_of(partition) < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("the store is asked");
}

/// S2: asking for CRLs that do not exist must not keep a new one from those who ask for it.
#[tokio::test]
async fn questions_about_missing_crls_keep_no_crl_old() {
    let server = Arc::new(start(NOW, Limits::default()).await);
    server.world.store.set_crl(record(7, b"seven"));
    assert_eq!(server.get("/a/demo/crl/0.crl", "").await.body, b"seven");
    let gate = server.world.store.crl_gates[1].lock().await;
    let others: Vec<_> = (0..20).map(|_| ask_crl(&server, 1)).collect();
    crl_reads(&server, 1, 1).await;
    server.world.store.set_crl(record(8, b"eight"));
    server.world.clock.advance(Duration::from_secs(4));
    assert_eq!(server.get("/a/demo/crl/0.crl", "").await.body, b"eight");
    drop(gate);
    for other in others {
        assert_eq!(other.await.unwrap().status, 404);
    }
}

/// However many ask, the store is asked once in a second for a scope, also when there is no CRL or no answer.
#[tokio::test]
async fn what_came_of_a_reading_is_everyones() {
    let server = Arc::new(start(NOW, Limits::default()).await);
    for (away, status, reads) in [(false, 404, 1), (true, 503, 2)] {
        server.world.store.away.store(away, std::sync::atomic::Ordering::SeqCst);
        let gate = server.world.store.crl_gates[1].lock().await;
        let all: Vec<_> = (0..20).map(|_| ask_crl(&server, 1)).collect();
        crl_reads(&server, 1, reads).await;
        drop(gate);
        for one in all {
            assert_eq!(one.await.unwrap().status, status);
        }
        assert_eq!(server.world.store.crl_reads_of(1), reads);
        server.world.clock.advance(Duration::from_secs(2));
    }
}

/// While a large CRL is read the one before is given, for two seconds and no longer.
#[tokio::test]
async fn a_crl_that_is_being_read_is_waited_for_when_the_one_before_is_old() {
    let server = Arc::new(start(NOW, Limits::default()).await);
    server.world.store.set_crl(record(7, b"seven"));
    assert_eq!(server.get("/a/demo/crl/0.crl", "").await.body, b"seven");
    let gate = server.world.store.crl_gates[0].lock().await;
    server.world.clock.advance(Duration::from_secs(1));
    let reader = ask_crl(&server, 0);
    crl_reads(&server, 0, 2).await;
    assert_eq!(server.get("/a/demo/crl/0.crl", "").await.body, b"seven", "nobody waits yet");
    server.world.store.set_crl(record(8, b"eight"));
    server.world.clock.advance(Duration::from_secs(3));
    let late = ask_crl(&server, 0);
    let other = server.get("/a/demo/crl/2.crl", "").await;
    assert_eq!(other.status, 404, "other scopes do not wait");
    drop(gate);
    assert_eq!(reader.await.unwrap().body, b"eight");
    assert_eq!(late.await.unwrap().body, b"eight");
}

#[tokio::test]
async fn crls_and_issuer_certificates_are_files() {
    let server = start(NOW, Limits::default()).await;
    assert_eq!(server.get("/a/demo/crl/0.crl", "").await.status, 404);
    server.world.clock.advance(Duration::from_secs(1));
    // The first that is made in a second, as its number shows.
    let number = CrlRecord::first_number(NOW);
    server.world.store.set_crl(record(number, b"seven"));
    let first = server.get("/a/demo/crl/0.crl", "").await;
    assert_eq!((first.status, first.body.as_slice(), first.header("content-type")), (200, &b"seven"[..], Some("application/pkix-crl")));
    assert_eq!(first.header("last-modified"), Some("Mon, 23 Nov 2026 23:59:00 GMT"));
    let etag = first.header("etag").unwrap().to_owned();
    for (condition, status) in [
        (format!("If-None-Match: {etag}\r\n"), 304),
        (format!("If-None-Match: W/{etag}\r\n"), 304),
        ("If-None-Match: \"other\"\r\nIf-Modified-Since: Mon, 23 Nov 2026 23:59:00 GMT\r\n".to_owned(), 200),
        ("If-Modified-Since: Mon, 23 Nov 2026 23:59:00 GMT\r\n".to_owned(), 304),
        ("If-Modified-Since: Mon, 23 Nov 2026 23:58:59 GMT\r\n".to_owned(), 200),
        ("If-Modified-Since: Mon, 23 Nov 2026 23:59:01 GMT\r\n".to_owned(), 200),
        ("If-Modified-Since: yesterday\r\n".to_owned(), 200),
    ] {
        assert_eq!(server.get("/a/demo/crl/0.crl", &condition).await.status, status, "{condition}");
    }
    // A newer one is seen after a second; an older one never again; the last one stays while the store is away.
    for (number, der, expected) in [(number + 1, b"eight".as_slice(), b"eight".as_slice()), (number, b"seven", b"eight")] {
        server.world.store.set_crl(record(number, der));
        server.world.clock.advance(Duration::from_secs(1));
        assert_eq!(server.get("/a/demo/crl/0.crl", "").await.body, expected);
    }
    server.world.store.away.store(true, std::sync::atomic::Ordering::SeqCst);
    server.world.clock.advance(Duration::from_secs(1));
    assert_eq!(server.get("/a/demo/crl/0.crl", "").await.body, b"eight");
    assert_eq!(server.get("/a/demo/crl/1.crl", "").await.status, 503);
    // S17, S10: past its nextUpdate nothing vouches for it any more, unless the store says that there is no newer one.
    server.world.clock.set(NOW.plus(Duration::from_secs(86_399)));
    assert_eq!(server.get("/a/demo/crl/0.crl", "").await.body, b"eight");
    server.world.clock.set(NOW.plus(Duration::from_secs(86_400)));
    assert_eq!(server.get("/a/demo/crl/0.crl", "").await.status, 503);
    server.world.store.away.store(false, std::sync::atomic::Ordering::SeqCst);
    server.world.clock.set(NOW.plus(Duration::from_secs(86_401)));
    assert_eq!(server.get("/a/demo/crl/0.crl", "").await.body, b"eight");
    for missing in
        ["/a/demo/crl/00.crl", "/a/demo/crl/+0.crl", "/a/demo/crl/0", "/a/demo/crl/x.crl", "/a/nobody/crl/0.crl", "/a/Demo/issuer.cer"]
    {
        assert_eq!(server.get(missing, "").await.status, 404, "{missing}");
    }
    let issuer = server.get("/a/demo/issuer.cer", "").await;
    assert_eq!((issuer.body.as_slice(), issuer.header("content-type")), (server.world.root.der(), Some("application/pkix-cert")));
    let etag = issuer.header("etag").unwrap();
    assert_eq!(server.get("/a/demo/issuer.cer", &format!("If-None-Match: {etag}\r\n")).await.status, 304);
    let head = server.raw(b"HEAD /a/demo/issuer.cer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

/// A date of whole seconds does not tell two CRLs of one second apart, nor two answers; the entity tag does.
#[tokio::test]
async fn not_modified_is_never_said_of_another_than_the_client_has() {
    let server = start(NOW, Limits::default()).await;
    let first = CrlRecord::first_number(NOW);
    let since = |answer: &Answer| format!("If-Modified-Since: {}\r\n", answer.header("last-modified").unwrap());
    let tag = |answer: &Answer| format!("If-None-Match: {}\r\n", answer.header("etag").unwrap());
    server.world.store.set_crl(record(first, b"seven"));
    let seven = server.get("/a/demo/crl/0.crl", "").await;
    assert_eq!(server.get("/a/demo/crl/0.crl", &since(&seven)).await.status, 304);
    // The next is dated alike. Whether the first was ever served here does not matter: another replica may have.
    server.world.store.set_crl(record(first + 1, b"eight"));
    server.world.clock.advance(Duration::from_secs(1));
    for condition in [since(&seven), tag(&seven)] {
        let eight = server.get("/a/demo/crl/0.crl", &condition).await;
        assert_eq!((eight.status, eight.body.as_slice()), (200, &b"eight"[..]), "{condition}");
        assert_eq!(since(&eight), since(&seven));
        assert_eq!(server.get("/a/demo/crl/0.crl", &tag(&eight)).await.status, 304);
    }
    // Made after the clock went back: dated before the one that the client has, and newer.
    server.world.store.set_crl(CrlRecord { this_update: NOW.minus(Duration::from_secs(600)), ..record(first + 2, b"nine") });
    server.world.clock.advance(Duration::from_secs(1));
    assert_eq!(server.get("/a/demo/crl/0.crl", &since(&seven)).await.body, b"nine");

    let path = format!("/a/demo/ocsp/{}", URL_SAFE_NO_PAD.encode(server.world.request(&["0a"], None)));
    let good = server.get(&path, "").await;
    server.world.store.revoke(serial("0a"), RevocationReason::KeyCompromise, NOW);
    server.world.responder.refresh().await.unwrap();
    let revoked = server.get(&path, &since(&good)).await;
    assert_eq!((revoked.status, since(&revoked)), (200, since(&good)));
    let told = BasicResponse::from_der(&revoked.body).unwrap().data.answers[0].status;
    assert!(matches!(told, CertStatus::Revoked { .. }), "{told:?}");
}

#[tokio::test]
async fn health_and_readiness() {
    let server = start(NOW, Limits::default()).await;
    assert_eq!(server.get("/healthz", "").await.status, 200);
    assert_eq!(server.get("/readyz", "").await.status, 200);
    server.world.clock.advance(Duration::from_secs(61));
    let red = server.get("/readyz", "").await;
    assert_eq!(red.status, 503);
    assert!(String::from_utf8(red.body).unwrap().contains("ledger was not read"));
    assert_eq!(server.get("/healthz", "").await.status, 200);
}

#[tokio::test]
async fn slow_large_and_many_clients_are_bounded() {
    let limits = Limits { connections: 2, header_timeout: Duration::from_secs(1), ..Limits::default() };
    let server = start(NOW, limits).await;
    let large = server.post("/ocsp", &vec![0x30; 17 * 1024]).await;
    assert_eq!((large.status, large.header("connection")), (413, Some("close")));
    // Neither a silent client nor one that stops within the head holds a slot for long.
    let silent = TcpStream::connect(server.address).await.unwrap();
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost:").await.unwrap();
    assert_eq!(server.get("/healthz", "").await.status, 200);
    drop((silent, slow));
    // An open request is finished after the shutdown began.
    let mut open = TcpStream::connect(server.address).await.unwrap();
    let body = server.world.request(&["0a"], None);
    let head = format!("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n", body.len());
    open.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0u8; 25];
    open.read_exact(&mut interim).await.unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100"), "the handler is at work");
    server.stop.send(()).unwrap();
    open.write_all(&body).await.unwrap();
    let mut answer = Vec::new();
    open.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    server.task.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[expect(clippy::disallowed_methods, reason = "OpenSSL judges validity on the real clock")]
fn real_now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_unix(since.as_secs() as i64)
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_accepts_the_answers() {
    let server = start(real_now(), Limits::default()).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), pem_encode("CERTIFICATE", server.world.root.der())).unwrap();
    for path in ["/a/demo/ocsp", "/ocsp"] {
        let url = format!("http://{}{path}", server.address);
        let common = ["ocsp", "-CAfile", "ca.pem", "-issuer", "ca.pem", "-url", &url];
        for nonce in ["-nonce", "-no_nonce"] {
            let asked = [nonce, "-serial", "0x0a", "-sha256", "-serial", "0x0b", "-sha1", "-serial", "0x0c"];
            let printed = run(folder.path(), "openssl", &[&common[..], &asked[..]].concat());
            for part in ["Response verify OK", "0x0a: good", "0x0b: revoked", "Reason: keyCompromise", "0x0c: unknown"] {
                assert!(printed.contains(part), "{part:?} is missing:\n{printed}");
            }
            assert!(!printed.contains("WARNING") && !printed.to_lowercase().contains("error"), "{printed}");
        }
    }
}

/// GnuTLS wants the certificate itself: the responder's own will do.
#[tokio::test(flavor = "multi_thread")]
async fn gnutls_accepts_the_answers() {
    let server = start(real_now(), Limits::default()).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), pem_encode("CERTIFICATE", server.world.root.der())).unwrap();
    let record = server.world.responder_certificate("0a", Duration::from_secs(3600));
    std::fs::write(folder.path().join("leaf.pem"), pem_encode("CERTIFICATE", &record.der)).unwrap();
    server.world.store.issue(record.serial);
    let ask = format!("--ask=http://{}/a/demo/ocsp", server.address);
    let asked = ["--load-issuer", "ca.pem", "--load-cert", "leaf.pem", "--load-trust", "ca.pem"];
    for nonce in ["--nonce", "--no-nonce"] {
        let printed = run(folder.path(), "ocsptool", &[&[ask.as_str(), nonce][..], &asked].concat());
        assert!(printed.contains("Certificate Status: good") && printed.contains("Success"), "{printed}");
    }
}

#[tokio::test]
async fn requests_and_freshness_are_counted_apart_from_what_relying_parties_reach() {
    let server = start(NOW, Limits::default()).await;
    server.raw(b"GET /a/issuing/issuer.cer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    for i in 0..600 {
        let answer = server.raw(format!("GET /nothing/{i} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(answer.status, 404);
    }
    assert_eq!(server.raw(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.status, 404);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = tokio::spawn(serve_with_limits(
        listener,
        server.world.responder.clone().metrics_router(),
        Limits::default(),
        std::future::pending(),
    ));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    for expected in [
        "countersign_status_requests_total{route=\"none\",status=\"404\"} 601\n",
        "countersign_status_ready ",
        "countersign_ledger_age_seconds{authority=",
        "# TYPE countersign_status_request_seconds histogram\n",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    let described = include_str!("../../../docs/monitoring.md");
    for metric in ocsp_responder::METRICS {
        assert!(described.contains(&format!("| `{}` |", metric.name)), "{} is not in docs/monitoring.md", metric.name);
    }
    metrics.abort();
}

#[test]
fn every_route_is_in_the_openapi_document() {
    let document: serde_json::Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    let described = |tags: &[&str]| -> Vec<String> {
        let paths = document["paths"].as_object().unwrap().iter();
        let tagged = paths.filter(|(_, methods)| tags.iter().any(|tag| methods["get"]["tags"][0] == *tag));
        tagged.map(|(path, _)| path.clone()).collect()
    };
    // A wildcard is a parameter like another there; `/metrics` has a listener of its own.
    let mut served: Vec<String> = ocsp_responder::ROUTES.iter().map(|route| route.path.replace("{*", "{")).collect();
    served.push("/metrics".to_owned());
    served.sort();
    let mut told = described(&["status", "operations"]);
    told.sort();
    assert_eq!(served, told, "docs/openapi.json and the routes differ");
}
