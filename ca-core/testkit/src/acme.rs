//! What ACME clients sign, as text: the evidence that workers judge.

#![expect(clippy::unwrap_used, reason = "a fixture fails by panicking, at its own line")]

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ca_core::evidence::jwk::Jwk;
use ca_core::model::{AccountId, AuthorizationId, OrderId};
use ca_core::pki::{KeyAlgorithm, sha256};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

/// Where the CA's ACME server would be.
pub const BASE: &str = "https://ca.test:14000";

/// A private key's PKCS #8 up to its own 32 octets, without the public half (RFC 5208 §5, RFC 5915 §3).
const P256_PKCS8: &[u8] = &[
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20,
];

fn b64(octets: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

/// A P-256 key pair, of an account or of a certificate.
pub struct ClientKey {
    pair: KeyPair,
    signer: EcdsaKeyPair,
}

impl Default for ClientKey {
    fn default() -> Self {
        Self::from(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
    }
}

impl From<KeyPair> for ClientKey {
    fn from(pair: KeyPair) -> Self {
        let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.serialized_der()).unwrap();
        Self { pair, signer }
    }
}

impl ClientKey {
    /// The key of this name, which is the same each time.
    pub fn named(name: &str) -> Self {
        let pkcs8 = [P256_PKCS8, sha256(name.as_bytes()).0.as_slice()].concat();
        Self::from(KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.as_slice().into(), &PKCS_ECDSA_P256_SHA256).unwrap())
    }

    /// The public key as accounts have it.
    pub fn account_key(&self) -> Jwk {
        Jwk::from_value(&self.jwk()).unwrap()
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key_raw()[1..].split_at(32);
        json!({ "crv": "P-256", "kty": "EC", "x": b64(x), "y": b64(y) })
    }

    /// A JWS over `payload` with this header, to which `alg` is added.
    pub fn jws(&self, header: Value, payload: &Value) -> String {
        self.jws_of_text(header, &payload.to_string())
    }

    /// The same over any text; an empty one is POST-as-GET.
    pub fn jws_of_text(&self, mut header: Value, payload: &str) -> String {
        header["alg"] = json!("ES256");
        let (protected, payload) = (b64(header.to_string()), b64(payload));
        let signature = self.signer.sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes()).unwrap();
        json!({ "protected": protected, "payload": payload, "signature": b64(signature.as_ref()) }).to_string()
    }

    /// A CSR for these names, DER.
    pub fn csr(&self, names: &[&str], common_name: Option<&str>) -> Vec<u8> {
        let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.serialize_request(&self.pair).unwrap().der().to_vec()
    }
}

/// A fresh key of any kind and a CSR with it for these names, DER.
pub fn key_and_request(algorithm: KeyAlgorithm, names: &[&str]) -> (KeyPair, Vec<u8>) {
    let pair = match algorithm {
        KeyAlgorithm::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyAlgorithm::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyAlgorithm::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        KeyAlgorithm::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048),
        KeyAlgorithm::Rsa3072 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_3072),
        KeyAlgorithm::Rsa4096 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_4096),
        KeyAlgorithm::MlDsa65 => KeyPair::generate_for(&rcgen::PKCS_ML_DSA_65),
        KeyAlgorithm::MlDsa87 => KeyPair::generate_for(&rcgen::PKCS_ML_DSA_87),
    };
    let pair = pair.unwrap();
    let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&pair).unwrap().der().to_vec();
    (pair, request)
}

/// A newAccount JWS, bound by `secret` to the grant `kid`.
pub fn new_account(key: &ClientKey, kid: &str, secret: &[u8]) -> String {
    let url = format!("{BASE}/acme/new-account");
    let (protected, payload) = (b64(json!({ "alg": "HS256", "kid": kid, "url": url }).to_string()), b64(key.jwk().to_string()));
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), format!("{protected}.{payload}").as_bytes());
    let binding = json!({ "protected": protected, "payload": payload, "signature": b64(mac.as_ref()) });
    let header = json!({ "jwk": key.jwk(), "nonce": "bm9uY2U", "url": url });
    key.jws(header, &json!({ "termsOfServiceAgreed": true, "externalAccountBinding": binding }))
}

/// A JWS by an account for a path of the CA.
pub fn by_account(key: &ClientKey, account: &AccountId, path: &str, payload: &Value) -> String {
    let header = json!({ "kid": format!("{BASE}/acme/acct/{account}"), "nonce": "bm9uY2U", "url": format!("{BASE}{path}") });
    key.jws(header, payload)
}

/// A newOrder payload for dns names.
pub fn order_payload(names: &[&str]) -> Value {
    let identifiers: Vec<_> = names.iter().map(|name| json!({ "type": "dns", "value": name })).collect();
    json!({ "identifiers": identifiers })
}

/// A revokeCert payload.
pub fn revocation(der: &[u8], reason: u8) -> Value {
    json!({ "certificate": b64(der), "reason": reason })
}

/// A finalize JWS.
pub fn finalize(key: &ClientKey, account: &AccountId, order: &OrderId, csr: &[u8]) -> String {
    by_account(key, account, &format!("/acme/order/{order}/finalize"), &json!({ "csr": b64(csr) }))
}

/// An answer to a challenge with an attestation object.
pub fn attestation(key: &ClientKey, account: &AccountId, authorization: &AuthorizationId, object: &[u8]) -> String {
    by_account(key, account, &format!("/acme/chall/{authorization}/device-attest-01"), &json!({ "attObj": b64(object) }))
}

/// The JWS made longer by a member that nobody asks for, to so many octets in fewer characters. It verifies as before.
///
/// # Panics
/// If it is as long already.
pub fn padded(jws: &str, octets: usize) -> String {
    let room = octets.checked_sub(jws.len() + r#""pad":"","#.len()).unwrap();
    let pad = "\u{20ac}".repeat(room / 3) + &"x".repeat(room % 3);
    jws.replacen('{', &format!(r#"{{"pad":"{pad}","#), 1)
}

/// A keyChange JWS from one key to another.
pub fn key_change(old: &ClientKey, new: &ClientKey, account: &AccountId) -> String {
    let path = "/acme/key-change";
    let request = json!({ "account": format!("{BASE}/acme/acct/{account}"), "oldKey": old.jwk() });
    let inner = new.jws(json!({ "jwk": new.jwk(), "url": format!("{BASE}{path}") }), &request);
    by_account(old, account, path, &serde_json::from_str(&inner).unwrap())
}
