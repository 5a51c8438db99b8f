//! The plan: the one input of a ceremony (requirement 1), signed by the officers before anything is made.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::frame::{EvidencePlan, Frame};
use super::people::{Custodian, Person};
use super::pins::{Cps, DevicePin, ToolPin};
use super::{Acts, CeremonyError, CeremonyKind, EnvironmentPlan, KeyPlace, Officer, People, Roster};
use crate::model::{AuthorityName, KeyLabel};
use crate::pki::{Certificate, KeyAlgorithm, Sha256Digest, SignatureAlgorithm, pem_decode_all, sha256};
use crate::policy::{NamePattern, Policy};

/// How a CA is named in its certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaName {
    /// ISO 3166 country, two letters; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Organization.
    pub organization: String,
    /// Common name; in a rehearsal it begins with [`Plan::MARK`].
    pub common_name: String,
}

/// The root to be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootPlan {
    /// Its name in URLs, rows and commands.
    pub authority: AuthorityName,
    /// The label of its key in the root key store.
    pub key: KeyLabel,
    /// The kind of its key.
    pub algorithm: KeyAlgorithm,
    /// How it signs; none: as such keys usually do. An RSA key may sign as `rsa-pss-sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureAlgorithm>,
    /// Its subject.
    pub subject: CaName,
    /// How long its certificate lives.
    pub lifetime_days: u32,
    /// How long its CRL lasts: until after the next planned ceremony (requirement 32).
    pub crl_lifetime_days: u32,
    /// In how many days the next ceremony that makes its CRL is planned.
    pub next_ceremony_days: u32,
    /// The wrapping key under which its key may leave the device for a backup; none: it never leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapping_key: Option<String>,
}

impl RootPlan {
    /// How its key signs certificates and CRLs.
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.signature.unwrap_or(self.algorithm.signature_algorithm())
    }
}

/// An issuing authority to be made below the root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuingPlan {
    /// Its name in URLs, rows and commands.
    pub authority: AuthorityName,
    /// The label of its key in the online key store.
    pub key: KeyLabel,
    /// The kind of its key.
    pub algorithm: KeyAlgorithm,
    /// Its subject.
    pub subject: CaName,
    /// How long its certificate lives; less than the root's.
    pub lifetime_days: u32,
    /// Names that its certificate constrains it to (RFC 5280 §4.2.1.10).
    pub permitted: Vec<NamePattern>,
    /// The wrapping key under which its key may leave the device for a backup; none: it never leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapping_key: Option<String>,
}

/// Threshold and officers as the plan writes them; the kind stands above.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanRoster {
    threshold: u32,
    #[serde(rename = "officer")]
    officers: Vec<Officer>,
}

/// The document. Unknown and duplicate keys are errors.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    format: String,
    kind: CeremonyKind,
    title: String,
    status_base_url: String,
    approval_days: u32,
    tool: Option<ToolPin>,
    cps: Cps,
    #[serde(default)]
    device: BTreeMap<KeyPlace, DevicePin>,
    environment: EnvironmentPlan,
    person: Vec<Person>,
    custodian: Vec<Custodian>,
    evidence: EvidencePlan,
    roster: PlanRoster,
    root: RootPlan,
    #[serde(default)]
    acts: Acts,
    #[serde(default)]
    attestation_roots: Vec<String>,
    #[serde(default)]
    issuing: Vec<IssuingPlan>,
    policy: Option<toml::Table>,
}

/// A plan that was read and checked.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// SHA-256 of the file: what statements name.
    pub sha256: Sha256Digest,
    /// What the ceremony is called.
    pub title: String,
    /// Where status is served: the URLs below it are baked into certificates.
    pub status_base_url: String,
    /// How long approvals of statements may be used.
    pub approval_days: u32,
    /// The officers, and production or rehearsal.
    pub roster: Roster,
    /// What surrounds the acts: pins, people, machine, evidence.
    pub frame: Frame,
    /// The root.
    pub root: RootPlan,
    /// What it does.
    pub acts: Acts,
    /// The certificates (DER; PEM in the file) of devices' makers that attestations must lead to.
    pub attestation_roots: Vec<Vec<u8>>,
    /// The issuing authorities to be certified; the first of a first ceremony is the default one.
    pub issuing: Vec<IssuingPlan>,
    policy: Option<toml::Table>,
}

impl Plan {
    /// The format's name and version.
    pub const FORMAT: &'static str = "countersign/plan/2";
    /// The most bytes of a plan.
    pub const MAX_BYTES: usize = 1 << 20;
    /// How the common names of a rehearsal begin, so that nobody takes them for real (requirement 6).
    pub const MARK: &'static str = "REHEARSAL ";
    const MAX_ISSUING: usize = 16;
    const MAX_DAYS: u32 = 25 * 366;

