//! What a device says of a key, against what the plan says (requirements 19 and 21).

use super::CeremonyError;
use crate::pki::{PublicKey, check_yubihsm_attestation};
use crate::ports::{Attestation, DeviceIdentity, DeviceKind, KeyAttributes};

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

/// Judges a device's proof that it made a key: it is about exactly that key, says that the key was made in the device of
/// this serial number, and the chain ends below one of the maker's certificates (DER) that the plan carries.
///
/// # Errors
/// With the link that does not hold, and for devices of a kind that attests nothing.
pub fn check_attestation(
    attestation: &Attestation,
    key: &PublicKey,
    device: &DeviceIdentity,
    roots: &[Vec<u8>],
) -> Result<(), CeremonyError> {
    let refused = |reason: String| Err(CeremonyError::refused("attestation", reason));
    match device.kind {
        DeviceKind::YubiHsm2 => {
            // Without the maker's certificate the claims would be the device's word only.
            if roots.is_empty() {
                return refused("the plan carries no certificate of the device's maker (hint: attestation_roots)".to_owned());
            }
            let claims = match check_yubihsm_attestation(attestation, key, roots) {
                Ok(claims) => claims,
                Err(e) => return refused(e.to_string()),
            };
            if claims.serial != device.serial.trim_start_matches('0') {
                return refused(format!("it is from the device {}, not {}", claims.serial, device.serial));
            }
            if claims.came_wrapped {
                return refused("the key came in wrapped: this device did not make it".to_owned());
            }
            Ok(())
        }
        DeviceKind::Pkcs11 | DeviceKind::Software => refused("this kind of device attests nothing".to_owned()),
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

    /// What a YubiHSM 2 gives for a key, and its maker's certificate.
    fn attested(serial: &[u8], origin: u8) -> (PublicKey, Attestation, Vec<u8>) {
        let (maker_key, device_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let named = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let (maker, device, mut leaf) = (named("Maker"), named("Device"), named("Key"));
        let element = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
        for (last, value) in [
            (1, element(0x04, &[2, 4, 0])),
            (2, element(0x02, serial)),
            (3, element(0x03, &[0, origin])),
            (4, element(0x03, &[0, 0, 1])),
            (5, element(0x03, &[0, 0, 0, 0, 0, 0, 0, 0, 0x80])),
            (6, element(0x02, &[1])),
            (9, element(0x0c, b"root")),
        ] {
            let oid = [&YUBICO[..8], &[last]].concat();
            leaf.custom_extensions.push(CustomExtension::from_oid_content(&oid, value));
        }
        let maker_certificate = maker.self_signed(&maker_key).unwrap();
        let device_certificate = device.signed_by(&device_key, &Issuer::from_params(&maker, &maker_key)).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::from_params(&device, &device_key)).unwrap();
        let chain = [leaf.der(), device_certificate.der()].map(|c| c.to_vec()).to_vec();
        (PublicKey::from_spki_der(key.subject_public_key_info()), Attestation { chain }, maker_certificate.der().to_vec())
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
        fn check(attestation: &Attestation, key: &PublicKey, device: &DeviceIdentity, roots: &[Vec<u8>], expected: Result<(), &str>) {
            match (check_attestation(attestation, key, device, roots).map_err(|e| e.to_string()), expected) {
                (Ok(()), Ok(())) => {}
                (Err(text), Err(part)) => assert!(text.contains(part), "{text}"),
                (found, _) => panic!("{found:?}"),
            }
        }
        let (key, good, maker) = attested(&[0x01, 0x00, 0x02], 0x01);
        let roots = [maker];
        check(&good, &key, &device("65538"), &roots, Ok(()));
        check(&good, &key, &device("0065538"), &roots, Ok(()));
        check(&good, &key, &device("65539"), &roots, Err("from the device 65538"));
        check(&good, &key, &device("65538"), &[], Err("attestation_roots"));
        let (other_key, other, other_maker) = attested(&[1], 1);
        check(&good, &key, &device("65538"), &[other_maker], Err("none of the maker's certificates"));
        check(&good, &other_key, &device("65538"), &roots, Err("another public key"));
        check(&Attestation { chain: vec![good.chain[0].clone(), other.chain[1].clone()] }, &key, &device("65538"), &roots, Err("verify"));
        let mut changed = good.clone();
        let last = changed.chain[0].len() - 1;
        changed.chain[0][last] ^= 1;
        check(&changed, &key, &device("65538"), &roots, Err("does not verify it"));
        check(&Attestation { chain: vec![] }, &key, &device("65538"), &roots, Err("not two certificates"));
        let pkcs11 = DeviceIdentity { kind: DeviceKind::Pkcs11, ..device("65538") };
        check(&good, &key, &pkcs11, &roots, Err("attests nothing"));
        let (key, wrapped, maker) = attested(&[7], 0x11);
        check(&wrapped, &key, &device("7"), &[maker], Err("came in wrapped"));
        let (key, imported, maker) = attested(&[7], 0x02);
        check(&imported, &key, &device("7"), &[maker], Err("not made inside"));
    }
}
