//! certificatePolicies and what limits them, with the remaining extensions that have only a form.

use std::collections::BTreeSet;

use crate::lint::finding::Severity::{Error, Notice, Warning};
use crate::lint::known;
use crate::lint::names::text;
use crate::lint::rule::{Object, Rule};
use crate::lint::values::{self, Policy};
use crate::pki::walk::{IA5_STRING, SEQUENCE, Tlv};

const FIELD: &str = "tbsCertificate.extensions.certificatePolicies";
const MAPPINGS: &str = "tbsCertificate.extensions.policyMappings";
const CONSTRAINTS: &str = "tbsCertificate.extensions.policyConstraints";
const INHIBIT: &str = "tbsCertificate.extensions.inhibitAnyPolicy";

/// The explicitText of a UserNotice, and whether a noticeRef stands before it.
fn notice<'a>(qualifier: &Tlv<'a>) -> Option<(Option<Tlv<'a>>, bool)> {
    let mut fields = qualifier.walk();
    let reference = fields.optional(SEQUENCE).ok()?;
    let text = if fields.is_empty() { None } else { Some(fields.next().ok()?) };
    fields.is_empty().then_some((text, reference.is_some()))
}

/// The user notices of all policies.
fn notices<'a>(policies: &[Policy<'a>]) -> Vec<Option<(Option<Tlv<'a>>, bool)>> {
    let all = policies.iter().flat_map(|p| &p.qualifiers);
    all.filter(|(kind, _)| *kind == known::USER_NOTICE.as_bytes()).map(|(_, qualifier)| notice(qualifier)).collect()
}

/// What a rule on a CA's extension says of another's certificate.
fn of_leaf() -> String {
    "cA is not true".to_owned()
}

