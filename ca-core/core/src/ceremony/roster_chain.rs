//! The officers over time: a chain of changes from the first ceremony's roster on (requirement 10).
//!
//! Each change is signed by enough people of the roster before it, and names the chain's head before it, so that no
//! row can put an officer in or keep one who was removed. Each also names the policy that was in force: that says
//! which roster a policy needs, and those who left can't approve one afterwards.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{ActStatement, CeremonyError, OfficerAct, Roster};
use crate::pki::{Sha256Digest, sha256};

/// A change: the whole new roster, the statement over it, and the signatures. Its JSON form is kept by the worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RosterChange {
    /// The new roster, TOML, verbatim.
    pub roster: String,
    /// The statement, verbatim.
    pub statement: String,
    /// Armoured SSHSIG signatures over the statement, by officers of the roster before.
    pub signatures: Vec<String>,
}

impl RosterChange {
    /// The most bytes of its JSON form.
    pub const MAX_BYTES: usize = 1 << 23;

    /// Reads the JSON form.
    ///
    /// # Errors
    /// When it is too large or does not parse.
    pub fn from_json(text: &str) -> Result<Self, CeremonyError> {
        let syntax = |reason: String| CeremonyError::Syntax { what: "roster change", reason };
        if text.len() > Self::MAX_BYTES {
            return Err(syntax(format!("it has {} bytes; the most is {}", text.len(), Self::MAX_BYTES)));
        }
        serde_json::from_str(text).map_err(|e| syntax(e.to_string()))
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings have a JSON form")
    }
}

/// One verified change.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Link {
    roster: Roster,
    head: Sha256Digest,
    ca_sha256: Sha256Digest,
    policy_version: u64,
    nonce: String,
}

/// The rosters, verified from the first one on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RosterChain {
    genesis: Roster,
    links: Vec<Link>,
}

impl RosterChain {
    /// The most changes in the life of a CA; then a new ceremony begins a new chain.
    pub const MAX_CHANGES: usize = 1000;

    /// A chain that begins with the roster that the configuration and the anchor pin.
    ///
    /// # Errors
    /// When that roster is no dual control.
    pub fn new(genesis: Roster) -> Result<Self, CeremonyError> {
        genesis.check()?;
        Ok(Self { genesis, links: Vec::new() })
    }

