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
    check(&good, &[3], "exponent is below 65537");
    check(&good, &[1, 0, 0], "exponent is below 65537");
    check(&good, &[1, 0, 2], "exponent is even");
    check(&good, &[1, 0, 0, 0, 1], "");
    check(&good, &[2, 0, 0, 0, 1], "more than 33 bits");
    check(&good, &[[1].as_slice(), &[0; 40], &[1]].concat(), "more than 33 bits");
    check(&[good[..255].to_vec(), vec![good[255] & 0xfe]].concat(), &[1, 0, 1], "the RSA modulus is even");
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
fn lesson_26_close_primes_are_refused() {
    let mut prime = vec![0xff; 128];
    // (2^1024 − 105) is prime; with itself or a near number it makes two close factors.
    prime[127] = 0x97;
    let number = |bytes: &[u8]| ::rsa::BoxedUint::from_be_slice(bytes, 2048).unwrap();
    let verdict = |modulus: &[u8], name: &str| {
        let report = judge_key(&rsa(modulus, &[1, 0, 1])).unwrap();
        report.verdicts.into_iter().find(|(rule, ..)| *rule == name).unwrap().2
    };
    // Apart by d·2^513, b = d·2^512: a is above √n by about b² / 2√n = d²/2, so that 14 takes 98 rounds and 15 takes 113.
    let close = |distance: u8, octet: usize| {
        let mut other = prime.clone();
        other[octet] -= distance;
        verdict(&number(&prime).wrapping_mul(number(&other)).to_be_bytes(), "rsa-close-primes")
    };
    for distance in [0, 2, 4, 80, 0x96] {
        assert_eq!(close(distance, 127), Err("the RSA modulus has two close primes"), "{distance}");
    }
    for distance in [1, 9, 14] {
        assert_eq!(close(2 * distance, 63), Err("the RSA modulus has two close primes"), "{distance}");
    }
    for distance in [15, 100] {
        assert_eq!(close(2 * distance, 63), Ok(()), "{distance}");
    }
    assert_eq!(
        check_key(&rsa(&number(&prime).wrapping_mul(number(&prime)).to_be_bytes(), &[1, 0, 1])),
        Err(KeyError::Weak("the RSA modulus has two close primes"))
    );
}

#[test]
fn lesson_26_the_fingerprint_of_roca_is_refused() {
    let number = |bytes: &[u8]| ::rsa::BoxedUint::from_be_slice(bytes, 2048).unwrap();
    let product = (3u8..168).filter(|n| (2..*n).all(|d| n % d != 0)).fold(number(&[1]), |n, prime| n.wrapping_mul(number(&[prime])));
    let modulo = product.as_nz_vartime().unwrap();
    // 65537^exponent modulo the product, and the greatest multiple of the product that keeps it odd and of 2048 bits.
    let with_exponent = |exponent: usize| {
        let power = (0..exponent).fold(number(&[1]), |n, _| n.wrapping_mul(number(&[1, 0, 1])).rem_vartime(modulo));
        let times = ::rsa::BoxedUint::max(2048).wrapping_div_vartime(modulo);
        let sum = |less: u8| product.wrapping_mul(times.wrapping_sub(number(&[less]))).wrapping_add(&power).to_be_bytes();
        [sum(1), sum(2)].into_iter().find(|m| m[255] & 1 == 1).unwrap()
    };
    let roca = |modulus: &[u8]| {
        judge_key(&rsa(modulus, &[1, 0, 1])).unwrap().verdicts.into_iter().any(|(name, _, v)| name == "rsa-roca" && v.is_err())
    };
    for exponent in [0, 1, 2, 777, 65_537] {
        let modulus = with_exponent(exponent);
        assert!(roca(&modulus), "{exponent}");
        // One off is a power modulo some of the primes, but not of one exponent.
        assert!(!roca(&number(&modulus).wrapping_add(number(&[2])).to_be_bytes()));
    }
    let found = (0..200)
        .find_map(|exponent| check_key(&rsa(&with_exponent(exponent), &[1, 0, 1])).err().filter(|e| e.to_string().contains("ROCA")));
    assert!(found.is_some());
}

