//! Signatures verified with the RustCrypto crates: the second library, beside the one that signs.

use rsa::BoxedUint;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use signature::Verifier as _;
use signature::hazmat::PrehashVerifier as _;

use super::csr::read_scheme;
use super::spki::{KeyError, KeyMaterial, key_material};
use super::walk::Tlv;
use super::{PublicKey, SignatureAlgorithm, frequent};

/// Why a signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The key is not one to verify with.
    #[error("the verification key is refused: {0}")]
    Key(#[from] KeyError),
    /// The algorithm is not one of that key.
    #[error("the signature algorithm does not belong to the key")]
    AlgorithmMismatch,
    /// It does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// The certificate names another issuer.
    #[error("the issuer's name or key identifier is not that of the given issuer")]
    OtherIssuer,
    /// The certificate that should be the issuer's is not a CA certificate.
    #[error("the issuer's certificate is not a CA certificate")]
    NotACa,
}

/// Reads an AlgorithmIdentifier that this CA itself writes.
pub(crate) fn signature_algorithm_of<T: der::Encode>(identifier: &T) -> Option<SignatureAlgorithm> {
    SignatureAlgorithm::from_identifier(&identifier.to_der().ok()?)
}

/// The digest under an ECDSA or RSA signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sha2 {
    Sha256,
    Sha384,
    Sha512,
}

/// A signature algorithm as CSRs may name it: the kind of key and the digest on their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scheme {
    Ecdsa(Sha2),
    RsaPkcs1(Sha2),
    /// With a salt of 32 octets.
    RsaPssSha256,
    Ed25519,
    MlDsa65,
    MlDsa87,
}

/// Octets of a PSS salt: as many as the digest has (RFC 8017 §9.1).
const PSS_SALT: usize = 32;

/// Verifies `signature` over `message`.
///
/// # Errors
/// When the key is malformed, the algorithm is not that key's, or the signature does not verify.
pub fn verify_signature(key: &PublicKey, alg: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    let material = key_material(key)?;
    if !material.algorithm().signs_as(alg) {
        return Err(VerifyError::AlgorithmMismatch);
    }
    let scheme = match alg {
        SignatureAlgorithm::EcdsaP256Sha256 => Scheme::Ecdsa(Sha2::Sha256),
        SignatureAlgorithm::EcdsaP384Sha384 => Scheme::Ecdsa(Sha2::Sha384),
        SignatureAlgorithm::Ed25519 => Scheme::Ed25519,
        SignatureAlgorithm::RsaPkcs1Sha256 => Scheme::RsaPkcs1(Sha2::Sha256),
        SignatureAlgorithm::RsaPssSha256 => Scheme::RsaPssSha256,
        SignatureAlgorithm::MlDsa65 => Scheme::MlDsa65,
        SignatureAlgorithm::MlDsa87 => Scheme::MlDsa87,
    };
    if frequent::shown(&material, scheme, message, signature) {
        return Ok(());
    }
    verify_scheme(&material, scheme, message, signature)
}

/// The scheme of an AlgorithmIdentifier as it stands in others' certificates, where it is handled.
pub(crate) fn scheme_of(identifier: &Tlv<'_>) -> Option<Scheme> {
    if SignatureAlgorithm::from_identifier(identifier.whole) == Some(SignatureAlgorithm::RsaPssSha256) {
        return Some(Scheme::RsaPssSha256);
    }
    read_scheme(identifier).ok()
}

pub(crate) fn verify_scheme(key: &KeyMaterial<'_>, scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    let invalid_key = |_| VerifyError::Key(KeyError::Weak("the point is not on its curve"));
    let bad = |_| VerifyError::Signature;
    match (key, scheme) {
        (KeyMaterial::P256(point), Scheme::Ecdsa(digest)) => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(invalid_key)?;
            let signature = p256::ecdsa::DerSignature::try_from(signature).map_err(bad)?;
            key.verify_prehash(&hash(digest, message), &signature).map_err(bad)
        }
        (KeyMaterial::P384(point), Scheme::Ecdsa(digest)) => {
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(invalid_key)?;
            let signature = p384::ecdsa::DerSignature::try_from(signature).map_err(bad)?;
            key.verify_prehash(&hash(digest, message), &signature).map_err(bad)
        }
        (KeyMaterial::Ed25519(bytes), Scheme::Ed25519) => {
            let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(invalid_key)?;
            let signature = ed25519_dalek::Signature::from_slice(signature).map_err(bad)?;
            // Strict: refuses keys and nonces of small order, with which one signature fits many messages.
            key.verify_strict(message, &signature).map_err(bad)
        }
        (KeyMaterial::Rsa(modulus, exponent, _), Scheme::RsaPkcs1(digest)) => {
            let key = rsa_key(modulus, exponent)?;
            let signature = rsa::pkcs1v15::Signature::try_from(signature).map_err(bad)?;
            match digest {
                Sha2::Sha256 => rsa::pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(message, &signature),
                Sha2::Sha384 => rsa::pkcs1v15::VerifyingKey::<Sha384>::new(key).verify(message, &signature),
                Sha2::Sha512 => rsa::pkcs1v15::VerifyingKey::<Sha512>::new(key).verify(message, &signature),
            }
            .map_err(bad)
        }
        (KeyMaterial::Rsa(modulus, exponent, _), Scheme::RsaPssSha256) => {
            let key = rsa_key(modulus, exponent)?;
            let signature = rsa::pss::Signature::try_from(signature).map_err(bad)?;
            // Only the salt length of the AlgorithmIdentifier is taken.
            rsa::pss::VerifyingKey::<Sha256>::new_with_salt_len(key, PSS_SALT).verify(message, &signature).map_err(bad)
        }
        (KeyMaterial::MlDsa65(key), Scheme::MlDsa65) => verify_ml_dsa::<ml_dsa::MlDsa65>(*key, message, signature),
        (KeyMaterial::MlDsa87(key), Scheme::MlDsa87) => verify_ml_dsa::<ml_dsa::MlDsa87>(*key, message, signature),
        _ => Err(VerifyError::AlgorithmMismatch),
    }
}

/// Pure ML-DSA with an empty context string (RFC 9881 §3). The message is absorbed where it lies, not copied.
fn verify_ml_dsa<P: ml_dsa::MlDsaParams>(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    let key = ml_dsa::EncodedVerifyingKey::<P>::try_from(key).map_err(|_| KeyError::Weak("an ML-DSA key of another length"))?;
    let signature = ml_dsa::Signature::<P>::try_from(signature).map_err(|_| VerifyError::Signature)?;
    ml_dsa::VerifyingKey::<P>::decode(&key).verify(message, &signature).map_err(|_| VerifyError::Signature)
}

/// An RSA key whose numbers the library accepts: an odd modulus, an exponent in range.
pub(crate) fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Result<rsa::PublicKey, KeyError> {
    // The longer forms are refused before any arithmetic; key_material has bounded the modulus.
    if exponent.len() > 5 {
        return Err(KeyError::Weak("the RSA exponent has more than 33 bits (hint: use 65537)"));
    }
    let number = BoxedUint::from_be_slice_vartime;
    rsa::PublicKey::new(number(modulus), number(exponent)).map_err(|_| KeyError::Weak("the RSA modulus or exponent is out of range"))
}

fn hash(digest: Sha2, message: &[u8]) -> Vec<u8> {
    match digest {
        Sha2::Sha256 => Sha256::digest(message).to_vec(),
        Sha2::Sha384 => Sha384::digest(message).to_vec(),
        Sha2::Sha512 => Sha512::digest(message).to_vec(),
    }
}
