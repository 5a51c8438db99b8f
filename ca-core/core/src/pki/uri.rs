//! URIs as certificates carry them (RFC 3986, RFC 5280 §4.2.1.6), in one spelling only.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{AltNameError, DnsName, SpiffeId};

/// Most octets of a URI in a certificate; an SPIFFE id has the same bound (SPIFFE-ID §2.3).
pub(super) const MAX_URI: usize = 2048;

/// An absolute URI whose host is a DNS name or an address, without user, fragment, or a second way to write it: scheme
/// and host are folded to lower case, and escapes and dot segments that normalization would change are refused, so
/// that equal names are equal texts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UriName(String);

impl UriName {
    /// Reads a URI. One with the scheme `spiffe` must be an SPIFFE id.
    ///
    /// # Errors
    /// With what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, AltNameError> {
        let wrong = |why: String| AltNameError::Uri { text: text.chars().take(300).collect(), why };
        if text.len() > MAX_URI {
            return Err(wrong(format!("it has {} octets; the most is {MAX_URI}", text.len())));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong("it has no `SCHEME://HOST` (hint: only absolute URIs with a host are handled)".to_owned()));
        };
        let scheme = scheme.to_ascii_lowercase();
        let scheme_is_fine = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
        if !scheme_is_fine {
            return Err(wrong("its scheme is not a letter and then letters, digits, `+`, `-` and `.`".to_owned()));
        }
        if scheme == "spiffe" {
            return SpiffeId::parse(text).map(Self::from);
        }
        if rest.contains('#') {
            return Err(wrong("it has a fragment (hint: leave out `#` and what follows)".to_owned()));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if authority.contains('@') {
            return Err(wrong("it has a user before its host (hint: leave out what ends in `@`)".to_owned()));
        }
        let authority = authority.to_ascii_lowercase();
        check_authority(&authority).map_err(wrong)?;
        let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));
        check_characters(path, b"/:@!$&'()*+,;=").map_err(wrong)?;
        check_characters(query.unwrap_or_default(), b"/:@!$&'()*+,;=?").map_err(wrong)?;
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(wrong("its path has a segment `.` or `..`".to_owned()));
        }
        Ok(Self(format!("{scheme}://{authority}{tail}")))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part up to the path: scheme, host and port.
    pub(crate) fn origin(&self) -> &str {
        &self.0[..self.path_start()]
    }

    /// The path without its query, and the query.
    pub(crate) fn path_and_query(&self) -> (&str, Option<&str>) {
        let tail = &self.0[self.path_start()..];
        tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)))
    }

    /// The host, where it is a DNS name.
    pub fn dns_host(&self) -> Option<DnsName> {
        let (_, authority) = self.origin().split_once("://")?;
        let host = authority.split_once(':').map_or(authority, |(host, _)| host);
        DnsName::parse(host).ok()
    }

    /// The SPIFFE id that this is, where its scheme says so.
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        self.0.starts_with("spiffe://").then(|| SpiffeId::parse(&self.0).ok()).flatten()
    }

    fn path_start(&self) -> usize {
        let host = self.0.find("://").map_or(0, |i| i + 3);
        self.0[host..].find(['/', '?']).map_or(self.0.len(), |i| host + i)
    }
}

/// RFC 3986 §3.2.2 and §3.2.3: a name, an IPv4 address or one in brackets; perhaps a port.
fn check_authority(authority: &str) -> Result<(), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (address, port) = bracketed.split_once(']').ok_or("its host begins with `[` and has no `]`")?;
            let canonical = address.parse::<Ipv6Addr>().is_ok_and(|a| a.to_string() == address);
            if !canonical {
                return Err(format!("its host `[{address}]` is not an IPv6 address in canonical form (RFC 5952)"));
            }
            ("", port)
        }
        None => authority.find(':').map_or((authority, ""), |colon| authority.split_at(colon)),
    };
    if !authority.starts_with('[') {
        let is_address = host.parse::<Ipv4Addr>().is_ok();
        let name = DnsName::parse(host);
        match name {
            _ if is_address => {}
            Ok(name) if name.is_wildcard() => return Err(format!("its host `{host}` is a wildcard")),
            Ok(_) => {}
            Err(error) => return Err(format!("its host is refused: {error}")),
        }
    }
    let port_is_fine = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => digits.parse::<u16>().is_ok_and(|p| p.to_string() == digits),
    };
    if port_is_fine { Ok(()) } else { Err("its port is not a number of at most 65535 without leading zeros".to_owned()) }
}

