//! GeneralName (RFC 5280 §4.2.1.6): read, judged by its form, and compared with name constraints.

use super::element::quoted;
use super::values::attribute;
use crate::pki::walk::{ParseError, SEQUENCE, SET, Tlv, Walker};

/// A name of one of the nine forms, or the base of a subtree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum GeneralName<'a> {
    /// The type's identifier and the value within its `[0]`, whole.
    Other(&'a [u8], &'a [u8]),
    Email(&'a [u8]),
    Dns(&'a [u8]),
    /// The DER of a Name.
    Directory(&'a [u8]),
    Uri(&'a [u8]),
    Ip(&'a [u8]),
    RegisteredId(&'a [u8]),
    /// x400Address or ediPartyName, which nobody uses.
    Unusual(u8, &'a [u8]),
}

impl<'a> GeneralName<'a> {
    pub(super) fn read(name: &Tlv<'a>) -> Result<Self, ParseError> {
        let wrong = || ParseError::Value("GeneralName");
        Ok(match name.tag {
            0xa0 => {
                let mut fields = name.walk();
                let id = fields.expect(crate::pki::walk::OID, "type-id")?.content;
                let value = fields.expect(0xa0, "value")?;
                fields.finish("otherName")?;
                let mut inner = value.walk();
                inner.next()?;
                inner.finish("otherName")?;
                Self::Other(id, value.content)
            }
            0x81 => Self::Email(name.content),
            0x82 => Self::Dns(name.content),
            // A CHOICE is tagged explicitly.
            0xa4 => Self::Directory(Walker::single(name.content, SEQUENCE, "directoryName")?.whole),
            0x86 => Self::Uri(name.content),
            0x87 => Self::Ip(name.content),
            0x88 if super::element::is_object_identifier(name.content) => Self::RegisteredId(name.content),
            0xa3 | 0xa5 => Self::Unusual(name.tag, name.content),
            _ => return Err(wrong()),
        })
    }

    /// As [`Self::read`]; the base of an otherName may lack what a name needs.
    pub(super) fn read_base(name: &Tlv<'a>) -> Result<Self, ParseError> {
        if name.tag == 0xa0 { Ok(Self::Unusual(name.tag, name.content)) } else { Self::read(name) }
    }

    /// What it is called in RFC 5280.
    pub(super) const fn form(&self) -> &'static str {
        match self {
            Self::Other(..) => "otherName",
            Self::Email(_) => "rfc822Name",
            Self::Dns(_) => "dNSName",
            Self::Directory(_) => "directoryName",
            Self::Uri(_) => "uniformResourceIdentifier",
            Self::Ip(_) => "iPAddress",
            Self::RegisteredId(_) => "registeredID",
            Self::Unusual(0xa3, _) => "x400Address",
            Self::Unusual(0xa5, _) => "ediPartyName",
            Self::Unusual(..) => "otherName",
        }
    }

    const fn octets(&self) -> &'a [u8] {
        match *self {
            Self::Email(b) | Self::Dns(b) | Self::Directory(b) | Self::Uri(b) | Self::Ip(b) | Self::RegisteredId(b) => b,
            Self::Other(_, b) | Self::Unusual(_, b) => b,
        }
    }

    /// For messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Email(text) | Self::Dns(text) | Self::Uri(text) => format!("{} {}", self.form(), quoted(text)),
            _ => format!("{} {}", self.form(), super::element::hexadecimal(self.octets())),
        }
    }

    /// Whether the name is within the subtree of `base`, which is of the same form (RFC 5280 §4.2.1.10). A wildcard
    /// stands for everything that it can match: it lies within what all of those lie within.
    pub(super) fn is_within(&self, base: &Self) -> Option<bool> {
        Some(match (*self, *base) {
            (Self::Dns(name), Self::Dns(base)) => is_below(name, base),
            (Self::Email(name), Self::Email(base)) => {
                let host = host_of_mailbox(name);
                match base {
                    b if b.contains(&b'@') => is_same_mailbox(name, b),
                    [b'.', domain @ ..] => is_below(host, domain) && !host.eq_ignore_ascii_case(domain),
                    host_base => host_base.is_empty() || host.eq_ignore_ascii_case(host_base),
                }
            }
            (Self::Uri(name), Self::Uri(base)) => {
                let host = host_of_uri(name)?;
                match base {
                    [b'.', domain @ ..] => is_below(host, domain) && !host.eq_ignore_ascii_case(domain),
                    host_base => host_base.is_empty() || host.eq_ignore_ascii_case(host_base),
                }
            }
            (Self::Ip(name), Self::Ip(base)) => {
                let (network, mask) = base.split_at(base.len() / 2);
                base.len() == 2 * name.len() && name.iter().zip(network).zip(mask).all(|((o, n), m)| (o ^ n) & m == 0)
            }
            (Self::Directory(name), Self::Directory(base)) => is_name_within(name, base),
            _ => return None,
        })
    }

    /// As [`Self::is_within`], for what is excluded: a wildcard also meets what lies below it.
    pub(super) fn overlaps(&self, base: &Self) -> Option<bool> {
        let below = match (self, base) {
            (Self::Dns([b'*', b'.', parent @ ..]), Self::Dns(base)) => is_below(base, parent),
            _ => false,
        };
        self.is_within(base).map(|within| within || below)
    }
}

/// At least one name.
pub(super) fn read_all<'a>(mut names: Walker<'a>) -> Result<Vec<GeneralName<'a>>, ParseError> {
    let mut found = Vec::with_capacity(4);
    while !names.is_empty() {
        found.push(GeneralName::read(&names.next()?)?);
    }
    if found.is_empty() { Err(ParseError::Value("GeneralNames")) } else { Ok(found) }
}

