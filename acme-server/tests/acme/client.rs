//! A client that can also do everything wrong.

use acme_server::ClientAddress;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::body::{Body, to_bytes};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Request, StatusCode};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::world::{BASE, KID, World};

pub(crate) fn b64(octets: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("JSON: {}", self.body))
    }
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("header {name}: {:?}", self.headers)).to_str().unwrap()
    }
    /// Asserts a problem document, with what every answer to a POST carries.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, kind: &str) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.json()["type"], format!("urn:ietf:params:acme:error:{kind}"), "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        self
    }
    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self
    }
}

impl World {
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Answer {
        if let Some(address) = *self.address.lock().unwrap() {
            request.extensions_mut().insert(ClientAddress(address));
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn nonce(&self) -> String {
        let answer = self.send(Request::head("/acme/new-nonce").body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.header("replay-nonce").to_owned()
    }

    pub(crate) async fn post_raw(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(Request::post(path).header("content-type", "application/jose+json").body(body.into()).unwrap()).await
    }

    /// Posts what `key` signs, by `kid` or by its jwk, to the URL's own path.
    pub(crate) async fn post(&self, key: &Key, kid: Option<&str>, url: &str, payload: &str) -> Answer {
        let path = url.strip_prefix(BASE).unwrap_or(url);
        let url = format!("{BASE}{path}");
        let mut header = json!({ "alg": "ES256", "nonce": self.nonce().await, "url": url });
        match kid {
            Some(kid) => header["kid"] = json!(kid),
            None => header["jwk"] = key.jwk(),
        }
        let answer = self.post_raw(path, key.sign(&header, payload)).await;
        // A3: on every answer to a POST, errors included.
        assert!(!answer.header("replay-nonce").is_empty());
        assert!(answer.headers.get_all("link").iter().any(|l| l.to_str().unwrap().ends_with(r#"/acme/directory>;rel="index""#)));
        assert_eq!(answer.header("cache-control"), "no-store");
        answer
    }

    /// Registers `key` and gives the account's URL.
    pub(crate) async fn register(&self, key: Key) -> Account<'_> {
        let payload =
            json!({ "termsOfServiceAgreed": true, "contact": ["mailto:ops@demo.test"], "externalAccountBinding": key.binding(KID) });
        let answer = self.post(&key, None, "/acme/new-account", &payload.to_string()).await;
        answer.is(201);
        Account { world: self, kid: answer.header("location").to_owned(), key }
    }

    pub(crate) async fn account(&self) -> Account<'_> {
        self.register(Key::new()).await
    }
}

pub(crate) struct Key(EcdsaKeyPair);

impl Key {
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn of(pair: &KeyPair) -> Self {
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pair.serialize_der()).unwrap())
    }

    pub(crate) fn jwk(&self) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        json!({ "kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y) })
    }

    pub(crate) fn sign(&self, header: &Value, payload: &str) -> String {
        let (protected, payload) = (b64(header.to_string()), b64(payload));
        let signature = self.0.sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes()).unwrap();
        json!({ "protected": protected, "payload": payload, "signature": b64(signature) }).to_string()
    }

    /// A binding to `kid`, whose MAC the front end does not judge.
    pub(crate) fn binding(&self, kid: &str) -> Value {
        let protected = b64(json!({ "alg": "HS256", "kid": kid, "url": format!("{BASE}/acme/new-account") }).to_string());
        let payload = b64(self.jwk().to_string());
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"secret"), format!("{protected}.{payload}").as_bytes());
        json!({ "protected": protected, "payload": payload, "signature": b64(mac) })
    }
}

pub(crate) struct Account<'a> {
    pub(crate) world: &'a World,
    pub(crate) kid: String,
    pub(crate) key: Key,
}

impl Account<'_> {
    pub(crate) async fn post(&self, url: &str, payload: &str) -> Answer {
        self.world.post(&self.key, Some(&self.kid), url, payload).await
    }

    pub(crate) async fn order(&self, names: &[&str]) -> Answer {
        self.post("/acme/new-order", &order(names).to_string()).await
    }

    pub(crate) async fn finalize(&self, order: &Value, csr: &str) -> Answer {
        self.post(order["finalize"].as_str().unwrap(), &json!({ "csr": csr }).to_string()).await
    }

    /// Orders and finalizes; gives the PEM chain.
    pub(crate) async fn certificate(&self, names: &[&str]) -> Answer {
        let order = self.order(names).await.is(201).json();
        let valid = self.finalize(&order, &csr(names, None)).await.is(200).json();
        assert_eq!(valid["status"], "valid", "{valid}");
        self.post(valid["certificate"].as_str().unwrap(), "").await
    }
}

pub(crate) fn order(names: &[&str]) -> Value {
    let kind = |name: &str| if name.parse::<std::net::IpAddr>().is_ok() { "ip" } else { "dns" };
    json!({ "identifiers": names.iter().map(|n| json!({ "type": kind(n), "value": n })).collect::<Vec<_>>() })
}

/// A CSR by a new key, base64url.
pub(crate) fn csr(names: &[&str], common_name: Option<&str>) -> String {
    csr_by(&KeyPair::generate().unwrap(), names, common_name)
}

pub(crate) fn csr_by(key: &KeyPair, names: &[&str], common_name: Option<&str>) -> String {
    let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(name) = common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    b64(params.serialize_request(key).unwrap().der())
}
