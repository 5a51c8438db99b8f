//! A profile on offer: a shape and the bounds that the officers give it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use const_oid::ObjectIdentifier;
use serde::{Deserialize, Serialize};

use super::place::Fault;
use super::{AuthorityPolicy, NamePattern, StarBounds, StarPolicy, SubjectParts, SystemName, UriTemplate, subscriber};
use crate::pki::{AltName, KeyAlgorithm};
use crate::profile::{LeafShape, Psd2, check_policies};

/// The shortest and the longest that a certificate lives, in seconds.
const LIFETIMES: std::ops::RangeInclusive<u64> = 10..=398 * 86_400;

/// Most entries of a list of a profile.
const MAX_ENTRIES: usize = 100;

/// A profile's bounds at an authority.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfilePolicy {
    /// Which built-in shape; never `ocsp`, which is for the CA's own responders.
    pub shape: LeafShape,
    /// How long certificates live whose order asks for no end, in seconds.
    pub lifetime: u64,
    /// The shortest life that an order may ask for, in seconds; none: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_lifetime: Option<u64>,
    /// The longest life that an order may ask for, in seconds; none: `lifetime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<u64>,
    /// Whether the subject of a client or server carries the first dns name as CN (default: an empty subject with a
    /// critical SAN).
    #[serde(default)]
    pub subject_cn: bool,
    /// The kinds of keys that are certified; none: ECDSA, Ed25519 and RSA, as far as the shape takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyAlgorithm>,
    /// Narrows the authority's names for this profile, in every form; none: the authority's names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NamePattern>,
    /// The policies that certificates name, as dotted object identifiers; at most eight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyId>,
    /// The SPIFFE id of a service: `spiffe://bank.test/ns/{service}`. None: the grant gives it, inside the names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<UriTemplate>,
    /// Whether certificates say that no revocation information is available (RFC 9608) instead of where it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_rev_avail: bool,
    /// Users and groups of Kubernetes' own that grants may give; none: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub system_names: Vec<SystemName>,
    /// Parts of the subject that are the same for every grant.
    #[serde(default, skip_serializing_if = "SubjectParts::is_empty")]
    pub subject: SubjectParts,
    /// The roles of the open-banking shapes and the authority that gave them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psd2: Option<Psd2>,
    /// Whether orders may renew themselves (RFC 8739), and how far; none: they may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub star: Option<StarPolicy>,
}

impl ProfilePolicy {
    /// A profile with nothing but a shape and a lifetime in seconds.
    pub fn new(shape: LeafShape, lifetime: u64) -> Self {
        Self {
            shape,
            lifetime,
            min_lifetime: None,
            max_lifetime: None,
            subject_cn: false,
            keys: Vec::new(),
            names: Vec::new(),
            policies: Vec::new(),
            uri: None,
            no_rev_avail: false,
            system_names: Vec::new(),
            subject: SubjectParts::default(),
            psd2: None,
            star: None,
        }
    }

    /// Whether a key of this kind may be certified.
    pub fn takes_key(&self, algorithm: KeyAlgorithm) -> bool {
        // A kind that comes later is certified where officers name it.
        const UNNAMED: [KeyAlgorithm; 6] = [
            KeyAlgorithm::P256,
            KeyAlgorithm::P384,
            KeyAlgorithm::Ed25519,
            KeyAlgorithm::Rsa2048,
            KeyAlgorithm::Rsa3072,
            KeyAlgorithm::Rsa4096,
        ];
        let named = if self.keys.is_empty() { &UNNAMED[..] } else { &self.keys };
        named.contains(&algorithm) && self.shape.takes_key(algorithm)
    }

    /// The shortest, the usual and the longest life.
    pub fn lifetimes(&self) -> (Duration, Duration, Duration) {
        let seconds = Duration::from_secs;
        (seconds(self.min_lifetime.unwrap_or(0)), seconds(self.lifetime), seconds(self.max_lifetime.unwrap_or(self.lifetime)))
    }

