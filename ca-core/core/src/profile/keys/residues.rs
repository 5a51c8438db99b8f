//! A number modulo every small prime: trial division, and what ROCA and perfect powers show themselves by.

use std::sync::LazyLock;

/// The primes below this.
const BOUND: u16 = 10_000;
/// 32-bit limbs of the longest modulus, of 4096 bits.
const LIMBS: usize = 128;

/// The primes, and beside each the powers of 2^32 modulo it: with them a residue is one sum of products.
static TABLE: LazyLock<Vec<(u16, [u16; LIMBS])>> = LazyLock::new(|| {
    let mut composite = vec![false; usize::from(BOUND)];
    let mut table = Vec::new();
    for n in 2..BOUND {
        if composite[usize::from(n)] {
            continue;
        }
        (u32::from(n) * u32::from(n)..u32::from(BOUND)).step_by(usize::from(n)).for_each(|multiple| composite[multiple as usize] = true);
        let step = (1_u64 << 32) % u64::from(n);
        let mut power = 1_u64;
        let powers = std::array::from_fn(|_| {
            let this = power;
            power = power * step % u64::from(n);
            u16::try_from(this).expect("it is below a prime below 2^16")
        });
        table.push((n, powers));
    }
    table
});

/// A number of at most 4096 bits modulo each prime below 10,000.
pub(super) struct Residues(Vec<(u16, u16)>);

impl Residues {
    /// Of a big-endian number; octets above 4096 bits don't count.
    pub(super) fn of(number: &[u8]) -> Self {
        let mut limbs = [0_u32; LIMBS];
        for (limb, chunk) in limbs.iter_mut().zip(number.rchunks(4)) {
            *limb = chunk.iter().fold(0, |n, byte| n << 8 | u32::from(*byte));
        }
        let used = number.len().div_ceil(4).min(LIMBS);
        let residue = |(prime, powers): &(u16, [u16; LIMBS])| {
            // Each product is below 2^46, 128 of them below 2^53.
            let sum: u64 = limbs[..used].iter().zip(&powers[..used]).map(|(limb, power)| u64::from(*limb) * u64::from(*power)).sum();
            (*prime, u16::try_from(sum % u64::from(*prime)).expect("it is below a prime below 2^16"))
        };
        Self(TABLE.iter().map(residue).collect())
    }

    /// Prime and residue, upwards.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u32, u32)> + '_ {
        self.0.iter().map(|(prime, residue)| (u32::from(*prime), u32::from(*residue)))
    }
}

/// `base` to the power `exponent` modulo a prime below 2^16.
pub(super) fn power(base: u64, mut exponent: u32, prime: u32) -> u32 {
    let prime = u64::from(prime);
    let (mut base, mut result) = (base % prime, 1 % prime);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * base % prime;
        }
        base = base * base % prime;
        exponent >>= 1;
    }
    u32::try_from(result).expect("it is below a prime below 2^16")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residues_are_those_of_long_division() {
        for length in [1, 3, 4, 255, 256, 512] {
            let number: Vec<u8> = (0..length).map(|i| u8::try_from((i * 37 + 11) % 256).unwrap()).collect();
            let long = |prime: u32| number.iter().fold(0, |r, b| (r << 8 | u32::from(*b)) % prime);
            assert!(Residues::of(&number).iter().all(|(prime, residue)| residue == long(prime)), "{length}");
        }
        let primes: Vec<u32> = Residues::of(&[1]).iter().map(|(prime, _)| prime).collect();
        assert_eq!((primes.len(), primes[0], *primes.last().unwrap()), (1229, 2, 9973));
    }

    #[test]
    fn powers() {
        assert_eq!((power(3, 0, 7), power(3, 5, 7), power(u64::MAX, 1, 9973)), (1, 5, u32::try_from(u64::MAX % 9973).unwrap()));
    }
}
