//! What people say and see in a ceremony, as documents in its bundle.
//!
//! A person's own word (attendance with the time on that person's own clock, an acknowledgement of custody) counts
//! with that person's signature. What everybody in the room sees (the number of a tamper bag, the digest of a medium)
//! is written down and stands under the closed transcript, which officers and witnesses sign.

use serde::{Deserialize, Serialize};

use super::environment::MAX_CLOCK_DIFFERENCE;
use super::people::is_text;
use super::roster::shorten;
use super::{CeremonyError, Plan, Role, canonical};
use crate::pki::{Sha256Digest, Timestamp};

/// What is recorded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fact {
    /// A person is in the room.
    Attendance {
        /// Who.
        name: String,
        /// As what.
        role: Role,
        /// The time on that person's own clock; at least two people give it (requirement 14).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        own_clock: Option<Timestamp>,
    },
    /// A custodian has received what the plan says, and answers for it.
    Custody {
        /// Who.
        name: String,
        /// What, in the plan's words.
        holds: String,
        /// The tamper bag that it lies in.
        bag: String,
    },
    /// A tamper bag.
    Bag {
        /// Which of the plan's bags.
        what: String,
        /// The number printed on it.
        id: String,
    },
    /// A medium.
    Media {
        /// Which of the plan's media.
        what: String,
        /// SHA-256 of its content.
        sha256: Sha256Digest,
    },
}

impl Fact {
    /// The record's name: one for each fact.
    pub fn name(&self) -> String {
        match self {
            Self::Attendance { name, .. } => format!("attendance-{name}"),
            Self::Custody { name, .. } => format!("custody-{name}"),
            Self::Bag { what, .. } => format!("bag-{what}"),
            Self::Media { what, .. } => format!("media-{what}"),
        }
    }

    /// Whose own word it is, and so who must sign it.
    pub fn signer(&self) -> Option<&str> {
        match self {
            Self::Attendance { name, .. } | Self::Custody { name, .. } => Some(name),
            Self::Bag { .. } | Self::Media { .. } => None,
        }
    }
}

/// A record. Its file is this value's canonical form, and people sign the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`Self::FORMAT`].
    pub format: String,
    /// SHA-256 of the ceremony's plan.
    pub plan_sha256: Sha256Digest,
    /// When it was written, by the machine's clock.
    pub at: Timestamp,
    /// What.
    pub fact: Fact,
}

impl Record {
    /// The format's name and version.
    pub const FORMAT: &'static str = "countersign/record/1";

    /// A record of this fact.
    pub fn new(plan: &Plan, at: Timestamp, fact: Fact) -> Self {
        Self { format: Self::FORMAT.to_owned(), plan_sha256: plan.sha256, at, fact }
    }

    /// The canonical form.
    pub fn to_text(&self) -> String {
        String::from_utf8(canonical::to_bytes(self)).expect("JSON is UTF-8")
    }

    /// Reads the canonical form.
    ///
    /// # Errors
    /// When it is anything else, or not of this plan.
    pub fn parse(text: &str, plan: &Plan) -> Result<Self, CeremonyError> {
        let record: Self = canonical::parse("record", 1 << 16, text.as_bytes())?;
        if record.format != Self::FORMAT {
            return Err(CeremonyError::Syntax { what: "record", reason: format!("its format is not {}", Self::FORMAT) });
        }
        record.check(plan)?;
        Ok(record)
    }

