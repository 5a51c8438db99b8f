//! ROCA (CVE-2017-15361, Nemec and others 2017): primes of the form k·M + (65537^a mod M), M a product of the first
//! primes. Such a modulus is itself a power of 65537 modulo M.

use super::{Numbers, Verdict};

/// M of the shortest keys has the primes up to this one, that of all longer ones has them too.
const LAST_PRIME: u32 = 167;

/// The modulus is not a power of 65537 modulo the product of the primes from 3 to 167: one exponent would have to fit
/// modulo all of them, which one other modulus in 2^150 does.
pub(super) fn fingerprint(key: &Numbers<'_>) -> Verdict {
    let residues = key.residues.as_ref()?;
    // Exponents that fit so far are `exponent` modulo `period`.
    let (mut exponent, mut period) = (0_u128, 1_u128);
    for (prime, residue) in residues.iter().skip(1).take_while(|(prime, _)| *prime <= LAST_PRIME) {
        let Some((logarithm, order)) = logarithm(residue, prime) else { return Some(Ok(())) };
        let fits = (0..order).map(|step| exponent + u128::from(step) * period).find(|e| e % u128::from(order) == u128::from(logarithm));
        let Some(next) = fits else { return Some(Ok(())) };
        period *= u128::from(order) / gcd(period, u128::from(order));
        exponent = next % period;
    }
    Some(Err("the RSA modulus has the fingerprint of ROCA (CVE-2017-15361)"))
}

/// The logarithm of `residue` to the base 65537 modulo `prime`, where it has one, and the order of 65537.
fn logarithm(residue: u32, prime: u32) -> Option<(u32, u32)> {
    let base = 65_537 % prime;
    let (mut power, mut found, mut order) = (1, None, 0);
    loop {
        if power == residue {
            found = Some(order);
        }
        power = power * base % prime;
        order += 1;
        if power == 1 {
            return found.map(|logarithm| (logarithm, order));
        }
    }
}

const fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
