//! Patterns over names, in policies and grants.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{DevicePattern, UriPattern};
use crate::pki::{AltName, DnsName, EmailName, HardwareModule, NameRef, PermanentIdentifier};

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a pattern: dns:NAME where any label may be `*` (exactly one label), `dns-wildcard:NAME` for `*.NAME` itself, ip:ADDRESS or ip:ADDRESS/BITS, uri:URI where any path segment may be `*` (exactly one segment), email:LOCAL@DOMAIN where LOCAL may be `*`, permanent-identifier:SERIAL or SERIAL/OID, or hardware-module:SERIAL/OID, where SERIAL may end in `*` (any rest)"
)]
pub struct PatternError(String);

/// A pattern over names, written `dns:payments.*.bank.test`, `dns-wildcard:bank.test`, `ip:10.0.0.0/8`,
/// `uri:spiffe://bank.test/ns/*/sa/*`, `email:*@bank.test`, `permanent-identifier:SN-*` or `hardware-module:*/1.2.3`.
///
/// A `*` is exactly one label, one path segment, any local part, or any rest of a serial number; and covering a name does not cover its wildcard: a certificate for `*.bank.test` needs
/// `dns-wildcard:bank.test`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NamePattern {
    /// Labels, `*` for exactly one of any text.
    Dns(Vec<String>),
    /// The wildcard name below this base.
    DnsWildcard(DnsName),
    /// A block of addresses; the prefix length in bits.
    Ip(IpAddr, u8),
    /// URIs that differ in path segments only.
    Uri(UriPattern),
    /// A mailbox at this domain, or with no local part given every one.
    Email(Option<String>, DnsName),
    /// What assigners call devices.
    PermanentIdentifier(DevicePattern),
    /// Modules that hold keys.
    HardwareModule(DevicePattern),
}

