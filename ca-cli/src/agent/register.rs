//! newAccount (RFC 8555 §7.3), signed here: the ACME library makes the account's key itself, and hands it out only with the
//! answer. An answer that is lost would then leave an account that nobody has the key of, and a grant that is used up.
//! So the key is on disk before the CA first sees it, and is shown again until the CA has said which account it has:
//! to a key that has an account the CA answers with that account (§7.3.1).

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::enrol::Binding;
use super::error::{AgentError, kind_of};
use super::http::Client;
use super::state::{AccountFile, AccountKey, Directory};

const AGENT: &str = "Countersign-agent/1";
const REPLAY_NONCE: &str = "replay-nonce";
/// How often a request is made at most, where its nonce is refused (RFC 8555 §6.5).
const ATTEMPTS: u32 = 3;

/// What of a CA's directory (RFC 8555 §7.1.1) is needed here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resources {
    new_nonce: String,
    new_account: String,
}

/// The URL of an account at the CA whose directory is at `url`, and its key: `kept`, from an attempt before this, or a new one.
/// Both are durable when it returns, and the key is before the CA sees it.
pub(super) async fn register(
    directory: &Directory,
    kept: Option<AccountKey>,
    url: &str,
    client: &Client,
    binding: Option<&Binding>,
) -> Result<(String, AccountKey), AgentError> {
    let (_, body) = checked(exchange(client, Method::GET, url, None).await?)?;
    let resources: Resources =
        serde_json::from_slice(&body).map_err(|e| AgentError::Temporary(format!("`{url}` is not an ACME directory: {e}")))?;
    let key = kept.map_or_else(AccountKey::generate, Ok)?;
    let mut account = AccountFile { id: None, key, directory: url.to_owned() };
    directory.put_account(&account)?;
    let headers = match Signer::new(&account.key)?.new_account(client, &resources, binding).await {
        // It will not take this key, now or later: the next attempt makes another.
        Err(instant_acme::Error::Api(problem)) if kind_of(&problem) == "badPublicKey" => {
            directory.retire_account()?;
            return Err(instant_acme::Error::Api(problem).into());
        }
        answer => answer?,
    };
    let id = headers.get(LOCATION).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let id = id.ok_or_else(|| AgentError::Temporary("it did not say which account this is".to_owned()))?;
    account.id = Some(id.clone());
    directory.put_account(&account)?;
    tracing::info!(account = id, "made an ACME account");
    Ok((id, account.key))
}

struct Signer {
    key: EcdsaKeyPair,
    jwk: Value,
}

impl Signer {
    fn new(key: &AccountKey) -> Result<Self, AgentError> {
        let unusable = |_| AgentError::Local("the account's key in account.json cannot be used (hint: restore the file)".to_owned());
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.pkcs8()).map_err(unusable)?;
        // An uncompressed point: one octet, then 32 of each coordinate (RFC 7518 §6.2.1).
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({ "crv": "P-256", "kty": "EC", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) });
        Ok(Self { key, jwk })
    }

    async fn new_account(
        &self,
        client: &Client,
        resources: &Resources,
        binding: Option<&Binding>,
    ) -> Result<HeaderMap, instant_acme::Error> {
        let mut payload = json!({ "termsOfServiceAgreed": true });
        if let Some(binding) = binding {
            payload["externalAccountBinding"] = self.bound(binding, &resources.new_account);
        }
        let (mut nonce, mut attempts) = (None, 0);
        loop {
            let fresh = match nonce.take() {
                Some(nonce) => nonce,
                None => {
                    let (headers, _) = checked(exchange(client, Method::HEAD, &resources.new_nonce, None).await?)?;
                    nonce_of(&headers).ok_or(instant_acme::Error::Str("a nonce in the answer of newNonce"))?
                }
            };
            let body = self.signed(&payload, &fresh, &resources.new_account)?;
            let answer = exchange(client, Method::POST, &resources.new_account, Some(body)).await?;
            attempts += 1;
            nonce = nonce_of(&answer.1);
            match checked(answer) {
                Err(instant_acme::Error::Api(problem)) if attempts < ATTEMPTS && kind_of(&problem) == "badNonce" => {}
                answer => return answer.map(|(headers, _)| headers),
            }
        }
    }

    /// RFC 8555 §6.2
    fn signed(&self, payload: &Value, nonce: &str, url: &str) -> Result<Value, instant_acme::Error> {
        let header = json!({ "alg": "ES256", "jwk": self.jwk, "nonce": nonce, "url": url });
        flattened(&header, payload, |input| {
            self.key.sign(&SystemRandom::new(), input).map(|s| s.as_ref().to_vec()).map_err(|_| instant_acme::Error::Crypto)
        })
    }

    /// RFC 8555 §7.3.4
    fn bound(&self, binding: &Binding, url: &str) -> Value {
        let header = json!({ "alg": "HS256", "kid": binding.kid, "url": url });
        let key = hmac::Key::new(hmac::HMAC_SHA256, &binding.secret);
        let Ok(jws) = flattened::<std::convert::Infallible>(&header, &self.jwk, |input| Ok(hmac::sign(&key, input).as_ref().to_vec()));
        jws
    }
}

