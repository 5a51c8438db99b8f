//! Certificates of subscribers, servers and delegated OCSP responders.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_OCSP_SIGNING, ID_KP_SERVER_AUTH};
use const_oid::db::rfc6960::ID_PKIX_OCSP_NOCHECK;
use der::asn1::{Null, OctetString};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::certpolicy::PolicyInformation;
use x509_cert::ext::pkix::{BasicConstraints, CertificatePolicies, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName};

use super::build::{self, Parts};
use super::psd2::{QcStatements, QcType};
use super::{Issuer, LeafContent, LeafShape, ProfileError, check_key};
use crate::model::StatusUrls;
use crate::pki::{PublicKey, SerialNumber, Timestamp, oid};

/// Most policies that a certificate names.
const MAX_POLICIES: usize = 8;

/// Where a relying party learns whether a certificate was revoked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Revocation {
    /// By OCSP and from the CRL of the certificate's partition.
    Published(StatusUrls),
    /// Nowhere: id-ce-noRevAvail (RFC 9608), beside which neither may stand.
    NotAvailable {
        /// Where the issuer's certificate is: AIA caIssuers.
        issuer: String,
    },
}

/// What goes into an end-entity certificate. It has no way to say that the certificate is a CA's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeafRequest {
    /// The reserved serial number.
    pub serial: SerialNumber,
    /// notBefore, already set back by the skew.
    pub not_before: Timestamp,
    /// notAfter, at the latest the issuer's.
    pub not_after: Timestamp,
    /// The subject's key.
    pub public_key: PublicKey,
    /// Subject, names and statements; with them, the shape.
    pub content: LeafContent,
    /// The policies under which it is issued, at most eight; none for a responder.
    pub policies: Vec<ObjectIdentifier>,
    /// Where its status is told; a responder's certificate says nothing of it, whatever stands here.
    pub revocation: Revocation,
}

impl LeafRequest {
    /// The shape.
    pub const fn shape(&self) -> LeafShape {
        self.content.shape()
    }

    fn check(&self) -> Result<(), ProfileError> {
        self.content.check()?;
        let algorithm = check_key(&self.public_key)?;
        if !self.shape().takes_key(algorithm) {
            return Err(ProfileError::KeyUsage("only an RSA key enciphers keys, as this profile's key usage says"));
        }
        check_policies(&self.policies)?;
        match (self.shape(), &self.revocation) {
            (LeafShape::Ocsp, _) if !self.policies.is_empty() => Err(ProfileError::Policies("an OCSP responder's certificate has none")),
            (LeafShape::Ocsp, Revocation::NotAvailable { .. }) => {
                Err(ProfileError::Revocation("an OCSP responder's certificate carries ocsp-nocheck, not noRevAvail"))
            }
            _ => Ok(()),
        }
    }
}

/// Judges a list of policies: few, each once, and not anyPolicy, which says nothing of a leaf.
///
/// # Errors
/// Says what is wrong.
pub fn check_policies(policies: &[ObjectIdentifier]) -> Result<(), ProfileError> {
    if policies.len() > MAX_POLICIES {
        return Err(ProfileError::Policies("there are more than eight"));
    }
    for (i, policy) in policies.iter().enumerate() {
        if *policy == oid::ANY_POLICY {
            return Err(ProfileError::Policies("anyPolicy is no policy of a leaf"));
        }
        // RFC 5280 §4.2.1.4
        if policies[..i].contains(policy) {
            return Err(ProfileError::Policies("one stands twice"));
        }
    }
    Ok(())
}

