//! The proof of a challenge (RFC 8555 §8.1, §8.3, §8.4; RFC 8737 §3; RFC 8738 §6).

use std::fmt::Write as _;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::ChallengeToken;
use crate::pki::{Identifier, sha256};

/// Token and account key bound together, so that one account's proof is no other's (lesson 8).
pub fn key_authorization(token: &ChallengeToken, thumbprint: &str) -> String {
    format!("{}.{thumbprint}", token.as_str())
}

/// The path of the http-01 resource.
pub fn http_path(token: &ChallengeToken) -> String {
    format!("/.well-known/acme-challenge/{}", token.as_str())
}

/// The name of the dns-01 record, without a trailing dot; none for an address or a device. A wildcard is proven at its base.
pub fn dns_name(identifier: &Identifier) -> Option<String> {
    match identifier {
        Identifier::Dns(name) => Some(format!("_acme-challenge.{}", name.base())),
        Identifier::Ip(_) | Identifier::PermanentIdentifier(_) | Identifier::HardwareModule(_) => None,
    }
}

/// The value of the dns-01 record.
pub fn dns_value(key_authorization: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(key_authorization.as_bytes()).0)
}

/// The server name of the tls-alpn-01 handshake: of an address, its name in the reverse tree (RFC 8738 §6);
/// none for a device.
pub fn tls_server_name(identifier: &Identifier) -> Option<String> {
    match identifier {
        Identifier::Dns(name) => Some(name.as_str().to_owned()),
        Identifier::Ip(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            Some(format!("{d}.{c}.{b}.{a}.in-addr.arpa"))
        }
        Identifier::Ip(IpAddr::V6(address)) => {
            let mut name = String::with_capacity(72);
            for octet in address.octets().iter().rev() {
                write!(name, "{:x}.{:x}.", octet & 15, octet >> 4).expect("a String takes all that is written");
            }
            Some(name + "ip6.arpa")
        }
        Identifier::PermanentIdentifier(_) | Identifier::HardwareModule(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> ChallengeToken {
        ChallengeToken::try_from("A".repeat(43)).unwrap()
    }

    fn identifier(text: &str) -> Identifier {
        Identifier::from_text(text).unwrap()
    }

    #[test]
    fn lesson_08_the_key_authorization_includes_the_account_keys_thumbprint() {
        let (one, other) = (key_authorization(&token(), "thumbprint-1"), key_authorization(&token(), "thumbprint-2"));
        assert_eq!(one, format!("{}.thumbprint-1", "A".repeat(43)));
        assert_ne!(dns_value(&one), dns_value(&other));
        // SHA-256 of the empty text, from FIPS 180-4's examples.
        assert_eq!(dns_value(""), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
    }

    #[test]
    fn places() {
        assert_eq!(http_path(&token()), format!("/.well-known/acme-challenge/{}", "A".repeat(43)));
        assert_eq!(dns_name(&identifier("*.demo.test")).as_deref(), Some("_acme-challenge.demo.test"));
        assert_eq!(dns_name(&identifier("demo.test")).as_deref(), Some("_acme-challenge.demo.test"));
        assert_eq!(dns_name(&identifier("10.0.0.1")), None);
        assert_eq!(tls_server_name(&identifier("a.demo.test")).as_deref(), Some("a.demo.test"));
        // RFC 8738 §6's own examples.
        assert_eq!(tls_server_name(&identifier("203.0.113.1")).as_deref(), Some("1.113.0.203.in-addr.arpa"));
        assert_eq!(
            tls_server_name(&identifier("2001:db8::1")).as_deref(),
            Some("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa")
        );
    }
}
