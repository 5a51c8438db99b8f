//! What people still owe a ceremony: who must come in before a key is made, what must be written down before it
//! closes. Sans-IO: the shell says which records carry their person's signature.

use std::collections::{BTreeMap, BTreeSet};

use super::environment::clock_jump;
use super::{CeremonyError, ClockMark, Fact, Line, Plan, Record, Role, Transcript, TranscriptEvent};

/// Something that people must do before the ceremony goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Duty {
    /// People of a role must be in the room.
    Attend {
        /// The role.
        role: Role,
        /// How many more.
        missing: usize,
        /// Who may: those of the plan who are not there yet.
        of: Vec<String>,
    },
    /// People who are in the room must compare their own clock.
    ConfirmClock {
        /// How many more.
        missing: usize,
    },
    /// A record waits for the signature of the person whose word it is.
    Sign {
        /// The record's name.
        record: String,
        /// Whose.
        who: String,
    },
    /// A custodian must acknowledge.
    Acknowledge {
        /// Who.
        name: String,
        /// What is kept.
        holds: String,
    },
    /// The number of a tamper bag is missing.
    Bag {
        /// Which.
        what: String,
    },
    /// The digest of a medium is missing.
    Media {
        /// Which.
        what: String,
    },
    /// An exception has no disposition.
    Dispose {
        /// Its line.
        line: u64,
        /// What happened.
        what: String,
        /// What the software did about it; empty where it did nothing.
        done: String,
    },
}

/// How many people compare their own clock with the machine's (requirement 14).
pub const CLOCK_PEOPLE: usize = 2;

/// The records that count: of each fact the last one, by the fact's name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Records(BTreeMap<String, (String, Record)>);

impl Records {
    /// Reads the records among these lines. A second record of one fact is named `…_2` and follows an exception.
    ///
    /// # Errors
    /// When one is not canonical, not of this plan, or misnamed.
    pub fn read(plan: &Plan, lines: &[Line]) -> Result<Self, CeremonyError> {
        let mut out = BTreeMap::new();
        let mut versions: BTreeMap<String, usize> = BTreeMap::new();
        for (i, line) in lines.iter().enumerate() {
            let TranscriptEvent::Recorded { name, record } = &line.entry else { continue };
            let record = Record::parse(record, plan)?;
            let base = record.fact.name();
            let version = versions.entry(base.clone()).or_default();
            *version += 1;
            let again = *version > 1;
            let excused = i.checked_sub(1).is_some_and(|before| matches!(lines[before].entry, TranscriptEvent::Exception { .. }));
            if *name != record_name(&base, *version) || (again && !excused) {
                return Err(CeremonyError::refused("record", format!("`{name}` is misnamed, or written again without an exception")));
            }
            out.insert(base, (name.clone(), record));
        }
        Ok(Self(out))
    }

    /// The records that need a signature: name, whose, and the document.
    pub fn to_sign(&self) -> impl Iterator<Item = (&str, &str, String)> {
        self.0.values().filter_map(|(name, record)| record.fact.signer().map(|who| (name.as_str(), who, record.to_text())))
    }

    /// Who is in the room.
    pub fn present(&self) -> impl Iterator<Item = (&str, Role)> {
        self.0.values().filter_map(|(_, record)| match &record.fact {
            Fact::Attendance { name, role, .. } => Some((name.as_str(), *role)),
            _ => None,
        })
    }

    /// What is owed before the first key is made; `signed` are the names of records that carry their signature.
    pub fn owed_before_keys(&self, plan: &Plan, signed: &BTreeSet<String>) -> Vec<Duty> {
        let mut out = Vec::new();
        let threshold = usize::try_from(plan.roster.threshold).unwrap_or(usize::MAX);
        for (role, needed) in [(Role::Administrator, 1), (Role::Officer, threshold), (Role::Witness, 1)] {
            let there: BTreeSet<&str> = self.present().filter(|(_, r)| *r == role).map(|(name, _)| name).collect();
            if there.len() < needed {
                let everyone = plan.frame.people.everyone(&plan.roster);
                let of = everyone.filter(|(name, r, _)| *r == role && !there.contains(name)).map(|(name, ..)| name.to_owned());
                out.push(Duty::Attend { role, missing: needed - there.len(), of: of.collect() });
            }
        }
        let with_clock = |r: &Record| matches!(&r.fact, Fact::Attendance { own_clock: Some(_), .. });
        let clocks = self.0.values().filter(|(_, record)| with_clock(record)).count();
        // Asked for once those are there who could: attendance comes with the clock.
        if clocks < CLOCK_PEOPLE && out.is_empty() {
            out.push(Duty::ConfirmClock { missing: CLOCK_PEOPLE - clocks });
        }
        out.extend(self.unsigned(signed, |fact| matches!(fact, Fact::Attendance { .. })));
        out
    }

