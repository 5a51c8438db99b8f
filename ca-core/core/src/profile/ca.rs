//! Certificates of authorities. Only a ceremony makes these requests.

use der::asn1::OctetString;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier};
use x509_cert::name::Name;

use super::build::{self, Parts};
use super::{Attribute, Issuer, ProfileError, check_key, constraints};
use crate::model::StatusUrls;
use crate::pki::{Certificate, PublicKey, SerialNumber, SignatureAlgorithm, Timestamp, key_algorithm};
use crate::policy::NamePattern;

/// The subject of an authority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaSubject {
    /// Two letters of ISO 3166.
    pub country: Option<String>,
    /// The organization.
    pub organization: String,
    /// The common name.
    pub common_name: String,
}

impl CaSubject {
    /// The DER of the name.
    ///
    /// # Errors
    /// When an attribute is refused.
    pub fn to_der(&self) -> Result<Vec<u8>, ProfileError> {
        Ok(der::Encode::to_der(&self.name()?)?)
    }

    fn name(&self) -> Result<Name, ProfileError> {
        let mut attributes: Vec<_> = self.country.iter().map(|country| (Attribute::Country, country.clone())).collect();
        attributes.push((Attribute::Organization, self.organization.clone()));
        attributes.push((Attribute::CommonName, self.common_name.clone()));
        build::name(&attributes)
    }
}

/// What goes into a root's certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootRequest {
    /// The subject, and so the issuer.
    pub subject: CaSubject,
    /// The serial number.
    pub serial: SerialNumber,
    /// notBefore.
    pub not_before: Timestamp,
    /// notAfter.
    pub not_after: Timestamp,
    /// The root's key.
    pub public_key: PublicKey,
    /// The algorithm with which that key signs.
    pub algorithm: SignatureAlgorithm,
}

/// What goes into the certificate of an issuing authority below a root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IntermediateRequest {
    /// The subject.
    pub subject: CaSubject,
    /// The serial number.
    pub serial: SerialNumber,
    /// notBefore.
    pub not_before: Timestamp,
    /// notAfter, at the latest the root's.
    pub not_after: Timestamp,
    /// The intermediate's key.
    pub public_key: PublicKey,
    /// The root's URLs; its OCSP URL is not used.
    pub urls: StatusUrls,
    /// The names that it may issue for. Forms without a pattern are closed.
    pub permitted: Vec<NamePattern>,
}

/// What goes into a cross-certificate: another CA, as its own certificate has it, under this root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CrossRequest {
    /// The other CA's own certificate: subject, key and key identifier are taken from it as they stand, so that what
    /// the other CA issued chains here too.
    pub subject: Certificate,
    /// The serial number.
    pub serial: SerialNumber,
    /// notBefore.
    pub not_before: Timestamp,
    /// notAfter, at the latest the root's.
    pub not_after: Timestamp,
    /// The root's URLs; its OCSP URL is not used.
    pub urls: StatusUrls,
    /// The names that may stand below it.
    pub permitted: Vec<NamePattern>,
    /// How many CAs may stand below it in a path.
    pub path_len: u8,
}

/// Builds the to-be-signed bytes of a root's certificate.
///
/// # Errors
/// When the request breaks a rule of the profile: see [`ProfileError`].
pub fn build_root(request: &RootRequest) -> Result<Vec<u8>, ProfileError> {
    check_key(&request.public_key)?;
    if !key_algorithm(&request.public_key)?.signs_as(request.algorithm) {
        return Err(ProfileError::Algorithm);
    }
    build::encode(Parts {
        serial: request.serial,
        issuer: None,
        subject: request.subject.name()?,
        not_before: request.not_before,
        not_after: request.not_after,
        public_key: &request.public_key,
        algorithm: request.algorithm,
        extensions: vec![
            build::extension(true, &BasicConstraints { ca: true, path_len_constraint: None })?,
            build::extension(true, &KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?,
            build::subject_key_identifier(&request.public_key)?,
        ],
    })
}

/// Builds the to-be-signed bytes of an intermediate's certificate.
///
/// # Errors
/// When the request breaks a rule of the profile: see [`ProfileError`].
pub fn build_intermediate(request: &IntermediateRequest, issuer: &Issuer) -> Result<Vec<u8>, ProfileError> {
    check_key(&request.public_key)?;
    build::check_below(&request.public_key, request.not_after, issuer)?;
    let subject = request.subject.name()?;
    if der::Encode::to_der(&subject)? == issuer.certificate().subject_der() {
        // RFC 5280 §6.1: a path builder would take it for self-issued.
        return Err(ProfileError::Subject("it is the issuer's own"));
    }
    build::encode(Parts {
        serial: request.serial,
        issuer: Some(issuer.certificate().subject_der()),
        subject,
        not_before: request.not_before,
        not_after: request.not_after,
        public_key: &request.public_key,
        algorithm: issuer.signature_algorithm(),
        extensions: vec![
            build::extension(true, &BasicConstraints { ca: true, path_len_constraint: Some(0) })?,
            build::extension(true, &KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?,
            build::subject_key_identifier(&request.public_key)?,
            build::authority_key_identifier(issuer)?,
            build::information_access(None, &request.urls.issuer)?,
            build::distribution_point(&request.urls.crl)?,
            build::extension(true, &constraints::name_constraints(&request.permitted)?)?,
        ],
    })
}

/// Builds the to-be-signed bytes of a cross-certificate.
///
/// # Errors
/// When the request breaks a rule of the profile: see [`ProfileError`].
pub fn build_cross(request: &CrossRequest, issuer: &Issuer) -> Result<Vec<u8>, ProfileError> {
    let other = &request.subject;
    check_key(other.public_key())?;
    build::check_below(other.public_key(), request.not_after, issuer)?;
    if other.subject_der() == issuer.certificate().subject_der() {
        return Err(ProfileError::Subject("it is the issuer's own"));
    }
    if !other.is_ca() {
        return Err(ProfileError::Subject("it is no CA's"));
    }
    let key_identifier = other.key_identifier().ok_or(ProfileError::Subject("its certificate has no subject key identifier"))?;
    build::encode(Parts {
        serial: request.serial,
        issuer: Some(issuer.certificate().subject_der()),
        subject: der::Decode::from_der(other.subject_der())?,
        not_before: request.not_before,
        not_after: request.not_after,
        public_key: other.public_key(),
        algorithm: issuer.signature_algorithm(),
        extensions: vec![
            build::extension(true, &BasicConstraints { ca: true, path_len_constraint: Some(request.path_len) })?,
            build::extension(true, &KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?,
            build::extension(false, &SubjectKeyIdentifier(OctetString::new(key_identifier)?))?,
            build::authority_key_identifier(issuer)?,
            build::information_access(None, &request.urls.issuer)?,
            build::distribution_point(&request.urls.crl)?,
            build::extension(true, &constraints::name_constraints(&request.permitted)?)?,
        ],
    })
}
