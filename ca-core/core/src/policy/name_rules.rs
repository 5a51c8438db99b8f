//! Rules that a name must keep whatever a pattern covers, and what the officers may permit beyond them.
//!
//! A DNS name is judged wherever it stands: as itself, as a URI's host, as a mailbox's domain.

use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_security::{GeneralSecurityProfile as _, RestrictionLevel, RestrictionLevelDetection as _, skeleton};

use crate::pki::{DnsName, NameRef, to_unicode};

/// Most entries of a list.
const MAX_ENTRIES: usize = 100;

/// What the officers permit beyond the rules, for one authority.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NameRules {
    /// Zones of one's own, for example `corp` or `internal`: a wildcard may stand directly above one although the
    /// public suffix list, or its rule for unknown top-level domains, says that others register names there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub internal_zones: Vec<DnsName>,
    /// A-labels that are permitted although a reader may take them for others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lookalike_labels: Vec<String>,
}

/// Why the rules refuse a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameRefusal {
    /// No pattern covers it.
    #[error("is outside the authority's policy")]
    NotCovered,
    /// An address with a special purpose that no pattern names.
    #[error(
        "is {purpose} address, which takes a pattern of its own in the policy (hint: officers can permit it by a pattern inside `{block}`)"
    )]
    SpecialAddress {
        /// What it is for.
        purpose: &'static str,
        /// The block, as a pattern.
        block: String,
    },
    /// A wildcard over what others register.
    #[error(
        "is a wildcard directly above the public suffix `{0}` (hint: name the host; officers can list a zone of their own under internal_zones)"
    )]
    PublicSuffix(String),
    /// A label that reads like another.
    #[error("has the label `{label}`, in Unicode `{unicode}`, {why} (hint: officers can permit it under lookalike_labels)")]
    Lookalike {
        /// The A-label.
        label: String,
        /// Its Unicode form.
        unicode: String,
        /// What may be mistaken.
        why: Lookalike,
    },
    /// An SPIFFE id without a path.
    #[error("is the SPIFFE id of a trust domain, not of a workload (hint: give it a path)")]
    TrustDomain,
}

/// How a label may be mistaken for another (UTS #39).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookalike {
    /// A character that no identifier needs (§3.1).
    Restricted(char),
    /// Scripts that are not written together (§5.2, highly restrictive).
    MixedScripts,
    /// Every character looks like an ASCII one (§4).
    LooksAscii,
}

impl fmt::Display for Lookalike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restricted(found) => write!(f, "with the character U+{:04X}, which identifiers do not use", u32::from(*found)),
            Self::MixedScripts => f.write_str("which mixes scripts that are not written together"),
            Self::LooksAscii => f.write_str("which looks like ASCII throughout"),
        }
    }
}

