//! The format `step`, as step-ca publishes it: a token certifies the key that it made, and that key signs the key
//! authorization.

use const_oid::ObjectIdentifier;

use super::cbor::{self, Cbor};
use super::chain::Link;
use super::{AttestationError, Attested, Claim, by_serial};
use crate::pki::verify::{Scheme, Sha2, verify_scheme};
use crate::pki::walk::{INTEGER, PRINTABLE_STRING, SEQUENCE, UTF8_STRING, Walker};
use crate::pki::{VerifyError, spki};

/// A YubiKey's serial number, an INTEGER (Yubico, "PIV attestation").
const YUBIKEY_SERIAL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.7");
/// A managed device: a SEQUENCE that begins with the device's id, as text.
const MANAGED_DEVICE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.37476.9000.64.4");

pub(super) fn judge(statement: &Cbor<'_>, certificate: &Link<'_>, claim: &Claim<'_>) -> Result<Attested, AttestationError> {
    const SIG: AttestationError = AttestationError::Member("sig");
    // The signature stands in a byte string of its own, encoded, within the member.
    let wrapped = statement.get("sig").and_then(Cbor::bytes).ok_or(SIG)?;
    let signature = cbor::read(wrapped).map_err(|_| SIG)?.bytes().ok_or(SIG)?;
    let material = spki::key_material(&certificate.key).map_err(|e| AttestationError::Signature(e.into()))?;
    let scheme = match material {
        spki::KeyMaterial::P256(_) => Scheme::Ecdsa(Sha2::Sha256),
        spki::KeyMaterial::Rsa(..) => Scheme::RsaPkcs1(Sha2::Sha256),
        spki::KeyMaterial::Ed25519(_) => Scheme::Ed25519,
        _ => return Err(AttestationError::Signature(VerifyError::AlgorithmMismatch)),
    };
    verify_scheme(&material, scheme, claim.key_authorization.as_bytes(), signature).map_err(AttestationError::Signature)?;
    let name = device(certificate).ok_or(AttestationError::Statement("the certificate names no device that is handled"))?;
    Ok(Attested { key: certificate.key.clone(), devices: by_serial(&name).into_iter().collect() })
}

fn device(certificate: &Link<'_>) -> Option<String> {
    if let Some(value) = certificate.extension(YUBIKEY_SERIAL) {
        let number = Walker::single(value, INTEGER, "serial number").ok()?.positive_integer("serial number").ok()?;
        let number = number.iter().try_fold(0u64, |n, octet| n.checked_mul(256)?.checked_add(u64::from(*octet)))?;
        return Some(number.to_string());
    }
    let value = certificate.extension(MANAGED_DEVICE)?;
    let id = Walker::single(value, SEQUENCE, "managed device").ok()?.walk().next().ok()?;
    let is_text = matches!(id.tag, UTF8_STRING | PRINTABLE_STRING);
    std::str::from_utf8(id.content).ok().filter(|_| is_text).map(str::to_owned)
}
