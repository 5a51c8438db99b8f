//! Algorithms of signatures and keys, as the linter knows them on its own: identifiers, parameters, sizes.

use const_oid::ObjectIdentifier;

use crate::lint::known;
use crate::pki::oid;
use crate::pki::walk::{INTEGER, OID, SEQUENCE, Tlv, Walker};

/// What stands after the identifier.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::lint) enum Parameters {
    None,
    Null,
    /// RSASSA-PSS-params (RFC 4055 §3.1).
    Pss,
}

/// The form of a signature's octets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::lint) enum Form {
    /// Ecdsa-Sig-Value, or DSA's, which is the same.
    TwoIntegers,
    /// Exactly so many octets.
    Octets(usize),
    /// As many as the modulus: 1024 bits and more.
    Modulus,
}

impl Form {
    pub(in crate::lint) fn fits(self, octets: &[u8]) -> bool {
        match self {
            Self::TwoIntegers => is_two_integers(octets),
            Self::Octets(length) => octets.len() == length,
            Self::Modulus => (128..=2048).contains(&octets.len()),
        }
    }
}

fn is_two_integers(octets: &[u8]) -> bool {
    let Ok(sequence) = Walker::single(octets, SEQUENCE, "Ecdsa-Sig-Value") else { return false };
    let mut fields = sequence.walk();
    let mut number = || fields.expect(INTEGER, "r, s").and_then(|n| n.positive_integer("r, s").map(|_| ())).is_ok();
    number() && number() && fields.is_empty()
}

/// A signature algorithm.
pub(in crate::lint) struct OfSignature {
    id: ObjectIdentifier,
    pub(in crate::lint) name: &'static str,
    pub(in crate::lint) parameters: Parameters,
    pub(in crate::lint) value: Form,
    pub(in crate::lint) broken: bool,
    /// Of the kind of key that makes it.
    pub(in crate::lint) key: &'static [ObjectIdentifier],
}

const RSA: &[ObjectIdentifier] = &[oid::RSA_ENCRYPTION];
const EC: &[ObjectIdentifier] = &[oid::EC_PUBLIC_KEY];

const fn signature(
    id: ObjectIdentifier,
    name: &'static str,
    parameters: Parameters,
    value: Form,
    key: &'static [ObjectIdentifier],
) -> OfSignature {
    OfSignature { id, name, parameters, value, broken: false, key }
}

const fn broken(
    id: ObjectIdentifier,
    name: &'static str,
    parameters: Parameters,
    value: Form,
    key: &'static [ObjectIdentifier],
) -> OfSignature {
    OfSignature { broken: true, ..signature(id, name, parameters, value, key) }
}

static SIGNATURES: &[OfSignature] = &[
    signature(oid::ECDSA_WITH_SHA256, "ecdsa-with-SHA256", Parameters::None, Form::TwoIntegers, EC),
    signature(oid::ECDSA_WITH_SHA384, "ecdsa-with-SHA384", Parameters::None, Form::TwoIntegers, EC),
    signature(known::ECDSA_WITH_SHA512, "ecdsa-with-SHA512", Parameters::None, Form::TwoIntegers, EC),
    signature(oid::ED25519, "Ed25519", Parameters::None, Form::Octets(64), &[oid::ED25519]),
    signature(known::ED448, "Ed448", Parameters::None, Form::Octets(114), &[known::ED448]),
    signature(oid::SHA256_WITH_RSA, "sha256WithRSAEncryption", Parameters::Null, Form::Modulus, RSA),
    signature(known::SHA384_WITH_RSA, "sha384WithRSAEncryption", Parameters::Null, Form::Modulus, RSA),
    signature(known::SHA512_WITH_RSA, "sha512WithRSAEncryption", Parameters::Null, Form::Modulus, RSA),
    signature(known::RSASSA_PSS, "RSASSA-PSS", Parameters::Pss, Form::Modulus, &[oid::RSA_ENCRYPTION, known::RSASSA_PSS]),
    // RFC 9881 §2; the lengths are those of FIPS 204, table 2.
    signature(known::ML_DSA_44, "ML-DSA-44", Parameters::None, Form::Octets(2420), &[known::ML_DSA_44]),
    signature(known::ML_DSA_65, "ML-DSA-65", Parameters::None, Form::Octets(3309), &[known::ML_DSA_65]),
    signature(known::ML_DSA_87, "ML-DSA-87", Parameters::None, Form::Octets(4627), &[known::ML_DSA_87]),
    broken(known::MD5_WITH_RSA, "md5WithRSAEncryption", Parameters::Null, Form::Modulus, RSA),
    broken(known::SHA1_WITH_RSA, "sha1WithRSAEncryption", Parameters::Null, Form::Modulus, RSA),
    broken(known::ECDSA_WITH_SHA1, "ecdsa-with-SHA1", Parameters::None, Form::TwoIntegers, EC),
    broken(known::DSA_WITH_SHA1, "dsa-with-SHA1", Parameters::None, Form::TwoIntegers, &[]),
];

pub(in crate::lint) fn of_signature(id: &[u8]) -> Option<&'static OfSignature> {
    SIGNATURES.iter().find(|s| s.id.as_bytes() == id)
}

