//! Name constraints (RFC 5280 §4.2.1.10): those of an intermediate, and a leaf's names under those of its issuer.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Report;
use crate::pki::AltName;
use crate::pki::walk::{ParseError, SEQUENCE, Walker};
use crate::policy::NamePattern;
use crate::profile::Issuer;

const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

/// Tag and base of each subtree.
type Subtrees = Vec<(u8, Vec<u8>)>;

/// Reads permitted and excluded subtrees; `minimum` and `maximum` may not stand there.
fn read_constraints(value: &[u8]) -> Result<(Subtrees, Subtrees), ParseError> {
    let mut fields = Walker::single(value, SEQUENCE, "nameConstraints")?.walk();
    let mut read = |tag| -> Result<Subtrees, ParseError> {
        let Some(list) = fields.optional(tag)? else { return Ok(Vec::new()) };
        let mut subtrees = list.walk();
        let mut found = Vec::new();
        while !subtrees.is_empty() {
            let mut subtree = subtrees.expect(SEQUENCE, "GeneralSubtree")?.walk();
            let base = subtree.next()?;
            subtree.finish("GeneralSubtree")?;
            found.push((base.tag, base.content.to_vec()));
        }
        // SIZE (1..MAX)
        if found.is_empty() { Err(ParseError::Value("GeneralSubtrees")) } else { Ok(found) }
    };
    let both = (read(0xa0)?, read(0xa1)?);
    fields.finish("nameConstraints")?;
    Ok(both)
}

/// Whether the constraints are those that the patterns give: every pattern's narrowest subtree is permitted; where a
/// form or an address family has none, only what nobody can have; URIs and mailboxes, where there are patterns for them,
/// are left open; without any address, both families are excluded; and
/// nothing else is either.
pub(super) fn compare_constraints(value: &[u8], permitted: &[NamePattern]) -> Result<(), String> {
    let (allowed, refused) = read_constraints(value).map_err(|e| e.to_string())?;
    // Ceremonies held before linters were asked wrote the top-level domain itself; their bundles verify all the same.
    let no_host = [&b"none.invalid"[..], b"invalid"].into_iter().find(|host| allowed.iter().any(|(_, base)| base == host));
    let is_open = |pattern: &&NamePattern| matches!(pattern, NamePattern::Uri(_) | NamePattern::Email(..));
    let bounded = permitted.iter().filter(|p| !is_open(p));
    let mut wanted: BTreeSet<_> = bounded.map(narrowest).collect::<Option<_>>().ok_or("a pattern has no subtree")?;
    let mut closed = BTreeSet::new();
    let addresses: BTreeSet<_> = wanted.iter().filter(|(tag, _)| *tag == IP).map(|(_, base)| base.len()).collect();
    // 255.255.255.255/32 and ::/128
    for nobody in [vec![0xff; 8], [[0; 16], [0xff; 16]].concat()] {
        if addresses.is_empty() {
            closed.insert((IP, vec![0; nobody.len()]));
        } else if !addresses.contains(&nobody.len()) {
            wanted.insert((IP, nobody));
        }
    }
    for tag in [EMAIL, DNS, URI] {
        let form = if tag == URI { "uri:" } else { "email:" };
        let left_open = tag != DNS && permitted.iter().any(|p| p.to_string().starts_with(form));
        if !left_open && !wanted.iter().any(|(t, _)| *t == tag) {
            wanted.insert((tag, no_host.unwrap_or_default().to_vec()));
        }
    }
    let is = |found: &Subtrees, wanted: &BTreeSet<_>| found.len() == wanted.len() && found.iter().all(|s| wanted.contains(s));
    match (is(&allowed, &wanted), is(&refused, &closed)) {
        (true, true) => Ok(()),
        (false, _) => Err("the permitted subtrees are not those of the patterns".to_owned()),
        (_, false) => Err("the excluded subtrees are not those of the patterns".to_owned()),
    }
}

