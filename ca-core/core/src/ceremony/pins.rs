//! What a plan pins: the tool, the devices, the practice statement (requirements 3, 4 and 16).

use serde::{Deserialize, Serialize};

use super::CeremonyError;
use super::people::is_text;
use crate::model::KeyLabel;
use crate::pki::{KeyAlgorithm, Sha256Digest, sha256};
use crate::ports::{DeviceIdentity, DeviceKind, DeviceObject, FirmwareVersion};

/// The tool that a ceremony runs with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolPin {
    /// SHA-256 of the executable file.
    pub sha256: Sha256Digest,
}

/// The certification practice statement that the ceremony follows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cps {
    /// Where it is published.
    pub url: String,
    /// Its version.
    pub version: String,
}

impl Cps {
    pub(super) fn check(&self) -> Result<(), CeremonyError> {
        let url = self.url.strip_prefix("https://").or_else(|| self.url.strip_prefix("http://"));
        let sound = url.is_some_and(|rest| !rest.is_empty() && rest.len() <= 200 && rest.bytes().all(|b| b.is_ascii_graphic()));
        if sound && is_text(&self.version) {
            return Ok(());
        }
        Err(CeremonyError::refused("plan", "cps has the http(s) `url` and the `version` of the practice statement"))
    }
}

/// What a device holds before the ceremony.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum BeforeText {
    Word(String),
    List(Vec<String>),
}

/// What a device holds before the ceremony (requirement 16).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "BeforeText", into = "BeforeText")]
pub enum Inventory {
    /// `"new"`: nothing but what a freshly reset device has (requirement 17).
    New,
    /// `"sha256:…"`: the digest of its listing, [`inventory_digest`].
    Digest(Sha256Digest),
    /// The listing's lines, [`inventory_lines`].
    Lines(Vec<String>),
}

impl Inventory {
    /// The most objects of a device.
    pub const MAX_OBJECTS: usize = 1024;
}

impl TryFrom<BeforeText> for Inventory {
    type Error = String;

    fn try_from(text: BeforeText) -> Result<Self, String> {
        match text {
            BeforeText::Word(word) if word == "new" => Ok(Self::New),
            BeforeText::Word(word) => {
                word.strip_prefix("sha256:").and_then(|hex| hex.parse().ok()).map(Self::Digest).ok_or_else(|| {
                    "`before` is \"new\", \"sha256:…\" or a list of lines (hint: `ca ceremony device` prints them)".to_owned()
                })
            }
            BeforeText::List(lines) if lines.len() <= Self::MAX_OBJECTS => Ok(Self::Lines(lines)),
            BeforeText::List(_) => Err(format!("`before` has more than {} lines (hint: give its digest)", Self::MAX_OBJECTS)),
        }
    }
}

impl From<Inventory> for BeforeText {
    fn from(inventory: Inventory) -> Self {
        match inventory {
            Inventory::New => Self::Word("new".to_owned()),
            Inventory::Digest(digest) => Self::Word(format!("sha256:{digest}")),
            Inventory::Lines(lines) => Self::List(lines),
        }
    }
}

/// A device's objects as lines, sorted: kind, id, label and algorithm.
pub fn inventory_lines(objects: &[DeviceObject]) -> Vec<String> {
    let mut lines: Vec<String> =
        objects.iter().map(|o| [&o.kind, &o.id, &o.label, &o.algorithm].map(String::as_str).join(" ").trim_end().to_owned()).collect();
    lines.sort();
    lines
}

/// SHA-256 over the lines, each with its newline.
pub fn inventory_digest(objects: &[DeviceObject]) -> Sha256Digest {
    sha256(inventory_lines(objects).iter().map(|l| format!("{l}\n")).collect::<String>().as_bytes())
}

/// The device behind a key place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevicePin {
    /// Its kind.
    pub kind: DeviceKind,
    /// Its serial number.
    pub serial: String,
    /// The lowest firmware that is good enough; left out only where the device has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowest_firmware: Option<FirmwareVersion>,
    /// What it holds before the first key is made.
    pub before: Inventory,
}

impl DevicePin {
    pub(super) fn check(&self) -> Result<(), CeremonyError> {
        if is_text(&self.serial) { Ok(()) } else { Err(CeremonyError::refused("plan", "a device's serial is empty or too long")) }
    }

    /// Whether the device can hold such a key.
    pub(super) fn check_holds(&self, key: &KeyLabel, algorithm: KeyAlgorithm) -> Result<(), CeremonyError> {
        if self.kind == DeviceKind::Software || !algorithm.is_post_quantum() {
            return Ok(());
        }
        let reason =
            format!("the {algorithm} key `{key}` on the {:?} device `{}`: {}", self.kind, self.serial, KeyAlgorithm::SOFTWARE_ONLY);
        Err(CeremonyError::refused("plan", reason))
    }

