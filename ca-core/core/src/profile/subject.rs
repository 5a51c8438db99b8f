//! Subjects of end-entity certificates: ordered lists of attributes with fixed string types.

use std::fmt;
use std::str::FromStr;

use const_oid::ObjectIdentifier;
use serde::{Deserialize, Serialize};

use super::ProfileError;
use crate::pki::oid;

/// Most attributes of a subject.
pub(crate) const MAX_ATTRIBUTES: usize = 64;

/// An attribute that a subject may have. Each stands in an RDN of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Attribute {
    /// businessCategory.
    BusinessCategory,
    /// jurisdictionCountry (1.3.6.1.4.1.311.60.2.1.3).
    JurisdictionCountry,
    /// serialNumber: of the subject, not of the certificate.
    SerialNumber,
    /// countryName.
    Country,
    /// organizationName.
    Organization,
    /// organizationalUnitName.
    OrganizationalUnit,
    /// stateOrProvinceName.
    State,
    /// localityName.
    Locality,
    /// organizationIdentifier (2.5.4.97).
    OrganizationIdentifier,
    /// userId (0.9.2342.19200300.100.1.1).
    UserId,
    /// commonName.
    CommonName,
}

impl Attribute {
    /// Every attribute.
    pub const ALL: [Self; 11] = [
        Self::BusinessCategory,
        Self::JurisdictionCountry,
        Self::SerialNumber,
        Self::Country,
        Self::Organization,
        Self::OrganizationalUnit,
        Self::State,
        Self::Locality,
        Self::OrganizationIdentifier,
        Self::UserId,
        Self::CommonName,
    ];

    /// Its name in policies, grants and commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BusinessCategory => "businessCategory",
            Self::JurisdictionCountry => "jurisdictionCountry",
            Self::SerialNumber => "serialNumber",
            Self::Country => "C",
            Self::Organization => "O",
            Self::OrganizationalUnit => "OU",
            Self::State => "ST",
            Self::Locality => "L",
            Self::OrganizationIdentifier => "organizationIdentifier",
            Self::UserId => "UID",
            Self::CommonName => "CN",
        }
    }

    pub(super) const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::BusinessCategory => oid::BUSINESS_CATEGORY,
            Self::JurisdictionCountry => oid::JURISDICTION_COUNTRY,
            Self::SerialNumber => oid::SERIAL_NUMBER,
            Self::Country => oid::COUNTRY,
            Self::Organization => oid::ORGANIZATION,
            Self::OrganizationalUnit => oid::ORGANIZATIONAL_UNIT,
            Self::State => oid::STATE,
            Self::Locality => oid::LOCALITY,
            Self::OrganizationIdentifier => oid::ORGANIZATION_IDENTIFIER,
            Self::UserId => oid::USER_ID,
            Self::CommonName => oid::COMMON_NAME,
        }
    }

    /// Whether its value is a PrintableString (X.520 §6.2.9, §6.3.1); any other is a UTF8String.
    pub(super) const fn is_printable(self) -> bool {
        matches!(self, Self::Country | Self::JurisdictionCountry | Self::SerialNumber)
    }

    /// Judges a value: its length (RFC 5280 §A.1 and X.520 annex C upper bounds; for an organizationIdentifier and a
    /// userId 256, as RFC 4524 §2 recommends of such), its characters, no outer spaces.
    ///
    /// # Errors
    /// Says what a value of this attribute looks like.
    pub fn check(self, text: &str) -> Result<(), ProfileError> {
        let length = text.chars().count();
        let plain = text.trim() == text && !text.chars().any(char::is_control);
        let wrong = |what| Err(ProfileError::Subject(what));
        match self {
            Self::Country | Self::JurisdictionCountry => {
                if length == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) {
                    Ok(())
                } else {
                    wrong("a country is two capital letters (ISO 3166)")
                }
            }
            Self::SerialNumber if !plain || !(1..=64).contains(&length) || !text.bytes().all(is_printable) => {
                wrong("a serialNumber has 1 to 64 characters of a PrintableString")
            }
            Self::Organization | Self::OrganizationalUnit | Self::CommonName if !plain || !(1..=64).contains(&length) => {
                wrong("an organization, its unit or a common name has 1 to 64 characters, none of them a control, and no outer spaces")
            }
            Self::State | Self::Locality | Self::BusinessCategory if !plain || !(1..=128).contains(&length) => {
                wrong("a state, a locality or a business category has 1 to 128 characters, none of them a control, and no outer spaces")
            }
            Self::OrganizationIdentifier | Self::UserId if !plain || !(1..=256).contains(&length) => {
                wrong("an organizationIdentifier or a UID has 1 to 256 characters, none of them a control, and no outer spaces")
            }
            _ => Ok(()),
        }
    }
}

