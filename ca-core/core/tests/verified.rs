//! The memory of verified signatures: what verified once need not again, and nothing else is ever believed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ca_core::evidence::jwk::Jwk;
use ca_core::evidence::jws::ParsedJws;
use ca_core::evidence::verified::VerifiedSignatures;
use ca_core::model::AccountId;
use ca_core::pki::CsrError;
use ca_testkit::acme::{self, ClientKey};
use serde_json::Value;

#[test]
fn a_signature_that_verified_vouches_for_these_bytes_and_this_key_only() {
    let (own, other) = (ClientKey::default(), ClientKey::default());
    let jwk = |key: &ClientKey| Jwk::from_value(&key.jwk()).unwrap();
    let account = AccountId::from_evidence("account");
    let text = |name: &str| acme::by_account(&own, &account, "/acme/new-order", &acme::order_payload(&[name]));
    let (first, second) = (text("a.demo.test"), text("b.demo.test"));
    let mut mixed: Value = serde_json::from_str(&first).unwrap();
    mixed["payload"] = serde_json::from_str::<Value>(&second).unwrap()["payload"].clone();
    let (first, mixed) = (ParsedJws::parse(&first).unwrap(), ParsedJws::parse(&mixed.to_string()).unwrap());

    let verified = VerifiedSignatures::default();
    for _ in 0..2 {
        assert!(verified.jws(&first, &jwk(&other)).is_err());
        assert!(verified.jws(&mixed, &jwk(&own)).is_err());
        verified.jws(&first, &jwk(&own)).unwrap();
    }
}

#[test]
fn a_request_for_a_certificate_is_remembered_whole() {
    let csr = ClientKey::default().csr(&["a.demo.test"], None);
    let mut forged = csr.clone();
    *forged.last_mut().unwrap() ^= 1;

    let verified = VerifiedSignatures::default();
    for _ in 0..2 {
        assert!(matches!(verified.csr(&forged), Err(CsrError::Signature | CsrError::Malformed(_))));
        assert_eq!(verified.csr(&csr).unwrap(), ca_core::pki::Csr::from_der(&csr).unwrap());
    }
}
