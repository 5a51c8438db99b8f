//! Pedersen's verifiable secret sharing over P-256: the only module that knows the library.
//!
//! What the library (`vsss-rs`, without its other fields and formats) does and what it leaves to us:
//! - it refuses identifier zero and duplicate identifiers when it combines; here identifiers are positions, 1 to n, and
//!   are never read from a share's bytes unchecked;
//! - it does not know the threshold: of too few shares it makes another secret without a word. The count is checked
//!   here, and what was recombined is checked against the commitment to the secret;
//! - field and group arithmetic are RustCrypto's `p256`, constant in time; only identifiers, which are public, steer a
//!   branch;
//! - it does not clear what it works with, so the polynomials and shares that it fills are types of ours that do.

use hash2curve::{ExpandMsgXmd, hash_from_bytes};
use p256::elliptic_curve::Field as _;
use p256::elliptic_curve::PrimeField as _;
use p256::elliptic_curve::group::GroupEncoding as _;
use p256::{CompressedPoint, FieldBytes, NistP256, ProjectivePoint, Scalar};
use sha2::Sha256;
use vsss_rs::{
    DefaultShare, IdentifierPrimeField, Pedersen, PedersenResult, PedersenVerifierSet, Polynomial, ReadableShareSet as _, Shamir,
    ValueGroup, pedersen::PedersenOptions,
};
use zeroize::{Zeroize as _, Zeroizing};

use ca_core::ports::Rng;

type Element = IdentifierPrimeField<Scalar>;
type Point = DefaultShare<Element, Element>;
type Commitment = ValueGroup<ProjectivePoint>;

/// 32 bytes of a scalar, big-endian, cleared when dropped.
pub(super) type Scalar32 = Zeroizing<[u8; 32]>;
/// A commitment: a compressed point of P-256 (SEC 1 §2.3.3).
pub(super) type CommitmentBytes = [u8; 33];

/// A share's two values: of the secret's polynomial and of the blinding one.
pub(super) struct Halves {
    pub(super) value: Scalar32,
    pub(super) blind: Scalar32,
}

/// What dealing gives: the shares by position, and the commitments, one for each coefficient.
pub(super) struct Dealt {
    pub(super) shares: Vec<Halves>,
    pub(super) commitments: Vec<CommitmentBytes>,
}

/// A fresh secret, uniform among the scalars: 256 bits.
pub(super) fn random_secret(rng: &dyn Rng) -> Scalar32 {
    let mut scalar = Scalar::random(&mut Adapter(rng));
    let bytes = to_bytes(&scalar);
    scalar.zeroize();
    bytes
}

/// Splits a secret. None when the numbers make no sense (2 ≤ threshold ≤ count) or the secret is no scalar.
pub(super) fn deal(secret: &Scalar32, threshold: usize, count: usize, rng: &dyn Rng) -> Option<Dealt> {
    let mut intercept = IdentifierPrimeField(from_bytes(secret)?);
    let options =
        PedersenOptions { secret: &intercept, blinder: None, secret_generator: None, blinder_generator: Some(blinding_generator()) };
    let dealt = Work::split_secret_with_blind_verifiers(threshold, count, &options, Adapter(rng)).ok();
    intercept.zeroize();
    let dealt = dealt?;
    let shares = dealt.shares.iter().zip(&dealt.blinds);
    Some(Dealt {
        shares: shares.map(|(s, b)| Halves { value: to_bytes(&s.value.0), blind: to_bytes(&b.value.0) }).collect(),
        commitments: PedersenVerifierSet::<Point, Commitment>::blind_verifiers(&dealt.pedersen)
            .iter()
            .map(|c| c.0.to_bytes().into())
            .collect(),
    })
}

/// Whether the share at position `index` is the one that these commitments bind.
pub(super) fn verify(commitments: &[CommitmentBytes], index: u8, share: &Halves) -> bool {
    let Some(set) = verifiers(commitments) else { return false };
    let (Some(mut value), Some(mut blind)) = (point(index, &share.value), point(index, &share.blind)) else { return false };
    let verified = PedersenVerifierSet::<Point, Commitment>::verify_share_and_blinder(&set, &value, &blind).is_ok();
    value.zeroize();
    blind.zeroize();
    verified
}

