//! `Forwarded` (RFC 7239) and `X-Forwarded-For`: a list of hops, to which each proxy adds the one that it saw.
//!
//! What stands further left was written by whoever is further away. So the list is read from its end, for as long as
//! each hop is a proxy that is trusted: the first other one is the client. A hop that is no address ends the walk: then
//! the proxy that wrote it stands for those behind it, and nobody else's word is taken. That it does is told: a client can
//! bring it about, with a value that swallows what the proxy adds, and must gain no address of the site's by it.

use std::net::{IpAddr, Ipv6Addr};

/// The most hops that are read.
pub const MAX_HOPS: usize = 32;

/// A hop's address; none: `unknown`, a name, or not what the standard has there.
pub type Hop = Option<IpAddr>;

/// The client behind a connection from `peer`, given the hops that its headers list, first to last; and whether that is
/// its own address, not that of a trusted proxy which does not say who is behind it.
pub fn client_of(peer: IpAddr, hops: &[Hop], is_trusted: impl Fn(IpAddr) -> bool) -> (IpAddr, bool) {
    let mut client = peer.to_canonical();
    let mut own = !is_trusted(client);
    for hop in hops.iter().rev().take(MAX_HOPS) {
        if !is_trusted(client) {
            break;
        }
        // Who is trusted and said to be the client may be one; where a further hop is no address, it is not.
        own = hop.is_some();
        let Some(address) = hop else { break };
        client = address.to_canonical();
    }
    (client, own)
}

/// The hops of the values of `X-Forwarded-For`, in the order in which they stand.
pub fn hops_of_x_forwarded_for<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<Hop> {
    values.flat_map(|value| value.split(|b| *b == b',').map(|hop| std::str::from_utf8(hop).ok().and_then(|hop| node(hop.trim())))).collect()
}

/// The hops of the values of `Forwarded`, in the order in which they stand. A value that does not parse is one hop
/// without an address: what is in it may have swallowed what a proxy added.
pub fn hops_of_forwarded<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<Hop> {
    values.flat_map(|value| std::str::from_utf8(value).ok().and_then(elements).unwrap_or_else(|| vec![None])).collect()
}

/// RFC 7239 §6: an address with or without a port, IPv6 in brackets; `X-Forwarded-For` has IPv6 without them.
fn node(text: &str) -> Hop {
    let is_port = |port: &str| !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let port = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return address.parse::<Ipv6Addr>().ok().filter(|_| port).map(IpAddr::V6);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    let (address, port) = text.split_once(':')?;
    address.parse().ok().filter(|_| is_port(port)).map(IpAddr::V4)
}

/// The `for` of each element; none: the value does not parse.
fn elements(value: &str) -> Option<Vec<Hop>> {
    let mut hops = Vec::new();
    let mut rest = value.trim();
    loop {
        let mut node_of: Option<Hop> = None;
        let mut twice = false;
        loop {
            let (name, after) = rest.split_once('=')?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return None;
            }
            let (text, after) = pair_value(after)?;
            if name.eq_ignore_ascii_case("for") {
                // §4: "Each parameter MUST NOT occur more than once per field-value."
                twice |= node_of.is_some();
                node_of = Some(node(&text));
            }
            rest = after.trim_start();
            match rest.strip_prefix(';') {
                Some(next) => rest = next.trim_start(),
                None => break,
            }
        }
        if twice {
            return None;
        }
        hops.push(node_of.flatten());
        match rest.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None if rest.is_empty() => return Some(hops),
            None => return None,
        }
    }
}