    /// The bounds of orders that renew themselves; none: there are none.
    pub fn star_bounds(&self) -> Option<StarBounds> {
        let (_, _, longest) = self.lifetimes();
        self.star.as_ref().map(|star| StarBounds {
            min_lifetime: Duration::from_secs(star.min_lifetime),
            longest,
            max_duration: Duration::from_secs(star.max_duration),
            certificate_get: star.certificate_get,
        })
    }

    /// Whether the profile's own names have this one; the authority's must have it besides.
    pub fn has_name(&self, name: &AltName) -> bool {
        self.names.is_empty() || self.names.iter().any(|pattern| pattern.covers(name))
    }

    /// Judges the profile inside its authority.
    pub(super) fn check(&self, rules: &AuthorityPolicy) -> Result<(), Fault> {
        let fault = |key: &str, reason: String| Err(Fault::new(reason).under(key));
        let shape = self.shape.as_str();
        if self.shape == LeafShape::Ocsp {
            return fault(
                "shape",
                "orders have no profile of the shape `ocsp` (hint: the CA's own responders stand under `own`)".to_owned(),
            );
        }
        for (key, seconds) in [("lifetime", Some(self.lifetime)), ("min_lifetime", self.min_lifetime), ("max_lifetime", self.max_lifetime)]
        {
            if seconds.is_some_and(|seconds| !LIFETIMES.contains(&seconds)) {
                return fault(key, "a lifetime is 10 seconds to 398 days, in seconds".to_owned());
            }
        }
        if self.min_lifetime.is_some_and(|least| least > self.lifetime) {
            return fault("min_lifetime", "min_lifetime is more than lifetime".to_owned());
        }
        if self.max_lifetime.is_some_and(|most| most < self.lifetime) {
            return fault("max_lifetime", "max_lifetime is less than lifetime".to_owned());
        }
        if self.subject_cn && !matches!(self.shape, LeafShape::Client | LeafShape::Server) {
            return fault("subject_cn", format!("subject_cn is for the shapes `client` and `server`; that of `{shape}` is fixed"));
        }
        for (i, algorithm) in self.keys.iter().enumerate() {
            if !self.shape.takes_key(*algorithm) {
                return Err(Fault::new(format!("a key of the kind {algorithm} can't do what the shape `{shape}` says"))
                    .at(i)
                    .under("keys"));
            }
            if self.keys[..i].contains(algorithm) {
                return Err(Fault::new(format!("{algorithm} stands twice")).at(i).under("keys"));
            }
        }
        self.check_names(rules)?;
        let policies: Vec<_> = self.policies.iter().map(|policy| policy.0).collect();
        check_policies(&policies).or_else(|e| fault("policies", e.to_string()))?;
        self.check_uri(rules)?;
        self.check_subject()?;
        if let Some(star) = &self.star {
            star.check(self.lifetimes().2).map_err(|fault| fault.under("star"))?;
        }
        subscriber::check_fixed(self).or_else(|reason| fault("subject", reason))
    }

    fn check_names(&self, rules: &AuthorityPolicy) -> Result<(), Fault> {
        if self.names.len() > MAX_ENTRIES {
            return Err(Fault::new(format!("a profile has at most {MAX_ENTRIES} patterns of names")).under("names"));
        }
        for (i, pattern) in self.names.iter().enumerate() {
            let reason = if !has_form(self.shape, pattern) {
                format!("`{pattern}`: certificates of the shape `{}` have no such names", self.shape.as_str())
            } else if !rules.names.iter().any(|outer| pattern.is_within(outer)) {
                format!("`{pattern}` is not inside the names of authority `{}`", rules.name)
            } else {
                continue;
            };
            return Err(Fault::new(reason).at(i).under("names"));
        }
        Ok(())
    }

