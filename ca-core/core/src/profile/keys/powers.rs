//! Moduli that are powers: whose root is the one prime factor, and found at once.

use super::residues::{Residues, power};
use super::{Numbers, Verdict};
use crate::pki::spki::KeyMaterial;

/// How many primes a number must pass to count as a power: each lets one in k others by, so that fewer than one in 2^60
/// keys is refused wrongly.
const WITNESSES: usize = 40;
/// Up to here a number with no factor below 10,000 shows by residues whether it is a power; above, its root is so
/// short that it is computed.
const LARGEST_BY_RESIDUES: u32 = 100;

/// The modulus is not a perfect power. Squares are among the moduli with close primes.
pub(super) fn perfect_power(key: &Numbers<'_>) -> Verdict {
    let (KeyMaterial::Rsa(modulus, _, _), Some(residues)) = (key.material, key.residues.as_ref()) else { return None };
    let is_power = is_power_by_residues(residues) || is_power_of_short_root(modulus, residues);
    Some(if is_power { Err("the RSA modulus is a power of a number") } else { Ok(()) })
}

/// For each prime k from 3 on: modulo a prime q with k | q − 1 only one number in k is a k-th power (Euler's criterion).
/// The greatest q are the witnesses: what a generator does with small primes, as ROCA's did, is told by other rules.
fn is_power_by_residues(residues: &Residues) -> bool {
    let exponents = residues.iter().map(|(k, _)| k).skip(1).take_while(|k| *k <= LARGEST_BY_RESIDUES);
    exponents.into_iter().any(|k| {
        let mut witnesses = residues.iter().rev().filter(|(q, residue)| q % k == 1 && *residue != 0).take(WITNESSES);
        witnesses.all(|(q, residue)| power(u64::from(residue), (q - 1) / k, q) == 1)
    })
}

/// For the greater k, up to the 307th power of a number above 10,000: the root has at most 41 bits, and floating point
/// finds it to within one. That its power is the modulus holds if it does so modulo every prime below 10,000, whose
/// product has 14,000 bits.
fn is_power_of_short_root(modulus: &[u8], residues: &Residues) -> bool {
    let top = modulus.iter().take(7).fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    // At most 4096 bits, and 56 bits at the top: both are exact or nearly so.
    #[allow(clippy::cast_precision_loss, reason = "the root is tried with both neighbours")]
    let log2 = (top as f64).log2() + (8 * modulus.len().saturating_sub(7)) as f64;
    let exponents = residues.iter().map(|(k, _)| k).skip_while(|k| *k <= LARGEST_BY_RESIDUES).take_while(|k| f64::from(*k) * 13.0 < log2);
    exponents.into_iter().any(|k| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 2^13 and 2^41")]
        let root = (log2 / f64::from(k)).exp2().round() as u64;
        (root - 1..=root + 1).any(|root| residues.iter().all(|(q, residue)| power(root, k, q) == residue))
    })
}
