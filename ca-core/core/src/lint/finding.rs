//! What a lint reports.

use std::fmt;

use serde::Serialize;

/// Most findings that one report holds: bytes may be wrong in the same way a million times over.
pub(super) const MAX_FINDINGS: usize = 100;
/// Most findings of one rule in a report.
const MAX_OF_A_RULE: usize = 20;

/// How much a finding weighs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A fact that a reader may want to know.
    Info,
    /// Allowed and unusual, or beyond what this linter judges.
    Notice,
    /// Against a SHOULD, or known to trouble clients.
    Warning,
    /// Against a MUST: this CA does not sign it.
    Error,
}

impl Severity {
    /// Every severity, the heaviest first.
    pub const ALL: [Self; 4] = [Self::Error, Self::Warning, Self::Notice, Self::Info];

    /// The name in reports and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One way in which bytes differ from what the standards allow, or from what was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// The rule, in kebab case.
    pub rule: &'static str,
    /// The clause behind it.
    pub clause: &'static str,
    /// How much it weighs.
    pub severity: Severity,
    /// The field, as a path from the outside inwards; empty where it is the whole.
    pub field: String,
    /// What was found.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): ", self.rule, self.clause)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.detail)
    }
}

/// What was found in one object: at most 100 findings, 20 of each rule.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    findings: Vec<Finding>,
    omitted: usize,
}

impl Report {
    pub(super) fn add(&mut self, finding: Finding) {
        // An error is never the one that is left out because lighter ones came first.
        let room = self.findings.len() < MAX_FINDINGS || (finding.severity == Severity::Error && !self.has_errors());
        if room && self.findings.iter().filter(|f| f.rule == finding.rule).count() < MAX_OF_A_RULE {
            self.findings.push(finding);
        } else {
            self.omitted += 1;
        }
    }

    /// The findings, as they were met.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many more there were than a report holds.
    pub const fn omitted(&self) -> usize {
        self.omitted
    }

    /// Whether there is a finding of severity error.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Error)
    }

    /// Nothing, where no finding is an error: what may be signed.
    ///
    /// # Errors
    /// The findings of severity error.
    pub fn refuse_errors(self) -> Result<(), Vec<Finding>> {
        let errors: Vec<_> = self.findings.into_iter().filter(|f| f.severity == Severity::Error).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(rule: &'static str, severity: Severity) -> Finding {
        Finding { rule, clause: "§1", severity, field: String::new(), detail: String::new() }
    }

    #[test]
    fn a_report_is_bounded_and_keeps_an_error() {
        const NOTICES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
        let mut report = Report::default();
        for rule in NOTICES {
            (0..30).for_each(|_| report.add(finding(rule, Severity::Notice)));
        }
        assert_eq!((report.findings().len(), report.omitted()), (MAX_FINDINGS, 80));
        assert_eq!(report.clone().refuse_errors(), Ok(()));
        report.add(finding("g", Severity::Error));
        report.add(finding("h", Severity::Error));
        assert_eq!(report.refuse_errors().unwrap_err().len(), 1);
    }
}
