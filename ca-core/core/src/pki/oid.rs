//! Object identifiers, each with its source.

use const_oid::ObjectIdentifier;

macro_rules! oids {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub(crate) const $name: ObjectIdentifier = ObjectIdentifier::new_unwrap($text);)*
    };
}

oids! {
    // RFC 5480, RFC 5758, RFC 4055, RFC 8410, RFC 9881: keys and signatures.
    EC_PUBLIC_KEY = "1.2.840.10045.2.1";
    SECP256R1 = "1.2.840.10045.3.1.7";
    SECP384R1 = "1.3.132.0.34";
    RSA_ENCRYPTION = "1.2.840.113549.1.1.1";
    ED25519 = "1.3.101.112";
    ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
    ECDSA_WITH_SHA384 = "1.2.840.10045.4.3.3";
    SHA256_WITH_RSA = "1.2.840.113549.1.1.11";
    ML_DSA_65 = "2.16.840.1.101.3.4.3.18";
    ML_DSA_87 = "2.16.840.1.101.3.4.3.19";
    // X.520: names.
    COMMON_NAME = "2.5.4.3";
    SERIAL_NUMBER = "2.5.4.5";
    COUNTRY = "2.5.4.6";
    LOCALITY = "2.5.4.7";
    STATE = "2.5.4.8";
    STREET = "2.5.4.9";
    ORGANIZATION = "2.5.4.10";
    ORGANIZATIONAL_UNIT = "2.5.4.11";
    BUSINESS_CATEGORY = "2.5.4.15";
    ORGANIZATION_IDENTIFIER = "2.5.4.97";
    // RFC 4519 §2.4, §2.39: names as directories have them.
    DOMAIN_COMPONENT = "0.9.2342.19200300.100.1.25";
    USER_ID = "0.9.2342.19200300.100.1.1";
    // CA/Browser Forum EV Guidelines §9.2.4.
    JURISDICTION_COUNTRY = "1.3.6.1.4.1.311.60.2.1.3";
    // RFC 5280 §4.2, §5.2: extensions.
    SUBJECT_KEY_IDENTIFIER = "2.5.29.14";
    KEY_USAGE = "2.5.29.15";
    SUBJECT_ALT_NAME = "2.5.29.17";
    BASIC_CONSTRAINTS = "2.5.29.19";
    CRL_NUMBER = "2.5.29.20";
    REASON_CODE = "2.5.29.21";
    INVALIDITY_DATE = "2.5.29.24";
    ISSUING_DISTRIBUTION_POINT = "2.5.29.28";
    NAME_CONSTRAINTS = "2.5.29.30";
    CRL_DISTRIBUTION_POINTS = "2.5.29.31";
    CERTIFICATE_POLICIES = "2.5.29.32";
    ANY_POLICY = "2.5.29.32.0";
    AUTHORITY_KEY_IDENTIFIER = "2.5.29.35";
    EXTENDED_KEY_USAGE = "2.5.29.37";
    // RFC 9608 §2.
    NO_REV_AVAIL = "2.5.29.56";
    AUTHORITY_INFO_ACCESS = "1.3.6.1.5.5.7.1.1";
    ACCESS_OCSP = "1.3.6.1.5.5.7.48.1";
    ACCESS_CA_ISSUERS = "1.3.6.1.5.5.7.48.2";
    // RFC 5280 §4.2.1.12, RFC 6960 §4.2.2.2.1.
    SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
    CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
    OCSP_SIGNING = "1.3.6.1.5.5.7.3.9";
    OCSP_NOCHECK = "1.3.6.1.5.5.7.48.1.5";
    // RFC 4043 §3, RFC 4108 §5: names of devices.
    PERMANENT_IDENTIFIER = "1.3.6.1.5.5.7.8.3";
    HARDWARE_MODULE_NAME = "1.3.6.1.5.5.7.8.4";
    // RFC 8737 §6.1.
    ACME_IDENTIFIER = "1.3.6.1.5.5.7.1.31";
    // RFC 3739 §3.2.6, ETSI EN 319 412-5 §4.2.3, ETSI TS 119 495 §5.1.
    QC_STATEMENTS = "1.3.6.1.5.5.7.1.3";
    QC_TYPE = "0.4.0.1862.1.6";
    QC_TYPE_ESEAL = "0.4.0.1862.1.6.2";
    QC_TYPE_WEB = "0.4.0.1862.1.6.3";
    QC_PSD2 = "0.4.0.19495.2";
    PSD2_PSP_AS = "0.4.0.19495.1.1";
    PSD2_PSP_PI = "0.4.0.19495.1.2";
    PSD2_PSP_AI = "0.4.0.19495.1.3";
    PSD2_PSP_IC = "0.4.0.19495.1.4";
    // RFC 2985 §5.4.2.
    EXTENSION_REQUEST = "1.2.840.113549.1.9.14";
    // RFC 2985 §5.4.1.
    CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7";
}