    /// What is owed before the ceremony closes.
    pub fn owed_before_end(&self, plan: &Plan, transcript: &Transcript, signed: &BTreeSet<String>) -> Vec<Duty> {
        let mut out = self.owed_before_keys(plan, signed);
        let has = |fact: String| self.0.contains_key(&fact);
        let missing =
            |list: &[String], kind: &str| -> Vec<String> { list.iter().filter(|what| !has(format!("{kind}-{what}"))).cloned().collect() };
        out.extend(missing(&plan.frame.evidence.bags, "bag").into_iter().map(|what| Duty::Bag { what }));
        out.extend(missing(&plan.frame.evidence.media, "media").into_iter().map(|what| Duty::Media { what }));
        let custodians = plan.frame.people.custodians.iter().filter(|c| !has(format!("custody-{}", c.name)));
        out.extend(custodians.map(|c| Duty::Acknowledge { name: c.name.clone(), holds: c.holds.clone() }));
        out.extend(self.unsigned(signed, |fact| matches!(fact, Fact::Custody { .. })));
        let open = transcript.exceptions().filter(|e| e.disposed.is_none());
        out.extend(open.map(|e| Duty::Dispose { line: e.line, what: e.what.to_owned(), done: e.done.to_owned() }));
        out
    }

    fn unsigned<'a>(&'a self, signed: &'a BTreeSet<String>, of: impl Fn(&Fact) -> bool + 'a) -> impl Iterator<Item = Duty> + 'a {
        self.0.values().filter(move |(name, record)| of(&record.fact) && !signed.contains(name)).filter_map(|(name, record)| {
            let who = record.fact.signer()?.to_owned();
            Some(Duty::Sign { record: name.clone(), who })
        })
    }
}

/// The name of a fact's record, the first, second and so on; names have no `_`.
pub fn record_name(base: &str, version: usize) -> String {
    if version <= 1 { base.to_owned() } else { format!("{base}_{version}") }
}

/// Whether these people may dispose of an exception: an officer and a witness at least, all of them in the room.
///
/// # Errors
/// When they may not.
pub fn check_disposers(records: &Records, by: &[String]) -> Result<(), CeremonyError> {
    let present: BTreeMap<&str, Role> = records.present().collect();
    let refused = |reason: String| Err(CeremonyError::refused("disposition", reason));
    if let Some(absent) = by.iter().find(|name| !present.contains_key(name.as_str())) {
        let absent: String = absent.chars().take(80).collect();
        return refused(format!("`{absent}` is not in the room (hint: attendance is noted first)"));
    }
    let has = |role| by.iter().any(|name| present.get(name.as_str()) == Some(&role));
    if has(Role::Officer) && has(Role::Witness) {
        Ok(())
    } else {
        refused("an officer and a witness decide, not one of them alone".to_owned())
    }
}

