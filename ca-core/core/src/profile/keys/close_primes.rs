//! Moduli whose primes lie close together.

use rsa::BoxedUint;

use super::{Numbers, Verdict};
use crate::pki::spki::KeyMaterial;

/// BR 6.1.1.3 paragraph 5 asks for a hundred.
const ROUNDS: u64 = 100;

/// Before a root is taken, a difference must be a square modulo each of these: 1 in 1,600 others is.
const MODULI: [u64; 8] = [64, 63, 65, 11, 17, 19, 23, 31];
const PRODUCT: u64 = 64 * 63 * 65 * 11 * 17 * 19 * 23 * 31;

/// Bit s is set where s is a square.
const SQUARES: [u128; 8] = {
    let mut masks = [0; 8];
    let mut i = 0;
    while i < 8 {
        let mut root = 0;
        while root < MODULI[i] {
            masks[i] |= 1 << (root * root % MODULI[i]);
            root += 1;
        }
        i += 1;
    }
    masks
};

/// Fermat's factorization, 100 rounds, finds nothing: n = a² − b² with a just above √n.
pub(super) fn fermat(key: &Numbers<'_>) -> Verdict {
    let KeyMaterial::Rsa(modulus, _, _) = key.material else { return None };
    Some(if has_close_primes(modulus) { Err("the RSA modulus has two close primes") } else { Ok(()) })
}

fn has_close_primes(modulus: &[u8]) -> bool {
    // A limb more than the modulus, so that (√n + 100)² does not overflow.
    let bits = 8 * u32::try_from(modulus.len()).unwrap_or(u32::MAX / 16) + 64;
    let Ok(n) = BoxedUint::from_be_slice(modulus, bits) else { return true };
    let root = n.floor_sqrt_vartime();
    if root.wrapping_mul(&root) == n {
        return true;
    }
    let one = BoxedUint::one_with_precision(bits);
    let first = root.wrapping_add(&one);
    let (small_n, small_first) = (remainder(modulus), remainder(&first.to_be_bytes()));
    (0..ROUNDS).filter(|round| may_be_square(small_first + round, small_n)).any(|round| {
        let a = first.wrapping_add(BoxedUint::from(round));
        a.wrapping_mul(&a).wrapping_sub(&n).checked_sqrt_vartime().is_some()
    })
}

/// Whether a² − n may be a square, by a and n modulo [`PRODUCT`].
fn may_be_square(a: u64, n: u64) -> bool {
    MODULI.iter().zip(SQUARES).all(|(m, squares)| {
        let a = a % m;
        squares >> ((a * a + m - n % m) % m) & 1 == 1
    })
}

fn remainder(number: &[u8]) -> u64 {
    // Below 2^40 times 2^8.
    number.iter().fold(0, |r, byte| (r << 8 | u64::from(*byte)) % PRODUCT)
}
