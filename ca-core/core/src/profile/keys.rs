//! Keys that may be certified (BR 6.1.1.3 and 6.1.6).

use rsa::BoxedUint;

use crate::pki::spki::{KeyMaterial, key_material};
use crate::pki::verify::rsa_key;
use crate::pki::{KeyAlgorithm, KeyError, PublicKey};

/// Judges a key's numbers: the point lies on its curve; the RSA modulus has 2048, 3072 or 4096 bits, no small factor,
/// not the fingerprint of ROCA, not two close primes, and the exponent is 65537; the ML-DSA key is not one that anyone can
/// sign with.
///
/// # Errors
/// When the key is malformed, of a kind that is not handled, or weak.
pub fn check_key(key: &PublicKey) -> Result<KeyAlgorithm, KeyError> {
    const OFF_CURVE: KeyError = KeyError::Weak("the point is not on its curve");
    let material = key_material(key)?;
    match material {
        KeyMaterial::P256(point) => {
            p256::PublicKey::from_sec1_bytes(point).map_err(|_| OFF_CURVE)?;
        }
        KeyMaterial::P384(point) => {
            p384::PublicKey::from_sec1_bytes(point).map_err(|_| OFF_CURVE)?;
        }
        KeyMaterial::Ed25519(bytes) => {
            let point = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| OFF_CURVE)?;
            if point.is_weak() {
                return Err(KeyError::Weak("the point has a small order"));
            }
        }
        KeyMaterial::Rsa(modulus, exponent, _) => {
            if exponent != [1, 0, 1] {
                return Err(KeyError::Weak("the RSA exponent is not 65537"));
            }
            rsa_key(modulus, exponent)?;
            check_modulus(modulus)?;
        }
        KeyMaterial::MlDsa65(octets) => check_ml_dsa(octets.as_slice())?,
        KeyMaterial::MlDsa87(octets) => check_ml_dsa(octets.as_slice())?,
    }
    Ok(material.algorithm())
}

/// Every string of the right length is some key (FIPS 204 §7.2, algorithm 23). With a t1 of zero anyone can sign: the
/// challenge drops out of the equation that a verifier checks.
fn check_ml_dsa(key: &[u8]) -> Result<(), KeyError> {
    const RHO: usize = 32;
    if key[RHO..].iter().all(|b| *b == 0) { Err(KeyError::Weak("the ML-DSA key's t1 is zero")) } else { Ok(()) }
}

/// Judges a key against every other that is known: certified before, or about to be. A key that stands for two things,
/// or an RSA modulus that shares a prime with another, makes both worthless.
///
/// # Errors
/// With the one that it collides with.
pub fn check_fresh<'a>(key: &PublicKey, known: impl IntoIterator<Item = (&'a str, &'a PublicKey)>) -> Result<(), KeyError> {
    let own = key_material(key)?;
    for (whose, other) in known {
        let same = match (own, key_material(other)) {
            (KeyMaterial::Rsa(a, _, _), Ok(KeyMaterial::Rsa(b, _, _))) if a != b => {
                if shares_a_prime(a, b) {
                    return Err(KeyError::SharedPrime(whose.to_owned()));
                }
                false
            }
            (KeyMaterial::Rsa(a, _, _), Ok(KeyMaterial::Rsa(b, _, _))) => a == b,
            _ => key == other,
        };
        if same {
            return Err(KeyError::Reused(whose.to_owned()));
        }
    }
    Ok(())
}

/// Heninger and others 2012: keys made with too little randomness share primes, and anyone can divide them out.
fn shares_a_prime(a: &[u8], b: &[u8]) -> bool {
    let bits = 8 * u32::try_from(a.len().max(b.len())).unwrap_or(u32::MAX / 8);
    let (Ok(mut a), Ok(mut b)) = (BoxedUint::from_be_slice(a, bits), BoxedUint::from_be_slice(b, bits)) else { return true };
    // Euclid's algorithm.
    while let Some(divisor) = b.as_nz_vartime() {
        let rest = a.rem_vartime(divisor);
        a = std::mem::replace(&mut b, rest);
    }
    a != BoxedUint::one_with_precision(bits)
}

fn check_modulus(modulus: &[u8]) -> Result<(), KeyError> {
    let residue = |prime: u32| modulus.iter().fold(0, |r, b| (r << 8 | u32::from(*b)) % prime);
    // NIST SP 800-89 §5.3.3: no factor smaller than 752.
    if primes_below(752).any(|p| residue(p) == 0) {
        return Err(KeyError::Weak("the RSA modulus has a small factor"));
    }
    // ROCA (CVE-2017-15361): every such modulus is a power of 65537 modulo each small prime.
    if primes_below(168).filter(|p| *p > 2).all(|p| is_power_of_65537(residue(p), p)) {
        return Err(KeyError::Weak("the RSA modulus has the fingerprint of ROCA (CVE-2017-15361)"));
    }
    if has_close_primes(modulus) {
        return Err(KeyError::Weak("the RSA modulus has two close primes"));
    }
    Ok(())
}

fn primes_below(end: u32) -> impl Iterator<Item = u32> {
    (2..end).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0))
}

fn is_power_of_65537(residue: u32, prime: u32) -> bool {
    let generator = 65_537 % prime;
    let mut power = 1;
    for _ in 0..prime {
        if power == residue {
            return true;
        }
        power = power * generator % prime;
    }
    false
}

/// Fermat's factorization, 100 rounds (BR 6.1.1.3 paragraph 5): n = a² − b² with a just above √n.
fn has_close_primes(modulus: &[u8]) -> bool {
    // Twice the width, so that no square overflows.
    let bits = 16 * u32::try_from(modulus.len()).unwrap_or(u32::MAX / 16);
    let Ok(n) = BoxedUint::from_be_slice(modulus, bits) else { return false };
    let one = BoxedUint::one_with_precision(bits);
    let root = n.floor_sqrt_vartime();
    if root.wrapping_mul(&root) == n {
        return true;
    }
    let mut a = root.wrapping_add(&one);
    let mut square = a.wrapping_mul(&a);
    for _ in 0..100 {
        if square.wrapping_sub(&n).checked_sqrt_vartime().is_some() {
            return true;
        }
        // (a + 1)² = a² + 2a + 1
        square = square.wrapping_add(&a).wrapping_add(&a).wrapping_add(&one);
        a = a.wrapping_add(&one);
    }
    false
}
