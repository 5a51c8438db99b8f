//! The policy: what the officers signed that may be issued, for whom and by whom.
//!
//! A [`Policy`] is only ever made from bytes whose quorum was verified (see [`crate::ceremony`]). Site configuration
//! may narrow what it allows, never widen it.

mod attestation;
mod challenge;
mod device_pattern;
mod diff;
mod grant_limits;
mod name_rules;
mod pattern;
mod place;
mod profile;
mod special;
mod star;
mod subject_parts;
mod subscriber;
mod system_name;
#[cfg(test)]
mod tests;
mod times;
mod uri_pattern;
mod uri_template;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use attestation::{AttestationFormat, AttestationRoots, RootCertificates};
pub use challenge::{Basis, ChallengeZone, basis_for, zone_of};
pub use device_pattern::DevicePattern;
pub use diff::{PolicyChange, policy_changes, without_ends};
pub use name_rules::{Lookalike, NameRefusal, NameRules};
pub use pattern::{NamePattern, PatternError};
pub use place::PolicyFault;
pub use profile::{PolicyId, ProfilePolicy};
pub(crate) use special::special_block;
pub use star::{StarBounds, StarPolicy};
pub use subject_parts::SubjectParts;
pub use subscriber::{MAX_EMAILS, SubscriberError, check_grant, leaf_content};
pub use system_name::{SystemName, SystemNameError};
pub use times::judge_times;
pub use uri_pattern::UriPattern;
pub use uri_template::{TemplateError, UriTemplate};

use self::place::Fault;
use crate::model::{AuthorityName, Grant, GrantId};
use crate::pki::{Identifier, NameRef, Sha256Digest};

/// A policy document (TOML). Unknown keys are errors.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Grows with each change; a worker refuses a lower one than it has seen.
    pub version: u64,
    /// How many certificates one operator may revoke with one statement; more of them need the officers.
    #[serde(default = "default_operator_bulk")]
    pub operator_bulk: u32,
    /// The authorities and what each may issue.
    #[serde(rename = "authority", default)]
    pub authorities: Vec<AuthorityPolicy>,
    /// The operators whose statements the worker applies.
    #[serde(rename = "operator", default)]
    pub operators: Vec<OperatorPolicy>,
}

/// What one authority may issue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityPolicy {
    /// The authority.
    pub name: AuthorityName,
    /// SHA-256 of its SubjectPublicKeyInfo: the policy binds keys, not names alone.
    pub key_sha256: Sha256Digest,
    /// Names that may be granted, and so issued for.
    pub names: Vec<NamePattern>,
    /// What is permitted beyond the rules that every name keeps.
    #[serde(default, skip_serializing_if = "NameRules::is_empty")]
    pub name_rules: NameRules,
    /// Profiles on offer to orders, by name. Never `ocsp`: that one is in `own`.
    #[serde(rename = "profile", default)]
    pub profiles: BTreeMap<String, ProfilePolicy>,
    /// The CA's own certificates, issued unprompted for exactly these names and keys.
    #[serde(rename = "own", default)]
    pub own: Vec<OwnCertificate>,
    /// Zones in which challenges prove identifiers that no grant covers; none: there are none.
    #[serde(rename = "challenge", default, skip_serializing_if = "Vec::is_empty")]
    pub challenge_zones: Vec<ChallengeZone>,
    /// The grant that accounts without an external account binding are bound to; none: every account needs a binding. It
    /// authorizes no name: whoever comes proves each in a challenge zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_enrolment: Option<GrantId>,
    /// How its key must be unlocked where a worker runs; none: as the site chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlock: Option<Unlock>,
    /// The most certificates that orders may get in an hour.
    pub max_per_hour: u32,
    /// How long a CRL is valid, in seconds.
    pub crl_validity: u64,
    /// How often a CRL is made when nothing is revoked, in seconds; well below `crl_validity`.
    pub crl_interval: u64,
}

/// How the credential of a key store comes to be unlocked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unlock {
    /// A threshold of holders gives shares, after each start of the keyholder. In a policy: nothing less will do.
    Attended,
    /// A file on the host has it: whoever is root there has the key. In a policy: either will do.
    HostSealed,
}

/// One of the CA's own certificates.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnCertificate {
    /// Its name in jobs and commands, for example `ocsp` or `server`.
    pub name: String,
    /// `server` or `ocsp`.
    pub shape: String,
    /// The names of a server; empty for a responder.
    #[serde(default)]
    pub names: Vec<Identifier>,
    /// SHA-256 of the key's SubjectPublicKeyInfo.
    pub key_sha256: Sha256Digest,
    /// How long it lives, in seconds.
    pub lifetime: u64,
}