    /// Whether this is the device.
    ///
    /// # Errors
    /// With the difference, in words.
    pub fn judge_identity(&self, found: &DeviceIdentity) -> Result<(), String> {
        if found.kind != self.kind || found.serial != self.serial {
            return Err(format!(
                "it is {:?} with the serial number `{}`; the plan pins {:?} `{}` (hint: another device, or another device's plan)",
                found.kind, found.serial, self.kind, self.serial
            ));
        }
        match (self.lowest_firmware, found.firmware) {
            (Some(lowest), Some(firmware)) if firmware >= lowest => Ok(()),
            (Some(lowest), Some(firmware)) => Err(format!("its firmware is {firmware}, and the plan accepts none below {lowest}")),
            (Some(lowest), None) => Err(format!("it tells no firmware, and the plan accepts none below {lowest}")),
            (None, Some(firmware)) => Err(format!("its firmware is {firmware}, and the plan pins none (hint: lowest_firmware)")),
            (None, None) => Ok(()),
        }
    }

    /// Whether it holds what the plan says; `deviations` tell how it differs from a freshly reset one.
    ///
    /// # Errors
    /// With the difference, in words.
    pub fn judge_inventory(&self, objects: &[DeviceObject], deviations: &[String]) -> Result<(), String> {
        let found = inventory_lines(objects);
        match &self.before {
            Inventory::New if deviations.is_empty() => Ok(()),
            Inventory::New => Err(format!("the plan says that it is new, and it is not: {}", few(deviations))),
            Inventory::Digest(digest) if *digest == inventory_digest(objects) => Ok(()),
            Inventory::Digest(digest) => Err(format!(
                "its inventory has the digest {}, not the plan's {digest}; it holds: {}",
                inventory_digest(objects),
                few(&found)
            )),
            Inventory::Lines(lines) => {
                let mut lines = lines.clone();
                lines.sort();
                let beside = |a: &[String], b: &[String]| a.iter().filter(|l| !b.contains(l)).cloned().collect::<Vec<_>>();
                match (beside(&found, &lines), beside(&lines, &found)) {
                    (extra, missing) if extra.is_empty() && missing.is_empty() && found.len() == lines.len() => Ok(()),
                    (extra, missing) => {
                        Err(format!("its inventory is not the plan's; beside that: {}; missing: {}", few(&extra), few(&missing)))
                    }
                }
            }
        }
    }
}

/// The first lines, for a message.
fn few(lines: &[String]) -> String {
    const MOST: usize = 5;
    let shown: Vec<String> = lines.iter().take(MOST).map(|l| l.chars().take(120).collect()).collect();
    match (shown.is_empty(), lines.len().saturating_sub(MOST)) {
        (true, _) => "nothing".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(serial: &str, firmware: Option<FirmwareVersion>) -> DeviceIdentity {
        DeviceIdentity { kind: DeviceKind::YubiHsm2, model: "HSM".to_owned(), serial: serial.to_owned(), firmware }
    }

    fn object(id: &str) -> DeviceObject {
        let text = |t: &str| t.to_owned();
        DeviceObject { kind: text("private-key"), id: text(id), label: text("root"), algorithm: text("p256") }
    }

    fn pin(before: &str) -> DevicePin {
        toml::from_str(&format!("kind = \"yubi-hsm2\"\nserial = \"0042\"\nlowest_firmware = \"2.4.0\"\nbefore = {before}")).unwrap()
    }

    #[track_caller]
    fn check(result: Result<(), String>, expected: Result<(), &str>) {
        match (result, expected) {
            (Ok(()), Ok(())) => {}
            (Err(text), Err(part)) => assert!(text.contains(part), "{text}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn another_device_or_an_old_one_is_told_apart() {
        let judge = |serial: &str, firmware| pin("\"new\"").judge_identity(&identity(serial, firmware));
        check(judge("0042", Some(FirmwareVersion(2, 4, 0))), Ok(()));
        check(judge("0042", Some(FirmwareVersion(3, 0, 0))), Ok(()));
        check(judge("0043", Some(FirmwareVersion(2, 4, 0))), Err("the plan pins YubiHsm2 `0042`"));
        // CVE-2024-45678: firmware below 2.4.0 leaks its ECDSA keys.
        check(judge("0042", Some(FirmwareVersion(2, 3, 9))), Err("none below 2.4.0"));
        check(judge("0042", None), Err("tells no firmware"));
        let unpinned = DevicePin { lowest_firmware: None, ..pin("\"new\"") };
        check(unpinned.judge_identity(&identity("0042", Some(FirmwareVersion(9, 0, 0)))), Err("the plan pins none"));
    }

    #[test]
    fn ceremony_16_the_inventory_equals_what_the_plan_says_is_there_before() {
        let (one, two) = ([object("1")], [object("1"), object("2")]);
        check(pin("\"new\"").judge_inventory(&[], &[]), Ok(()));
        check(pin("\"new\"").judge_inventory(&[], &["a key".to_owned()]), Err("it is not: a key"));
        let list = pin("[\"private-key 1 root p256\"]");
        check(list.judge_inventory(&one, &[]), Ok(()));
        check(list.judge_inventory(&two, &[]), Err("beside that: private-key 2 root p256"));
        check(list.judge_inventory(&[], &[]), Err("missing: private-key 1 root p256"));
        check(list.judge_inventory(&[object("1"), object("1")], &[]), Err("not the plan's"));
        let digest = pin(&format!("\"sha256:{}\"", inventory_digest(&one)));
        check(digest.judge_inventory(&one, &[]), Ok(()));
        check(digest.judge_inventory(&two, &[]), Err("not the plan's"));
        assert!(toml::from_str::<DevicePin>("kind = \"software\"\nserial = \"1\"\nbefore = \"old\"").is_err());
    }
}
