//! Identifiers as ACME orders and subject alternative names carry them.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{DeviceNameError, DnsName, DnsNameFault, HardwareModule, PermanentIdentifier};

/// Why a text is not an identifier that this CA handles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// Not a DNS name that a certificate can carry.
    #[error("`{name}` is not a DNS name: {fault}")]
    DnsName {
        /// The text, perhaps cut.
        name: String,
        /// What is wrong with it.
        fault: DnsNameFault,
    },
    /// Not an IPv4 or IPv6 address in its canonical text form.
    #[error("`{0}` is not an IP address in canonical text form (RFC 8738 §3)")]
    IpAddress(String),
    /// Not a device's name.
    #[error(transparent)]
    Device(#[from] DeviceNameError),
    /// A type that is not handled.
    #[error("identifiers of type `{0}` are not handled")]
    UnsupportedType(String),
}

/// An identifier in an order (RFC 8555 §9.7.7, RFC 8738, draft-ietf-acme-device-attest).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "lowercase")]
pub enum Identifier {
    /// A DNS name, perhaps a wildcard.
    Dns(DnsName),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// What an assigner calls a device.
    #[serde(rename = "permanent-identifier")]
    PermanentIdentifier(PermanentIdentifier),
    /// A module that holds keys.
    #[serde(rename = "hardware-module")]
    HardwareModule(HardwareModule),
}

impl Identifier {
    /// Reads the `type` and `value` members of an ACME identifier object.
    ///
    /// # Errors
    /// When the type is not handled or the value is not of its form; RFC 8738 §3 wants canonical address texts.
    pub fn parse(kind: &str, value: &str) -> Result<Self, IdentifierError> {
        match kind {
            "dns" => DnsName::parse(value).map(Self::Dns),
            "ip" => match value.parse::<IpAddr>() {
                Ok(address) if address.to_string() == value => Ok(Self::Ip(address)),
                _ => Err(IdentifierError::IpAddress(value.chars().take(300).collect())),
            },
            "permanent-identifier" => Ok(Self::PermanentIdentifier(PermanentIdentifier::parse(value)?)),
            "hardware-module" => Ok(Self::HardwareModule(HardwareModule::parse(value)?)),
            other => Err(IdentifierError::UnsupportedType(other.chars().take(60).collect())),
        }
    }

    /// Reads the text that a person types: an IP address where it is one, a DNS name otherwise.
    ///
    /// # Errors
    /// When it is neither.
    pub fn from_text(text: &str) -> Result<Self, IdentifierError> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self::Ip(address)),
            Err(_) => DnsName::parse(text).map(Self::Dns),
        }
    }

    /// Whether it names a device: then an attestation proves it, and a CSR need not name it.
    pub const fn is_device(&self) -> bool {
        match self {
            Self::PermanentIdentifier(_) | Self::HardwareModule(_) => true,
            Self::Dns(_) | Self::Ip(_) => false,
        }
    }

    /// `dns`, `ip`, `permanent-identifier` or `hardware-module`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns",
            Self::Ip(_) => "ip",
            Self::PermanentIdentifier(_) => "permanent-identifier",
            Self::HardwareModule(_) => "hardware-module",
        }
    }

    /// The value as text.
    pub fn value(&self) -> String {
        match self {
            Self::Dns(name) => name.as_str().to_owned(),
            Self::Ip(address) => address.to_string(),
            Self::PermanentIdentifier(name) => name.as_str().to_owned(),
            Self::HardwareModule(name) => name.as_str().to_owned(),
        }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ip_addresses_are_canonical() {
        assert!(Identifier::parse("ip", "127.0.0.1").is_ok());
        assert!(Identifier::parse("ip", "::1").is_ok());
        for bad in ["0:0:0:0:0:0:0:1", "127.0.0.01", "127.0.0.1/32", "localhost"] {
            assert!(Identifier::parse("ip", bad).is_err(), "{bad}");
        }
        assert!(matches!(Identifier::parse("email", "a@b"), Err(IdentifierError::UnsupportedType(_))));
    }
}
