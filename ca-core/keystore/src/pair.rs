//! A key pair in memory: aws-lc-rs behind this product's algorithm names.

use aws_lc_rs::digest::{Digest, SHA256, SHA384};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use ca_core::pki::{DigestAlgorithm, KeyAlgorithm, PublicKey, SignatureAlgorithm};
use zeroize::Zeroizing;

use crate::SealError;

enum Inner {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

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
    } else {
        Ed25519KeyPair::generate().and_then(|k| k.to_pkcs8v1()).map_err(failed)?.as_ref().to_vec()
    };
    Ok(Zeroizing::new(der))
}

impl Pair {
    /// Reads PKCS#8; `None` when it is not a key of this algorithm.
    pub(crate) fn from_pkcs8(algorithm: KeyAlgorithm, pkcs8: &[u8]) -> Option<Self> {
        let (inner, spki): (Inner, PublicKeyX509Der<'_>) = if let Some(ecdsa) = ecdsa(algorithm) {
            let pair = EcdsaKeyPair::from_pkcs8(ecdsa, pkcs8).ok()?;
            let spki = pair.public_key().as_der().ok()?;
            (Inner::Ecdsa(pair), spki)
        } else if let Some((_, bytes)) = rsa_size(algorithm) {
            let pair = RsaKeyPair::from_pkcs8(pkcs8).ok().filter(|p| p.public_modulus_len() == bytes)?;
            let spki = pair.public_key().as_der().ok()?;
            (Inner::Rsa(pair), spki)
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
        }
    }

    /// Signs a digest that was worked out elsewhere.
    #[cfg_attr(not(feature = "authority"), expect(dead_code, reason = "only authorities sign streams"))]
    pub(crate) fn sign_digest(&self, algorithm: SignatureAlgorithm, digest: &[u8]) -> Result<Vec<u8>, &'static str> {
        const FAILED: &str = "the cryptographic library could not sign a digest";
        let hash = match algorithm.digest() {
            Some(DigestAlgorithm::Sha256) => &SHA256,
            Some(DigestAlgorithm::Sha384) => &SHA384,
            // RFC 8032 §5.1.6 hashes the message twice, with a prefix from the private key.
            None => return Err("Ed25519 signs whole messages, not digests"),
        };
        let digest = Digest::import_less_safe(digest, hash).map_err(|_| "the digest has another length than the algorithm's")?;
        match &self.inner {
            Inner::Ecdsa(pair) => pair.sign_digest(&digest).map(|s| s.as_ref().to_vec()).map_err(|_| FAILED),
            Inner::Ed25519(_) => Err("Ed25519 signs whole messages, not digests"),
            Inner::Rsa(pair) => {
                let mut out = vec![0u8; pair.public_modulus_len()];
                pair.sign_digest(rsa_encoding(algorithm), &digest, &mut out).map_err(|_| FAILED)?;
                Ok(out)
            }
        }
    }
}
