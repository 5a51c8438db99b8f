//! JSON Web Keys of ACME accounts (RFC 7517, RFC 7518 §6, RFC 8037), in one form only.

use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::json;
use super::jws::JwsAlgorithm;
use crate::model::{KeyAsked, Problem, ProblemType};
use crate::pki::spki::{KeyMaterial, key_material};
use crate::pki::{PublicKey, sha256};

// SubjectPublicKeyInfo up to the key's own octets (RFC 5480 §2, RFC 8410 §4).
const P256_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07, 0x03, 0x42, 0x00,
];
const P384_PREFIX: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62,
    0x00,
];
const ED25519_PREFIX: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A public key that an account may have: P-256, P-384, Ed25519, or RSA of 2048 to 4096 bits with exponent 65537.
#[derive(Clone)]
pub struct Jwk {
    key: Key,
    /// As the library reads it, once it has verified; nothing where the library does not take it.
    parsed: OnceLock<Option<ParsedPublicKey>>,
}

#[derive(Clone, PartialEq, Eq)]
enum Key {
    /// An uncompressed point.
    P256(Vec<u8>),
    /// An uncompressed point.
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    /// The modulus, big-endian without leading zeros.
    Rsa(Vec<u8>),
}

const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemType::BadPublicKey, detail)
}

impl PartialEq for Jwk {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Jwk {}

impl From<Key> for Jwk {
    fn from(key: Key) -> Self {
        Self { key, parsed: OnceLock::new() }
    }
}

impl Jwk {
    /// Reads a key's JSON text, for example the canonical form as stored.
    ///
    /// # Errors
    /// Those of [`Self::from_value`], and when the text is not strict JSON.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let value = json::parse(text.as_bytes()).map_err(|e| bad(format!("the jwk does not parse: {e}")))?;
        Self::from_value(&value)
    }

    /// Reads a `jwk` member. A `kid` says nothing about the key itself and is ignored.
    ///
    /// # Errors
    /// When it is of another type, curve or size than accounts may have, is not of the exact length that RFC 7518 §6
    /// asks for, says that it is not for signatures or for another algorithm, or carries a private key.
    pub fn from_value(value: &Value) -> Result<Self, Problem> {
        let member = |name: &str| value.get(name).and_then(Value::as_str);
        let octets = |name: &str| -> Result<Vec<u8>, Problem> {
            let text = member(name).ok_or_else(|| bad(format!("the jwk has no `{name}`")))?;
            URL_SAFE_NO_PAD.decode(text).map_err(|_| bad(format!("the jwk's `{name}` is not unpadded base64url")))
        };
        let exactly = |name: &str, length: usize| -> Result<Vec<u8>, Problem> {
            let octets = octets(name)?;
            if octets.len() == length { Ok(octets) } else { Err(bad(format!("the jwk's `{name}` must have {length} octets"))) }
        };
        let point = |length: usize| -> Result<Vec<u8>, Problem> { Ok([&[4][..], &exactly("x", length)?, &exactly("y", length)?].concat()) };
        if value.get("d").is_some() {
            return Err(bad("the jwk carries a private key; treat that key as compromised and make another"));
        }
        // RFC 7517 §4.2 and §4.3: what is said of its use must not speak against signatures.
        let verifies = |operations: &Value| operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"));
        if value.get("use").is_some_and(|usage| usage != "sig") || value.get("key_ops").is_some_and(|operations| !verifies(operations)) {
            return Err(bad("the jwk is not for verifying signatures (hint: leave `use` and `key_ops` out)"));
        }
        let key = match (member("kty"), member("crv")) {
            (Some("EC"), Some("P-256")) => Key::P256(point(32)?),
            (Some("EC"), Some("P-384")) => Key::P384(point(48)?),
            (Some("OKP"), Some("Ed25519")) => Key::Ed25519(exactly("x", 32)?),
            (Some("RSA"), _) => {
                let (modulus, exponent) = (octets("n")?, octets("e")?);
                // RFC 7518 §6.3.1.1: the minimum number of octets, so the top bit tells the size.
                let bits = modulus.len() * 8 - modulus.first().map_or(0, |b| b.leading_zeros() as usize);
                if modulus.first().is_none_or(|b| *b == 0) || modulus.last().is_none_or(|b| b % 2 == 0) {
                    return Err(bad("the jwk's `n` is not an odd number in its shortest form"));
                }
                if !(2048..=4096).contains(&bits) {
                    return Err(bad(format!("RSA account keys have 2048 to 4096 bits; this one has {bits}")));
                }
                if exponent != RSA_EXPONENT {
                    return Err(bad("RSA account keys have the exponent 65537"));
                }
                Key::Rsa(modulus)
            }
            (kty, crv) => {
                return Err(bad(format!(
                    "account keys are EC P-256 or P-384, OKP Ed25519, or RSA; not kty {:?}, crv {:?}",
                    kty.unwrap_or_default().chars().take(20).collect::<String>(),
                    crv.unwrap_or_default().chars().take(20).collect::<String>()
                )));
            }
        };
        let key = Self::from(key);
        // RFC 7517 §4.4: a key that was made for another algorithm is not used for this one.
        match value.get("alg") {
            Some(alg) if alg != key.algorithm_name() => {
                Err(bad(format!("the jwk's `alg` is not {}, its key's only one here", key.algorithm_name())))
            }
            Some(_) | None => Ok(key),
        }
    }

