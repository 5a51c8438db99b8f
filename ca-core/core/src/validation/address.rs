//! Which addresses validation may connect to (lessons 9, 10, 35).
//!
//! The rule looks at the address of the socket, whatever the identifier was and however it was resolved. Addresses of
//! special purpose are refused unless a configured network opens them: one that lies inside the special block, so that
//! a broad entry never opens loopback or a metadata service by accident.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::Deserialize;

/// A text that is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network: ADDRESS or ADDRESS/BITS, with no bits set behind the prefix")]
pub struct NetworkError(String);

/// A block of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(try_from = "String")]
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

    const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits }
    }

    const fn v6(groups: [u16; 8], bits: u8) -> Self {
        let [a, b, c, d, e, f, g, h] = groups;
        Self { address: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), bits }
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

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// A block of special purpose.
struct Special {
    network: Network,
    what: &'static str,
    /// Whether a configured network may open it.
    opens: bool,
}

const fn special(network: Network, what: &'static str) -> Special {
    Special { network, what, opens: true }
}

const fn never(network: Network, what: &'static str) -> Special {
    Special { network, what, opens: false }
}

/// The IANA special-purpose registries (RFC 6890 and its updates), and services of cloud hosts that hand out secrets.
/// The narrower block comes first.
const SPECIAL: [Special; 33] = [
    special(Network::v4(169, 254, 169, 254, 32), "a metadata service"),
    special(Network::v4(100, 100, 100, 200, 32), "a metadata service"),
    special(Network::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), "a metadata service"),
    never(Network::v4(0, 0, 0, 0, 8), "this host"),
    special(Network::v4(10, 0, 0, 0, 8), "private"),
    special(Network::v4(100, 64, 0, 0, 10), "shared by carriers"),
    special(Network::v4(127, 0, 0, 0, 8), "loopback"),
    special(Network::v4(169, 254, 0, 0, 16), "link-local"),
    special(Network::v4(172, 16, 0, 0, 12), "private"),
    special(Network::v4(192, 0, 0, 0, 24), "of protocols"),
    special(Network::v4(192, 0, 2, 0, 24), "for documentation"),
    special(Network::v4(192, 88, 99, 0, 24), "a 6to4 relay"),
    special(Network::v4(192, 168, 0, 0, 16), "private"),
    special(Network::v4(198, 18, 0, 0, 15), "for benchmarks"),
    special(Network::v4(198, 51, 100, 0, 24), "for documentation"),
    special(Network::v4(203, 0, 113, 0, 24), "for documentation"),
    never(Network::v4(224, 0, 0, 0, 4), "multicast"),
    never(Network::v4(240, 0, 0, 0, 4), "reserved"),
    never(Network::v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "this host"),
    special(Network::v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    special(Network::v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "translated from IPv4"),
    special(Network::v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "translated from IPv4"),
    never(Network::v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "discarded"),
    special(Network::v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "for documentation"),
    special(Network::v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "of protocols"),
    special(Network::v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "a 6to4 tunnel"),
    special(Network::v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "for documentation"),
    special(Network::v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), "of segment routing"),
    special(Network::v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private"),
    special(Network::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    special(Network::v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local"),
    never(Network::v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
    never(Network::v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "an old form of IPv4"),
];

/// The addresses in use on the public Internet (RFC 4291 §2.4: 2000::/3 is what is given out).
const GLOBAL_V6: Network = Network::v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// An address that validation must not connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {what}, which this CA does not connect to (hint: the CA's operators open networks by validation.networks)")]
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
        let opened = |block: Option<&Network>| {
            self.networks.iter().any(|network| network.contains(address) && block.is_none_or(|block| network.is_within(block)))
        };
        match SPECIAL.iter().find(|special| special.network.contains(address)) {
            Some(special) if special.opens && opened(Some(&special.network)) => Ok(()),
            Some(special) => refused(special.what),
            None if address.is_ipv6() && !GLOBAL_V6.contains(address) => refused("not in use"),
            None if self.public || opened(None) => Ok(()),
            None => refused("outside the networks that are open"),
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
            ("127.0.0.1", "loopback"),
            ("127.255.255.255", "loopback"),
            ("::1", "loopback"),
            ("0.0.0.0", "this host"),
            ("::", "this host"),
            ("10.0.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.0.1", "private"),
            ("fd12::1", "private"),
            ("169.254.1.1", "link-local"),
            ("fe80::1", "link-local"),
            ("169.254.169.254", "a metadata service"),
            ("fd00:ec2::254", "a metadata service"),
            ("100.64.0.1", "shared by carriers"),
            ("224.0.0.1", "multicast"),
            ("ff02::1", "multicast"),
            ("255.255.255.255", "reserved"),
            ("198.18.0.1", "for benchmarks"),
            ("2001:db8::1", "for documentation"),
            ("2002:7f00:1::", "a 6to4 tunnel"),
            ("64:ff9b::7f00:1", "translated from IPv4"),
            ("::7f00:1", "an old form of IPv4"),
            ("4000::1", "not in use"),
        ] {
            check(&plain, address, Err(what));
        }
        for address in ["8.8.8.8", "172.32.0.1", "11.0.0.1", "2600::1", "2a00::1"] {
            check(&plain, address, Ok(()));
            check(&guard(&[], false), address, Err("outside the networks that are open"));
        }
        check(&guard(&["8.8.0.0/16"], false), "8.8.8.8", Ok(()));
    }

    #[test]
    fn lesson_10_ipv4_in_ipv6_clothes_is_judged_as_ipv4() {
        let plain = guard(&[], true);
        check(&plain, "::ffff:127.0.0.1", Err("loopback"));
        check(&plain, "::ffff:169.254.169.254", Err("a metadata service"));
        check(&plain, "::ffff:8.8.8.8", Ok(()));
        check(&guard(&["10.1.0.0/16"], false), "::ffff:10.1.2.3", Ok(()));
    }

    #[test]
    fn a_network_opens_what_lies_inside_one_special_block_only() {
        let private = guard(&["10.1.0.0/16", "fd00::/8"], true);
        check(&private, "10.1.2.3", Ok(()));
        check(&private, "10.2.0.1", Err("private"));
        check(&private, "fd00::1", Ok(()));
        check(&private, "fd00:ec2::254", Err("a metadata service"));
        // Everything opens nothing special.
        let broad = guard(&["0.0.0.0/0", "::/0"], false);
        check(&broad, "8.8.8.8", Ok(()));
        check(&broad, "127.0.0.1", Err("loopback"));
        check(&broad, "::1", Err("loopback"));
        check(&broad, "10.0.0.1", Err("private"));
        check(&guard(&["169.254.0.0/16"], false), "169.254.169.254", Err("a metadata service"));
        check(&guard(&["169.254.169.254"], false), "169.254.169.254", Ok(()));
        check(&guard(&["127.0.0.0/8"], false), "127.0.0.1", Ok(()));
        check(&guard(&["224.0.0.0/4"], true), "224.0.0.1", Err("multicast"));
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
