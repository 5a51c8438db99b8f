//! Where http-01 fetches, and where a redirect may lead (lesson 9).

use std::fmt;

use ca_core::model::{Problem, ProblemType};
use ca_core::pki::{DnsName, Identifier};
use http::Uri;
use http::uri::PathAndQuery;

use super::problem;

/// The most characters of a Location.
const MAX_LOCATION: usize = 2048;

/// What is fetched next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub(super) tls: bool,
    pub(super) host: Identifier,
    pub(super) port: u16,
    pub(super) path: PathAndQuery,
}

impl Target {
    /// The resource of a challenge.
    pub(super) fn of(host: &Identifier, port: u16, path: &str) -> Result<Self, Problem> {
        let path = path.parse().map_err(|_| problem(ProblemType::ServerInternal, "the challenge has no path"))?;
        Ok(Self { tls: false, host: host.clone(), port, path })
    }

    /// The Host header: the port stands there where it is not the scheme's own.
    pub(super) fn authority(&self) -> String {
        let host = match &self.host {
            Identifier::Ip(address) if address.is_ipv6() => format!("[{address}]"),
            host => host.value(),
        };
        if self.port == default_port(self.tls) { host } else { format!("{host}:{}", self.port) }
    }

    /// Where a Location leads: another path, or another server on port 80, 443 or the one that http-01 begins at.
    pub(super) fn redirect(&self, location: &str, first_port: u16) -> Result<Self, Problem> {
        let refused = |why: &str| problem(ProblemType::Unauthorized, format!("a redirect is not followed: {why}"));
        if location.len() > MAX_LOCATION {
            return Err(refused("its Location is too long"));
        }
        let location = location.split('#').next().unwrap_or_default();
        let uri: Uri = location.parse().map_err(|_| refused("its Location is not a URL"))?;
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let (tls, authority) = match (uri.scheme_str(), uri.authority()) {
            // Two slashes would name another server (RFC 3986 §4.2).
            (None, None) if location.starts_with('/') && !location.starts_with("//") => return Ok(Self { path, ..self.clone() }),
            (Some("http"), Some(authority)) => (false, authority),
            (Some("https"), Some(authority)) => (true, authority),
            _ => return Err(refused("its Location is neither http nor https nor an absolute path")),
        };
        if authority.as_str().contains('@') {
            return Err(refused("its Location has user information"));
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().ends_with(':') => return Err(refused("its Location has an empty port")),
            None => default_port(tls),
        };
        if ![80, 443, first_port].contains(&port) {
            return Err(refused("only the ports 80 and 443 are"));
        }
        let text = authority.host();
        let host = match DnsName::parse(text) {
            Ok(name) if !name.is_wildcard() => Identifier::Dns(name),
            // An address that the client did not ask for would be a way around its name.
            _ => match text.trim_start_matches('[').trim_end_matches(']').parse() {
                Ok(address) if self.host == Identifier::Ip(address) => Identifier::Ip(address),
                Ok(_) => return Err(refused("it leads to an address instead of a name")),
                Err(_) => return Err(refused("its host is not a name")),
            },
        };
        Ok(Self { tls, host, port, path })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.tls { "https" } else { "http" }, self.authority(), self.path.path())
    }
}

const fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a12_redirects_lead_to_ports_80_and_443_only() {
        let check = |from: &str, location: &str, expected: Result<&str, &str>| {
            let host = Identifier::from_text(from).unwrap();
            let target = Target::of(&host, 80, "/.well-known/acme-challenge/t").unwrap();
            match (target.redirect(location, 5002), expected) {
                (Ok(target), Ok(expected)) => assert_eq!(target.to_string(), expected, "{location}"),
                (Err(problem), Err(why)) => assert!(problem.detail.contains(why), "{location}: {}", problem.detail),
                (found, _) => panic!("{location}: {found:?}"),
            }
        };
        check("a.test", "/x", Ok("http://a.test/x"));
        check("a.test", "http://b.test/x?y=1#z", Ok("http://b.test/x"));
        check("a.test", "https://b.test", Ok("https://b.test/"));
        check("a.test", "https://b.test:443/x", Ok("https://b.test/x"));
        check("a.test", "http://b.test:443/x", Ok("http://b.test:443/x"));
        check("a.test", "http://b.test:5002/x", Ok("http://b.test:5002/x"));
        check("10.0.0.1", "https://10.0.0.1/x", Ok("https://10.0.0.1/x"));
        check("fd00::1", "https://[fd00::1]/x", Ok("https://[fd00::1]/x"));
        check("a.test", "http://b.test:8080/x", Err("ports 80 and 443"));
        check("a.test", "http://b.test:22/", Err("ports 80 and 443"));
        check("a.test", "http://b.test:/x", Err("port"));
        check("a.test", "http://127.0.0.1/x", Err("an address instead of a name"));
        check("a.test", "http://[::1]/x", Err("an address instead of a name"));
        check("a.test", "http://0x7f000001/x", Err("not a name"));
        check("10.0.0.1", "http://10.0.0.2/x", Err("an address instead of a name"));
        check("a.test", "http://u:p@b.test/x", Err("user information"));
        check("a.test", "ftp://b.test/x", Err("neither http nor https"));
        check("a.test", "//b.test/x", Err("redirect is not followed"));
        check("a.test", "x/y", Err("redirect is not followed"));
        check("a.test", "", Err("redirect is not followed"));
        check("a.test", "http://b_c.test/", Err("not a name"));
        check("a.test", &format!("/{}", "x".repeat(3000)), Err("too long"));
    }
}