/// Builds the to-be-signed bytes of a leaf.
///
/// # Errors
/// When the request breaks a rule of its profile: see [`ProfileError`].
pub fn build_leaf(request: &LeafRequest, issuer: &Issuer) -> Result<Vec<u8>, ProfileError> {
    request.check()?;
    build::check_below(&request.public_key, request.not_after, issuer)?;

    let (usages, purposes) = usages(request.shape());
    let mut extensions =
        vec![build::extension(true, &BasicConstraints { ca: false, path_len_constraint: None })?, build::extension(true, &usages)?];
    if !purposes.is_empty() {
        extensions.push(build::extension(false, &ExtendedKeyUsage(purposes))?);
    }
    extensions.push(build::subject_key_identifier(&request.public_key)?);
    extensions.push(build::authority_key_identifier(issuer)?);
    let subject = request.content.subject()?;
    match (&request.content, &request.revocation) {
        // RFC 6960 §4.2.2.2.1: never asked about, so it tells nobody where to ask.
        (LeafContent::Ocsp { .. }, _) => extensions.push(null(ID_PKIX_OCSP_NOCHECK)?),
        (_, Revocation::Published(urls)) => {
            extensions.push(build::information_access(Some(&urls.ocsp), &urls.issuer)?);
            extensions.push(build::distribution_point(&urls.crl)?);
        }
        (_, Revocation::NotAvailable { issuer }) => {
            extensions.push(build::information_access(None, issuer)?);
            extensions.push(null(oid::NO_REV_AVAIL)?);
        }
    }
    let names = request.content.names();
    if !names.is_empty() {
        let names = names.iter().map(build::general_name).collect::<Result<_, _>>()?;
        // RFC 5280 §4.2.1.6: critical when the subject is empty.
        extensions.push(build::extension(subject.is_empty(), &SubjectAltName(names))?);
    }
    if !request.policies.is_empty() {
        let policy = |id: &ObjectIdentifier| PolicyInformation { policy_identifier: *id, policy_qualifiers: None };
        extensions.push(build::extension(false, &CertificatePolicies(request.policies.iter().map(policy).collect()))?);
    }
    if let Some(statements) = statements(&request.content) {
        let extn_value = OctetString::new(statements.to_der()?)?;
        extensions.push(Extension { extn_id: oid::QC_STATEMENTS, critical: false, extn_value });
    }
    build::encode(Parts {
        serial: request.serial,
        issuer: Some(issuer.certificate().subject_der()),
        subject: build::name(subject.attributes())?,
        not_before: request.not_before,
        not_after: request.not_after,
        public_key: &request.public_key,
        algorithm: issuer.signature_algorithm(),
        extensions,
    })
}

fn usages(shape: LeafShape) -> (KeyUsage, Vec<ObjectIdentifier>) {
    let usage = match shape {
        LeafShape::Obseal => KeyUsages::DigitalSignature | KeyUsages::NonRepudiation,
        LeafShape::Brcac => KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment,
        LeafShape::Client | LeafShape::Server | LeafShape::Spiffe | LeafShape::Kubernetes | LeafShape::Obwac | LeafShape::Ocsp => {
            KeyUsages::DigitalSignature.into()
        }
    };
    let purposes = match shape {
        LeafShape::Client | LeafShape::Kubernetes | LeafShape::Brcac => vec![ID_KP_CLIENT_AUTH],
        LeafShape::Server => vec![ID_KP_SERVER_AUTH],
        LeafShape::Spiffe | LeafShape::Obwac => vec![ID_KP_SERVER_AUTH, ID_KP_CLIENT_AUTH],
        LeafShape::Obseal => vec![],
        LeafShape::Ocsp => vec![ID_KP_OCSP_SIGNING],
    };
    (KeyUsage(usage), purposes)
}

fn statements(content: &LeafContent) -> Option<QcStatements> {
    match content {
        LeafContent::Obwac { psd2, .. } => Some(QcStatements { qc_type: QcType::Web, psd2: psd2.clone() }),
        LeafContent::Obseal { psd2, .. } => Some(QcStatements { qc_type: QcType::Seal, psd2: psd2.clone() }),
        LeafContent::Client { .. }
        | LeafContent::Server { .. }
        | LeafContent::Spiffe { .. }
        | LeafContent::Kubernetes { .. }
        | LeafContent::Brcac { .. }
        | LeafContent::Ocsp { .. } => None,
    }
}

/// An extension whose presence says it all.
fn null(id: ObjectIdentifier) -> Result<Extension, ProfileError> {
    Ok(Extension { extn_id: id, critical: false, extn_value: OctetString::new(der::Encode::to_der(&Null)?)? })
}
