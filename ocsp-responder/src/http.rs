//! The HTTP face: OCSP by GET and POST (RFC 6960 appendix A, RFC 5019), CRLs, issuer certificates, health.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use ca_core::model::CrlScope;
use ca_core::pki::Timestamp;
use ca_core::pki::ocsp::{MAX_REQUEST_LEN, error_response};
use http_body_util::{BodyExt as _, Limited};

use crate::answer::Reply;
use crate::authority::AuthorityState;
use crate::counted;
use crate::files::CrlAnswer;
use crate::follow::Responder;

const OCSP_RESPONSE: &str = "application/ocsp-response";
/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// An authority's certificate never changes under its name; a day is for those who set one up anew.
const ISSUER_MAX_AGE: u64 = 86_400;

/// An entry of [`ROUTES`].
pub struct Route {
    /// The path, with its parameters in braces.
    pub path: &'static str,
    handler: fn() -> MethodRouter<Arc<Responder>>,
}

const fn route(path: &'static str, handler: fn() -> MethodRouter<Arc<Responder>>) -> Route {
    Route { path, handler }
}

/// Every route there is: OCSP for the default authority and for each, with the request after a slash or in the body; CRLs,
/// issuer certificates, health. docs/openapi.json describes each.
pub static ROUTES: [Route; 10] = [
    route("/ocsp", ocsp_methods),
    route("/ocsp/", ocsp_methods),
    route("/ocsp/{*request}", ocsp_methods),
    route("/a/{authority}/ocsp", ocsp_methods),
    route("/a/{authority}/ocsp/", ocsp_methods),
    route("/a/{authority}/ocsp/{*request}", ocsp_methods),
    route("/a/{authority}/crl/{file}", || get(crl)),
    route("/a/{authority}/issuer.cer", || get(issuer)),
    route("/healthz", || get(async || plain(StatusCode::OK, "ok\n".to_owned()))),
    route("/readyz", || get(ready)),
];

fn ocsp_methods() -> MethodRouter<Arc<Responder>> {
    get(ocsp_get).post(ocsp_post)
}

impl Responder {
    /// The service's routes, those of [`ROUTES`].
    pub fn router(self: Arc<Self>) -> Router {
        ROUTES
            .iter()
            .fold(Router::new(), |router, route| router.route(route.path, (route.handler)()))
            .layer(from_fn_with_state(Arc::clone(&self), counted::observe))
            .with_state(self)
    }

    /// What [`Self::metrics_router`] tells, for a process that serves other metrics beside these.
    pub fn metrics_text(&self) -> String {
        counted::text(self)
    }

    /// `/metrics`, for operators: on a listener of its own, which relying parties do not reach.
    pub fn metrics_router(self: Arc<Self>) -> Router {
        Router::new().route("/metrics", get(counted::scrape)).with_state(self)
    }
}

async fn ocsp_get(State(responder): State<Arc<Responder>>, request: Request) -> Response {
    let (authority, rest) = split_ocsp_path(request.uri().path());
    // What is not base64 is no request, which the parser then says.
    let decoded = decode_get(rest).unwrap_or_default();
    ocsp(&responder, authority, &decoded, request.headers()).await
}

async fn ocsp_post(State(responder): State<Arc<Responder>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (authority, _) = split_ocsp_path(parts.uri.path());
    let body = match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_REQUEST_LEN).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return closing(StatusCode::PAYLOAD_TOO_LARGE, "an OCSP request has at most 16 KiB\n");
        }
        Ok(Err(_)) => return closing(StatusCode::BAD_REQUEST, "the body could not be read\n"),
        Err(_) => return closing(StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n"),
    };
    ocsp(&responder, authority, &body, &parts.headers).await
}

async fn ocsp(responder: &Responder, authority: Option<&str>, request: &[u8], headers: &HeaderMap) -> Response {
    match responder.answer(authority, request).await {
        None => plain(StatusCode::NOT_FOUND, "no such authority here\n".to_owned()),
        Some(Reply::Error(status)) => no_store(typed(OCSP_RESPONSE, Bytes::copy_from_slice(&error_response(status)))),
        Some(Reply::Signed { answer, cacheable: false }) => no_store(typed(OCSP_RESPONSE, answer.der.clone())),
        Some(Reply::Signed { answer, cacheable: true }) => {
            // RFC 5019 §6.2: max-age ends before nextUpdate, which Expires repeats for HTTP/1.0.
            let lasts = answer.next_update.since(responder.clock.now()).min(responder.config.max_age).as_secs();
            let caching = Caching {
                etag: &answer.etag,
                last_modified: answer.this_update,
                // Good, then revoked, within one second: the date does not tell them apart.
                date_is_enough: false,
                expires: answer.next_update,
                max_age: lasts,
            };
            conditional(headers, &caching, OCSP_RESPONSE, &answer.der)
        }
    }
}

