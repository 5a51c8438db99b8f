//! Between PKCS#11's forms and this product's: public keys, curve parameters, signatures.

use ca_core::pki::{DigestAlgorithm, KeyAlgorithm, PublicKey, key_algorithm};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType};

/// namedCurve secp256r1 and secp384r1 (RFC 5480 §2.1.1.1).
const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x22];
/// id-Ed25519 (RFC 8410 §3), and the name that PKCS#11 3.0 allows beside it, as a PrintableString.
const ED25519: &[u8] = &[6, 3, 0x2b, 0x65, 0x70];
const EDWARDS25519: &[u8] = b"\x13\x0cedwards25519";

/// What stands before the point in a SubjectPublicKeyInfo of that algorithm (RFC 5480 §2, RFC 8410 §4).
const SPKI_P256: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
const SPKI_P384: &[u8] = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";
const SPKI_ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
/// AlgorithmIdentifier rsaEncryption (RFC 4055 §1.2).
const RSA_ENCRYPTION: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
/// DigestInfo of a SHA-256 digest (RFC 8017 §9.2, note 1).
const SHA256_DIGEST_INFO: &[u8] = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";

/// How many bytes a digest has.
pub(super) const fn digest_length(algorithm: DigestAlgorithm) -> usize {
    match algorithm {
        DigestAlgorithm::Sha256 => 32,
        DigestAlgorithm::Sha384 => 48,
    }
}

/// What CKM_RSA_PKCS signs for a SHA-256 digest.
pub(super) fn digest_info(digest: &[u8]) -> Vec<u8> {
    [SHA256_DIGEST_INFO, digest].concat()
}

/// How a key pair of this algorithm is made, and the parameters of its public half: the forms to try, in order. `None`:
/// of an algorithm that is not on hardware.
pub(super) fn generation(algorithm: KeyAlgorithm) -> Option<(Mechanism<'static>, Vec<Vec<Attribute>>)> {
    let curve = |parameters: &[u8]| vec![Attribute::EcParams(parameters.to_vec())];
    let rsa = |bits: u64| {
        let parameters = vec![Attribute::ModulusBits(bits.into()), Attribute::PublicExponent(vec![1, 0, 1])];
        (Mechanism::RsaPkcsKeyPairGen, vec![parameters])
    };
    Some(match algorithm {
        KeyAlgorithm::P256 => (Mechanism::EccKeyPairGen, vec![curve(P256)]),
        KeyAlgorithm::P384 => (Mechanism::EccKeyPairGen, vec![curve(P384)]),
        KeyAlgorithm::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, vec![curve(EDWARDS25519), curve(ED25519)]),
        KeyAlgorithm::Rsa2048 => rsa(2048),
        KeyAlgorithm::Rsa3072 => rsa(3072),
        KeyAlgorithm::Rsa4096 => rsa(4096),
        KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87 => return None,
    })
}

/// The key type of this algorithm; `None`: it is not on hardware.
pub(super) const fn key_type(algorithm: KeyAlgorithm) -> Option<KeyType> {
    match algorithm {
        KeyAlgorithm::P256 | KeyAlgorithm::P384 => Some(KeyType::EC),
        KeyAlgorithm::Ed25519 => Some(KeyType::EC_EDWARDS),
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => Some(KeyType::RSA),
        KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87 => None,
    }
}

/// Reads a public key from an object's attributes. `None`: of no kind that this CA handles.
pub(super) fn public_key(attributes: &[Attribute]) -> Option<(KeyAlgorithm, PublicKey)> {
    let (mut point, mut parameters, mut modulus, mut exponent) = (None, None, None, None);
    for attribute in attributes {
        match attribute {
            Attribute::EcPoint(bytes) => point = Some(bytes.as_slice()),
            Attribute::EcParams(bytes) => parameters = Some(bytes.as_slice()),
            Attribute::Modulus(bytes) => modulus = Some(bytes.as_slice()),
            Attribute::PublicExponent(bytes) => exponent = Some(bytes.as_slice()),
            _ => {}
        }
    }
    let spki = match (point, parameters, modulus, exponent) {
        (Some(point), Some(P256), ..) => [SPKI_P256, bare(point, 65)?].concat(),
        (Some(point), Some(P384), ..) => [SPKI_P384, bare(point, 97)?].concat(),
        (Some(point), Some(ED25519 | EDWARDS25519), ..) => [SPKI_ED25519, bare(point, 32)?].concat(),
        (_, _, Some(modulus), Some(exponent)) => {
            let numbers = tlv(0x30, &[integer(modulus), integer(exponent)].concat());
            let bits = tlv(0x03, &[&[0], numbers.as_slice()].concat());
            tlv(0x30, &[RSA_ENCRYPTION, &bits].concat())
        }
        _ => return None,
    };
    let key = PublicKey::from_spki_der(spki);
    // The one reader of such structures judges what was put together here.
    key_algorithm(&key).ok().map(|algorithm| (algorithm, key))
}

/// The point of CKA_EC_POINT, which is an OCTET STRING by the standard, and bare or a BIT STRING in some modules.
fn bare(point: &[u8], length: usize) -> Option<&[u8]> {
    let wrapped = u8::try_from(length).ok()?;
    match point {
        p if p.len() == length => Some(p),
        [0x04, l, p @ ..] if *l == wrapped && p.len() == length => Some(p),
        [0x03, l, 0, p @ ..] if *l == wrapped + 1 && p.len() == length => Some(p),
        _ => None,
    }
}

