//! Zones of an authority in which challenges prove identifiers that no grant covers.
//!
//! Challenged identifiers rest on the front end's word, so the officers list where that is enough, and by which methods.

use serde::{Deserialize, Serialize};

use super::{AttestationRoots, AuthorityPolicy, NamePattern};
use crate::model::{ChallengeMethod, Grant};
use crate::pki::{DnsName, Identifier};

/// The most zones of an authority, and the most names and CAA names of one.
const MAX_ZONES: usize = 100;
const MAX_NAMES: usize = 100;

/// A zone, `[[authority.challenge]]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeZone {
    /// The names that may be challenged; each lies within the authority's `names`.
    pub names: Vec<NamePattern>,
    /// The methods that count here.
    pub methods: Vec<ChallengeMethod>,
    /// The names under which CAA records allow this CA (RFC 8659 §4.2). With any, CAA is checked; without, it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caa: Vec<DnsName>,
    /// The roots by which device-attest-01 is judged, by format; a format without any is not taken.
    #[serde(default, skip_serializing_if = "AttestationRoots::is_empty")]
    pub attestation: AttestationRoots,
}

impl ChallengeZone {
    /// The methods by which `identifier` may be proven here; empty where the zone does not have it.
    pub fn methods_for(&self, identifier: &Identifier) -> Vec<ChallengeMethod> {
        if self.names.iter().any(|n| n.covers(identifier)) {
            let usable = |m: &ChallengeMethod| *m != ChallengeMethod::DeviceAttest01 || !self.attestation.is_empty();
            self.methods.iter().copied().filter(|m| m.proves(identifier) && usable(m)).collect()
        } else {
            Vec::new()
        }
    }
}

impl AuthorityPolicy {
    /// The zone in which `identifier` may be challenged: the first that has it and a method that can prove it.
    pub fn challenge_zone(&self, identifier: &Identifier) -> Option<&ChallengeZone> {
        zone_of(&self.challenge_zones, identifier)
    }
}

/// The first zone that has `identifier` and a method that can prove it.
pub fn zone_of<'a>(zones: &'a [ChallengeZone], identifier: &Identifier) -> Option<&'a ChallengeZone> {
    zones.iter().find(|zone| !zone.methods_for(identifier).is_empty())
}

/// Why an identifier may be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Basis<'a> {
    /// The grant covers it.
    Granted,
    /// A challenge in this zone must prove it.
    Challenged(&'a ChallengeZone),
    /// Neither: it cannot be had.
    Nothing,
}

/// On what an identifier rests: what a grant covers needs no challenge, what lies in a zone is challenged. A device needs
/// both where a zone has it: the grant says which devices a service has, the attestation that this is one of them.
pub fn basis_for<'a>(grant: &Grant, zones: &'a [ChallengeZone], identifier: &Identifier) -> Basis<'a> {
    let granted = grant.names.iter().any(|pattern| pattern.covers(identifier));
    match zone_of(zones, identifier) {
        Some(_) if identifier.is_device() && !granted => Basis::Nothing,
        Some(zone) if identifier.is_device() || !granted => Basis::Challenged(zone),
        _ if granted => Basis::Granted,
        _ => Basis::Nothing,
    }
}

/// What is wrong with an authority's zones.
pub(super) fn check(authority: &AuthorityPolicy) -> Result<(), String> {
    let zones = &authority.challenge_zones;
    if zones.len() > MAX_ZONES {
        return Err(format!("it has {} challenge zones; the most is {MAX_ZONES}", zones.len()));
    }
    for (index, zone) in zones.iter().enumerate() {
        let wrong = |what: String| Err(format!("challenge zone {}: {what}", index + 1));
        if !(1..=MAX_NAMES).contains(&zone.names.len()) || zone.caa.len() > MAX_NAMES {
            return wrong(format!("it has 1 to {MAX_NAMES} names, and at most {MAX_NAMES} CAA names"));
        }
        let twice = zone.methods.iter().enumerate().any(|(i, m)| zone.methods[..i].contains(m));
        if zone.methods.is_empty() || twice {
            return wrong("its methods are one or more of http-01, dns-01, tls-alpn-01 and device-attest-01, each once".to_owned());
        }
        if let Some(name) = zone.names.iter().find(|n| !authority.names.iter().any(|outer| n.is_within(outer))) {
            return wrong(format!("`{name}` is not within the authority's names (hint: the authority must be permitted to issue for it)"));
        }
        if let Some(name) = zone.names.iter().find(|n| !zone.methods.iter().any(|m| may_prove(*m, n))) {
            return wrong(format!(
                "none of its methods can prove `{name}` (hint: a wildcard needs dns-01, an address http-01 or tls-alpn-01; a device device-attest-01; a URI or a mailbox has no challenge)"
            ));
        }
        let attests = zone.methods.contains(&ChallengeMethod::DeviceAttest01);
        if attests && zone.attestation.is_empty() {
            return wrong(
                "device-attest-01 needs the roots of a format (hint: attestation = { tpm = \"\"\"PEM\"\"\" }, or apple, or step)"
                    .to_owned(),
            );
        }
        if !attests && !zone.attestation.is_empty() {
            return wrong("the roots under `attestation` are for the method device-attest-01, which it does not have".to_owned());
        }
        if let Some(name) = zone.caa.iter().find(|n| n.is_wildcard()) {
            return wrong(format!("`{}` is not the name of a CA in CAA records", name.as_str()));
        }
    }
    Ok(())
}

