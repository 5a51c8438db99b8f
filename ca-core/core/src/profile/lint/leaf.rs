//! A leaf's to-be-signed bytes against its request: the exact shape of each profile, stated anew.

use const_oid::ObjectIdentifier;

use super::{Expected, Report, Rule, Subject, Value, compare_extensions};
use crate::pki::walk::{PRINTABLE_STRING, UTF8_STRING};
use crate::pki::{AltName, KeyAlgorithm, key_algorithm, oid};
use crate::profile::{Attribute, Finding, Issuer, LeafContent, LeafRequest, Psd2, QcStatements, QcType, Revocation};

/// Compares a leaf's to-be-signed bytes with the request.
///
/// # Errors
/// Every rule that they break.
pub fn lint_leaf(tbs: &[u8], expected: &LeafRequest, issuer: &Issuer) -> Result<(), Vec<Finding>> {
    let mut report = Report::default();
    let fields = Expected {
        serial: expected.serial,
        algorithm: issuer.signature_algorithm(),
        issuer: Some(issuer),
        subject: subject(&expected.content),
        subject_der: None,
        validity: (expected.not_before, expected.not_after),
        public_key: &expected.public_key,
    };
    let Some(extensions) = fields.compare(tbs, &mut report) else { return report.result() };

    let names = names_of(&expected.content);
    judge(expected, &names, &mut report);

    let profile = Profile::of(&expected.content);
    let mut shape = vec![Rule::basic_constraints(&[]), Rule::key_usage(profile.key_usage.0, profile.key_usage.1)];
    if !profile.purposes.is_empty() {
        let purposes = Value::Purposes(profile.purposes);
        shape.push(Rule::new(oid::EXTENDED_KEY_USAGE, false, "extended-key-usage", "profiles; RFC 5280 §4.2.1.12", purposes));
    }
    shape.push(Rule::subject_key_identifier(&expected.public_key));
    shape.push(Rule::authority_key_identifier(issuer));
    let null = || Value::Exactly(vec![5, 0]);
    match (&expected.content, &expected.revocation) {
        (LeafContent::Ocsp { .. }, _) => {
            shape.push(Rule::new(oid::OCSP_NOCHECK, false, "ocsp-nocheck", "RFC 6960 §4.2.2.2.1", null()));
        }
        (_, Revocation::Published(urls)) => {
            shape.push(Rule::information_access(&[(oid::ACCESS_OCSP, &urls.ocsp), (oid::ACCESS_CA_ISSUERS, &urls.issuer)]));
            shape.push(Rule::distribution_point(&urls.crl));
        }
        (_, Revocation::NotAvailable { issuer }) => {
            shape.push(Rule::information_access(&[(oid::ACCESS_CA_ISSUERS, issuer)]));
            shape.push(Rule::new(oid::NO_REV_AVAIL, false, "no-rev-avail", "RFC 9608 §2", null()));
        }
    }
    if !names.is_empty() {
        let critical = fields.subject.is_empty();
        shape.push(Rule::new(oid::SUBJECT_ALT_NAME, critical, "subject-alt-name", "RFC 5280 §4.2.1.6", Value::Names(names)));
    }
    if !expected.policies.is_empty() {
        let policies = Value::Policies(expected.policies.clone());
        shape.push(Rule::new(oid::CERTIFICATE_POLICIES, false, "certificate-policies", "RFC 5280 §4.2.1.4", policies));
    }
    if let Some(statements) = profile.statements {
        let clause = "ETSI EN 319 412-5 §4.2.3; ETSI TS 119 495 §5.1";
        shape.push(Rule::new(oid::QC_STATEMENTS, false, "qc-statements", clause, Value::Statements(statements)));
    }
    compare_extensions(&extensions, &shape, &mut report);
    report.result()
}

/// What a profile fixes.
struct Profile {
    /// The unused bits and the bits of the key usage.
    key_usage: (u8, u8),
    purposes: Vec<ObjectIdentifier>,
    statements: Option<QcStatements>,
}

