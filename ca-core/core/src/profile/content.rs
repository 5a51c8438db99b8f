//! What each end-entity profile may say: subject, names and statements as closed types.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::subject::{Attribute, Subject};
use super::{ProfileError, Psd2, identifiers};
use crate::pki::{AltName, DnsName, Identifier, KeyAlgorithm, SpiffeId, UriName};

/// Most names of a certificate.
pub(super) const MAX_NAMES: usize = 100;

/// Most groups of a Kubernetes user.
pub const MAX_GROUPS: usize = 32;

/// The shape of an end-entity certificate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LeafShape {
    /// A generic client for mutual TLS.
    Client,
    /// An internal TLS server.
    Server,
    /// A workload with a SPIFFE id (X509-SVID).
    Spiffe,
    /// A user of a Kubernetes cluster.
    Kubernetes,
    /// Open Banking client authentication.
    Obwac,
    /// Open Banking sealing.
    Obseal,
    /// An Open Finance Brasil client.
    Brcac,
    /// A delegated OCSP responder (RFC 6960 §4.2.2.2).
    Ocsp,
}

impl LeafShape {
    /// Every shape.
    pub const ALL: [Self; 8] =
        [Self::Client, Self::Server, Self::Spiffe, Self::Kubernetes, Self::Obwac, Self::Obseal, Self::Brcac, Self::Ocsp];

    /// Its name in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Spiffe => "spiffe",
            Self::Kubernetes => "kubernetes",
            Self::Obwac => "obwac",
            Self::Obseal => "obseal",
            Self::Brcac => "brcac",
            Self::Ocsp => "ocsp",
        }
    }

    /// Whether the order's identifiers stand in the certificate; else they authorize only (ACME requirement A17).
    pub const fn carries_identifiers(self) -> bool {
        match self {
            Self::Client | Self::Server | Self::Obwac | Self::Brcac => true,
            Self::Spiffe | Self::Kubernetes | Self::Obseal | Self::Ocsp => false,
        }
    }

    /// Whether an order of the shape may have this identifier: a device's name stands in a client's certificate, or
    /// authorizes a certificate that carries no identifiers.
    pub const fn takes_identifier(self, identifier: &Identifier) -> bool {
        match self {
            Self::Client | Self::Spiffe | Self::Kubernetes | Self::Obseal => true,
            Self::Server | Self::Obwac | Self::Brcac | Self::Ocsp => !identifier.is_device(),
        }
    }

    /// Whether its certificates need an authority for them alone, which issues no other shape to orders: what they say
    /// counts for something where their issuer is trusted.
    pub const fn needs_own_authority(self) -> bool {
        match self {
            Self::Spiffe | Self::Kubernetes | Self::Obwac | Self::Obseal | Self::Brcac => true,
            Self::Client | Self::Server | Self::Ocsp => false,
        }
    }

    /// Whether a key of this kind can do what the certificate says. A key that enciphers keys is RSA's: the key usage
    /// keyEncipherment is forbidden beside any other (RFC 5480 §3, RFC 8410 §5, RFC 9881 §5).
    pub const fn takes_key(self, algorithm: KeyAlgorithm) -> bool {
        match self {
            Self::Brcac => matches!(algorithm, KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096),
            Self::Client | Self::Server | Self::Spiffe | Self::Kubernetes | Self::Obwac | Self::Obseal | Self::Ocsp => true,
        }
    }
}

impl std::fmt::Display for LeafShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LeafShape {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|s| s.as_str()).collect();
            format!("unknown certificate shape `{}` (one of {})", text.chars().take(60).collect::<String>(), known.join(", "))
        })
    }
}

impl TryFrom<String> for LeafShape {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<LeafShape> for String {
    fn from(shape: LeafShape) -> Self {
        shape.as_str().to_owned()
    }
}

/// Subject, names and statements of an end-entity certificate. Names stand in the certificate sorted, each once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeafContent {
    /// A generic client.
    Client {
        /// None (an empty subject), or one of the dns names.
        common_name: Option<String>,
        /// At least one name; none of the scheme `spiffe`.
        names: Vec<AltName>,
    },
    /// An internal server.
    Server {
        /// None (an empty subject), or one of the dns names.
        common_name: Option<String>,
        /// At least one name.
        names: Vec<Identifier>,
    },
    /// A workload.
    Spiffe {
        /// The SPIFFE id, with a path: the only name.
        id: SpiffeId,
        /// The subject, perhaps empty.
        subject: Subject,
    },
    /// A user of a Kubernetes cluster.
    Kubernetes {
        /// The user, in the CN.
        user: String,
        /// The user's groups, each in an O, in this order; at most 32.
        groups: Vec<String>,
    },
    /// Open Banking client authentication.
    Obwac {
        /// The subject.
        subject: OpenBankingSubject,
        /// The names, perhaps none; none of the scheme `spiffe`.
        names: Vec<AltName>,
        /// The provider's roles.
        psd2: Psd2,
    },
    /// Open Banking sealing.
    Obseal {
        /// The subject.
        subject: OpenBankingSubject,
        /// The provider's roles.
        psd2: Psd2,
    },
    /// An Open Finance Brasil client.
    Brcac {
        /// The subject.
        subject: BrcacSubject,
        /// The dns names, among them the common name; no wildcards.
        names: Vec<DnsName>,
    },
    /// A delegated OCSP responder.
    Ocsp {
        /// The CN.
        common_name: String,
    },
}

