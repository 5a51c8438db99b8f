//! http-01 (RFC 8555 §8.3).

use std::net::IpAddr;

use bytes::Bytes;
use ca_core::model::{LeasedValidation, Problem, ProblemType};
use ca_core::pki::Identifier;
use ca_core::validation::http_path;
use http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::redirect::Target;
use super::tls::{handshake, server_name};
use super::{Failed, Trace, Validators, no_host, problem};

/// The most redirects that are followed.
const MAX_REDIRECTS: usize = 10;
/// The most octets of a body: a key authorization has 87.
const MAX_BODY: usize = 1024;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// An answer that is not a redirect that may be followed.
struct Answer {
    status: StatusCode,
    location: Option<String>,
    body: Bytes,
}

pub(super) async fn validate(validators: &Validators, job: &LeasedValidation, expected: &str, trace: &mut Trace) -> Result<(), Failed> {
    let first_port = validators.config.http_port;
    let mut target = Target::of(&job.identifier, first_port, &http_path(&job.token))?;
    for _ in 0..=MAX_REDIRECTS {
        let answer = fetch(validators, &target, trace).await?;
        match (answer.status, answer.location) {
            (StatusCode::OK, _) => return Ok(judge(&answer.body, expected, trace)?),
            (
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT,
                Some(location),
            ) => target = target.redirect(&location, first_port)?,
            (status, _) => {
                let detail = format!("the server answered with the status {} instead of 200", status.as_u16());
                return Err(problem(ProblemType::IncorrectResponse, detail).into());
            }
        }
    }
    Err(problem(ProblemType::Connection, format!("more than {MAX_REDIRECTS} redirects follow one another")).into())
}

/// "The server SHOULD ignore whitespace characters at the end of the body."
fn judge(body: &[u8], expected: &str, trace: &mut Trace) -> Result<(), Problem> {
    trace.answered(body);
    if body.trim_ascii_end() == expected.as_bytes() {
        Ok(())
    } else {
        let detail = "the body is not the key authorization of this challenge and this account";
        Err(problem(ProblemType::IncorrectResponse, detail))
    }
}

/// Resolves once, connects to what was resolved, and asks.
async fn fetch(validators: &Validators, target: &Target, trace: &mut Trace) -> Result<Answer, Failed> {
    let addresses: Vec<IpAddr> = match &target.host {
        Identifier::Ip(address) => vec![*address],
        Identifier::Dns(name) => validators.resolver.addresses(name.as_str()).await?,
        Identifier::PermanentIdentifier(_) | Identifier::HardwareModule(_) => return Err(no_host().into()),
    };
    let stream = validators.connector.connect(&addresses, target.port, trace).await?;
    if target.tls {
        let config = std::sync::Arc::clone(&validators.tls.redirects);
        Ok(ask(handshake(config, server_name(&target.host)?, stream).await?, target).await?)
    } else {
        Ok(ask(stream, target).await?)
    }
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, target: &Target) -> Result<Answer, Problem> {
    let broken = |_| problem(ProblemType::Connection, "the server did not give a whole HTTP answer");
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // It ends when this is dropped.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::get(target.path.as_str())
        .header(HOST, target.authority())
        .header(USER_AGENT, "Countersign-validation/1")
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| problem(ProblemType::ServerInternal, "the request could not be made"))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let (parts, body) = response.into_parts();
    let location = parts.headers.get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    if parts.status != StatusCode::OK {
        // Nobody needs the body.
        return Ok(Answer { status: parts.status, location, body: Bytes::new() });
    }
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(Answer { status: parts.status, location, body: body.to_bytes() }),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(problem(ProblemType::IncorrectResponse, format!("the body has more than {MAX_BODY} octets")))
        }
        Err(_) => Err(problem(ProblemType::Connection, "the server did not give a whole HTTP answer")),
    }
}
