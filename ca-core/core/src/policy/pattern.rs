//! Patterns over names, in policies and grants.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::pki::{AltName, DnsName, EmailName, Identifier, UriName};

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a pattern: dns:NAME where any label may be `*` (exactly one label), `dns-wildcard:NAME` for `*.NAME` itself, ip:ADDRESS or ip:ADDRESS/BITS, uri:URI where any segment of the path may be `*` (exactly one segment), or email:MAILBOX or email:*@DOMAIN"
)]
pub struct PatternError(String);

/// A pattern over names, written `dns:payments.*.bank.test`, `dns-wildcard:bank.test`, `ip:10.0.0.0/8`,
/// `uri:spiffe://bank.test/ns/*` or `email:*@bank.test`.
///
/// A `*` is exactly one label or segment, and covering a name does not cover its wildcard: a certificate for
/// `*.bank.test` needs `dns-wildcard:bank.test`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NamePattern {
    /// Labels, `*` for exactly one of any text.
    Dns(Vec<String>),
    /// The wildcard name below this base.
    DnsWildcard(DnsName),
    /// A block of addresses; the prefix length in bits.
    Ip(IpAddr, u8),
    /// A URI in parts: what stands before the path, then its segments, `*` for exactly one of any text.
    Uri(Vec<String>),
    /// A mailbox, or any at this domain.
    Email(Option<EmailName>, DnsName),
}

impl NamePattern {
    /// Whether the pattern covers `identifier`.
    pub fn covers(&self, identifier: &Identifier) -> bool {
        match (self, identifier) {
            (Self::Dns(labels), Identifier::Dns(name)) if !name.is_wildcard() => {
                let mut name_labels = name.as_str().split('.');
                labels.iter().all(|l| name_labels.next().is_some_and(|n| l == "*" || l == n)) && name_labels.next().is_none()
            }
            (Self::DnsWildcard(base), Identifier::Dns(name)) => name.as_str().strip_prefix("*.") == Some(base.as_str()),
            (Self::Ip(network, bits), Identifier::Ip(address)) => match (network, address) {
                (IpAddr::V4(n), IpAddr::V4(a)) => same_prefix(&n.octets(), &a.octets(), *bits),
                (IpAddr::V6(n), IpAddr::V6(a)) => same_prefix(&n.octets(), &a.octets(), *bits),
                _ => false,
            },
            (Self::Dns(_) | Self::DnsWildcard(_) | Self::Ip(..) | Self::Uri(_) | Self::Email(..), _) => false,
        }
    }

    /// Whether the pattern covers a name of any form.
    pub fn covers_name(&self, name: &AltName) -> bool {
        match (self, name) {
            (Self::Uri(parts), AltName::Uri(uri)) => {
                let found = uri_parts(uri.as_str());
                // A star stands for a segment: never for an empty one, for the host, or for a query.
                let is_segment = |found: &str| !found.is_empty() && !found.contains(['?', '#']);
                parts.len() == found.len() && parts.iter().zip(&found).all(|(p, f)| p == f || p == "*" && is_segment(f))
            }
            (Self::Email(Some(mailbox), _), AltName::Email(name)) => mailbox == name,
            (Self::Email(None, domain), AltName::Email(name)) => name.domain() == domain.as_str(),
            (Self::Uri(_) | Self::Email(..), _) => false,
            (Self::Dns(_) | Self::DnsWildcard(_) | Self::Ip(..), name) => name.identifier().is_some_and(|name| self.covers(&name)),
        }
    }

