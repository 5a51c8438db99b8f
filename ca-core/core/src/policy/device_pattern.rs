//! Patterns over the names of devices.

use std::fmt;

use crate::pki::{HardwareModule, PermanentIdentifier, is_serial};

/// Names of devices by their serial numbers: `SN-1`, `SN-*`, `*`, each perhaps with `/OID`, which counts to the letter.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DevicePattern {
    /// The serial number, or what it begins with.
    serial: String,
    /// Whether any rest may follow, also none where the serial number is given in part.
    open: bool,
    /// The assigner or the type of hardware, dotted.
    oid: Option<String>,
}

impl DevicePattern {
    /// Reads what follows the form; `module`: an object identifier must be there.
    pub(super) fn parse(text: &str, module: bool) -> Option<Self> {
        let (serial, oid) = text.split_once('/').map_or((text, None), |(serial, oid)| (serial, Some(oid.to_owned())));
        let (serial, open) = serial.strip_suffix('*').map_or((serial, false), |start| (start, true));
        // A star stands for what a name has there: with a letter in its place the pattern is a name.
        let model = Self { serial: format!("{serial}{}", if open { "x" } else { "" }), open: false, oid: oid.clone() }.to_string();
        let is_name = if module { HardwareModule::parse(&model).is_ok() } else { PermanentIdentifier::parse(&model).is_ok() };
        let is_start = !serial.contains('*') && (serial.is_empty() || is_serial(serial.strip_suffix(' ').unwrap_or(serial)));
        (is_name && is_start).then(|| Self { serial: serial.to_owned(), open, oid })
    }

    /// Whether it covers the text of a name.
    pub(super) fn covers(&self, name: &str) -> bool {
        let (serial, oid) = name.split_once('/').map_or((name, None), |(serial, oid)| (serial, Some(oid)));
        let same = if self.open { serial.starts_with(&self.serial) } else { serial == self.serial };
        same && oid == self.oid.as_deref()
    }

    /// The name that it covers, where it is exactly one.
    pub(super) fn only_name(&self) -> Option<String> {
        (!self.open).then(|| self.to_string())
    }

    pub(super) fn is_within(&self, outer: &Self) -> bool {
        let same = if outer.open { self.serial.starts_with(&outer.serial) } else { !self.open && self.serial == outer.serial };
        same && self.oid == outer.oid
    }
}

impl fmt::Display for DevicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.open { "*" } else { "" };
        match &self.oid {
            Some(oid) => write!(f, "{}{star}/{oid}", self.serial),
            None => write!(f, "{}{star}", self.serial),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::NamePattern;
    use crate::pki::Identifier;

    #[track_caller]
    fn check(pattern: &str, kind: &str, name: &str, covered: bool) {
        let pattern: NamePattern = pattern.parse().unwrap();
        assert_eq!(pattern.covers(&Identifier::parse(kind, name).unwrap()), covered, "{pattern} / {name}");
        assert_eq!(pattern.to_string().parse::<NamePattern>().unwrap(), pattern);
    }

    #[test]
    fn a07_patterns_over_devices() {
        let (permanent, module) = ("permanent-identifier", "hardware-module");
        check("permanent-identifier:SN-1", permanent, "SN-1", true);
        check("permanent-identifier:SN-1", permanent, "SN-12", false);
        check("permanent-identifier:SN-1", permanent, "sn-1", false);
        check("permanent-identifier:SN-*", permanent, "SN-12", true);
        check("permanent-identifier:SN-*", permanent, "SN-", true);
        check("permanent-identifier:SN-*", permanent, "XSN-1", false);
        check("permanent-identifier:*", permanent, "anything", true);
        // The assigner counts, named or not.
        check("permanent-identifier:*", permanent, "SN-1/1.2.3", false);
        check("permanent-identifier:*/1.2.3", permanent, "SN-1/1.2.3", true);
        check("permanent-identifier:*/1.2.3", permanent, "SN-1/1.2.3.4", false);
        check("permanent-identifier:*/1.2.3", module, "SN-1/1.2.3", false);
        check("hardware-module:*/1.2.3", module, "SN-1/1.2.3", true);
        check("hardware-module:SN-1/1.2.3", module, "SN-1/1.2.3", true);
        check("permanent-identifier:*", "dns", "a.test", false);
        check("dns:a.test", permanent, "a.test", false);
        let bad = "permanent-identifier: permanent-identifier:*x permanent-identifier:a*b permanent-identifier:/1.2 \
                   permanent-identifier:a/b permanent-identifier:** hardware-module:a hardware-module:* permanent-identifier:\u{e4}";
        for bad in bad.split_whitespace() {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a07_patterns_over_devices_within_one_another() {
        let check = |inner: &str, outer: &str, within: bool| {
            let (inner, outer): (NamePattern, NamePattern) = (inner.parse().unwrap(), outer.parse().unwrap());
            assert_eq!(inner.is_within(&outer), within, "{inner} in {outer}");
        };
        check("permanent-identifier:SN-1", "permanent-identifier:SN-*", true);
        check("permanent-identifier:SN-1*", "permanent-identifier:SN-*", true);
        check("permanent-identifier:SN-*", "permanent-identifier:SN-1*", false);
        check("permanent-identifier:SN-*", "permanent-identifier:SN-", false);
        check("permanent-identifier:SN-1/1.2.3", "permanent-identifier:*", false);
        check("hardware-module:SN-1/1.2.3", "permanent-identifier:*/1.2.3", false);
        check("hardware-module:SN-1/1.2.3", "hardware-module:*/1.2.3", true);
    }
}