#[test]
fn lesson_26_powers_are_refused() {
    let one = ::rsa::BoxedUint::one_with_precision(4096);
    let power = |root: &::rsa::BoxedUint, exponent: u32| (0..exponent).fold(one.clone(), |n, _| n.wrapping_mul(root));
    let verdict = |modulus: &[u8]| {
        let report = judge_key(&rsa(modulus, &[1, 0, 1])).unwrap();
        report.verdicts.into_iter().find(|(rule, ..)| *rule == "rsa-power").unwrap().2
    };
    for exponent in [3, 5, 7, 11, 31, 97, 101, 127, 149] {
        // The greatest root whose power has 2048 bits, bit by bit.
        let bits = (0..=2048 / exponent).rev();
        let root = bits.fold(::rsa::BoxedUint::zero_with_precision(4096), |root, bit| {
            let higher = root.wrapping_add(one.shl_vartime(bit).unwrap());
            if power(&higher, exponent).bit_width_vartime() > 2048 { root } else { higher }
        });
        for less in 0..8_u64 {
            let modulus = power(&root.wrapping_sub(::rsa::BoxedUint::from(less)), exponent);
            assert_eq!(verdict(&modulus.to_be_bytes_trimmed_vartime()), Err("the RSA modulus is a power of a number"), "{exponent}");
            let near = modulus.wrapping_sub(::rsa::BoxedUint::from(2_u64)).to_be_bytes_trimmed_vartime();
            assert_eq!(verdict(&near), Ok(()), "{exponent}");
        }
    }
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
    let p256 = |point: &[u8]| {
        let algorithm = encode::sequence(&[&encode::oid(oid::EC_PUBLIC_KEY), &encode::oid(oid::SECP256R1)]);
        check_key(&PublicKey::from_spki_der(encode::sequence(&[&algorithm, &encode::bits(point)])))
    };
    assert_eq!(p256(&[0]), Err(KeyError::Weak("the point is the one at infinity")));
    assert_eq!(p256(&[[2].as_slice(), &[1; 32]].concat()), Err(KeyError::Weak("the point is not in uncompressed form")));
    // Coordinates that are not reduced modulo the field's prime.
    assert_eq!(p256(&[[4].as_slice(), &[0xff; 64]].concat()), Err(KeyError::Weak("the point is not on its curve")));
    let ed25519 = |point: [u8; 32]| {
        let algorithm = encode::sequence(&[&encode::oid(oid::ED25519)]);
        check_key(&PublicKey::from_spki_der(encode::sequence(&[&algorithm, &encode::bits(&point)])))
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(ed25519(identity), Err(KeyError::Weak("the point has a small order")));
    // y = p + 1, which is 1 again: another spelling of the identity; and x = 0 with a sign.
    let mut twice = [0xff; 32];
    (twice[0], twice[31]) = (0xee, 0x7f);
    assert_eq!(ed25519(twice), Err(KeyError::Weak("the point is not in its one canonical form")));
    identity[31] = 0x80;
    assert!(ed25519(identity).is_err());
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
    let number = |bytes: &[u8], bits| ::rsa::BoxedUint::from_be_slice(bytes, bits).unwrap();
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

#[test]
fn lesson_26_listed_keys_are_found() {
    let keys: Vec<Key> = KeyAlgorithm::ALL.into_iter().map(Key::generate).collect();
    let mut lists = BlockedKeys::default();
    assert!(lists.is_empty() && !keys.iter().any(|k| lists.has(&k.public)));
    let digest = keys[0].public.spki_sha256().to_string();
    lists.add_text(&format!("# published\n\n{} # P-256\n", &digest[..30])).unwrap();
    assert!(lists.has(&keys[0].public) && !lists.has(&keys[1].public));
    for (bad, line) in [("x", 1), ("\n# fine\nabcdef", 3), (&*format!("{digest}0"), 1), (&format!("{}zz", &digest[..30]), 1)] {
        assert_eq!(lists.add_text(bad), Err(BlockedKeysError::Line(line)), "{bad}");
    }
    // What badkeys hashes of an RSA key is the modulus.
    let rsa_key = &keys[3].public;
    let entry = |key: &Key| [&crate::pki::sha256(&modulus(key)).0[..15], &[7]].concat();
    let mut entries = [entry(&keys[3]), entry(&Key::generate(KeyAlgorithm::Rsa2048)), vec![0; 16]];
    entries.sort();
    lists.set_blocklist(entries.concat()).unwrap();
    assert!(lists.has(rsa_key) && lists.has(&keys[0].public) && !lists.has(&keys[4].public));
    assert_eq!(lists.len(), 4);
    assert!(lists.set_blocklist(vec![0; 17]).is_err() && lists.set_blocklist(vec![]).is_err());
    entries.reverse();
    assert!(lists.set_blocklist(entries.concat()).unwrap_err().to_string().contains("not sorted"));
}
