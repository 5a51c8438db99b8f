//! JWS as ACME uses them (RFC 8555 §6.2): flattened JSON, one signature, everything protected.
//!
//! Both sides of the seam read them here: the front end from the network, the worker again from the evidence. Nothing
//! here looks at nonces or compares URLs, which only the server that was asked can judge.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::json;
use super::jwk::Jwk;
use crate::model::{Problem, ProblemType};
use crate::pki::{Sha256Digest, sha256};

/// The signature algorithms of accounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JwsAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl JwsAlgorithm {
    /// The names on offer, as badSignatureAlgorithm problems list them (RFC 8555 §6.2).
    pub const NAMES: [&'static str; 4] = ["ES256", "ES384", "EdDSA", "RS256"];

    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "ES384" => Some(Self::Es384),
            "EdDSA" => Some(Self::EdDsa),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }
}

/// The key that a JWS names: exactly one of `jwk` and `kid`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyRef {
    /// The key itself.
    Jwk(Jwk),
    /// The account's URL.
    Kid(String),
}

/// The protected header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProtectedHeader {
    /// The algorithm.
    pub alg: JwsAlgorithm,
    /// The nonce; base64url (RFC 8555 §6.5.2). A keyChange's inner JWS has none.
    pub nonce: Option<String>,
    /// The URL that the JWS was made for.
    pub url: String,
    /// The key.
    pub key: KeyRef,
}

/// A well-formed JWS whose signature has not been verified by reading it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParsedJws {
    /// The protected header.
    pub protected: ProtectedHeader,
    /// The payload, decoded; empty for POST-as-GET.
    pub payload: Vec<u8>,
    signing_input: String,
    signature: Vec<u8>,
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemType::Malformed, detail)
}

impl ParsedJws {
    /// Reads a flattened JWS.
    ///
    /// # Errors
    /// `malformed` when it has more than 64 KiB, is nested too deeply, has a member twice, an unprotected header,
    /// several signatures, a critical extension, or not exactly one of jwk and kid; `badSignatureAlgorithm` for
    /// another algorithm, MACs and `none` included; `badPublicKey` for a jwk that accounts may not have.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let value = json::parse(text.as_bytes()).map_err(|e| malformed(format!("the JWS does not parse: {e}")))?;
        Self::from_value(value)
    }

    /// Reads a JWS that is a member of another message, as a keyChange's inner one is.
    ///
    /// # Errors
    /// Those of [`Self::parse`].
    pub fn from_value(value: Value) -> Result<Self, Problem> {
        let raw = RawJws::from_value(value)?;
        let header = &raw.header;
        let alg = JwsAlgorithm::parse(text(header, "alg")?).ok_or_else(|| {
            Problem::new(ProblemType::BadSignatureAlgorithm, format!("requests are signed with {}", JwsAlgorithm::NAMES.join(", ")))
        })?;
        let nonce = match header.get("nonce") {
            None => None,
            Some(Value::String(nonce)) if is_base64url(nonce) => Some(nonce.clone()),
            Some(_) => return Err(malformed("the nonce is not base64url")),
        };
        let url = text(header, "url")?.to_owned();
        let key = match (header.get("jwk"), header.get("kid")) {
            (Some(jwk), None) => KeyRef::Jwk(Jwk::from_value(jwk)?),
            (None, Some(Value::String(kid))) => KeyRef::Kid(kid.clone()),
            (None, Some(_)) => return Err(malformed("the protected header's `kid` is not a string")),
            // RFC 8555 §6.2: "The "jwk" and "kid" fields are mutually exclusive."
            (Some(_), Some(_)) | (None, None) => return Err(malformed("the protected header must have exactly one of jwk and kid")),
        };
        Ok(Self {
            protected: ProtectedHeader { alg, nonce, url, key },
            payload: raw.payload,
            signing_input: raw.signing_input,
            signature: raw.signature,
        })
    }

    /// Verifies the signature by `key`.
    ///
    /// # Errors
    /// When the algorithm is not the key's, or the signature is wrong.
    pub fn verify(&self, key: &Jwk) -> Result<(), Problem> {
        if key.verify(self.protected.alg, self.signing_input.as_bytes(), &self.signature) {
            Ok(())
        } else {
            Err(malformed("the signature does not verify with the account's key"))
        }
    }

    /// A digest over the key, the signed bytes with the algorithm in their header, and the signature, each behind its
    /// length.
    pub(super) fn digest_with(&self, key: &Jwk) -> Sha256Digest {
        let (kind, number) = key.octets();
        let mut octets = Vec::with_capacity(64 + number.len() + self.signing_input.len() + self.signature.len());
        for part in [kind.as_bytes(), number, self.signing_input.as_bytes(), &self.signature] {
            octets.extend_from_slice(&(part.len() as u64).to_be_bytes());
            octets.extend_from_slice(part);
        }
        sha256(&octets)
    }

    /// The payload as a JSON object.
    ///
    /// # Errors
    /// When it is not one.
    pub fn payload_object(&self) -> Result<Map<String, Value>, Problem> {
        match json::parse(&self.payload).map_err(|e| malformed(format!("the payload does not parse: {e}")))? {
            Value::Object(members) => Ok(members),
            _ => Err(malformed("the payload is not a JSON object")),
        }
    }
}

