//! What a subscriber's certificate says: from the officers' policy, the operator's grant and the order, and from nothing
//! else. The worker computes it anew for each certificate.

use super::grant_limits::check_limits;
use super::{AuthorityPolicy, ProfilePolicy, SubjectParts, SystemName};
use crate::model::Grant;
use crate::pki::{AltName, DnsName, Identifier, SpiffeId, UriName};
use crate::profile::{Attribute, BrcacSubject, LeafContent, LeafShape, MAX_GROUPS, OpenBankingSubject, Psd2, Subject};

/// ub-common-name (RFC 5280 appendix A.1).
const MAX_COMMON_NAME: usize = 64;

/// Most mailboxes that a grant gives.
pub const MAX_EMAILS: usize = 32;

/// Why an order gets no certificate of its profile.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SubscriberError {
    /// One of the order's identifiers does not do.
    #[error("`{0}` {1}")]
    Identifier(Identifier, String),
    /// What the grant gives does not do.
    #[error("the enrolment grant does not fit the profile: {0}")]
    Grant(String),
}

/// The content of a certificate. The identifiers are covered by the grant and by the authority's names: that was
/// judged before.
///
/// # Errors
/// When an identifier is not one of the profile's, or the grant gives too little, too much, or what the policy does not
/// have.
pub fn leaf_content(
    rules: &AuthorityPolicy,
    profile: &ProfilePolicy,
    grant: &Grant,
    identifiers: &[Identifier],
) -> Result<LeafContent, SubscriberError> {
    for identifier in identifiers {
        if !profile.shape.takes_identifier(identifier) {
            let why = format!("names a device, and certificates of the shape `{}` name none", profile.shape);
            return Err(SubscriberError::Identifier(identifier.clone(), why));
        }
        let name = AltName::from(identifier.clone());
        if !profile.has_name(&name) {
            return Err(SubscriberError::Identifier(identifier.clone(), "is outside the profile's names".to_owned()));
        }
    }
    let from_grant = SubscriberError::Grant;
    let content = match profile.shape {
        LeafShape::Client => LeafContent::Client {
            common_name: if profile.subject_cn { common_name(identifiers) } else { None },
            names: with_own_names(rules, profile, grant, identifiers).map_err(from_grant)?,
        },
        LeafShape::Server => LeafContent::Server {
            common_name: if profile.subject_cn { common_name(identifiers) } else { None },
            names: identifiers.to_vec(),
        },
        LeafShape::Spiffe => {
            let id = spiffe_id(rules, profile, grant).map_err(from_grant)?;
            LeafContent::Spiffe { id, subject: fixed_subject(profile).map_err(from_grant)? }
        }
        LeafShape::Kubernetes => kubernetes(profile, grant).map_err(from_grant)?,
        LeafShape::Obwac => {
            let (subject, psd2) = open_banking(profile, &grant.subject).map_err(from_grant)?;
            LeafContent::Obwac { subject, names: with_own_names(rules, profile, grant, identifiers).map_err(from_grant)?, psd2 }
        }
        LeafShape::Obseal => {
            let (subject, psd2) = open_banking(profile, &grant.subject).map_err(from_grant)?;
            LeafContent::Obseal { subject, psd2 }
        }
        LeafShape::Brcac => LeafContent::Brcac {
            subject: brcac(profile, &grant.subject).map_err(from_grant)?,
            names: identifiers.iter().map(dns_only).collect::<Result<_, _>>()?,
        },
        LeafShape::Ocsp => return Err(from_grant("orders have no profile of the shape `ocsp`".to_owned())),
    };
    if identifiers.is_empty() && matches!(profile.shape, LeafShape::Client | LeafShape::Server) && content.names().is_empty() {
        // A grant that is being made: its names are judged with its patterns.
        return Ok(content);
    }
    content.check().map_err(|e| from_grant(e.to_string()))?;
    Ok(content)
}