    /// Whether everything that this pattern covers is covered by `outer`.
    pub fn is_within(&self, outer: &Self) -> bool {
        match (self, outer) {
            (Self::Dns(inner), Self::Dns(outer)) => inner.len() == outer.len() && inner.iter().zip(outer).all(|(i, o)| o == "*" || i == o),
            (Self::DnsWildcard(inner), Self::DnsWildcard(outer)) => inner == outer,
            (Self::Ip(inner, bits), Self::Ip(..)) => match outer {
                Self::Ip(_, outer_bits) => bits >= outer_bits && outer.covers(&Identifier::Ip(*inner)),
                Self::Dns(_) | Self::DnsWildcard(_) | Self::Uri(_) | Self::Email(..) => false,
            },
            (Self::Uri(inner), Self::Uri(outer)) => inner.len() == outer.len() && inner.iter().zip(outer).all(|(i, o)| o == "*" || i == o),
            (Self::Email(inner, domain), Self::Email(None, outer)) => {
                inner.as_ref().map_or(domain.as_str(), EmailName::domain) == outer.as_str()
            }
            (Self::Email(inner, _), Self::Email(outer, _)) => inner == outer,
            (Self::Dns(_) | Self::DnsWildcard(_) | Self::Ip(..) | Self::Uri(_) | Self::Email(..), _) => false,
        }
    }

    /// The form of the names that it covers: `dns`, `ip`, `uri` or `email`.
    pub const fn form(&self) -> &'static str {
        match self {
            Self::Dns(_) | Self::DnsWildcard(_) => "dns",
            Self::Ip(..) => "ip",
            Self::Uri(_) => "uri",
            Self::Email(..) => "email",
        }
    }
}

/// Scheme and host, then the segments of the path; a query or a fragment is of the last one.
fn uri_parts(uri: &str) -> Vec<String> {
    let start = uri.find("://").map_or(0, |at| at + 3);
    let path = uri[start..].find('/').map_or(uri.len(), |at| start + at);
    let mut parts = vec![uri[..path].to_owned()];
    parts.extend(uri[path..].split('/').skip(1).map(str::to_owned));
    parts
}

fn same_prefix(a: &[u8], b: &[u8], bits: u8) -> bool {
    let bits = usize::from(bits);
    a.iter().zip(b).enumerate().all(|(i, (x, y))| {
        let kept = bits.saturating_sub(i * 8).min(8);
        kept == 0 || (x ^ y) >> (8 - kept) == 0
    })
}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let wrong = || PatternError(text.chars().take(300).collect());
        if let Some(base) = text.strip_prefix("dns-wildcard:") {
            return match DnsName::parse(base) {
                Ok(base) if !base.is_wildcard() => Ok(Self::DnsWildcard(base)),
                _ => Err(wrong()),
            };
        }
        if let Some(name) = text.strip_prefix("dns:") {
            // The stars stand for labels: a name with letters in their place must be a name.
            let model: Vec<&str> = name.split('.').map(|l| if l == "*" { "x" } else { l }).collect();
            let parsed = DnsName::parse(&model.join(".")).map_err(|_| wrong())?;
            let last_is_star = name.rsplit('.').next() == Some("*");
            if last_is_star || parsed.is_wildcard() {
                return Err(wrong());
            }
            return Ok(Self::Dns(name.to_ascii_lowercase().split('.').map(str::to_owned).collect()));
        }
        if let Some(block) = text.strip_prefix("ip:") {
            let (address, bits) = block.split_once('/').map_or((block, None), |(a, b)| (a, Some(b)));
            let address: IpAddr = address.parse().map_err(|_| wrong())?;
            let width = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Ok(width), |b| b.parse::<u8>().map_err(|_| wrong()))?;
            return if bits <= width { Ok(Self::Ip(address, bits)) } else { Err(wrong()) };
        }
        if let Some(uri) = text.strip_prefix("uri:") {
            let mut parts = uri_parts(uri);
            // The stars stand for segments: a URI with letters in their place must be a URI, and no star stands elsewhere.
            let model: Vec<&str> = parts.iter().map(|p| if p == "*" { "x" } else { p }).collect();
            let parsed = UriName::parse(&model.join("/")).map_err(|_| wrong())?;
            if parts[0] == "*" || model.iter().any(|part| part.contains('*')) {
                return Err(wrong());
            }
            // As it is written in certificates, where the parser folds anything.
            for (part, folded) in parts.iter_mut().zip(uri_parts(parsed.as_str())) {
                if part != "*" {
                    *part = folded;
                }
            }
            return Ok(Self::Uri(parts));
        }
        if let Some(mailbox) = text.strip_prefix("email:") {
            return match mailbox.strip_prefix("*@") {
                Some(domain) => match DnsName::parse(domain) {
                    Ok(domain) if !domain.is_wildcard() => Ok(Self::Email(None, domain)),
                    _ => Err(wrong()),
                },
                None => {
                    let mailbox = EmailName::parse(mailbox).map_err(|_| wrong())?;
                    let domain = DnsName::parse(mailbox.domain()).map_err(|_| wrong())?;
                    // In a pattern a star is never a letter.
                    if mailbox.as_str().contains('*') { Err(wrong()) } else { Ok(Self::Email(Some(mailbox), domain)) }
                }
            };
        }
        Err(wrong())
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(labels) => write!(f, "dns:{}", labels.join(".")),
            Self::DnsWildcard(base) => write!(f, "dns-wildcard:{}", base.as_str()),
            Self::Ip(address, bits) => write!(f, "ip:{address}/{bits}"),
            Self::Uri(parts) => write!(f, "uri:{}", parts.join("/")),
            Self::Email(Some(mailbox), _) => write!(f, "email:{}", mailbox.as_str()),
            Self::Email(None, domain) => write!(f, "email:*@{}", domain.as_str()),
        }
    }
}