impl NamePattern {
    /// Whether the pattern covers `name`.
    pub fn covers<'a>(&self, name: impl Into<NameRef<'a>>) -> bool {
        match (self, name.into()) {
            (Self::Dns(labels), NameRef::Dns(name)) if !name.is_wildcard() => {
                let mut name_labels = name.as_str().split('.');
                labels.iter().all(|l| name_labels.next().is_some_and(|n| l == "*" || l == n)) && name_labels.next().is_none()
            }
            (Self::DnsWildcard(base), NameRef::Dns(name)) => name.as_str().strip_prefix("*.") == Some(base.as_str()),
            (Self::Ip(network, bits), NameRef::Ip(address)) => match (network, address) {
                (IpAddr::V4(n), IpAddr::V4(a)) => same_prefix(&n.octets(), &a.octets(), *bits),
                (IpAddr::V6(n), IpAddr::V6(a)) => same_prefix(&n.octets(), &a.octets(), *bits),
                _ => false,
            },
            (Self::Uri(pattern), NameRef::Uri(uri)) => pattern.covers(uri),
            // RFC 5280 §7.5: the local part is compared as it is.
            (Self::Email(local, domain), NameRef::Email(mailbox)) => {
                mailbox.domain() == domain.as_str() && local.as_deref().is_none_or(|l| l == mailbox.local())
            }
            (Self::PermanentIdentifier(pattern), NameRef::PermanentIdentifier(name)) => pattern.covers(name.as_str()),
            (Self::HardwareModule(pattern), NameRef::HardwareModule(name)) => pattern.covers(name.as_str()),
            (
                Self::Dns(_)
                | Self::DnsWildcard(_)
                | Self::Ip(..)
                | Self::Uri(_)
                | Self::Email(..)
                | Self::PermanentIdentifier(_)
                | Self::HardwareModule(_),
                _,
            ) => false,
        }
    }

    /// Whether it covers devices' names.
    pub const fn is_device(&self) -> bool {
        matches!(self, Self::PermanentIdentifier(_) | Self::HardwareModule(_))
    }

    /// The DNS name, URI, mailbox or device that it covers, where it is exactly one.
    pub(super) fn only_name(&self) -> Option<AltName> {
        match self {
            Self::Dns(labels) => DnsName::parse(&labels.join(".")).ok().filter(|n| !n.is_wildcard()).map(AltName::Dns),
            Self::DnsWildcard(base) => DnsName::parse(&format!("*.{}", base.as_str())).ok().map(AltName::Dns),
            Self::Uri(pattern) => pattern.only_uri().map(AltName::Uri),
            Self::Email(local, domain) => {
                let local = local.as_deref()?;
                EmailName::parse(&format!("{local}@{}", domain.as_str())).ok().map(AltName::Email)
            }
            Self::PermanentIdentifier(pattern) => PermanentIdentifier::parse(&pattern.only_name()?).ok().map(AltName::PermanentIdentifier),
            Self::HardwareModule(pattern) => HardwareModule::parse(&pattern.only_name()?).ok().map(AltName::HardwareModule),
            Self::Ip(..) => None,
        }
    }

    /// Whether everything that this pattern covers is covered by `outer`.
    pub fn is_within(&self, outer: &Self) -> bool {
        match (self, outer) {
            (Self::Dns(inner), Self::Dns(outer)) => inner.len() == outer.len() && inner.iter().zip(outer).all(|(i, o)| o == "*" || i == o),
            (Self::DnsWildcard(inner), Self::DnsWildcard(outer)) => inner == outer,
            (Self::Ip(inner, bits), Self::Ip(_, outer_bits)) => bits >= outer_bits && outer.covers(NameRef::Ip(*inner)),
            (Self::Uri(inner), Self::Uri(outer)) => inner.is_within(outer),
            (Self::Email(inner, inner_domain), Self::Email(outer, outer_domain)) => {
                inner_domain == outer_domain && (outer.is_none() || inner == outer)
            }
            (Self::PermanentIdentifier(inner), Self::PermanentIdentifier(outer))
            | (Self::HardwareModule(inner), Self::HardwareModule(outer)) => inner.is_within(outer),
            (
                Self::Dns(_)
                | Self::DnsWildcard(_)
                | Self::Ip(..)
                | Self::Uri(_)
                | Self::Email(..)
                | Self::PermanentIdentifier(_)
                | Self::HardwareModule(_),
                _,
            ) => false,
        }
    }
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
            return UriPattern::parse(uri).map(Self::Uri).ok_or_else(wrong);
        }
        if let Some(mailbox) = text.strip_prefix("email:") {
            let any = mailbox.strip_prefix("*@");
            let model = any.map_or_else(|| mailbox.to_owned(), |domain| format!("x@{domain}"));
            let model = EmailName::parse(&model).map_err(|_| wrong())?;
            let domain = DnsName::parse(model.domain()).map_err(|_| wrong())?;
            return match model.local() {
                _ if any.is_some() => Ok(Self::Email(None, domain)),
                local if local.contains('*') => Err(wrong()),
                local => Ok(Self::Email(Some(local.to_owned()), domain)),
            };
        }
        if let Some(device) = text.strip_prefix("permanent-identifier:") {
            return DevicePattern::parse(device, false).map(Self::PermanentIdentifier).ok_or_else(wrong);
        }
        if let Some(module) = text.strip_prefix("hardware-module:") {
            return DevicePattern::parse(module, true).map(Self::HardwareModule).ok_or_else(wrong);
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
            Self::Uri(pattern) => write!(f, "uri:{pattern}"),
            Self::Email(local, domain) => write!(f, "email:{}@{}", local.as_deref().unwrap_or("*"), domain.as_str()),
            Self::PermanentIdentifier(pattern) => write!(f, "permanent-identifier:{pattern}"),
            Self::HardwareModule(pattern) => write!(f, "hardware-module:{pattern}"),
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
    use proptest::prelude::*;

    use super::*;
    use crate::pki::{Identifier, UriName};

    fn name(text: &str) -> AltName {
        match text {
            uri if uri.contains("://") => AltName::Uri(UriName::parse(uri).unwrap()),
            mailbox if mailbox.contains('@') => AltName::Email(EmailName::parse(mailbox).unwrap()),
            other => Identifier::from_text(other).unwrap().into(),
        }
    }

    #[track_caller]
    fn check(pattern: &str, text: &str, covered: bool) {
        let pattern: NamePattern = pattern.parse().unwrap();
        assert_eq!(pattern.covers(&name(text)), covered, "{pattern} / {text}");
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
        check("uri:spiffe://bank.test/ns/pay/sa/*", "uri:spiffe://bank.test/ns/*/sa/*", true);
        check("uri:spiffe://bank.test/ns/*/sa/*", "uri:spiffe://bank.test/ns/pay/sa/*", false);
        check("uri:spiffe://bank.test/ns/pay", "uri:spiffe://bank.test/ns/*/sa/*", false);
        check("uri:spiffe://other.test/a", "uri:spiffe://bank.test/*", false);
        check("uri:https://a.test/?q", "uri:https://a.test/", false);
        check("uri:https://a.test/", "uri:https://a.test/*", false);
        check("uri:https://a.test/a", "dns:a.test", false);
        check("email:ops@bank.test", "email:*@bank.test", true);
        check("email:*@bank.test", "email:ops@bank.test", false);
        check("email:ops@bank.test", "email:*@a.bank.test", false);
    }

    #[test]
    fn a_star_is_exactly_one_path_segment() {
        let pattern = "uri:spiffe://bank.test/ns/*/sa/*";
        check(pattern, "spiffe://bank.test/ns/pay/sa/api", true);
        check(pattern, "spiffe://bank.test/ns/pay/sa", false);
        check(pattern, "spiffe://bank.test/ns/pay/sa/api/more", false);
        check(pattern, "spiffe://bank.test/ns/a/b/sa/api", false);
        check(pattern, "spiffe://bank.test.evil.test/ns/pay/sa/api", false);
        check(pattern, "https://bank.test/ns/pay/sa/api", false);
        check("uri:https://a.test/*", "https://a.test/", false);
        check("uri:https://a.test/*", "https://a.test/x?q", false);
        check("uri:https://a.test/*?q=1", "https://a.test/x?q=1", true);
        check("uri:https://a.test", "https://a.test", true);
        check("uri:https://a.test", "https://a.test/", false);
        check("uri:https://a.test/", "https://a.test/", true);
        check("uri:https://A.Test:8443/P", "https://a.test:8443/P", true);
        check("uri:https://a.test:8443/P", "https://a.test/P", false);
        check("uri:https://a.test/p", "a.test", false);
        for bad in [
            "uri:x",
            "uri:https://*.a.test/",
            "uri:https://a.test/a*",
            "uri:https://a.test/x?*",
            "uri:https://a.test/#x",
            "uri:*",
            "uri:https://*/a",
            "uri:spiffe://*/a",
        ] {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn mailboxes() {
        check("email:*@bank.test", "ops@bank.test", true);
        check("email:*@bank.test", "*@bank.test", true);
        check("email:*@bank.test", "ops@a.bank.test", false);
        check("email:ops@Bank.test", "ops@bank.test", true);
        check("email:ops@bank.test", "Ops@bank.test", false);
        check("email:*@bank.test", "bank.test", false);
        for bad in ["email:bank.test", "email:o*@bank.test", "email:*@*.test", "email:@bank.test", "email:*"] {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_that_stays_itself_or_an_error(
            kind in "(dns|dns-wildcard|ip|uri|email|permanent-identifier|hardware-module):(spiffe://|https://|\\*@)?",
            rest in "(\\PC|[a-z0-9.*/:@?-]){0,40}",
        ) {
            if let Ok(pattern) = format!("{kind}{rest}").parse::<NamePattern>() {
                prop_assert_eq!(&pattern.to_string().parse::<NamePattern>().unwrap(), &pattern);
                prop_assert!(pattern.is_within(&pattern));
            }
        }
    }

    #[test]
    fn addresses() {
        check("ip:127.0.0.1", "127.0.0.1", true);
        check("ip:127.0.0.1", "127.0.0.2", false);
        check("ip:10.0.0.0/8", "10.200.1.1", true);
        check("ip:10.0.0.0/8", "11.0.0.1", false);
        check("ip:::1", "::1", true);
        check("ip:0.0.0.0/0", "::1", false);
        for bad in ["demo.test", "dns:", "dns:*", "dns:a.*", "ip:10.0.0.0/33", "ip:x", "dns-wildcard:*.a", "other:x"] {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad}");
        }
    }
}
