//! What a lint reports.

use std::fmt;

/// One way in which to-be-signed bytes differ from what was asked for or what the standards allow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The rule, in kebab case.
    pub rule: &'static str,
    /// The clause behind it.
    pub clause: &'static str,
    /// What was found.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.rule, self.clause, self.detail)
    }
}
