//! What a device says of a key, against what the plan says (requirements 19 and 21).

use super::CeremonyError;
use crate::pki::{Certificate, PublicKey, Sha256Digest, sha256};
use crate::ports::{Attestation, DeviceIdentity, DeviceKind, KeyAttributes};

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

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, PublicKeyData as _};

    use super::*;

    fn attributes(change: impl Fn(&mut KeyAttributes)) -> KeyAttributes {
        let mut attributes = KeyAttributes {
            made_inside: true,
            sensitive: true,
            extractable: false,
            wrap_with_trusted_only: false,
            capabilities: vec!["sign".to_owned()],
            domains: vec![1],
        };
        change(&mut attributes);
        attributes
    }

    #[test]
    fn ceremony_19_attributes_that_differ_from_the_plan_are_refused() {
        #[track_caller]
        fn check(kind: DeviceKind, exportable: bool, change: impl Fn(&mut KeyAttributes), expected: Result<(), &str>) {
            match (check_attributes(kind, &attributes(change), exportable).map_err(|e| e.to_string()), expected) {
                (Ok(()), Ok(())) => {}
                (Err(text), Err(part)) => assert!(text.contains(part), "{text}"),
                (found, _) => panic!("{found:?}"),
            }
        }
        let wrapped = |a: &mut KeyAttributes| (a.extractable, a.wrap_with_trusted_only) = (true, true);
        for kind in [DeviceKind::Pkcs11, DeviceKind::YubiHsm2, DeviceKind::Software] {
            check(kind, false, |_| {}, Ok(()));
            check(kind, true, wrapped, Ok(()));
            check(kind, false, wrapped, Err("it can leave the device"));
            check(kind, false, |a| a.extractable = true, Err("it can leave the device"));
            check(kind, true, |_| {}, Err("it cannot leave the device"));
            check(kind, true, |a| a.extractable = true, Err("not only a trusted one"));
            check(kind, false, |a| a.made_inside = false, Err("did not make it itself"));
        }
        check(DeviceKind::YubiHsm2, false, |a| a.sensitive = false, Err("read in the clear"));
        check(DeviceKind::Pkcs11, false, |a| a.sensitive = false, Err("read in the clear"));
        check(DeviceKind::Software, false, |a| a.sensitive = false, Ok(()));
    }

    const YUBICO: [u64; 9] = [1, 3, 6, 1, 4, 1, 41482, 4, 0];

    /// A chain of a key, its device and the maker, as a YubiHSM 2 makes it.
    fn attested(serial: &[u8], origin: u8) -> (PublicKey, Attestation) {
        let (maker_key, device_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let named = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let extension = |last: u64, value: Vec<u8>| {
            let oid = [&YUBICO[..8], &[last]].concat();
            CustomExtension::from_oid_content(&oid, value)
        };
        let maker = named("Maker");
        let device = named("Device");
        let mut leaf = named("Key");
        leaf.custom_extensions.push(extension(2, [&[0x02, u8::try_from(serial.len()).unwrap()], serial].concat()));
        leaf.custom_extensions.push(extension(3, vec![0x03, 2, 0, origin]));
        let maker_certificate = maker.self_signed(&maker_key).unwrap();
        let device_certificate = device.signed_by(&device_key, &Issuer::from_params(&maker, &maker_key)).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::from_params(&device, &device_key)).unwrap();
        let chain = [leaf.der(), device_certificate.der(), maker_certificate.der()].map(|c| c.to_vec()).to_vec();
        (PublicKey::from_spki_der(key.subject_public_key_info()), Attestation { chain })
    }

    #[test]
    fn ceremony_21_attestation_proves_chain_key_origin_and_serial() {
        let device = |serial: &str| DeviceIdentity {
            kind: DeviceKind::YubiHsm2,
            model: "YubiHSM 2".to_owned(),
            serial: serial.to_owned(),
            firmware: None,
        };
        #[track_caller]
        fn check(
            attestation: &Attestation,
            key: &PublicKey,
            device: &DeviceIdentity,
            anchors: &[Sha256Digest],
            expected: Result<(), &str>,
        ) {
            match (check_attestation(attestation, key, device, anchors).map_err(|e| e.to_string()), expected) {
                (Ok(()), Ok(())) => {}
                (Err(text), Err(part)) => assert!(text.contains(part), "{text}"),
                (found, _) => panic!("{found:?}"),
            }
        }
        let (key, good) = attested(&[0x01, 0x00, 0x02], 0x01);
        let anchors = [sha256(&good.chain[2])];
        check(&good, &key, &device("65538"), &anchors, Ok(()));
        check(&good, &key, &device("0065538"), &anchors, Ok(()));
        check(&good, &key, &device("65539"), &anchors, Err("from the device 65538"));
        check(&good, &key, &device("65538"), &[], Err("attestation_roots"));
        check(&good, &key, &device("65538"), &[sha256(b"another maker")], Err("does not lead to"));
        check(&good, &attested(&[1], 1).0, &device("65538"), &anchors, Err("another key"));
        let mut broken = good.clone();
        broken.chain.remove(1);
        check(&broken, &key, &device("65538"), &anchors, Err("not signed by the next"));
        let mut changed = good.clone();
        let last = changed.chain[0].len() - 1;
        changed.chain[0][last] ^= 1;
        check(&changed, &key, &device("65538"), &anchors, Err("not signed by the next"));
        check(&Attestation { chain: vec![] }, &key, &device("65538"), &anchors, Err("1 to 8"));
        check(&Attestation { chain: vec![vec![0x30, 0]] }, &key, &device("65538"), &anchors, Err("certificate 1"));
        let pkcs11 = DeviceIdentity { kind: DeviceKind::Pkcs11, ..device("65538") };
        check(&good, &key, &pkcs11, &anchors, Err("attests nothing"));
        // 0x02 is imported, 0x10 imported under a wrapping key.
        for origin in [0x02, 0x10, 0x11] {
            let (key, attestation) = attested(&[7], origin);
            check(&attestation, &key, &device("7"), &[sha256(&attestation.chain[2])], Err("not generated in the device"));
        }
    }
}
