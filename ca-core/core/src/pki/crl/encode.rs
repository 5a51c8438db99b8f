//! The streamed encoder: one pass for the lengths, one that writes.

use std::time::Duration;

use der::DateTime;

use super::MAX_CRL_LEN;
use crate::model::{RevocationReason, RevokedEntry};
use crate::pki::{SerialNumber, SignatureAlgorithm, Timestamp, algorithm_identifier_der, encode, oid};

/// Everything in a CRL besides its entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CrlHeader {
    /// The issuer's subject, DER of the Name.
    pub issuer_der: Vec<u8>,
    /// The issuer's subject key identifier, which becomes the authority key identifier.
    pub issuer_key_id: Vec<u8>,
    /// How it will be signed.
    pub algorithm: SignatureAlgorithm,
    /// cRLNumber.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// The partition's URL, equal to the certificates' distribution point; with it the CRL carries a critical
    /// issuing distribution point.
    pub partition_url: Option<String>,
}

/// Why a CRL cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Entries out of order or twice.
    #[error("the revoked entries are not sorted by serial number without repetition, at {0}")]
    NotSorted(SerialNumber),
    /// The entries differed between the two passes.
    #[error("the revoked entries changed while the CRL was written; build it again from one snapshot")]
    EntriesChanged,
    /// A time that the encoding cannot carry.
    #[error("{0} is outside 1970 to 9999 and cannot stand in a CRL")]
    Time(Timestamp),
    /// nextUpdate is not later than thisUpdate.
    #[error("nextUpdate is not later than thisUpdate")]
    NextUpdate,
    /// A field of the header that is empty, too long or of the wrong form.
    #[error("the CRL's {0} is empty, too long or malformed")]
    Field(&'static str),
    /// Too many entries.
    #[error("the CRL would be larger than {MAX_CRL_LEN} octets (hint: use more partitions)")]
    TooLarge,
}

/// Builds the to-be-signed CRL in memory. `entries` must be sorted by serial number.
///
/// # Errors
/// When the header or an entry cannot be encoded, or the entries are not sorted.
pub fn build_crl_tbs(header: &CrlHeader, entries: impl Iterator<Item = RevokedEntry> + Clone) -> Result<Vec<u8>, CrlError> {
    let mut out = Vec::new();
    write_crl_tbs(header, entries, &mut |chunk| out.extend_from_slice(chunk))?;
    Ok(out)
}

/// Writes the to-be-signed CRL to `sink` in chunks, for a digest and a file at once. `entries` is walked twice: for
/// the length, and to write. What was written before an error is to be discarded.
///
/// # Errors
/// When the header or an entry cannot be encoded, or the entries are not sorted or differ between the passes.
pub fn write_crl_tbs(
    header: &CrlHeader,
    entries: impl Iterator<Item = RevokedEntry> + Clone,
    sink: &mut impl FnMut(&[u8]),
) -> Result<(), CrlError> {
    let front = front(header)?;
    let extensions = extensions(header)?;
    let revoked_len = measure(entries.clone())?;
    // RFC 5280 §5.1.2.6: without revoked certificates the list must be absent.
    let list_len = if revoked_len == 0 { 0 } else { tlv_len(revoked_len) };
    let total = front.len() + list_len + extensions.len();
    if total > MAX_CRL_LEN {
        return Err(CrlError::TooLarge);
    }

    let mut buffer = Vec::with_capacity(CHUNK + 256);
    push_header(&mut buffer, 0x30, total);
    buffer.extend_from_slice(&front);
    if revoked_len > 0 {
        push_header(&mut buffer, 0x30, revoked_len);
    }
    let mut written = 0;
    for entry in entries {
        let before = buffer.len();
        push_entry(&mut buffer, &entry)?;
        written += buffer.len() - before;
        if buffer.len() >= CHUNK {
            sink(&buffer);
            buffer.clear();
        }
    }
    if written != revoked_len {
        return Err(CrlError::EntriesChanged);
    }
    buffer.extend_from_slice(&extensions);
    sink(&buffer);
    Ok(())
}

