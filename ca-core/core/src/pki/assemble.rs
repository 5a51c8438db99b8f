//! Signed objects put together from their parts.

use super::{SignatureAlgorithm, encode};

// RFC 5758 §3.2: no parameters.
const ECDSA_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const ECDSA_SHA384: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
// RFC 8410 §3: no parameters.
const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
// RFC 4055 §5: the parameters are NULL.
const RSA_SHA256: &[u8] = &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];
// RFC 4055 §3.1: what differs from the defaults, which are SHA-1's; the trailer field is the default one.
const RSA_PSS_SHA256: &[u8] = b"\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\
    \xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\
    \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\
    \xa2\x03\x02\x01\x20";
// RFC 9881 §2: no parameters.
const ML_DSA_65: &[u8] = &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x12];
const ML_DSA_87: &[u8] = &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x13];

impl SignatureAlgorithm {
    const EVERY: [Self; 7] = [
        Self::EcdsaP256Sha256,
        Self::EcdsaP384Sha384,
        Self::Ed25519,
        Self::RsaPkcs1Sha256,
        Self::RsaPssSha256,
        Self::MlDsa65,
        Self::MlDsa87,
    ];

    pub(crate) const fn identifier(self) -> &'static [u8] {
        match self {
            Self::EcdsaP256Sha256 => ECDSA_SHA256,
            Self::EcdsaP384Sha384 => ECDSA_SHA384,
            Self::Ed25519 => ED25519,
            Self::RsaPkcs1Sha256 => RSA_SHA256,
            Self::RsaPssSha256 => RSA_PSS_SHA256,
            Self::MlDsa65 => ML_DSA_65,
            Self::MlDsa87 => ML_DSA_87,
        }
    }

    pub(crate) fn from_identifier(der: &[u8]) -> Option<Self> {
        Self::EVERY.into_iter().find(|a| a.identifier() == der)
    }
}

/// The DER of the AlgorithmIdentifier, exactly one encoding for each algorithm.
pub fn algorithm_identifier_der(alg: SignatureAlgorithm) -> Vec<u8> {
    alg.identifier().to_vec()
}

/// `SEQUENCE { tbs, AlgorithmIdentifier, BIT STRING }`: a certificate or a CRL (RFC 5280 §4.1 and §5.1).
pub fn assemble_signed(tbs: &[u8], alg: SignatureAlgorithm, signature: &[u8]) -> Vec<u8> {
    encode::sequence(&[tbs, alg.identifier(), &encode::bits(signature)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_put_together_in_order() {
        let whole = assemble_signed(&[0x30, 0], SignatureAlgorithm::Ed25519, &[0xaa, 0xbb]);
        assert_eq!(whole, [0x30, 14, 0x30, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 3, 0, 0xaa, 0xbb]);
        for alg in SignatureAlgorithm::EVERY {
            assert_eq!(SignatureAlgorithm::from_identifier(&algorithm_identifier_der(alg)), Some(alg));
        }
        assert_eq!(SignatureAlgorithm::from_identifier(&RSA_SHA256[..13]), None);
    }
}
