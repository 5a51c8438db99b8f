//! The devices' own logs in a transcript (ceremony requirement 35): whole, and one signature for each act on record.
//!
//! A device logs that it signed and with which key, not what. So signatures are counted, per device and key: at no
//! line more than acts that began by then (one that was cut off begins again, with an exception entry), and none fewer
//! than results by then. A `run` and `verify` use the same code. Deliberately absent: devices that keep no log.

use std::collections::{BTreeMap, BTreeSet};

use super::{KeyPlace, Line, Transcript, TranscriptEvent};
use crate::log::{DeviceLogImport, MAX_ENTRIES, follows, reads_as_written};
use crate::model::{AttemptId, KeyLabel};
use crate::ports::{DeviceIdentity, DeviceKind, DeviceLogEntry};

/// The signatures that a ceremony's acts end in: by the statement's name the attempt and its key.
pub type PlannedSignatures = BTreeMap<String, (AttemptId, KeyLabel)>;

/// What people must decide about entries that were drained at `place` after the lines `before`: what the device could not
/// log, and signatures since the ceremony began with keys that are not its own. None: nothing.
pub fn log_exception(before: &[Line], place: KeyPlace, entries: &[DeviceLogEntry], unlogged: (u64, u64)) -> Option<String> {
    let mut found = Vec::new();
    if unlogged != (0, 0) {
        let (boots, logins) = unlogged;
        found.push(format!("it started {boots} times and was opened {logins} times without logging it, because its log was full"));
    }
    if before.iter().any(|l| matches!(&l.entry, TranscriptEvent::Device { place: p, .. } if *p == place)) {
        let own = own_keys(before);
        let foreign = |e: &&DeviceLogEntry| e.is_signature && e.succeeded && !e.key.as_ref().is_some_and(|k| own.contains(k));
        let mut signed = entries.iter().filter(foreign);
        if let Some(first) = signed.next() {
            let count = 1 + signed.count();
            found.push(format!("it signed {count} times with keys that are not this ceremony's, first in its entry {}", first.number));
        }
    }
    if found.is_empty() { None } else { Some(format!("the log of the device of the {} keys: {}", place.name(), found.join("; "))) }
}

/// The keys that were announced, used or brought in so far.
fn own_keys(lines: &[Line]) -> BTreeSet<&KeyLabel> {
    let own = lines.iter().filter_map(|line| match &line.entry {
        TranscriptEvent::KeyIntended { label, .. } | TranscriptEvent::Imported { label, .. } => Some(label),
        TranscriptEvent::Intent { intent } => Some(&intent.key),
        _ => None,
    });
    own.collect()
}

/// The key of which the act that begins in line `i` may make a signature. One that begins again may where the line before
/// says so.
fn begins<'a>(
    lines: &[Line],
    i: usize,
    name: &'a str,
    planned: &'a PlannedSignatures,
    names: &mut BTreeSet<&'a str>,
) -> Option<&'a KeyLabel> {
    let (_, key) = planned.get(name)?;
    let again = !names.insert(name);
    let noted = matches!(i.checked_sub(1).map(|i| &lines[i].entry), Some(TranscriptEvent::Exception { .. }));
    (!again || noted).then_some(key)
}

/// The devices' logs as an audit trail takes them in, from a transcript that [`check_device_logs`] found right. What its
/// acts do not explain there is as unexplained as it was here.
pub fn device_log_imports(transcript: &Transcript, target: KeyPlace, planned: &PlannedSignatures) -> Vec<DeviceLogImport> {
    let (lines, source) = (transcript.lines(), transcript.head());
    let devices = devices(lines);
    let serial = devices.get(&target).map(|d| &d.serial);
    let (mut imports, mut acts, mut names) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    for (i, line) in lines.iter().enumerate() {
        match &line.entry {
            TranscriptEvent::Began { name } => {
                if let Some(key) = begins(lines, i, name, planned, &mut names) {
                    *acts.entry(key.clone()).or_insert(0u64) += 1;
                }
            }
            TranscriptEvent::DeviceLog { place, entries, .. } => {
                let Some(device) = devices.get(place).copied().cloned() else { continue };
                let acts = if Some(&device.serial) == serial { std::mem::take(&mut acts) } else { BTreeMap::new() };
                let (line, entries) = (line.number, entries.clone());
                // People have decided about what was not logged: it is an exception.
                imports.push(DeviceLogImport { device, source, line, entries, acts, unlogged_boots: 0, unlogged_authentications: 0 });
            }
            _ => {}
        }
    }
    imports
}

fn devices(lines: &[Line]) -> BTreeMap<KeyPlace, &DeviceIdentity> {
    let looked_at = lines.iter().filter_map(|l| match &l.entry {
        TranscriptEvent::Device { place, identity, .. } => Some((*place, identity)),
        _ => None,
    });
    looked_at.collect()
}