/// A pattern's subtree, from the pattern's text: what stands right of the last star, or the masked block.
fn narrowest(pattern: &NamePattern) -> Option<(u8, Vec<u8>)> {
    let text = pattern.to_string();
    let (kind, rest) = text.split_once(':')?;
    match kind {
        "dns" | "dns-wildcard" => {
            let base = rest.rsplit("*.").next().filter(|b| !b.is_empty() && !b.contains('*'))?;
            Some((DNS, base.as_bytes().to_vec()))
        }
        "ip" => {
            let (address, bits) = rest.rsplit_once('/')?;
            let bits: u32 = bits.parse().ok()?;
            let block = match address.parse().ok()? {
                IpAddr::V4(v4) => {
                    let mask = u32::MAX.checked_shl(32_u32.checked_sub(bits)?).unwrap_or(0);
                    [(v4.to_bits() & mask).to_be_bytes(), mask.to_be_bytes()].concat()
                }
                IpAddr::V6(v6) => {
                    let mask = u128::MAX.checked_shl(128_u32.checked_sub(bits)?).unwrap_or(0);
                    [(v6.to_bits() & mask).to_be_bytes(), mask.to_be_bytes()].concat()
                }
            };
            Some((IP, block))
        }
        _ => None,
    }
}

/// A certificate that its own chain forbids serves nobody: the names must lie within the issuer's constraints.
pub(super) fn within_constraints(names: &[AltName], issuer: &Issuer, report: &mut Report) {
    const RULE: &str = "issuer-name-constraints";
    const CLAUSE: &str = "RFC 5280 §4.2.1.10";
    let Some(value) = issuer.certificate().name_constraints() else { return };
    let Some((permitted, excluded)) = report.read(read_constraints(value), RULE, CLAUSE) else { return };
    for name in names {
        let tag = match name {
            AltName::Dns(_) => DNS,
            AltName::Ip(_) => IP,
            AltName::Uri(_) => URI,
            AltName::Email(_) => EMAIL,
        };
        let mut allowed = permitted.iter().filter(|(t, _)| *t == tag).peekable();
        let outside = allowed.peek().is_some() && !allowed.any(|(_, base)| lies_within(name, base));
        let forbidden = excluded.iter().any(|(t, base)| *t == tag && overlaps(name, base));
        report.check(!outside && !forbidden, RULE, CLAUSE, || format!("the issuer's name constraints forbid `{name}`"));
    }
}

fn lies_within(name: &AltName, base: &[u8]) -> bool {
    match name {
        AltName::Dns(name) => is_below(name.as_str().as_bytes(), base),
        AltName::Ip(address) => {
            let octets = match address {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            let (network, mask) = base.split_at(base.len() / 2);
            base.len() == 2 * octets.len() && octets.iter().zip(network).zip(mask).all(|((o, n), m)| (o ^ n) & m == 0)
        }
        AltName::Uri(uri) => is_host(uri_host(uri.as_str()), base),
        // "a particular mailbox, all addresses at a particular host, or all mailboxes in a domain"
        AltName::Email(mailbox) if base.contains(&b'@') => mailbox.as_str().as_bytes() == base,
        AltName::Email(mailbox) => is_host(mailbox.domain(), base),
    }
}

/// The host of a URI, without user and port.
fn uri_host(uri: &str) -> &str {
    let authority = uri.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.rsplit_once(':').map_or(host, |(host, _)| host)
}

/// A base that begins with a period holds the hosts below it, any other that host alone; an empty one every host.
fn is_host(host: &str, base: &[u8]) -> bool {
    let (host, base) = (host.to_ascii_lowercase(), base.to_ascii_lowercase());
    match base.first() {
        None => true,
        Some(b'.') => host.as_bytes().ends_with(&base),
        Some(_) => host.as_bytes() == base,
    }
}

/// As [`lies_within`]; a wildcard also meets what lies below it.
fn overlaps(name: &AltName, base: &[u8]) -> bool {
    let below = match name {
        AltName::Dns(name) => name.as_str().strip_prefix("*.").is_some_and(|parent| is_below(base, parent.as_bytes())),
        AltName::Ip(_) | AltName::Uri(_) | AltName::Email(_) => false,
    };
    below || lies_within(name, base)
}

/// Whether zero or more labels before `base` give `name`.
fn is_below(name: &[u8], base: &[u8]) -> bool {
    let base = base.to_ascii_lowercase();
    base.is_empty() || name.strip_suffix(base.as_slice()).is_some_and(|rest| rest.is_empty() || rest.ends_with(b"."))
}
