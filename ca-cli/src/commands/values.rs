//! Values as people type them.

use std::str::FromStr;
use std::time::Duration;

use ca_core::model::RevocationReason;
use ca_core::pki::{EmailName, Identifier, KeyAlgorithm, Timestamp, UriName};
use ca_core::policy::NamePattern;
use ca_core::profile::Attribute;
use ca_core::validation::Network;
use clap::ValueEnum;

/// A time: now plus a span, a point, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum When {
    /// `+7d`.
    After(Duration),
    /// `2026-01-31T12:00:00Z`.
    At(Timestamp),
    /// `never`.
    Never,
}

impl When {
    /// The time itself; none for `never`.
    pub(crate) fn from(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::After(span) => Some(now.plus(span)),
            Self::At(time) => Some(time),
            Self::Never => None,
        }
    }
}

impl FromStr for When {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a time: +7d, +12h, +30m, 2026-01-31T12:00:00Z or never");
        if text == "never" {
            return Ok(Self::Never);
        }
        let Some(span) = text.strip_prefix('+') else {
            return Timestamp::parse_rfc3339(text).map(Self::At).map_err(|_| wrong());
        };
        let unit = span.chars().last().ok_or_else(wrong)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let number: u32 = span[..span.len() - 1].parse().map_err(|_| wrong())?;
        Ok(Self::After(Duration::from_secs(u64::from(number) * seconds)))
    }
}

/// The end of something that begins now: a [`When`], or a plain span such as `7d`.
pub(crate) fn parse_end(text: &str) -> Result<When, String> {
    text.parse().or_else(|wrong| format!("+{text}").parse().map_err(|_| wrong))
}

/// A number, or none for `unlimited`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Count(pub(crate) Option<u32>);

impl FromStr for Count {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number) if number > 0 => Ok(Self(Some(number))),
            _ if text == "unlimited" => Ok(Self(None)),
            _ => Err(format!("`{text}` is neither a number from 1 on nor `unlimited`")),
        }
    }
}

/// A bound, or none for `any`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AnyOr<T>(pub(crate) Option<T>);

impl<T: FromStr> FromStr for AnyOr<T> {
    type Err = T::Err;
    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "any" { Ok(Self(None)) } else { text.parse().map(|bound| Self(Some(bound))) }
    }
}

/// A value, or `none`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OrNone<T>(pub(crate) Option<T>);

/// Reads `none`, or what `parse` does.
pub(crate) fn or_none<T>(parse: impl Fn(&str) -> Result<T, String> + Clone) -> impl Fn(&str) -> Result<OrNone<T>, String> + Clone {
    move |text| if text == "none" { Ok(OrNone(None)) } else { parse(text).map(|value| OrNone(Some(value))) }
}

/// Several values, or one `none`.
pub(crate) fn none_or_all<T>(values: Vec<OrNone<T>>, option: &str) -> Result<Vec<T>, String> {
    alone(values.into_iter().map(|value| value.0).collect(), || format!("{option} none stands alone: it takes what there was away"))
}

/// A network that clients come from, or all of them.
pub(crate) type Source = AnyOr<Network>;

/// How long a certificate lives: `30d`, in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lifetime(pub(crate) u64);

impl FromStr for Lifetime {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match format!("+{text}").parse() {
            Ok(When::After(span)) => Ok(Self(span.as_secs())),
            _ => Err(format!("`{text}` is not a lifetime: 30d, 12h, 90m or any")),
        }
    }
}

/// Kinds of keys by one word: `p256`, `rsa2048+` for that and longer ones, or none for `any`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyKinds(pub(crate) Vec<KeyAlgorithm>);

