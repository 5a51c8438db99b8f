//! Further certificates of an authority, by which its certificates lead to other roots.

use serde::{Deserialize, Serialize};

use super::{Authority, AuthorityName};
use crate::pki::{Certificate, ParseError, Timestamp, VerifyError};

/// A certificate of an authority's key and subject by another CA than the authority's own certificate has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CrossCertificate {
    /// Its number, which the store gives it and no other ever has: URLs of alternate chains carry it. 0 until it is stored.
    pub number: u64,
    /// The authority whose key and subject it certifies.
    pub authority: AuthorityName,
    /// The subject of the CA that signed it, RFC 4514.
    pub issuer: String,
    /// The certificate, DER.
    #[serde(with = "super::bytes")]
    pub certificate: Vec<u8>,
    /// Its last second.
    pub not_after: Timestamp,
}

/// Why a certificate is no cross-certificate of an authority here.
#[derive(Debug, thiserror::Error)]
pub enum CrossError {
    /// It does not parse.
    #[error("the cross-certificate does not parse")]
    Parse(#[from] ParseError),
    /// The CA that the bundle names did not sign it.
    #[error("the cross-certificate of `{0}` is not signed by the CA of its bundle")]
    Issuer(String, #[source] VerifyError),
    /// It may not sign certificates.
    #[error("the certificate of `{0}` is none of a CA")]
    NotACa(String),
    /// Neither its key nor its subject is known.
    #[error(
        "the cross-certificate of `{0}` has neither key nor subject of an authority here (hint: import that authority's own bundle first)"
    )]
    Unknown(String),
    /// The subject is an authority's, the key is not.
    #[error("the cross-certificate of `{subject}` has the subject of the authority {authority}, but another key")]
    OtherKey {
        /// Whose subject it has.
        authority: AuthorityName,
        /// Its subject.
        subject: String,
    },
    /// The key is an authority's, the subject is not.
    #[error("the cross-certificate of `{subject}` has the key of the authority {authority}, but another subject")]
    OtherSubject {
        /// Whose key it has.
        authority: AuthorityName,
        /// Its subject.
        subject: String,
    },
}

impl CrossCertificate {
    /// The most that an authority has.
    pub const MAX_PER_AUTHORITY: usize = 16;
    /// The most in one instance: whoever serves them holds them all in memory.
    pub const MAX: usize = 256;

    /// Reads a cross-certificate that `issuer` signed and finds whose it is; none where it is an authority's own
    /// certificate, by which that one is known here.
    ///
    /// # Errors
    /// When it does not parse, `issuer` did not sign it, or its key and subject are not those of one authority of the list.
    pub fn read(der: &[u8], issuer: &Certificate, authorities: &[Authority]) -> Result<Option<Self>, CrossError> {
        let certificate = Certificate::from_der(der)?;
        let subject = || certificate.subject_text().to_owned();
        certificate.is_signed_by(issuer).map_err(|e| CrossError::Issuer(subject(), e))?;
        if !certificate.is_ca() {
            return Err(CrossError::NotACa(subject()));
        }
        if authorities.iter().any(|a| a.certificate == der) {
            return Ok(None);
        }
        let mut half = None;
        for authority in authorities {
            let own = Certificate::from_der(&authority.certificate)?;
            let is_key = own.public_key() == certificate.public_key();
            let is_subject = own.subject_der() == certificate.subject_der();
            let name = || authority.name.clone();
            match (is_key, is_subject) {
                (true, true) => {
                    return Ok(Some(Self {
                        number: 0,
                        authority: name(),
                        issuer: issuer.subject_text().to_owned(),
                        certificate: der.to_vec(),
                        not_after: certificate.not_after(),
                    }));
                }
                (true, false) => half = Some(CrossError::OtherSubject { authority: name(), subject: subject() }),
                (false, true) => half = Some(CrossError::OtherKey { authority: name(), subject: subject() }),
                (false, false) => {}
            }
        }
        Err(half.unwrap_or_else(|| CrossError::Unknown(subject())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;
    use crate::model::AuthorityKind;

    fn params(name: &str, is_ca: IsCa) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = is_ca;
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    #[test]
    fn a10_key_and_subject_and_signature_make_a_cross_certificate() {
        let ca = || IsCa::Ca(BasicConstraints::Unconstrained);
        let [own_key, other_key, third_key] = [(); 3].map(|()| KeyPair::generate().unwrap());
        let root = |name: &str, key: &KeyPair| params(name, ca()).self_signed(key).unwrap().der().to_vec();
        let (own, other, third) = (root("Own", &own_key), root("Other", &other_key), root("Third", &third_key));
        let by_other = |name: &str, key: &KeyPair, is_ca: IsCa| {
            let (other, name) = (params("Other", ca()), params(name, is_ca));
            name.signed_by(key, &Issuer::from_params(&other, &other_key)).unwrap().der().to_vec()
        };
        let authority = Authority {
            name: "own-root".parse().unwrap(),
            kind: AuthorityKind::Root,
            certificate: own.clone(),
            issuer: None,
            key: None,
            is_default: false,
            imported_at: Timestamp::from_unix(0),
        };
        let read = |der: &[u8], issuer: &[u8]| {
            CrossCertificate::read(der, &Certificate::from_der(issuer).unwrap(), std::slice::from_ref(&authority))
        };

        let der = by_other("Own", &own_key, ca());
        let not_after = Certificate::from_der(&der).unwrap().not_after();
        let issuer = Certificate::from_der(&other).unwrap().subject_text().to_owned();
        let expected = CrossCertificate { number: 0, authority: authority.name.clone(), issuer, certificate: der.clone(), not_after };
        assert_eq!(read(&der, &other).unwrap(), Some(expected));
        assert_eq!(read(&own, &own).unwrap(), None, "its own certificate makes no further chain");

        let refused = |der: &[u8], issuer: &[u8], part: &str| {
            let error = read(der, issuer).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        };
        refused(&der, &third, "is not signed by the CA of its bundle");
        refused(&der[1..], &other, "does not parse");
        refused(&by_other("Own", &own_key, IsCa::NoCa), &other, "none of a CA");
        refused(&by_other("Own", &third_key, ca()), &other, "the subject of the authority own-root, but another key");
        refused(&by_other("Another", &own_key, ca()), &other, "the key of the authority own-root, but another subject");
        refused(&by_other("Another", &third_key, ca()), &other, "neither key nor subject");
    }
}
