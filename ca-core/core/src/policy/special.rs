//! Addresses with a special purpose: the blocks of the IANA registries of RFC 6890, and multicast.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::NamePattern;

/// A block and what it is for.
pub(crate) struct SpecialBlock {
    pub(crate) network: IpAddr,
    pub(crate) bits: u8,
    /// As a message names it: "is {purpose} address".
    pub(crate) purpose: &'static str,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8, purpose: &'static str) -> SpecialBlock {
    SpecialBlock { network: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits, purpose }
}

const fn v6(first: u16, second: u16, bits: u8, purpose: &'static str) -> SpecialBlock {
    SpecialBlock { network: IpAddr::V6(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0)), bits, purpose }
}

const fn v6_low(sixth: u16, seventh: u16, last: u16, bits: u8, purpose: &'static str) -> SpecialBlock {
    SpecialBlock { network: IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, sixth, seventh, last)), bits, purpose }
}

/// Where one lies in another the narrower comes first.
static BLOCKS: [SpecialBlock; 39] = [
    v4(0, 0, 0, 0, 32, "the unspecified"),
    v4(0, 0, 0, 0, 8, "a `this network` (RFC 791)"),
    v4(10, 0, 0, 0, 8, "a private-use (RFC 1918)"),
    v4(100, 64, 0, 0, 10, "a shared (RFC 6598)"),
    v4(127, 0, 0, 0, 8, "a loopback (RFC 1122)"),
    v4(169, 254, 0, 0, 16, "a link-local (RFC 3927)"),
    v4(172, 16, 0, 0, 12, "a private-use (RFC 1918)"),
    v4(192, 0, 0, 0, 24, "a protocol-assignment (RFC 6890)"),
    v4(192, 0, 2, 0, 24, "a documentation (RFC 5737)"),
    v4(192, 31, 196, 0, 24, "an AS112 (RFC 7535)"),
    v4(192, 52, 193, 0, 24, "an AMT (RFC 7450)"),
    v4(192, 88, 99, 0, 24, "a 6to4 relay (RFC 7526)"),
    v4(192, 168, 0, 0, 16, "a private-use (RFC 1918)"),
    v4(192, 175, 48, 0, 24, "an AS112 (RFC 7534)"),
    v4(198, 18, 0, 0, 15, "a benchmarking (RFC 2544)"),
    v4(198, 51, 100, 0, 24, "a documentation (RFC 5737)"),
    v4(203, 0, 113, 0, 24, "a documentation (RFC 5737)"),
    v4(224, 0, 0, 0, 4, "a multicast (RFC 5771)"),
    v4(255, 255, 255, 255, 32, "the limited broadcast (RFC 919)"),
    v4(240, 0, 0, 0, 4, "a reserved (RFC 1112)"),
    v6_low(0, 0, 0, 128, "the unspecified"),
    v6_low(0, 0, 1, 128, "the loopback (RFC 4291)"),
    v6_low(0xffff, 0, 0, 96, "an IPv4-mapped (RFC 4291)"),
    v6(0, 0, 96, "an IPv4-compatible (RFC 4291)"),
    v6(0x64, 0xff9b, 96, "a NAT64 (RFC 6052)"),
    SpecialBlock { network: IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0)), bits: 48, purpose: "a NAT64 (RFC 8215)" },
    v6(0x100, 0, 64, "a discard-only (RFC 6666)"),
    SpecialBlock { network: IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 0)), bits: 64, purpose: "a dummy (RFC 9780)" },
    v6(0x2001, 0, 32, "a Teredo (RFC 4380)"),
    v6(0x2001, 0, 23, "a protocol-assignment (RFC 2928)"),
    v6(0x2001, 0xdb8, 32, "a documentation (RFC 3849)"),
    v6(0x2002, 0, 16, "a 6to4 (RFC 3056)"),
    SpecialBlock { network: IpAddr::V6(Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0)), bits: 48, purpose: "an AS112 (RFC 7534)" },
    v6(0x3fff, 0, 20, "a documentation (RFC 9637)"),
    v6(0x5f00, 0, 16, "a segment-routing (RFC 9602)"),
    v6(0xfc00, 0, 7, "a unique-local (RFC 4193)"),
    v6(0xfe80, 0, 10, "a link-local (RFC 4291)"),
    v6(0xfec0, 0, 10, "a site-local (RFC 3879)"),
    v6(0xff00, 0, 8, "a multicast (RFC 4291)"),
];

impl SpecialBlock {
    /// The block as a pattern.
    pub(super) const fn pattern(&self) -> NamePattern {
        NamePattern::Ip(self.network, self.bits)
    }
}

/// The narrowest block that `address` lies in.
pub(crate) fn special_block(address: IpAddr) -> Option<&'static SpecialBlock> {
    use crate::pki::NameRef;
    BLOCKS.iter().find(|block| block.pattern().covers(NameRef::Ip(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expected: Option<&str>) {
        assert_eq!(special_block(address.parse().unwrap()).map(|b| b.purpose), expected, "{address}");
    }

    #[test]
    fn narrow_blocks_before_wide_ones() {
        for (i, wide) in BLOCKS.iter().enumerate() {
            assert!(BLOCKS[i + 1..].iter().all(|later| !later.pattern().is_within(&wide.pattern())), "{}", wide.pattern());
        }
    }

    #[test]
    fn purposes() {
        check("0.0.0.0", Some("the unspecified"));
        check("0.1.2.3", Some("a `this network` (RFC 791)"));
        check("255.255.255.255", Some("the limited broadcast (RFC 919)"));
        check("224.0.0.1", Some("a multicast (RFC 5771)"));
        check("172.31.255.255", Some("a private-use (RFC 1918)"));
        check("172.32.0.0", None);
        check("8.8.8.8", None);
        check("::", Some("the unspecified"));
        check("::1", Some("the loopback (RFC 4291)"));
        check("::ffff:10.0.0.1", Some("an IPv4-mapped (RFC 4291)"));
        check("::a00:1", Some("an IPv4-compatible (RFC 4291)"));
        check("2001:db8::1", Some("a documentation (RFC 3849)"));
        check("2001::1", Some("a Teredo (RFC 4380)"));
        check("ff02::1", Some("a multicast (RFC 4291)"));
        check("2606:4700::1111", None);
    }
}