impl FromStr for KeyKinds {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const FAMILIES: [&[KeyAlgorithm]; 3] = [
            &[KeyAlgorithm::P256, KeyAlgorithm::P384],
            &[KeyAlgorithm::Rsa2048, KeyAlgorithm::Rsa3072, KeyAlgorithm::Rsa4096],
            &[KeyAlgorithm::MlDsa65, KeyAlgorithm::MlDsa87],
        ];
        if text == "any" {
            return Ok(Self(Vec::new()));
        }
        let Some(least) = text.strip_suffix('+') else { return text.parse().map(|kind| Self(vec![kind])) };
        let least: KeyAlgorithm = least.parse()?;
        let family = FAMILIES.iter().find_map(|family| Some(family[family.iter().position(|k| *k == least)?..].to_vec()));
        Ok(Self(family.unwrap_or_else(|| vec![least])))
    }
}

/// Several values of which one may be `any`, which then stands alone.
pub(crate) fn any_or_all<T>(values: Vec<AnyOr<T>>, option: &str) -> Result<Vec<T>, String> {
    alone(values.into_iter().map(|value| value.0).collect(), || format!("{option} any stands alone: it means that nothing is bounded"))
}

fn alone<T>(values: Vec<Option<T>>, mixed: impl FnOnce() -> String) -> Result<Vec<T>, String> {
    let count = values.len();
    let named: Vec<T> = values.into_iter().flatten().collect();
    if named.is_empty() || named.len() == count { Ok(named) } else { Err(mixed()) }
}

/// The kinds of keys that several words name, each once.
pub(crate) fn key_kinds(words: Vec<KeyKinds>) -> Result<Vec<KeyAlgorithm>, String> {
    if words.len() > 1 && words.iter().any(|word| word.0.is_empty()) {
        return Err("--key-types any stands alone: it means that nothing is bounded".to_owned());
    }
    let mut kinds: Vec<_> = words.into_iter().flat_map(|word| word.0).collect();
    kinds.sort_unstable();
    kinds.dedup();
    Ok(kinds)
}

/// A DNS name or a pattern of them.
pub(crate) fn parse_dns(text: &str) -> Result<NamePattern, String> {
    let form = if text.starts_with("dns-wildcard:") { "" } else { "dns:" };
    format!("{form}{}", text.strip_prefix("dns:").unwrap_or(text)).parse().map_err(|e: ca_core::policy::PatternError| e.to_string())
}

/// An address or a block of them.
pub(crate) fn parse_ip(text: &str) -> Result<NamePattern, String> {
    format!("ip:{}", text.strip_prefix("ip:").unwrap_or(text)).parse().map_err(|e: ca_core::policy::PatternError| e.to_string())
}

/// A pattern, or a plain name, address, URI or mailbox, which covers itself.
pub(crate) fn parse_pattern(text: &str) -> Result<NamePattern, String> {
    const FORMS: [&str; 7] = ["dns:", "dns-wildcard:", "ip:", "uri:", "email:", "permanent-identifier:", "hardware-module:"];
    let named = match Identifier::from_text(text) {
        _ if FORMS.iter().any(|form| text.starts_with(form)) => text.to_owned(),
        Ok(Identifier::Ip(address)) => format!("ip:{address}"),
        _ if text.contains("://") => format!("uri:{text}"),
        _ if text.contains('@') => format!("email:{text}"),
        _ => format!("dns:{text}"),
    };
    named.parse().map_err(|e: ca_core::policy::PatternError| e.to_string())
}

