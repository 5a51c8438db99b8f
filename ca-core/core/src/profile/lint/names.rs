//! Name constraints (RFC 5280 §4.2.1.10): those of an intermediate. A leaf's names under its issuer's are
//! [`crate::lint`]'s.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::pki::walk::{ParseError, SEQUENCE, Walker};
use crate::policy::NamePattern;

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
    let is_open = |pattern: &&NamePattern| {
        matches!(
            pattern,
            NamePattern::Uri(_) | NamePattern::Email(..) | NamePattern::PermanentIdentifier(_) | NamePattern::HardwareModule(_)
        )
    };
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
