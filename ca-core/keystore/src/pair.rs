//! A key pair in memory: aws-lc-rs behind this product's algorithm names.

use aws_lc_rs::digest::{Digest, SHA256, SHA384};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
    ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use ca_core::pki::{DigestAlgorithm, KeyAlgorithm, PublicKey, SignatureAlgorithm};
use zeroize::Zeroizing;

use crate::SealError;

enum Inner {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
    MlDsa(PqdsaKeyPair),
}

/// What a digest is answered where the algorithm has none: RFC 8032 §5.1.6 hashes the message twice, with a prefix from
/// the private key; FIPS 204 §5.2 hashes it with the public key.
const WHOLE_MESSAGES: &str = "Ed25519 and ML-DSA sign whole messages, not digests";

/// A private key that can sign, with its public half worked out once.
pub(crate) struct Pair {
    algorithm: KeyAlgorithm,
    public_key: PublicKey,
    inner: Inner,
}

const fn ecdsa(algorithm: KeyAlgorithm) -> Option<&'static EcdsaSigningAlgorithm> {
    match algorithm {
        KeyAlgorithm::P256 => Some(&ECDSA_P256_SHA256_ASN1_SIGNING),
        KeyAlgorithm::P384 => Some(&ECDSA_P384_SHA384_ASN1_SIGNING),
        _ => None,
    }
}

const fn rsa_size(algorithm: KeyAlgorithm) -> Option<(KeySize, usize)> {
    match algorithm {
        KeyAlgorithm::Rsa2048 => Some((KeySize::Rsa2048, 256)),
        KeyAlgorithm::Rsa3072 => Some((KeySize::Rsa3072, 384)),
        KeyAlgorithm::Rsa4096 => Some((KeySize::Rsa4096, 512)),
        _ => None,
    }
}

/// The algorithm, and what stands before the 32 octets of the seed in PKCS#8 (RFC 9881 §6: the form `seed [0]`).
const fn ml_dsa(algorithm: KeyAlgorithm) -> Option<(&'static PqdsaSigningAlgorithm, &'static [u8])> {
    match algorithm {
        KeyAlgorithm::MlDsa65 => {
            Some((&ML_DSA_65_SIGNING, b"\x30\x34\x02\x01\x00\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12\x04\x22\x80\x20"))
        }
        KeyAlgorithm::MlDsa87 => {
            Some((&ML_DSA_87_SIGNING, b"\x30\x34\x02\x01\x00\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x13\x04\x22\x80\x20"))
        }
        _ => None,
    }
}

/// aws-lc-rs' PSS salt is as long as the digest, as RFC 4055 §3.1 recommends and the identifier says.
const fn rsa_encoding(algorithm: SignatureAlgorithm) -> &'static dyn RsaEncoding {
    match algorithm {
        SignatureAlgorithm::RsaPssSha256 => &RSA_PSS_SHA256,
        _ => &RSA_PKCS1_SHA256,
    }
}

/// Makes a private key and gives it as PKCS#8 (version 1, which every other tool reads).
pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let failed = |_| SealError::Crypto("make a key");
    let der = if let Some(ecdsa) = ecdsa(algorithm) {
        EcdsaKeyPair::generate(ecdsa).and_then(|k| k.to_pkcs8v1()).map_err(failed)?.as_ref().to_vec()
    } else if let Some((size, _)) = rsa_size(algorithm) {
        let pair = RsaKeyPair::generate(size).map_err(failed)?;
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
        der.as_ref().to_vec()
    } else if let Some((ml_dsa, _)) = ml_dsa(algorithm) {
        PqdsaKeyPair::generate(ml_dsa).and_then(|k| k.to_pkcs8v1()).map_err(failed)?.as_ref().to_vec()
    } else {
        Ed25519KeyPair::generate().and_then(|k| k.to_pkcs8v1()).map_err(failed)?.as_ref().to_vec()
    };
    Ok(Zeroizing::new(der))
}

