//! How a YubiHSM 2 is reached. In every build, so that every build can say why it does not reach one.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// Where a device is: `127.0.0.1:12345` or `usb:12345678`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum YubiHsmConnector {
    /// Behind `yubihsm-connector`, on loopback.
    Http(SocketAddr),
    /// On this machine's USB, by its serial number in decimal. Only in builds with the feature `yubihsm-usb`.
    Usb(String),
}

impl YubiHsmConnector {
    /// Whether the device with this serial number may be reached so.
    ///
    /// # Errors
    /// With the reason: an address that is not on loopback, another device's serial number, a build without USB.
    pub(crate) fn check(&self, serial: &str) -> Result<(), String> {
        match self {
            Self::Http(address) if !address.ip().is_loopback() => {
                Err(format!("the connector's address {address} is not on loopback (hint: run yubihsm-connector on this machine)"))
            }
            Self::Http(_) => Ok(()),
            Self::Usb(named) if named != serial => {
                Err(format!("`connector` names the device {named} on USB, and `serial` is {serial} (hint: they are one device)"))
            }
            Self::Usb(_) if !cfg!(feature = "yubihsm-usb") => Err(NO_USB.to_owned()),
            Self::Usb(_) => Ok(()),
        }
    }
}

/// What a build without USB says.
const NO_USB: &str = "this build does not reach devices over USB (hint: build with the feature `yubihsm-usb`, or run \
                      yubihsm-connector and name its address on loopback)";

impl From<SocketAddr> for YubiHsmConnector {
    fn from(address: SocketAddr) -> Self {
        Self::Http(address)
    }
}

impl FromStr for YubiHsmConnector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("usb:") {
            Some(serial) if is_serial(serial) => Ok(Self::Usb(serial.to_owned())),
            Some(_) => {
                Err("`connector` over USB is `usb:` and the device's serial number: 1 to 10 digits, without zeros in front".to_owned())
            }
            None => text.parse().map(Self::Http).map_err(|_| {
                "`connector` is an address on loopback, such as 127.0.0.1:12345, or `usb:` and the device's serial number".to_owned()
            }),
        }
    }
}

impl<'de> Deserialize<'de> for YubiHsmConnector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for YubiHsmConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(address) => address.fmt(f),
            Self::Usb(serial) => write!(f, "usb:{serial}"),
        }
    }
}

/// Whether a text is a device's serial number as it is printed on its case.
pub(crate) fn is_serial(text: &str) -> bool {
    (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(), &str>) {
        let got = text.parse::<YubiHsmConnector>().and_then(|connector| {
            assert_eq!(connector.to_string(), text);
            connector.check("12345678")
        });
        match (got, expected) {
            (Ok(()), Ok(())) => {}
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{text}: {reason}"),
            (got, expected) => panic!("{text}: {got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn what_names_a_device() {
        check("127.0.0.1:12345", Ok(()));
        check("[::1]:12345", Ok(()));
        check("192.0.2.7:12345", Err("is not on loopback"));
        check("localhost:12345", Err("such as 127.0.0.1:12345"));
        check("usb", Err("such as 127.0.0.1:12345"));
        for wrong in ["usb:", "usb:012", "usb:12345678901", "usb:one", "usb: 12345678"] {
            check(wrong, Err("without zeros in front"));
        }
        check("usb:12345679", Err("they are one device"));
    }

    #[cfg(feature = "yubihsm-usb")]
    #[test]
    fn a_build_with_usb_reaches_the_pinned_device() {
        check("usb:12345678", Ok(()));
    }

    #[cfg(not(feature = "yubihsm-usb"))]
    #[test]
    fn a_build_without_usb_names_the_feature() {
        check("usb:12345678", Err("build with the feature `yubihsm-usb`"));
    }
}