/// A JWS in its flattened JSON serialization (RFC 7515 §7.2.2).
fn flattened<E>(header: &Value, payload: &Value, sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>) -> Result<Value, E> {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let (protected, payload) = (part(header), part(payload));
    let signature = sign(format!("{protected}.{payload}").as_bytes())?;
    Ok(json!({ "protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(signature) }))
}

type Answer = (StatusCode, HeaderMap, Bytes);

async fn exchange(client: &Client, method: Method, url: &str, body: Option<Value>) -> Result<Answer, instant_acme::Error> {
    let mut request = Request::builder().method(method).uri(url).header(USER_AGENT, AGENT);
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/jose+json");
    }
    let body = body.map(|b| b.to_string().into_bytes()).unwrap_or_default();
    let mut response = client.send(request.body(body.into())?).await?;
    let body = response.body.into_bytes().await.map_err(instant_acme::Error::Other)?;
    Ok((response.parts.status, response.parts.headers, body))
}

/// An answer that is none of success carries a problem (RFC 8555 §6.7), unless it comes from something before the CA.
fn checked((status, headers, body): Answer) -> Result<(HeaderMap, Bytes), instant_acme::Error> {
    if status.is_success() {
        return Ok((headers, body));
    }
    Err(match serde_json::from_slice(&body) {
        Ok(problem) => instant_acme::Error::Api(problem),
        Err(_) => instant_acme::Error::Other(format!("status {status}, without saying why").into()),
    })
}

fn nonce_of(headers: &HeaderMap) -> Option<String> {
    headers.get(REPLAY_NONCE).and_then(|v| v.to_str().ok()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use ca_core::evidence::eab::parse_binding;
    use ca_core::evidence::jwk::Jwk;
    use ca_core::evidence::jws::ParsedJws;
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn the_ca_verifies_what_is_signed_here() {
        let url = "https://ca.test/new-account";
        let signer = Signer::new(&AccountKey::generate().unwrap()).unwrap();
        let key = Jwk::from_value(&signer.jwk).unwrap();
        let binding = Binding { kid: "kid-1".to_owned(), secret: Zeroizing::new(b"secret".to_vec()) };
        let payload = json!({ "externalAccountBinding": signer.bound(&binding, url) });
        let jws = ParsedJws::parse(&signer.signed(&payload, "nonce", url).unwrap().to_string()).unwrap();
        jws.verify(&key).unwrap();
        let bound = parse_binding(&Value::Object(jws.payload_object().unwrap())).unwrap();
        bound.verify(b"secret", &key, url).unwrap();
        assert_eq!(bound.kid(), "kid-1");
        assert!(bound.verify(b"another", &key, url).is_err());
    }
}