/// Whether zero or more labels before `base` give `name`.
fn is_below(name: &[u8], base: &[u8]) -> bool {
    let (name, base) = (name.to_ascii_lowercase(), base.to_ascii_lowercase());
    // A leading dot is no part of the syntax; those who write it mean one label at least.
    let base = base.as_slice();
    base.is_empty() || name.strip_suffix(base).is_some_and(|rest| rest.is_empty() || rest.ends_with(b".") || base.starts_with(b"."))
}

fn host_of_mailbox(mailbox: &[u8]) -> &[u8] {
    mailbox.rsplit(|b| *b == b'@').next().unwrap_or_default()
}

/// Local parts count to the letter, hosts don't (RFC 5280 §7.5).
fn is_same_mailbox(one: &[u8], other: &[u8]) -> bool {
    let split = |m: &[u8]| m.iter().rposition(|b| *b == b'@').map(|at| (m[..at].to_vec(), m[at + 1..].to_ascii_lowercase()));
    split(one) == split(other)
}

/// The host of an absolute URI with an authority; none where it has none, or an address.
pub(super) fn host_of_uri(uri: &[u8]) -> Option<&[u8]> {
    let colon = uri.iter().position(|b| *b == b':')?;
    let rest = uri[colon + 1..].strip_prefix(b"//")?;
    let authority = rest.split(|b| matches!(b, b'/' | b'?' | b'#')).next()?;
    let host_port = authority.rsplit(|b| *b == b'@').next()?;
    let host = host_port.split(|b| *b == b':').next()?;
    let is_name = !host.is_empty() && host[0] != b'[' && std::str::from_utf8(host).is_ok_and(|h| h.parse::<std::net::Ipv4Addr>().is_err());
    is_name.then_some(host)
}

/// LDH labels (RFC 1034 §3.5, RFC 1123 §2.1), at most 253 characters, no dot at the end; `_` is for the rule on it.
pub(super) fn is_host(name: &[u8]) -> bool {
    let label = |label: &[u8]| {
        let ok = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
        (1..=63).contains(&label.len()) && label.iter().all(ok) && label[0] != b'-' && label[label.len() - 1] != b'-'
    };
    name.len() <= 253 && name.split(|b| *b == b'.').all(label)
}

