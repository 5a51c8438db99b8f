//! Reading CRLs, on the `der` crate's readers.

use std::ops::Range;

use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, BitStringRef, GeneralizedTime, OctetStringRef, UtcTime};
use der::{Decode, Header, Reader, Sequence, SliceReader, Tag};

use super::MAX_CRL_LEN;
use crate::model::{RevocationReason, RevokedEntry};
use crate::pki::verify::signature_algorithm_of;
use crate::pki::{Certificate, SerialNumber, SignatureAlgorithm, Timestamp, VerifyError, oid, verify_signature};

/// Why bytes are not a CRL that this CA reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrlParseError {
    /// Not the DER of a CertificateList.
    #[error("not the DER of a CRL: {0}")]
    Der(#[from] der::Error),
    /// Well-formed, but outside what RFC 5280 allows or this CA reads.
    #[error("the CRL is not acceptable: {0}")]
    Unacceptable(&'static str),
}

/// A CRL, whole and checked in form; its signature is checked by [`Crl::is_signed_by`].
#[derive(Clone, PartialEq, Eq)]
pub struct Crl {
    der: Vec<u8>,
    tbs: Range<usize>,
    entries: Range<usize>,
    entry_count: usize,
    number: u64,
    this_update: Timestamp,
    next_update: Timestamp,
    issuer_der: Vec<u8>,
    authority_key_id: Vec<u8>,
    partition_url: Option<String>,
    algorithm: SignatureAlgorithm,
    signature: Vec<u8>,
}

impl Crl {
    /// Reads a v2 CRL with a number and an authority key identifier. Every entry is looked at.
    ///
    /// # Errors
    /// When it is not DER, lacks what RFC 5280 §5 demands of a conforming CA, or has a critical extension that is
    /// not understood.
    pub fn from_der(der: &[u8]) -> Result<Self, CrlParseError> {
        if der.len() > MAX_CRL_LEN + 8192 {
            return Err(CrlParseError::Unacceptable("larger than this CA makes"));
        }
        let mut reader = SliceReader::new(der)?;
        let (tbs_der, outer, signature) =
            reader.sequence(|r| -> Result<_, CrlParseError> { Ok((r.tlv_bytes()?, r.tlv_bytes()?, BitStringRef::decode(r)?)) })?;
        reader.finish()?;
        let tbs = RawTbs::from_der(tbs_der)?;
        // RFC 5280 §5.1.1.2: both must be the same.
        if outer != tbs.algorithm {
            return Err(CrlParseError::Unacceptable("the two signature algorithms differ"));
        }
        let algorithm = algorithm_of(outer).ok_or(CrlParseError::Unacceptable("the signature algorithm is not supported"))?;
        let signature = signature.as_bytes().ok_or(CrlParseError::Unacceptable("the signature has unused bits"))?.to_vec();
        let mut number = None;
        let mut authority_key_id = None;
        let mut partition_url = None;
        for extension in &tbs.extensions {
            match extension.oid {
                oid::CRL_NUMBER => number = Some(u64::from_der(extension.value.as_bytes())?),
                oid::AUTHORITY_KEY_IDENTIFIER => authority_key_id = Some(key_identifier(extension.value.as_bytes())?.to_vec()),
                oid::ISSUING_DISTRIBUTION_POINT => partition_url = Some(distribution_point(extension.value.as_bytes())?.to_owned()),
                _ if extension.critical => return Err(CrlParseError::Unacceptable("a critical extension is not understood")),
                _ => {}
            }
        }
        let mut entry_count = 0;
        for entry in tbs.entries()? {
            entry?.read()?;
            entry_count += 1;
        }
        let offset_of = |part: &[u8]| part.as_ptr() as usize - der.as_ptr() as usize;
        let range = |part: &[u8]| if part.is_empty() { 0..0 } else { offset_of(part)..offset_of(part) + part.len() };
        Ok(Self {
            tbs: range(tbs_der),
            entries: range(tbs.entries),
            entry_count,
            number: number.ok_or(CrlParseError::Unacceptable("it has no cRLNumber"))?,
            this_update: tbs.this_update,
            next_update: tbs.next_update,
            issuer_der: tbs.issuer.to_vec(),
            authority_key_id: authority_key_id.ok_or(CrlParseError::Unacceptable("it has no authority key identifier"))?,
            partition_url,
            algorithm,
            signature,
            der: der.to_vec(),
        })
    }

    /// Its DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The to-be-signed part of its DER.
    pub fn tbs_der(&self) -> &[u8] {
        &self.der[self.tbs.clone()]
    }

    /// cRLNumber.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// thisUpdate.
    pub const fn this_update(&self) -> Timestamp {
        self.this_update
    }

    /// nextUpdate.
    pub const fn next_update(&self) -> Timestamp {
        self.next_update
    }

    /// The issuer's name, DER.
    pub fn issuer_der(&self) -> &[u8] {
        &self.issuer_der
    }

    /// The key identifier of the issuer's key.
    pub fn authority_key_identifier(&self) -> &[u8] {
        &self.authority_key_id
    }

    /// The URL in its issuing distribution point.
    pub fn partition_url(&self) -> Option<&str> {
        self.partition_url.as_deref()
    }

    /// How many certificates it lists.
    pub const fn entry_count(&self) -> usize {
        self.entry_count
    }

    /// What it lists, in its order.
    pub fn entries(&self) -> Vec<RevokedEntry> {
        // Every entry was read once in `from_der`, so that no error is left to drop here.
        EntryIter { reader: SliceReader::new(&self.der[self.entries.clone()]).ok() }.flatten().filter_map(|e| e.read().ok()).collect()
    }

    /// How it is signed.
    pub const fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The signature's octets.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Whether `issuer`'s name is its issuer's and `issuer`'s key signed it.
    ///
    /// # Errors
    /// When name, key identifier or signature do not match.
    pub fn is_signed_by(&self, issuer: &Certificate) -> Result<(), VerifyError> {
        if self.issuer_der != issuer.subject_der() || issuer.key_identifier().is_some_and(|id| id != self.authority_key_id) {
            return Err(VerifyError::Signature);
        }
        verify_signature(issuer.public_key(), self.algorithm, self.tbs_der(), &self.signature)
    }
}

impl std::fmt::Debug for Crl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Crl(number {}, {} entries, {} to {})", self.number, self.entry_count, self.this_update, self.next_update)
    }
}

