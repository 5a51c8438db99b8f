//! Keys that are refused.

use super::fixtures::*;
use crate::pki::{KeyAlgorithm, KeyError, PublicKey, encode, oid};
use crate::profile::*;

fn rsa(modulus: &[u8], exponent: &[u8]) -> PublicKey {
    let number = |magnitude: &[u8]| {
        let sign: &[u8] = if magnitude[0] & 0x80 != 0 { &[0] } else { &[] };
        encode::tlv(2, &[sign, magnitude].concat())
    };
    let key = encode::sequence(&[&number(modulus), &number(exponent)]);
    let algorithm = encode::sequence(&[&encode::oid(oid::RSA_ENCRYPTION), &[5, 0]]);
    PublicKey::from_spki_der(encode::sequence(&[&algorithm, &encode::bits(&key)]))
}

fn modulus(key: &Key) -> Vec<u8> {
    // SEQUENCE, algorithm (15), BIT STRING header (5), SEQUENCE header (4), INTEGER header (4) and its sign (1).
    let der = key.public.spki_der();
    let start = der.len() - 5 - 256;
    der[start..start + 256].to_vec()
}

#[test]
fn generated_keys_pass() {
    for algorithm in KeyAlgorithm::ALL {
        let key = Key::generate(algorithm);
        assert_eq!(check_key(&key.public), Ok(algorithm));
        assert_eq!(crate::pki::key_algorithm(&key.public), Ok(algorithm));
    }
}

#[test]
fn weak_rsa_keys_are_refused() {
    let good = modulus(&Key::generate(KeyAlgorithm::Rsa2048));
    let check = |modulus: &[u8], exponent: &[u8], expected: &str| match check_key(&rsa(modulus, exponent)) {
        Ok(_) => assert_eq!(expected, ""),
        Err(error) => assert!(!expected.is_empty() && error.to_string().contains(expected), "{expected}: {error}"),
    };
    check(&good, &[1, 0, 1], "");
    check(&good, &[3], "exponent");
    check(&good, &[1, 0, 0, 0, 1], "exponent");
    check(&[good[..255].to_vec(), vec![good[255] & 0xfe]].concat(), &[1, 0, 1], "modulus");
    // A multiple of three, still odd.
    let triple = (0..=255u8).map(|byte| [&good[..250], &[byte], &good[251..]].concat());
    let mut triple = triple.filter(|m| m.iter().fold(0u32, |r, b| (r << 8 | u32::from(*b)) % 3) == 0);
    check(&triple.next().unwrap(), &[1, 0, 1], "small factor");
    for size in [128, 255, 257, 513] {
        let other = [vec![0x80 | good[0]], vec![0x55; size - 2], vec![1]].concat();
        assert!(check_key(&rsa(&other, &[1, 0, 1])).is_err(), "{size}");
    }
}

#[test]
fn close_primes_and_roca_are_refused() {
    // (2^1024 − 105) is prime; with itself or a near number it makes two close factors.
    let mut prime = vec![0xff; 128];
    prime[127] = 0x97;
    let number = |bytes: &[u8]| rsa::BoxedUint::from_be_slice(bytes, 2048).unwrap();
    let close = |distance: u8| {
        let mut other = prime.clone();
        other[127] -= distance;
        let modulus = number(&prime).wrapping_mul(number(&other)).to_be_bytes();
        check_key(&rsa(&modulus, &[1, 0, 1]))
    };
    let refused: Vec<_> = (0..=100).step_by(2).filter_map(|d| close(d).err()).collect();
    assert_eq!(refused.len(), 51, "all have close factors, some small ones too");
    assert!(refused.contains(&KeyError::Weak("the RSA modulus has two close primes")));
    assert_eq!(close(0), Err(KeyError::Weak("the RSA modulus has two close primes")));

    // One more than a multiple of every odd prime below 168: the zeroth power of 65537 modulo each of them.
    let product = (3u8..168).filter(|n| (2..*n).all(|d| n % d != 0)).fold(number(&[1]), |n, prime| n.wrapping_mul(number(&[prime])));
    let found = (1..=255u8).step_by(2).find_map(|factor| {
        let multiple = product.wrapping_mul(number(&[factor]));
        let shift = usize::try_from(2048 - multiple.bit_width()).unwrap();
        let mut power_of_two = vec![0; 256];
        power_of_two[255 - shift / 8] = 1 << (shift % 8);
        let modulus = multiple.wrapping_mul(number(&power_of_two)).wrapping_add(number(&[1])).to_be_bytes();
        check_key(&rsa(&modulus, &[1, 0, 1])).err().filter(|e| e.to_string().contains("ROCA"))
    });
    assert!(found.is_some());
}

