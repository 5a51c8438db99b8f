//! What is limited by how much: `[acme.limits]` and `[acme.pause]`.

use std::time::Duration;

use ca_core::limits::{MAX_FAILURES, PauseRule, Quota, parse_span, registered_name};
use ca_core::model::{AccountId, GrantId};
use ca_core::pki::Identifier;
use ca_core::validation::Network;
use serde::Deserialize;

use super::kind::{KINDS, Kind, SUBJECTS, Subject};

/// The most overrides.
const MAX_OVERRIDES: usize = 1000;

/// The longest time within which failures count.
const MAX_WITHIN: Duration = Duration::from_secs(31 * 86_400);

/// A quota, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum Rate {
    /// Not limited.
    Off,
    /// So many in so much time.
    Quota(Quota),
}

impl TryFrom<String> for Rate {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" { Ok(Self::Off) } else { text.parse().map(Self::Quota).map_err(|e| format!("{e}, or \"off\"")) }
    }
}

impl Rate {
    const fn quota(self) -> Option<Quota> {
        match self {
            Self::Off => None,
            Self::Quota(quota) => Some(quota),
        }
    }
}

/// The limits of one kind; what is left out keeps its default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PerSubject {
    /// Of each account.
    pub account: Option<Rate>,
    /// Of all accounts of a grant.
    pub grant: Option<Rate>,
    /// Of each IPv4 /24 and IPv6 /64.
    pub network: Option<Rate>,
    /// Of each registered domain, whoever asks.
    pub name: Option<Rate>,
}

impl PerSubject {
    const fn of(&self, subject: Subject) -> Option<Rate> {
        match subject {
            Subject::Account => self.account,
            Subject::Grant => self.grant,
            Subject::Network => self.network,
            Subject::Name => self.name,
        }
    }
}

/// `[[acme.limits.override]]`: other limits for one account, one grant, one network or one registered domain.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Override {
    /// This account.
    pub account: Option<AccountId>,
    /// All accounts of this grant together.
    pub grant: Option<GrantId>,
    /// Each IPv4 /24 and IPv6 /64 in this network.
    pub network: Option<Network>,
    /// This registered domain, or this address.
    pub name: Option<String>,
    /// Its new orders.
    pub orders: Option<Rate>,
    /// Its renewals.
    pub renewals: Option<Rate>,
    /// Its new accounts.
    pub accounts: Option<Rate>,
    /// Its failures.
    pub failures: Option<Rate>,
    /// Its revocations.
    pub revocations: Option<Rate>,
    /// What it changes of itself.
    pub changes: Option<Rate>,
}

impl Override {
    const fn of(&self, kind: Kind) -> Option<Rate> {
        match kind {
            Kind::Orders => self.orders,
            Kind::Renewals => self.renewals,
            Kind::Accounts => self.accounts,
            Kind::Failures => self.failures,
            Kind::Revocations => self.revocations,
            Kind::Changes => self.changes,
        }
    }
}

/// `[acme.limits]`: COUNT/SPAN, or "off".
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateSection {
    /// New orders and authorizations, but for renewals.
    pub orders: PerSubject,
    /// Orders for exactly the names of an earlier certificate of the account. Those that name the certificate that they
    /// replace (RFC 9773) are never limited.
    pub renewals: PerSubject,
    /// New accounts.
    pub accounts: PerSubject,
    /// Failed validations and orders; past them no new ones are begun.
    pub failures: PerSubject,
    /// Revocations by accounts; a key that revokes its own certificate is not limited.
    pub revocations: PerSubject,
    /// What an account changes of itself and gives up: contacts, its key, authorizations.
    pub changes: PerSubject,
    /// Other limits for some.
    #[serde(rename = "override")]
    pub overrides: Vec<Override>,
}

impl RateSection {
    const fn of(&self, kind: Kind) -> &PerSubject {
        match kind {
            Kind::Orders => &self.orders,
            Kind::Renewals => &self.renewals,
            Kind::Accounts => &self.accounts,
            Kind::Failures => &self.failures,
            Kind::Revocations => &self.revocations,
            Kind::Changes => &self.changes,
        }
    }

