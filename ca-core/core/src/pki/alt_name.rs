//! Subject alternative names: what may stand in a certificate, which is more than an order can ask for.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{DnsName, Identifier};

/// Most octets of a URI in a certificate; an SPIFFE id has the same bound (SPIFFE-ID §2.3).
const MAX_URI: usize = 2048;
/// Most octets of a mailbox (RFC 5321 §4.5.3.1.3).
const MAX_MAILBOX: usize = 254;

/// Why a text is not a name of its form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AltNameError {
    /// Not an absolute URI with a host.
    #[error("`{0}` is not an absolute URI with a host in ASCII, at most {MAX_URI} octets (RFC 5280 §4.2.1.6)")]
    Uri(String),
    /// Not a mailbox.
    #[error("`{0}` is not a mailbox LOCAL@DOMAIN in ASCII, at most {MAX_MAILBOX} octets (RFC 5280 §4.2.1.6)")]
    Email(String),
}

/// An absolute URI with an authority part whose host is a name or an address (RFC 5280 §4.2.1.6), kept as it was written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UriName(String);

impl UriName {
    /// Reads a URI.
    ///
    /// # Errors
    /// When it is not absolute, has no host, has a character outside RFC 3986, or is too long.
    pub fn parse(text: &str) -> Result<Self, AltNameError> {
        let wrong = || AltNameError::Uri(text.chars().take(300).collect());
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let scheme_is_fine = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        let characters_are_fine = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b));
        if text.len() > MAX_URI || host.is_empty() || !scheme_is_fine || !characters_are_fine {
            return Err(wrong());
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UriName {
    type Error = AltNameError;
    fn try_from(text: String) -> Result<Self, AltNameError> {
        Self::parse(&text)
    }
}

impl From<UriName> for String {
    fn from(name: UriName) -> Self {
        name.0
    }
}

/// A mailbox in ASCII (rfc822Name).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailName(String);

impl EmailName {
    /// Reads a mailbox; the domain is folded to lower case, the local part is not.
    ///
    /// # Errors
    /// When it has no local part of dot-separated atoms, no domain name, or is too long.
    pub fn parse(text: &str) -> Result<Self, AltNameError> {
        let wrong = || AltNameError::Email(text.chars().take(300).collect());
        let (local, domain) = text.rsplit_once('@').ok_or_else(wrong)?;
        let atom = |atom: &str| !atom.is_empty() && atom.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b));
        let domain = DnsName::parse(domain).map_err(|_| wrong())?;
        if text.len() > MAX_MAILBOX || local.len() > 64 || !local.split('.').all(atom) || domain.is_wildcard() {
            return Err(wrong());
        }
        Ok(Self(format!("{local}@{}", domain.as_str())))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the `@`, in lower case.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl TryFrom<String> for EmailName {
    type Error = AltNameError;
    fn try_from(text: String) -> Result<Self, AltNameError> {
        Self::parse(&text)
    }
}

impl From<EmailName> for String {
    fn from(name: EmailName) -> Self {
        name.0
    }
}

/// A subject alternative name of a form that some profile may carry (RFC 5280 §4.2.1.6).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "lowercase")]
pub enum AltName {
    /// A DNS name, perhaps a wildcard.
    Dns(DnsName),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A URI.
    Uri(UriName),
    /// A mailbox.
    Email(EmailName),
}

impl AltName {
    /// The same name as an order has it; none for a URI or a mailbox, which no order asks for.
    pub fn identifier(&self) -> Option<Identifier> {
        match self {
            Self::Dns(name) => Some(Identifier::Dns(name.clone())),
            Self::Ip(address) => Some(Identifier::Ip(*address)),
            Self::Uri(_) | Self::Email(_) => None,
        }
    }

    /// Its form in policies and reports.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns",
            Self::Ip(_) => "ip",
            Self::Uri(_) => "uri",
            Self::Email(_) => "email",
        }
    }
}

impl From<Identifier> for AltName {
    fn from(identifier: Identifier) -> Self {
        match identifier {
            Identifier::Dns(name) => Self::Dns(name),
            Identifier::Ip(address) => Self::Ip(address),
        }
    }
}

impl fmt::Display for AltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name.as_str()),
            Self::Ip(address) => write!(f, "{address}"),
            Self::Uri(uri) => f.write_str(uri.as_str()),
            Self::Email(mailbox) => f.write_str(mailbox.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris() {
        for good in ["spiffe://bank.test/payments", "https://a.test", "urn+x://host/p?q#f"] {
            assert_eq!(UriName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "spiffe:", "://a", "spiffe://", "spiffe:///path", "/a", "a b://c", "https://ü.test", "https://a/ b"] {
            assert!(UriName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mailboxes() {
        assert_eq!(EmailName::parse("Ops.Team@Bank.TEST").unwrap().as_str(), "Ops.Team@bank.test");
        for bad in ["", "@", "a@", "@a.test", "a b@c.test", "a..b@c.test", "a@*.c.test", "a@b@", "ü@a.test", "a@127.0.0.1"] {
            assert!(EmailName::parse(bad).is_err(), "{bad}");
        }
    }
}