impl Profile {
    fn of(content: &LeafContent) -> Self {
        const SIGNATURE: (u8, u8) = (7, 0x80);
        const SIGNATURE_NON_REPUDIATION: (u8, u8) = (6, 0xc0);
        const SIGNATURE_ENCIPHERMENT: (u8, u8) = (5, 0xa0);
        let statements = |qc_type, psd2: &Psd2| {
            let mut psd2 = psd2.clone();
            psd2.roles.sort_unstable();
            psd2.roles.dedup();
            Some(QcStatements { qc_type, psd2 })
        };
        let (key_usage, purposes, statements) = match content {
            LeafContent::Client { .. } | LeafContent::Kubernetes { .. } => (SIGNATURE, vec![oid::CLIENT_AUTH], None),
            LeafContent::Server { .. } => (SIGNATURE, vec![oid::SERVER_AUTH], None),
            LeafContent::Spiffe { .. } => (SIGNATURE, vec![oid::SERVER_AUTH, oid::CLIENT_AUTH], None),
            LeafContent::Obwac { psd2, .. } => (SIGNATURE, vec![oid::SERVER_AUTH, oid::CLIENT_AUTH], statements(QcType::Web, psd2)),
            LeafContent::Obseal { psd2, .. } => (SIGNATURE_NON_REPUDIATION, vec![], statements(QcType::Seal, psd2)),
            LeafContent::Brcac { .. } => (SIGNATURE_ENCIPHERMENT, vec![oid::CLIENT_AUTH], None),
            LeafContent::Ocsp { .. } => (SIGNATURE, vec![oid::OCSP_SIGNING], None),
        };
        Self { key_usage, purposes, statements }
    }
}

/// The attributes with their string types, in the order of the profile.
fn subject(content: &LeafContent) -> Subject<'_> {
    let utf8 = |id, text| (id, UTF8_STRING, text);
    let printable = |id, text| (id, PRINTABLE_STRING, text);
    match content {
        LeafContent::Client { common_name, .. } | LeafContent::Server { common_name, .. } => {
            common_name.iter().map(|cn| utf8(oid::COMMON_NAME, cn.as_str())).collect()
        }
        LeafContent::Spiffe { subject, .. } => subject.attributes().iter().map(|(kind, text)| attribute(*kind, text)).collect(),
        LeafContent::Kubernetes { user, groups } => {
            let groups = groups.iter().map(|group| utf8(oid::ORGANIZATION, group.as_str()));
            groups.chain([utf8(oid::COMMON_NAME, user.as_str())]).collect()
        }
        LeafContent::Obwac { subject, .. } | LeafContent::Obseal { subject, .. } => vec![
            printable(oid::COUNTRY, &*subject.country),
            utf8(oid::ORGANIZATION, &*subject.organization),
            utf8(oid::ORGANIZATION_IDENTIFIER, &*subject.organization_identifier),
            utf8(oid::COMMON_NAME, &*subject.common_name),
        ],
        LeafContent::Brcac { subject, .. } => vec![
            utf8(oid::BUSINESS_CATEGORY, &*subject.business_category),
            printable(oid::JURISDICTION_COUNTRY, "BR"),
            printable(oid::SERIAL_NUMBER, &*subject.cnpj),
            printable(oid::COUNTRY, "BR"),
            utf8(oid::ORGANIZATION, &*subject.organization),
            utf8(oid::STATE, &*subject.state),
            utf8(oid::LOCALITY, &*subject.locality),
            utf8(oid::ORGANIZATION_IDENTIFIER, &*subject.organization_identifier),
            utf8(oid::USER_ID, &*subject.software_statement),
            utf8(oid::COMMON_NAME, subject.common_name.as_str()),
        ],
        LeafContent::Ocsp { common_name } => vec![utf8(oid::COMMON_NAME, common_name.as_str())],
    }
}

fn attribute(kind: Attribute, text: &str) -> (ObjectIdentifier, u8, &str) {
    let (id, tag) = match kind {
        Attribute::BusinessCategory => (oid::BUSINESS_CATEGORY, UTF8_STRING),
        Attribute::JurisdictionCountry => (oid::JURISDICTION_COUNTRY, PRINTABLE_STRING),
        Attribute::SerialNumber => (oid::SERIAL_NUMBER, PRINTABLE_STRING),
        Attribute::Country => (oid::COUNTRY, PRINTABLE_STRING),
        Attribute::Organization => (oid::ORGANIZATION, UTF8_STRING),
        Attribute::OrganizationalUnit => (oid::ORGANIZATIONAL_UNIT, UTF8_STRING),
        Attribute::State => (oid::STATE, UTF8_STRING),
        Attribute::Locality => (oid::LOCALITY, UTF8_STRING),
        Attribute::OrganizationIdentifier => (oid::ORGANIZATION_IDENTIFIER, UTF8_STRING),
        Attribute::UserId => (oid::USER_ID, UTF8_STRING),
        Attribute::CommonName => (oid::COMMON_NAME, UTF8_STRING),
    };
    (id, tag, text)
}