impl NameRules {
    /// Whether the officers permit nothing beyond the rules.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Judges a name; whether a pattern covers it is not asked here.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check<'a>(&self, name: impl Into<NameRef<'a>>) -> Result<(), NameRefusal> {
        match name.into() {
            NameRef::Dns(name) => self.check_dns(name),
            NameRef::Ip(_) | NameRef::PermanentIdentifier(_) | NameRef::HardwareModule(_) => Ok(()),
            NameRef::Uri(uri) => {
                if uri.spiffe_id().is_some_and(|id| !id.is_workload()) {
                    return Err(NameRefusal::TrustDomain);
                }
                uri.dns_host().map_or(Ok(()), |host| self.check_labels(host.as_str()))
            }
            NameRef::Email(mailbox) => self.check_labels(mailbox.domain()),
        }
    }

    fn check_dns(&self, name: &DnsName) -> Result<(), NameRefusal> {
        if name.is_wildcard() && self.is_public_suffix(name.base()) {
            return Err(NameRefusal::PublicSuffix(name.base().to_owned()));
        }
        self.check_labels(name.base())
    }

    fn check_labels(&self, name: &str) -> Result<(), NameRefusal> {
        name.split('.').filter(|label| !self.lookalike_labels.iter().any(|permitted| permitted == label)).try_for_each(check_label)
    }

    /// A suffix that is on the list, in either part, or a top-level domain that is not, unless it is a zone of one's own.
    fn is_public_suffix(&self, base: &str) -> bool {
        psl::suffix_str(base) == Some(base) && !self.internal_zones.iter().any(|zone| zone.as_str() == base)
    }

    /// Whether the entries make sense.
    ///
    /// # Errors
    /// With the entry that does not, and why.
    pub(super) fn check_entries(&self) -> Result<(), String> {
        if self.internal_zones.len().max(self.lookalike_labels.len()) > MAX_ENTRIES {
            return Err(format!("internal_zones and lookalike_labels have at most {MAX_ENTRIES} entries each"));
        }
        for (i, zone) in self.internal_zones.iter().enumerate() {
            let text = zone.as_str();
            let known = psl::suffix(text.as_bytes()).filter(|s| s.as_bytes() == text.as_bytes()).and_then(|s| s.typ());
            if zone.is_wildcard() {
                return Err(format!("internal_zones: `{text}` is a wildcard (hint: name the zone itself)"));
            }
            if known == Some(psl::Type::Icann) {
                return Err(format!("internal_zones: `{text}` is a public suffix, where registries hand out names to others"));
            }
            if self.internal_zones[..i].contains(zone) {
                return Err(format!("internal_zones: `{text}` stands twice"));
            }
        }
        for (i, label) in self.lookalike_labels.iter().enumerate() {
            let is_a_label = label.starts_with("xn--") && !label.contains('.') && DnsName::parse(label).is_ok_and(|n| n.as_str() == label);
            if !is_a_label {
                return Err(format!("lookalike_labels: `{label}` is not an A-label in lower case"));
            }
            if check_label(label).is_ok() {
                return Err(format!("lookalike_labels: `{label}` needs no permission (hint: leave it out)"));
            }
            if self.lookalike_labels[..i].contains(label) {
                return Err(format!("lookalike_labels: `{label}` stands twice"));
            }
        }
        Ok(())
    }
}