/// A device's account.
#[derive(Default)]
struct Account {
    /// The lines are past the device's own: what comes is the ceremony's.
    counted: bool,
    drained: bool,
    last: Option<DeviceLogEntry>,
    signed: BTreeMap<KeyLabel, u64>,
}

/// Checks every device's log in the transcript. The ceremony's own signatures are made at `target`.
///
/// # Errors
/// With the line and what does not hold.
pub fn check_device_logs(lines: &[Line], target: KeyPlace, planned: &PlannedSignatures) -> Result<(), String> {
    let devices = devices(lines);
    let made: BTreeSet<&KeyLabel> =
        lines.iter().filter_map(|l| if let TranscriptEvent::KeyIntended { label, .. } = &l.entry { Some(label) } else { None }).collect();
    let own = own_keys(lines);
    // Two places may be one device, which has one log.
    let mut accounts: BTreeMap<&str, Account> = BTreeMap::new();
    let (mut begun, mut completed, mut names) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    for (i, line) in lines.iter().enumerate() {
        match &line.entry {
            TranscriptEvent::Device { identity, .. } => accounts.entry(&identity.serial).or_default().counted = true,
            TranscriptEvent::Began { name } => {
                if let Some(key) = begins(lines, i, name, planned, &mut names) {
                    *begun.entry(key).or_insert(0u64) += 1;
                }
            }
            TranscriptEvent::Completed { completion } => {
                if let Some((_, key)) = planned.values().find(|(attempt, _)| *attempt == completion.attempt) {
                    *completed.entry(key).or_insert(0u64) += 1;
                }
            }
            TranscriptEvent::DeviceLog { place, entries, unlogged_boots, unlogged_authentications } => {
                let wrong = |what: String| Err(format!("line {}: the log of the device of the {} keys: {what}", line.number, place.name()));
                let Some(device) = devices.get(place) else { return wrong("no such device was looked at".to_owned()) };
                if entries.len() > MAX_ENTRIES {
                    return wrong(format!("more than {MAX_ENTRIES} entries in one line"));
                }
                let unlogged = (*unlogged_boots, *unlogged_authentications);
                if let Some(what) = log_exception(&lines[..i], *place, entries, unlogged)
                    && !matches!(i.checked_sub(1).map(|i| &lines[i].entry), Some(TranscriptEvent::Exception { what: w, .. }) if *w == what)
                {
                    return wrong(format!("{what}, and that is no exception"));
                }
                let account = accounts.entry(&device.serial).or_default();
                account.drained = true;
                account.take(device.kind, entries, &made, &own).or_else(wrong)?;
                let at_target = devices.get(&target).is_some_and(|d| d.serial == device.serial);
                for (key, signed) in &account.signed {
                    let begun = if at_target { begun.get(key).copied().unwrap_or(0) } else { 0 };
                    if *signed > begun {
                        return wrong(format!("a signature that is not on record: {signed} with the key `{key}`, and {begun} acts"));
                    }
                }
                if at_target {
                    account.lacks(&completed).map_or(Ok(()), wrong)?;
                }
            }
            _ => {}
        }
    }
    // What was done is in a log, at the least the login before it.
    let begun = |l: &Line| match &l.entry {
        TranscriptEvent::KeyMade { .. } | TranscriptEvent::Destroyed { .. } | TranscriptEvent::Handed { .. } => true,
        TranscriptEvent::Began { name } => planned.contains_key(name),
        _ => false,
    };
    let silent = |d: &DeviceIdentity| d.kind == DeviceKind::YubiHsm2 && !accounts.get(d.serial.as_str()).is_some_and(|a| a.drained);
    if lines.iter().any(begun)
        && let Some((place, _)) = devices.iter().find(|(_, device)| silent(device))
    {
        let hint = "(hint: audit must be forced on it; see `ca-ceremony yubihsm provision`)";
        return Err(format!("the device of the {} keys logged nothing {hint}", place.name()));
    }
    if let Some(device) = devices.get(&target)
        && let Some(account) = accounts.get(device.serial.as_str())
        && account.drained
        && let Some(what) = account.lacks(&completed)
    {
        return Err(format!("the log of the device of the {} keys: {what}", target.name()));
    }
    Ok(())
}

