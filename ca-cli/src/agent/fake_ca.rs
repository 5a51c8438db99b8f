//! A CA of a hundred lines for the agent's tests: it speaks enough ACME, over TLS, and does what it is told.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ca_core::pki::{Csr, PublicKey, Timestamp, pem_encode};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What the CA does and has seen. Times are those of the test's clock.
#[derive(Default)]
pub(super) struct Script {
    /// The key of the last request that was certified.
    pub(super) certified: Option<PublicKey>,
    /// A key that is certified no more.
    pub(super) blocked: Option<PublicKey>,
    /// Refuse orders with this problem type.
    pub(super) problem: Option<&'static str>,
    /// What to ask for in Retry-After with that.
    pub(super) retry_after: Option<u32>,
    /// Refuse `replaces`.
    pub(super) already_replaced: bool,
    /// So many accounts, the first ones, have ended. A certificate belongs to the first.
    pub(super) ended_accounts: usize,
    /// The renewal window; without it there is none to be had.
    pub(super) window: Option<(Timestamp, Timestamp)>,
    /// How often it was asked for the window.
    pub(super) window_asked: u32,
    /// Refuse to tell the window, and ask for this many seconds in Retry-After.
    pub(super) window_busy: Option<u32>,
    /// The newOrder payloads.
    pub(super) orders: Vec<Value>,
    /// The newAccount payloads that made an account.
    pub(super) accounts: Vec<Value>,
    /// The key of each newAccount.
    pub(super) account_keys: Vec<Value>,
    /// So many answers to newAccount are lost: 503, though what was asked for is done.
    pub(super) lost_accounts: u32,
    /// Refuse newAccount for its key.
    pub(super) bad_account_key: bool,
    /// So many nonces of newAccount are refused.
    pub(super) bad_nonces: u32,
    /// How many accounts may be made.
    pub(super) max_accounts: Option<usize>,
    /// The paths at which the directory was asked for.
    pub(super) directories: Vec<String>,
    bound: Vec<Value>,
    chain: String,
}

pub(super) struct FakeCa {
    pub(super) script: Arc<Mutex<Script>>,
    pub(super) bundle: PathBuf,
    pub(super) directory: String,
    away: Arc<AtomicBool>,
    server: tokio::task::JoinHandle<()>,
}

struct Raw(Vec<u8>);

impl rcgen::PublicKeyData for Raw {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

type Signer = rcgen::Issuer<'static, rcgen::KeyPair>;

impl FakeCa {
    pub(super) async fn start(folder: &Path) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let bundle = folder.join("root.pem");
        std::fs::write(&bundle, root.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = rcgen::Issuer::new(root, key);

        let tls_key = rcgen::KeyPair::generate().unwrap();
        let tls = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&tls_key, &issuer).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![tls.der().clone()], PrivatePkcs8KeyDer::from(tls_key.serialize_der()).into())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("https://{}", listener.local_addr().unwrap());
        let (script, away) = (Arc::new(Mutex::new(Script::default())), Arc::new(AtomicBool::new(false)));
        let issuer = Arc::new(issuer);
        let (directory, shared, gone) = (format!("{base}/directory"), Arc::clone(&script), Arc::clone(&away));
        let server = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                if gone.load(Ordering::SeqCst) {
                    continue;
                }
                let (acceptor, base, script, issuer) = (acceptor.clone(), base.clone(), Arc::clone(&shared), Arc::clone(&issuer));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(tcp).await else { return };
                    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                        let (base, script, issuer) = (base.clone(), Arc::clone(&script), Arc::clone(&issuer));
                        async move {
                            let path = request.uri().path().to_owned();
                            let body = request.into_body().collect().await.unwrap().to_bytes();
                            Ok::<_, Infallible>(answer(&base, &path, &body, &script, &issuer))
                        }
                    });
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { script, bundle, directory, away, server }
    }

    /// While away, connections are closed as soon as they are made.
    pub(super) fn away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }
}