/// Whether a method can prove what a pattern covers.
fn may_prove(method: ChallengeMethod, pattern: &NamePattern) -> bool {
    match pattern {
        NamePattern::Dns(_) => method != ChallengeMethod::DeviceAttest01,
        NamePattern::DnsWildcard(_) => method == ChallengeMethod::Dns01,
        NamePattern::Ip(..) => matches!(method, ChallengeMethod::Http01 | ChallengeMethod::TlsAlpn01),
        NamePattern::PermanentIdentifier(_) | NamePattern::HardwareModule(_) => method == ChallengeMethod::DeviceAttest01,
        NamePattern::Uri(_) | NamePattern::Email(..) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    fn policy(zone: &str) -> Result<Policy, String> {
        let key = "00".repeat(32);
        let text = format!(
            r#"
            version = 1
            [[authority]]
            name = "demo"
            key_sha256 = "{key}"
            names = ["dns:*.demo.test", "dns:*.dmz.demo.test", "dns-wildcard:dmz.demo.test", "ip:10.1.0.0/16"]
            max_per_hour = 1
            crl_validity = 20
            crl_interval = 10
            {zone}
            "#
        );
        Policy::parse(&text).map_err(|e| e.to_string())
    }

    #[test]
    fn zones_name_what_may_be_challenged_and_how() {
        let policy = policy(
            r#"
            [[authority.challenge]]
            names = ["dns:*.dmz.demo.test", "dns-wildcard:dmz.demo.test"]
            methods = ["dns-01", "http-01"]
            caa = ["ca.bank.test"]
            [[authority.challenge]]
            names = ["ip:10.1.2.0/24"]
            methods = ["tls-alpn-01"]
            "#,
        )
        .unwrap();
        let authority = &policy.authorities[0];
        let check = |name: &str, expected: &[&str]| {
            let identifier = Identifier::from_text(name).unwrap();
            let methods = authority.challenge_zone(&identifier).map(|z| z.methods_for(&identifier)).unwrap_or_default();
            assert_eq!(methods.iter().map(|m| m.name()).collect::<Vec<_>>(), expected, "{name}");
        };
        check("a.dmz.demo.test", &["dns-01", "http-01"]);
        check("*.dmz.demo.test", &["dns-01"]);
        check("10.1.2.3", &["tls-alpn-01"]);
        // Inside the authority's names and outside the zones; outside both.
        check("a.demo.test", &[]);
        check("10.1.3.1", &[]);
        check("a.bank.example", &[]);
        assert!(super::super::policy_changes(&policy, &policy).is_empty());
    }

    #[test]
    fn nonsense_is_refused_when_the_policy_is_loaded() {
        let check = |names: &str, methods: &str, more: &str, expected: &str| {
            let error = policy(&format!("[[authority.challenge]]\nnames = {names}\nmethods = {methods}\n{more}")).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("[]", r#"["dns-01"]"#, "", "1 to 100 names");
        check(r#"["dns:*.demo.test"]"#, "[]", "", "one or more of");
        check(r#"["dns:*.demo.test"]"#, r#"["dns-01", "dns-01"]"#, "", "each once");
        check(r#"["dns:*.demo.test"]"#, r#"["dns-02"]"#, "", "dns-02");
        check(r#"["dns:*.bank.example"]"#, r#"["dns-01"]"#, "", "not within the authority's names");
        check(r#"["dns-wildcard:dmz.demo.test"]"#, r#"["http-01"]"#, "", "a wildcard needs dns-01");
        check(r#"["ip:10.1.0.0/16"]"#, r#"["dns-01"]"#, "", "an address http-01");
        check(r#"["dns:*.demo.test"]"#, r#"["dns-01"]"#, r#"caa = ["*.x.test"]"#, "CAA records");
        check(r#"["dns:*.demo.test"]"#, r#"["dns-01"]"#, "method = 1", "unknown field");
    }
}