/// A flattened JWS before its header has been given meaning; external account bindings start from it too.
pub(super) struct RawJws {
    pub(super) header: Map<String, Value>,
    pub(super) payload: Vec<u8>,
    pub(super) signing_input: String,
    pub(super) signature: Vec<u8>,
}

impl RawJws {
    pub(super) fn from_value(value: Value) -> Result<Self, Problem> {
        let Value::Object(mut members) = value else { return Err(malformed("the JWS is not a JSON object")) };
        // RFC 8555 §6.2: no unprotected header, and "MUST NOT have multiple signatures".
        if members.contains_key("header") || members.contains_key("signatures") {
            return Err(malformed("the JWS must be in flattened form, without an unprotected header"));
        }
        let mut take = |name: &str| match members.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(malformed(format!("the JWS has no `{name}` string"))),
        };
        let (protected, payload, signature) = (take("protected")?, take("payload")?, take("signature")?);
        let decode =
            |name: &str, text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed(format!("`{name}` is not unpadded base64url")));
        let header = json::parse(&decode("protected", &protected)?).map_err(|e| malformed(format!("`protected` does not parse: {e}")))?;
        let Value::Object(header) = header else { return Err(malformed("`protected` is not a JSON object")) };
        // RFC 7515 §4.1.11: extensions that are not understood must be refused; none is understood here.
        if header.contains_key("crit") {
            return Err(malformed("no critical header extension is supported"));
        }
        let (payload_octets, signature) = (decode("payload", &payload)?, decode("signature", &signature)?);
        let mut signing_input = protected;
        signing_input.push('.');
        signing_input.push_str(&payload);
        Ok(Self { header, payload: payload_octets, signing_input, signature })
    }
}

pub(super) fn text<'a>(header: &'a Map<String, Value>, name: &str) -> Result<&'a str, Problem> {
    header.get(name).and_then(Value::as_str).ok_or_else(|| malformed(format!("the protected header has no `{name}` string")))
}

