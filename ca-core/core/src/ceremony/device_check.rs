//! What a device says of a key, against what the plan says (requirements 19 and 21).

use super::CeremonyError;
use crate::pki::{Certificate, PublicKey, Sha256Digest, sha256};
use crate::ports::{Attestation, DeviceIdentity, DeviceKind, DeviceObject, KeyAttributes};

/// The most certificates of an attestation.
const MAX_CHAIN: usize = 8;

/// Judges the attributes that were read back: made inside, not readable in the clear, and leaving only if the plan says
/// so, and then only under a trusted wrapping key.
///
/// # Errors
/// With the attribute that differs.
pub fn check_attributes(kind: DeviceKind, found: &KeyAttributes, exportable: bool) -> Result<(), CeremonyError> {
    let refused = |reason: &str| Err(CeremonyError::refused("key", reason));
    if !found.made_inside {
        return refused("the device did not make it itself");
    }
    // A folder of sealed files enforces nothing, and says so; the plan pins the kind of device.
    if !found.sensitive && kind != DeviceKind::Software {
        return refused("its value can be read in the clear");
    }
    match (exportable, found.extractable) {
        (false, true) => refused("it can leave the device, and the plan does not let it (hint: wrapping_key in the plan, or another key)"),
        (true, false) => refused("it cannot leave the device, and the plan backs it up by wrapping"),
        (true, true) if !found.wrap_with_trusted_only => refused("it can leave under any wrapping key, not only a trusted one"),
        _ => Ok(()),
    }
}

/// Judges a device's proof that it made a key: the first certificate is for exactly that key and, in the terms of its
/// kind, says that the key was generated in the device of this serial number; each is signed by the next; and the chain
/// ends in or below one of the maker's certificates in `anchors`, by digest.
///
/// # Errors
/// With the link that does not hold.
pub fn check_attestation(
    attestation: &Attestation,
    key: &PublicKey,
    device: &DeviceIdentity,
    anchors: &[Sha256Digest],
) -> Result<(), CeremonyError> {
    let refused = |reason: String| Err(CeremonyError::refused("attestation", reason));
    if attestation.chain.is_empty() || attestation.chain.len() > MAX_CHAIN {
        return refused(format!("its chain has 1 to {MAX_CHAIN} certificates"));
    }
    if anchors.is_empty() {
        return refused("the plan pins no certificate of the device's maker (hint: attestation_roots)".to_owned());
    }
    let mut chain = Vec::new();
    for der in &attestation.chain {
        match Certificate::from_der(der) {
            Ok(certificate) => chain.push(certificate),
            Err(e) => return refused(format!("certificate {}: {e}", chain.len() + 1)),
        }
    }
    if chain[0].public_key() != key {
        return refused("it is for another key".to_owned());
    }
    for (i, pair) in chain.windows(2).enumerate() {
        // The device's own certificate need not be a CA's in every maker's eyes: name and signature decide.
        let signed =
            crate::pki::verify_signature(pair[1].public_key(), pair[0].signature_algorithm(), pair[0].tbs_der(), pair[0].signature());
        if pair[0].issuer_der() != pair[1].subject_der() || signed.is_err() {
            return refused(format!("certificate {} is not signed by the next", i + 1));
        }
    }
    if !chain.iter().skip(1).any(|c| anchors.contains(&sha256(c.der()))) {
        return refused("its chain does not lead to a maker's certificate that the plan pins".to_owned());
    }
    match device.kind {
        DeviceKind::YubiHsm2 => yubihsm(&chain[0], device).or_else(refused),
        // Neither has a form of attestation of its own that this product knows.
        DeviceKind::Pkcs11 | DeviceKind::Software => refused("this kind of device attests nothing".to_owned()),
    }
}

/// Yubico's extensions (YubiHSM 2 documentation, "Attestation"): 1.3.6.1.4.1.41482.4.2 is the serial number, an INTEGER;
/// .3 the origin, a BIT STRING, of which 0x01 says generated.
fn yubihsm(certificate: &Certificate, device: &DeviceIdentity) -> Result<(), String> {
    const SERIAL: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0xc4, 0x0a, 0x04, 0x02];
    const ORIGIN: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0xc4, 0x0a, 0x04, 0x03];
    let find =
        |oid: &[u8]| certificate.extension(oid).ok_or_else(|| "it does not say the device's serial number or the key's origin".to_owned());
    let serial = match find(SERIAL)? {
        [0x02, length, number @ ..] if usize::from(*length) == number.len() && number.len() <= 8 => {
            number.iter().fold(0u64, |n, b| n << 8 | u64::from(*b))
        }
        _ => return Err("its serial number has another form".to_owned()),
    };
    if device.serial.trim_start_matches('0') != serial.to_string() {
        return Err(format!("it is from the device {serial}, not {}", device.serial));
    }
    match find(ORIGIN)? {
        [0x03, 2, _, 0x01] => Ok(()),
        [0x03, 2, _, other] => Err(format!("the key was not generated in the device (origin {other:#04x})")),
        _ => Err("its origin has another form".to_owned()),
    }
}

/// SHA-256 over a device's objects, sorted, one line for each: kind, id, label and algorithm.
pub fn inventory_digest(objects: &[DeviceObject]) -> Sha256Digest {
    let mut lines: Vec<String> =
        objects.iter().map(|o| [&o.kind, &o.id, &o.label, &o.algorithm].map(String::as_str).join(" ").trim_end().to_owned()).collect();
    lines.sort();
    sha256(lines.iter().map(|l| format!("{l}\n")).collect::<String>().as_bytes())
}