/// Tells a jump of the clock since these lines, see [`clock_jump`].
pub fn jump_since(lines: &[Line], now: &ClockMark) -> Option<String> {
    let started = lines.iter().rev().find_map(|line| match &line.entry {
        TranscriptEvent::Started { boot, uptime, .. } => Some(ClockMark { at: line.at, boot: boot.clone(), uptime: *uptime }),
        _ => None,
    });
    // Against the last line only a step back shows: it has no monotonic time.
    let last = lines.last().map(|line| ClockMark { at: line.at, boot: String::new(), uptime: 0 });
    started.and_then(|mark| clock_jump(&mark, now)).or_else(|| last.and_then(|mark| clock_jump(&mark, now)))
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;
    use crate::pki::Timestamp;

    struct World {
        plan: Plan,
        transcript: Transcript,
        signed: BTreeSet<String>,
    }

    impl World {
        fn add(&mut self, entry: TranscriptEvent) {
            let line = self.transcript.next(Timestamp::from_unix(100), entry);
            self.transcript.push(line);
        }

        fn note(&mut self, fact: Fact, name: &str) {
            let record = Record::new(&self.plan, Timestamp::from_unix(100), fact).to_text();
            self.add(TranscriptEvent::Recorded { name: name.to_owned(), record });
            self.signed.insert(name.to_owned());
        }

        fn attend(&mut self, name: &str, role: Role, clock: bool) {
            let own_clock = clock.then(|| Timestamp::from_unix(101));
            self.note(Fact::Attendance { name: name.to_owned(), role, own_clock }, &format!("attendance-{name}"));
        }

        fn records(&self) -> Records {
            Records::read(&self.plan, self.transcript.lines()).unwrap()
        }

        #[track_caller]
        fn check(&self, keys: &[&str], end: &[&str]) {
            let shown = |duties: Vec<Duty>| duties.iter().map(|d| format!("{d:?}")).collect::<Vec<_>>();
            for (found, expected) in [
                (shown(self.records().owed_before_keys(&self.plan, &self.signed)), keys),
                (shown(self.records().owed_before_end(&self.plan, &self.transcript, &self.signed)), end),
            ] {
                assert_eq!(found.len(), expected.len(), "{found:?}");
                assert!(found.iter().zip(expected).all(|(d, part)| d.contains(part)), "{found:?}");
            }
        }
    }

    fn text(t: &str) -> String {
        t.to_owned()
    }

    #[test]
    fn every_field_is_asked_for_until_it_is_there() {
        let mut world = World { plan: Plan::parse(&plan()).unwrap(), transcript: Transcript::default(), signed: BTreeSet::new() };
        let end = ["what: \"root\"", "what: \"boot\"", "Acknowledge { name: \"ana\""];
        let all = |keys: &[&'static str]| [keys, &end].concat();
        let keys = ["Administrator, missing: 1, of: [\"dora\"]", "Officer, missing: 2", "Witness, missing: 1, of: [\"wim\"]"];
        world.check(&keys, &all(&keys));
        world.attend("dora", Role::Administrator, true);
        world.attend("ana", Role::Officer, false);
        let keys = ["Officer, missing: 1, of: [\"bela\"]", "Witness"];
        world.check(&keys, &all(&keys));
        world.attend("bela", Role::Officer, false);
        world.attend("wim", Role::Witness, false);
        world.check(&["ConfirmClock { missing: 1 }"], &all(&["ConfirmClock"]));
        // Written again, with the clock: after an exception only.
        let fact = Fact::Attendance { name: text("wim"), role: Role::Witness, own_clock: Some(Timestamp::from_unix(99)) };
        let mut without = World { transcript: world.transcript.clone(), plan: world.plan.clone(), signed: BTreeSet::new() };
        without.note(fact.clone(), "attendance-wim_2");
        assert!(Records::read(&without.plan, without.transcript.lines()).unwrap_err().to_string().contains("without an exception"));
        world.add(TranscriptEvent::Exception { what: text("again"), disposition: String::new() });
        world.note(fact, "attendance-wim_2");
        world.check(&[], &all(&[]).into_iter().chain(["Dispose { line: 5"]).collect::<Vec<_>>());
        // A word without its signature is nobody's.
        world.signed.remove("attendance-ana");
        world.check(
            &["Sign { record: \"attendance-ana\", who: \"ana\" }"],
            &all(&["Sign"]).into_iter().chain(["Dispose"]).collect::<Vec<_>>(),
        );
        world.signed.insert(text("attendance-ana"));
        world.note(Fact::Bag { what: text("root"), id: text("TB-1") }, "bag-root");
        world.note(Fact::Media { what: text("boot"), sha256: world.plan.sha256 }, "media-boot");
        world.note(Fact::Custody { name: text("ana"), holds: text("the root key store"), bag: text("TB-1") }, "custody-ana");
        world.check(&[], &["Dispose { line: 5"]);
        let by = [text("ana"), text("wim")];
        check_disposers(&world.records(), &by).unwrap();
        world.add(TranscriptEvent::Disposed { exception: 5, disposition: text("seen"), by: by.to_vec() });
        world.check(&[], &[]);
        for (by, part) in
            [(vec!["ana"], "an officer and a witness"), (vec!["dora", "wim"], "an officer"), (vec!["ana", "eve"], "not in the room")]
        {
            let by: Vec<String> = by.into_iter().map(text).collect();
            assert!(check_disposers(&world.records(), &by).unwrap_err().to_string().contains(part));
        }
    }
}