/// The identifier of an AlgorithmIdentifier, and what follows it.
pub(in crate::lint) fn split<'a>(identifier: &Tlv<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let mut fields = identifier.walk();
    let id = fields.expect(OID, "algorithm").ok()?;
    if !fields.is_empty() {
        fields.next().ok()?;
    }
    fields.finish("AlgorithmIdentifier").ok()?;
    Some((id.content, &identifier.content[id.whole.len()..]))
}

/// The digests that RSASSA-PSS-params name: of the message and of MGF1. None: not such parameters, in DER.
fn pss_digests(parameters: &[u8]) -> Option<[ObjectIdentifier; 2]> {
    const DIGESTS: [ObjectIdentifier; 4] = [known::SHA1, known::SHA256, known::SHA384, known::SHA512];
    let digest = |identifier: &Tlv<'_>| {
        let (id, parameters) = split(identifier)?;
        // RFC 4055 §2.1: NULL or absent.
        let id = DIGESTS.into_iter().find(|d| d.as_bytes() == id)?;
        matches!(parameters, [] | [5, 0]).then_some(id)
    };
    let mut fields = Walker::single(parameters, SEQUENCE, "RSASSA-PSS-params").ok()?.walk();
    let mut found = [known::SHA1; 2];
    if let Some(wrapper) = fields.optional(0xa0).ok()? {
        found[0] = digest(&Walker::single(wrapper.content, SEQUENCE, "hashAlgorithm").ok()?)?;
    }
    if let Some(wrapper) = fields.optional(0xa1).ok()? {
        let (id, inner) = split(&Walker::single(wrapper.content, SEQUENCE, "maskGenAlgorithm").ok()?)?;
        if id != known::MGF1.as_bytes() {
            return None;
        }
        found[1] = digest(&Walker::single(inner, SEQUENCE, "MGF1").ok()?)?;
    }
    for tag in [0xa2, 0xa3] {
        if let Some(wrapper) = fields.optional(tag).ok()? {
            Walker::single(wrapper.content, INTEGER, "saltLength").ok()?.positive_integer("saltLength").ok()?;
        }
    }
    fields.finish("RSASSA-PSS-params").ok()?;
    Some(found)
}

/// RFC 4055 §3.1: the digest of MGF1 should be the message's; here it is.
pub(in crate::lint) fn is_pss(parameters: &[u8]) -> bool {
    pss_digests(parameters).is_some_and(|[message, mask]| message == mask)
}

pub(in crate::lint) fn pss_rests_on_sha1(parameters: &[u8]) -> bool {
    pss_digests(parameters).is_some_and(|digests| digests.contains(&known::SHA1))
}

/// The kind of a public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::lint) enum KeyKind {
    Rsa,
    /// Octets of a coordinate.
    Ec(usize),
    /// Keys that are so many octets.
    Octets(usize),
}

/// A SubjectPublicKeyInfo taken apart.
pub(in crate::lint) struct Key<'a> {
    pub(in crate::lint) id: &'a [u8],
    pub(in crate::lint) parameters: &'a [u8],
    /// The content of the BIT STRING.
    pub(in crate::lint) bits: &'a [u8],
}

impl<'a> Key<'a> {
    pub(in crate::lint) fn read(spki: &Tlv<'a>) -> Option<Self> {
        let mut fields = spki.walk();
        let algorithm = fields.expect(SEQUENCE, "algorithm").ok()?;
        let bits = fields.expect(crate::pki::walk::BIT_STRING, "subjectPublicKey").ok()?.content;
        fields.finish("SubjectPublicKeyInfo").ok()?;
        let (id, parameters) = split(&algorithm)?;
        Some(Self { id, parameters, bits })
    }

    /// None for a kind or a curve that is not judged.
    pub(in crate::lint) fn kind(&self) -> Option<KeyKind> {
        let curve = |c: ObjectIdentifier| Walker::single(self.parameters, OID, "namedCurve").is_ok_and(|f| f.content == c.as_bytes());
        let is = |id: ObjectIdentifier| id.as_bytes() == self.id;
        Some(match () {
            () if is(oid::RSA_ENCRYPTION) || is(known::RSASSA_PSS) => KeyKind::Rsa,
            () if is(oid::EC_PUBLIC_KEY) && curve(oid::SECP256R1) => KeyKind::Ec(32),
            () if is(oid::EC_PUBLIC_KEY) && curve(oid::SECP384R1) => KeyKind::Ec(48),
            () if is(oid::EC_PUBLIC_KEY) && curve(known::SECP521R1) => KeyKind::Ec(66),
            () if is(oid::ED25519) => KeyKind::Octets(32),
            () if is(known::ED448) => KeyKind::Octets(57),
            () if is(known::ML_DSA_44) => KeyKind::Octets(1312),
            () if is(known::ML_DSA_65) => KeyKind::Octets(1952),
            () if is(known::ML_DSA_87) => KeyKind::Octets(2592),
            () => return None,
        })
    }

    /// Modulus and exponent without leading zeros.
    pub(in crate::lint) fn rsa(&self) -> Option<(&'a [u8], &'a [u8])> {
        let [0, der @ ..] = self.bits else { return None };
        let mut fields = Walker::single(der, SEQUENCE, "RSAPublicKey").ok()?.walk();
        let mut number = || fields.expect(INTEGER, "RSAPublicKey").and_then(|n| n.positive_integer("RSAPublicKey")).ok();
        let both = (number()?, number()?);
        fields.is_empty().then_some(both)
    }
}