    /// Reads and checks a plan.
    ///
    /// # Errors
    /// When it is too large, does not parse, has an unknown or duplicate key, or plans something unsound.
    pub fn parse(text: &str) -> Result<Self, CeremonyError> {
        let syntax = |reason: String| CeremonyError::Syntax { what: "plan", reason };
        if text.len() > Self::MAX_BYTES {
            return Err(syntax(format!("it has {} bytes; the most is {}", text.len(), Self::MAX_BYTES)));
        }
        let file: PlanFile = toml::from_str(text).map_err(|e| syntax(e.to_string()))?;
        if file.format != Self::FORMAT {
            return Err(syntax(format!("its format is not {}", Self::FORMAT)));
        }
        let plan = Self {
            sha256: sha256(text.as_bytes()),
            title: file.title,
            status_base_url: file.status_base_url,
            approval_days: file.approval_days,
            roster: Roster { kind: file.kind, threshold: file.roster.threshold, officers: file.roster.officers },
            frame: Frame {
                tool: file.tool,
                cps: file.cps,
                devices: file.device,
                environment: file.environment,
                people: People { persons: file.person, custodians: file.custodian },
                evidence: file.evidence,
            },
            root: file.root,
            acts: file.acts,
            attestation_roots: maker_certificates(&file.attestation_roots)?,
            issuing: file.issuing,
            policy: file.policy,
        };
        plan.check().map_err(|error| match error {
            // Its line in the plan, not in the document that the ceremony makes of it.
            CeremonyError::Policy(policy) => CeremonyError::Policy(policy.within("policy", text)),
            other => other,
        })?;
        Ok(plan)
    }

    /// Production or rehearsal.
    pub const fn kind(&self) -> CeremonyKind {
        self.roster.kind
    }

    /// Whether it puts a policy in force.
    pub const fn has_policy(&self) -> bool {
        self.policy.is_some()
    }

    /// The policy document once the issuing keys exist: the plan's `[policy]` with the `key_sha256` of each authority of
    /// this plan filled in; those of others stand in it. The same keys always give the same bytes.
    ///
    /// # Errors
    /// When the plan has no policy, it does not name the issuing authorities, or the result is no policy.
    pub fn policy(&self, keys: &BTreeMap<AuthorityName, Sha256Digest>) -> Result<String, CeremonyError> {
        let refused = |reason: String| CeremonyError::refused("plan's policy", reason);
        let mut table = self.policy.clone().ok_or_else(|| refused("there is none".to_owned()))?;
        let mut named = BTreeSet::new();
        let authorities = table.get_mut("authority").and_then(toml::Value::as_array_mut);
        for entry in authorities.into_iter().flatten() {
            let entry = entry.as_table_mut().ok_or_else(|| refused("`authority` is an array of tables".to_owned()))?;
            let name = entry.get("name").and_then(toml::Value::as_str).unwrap_or_default().to_owned();
            let key = keys.iter().find(|(authority, _)| authority.as_str() == name).map(|(_, key)| key);
            let Some(key) = key else {
                if self.acts == Acts::First || !entry.contains_key("key_sha256") {
                    return Err(refused(format!("`{name}` is not an issuing authority of this plan, or its key_sha256 is missing")));
                }
                continue;
            };
            if entry.insert("key_sha256".to_owned(), toml::Value::String(key.to_string())).is_some() {
                return Err(refused(format!("authority `{name}`: key_sha256 is filled in once the key exists; leave it out")));
            }
            named.insert(name);
        }
        if let Some(missing) = self.issuing.iter().find(|i| !named.contains(i.authority.as_str())) {
            return Err(refused(format!("it says nothing about the authority `{}`", missing.authority)));
        }
        let text = toml::to_string(&table).map_err(|e| refused(e.to_string()))?;
        Policy::parse(&text)?;
        Ok(text)
    }

