//! Name constraints of an intermediate (RFC 5280 §4.2.1.10).
//!
//! dns and ip are permitted by subtree. A form that the authority does not issue is closed by permitting in it only a
//! name that nobody can have: once a form has a permitted subtree, a name of it outside of them all is refused
//! (§6.1.3 (b)). To exclude the form whole, by the empty base or by the other address family, would say the same, but
//! verifiers fail over it. Measured:
//! - Java 17 cannot read a certificate with an empty rfc822Name base; an empty dNSName base makes its validator throw at
//!   a dns name; an excluded `::/0` makes it throw at every IPv4 address, and an excluded `0.0.0.0/0` covers every IPv6
//!   address. Where no address at all is permitted, it holds to both.
//! - To OpenSSL 3.0 an empty rfc822Name or uniformResourceIdentifier base matches nothing.
//!
//! GnuTLS asks of an address only the subtrees of its own family, so that each family has one.
//! directoryName is never constrained: rustls-webpki refuses every leaf under such a constraint. So it does with a URI
//! under any permitted one: where the authority issues URIs or mailboxes, that form is left open, and the policy alone
//! limits it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use der::asn1::{Ia5String, OctetString};
use x509_cert::ext::pkix::NameConstraints;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;

use super::ProfileError;
use crate::policy::NamePattern;

/// Most patterns: path validators bound the comparisons that they make.
const MAX_PATTERNS: usize = 100;

/// The only host permitted in a form that the authority does not issue, below a top-level domain reserved never to exist
/// (RFC 2606 §2, RFC 6761 §6.4). Linters take a single label for no domain name.
const NO_HOST: &str = "none.invalid";

/// The only address permitted in the family without a pattern, where the other has one. No host has either: limited
/// broadcast (RFC 919 §7), unspecified (RFC 4291 §2.5.2).
const NO_ADDRESS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::BROADCAST), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

pub(super) fn name_constraints(patterns: &[NamePattern]) -> Result<NameConstraints, ProfileError> {
    if patterns.is_empty() {
        return Err(ProfileError::Names("an intermediate has at least one permitted name pattern"));
    }
    if patterns.len() > MAX_PATTERNS {
        return Err(ProfileError::Names("an intermediate has at most 100 permitted name patterns"));
    }
    let mut names = Vec::new();
    let mut blocks = Vec::new();
    for pattern in patterns {
        match pattern {
            NamePattern::Dns(labels) => {
                // A subtree has no stars: what stands right of the last one is the narrowest that holds every name.
                let fixed = labels.iter().rposition(|l| l == "*").map_or(0, |star| star + 1);
                names.push(labels[fixed..].join("."));
            }
            NamePattern::DnsWildcard(base) => names.push(base.as_str().to_owned()),
            NamePattern::Ip(address, bits) => blocks.push(block(*address, *bits)),
            // A name of another form than the subtrees' is within them (RFC 5280 §4.2.1.10).
            NamePattern::Uri(_) | NamePattern::Email(..) | NamePattern::PermanentIdentifier(_) | NamePattern::HardwareModule(_) => {}
        }
    }
    if names.iter().any(String::is_empty) {
        return Err(ProfileError::Names("a permitted dns pattern has no fixed label at its end"));
    }
    names.sort();
    names.dedup();
    blocks.sort();
    blocks.dedup();

    let mut excluded = Vec::new();
    if names.is_empty() {
        names.push(NO_HOST.to_owned());
    }
    if blocks.is_empty() {
        for width in [4, 16] {
            excluded.push(GeneralName::IpAddress(OctetString::new(vec![0; 2 * width])?));
        }
    } else {
        for nobody in NO_ADDRESS {
            let other_family = block(nobody, 128);
            // The octet lengths tell the families apart.
            if !blocks.iter().any(|b| b.len() == other_family.len()) {
                blocks.push(other_family);
            }
        }
    }
    let mut permitted = Vec::new();
    for name in names {
        permitted.push(GeneralName::DnsName(Ia5String::new(&name)?));
    }
    for block in blocks {
        permitted.push(GeneralName::IpAddress(OctetString::new(block)?));
    }
    if !patterns.iter().any(|p| matches!(p, NamePattern::Email(..))) {
        permitted.push(GeneralName::Rfc822Name(Ia5String::new(NO_HOST)?));
    }
    if !patterns.iter().any(|p| matches!(p, NamePattern::Uri(_))) {
        permitted.push(GeneralName::UniformResourceIdentifier(Ia5String::new(NO_HOST)?));
    }
    // Both lists are SIZE (1..MAX).
    let subtrees = |bases: Vec<GeneralName>| {
        (!bases.is_empty()).then(|| bases.into_iter().map(|base| GeneralSubtree { base, minimum: 0, maximum: None }).collect())
    };
    Ok(NameConstraints { permitted_subtrees: subtrees(permitted), excluded_subtrees: subtrees(excluded) })
}

/// Network and mask, as the constraint carries them.
fn block(address: IpAddr, bits: u8) -> Vec<u8> {
    let octets = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let mask: Vec<u8> = (0..octets.len())
        .map(|i| match usize::from(bits).saturating_sub(8 * i).min(8) {
            0 => 0,
            kept => 0xff << (8 - kept),
        })
        .collect();
    octets.iter().zip(&mask).map(|(o, m)| o & m).chain(mask.iter().copied()).collect()
}
