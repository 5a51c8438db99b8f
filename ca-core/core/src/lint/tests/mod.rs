//! Each rule catches its counter-example, and a good specimen trips none.

mod certificates;
mod crls;
mod names;
mod random;
mod responses;
mod specimens;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use rule::Check;
use specimens::Certificate;

/// The rule that it breaks, those that can't but be broken with it, and what the linter says.
pub(super) struct Example {
    rule: &'static str,
    also: &'static [&'static str],
    report: Report,
}

impl Example {
    /// A specimen of a certificate, changed.
    fn of(rule: &'static str, also: &'static [&'static str], mut specimen: Certificate, change: impl FnOnce(&mut Certificate)) -> Self {
        change(&mut specimen);
        Self { rule, also, report: judged(&specimen) }
    }
}

fn judged(specimen: &Certificate) -> Report {
    let issuers: Vec<&[u8]> = specimen.issuers.iter().map(Vec::as_slice).collect();
    let context = Context { issuers: &issuers, previous_crl: None };
    let (whole, tbs) = (certificate(&specimen.der(), &context), to_be_signed_certificate(&specimen.tbs(), &context));
    // Without the signature nothing else is seen.
    for finding in tbs.findings() {
        assert!(whole.findings().iter().any(|f| f.rule == finding.rule), "{finding} is found in the to-be-signed part alone");
    }
    whole
}

fn examples() -> Vec<Example> {
    let mut all = certificates::examples();
    all.extend(names::examples());
    all.extend(crls::examples());
    all.extend(responses::examples());
    all
}

#[test]
fn names_of_rules_are_unique_and_say_what_must_hold() {
    let mut seen = BTreeSet::new();
    for rule in rules() {
        assert!(seen.insert(rule.name), "{} stands twice", rule.name);
        assert!(rule.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b.is_ascii_digit()), "{}", rule.name);
        assert!(rule.says.len() > 10 && !rule.clause.is_empty() && !rule.says.ends_with('.'), "{}", rule.name);
    }
    assert!(seen.len() > 150, "{}", seen.len());
}

/// Every rule has a counter-example that it catches, and a counter-example breaks the rules that it says and no other.
#[test]
fn every_rule_catches_its_counter_example() {
    let mut caught = BTreeSet::new();
    let mut wrong = Vec::new();
    for Example { rule, also, report } in examples() {
        let found: BTreeSet<_> = report.findings().iter().map(|f| f.rule).collect();
        let expected: BTreeSet<_> = also.iter().copied().chain([rule]).collect();
        if found != expected {
            wrong.push(format!(
                "{rule}: expected {expected:?}: {:#?}",
                report.findings().iter().map(ToString::to_string).collect::<Vec<_>>()
            ));
        }
        if found.contains(rule) {
            caught.insert(rule);
        }
    }
    let missing: Vec<_> = rules().map(|r| r.name).filter(|name| !caught.contains(name)).collect();
    assert!(wrong.is_empty() && missing.is_empty(), "{}\nwithout a counter-example: {missing:?}", wrong.join("\n"));
}

#[test]
fn good_specimens_trip_no_rule() {
    let mut seen: BTreeMap<&str, Report> = BTreeMap::new();
    for (name, specimen) in certificates::good() {
        seen.insert(name, judged(&specimen));
    }
    seen.extend(crls::good());
    seen.extend(responses::good());
    for (name, report) in seen {
        let found: Vec<_> = report.findings().iter().map(ToString::to_string).collect();
        assert!(found.is_empty() && report.omitted() == 0, "{name}: {found:#?}");
    }
}

/// OCSPSigning on an intermediate makes every key that holds it a responder for its issuer; and a responder whose own
/// status nobody can learn is checked by nobody.
#[test]
fn lesson_21_ocsp_signing_is_a_responders_alone() {
    use crate::pki::oid;
    let purposes = || specimens::purposes(&[oid::OCSP_SIGNING]);
    for ca in [specimens::root(), specimens::issuing()] {
        let example = Example::of("", &[], ca, |c| c.add(oid::EXTENDED_KEY_USAGE, false, purposes()));
        let errors = example.report.refuse_errors().unwrap_err();
        assert_eq!(errors.iter().map(|f| f.rule).collect::<Vec<_>>(), ["extended-key-usage-ocsp-ca"]);
    }
    let example = Example::of("", &[], specimens::responder(), |c| c.remove(oid::OCSP_NOCHECK));
    let found: Vec<_> = example.report.findings().iter().map(|f| (f.rule, f.severity)).collect();
    assert_eq!(found, [("ocsp-responder-status", Severity::Warning)]);
}

/// Findings name the field.
#[test]
fn a_finding_says_where() {
    let example = Example::of("", &[], specimens::leaf(), |c| {
        c.fields[4] = specimens::validity("261124030000Z", "20261224030000Z");
        c.extension(crate::pki::oid::KEY_USAGE).2 = vec![3, 2, 0, 0x80];
    });
    let found: Vec<_> = example.report.findings().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "key-usage-syntax (RFC 5280 §4.2.1.3): tbsCertificate.extensions.keyUsage: KeyUsage has a value that is not allowed",
            "validity-form (RFC 5280 §4.1.2.5): tbsCertificate.validity.notAfter: 2026-12-24T03:00:00Z is in the other form",
        ]
    );
}

/// The counter-examples that follow from the rules themselves: another criticality, a value of another type.
fn of_extension(rule: &'static Rule) -> Option<(Object, const_oid::ObjectIdentifier, Option<bool>)> {
    match rule.check {
        Check::Syntax(object, id, _) => Some((object, id, None)),
        Check::Critical(object, id, critical) => Some((object, id, Some(!critical))),
        _ => None,
    }
}
