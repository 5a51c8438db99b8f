//! Keys compared with each other.

use rsa::BoxedUint;

use crate::pki::spki::{KeyMaterial, key_material};
use crate::pki::{KeyError, PublicKey};

/// Judges a key against every other that is known: certified before, or about to be. A key that stands for two things,
/// or an RSA modulus that shares a prime with another, makes both worthless.
///
/// # Errors
/// With the one that it collides with.
pub fn check_fresh<'a>(key: &PublicKey, known: impl IntoIterator<Item = (&'a str, &'a PublicKey)>) -> Result<(), KeyError> {
    let own = key_material(key)?;
    for (whose, other) in known {
        if is_same_key(key, other) {
            return Err(KeyError::Reused(whose.to_owned()));
        }
        if let (KeyMaterial::Rsa(a, _, _), Ok(KeyMaterial::Rsa(b, _, _))) = (own, key_material(other))
            && shares_a_prime(a, b)
        {
            return Err(KeyError::SharedPrime(whose.to_owned()));
        }
    }
    Ok(())
}

/// Whether two keys are one: another exponent does not make another key of an RSA modulus.
pub fn is_same_key(a: &PublicKey, b: &PublicKey) -> bool {
    match (key_material(a), key_material(b)) {
        (Ok(KeyMaterial::Rsa(a, _, _)), Ok(KeyMaterial::Rsa(b, _, _))) => a == b,
        _ => a == b,
    }
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