impl TryFrom<String> for NamePattern {
    type Error = PatternError;
    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, name: &str, covered: bool) {
        let pattern: NamePattern = pattern.parse().unwrap();
        assert_eq!(pattern.covers(&Identifier::from_text(name).unwrap()), covered, "{pattern} / {name}");
        assert_eq!(pattern.to_string().parse::<NamePattern>().unwrap(), pattern);
    }

    #[test]
    fn a_star_is_exactly_one_label() {
        check("dns:demo.test", "demo.test", true);
        check("dns:*.demo.test", "a.demo.test", true);
        check("dns:*.demo.test", "demo.test", false);
        check("dns:*.demo.test", "a.b.demo.test", false);
        check("dns:payments.*.bank.test", "payments.eu.bank.test", true);
        check("dns:payments.*.bank.test", "other.eu.bank.test", false);
        check("dns:*.demo.test", "127.0.0.1", false);
    }

    #[test]
    fn covering_a_name_does_not_cover_its_wildcard() {
        check("dns:*.demo.test", "*.demo.test", false);
        check("dns-wildcard:demo.test", "*.demo.test", true);
        check("dns-wildcard:demo.test", "a.demo.test", false);
    }

    #[test]
    fn patterns_within_patterns() {
        let check = |inner: &str, outer: &str, within: bool| {
            let (inner, outer): (NamePattern, NamePattern) = (inner.parse().unwrap(), outer.parse().unwrap());
            assert_eq!(inner.is_within(&outer), within, "{inner} in {outer}");
        };
        check("dns:a.demo.test", "dns:*.demo.test", true);
        check("dns:*.demo.test", "dns:*.demo.test", true);
        check("dns:*.demo.test", "dns:a.demo.test", false);
        check("dns:a.b.demo.test", "dns:*.demo.test", false);
        check("dns-wildcard:demo.test", "dns:*.demo.test", false);
        check("dns-wildcard:demo.test", "dns-wildcard:demo.test", true);
        check("ip:10.1.0.0/16", "ip:10.0.0.0/8", true);
        check("ip:10.0.0.0/8", "ip:10.1.0.0/16", false);
        check("ip:0.0.0.0/0", "ip:::/0", false);
        check("ip:127.0.0.1", "dns:localhost", false);
    }

    #[test]
    fn addresses() {
        check("ip:127.0.0.1", "127.0.0.1", true);
        check("ip:127.0.0.1", "127.0.0.2", false);
        check("ip:10.0.0.0/8", "10.200.1.1", true);
        check("ip:10.0.0.0/8", "11.0.0.1", false);
        check("ip:::1", "::1", true);
        check("ip:0.0.0.0/0", "::1", false);
        for bad in ["demo.test", "dns:", "dns:*", "dns:a.*", "ip:10.0.0.0/33", "ip:x", "uri:x", "dns-wildcard:*.a", "name:x"] {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn uris_and_mailboxes() {
        let check = |pattern: &str, name: AltName, covered: bool| {
            let pattern: NamePattern = pattern.parse().unwrap();
            assert_eq!(pattern.covers_name(&name), covered, "{pattern} / {name}");
            assert_eq!(pattern.to_string().parse::<NamePattern>().unwrap(), pattern);
        };
        let uri = |text: &str| AltName::Uri(UriName::parse(text).unwrap());
        check("uri:spiffe://bank.test/ns/*", uri("spiffe://bank.test/ns/payments"), true);
        check("uri:spiffe://bank.test/ns/*/sa/*", uri("spiffe://bank.test/ns/eu/sa/payments"), true);
        check("uri:spiffe://bank.test/ns/*", uri("spiffe://bank.test/ns/a/b"), false);
        check("uri:spiffe://bank.test/ns/*", uri("spiffe://bank.test/ns"), false);
        check("uri:spiffe://bank.test/ns/*", uri("spiffe://bank.test/ns/"), false);
        check("uri:spiffe://bank.test/ns/*", uri("spiffe://bank.test/ns/a?b"), false);
        check("uri:spiffe://bank.test/ns/*", uri("spiffe://other.test/ns/a"), false);
        check("uri:spiffe://bank.test/ns/*", uri("https://bank.test/ns/a"), false);
        check("uri:spiffe://bank.test/a", uri("spiffe://bank.test/a"), true);
        check("uri:https://bank.test", uri("https://bank.test"), true);
        let mailbox = |text: &str| AltName::Email(EmailName::parse(text).unwrap());
        check("email:*@bank.test", mailbox("ops@bank.test"), true);
        check("email:*@bank.test", mailbox("ops@eu.bank.test"), false);
        check("email:ops@bank.test", mailbox("ops@bank.test"), true);
        check("email:ops@bank.test", mailbox("dev@bank.test"), false);
        check("email:*@bank.test", AltName::Dns(DnsName::parse("bank.test").unwrap()), false);
        check("dns:bank.test", AltName::Dns(DnsName::parse("bank.test").unwrap()), true);
        check("dns:bank.test", mailbox("ops@bank.test"), false);
        for bad in [
            "uri:",
            "uri:*",
            "uri:spiffe://*/a",
            "uri:spiffe://*.bank.test/a",
            "uri:spiffe://bank.test/a*",
            "uri:*://a/b",
            "email:",
            "email:*",
            "email:*@*.bank.test",
            "email:a*@bank.test",
            "email:*@",
        ] {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad}");
        }
        let within = |inner: &str, outer: &str, expected: bool| {
            let (inner, outer): (NamePattern, NamePattern) = (inner.parse().unwrap(), outer.parse().unwrap());
            assert_eq!(inner.is_within(&outer), expected, "{inner} in {outer}");
        };
        within("uri:spiffe://bank.test/ns/a", "uri:spiffe://bank.test/ns/*", true);
        within("uri:spiffe://bank.test/ns/*", "uri:spiffe://bank.test/ns/*", true);
        within("uri:spiffe://bank.test/ns/*", "uri:spiffe://bank.test/ns/a", false);
        within("uri:spiffe://bank.test/*", "uri:spiffe://bank.test/ns/*", false);
        within("email:ops@bank.test", "email:*@bank.test", true);
        within("email:*@bank.test", "email:*@bank.test", true);
        within("email:*@bank.test", "email:ops@bank.test", false);
        within("email:ops@bank.test", "email:*@other.test", false);
        within("dns:bank.test", "email:*@bank.test", false);
    }
}