    /// What is wrong with it, with the key's name.
    ///
    /// # Errors
    /// The text for the operator.
    pub fn check(&self) -> Result<(), String> {
        for (kind, subject) in pairs() {
            if self.of(kind).of(subject).is_some() && !kind.is_by(subject) {
                return Err(format!("acme.limits.{}.{}: {0} are not counted by {1}", kind.name(), subject.name()));
            }
        }
        if self.overrides.len() > MAX_OVERRIDES {
            return Err(format!("acme.limits.override has at most {MAX_OVERRIDES} entries"));
        }
        for (i, entry) in self.overrides.iter().enumerate() {
            let whom = [entry.account.is_some(), entry.grant.is_some(), entry.network.is_some(), entry.name.is_some()];
            if whom.iter().filter(|given| **given).count() != 1 {
                return Err(format!("acme.limits.override, entry {}: it is for one of account, grant, network and name", i + 1));
            }
            if let Some(name) = &entry.name {
                // One that nothing is counted under would change nothing.
                let counted = Identifier::from_text(name).map(|identifier| registered_name(&identifier));
                match counted {
                    Ok(counted) if counted == *name => {}
                    Ok(counted) => {
                        return Err(format!(
                            "acme.limits.override, entry {}: `{name}` is counted under `{counted}` (hint: give that)",
                            i + 1
                        ));
                    }
                    Err(error) => return Err(format!("acme.limits.override, entry {}: name: {error}", i + 1)),
                }
            }
            let subject = SUBJECTS.into_iter().zip(whom).find(|(_, given)| *given);
            let given = KINDS.into_iter().filter(|kind| entry.of(*kind).is_some());
            if let Some((subject, _)) = subject
                && let Some(kind) = given.clone().find(|kind| !kind.is_by(subject))
            {
                return Err(format!("acme.limits.override, entry {}: {} are not counted by {}", i + 1, kind.name(), subject.name()));
            }
            if given.count() == 0 {
                return Err(format!("acme.limits.override, entry {}: it changes no limit", i + 1));
            }
        }
        Ok(())
    }
}

fn pairs() -> impl Iterator<Item = (Kind, Subject)> {
    KINDS.into_iter().flat_map(|kind| SUBJECTS.into_iter().map(move |subject| (kind, subject)))
}

/// `[acme.pause]`: when an account that only fails is paused.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PauseSection {
    /// After so many failures in a row; 0: never.
    pub failures: u32,
    /// Within so much time, as "1d".
    pub within: String,
}

impl Default for PauseSection {
    fn default() -> Self {
        Self { failures: 50, within: "1d".to_owned() }
    }
}

impl PauseSection {
    /// The rule; none: accounts are not paused.
    ///
    /// # Errors
    /// The text for the operator.
    pub fn rule(&self) -> Result<Option<PauseRule>, String> {
        let within = parse_span(&self.within).filter(|span| (Duration::from_secs(1)..=MAX_WITHIN).contains(span));
        let within =
            within.ok_or_else(|| format!("acme.pause.within is `{}`, not 1s to 31d (hint: \"1d\"; units s, m, h, d)", self.within))?;
        match self.failures {
            0 => Ok(None),
            n if n <= MAX_FAILURES => PauseRule::new(n, within).map(Some),
            n => Err(format!("acme.pause.failures is {n}, not 0 to {MAX_FAILURES}")),
        }
    }
}

/// The limits, as the server uses them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rates {
    /// By kind and subject.
    quotas: [[Option<Quota>; SUBJECTS.len()]; KINDS.len()],
    /// The narrowest network first.
    overrides: Vec<Override>,
}

impl Default for Rates {
    fn default() -> Self {
        Self::from(&RateSection::default())
    }
}

impl From<&RateSection> for Rates {
    fn from(section: &RateSection) -> Self {
        let one = |kind: Kind, subject: Subject| section.of(kind).of(subject).map_or_else(|| kind.default(subject), Rate::quota);
        let mut overrides = section.overrides.clone();
        overrides.sort_by_key(|entry| entry.network.map_or(0, |network| u8::MAX - network.bits()));
        Self { quotas: KINDS.map(|kind| SUBJECTS.map(|subject| one(kind, subject))), overrides }
    }
}

impl Rates {
    /// No limits at all.
    pub const fn off() -> Self {
        Self { quotas: [[None; SUBJECTS.len()]; KINDS.len()], overrides: Vec::new() }
    }