impl Account {
    fn take(
        &mut self,
        kind: DeviceKind,
        entries: &[DeviceLogEntry],
        made: &BTreeSet<&KeyLabel>,
        own: &BTreeSet<&KeyLabel>,
    ) -> Result<(), String> {
        for entry in entries {
            let number = entry.number;
            if self.last.as_ref().is_some_and(|last| !follows(kind, last, entry)) {
                return Err(format!("entry {number} does not follow the one before: entries are missing, doubled or changed"));
            }
            if !reads_as_written(kind, entry) {
                return Err(format!("entry {number} says something else than the device wrote"));
            }
            self.last = Some(entry.clone());
            let Some(key) = entry.key.as_ref().filter(|key| entry.is_signature && entry.succeeded && own.contains(key)) else { continue };
            if self.counted {
                *self.signed.entry(key.clone()).or_default() += 1;
            } else if made.contains(key) {
                return Err(format!("entry {number} is a signature with the key `{key}`, from before this ceremony made it"));
            }
        }
        Ok(())
    }

    /// What a device that signed for each result has not in its log.
    fn lacks(&self, completed: &BTreeMap<&KeyLabel, u64>) -> Option<String> {
        completed.iter().find_map(|(key, completed)| {
            let signed = self.signed.get(*key).copied().unwrap_or(0);
            (signed < *completed).then(|| format!("the log lacks {} signatures with the key `{key}`", completed - signed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, Completion, Origin, SignedBytes};
    use crate::pki::{KeyAlgorithm, Timestamp, sha256};

    const PLACE: KeyPlace = KeyPlace::Root;

    /// A ceremony with one act, and a YubiHSM 2 that signs.
    struct Ceremony {
        transcript: Transcript,
        number: u16,
        digest: Vec<u8>,
        log: Vec<DeviceLogEntry>,
    }

    impl Ceremony {
        /// Up to the officers' approval; the key is new, or of an earlier ceremony.
        fn new(new_key: bool) -> Self {
            let mut ceremony = Self { transcript: Transcript::default(), number: 40, digest: vec![7; 16], log: Vec::new() };
            ceremony.enter();
            if new_key {
                ceremony.announce();
            }
            ceremony
        }

        fn push(&mut self, event: TranscriptEvent) {
            let line = self.transcript.next(Timestamp::from_unix(0), event);
            self.transcript.push(line);
        }

        fn enter(&mut self) {
            let identity =
                DeviceIdentity { kind: DeviceKind::YubiHsm2, model: "simulated".to_owned(), serial: "7".to_owned(), firmware: None };
            self.push(TranscriptEvent::Device { place: PLACE, identity, inventory: vec![], deviations: vec![] });
        }

        fn announce(&mut self) {
            self.push(TranscriptEvent::KeyIntended { label: "root".parse().unwrap(), place: PLACE, algorithm: KeyAlgorithm::P256 });
        }

        fn begin(&mut self) {
            self.push(TranscriptEvent::Began { name: "1-root".to_owned() });
        }

        fn exception(&mut self, what: &str) {
            self.push(TranscriptEvent::Exception { what: what.to_owned(), disposition: String::new() });
        }

        fn device_signs(&mut self, key: Option<&str>) {
            self.number += 1;
            let mut raw = self.number.to_be_bytes().to_vec();
            raw.extend([0x56, 0, 0, 0, 0, 0, 9, 0xff, 0xff, 0x56 | 0x80, 0, 0, 0, 0]);
            self.digest = sha256(&[raw.clone(), self.digest.clone()].concat()).0[..16].to_vec();
            raw.extend(&self.digest);
            let (number, key) = (self.number.into(), key.map(|k| k.parse().unwrap()));
            let command = "sign-ecdsa".to_owned();
            self.log.push(DeviceLogEntry { number, command, key, is_signature: true, succeeded: true, raw });
        }

        fn complete(&mut self) {
            let completion = Completion {
                attempt: "a.1".parse().unwrap(),
                authority: "root".parse().unwrap(),
                signed: SignedBytes(vec![]),
                origin: Origin::Ceremony,
                actor: Actor::system("test"),
                at: Timestamp::from_unix(0),
            };
            self.push(TranscriptEvent::Completed { completion: Box::new(completion) });
        }

        fn drain(&mut self) {
            let entries = std::mem::take(&mut self.log);
            self.push(TranscriptEvent::DeviceLog { place: PLACE, entries, unlogged_boots: 0, unlogged_authentications: 0 });
        }

        fn judge(&self) -> Result<(), String> {
            let planned = [("1-root".to_owned(), ("a.1".parse().unwrap(), "root".parse().unwrap()))].into();
            check_device_logs(self.transcript.lines(), PLACE, &planned)
        }

        #[track_caller]
        fn refused(&self, part: &str) {
            let found = self.judge().unwrap_err();
            assert!(found.contains(part), "{found}");
        }
    }

    fn done() -> Ceremony {
        let mut ceremony = Ceremony::new(true);
        ceremony.begin();
        ceremony.device_signs(Some("root"));
        ceremony.complete();
        ceremony
    }

    #[test]
    fn one_signature_for_one_act() {
        let mut ceremony = done();
        ceremony.refused("the device of the root keys logged nothing");
        let signed = std::mem::take(&mut ceremony.log);
        ceremony.drain();
        ceremony.refused("the log lacks 1 signatures with the key `root`");
        let mut ceremony = done();
        assert_eq!(ceremony.log, signed);
        ceremony.drain();
        assert_eq!(ceremony.judge(), Ok(()));
        ceremony.device_signs(Some("root"));
        ceremony.drain();
        ceremony.refused("a signature that is not on record: 2 with the key `root`, and 1 acts");
    }

    #[test]
    fn an_import_has_the_logs_with_the_acts_before_them() {
        let mut ceremony = Ceremony::new(true);
        ceremony.device_signs(None);
        ceremony.drain();
        ceremony.begin();
        ceremony.device_signs(Some("root"));
        ceremony.drain();
        let planned = [("1-root".to_owned(), ("a.1".parse().unwrap(), "root".parse().unwrap()))].into();
        let imports = device_log_imports(&ceremony.transcript, PLACE, &planned);
        let told: Vec<_> = imports.iter().map(|i| (i.line, i.entries.len(), i.acts.values().sum::<u64>())).collect();
        assert_eq!(told, [(3, 1, 0), (5, 1, 1)]);
        assert!(imports.iter().all(|i| i.source == ceremony.transcript.head() && i.device.serial == "7"));
        let elsewhere = device_log_imports(&ceremony.transcript, KeyPlace::Backup, &planned);
        assert!(elsewhere.iter().all(|i| i.acts.is_empty()), "the acts were another device's");
    }

    #[test]
    fn a_later_act_explains_no_earlier_signature() {
        let mut ceremony = Ceremony::new(true);
        ceremony.device_signs(Some("root"));
        ceremony.drain();
        ceremony.begin();
        ceremony.complete();
        ceremony.refused("line 3: the log of the device of the root keys: a signature that is not on record");
    }

    #[test]
    fn an_act_that_was_cut_off_may_have_signed_twice_with_an_exception() {
        let twice = |noted: bool| {
            let mut ceremony = Ceremony::new(true);
            ceremony.begin();
            ceremony.device_signs(Some("root"));
            if noted {
                ceremony.exception("cut off");
            }
            ceremony.begin();
            ceremony.device_signs(Some("root"));
            ceremony.complete();
            ceremony.drain();
            ceremony
        };
        assert_eq!(twice(true).judge(), Ok(()));
        twice(false).refused("2 with the key `root`, and 1 acts");
    }

    #[test]
    fn entries_are_continuous_and_as_the_device_wrote_them() {
        let mut ceremony = done();
        ceremony.device_signs(Some("root"));
        ceremony.log.swap(0, 1);
        ceremony.drain();
        ceremony.refused("does not follow the one before");
        let mut ceremony = done();
        ceremony.drain();
        ceremony.device_signs(Some("root"));
        ceremony.log.clear();
        ceremony.device_signs(Some("root"));
        ceremony.drain();
        ceremony.refused("does not follow the one before");
        let mut ceremony = done();
        ceremony.log[0].succeeded = false;
        ceremony.drain();
        ceremony.refused("says something else than the device wrote");
    }

    #[test]
    fn what_was_before_the_ceremony_is_recorded_and_not_matched() {
        let before = |new_key: bool| {
            let mut ceremony = Ceremony { transcript: Transcript::default(), number: 1, digest: vec![7; 16], log: Vec::new() };
            ceremony.device_signs(Some("root"));
            ceremony.device_signs(None);
            ceremony.drain();
            ceremony.enter();
            if new_key {
                ceremony.announce();
            }
            ceremony
        };
        assert_eq!(before(false).judge(), Ok(()));
        before(true).refused("from before this ceremony made it");
    }

    #[test]
    fn foreign_keys_and_what_was_not_logged_are_exceptions() {
        let mut ceremony = Ceremony::new(false);
        ceremony.device_signs(None);
        let unlogged = (1, 2);
        let what = log_exception(ceremony.transcript.lines(), PLACE, &ceremony.log, unlogged).unwrap();
        assert!(what.contains("started 1 times and was opened 2 times") && what.contains("signed 1 times with keys"), "{what}");
        let entries = ceremony.log.clone();
        let log = TranscriptEvent::DeviceLog { place: PLACE, entries, unlogged_boots: 1, unlogged_authentications: 2 };
        ceremony.push(log.clone());
        ceremony.refused("and that is no exception");
        let mut ceremony = Ceremony::new(false);
        ceremony.exception(&what);
        ceremony.push(log);
        assert_eq!(ceremony.judge(), Ok(()));
    }
}