async fn crl(State(responder): State<Arc<Responder>>, request: Request) -> Response {
    let mut parts = request.uri().path().rsplit('/');
    let scope = parts.next().and_then(|file| file.strip_suffix(".crl")).and_then(canonical_number);
    let authority = parts.nth(1).and_then(|name| responder.authority(Some(name)));
    let (Some(scope), Some(authority)) = (scope, authority) else {
        return plain(StatusCode::NOT_FOUND, "no such CRL here\n".to_owned());
    };
    match responder.crl(&authority, CrlScope(scope)).await {
        CrlAnswer::Absent => plain(StatusCode::NOT_FOUND, "no such CRL here\n".to_owned()),
        CrlAnswer::Unread => plain(StatusCode::SERVICE_UNAVAILABLE, "the CRL cannot be read right now\n".to_owned()),
        CrlAnswer::File(file) => {
            let lasts = file.next_update.since(responder.clock.now()).min(responder.config.max_age).as_secs();
            let caching = Caching {
                etag: &file.etag,
                last_modified: file.this_update,
                date_is_enough: file.is_first_of_its_second,
                expires: file.next_update,
                max_age: lasts,
            };
            conditional(request.headers(), &caching, "application/pkix-crl", &file.der)
        }
    }
}

async fn issuer(State(responder): State<Arc<Responder>>, request: Request) -> Response {
    let name = request.uri().path().split('/').nth(2);
    let authority: Option<Arc<AuthorityState>> = name.and_then(|name| responder.authority(Some(name)));
    let Some(authority) = authority else {
        return plain(StatusCode::NOT_FOUND, "no such authority here\n".to_owned());
    };
    let (der, etag) = &authority.file;
    let caching = Caching {
        etag,
        last_modified: authority.certificate.not_before(),
        date_is_enough: true,
        expires: responder.clock.now().plus(Duration::from_secs(ISSUER_MAX_AGE)),
        max_age: ISSUER_MAX_AGE,
    };
    conditional(request.headers(), &caching, "application/pkix-cert", der)
}

async fn ready(State(responder): State<Arc<Responder>>) -> Response {
    let reasons = responder.not_ready();
    if reasons.is_empty() {
        return plain(StatusCode::OK, "ready\n".to_owned());
    }
    plain(StatusCode::SERVICE_UNAVAILABLE, reasons.iter().map(|reason| format!("{reason}\n")).collect())
}

/// The authority's name in the path, and what comes after `ocsp`, still encoded.
fn split_ocsp_path(path: &str) -> (Option<&str>, &str) {
    if let Some(rest) = path.strip_prefix("/ocsp") {
        return (None, rest);
    }
    let (name, rest) = path.strip_prefix("/a/").and_then(|p| p.split_once('/')).unwrap_or_default();
    (Some(name), rest.strip_prefix("ocsp").unwrap_or_default())
}

/// A request in a URL: base64, of which clients percent-encode all, some or none of `+`, `/` and `=`, some twice;
/// some use the URL alphabet, leave the padding out, put a second slash in front, or break lines.
fn decode_get(encoded: &str) -> Option<Vec<u8>> {
    const BASE64: GeneralPurpose =
        GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
    // Base64 of 16 KiB, every character percent-encoded twice.
    if encoded.len() > MAX_REQUEST_LEN * 4 / 3 * 5 {
        return None;
    }
    let mut text = encoded.as_bytes().to_vec();
    for _ in 0..2 {
        if text.contains(&b'%') {
            text = percent_decode(&text)?;
        }
    }
    let text: Vec<u8> = text
        .into_iter()
        .filter(|byte| !matches!(byte, b'\r' | b'\n' | b'\t'))
        .map(|byte| match byte {
            b'-' | b' ' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    // A request begins with 0x30, so that its base64 begins with `M`: slashes in front are none of it.
    let start = text.iter().take_while(|byte| **byte == b'/').count();
    BASE64.decode(&text[start..]).ok()
}

fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: Option<&u8>| byte.and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        out.push(if *byte == b'%' { digit(bytes.next())? << 4 | digit(bytes.next())? } else { *byte });
    }
    Some(out)
}

