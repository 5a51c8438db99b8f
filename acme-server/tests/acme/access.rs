//! What operators see of requests: lines in the log, and numbers.

use std::cell::RefCell;
use std::io::Write;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, Once};

use acme_server::{ClientAddress, Limits, METRICS, serve_loopback};
use axum::body::{Body, to_bytes};
use http::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;
use tracing_subscriber::fmt::MakeWriter;

use crate::client::{Key, csr};
use crate::world::{KID, World};

/// The log's lines, as JSON.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

thread_local! {
    /// Where this thread's lines go.
    static HERE: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// One subscriber for all tests: with one for each, a test that begins could take another's lines away.
struct Threads;

impl MakeWriter<'_> for Threads {
    type Writer = Box<dyn Write>;
    fn make_writer(&self) -> Self::Writer {
        HERE.with_borrow(|log| log.clone().map_or_else(|| Box::new(std::io::sink()) as Box<dyn Write>, |log| Box::new(log)))
    }
}

/// Ends a log.
pub(crate) struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        HERE.set(None);
    }
}

impl Log {
    /// Logs what this thread does until the guard goes.
    pub(crate) fn start(&self) -> Guard {
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(Threads).finish();
            tracing::subscriber::set_global_default(subscriber).expect("the only one of this program");
        });
        HERE.set(Some(self.clone()));
        Guard
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<Value> {
        let lines = self.text();
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|line| line["message"] == "request").collect()
    }
}

#[tokio::test]
async fn each_request_is_one_line_that_tells_who_asked_for_what() {
    let (world, log) = (World::new(), Log::default());
    let account = world.account().await;
    let id = account.kid.rsplit('/').next().unwrap().to_owned();
    let guard = log.start();
    let created = account.order(&["a.demo.test"]).await;
    let order = created.is(201).header("location").rsplit('/').next().unwrap().to_owned();
    account.finalize(&created.json(), "AAAA").await.is_problem(400, "badCSR");
    drop(guard);
    // newNonce, newOrder, newNonce, finalize.
    let lines = log.requests();
    assert_eq!(lines.len(), 4, "{}", log.text());
    let told = |line: &Value| -> Value {
        ["method", "route", "status", "problem", "account", "order"].iter().map(|n| line[*n].clone()).collect::<Vec<_>>().into()
    };
    assert_eq!(told(&lines[0]), json!(["HEAD", "/acme/new-nonce", 200, null, null, null]));
    assert_eq!(told(&lines[1]), json!(["POST", "/acme/new-order", 201, null, id, order]));
    assert_eq!(told(&lines[3]), json!(["POST", "/acme/order/{id}/finalize", 400, "badCSR", id, order]));
    assert_eq!(lines[1]["bytes"], created.body.len());
    assert!(lines.iter().all(|line| line["microseconds"].is_u64()), "{}", log.text());
}

