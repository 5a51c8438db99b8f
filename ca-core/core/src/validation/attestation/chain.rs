//! The certificates of an attestation, up to a root that the officers signed (RFC 5280 §6.1, as far as attestations need it).
//!
//! Each certificate is issued by the next one in the list; the last by a root, or it is one. A chain that needs name
//! constraints or a policy to be judged is refused: nothing here would judge them.

use const_oid::ObjectIdentifier;

use super::{AttestationCrls, AttestationError};
use crate::pki::verify::{scheme_of, verify_scheme};
use crate::pki::walk::{self, BIT_STRING, BOOLEAN, INTEGER, ParseError, RawExtension, SEQUENCE, Tlv, Walker};
use crate::pki::{PublicKey, TbsFields, Timestamp, VerifyError, oid, spki};

/// Most certificates of an attestation.
const MAX_CERTIFICATES: usize = 5;
/// Most octets of one.
const MAX_CERTIFICATE: usize = 8 * 1024;

/// Extensions that are understood where they are critical.
const UNDERSTOOD: [ObjectIdentifier; 4] = [oid::BASIC_CONSTRAINTS, oid::KEY_USAGE, oid::EXTENDED_KEY_USAGE, oid::SUBJECT_ALT_NAME];

/// A certificate of an attestation, borrowed.
pub(super) struct Link<'a> {
    whole: &'a [u8],
    tbs: &'a [u8],
    algorithm: Tlv<'a>,
    signature: &'a [u8],
    issuer: &'a [u8],
    /// The magnitude of the serial number.
    pub(super) serial: &'a [u8],
    pub(super) subject: Tlv<'a>,
    not_before: Timestamp,
    not_after: Timestamp,
    pub(super) key: PublicKey,
    extensions: Vec<RawExtension<'a>>,
    /// cA, whatever the key usage says.
    is_ca: bool,
    /// cA with the right to sign certificates, and how many authorities may stand below.
    authority: Option<Option<u64>>,
}

impl<'a> Link<'a> {
    fn read(der: &'a [u8]) -> Result<Self, ParseError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(ParseError::TooLarge);
        }
        let mut outer = Walker::single(der, SEQUENCE, "Certificate")?.walk();
        let tbs = outer.expect(SEQUENCE, "tbsCertificate")?;
        let algorithm = outer.expect(SEQUENCE, "signatureAlgorithm")?;
        let signature = outer.expect(BIT_STRING, "signatureValue")?.bit_string_octets("signatureValue")?;
        outer.finish("Certificate")?;
        let fields = TbsFields::read(&tbs)?;
        if fields.algorithm.whole != algorithm.whole {
            return Err(ParseError::Value("signatureAlgorithm"));
        }
        let extensions = fields.extensions.as_ref().map_or(Ok(Vec::new()), walk::read_extensions)?;
        let constraints = basic_constraints(&extensions)?;
        let signs = signs_certificates(&extensions)?;
        Ok(Self {
            whole: der,
            tbs: tbs.whole,
            algorithm,
            signature,
            issuer: fields.issuer.whole,
            serial: fields.serial.positive_integer("serialNumber")?,
            subject: fields.subject,
            not_before: walk::read_time(&fields.not_before, "notBefore")?,
            not_after: walk::read_time(&fields.not_after, "notAfter")?,
            key: PublicKey::from_spki_der(fields.public_key.whole.to_vec()),
            is_ca: constraints.is_some(),
            authority: constraints.filter(|_| signs),
            extensions,
        })
    }

    /// The value of an extension.
    pub(super) fn extension(&self, id: ObjectIdentifier) -> Option<&'a [u8]> {
        find(&self.extensions, id).map(|e| e.value)
    }

    fn is_by(&self, issuer: &Self) -> Result<(), VerifyError> {
        if self.issuer != issuer.subject.whole {
            return Err(VerifyError::OtherIssuer);
        }
        let scheme = scheme_of(&self.algorithm).ok_or(VerifyError::AlgorithmMismatch)?;
        verify_scheme(&spki::key_material(&issuer.key)?, scheme, self.tbs, self.signature)
    }

    /// Whether it has no key usage, or one with cRLSign.
    pub(super) fn may_sign_crls(&self) -> bool {
        let Some(usage) = self.extension(oid::KEY_USAGE) else { return true };
        let bits = Walker::single(usage, BIT_STRING, "keyUsage").ok().and_then(|bits| bits.content.get(1).copied());
        bits.is_some_and(|bits| bits & 0x02 != 0)
    }

    /// What every certificate of a chain keeps.
    fn judge(&self, at: usize, now: Timestamp) -> Result<(), AttestationError> {
        if now < self.not_before || now > self.not_after {
            return Err(AttestationError::Rule(at, "is not valid at this time"));
        }
        let unknown = |e: &&RawExtension<'_>| e.critical && !UNDERSTOOD.iter().any(|id| id.as_bytes() == e.oid);
        if self.extensions.iter().any(|e| unknown(&e)) {
            return Err(AttestationError::Rule(at, "has a critical extension that is not handled"));
        }
        Ok(())
    }

    /// What an authority in a chain keeps; `below`: how many authorities stand between it and the first certificate.
    fn judge_authority(&self, at: usize, below: usize) -> Result<(), AttestationError> {
        match self.authority {
            Some(most) if most.is_none_or(|most| below as u64 <= most) => Ok(()),
            Some(_) => Err(AttestationError::Rule(at, "may have no authority below it")),
            None => Err(AttestationError::Rule(at, "is not a CA's")),
        }
    }
}