    /// The quota of `kind` for a subject, of which `is` says whether an override is for it.
    pub(super) fn quota(&self, kind: Kind, subject: Subject, is: impl Fn(&Override) -> bool) -> Option<Quota> {
        let other = self.overrides.iter().filter(|entry| is(entry)).find_map(|entry| entry.of(kind));
        other.map_or(self.quotas[kind as usize][subject as usize], Rate::quota)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RateSection, String> {
        let section: RateSection = toml::from_str(text).map_err(|e| e.to_string())?;
        section.check().map(|()| section)
    }

    #[test]
    fn a23_what_is_left_out_keeps_its_default() {
        assert_eq!(Rates::from(&read("").unwrap()), Rates::default());
        let rates = Rates::from(&read("orders = { account = \"5/1m\", grant = \"off\" }").unwrap());
        let quota = |kind, subject| rates.quota(kind, subject, |_| false);
        assert_eq!(quota(Kind::Orders, Subject::Account).map(|q| q.to_string()).as_deref(), Some("5/1m"));
        assert_eq!(quota(Kind::Orders, Subject::Grant), None);
        assert_eq!(quota(Kind::Orders, Subject::Network), Kind::Orders.default(Subject::Network));
        assert!(quota(Kind::Orders, Subject::Network).is_some());
        for (kind, subject) in pairs() {
            assert!(kind.is_by(subject) || kind.default(subject).is_none(), "{kind:?} {subject:?}");
            assert_eq!(Rates::off().quota(kind, subject, |_| false), None);
        }
    }

    #[test]
    fn a23_the_narrowest_override_counts() {
        let text = r#"
            [[override]]
            network = "10.0.0.0/8"
            orders = "8/1m"
            [[override]]
            network = "10.1.0.0/16"
            orders = "off"
            [[override]]
            grant = "g"
            accounts = "3/1d"
        "#;
        let rates = Rates::from(&read(text).unwrap());
        let network = |address: &str| {
            let address = address.parse().unwrap();
            rates.quota(Kind::Orders, Subject::Network, |o| o.network.is_some_and(|n| n.contains(address))).map(|q| q.to_string())
        };
        assert_eq!(network("10.2.0.1").as_deref(), Some("8/1m"));
        assert_eq!(network("10.1.0.1"), None);
        assert_eq!(network("10.1.0.1"), None);
        assert_eq!(network("192.0.2.1"), Kind::Orders.default(Subject::Network).map(|q| q.to_string()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, expected: &str| {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("orders = { account = \"5\" }", "is not COUNT/SPAN");
        check("orders = { accounts = \"5/1h\" }", "unknown field");
        check("order = {}", "unknown field");
        check("failures = { name = \"5/1h\" }", "acme.limits.failures.name: failures are not counted by name");
        check("[[override]]\norders = \"off\"", "entry 1: it is for one of");
        check("[[override]]\ngrant = \"g\"\naccount = \"a\"\norders = \"off\"", "it is for one of");
        check("[[override]]\ngrant = \"g\"", "it changes no limit");
        check("[[override]]\nname = \"a.bank.test\"\norders = \"off\"", "`a.bank.test` is counted under `bank.test` (hint:");
        check("[[override]]\nname = \"a..b\"\norders = \"off\"", "entry 1: name: ");
        check("[[override]]\nname = \"bank.test\"\nrenewals = \"1/1h\"", "renewals are not counted by name");
        check("changes = { network = \"5/1h\" }", "acme.limits.changes.network: changes are not counted by network");
        check("[[override]]\ngrant = \"g\"\nfailures = \"1/1h\"", "failures are not counted by grant");
        check("[[override]]\nnetwork = \"10.0.0.1/8\"\norders = \"off\"", "is not a network");
        let pause = |text: &str| toml::from_str::<PauseSection>(text).map_err(|e| e.to_string()).and_then(|s| s.rule());
        assert!(pause("").unwrap().is_some());
        assert_eq!(pause("failures = 0").unwrap(), None);
        assert!(pause("failures = 101").unwrap_err().contains("acme.pause.failures is 101"));
        assert!(pause("within = \"32d\"").unwrap_err().contains("acme.pause.within is `32d`"));
    }
}