/// RFC 3986 §2: unreserved characters, those of `others`, and escapes of what must be escaped, in upper case (§6.2.2).
fn check_characters(text: &str, others: &[u8]) -> Result<(), String> {
    let bytes = text.as_bytes();
    let is_unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let digits = text.get(at + 1..at + 3).filter(|d| d.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)));
            let escaped = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
            match escaped {
                None => return Err("it has a `%` without two hexadecimal digits in upper case after it".to_owned()),
                Some(octet) if is_unreserved(octet) => {
                    let plain = char::from(octet);
                    return Err(format!("it escapes `{plain}`, which needs none (hint: write `{plain}`)"));
                }
                Some(_) => at += 3,
            }
        } else if is_unreserved(byte) || others.contains(&byte) {
            at += 1;
        } else {
            let found = text[at..].chars().next().unwrap_or_default().escape_default();
            return Err(format!("it has the character `{found}`, which a URI escapes"));
        }
    }
    Ok(())
}

impl From<SpiffeId> for UriName {
    fn from(id: SpiffeId) -> Self {
        Self(id.as_str().to_owned())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        match (UriName::parse(text).map_err(|e| e.to_string()), expected) {
            (Ok(uri), Ok(expected)) => assert_eq!(uri.as_str(), expected),
            (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
            (got, expected) => panic!("{text}: {got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn absolute_uris_with_a_host() {
        for same in [
            "https://a.test",
            "https://a.test/",
            "urn+x://host/p?q",
            "https://a.test:8443/p/q;v=1?a=b&c=/?",
            "https://127.0.0.1/x",
            "https://[2001:db8::1]:1/x",
            "https://a.test/%2F%C3%BC",
            "spiffe://bank.test/payments",
        ] {
            check(same, Ok(same));
        }
        check("HTTPS://A.Test/Path", Ok("https://a.test/Path"));
        for relative in ["", "/a", "spiffe:", "mailto:a@b.test", "urn:a:b"] {
            check(relative, Err("absolute URIs with a host"));
        }
        check("://a", Err("its scheme"));
        check("1a://b", Err("its scheme"));
        check("https://", Err("its host is refused"));
        check("https:///path", Err("its host is refused"));
        check("https://ü.test", Err("xn--tda"));
        check("https://*.a.test", Err("is a wildcard"));
        check("https://999.1.1.1/", Err("its host is refused"));
        check("https://[::1%25eth0]/", Err("IPv6"));
        check("https://[0:0:0:0:0:0:0:1]/", Err("canonical"));
        check("https://[::1/", Err("no `]`"));
        check("https://[::1]x/", Err("its port"));
        check("https://a.test:", Err("its port"));
        check("https://a.test:080", Err("its port"));
        check("https://a.test:65536", Err("its port"));
        check("https://user@a.test/", Err("a user before its host"));
        check("https://a.test/#top", Err("a fragment"));
        check("https://a.test/ b", Err("` `"));
        check("https://a.test/ü", Err("which a URI escapes"));
        check("https://a.test/%zz", Err("two hexadecimal digits"));
        check("https://a.test/%2", Err("two hexadecimal digits"));
        check("https://a.test/%c3", Err("upper case"));
        check("https://a.test/%2E%2E/x", Err("(hint: write `.`)"));
        check("https://a.test/x/../y", Err("`..`"));
        check(&format!("https://a.test/{}", "x".repeat(2048)), Err("the most is 2048"));
    }

    #[test]
    fn parts() {
        let uri = UriName::parse("https://a.test:8443/p/q?r").unwrap();
        assert_eq!((uri.origin(), uri.path_and_query()), ("https://a.test:8443", ("/p/q", Some("r"))));
        assert_eq!(uri.dns_host().unwrap().as_str(), "a.test");
        assert_eq!(uri.spiffe_id(), None);
        assert_eq!(UriName::parse("https://127.0.0.1").unwrap().dns_host(), None);
        assert_eq!(UriName::parse("spiffe://a/b").unwrap().spiffe_id().unwrap().path(), "/b");
    }

    proptest! {
        #[test]
        fn any_text_is_a_uri_that_stays_itself_or_an_error(
            scheme in "(https|spiffe|HTTP|x)?(://)?",
            rest in "(\\PC|[a-z0-9./:@%?#\\[\\]*]){0,60}",
        ) {
            if let Ok(uri) = UriName::parse(&format!("{scheme}{rest}")) {
                prop_assert_eq!(UriName::parse(uri.as_str()).unwrap(), uri);
            }
        }
    }
}
