//! What every to-be-signed certificate is made of, on x509-cert's types.

use const_oid::AssociatedOid;
use const_oid::db::rfc5280::{ID_AD_CA_ISSUERS, ID_AD_OCSP};
use der::asn1::{Any, Ia5String, OctetString, PrintableStringRef, SetOfVec, Utf8StringRef};
use der::{Decode as _, Encode};
use spki::{
    AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, EncodePublicKey, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef,
};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::builder::{Builder as _, CertificateBuilder, profile::BuilderProfile};
use x509_cert::certificate::TbsCertificate;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName, OtherName};
use x509_cert::ext::pkix::{
    AccessDescription, AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, CrlDistributionPoints, SubjectKeyIdentifier,
};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::time::{Time, Validity};

use super::{Attribute, Issuer, ProfileError};
use crate::pki::{self, AltName, PublicKey, SerialNumber, SignatureAlgorithm, Timestamp, sha256};

/// The parts of a to-be-signed certificate.
pub(super) struct Parts<'a> {
    pub(super) serial: SerialNumber,
    /// The issuer's subject; none for a root, whose issuer is its own subject.
    pub(super) issuer: Option<&'a [u8]>,
    pub(super) subject: Name,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) public_key: &'a PublicKey,
    pub(super) algorithm: SignatureAlgorithm,
    /// The extensions, all of them, in order.
    pub(super) extensions: Vec<Extension>,
}

pub(super) fn encode(parts: Parts<'_>) -> Result<Vec<u8>, ProfileError> {
    let validity = (parts.not_before, parts.not_after);
    if parts.not_before >= parts.not_after {
        return Err(ProfileError::Validity(validity.0, validity.1));
    }
    let time = |at: Timestamp| -> Result<Time, ProfileError> {
        let wrong = || ProfileError::Validity(validity.0, validity.1);
        let seconds = u64::try_from(at.unix()).map_err(|_| wrong())?;
        let date = der::DateTime::from_unix_duration(std::time::Duration::from_secs(seconds)).map_err(|_| wrong())?;
        // UTCTime through 2049, GeneralizedTime after (RFC 5280 §4.1.2.5).
        Ok(Time::from(date))
    };
    let spki = parts.public_key.spki_der();
    let profile = Exactly {
        issuer: parts.issuer.map_or_else(|| Ok(parts.subject.clone()), Name::from_der)?,
        subject: parts.subject,
        extensions: parts.extensions,
    };
    let encoding = |e: x509_cert::builder::Error| ProfileError::Encoding(e.to_string());
    let mut builder = CertificateBuilder::new(
        profile,
        x509_cert::serial_number::SerialNumber::new(&parts.serial.to_der_integer())?,
        Validity::new(time(parts.not_before)?, time(parts.not_after)?),
        SubjectPublicKeyInfoOwned::from_der(spki)?,
    )
    .map_err(encoding)?;
    builder.finalize(&NoSigner { algorithm: parts.algorithm, spki: Spki(spki.to_vec()) }).map_err(encoding)
}

/// The rules of what stands below an issuer.
pub(super) fn check_below(key: &PublicKey, not_after: Timestamp, issuer: &Issuer) -> Result<(), ProfileError> {
    let above = issuer.certificate();
    if key == above.public_key() {
        return Err(ProfileError::IssuerKey);
    }
    if not_after > above.not_after() {
        return Err(ProfileError::OutlivesIssuer(not_after, above.not_after()));
    }
    Ok(())
}

pub(super) fn extension<T: AssociatedOid + Encode>(critical: bool, value: &T) -> Result<Extension, ProfileError> {
    Ok(Extension { extn_id: T::OID, critical, extn_value: OctetString::new(value.to_der()?)? })
}

/// RFC 7093 §2 method 1: the leftmost 160 bits of SHA-256 over the key's BIT STRING.
pub(super) fn subject_key_identifier(key: &PublicKey) -> Result<Extension, ProfileError> {
    let digest = sha256(pki::spki::subject_public_key(key)?);
    extension(false, &SubjectKeyIdentifier(OctetString::new(&digest.0[..20])?))
}

pub(super) fn authority_key_identifier(issuer: &Issuer) -> Result<Extension, ProfileError> {
    let key_identifier = Some(OctetString::new(issuer.key_identifier())?);
    extension(false, &AuthorityKeyIdentifier { key_identifier, authority_cert_issuer: None, authority_cert_serial_number: None })
}