/// Recombines verified shares. None when they are not those of one secret, the one that the first commitment binds.
pub(super) fn combine(commitments: &[CommitmentBytes], shares: &[(u8, &Halves)]) -> Option<Scalar32> {
    if shares.len() < commitments.len() {
        return None;
    }
    let at_zero = |half: fn(&Halves) -> &Scalar32| -> Option<Wiped> {
        let points = Wiped(shares.iter().map(|(index, share)| point(*index, half(share))).collect::<Option<_>>()?);
        let mut out = Wiped(vec![Point::default()]);
        points.0.combine_in_place(&mut out.0[0].value).ok()?;
        Some(out)
    };
    let (value, blind) = (at_zero(|s| &s.value)?, at_zero(|s| &s.blind)?);
    let (value, blind) = (&value.0[0].value.0, &blind.0[0].value.0);
    let bound = ProjectivePoint::GENERATOR * *value + blinding_generator().0 * *blind;
    (bound == decode(commitments.first()?)?).then(|| to_bytes(value))
}

/// Whether every commitment is a point other than the identity.
pub(super) fn are_points(commitments: &[CommitmentBytes]) -> bool {
    commitments.iter().all(|c| decode(c).is_some())
}

/// The second generator: hashed to the curve (RFC 9380, P256_XMD:SHA-256_SSWU_RO_), so that nobody, the dealer
/// included, knows its logarithm. Who knew it could make shares that verify and do not fit together.
fn blinding_generator() -> Commitment {
    let point = hash_from_bytes::<NistP256, ExpandMsgXmd<Sha256>>(
        &[b"pedersen blinding generator"],
        &[b"countersign/share-set/1 P256_XMD:SHA-256_SSWU_RO_"],
    );
    ValueGroup(point.expect("the domain separation tag is neither empty nor long"))
}

fn verifiers(commitments: &[CommitmentBytes]) -> Option<Vec<Commitment>> {
    let points = commitments.iter().map(|c| decode(c).map(ValueGroup)).collect::<Option<Vec<_>>>()?;
    Some(PedersenVerifierSet::<Point, Commitment>::with_generators_and_verifiers(
        ValueGroup(ProjectivePoint::GENERATOR),
        blinding_generator(),
        &points,
    ))
}

fn decode(bytes: &CommitmentBytes) -> Option<ProjectivePoint> {
    let point = Option::<ProjectivePoint>::from(ProjectivePoint::from_bytes(&CompressedPoint::from(*bytes)))?;
    (point != ProjectivePoint::IDENTITY).then_some(point)
}

fn point(index: u8, value: &Scalar32) -> Option<Point> {
    let identifier = IdentifierPrimeField(Scalar::from(u64::from(index)));
    Some(Point { identifier, value: IdentifierPrimeField(from_bytes(value)?) })
}

fn from_bytes(bytes: &Scalar32) -> Option<Scalar> {
    let mut repr = FieldBytes::from(**bytes);
    let scalar = Option::from(Scalar::from_repr(repr));
    repr.as_mut_slice().zeroize();
    scalar
}

fn to_bytes(scalar: &Scalar) -> Scalar32 {
    let mut repr = scalar.to_repr();
    let bytes = Zeroizing::new(repr.into());
    repr.as_mut_slice().zeroize();
    bytes
}

/// Points that are cleared when dropped.
struct Wiped(Vec<Point>);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Polynomial<Point> for Wiped {
    fn create(size_hint: usize) -> Self {
        Self(vec![Point::default(); size_hint])
    }

    fn coefficients(&self) -> &[Point] {
        &self.0
    }

    fn coefficients_mut(&mut self) -> &mut [Point] {
        &mut self.0
    }
}

/// What the library fills while it deals; cleared when dropped.
struct Work {
    blinder: Element,
    shares: Vec<Point>,
    blinds: Vec<Point>,
    feldman: Vec<Commitment>,
    pedersen: Vec<Commitment>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.blinder.zeroize();
        self.shares.zeroize();
        self.blinds.zeroize();
        // They bind the secret without hiding it from whoever can take logarithms one day.
        self.feldman.zeroize();
    }
}

