//! An RSA key's exponent, and its modulus under trial division.

use super::{Numbers, Verdict};
use crate::pki::spki::KeyMaterial;

/// Odd, from 65537 on (SP 800-56B §6.4.1). Longer exponents than of 33 bits, which that allows up to 2^256, are refused
/// all the same: libraries that verify, this project's among them, do not take them.
pub(super) fn exponent(key: &Numbers<'_>) -> Verdict {
    let KeyMaterial::Rsa(_, exponent, _) = key.material else { return None };
    let value = if exponent.len() <= 5 { exponent.iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte)) } else { u64::MAX };
    Some(match value {
        0..65_537 => Err("the RSA exponent is below 65537"),
        even if even % 2 == 0 => Err("the RSA exponent is even"),
        65_537..=0x1_ffff_ffff => Ok(()),
        _ => Err("the RSA exponent has more than 33 bits (hint: use 65537)"),
    })
}

/// The product of two odd primes is odd.
pub(super) fn odd(key: &Numbers<'_>) -> Verdict {
    let KeyMaterial::Rsa(modulus, _, _) = key.material else { return None };
    Some(if modulus.last().is_some_and(|byte| byte & 1 == 1) { Ok(()) } else { Err("the RSA modulus is even") })
}

/// No prime below 10,000 divides the modulus; SP 800-89 §5.3.3 asks it of those below 752.
pub(super) fn small_factor(key: &Numbers<'_>) -> Verdict {
    let residues = key.residues.as_ref()?;
    Some(if residues.iter().all(|(_, residue)| residue != 0) { Ok(()) } else { Err("the RSA modulus has a small factor") })
}
