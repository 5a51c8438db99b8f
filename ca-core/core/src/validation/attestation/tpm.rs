//! The format `tpm` (Web Authentication §8.3; TCG, "TPM 2.0 Library", part 2): a module's attestation key certifies another
//! key of the same module, over the digest of the key authorization. The attestation key's certificate says which module.

use const_oid::ObjectIdentifier;

use super::cbor::Cbor;
use super::chain::Link;
use super::{AttestationError, Attested, Claim};
use crate::pki::verify::{Scheme, Sha2, verify_scheme};
use crate::pki::walk::{OID, SEQUENCE, SET, Walker};
use crate::pki::{AltName, Identifier, PublicKey, encode, oid, read_alt_name, spki};
use aws_lc_rs::digest;

/// tcg-kp-AIKCertificate (TCG EK Credential Profile §3.2.16).
const AIK_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.3");
/// tcg-at-tpmManufacturer, tcg-at-tpmModel, tcg-at-tpmVersion.
const HARDWARE: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("2.23.133.2.1"),
    ObjectIdentifier::new_unwrap("2.23.133.2.2"),
    ObjectIdentifier::new_unwrap("2.23.133.2.3"),
];

const GENERATED: u32 = 0xff54_4347;
const ST_ATTEST_CERTIFY: u16 = 0x8017;
const ALG_RSA: u16 = 0x0001;
const ALG_NULL: u16 = 0x0010;
const ALG_RSASSA: u16 = 0x0014;
const ALG_RSAPSS: u16 = 0x0016;
const ALG_ECDSA: u16 = 0x0018;
const ALG_ECC: u16 = 0x0023;
const ALG_SHA256: u16 = 0x000b;
const ALG_SHA384: u16 = 0x000c;
const ALG_SHA512: u16 = 0x000d;

/// fixedTPM, fixedParent, sensitiveDataOrigin, sign: made inside, never to leave, able to sign.
const NEEDED: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 18;
/// restricted: such a key signs what the module says, no request for a certificate.
const RESTRICTED: u32 = 1 << 16;

const WRONG_CERT_INFO: AttestationError = AttestationError::Statement("certInfo is not what a TPM says of a key that it certifies");
const WRONG_PUB_AREA: AttestationError = AttestationError::Statement("pubArea is not a public key that is handled");
const WRONG_SIG: AttestationError = AttestationError::Statement("sig is not a TPMT_SIGNATURE of the algorithm that alg names");

pub(super) fn judge(statement: &Cbor<'_>, certificate: &Link<'_>, claim: &Claim<'_>) -> Result<Attested, AttestationError> {
    let octets = |name| statement.get(name).and_then(Cbor::bytes).ok_or(AttestationError::Member(name));
    if statement.get("ver").and_then(Cbor::text) != Some("2.0") {
        return Err(AttestationError::Member("ver"));
    }
    let algorithm = statement.get("alg").and_then(Cbor::integer).ok_or(AttestationError::Member("alg"))?;
    let (certified, info, signature) = (octets("pubArea")?, octets("certInfo")?, octets("sig")?);
    let devices = judge_certificate(certificate)?;

    let (scheme, signature) = read_signature(algorithm, signature)?;
    let material = spki::key_material(&certificate.key).map_err(|e| AttestationError::Signature(e.into()))?;
    verify_scheme(&material, scheme, info, &signature).map_err(AttestationError::Signature)?;

    let said = CertInfo::read(info).ok_or(WRONG_CERT_INFO)?;
    if said.extra_data != claim.digest() {
        return Err(AttestationError::OtherChallenge);
    }
    let (key, name) = read_public(certified)?;
    if said.name != name {
        return Err(AttestationError::Statement("certInfo certifies another key than pubArea"));
    }
    Ok(Attested { key, devices })
}

/// Octets in the order of the module's structures.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A TPM2B: two octets of size, then as many.
    fn sized(&mut self) -> Option<&'a [u8]> {
        let size = self.u16()?;
        self.take(usize::from(size))
    }

    const fn finish(&self) -> Option<()> {
        if self.0.is_empty() { Some(()) } else { None }
    }
}

/// A TPMS_ATTEST of the type TPM_ST_ATTEST_CERTIFY.
struct CertInfo<'a> {
    extra_data: &'a [u8],
    name: &'a [u8],
}

