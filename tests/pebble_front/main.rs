//! A CA in Pebble's shape, so that suites written for Pebble run against this product without an edit:
//! `pebble_front -config JSON -dnsserver ADDRESS -strict`. Never shipped: an example target of ca-cli, with the feature
//! that tests need.
//!
//! What is behind it is the product: `product` rehearses a CA and runs its worker, and the ACME server is the one that the
//! product has. The front adds what Pebble has around it: `/dir`, a TLS identity that the suite trusts, the management
//! listener, and the refusal of some good nonces. `options` says what of Pebble's environment means something here.

mod options;
mod product;

use std::process::{Command, ExitCode};
use std::sync::Arc;

use acme_server::{Limits, TlsIdentity, serve_tls};
use anyhow::Context as _;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn_with_state, map_request};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use ca_cli::system::SystemRng;
use ca_core::model::{AuthorityKind, CertificateState};
use ca_core::pki::{SerialNumber, pem_decode_all, pem_encode};
use ca_core::ports::{CertificateStore as _, Rng as _};
use http::{Method, StatusCode, Uri, header};
use serde_json::json;
use tokio::sync::watch;

use options::Options;
use product::{Product, authority};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads and sockets can be had");
    let result = Options::read(std::env::args().skip(1)).and_then(|options| runtime.block_on(run(&options)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pebble_front: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> anyhow::Result<()> {
    // Suites wait for the socket alone, and for a few seconds: connections wait in its queue until the CA is there.
    let listener = tokio::net::TcpListener::bind(options.listen).await.with_context(|| options.listen.to_string())?;
    let management = tokio::net::TcpListener::bind(options.management).await.with_context(|| options.management.to_string())?;
    let identity = identity(options)?;
    let folder = tempfile::Builder::new().prefix("pebble-front-").tempdir()?;
    let product = Arc::new(Product::start(options, folder.path()).await?);
    tokio::spawn(Arc::clone(&product.server).validate());

    let reject = Arc::new(Reject { percent: options.nonce_reject, router: Arc::clone(&product.server).router() });
    let acme = Router::new()
        .fallback_service(reject.router.clone())
        .layer(from_fn_with_state(reject, reject_some))
        .layer(map_request(directory_alias));
    let about = Router::new()
        .route("/roots/{n}", get(root))
        .route("/intermediates/{n}", get(intermediate))
        .route("/cert-status-by-serial/{serial}", get(status))
        .with_state(Arc::clone(&product));
    println!("Listening on: {}/dir, management on {}", options.url(), options.management);

    let (stop, stopped) = watch::channel(false);
    let until = |mut stopped: watch::Receiver<bool>| async move { drop(stopped.wait_for(|stop| *stop).await) };
    let serving = async {
        tokio::try_join!(
            serve_tls(listener, acme, Arc::clone(&identity), Limits::default(), until(stopped.clone())),
            serve_tls(management, about, identity, Limits::default(), until(stopped)),
        )
    };
    let signal = async {
        ca_service::signal::until_signal().await;
        // Receivers may all be gone already.
        let _ = stop.send(true);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = serving => drop(result?),
        () = signal => {}
    }
    Ok(())
}

/// The suite's TLS identity. openssl reads every form that keys come in.
fn identity(options: &Options) -> anyhow::Result<Arc<TlsIdentity>> {
    let text = std::fs::read_to_string(&options.certificate).with_context(|| options.certificate.display().to_string())?;
    let chain = pem_decode_all(&text, "CERTIFICATE").with_context(|| options.certificate.display().to_string())?;
    let key = Command::new("openssl").args(["pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in"]).arg(&options.private_key).output()?;
    anyhow::ensure!(key.status.success(), "{}: {}", options.private_key.display(), String::from_utf8_lossy(&key.stderr));
    let identity = TlsIdentity::new();
    identity.set(&chain, &key.stdout)?;
    Ok(identity)
}

/// `/dir`, as Pebble calls it.
async fn directory_alias(mut request: Request) -> Request {
    if request.uri().path() == "/dir" {
        *request.uri_mut() = Uri::from_static("/acme/directory");
    }
    request
}

struct Reject {
    percent: u32,
    router: Router,
}

/// Refuses some requests as if their nonce were used up, so that a suite's clients show that they try again.
async fn reject_some(State(reject): State<Arc<Reject>>, request: Request, next: Next) -> Response {
    let mut dice = [0u8; 4];
    SystemRng.fill(&mut dice);
    if request.method() != Method::POST || u32::from_be_bytes(dice) % 100 >= reject.percent {
        return next.run(request).await;
    }
    let fresh = Request::head("/acme/new-nonce").body(axum::body::Body::empty()).expect("a request without anything special");
    let mut answer = tower_answer(reject.router.clone(), fresh).await;
    let problem = json!({ "type": "urn:ietf:params:acme:error:badNonce", "detail": "refused by chance, as PEBBLE_WFE_NONCEREJECT asks", "status": 400 });
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
    answer.headers_mut().remove(header::CONTENT_LENGTH);
    *answer.body_mut() = problem.to_string().into();
    answer
}

async fn tower_answer(router: Router, request: Request) -> Response {
    use hyper::service::Service as _;
    match hyper_util::service::TowerToHyperService::new(router).call(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

fn pem(der: Option<&[u8]>, number: u32) -> Response {
    match der.filter(|_| number == 0) {
        Some(der) => ([(header::CONTENT_TYPE, "application/pem-certificate-chain")], pem_encode("CERTIFICATE", der)).into_response(),
        None => (StatusCode::NOT_FOUND, "there is one root and one intermediate, number 0; their keys are not shown\n").into_response(),
    }
}

async fn root(State(product): State<Arc<Product>>, Path(number): Path<u32>) -> Response {
    pem(product.certificate(AuthorityKind::Root), number)
}

async fn intermediate(State(product): State<Arc<Product>>, Path(number): Path<u32>) -> Response {
    pem(product.certificate(AuthorityKind::Issuing), number)
}

async fn status(State(product): State<Arc<Product>>, Path(serial): Path<String>) -> Response {
    let Ok(serial) = serial.to_ascii_lowercase().parse::<SerialNumber>() else { return StatusCode::BAD_REQUEST.into_response() };
    match product.store.certificate(&authority(), &serial).await {
        Ok(Some(record)) if record.state == CertificateState::Released => {
            let status = if record.revoked.is_some() { "Revoked" } else { "Valid" };
            let body = json!({ "Serial": serial, "Status": status, "Certificate": pem_encode("CERTIFICATE", &record.der) });
            ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
        }
        Ok(_) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}