const CHUNK: usize = 16 * 1024;

/// version to nextUpdate.
fn front(header: &CrlHeader) -> Result<Vec<u8>, CrlError> {
    if header.next_update <= header.this_update {
        return Err(CrlError::NextUpdate);
    }
    // A Name is a SEQUENCE; an empty one cannot name an issuer (RFC 5280 §5.1.2.3).
    if header.issuer_der.first() != Some(&0x30) || header.issuer_der.len() <= 2 || header.issuer_der.len() > 4096 {
        return Err(CrlError::Field("issuer"));
    }
    let mut out = vec![0x02, 1, 1];
    out.extend_from_slice(&algorithm_identifier_der(header.algorithm));
    out.extend_from_slice(&header.issuer_der);
    push_time(&mut out, header.this_update)?;
    push_time(&mut out, header.next_update)?;
    Ok(out)
}

fn extensions(header: &CrlHeader) -> Result<Vec<u8>, CrlError> {
    if header.issuer_key_id.is_empty() || header.issuer_key_id.len() > 64 {
        return Err(CrlError::Field("authority key identifier"));
    }
    // AuthorityKeyIdentifier ::= SEQUENCE { keyIdentifier [0] IMPLICIT OCTET STRING }, not critical (§5.2.1).
    let key_id = encode::sequence(&[&encode::tlv(0x80, &header.issuer_key_id)]);
    let mut list = encode::extension(oid::AUTHORITY_KEY_IDENTIFIER, false, &key_id);
    // cRLNumber, not critical (§5.2.3).
    list.extend_from_slice(&encode::extension(oid::CRL_NUMBER, false, &encode::integer(header.number)));
    if let Some(url) = &header.partition_url {
        if url.is_empty() || url.len() > 1024 || !url.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(CrlError::Field("distribution point"));
        }
        // SEQUENCE { distributionPoint [0] { fullName [0] { uniformResourceIdentifier [6] } } }, critical (§5.2.5).
        let name = encode::tlv(0xa0, &encode::tlv(0xa0, &encode::tlv(0x86, url.as_bytes())));
        list.extend_from_slice(&encode::extension(oid::ISSUING_DISTRIBUTION_POINT, true, &encode::sequence(&[&name])));
    }
    Ok(encode::tlv(0xa0, &encode::sequence(&[&list])))
}

/// The length of all entries; checks their order on the way.
fn measure(entries: impl Iterator<Item = RevokedEntry>) -> Result<usize, CrlError> {
    let mut last: Option<SerialNumber> = None;
    let mut total = 0usize;
    for entry in entries {
        if last.is_some_and(|last| last >= entry.serial) {
            return Err(CrlError::NotSorted(entry.serial));
        }
        total += tlv_len(entry_content_len(&entry)?);
        if total > MAX_CRL_LEN {
            return Err(CrlError::TooLarge);
        }
        last = Some(entry.serial);
    }
    Ok(total)
}

/// 2.5.29.21 with an ENUMERATED of one octet: SEQUENCE { OID, OCTET STRING { ENUMERATED } }.
const REASON_LEN: usize = 12;
/// 2.5.29.24 with a GeneralizedTime.
const INVALIDITY_LEN: usize = 2 + 5 + 2 + 17;

fn entry_extensions_len(entry: &RevokedEntry) -> usize {
    let reason = if entry.reason == RevocationReason::Unspecified { 0 } else { REASON_LEN };
    reason + if entry.invalidity_date.is_some() { INVALIDITY_LEN } else { 0 }
}

fn entry_content_len(entry: &RevokedEntry) -> Result<usize, CrlError> {
    let extensions = match entry_extensions_len(entry) {
        0 => 0,
        len => tlv_len(len),
    };
    let bytes = entry.serial.as_bytes();
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    let sign = usize::from(bytes.get(zeros).is_some_and(|b| b & 0x80 != 0));
    Ok(2 + 20 - zeros + sign + time_len(entry.revoked_at)? + extensions)
}

