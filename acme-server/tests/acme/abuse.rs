//! Clients that are slow, many, or send too much, against a server at its socket.

use std::time::Duration;

use acme_server::{Limits, serve_loopback};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::socket::PATIENCE;
use crate::world::World;

const GET: &str = "GET /acme/directory HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

struct Server {
    port: u16,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(world: &World, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve_loopback(listener, world.router.clone(), limits, async { drop(stopped.await) }));
        Self { port, stop, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// Sends what it can and reads to the end; the server may hang up early.
    async fn send(&self, octets: &[u8]) -> String {
        let mut stream = self.connect().await;
        let _ = stream.write_all(octets).await;
        read(&mut stream).await
    }

    async fn is_ready(&self) {
        let answer = self.send(GET.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("newNonce"), "{answer}");
    }
}

async fn read(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let done = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(done.is_ok(), "the connection was left open");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a23_too_many_and_too_long_headers_are_refused() {
    let server = Server::start(&World::new(), Limits::default()).await;
    let head = |more: &str| format!("GET /acme/directory HTTP/1.1\r\nhost: x\r\n{more}connection: close\r\n\r\n");
    let many = |count: usize| (0..count).map(|i| format!("x-{i}: a\r\n")).collect::<String>();
    assert!(server.send(head(&many(40)).as_bytes()).await.starts_with("HTTP/1.1 200"));
    for abuse in [many(100), many(1000), format!("x: {}\r\n", "a".repeat(64 << 10)), format!("{}: a\r\n", "x".repeat(64 << 10))] {
        let answer = server.send(head(&abuse).as_bytes()).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
        server.is_ready().await;
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100 << 10));
    assert!(!server.send(long.as_bytes()).await.starts_with("HTTP/1.1 2"));
    server.is_ready().await;
}

#[tokio::test]
async fn a23_a_body_that_is_too_large_or_too_slow_is_refused() {
    let patient = World::with(|config| config.body_timeout = PATIENCE);
    let server = Server::start(&patient, Limits::default()).await;
    let head = "POST /acme/new-account HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/jose+json\r\n";
    // No length is announced: found out while reading.
    let chunk = format!("{:x}\r\n{}\r\n", 70_000, "a".repeat(70_000));
    let answer = server.send(format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("64 KiB"), "{answer}");
    let answer = server.send(format!("{head}content-length: 99999999999\r\n\r\n{{").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    server.is_ready().await;
    // A body that never comes.
    let world = World::with(|config| config.body_timeout = Duration::from_millis(200));
    let server = Server::start(&world, Limits::default()).await;
    let answer = server.send(format!("{head}content-length: 100\r\n\r\n{{").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("urn:ietf:params:acme:error:malformed"), "{answer}");
    server.is_ready().await;
    assert!(patient.state().accounts.is_empty() && world.state().accounts.is_empty());
}

/// Who is not known yet takes so much memory and no more; ordinary requests go through beside it.
#[tokio::test]
async fn a23_large_bodies_have_a_budget_together_and_small_ones_pass() {
    let world = World::with(|config| {
        config.body_timeout = PATIENCE * 2;
        config.body_budget = 100_000;
    });
    let server = Server::start(&world, Limits::default()).await;
    let post = |length: usize| {
        format!(
            "POST /acme/new-account HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/jose+json\r\n\
             content-length: {length}\r\n\r\n"
        )
    };
    let large = |length: usize| post(length) + &"a".repeat(length);
    // It is read, and is no JWS.
    assert!(server.send(large(60_000).as_bytes()).await.starts_with("HTTP/1.1 400"));
    let mut stalled = server.connect().await;
    stalled.write_all((post(60_001) + &"a".repeat(60_000)).as_bytes()).await.unwrap();
    let refused = async {
        loop {
            // Until what stalls was read this one is served; and its answer may be lost, as the server does not read it all.
            let answer = server.send(large(60_000).as_bytes()).await;
            if answer.starts_with("HTTP/1.1 503") {
                return answer;
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert!(refused.contains("\r\nretry-after: 10\r\n") && refused.contains("serverInternal"), "{refused}");
    assert!(server.send(large(4096).as_bytes()).await.starts_with("HTTP/1.1 400"), "a small one is served all the same");
    server.is_ready().await;
    // What it held is free once it has its answer.
    stalled.write_all(b"a").await.unwrap();
    assert!(read(&mut stalled).await.starts_with("HTTP/1.1 400"));
    assert!(server.send(large(60_000).as_bytes()).await.starts_with("HTTP/1.1 400"));
}

/// It is not closed under a request: the answer to one says that it was the last.
#[tokio::test]
async fn a23_an_old_connection_ends_with_an_answer() {
    let server = Server::start(&World::new(), Limits { max_age: Duration::ZERO, ..Limits::default() }).await;
    let answer = server.send(b"GET /acme/directory HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn a23_more_idle_connections_than_there_are_slots_do_not_hold_the_server() {
    let limits = Limits { max_connections: 64, header_timeout: Duration::from_secs(1), ..Limits::default() };
    let server = Server::start(&World::new(), limits).await;
    let mut idle = Vec::new();
    for i in 0..300 {
        let mut stream = server.connect().await;
        // Some say nothing, others begin and stop.
        if i % 2 == 0 {
            let _ = stream.write_all(b"GET /acme/direct").await;
        }
        idle.push(stream);
    }
    server.is_ready().await;
    for mut stream in idle {
        // Each is hung up on by the server.
        read(&mut stream).await;
    }
    server.is_ready().await;
}

#[tokio::test]
async fn a23_a_request_in_flight_finishes_when_the_server_stops() {
    let world = World::new();
    let server = Server::start(&world, Limits::default()).await;
    let mut stream = server.connect().await;
    let head = "POST /acme/new-account HTTP/1.1\r\nhost: x\r\ncontent-type: application/jose+json\r\ncontent-length: 2\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    // Connections are taken in turn: once this one is answered, the first is being served.
    server.is_ready().await;
    let Server { port, stop, task } = server;
    stop.send(()).unwrap();
    // It stops listening at once.
    let refused = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.unwrap();
    stream.write_all(b"}").await.unwrap();
    let answer = read(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("malformed"), "{answer}");
    tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a23_one_network_that_holds_its_connections_leaves_the_others_theirs() {
    // They are held for longer than this test takes.
    let limits = Limits { max_connections: 16, max_per_network: 8, header_timeout: PATIENCE * 2, ..Limits::default() };
    let server = Server::start(&World::new(), limits).await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(server.connect().await);
    }
    // Those past the share are closed at once: the last of them is, so the ones before it are decided.
    assert_eq!(read(idle.last_mut().unwrap()).await, "");
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.5.1:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(([127, 0, 0, 1], server.port).into()).await.unwrap();
    other.write_all(GET.as_bytes()).await.unwrap();
    assert!(read(&mut other).await.starts_with("HTTP/1.1 200"));
    // A place that is given back is there for the next.
    drop(idle);
    let back = async {
        while !server.send(GET.as_bytes()).await.starts_with("HTTP/1.1 200") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
}

/// Octets that this process has in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// `make bench` does the same with ten thousand, over TLS.
#[tokio::test]
async fn a23_a_thousand_idle_connections_leave_the_server_ready_and_cost_little() {
    const MANY: u64 = 1000;
    let limits = Limits { max_connections: 2000, ..Limits::default() };
    let server = Server::start(&World::new(), limits).await;
    server.is_ready().await;
    let before = resident();
    let mut idle = Vec::new();
    for i in 0..MANY {
        let mut stream = server.connect().await;
        match i % 3 {
            // Nothing, a beginning, and a connection kept after an answer.
            0 => {}
            1 => stream.write_all(b"GET /acme/direct").await.unwrap(),
            _ => {
                stream.write_all(b"GET /acme/directory HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
                let mut answer = [0u8; 2048];
                assert!(stream.read(&mut answer).await.unwrap() > 0);
            }
        }
        idle.push(stream);
    }
    server.is_ready().await;
    // Both ends are in this process, and other tests may be.
    let each = resident().saturating_sub(before) / MANY;
    assert!(each < 128 * 1024, "{each} octets for each connection");
    drop(idle);
    server.is_ready().await;
}

#[tokio::test]
async fn a23_a_client_that_sends_ever_so_slowly_is_hung_up_on() {
    let world = World::with(|config| config.body_timeout = Duration::from_secs(1));
    let limits = Limits { max_connections: 4, header_timeout: Duration::from_secs(1), ..Limits::default() };
    let server = Server::start(&world, limits).await;
    // Each octet comes well within the limit; all of them together don't.
    let head = "POST /acme/new-account HTTP/1.1\r\nhost: x\r\ncontent-type: application/jose+json\r\ncontent-length: 60000\r\n\r\n";
    let whole_head = server.connect().await;
    let slow = [(server.connect().await, ""), (server.connect().await, ""), (whole_head, head)];
    let mut tasks = tokio::task::JoinSet::new();
    for (mut stream, begin) in slow {
        tasks.spawn(async move {
            stream.write_all(begin.as_bytes()).await.unwrap();
            let (mut read, mut write) = stream.into_split();
            let trickle = async {
                for octet in head.bytes().chain(std::iter::repeat(b'a')) {
                    if write.write_all(&[octet]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let hung_up = async {
                let mut answer = Vec::new();
                // It may be reset, as octets come that nobody reads.
                let _ = read.read_to_end(&mut answer).await;
            };
            tokio::select! {
                () = trickle => {}
                () = hung_up => {}
            }
        });
    }
    server.is_ready().await;
    let ended = async { while tasks.join_next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("a slow client still holds its connection");
    server.is_ready().await;
}
