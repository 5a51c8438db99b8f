//! Project Wycheproof's JSON Web Signature vectors, sent to a server over its socket.
//!
//! That each signature verifies or not is shown beside the code that verifies (ca-core, `evidence::wycheproof`). Here the
//! vectors are hostile input: none is an ACME request, so none may be answered by anything but the client's own fault.

use acme_server::{Limits, serve_loopback};
use ca_core::model::AccountStatus;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::client::b64;
use crate::world::{BASE, World};

const VECTORS: &str = include_str!("../../../ca-core/core/tests/vectors/wycheproof-jws.json");

/// Posts over a connection of its own; gives the status and the body.
async fn post(port: u16, path: &str, body: &str) -> (u16, String) {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/jose+json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("replay-nonce: "), "{head}");
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn a05_a_server_refuses_wycheproofs_signatures_and_changes_nothing() {
    let world = World::new();
    let account = world.account().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(serve_loopback(listener, world.router.clone(), Limits::default(), std::future::pending()));
    let before = format!("{:?}", *world.state());
    let groups: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    let mut sent = 0;
    for group in &groups {
        for test in group["tests"].as_array().unwrap() {
            let compact = test["jws"].as_str().unwrap();
            // As it is in the flattened form, and in the compact form that ACME does not take.
            let members: Map<String, Value> = ["protected", "payload", "signature"]
                .into_iter()
                .zip(compact.splitn(3, '.'))
                .map(|(n, p)| (n.to_owned(), json!(p)))
                .collect();
            // With a header that leads to a valid account, so that the vector's signature is what is judged.
            let mut led = members.clone();
            let header =
                json!({ "alg": "ES256", "nonce": world.nonce().await, "url": format!("{BASE}/acme/new-order"), "kid": account.kid });
            led.insert("protected".to_owned(), json!(b64(header.to_string())));
            for body in [Value::Object(members).to_string(), compact.to_owned(), Value::Object(led).to_string()] {
                let (status, answer) = post(port, "/acme/new-order", &body).await;
                let told = format!("{} of {}: {status} {answer}", test["id"], group["comment"]);
                assert_eq!(status, 400, "{told}");
                let kind = serde_json::from_str::<Value>(&answer).unwrap()["type"].as_str().unwrap().to_owned();
                let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap().to_owned();
                assert!(["malformed", "badSignatureAlgorithm"].contains(&kind.as_str()), "{told}");
                sent += 1;
            }
        }
    }
    assert_eq!(sent, 3 * 401);
    assert_eq!(format!("{:?}", *world.state()), before);
    assert!(world.state().accounts.values().all(|a| a.status == AccountStatus::Valid));
    server.abort();
}
