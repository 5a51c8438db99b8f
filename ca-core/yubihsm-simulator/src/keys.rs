//! Key pairs: made from random octets, held as the device exports them (scalars and seeds).

use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;

use crate::state::random;
use crate::wire::{DeviceError, algorithm};

fn p256_key(value: &[u8]) -> Result<p256::ecdsa::SigningKey, DeviceError> {
    p256::ecdsa::SigningKey::from_slice(value).map_err(|_| DeviceError::InvalidData)
}

fn p384_key(value: &[u8]) -> Result<p384::ecdsa::SigningKey, DeviceError> {
    p384::ecdsa::SigningKey::from_slice(value).map_err(|_| DeviceError::InvalidData)
}

fn ed25519_key(value: &[u8]) -> Result<ed25519_dalek::SigningKey, DeviceError> {
    let seed = value.try_into().map_err(|_| DeviceError::WrongLength)?;
    Ok(ed25519_dalek::SigningKey::from_bytes(seed))
}

/// The length of a private value.
fn length(algorithm: u8) -> Result<usize, DeviceError> {
    match algorithm {
        algorithm::P256 | algorithm::ED25519 => Ok(32),
        algorithm::P384 => Ok(48),
        _ => Err(DeviceError::InvalidData),
    }
}

/// Makes a private value.
pub(crate) fn generate(algorithm: u8) -> Result<Vec<u8>, DeviceError> {
    let length = length(algorithm)?;
    // A scalar is out of range once in 2^32 on P-256.
    loop {
        let value = random::<48>()[..length].to_vec();
        if public(algorithm, &value).is_ok() {
            return Ok(value);
        }
    }
}

/// Checks a private value that comes from outside.
pub(crate) fn import(algorithm: u8, value: &[u8]) -> Result<(), DeviceError> {
    if value.len() != length(algorithm)? {
        return Err(DeviceError::WrongLength);
    }
    public(algorithm, value).map(drop)
}

/// The public half as Get Public Key gives it: coordinates, or the Ed25519 point.
pub(crate) fn public(algorithm: u8, value: &[u8]) -> Result<Vec<u8>, DeviceError> {
    match algorithm {
        algorithm::P256 => Ok(p256_key(value)?.verifying_key().to_sec1_point(false).as_bytes()[1..].to_vec()),
        algorithm::P384 => Ok(p384_key(value)?.verifying_key().to_sec1_point(false).as_bytes()[1..].to_vec()),
        algorithm::ED25519 => Ok(ed25519_key(value)?.verifying_key().to_bytes().to_vec()),
        _ => Err(DeviceError::InvalidData),
    }
}

/// The octets of a public key's BIT STRING, and its algorithm.
pub(crate) fn for_certificate(algorithm: u8, public: &[u8]) -> Result<(Vec<u8>, &'static rcgen::SignatureAlgorithm), DeviceError> {
    let point = || [&[4], public].concat();
    match algorithm {
        algorithm::P256 => Ok((point(), &rcgen::PKCS_ECDSA_P256_SHA256)),
        algorithm::P384 => Ok((point(), &rcgen::PKCS_ECDSA_P384_SHA384)),
        algorithm::ED25519 => Ok((public.to_vec(), &rcgen::PKCS_ED25519)),
        _ => Err(DeviceError::InvalidData),
    }
}

/// Signs a digest with ECDSA; DER.
pub(crate) fn sign_ecdsa(algorithm: u8, value: &[u8], digest: &[u8]) -> Result<Vec<u8>, DeviceError> {
    if !matches!(digest.len(), 20 | 32 | 48 | 64) {
        return Err(DeviceError::WrongLength);
    }
    match algorithm {
        algorithm::P256 => {
            let signature: p256::ecdsa::DerSignature = p256_key(value)?.sign_prehash(digest).map_err(|_| DeviceError::InvalidData)?;
            Ok(signature.as_bytes().to_vec())
        }
        algorithm::P384 => {
            let signature: p384::ecdsa::DerSignature = p384_key(value)?.sign_prehash(digest).map_err(|_| DeviceError::InvalidData)?;
            Ok(signature.as_bytes().to_vec())
        }
        _ => Err(DeviceError::InvalidData),
    }
}

/// Signs a message with Ed25519.
pub(crate) fn sign_eddsa(algorithm: u8, value: &[u8], message: &[u8]) -> Result<Vec<u8>, DeviceError> {
    if algorithm != algorithm::ED25519 {
        return Err(DeviceError::InvalidData);
    }
    Ok(ed25519_key(value)?.sign(message).to_bytes().to_vec())
}