/// The subject of an Open Banking certificate: exactly these attributes, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenBankingSubject {
    /// C.
    pub country: String,
    /// O.
    pub organization: String,
    /// organizationIdentifier: `PSDGB-FCA-123456`, `NTRGB-…`, `VATDE-…` or `LEIXG-` with an LEI; not the organization.
    pub organization_identifier: String,
    /// CN: the directory's id of the organization.
    pub common_name: String,
}

/// The subject of an Open Finance Brasil client: exactly these attributes, in this order, with jurisdictionCountry and C
/// of Brazil.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrcacSubject {
    /// businessCategory: one of four.
    pub business_category: String,
    /// serialNumber: the CNPJ, fourteen characters without punctuation.
    pub cnpj: String,
    /// O.
    pub organization: String,
    /// ST.
    pub state: String,
    /// L.
    pub locality: String,
    /// organizationIdentifier: `OFBBR-` and the participant's id.
    pub organization_identifier: String,
    /// UID: the id of the software statement.
    pub software_statement: String,
    /// CN: one of the dns names.
    pub common_name: DnsName,
}

impl LeafContent {
    /// Whose content it is.
    pub const fn shape(&self) -> LeafShape {
        match self {
            Self::Client { .. } => LeafShape::Client,
            Self::Server { .. } => LeafShape::Server,
            Self::Spiffe { .. } => LeafShape::Spiffe,
            Self::Kubernetes { .. } => LeafShape::Kubernetes,
            Self::Obwac { .. } => LeafShape::Obwac,
            Self::Obseal { .. } => LeafShape::Obseal,
            Self::Brcac { .. } => LeafShape::Brcac,
            Self::Ocsp { .. } => LeafShape::Ocsp,
        }
    }

    /// The names as they stand in the certificate.
    pub fn names(&self) -> Vec<AltName> {
        let mut names: Vec<AltName> = match self {
            Self::Client { names, .. } | Self::Obwac { names, .. } => names.clone(),
            Self::Server { names, .. } => names.iter().cloned().map(AltName::from).collect(),
            Self::Brcac { names, .. } => names.iter().cloned().map(AltName::Dns).collect(),
            Self::Spiffe { id, .. } => vec![AltName::Uri(UriName::from(id.clone()))],
            Self::Kubernetes { .. } | Self::Obseal { .. } | Self::Ocsp { .. } => Vec::new(),
        };
        names.sort();
        names.dedup();
        names
    }

    /// The subject as it stands in the certificate.
    ///
    /// # Errors
    /// When an attribute's value is not one of its kind.
    pub fn subject(&self) -> Result<Subject, ProfileError> {
        let own = |list: &[(Attribute, &str)]| Subject::new(list.iter().map(|(a, text)| (*a, (*text).to_owned())).collect());
        match self {
            Self::Client { common_name, .. } | Self::Server { common_name, .. } => match common_name {
                Some(name) => own(&[(Attribute::CommonName, name)]),
                None => Ok(Subject::default()),
            },
            Self::Spiffe { subject, .. } => Ok(subject.clone()),
            Self::Kubernetes { user, groups } => {
                let mut list: Vec<_> = groups.iter().map(|group| (Attribute::Organization, group.as_str())).collect();
                list.push((Attribute::CommonName, user));
                own(&list)
            }
            Self::Obwac { subject, .. } | Self::Obseal { subject, .. } => own(&[
                (Attribute::Country, &subject.country),
                (Attribute::Organization, &subject.organization),
                (Attribute::OrganizationIdentifier, &subject.organization_identifier),
                (Attribute::CommonName, &subject.common_name),
            ]),
            Self::Brcac { subject, .. } => own(&[
                (Attribute::BusinessCategory, &subject.business_category),
                (Attribute::JurisdictionCountry, "BR"),
                (Attribute::SerialNumber, &subject.cnpj),
                (Attribute::Country, "BR"),
                (Attribute::Organization, &subject.organization),
                (Attribute::State, &subject.state),
                (Attribute::Locality, &subject.locality),
                (Attribute::OrganizationIdentifier, &subject.organization_identifier),
                (Attribute::UserId, &subject.software_statement),
                (Attribute::CommonName, subject.common_name.as_str()),
            ]),
            Self::Ocsp { common_name } => own(&[(Attribute::CommonName, common_name)]),
        }
    }

