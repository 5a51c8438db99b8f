//! Kubernetes' own users and groups.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names of Kubernetes' own begin so.
const SYSTEM: &str = "system:";

/// Why a text is not a pattern over Kubernetes' own names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a user or group of Kubernetes: system:NAME, or system:PREFIX* (and never system:masters)")]
pub struct SystemNameError(String);

/// A user or group `system:nodes`, or all that begin with `system:node:*`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SystemName(String);

impl SystemName {
    /// Whether a name is of Kubernetes' own, in any case.
    pub fn is_one(name: &str) -> bool {
        name.get(..SYSTEM.len()).is_some_and(|start| start.eq_ignore_ascii_case(SYSTEM))
    }

    /// Whether it covers this name.
    pub fn covers(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()),
            None => name == self.0,
        }
    }
}

impl FromStr for SystemName {
    type Err = SystemNameError;
    fn from_str(text: &str) -> Result<Self, SystemNameError> {
        let name = text.strip_prefix(SYSTEM).map(|name| name.strip_suffix('*').unwrap_or(name));
        let fine = name.is_some_and(|name| {
            // A star alone would be every power that Kubernetes has.
            !name.is_empty() && text.len() <= 64 && name.bytes().all(|b| b.is_ascii_graphic() && b != b'*') && name != "masters"
        });
        if fine { Ok(Self(text.to_owned())) } else { Err(SystemNameError(text.chars().take(100).collect())) }
    }
}

impl fmt::Display for SystemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SystemName {
    type Error = SystemNameError;
    fn try_from(text: String) -> Result<Self, SystemNameError> {
        text.parse()
    }
}

impl From<SystemName> for String {
    fn from(name: SystemName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kubernetes() {
        let check = |pattern: &str, name: &str, covered: bool| {
            assert_eq!(pattern.parse::<SystemName>().unwrap().covers(name), covered, "{pattern} / {name}");
        };
        check("system:nodes", "system:nodes", true);
        check("system:nodes", "system:node:a", false);
        check("system:node:*", "system:node:a", true);
        check("system:node:*", "system:node:", false);
        for bad in ["", "system:", "system:*", "system:masters", "system:masters*", "nodes", "system:a*b", "system:a b", "SYSTEM:a"] {
            assert!(bad.parse::<SystemName>().is_err(), "{bad}");
        }
        assert!(SystemName::is_one("System:nodes") && !SystemName::is_one("systems") && !SystemName::is_one("é"));
    }
}