fn push_entry(out: &mut Vec<u8>, entry: &RevokedEntry) -> Result<(), CrlError> {
    push_header(out, 0x30, entry_content_len(entry)?);
    let serial = entry.serial.to_der_integer();
    push_header(out, 0x02, serial.len());
    out.extend_from_slice(&serial);
    push_time(out, entry.revoked_at)?;
    let extensions = entry_extensions_len(entry);
    if extensions > 0 {
        push_header(out, 0x30, extensions);
    }
    // RFC 5280 §5.3.1: the reasonCode should be absent instead of unspecified.
    if entry.reason != RevocationReason::Unspecified {
        out.extend_from_slice(&[0x30, 10, 0x06, 3, 0x55, 0x1d, 0x15, 0x04, 3, 0x0a, 1, entry.reason.code()]);
    }
    if let Some(date) = entry.invalidity_date {
        out.extend_from_slice(&[0x30, 24, 0x06, 3, 0x55, 0x1d, 0x18, 0x04, 17]);
        push_generalized_time(out, date)?;
    }
    Ok(())
}

/// From here on RFC 5280 §5.1.2.4 wants GeneralizedTime: 2050-01-01T00:00:00Z.
const YEAR_2050: i64 = 2_524_608_000;

fn time_len(at: Timestamp) -> Result<usize, CrlError> {
    date_time(at).map(|_| if at.unix() < YEAR_2050 { 15 } else { 17 })
}

fn push_time(out: &mut Vec<u8>, at: Timestamp) -> Result<(), CrlError> {
    if at.unix() >= YEAR_2050 {
        return push_generalized_time(out, at);
    }
    let t = date_time(at)?;
    out.extend_from_slice(&[0x17, 13]);
    push_two(out, (t.year() % 100) as u8);
    push_clock(out, &t);
    Ok(())
}

fn push_generalized_time(out: &mut Vec<u8>, at: Timestamp) -> Result<(), CrlError> {
    let t = date_time(at)?;
    out.extend_from_slice(&[0x18, 15]);
    push_two(out, (t.year() / 100) as u8);
    push_two(out, (t.year() % 100) as u8);
    push_clock(out, &t);
    Ok(())
}

fn push_clock(out: &mut Vec<u8>, t: &DateTime) {
    for part in [t.month(), t.day(), t.hour(), t.minutes(), t.seconds()] {
        push_two(out, part);
    }
    out.push(b'Z');
}

fn push_two(out: &mut Vec<u8>, value: u8) {
    out.extend_from_slice(&[b'0' + value / 10 % 10, b'0' + value % 10]);
}

fn date_time(at: Timestamp) -> Result<DateTime, CrlError> {
    let seconds = u64::try_from(at.unix()).map_err(|_| CrlError::Time(at))?;
    DateTime::from_unix_duration(Duration::from_secs(seconds)).map_err(|_| CrlError::Time(at))
}

/// As [`encode::header`], without an allocation for each entry.
fn push_header(out: &mut Vec<u8>, tag: u8, len: usize) {
    out.push(tag);
    let bytes = len.to_be_bytes();
    let digits = &bytes[bytes.iter().take_while(|b| **b == 0).count().min(bytes.len() - 1)..];
    if len >= 0x80 {
        out.push(0x80 | digits.len() as u8);
    }
    out.extend_from_slice(digits);
}

fn tlv_len(content: usize) -> usize {
    let length_octets = match content {
        0..0x80 => 1,
        0x80..0x100 => 2,
        0x100..0x1_0000 => 3,
        0x1_0000..0x100_0000 => 4,
        _ => 5,
    };
    1 + length_octets + content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_agree_with_what_is_written() {
        for len in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0xff_ffff, 0x100_0000] {
            let mut header = Vec::new();
            push_header(&mut header, 0x30, len);
            assert_eq!(header, encode::header(0x30, len));
            assert_eq!(header.len() + len, tlv_len(len), "{len:#x}");
        }
    }
}
