//! ML-DSA keys (FIPS 204).

use super::{Numbers, Verdict};
use crate::pki::spki::KeyMaterial;

/// Octets of ρ, before t1.
const RHO: usize = 32;

/// Every string of the right length is some key (§7.2, algorithm 23). With a t1 of zero anyone can sign: the challenge
/// drops out of the equation that a verifier checks.
pub(super) fn t1_not_zero(key: &Numbers<'_>) -> Verdict {
    let octets = match key.material {
        KeyMaterial::MlDsa65(octets) => octets.as_slice(),
        KeyMaterial::MlDsa87(octets) => octets.as_slice(),
        _ => return None,
    };
    Some(if octets[RHO..].iter().all(|octet| *octet == 0) { Err("the ML-DSA key's t1 is zero") } else { Ok(()) })
}
