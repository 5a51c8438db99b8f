//! What a YubiHSM 2 attests of a key inside it (Yubico, "Attestation"): a certificate over the key's public half, signed by
//! the device's own key, which the maker certified.

use super::walk::{self, BIT_STRING, INTEGER, OCTET_STRING, ParseError, SEQUENCE, UTF8_STRING, Walker};
use super::{Certificate, PublicKey, VerifyError, verify_signature};
use crate::ports::{Attestation, FirmwareVersion};

/// What the device says of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct YubiHsmClaims {
    /// The device's serial number, in decimal.
    pub serial: String,
    /// Its firmware.
    pub firmware: FirmwareVersion,
    /// Whether the key came in wrapped from another device, which made it.
    pub came_wrapped: bool,
    /// The key's id.
    pub object_id: u16,
    /// The key's label.
    pub label: String,
    /// The key's domains, as a mask.
    pub domains: u16,
    /// The key's capabilities, as a mask.
    pub capabilities: u64,
}

/// Why an attestation does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestationError {
    /// Not the key's certificate and the device's.
    #[error("it is not two certificates, the key's and the device's")]
    Form,
    /// A certificate cannot be read.
    #[error("a certificate cannot be read: {0}")]
    Parse(#[from] ParseError),
    /// It is about another key.
    #[error("it is about another public key")]
    OtherKey,
    /// No device made the key.
    #[error("the key was not made inside a device (its origin is {0:#04x}): somebody may have a copy")]
    NotMadeInside(u8),
    /// The device's key did not sign it.
    #[error("the device's certificate does not verify it: {0}")]
    NotByDevice(VerifyError),
    /// None of the maker's certificates verifies the device's.
    #[error(
        "none of the maker's certificates verifies the device's (hint: give the maker's intermediate for this device, checked against its published digest)"
    )]
    NotByMaker,
    /// A claim is missing or not of its form.
    #[error("it does not say {0}")]
    Claim(&'static str),
}

/// 1.3.6.1.4.1.41482.4.x, without the last arc.
const YUBICO: [u8; 9] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0xc4, 0x0a, 0x04];

/// Generated inside; the flag 0x10 beside it says that it came in wrapped from another device.
const GENERATED: u8 = 0x01;
const WRAPPED: u8 = 0x10;

/// Checks an attestation of a key: it is about `key`, a device made the key, this device's certificate verifies it, and
/// one of the maker's certificates (DER) verifies the device's. Without any of the maker's, the last is left out: then the
/// claims are the device's word only. Validity in time is not judged: a device has no clock.
///
/// # Errors
/// Says which of these does not hold.
pub fn check_yubihsm_attestation(attestation: &Attestation, key: &PublicKey, maker: &[Vec<u8>]) -> Result<YubiHsmClaims, AttestationError> {
    let [of_key, of_device] = attestation.chain.as_slice() else { return Err(AttestationError::Form) };
    let (of_key, of_device) = (Certificate::from_der(of_key)?, Certificate::from_der(of_device)?);
    if of_key.public_key() != key {
        return Err(AttestationError::OtherKey);
    }
    verified_by(&of_key, &of_device).map_err(AttestationError::NotByDevice)?;
    let anchors = maker.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>()?;
    if !anchors.is_empty() && !anchors.iter().any(|anchor| verified_by(&of_device, anchor).is_ok()) {
        return Err(AttestationError::NotByMaker);
    }
    claims(&of_key)
}

/// Name and signature: the maker's own certificates need not have the marks that this CA gives its authorities.
fn verified_by(certificate: &Certificate, issuer: &Certificate) -> Result<(), VerifyError> {
    if certificate.issuer_der() != issuer.subject_der() {
        return Err(VerifyError::OtherIssuer);
    }
    verify_signature(issuer.public_key(), certificate.signature_algorithm(), certificate.tbs_der(), certificate.signature())
}

fn claims(certificate: &Certificate) -> Result<YubiHsmClaims, AttestationError> {
    let tbs = Walker::single(certificate.tbs_der(), SEQUENCE, "tbsCertificate")?;
    let fields = super::certificate::TbsFields::read(&tbs)?;
    let extensions = fields.extensions.as_ref().map_or(Ok(Vec::new()), walk::read_extensions)?;
    let find = |arc: u8, tag: u8, what: &'static str| {
        let oid = [YUBICO.as_slice(), &[arc]].concat();
        let value = extensions.iter().find(|e| e.oid == oid).ok_or(AttestationError::Claim(what))?.value;
        Walker::single(value, tag, what).map(|element| element.content).map_err(|_| AttestationError::Claim(what))
    };
    /// The last octets of a number or of bits, at most `N`, as a fixed width.
    fn number<const N: usize>(content: &[u8], what: &'static str) -> Result<[u8; N], AttestationError> {
        let significant: &[u8] = match content.iter().position(|b| *b != 0) {
            Some(first) => &content[first..],
            None => &[],
        };
        let mut out = [0u8; N];
        let at = N.checked_sub(significant.len()).ok_or(AttestationError::Claim(what))?;
        out[at..].copy_from_slice(significant);
        Ok(out)
    }
    /// A BIT STRING's octets after its count of unused bits, which is zero.
    fn bits<'a>(content: &'a [u8], what: &'static str) -> Result<&'a [u8], AttestationError> {
        content.strip_prefix(&[0]).ok_or(AttestationError::Claim(what))
    }

    let [major, minor, build] = find(1, OCTET_STRING, "the firmware")?.try_into().map_err(|_| AttestationError::Claim("the firmware"))?;
    let serial = u32::from_be_bytes(number(find(2, INTEGER, "the serial number")?, "the serial number")?);
    let [origin] = number(bits(find(3, BIT_STRING, "the origin")?, "the origin")?, "the origin")?;
    if origin & !WRAPPED != GENERATED {
        return Err(AttestationError::NotMadeInside(origin));
    }
    let domains = u16::from_be_bytes(number(bits(find(4, BIT_STRING, "the domains")?, "the domains")?, "the domains")?);
    let capabilities = u64::from_be_bytes(number(bits(find(5, BIT_STRING, "the capabilities")?, "the capabilities")?, "the capabilities")?);
    let object_id = u16::from_be_bytes(number(find(6, INTEGER, "the id")?, "the id")?);
    let label = find(9, UTF8_STRING, "the label")?;
    let label = std::str::from_utf8(label).map_err(|_| AttestationError::Claim("the label"))?.trim_end_matches('\0').to_owned();
    let firmware = FirmwareVersion(major, minor, build);
    let came_wrapped = origin & WRAPPED != 0;
    Ok(YubiHsmClaims { serial: serial.to_string(), firmware, came_wrapped, object_id, label, domains, capabilities })
}