/// An extension of a CRL, of an entry, of an OCSP request or response (RFC 5280 §4.1.2.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Sequence)]
pub(crate) struct RawExtension<'a> {
    pub(crate) oid: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    pub(crate) critical: bool,
    pub(crate) value: &'a OctetStringRef,
}

/// A to-be-signed CRL taken apart, not judged.
pub(crate) struct RawTbs<'a> {
    pub(crate) algorithm: &'a [u8],
    pub(crate) issuer: &'a [u8],
    pub(crate) this_update: Timestamp,
    pub(crate) next_update: Timestamp,
    /// The content of revokedCertificates.
    pub(crate) entries: &'a [u8],
    pub(crate) extensions: Vec<RawExtension<'a>>,
}

impl<'a> RawTbs<'a> {
    pub(crate) fn from_der(tbs: &'a [u8]) -> Result<Self, CrlParseError> {
        let mut reader = SliceReader::new(tbs)?;
        let out = reader.sequence(|r| -> Result<_, CrlParseError> {
            // RFC 5280 §5.1.2.1: with extensions the version must be v2 (1).
            if u8::decode(r)? != 1 {
                return Err(CrlParseError::Unacceptable("the version is not v2"));
            }
            let algorithm = sequence_bytes(r)?;
            let issuer = sequence_bytes(r)?;
            let this_update = time(r)?;
            // RFC 5280 §5.1.2.5: conforming CAs must include nextUpdate.
            let next_update = time(r)?;
            let list = if !r.is_finished() && Tag::peek(r)? == Tag::Sequence { Some(AnyRef::decode(r)?.value()) } else { None };
            let extensions = r
                .context_specific::<Vec<RawExtension<'a>>>(der::TagNumber(0), der::TagMode::Explicit)?
                .ok_or(CrlParseError::Unacceptable("it has no extensions"))?;
            let repeated = extensions.iter().enumerate().any(|(i, e)| extensions[..i].iter().any(|other| other.oid == e.oid));
            if repeated {
                return Err(CrlParseError::Unacceptable("an extension stands there twice"));
            }
            Ok(Self { algorithm, issuer, this_update, next_update, entries: list.unwrap_or_default(), extensions })
        })?;
        reader.finish()?;
        Ok(out)
    }

    pub(crate) fn entries(&self) -> Result<EntryIter<'a>, CrlParseError> {
        let reader = if self.entries.is_empty() { None } else { Some(SliceReader::new(self.entries)?) };
        Ok(EntryIter { reader })
    }
}

/// Walks the entries; ends after the first error.
pub(crate) struct EntryIter<'a> {
    reader: Option<SliceReader<'a>>,
}