/// A number in its one canonical form, so that a CRL has one URL.
fn canonical_number(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().filter(|number| number.to_string() == text)
}

struct Caching<'a> {
    etag: &'a str,
    last_modified: Timestamp,
    /// Whether nothing else was served at this URL before with the same date.
    date_is_enough: bool,
    expires: Timestamp,
    max_age: u64,
}

/// The file, or 304 where the client has it (RFC 9110 §13.2.2: If-None-Match goes before If-Modified-Since). A date means the
/// file only where it is exactly the file's and no other's: a client that is told 304 for another misses a revocation.
fn conditional(request: &HeaderMap, caching: &Caching<'_>, content_type: &'static str, body: &Bytes) -> Response {
    let text = |name: HeaderName| request.get_all(name).into_iter().filter_map(|v| v.to_str().ok());
    let has_it = if request.contains_key(header::IF_NONE_MATCH) {
        let mut tags = text(header::IF_NONE_MATCH).flat_map(|v| v.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
        tags.any(|tag| tag == "*" || tag == caching.etag)
    } else {
        let since = text(header::IF_MODIFIED_SINCE).next().and_then(Timestamp::parse_http_date);
        caching.date_is_enough && since == Some(caching.last_modified)
    };
    let mut response = if has_it {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        typed(content_type, body.clone())
    };
    let set = [
        // No transformation: some clients take a compressed body for the file.
        (header::CACHE_CONTROL, format!("max-age={}, public, no-transform, must-revalidate", caching.max_age)),
        (header::ETAG, caching.etag.to_owned()),
        (header::LAST_MODIFIED, caching.last_modified.to_http_date()),
        (header::EXPIRES, caching.expires.to_http_date()),
    ];
    for (name, value) in set {
        // Digits, hexadecimal and dates: always a header value.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn typed(content_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn plain(status: StatusCode, text: String) -> Response {
    let mut response = no_store(typed("text/plain; charset=utf-8", text.into()));
    *response.status_mut() = status;
    response
}

/// An answer after which the connection is closed, because the rest of the body is not wanted.
fn closing(status: StatusCode, text: &'static str) -> Response {
    let mut response = plain(status, text.to_owned());
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_common_encoding_is_read() {
        // 0x30 and bytes that give `+`, `/` and padding.
        let der = [0x30, 0x03, 0xfb, 0xef, 0xff, 0xff, 0xfe];
        let forms = [
            "MAP77///_g==",
            "MAP77////g==",
            "/MAP77////g==",
            "//MAP77////g==",
            "MAP77////g",
            "MAP77%2F%2F%2F%2Fg%3D%3D",
            "MAP77%2f%2f%2f%2fg%3d%3d",
            "MAP77%252F%252F%252F%252Fg%253D%253D",
            "MAP77____g",
            "MAP77%0D%0A////g==",
            "%4dAP77////g==",
        ];
        for form in forms {
            assert_eq!(decode_get(form).as_deref(), Some(&der[..]), "{form}");
        }
        for plus in ["MPv7+w==", "MPv7-w", "MPv7%2Bw==", "MPv7%20w=="] {
            assert_eq!(decode_get(plus), Some(vec![0x30, 0xfb, 0xfb, 0xfb]), "{plus}");
        }
        for bad in ["M", "M%", "M%2", "M%zz", "M*==", "%ff%ff", "M%25%32"] {
            assert_eq!(decode_get(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_are_split_where_the_request_begins() {
        for (path, expected) in [
            ("/ocsp", (None, "")),
            ("/ocsp/MA==", (None, "/MA==")),
            ("/a/demo/ocsp", (Some("demo"), "")),
            ("/a/ocsp/ocsp//M/ocsp/A", (Some("ocsp"), "//M/ocsp/A")),
        ] {
            assert_eq!(split_ocsp_path(path), expected, "{path}");
        }
    }
}