#[test]
fn points_off_the_curve_are_refused() {
    for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::P384] {
        let key = Key::generate(algorithm);
        let mut der = key.public.spki_der().to_vec();
        let last = der.len() - 1;
        der[last] ^= 1;
        assert_eq!(check_key(&PublicKey::from_spki_der(der)), Err(KeyError::Weak("the point is not on its curve")));
    }
    let ed25519 = |point: [u8; 32]| {
        let algorithm = encode::sequence(&[&encode::oid(oid::ED25519)]);
        check_key(&PublicKey::from_spki_der(encode::sequence(&[&algorithm, &encode::bits(&point)])))
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(ed25519(identity), Err(KeyError::Weak("the point has a small order")));
    let mut off = [0; 32];
    off[0] = 2;
    assert_eq!(ed25519(off), Err(KeyError::Weak("the point is not on its curve")));
}

#[test]
fn other_kinds_are_refused() {
    let key = Key::generate(KeyAlgorithm::P256);
    let der = key.public.spki_der();
    let mut p521 = der.to_vec();
    let curve = der.windows(8).position(|w| w == oid::SECP256R1.as_bytes()).unwrap();
    p521[curve + 7] = 0x06;
    assert_eq!(check_key(&PublicKey::from_spki_der(p521)), Err(KeyError::Unsupported));
    for bad in [&der[..der.len() - 1], &[], &[0x30, 0], &[der, &[0]].concat()] {
        assert!(matches!(check_key(&PublicKey::from_spki_der(bad.to_vec())), Err(KeyError::Malformed(_))), "{bad:02x?}");
    }
    assert!(matches!(check_key(&PublicKey::from_spki_der(vec![0; 5000])), Err(KeyError::Malformed(_))));
}

#[test]
fn ceremony_22_a_key_in_use_or_with_a_shared_prime_is_refused() {
    let keys: Vec<Key> = KeyAlgorithm::ALL.into_iter().map(Key::generate).collect();
    let known = || keys.iter().map(|k| (k.algorithm.name(), &k.public));
    for algorithm in KeyAlgorithm::ALL {
        check_fresh(&Key::generate(algorithm).public, known()).unwrap();
    }
    for key in &keys {
        let error = check_fresh(&key.public, known()).unwrap_err();
        assert_eq!(error, KeyError::Reused(key.algorithm.name().to_owned()));
    }
    // Two moduli of the same two sizes that have the prime 2^1024 − 105 in common: anyone divides it out.
    let number = |bytes: &[u8], bits| rsa::BoxedUint::from_be_slice(bytes, bits).unwrap();
    let mut shared = vec![0xff; 128];
    shared[127] = 0x97;
    let times = |other: u8| {
        let mut factor = vec![0xee; 128];
        factor[127] = other;
        let product = number(&shared, 2048).wrapping_mul(number(&factor, 2048));
        rsa(&product.to_be_bytes()[..], &[1, 0, 1])
    };
    let (a, b) = (times(0x01), times(0x03));
    assert_eq!(check_fresh(&a, [("b", &b)]), Err(KeyError::SharedPrime("b".to_owned())));
    assert_eq!(check_fresh(&a, [("a", &a)]), Err(KeyError::Reused("a".to_owned())));
    // Another exponent does not make another key of it.
    let other_exponent = rsa(&modulus(&keys[3]), &[3]);
    assert_eq!(check_fresh(&other_exponent, [("a", &keys[3].public)]), Err(KeyError::Reused("a".to_owned())));
}