impl<'a> Iterator for EntryIter<'a> {
    type Item = Result<RawEntry<'a>, CrlParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let reader = self.reader.as_mut()?;
        if reader.is_finished() {
            return None;
        }
        let entry = reader.sequence(RawEntry::decode);
        if entry.is_err() {
            self.reader = None;
        }
        Some(entry)
    }
}

/// An entry taken apart.
pub(crate) struct RawEntry<'a> {
    pub(crate) serial: SerialNumber,
    pub(crate) revoked_at: Timestamp,
    pub(crate) extensions: Option<Vec<RawExtension<'a>>>,
}

impl<'a> RawEntry<'a> {
    fn decode(r: &mut SliceReader<'a>) -> Result<Self, CrlParseError> {
        let serial = der::asn1::IntRef::decode(r)?;
        let serial = SerialNumber::from_der_integer(serial.as_bytes())
            .map_err(|_| CrlParseError::Unacceptable("a serial number is not positive or has more than 20 octets"))?;
        let revoked_at = time(r)?;
        let extensions = if r.is_finished() { None } else { Some(Vec::<RawExtension<'a>>::decode(r)?) };
        Ok(Self { serial, revoked_at, extensions })
    }

    pub(crate) fn read(&self) -> Result<RevokedEntry, CrlParseError> {
        let mut entry =
            RevokedEntry { serial: self.serial, revoked_at: self.revoked_at, reason: RevocationReason::Unspecified, invalidity_date: None };
        for extension in self.extensions.iter().flatten() {
            match extension.oid {
                oid::REASON_CODE => {
                    entry.reason = match extension.value.as_bytes() {
                        [0x0a, 1, code] => RevocationReason::from_code(*code),
                        _ => None,
                    }
                    .ok_or(CrlParseError::Unacceptable("an entry's reasonCode is not one that this CA uses"))?;
                }
                oid::INVALIDITY_DATE => {
                    let date = GeneralizedTime::from_der(extension.value.as_bytes())?;
                    entry.invalidity_date = Some(from_duration(date.to_unix_duration())?);
                }
                _ if extension.critical => return Err(CrlParseError::Unacceptable("an entry's critical extension is not understood")),
                _ => {}
            }
        }
        Ok(entry)
    }
}

/// The keyIdentifier of an AuthorityKeyIdentifier that has nothing else.
pub(crate) fn key_identifier(value: &[u8]) -> Result<&[u8], CrlParseError> {
    let inner = only_value(value, 0x30)?;
    only_value(inner, 0x80)
}

/// The one URL of an IssuingDistributionPoint that has nothing else.
pub(crate) fn distribution_point(value: &[u8]) -> Result<&str, CrlParseError> {
    let mut inner = value;
    for tag in [0x30, 0xa0, 0xa0, 0x86] {
        inner = only_value(inner, tag)?;
    }
    std::str::from_utf8(inner).map_err(|_| CrlParseError::Unacceptable("the distribution point is not a URL"))
}

/// The content of `value`, which must be one element with this tag and nothing after it.
fn only_value(value: &[u8], tag: u8) -> Result<&[u8], CrlParseError> {
    const WRONG: CrlParseError = CrlParseError::Unacceptable("an extension has another shape than this CA uses");
    if value.first() != Some(&tag) {
        return Err(WRONG);
    }
    let mut reader = SliceReader::new(value)?;
    let header = Header::decode(&mut reader)?;
    let content = reader.read_slice(header.length())?;
    reader.finish()?;
    Ok(content)
}

fn sequence_bytes<'a>(r: &mut SliceReader<'a>) -> Result<&'a [u8], CrlParseError> {
    if Tag::peek(r)? == Tag::Sequence { Ok(r.tlv_bytes()?) } else { Err(CrlParseError::Unacceptable("a SEQUENCE is missing")) }
}

fn time(r: &mut SliceReader<'_>) -> Result<Timestamp, CrlParseError> {
    let since_epoch =
        if Tag::peek(r)? == Tag::UtcTime { UtcTime::decode(r)?.to_unix_duration() } else { GeneralizedTime::decode(r)?.to_unix_duration() };
    from_duration(since_epoch)
}

fn from_duration(since_epoch: std::time::Duration) -> Result<Timestamp, CrlParseError> {
    i64::try_from(since_epoch.as_secs()).map(Timestamp::from_unix).map_err(|_| CrlParseError::Unacceptable("a time is out of range"))
}

fn algorithm_of(identifier: &[u8]) -> Option<SignatureAlgorithm> {
    signature_algorithm_of(&AnyRef::from_der(identifier).ok()?)
}
