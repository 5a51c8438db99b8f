//! Identifiers as ACME orders and subject alternative names carry them.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Why a text is not an identifier that this CA handles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// Not a DNS name of LDH labels.
    #[error("`{0}` is not a DNS name of letters, digits and inner hyphens (no trailing dot; at most 253 octets, 63 a label)")]
    DnsName(String),
    /// Not an IPv4 or IPv6 address in its canonical text form.
    #[error("`{0}` is not an IP address in canonical text form (RFC 8738 §3)")]
    IpAddress(String),
    /// A type other than dns and ip.
    #[error("identifiers of type `{0}` are not handled")]
    UnsupportedType(String),
}

/// A lowercase DNS name of LDH labels, perhaps with `*` as its whole first label (RFC 5280 §4.2.1.6, RFC 8555 §7.1.3).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(String);

impl DnsName {
    /// Reads a name; upper case is folded, as DNS does.
    ///
    /// # Errors
    /// When it is empty, too long, ends in a dot, has an empty or over-long label, a character outside LDH, a hyphen
    /// at a label's edge, a wildcard elsewhere than as the first label of at least two, or an all-numeric last label
    /// (which is an IP address or a mistake).
    pub fn parse(text: &str) -> Result<Self, IdentifierError> {
        let wrong = || IdentifierError::DnsName(text.chars().take(300).collect());
        let name = text.to_ascii_lowercase();
        let base = name.strip_prefix("*.").unwrap_or(&name);
        if name.len() > 253 || base.is_empty() {
            return Err(wrong());
        }
        let label_is_fine = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let last_is_numeric = base.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
        if !base.split('.').all(label_is_fine) || last_is_numeric {
            return Err(wrong());
        }
        Ok(Self(name))
    }

    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the first label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }
}

impl TryFrom<String> for DnsName {
    type Error = IdentifierError;
    fn try_from(text: String) -> Result<Self, IdentifierError> {
        Self::parse(&text)
    }
}

impl From<DnsName> for String {
    fn from(name: DnsName) -> Self {
        name.0
    }
}

/// An identifier in an order (RFC 8555 §9.7.7, RFC 8738).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "lowercase")]
pub enum Identifier {
    /// A DNS name, perhaps a wildcard.
    Dns(DnsName),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
}

impl Identifier {
    /// Reads the `type` and `value` members of an ACME identifier object.
    ///
    /// # Errors
    /// When the type is not handled or the value is not of its form; RFC 8738 §3 wants canonical address texts.
    pub fn parse(kind: &str, value: &str) -> Result<Self, IdentifierError> {
        match kind {
            "dns" => DnsName::parse(value).map(Self::Dns),
            "ip" => match value.parse::<IpAddr>() {
                Ok(address) if address.to_string() == value => Ok(Self::Ip(address)),
                _ => Err(IdentifierError::IpAddress(value.chars().take(300).collect())),
            },
            other => Err(IdentifierError::UnsupportedType(other.chars().take(60).collect())),
        }
    }

    /// Reads the text that a person types: an IP address where it is one, a DNS name otherwise.
    ///
    /// # Errors
    /// When it is neither.
    pub fn from_text(text: &str) -> Result<Self, IdentifierError> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self::Ip(address)),
            Err(_) => DnsName::parse(text).map(Self::Dns),
        }
    }

    /// `dns` or `ip`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns",
            Self::Ip(_) => "ip",
        }
    }

    /// The value as text.
    pub fn value(&self) -> String {
        match self {
            Self::Dns(name) => name.as_str().to_owned(),
            Self::Ip(address) => address.to_string(),
        }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_names() {
        for good in ["a.test", "localhost", "*.demo.test", "xn--bcher-kva.example", "A.Demo.TEST"] {
            assert!(DnsName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "-a.b", "a-.b", "*", "*.", "a.*.b", "f*.b", "a b", "1.2.3.4", "a.9", "ü.test", "a_b.test"]
        {
            assert!(DnsName::parse(bad).is_err(), "{bad}");
        }
        assert!(DnsName::parse(&format!("{}.test", "a".repeat(64))).is_err());
        assert!(DnsName::parse(&["abc"; 70].join(".")).is_err());
    }

    #[test]
    fn ip_addresses_are_canonical() {
        assert!(Identifier::parse("ip", "127.0.0.1").is_ok());
        assert!(Identifier::parse("ip", "::1").is_ok());
        for bad in ["0:0:0:0:0:0:0:1", "127.0.0.01", "127.0.0.1/32", "localhost"] {
            assert!(Identifier::parse("ip", bad).is_err(), "{bad}");
        }
        assert!(matches!(Identifier::parse("email", "a@b"), Err(IdentifierError::UnsupportedType(_))));
    }
}
