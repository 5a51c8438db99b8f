//! Which addresses validation may connect to (lessons 9, 10, 35).
//!
//! The rule looks at the address of the socket, whatever the identifier was and however it was resolved. Addresses of
//! special purpose are refused unless a configured network opens them: one that lies inside the special block, so that
//! a broad entry never opens loopback or a metadata service by accident.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::policy::special_block;

/// A text that is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network: ADDRESS or ADDRESS/BITS, with no bits set behind the prefix")]
pub struct NetworkError(String);

/// A block of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether it has `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => (u32::from(network) ^ u32::from(address)) & mask32(self.bits) == 0,
            (IpAddr::V6(network), IpAddr::V6(address)) => (u128::from(network) ^ u128::from(address)) & mask128(self.bits) == 0,
            _ => false,
        }
    }

    /// How many bits its addresses share.
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits }
    }

    const fn v6(first: u16, bits: u8) -> Self {
        Self { address: IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0)), bits }
    }

    fn is_within(&self, outer: &Self) -> bool {
        self.bits >= outer.bits && outer.contains(self.address)
    }
}

const fn mask32(bits: u8) -> u32 {
    match u32::MAX.checked_shl(32 - bits as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

const fn mask128(bits: u8) -> u128 {
    match u128::MAX.checked_shl(128 - bits as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.chars().take(80).collect());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(width), |bits| bits.parse::<u8>().map_err(|_| wrong()))?;
        let clean = match address {
            _ if bits > width => false,
            IpAddr::V4(address) => u32::from(address) & !mask32(bits) == 0,
            IpAddr::V6(address) => u128::from(address) & !mask128(bits) == 0,
        };
        if clean { Ok(Self { address, bits }) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;
    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Services of cloud hosts that hand out secrets to who asks from the host: only an entry for the address itself opens one.
/// One of them looks public.
const METADATA: [IpAddr; 9] = [
    // Most clouds; containers' and pods' credentials at AWS; Alibaba; Azure's host.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // The same of AWS; Google; Oracle.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
];

/// The IPv4 address that a NAT64 at the well-known prefix connects to (RFC 6052 §2.2).
const fn translated(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V6(six) => match six.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
            }
            _ => None,
        },
        IpAddr::V4(_) => None,
    }
}

/// Where no server is: this host and its network, multicast and reserved, discarded.
const NOWHERE: [Network; 5] =
    [Network::v4(0, 0, 0, 0, 8), Network::v4(224, 0, 0, 0, 3), Network::v6(0, 128), Network::v6(0x100, 63), Network::v6(0xff00, 8)];

/// The addresses in use on the public Internet (RFC 4291 §2.4: 2000::/3 is what is given out).
const GLOBAL_V6: Network = Network::v6(0x2000, 3);

/// An address that validation must not connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {what} address, which this CA does not connect to (hint: the CA's operators open networks by validation.networks)")]
pub struct AddressRefused {
    /// The address.
    pub address: IpAddr,
    /// What it is.
    pub what: &'static str,
}

/// The rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressGuard {
    networks: Vec<Network>,
    public: bool,
}

impl AddressGuard {
    /// A guard that lets `networks` through, and the public Internet where `public` says so.
    pub const fn new(networks: Vec<Network>, public: bool) -> Self {
        Self { networks, public }
    }