    fn check_uri(&self, rules: &AuthorityPolicy) -> Result<(), Fault> {
        let fault = |reason: String| Err(Fault::new(reason).under("uri"));
        let names = if self.names.is_empty() { &rules.names } else { &self.names };
        match (&self.uri, self.shape) {
            (Some(template), LeafShape::Spiffe) => {
                let pattern = template.pattern();
                let within = |list: &[NamePattern]| list.iter().any(|outer| pattern.is_within(outer));
                if !within(&rules.names) {
                    return fault(format!(
                        "`{template}` is not inside the names of authority `{}` (hint: it needs `{pattern}`)",
                        rules.name
                    ));
                }
                if !self.names.is_empty() && !within(&self.names) {
                    return fault(format!("`{template}` is not inside the profile's own names (hint: they need `{pattern}`)"));
                }
                Ok(())
            }
            (Some(_), _) => fault(format!("a template of SPIFFE ids is for the shape `spiffe`, not `{}`", self.shape.as_str())),
            (None, LeafShape::Spiffe) if !names.iter().any(is_spiffe) => {
                fault("a spiffe profile has a template (`uri`) or patterns of SPIFFE ids among its names".to_owned())
            }
            (None, _) => Ok(()),
        }
    }

    fn check_subject(&self) -> Result<(), Fault> {
        let shape = self.shape.as_str();
        for (attribute, values) in self.subject.iter() {
            let reason = match subscriber::most_values(self.shape, attribute, true) {
                0 => format!("the subject of the shape `{shape}` has no {attribute} that a policy fixes"),
                most if values.len() > most => format!("the subject of the shape `{shape}` has at most {most} {attribute}"),
                _ => continue,
            };
            return Err(Fault::new(reason).under(attribute.name()).under("subject"));
        }
        let is_open_banking = matches!(self.shape, LeafShape::Obwac | LeafShape::Obseal);
        match &self.psd2 {
            Some(psd2) if is_open_banking => psd2.check().map_err(|e| Fault::new(e.to_string()).under("psd2"))?,
            Some(_) => return Err(Fault::new(format!("PSD2 roles are for the shapes `obwac` and `obseal`, not `{shape}`")).under("psd2")),
            None if is_open_banking => {
                let hint = "(hint: psd2 = { roles = [\"PSP_AI\"], nca_name = \"…\", nca_id = \"GB-FCA\" })";
                return Err(Fault::new(format!("a profile of the shape `{shape}` has PSD2 roles and their authority {hint}")).under("psd2"));
            }
            None => {}
        }
        if !self.system_names.is_empty() && self.shape != LeafShape::Kubernetes {
            return Err(Fault::new(format!("system_names are for the shape `kubernetes`, not `{shape}`")).under("system_names"));
        }
        if self.system_names.len() > MAX_ENTRIES {
            return Err(Fault::new(format!("a profile has at most {MAX_ENTRIES} system_names")).under("system_names"));
        }
        Ok(())
    }
}

fn is_spiffe(pattern: &NamePattern) -> bool {
    pattern.to_string().starts_with("uri:spiffe://")
}

/// Whether a name of this form can matter to a shape: stand in its certificates, or authorize an order of one.
fn has_form(shape: LeafShape, pattern: &NamePattern) -> bool {
    match (shape, pattern) {
        (LeafShape::Brcac, NamePattern::Ip(..) | NamePattern::DnsWildcard(_)) => false,
        (_, NamePattern::Dns(_) | NamePattern::DnsWildcard(_) | NamePattern::Ip(..)) => true,
        (LeafShape::Server | LeafShape::Obwac | LeafShape::Brcac, NamePattern::PermanentIdentifier(_) | NamePattern::HardwareModule(_)) => {
            false
        }
        (_, NamePattern::PermanentIdentifier(_) | NamePattern::HardwareModule(_)) => true,
        (LeafShape::Client | LeafShape::Obwac, NamePattern::Email(..)) => true,
        (LeafShape::Client | LeafShape::Obwac, NamePattern::Uri(_)) => !is_spiffe(pattern),
        (LeafShape::Spiffe, NamePattern::Uri(_)) => is_spiffe(pattern),
        (_, NamePattern::Uri(_) | NamePattern::Email(..)) => false,
    }
}

/// A certificate policy, as a dotted object identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PolicyId(pub ObjectIdentifier);

impl FromStr for PolicyId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("`{}` is not a dotted object identifier", text.chars().take(100).collect::<String>());
        text.parse().map(Self).map_err(wrong)
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for PolicyId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PolicyId> for String {
    fn from(policy: PolicyId) -> Self {
        policy.to_string()
    }
}
