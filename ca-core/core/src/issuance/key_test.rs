//! A key's test signature: a recorded artefact of a ceremony (ceremony requirements 25 and 35).
//!
//! It is a text that begins with its format's name. Certificates, CRLs and requests are DER and begin with 0x30, so a
//! signature over one is none over the other. The signed form is the text with one more line, the signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::model::KeyLabel;
use crate::pki::{PublicKey, Sha256Digest};

const FORMAT: &str = "countersign/key-test/1\n";
const SIGNATURE: &str = "signature ";
/// ML-DSA-87: a key of 3,488 characters and a signature of 6,172.
const MAX_BYTES: usize = 16 * 1024;

/// What a key signs to show that it works where it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyTest {
    /// The ceremony's plan.
    pub plan_sha256: Sha256Digest,
    /// The key's label.
    pub key: KeyLabel,
    /// Its public half.
    pub public_key: PublicKey,
    /// The serial number of the device that signs.
    pub device: String,
    /// 128 random bits in hexadecimal.
    pub nonce: String,
}

impl KeyTest {
    /// The exact bytes that are signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let json = serde_json::to_string(self).expect("strings have a JSON form");
        format!("{FORMAT}{json}\n").into_bytes()
    }

    /// Reads the bytes that are, or were, signed.
    ///
    /// # Errors
    /// When they are not what [`Self::to_bytes`] gives.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let wrong = |reason: &dyn std::fmt::Display| format!("not a key test: {reason}");
        let text = std::str::from_utf8(bytes).map_err(|e| wrong(&e))?;
        let json = text.strip_prefix(FORMAT).filter(|_| bytes.len() <= MAX_BYTES).ok_or_else(|| wrong(&"another format"))?;
        let test: Self = serde_json::from_str(json).map_err(|e| wrong(&e))?;
        if test.to_bytes() == bytes { Ok(test) } else { Err(wrong(&"it is not in canonical form")) }
    }

    /// Reads a signed test: what was signed, and the signature.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse_signed(bytes: &[u8]) -> Result<(Self, Vec<u8>), String> {
        let (tbs, signature) = read(bytes)?;
        Ok((Self::parse(tbs)?, signature))
    }
}

/// The signed form.
pub(super) fn assemble(tbs: &[u8], signature: &[u8]) -> Vec<u8> {
    [tbs, SIGNATURE.as_bytes(), STANDARD.encode(signature).as_bytes(), b"\n"].concat()
}

/// The text and the signature of a signed form.
pub(super) fn read(signed: &[u8]) -> Result<(&[u8], Vec<u8>), String> {
    let wrong = || "not a signed key test".to_owned();
    if signed.len() > MAX_BYTES {
        return Err(wrong());
    }
    let body = signed.strip_suffix(b"\n").ok_or_else(wrong)?;
    let split = body.iter().rposition(|b| *b == b'\n').ok_or_else(wrong)? + 1;
    let (tbs, last) = body.split_at(split);
    let encoded = last.strip_prefix(SIGNATURE.as_bytes()).ok_or_else(wrong)?;
    let signature = STANDARD.decode(encoded).map_err(|_| wrong())?;
    if assemble(tbs, &signature) == signed { Ok((tbs, signature)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::crl::Crl;
    use crate::pki::{Certificate, Csr, SignatureAlgorithm, assemble_signed, sha256};

    #[test]
    fn ceremony_25_a_key_test_can_be_no_certificate_crl_or_request() {
        let test = KeyTest {
            plan_sha256: sha256(b"plan"),
            key: "root".parse().unwrap(),
            public_key: PublicKey::from_spki_der(vec![0x30, 0]),
            device: "0042".to_owned(),
            nonce: "0f".repeat(16),
        };
        let bytes = test.to_bytes();
        assert_eq!(KeyTest::parse(&bytes).unwrap(), test);
        assert_eq!(KeyTest::parse_signed(&assemble(&bytes, b"sig")).unwrap(), (test.clone(), b"sig".to_vec()));
        // The longest: ML-DSA-87 (RFC 9881 §4; FIPS 204 §4).
        let long = KeyTest { public_key: PublicKey::from_spki_der(vec![0xff; 2614]), ..test };
        let signed = assemble(&long.to_bytes(), &[0xff; 4627]);
        assert_eq!(KeyTest::parse_signed(&signed).unwrap(), (long, vec![0xff; 4627]));
        // Everything else that a key here signs is a SEQUENCE.
        assert_ne!(bytes[0], 0x30);
        let as_der = assemble_signed(&bytes, SignatureAlgorithm::EcdsaP256Sha256, &[0; 64]);
        assert!(Certificate::from_der(&as_der).is_err() && Crl::from_der(&as_der).is_err() && Csr::from_der(&as_der).is_err());
        for bad in [&bytes[..bytes.len() - 1], &[&bytes[..], b" "].concat(), b"countersign/key-test/1\n{}\n", b"\x30\x00"] {
            assert!(KeyTest::parse(bad).is_err() && read(bad).is_err());
        }
    }
}
