//! Who shares a limit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::pki::Identifier;

/// The network that an address is limited with: an IPv4 /24 or an IPv6 /64, which one customer or host usually has.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from(u32::from(address) & !0xff)),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX))),
    }
}

/// The registered domain of a name, after the public suffix list: `bank.test` of `*.payments.bank.test`. A name without
/// one, an address and a device stand for themselves.
pub fn registered_name(identifier: &Identifier) -> String {
    match identifier {
        Identifier::Dns(name) => {
            let name = name.as_str();
            let base = name.strip_prefix("*.").unwrap_or(name);
            psl::domain_str(base).unwrap_or(base).to_owned()
        }
        Identifier::Ip(_) | Identifier::PermanentIdentifier(_) | Identifier::HardwareModule(_) => identifier.value(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a23_networks_and_registered_names_share_a_limit() {
        let check = |address: &str, expected: &str| {
            assert_eq!(network_of(address.parse().unwrap()), expected.parse::<IpAddr>().unwrap(), "{address}");
        };
        check("192.0.2.77", "192.0.2.0");
        check("::ffff:192.0.2.77", "192.0.2.0");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        let check = |name: &str, expected: &str| assert_eq!(registered_name(&Identifier::from_text(name).unwrap()), expected, "{name}");
        check("a.b.bank.test", "bank.test");
        check("*.bank.test", "bank.test");
        check("a.bank.co.uk", "bank.co.uk");
        check("co.uk", "co.uk");
        check("127.0.0.1", "127.0.0.1");
    }
}