/// X.680 §41.4.
const fn is_printable(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'\'' | b'(' | b')' | b'+' | b',' | b'-' | b'.' | b'/' | b':' | b'=' | b'?')
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Attribute {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|a| a.name() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|a| a.name()).collect();
            format!("unknown subject attribute `{}` (one of {})", text.chars().take(60).collect::<String>(), known.join(", "))
        })
    }
}

impl TryFrom<String> for Attribute {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Attribute> for String {
    fn from(attribute: Attribute) -> Self {
        attribute.name().to_owned()
    }
}

/// A subject as it is written: one attribute in each RDN, in this order, which never changes over renewals.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subject(Vec<(Attribute, String)>);

impl Subject {
    /// Takes a list of attributes.
    ///
    /// # Errors
    /// When a value is not one of its attribute, or there are more than 64.
    pub fn new(attributes: Vec<(Attribute, String)>) -> Result<Self, ProfileError> {
        if attributes.len() > MAX_ATTRIBUTES {
            return Err(ProfileError::Subject("it has more than 64 attributes"));
        }
        attributes.iter().try_for_each(|(attribute, text)| attribute.check(text))?;
        Ok(Self(attributes))
    }

    /// The attributes, in the order of the certificate.
    pub fn attributes(&self) -> &[(Attribute, String)] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_to_the_upper_bounds() {
        let fits = |attribute: Attribute, text: &str| attribute.check(text).is_ok();
        for (attribute, most) in [
            (Attribute::CommonName, 64),
            (Attribute::Organization, 64),
            (Attribute::OrganizationalUnit, 64),
            (Attribute::SerialNumber, 64),
            (Attribute::State, 128),
            (Attribute::Locality, 128),
            (Attribute::BusinessCategory, 128),
            (Attribute::OrganizationIdentifier, 256),
            (Attribute::UserId, 256),
        ] {
            assert!(fits(attribute, &"x".repeat(most)) && !fits(attribute, &"x".repeat(most + 1)) && !fits(attribute, ""), "{attribute}");
            assert!(!fits(attribute, " x") && !fits(attribute, "x ") && !fits(attribute, "x\ny"), "{attribute}");
            assert_eq!(fits(attribute, "é"), !attribute.is_printable(), "{attribute}");
        }
        for attribute in [Attribute::Country, Attribute::JurisdictionCountry] {
            assert!(fits(attribute, "BR"));
            for bad in ["", "b", "br", "BRA", "É!", "B "] {
                assert!(!fits(attribute, bad), "{bad}");
            }
        }
        assert!(!fits(Attribute::SerialNumber, "a*b") && !fits(Attribute::SerialNumber, "a@b"));
    }

    #[test]
    fn names_are_closed() {
        for attribute in Attribute::ALL {
            assert_eq!(attribute.name().parse(), Ok(attribute));
        }
        for bad in ["", "cn", "emailAddress", "2.5.4.3"] {
            assert!(bad.parse::<Attribute>().is_err(), "{bad}");
        }
        assert!(Subject::new(vec![(Attribute::OrganizationalUnit, "x".to_owned()); MAX_ATTRIBUTES]).is_ok());
        assert!(Subject::new(vec![(Attribute::OrganizationalUnit, "x".to_owned()); MAX_ATTRIBUTES + 1]).is_err());
    }
}