/// `ATTRIBUTE=VALUE`, a part of a subject.
pub(crate) fn parse_subject_part(text: &str) -> Result<(Attribute, String), String> {
    let (attribute, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not ATTRIBUTE=VALUE, for example O=Bank"))?;
    let attribute: Attribute = attribute.parse()?;
    attribute.check(value).map_err(|e| format!("{attribute}: {e}"))?;
    Ok((attribute, value.to_owned()))
}

/// A URI in a certificate.
pub(crate) fn parse_uri(text: &str) -> Result<UriName, String> {
    UriName::parse(text).map_err(|e| e.to_string())
}

/// A mailbox in a certificate.
pub(crate) fn parse_email(text: &str) -> Result<EmailName, String> {
    EmailName::parse(text).map_err(|e| e.to_string())
}

/// Reasons as commands name them (RFC 5280 §5.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
#[value(rename_all = "camelCase")]
pub(crate) enum Reason {
    /// No reason is told.
    Unspecified,
    /// The private key is, or may be, in other hands.
    KeyCompromise,
    /// The subject changed its name or belongs elsewhere.
    AffiliationChanged,
    /// Another certificate took its place.
    Superseded,
    /// The service is no more.
    CessationOfOperation,
    /// The subject lost its right to it.
    PrivilegeWithdrawn,
}

/// Reasons for a CA certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
#[value(rename_all = "camelCase")]
pub(crate) enum CaReason {
    /// The authority's key is, or may be, in other hands.
    CaCompromise,
    /// Another authority took its place.
    Superseded,
    /// The authority is no more.
    CessationOfOperation,
    /// No reason is told.
    Unspecified,
}

impl From<CaReason> for RevocationReason {
    fn from(reason: CaReason) -> Self {
        match reason {
            CaReason::CaCompromise => Self::CaCompromise,
            CaReason::Superseded => Self::Superseded,
            CaReason::CessationOfOperation => Self::CessationOfOperation,
            CaReason::Unspecified => Self::Unspecified,
        }
    }
}

impl From<Reason> for RevocationReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Unspecified => Self::Unspecified,
            Reason::KeyCompromise => Self::KeyCompromise,
            Reason::AffiliationChanged => Self::AffiliationChanged,
            Reason::Superseded => Self::Superseded,
            Reason::CessationOfOperation => Self::CessationOfOperation,
            Reason::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let check = |text: &str, expected: Option<When>| assert_eq!(text.parse().ok(), expected, "{text}");
        check("+7d", Some(When::After(Duration::from_secs(7 * 86_400))));
        check("+30m", Some(When::After(Duration::from_secs(1800))));
        check("never", Some(When::Never));
        check("1970-01-01T00:01:00Z", Some(When::At(Timestamp::from_unix(60))));
        for bad in ["", "+", "+d", "7d", "+7w", "+-1d", "tomorrow", "+99999999999d", "+7é"] {
            check(bad, None);
        }
    }

    #[test]
    fn a16_the_ends_of_a_grant_are_spans_or_times() {
        let check = |text: &str, expected: Option<When>| assert_eq!(parse_end(text).ok(), expected, "{text}");
        check("7d", Some(When::After(Duration::from_secs(7 * 86_400))));
        check("+7d", Some(When::After(Duration::from_secs(7 * 86_400))));
        check("never", Some(When::Never));
        check("1970-01-01T00:01:00Z", Some(When::At(Timestamp::from_unix(60))));
        for bad in ["", "d", "7", "7w", "-1d", "tomorrow"] {
            check(bad, None);
        }
    }

    #[test]
    fn names_and_patterns() {
        let check = |text: &str, expected: &str| assert_eq!(parse_pattern(text).unwrap().to_string(), expected);
        check("demo.test", "dns:demo.test");
        check("*.demo.test", "dns:*.demo.test");
        check("dns:*.demo.test", "dns:*.demo.test");
        check("dns-wildcard:demo.test", "dns-wildcard:demo.test");
        check("127.0.0.1", "ip:127.0.0.1/32");
        check("::1", "ip:::1/128");
        check("fe80::1", "ip:fe80::1/128");
        check("ip:10.0.0.0/8", "ip:10.0.0.0/8");
        for bad in ["", "uri:x", "a..b", "dns:", "10.0.0.0/8", "*"] {
            assert!(parse_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_of_subjects() {
        let check = |text: &str, expected: Option<(Attribute, &str)>| {
            assert_eq!(parse_subject_part(text).ok(), expected.map(|(attribute, value)| (attribute, value.to_owned())), "{text}");
        };
        check("O=Bank, Ltd", Some((Attribute::Organization, "Bank, Ltd")));
        check("CN=a=b", Some((Attribute::CommonName, "a=b")));
        check("organizationIdentifier=PSDGB-FCA-1", Some((Attribute::OrganizationIdentifier, "PSDGB-FCA-1")));
        for bad in ["", "O", "O=", "C=gb", "o=x", "emailAddress=a@b.test"] {
            check(bad, None);
        }
        let mailboxes =
            |words: &[&str]| none_or_all(words.iter().map(|w| or_none(parse_email)(w).unwrap()).collect(), "--email").map(|m| m.len());
        assert_eq!((mailboxes(&["none"]), mailboxes(&["a@bank.test", "b@bank.test"])), (Ok(0), Ok(2)));
        assert!(mailboxes(&["none", "a@bank.test"]).is_err_and(|e| e.contains("--email none stands alone")));
        assert!(parse_uri("spiffe://bank.test/ns/a").is_ok() && parse_uri("bank.test").is_err());
        assert!(parse_email("ops@bank.test").is_ok() && parse_email("ops").is_err());
    }

    #[test]
    fn a14_limits_as_people_type_them() {
        let kinds = |words: &str| key_kinds(words.split(',').map(|w| w.parse().unwrap()).collect());
        use KeyAlgorithm::{Ed25519, P256, P384, Rsa2048, Rsa3072, Rsa4096};
        assert_eq!(kinds("p256,rsa2048+"), Ok(vec![P256, Rsa2048, Rsa3072, Rsa4096]));
        assert_eq!(kinds("rsa3072+,p256+,p384"), Ok(vec![P256, P384, Rsa3072, Rsa4096]));
        assert_eq!(kinds("ed25519+"), Ok(vec![Ed25519]));
        assert_eq!(kinds("any"), Ok(vec![]));
        assert!(kinds("any,p256").unwrap_err().contains("stands alone"));
        for bad in ["", "+", "rsa", "rsa1024", "p256++"] {
            assert!(bad.parse::<KeyKinds>().is_err(), "{bad}");
        }
        let from = |words: &[&str]| any_or_all::<Network>(words.iter().map(|w| w.parse().unwrap()).collect(), "--from").map(|n| n.len());
        assert_eq!((from(&["10.0.0.0/8", "::1"]), from(&["any"]), from(&[])), (Ok(2), Ok(0), Ok(0)));
        assert!(from(&["any", "::1"]).is_err() && "10.0.0.1/8".parse::<Source>().is_err());
        assert_eq!("30d".parse(), Ok(Lifetime(30 * 86_400)));
        assert_eq!("+30d".parse(), Ok(Lifetime(30 * 86_400)), "as the ends of a grant are written");
        assert_eq!("any".parse(), Ok(AnyOr::<Lifetime>(None)));
        for bad in ["", "30", "++30d", "never", "2027-01-01T00:00:00Z"] {
            assert!(bad.parse::<Lifetime>().is_err(), "{bad}");
        }
        assert_eq!(parse_dns("payments.*.bank.test").unwrap().to_string(), "dns:payments.*.bank.test");
        assert_eq!(parse_dns("dns-wildcard:bank.test").unwrap().to_string(), "dns-wildcard:bank.test");
        assert_eq!(parse_ip("10.0.0.0/8").unwrap().to_string(), "ip:10.0.0.0/8");
        assert!(parse_dns("10.0.0.0/8").is_err() && parse_ip("bank.test").is_err() && parse_dns("uri:https://a.test/").is_err());
    }

    #[test]
    fn counts() {
        assert_eq!("3".parse(), Ok(Count(Some(3))));
        assert_eq!("unlimited".parse(), Ok(Count(None)));
        assert!("0".parse::<Count>().is_err());
    }
}