impl Shamir<Point> for Work {
    type InnerPolynomial = Wiped;
    type ShareSet = Vec<Point>;
}

impl Pedersen<Point, Commitment> for Work {
    type FeldmanVerifierSet = Vec<Commitment>;
    type PedersenVerifierSet = Vec<Commitment>;
    type PedersenResult = Self;
}

impl PedersenResult<Point, Commitment> for Work {
    type ShareSet = Vec<Point>;
    type FeldmanVerifierSet = Vec<Commitment>;
    type PedersenVerifierSet = Vec<Commitment>;

    fn new(blinder: Element, shares: Vec<Point>, blinds: Vec<Point>, feldman: Vec<Commitment>, pedersen: Vec<Commitment>) -> Self {
        Self { blinder, shares, blinds, feldman, pedersen }
    }

    fn blinder(&self) -> &Element {
        &self.blinder
    }

    fn secret_shares(&self) -> &Vec<Point> {
        &self.shares
    }

    fn blinder_shares(&self) -> &Vec<Point> {
        &self.blinds
    }

    fn feldman_verifier_set(&self) -> &Vec<Commitment> {
        &self.feldman
    }

    fn pedersen_verifier_set(&self) -> &Vec<Commitment> {
        &self.pedersen
    }
}

/// The port's randomness in the form that the library asks for.
struct Adapter<'a>(&'a dyn Rng);

impl rand_core::TryRng for Adapter<'_> {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(u32::from_le_bytes(crate::random(self.0)))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(u64::from_le_bytes(crate::random(self.0)))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(out);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Adapter<'_> {}

#[cfg(test)]
mod tests {
    use ca_testkit::SeededRng;

    use super::*;

    #[test]
    fn the_second_generator_is_fixed() {
        // Sets that exist stand on it: a library that hashes otherwise must not pass unnoticed.
        let hex: String = blinding_generator().0.to_bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "03b984514fdc17638d929624652e2f82f7cc7b36f75a38368944d7b9bdbcafb653");
    }

    #[test]
    fn what_the_library_leaves_to_us() {
        let rng = SeededRng::new(3);
        let secret = random_secret(&rng);
        let Dealt { shares, commitments } = deal(&secret, 3, 5, &rng).unwrap();
        assert_eq!((shares.len(), commitments.len()), (5, 3));
        let pick = |indexes: &[u8]| combine(&commitments, &indexes.iter().map(|i| (*i, &shares[usize::from(*i) - 1])).collect::<Vec<_>>());
        assert_eq!(pick(&[5, 1, 3]), Some(secret.clone()));
        assert_eq!(pick(&[1, 2, 3, 4, 5]), Some(secret.clone()), "more than the threshold is fine");
        assert_eq!(pick(&[1, 2]), None, "too few");
        // Left to itself the library makes another secret of them; the commitment tells.
        assert_eq!(combine(&commitments[..2], &[(1, &shares[0]), (2, &shares[1])]), None, "too few for what was dealt");
        assert_eq!(pick(&[1, 2, 2]), None, "a duplicate");
        assert_eq!(combine(&commitments, &[(0, &shares[0]), (2, &shares[1]), (3, &shares[2])]), None, "identifier zero");
        assert_eq!(combine(&commitments, &[(1, &shares[1]), (2, &shares[0]), (3, &shares[2])]), None, "swapped positions");
        assert!(!verify(&commitments, 0, &shares[0]) && !verify(&commitments, 2, &shares[0]) && verify(&commitments, 1, &shares[0]));
        // The group's order and beyond is no scalar; a point off the curve, or the identity, is no commitment.
        let beyond = Halves { value: Zeroizing::new([0xff; 32]), blind: shares[0].blind.clone() };
        assert!(!verify(&commitments, 1, &beyond));
        assert!(!are_points(&[[0; 33]]) && !are_points(&[[0xff; 33]]) && are_points(&commitments));
        assert!(deal(&secret, 1, 3, &rng).is_none() && deal(&secret, 4, 3, &rng).is_none());
    }
}