/// An operator's key and what it may do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorPolicy {
    /// The person or service that holds the key.
    pub name: String,
    /// The public key in OpenSSH form, `ssh-ed25519 AAAA…`.
    pub key: String,
    /// What its statements may do: `grant`, `revoke`, `publish`, `hold`, `stop`.
    pub may: Vec<Permission>,
}

/// A kind of operator statement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// Create and revoke grants: a grantor.
    Grant,
    /// Revoke certificates.
    Revoke,
    /// Have a CRL made now.
    Publish,
    /// Put certificates on hold; only officers take them off again.
    Hold,
    /// Stop issuance; only officers let it go on.
    Stop,
}

/// Why a policy document is not a policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It does not parse.
    #[error("the policy does not parse: {0}")]
    Syntax(String),
    /// It parses and makes no sense.
    #[error("the policy is refused: {0}")]
    Invalid(PolicyFault),
}

impl PolicyError {
    /// The same, told with the line of another document, in which the policy stands under `key`.
    pub(crate) fn within(self, key: &str, text: &str) -> Self {
        match self {
            Self::Invalid(fault) => Self::Invalid(fault.within(key, text)),
            syntax @ Self::Syntax(_) => syntax,
        }
    }
}

const fn default_operator_bulk() -> u32 {
    100
}

impl Policy {
    /// The most bytes of a policy document.
    pub const MAX_BYTES: usize = 1 << 20;
    /// The most that `operator_bulk` may be.
    pub const MAX_OPERATOR_BULK: u32 = 1000;

    /// Reads and checks a document.
    ///
    /// # Errors
    /// When it is too large, does not parse, has an unknown key, names an authority, an own certificate or an operator
    /// twice, has a profile that makes no sense or does not stand alone where it must, or has a CRL interval that its validity
    /// does not outlive; with the line.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > Self::MAX_BYTES {
            return Err(PolicyError::Syntax(format!("it has {} bytes; the most is {}", text.len(), Self::MAX_BYTES)));
        }
        let policy: Self = toml::from_str(text).map_err(|e| PolicyError::Syntax(e.to_string()))?;
        policy.check().map_err(|fault| PolicyError::Invalid(PolicyFault::new(fault, text)))?;
        Ok(policy)
    }

    fn check(&self) -> Result<(), Fault> {
        if self.operator_bulk > Self::MAX_OPERATOR_BULK {
            let reason = format!("operator_bulk is at most {}: more certificates at once need the officers", Self::MAX_OPERATOR_BULK);
            return Err(Fault::new(reason).under("operator_bulk"));
        }
        for (i, authority) in self.authorities.iter().enumerate() {
            let name = &authority.name;
            let twice = self.authorities[..i].iter().any(|a| a.name == *name || a.key_sha256 == authority.key_sha256);
            let open_twice = authority.open_enrolment.is_some() && self.authorities[..i].iter().any(|a| a.open_enrolment.is_some());
            let checked = if open_twice {
                Err(Fault::new("open_enrolment stands at one authority only: accounts belong to the instance").under("open_enrolment"))
            } else if twice {
                Err(Fault::new(format!("authority `{name}`: its name or its key stands twice")).under("name"))
            } else {
                authority.check()
            };
            checked.map_err(|fault| fault.at(i).under("authority"))?;
        }
        for (i, operator) in self.operators.iter().enumerate() {
            if self.operators[..i].iter().any(|o| o.name == operator.name) {
                let reason = format!(
                    "operator `{}`: its name stands twice, so nobody could tell whose act was whose (hint: a name for each key)",
                    operator.name
                );
                return Err(Fault::new(reason).under("name").at(i).under("operator"));
            }
        }
        Ok(())
    }

    /// The part about `authority`.
    pub fn authority(&self, authority: &AuthorityName) -> Option<&AuthorityPolicy> {
        self.authorities.iter().find(|a| a.name == *authority)
    }
}

impl AuthorityPolicy {
    /// Whether accounts without an external account binding may stand on `grant`: the officers opened enrolment to it, and
    /// it gives nothing that was not proven by a challenge.
    pub fn is_open(&self, grant: &Grant) -> bool {
        let gives_nothing = grant.names.is_empty() && grant.uri.is_none() && grant.emails.is_empty() && grant.subject.is_empty();
        self.name == grant.authority && self.open_enrolment.as_ref() == Some(&grant.id) && gives_nothing
    }