    const fn algorithm_name(&self) -> &'static str {
        match self.key {
            Key::P256(_) => "ES256",
            Key::P384(_) => "ES384",
            Key::Ed25519(_) => "EdDSA",
            Key::Rsa(_) => "RS256",
        }
    }

    /// What tells it from every other key: its algorithm, and the point or the modulus.
    pub(super) fn octets(&self) -> (&'static str, &[u8]) {
        let (Key::P256(octets) | Key::P384(octets) | Key::Ed25519(octets) | Key::Rsa(octets)) = &self.key;
        (self.algorithm_name(), octets)
    }

    /// The key of a certificate or request as an account would have it; none where no account can. An RSA modulus
    /// stands for itself, whatever the exponent.
    pub fn of_key(key: &PublicKey) -> Option<Self> {
        Some(Self::from(match key_material(key).ok()? {
            KeyMaterial::P256(point) => Key::P256(point.to_vec()),
            KeyMaterial::P384(point) => Key::P384(point.to_vec()),
            KeyMaterial::Ed25519(octets) => Key::Ed25519(octets.to_vec()),
            KeyMaterial::Rsa(modulus, _, _) => Key::Rsa(modulus.to_vec()),
            KeyMaterial::MlDsa65(_) | KeyMaterial::MlDsa87(_) => return None,
        }))
    }

    /// What the record is asked about a key that is to be certified: RFC 8555 §11.1, an account key must not be, whosever
    /// account it is.
    pub fn ask_about(key: &PublicKey) -> KeyAsked {
        KeyAsked { spki_sha256: key.spki_sha256(), thumbprint: Self::of_key(key).map(|jwk| jwk.thumbprint()) }
    }

    /// The members that RFC 7638 §3.2 names, in its order, without white space.
    pub fn canonical(&self) -> String {
        let text = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
        let ec = |curve: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            format!(r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#, text(x), text(y))
        };
        match &self.key {
            Key::P256(point) => ec("P-256", point),
            Key::P384(point) => ec("P-384", point),
            Key::Ed25519(x) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(x)),
            Key::Rsa(n) => format!(r#"{{"e":"AQAB","kty":"RSA","n":"{}"}}"#, text(n)),
        }
    }

    /// The RFC 7638 SHA-256 thumbprint, base64url.
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha256(self.canonical().as_bytes()).0)
    }

    /// The key as SubjectPublicKeyInfo, to be compared with those of certificates and CSRs.
    ///
    /// # Errors
    /// When an RSA key's numbers make no key.
    pub fn public_key(&self) -> Result<PublicKey, Problem> {
        let spki = match &self.key {
            Key::P256(point) => [P256_PREFIX, point].concat(),
            Key::P384(point) => [P384_PREFIX, point].concat(),
            Key::Ed25519(x) => [ED25519_PREFIX, x].concat(),
            Key::Rsa(n) => {
                let der: PublicKeyX509Der<'_> = RsaPublicKeyComponents { n: n.as_slice(), e: &RSA_EXPONENT[..] }
                    .as_der()
                    .map_err(|_| bad("the jwk is not an RSA key"))?;
                der.as_ref().to_vec()
            }
        };
        Ok(PublicKey::from_spki_der(spki))
    }

    /// Verifies a JWS signature; false also when `algorithm` is not that of the key.
    pub(super) fn verify(&self, algorithm: JwsAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        match (&self.key, algorithm) {
            (Key::P256(point), JwsAlgorithm::Es256) => self.verify_by(&signature::ECDSA_P256_SHA256_FIXED, point, message, signature),
            (Key::P384(point), JwsAlgorithm::Es384) => self.verify_by(&signature::ECDSA_P384_SHA384_FIXED, point, message, signature),
            (Key::Ed25519(x), JwsAlgorithm::EdDsa) => self.verify_by(&signature::ED25519, x, message, signature),
            (Key::Rsa(n), JwsAlgorithm::Rs256) => RsaPublicKeyComponents { n: n.as_slice(), e: &RSA_EXPONENT[..] }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            (Key::P256(_) | Key::P384(_) | Key::Ed25519(_) | Key::Rsa(_), _) => false,
        }
    }

    /// The same by the algorithm that is the key's only one.
    fn verify_by(&self, algorithm: &'static dyn VerificationAlgorithm, octets: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let parsed = self.parsed.get_or_init(|| ParsedPublicKey::new(algorithm, octets).ok());
        parsed.as_ref().is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }
}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwk({})", self.thumbprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7638 §3.1's example key, with its members in another order and some that don't count.
    const RFC_7638: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        let key = Jwk::parse(RFC_7638).unwrap();
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert_eq!(Jwk::parse(&key.canonical()).unwrap(), key);
        assert!(key.public_key().unwrap().spki_der().starts_with(&[0x30, 0x82, 0x01, 0x22]));
    }

    #[test]
    fn keys_are_the_same_in_every_form() {
        for (prefix, crv, length) in [(P256_PREFIX, "P-256", 32), (P384_PREFIX, "P-384", 48)] {
            let (x, y) = (vec![7u8; length], vec![9u8; length]);
            let text = format!(r#"{{"kty":"EC","crv":"{crv}","x":"{}","y":"{}"}}"#, URL_SAFE_NO_PAD.encode(&x), URL_SAFE_NO_PAD.encode(&y));
            let key = Jwk::parse(&text).unwrap();
            assert_eq!(Jwk::parse(&key.canonical()).unwrap(), key);
            let spki = key.public_key().unwrap();
            assert_eq!(spki.spki_der(), [prefix, &[4], &x, &y].concat());
            assert_eq!(usize::from(prefix[1]) + 2, spki.spki_der().len());
        }
        // RFC 8037 appendix A.3.
        let key = Jwk::parse(r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#).unwrap();
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[track_caller]
    fn refused(text: &str) {
        assert_eq!(Jwk::parse(text).unwrap_err().kind, ProblemType::BadPublicKey, "{text}");
    }

    #[test]
    fn other_keys_are_refused() {
        refused(r#"{"kty":"oct","k":"AAAA"}"#);
        refused(r#"{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}"#);
        refused(r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#);
        refused(r#"{"kty":"RSA","n":"0vx7","e":"AQAB"}"#);
        refused(r#"{"kty":"RSA","n":"","e":"AQAB"}"#);
        refused(&RFC_7638.replace("AQAB", "Aw"));
        refused(&RFC_7638.replace(r#""e":"#, r#""d":"AQ","e":"#));
        refused("[]");
    }
}