/// The names that the certificate must have, sorted, each once.
fn names_of(content: &LeafContent) -> Vec<AltName> {
    let mut names: Vec<AltName> = match content {
        LeafContent::Client { names, .. } | LeafContent::Obwac { names, .. } => names.clone(),
        LeafContent::Server { names, .. } => names.iter().cloned().map(AltName::from).collect(),
        LeafContent::Brcac { names, .. } => names.iter().cloned().map(AltName::Dns).collect(),
        LeafContent::Spiffe { id, .. } => vec![AltName::Uri(id.clone().into())],
        LeafContent::Kubernetes { .. } | LeafContent::Obseal { .. } | LeafContent::Ocsp { .. } => vec![],
    };
    names.sort();
    names.dedup();
    names
}

/// What the request itself may not ask, whatever built the bytes.
fn judge(expected: &LeafRequest, names: &[AltName], report: &mut Report) {
    let dns: Vec<&str> = names.iter().filter_map(|name| if let AltName::Dns(name) = name { Some(name.as_str()) } else { None }).collect();
    let is_svid = |name: &AltName| matches!(name, AltName::Uri(uri) if uri.as_str().to_ascii_lowercase().starts_with("spiffe:"));
    let common_name = match &expected.content {
        LeafContent::Client { common_name, .. } | LeafContent::Server { common_name, .. } => common_name.as_deref(),
        LeafContent::Brcac { subject, .. } => Some(subject.common_name.as_str()),
        _ => None,
    };
    report.check(common_name.is_none_or(|cn| dns.contains(&cn)), "common-name", "profiles", || {
        "the common name is none of the dns names".to_owned()
    });
    match &expected.content {
        LeafContent::Client { .. } | LeafContent::Server { .. } => {
            report.check(!names.is_empty(), "names", "profiles", || "a client or server has at least one name".to_owned());
        }
        LeafContent::Spiffe { id, .. } => {
            let path = id.as_str().strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')).map(|(_, path)| path);
            let fine = path.is_some_and(|path| !path.is_empty() && !path.split('/').any(|s| s.is_empty() || s == "." || s == ".."));
            report.check(fine, "spiffe-id", "X509-SVID §2, §4.1", || format!("`{id}` has no path or another scheme", id = id.as_str()));
        }
        LeafContent::Kubernetes { user, groups } => {
            let masters = groups.iter().chain([user]).any(|name| name.eq_ignore_ascii_case("system:masters"));
            report.check(!masters, "kubernetes-masters", "profiles: system:masters never", || "it names system:masters".to_owned());
        }
        LeafContent::Obwac { subject, .. } | LeafContent::Obseal { subject, .. } => {
            let differs = subject.organization_identifier != subject.organization;
            report.check(differs, "organization-identifier", "ETSI EN 319 412-3 §4.2.1: different from the organization", || {
                "the organizationIdentifier is the organization".to_owned()
            });
        }
        LeafContent::Brcac { .. } => {
            let wildcard = dns.iter().find(|name| name.starts_with("*."));
            report.check(wildcard.is_none(), "names", "profiles", || "a BRCAC certificate has no wildcard".to_owned());
            let enciphers =
                matches!(key_algorithm(&expected.public_key), Ok(KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096));
            report.check(enciphers, "key-usage", "RFC 5480 §3, RFC 8410 §5: keyEncipherment is for RSA", || {
                "the key enciphers no keys".to_owned()
            });
        }
        LeafContent::Ocsp { .. } => {
            let bare = expected.policies.is_empty() && matches!(expected.revocation, Revocation::Published(_));
            report.check(bare, "ocsp-nocheck", "profiles", || "a responder names no policy and has no noRevAvail".to_owned());
        }
    }
    let may_have_svid = matches!(expected.content, LeafContent::Spiffe { .. });
    report.check(may_have_svid || !names.iter().any(is_svid), "spiffe-id", "profiles: only spiffe carries spiffe://", || {
        "a name is of the scheme spiffe".to_owned()
    });
    let is_device = |name: &AltName| matches!(name, AltName::PermanentIdentifier(_) | AltName::HardwareModule(_));
    let may_name_devices = matches!(expected.content, LeafContent::Client { .. });
    report.check(may_name_devices || !names.iter().any(is_device), "names", "profiles: only client names devices", || {
        "a name is a device's".to_owned()
    });
    let repeated = (1..expected.policies.len()).any(|i| expected.policies[..i].contains(&expected.policies[i]));
    report.check(!repeated && !expected.policies.contains(&oid::ANY_POLICY), "certificate-policies", "RFC 5280 §4.2.1.4", || {
        "a policy stands twice, or is anyPolicy".to_owned()
    });
}