/// Judges what a grant gives beside its patterns (ACME requirement A18): each of its profiles has what it needs, inside the
/// policy, and nothing is given that none of them takes.
///
/// # Errors
/// Says which profile, and what is missing or too much.
pub fn check_grant(rules: &AuthorityPolicy, grant: &Grant) -> Result<(), String> {
    if grant.emails.len() > MAX_EMAILS {
        return Err(format!("a grant has at most {MAX_EMAILS} mailboxes"));
    }
    let mut takes = (false, false, false);
    for name in &grant.profiles {
        let Some(profile) = rules.profiles.get(name) else { continue };
        let with_names = matches!(profile.shape, LeafShape::Client | LeafShape::Obwac);
        takes.0 |= with_names || profile.shape == LeafShape::Spiffe;
        takes.1 |= with_names;
        takes.2 |= Attribute::ALL.into_iter().any(|attribute| most_values(profile.shape, attribute, false) > 0);
        // For a company of Brazil the common name is a dns name of every order; no other shape's content asks for names.
        let sample = match (profile.shape, grant.subject.get(Attribute::CommonName)) {
            (LeafShape::Brcac, Some([name])) => Identifier::parse("dns", name).map(|name| vec![name]).unwrap_or_default(),
            _ => Vec::new(),
        };
        for identifier in &sample {
            if !grant.names.iter().any(|pattern| pattern.covers(identifier)) {
                return Err(format!("profile `{name}`: the common name `{identifier}` is not among the grant's names"));
            }
        }
        leaf_content(rules, profile, grant, &sample).map_err(|e| format!("profile `{name}`: {e}"))?;
    }
    for (given, taken, what) in [
        (grant.uri.is_some(), takes.0, "a URI"),
        (!grant.emails.is_empty(), takes.1, "a mailbox"),
        (!grant.subject.is_empty(), takes.2, "a part of a subject"),
    ] {
        if given && !taken {
            return Err(format!("none of the grant's profiles takes {what} from a grant"));
        }
    }
    check_limits(rules, grant)
}

/// Judges the parts of a subject that a profile fixes, with samples in place of what grants will give.
pub(super) fn check_fixed(profile: &ProfilePolicy) -> Result<(), String> {
    let nca_id = profile.psd2.as_ref().map_or("GB-FCA", |psd2| psd2.nca_id.as_str());
    let psd = format!("PSD{nca_id}-1");
    let samples: &[(Attribute, &str)] = match profile.shape {
        LeafShape::Obwac | LeafShape::Obseal => &[
            (Attribute::Country, "GB"),
            (Attribute::Organization, "sample"),
            (Attribute::OrganizationIdentifier, &psd),
            (Attribute::CommonName, "sample"),
        ],
        LeafShape::Brcac => &[
            (Attribute::BusinessCategory, BrcacSubject::CATEGORIES[0]),
            (Attribute::SerialNumber, "11222333000181"),
            (Attribute::Organization, "sample"),
            (Attribute::State, "SP"),
            (Attribute::Locality, "sample"),
            (Attribute::OrganizationIdentifier, "OFBBR-1"),
            (Attribute::UserId, "1"),
            (Attribute::CommonName, "sample.test"),
        ],
        LeafShape::Client | LeafShape::Server | LeafShape::Spiffe | LeafShape::Kubernetes | LeafShape::Ocsp => return Ok(()),
    };
    let open = samples.iter().filter(|(attribute, _)| profile.subject.get(*attribute).is_none());
    let granted = SubjectParts::new(open.map(|(attribute, text)| (*attribute, (*text).to_owned())))?;
    let content = match profile.shape {
        LeafShape::Brcac => {
            let subject = brcac(profile, &granted)?;
            LeafContent::Brcac { names: vec![subject.common_name.clone()], subject }
        }
        _ => {
            let (subject, psd2) = open_banking(profile, &granted)?;
            LeafContent::Obseal { subject, psd2 }
        }
    };
    content.check().map_err(|e| e.to_string())
}