#[tokio::test]
async fn lines_name_the_account_that_is_made_and_the_order_whose_certificate_is_fetched() {
    let (world, log) = (World::new(), Log::default());
    let guard = log.start();
    let account = world.account().await;
    let id = account.kid.rsplit('/').next().unwrap().to_owned();
    let payload = crate::star::order(&world, &["a.demo.test"], json!({ "allow-certificate-get": true })).to_string();
    let created = account.post("/acme/new-order", &payload).await;
    let order = created.is(201).header("location").rsplit('/').next().unwrap().to_owned();
    account.finalize(&created.json(), &csr(&["a.demo.test"], None)).await.is(200);
    let path = format!("/acme/star/{order}");
    world.get(&path).await.is(200);
    account.post(&path, "").await.is(200);
    world.post(&account.key, None, "/acme/new-account", r#"{"onlyReturnExisting":true}"#).await.is(200);
    world.post(&Key::new(), None, "/acme/new-account", r#"{"onlyReturnExisting":true}"#).await.is(400);
    drop(guard);
    let lines = log.requests();
    let told = |route: &str| -> Vec<Value> {
        let of_route = lines.iter().filter(|line| line["route"] == route);
        of_route.map(|line| json!([line["status"], line["account"], line["order"]])).collect()
    };
    assert_eq!(told("/acme/new-account"), [json!([201, id, null]), json!([200, id, null]), json!([400, null, null])]);
    assert_eq!(told("/acme/star/{id}"), [json!([200, null, order]), json!([200, id, order])]);
    let text = scrape(&world).await;
    assert!(text.contains("countersign_acme_steps_total{step=\"download\"} 2\n"), "{text}");
}

#[tokio::test]
async fn no_line_has_a_secret_or_what_a_stranger_claims() {
    let (world, log) = (World::new(), Log::default());
    let victim = world.account().await;
    let guard = log.start();
    let key = Key::new();
    let binding = key.binding(KID);
    let payload = json!({ "termsOfServiceAgreed": true, "externalAccountBinding": binding }).to_string();
    let account = world.post(&key, None, "/acme/new-account", &payload).await;
    let nonce = account.is(201).header("replay-nonce").to_owned();
    // A stranger names the victim's account, and puts text into path, query and header.
    world.post(&Key::new(), Some(&victim.kid), "/acme/new-order", "{}").await.is_problem(400, "malformed");
    let path = "/acme/nothing/s3cret?token=s3cret";
    world.send(Request::get(path).header("authorization", "Bearer s3cret").body(Body::empty()).unwrap()).await.is(404);
    drop(guard);
    let (text, lines) = (log.text(), log.requests());
    for secret in ["s3cret", &nonce, binding["signature"].as_str().unwrap(), binding["payload"].as_str().unwrap()] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let last = lines.last().unwrap();
    assert_eq!((&last["route"], &last["status"], &last["problem"]), (&json!("none"), &json!(404), &json!("malformed")));
    let refused = lines.iter().find(|line| line["route"] == "/acme/new-order").unwrap();
    assert_eq!((&refused["account"], &refused["problem"]), (&Value::Null, &json!("malformed")), "an account that was only claimed");
}

#[tokio::test]
async fn a_line_has_the_address_of_the_connections_peer() {
    let (world, log) = (World::new(), Log::default());
    let guard = log.start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(serve_loopback(listener, world.router.clone(), Limits::default(), std::future::pending()));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // What a client says of itself counts for nothing.
    let forged =
        b"GET /acme/directory HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 192.0.2.1\r\nforwarded: for=192.0.2.1\r\nconnection: close\r\n\r\n";
    stream.write_all(forged).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.abort();
    drop(guard);
    assert_eq!(log.requests()[0]["address"], "127.0.0.1", "{}", log.text());
    // Where a request tells its address, the line has it; the extension is the seam for limits too.
    let guard = log.start();
    let address: IpAddr = "2001:db8::1".parse().unwrap();
    let request = Request::get("/acme/directory").extension(ClientAddress(address)).body(Body::empty()).unwrap();
    world.send(request).await.is(200);
    drop(guard);
    assert_eq!(log.requests()[1]["address"], "2001:db8::1");
}

async fn scrape(world: &World) -> String {
    let router = Arc::clone(&world.server).metrics_router();
    let response = router.oneshot(Request::get("/metrics").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn requests_steps_and_problems_are_counted() {
    let world = World::new();
    let account = world.account().await;
    account.certificate(&["a.demo.test"]).await.is(200);
    account.order(&["bank.example"]).await.is_problem(403, "rejectedIdentifier");
    world.post_raw("/acme/new-order", "{}").await.is_problem(400, "malformed");
    let header =
        json!({ "alg": "ES256", "nonce": "A".repeat(32), "url": format!("{}/acme/new-order", crate::world::BASE), "kid": account.kid });
    world.post_raw("/acme/new-order", account.key.sign(&header, "{}")).await.is_problem(400, "badNonce");
    for i in 0..2000 {
        world.get(&format!("/acme/nothing/{i}")).await.is(404);
    }
    world.state().backlog = std::time::Duration::from_secs(3);
    let text = scrape(&world).await;
    for expected in [
        "countersign_acme_requests_total{route=\"/acme/new-account\",status=\"201\"} 1",
        "countersign_acme_requests_total{route=\"/acme/new-order\",status=\"201\"} 1",
        "countersign_acme_requests_total{route=\"/acme/new-order\",status=\"403\"} 1",
        "countersign_acme_requests_total{route=\"none\",status=\"404\"} 2000",
        "countersign_acme_problems_total{type=\"badNonce\"} 1",
        "countersign_acme_problems_total{type=\"rejectedIdentifier\"} 1",
        "countersign_acme_problems_total{type=\"malformed\"} 2001",
        "countersign_acme_steps_total{step=\"account\"} 1",
        "countersign_acme_steps_total{step=\"order\"} 1",
        "countersign_acme_steps_total{step=\"finalize\"} 1",
        "countersign_acme_steps_total{step=\"download\"} 1",
        "countersign_acme_request_seconds_count{route=\"/acme/order/{id}/finalize\"} 1",
        "countersign_store_up 1",
        "countersign_queue_oldest_seconds 3",
    ] {
        assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
    }
    assert!(text.lines().count() < 500, "bounded, whatever clients ask for");
    assert!(!text.contains(account.kid.rsplit('/').next().unwrap()) && !text.contains("demo.test"), "{text}");
    world.state().down = true;
    assert!(scrape(&world).await.contains("countersign_store_up 0\n"));
}

#[tokio::test]
async fn every_metric_is_described() {
    let world = World::new();
    let account = world.account().await;
    account.finalize(&account.order(&["a.demo.test"]).await.json(), &csr(&["b.demo.test"], None)).await.is(400);
    let (text, described) = (scrape(&world).await, include_str!("../../../docs/monitoring.md"));
    for metric in METRICS {
        assert!(text.contains(&format!("# TYPE {} ", metric.name)), "{} is declared and never set", metric.name);
        assert!(described.contains(&format!("| `{}` |", metric.name)), "{} is not in docs/monitoring.md", metric.name);
    }
    let shown = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(shown, METRICS.len(), "{text}");
    // The metrics are not among what clients reach.
    world.get("/metrics").await.is(404);
}