/// The attributes of a public key object for `key`, which this module's own reader has accepted.
pub(super) fn public_attributes(algorithm: KeyAlgorithm, key: &PublicKey) -> Option<Vec<Attribute>> {
    let spki = key.spki_der();
    let point = |parameters: &[u8], prefix: &[u8]| {
        let point = tlv(0x04, spki.strip_prefix(prefix)?);
        Some(vec![Attribute::EcParams(parameters.to_vec()), Attribute::EcPoint(point)])
    };
    match algorithm {
        KeyAlgorithm::P256 => point(P256, SPKI_P256),
        KeyAlgorithm::P384 => point(P384, SPKI_P384),
        KeyAlgorithm::Ed25519 => point(EDWARDS25519, SPKI_ED25519),
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
            let at = spki.windows(RSA_ENCRYPTION.len()).position(|w| w == RSA_ENCRYPTION)? + RSA_ENCRYPTION.len();
            let (bits, _) = content(0x03, spki.get(at..)?)?;
            let (numbers, _) = content(0x30, bits.get(1..)?)?;
            let (modulus, rest) = content(0x02, numbers)?;
            let (exponent, _) = content(0x02, rest)?;
            let bare = |n: &[u8]| n.iter().copied().skip_while(|b| *b == 0).collect::<Vec<u8>>();
            Some(vec![Attribute::Modulus(bare(modulus)), Attribute::PublicExponent(bare(exponent))])
        }
        KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87 => None,
    }
}

/// The content of the element at the start, and what follows it.
fn content(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, header) = match *der {
        [t, l @ 0..=0x7f, ..] if t == tag => (usize::from(l), 2),
        [t, 0x81, l, ..] if t == tag => (usize::from(l), 3),
        [t, 0x82, h, l, ..] if t == tag => (usize::from(h) << 8 | usize::from(l), 4),
        _ => return None,
    };
    Some((der.get(header..header + length)?, &der[header + length..]))
}

/// An element of fewer than 65,536 bytes, as all here are.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let length: &[u8] = match content.len() {
        0..=0x7f => &[low],
        0x80..=0xff => &[0x81, low],
        _ => &[0x82, high, low],
    };
    [&[tag], length, content].concat()
}

fn integer(number: &[u8]) -> Vec<u8> {
    let bare = &number[number.iter().take_while(|b| **b == 0).count()..];
    match bare.first() {
        Some(0x80..) | None => tlv(0x02, &[&[0], bare].concat()),
        Some(_) => tlv(0x02, bare),
    }
}

/// An ECDSA signature as a certificate has it (RFC 3279 §2.2.3), from PKCS#11's r ‖ s of equal lengths.
pub(super) fn ecdsa_signature(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.is_empty() || !raw.len().is_multiple_of(2) || raw.len() > 2 * 66 {
        return None;
    }
    let (r, s) = raw.split_at(raw.len() / 2);
    Some(tlv(0x30, &[integer(r), integer(s)].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ecdsa_signatures_are_minimal_der() {
        let check = |raw: &[u8], expected: Option<&[u8]>| assert_eq!(ecdsa_signature(raw).as_deref(), expected, "{raw:?}");
        check(&[1, 2], Some(&[0x30, 6, 2, 1, 1, 2, 1, 2]));
        check(&[0, 1, 0x80, 0], Some(&[0x30, 8, 2, 1, 1, 2, 3, 0, 0x80, 0]));
        check(&[0, 0], Some(&[0x30, 6, 2, 1, 0, 2, 1, 0]));
        check(&[], None);
        check(&[1, 2, 3], None);
        check(&[1; 200], None);
        assert_eq!(ecdsa_signature(&[0xff; 96]).map(|s| s.len()), Some(2 + 2 * (2 + 49)));
    }

    #[test]
    fn points_are_read_in_every_form_that_modules_give() {
        let point = [[4u8].as_slice(), &[7; 64]].concat();
        let octets = [&[4, 65], point.as_slice()].concat();
        let bits = [&[3, 66, 0], point.as_slice()].concat();
        let read = |p: &[u8]| public_key(&[Attribute::EcParams(P256.to_vec()), Attribute::EcPoint(p.to_vec())]);
        let key = read(&point).expect("a bare point");
        assert_eq!(key.0, KeyAlgorithm::P256);
        assert_eq!(read(&octets), Some(key.clone()));
        assert_eq!(read(&bits), Some(key));
        for wrong in [&octets[..66], &[], &[4, 65], &[2; 33]] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        assert_eq!(public_key(&[Attribute::EcParams(vec![6, 1, 1]), Attribute::EcPoint(point)]), None, "another curve");
    }

    #[test]
    fn rsa_keys_go_there_and_back() {
        for (bytes, algorithm) in [(256, KeyAlgorithm::Rsa2048), (384, KeyAlgorithm::Rsa3072), (512, KeyAlgorithm::Rsa4096)] {
            let modulus = vec![0xc1; bytes];
            let attributes = [Attribute::Modulus(modulus.clone()), Attribute::PublicExponent(vec![0, 1, 0, 1])];
            let (found, key) = public_key(&attributes).expect("an RSA key");
            assert_eq!(found, algorithm);
            match public_attributes(algorithm, &key).expect("numbers").as_slice() {
                [Attribute::Modulus(m), Attribute::PublicExponent(e)] => assert_eq!((m, e.as_slice()), (&modulus, &[1u8, 0, 1][..])),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(public_key(&[Attribute::Modulus(vec![0xc1; 128]), Attribute::PublicExponent(vec![3])]), None, "too short");
    }
}