fn find<'e, 'a>(extensions: &'e [RawExtension<'a>], id: ObjectIdentifier) -> Option<&'e RawExtension<'a>> {
    extensions.iter().find(|e| e.oid == id.as_bytes())
}

/// pathLenConstraint of a certificate with cA (RFC 5280 §4.2.1.9).
fn basic_constraints(extensions: &[RawExtension<'_>]) -> Result<Option<Option<u64>>, ParseError> {
    let Some(constraints) = find(extensions, oid::BASIC_CONSTRAINTS) else { return Ok(None) };
    let mut fields = Walker::single(constraints.value, SEQUENCE, "basicConstraints")?.walk();
    let is_ca = fields.optional(BOOLEAN)?.map_or(Ok(false), |flag| flag.boolean("cA"))?;
    let most = match fields.optional(INTEGER)? {
        None => None,
        Some(Tlv { content: [most @ 0..=0x7f], .. }) => Some(u64::from(*most)),
        Some(_) => return Err(ParseError::Value("pathLenConstraint")),
    };
    fields.finish("basicConstraints")?;
    Ok(is_ca.then_some(most))
}

/// Whether there is no key usage, or one with keyCertSign (RFC 5280 §4.2.1.3).
fn signs_certificates(extensions: &[RawExtension<'_>]) -> Result<bool, ParseError> {
    match find(extensions, oid::KEY_USAGE) {
        None => Ok(true),
        Some(usage) => Ok(Walker::single(usage.value, BIT_STRING, "keyUsage")?.content.get(1).is_some_and(|bits| bits & 0x04 != 0)),
    }
}

/// Judges a root as the officers give it.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn check_root(der: &[u8]) -> Result<(), String> {
    let root = Link::read(der).map_err(|e| e.to_string())?;
    if root.authority.is_none() {
        return Err("it is not a CA's certificate".to_owned());
    }
    spki::key_material(&root.key).map(|_| ()).map_err(|e| e.to_string())
}

#[cfg(test)]
thread_local! {
    /// How many chains this thread has verified.
    pub(super) static VERIFIED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Verifies certificates up to one of `roots` and gives the first, which is not a CA's. None is revoked by `crls`, which are
/// asked last: only about what leads to a root.
pub(super) fn verify<'a>(
    certificates: &[&'a [u8]],
    roots: &[Vec<u8>],
    crls: &AttestationCrls,
    now: Timestamp,
) -> Result<Link<'a>, AttestationError> {
    if !(1..=MAX_CERTIFICATES).contains(&certificates.len()) {
        return Err(AttestationError::Member("x5c"));
    }
    #[cfg(test)]
    VERIFIED.with(|count| count.set(count.get() + 1));
    let read = |(at, der): (usize, &&'a [u8])| Link::read(der).map_err(|e| AttestationError::Certificate(at + 1, e));
    let mut links = certificates.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    for (index, link) in links.iter().enumerate() {
        link.judge(index + 1, now)?;
        if index > 0 {
            link.judge_authority(index + 1, index - 1)?;
            links[index - 1].is_by(link).map_err(|e| AttestationError::NotByNext(index, e))?;
        }
    }
    let last = &links[links.len() - 1];
    let below = links.len() - 1;
    if links[0].is_ca {
        return Err(AttestationError::Rule(1, "is a CA's: it attests no key"));
    }
    let root = if below == 0 || !roots.iter().any(|root| root == last.whole) {
        // A root of the officers' own: read when the policy was.
        let issues = |root: &Link<'_>| {
            last.is_by(root).is_ok() && root.judge(below + 2, now).is_ok() && root.judge_authority(below + 2, below).is_ok()
        };
        Some(roots.iter().filter_map(|root| Link::read(root).ok()).find(issues).ok_or(AttestationError::NoRoot)?)
    } else {
        None
    };
    for (index, pair) in links.windows(2).enumerate() {
        crls.judge(index + 1, &pair[0], &pair[1], now)?;
    }
    if let Some(root) = root {
        crls.judge(below + 1, last, &root, now)?;
    }
    Ok(links.swap_remove(0))
}
