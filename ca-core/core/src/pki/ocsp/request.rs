//! Requests: which certificates are asked about, and the nonce.

use aws_lc_rs::digest;
use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, IntRef, OctetStringRef};
use der::{Decode, Encode, Tag};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::{MAX_CERT_IDS, MAX_NONCE_LEN, MAX_REQUEST_LEN, OcspError, asn1};
use crate::pki::{PublicKey, SerialNumber};

/// A hash in which a CertID names the issuer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HashAlgorithm {
    /// SHA-1: what most clients send; only a name here, nothing relies on its strength.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// Every hash that is understood.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }

    const fn oid(self) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(match self {
            Self::Sha1 => "1.3.14.3.2.26",
            Self::Sha256 => "2.16.840.1.101.3.4.2.1",
            Self::Sha384 => "2.16.840.1.101.3.4.2.2",
            Self::Sha512 => "2.16.840.1.101.3.4.2.3",
        })
    }
}

/// Names one certificate (RFC 6960 §4.1.1).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CertId {
    // Echoed as it came, because clients compare it with what they sent.
    pub(super) der: Vec<u8>,
    hash: Option<HashAlgorithm>,
    has_parameters: bool,
    name_hash: Vec<u8>,
    key_hash: Vec<u8>,
    serial: Option<SerialNumber>,
}

impl CertId {
    /// Names the certificate of `issuer` with this serial number.
    ///
    /// # Errors
    /// When the parts cannot be encoded, which no issuer's certificate brings about.
    pub fn new(hash: HashAlgorithm, issuer: &IssuerId, serial: SerialNumber) -> Result<Self, OcspError> {
        let (name_hash, key_hash) = issuer.hashes(hash);
        let serial = serial.to_der_integer();
        let id = asn1::CertId {
            hash: AlgorithmIdentifierRef { oid: hash.oid(), parameters: Some(AnyRef::NULL) },
            name_hash: OctetStringRef::new(name_hash)?,
            key_hash: OctetStringRef::new(key_hash)?,
            serial: IntRef::new(&serial)?,
        };
        Self::read(&id)
    }

    /// Its DER, as it came.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The hash, where it is one that is understood.
    pub const fn hash_algorithm(&self) -> Option<HashAlgorithm> {
        self.hash
    }

    /// Whether the hash algorithm came with NULL parameters, which some clients write and others leave out.
    pub const fn has_parameters(&self) -> bool {
        self.has_parameters
    }

    /// The serial number; none where it is not one that any CA may use.
    pub const fn serial(&self) -> Option<SerialNumber> {
        self.serial
    }

    pub(super) fn read(id: &asn1::CertId<'_>) -> Result<Self, OcspError> {
        let plain = id.hash.parameters.is_none_or(|p| p == AnyRef::NULL);
        Ok(Self {
            der: id.to_der()?,
            hash: HashAlgorithm::ALL.into_iter().find(|h| h.oid() == id.hash.oid && plain),
            has_parameters: id.hash.parameters.is_some(),
            name_hash: id.name_hash.as_bytes().to_vec(),
            key_hash: id.key_hash.as_bytes().to_vec(),
            serial: SerialNumber::from_der_integer(id.serial.as_bytes()).ok(),
        })
    }
}

/// An issuer as CertIDs name it: its name and key under every hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IssuerId(Vec<(HashAlgorithm, Vec<u8>, Vec<u8>)>);

impl IssuerId {
    /// The issuer with this subject (DER of the Name) and this key.
    ///
    /// # Errors
    /// When the key is no SubjectPublicKeyInfo.
    pub fn new(subject_der: &[u8], key: &PublicKey) -> Result<Self, OcspError> {
        let key = key_octets(key)?;
        Ok(Self(HashAlgorithm::ALL.into_iter().map(|h| (h, h.digest(subject_der), h.digest(&key))).collect()))
    }

    /// Whether `id` names a certificate of this issuer.
    pub fn is_issuer_of(&self, id: &CertId) -> bool {
        self.0.iter().any(|(hash, name, key)| Some(*hash) == id.hash && *name == id.name_hash && *key == id.key_hash)
    }

    fn hashes(&self, hash: HashAlgorithm) -> (&[u8], &[u8]) {
        self.0.iter().find(|(h, ..)| *h == hash).map(|(_, n, k)| (n.as_slice(), k.as_slice())).expect("`new` hashes with every algorithm")
    }
}

