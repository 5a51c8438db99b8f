//! Names of devices: what their makers call them (RFC 4043), and the modules that hold their keys (RFC 4108 §5), as
//! draft-ietf-acme-device-attest writes them in orders and this CA writes them in certificates.

use std::fmt;

use const_oid::ObjectIdentifier;
use serde::{Deserialize, Serialize};

use super::walk::{OCTET_STRING, OID, ParseError, SEQUENCE, Tlv, UTF8_STRING, Walker};
use super::{AltName, encode, oid};

/// Most octets of a serial number or of what a maker calls a device.
const MAX_SERIAL: usize = 128;
/// Most octets of an object identifier's text.
const MAX_OID: usize = 128;

/// Why a text is not a device's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceNameError {
    /// Not of the form that the draft gives.
    #[error("`{0}` is not of the form SERIAL/OID, where a permanent-identifier may have SERIAL alone and no SERIAL has a `/`")]
    Form(String),
    /// Characters that this CA does not certify in it.
    #[error("`{0}` has characters that are not handled (hint: 1 to 128 visible ASCII characters, with single spaces between them)")]
    Characters(String),
}

/// The parts of a device's name: a serial number and an object identifier in its one dotted form.
fn parts(text: &str) -> Result<(&str, Option<ObjectIdentifier>), DeviceNameError> {
    let wrong = || DeviceNameError::Form(text.chars().take(300).collect());
    let (serial, dotted) = text.split_once('/').map_or((text, None), |(serial, dotted)| (serial, Some(dotted)));
    if serial.is_empty() {
        return Err(wrong());
    }
    let identifier = match dotted {
        Some(dotted) if dotted.len() <= MAX_OID => {
            let parsed: ObjectIdentifier = dotted.parse().map_err(|_| wrong())?;
            // One identifier has one text: no leading zeros.
            Some(parsed).filter(|id| id.to_string() == dotted).ok_or_else(wrong).map(Some)?
        }
        Some(_) => return Err(wrong()),
        None => None,
    };
    if is_serial(serial) { Ok((serial, identifier)) } else { Err(DeviceNameError::Characters(text.chars().take(300).collect())) }
}

/// Visible ASCII without a slash; single spaces inside.
pub(crate) fn is_serial(text: &str) -> bool {
    text.len() <= MAX_SERIAL && text.split(' ').all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic() && b != b'/'))
}

