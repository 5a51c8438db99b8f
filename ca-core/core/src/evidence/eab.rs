//! External account binding (RFC 8555 §7.3.4): a MAC by a grant's secret over the account's key.
//!
//! The front end checks everything but the MAC ([`Eab::check`]); the worker, which alone can derive the secret, checks
//! all of it again ([`Eab::verify`]).

use aws_lc_rs::hmac;
use serde_json::Value;

use super::json;
use super::jwk::Jwk;
use super::jws::{RawJws, text};
use crate::model::{Problem, ProblemType};

/// A well-formed binding whose MAC has not been verified by reading it.
#[derive(Clone, Debug)]
pub struct Eab {
    kid: String,
    algorithm: hmac::Algorithm,
    url: String,
    key: Jwk,
    signing_input: String,
    mac: Vec<u8>,
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemType::Malformed, detail)
}

/// The binding in a newAccount payload; none when it is missing or malformed.
pub fn parse_binding(payload: &Value) -> Option<Eab> {
    payload.get("externalAccountBinding").and_then(|binding| Eab::parse(binding.clone()).ok())
}

impl Eab {
    /// Reads an `externalAccountBinding` member.
    ///
    /// # Errors
    /// When it is not a flattened JWS with a MAC algorithm, a kid, a url and no nonce, over a jwk.
    pub fn parse(binding: Value) -> Result<Self, Problem> {
        let raw = RawJws::from_value(binding)?;
        let algorithm = match text(&raw.header, "alg")? {
            "HS256" => hmac::HMAC_SHA256,
            "HS384" => hmac::HMAC_SHA384,
            "HS512" => hmac::HMAC_SHA512,
            _ => {
                return Err(malformed("external account bindings are made with HS256, HS384 or HS512"));
            }
        };
        if raw.header.contains_key("nonce") || raw.header.contains_key("jwk") {
            return Err(malformed("the external account binding must have neither nonce nor jwk in its header"));
        }
        let key =
            json::parse(&raw.payload).map_err(|e| malformed(format!("the external account binding's payload does not parse: {e}")))?;
        Ok(Self {
            kid: text(&raw.header, "kid")?.to_owned(),
            algorithm,
            url: text(&raw.header, "url")?.to_owned(),
            key: Jwk::from_value(&key)?,
            signing_input: raw.signing_input,
            mac: raw.signature,
        })
    }

    /// The key identifier: a grant's id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Checks everything but the MAC.
    ///
    /// # Errors
    /// When the binding is for another URL or another key than the newAccount request.
    pub fn check(&self, account_jwk: &Jwk, new_account_url: &str) -> Result<(), Problem> {
        if self.url != new_account_url {
            return Err(malformed("the external account binding's url is not that of the request"));
        }
        if self.key != *account_jwk {
            return Err(malformed("the external account binding is for another key than the request's jwk"));
        }
        Ok(())
    }

    /// Checks everything.
    ///
    /// # Errors
    /// Those of [`Self::check`], and `unauthorized` when the MAC is not by `secret`.
    pub fn verify(&self, secret: &[u8], account_jwk: &Jwk, new_account_url: &str) -> Result<(), Problem> {
        self.check(account_jwk, new_account_url)?;
        let key = hmac::Key::new(self.algorithm, secret);
        // Constant time.
        hmac::verify(&key, self.signing_input.as_bytes(), &self.mac).map_err(|_| {
            Problem::new(
                ProblemType::Unauthorized,
                "the external account binding's MAC does not verify (hint: check the key identifier and the HMAC key, as `ca grant create` printed them)",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const URL: &str = "https://ca.test/acme/new-account";

    fn binding(header: &str, payload: &str, algorithm: hmac::Algorithm, secret: &[u8]) -> Value {
        let (protected, payload) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let mac = hmac::sign(&hmac::Key::new(algorithm, secret), format!("{protected}.{payload}").as_bytes());
        json!({"protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(mac.as_ref())})
    }

    fn header(alg: &str) -> String {
        json!({"alg": alg, "kid": "abc", "url": URL}).to_string()
    }

    #[test]
    fn a06_a_binding_of_each_algorithm_verifies_with_its_secret_key_and_url_only() {
        let account = Jwk::parse(KEY).unwrap();
        let other = Jwk::parse(&KEY.replace("11q", "12q")).unwrap();
        for (alg, algorithm) in [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)] {
            let value = binding(&header(alg), KEY, algorithm, b"secret");
            let eab = parse_binding(&json!({"externalAccountBinding": value})).unwrap();
            assert_eq!(eab.kid(), "abc");
            assert!(eab.verify(b"secret", &account, URL).is_ok(), "{alg}");
            assert_eq!(eab.verify(b"Secret", &account, URL).unwrap_err().kind, ProblemType::Unauthorized);
            assert!(eab.verify(b"secret", &other, URL).is_err());
            assert!(eab.verify(b"secret", &account, "https://ca.test/acme/new-order").is_err());
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        let refused = |value: Value| assert!(Eab::parse(value.clone()).is_err(), "{value}");
        refused(json!(null));
        refused(json!("x"));
        for alg in ["none", "ES256"] {
            refused(binding(&header(alg), KEY, hmac::HMAC_SHA256, b"secret"));
        }
        refused(binding(&header("HS256").replace("\"kid\"", "\"nonce\":\"n\",\"kid\""), KEY, hmac::HMAC_SHA256, b"s"));
        refused(binding(&header("HS256").replace("\"kid\"", "\"k\""), KEY, hmac::HMAC_SHA256, b"s"));
        refused(binding(&header("HS256"), "", hmac::HMAC_SHA256, b"s"));
        assert!(parse_binding(&json!({})).is_none());
    }
}