/// Whether the RDNs of `base` begin `name`, compared attribute by attribute without regard to case, spaces at the ends,
/// runs of spaces, or the string type (RFC 5280 §7.1, as far as ASCII goes).
fn is_name_within(name: &[u8], base: &[u8]) -> bool {
    let rdns = |der: &'_ [u8]| -> Option<Vec<Vec<(Vec<u8>, Vec<u8>)>>> {
        let mut sets = Walker::single(der, SEQUENCE, "Name").ok()?.walk();
        let mut found = Vec::new();
        while !sets.is_empty() {
            let mut attributes = sets.expect(SET, "RDN").ok()?.walk();
            let mut rdn = Vec::new();
            while !attributes.is_empty() {
                let (kind, value) = attribute(&mut attributes).ok()?;
                rdn.push((kind.to_vec(), folded(&value)));
            }
            rdn.sort();
            found.push(rdn);
        }
        Some(found)
    };
    matches!((rdns(name), rdns(base)), (Some(name), Some(base)) if name.starts_with(&base))
}

fn folded(value: &Tlv<'_>) -> Vec<u8> {
    let text = super::names::text(value);
    match text {
        Some(text) => text.split_ascii_whitespace().collect::<Vec<_>>().join(" ").to_lowercase().into_bytes(),
        None => value.whole.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_within_subtrees() {
        use GeneralName::{Dns, Email, Ip, Uri};
        let check = |name: GeneralName<'_>, base: GeneralName<'_>, expected: Option<bool>| {
            assert_eq!(name.is_within(&base), expected, "{name:?} {base:?}");
        };
        check(Dns(b"a.Bank.test"), Dns(b"bank.test"), Some(true));
        check(Dns(b"bank.test"), Dns(b"bank.test"), Some(true));
        check(Dns(b"abank.test"), Dns(b"bank.test"), Some(false));
        check(Dns(b"*.bank.test"), Dns(b"bank.test"), Some(true));
        check(Dns(b"x"), Dns(b""), Some(true));
        check(Email(b"a@bank.test"), Email(b"bank.test"), Some(true));
        check(Email(b"a@x.bank.test"), Email(b"bank.test"), Some(false));
        check(Email(b"a@x.bank.test"), Email(b".bank.test"), Some(true));
        check(Email(b"a@bank.test"), Email(b".bank.test"), Some(false));
        check(Email(b"a@BANK.test"), Email(b"a@bank.test"), Some(true));
        check(Email(b"A@bank.test"), Email(b"a@bank.test"), Some(false));
        check(Uri(b"spiffe://bank.test/ns"), Uri(b"bank.test"), Some(true));
        check(Uri(b"https://u@a.bank.test:8443/ns"), Uri(b".bank.test"), Some(true));
        check(Uri(b"https://bank.test/"), Uri(b".bank.test"), Some(false));
        check(Uri(b"urn:x:y"), Uri(b"bank.test"), None);
        check(Uri(b"https://127.0.0.1/"), Uri(b"bank.test"), None);
        check(Ip(&[10, 1, 2, 3]), Ip(&[10, 0, 0, 0, 255, 0, 0, 0]), Some(true));
        check(Ip(&[11, 1, 2, 3]), Ip(&[10, 0, 0, 0, 255, 0, 0, 0]), Some(false));
        check(Ip(&[10, 1, 2, 3]), Ip(&[0; 32]), Some(false));
        check(Dns(b"a"), Ip(&[0; 8]), None);
        assert_eq!(Dns(b"*.bank.test").overlaps(&Dns(b"a.bank.test")), Some(true));
        assert_eq!(Dns(b"*.bank.test").overlaps(&Dns(b"a.other.test")), Some(false));
    }

    #[test]
    fn hosts() {
        for (name, expected) in
            [("a", true), ("a-1.b", true), ("", false), ("a.", false), (".a", false), ("-a", false), ("a-", false), ("a_b", false)]
        {
            assert_eq!(is_host(name.as_bytes()), expected, "{name}");
        }
        assert!(!is_host("a".repeat(64).as_bytes()));
    }
}