fn is_base64url(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RsaKeyPair,
    };

    use super::*;

    fn b64(octets: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(octets)
    }

    fn message(header: &str, payload: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let (protected, payload) = (b64(header.as_bytes()), b64(payload.as_bytes()));
        let signature = b64(&sign(format!("{protected}.{payload}").as_bytes()));
        format!(r#"{{"protected":"{protected}","payload":"{payload}","signature":"{signature}"}}"#)
    }

    #[track_caller]
    fn refused(text: &str, kind: ProblemType) {
        assert_eq!(ParsedJws::parse(text).unwrap_err().kind, kind, "{text}");
    }

    #[test]
    fn each_algorithm_verifies_and_only_with_its_own_key() {
        let rng = SystemRandom::new();
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let ed = Ed25519KeyPair::generate().unwrap();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let ec = |curve: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            format!(r#"{{"kty":"EC","crv":"{curve}","x":"{}","y":"{}"}}"#, b64(x), b64(y))
        };
        // RSAPublicKey: the modulus stands before the five octets of the exponent 65537.
        let rsa_public = rsa.public_key().as_ref();
        let modulus = &rsa_public[rsa_public.len() - 5 - 256..rsa_public.len() - 5];
        type Sign<'a> = Box<dyn Fn(&[u8]) -> Vec<u8> + 'a>;
        let cases: Vec<(&str, String, Sign<'_>)> = vec![
            ("ES256", ec("P-256", p256.public_key().as_ref()), Box::new(|m| p256.sign(&rng, m).unwrap().as_ref().to_vec())),
            ("ES384", ec("P-384", p384.public_key().as_ref()), Box::new(|m| p384.sign(&rng, m).unwrap().as_ref().to_vec())),
            (
                "EdDSA",
                format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, b64(ed.public_key().as_ref())),
                Box::new(|m| ed.sign(m).as_ref().to_vec()),
            ),
            (
                "RS256",
                format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, b64(modulus)),
                Box::new(|m| {
                    let mut out = vec![0; rsa.public_modulus_len()];
                    rsa.sign(&RSA_PKCS1_SHA256, &rng, m, &mut out).unwrap();
                    out
                }),
            ),
        ];
        for (alg, jwk, sign) in &cases {
            let text = message(&format!(r#"{{"alg":"{alg}","url":"u","nonce":"n","jwk":{jwk}}}"#), "{}", sign);
            let jws = ParsedJws::parse(&text).unwrap();
            let KeyRef::Jwk(own) = &jws.protected.key else { panic!("a jwk") };
            assert!(jws.verify(own).is_ok(), "{alg}");
            for (other, jwk, _) in &cases {
                assert_eq!(jws.verify(&Jwk::parse(jwk).unwrap()).is_ok(), other == alg, "{alg} with {other}");
            }
            let mut broken = jws.clone();
            broken.signing_input.push('A');
            assert!(broken.verify(own).is_err());
        }
        let spki = rsa.public_key().as_der().unwrap();
        assert_eq!(Jwk::parse(&cases[3].1).unwrap().public_key().unwrap().spki_der(), spki.as_ref());
    }

    #[test]
    fn shapes_that_are_refused() {
        let with = |header: &str| message(header, "", |_| vec![0; 64]);
        let good = r#"{"alg":"ES256","url":"u","nonce":"n","kid":"k"}"#;
        assert!(ParsedJws::parse(&with(good)).unwrap().payload.is_empty());
        for alg in ["none", "HS256", "ES512", "es256", ""] {
            refused(&with(&good.replace("ES256", alg)), ProblemType::BadSignatureAlgorithm);
        }
        let jwk = r#""jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        refused(&with(&good.replace(r#""kid":"k""#, &format!(r#""kid":"k",{jwk}"#))), ProblemType::Malformed);
        refused(&with(&good.replace(r#","kid":"k""#, "")), ProblemType::Malformed);
        refused(&with(&good.replace(r#""url":"u","#, "")), ProblemType::Malformed);
        refused(&with(&good.replace(r#""n""#, r#""a b""#)), ProblemType::Malformed);
        refused(&with(&good.replace('}', r#","crit":["exp"]}"#)), ProblemType::Malformed);
        refused(&with(&good.replace('}', r#","alg":"ES256"}"#)), ProblemType::Malformed);
        refused(&with(good).replace('}', r#","header":{}}"#), ProblemType::Malformed);
        refused(&with(good).replace('}', r#","signatures":[]}"#), ProblemType::Malformed);
        refused(&with(good).replace('}', r#","payload":""}"#), ProblemType::Malformed);
        refused(&with(good).replace('}', r#","x":[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}"#), ProblemType::Malformed);
        refused("[]", ProblemType::Malformed);
    }
}