    fn check(&self) -> Result<(), CeremonyError> {
        let refused = |reason: String| Err(CeremonyError::refused("plan", reason));
        self.roster.check()?;
        self.frame.check(&self.roster, &self.acts.places())?;
        if self.title.is_empty() || self.title.len() > 200 {
            return refused("its title has 1 to 200 characters".to_owned());
        }
        if !is_base_url(&self.status_base_url) {
            return refused(
                "status_base_url is `http://HOST[:PORT]` without a path; not https, which would need the very status that it serves"
                    .to_owned(),
            );
        }
        if !(1..=365).contains(&self.approval_days) {
            return refused("approval_days is 1 to 365".to_owned());
        }
        self.acts.check(self.root.lifetime_days)?;
        if let Acts::Credentials { credential, .. } = &self.acts {
            let keepers = &self.frame.people.custodians;
            let holders = credential.iter().flat_map(|c| &c.holders);
            if let Some(stranger) = holders.into_iter().find(|h| !keepers.iter().any(|c| c.name == h.as_str())) {
                return refused(format!(
                    "`{stranger}` gets a share and is none of the plan's custodians (hint: [[custodian]] names each holder, who acknowledges it)"
                ));
            }
        }
        match self.acts {
            Acts::First | Acts::Intermediate { .. } if self.issuing.is_empty() || self.issuing.len() > Self::MAX_ISSUING => {
                return refused(format!("1 to {} issuing authorities", Self::MAX_ISSUING));
            }
            Acts::First | Acts::Policy { .. } if self.policy.is_none() => return refused("[policy] is missing".to_owned()),
            Acts::First | Acts::Intermediate { .. } => {}
            _ if !self.issuing.is_empty() || (self.policy.is_some() && !matches!(self.acts, Acts::Policy { .. })) => {
                return refused(format!("a ceremony of the kind {} has no [[issuing]] or [policy]", self.acts.name()));
            }
            _ => {}
        }
        if !self.root.algorithm.signs_as(self.root.signature_algorithm()) {
            return refused(format!(
                "a {} key does not sign as the root's `signature` says (hint: leave it out; only RSA keys have a choice, \"rsa-pss-sha256\")",
                self.root.algorithm
            ));
        }
        if !(1..=Self::MAX_DAYS).contains(&self.root.lifetime_days) {
            return refused(format!("the root's lifetime_days is 1 to {}", Self::MAX_DAYS));
        }
        if self.root.crl_lifetime_days == 0 || self.root.crl_lifetime_days > self.root.lifetime_days {
            return refused("the root's crl_lifetime_days is 1 to its lifetime_days".to_owned());
        }
        if self.root.next_ceremony_days == 0 || self.root.next_ceremony_days >= self.root.crl_lifetime_days {
            return refused("the root's next_ceremony_days is at least 1 and less than crl_lifetime_days: its CRL must not end before the ceremony that makes the next".to_owned());
        }
        let mut authorities = BTreeSet::from([&self.root.authority]);
        let mut keys = BTreeSet::from([&self.root.key]);
        let mut subjects = vec![&self.root.subject];
        for issuing in &self.issuing {
            let name = &issuing.authority;
            if !authorities.insert(name) || !keys.insert(&issuing.key) || subjects.contains(&&issuing.subject) {
                return refused(format!("`{name}`: its name, its key label or its subject stands twice"));
            }
            // The root is dated first, and both on the same day: equal lifetimes would end after the root's.
            if issuing.lifetime_days == 0 || issuing.lifetime_days >= self.root.lifetime_days {
                return refused(format!("`{name}`: its lifetime_days is at least 1 and less than the root's"));
            }
            if issuing.permitted.is_empty() {
                return refused(format!("`{name}`: `permitted` names what its certificate constrains it to"));
            }
            subjects.push(&issuing.subject);
        }
        let root = (KeyPlace::Root, &self.root.key, self.root.algorithm, &self.root.wrapping_key);
        let online = self.issuing.iter().map(|i| (KeyPlace::Online, &i.key, i.algorithm, &i.wrapping_key));
        for (place, key, algorithm, wrapping_key) in std::iter::once(root).chain(online) {
            let backup = wrapping_key.as_ref().map(|_| KeyPlace::Backup);
            for device in [Some(place), backup].into_iter().flatten().filter_map(|p| self.frame.devices.get(&p)) {
                device.check_holds(key, algorithm)?;
            }
        }
        for subject in subjects {
            let marked = subject.common_name.starts_with(Self::MARK);
            if marked != (self.kind() == CeremonyKind::Rehearsal) {
                return refused(format!(
                    "the common name `{}`: those of a rehearsal begin with `{}`, and no others do",
                    subject.common_name,
                    Self::MARK
                ));
            }
        }
        if self.policy.is_some() {
            // The policy is judged now, with stand-ins for the keys that do not exist yet.
            let keys = self.issuing.iter().map(|i| (i.authority.clone(), sha256(i.authority.as_str().as_bytes()))).collect();
            let version = Policy::parse(&self.policy(&keys)?)?.version;
            if let Some(before) = self.acts.continues().map(|c| c.policy_version).filter(|before| version <= *before) {
                return refused(format!("the policy's version {version} does not grow: version {before} is in force"));
            }
        }
        Ok(())
    }
}

fn maker_certificates(texts: &[String]) -> Result<Vec<Vec<u8>>, CeremonyError> {
    const MOST: usize = 16;
    let refused = |reason: String| CeremonyError::refused("plan", format!("attestation_roots: {reason}"));
    let mut found = Vec::new();
    for text in texts {
        found.extend(pem_decode_all(text, "CERTIFICATE").map_err(|e| refused(e.to_string()))?);
    }
    if found.len() > MOST {
        return Err(refused(format!("at most {MOST} certificates")));
    }
    found.iter().try_for_each(|der| Certificate::from_der(der).map(drop).map_err(|e| refused(e.to_string())))?;
    Ok(found)
}

fn is_base_url(text: &str) -> bool {
    let Some(host) = text.strip_prefix("http://") else { return false };
    (1..=200).contains(&host.len())
        && host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'))
}

#[cfg(test)]
pub(crate) mod tests;
