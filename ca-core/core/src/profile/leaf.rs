//! Certificates of subscribers, servers and delegated OCSP responders.

use std::str::FromStr;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_OCSP_SIGNING, ID_KP_SERVER_AUTH};
use const_oid::db::rfc6960::ID_PKIX_OCSP_NOCHECK;
use der::asn1::{Null, OctetString};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName};

use super::build::{self, Parts};
use super::{Issuer, ProfileError, check_key};
use crate::model::StatusUrls;
use crate::pki::{Identifier, PublicKey, SerialNumber, Timestamp};

/// Most names of a certificate.
const MAX_NAMES: usize = 100;

/// The shape of an end-entity certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LeafShape {
    /// A generic client for mutual TLS.
    Client,
    /// An internal TLS server.
    Server,
    /// A delegated OCSP responder (RFC 6960 §4.2.2.2).
    Ocsp,
}

impl LeafShape {
    /// Every shape.
    pub const ALL: [Self; 3] = [Self::Client, Self::Server, Self::Ocsp];

    /// Its name in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Ocsp => "ocsp",
        }
    }

    const fn purpose(self) -> ObjectIdentifier {
        match self {
            Self::Client => ID_KP_CLIENT_AUTH,
            Self::Server => ID_KP_SERVER_AUTH,
            Self::Ocsp => ID_KP_OCSP_SIGNING,
        }
    }
}

impl FromStr for LeafShape {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| format!("unknown certificate shape `{text}` (one of client, server, ocsp)"))
    }
}

/// What goes into an end-entity certificate. It has no way to say that the certificate is a CA's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeafRequest {
    /// The shape.
    pub shape: LeafShape,
    /// The reserved serial number.
    pub serial: SerialNumber,
    /// notBefore, already set back by the skew.
    pub not_before: Timestamp,
    /// notAfter, at the latest the issuer's.
    pub not_after: Timestamp,
    /// The names; none for `ocsp`. They stand in the certificate sorted, each once.
    pub identifiers: Vec<Identifier>,
    /// The common name: for `client` and `server` none (an empty subject) or one of the dns names; for `ocsp` required.
    pub subject_cn: Option<String>,
    /// The subject's key.
    pub public_key: PublicKey,
    /// The issuer's URLs; unused for `ocsp`.
    pub urls: StatusUrls,
}

impl LeafRequest {
    /// The names as they stand in the certificate.
    fn sorted_names(&self) -> Vec<Identifier> {
        let mut names = self.identifiers.clone();
        names.sort();
        names.dedup();
        names
    }

    fn check_names(&self) -> Result<(), ProfileError> {
        if self.identifiers.len() > MAX_NAMES {
            return Err(ProfileError::Names("there are more than 100"));
        }
        match (self.shape, &self.subject_cn) {
            (LeafShape::Ocsp, _) if !self.identifiers.is_empty() => Err(ProfileError::Names("an OCSP responder has none")),
            (LeafShape::Ocsp, None) => Err(ProfileError::Subject("an OCSP responder has a common name")),
            (LeafShape::Ocsp, Some(_)) => Ok(()),
            (LeafShape::Client | LeafShape::Server, _) if self.identifiers.is_empty() => {
                Err(ProfileError::Names("there must be at least one"))
            }
            // What stands in the common name was authorized as a dns name, or does not stand there. (An address there would
            // be held against the dns constraints by OpenSSL.)
            (LeafShape::Client | LeafShape::Server, Some(cn))
                if !self.identifiers.iter().any(|i| i.kind() == "dns" && i.value() == *cn) =>
            {
                Err(ProfileError::Subject("the common name is not one of the certificate's dns names"))
            }
            (LeafShape::Client | LeafShape::Server, _) => Ok(()),
        }
    }
}

/// Builds the to-be-signed bytes of a leaf.
///
/// # Errors
/// When the request breaks a rule of its profile: see [`ProfileError`].
pub fn build_leaf(request: &LeafRequest, issuer: &Issuer) -> Result<Vec<u8>, ProfileError> {
    request.check_names()?;
    check_key(&request.public_key)?;
    build::check_below(&request.public_key, request.not_after, issuer)?;

    let mut extensions = vec![
        build::extension(true, &BasicConstraints { ca: false, path_len_constraint: None })?,
        build::extension(true, &KeyUsage(KeyUsages::DigitalSignature.into()))?,
        build::extension(false, &ExtendedKeyUsage(vec![request.shape.purpose()]))?,
        build::subject_key_identifier(&request.public_key)?,
        build::authority_key_identifier(issuer)?,
    ];
    match request.shape {
        LeafShape::Client | LeafShape::Server => {
            extensions.push(build::information_access(Some(&request.urls.ocsp), &request.urls.issuer)?);
            extensions.push(build::distribution_point(&request.urls.crl)?);
            let names = request.sorted_names().iter().map(build::general_name).collect::<Result<_, _>>()?;
            // RFC 5280 §4.2.1.6: critical when the subject is empty.
            extensions.push(build::extension(request.subject_cn.is_none(), &SubjectAltName(names))?);
        }
        // RFC 6960 §4.2.2.2.1: never asked about, so it tells nobody where to ask.
        LeafShape::Ocsp => {
            let null = der::Encode::to_der(&Null)?;
            extensions.push(Extension { extn_id: ID_PKIX_OCSP_NOCHECK, critical: false, extn_value: OctetString::new(null)? });
        }
    }
    build::encode(Parts {
        serial: request.serial,
        issuer: Some(issuer.certificate().subject_der()),
        subject: build::name(&[(build::Attribute::CommonName, request.subject_cn.as_deref())])?,
        not_before: request.not_before,
        not_after: request.not_after,
        public_key: &request.public_key,
        algorithm: issuer.signature_algorithm(),
        extensions,
    })
}
