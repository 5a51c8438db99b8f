//! Where in a document something stands.

use std::fmt;

use toml::de::{DeTable, DeValue};

/// A step into a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// What is wrong, and the way to where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    way: Vec<Step>,
    reason: String,
}

impl Fault {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { way: Vec::new(), reason: reason.into() }
    }

    /// The same, said of this.
    pub(super) fn named(mut self, what: &str) -> Self {
        self.reason = format!("{what}: {}", self.reason);
        self
    }

    /// The same below this key.
    pub(super) fn under(mut self, key: &str) -> Self {
        self.way.insert(0, Step::Key(key.to_owned()));
        self
    }

    /// The same in this entry of a list.
    pub(super) fn at(mut self, index: usize) -> Self {
        self.way.insert(0, Step::Index(index));
        self
    }
}

/// What is wrong with a policy, with the line where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyFault {
    fault: Fault,
    line: Option<usize>,
}

impl PolicyFault {
    /// In the line of `text` where the way ends, as far as it is there: what was left out is missing where its table
    /// begins.
    pub(super) fn new(fault: Fault, text: &str) -> Self {
        Self { line: line(text, &fault.way), fault }
    }

    pub(super) fn within(self, key: &str, text: &str) -> Self {
        Self::new(self.fault.under(key), text)
    }
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line.iter().try_for_each(|line| write!(f, "line {line}: "))?;
        f.write_str(&self.fault.reason)
    }
}

/// The line, from 1 on.
fn line(text: &str, way: &[Step]) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut at = None;
    let mut value: Option<&DeValue<'_>> = None;
    for (depth, step) in way.iter().enumerate() {
        let table = match (depth, value) {
            (0, _) => Some(document.get_ref()),
            (_, Some(DeValue::Table(table))) => Some(table),
            _ => None,
        };
        match (step, table, value) {
            (Step::Key(key), Some(table), _) => {
                let Some((found, below)) = table.iter().find(|(k, _)| k.get_ref().as_ref() == key) else { break };
                at = Some(found.span().start);
                value = Some(below.get_ref());
            }
            (Step::Index(index), _, Some(DeValue::Array(list))) => {
                let Some(below) = list.get(*index) else { break };
                // A table of tables begins at its header; the span of one written so begins there too.
                at = Some(below.span().start);
                value = Some(below.get_ref());
            }
            _ => break,
        }
    }
    at.map(|at| text[..at.min(text.len())].matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_with_their_line() {
        let text = "version = 1\n\n[[authority]]\nname = \"a\"\n\n[authority.profile.x]\nshape = \"client\"\nnames = [\n  \"one\",\n  \"two\",\n]\n\n[[authority]]\nname = \"b\"\n";
        let check = |fault: Fault, line: usize| assert_eq!(PolicyFault::new(fault, text).to_string(), format!("line {line}: why"));
        let authority = |i: usize, below: Fault| below.at(i).under("authority");
        check(Fault::new("why").under("version"), 1);
        check(authority(0, Fault::new("why").under("name")), 4);
        check(authority(1, Fault::new("why").under("name")), 14);
        check(authority(0, Fault::new("why").under("shape").under("x").under("profile")), 7);
        check(authority(0, Fault::new("why").at(1).under("names").under("x").under("profile")), 10);
        // What is not there is missing where its table stands.
        check(authority(0, Fault::new("why").under("psd2").under("x").under("profile")), 6);
        check(authority(1, Fault::new("why").under("profile")), 13);
        assert_eq!(PolicyFault::new(Fault::new("why"), text).to_string(), "why");
        assert_eq!(PolicyFault::new(Fault::new("why").under("x"), "no toml").to_string(), "why");
    }
}