    /// Checks it against the plan.
    ///
    /// # Errors
    /// When it is another plan's, or says what the plan does not ask for; a clock that differs too much is told.
    pub fn check(&self, plan: &Plan) -> Result<(), CeremonyError> {
        let refused = |reason: String| Err(CeremonyError::refused("record", reason));
        if self.plan_sha256 != plan.sha256 {
            return refused("it belongs to another plan".to_owned());
        }
        match &self.fact {
            Fact::Attendance { name, role, own_clock } => {
                let planned = plan.frame.people.role(&plan.roster, name);
                if planned != Some(*role) {
                    return refused(match planned {
                        Some(planned) => format!("`{name}` is {planned} in the plan, not {role}"),
                        None => format!("`{}` is none of the people of this plan", shorten(name)),
                    });
                }
                if let Some(own) = own_clock {
                    let difference = own.since(self.at).max(self.at.since(*own));
                    if difference > MAX_CLOCK_DIFFERENCE {
                        return refused(format!(
                            "the clock of `{name}` says {own} and the machine's {}: {} seconds apart, and the most is {} (hint: find out which is wrong, set it, and look again)",
                            self.at,
                            difference.as_secs(),
                            MAX_CLOCK_DIFFERENCE.as_secs()
                        ));
                    }
                }
            }
            Fact::Custody { name, holds, bag } => {
                if !plan.frame.people.custodians.iter().any(|c| c.name == *name && c.holds == *holds) {
                    return refused(format!("the plan gives `{}` no such custody", shorten(name)));
                }
                if !is_text(bag) {
                    return refused("the number of the tamper bag is missing".to_owned());
                }
            }
            Fact::Bag { what, id } => {
                if !plan.frame.evidence.bags.contains(what) {
                    return refused(format!(
                        "the plan names no bag `{}` (it names: {})",
                        shorten(what),
                        plan.frame.evidence.bags.join(", ")
                    ));
                }
                if !is_text(id) {
                    return refused(format!("the number of the bag `{what}` is missing"));
                }
            }
            Fact::Media { what, .. } => {
                if !plan.frame.evidence.media.contains(what) {
                    return refused(format!(
                        "the plan names no medium `{}` (it names: {})",
                        shorten(what),
                        plan.frame.evidence.media.join(", ")
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;

    #[test]
    fn a_record_says_only_what_the_plan_asks_for() {
        let plan = Plan::parse(&plan()).unwrap();
        let now = Timestamp::from_unix(10_000);
        #[track_caller]
        fn check(plan: &Plan, fact: Fact, expected: Result<(), &str>) {
            let record = Record::new(plan, Timestamp::from_unix(10_000), fact);
            match (Record::parse(&record.to_text(), plan), expected) {
                (Ok(read), Ok(())) => assert_eq!(read, record),
                (Err(e), Err(part)) => assert!(e.to_string().contains(part), "{e}"),
                (found, _) => panic!("{found:?}"),
            }
        }
        let text = |t: &str| t.to_owned();
        let attendance = |name: &str, role, own_clock| Fact::Attendance { name: text(name), role, own_clock };
        check(&plan, attendance("ana", Role::Officer, None), Ok(()));
        check(&plan, attendance("wim", Role::Witness, Some(now.plus(MAX_CLOCK_DIFFERENCE))), Ok(()));
        check(&plan, attendance("wim", Role::Officer, None), Err("`wim` is witness in the plan"));
        check(&plan, attendance("eve", Role::Witness, None), Err("none of the people"));
        check(&plan, attendance("ana", Role::Officer, Some(Timestamp::from_unix(9_000))), Err("1000 seconds apart"));
        let custody = |name: &str, bag: &str| Fact::Custody { name: text(name), holds: text("the root key store"), bag: text(bag) };
        check(&plan, custody("ana", "TB-1"), Ok(()));
        check(&plan, custody("ana", " "), Err("tamper bag is missing"));
        check(&plan, custody("bela", "TB-1"), Err("no such custody"));
        check(&plan, Fact::Bag { what: text("root"), id: text("TB-1") }, Ok(()));
        check(&plan, Fact::Bag { what: text("other"), id: text("TB-1") }, Err("it names: root"));
        check(&plan, Fact::Media { what: text("boot"), sha256: plan.sha256 }, Ok(()));
        check(&plan, Fact::Media { what: text("tape"), sha256: plan.sha256 }, Err("no medium `tape`"));
        let good = Record::new(&plan, now, attendance("ana", Role::Officer, None)).to_text();
        assert!(Record::parse(&format!("{good} "), &plan).is_err());
    }
}
