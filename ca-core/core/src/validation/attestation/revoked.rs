//! CRLs of whoever certifies devices, as a site has them in files (RFC 5280 §5, §6.3, as far as attestations need it).
//!
//! A certificate is held against the CRLs that bear its issuer's name. Where there are some, one must be signed by the
//! issuer and be current, and none may name the certificate; where there is none, nothing is asked. Complete CRLs only: one
//! with a critical extension (a delta, one of several parts, one of another authority's certificates) is refused when it is read.

use std::sync::{Mutex, PoisonError};

use super::AttestationError;
use super::chain::Link;
use crate::evidence::memo::Memo;
use crate::pki::verify::{scheme_of, verify_scheme};
use crate::pki::walk::{self, BIT_STRING, GENERALIZED_TIME, INTEGER, ParseError, SEQUENCE, Tlv, UTC_TIME, Walker};
use crate::pki::{PemError, PublicKey, Sha256Digest, Timestamp, VerifyError, pem_decode_within, spki};

/// For how many keys of issuers of its name it is remembered whether a CRL is by them. Only keys that lead to a root are asked
/// about, and a maker has few of one name.
const REMEMBERED: usize = 32;

#[cfg(test)]
thread_local! {
    /// How many signatures of CRLs this thread has verified.
    pub(super) static VERIFIED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Why a file is not a CRL that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestationCrlError {
    /// Larger than any is.
    #[error("it has more than {most} octets", most = AttestationCrls::MAX_BYTES)]
    TooLarge,
    /// Neither DER nor text.
    #[error("it is neither DER nor PEM")]
    Binary,
    /// Not PEM.
    #[error("it is not DER, and no PEM block X509 CRL can be read from it: {0}")]
    Pem(#[from] PemError),
    /// Not one PEM block.
    #[error("it has {0} PEM blocks X509 CRL (hint: one CRL in each file)")]
    Several(usize),
    /// Not DER.
    #[error("it cannot be read: {0}")]
    Parse(#[from] ParseError),
    /// Without an end nobody could tell that it is old.
    #[error("it has no nextUpdate, so that nobody could tell when it is out of date")]
    NoEnd,
    /// Not a complete CRL.
    #[error("it has a critical extension: deltas, parts and indirect CRLs are not handled (hint: get the authority's complete CRL)")]
    Critical,
}

/// One CRL.
struct Crl {
    issuer: Vec<u8>,
    tbs: Vec<u8>,
    /// The AlgorithmIdentifier.
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    this_update: Timestamp,
    next_update: Timestamp,
    /// The magnitudes of the serial numbers, sorted.
    revoked: Vec<Vec<u8>>,
    /// Whether it is by an issuer's key. It may have megabytes, which are not hashed again for each device.
    by: Mutex<Memo<Sha256Digest, Result<(), VerifyError>>>,
}

/// CRLs of whoever certifies devices.
#[derive(Default)]
pub struct AttestationCrls {
    crls: Vec<Crl>,
    lacking: bool,
}

impl std::fmt::Debug for AttestationCrls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AttestationCrls({})", self.crls.len())
    }
}

impl AttestationCrls {
    /// The most octets of one.
    pub const MAX_BYTES: usize = 8 << 20;

    /// Adds a CRL, DER or PEM. Its signature is judged with each certificate that it is asked about.
    ///
    /// # Errors
    /// When it is none, or none that counts; nothing is added then.
    pub fn add(&mut self, file: &[u8]) -> Result<(), AttestationCrlError> {
        if file.len() > Self::MAX_BYTES {
            return Err(AttestationCrlError::TooLarge);
        }
        if file.first() == Some(&SEQUENCE) {
            self.crls.push(Crl::read(file)?);
            return Ok(());
        }
        let text = std::str::from_utf8(file).map_err(|_| AttestationCrlError::Binary)?;
        match pem_decode_within(text, "X509 CRL", Self::MAX_BYTES)?.as_slice() {
            [der] => self.crls.push(Crl::read(der)?),
            several => return Err(AttestationCrlError::Several(several.len())),
        }
        Ok(())
    }

    /// Notes that the site has one that could not be read. Nobody knows whose it is, so that no certificate passes.
    pub const fn lack(&mut self) {
        self.lacking = true;
    }

    /// Whether one of the site's could not be read.
    pub const fn is_lacking(&self) -> bool {
        self.lacking
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.crls.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.crls.is_empty()
    }

    /// When the first of them is out of date, with its place among them; none: there is none.
    pub fn first_end(&self) -> Option<(usize, Timestamp)> {
        self.crls.iter().map(|crl| crl.next_update).enumerate().min_by_key(|(_, end)| *end)
    }

    /// Holds certificate number `at` of a chain against the CRLs of its issuer.
    pub(super) fn judge(&self, at: usize, link: &Link<'_>, issuer: &Link<'_>, now: Timestamp) -> Result<(), AttestationError> {
        if self.lacking {
            return Err(AttestationError::CrlUnreadable(at));
        }
        let named = || self.crls.iter().filter(|crl| crl.issuer == issuer.subject.whole);
        let (mut refused, mut current) = (None, false);
        for crl in named() {
            match crl.is_by(issuer) {
                Err(error) => refused = Some(error),
                Ok(()) if crl.revoked.binary_search_by(|serial| serial.as_slice().cmp(link.serial)).is_ok() => {
                    return Err(AttestationError::Rule(at, "is revoked by its issuer"));
                }
                Ok(()) => current |= crl.this_update <= now && now <= crl.next_update,
            }
        }
        match (named().next(), current, refused) {
            (None, ..) | (Some(_), true, _) => Ok(()),
            (Some(_), false, Some(error)) => Err(AttestationError::Crl(at, error)),
            (Some(_), false, None) => Err(AttestationError::CrlOutOfDate(at)),
        }
    }
}

impl Crl {
    fn read(der: &[u8]) -> Result<Self, AttestationCrlError> {
        let mut outer = Walker::single(der, SEQUENCE, "CertificateList")?.walk();
        let tbs = outer.expect(SEQUENCE, "tbsCertList")?;
        let algorithm = outer.expect(SEQUENCE, "signatureAlgorithm")?;
        let signature = outer.expect(BIT_STRING, "signatureValue")?.bit_string_octets("signatureValue")?;
        outer.finish("CertificateList")?;
        let mut fields = tbs.walk();
        if let Some(version) = fields.optional(INTEGER)?
            && version.content != [1]
        {
            return Err(ParseError::Value("version").into());
        }
        if fields.expect(SEQUENCE, "signature")?.whole != algorithm.whole {
            return Err(ParseError::Value("signatureAlgorithm").into());
        }
        let issuer = fields.expect(SEQUENCE, "issuer")?;
        let this_update = walk::read_time(&fields.next()?, "thisUpdate")?;
        let next_update = match fields.peek() {
            Some(UTC_TIME | GENERALIZED_TIME) => walk::read_time(&fields.next()?, "nextUpdate")?,
            _ => return Err(AttestationCrlError::NoEnd),
        };
        let mut revoked = Vec::new();
        let mut entries = fields.optional(SEQUENCE)?.map_or(Walker::new(&[]), |list| list.walk());
        while !entries.is_empty() {
            let mut entry = entries.expect(SEQUENCE, "revokedCertificates")?.walk();
            revoked.push(entry.expect(INTEGER, "userCertificate")?.positive_integer("userCertificate")?.to_vec());
            walk::read_time(&entry.next()?, "revocationDate")?;
            if let Some(extensions) = entry.optional(SEQUENCE)? {
                not_critical(&extensions)?;
            }
            entry.finish("revokedCertificates")?;
        }
        if let Some(wrapper) = fields.optional(0xa0)? {
            not_critical(&Walker::single(wrapper.content, SEQUENCE, "crlExtensions")?)?;
        }
        fields.finish("tbsCertList")?;
        revoked.sort_unstable();
        Ok(Self {
            issuer: issuer.whole.to_vec(),
            tbs: tbs.whole.to_vec(),
            algorithm: algorithm.whole.to_vec(),
            signature: signature.to_vec(),
            this_update,
            next_update,
            revoked,
            by: Mutex::new(Memo::new(REMEMBERED)),
        })
    }

    fn is_by(&self, issuer: &Link<'_>) -> Result<(), VerifyError> {
        // RFC 5280 §6.3.3 (f): where the issuer has a key usage, it has cRLSign.
        if !issuer.may_sign_crls() {
            return Err(VerifyError::OtherIssuer);
        }
        let digest = issuer.key.spki_sha256();
        let known = || self.by.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(result) = known().get(&digest) {
            return result.clone();
        }
        let result = self.verify(&issuer.key);
        known().insert(digest, result.clone());
        result
    }

    fn verify(&self, key: &PublicKey) -> Result<(), VerifyError> {
        #[cfg(test)]
        VERIFIED.with(|count| count.set(count.get() + 1));
        let algorithm = Walker::single(&self.algorithm, SEQUENCE, "signatureAlgorithm").ok();
        let scheme = algorithm.as_ref().and_then(scheme_of).ok_or(VerifyError::AlgorithmMismatch)?;
        verify_scheme(&spki::key_material(key)?, scheme, &self.tbs, &self.signature)
    }
}

fn not_critical(extensions: &Tlv<'_>) -> Result<(), AttestationCrlError> {
    if walk::read_extensions(extensions)?.iter().any(|e| e.critical) { Err(AttestationCrlError::Critical) } else { Ok(()) }
}