impl Drop for FakeCa {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn answer(base: &str, path: &str, body: &[u8], script: &Mutex<Script>, issuer: &Signer) -> Response<Full<Bytes>> {
    let mut script = script.lock().unwrap();
    let reply = |status: u16, location: Option<&str>, body: String| {
        let mut response = Response::builder().status(status).header("replay-nonce", "nonce");
        if let Some(location) = location {
            response = response.header("location", format!("{base}{location}"));
        }
        response.body(Full::from(body)).unwrap()
    };
    let retry_after = script.retry_after;
    let problem_with = |status: u16, kind: &str| {
        let problem = json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "as told", "status": status});
        let mut response = reply(status, None, problem.to_string());
        if let Some(seconds) = retry_after {
            response.headers_mut().insert("retry-after", seconds.into());
        }
        response
    };
    let problem = |kind: &str| problem_with(403, kind);
    if path.ends_with("/directory") {
        script.directories.push(path.to_owned());
        let mut directory = json!({"newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/account"),
            "newOrder": format!("{base}/order"), "revokeCert": format!("{base}/revoke"), "meta": {"profiles": {"short": ""}}});
        if script.window.is_some() {
            directory["renewalInfo"] = format!("{base}/renewal-info").into();
        }
        return reply(200, None, directory.to_string());
    }
    let order = |status: &str, replaces: &Value| {
        let mut order = json!({"status": status, "authorizations": [], "identifiers": [], "finalize": format!("{base}/finalize"),
            "certificate": format!("{base}/certificate")});
        if !replaces.is_null() {
            order["replaces"] = replaces.clone();
        }
        order.to_string()
    };
    match path {
        "/nonce" => reply(200, None, String::new()),
        "/account" => {
            if script.bad_nonces > 0 {
                script.bad_nonces -= 1;
                return problem_with(400, "badNonce");
            }
            let key = member(body, "protected")["jwk"].clone();
            script.account_keys.push(key.clone());
            if script.bad_account_key {
                return problem_with(400, "badPublicKey");
            }
            // RFC 8555 §7.3.1: a key that has an account is told which.
            let known = script.bound.iter().position(|bound| *bound == key);
            if known.is_none() && script.max_accounts.is_some_and(|most| script.bound.len() >= most) {
                return problem("unauthorized");
            }
            if known.is_none() {
                script.accounts.push(payload(body));
                script.bound.push(key);
            }
            if script.lost_accounts > 0 {
                script.lost_accounts -= 1;
                return problem_with(503, "serverInternal");
            }
            let (status, number) = known.map_or((201, script.bound.len()), |at| (200, at + 1));
            reply(status, Some(&format!("/account/{number}")), json!({"status": "valid"}).to_string())
        }
        "/order" => {
            let payload = payload(body);
            let account: usize = member(body, "protected")["kid"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
            if account <= script.ended_accounts {
                return problem_with(401, "unauthorized");
            }
            if account > 1 && payload["replaces"].is_string() {
                return problem("unauthorized");
            }
            let refused = script.already_replaced && payload["replaces"].is_string();
            script.orders.push(payload.clone());
            if let Some(kind) = script.problem {
                return problem(kind);
            }
            if refused { problem("alreadyReplaced") } else { reply(201, Some("/order/1"), order("ready", &payload["replaces"])) }
        }
        "/finalize" => {
            let der = URL_SAFE_NO_PAD.decode(payload(body)["csr"].as_str().unwrap()).unwrap();
            let csr = Csr::from_der(&der).unwrap();
            if script.blocked.as_ref() == Some(csr.public_key()) {
                return problem("badCSR");
            }
            script.certified = Some(csr.public_key().clone());
            let names: Vec<String> = csr.identifiers().iter().map(|i| i.value()).collect();
            let mut leaf = rcgen::CertificateParams::new(names).unwrap();
            leaf.distinguished_name = rcgen::DistinguishedName::new();
            leaf.use_authority_key_identifier_extension = true;
            leaf.not_before = rcgen::date_time_ymd(2026, 11, 24);
            leaf.not_after = rcgen::date_time_ymd(2026, 12, 24);
            let spki = csr.public_key().spki_der();
            let leaf = leaf.signed_by(&Raw(spki[spki.len() - 65..].to_vec()), issuer).unwrap();
            script.chain = pem_encode("CERTIFICATE", leaf.der());
            reply(200, None, order("valid", &Value::Null))
        }
        "/certificate" => reply(200, None, script.chain.clone()),
        renewal if renewal.starts_with("/renewal-info/") => {
            script.window_asked += 1;
            if let Some(seconds) = script.window_busy {
                let mut response = reply(503, None, json!({"type": "about:blank"}).to_string());
                response.headers_mut().insert("retry-after", seconds.into());
                return response;
            }
            let (start, end) = script.window.unwrap();
            let mut response =
                reply(200, None, json!({"suggestedWindow": {"start": start.to_rfc3339(), "end": end.to_rfc3339()}}).to_string());
            response.headers_mut().insert("retry-after", 21_600.into());
            response
        }
        _ => reply(404, None, json!({"type": "about:blank"}).to_string()),
    }
}

fn payload(jws: &[u8]) -> Value {
    member(jws, "payload")
}

fn member(jws: &[u8], name: &str) -> Value {
    let jws: Value = serde_json::from_slice(jws).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jws[name].as_str().unwrap()).unwrap()).unwrap()
}