impl<'a> CertInfo<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.u32()? != GENERATED || fields.u16()? != ST_ATTEST_CERTIFY {
            return None;
        }
        let _qualified_signer = fields.sized()?;
        let extra_data = fields.sized()?;
        // clockInfo (clock, resetCount, restartCount, safe) and firmwareVersion.
        fields.take(8 + 4 + 4 + 1 + 8)?;
        let name = fields.sized()?;
        let _qualified_name = fields.sized()?;
        fields.finish()?;
        Some(Self { extra_data, name })
    }
}

/// The scheme and the signature in DER or as it is, from a TPMT_SIGNATURE; SHA-1 is refused.
fn read_signature(algorithm: i64, bytes: &[u8]) -> Result<(Scheme, Vec<u8>), AttestationError> {
    let mut fields = Fields(bytes);
    let mut read = || -> Option<(Scheme, Vec<u8>)> {
        let kind = fields.u16()?;
        let digest = match fields.u16()? {
            ALG_SHA256 => Sha2::Sha256,
            ALG_SHA384 => Sha2::Sha384,
            ALG_SHA512 => Sha2::Sha512,
            _ => return None,
        };
        let read = match kind {
            ALG_RSASSA => (Scheme::RsaPkcs1(digest), fields.sized()?.to_vec()),
            ALG_ECDSA => {
                let (r, s) = (number(fields.sized()?), number(fields.sized()?));
                (Scheme::Ecdsa(digest), encode::sequence(&[&r, &s]))
            }
            _ => return None,
        };
        fields.finish()?;
        Some(read)
    };
    let (scheme, signature) = read().ok_or(WRONG_SIG)?;
    // RFC 9053 §2.1, RFC 8812 §2.
    let named = match algorithm {
        -7 => Scheme::Ecdsa(Sha2::Sha256),
        -35 => Scheme::Ecdsa(Sha2::Sha384),
        -257 => Scheme::RsaPkcs1(Sha2::Sha256),
        -258 => Scheme::RsaPkcs1(Sha2::Sha384),
        -259 => Scheme::RsaPkcs1(Sha2::Sha512),
        _ => return Err(AttestationError::Member("alg")),
    };
    if scheme == named { Ok((scheme, signature)) } else { Err(WRONG_SIG) }
}

/// INTEGER of an unsigned number of any size.
fn number(octets: &[u8]) -> Vec<u8> {
    let significant = &octets[octets.iter().take_while(|b| **b == 0).count().min(octets.len().saturating_sub(1))..];
    match significant.first() {
        None => encode::tlv(0x02, &[0]),
        Some(0x80..) => encode::tlv(0x02, &[&[0], significant].concat()),
        Some(_) => encode::tlv(0x02, significant),
    }
}

/// The key of a TPMT_PUBLIC and the name that the module gives it: the digest's algorithm and the digest.
fn read_public(bytes: &[u8]) -> Result<(PublicKey, Vec<u8>), AttestationError> {
    let mut fields = Fields(bytes);
    let mut read = || -> Option<(PublicKey, u16, u32)> {
        let (kind, name_algorithm, attributes) = (fields.u16()?, fields.u16()?, fields.u32()?);
        let _policy = fields.sized()?;
        // A symmetric algorithm is for keys that others are stored below.
        if fields.u16()? != ALG_NULL {
            return None;
        }
        let scheme = fields.u16()?;
        match (kind, scheme) {
            (_, ALG_NULL) => {}
            (ALG_RSA, ALG_RSASSA | ALG_RSAPSS) | (ALG_ECC, ALG_ECDSA) => drop(fields.u16()?),
            _ => return None,
        }
        let spki = match kind {
            ALG_RSA => {
                let (_bits, exponent) = (fields.u16()?, fields.u32()?);
                let exponent = if exponent == 0 { 65_537 } else { u64::from(exponent) };
                let key = encode::sequence(&[&number(fields.sized()?), &encode::integer(exponent)]);
                encode::sequence(&[&encode::sequence(&[&encode::oid(oid::RSA_ENCRYPTION), &[5, 0]]), &encode::bits(&key)])
            }
            ALG_ECC => {
                let (curve, width) = match fields.u16()? {
                    3 => (oid::SECP256R1, 32usize),
                    4 => (oid::SECP384R1, 48),
                    _ => return None,
                };
                // No key derivation.
                if fields.u16()? != ALG_NULL {
                    return None;
                }
                let (x, y) = (fields.sized()?, fields.sized()?);
                let padded = |n: &[u8]| width.checked_sub(n.len()).map(|missing| [&vec![0; missing], n].concat());
                let point = [&[4][..], &padded(x)?, &padded(y)?].concat();
                encode::sequence(&[&encode::sequence(&[&encode::oid(oid::EC_PUBLIC_KEY), &encode::oid(curve)]), &encode::bits(&point)])
            }
            _ => return None,
        };
        fields.finish()?;
        Some((PublicKey::from_spki_der(spki), name_algorithm, attributes))
    };
    let (key, name_algorithm, attributes) = read().ok_or(WRONG_PUB_AREA)?;
    if attributes & NEEDED != NEEDED || attributes & RESTRICTED != 0 {
        return Err(AttestationError::Statement(
            "the key was not made inside the TPM to stay there and to sign (fixedTPM, fixedParent, sensitiveDataOrigin, sign, not restricted)",
        ));
    }
    let algorithm = match name_algorithm {
        ALG_SHA256 => &digest::SHA256,
        ALG_SHA384 => &digest::SHA384,
        ALG_SHA512 => &digest::SHA512,
        _ => return Err(WRONG_PUB_AREA),
    };
    let name = [&name_algorithm.to_be_bytes()[..], digest::digest(algorithm, bytes).as_ref()].concat();
    Ok((key, name))
}

