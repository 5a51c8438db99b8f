//! The officers of an authority, and how many of them must agree.

use serde::{Deserialize, Serialize};

use super::CeremonyError;
use crate::evidence::sshsig;
use crate::pki::{Sha256Digest, sha256};

/// Whether what a ceremony makes is meant to be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CeremonyKind {
    /// The real one.
    Production,
    /// An exercise: marked subjects, its own namespace, its own trust anchor.
    Rehearsal,
}

impl CeremonyKind {
    /// The SSHSIG namespace of its approvals: one kind's never count for the other (requirement 5).
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Production => "ceremony@countersign",
            Self::Rehearsal => "rehearsal@countersign",
        }
    }

    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Rehearsal => "rehearsal",
        }
    }
}

impl std::fmt::Display for CeremonyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A person who approves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Officer {
    /// The name, which also stands in the file names of signatures.
    pub name: String,
    /// One or more public keys in OpenSSH form. However many sign, they are one person (requirement 9).
    pub keys: Vec<String>,
}

/// The officers, and the threshold in people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    /// Production or rehearsal.
    pub kind: CeremonyKind,
    /// How many distinct people must sign: M.
    pub threshold: u32,
    /// Everyone who may: N.
    #[serde(rename = "officer")]
    pub officers: Vec<Officer>,
}

impl Roster {
    /// The most bytes of a roster file.
    pub const MAX_BYTES: usize = 1 << 18;
    const MAX_OFFICERS: usize = 64;

    /// Reads and checks a roster file.
    ///
    /// # Errors
    /// As [`Self::check`], and when it is too large, does not parse or has an unknown or duplicate key.
    pub fn parse(text: &str) -> Result<Self, CeremonyError> {
        let syntax = |reason: String| CeremonyError::Syntax { what: "roster", reason };
        if text.len() > Self::MAX_BYTES {
            return Err(syntax(format!("it has {} bytes; the most is {}", text.len(), Self::MAX_BYTES)));
        }
        let roster: Self = toml::from_str(text).map_err(|e| syntax(e.to_string()))?;
        roster.check()?;
        Ok(roster)
    }

    /// The roster as a file; the same roster always gives the same bytes.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("strings, a number and tables have a TOML form")
    }

    /// SHA-256 of its file form: how others pin it.
    pub fn digest(&self) -> Sha256Digest {
        sha256(self.to_toml().as_bytes())
    }

    /// Checks it.
    ///
    /// # Errors
    /// When the threshold is zero or cannot be reached, one person alone would do in production, a name is not a
    /// plain word or stands twice, or a key is unusable or belongs to two people.
    pub fn check(&self) -> Result<(), CeremonyError> {
        let refused = |reason: String| Err(CeremonyError::refused("roster", reason));
        let count = self.officers.len();
        if count > Self::MAX_OFFICERS {
            return refused(format!("{count} officers; the most is {}", Self::MAX_OFFICERS));
        }
        if self.threshold == 0 || usize::try_from(self.threshold).unwrap_or(usize::MAX) > count {
            return refused(format!("a threshold of {} among {count} officers can't be met or asks nobody", self.threshold));
        }
        if self.threshold < 2 {
            return refused("a threshold of 1 is not dual control (hint: at least 2 people must sign)".to_owned());
        }
        let mut keys: Vec<String> = Vec::new();
        for (i, officer) in self.officers.iter().enumerate() {
            if !is_name(&officer.name) {
                return refused(format!(
                    "`{}` is not an officer's name: 1 to 32 lowercase letters, digits and `-`",
                    shorten(&officer.name)
                ));
            }
            if self.officers[..i].iter().any(|o| o.name == officer.name) {
                return refused(format!("the officer `{}` stands twice", officer.name));
            }
            check_keys("roster", &officer.name, &officer.keys, &mut keys)?;
        }
        Ok(())
    }
}

/// Checks one person's keys; `seen` are the fingerprints of everyone's before.
pub(super) fn check_keys(what: &'static str, name: &str, keys: &[String], seen: &mut Vec<String>) -> Result<(), CeremonyError> {
    const MOST: usize = 8;
    if keys.is_empty() || keys.len() > MOST {
        return Err(CeremonyError::refused(what, format!("`{name}` needs 1 to {MOST} keys")));
    }
    for key in keys {
        let fingerprint = sshsig::fingerprint(key).map_err(|e| CeremonyError::refused(what, format!("a key of `{name}`: {e}")))?.0;
        if seen.contains(&fingerprint) {
            return Err(CeremonyError::refused(what, format!("the key {fingerprint} stands twice: a key belongs to one person")));
        }
        seen.push(fingerprint);
    }
    Ok(())
}

/// Names stand in file names, between dots.
pub(super) fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
}

pub(super) fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}
