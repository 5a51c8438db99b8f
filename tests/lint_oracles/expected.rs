//! What is expected of the oracles: `expected.toml`.

use std::collections::{BTreeMap, BTreeSet};

use ca_testkit::specimens::{Kind, Specimen};
use serde::Deserialize;

use crate::finding::{Finding, Judgement, Severity};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    /// Findings that stand.
    #[serde(default)]
    pub(crate) finding: Vec<Standing>,
    /// What an oracle calls an error, and the standards do not.
    #[serde(default)]
    pub(crate) disputed: Vec<Standing>,
    /// What an oracle can't read, by its own limits.
    #[serde(default)]
    pub(crate) unread: Vec<Standing>,
    /// Which oracles catch each flaw.
    pub(crate) caught: BTreeMap<String, BTreeSet<String>>,
}

/// A finding that stands, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Standing {
    pub(crate) oracle: String,
    pub(crate) rule: String,
    pub(crate) severity: Severity,
    /// Names of specimens; `*` stands for any characters.
    pub(crate) specimens: Vec<String>,
    pub(crate) reason: String,
}

impl Standing {
    pub(crate) fn covers(&self, oracle: &str, finding: &Finding) -> bool {
        let names = self.specimens.iter().any(|pattern| matches(pattern, &finding.specimen));
        names && self.oracle == oracle && self.rule == finding.rule && self.severity == finding.severity
    }
}

impl Expected {
    pub(crate) fn read() -> Self {
        let expected: Self = toml::from_str(include_str!("expected.toml")).unwrap();
        for standing in &expected.finding {
            assert!(standing.severity < Severity::Error, "no error stands: {} of {}", standing.rule, standing.oracle);
            assert!(standing.reason.len() > 20, "{} of {} stands for a reason", standing.rule, standing.oracle);
        }
        for unread in &expected.unread {
            assert!(unread.reason.contains("accept"), "what {} can't read, others accept: {}", unread.oracle, unread.rule);
        }
        for disputed in &expected.disputed {
            assert!(disputed.severity == Severity::Error, "only an error is disputed: {} of {}", disputed.rule, disputed.oracle);
            assert!(
                ["RFC ", "EN "].iter().any(|s| disputed.reason.contains(s)),
                "{} of {} is disputed with a clause",
                disputed.rule,
                disputed.oracle
            );
        }
        expected
    }

    /// Everything that may be found.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &Standing> {
        self.finding.iter().chain(&self.disputed).chain(&self.unread)
    }

    /// What speaks against good specimens, or against what is expected. `is_complete`: the oracle saw everything that the
    /// patterns were written for, so that each must have met something.
    pub(crate) fn complaints(&self, judgement: &Judgement, specimens: &[Specimen], is_complete: bool) -> Vec<String> {
        let oracle = judgement.oracle;
        let mut complaints = Vec::new();
        let mut met = BTreeSet::new();
        for finding in &judgement.findings {
            let standing = self.listed().enumerate().find(|(_, s)| s.covers(oracle, finding));
            match standing {
                Some((i, s)) => met.extend(s.specimens.iter().filter(|p| matches(p, &finding.specimen)).map(|p| (i, p))),
                None => {
                    let Finding { specimen, rule, severity, detail } = finding;
                    complaints.push(format!("{severity:?} {rule} in {specimen}: {}", detail.trim()));
                }
            }
        }
        for (i, standing) in self.listed().enumerate().filter(|(_, s)| is_complete && s.oracle == oracle) {
            for pattern in standing.specimens.iter().filter(|pattern| !met.contains(&(i, *pattern))) {
                complaints.push(format!("{} is listed for {pattern} and no longer occurs", standing.rule));
            }
        }
        // An oracle that passes over what it could judge proves nothing.
        let judged: BTreeSet<_> = judgement.judged.iter().collect();
        for specimen in specimens.iter().filter(|s| judges(oracle, s) && !judged.contains(&s.name)) {
            complaints.push(format!("did not judge {}", specimen.name));
        }
        complaints
    }

    /// Flaws that the oracle was to catch and did not, or caught though that was not known.
    pub(crate) fn uncaught(&self, judgement: &Judgement, flawed: &[Specimen]) -> Vec<String> {
        let oracle = judgement.oracle;
        let mut complaints = Vec::new();
        for specimen in flawed {
            let flaw = specimen.name.trim_start_matches("broken/");
            let catches = is_caught(judgement, &specimen.name);
            let is_known = self.caught.get(flaw).is_some_and(|by| by.contains(oracle));
            match (catches, is_known) {
                (true, false) => complaints.push(format!("catches {flaw}, and `caught` does not say so")),
                (false, true) => complaints.push(format!("no longer catches {flaw}")),
                (true, true) | (false, false) => {}
            }
        }
        for kind in ["certificate-", "crl-", "ocsp-response-"] {
            let judges_some = judgement.judged.iter().any(|name| name.starts_with(&format!("broken/{kind}")));
            let catches_some = self.caught.iter().any(|(flaw, by)| flaw.starts_with(kind) && by.contains(oracle));
            if judges_some && !catches_some {
                complaints.push(format!("judges specimens {kind}… and catches no flaw in any"));
            }
        }
        complaints
    }
}

/// Whether the oracle holds an error against a specimen.
pub(crate) fn is_caught(judgement: &Judgement, specimen: &str) -> bool {
    judgement.findings.iter().any(|f| f.specimen == specimen && f.severity == Severity::Error)
}

/// Whether an oracle judges such specimens at all.
fn judges(oracle: &str, specimen: &Specimen) -> bool {
    match (oracle, &specimen.kind) {
        // A path validator for end entities, and no OCSP client.
        ("rustls-webpki", Kind::OcspResponse { .. }) => false,
        ("rustls-webpki", Kind::Certificate { purpose, .. }) => *purpose != ca_testkit::specimens::Purpose::Issuing,
        ("zlint", Kind::OcspResponse { .. }) => false,
        // It is given CRLs and no OCSP answers.
        ("java", Kind::OcspResponse { .. }) => false,
        _ => true,
    }
}

/// Whether `text` is of the pattern, in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => {
            text.strip_prefix(start).is_some_and(|text| text.char_indices().any(|(i, _)| matches(rest, &text[i..])) || matches(rest, ""))
        }
    }
}

#[test]
fn patterns_match_whole_names() {
    for (pattern, text, expected) in [
        ("a/b", "a/b", true),
        ("a/b", "a/bc", false),
        ("*/client*", "p256/client", true),
        ("*/client-*", "p256/client-ed25519", true),
        ("*/client-*", "p256/server-ed25519", false),
        ("*", "", true),
        ("*-p256", "x-p256-y", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}