/// The rules of Web Authentication §8.3.1 for the attestation key's certificate; gives what it calls the module.
fn judge_certificate(certificate: &Link<'_>) -> Result<Vec<Identifier>, AttestationError> {
    let broken = |what| Err(AttestationError::Rule(1, what));
    if !certificate.subject.content.is_empty() {
        return broken("is of an attestation key and has a subject (Web Authentication §8.3.1)");
    }
    let purposes = certificate.extension(oid::EXTENDED_KEY_USAGE).map(|value| Walker::single(value, SEQUENCE, "extKeyUsage"));
    let Some(Ok(purposes)) = purposes else { return broken("has no extended key usage") };
    let mut list = purposes.walk();
    let mut is_for_attestation = false;
    while !list.is_empty() {
        let purpose = list.expect(OID, "KeyPurposeId").map_err(|e| AttestationError::Certificate(1, e))?;
        is_for_attestation |= purpose.content == AIK_CERTIFICATE.as_bytes();
    }
    if !is_for_attestation {
        return broken("is not for attestation keys (2.23.133.8.3)");
    }
    if certificate.extension(oid::BASIC_CONSTRAINTS).is_none() {
        return broken("has no basicConstraints");
    }
    let Some(names) = certificate.extension(oid::SUBJECT_ALT_NAME) else { return broken("has no subject alternative name") };
    let names = Walker::single(names, SEQUENCE, "subjectAltName").map_err(|e| AttestationError::Certificate(1, e))?;
    let mut names = names.walk();
    let (mut hardware, mut devices) = (false, Vec::new());
    while !names.is_empty() {
        let name = names.next().map_err(|e| AttestationError::Certificate(1, e))?;
        match name.tag {
            0xa4 => hardware |= names_hardware(name.content),
            // One that is not of the form that is handled is not what was ordered.
            0xa0 => devices.extend(read_alt_name(&name).ok().and_then(Result::ok).as_ref().and_then(AltName::identifier)),
            _ => {}
        }
    }
    if hardware { Ok(devices) } else { broken("does not name the TPM's manufacturer, model and version") }
}

/// Whether a directoryName has the three attributes, in whatever RDNs.
fn names_hardware(content: &[u8]) -> bool {
    let mut found = [false; HARDWARE.len()];
    let mut read = || -> Result<(), crate::pki::ParseError> {
        let mut sets = Walker::single(content, SEQUENCE, "directoryName")?.walk();
        while !sets.is_empty() {
            let mut attributes = sets.expect(SET, "relative distinguished name")?.walk();
            while !attributes.is_empty() {
                let kind = attributes.expect(SEQUENCE, "attribute")?.walk().expect(OID, "attribute type")?;
                for (found, id) in found.iter_mut().zip(HARDWARE) {
                    *found |= kind.content == id.as_bytes();
                }
            }
        }
        Ok(())
    };
    read().is_ok() && found == [true; HARDWARE.len()]
}