/// A token or a quoted string, and what follows it.
fn pair_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|b| !is_token(b)).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// RFC 9110 §5.6.2.
const fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(b, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(address: IpAddr) -> bool {
        address.to_string().starts_with("10.")
    }

    #[track_caller]
    fn client(hops: &[Hop], expected: &str) {
        assert_eq!(client_of("10.0.0.1".parse().unwrap(), hops, trusted).0.to_string(), expected, "{hops:?}");
    }

    #[test]
    fn a14_a_proxy_that_does_not_say_who_is_behind_it_is_not_the_client() {
        let own = |peer: &str, hops: &[Hop]| client_of(peer.parse().unwrap(), hops, trusted).1;
        assert!(own("192.0.2.7", &[]) && own("192.0.2.7", &x(&["10.0.0.2"])));
        assert!(own("10.0.0.1", &x(&["192.0.2.1"])) && own("10.0.0.1", &x(&["192.0.2.1, 10.0.0.2"])));
        assert!(own("10.0.0.1", &x(&["10.0.0.9"])), "a client may stand beside the proxies");
        for silent in [&[][..], &x(&["unknown"]), &x(&["192.0.2.1, unknown"]), &x(&["192.0.2.1, unknown, 10.0.0.2"])] {
            assert!(!own("10.0.0.1", silent), "{silent:?}");
        }
        // What the client sends swallows what the proxy adds to the same value.
        assert!(!own("10.0.0.1", &f(&["for=\", for=192.0.2.1"])));
    }

    fn x(values: &[&str]) -> Vec<Hop> {
        hops_of_x_forwarded_for(values.iter().map(|value| value.as_bytes()))
    }

    fn f(values: &[&str]) -> Vec<Hop> {
        hops_of_forwarded(values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn a23_x_forwarded_for_is_read_from_its_end() {
        client(&x(&[]), "10.0.0.1");
        client(&x(&["192.0.2.1"]), "192.0.2.1");
        client(&x(&["192.0.2.1:1234"]), "192.0.2.1");
        client(&x(&["2001:db8::1"]), "2001:db8::1");
        client(&x(&["[2001:db8::1]:443"]), "2001:db8::1");
        // What the client claims stands to the left of what the proxy saw.
        client(&x(&["203.0.113.9, 192.0.2.1"]), "192.0.2.1");
        client(&x(&["203.0.113.9", "192.0.2.1"]), "192.0.2.1");
        client(&x(&["10.0.0.9, 192.0.2.1"]), "192.0.2.1");
        // Through several proxies of the site.
        client(&x(&["203.0.113.9, 192.0.2.1, 10.0.0.2, 10.0.0.3"]), "192.0.2.1");
        client(&x(&["10.0.0.4, 10.0.0.3"]), "10.0.0.4");
        // What is no address: the proxy that wrote it stands for it.
        for odd in
            ["192.0.2.1, unknown", "192.0.2.1, ", "192.0.2.1, x y", "192.0.2.1, 192.0.2.1:", "192.0.2.1, [192.0.2.1]", "192.0.2.1, 1.2.3"]
        {
            client(&x(&[odd]), "10.0.0.1");
        }
        client(&x(&["192.0.2.1, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(hops_of_x_forwarded_for([&b"\xff"[..]].into_iter()), [None]);
        let many = vec!["10.0.0.2"; 1000].join(",");
        client(&x(&["192.0.2.1", &many]), "10.0.0.2");
        assert_eq!(client_of("192.0.2.7".parse().unwrap(), &x(&["203.0.113.9"]), trusted).0.to_string(), "192.0.2.7");
    }

    #[test]
    fn a23_forwarded_is_read_from_its_end() {
        client(&f(&["for=192.0.2.1"]), "192.0.2.1");
        client(&f(&["For=\"192.0.2.1:47011\";proto=https;by=10.0.0.1"]), "192.0.2.1");
        client(&f(&["proto=https;for=\"[2001:db8::1]:4711\""]), "2001:db8::1");
        client(&f(&["for=203.0.113.9, for=192.0.2.1"]), "192.0.2.1");
        client(&f(&["for=203.0.113.9", "for=192.0.2.1;host=ca.test"]), "192.0.2.1");
        client(&f(&["for=192.0.2.1 , for=10.0.0.2"]), "192.0.2.1");
        for odd in [
            "for=unknown",
            "for=_hidden",
            "proto=https",
            "for=\"_x\"",
            "for=2001:db8::1",
            "for=192.0.2.1;for=192.0.2.2",
            "for",
            "for=",
            "=",
        ] {
            client(&f(&[odd]), "10.0.0.1");
        }
    }

    #[test]
    fn a23_a_client_cannot_swallow_what_a_proxy_adds() {
        // The proxy appends to the client's own header, in the same line.
        for own in
            ["for=203.0.113.9, for=\"", "for=203.0.113.9;x=\"", "for=203.0.113.9, \"", "for=203.0.113.9, for=\"\\", "for=203.0.113.9,"]
        {
            for added in [", for=192.0.2.1", ", for=\"[2001:db8::1]\"", ", for=\"192.0.2.1:80\";proto=https"] {
                let hops = f(&[&format!("{own}{added}")]);
                let found = client_of("10.0.0.1".parse().unwrap(), &hops, trusted).0.to_string();
                assert_ne!(found, "203.0.113.9", "{own}{added}");
            }
        }
    }
}