macro_rules! device_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The serial number: what stands before the `/`.
            pub fn serial(&self) -> &str {
                self.0.split_once('/').map_or(self.0.as_str(), |(serial, _)| serial)
            }
        }

        impl TryFrom<String> for $name {
            type Error = DeviceNameError;
            fn try_from(text: String) -> Result<Self, DeviceNameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

device_name! {
    /// What an assigner calls a device (RFC 4043): `SERIAL`, or `SERIAL/OID` with the assigner.
    PermanentIdentifier
}

device_name! {
    /// A module that holds keys (RFC 4108 §5): `SERIAL/OID`, where the object identifier is the type of the hardware.
    HardwareModule
}

impl PermanentIdentifier {
    /// Reads the value of an identifier of the type `permanent-identifier`.
    ///
    /// # Errors
    /// When it is of another form, or has characters that are not handled.
    pub fn parse(text: &str) -> Result<Self, DeviceNameError> {
        parts(text).map(|_| Self(text.to_owned()))
    }

    /// The assigner, where it is named.
    pub fn assigner(&self) -> Option<ObjectIdentifier> {
        parts(&self.0).ok().and_then(|(_, assigner)| assigner)
    }

    /// The DER of the PermanentIdentifier.
    pub(crate) fn to_der(&self) -> Vec<u8> {
        let assigner = self.assigner().map(encode::oid).unwrap_or_default();
        encode::sequence(&[&encode::tlv(UTF8_STRING, self.serial().as_bytes()), &assigner])
    }
}

impl HardwareModule {
    /// Reads the value of an identifier of the type `hardware-module`.
    ///
    /// # Errors
    /// When it is of another form, or has characters that are not handled.
    pub fn parse(text: &str) -> Result<Self, DeviceNameError> {
        match parts(text)? {
            (_, Some(_)) => Ok(Self(text.to_owned())),
            (_, None) => Err(DeviceNameError::Form(text.chars().take(300).collect())),
        }
    }

    /// The type of the hardware.
    pub fn hardware_type(&self) -> ObjectIdentifier {
        let (_, kind) = parts(&self.0).expect("the text was read before");
        kind.expect("a module's name has a type: it was read before")
    }

    /// The DER of the HardwareModuleName.
    pub(crate) fn to_der(&self) -> Vec<u8> {
        encode::sequence(&[&encode::oid(self.hardware_type()), &encode::octets(self.serial().as_bytes())])
    }
}

/// A name of a device in an otherName `[0]` (RFC 5280 §4.2.1.6), or none where it is an otherName of another type.
///
/// # Errors
/// When it is a device's by its type and not of its form, or has characters that are not handled.
pub(crate) fn read_other_name(name: &Tlv<'_>) -> Result<Option<AltName>, ParseError> {
    let mut fields = name.walk();
    let kind = fields.expect(OID, "otherName type-id")?;
    let value = fields.expect(0xa0, "otherName value")?;
    fields.finish("otherName")?;
    let (text, is_permanent) = match kind.content {
        id if id == oid::PERMANENT_IDENTIFIER.as_bytes() => (read_permanent_identifier(value.content)?, true),
        id if id == oid::HARDWARE_MODULE_NAME.as_bytes() => (read_hardware_module(value.content)?, false),
        _ => return Ok(None),
    };
    let wrong = |_| ParseError::Value("otherName");
    if is_permanent {
        PermanentIdentifier::parse(&text).map(AltName::PermanentIdentifier).map_err(wrong).map(Some)
    } else {
        HardwareModule::parse(&text).map(AltName::HardwareModule).map_err(wrong).map(Some)
    }
}

fn read_permanent_identifier(der: &[u8]) -> Result<String, ParseError> {
    let mut fields = Walker::single(der, SEQUENCE, "PermanentIdentifier")?.walk();
    // The draft's §3.2: the identifierValue is there.
    let serial = text_of(fields.expect(UTF8_STRING, "identifierValue")?.content, "identifierValue")?;
    let assigner = fields.optional(OID)?;
    fields.finish("PermanentIdentifier")?;
    match assigner {
        Some(assigner) => Ok(format!("{serial}/{}", dotted(&assigner, "assigner")?)),
        None => Ok(serial.to_owned()),
    }
}

fn read_hardware_module(der: &[u8]) -> Result<String, ParseError> {
    let mut fields = Walker::single(der, SEQUENCE, "HardwareModuleName")?.walk();
    let kind = fields.expect(OID, "hwType")?;
    let serial = text_of(fields.expect(OCTET_STRING, "hwSerialNum")?.content, "hwSerialNum")?;
    fields.finish("HardwareModuleName")?;
    Ok(format!("{serial}/{}", dotted(&kind, "hwType")?))
}

/// Without a slash: what follows one would be taken for an object identifier.
fn text_of<'a>(octets: &'a [u8], what: &'static str) -> Result<&'a str, ParseError> {
    std::str::from_utf8(octets).ok().filter(|text| !text.contains('/')).ok_or(ParseError::Value(what))
}

fn dotted(element: &Tlv<'_>, what: &'static str) -> Result<ObjectIdentifier, ParseError> {
    ObjectIdentifier::from_bytes(element.content).map_err(|_| ParseError::Value(what))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, permanent: bool, module: bool) {
        assert_eq!(PermanentIdentifier::parse(text).is_ok(), permanent, "{text}");
        assert_eq!(HardwareModule::parse(text).is_ok(), module, "{text}");
    }

    #[test]
    fn a07_names_of_devices_have_one_form() {
        // The draft's own examples.
        check("ABCDEF123456", true, false);
        check("ABCDEF123456/1.2.3.4", true, true);
        check("ABCD/1.2.3.4", true, true);
        check("SN 1:2_3-4*", true, false);
        for bad in
            ["", "/", "/1.2.3", "A/", "A/1", "A/x", "A/1.2.3/4", "A/1.02.3", "A/3.1", "A/1.40.1", "A/1.2.", " A", "A ", "A  B", "A\n"]
        {
            check(bad, false, false);
        }
        assert!(matches!(PermanentIdentifier::parse("A/1.02.3"), Err(DeviceNameError::Form(_))));
        assert!(matches!(PermanentIdentifier::parse("Ä1"), Err(DeviceNameError::Characters(_))));
        check(&"A".repeat(128), true, false);
        check(&"A".repeat(129), false, false);
        check(&format!("A/1.2.{}", "3".repeat(200)), false, false);
        let name = PermanentIdentifier::parse("AB/1.2.3").unwrap();
        assert_eq!((name.serial(), name.assigner().unwrap().to_string().as_str()), ("AB", "1.2.3"));
        assert_eq!(PermanentIdentifier::parse("AB").unwrap().assigner(), None);
    }

    fn other_name(kind: ObjectIdentifier, value: &[u8]) -> Result<Option<AltName>, ParseError> {
        let der = encode::tlv(0xa0, &[encode::oid(kind), encode::tlv(0xa0, value)].concat());
        let mut walker = Walker::new(&der);
        read_other_name(&walker.next().unwrap())
    }

    #[test]
    fn a07_other_names_are_read_as_they_are_written() {
        for text in ["SN-1", "SN-1/1.3.6.1.4.1.55555.7"] {
            let name = PermanentIdentifier::parse(text).unwrap();
            assert_eq!(other_name(oid::PERMANENT_IDENTIFIER, &name.to_der()), Ok(Some(AltName::PermanentIdentifier(name))));
        }
        let module = HardwareModule::parse("SN-1/2.23.133.1").unwrap();
        assert_eq!(other_name(oid::HARDWARE_MODULE_NAME, &module.to_der()), Ok(Some(AltName::HardwareModule(module))));
        // Of another type: none of ours to judge.
        assert_eq!(other_name(oid::COMMON_NAME, &[5, 0]), Ok(None));
        let utf8 = |text: &str| encode::tlv(UTF8_STRING, text.as_bytes());
        let assigner = encode::oid(oid::COMMON_NAME);
        for bad in [
            encode::sequence(&[]),
            encode::sequence(&[&assigner]),
            encode::sequence(&[&assigner, &utf8("A")]),
            encode::sequence(&[&utf8("A/1.2.3")]),
            encode::sequence(&[&utf8("")]),
            encode::sequence(&[&utf8("A"), &[5, 0]]),
            encode::sequence(&[&encode::tlv(0x13, b"A")]),
        ] {
            assert!(other_name(oid::PERMANENT_IDENTIFIER, &bad).is_err(), "{bad:?}");
        }
        assert!(other_name(oid::HARDWARE_MODULE_NAME, &encode::sequence(&[&encode::octets(b"A")])).is_err());
        assert!(other_name(oid::HARDWARE_MODULE_NAME, &encode::sequence(&[&assigner, &encode::octets(b"A/1.2.3")])).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_device_that_stays_itself_or_an_error(text in "(\\PC|[A-Z0-9/. ]){0,40}") {
            if let Ok(name) = PermanentIdentifier::parse(&text) {
                prop_assert_eq!(other_name(oid::PERMANENT_IDENTIFIER, &name.to_der()), Ok(Some(AltName::PermanentIdentifier(name))));
            }
            if let Ok(name) = HardwareModule::parse(&text) {
                prop_assert_eq!(other_name(oid::HARDWARE_MODULE_NAME, &name.to_der()), Ok(Some(AltName::HardwareModule(name))));
            }
        }
    }
}