    /// Whether the policy lets this authority issue for `name`, of whatever form: a pattern covers it, and it keeps the
    /// rules for names.
    ///
    /// # Errors
    /// With the rule that it breaks; the text goes on from the name.
    pub fn judge<'a>(&self, name: impl Into<NameRef<'a>>) -> Result<(), NameRefusal> {
        let name = name.into();
        let mut covering = self.names.iter().filter(|p| p.covers(name)).peekable();
        if covering.peek().is_none() {
            return Err(NameRefusal::NotCovered);
        }
        // `ip:0.0.0.0/0` does not mean loopback and multicast; `ip:127.0.0.0/8` does. A URI's host stands in its pattern.
        if let NameRef::Ip(address) = name
            && let Some(block) = special::special_block(address)
            && !covering.any(|p| p.is_within(&block.pattern()))
        {
            return Err(NameRefusal::SpecialAddress { purpose: block.purpose, block: block.pattern().to_string() });
        }
        self.name_rules.check(name)
    }

    /// Whether the policy lets this authority issue for `name`.
    pub fn permits<'a>(&self, name: impl Into<NameRef<'a>>) -> bool {
        self.judge(name).is_ok()
    }

    fn check(&self) -> Result<(), Fault> {
        let name = &self.name;
        if self.crl_interval == 0 || self.crl_validity < self.crl_interval.saturating_mul(2) {
            let reason =
                format!("authority `{name}`: crl_validity must be at least twice crl_interval, so that one missed CRL locks nobody out");
            return Err(Fault::new(reason).under("crl_validity"));
        }
        self.check_names().map_err(|why| Fault::new(format!("authority `{name}`, {why}")).under("names"))?;
        challenge::check(self).map_err(|why| Fault::new(format!("authority `{name}`: {why}")).under("challenge"))?;
        if self.open_enrolment.is_some() && self.challenge_zones.is_empty() {
            let reason = format!("authority `{name}`: open_enrolment needs a challenge zone, in which whoever comes proves its names");
            return Err(Fault::new(reason).under("open_enrolment"));
        }
        for (profile, bounds) in &self.profiles {
            let below = |fault: Fault| fault.named(&format!("authority `{name}`, profile `{profile}`")).under(profile).under("profile");
            bounds.check(self).map_err(below)?;
            // Whoever trusts this authority for the one would trust it for the other.
            let other = self.profiles.iter().find(|(_, p)| p.shape != bounds.shape);
            if let Some((other, _)) = other.filter(|_| bounds.shape.needs_own_authority()) {
                let reason = format!(
                    "the shape `{}` needs an authority of its own, and the profile `{other}` has another shape (hint: offer it at another authority)",
                    bounds.shape
                );
                return Err(below(Fault::new(reason).under("shape")));
            }
        }
        for (j, own) in self.own.iter().enumerate() {
            let label = format!("authority `{name}`, own certificate `{}`", own.name);
            let fault = |key: &str, reason: &str| Err(Fault::new(format!("{label}: {reason}")).under(key).at(j).under("own"));
            if self.own[..j].iter().any(|o| o.name == own.name) {
                return fault("name", "its name stands twice");
            }
            match own.shape.as_str() {
                "server" if own.names.is_empty() => return fault("names", "a server has names"),
                "ocsp" if !own.names.is_empty() => return fault("names", "a responder has no names"),
                "server" | "ocsp" => {}
                other => return fault("shape", &format!("the shape is `server` or `ocsp`, not `{other}`")),
            }
            if !(10..=398 * 86_400).contains(&own.lifetime) {
                return fault("lifetime", "a lifetime is 10 seconds to 398 days, in seconds");
            }
        }
        Ok(())
    }

    /// The rules' entries, and patterns that say exactly one name, which could never be issued for.
    fn check_names(&self) -> Result<(), String> {
        self.name_rules.check_entries().map_err(|why| format!("name_rules: {why}"))?;
        for pattern in &self.names {
            if let Some(name) = pattern.only_name()
                && let Err(why) = self.name_rules.check(&name)
            {
                return Err(format!("names: `{pattern}` {why}"));
            }
        }
        for own in &self.own {
            for name in &own.names {
                self.name_rules.check(name).map_err(|why| format!("own certificate `{}`: `{name}` {why}", own.name))?;
            }
        }
        Ok(())
    }
}
