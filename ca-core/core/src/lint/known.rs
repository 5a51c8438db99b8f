//! The object identifiers that the linter knows, with their names.

use const_oid::ObjectIdentifier;

use crate::pki::oid;

macro_rules! oids {
    ($($name:ident = $text:literal;)*) => {
        $(pub(super) const $name: ObjectIdentifier = ObjectIdentifier::new_unwrap($text);)*
    };
}

oids! {
    // RFC 5280 §4.2, §5.2, §5.3; RFC 9608; RFC 7633; RFC 3739 §3.2.6.
    SUBJECT_DIRECTORY_ATTRIBUTES = "2.5.29.9";
    ISSUER_ALT_NAME = "2.5.29.18";
    DELTA_CRL_INDICATOR = "2.5.29.27";
    CERTIFICATE_ISSUER = "2.5.29.29";
    CERTIFICATE_POLICIES = "2.5.29.32";
    ANY_POLICY = "2.5.29.32.0";
    POLICY_MAPPINGS = "2.5.29.33";
    POLICY_CONSTRAINTS = "2.5.29.36";
    ANY_EXTENDED_KEY_USAGE = "2.5.29.37.0";
    FRESHEST_CRL = "2.5.29.46";
    INHIBIT_ANY_POLICY = "2.5.29.54";
    NO_REV_AVAIL = "2.5.29.56";
    SUBJECT_INFO_ACCESS = "1.3.6.1.5.5.7.1.11";
    TLS_FEATURE = "1.3.6.1.5.5.7.1.24";
    QC_STATEMENTS = "1.3.6.1.5.5.7.1.3";
    // RFC 5280 §4.2.1.4, §4.2.1.12.
    CPS = "1.3.6.1.5.5.7.2.1";
    USER_NOTICE = "1.3.6.1.5.5.7.2.2";
    CODE_SIGNING = "1.3.6.1.5.5.7.3.3";
    EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4";
    TIME_STAMPING = "1.3.6.1.5.5.7.3.8";
    // RFC 9598 §3.
    SMTP_UTF8_MAILBOX = "1.3.6.1.5.5.7.8.9";
    // ETSI EN 319 412-5 §4, TS 119 495 §5.
    QC_COMPLIANCE = "0.4.0.1862.1.1";
    QC_TYPE = "0.4.0.1862.1.6";
    PSD2 = "0.4.0.19495.2";
    // RFC 6960 §4.2.1, §4.4.
    OCSP_BASIC = "1.3.6.1.5.5.7.48.1.1";
    OCSP_NONCE = "1.3.6.1.5.5.7.48.1.2";
    OCSP_CRL_REFERENCES = "1.3.6.1.5.5.7.48.1.3";
    OCSP_ARCHIVE_CUTOFF = "1.3.6.1.5.5.7.48.1.6";
    OCSP_EXTENDED_REVOKE = "1.3.6.1.5.5.7.48.1.9";
    // X.520, RFC 2985, RFC 4519: attributes of names.
    SURNAME = "2.5.4.4";
    SERIAL_NUMBER = "2.5.4.5";
    LOCALITY = "2.5.4.7";
    STATE = "2.5.4.8";
    STREET = "2.5.4.9";
    ORGANIZATIONAL_UNIT = "2.5.4.11";
    TITLE = "2.5.4.12";
    BUSINESS_CATEGORY = "2.5.4.15";
    POSTAL_CODE = "2.5.4.17";
    NAME = "2.5.4.41";
    GIVEN_NAME = "2.5.4.42";
    INITIALS = "2.5.4.43";
    GENERATION_QUALIFIER = "2.5.4.44";
    DN_QUALIFIER = "2.5.4.46";
    PSEUDONYM = "2.5.4.65";
    ORGANIZATION_IDENTIFIER = "2.5.4.97";
    USER_ID = "0.9.2342.19200300.100.1.1";
    DOMAIN_COMPONENT = "0.9.2342.19200300.100.1.25";
    EMAIL_ADDRESS = "1.2.840.113549.1.9.1";
    JURISDICTION_COUNTRY = "1.3.6.1.4.1.311.60.2.1.3";
    // Keys and signatures beyond those that this CA uses.
    SECP521R1 = "1.3.132.0.35";
    ECDSA_WITH_SHA512 = "1.2.840.10045.4.3.4";
    ECDSA_WITH_SHA1 = "1.2.840.10045.4.1";
    MD5_WITH_RSA = "1.2.840.113549.1.1.4";
    SHA1_WITH_RSA = "1.2.840.113549.1.1.5";
    RSASSA_PSS = "1.2.840.113549.1.1.10";
    SHA384_WITH_RSA = "1.2.840.113549.1.1.12";
    SHA512_WITH_RSA = "1.2.840.113549.1.1.13";
    DSA_WITH_SHA1 = "1.2.840.10040.4.3";
    ED448 = "1.3.101.113";
    // RFC 9881 §2.
    ML_DSA_44 = "2.16.840.1.101.3.4.3.17";
    ML_DSA_65 = "2.16.840.1.101.3.4.3.18";
    ML_DSA_87 = "2.16.840.1.101.3.4.3.19";
    // RFC 8017 appendix B.1.
    SHA1 = "1.3.14.3.2.26";
    SHA256 = "2.16.840.1.101.3.4.2.1";
    SHA384 = "2.16.840.1.101.3.4.2.2";
    SHA512 = "2.16.840.1.101.3.4.2.3";
    MGF1 = "1.2.840.113549.1.1.8";
}

