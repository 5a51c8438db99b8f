//! Subject alternative names: what may stand in a certificate, which is more than an order can ask for.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{DnsName, HardwareModule, Identifier, PermanentIdentifier, UriName};

/// Most octets of a mailbox (RFC 5321 §4.5.3.1.3).
const MAX_MAILBOX: usize = 254;
/// Most octets of its local part (RFC 5321 §4.5.3.1.1).
const MAX_LOCAL: usize = 64;

/// Why a text is not a name of its form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AltNameError {
    /// Not a URI that a certificate can carry.
    #[error("`{text}` is not a URI for a certificate: {why}")]
    Uri {
        /// The text, perhaps cut.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// Not an SPIFFE id.
    #[error("`{text}` is not an SPIFFE id: {why}")]
    Spiffe {
        /// The text, perhaps cut.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// Not a mailbox.
    #[error("`{text}` is not a mailbox LOCAL@DOMAIN: {why}")]
    Email {
        /// The text, perhaps cut.
        text: String,
        /// What is wrong with it.
        why: String,
    },
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
        let wrong = |why: String| AltNameError::Email { text: text.chars().take(300).collect(), why };
        let (local, domain) = text.rsplit_once('@').ok_or_else(|| wrong("it has no `@`".to_owned()))?;
        let atom = |atom: &str| !atom.is_empty() && atom.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b));
        if text.len() > MAX_MAILBOX || local.len() > MAX_LOCAL {
            return Err(wrong(format!("it has at most {MAX_MAILBOX} octets, {MAX_LOCAL} of them before the `@`")));
        }
        if !local.split('.').all(atom) {
            return Err(wrong(format!(
                "`{local}` is not of atoms with single dots between them (RFC 5321 §4.1.2; quoted ones are not handled)"
            )));
        }
        let domain = DnsName::parse(domain).map_err(|e| wrong(format!("its domain is refused: {e}")))?;
        if domain.is_wildcard() {
            return Err(wrong("its domain is a wildcard".to_owned()));
        }
        Ok(Self(format!("{local}@{}", domain.as_str())))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the `@`.
    pub fn local(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(local, _)| local)
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
    /// What an assigner calls a device (RFC 4043).
    #[serde(rename = "permanent-identifier")]
    PermanentIdentifier(PermanentIdentifier),
    /// A module that holds keys (RFC 4108 §5).
    #[serde(rename = "hardware-module")]
    HardwareModule(HardwareModule),
}

impl AltName {
    /// The same name as an order has it; none for a URI or a mailbox, which no order asks for.
    pub fn identifier(&self) -> Option<Identifier> {
        match self {
            Self::Dns(name) => Some(Identifier::Dns(name.clone())),
            Self::Ip(address) => Some(Identifier::Ip(*address)),
            Self::PermanentIdentifier(name) => Some(Identifier::PermanentIdentifier(name.clone())),
            Self::HardwareModule(name) => Some(Identifier::HardwareModule(name.clone())),
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
            Self::PermanentIdentifier(_) => "permanent-identifier",
            Self::HardwareModule(_) => "hardware-module",
        }
    }
}

impl From<Identifier> for AltName {
    fn from(identifier: Identifier) -> Self {
        match identifier {
            Identifier::Dns(name) => Self::Dns(name),
            Identifier::Ip(address) => Self::Ip(address),
            Identifier::PermanentIdentifier(name) => Self::PermanentIdentifier(name),
            Identifier::HardwareModule(name) => Self::HardwareModule(name),
        }
    }
}

impl fmt::Display for AltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        NameRef::from(self).fmt(f)
    }
}

/// A name of any form, borrowed: what rules and patterns judge, from an order as from a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameRef<'a> {
    /// A DNS name, perhaps a wildcard.
    Dns(&'a DnsName),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A URI.
    Uri(&'a UriName),
    /// A mailbox.
    Email(&'a EmailName),
    /// What an assigner calls a device.
    PermanentIdentifier(&'a PermanentIdentifier),
    /// A module that holds keys.
    HardwareModule(&'a HardwareModule),
}

impl<'a> From<&'a Identifier> for NameRef<'a> {
    fn from(identifier: &'a Identifier) -> Self {
        match identifier {
            Identifier::Dns(name) => Self::Dns(name),
            Identifier::Ip(address) => Self::Ip(*address),
            Identifier::PermanentIdentifier(name) => Self::PermanentIdentifier(name),
            Identifier::HardwareModule(name) => Self::HardwareModule(name),
        }
    }
}

impl<'a> From<&'a AltName> for NameRef<'a> {
    fn from(name: &'a AltName) -> Self {
        match name {
            AltName::Dns(name) => Self::Dns(name),
            AltName::Ip(address) => Self::Ip(*address),
            AltName::Uri(uri) => Self::Uri(uri),
            AltName::Email(mailbox) => Self::Email(mailbox),
            AltName::PermanentIdentifier(name) => Self::PermanentIdentifier(name),
            AltName::HardwareModule(name) => Self::HardwareModule(name),
        }
    }
}

impl fmt::Display for NameRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name.as_str()),
            Self::Ip(address) => write!(f, "{address}"),
            Self::Uri(uri) => f.write_str(uri.as_str()),
            Self::Email(mailbox) => f.write_str(mailbox.as_str()),
            Self::PermanentIdentifier(name) => f.write_str(name.as_str()),
            Self::HardwareModule(name) => f.write_str(name.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        match (EmailName::parse(text).map_err(|e| e.to_string()), expected) {
            (Ok(mailbox), Ok(expected)) => assert_eq!(mailbox.as_str(), expected),
            (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
            (got, expected) => panic!("{text}: {got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn mailboxes() {
        check("Ops.Team@Bank.TEST", Ok("Ops.Team@bank.test"));
        check("a+b!#$%&'*/=?^_`{|}~-@xn--bcher-kva.test", Ok("a+b!#$%&'*/=?^_`{|}~-@xn--bcher-kva.test"));
        check("", Err("no `@`"));
        for bad in ["@a.test", "a b@c.test", "a..b@c.test", ".a@c.test", "a.@c.test", "ü@a.test", "\"a\"@c.test", "a@b@c.test"] {
            check(bad, Err("is not of atoms"));
        }
        for bad in ["a@", "@", "a@b@", "a@127.0.0.1", "a@[127.0.0.1]", "a@c.test."] {
            assert!(EmailName::parse(bad).is_err(), "{bad}");
        }
        check("a@*.c.test", Err("a wildcard"));
        check("a@c_d.test", Err("label `c_d`"));
        check(&format!("{}@c.test", "a".repeat(65)), Err("64 of them"));
        let mailbox = EmailName::parse("Ops@Bank.test").unwrap();
        assert_eq!((mailbox.local(), mailbox.domain()), ("Ops", "bank.test"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_mailbox_that_stays_itself_or_an_error(local in "(\\PC|[a-z.]){0,30}", domain in "(\\PC|[a-z.]){0,30}") {
            if let Ok(mailbox) = EmailName::parse(&format!("{local}@{domain}")) {
                prop_assert_eq!(EmailName::parse(mailbox.as_str()).unwrap(), mailbox);
            }
        }
    }
}