impl Pair {
    /// Reads PKCS#8; `None` when it is not a key of this algorithm. Of RFC 9881's forms of an ML-DSA key the seed alone is
    /// read: the expanded key may not be what its seed gives.
    pub(crate) fn from_pkcs8(algorithm: KeyAlgorithm, pkcs8: &[u8]) -> Option<Self> {
        let (inner, spki): (Inner, PublicKeyX509Der<'_>) = if let Some(ecdsa) = ecdsa(algorithm) {
            let pair = EcdsaKeyPair::from_pkcs8(ecdsa, pkcs8).ok()?;
            let spki = pair.public_key().as_der().ok()?;
            (Inner::Ecdsa(pair), spki)
        } else if let Some((_, bytes)) = rsa_size(algorithm) {
            let pair = RsaKeyPair::from_pkcs8(pkcs8).ok().filter(|p| p.public_modulus_len() == bytes)?;
            let spki = pair.public_key().as_der().ok()?;
            (Inner::Rsa(pair), spki)
        } else if let Some((ml_dsa, head)) = ml_dsa(algorithm) {
            let pair = PqdsaKeyPair::from_seed(ml_dsa, pkcs8.strip_prefix(head)?).ok()?;
            let spki = pair.public_key().as_der().ok()?;
            (Inner::MlDsa(pair), spki)
        } else {
            let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
            let spki = pair.public_key().as_der().ok()?;
            (Inner::Ed25519(pair), spki)
        };
        let public_key = PublicKey::from_spki_der(spki.as_ref().to_vec());
        Some(Self { algorithm, public_key, inner })
    }

    pub(crate) const fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    pub(crate) const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Signs a message: ECDSA as DER, others raw. `algorithm` is one that the key signs as.
    pub(crate) fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, &'static str> {
        const FAILED: &str = "the cryptographic library could not sign";
        // aws-lc-rs draws its own randomness and ignores the argument.
        let rng = SystemRandom::new();
        match &self.inner {
            Inner::Ecdsa(pair) => pair.sign(&rng, message).map(|s| s.as_ref().to_vec()).map_err(|_| FAILED),
            Inner::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Inner::Rsa(pair) => {
                let mut out = vec![0u8; pair.public_modulus_len()];
                pair.sign(rsa_encoding(algorithm), &rng, message, &mut out).map_err(|_| FAILED)?;
                Ok(out)
            }
            // Hedged, with an empty context string.
            Inner::MlDsa(pair) => {
                let mut out = vec![0u8; pair.algorithm().signature_len()];
                let length = pair.sign(message, &mut out).map_err(|_| FAILED)?;
                out.truncate(length);
                Ok(out)
            }
        }
    }

    /// Signs a digest that was worked out elsewhere.
    #[cfg_attr(not(feature = "authority"), expect(dead_code, reason = "only authorities sign streams"))]
    pub(crate) fn sign_digest(&self, algorithm: SignatureAlgorithm, digest: &[u8]) -> Result<Vec<u8>, &'static str> {
        const FAILED: &str = "the cryptographic library could not sign a digest";
        let hash = match algorithm.digest() {
            Some(DigestAlgorithm::Sha256) => &SHA256,
            Some(DigestAlgorithm::Sha384) => &SHA384,
            None => return Err(WHOLE_MESSAGES),
        };
        let digest = Digest::import_less_safe(digest, hash).map_err(|_| "the digest has another length than the algorithm's")?;
        match &self.inner {
            Inner::Ecdsa(pair) => pair.sign_digest(&digest).map(|s| s.as_ref().to_vec()).map_err(|_| FAILED),
            Inner::Ed25519(_) | Inner::MlDsa(_) => Err(WHOLE_MESSAGES),
            Inner::Rsa(pair) => {
                let mut out = vec![0u8; pair.public_modulus_len()];
                pair.sign_digest(rsa_encoding(algorithm), &digest, &mut out).map_err(|_| FAILED)?;
                Ok(out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ml_dsa_keys_are_kept_as_their_seed() {
        let made = generate(KeyAlgorithm::MlDsa65).unwrap();
        assert_eq!(made.len(), 54);
        let pair = Pair::from_pkcs8(KeyAlgorithm::MlDsa65, &made).unwrap();
        let ours = KeyAlgorithm::MlDsa65.signature_algorithm();
        let signature = pair.sign(ours, b"message").unwrap();
        ca_core::pki::verify_signature(pair.public_key(), ours, b"message", &signature).unwrap();

        let refused = |pkcs8: &[u8]| Pair::from_pkcs8(KeyAlgorithm::MlDsa65, pkcs8).is_none();
        assert!(refused(&made[..53]) && refused(&[&made[..], &[0]].concat()) && refused(&[]));
        assert!(Pair::from_pkcs8(KeyAlgorithm::MlDsa87, &made).is_none(), "another parameter set");
        // RFC 9881 §6, `expandedKey`: an OCTET STRING of 4,032 octets.
        let head = b"\x30\x82\x0f\xd8\x02\x01\x00\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12\x04\x82\x0f\xc4\x04\x82\x0f\xc0";
        assert!(refused(&[&head[..], &[0; 4032]].concat()));
    }
}
