//! Objects under a wrap key: AES-CCM with a 13-octet nonce and a 16-octet MAC over the object with its description.

use ccm::Ccm;
use ccm::aead::{Aead, KeyInit};
use ccm::consts::{U13, U16};

use crate::state::{Object, kind, random};
use crate::wire::{DeviceError, Reader, algorithm};

const NONCE: usize = 13;

/// The length of a wrap key.
pub(crate) fn key_length(algorithm: u8) -> Result<usize, DeviceError> {
    match algorithm {
        algorithm::AES128_CCM_WRAP => Ok(16),
        algorithm::AES192_CCM_WRAP => Ok(24),
        algorithm::AES256_CCM_WRAP => Ok(32),
        _ => Err(DeviceError::InvalidData),
    }
}

fn with<C: KeyInit + Aead>(key: &[u8], run: impl FnOnce(&C) -> Result<Vec<u8>, ccm::aead::Error>) -> Result<Vec<u8>, DeviceError> {
    let cipher = C::new_from_slice(key).map_err(|_| DeviceError::InvalidData)?;
    run(&cipher).map_err(|_| DeviceError::InvalidData)
}

fn seal(key: &[u8], nonce: &[u8; NONCE], plain: &[u8]) -> Result<Vec<u8>, DeviceError> {
    match key.len() {
        16 => with::<Ccm<aes::Aes128, U16, U13>>(key, |c| c.encrypt(nonce.into(), plain)),
        24 => with::<Ccm<aes::Aes192, U16, U13>>(key, |c| c.encrypt(nonce.into(), plain)),
        _ => with::<Ccm<aes::Aes256, U16, U13>>(key, |c| c.encrypt(nonce.into(), plain)),
    }
}

fn open(key: &[u8], nonce: &[u8; NONCE], sealed: &[u8]) -> Result<Vec<u8>, DeviceError> {
    match key.len() {
        16 => with::<Ccm<aes::Aes128, U16, U13>>(key, |c| c.decrypt(nonce.into(), sealed)),
        24 => with::<Ccm<aes::Aes192, U16, U13>>(key, |c| c.decrypt(nonce.into(), sealed)),
        _ => with::<Ccm<aes::Aes256, U16, U13>>(key, |c| c.decrypt(nonce.into(), sealed)),
    }
}

/// Wraps an object; nonce first.
pub(crate) fn wrap(wrap_key: &Object, object: &Object) -> Result<Vec<u8>, DeviceError> {
    let mut plain = vec![wrap_key.algorithm];
    plain.extend_from_slice(&object.capabilities.to_be_bytes());
    plain.extend_from_slice(&object.id.to_be_bytes());
    plain.extend_from_slice(&object.length().to_be_bytes());
    plain.extend_from_slice(&object.domains.to_be_bytes());
    plain.extend_from_slice(&[object.kind, object.algorithm, object.sequence, object.origin]);
    plain.extend_from_slice(&object.label);
    if matches!(object.kind, kind::AUTHENTICATION_KEY | kind::WRAP_KEY) {
        plain.extend_from_slice(&object.delegated.to_be_bytes());
    }
    plain.extend_from_slice(&object.value);
    let nonce = random::<NONCE>();
    Ok([nonce.as_slice(), &seal(&wrap_key.value, &nonce, &plain)?].concat())
}

/// Opens what [`wrap`] made, nonce first.
pub(crate) fn unwrap(wrap_key: &Object, wrapped: &[u8]) -> Result<Object, DeviceError> {
    let mut outer = Reader(wrapped);
    let nonce = outer.array::<NONCE>()?;
    let plain = open(&wrap_key.value, &nonce, outer.rest())?;
    let mut reader = Reader(&plain);
    if reader.u8()? != wrap_key.algorithm {
        return Err(DeviceError::InvalidData);
    }
    let (capabilities, id, _length, domains) = (reader.u64()?, reader.u16()?, reader.u16()?, reader.u16()?);
    let [kind, algorithm, sequence, origin] = reader.array()?;
    let label = reader.take(40)?.to_vec();
    let delegated = if matches!(kind, kind::AUTHENTICATION_KEY | kind::WRAP_KEY) { reader.u64()? } else { 0 };
    let value = reader.rest().to_vec();
    Ok(Object { kind, id, label, domains, capabilities, delegated, algorithm, origin, sequence, value })
}
