//! What surrounds a ceremony's acts in its plan: pins, people, the machine, the evidence that must be filled in.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::pins::{Cps, DevicePin, ToolPin};
use super::{CeremonyError, CeremonyKind, EnvironmentPlan, KeyPlace, People, Roster};

/// What must be written down before a ceremony closes (requirement 36); attendance is mandatory anyway.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidencePlan {
    /// Tamper bags, by what they hold.
    pub bags: Vec<String>,
    /// Media, by what they are.
    pub media: Vec<String>,
}

/// The frame of a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The executable; a rehearsal may leave it open, and records it.
    pub tool: Option<ToolPin>,
    /// The practice statement.
    pub cps: Cps,
    /// The devices, by what they hold; a rehearsal may leave them open, and records them.
    pub devices: BTreeMap<KeyPlace, DevicePin>,
    /// The machine.
    pub environment: EnvironmentPlan,
    /// The people beside the officers.
    pub people: People,
    /// What must be written down.
    pub evidence: EvidencePlan,
}

impl Frame {
    const MAX_EVIDENCE: usize = 64;

    pub(super) fn check(&self, roster: &Roster, places: &[KeyPlace]) -> Result<(), CeremonyError> {
        let refused = |reason: String| Err(CeremonyError::refused("plan", reason));
        self.cps.check()?;
        self.devices.values().try_for_each(DevicePin::check)?;
        if roster.kind == CeremonyKind::Production {
            if self.tool.is_none() {
                return refused("a production plan pins the tool: [tool] sha256 (hint: `ca ceremony words` of the executable)".to_owned());
            }
            if let Some(place) = places.iter().find(|p| !self.devices.contains_key(p)) {
                let name = place.name();
                return refused(format!("a production plan pins every device: [device.{name}] (hint: `ca ceremony device` prints it)"));
            }
        }
        self.people.check(roster)?;
        let mut seen = BTreeSet::new();
        for (what, list) in [("bags", &self.evidence.bags), ("media", &self.evidence.media)] {
            if list.is_empty() || list.len() > Self::MAX_EVIDENCE {
                return refused(format!("evidence.{what} names 1 to {}", Self::MAX_EVIDENCE));
            }
            if let Some(wrong) = list.iter().find(|name| !super::roster::is_name(name) || !seen.insert((what, name.as_str()))) {
                let wrong: String = wrong.chars().take(80).collect();
                return refused(format!("evidence.{what}: `{wrong}` stands twice, or is not 1 to 32 lowercase letters, digits and `-`"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Plan;
    use super::super::plan::tests::{check, plan};

    #[test]
    fn ceremony_03_a_production_plan_pins_tool_devices_firmware_and_practice_statement() {
        let parsed = Plan::parse(&plan()).unwrap();
        assert_eq!(parsed.frame.cps.version, "1.0");
        assert_eq!(parsed.frame.devices.len(), 2);
        assert!(parsed.frame.tool.is_some());
        let tool = plan().lines().find(|l| l.starts_with("tool = ")).unwrap().to_owned();
        check(&tool, "", "pins the tool");
        check("[device.online]", "[device.offline]", "unknown variant");
        let online = plan().split("[device.online]").nth(1).unwrap().split("\n\n").next().unwrap().to_owned();
        check(&format!("[device.online]{online}"), "", "pins every device: [device.online]");
        check("serial = \"1\"", "serial = \"\"", "serial is empty");
        check("cps = { url", "cps = { uri", "unknown field");
        check("url = \"https://cps", "url = \"cps", "practice statement");
        check(", version = \"1.0\"", "", "missing field `version`");
        check("lowest_firmware = \"2.4.0\"", "lowest_firmware = \"new\"", "not a firmware version");
    }

    #[test]
    fn what_is_mandatory_cannot_be_left_out() {
        check("bags = [\"root\"]", "bags = []", "evidence.bags names 1 to");
        check("media = [\"boot\"]", "media = [\"boot\", \"boot\"]", "stands twice");
        check("offline = true", "", "missing field `offline`");
        check("no_swap = true", "no_swap = true\nno_shell = true", "unknown field");
        check("[[custodian]]\nname = \"ana\"\nholds = \"the root key store\"", "", "missing field `custodian`");
    }
}