    /// Judges the address that a socket is about to connect to.
    ///
    /// # Errors
    /// When it is not allowed, with what it is.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefused> {
        // An IPv4 address in IPv6 clothes is judged as what it is.
        let address = address.to_canonical();
        let refused = |what| Err(AddressRefused { address, what });
        let opened = |block: Option<Network>| {
            self.networks.iter().any(|network| network.contains(address) && block.is_none_or(|block| network.is_within(&block)))
        };
        if METADATA.contains(&address) {
            let alone = Network { address, bits: if address.is_ipv4() { 32 } else { 128 } };
            return if opened(Some(alone)) { Ok(()) } else { refused("a metadata service's") };
        }
        match special_block(address) {
            Some(block) if NOWHERE.iter().any(|nowhere| nowhere.contains(address)) => refused(block.purpose),
            // A NAT64 that is opened leads no further than what is behind it.
            Some(block) if opened(Some(Network { address: block.network, bits: block.bits })) => {
                translated(address).map_or(Ok(()), |behind| self.check(behind))
            }
            Some(block) => refused(block.purpose),
            None if address.is_ipv6() && !GLOBAL_V6.contains(address) => refused("an unassigned"),
            None if self.public || opened(None) => Ok(()),
            None => refused("not an opened"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(networks: &[&str], public: bool) -> AddressGuard {
        AddressGuard::new(networks.iter().map(|n| n.parse().unwrap()).collect(), public)
    }

    #[track_caller]
    fn check(guard: &AddressGuard, address: &str, expected: Result<(), &str>) {
        assert_eq!(guard.check(address.parse().unwrap()).map_err(|e| e.what), expected, "{address}");
    }

    #[test]
    fn lesson_09_special_addresses_are_refused_unless_a_network_opens_them() {
        let plain = guard(&[], true);
        for (address, what) in [
            ("127.0.0.1", "a loopback (RFC 1122)"),
            ("127.255.255.255", "a loopback (RFC 1122)"),
            ("::1", "the loopback (RFC 4291)"),
            ("0.0.0.0", "the unspecified"),
            ("::", "the unspecified"),
            ("10.0.0.1", "a private-use (RFC 1918)"),
            ("172.31.255.255", "a private-use (RFC 1918)"),
            ("192.168.0.1", "a private-use (RFC 1918)"),
            ("fd12::1", "a unique-local (RFC 4193)"),
            ("169.254.1.1", "a link-local (RFC 3927)"),
            ("fe80::1", "a link-local (RFC 4291)"),
            ("169.254.169.254", "a metadata service's"),
            ("fd00:ec2::254", "a metadata service's"),
            ("169.254.170.2", "a metadata service's"),
            ("168.63.129.16", "a metadata service's"),
            ("fd20:ce::254", "a metadata service's"),
            ("100.64.0.1", "a shared (RFC 6598)"),
            ("224.0.0.1", "a multicast (RFC 5771)"),
            ("ff02::1", "a multicast (RFC 4291)"),
            ("255.255.255.255", "the limited broadcast (RFC 919)"),
            ("198.18.0.1", "a benchmarking (RFC 2544)"),
            ("2001:db8::1", "a documentation (RFC 3849)"),
            ("2002:7f00:1::", "a 6to4 (RFC 3056)"),
            ("64:ff9b::7f00:1", "a NAT64 (RFC 6052)"),
            ("::7f00:1", "an IPv4-compatible (RFC 4291)"),
            ("4000::1", "an unassigned"),
        ] {
            check(&plain, address, Err(what));
        }
        for address in ["8.8.8.8", "172.32.0.1", "11.0.0.1", "2600::1", "2a00::1"] {
            check(&plain, address, Ok(()));
            check(&guard(&[], false), address, Err("not an opened"));
        }
        check(&guard(&["8.8.0.0/16"], false), "8.8.8.8", Ok(()));
    }

    #[test]
    fn lesson_10_ipv4_in_ipv6_clothes_is_judged_as_ipv4() {
        let plain = guard(&[], true);
        check(&plain, "::ffff:127.0.0.1", Err("a loopback (RFC 1122)"));
        check(&plain, "::ffff:169.254.169.254", Err("a metadata service's"));
        check(&plain, "::ffff:8.8.8.8", Ok(()));
        check(&guard(&["10.1.0.0/16"], false), "::ffff:10.1.2.3", Ok(()));
    }

    #[test]
    fn a_network_opens_what_lies_inside_one_special_block_only() {
        let private = guard(&["10.1.0.0/16", "fd00::/8"], true);
        check(&private, "10.1.2.3", Ok(()));
        check(&private, "10.2.0.1", Err("a private-use (RFC 1918)"));
        check(&private, "fd00::1", Ok(()));
        check(&private, "fd00:ec2::254", Err("a metadata service's"));
        // Everything opens nothing special.
        let broad = guard(&["0.0.0.0/0", "::/0"], false);
        check(&broad, "8.8.8.8", Ok(()));
        check(&broad, "127.0.0.1", Err("a loopback (RFC 1122)"));
        check(&broad, "::1", Err("the loopback (RFC 4291)"));
        check(&broad, "10.0.0.1", Err("a private-use (RFC 1918)"));
        check(&guard(&["169.254.0.0/16"], false), "169.254.169.254", Err("a metadata service's"));
        check(&guard(&["169.254.169.254"], false), "169.254.169.254", Ok(()));
        check(&guard(&["127.0.0.0/8"], false), "127.0.0.1", Ok(()));
        check(&guard(&["224.0.0.0/4"], true), "224.0.0.1", Err("a multicast (RFC 5771)"));
    }

    #[test]
    fn lesson_10_an_address_behind_an_opened_nat64_is_judged_itself() {
        let guard = guard(&["64:ff9b::/96", "10.1.0.0/16"], true);
        check(&guard, "64:ff9b::808:808", Ok(()));
        check(&guard, "64:ff9b::a01:203", Ok(()));
        check(&guard, "64:ff9b::7f00:1", Err("a loopback (RFC 1122)"));
        check(&guard, "64:ff9b::a9fe:a9fe", Err("a metadata service's"));
        check(&guard, "64:ff9b::a02:1", Err("a private-use (RFC 1918)"));
    }

    #[test]
    fn networks() {
        for text in ["10.0.0.0/8", "127.0.0.1/32", "::1/128", "::/0", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for bad in ["", "x", "10.0.0.1/8", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/8/8", "fe80::1/10"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