pub(in crate::lint) static RULES: &[Rule] = &[
    Rule::syntax(
        "policies-syntax",
        "RFC 5280 §4.2.1.4",
        "certificatePolicies is a list of at least one policy, whose qualifiers, if any, are a list too",
        Object::Certificate,
        known::CERTIFICATE_POLICIES,
        |value| values::policies(value).map(|_| ()),
    ),
    Rule::certificate("policies-repeated", "RFC 5280 §4.2.1.4", Error, "each policy stands once", |view, hits| {
        let policies = view.value(known::CERTIFICATE_POLICIES, values::policies).unwrap_or_default();
        let different: BTreeSet<_> = policies.iter().map(|p| p.id).collect();
        hits.require(different.len() == policies.len(), || FIELD.to_owned(), || "a policy stands twice".to_owned());
    }),
    Rule::certificate(
        "policies-qualifier",
        "RFC 5280 §4.2.1.4",
        Error,
        "qualifiers of anyPolicy are CPS pointers and user notices; a CPS pointer is an IA5String",
        |view, hits| {
            for policy in view.value(known::CERTIFICATE_POLICIES, values::policies).unwrap_or_default() {
                let is_any = policy.id == known::ANY_POLICY.as_bytes();
                for (kind, qualifier) in policy.qualifiers {
                    let (is_cps, is_notice) = (kind == known::CPS.as_bytes(), kind == known::USER_NOTICE.as_bytes());
                    let holds = (!is_cps || qualifier.tag == IA5_STRING)
                        && (!is_notice || qualifier.tag == SEQUENCE)
                        && (!is_any || is_cps || is_notice);
                    hits.require(
                        holds,
                        || FIELD.to_owned(),
                        || format!("the qualifier {} of {}", known::dotted(kind), known::dotted(policy.id)),
                    );
                }
            }
        },
    ),
    Rule::certificate(
        "policies-notice-text",
        "RFC 5280 §4.2.1.4; RFC 6818 §3",
        Error,
        "a user notice's text is at most 200 characters, in a UTF8String, VisibleString or BMPString",
        |view, hits| {
            for found in notices(&view.value(known::CERTIFICATE_POLICIES, values::policies).unwrap_or_default()) {
                let holds = found.is_some_and(|(explicit, _)| {
                    explicit.is_none_or(|t| t.tag != IA5_STRING && text(&t).is_some_and(|t| t.chars().count() <= 200))
                });
                hits.require(holds, || FIELD.to_owned(), || "a user notice is malformed, too long or an IA5String".to_owned());
            }
        },
    ),
    Rule::certificate("policies-notice-reference", "RFC 5280 §4.2.1.4", Warning, "a user notice has no noticeRef", |view, hits| {
        let found = notices(&view.value(known::CERTIFICATE_POLICIES, values::policies).unwrap_or_default());
        let holds = !found.iter().flatten().any(|(_, has_reference)| *has_reference);
        hits.require(holds, || FIELD.to_owned(), || "a noticeRef stands there".to_owned());
    }),
    Rule::syntax(
        "policy-mappings-syntax",
        "RFC 5280 §4.2.1.5",
        "policyMappings is a list of at least one pair of policies",
        Object::Certificate,
        known::POLICY_MAPPINGS,
        |value| values::policy_mappings(value).map(|_| ()),
    ),
    Rule::critical(
        "policy-mappings-critical",
        "RFC 5280 §4.2.1.5",
        Warning,
        "policyMappings is critical",
        Object::Certificate,
        (known::POLICY_MAPPINGS, true),
    ),
    Rule::certificate("policy-mappings-any", "RFC 5280 §4.2.1.5", Error, "anyPolicy is mapped neither from nor to", |view, hits| {
        let mappings = view.value(known::POLICY_MAPPINGS, values::policy_mappings).unwrap_or_default();
        let holds = !mappings.iter().flatten().any(|id| *id == known::ANY_POLICY.as_bytes());
        hits.require(holds, || MAPPINGS.to_owned(), || "anyPolicy stands there".to_owned());
    }),
    Rule::certificate("policy-mappings-of-ca", "RFC 5280 §4.2.1.5", Error, "only a CA has policyMappings", |view, hits| {
        hits.require(view.is_ca() || view.extension(known::POLICY_MAPPINGS).is_none(), || MAPPINGS.to_owned(), of_leaf);
    }),
    Rule::certificate(
        "policy-mappings-asserted",
        "RFC 5280 §4.2.1.5",
        Warning,
        "the issuer's policies of policyMappings stand in certificatePolicies too",
        |view, hits| {
            let policies = view.value(known::CERTIFICATE_POLICIES, values::policies).unwrap_or_default();
            let has = |id: &[u8]| policies.iter().any(|p| p.id == id || p.id == known::ANY_POLICY.as_bytes());
            for [of_issuer, _] in view.value(known::POLICY_MAPPINGS, values::policy_mappings).unwrap_or_default() {
                hits.require(has(of_issuer), || MAPPINGS.to_owned(), || format!("{} does not", known::dotted(of_issuer)));
            }
        },
    ),
    Rule::syntax(
        "policy-constraints-syntax",
        "RFC 5280 §4.2.1.11",
        "policyConstraints has numbers that are not negative",
        Object::Certificate,
        known::POLICY_CONSTRAINTS,
        |value| values::policy_constraints(value).map(|_| ()),
    ),
    Rule::critical(
        "policy-constraints-critical",
        "RFC 5280 §4.2.1.11",
        Error,
        "policyConstraints is critical",
        Object::Certificate,
        (known::POLICY_CONSTRAINTS, true),
    ),
    Rule::certificate("policy-constraints-empty", "RFC 5280 §4.2.1.11", Error, "policyConstraints has one of its fields", |view, hits| {
        let holds = view.value(known::POLICY_CONSTRAINTS, values::policy_constraints) != Some([None, None]);
        hits.require(holds, || CONSTRAINTS.to_owned(), || "it is empty".to_owned());
    }),
    Rule::certificate("policy-constraints-of-ca", "RFC 5280 §4.2.1.11", Error, "only a CA has policyConstraints", |view, hits| {
        hits.require(view.is_ca() || view.extension(known::POLICY_CONSTRAINTS).is_none(), || CONSTRAINTS.to_owned(), of_leaf);
    }),
    Rule::syntax(
        "inhibit-any-policy-syntax",
        "RFC 5280 §4.2.1.14",
        "inhibitAnyPolicy is a number that is not negative",
        Object::Certificate,
        known::INHIBIT_ANY_POLICY,
        |value| values::skip_certs(value).map(|_| ()),
    ),
    Rule::critical(
        "inhibit-any-policy-critical",
        "RFC 5280 §4.2.1.14",
        Error,
        "inhibitAnyPolicy is critical",
        Object::Certificate,
        (known::INHIBIT_ANY_POLICY, true),
    ),
    Rule::certificate("inhibit-any-policy-of-ca", "RFC 5280 §4.2.1.14", Error, "only a CA has inhibitAnyPolicy", |view, hits| {
        hits.require(view.is_ca() || view.extension(known::INHIBIT_ANY_POLICY).is_none(), || INHIBIT.to_owned(), of_leaf);
    }),
    Rule::syntax(
        "directory-attributes-syntax",
        "RFC 5280 §4.2.1.8",
        "subjectDirectoryAttributes is a list of at least one attribute with a value",
        Object::Certificate,
        known::SUBJECT_DIRECTORY_ATTRIBUTES,
        values::directory_attributes,
    ),
    Rule::critical(
        "directory-attributes-critical",
        "RFC 5280 §4.2.1.8",
        Error,
        "subjectDirectoryAttributes is not critical",
        Object::Certificate,
        (known::SUBJECT_DIRECTORY_ATTRIBUTES, false),
    ),
    Rule::syntax(
        "tls-feature-syntax",
        "RFC 7633 §4.1",
        "tlsFeature is a list of at least one number",
        Object::Certificate,
        known::TLS_FEATURE,
        values::tls_features,
    ),
    Rule::certificate(
        "policy-any-in-leaf",
        "RFC 5280 §4.2.1.4",
        Notice,
        "a certificate that is no CA's names its policies",
        |view, hits| {
            let policies = view.value(known::CERTIFICATE_POLICIES, values::policies).unwrap_or_default();
            let holds = view.is_ca() || !policies.iter().any(|p| p.id == known::ANY_POLICY.as_bytes());
            hits.require(holds, || FIELD.to_owned(), || "anyPolicy stands there".to_owned());
        },
    ),
];