fn check_label(label: &str) -> Result<(), NameRefusal> {
    if !label.starts_with("xn--") {
        return Ok(());
    }
    // A DNS name's A-labels have a Unicode form; one that had none would be refused all the same.
    let unicode = to_unicode(label).unwrap_or_default();
    let why = match unicode.chars().find(|c| !c.identifier_allowed()) {
        Some(found) => Some(Lookalike::Restricted(found)),
        None if unicode.is_empty() => Some(Lookalike::MixedScripts),
        None if !unicode.check_restriction_level(RestrictionLevel::HighlyRestrictive) => Some(Lookalike::MixedScripts),
        None if skeleton(&unicode).all(|c| c.is_ascii()) => Some(Lookalike::LooksAscii),
        None => None,
    };
    why.map_or(Ok(()), |why| Err(NameRefusal::Lookalike { label: label.to_owned(), unicode, why }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pki::{AltName, EmailName, UriName};

    fn rules(zones: &[&str], labels: &[&str]) -> NameRules {
        NameRules {
            internal_zones: zones.iter().map(|z| DnsName::parse(z).unwrap()).collect(),
            lookalike_labels: labels.iter().map(|l| (*l).to_owned()).collect(),
        }
    }

    #[track_caller]
    fn check(rules: &NameRules, name: &str, expected: Result<(), &str>) {
        let got = rules.check(&AltName::Dns(DnsName::parse(name).unwrap())).map_err(|e| e.to_string());
        match (got, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.contains(part), "{name}: {error}"),
            (got, expected) => panic!("{name}: {got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn wildcards_never_directly_above_a_public_suffix() {
        let none = rules(&[], &[]);
        check(&none, "*.bank.test", Ok(()));
        check(&none, "*.bank.co.uk", Ok(()));
        for suffix in ["com", "co.uk", "github.io", "test", "corp", "internal", "xn--p1ai", "localhost", "kobe.jp", "compute.amazonaws.com"]
        {
            check(&none, suffix, Ok(()));
            check(&none, &format!("a.{suffix}"), Ok(()));
        }
        for suffix in ["com", "co.uk", "github.io", "corp", "internal", "xn--p1ai", "a.kobe.jp"] {
            check(&none, &format!("*.{suffix}"), Err(&format!("public suffix `{suffix}`")));
        }
        let own = rules(&["corp"], &[]);
        check(&own, "*.corp", Ok(()));
        check(&own, "*.internal", Err("internal_zones"));
    }

    #[test]
    fn labels_that_read_like_others() {
        let none = rules(&[], &[]);
        // пример, ばなな, 漢字かな, 한국, αβγ, bücher, abc漢字, 日本語, नमस्ते, עברית, straße, россия, ça
        let fine = "xn--e1afmkfd xn--q9jaq xn--u8j2ct84octq xn--3e0b707e xn--mxacd xn--bcher-kva xn--abc-269er78f xn--wgv71a119e \
                    xn--h2bhs4b8d8a xn--5dbqzzl xn--strae-oqa xn--h1alffa9f xn--a-5fa";
        for label in fine.split_whitespace() {
            check(&none, &format!("{label}.test"), Ok(()));
        }
        // аpple, toрtal, pаypal, παypal: Latin with Cyrillic or Greek.
        for label in ["xn--pple-43d", "xn--total-wye", "xn--pypal-4ve", "xn--ypal-zld3g"] {
            check(&none, &format!("a.{label}.test"), Err("mixes scripts"));
        }
        // асе and хр in Cyrillic throughout, ο in Greek, æble.
        for label in ["xn--80ak9a", "xn--p1aj", "xn--0xa", "xn--ble-xla"] {
            check(&none, &format!("{label}.test"), Err("looks like ASCII throughout"));
        }
        // i❤
        check(&none, "xn--i-7iq.test", Err("U+2764"));
        let permitted = rules(&[], &["xn--ble-xla"]);
        check(&permitted, "xn--ble-xla.test", Ok(()));
        check(&permitted, "xn--80ak9a.test", Err("`xn--80ak9a`, in Unicode `асе`"));
    }

    #[test]
    fn lesson_35_the_same_rules_wherever_a_dns_name_stands() {
        let none = rules(&[], &[]);
        let refused = |name: AltName| none.check(&name).unwrap_err().to_string();
        assert!(refused(AltName::Uri(UriName::parse("https://xn--pple-43d.test/").unwrap())).contains("mixes scripts"));
        assert!(refused(AltName::Email(EmailName::parse("a@xn--pple-43d.test").unwrap())).contains("mixes scripts"));
        assert!(refused(AltName::Uri(UriName::parse("spiffe://bank.test").unwrap())).contains("not of a workload"));
        none.check(&AltName::Uri(UriName::parse("spiffe://bank.test/a").unwrap())).unwrap();
    }

    #[test]
    fn entries_that_make_no_sense_are_refused() {
        let check = |zones: &[&str], labels: &[&str], expected: &str| {
            let error = rules(zones, labels).check_entries().unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        rules(&["corp", "bank.test", "github.io"], &["xn--ble-xla", "xn--pple-43d"]).check_entries().unwrap();
        check(&["com"], &[], "a public suffix");
        check(&["co.uk"], &[], "a public suffix");
        check(&["*.corp"], &[], "a wildcard");
        check(&["corp", "corp"], &[], "stands twice");
        check(&[], &["bank"], "not an A-label");
        check(&[], &["xn--pple-43d.test"], "not an A-label");
        check(&[], &["XN--PPLE-43D"], "not an A-label");
        check(&[], &["xn--bcher-kva"], "needs no permission");
        check(&[], &["xn--pple-43d", "xn--pple-43d"], "stands twice");
        let many: Vec<String> = (0..101).map(|i| format!("zone{i}")).collect();
        check(&many.iter().map(String::as_str).collect::<Vec<_>>(), &[], "at most 100");
    }

    proptest! {
        #[test]
        fn any_unicode_label_is_judged(label in "\\PC{1,20}") {
            if let Ok(name) = idna::domain_to_ascii_strict(&format!("{label}.test")).map_err(|_| ()).and_then(|n| DnsName::parse(&n).map_err(|_| ())) {
                let _ = NameRules::default().check(&AltName::Dns(name));
            }
        }

        #[test]
        fn latin_with_one_cyrillic_letter_is_never_accepted(latin in "[a-z]{2,10}", cyrillic in "[\u{430}-\u{44f}]") {
            let name = DnsName::parse(&idna::domain_to_ascii_strict(&format!("{latin}{cyrillic}.test")).unwrap()).unwrap();
            prop_assert!(NameRules::default().check(&AltName::Dns(name)).is_err());
        }
    }
}
