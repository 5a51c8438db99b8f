//! What an oracle says.

#[cfg(feature = "all-oracles")]
use ca_testkit::specimens::{Kind, Specimen};
use serde::Deserialize;

/// How bad a finding is, in its oracle's own words brought to one scale.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Says what was seen.
    Info,
    /// May be a mistake.
    Notice,
    /// Against a recommendation.
    Warning,
    /// Against a rule; every refusal is one.
    Error,
}

/// One thing that an oracle holds against a specimen.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) specimen: String,
    /// The oracle's own name for the rule.
    pub(crate) rule: String,
    pub(crate) severity: Severity,
    pub(crate) detail: String,
}

/// What an oracle says of some specimens.
#[derive(Debug)]
pub(crate) struct Judgement {
    /// The oracle, as `expected.toml` names it.
    pub(crate) oracle: &'static str,
    pub(crate) version: String,
    /// The names of the specimens that it judged; one that is judged by several of its programs stands several times.
    pub(crate) judged: Vec<String>,
    pub(crate) findings: Vec<Finding>,
}

impl Judgement {
    pub(crate) fn new(oracle: &'static str, version: String) -> Self {
        Self { oracle, version, judged: Vec::new(), findings: Vec::new() }
    }

    /// Notes that a specimen was judged, and what was found: a rule and the words.
    pub(crate) fn note(&mut self, specimen: &str, found: Result<(), Refusal>) {
        self.judged.push(specimen.to_owned());
        if let Err(Refusal { rule, detail }) = found {
            self.findings.push(Finding { specimen: specimen.to_owned(), rule: rule.to_owned(), severity: Severity::Error, detail });
        }
    }

    /// Notes a verdict of a path validator that was given the CRLs.
    pub(crate) fn note_path(&mut self, specimen: &str, is_revoked: bool, verdict: Verdict) {
        let found = match (verdict, is_revoked) {
            (Verdict::Accepted, false) | (Verdict::Revoked, true) => Ok(()),
            (Verdict::Accepted, true) => Err(Refusal::new("revocation-missed", "it is accepted though its CRL lists it")),
            (Verdict::Revoked, false) => Err(Refusal::new("revoked", "it is taken for revoked")),
            (Verdict::Refused(detail), _) => Err(Refusal::new("refused", detail)),
        };
        self.note(specimen, found);
    }

    /// Notes the lines of a judging program: name, tab, `accepted`, `revoked`, `refused` or, of an OCSP answer, its status, tab,
    /// the words.
    #[cfg(feature = "all-oracles")]
    pub(crate) fn note_lines(&mut self, text: &str, specimens: &[Specimen]) {
        for line in text.lines() {
            let mut fields = line.splitn(3, '\t');
            let (name, verdict) = (fields.next().unwrap(), fields.next().unwrap());
            let detail = fields.next().unwrap_or_default().to_owned();
            let specimen = specimens.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("no specimen is called {name}"));
            match (&specimen.kind, verdict) {
                (Kind::OcspResponse { says, .. }, verdict) => {
                    let found = if verdict == *says { Ok(()) } else { Err(Refusal::new("refused", format!("{verdict} {detail}"))) };
                    self.note(name, found);
                }
                (Kind::Certificate { is_revoked, .. }, "accepted") => self.note_path(name, *is_revoked, Verdict::Accepted),
                (Kind::Certificate { is_revoked, .. }, "revoked") => self.note_path(name, *is_revoked, Verdict::Revoked),
                (Kind::Crl, "accepted") => self.note(name, Ok(())),
                _ => self.note(name, Err(Refusal::new("refused", detail))),
            }
        }
    }
}

/// Why a specimen does not stand.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) rule: &'static str,
    pub(crate) detail: String,
}

impl Refusal {
    pub(crate) fn new(rule: &'static str, detail: impl Into<String>) -> Self {
        Self { rule, detail: detail.into() }
    }
}

/// What a path validator says.
#[derive(Debug)]
pub(crate) enum Verdict {
    Accepted,
    Revoked,
    Refused(String),
}

impl Verdict {
    /// The first that is no acceptance: for a certificate with several purposes.
    pub(crate) fn and(self, other: impl FnOnce() -> Self) -> Self {
        if matches!(self, Self::Accepted) { other() } else { self }
    }
}