/// How many values of an attribute the subject of a shape has at most, from a policy (`fixed`) or from a grant; zero: none.
pub(super) const fn most_values(shape: LeafShape, attribute: Attribute, fixed: bool) -> usize {
    match (shape, attribute) {
        (
            LeafShape::Spiffe,
            Attribute::Country | Attribute::State | Attribute::Locality | Attribute::SerialNumber | Attribute::CommonName,
        ) if fixed => 1,
        (LeafShape::Spiffe, Attribute::Organization | Attribute::OrganizationalUnit) if fixed => MAX_GROUPS,
        (LeafShape::Kubernetes, Attribute::Organization) => MAX_GROUPS,
        // Each user is a grant's own.
        (LeafShape::Kubernetes, Attribute::CommonName) if !fixed => 1,
        (
            LeafShape::Obwac | LeafShape::Obseal,
            Attribute::Country | Attribute::Organization | Attribute::OrganizationIdentifier | Attribute::CommonName,
        ) => 1,
        (
            LeafShape::Brcac,
            Attribute::BusinessCategory
            | Attribute::SerialNumber
            | Attribute::Organization
            | Attribute::State
            | Attribute::Locality
            | Attribute::OrganizationIdentifier
            | Attribute::UserId,
        ) => 1,
        (LeafShape::Brcac, Attribute::CommonName) if !fixed => 1,
        _ => 0,
    }
}

/// The first name that is a dns name and short enough.
fn common_name(identifiers: &[Identifier]) -> Option<String> {
    identifiers.iter().find(|i| matches!(i, Identifier::Dns(_))).map(Identifier::value).filter(|name| name.len() <= MAX_COMMON_NAME)
}

fn dns_only(identifier: &Identifier) -> Result<DnsName, SubscriberError> {
    match identifier {
        Identifier::Dns(name) if !name.is_wildcard() => Ok(name.clone()),
        other => Err(SubscriberError::Identifier(other.clone(), "is not a dns name of one host, as this profile has them".to_owned())),
    }
}

/// The order's identifiers with the grant's own URI and mailboxes.
fn with_own_names(
    rules: &AuthorityPolicy,
    profile: &ProfilePolicy,
    grant: &Grant,
    identifiers: &[Identifier],
) -> Result<Vec<AltName>, String> {
    let mut names: Vec<_> = identifiers.iter().cloned().map(AltName::from).collect();
    let own = grant.uri.iter().cloned().map(AltName::Uri).chain(grant.emails.iter().cloned().map(AltName::Email));
    for name in own {
        permitted(rules, profile, &name)?;
        names.push(name);
    }
    Ok(names)
}

/// Lesson 29: every form of name passes the policy.
fn permitted(rules: &AuthorityPolicy, profile: &ProfilePolicy, name: &AltName) -> Result<(), String> {
    rules.judge(name).map_err(|refusal| format!("`{name}` {refusal}"))?;
    if profile.has_name(name) { Ok(()) } else { Err(format!("`{name}` is outside the profile's names")) }
}

fn spiffe_id(rules: &AuthorityPolicy, profile: &ProfilePolicy, grant: &Grant) -> Result<SpiffeId, String> {
    let given =
        grant.uri.as_ref().map(|uri| uri.spiffe_id().ok_or_else(|| format!("`{}` is not a SPIFFE id", uri.as_str()))).transpose()?;
    let id = match (&profile.uri, given) {
        (Some(template), given) => {
            let filled = template.fill(&grant.service).ok_or_else(|| {
                format!(
                    "the service `{}` can't stand in `{template}` (hint: letters, digits, `-`, `.` and `_`)",
                    grant.service.chars().take(100).collect::<String>()
                )
            })?;
            if let Some(given) = given.filter(|given| *given != filled) {
                return Err(format!("the URI `{given}` is not `{filled}`, which the policy's template gives this service"));
            }
            filled
        }
        (None, Some(given)) => given,
        (None, None) => return Err("the SPIFFE id is missing (hint: --uri spiffe://…)".to_owned()),
    };
    permitted(rules, profile, &AltName::Uri(UriName::from(id.clone())))?;
    Ok(id)
}