    /// Verifies every change, in order.
    ///
    /// # Errors
    /// When there are too many, or one does not follow.
    pub fn verify<'a>(genesis: Roster, changes: impl IntoIterator<Item = &'a RosterChange>) -> Result<Self, CeremonyError> {
        let mut chain = Self::new(genesis)?;
        for change in changes {
            chain = chain.followed_by(change)?.0;
        }
        Ok(chain)
    }

    /// The chain with one more change, and the names of those who signed it. When it was signed is not judged here:
    /// that was for whoever let it in.
    ///
    /// # Errors
    /// When it does not follow the standing roster, is another roster than was signed, changes nothing or the kind, or
    /// fewer than the standing roster's threshold of people signed.
    pub fn followed_by(mut self, change: &RosterChange) -> Result<(Self, Vec<String>), CeremonyError> {
        let refused = |reason: String| Err(CeremonyError::refused("roster change", reason));
        if self.links.len() >= Self::MAX_CHANGES {
            return refused(format!("the chain has {} changes already (hint: a new ceremony begins a new one)", Self::MAX_CHANGES));
        }
        let statement = ActStatement::parse(change.statement.as_bytes())?;
        let OfficerAct::ChangeRoster { number, before, roster_sha256 } = &statement.act else {
            return refused("its statement approves something else than a change of the roster".to_owned());
        };
        let next = self.number() + 1;
        let said = &statement.standing;
        if *number != next
            || *before != self.head()
            || said.roster_number != self.number()
            || said.roster_sha256 != self.standing().digest()
        {
            return refused(format!("change {number} does not follow roster {} (hint: someone else's change came first)", self.number()));
        }
        if self.links.last().is_some_and(|last| said.policy_version < last.policy_version) {
            return refused(format!("change {number} stands on an older policy than the change before it"));
        }
        let roster = Roster::parse(&change.roster)?;
        if roster.to_toml() != change.roster || roster.digest() != *roster_sha256 {
            return refused("the roster is not the one that the officers signed".to_owned());
        }
        if roster.kind != self.genesis.kind {
            return refused(format!("a {} roster can't become a {} one", self.genesis.kind, roster.kind));
        }
        if roster == *self.standing() {
            return refused("it changes nothing".to_owned());
        }
        // The people of the roster before it: a new officer can't approve their own enrolment.
        let names = statement.approved_by(self.standing(), change.statement.as_bytes(), &change.signatures)?;
        self.links.push(Link {
            roster,
            head: sha256(change.statement.as_bytes()),
            ca_sha256: said.ca_sha256,
            policy_version: said.policy_version,
            nonce: statement.nonce.clone(),
        });
        Ok((self, names))
    }

    /// The roster that the chain begins with.
    pub const fn genesis(&self) -> &Roster {
        &self.genesis
    }

    /// How many changes there were.
    pub fn number(&self) -> u64 {
        self.links.len() as u64
    }

    /// The standing roster.
    pub fn standing(&self) -> &Roster {
        self.links.last().map_or(&self.genesis, |link| &link.roster)
    }

    /// The roster after `number` changes; none: there were not so many.
    pub fn at(&self, number: u64) -> Option<&Roster> {
        match usize::try_from(number).ok()? {
            0 => Some(&self.genesis),
            n => self.links.get(n - 1).map(|link| &link.roster),
        }
    }

    /// The nonce of the approval behind change `number`; none: there is no such change.
    pub fn nonce(&self, number: u64) -> Option<&str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.links.get(index).map(|link| link.nonce.as_str())
    }

    /// What the next change must name: the genesis roster's digest, or that of the last change's statement.
    pub fn head(&self) -> Sha256Digest {
        self.links.last().map_or_else(|| self.genesis.digest(), |link| link.head)
    }

    /// The roster whose officers approve the policy with this version: the one that stood when it was put in force. A
    /// change names the policy in force, so later policies need the roster after it, and earlier ones the one before.
    pub fn for_policy(&self, version: u64) -> &Roster {
        self.links.iter().rev().find(|link| link.policy_version < version).map_or(&self.genesis, |link| &link.roster)
    }

    /// Refuses changes that officers approved for another CA that began with the same roster.
    ///
    /// # Errors
    /// When a change names none of `roots`, digests of root certificates.
    pub fn check_ca(&self, roots: &BTreeSet<Sha256Digest>) -> Result<(), CeremonyError> {
        match self.links.iter().position(|link| !roots.contains(&link.ca_sha256)) {
            None => Ok(()),
            Some(i) => Err(CeremonyError::refused("roster change", format!("change {} was approved for another CA", i + 1))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::act::tests::{NAMESPACE, standing, statement};
    use super::super::quorum::tests::{public, roster, signed};
    use super::super::{CeremonyKind, Officer};
    use super::*;

    /// The change from `chain`'s standing roster to `new`, signed by the keys of `seeds`.
    fn change(chain: &RosterChain, new: &Roster, policy_version: u64, seeds: &[u8]) -> RosterChange {
        let act = OfficerAct::ChangeRoster { number: chain.number() + 1, before: chain.head(), roster_sha256: new.digest() };
        let statement = statement(act, standing(chain.standing(), chain.number(), policy_version)).to_bytes();
        let signatures = signed(seeds, NAMESPACE, &statement);
        RosterChange { roster: new.to_toml(), statement: String::from_utf8(statement).unwrap(), signatures }
    }

    /// Without bela (key 3), with dora (key 5).
    fn second() -> Roster {
        let mut new = roster();
        new.officers[1] = Officer { name: "dora".to_owned(), keys: vec![public(5)] };
        new
    }

    #[track_caller]
    fn refused(chain: &RosterChain, change: &RosterChange, part: &str) {
        let text = chain.clone().followed_by(change).unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    }

    #[test]
    fn ceremony_10_a_change_needs_the_standing_rosters_quorum() {
        let first = RosterChain::new(roster()).unwrap();
        let good = change(&first, &second(), 1, &[1, 3]);
        let (chain, names) = first.clone().followed_by(&good).unwrap();
        assert_eq!((chain.number(), names), (1, vec!["ana".to_owned(), "bela".to_owned()]));
        assert_eq!(chain.standing(), &second());
        assert_eq!(RosterChain::verify(roster(), [&good]).unwrap(), chain);
        assert_eq!(RosterChange::from_json(&good.to_json()).unwrap(), good);

        refused(&first, &change(&first, &second(), 1, &[1, 2]), "1 of 2 officers");
        // Dora can't vote herself in.
        refused(&first, &change(&first, &second(), 1, &[1, 5]), "none of the officers");
        refused(&chain, &good, "does not follow");

        // Bela is gone: she approves nothing more. Dora does.
        let mut third = second();
        third.threshold = 3;
        refused(&chain, &change(&chain, &third, 1, &[1, 3]), "none of the officers");
        let (chain, _) = chain.clone().followed_by(&change(&chain, &third, 1, &[4, 5])).unwrap();
        assert_eq!((chain.number(), chain.standing().threshold), (2, 3));
        assert_eq!(chain.at(0), Some(&roster()));
        assert_eq!(chain.at(1), Some(&second()));
        assert_eq!((chain.at(2), chain.at(3)), (Some(&third), None));
    }

    #[test]
    fn an_edited_chain_is_refused() {
        let first = RosterChain::new(roster()).unwrap();
        let one = change(&first, &second(), 1, &[1, 3]);
        let chain = first.clone().followed_by(&one).unwrap().0;
        let mut third = second();
        third.officers.push(Officer { name: "emil".to_owned(), keys: vec![public(6)] });
        let two = change(&chain, &third, 2, &[1, 5]);
        assert!(RosterChain::verify(roster(), [&one, &two]).is_ok());

        assert!(RosterChain::verify(roster(), [&two]).is_err(), "a change is missing");
        assert!(RosterChain::verify(roster(), [&two, &one]).is_err(), "in another order");
        let edit = |edit: &dyn Fn(&mut RosterChange)| {
            let mut edited = one.clone();
            edit(&mut edited);
            first.clone().followed_by(&edited).unwrap_err().to_string()
        };
        assert!(edit(&|c| c.roster = third.to_toml()).contains("not the one that the officers signed"));
        assert!(edit(&|c| c.roster.push('\n')).contains("not the one"));
        assert!(edit(&|c| c.statement = c.statement.replace("\"number\": 1", "\"number\": 2")).contains("does not follow"));
        assert!(edit(&|c| c.signatures.truncate(1)).contains("1 of 2"));
        assert!(edit(&|c| c.signatures.clear()).contains("0 of 2"));

        let mut rehearsal = second();
        rehearsal.kind = CeremonyKind::Rehearsal;
        refused(&first, &change(&first, &rehearsal, 1, &[1, 3]), "can't become");
        refused(&first, &change(&first, &roster(), 1, &[1, 3]), "changes nothing");
        refused(&chain, &change(&chain, &third, 0, &[1, 5]), "older policy");
        assert!(chain.check_ca(&BTreeSet::from([sha256(b"root")])).is_ok());
        assert!(chain.check_ca(&BTreeSet::from([sha256(b"another root")])).unwrap_err().to_string().contains("another CA"));
    }

    #[test]
    fn those_who_left_approve_no_later_policy() {
        // The roster changed while version 4 was in force, and again while 7 was.
        let first = RosterChain::new(roster()).unwrap();
        let chain = first.clone().followed_by(&change(&first, &second(), 4, &[1, 3])).unwrap().0;
        let mut third = second();
        third.officers.remove(0);
        let chain = chain.clone().followed_by(&change(&chain, &third, 7, &[1, 5])).unwrap().0;
        for (version, expected) in [(1, &roster()), (4, &roster()), (5, &second()), (7, &second()), (8, &third), (u64::MAX, &third)] {
            assert_eq!(chain.for_policy(version), expected, "version {version}");
        }
    }
}