    /// Judges names, subject and statements against the profile.
    ///
    /// # Errors
    /// The first rule that they break.
    pub fn check(&self) -> Result<(), ProfileError> {
        let names = self.names();
        if names.len() > MAX_NAMES {
            return Err(ProfileError::Names("there are more than 100"));
        }
        let subject = self.subject()?;
        match self {
            Self::Client { .. } | Self::Server { .. } if names.is_empty() => Err(ProfileError::Names("there must be at least one")),
            Self::Client { common_name, .. } => {
                check_common_name(common_name.as_deref(), &names)?;
                no_spiffe_id(&names)
            }
            Self::Server { common_name, .. } => {
                check_common_name(common_name.as_deref(), &names)?;
                no_device(&names)
            }
            Self::Spiffe { id, .. } if !id.is_workload() => {
                Err(ProfileError::Names("the SPIFFE id is a trust domain's, not a workload's (hint: give it a path)"))
            }
            Self::Spiffe { .. } | Self::Ocsp { .. } => Ok(()),
            Self::Kubernetes { groups, .. } if groups.len() > MAX_GROUPS => Err(ProfileError::Subject("a user has at most 32 groups")),
            Self::Kubernetes { .. } => {
                if subject.attributes().iter().any(|(_, name)| identifiers::is_masters(name)) {
                    return Err(ProfileError::Subject("nobody is certified for `system:masters`, which no access rule can bind"));
                }
                Ok(())
            }
            Self::Obwac { subject, psd2, .. } => {
                no_spiffe_id(&names)?;
                no_device(&names)?;
                subject.check(psd2)
            }
            Self::Obseal { subject, psd2 } => subject.check(psd2),
            Self::Brcac { subject, .. } => {
                if names.iter().any(|name| matches!(name, AltName::Dns(name) if name.is_wildcard())) {
                    return Err(ProfileError::Names("a BRCAC certificate has no wildcard"));
                }
                check_common_name(Some(subject.common_name.as_str()), &names)?;
                subject.check()
            }
        }
    }
}

/// What stands in the common name was authorized as a dns name, or does not stand there. (An address there would be held
/// against the dns constraints by OpenSSL.)
fn check_common_name(common_name: Option<&str>, names: &[AltName]) -> Result<(), ProfileError> {
    let is_name = |cn: &str| names.iter().any(|name| matches!(name, AltName::Dns(name) if name.as_str() == cn));
    match common_name {
        Some(cn) if !is_name(cn) => Err(ProfileError::Subject("the common name is not one of the certificate's dns names")),
        _ => Ok(()),
    }
}

/// Whoever trusts an issuer for SPIFFE ids must find none on a certificate of another shape.
fn no_spiffe_id(names: &[AltName]) -> Result<(), ProfileError> {
    if names.iter().any(|name| matches!(name, AltName::Uri(uri) if uri.spiffe_id().is_some())) {
        return Err(ProfileError::Names("only the spiffe profile carries spiffe:// names"));
    }
    Ok(())
}

fn no_device(names: &[AltName]) -> Result<(), ProfileError> {
    if names.iter().any(|name| matches!(name, AltName::PermanentIdentifier(_) | AltName::HardwareModule(_))) {
        return Err(ProfileError::Names("only the client profile carries names of devices"));
    }
    Ok(())
}

impl OpenBankingSubject {
    /// Judges what the attributes alone don't say.
    fn check(&self, psd2: &Psd2) -> Result<(), ProfileError> {
        psd2.check()?;
        if self.organization_identifier == self.organization {
            return Err(ProfileError::Subject("the organizationIdentifier differs from the organization"));
        }
        identifiers::check_organization_identifier(&self.organization_identifier, &psd2.nca_id)
    }
}

impl BrcacSubject {
    /// The business categories (CA/Browser Forum EV Guidelines §9.2.3).
    pub const CATEGORIES: [&'static str; 4] = ["Private Organization", "Government Entity", "Business Entity", "Non-Commercial Entity"];

    fn check(&self) -> Result<(), ProfileError> {
        let is_id = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !Self::CATEGORIES.contains(&self.business_category.as_str()) {
            Err(ProfileError::Subject(
                "a businessCategory is `Private Organization`, `Government Entity`, `Business Entity` or `Non-Commercial Entity`",
            ))
        } else if !identifiers::is_cnpj(&self.cnpj) {
            Err(ProfileError::Subject("a CNPJ has twelve letters or digits and two check digits, without punctuation"))
        } else if !self.organization_identifier.strip_prefix("OFBBR-").is_some_and(is_id) {
            Err(ProfileError::Subject("an organizationIdentifier of Open Finance Brasil is OFBBR- and the participant's id"))
        } else if !is_id(&self.software_statement) {
            Err(ProfileError::Subject("the UID is the id of the software statement: letters, digits and hyphens"))
        } else {
            Ok(())
        }
    }
}