/// In certificates, in CRLs, in their entries, in OCSP responses.
pub(super) const CERT: u8 = 1;
pub(super) const LIST: u8 = 2;
pub(super) const ENTRY: u8 = 4;
pub(super) const OCSP: u8 = 8;

/// Extensions that are understood, and where: an unknown one that is critical is an error (RFC 5280 §4.2).
const EXTENSIONS: &[(ObjectIdentifier, &str, u8)] = &[
    (oid::SUBJECT_KEY_IDENTIFIER, "subjectKeyIdentifier", CERT),
    (oid::KEY_USAGE, "keyUsage", CERT),
    (oid::SUBJECT_ALT_NAME, "subjectAltName", CERT),
    (oid::BASIC_CONSTRAINTS, "basicConstraints", CERT),
    (oid::CRL_NUMBER, "cRLNumber", LIST),
    (oid::REASON_CODE, "reasonCode", ENTRY),
    (oid::INVALIDITY_DATE, "invalidityDate", ENTRY),
    (oid::ISSUING_DISTRIBUTION_POINT, "issuingDistributionPoint", LIST),
    (oid::NAME_CONSTRAINTS, "nameConstraints", CERT),
    (oid::CRL_DISTRIBUTION_POINTS, "cRLDistributionPoints", CERT),
    (oid::AUTHORITY_KEY_IDENTIFIER, "authorityKeyIdentifier", CERT | LIST),
    (oid::EXTENDED_KEY_USAGE, "extKeyUsage", CERT),
    (oid::AUTHORITY_INFO_ACCESS, "authorityInfoAccess", CERT | LIST),
    (oid::OCSP_NOCHECK, "ocspNoCheck", CERT),
    (SUBJECT_DIRECTORY_ATTRIBUTES, "subjectDirectoryAttributes", CERT),
    (ISSUER_ALT_NAME, "issuerAltName", CERT | LIST),
    (DELTA_CRL_INDICATOR, "deltaCRLIndicator", LIST),
    (CERTIFICATE_ISSUER, "certificateIssuer", ENTRY),
    (CERTIFICATE_POLICIES, "certificatePolicies", CERT),
    (POLICY_MAPPINGS, "policyMappings", CERT),
    (POLICY_CONSTRAINTS, "policyConstraints", CERT),
    (FRESHEST_CRL, "freshestCRL", CERT | LIST),
    (INHIBIT_ANY_POLICY, "inhibitAnyPolicy", CERT),
    (NO_REV_AVAIL, "noRevAvail", CERT),
    (SUBJECT_INFO_ACCESS, "subjectInfoAccess", CERT),
    (TLS_FEATURE, "tlsFeature", CERT),
    (QC_STATEMENTS, "qcStatements", CERT),
    (OCSP_NONCE, "nonce", OCSP),
    (OCSP_CRL_REFERENCES, "crlReferences", OCSP),
    (OCSP_ARCHIVE_CUTOFF, "archiveCutoff", OCSP),
    (OCSP_EXTENDED_REVOKE, "extendedRevoke", OCSP),
];

/// The name of an extension, or its dotted number.
pub(super) fn name(id: &[u8]) -> String {
    EXTENSIONS.iter().find(|(known, ..)| known.as_bytes() == id).map_or_else(|| dotted(id), |(_, name, _)| (*name).to_owned())
}

/// Whether an extension is understood where it stands.
pub(super) fn is_known(id: &[u8], place: u8) -> bool {
    EXTENSIONS.iter().any(|(known, _, places)| known.as_bytes() == id && places & place != 0)
}

/// An OBJECT IDENTIFIER in dots.
pub(super) fn dotted(id: &[u8]) -> String {
    ObjectIdentifier::from_bytes(id).map_or_else(|_| super::element::hexadecimal(id), |id| id.to_string())
}
