//! What a SubjectPublicKeyInfo holds.

use const_oid::ObjectIdentifier;

use super::walk::{INTEGER, OID, ParseError, SEQUENCE, Walker};
use super::{KeyAlgorithm, PublicKey, oid};

/// Why a public key is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a SubjectPublicKeyInfo in DER.
    #[error("the public key is not a SubjectPublicKeyInfo: {0}")]
    Malformed(#[from] ParseError),
    /// A kind of key that this CA does not handle.
    #[error(
        "this kind of public key is not handled (hint: use ECDSA P-256 or P-384, Ed25519, RSA with 2048, 3072 or 4096 bits, ML-DSA-65 or ML-DSA-87)"
    )]
    Unsupported,
    /// A key of a handled kind that nobody should use.
    #[error("the public key is weak or invalid: {0}")]
    Weak(&'static str),
    /// A key that is in use already.
    #[error("the public key is that of {0} already (hint: each certificate has a key of its own)")]
    Reused(String),
    /// A key on a list of keys whose private half is known.
    #[error("the public key is on a list of keys whose private half is known (hint: make another key)")]
    Published,
    /// An RSA key with a prime that another has too.
    #[error("the RSA modulus shares a prime with that of {0}: both keys are broken")]
    SharedPrime(String),
}

/// Most bytes of a SubjectPublicKeyInfo: RSA-4096 has 550, ML-DSA-87 2,614.
const MAX_SPKI: usize = 4096;
/// Octets of public keys (FIPS 204 §4, table 2).
pub(crate) const ML_DSA_65_KEY: usize = 1952;
pub(crate) const ML_DSA_87_KEY: usize = 2592;

/// A public key's numbers, borrowed and not judged beyond their sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyMaterial<'a> {
    /// An uncompressed point.
    P256(&'a [u8]),
    /// An uncompressed point.
    P384(&'a [u8]),
    Ed25519(&'a [u8; 32]),
    /// Modulus and exponent, big-endian without leading zeros.
    Rsa(&'a [u8], &'a [u8], KeyAlgorithm),
    /// ρ and the encoded t1 (FIPS 204 §7.2).
    MlDsa65(&'a [u8; ML_DSA_65_KEY]),
    MlDsa87(&'a [u8; ML_DSA_87_KEY]),
}

impl KeyMaterial<'_> {
    pub(crate) const fn algorithm(&self) -> KeyAlgorithm {
        match self {
            Self::P256(_) => KeyAlgorithm::P256,
            Self::P384(_) => KeyAlgorithm::P384,
            Self::Ed25519(_) => KeyAlgorithm::Ed25519,
            Self::Rsa(_, _, algorithm) => *algorithm,
            Self::MlDsa65(_) => KeyAlgorithm::MlDsa65,
            Self::MlDsa87(_) => KeyAlgorithm::MlDsa87,
        }
    }
}

/// The content octets of the BIT STRING subjectPublicKey without its count of unused bits.
pub(crate) fn subject_public_key(key: &PublicKey) -> Result<&[u8], KeyError> {
    split(key).map(|(_, _, bits)| bits)
}

/// The algorithm's OID, its parameters and the key's octets.
fn split(key: &PublicKey) -> Result<(&[u8], &[u8], &[u8]), KeyError> {
    let der = key.spki_der();
    if der.len() > MAX_SPKI {
        return Err(ParseError::TooLarge.into());
    }
    let mut fields = Walker::single(der, SEQUENCE, "SubjectPublicKeyInfo")?.walk();
    let algorithm = fields.expect(SEQUENCE, "algorithm")?;
    let bits = fields.expect(super::walk::BIT_STRING, "subjectPublicKey")?.bit_string_octets("subjectPublicKey")?;
    fields.finish("SubjectPublicKeyInfo")?;
    let mut inner = algorithm.walk();
    let oid = inner.expect(OID, "algorithm")?;
    Ok((oid.content, &algorithm.content[oid.whole.len()..], bits))
}

pub(crate) fn key_material(key: &PublicKey) -> Result<KeyMaterial<'_>, KeyError> {
    let (oid, parameters, bits) = split(key)?;
    // RFC 5480 §2.2: the uncompressed form is the one that everyone reads.
    let point = |width: usize| match bits {
        [4, ..] if bits.len() == 1 + 2 * width => Ok(bits),
        [0] => Err(KeyError::Weak("the point is the one at infinity")),
        _ => Err(KeyError::Weak("the point is not in uncompressed form")),
    };
    let is_curve = |curve: ObjectIdentifier| Walker::single(parameters, OID, "namedCurve").is_ok_and(|c| c.content == curve.as_bytes());
    match ObjectIdentifier::from_bytes(oid).map_err(|_| KeyError::Unsupported)? {
        oid::EC_PUBLIC_KEY if is_curve(oid::SECP256R1) => point(32).map(KeyMaterial::P256),
        oid::EC_PUBLIC_KEY if is_curve(oid::SECP384R1) => point(48).map(KeyMaterial::P384),
        oid::ED25519 if parameters.is_empty() => {
            bits.try_into().map(KeyMaterial::Ed25519).map_err(|_| KeyError::Weak("an Ed25519 key has 32 octets"))
        }
        // RFC 9881 §4: the raw key stands in the BIT STRING, and the parameters are absent.
        oid::ML_DSA_65 if parameters.is_empty() => {
            bits.try_into().map(KeyMaterial::MlDsa65).map_err(|_| KeyError::Weak("an ML-DSA-65 key has 1952 octets"))
        }
        oid::ML_DSA_87 if parameters.is_empty() => {
            bits.try_into().map(KeyMaterial::MlDsa87).map_err(|_| KeyError::Weak("an ML-DSA-87 key has 2592 octets"))
        }
        oid::RSA_ENCRYPTION if parameters == [5, 0] => {
            let mut numbers = Walker::single(bits, SEQUENCE, "RSAPublicKey")?.walk();
            let modulus = numbers.expect(INTEGER, "modulus")?.positive_integer("modulus")?;
            let exponent = numbers.expect(INTEGER, "publicExponent")?.positive_integer("publicExponent")?;
            numbers.finish("RSAPublicKey")?;
            let algorithm = match (modulus.len(), modulus.first()) {
                (256, Some(0x80..)) => KeyAlgorithm::Rsa2048,
                (384, Some(0x80..)) => KeyAlgorithm::Rsa3072,
                (512, Some(0x80..)) => KeyAlgorithm::Rsa4096,
                _ => return Err(KeyError::Unsupported),
            };
            Ok(KeyMaterial::Rsa(modulus, exponent, algorithm))
        }
        _ => Err(KeyError::Unsupported),
    }
}

/// The kind of a public key, from its SubjectPublicKeyInfo; [`crate::profile::check_key`] also judges its numbers.
///
/// # Errors
/// When it is not a SubjectPublicKeyInfo in DER or of a kind that this CA does not handle.
pub fn key_algorithm(key: &PublicKey) -> Result<KeyAlgorithm, KeyError> {
    key_material(key).map(|m| m.algorithm())
}