/// The octets of the subjectPublicKey BIT STRING, without tag, length and unused bits (RFC 6960 §4.1.1).
pub(super) fn key_octets(key: &PublicKey) -> Result<Vec<u8>, OcspError> {
    Ok(SubjectPublicKeyInfoRef::from_der(key.spki_der())?.subject_public_key.raw_bytes().to_vec())
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OcspRequest {
    /// What is asked about; at least one.
    pub cert_ids: Vec<CertId>,
    /// The nonce, 1 to 128 octets.
    pub nonce: Option<Vec<u8>>,
}

impl OcspRequest {
    /// Reads a request. A signature is skipped over (RFC 6960 §4.1.2 leaves that to the responder).
    ///
    /// # Errors
    /// When it is not DER, too large, asks about nothing or too much, has a nonce of another length than RFC 9654
    /// allows, or a critical extension that is not understood: all of them malformedRequest.
    pub fn from_der(der: &[u8]) -> Result<Self, OcspError> {
        if der.len() > MAX_REQUEST_LEN {
            return Err(OcspError::Unacceptable("the request is too long"));
        }
        let request = asn1::Request::from_der(der)?;
        if request.tbs.version.is_some_and(|v| v != 0) {
            return Err(OcspError::Unacceptable("the version is not v1"));
        }
        let requests = &request.tbs.requests;
        if requests.is_empty() || requests.len() > MAX_CERT_IDS {
            return Err(OcspError::Unacceptable("the request asks about no certificate or too many"));
        }
        // Nothing here is needed to answer: RFC 6960 §4.4.6 (service locator) is for forwarding responders.
        if requests.iter().flat_map(|r| r.extensions.iter().flatten()).any(|e| e.critical) {
            return Err(OcspError::Unacceptable("a critical extension is not understood"));
        }
        let nonce = nonce_of(request.tbs.extensions.as_deref().unwrap_or_default())?;
        let cert_ids = requests.iter().map(|r| CertId::read(&r.cert_id)).collect::<Result<_, _>>()?;
        Ok(Self { cert_ids, nonce })
    }
}

fn nonce_of(extensions: &[asn1::Extension<'_>]) -> Result<Option<Vec<u8>>, OcspError> {
    let mut nonce = None;
    for extension in extensions {
        match extension.oid {
            asn1::NONCE => {
                // RFC 9654 §2.1: Nonce ::= OCTET STRING (SIZE(1..128)); anything else is malformedRequest.
                let octets = <&OctetStringRef>::from_der(extension.value.as_bytes())?.as_bytes();
                if octets.is_empty() || octets.len() > MAX_NONCE_LEN || nonce.replace(octets.to_vec()).is_some() {
                    return Err(OcspError::Unacceptable("the nonce is empty, longer than 128 octets, or there twice"));
                }
            }
            // Every client takes basic responses, and the key decides the algorithm.
            asn1::ACCEPTABLE_RESPONSES | asn1::PREFERRED_ALGORITHMS => {}
            // RFC 6960 §4.4: what is not understood is ignored, unless it is critical.
            _ if extension.critical => return Err(OcspError::Unacceptable("a critical extension is not understood")),
            _ => {}
        }
    }
    Ok(nonce)
}

/// Builds a request, as a client does.
///
/// # Errors
/// When it asks about nothing or too much, or the nonce has a length that is not allowed.
pub fn build_request(cert_ids: &[CertId], nonce: Option<&[u8]>) -> Result<Vec<u8>, OcspError> {
    if cert_ids.is_empty() || cert_ids.len() > MAX_CERT_IDS || nonce.is_some_and(|n| n.is_empty() || n.len() > MAX_NONCE_LEN) {
        return Err(OcspError::Unacceptable("a request has 1 to 32 CertIDs and a nonce of 1 to 128 octets"));
    }
    let nonce = nonce.map(|n| AnyRef::new(Tag::OctetString, n).and_then(|n| n.to_der())).transpose()?;
    let nonce = nonce.as_deref().map(OctetStringRef::new).transpose()?;
    let requests = cert_ids.iter().map(|id| Ok(asn1::SingleRequest { cert_id: asn1::CertId::from_der(&id.der)?, extensions: None }));
    let request = asn1::Request {
        tbs: asn1::TbsRequest {
            version: None,
            requestor_name: None,
            requests: requests.collect::<Result<_, OcspError>>()?,
            extensions: nonce.map(|value| vec![asn1::Extension { oid: asn1::NONCE, critical: false, value }]),
        },
        signature: None,
    };
    Ok(request.to_der()?)
}