pub(super) fn information_access(ocsp: Option<&str>, issuer: &str) -> Result<Extension, ProfileError> {
    let mut descriptions = Vec::new();
    for (access_method, url) in [(ID_AD_OCSP, ocsp), (ID_AD_CA_ISSUERS, Some(issuer))] {
        if let Some(url) = url {
            descriptions.push(AccessDescription { access_method, access_location: location(url)? });
        }
    }
    extension(false, &AuthorityInfoAccessSyntax(descriptions))
}

pub(super) fn distribution_point(url: &str) -> Result<Extension, ProfileError> {
    let distribution_point = Some(DistributionPointName::FullName(vec![location(url)?]));
    extension(false, &CrlDistributionPoints(vec![DistributionPoint { distribution_point, reasons: None, crl_issuer: None }]))
}

pub(super) fn general_name(name: &AltName) -> Result<GeneralName, ProfileError> {
    match name {
        AltName::Dns(name) => Ok(GeneralName::DnsName(Ia5String::new(name.as_str())?)),
        AltName::Ip(address) => Ok(GeneralName::from(*address)),
        AltName::Uri(uri) => Ok(GeneralName::UniformResourceIdentifier(Ia5String::new(uri.as_str())?)),
        AltName::Email(mailbox) => Ok(GeneralName::Rfc822Name(Ia5String::new(mailbox.as_str())?)),
        AltName::PermanentIdentifier(name) => other_name(pki::oid::PERMANENT_IDENTIFIER, &name.to_der()),
        AltName::HardwareModule(name) => other_name(pki::oid::HARDWARE_MODULE_NAME, &name.to_der()),
    }
}

fn other_name(type_id: const_oid::ObjectIdentifier, value: &[u8]) -> Result<GeneralName, ProfileError> {
    Ok(GeneralName::OtherName(OtherName { type_id, value: Any::from_der(value)? }))
}

fn location(url: &str) -> Result<GeneralName, ProfileError> {
    let rest = url.strip_prefix("http://").unwrap_or_default();
    if rest.is_empty() || rest.starts_with('/') || url.len() > 1024 || !url.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ProfileError::Url(url.chars().take(100).collect()));
    }
    Ok(GeneralName::UniformResourceIdentifier(Ia5String::new(url)?))
}

/// A name of one attribute in each RDN, in this order: order and encoding never change over renewals.
pub(super) fn name(attributes: &[(Attribute, String)]) -> Result<Name, ProfileError> {
    let mut rdns = RdnSequence::default();
    for (attribute, text) in attributes {
        attribute.check(text)?;
        let value = if attribute.is_printable() { Any::from(PrintableStringRef::new(text)?) } else { Any::from(Utf8StringRef::new(text)?) };
        let pair = AttributeTypeAndValue { oid: attribute.oid(), value };
        rdns.push(RelativeDistinguishedName::from(SetOfVec::try_from(vec![pair])?));
    }
    Ok(Name::from_der(&rdns.to_der()?)?)
}

/// A builder profile that adds nothing to what it is given.
struct Exactly {
    issuer: Name,
    subject: Name,
    extensions: Vec<Extension>,
}

impl BuilderProfile for Exactly {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _key: SubjectPublicKeyInfoRef<'_>,
        _issuer_key: SubjectPublicKeyInfoRef<'_>,
        _tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        Ok(self.extensions.clone())
    }
}

/// Tells the builder the algorithm. It can't sign: the key is elsewhere, behind the intent.
struct NoSigner {
    algorithm: SignatureAlgorithm,
    spki: Spki,
}

#[derive(Clone)]
struct Spki(Vec<u8>);

impl signature::Keypair for NoSigner {
    type VerifyingKey = Spki;
    fn verifying_key(&self) -> Spki {
        self.spki.clone()
    }
}

impl DynSignatureAlgorithmIdentifier for NoSigner {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(AlgorithmIdentifierOwned::from_der(&pki::algorithm_identifier_der(self.algorithm))?)
    }
}

impl EncodePublicKey for Spki {
    fn to_public_key_der(&self) -> spki::Result<der::Document> {
        Ok(der::Document::try_from(self.0.as_slice())?)
    }
}