fn fixed_subject(profile: &ProfilePolicy) -> Result<Subject, String> {
    // The general before the particular, whatever order the policy lists them in.
    const ORDER: [Attribute; 7] = [
        Attribute::Country,
        Attribute::State,
        Attribute::Locality,
        Attribute::Organization,
        Attribute::OrganizationalUnit,
        Attribute::SerialNumber,
        Attribute::CommonName,
    ];
    let values =
        ORDER.iter().flat_map(|attribute| profile.subject.get(*attribute).unwrap_or_default().iter().map(|v| (*attribute, v.clone())));
    Subject::new(values.collect()).map_err(|e| e.to_string())
}

/// The parts of a subject that a policy fixes with those that a grant gives.
struct Parts<'a> {
    shape: LeafShape,
    fixed: &'a SubjectParts,
    granted: &'a SubjectParts,
}

impl<'a> Parts<'a> {
    fn new(profile: &'a ProfilePolicy, granted: &'a SubjectParts) -> Result<Self, String> {
        let (shape, fixed) = (profile.shape, &profile.subject);
        for (attribute, values) in granted.iter() {
            let most = most_values(shape, attribute, false);
            if most == 0 {
                return Err(format!("the subject of the shape `{}` takes no {attribute} from a grant", shape.as_str()));
            }
            if values.len() > most {
                return Err(format!("the subject of the shape `{}` has at most {most} {attribute}", shape.as_str()));
            }
            if let Some(fixed) = fixed.get(attribute)
                && fixed != values
            {
                return Err(format!("the policy fixes {attribute} to `{}` (hint: leave it out)", fixed.join("`, `")));
            }
        }
        Ok(Self { shape, fixed, granted })
    }

    fn all(&self, attribute: Attribute) -> &'a [String] {
        self.fixed.get(attribute).or_else(|| self.granted.get(attribute)).unwrap_or_default()
    }

    fn one(&self, attribute: Attribute) -> Result<String, String> {
        self.all(attribute)
            .first()
            .cloned()
            .ok_or_else(|| format!("the subject of the shape `{}` needs {attribute} (hint: --subject {attribute}=…)", self.shape.as_str()))
    }
}

fn kubernetes(profile: &ProfilePolicy, grant: &Grant) -> Result<LeafContent, String> {
    let parts = Parts::new(profile, &grant.subject)?;
    let (user, groups) = (parts.one(Attribute::CommonName)?, parts.all(Attribute::Organization).to_vec());
    for name in groups.iter().chain([&user]) {
        if SystemName::is_one(name) && !profile.system_names.iter().any(|own| own.covers(name)) {
            return Err(format!("`{name}` is one of Kubernetes' own names (hint: officers can permit some under system_names)"));
        }
    }
    Ok(LeafContent::Kubernetes { user, groups })
}

fn open_banking(profile: &ProfilePolicy, granted: &SubjectParts) -> Result<(OpenBankingSubject, Psd2), String> {
    let parts = Parts::new(profile, granted)?;
    let psd2 = profile.psd2.clone().ok_or("the policy gives no PSD2 roles")?;
    let subject = OpenBankingSubject {
        country: parts.one(Attribute::Country)?,
        organization: parts.one(Attribute::Organization)?,
        organization_identifier: parts.one(Attribute::OrganizationIdentifier)?,
        common_name: parts.one(Attribute::CommonName)?,
    };
    Ok((subject, psd2))
}

fn brcac(profile: &ProfilePolicy, granted: &SubjectParts) -> Result<BrcacSubject, String> {
    let parts = Parts::new(profile, granted)?;
    let common_name = parts.one(Attribute::CommonName)?;
    Ok(BrcacSubject {
        business_category: parts.one(Attribute::BusinessCategory)?,
        cnpj: parts.one(Attribute::SerialNumber)?,
        organization: parts.one(Attribute::Organization)?,
        state: parts.one(Attribute::State)?,
        locality: parts.one(Attribute::Locality)?,
        organization_identifier: parts.one(Attribute::OrganizationIdentifier)?,
        software_statement: parts.one(Attribute::UserId)?,
        common_name: DnsName::parse(&common_name).map_err(|e| format!("the common name: {e}"))?,
    })
}
