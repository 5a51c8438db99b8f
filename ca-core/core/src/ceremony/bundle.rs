//! A policy with the officers' approval: what the worker stores and verifies before it trusts a policy.

use serde::{Deserialize, Serialize};

use super::{ActStatement, CeremonyError, OfficerAct, Operation, Roster, Statement, quorum};
use crate::pki::{Sha256Digest, Timestamp, sha256};
use crate::policy::Policy;

/// A policy document, the statement over it, and the signatures. Its JSON form is kept by the worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyBundle {
    /// The policy, TOML, verbatim.
    pub policy: String,
    /// The statement, verbatim.
    pub statement: String,
    /// Armoured SSHSIG signatures over the statement.
    pub signatures: Vec<String>,
}

impl PolicyBundle {
    /// The most bytes of its JSON form.
    pub const MAX_BYTES: usize = 1 << 22;

    /// Verifies it from bytes to meaning: the statement approves exactly this policy, and at least the roster's
    /// threshold of distinct people signed it. Returns the policy and their names. The statement is a ceremony's, or
    /// that of an act on the running CA.
    ///
    /// Whether the version grows, and which roster it needs, is the caller's question: only the caller knows the
    /// version before, and [`super::RosterChain::for_policy`].
    ///
    /// # Errors
    /// When any of that does not hold.
    pub fn verify(&self, roster: &Roster) -> Result<(Policy, Vec<String>), CeremonyError> {
        roster.check()?;
        let (version, policy_sha256) = match self.statement_format() {
            Some(ActStatement::FORMAT) => self.of_an_act(roster)?,
            _ => self.of_a_ceremony()?,
        };
        if policy_sha256 != self.policy_sha256() {
            return Err(CeremonyError::refused("policy bundle", "the policy is not the one that the officers signed"));
        }
        let policy = Policy::parse(&self.policy)?;
        if policy.version != version {
            return Err(CeremonyError::refused("policy bundle", "the statement names another version than the policy's"));
        }
        let names = quorum(roster, "policy", self.statement.as_bytes(), &self.signatures)?;
        Ok((policy, names))
    }

    /// The digest of the policy document.
    pub fn policy_sha256(&self) -> Sha256Digest {
        sha256(self.policy.as_bytes())
    }

    /// The nonce of its approval, until when the approval counts, and whether it is one of an act on the running CA.
    ///
    /// # Errors
    /// When the statement does not parse.
    pub fn approval(&self) -> Result<(String, Timestamp, bool), CeremonyError> {
        if self.statement_format() == Some(ActStatement::FORMAT) {
            let statement = ActStatement::parse(self.statement.as_bytes())?;
            return Ok((statement.nonce, statement.expires_at, true));
        }
        let statement = Statement::parse(self.statement.as_bytes())?;
        Ok((statement.nonce, statement.expires_at, false))
    }

    /// Which of the two formats the statement says it has; the parser of that one judges the rest.
    fn statement_format(&self) -> Option<&'static str> {
        #[derive(Deserialize)]
        struct Peek {
            format: String,
        }
        let peek: Peek = serde_json::from_str(&self.statement).ok()?;
        [ActStatement::FORMAT, Statement::FORMAT].into_iter().find(|format| *format == peek.format)
    }

    fn of_a_ceremony(&self) -> Result<(u64, Sha256Digest), CeremonyError> {
        let statement = Statement::parse(self.statement.as_bytes())?;
        let Operation::ApprovePolicy { version, policy_sha256 } = statement.operation else {
            return Err(CeremonyError::refused("policy bundle", "its statement approves something else than a policy"));
        };
        if statement.policy_sha256 != policy_sha256 || statement.policy_version != version {
            return Err(CeremonyError::refused("policy bundle", "the statement names another version or policy than it approves"));
        }
        Ok((version, policy_sha256))
    }

    fn of_an_act(&self, roster: &Roster) -> Result<(u64, Sha256Digest), CeremonyError> {
        let statement = ActStatement::parse(self.statement.as_bytes())?;
        let OfficerAct::PutPolicy { version, policy_sha256 } = statement.act else {
            return Err(CeremonyError::refused("policy bundle", "its statement approves something else than a policy"));
        };
        if statement.standing.roster_sha256 != roster.digest() || statement.standing.policy_version >= version {
            return Err(CeremonyError::refused("policy bundle", "the statement stands on another roster, or on a newer policy"));
        }
        Ok((version, policy_sha256))
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// When it is too large or does not parse.
    pub fn from_json(text: &str) -> Result<Self, CeremonyError> {
        let syntax = |reason: String| CeremonyError::Syntax { what: "policy bundle", reason };
        if text.len() > Self::MAX_BYTES {
            return Err(syntax(format!("it has {} bytes; the most is {}", text.len(), Self::MAX_BYTES)));
        }
        serde_json::from_str(text).map_err(|e| syntax(e.to_string()))
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings have a JSON form")
    }
}

#[cfg(test)]
mod tests {
    use super::super::quorum::tests::{roster, signed};
    use super::*;

    fn bundle(seeds: &[u8]) -> PolicyBundle {
        let policy = "version = 3\n".to_owned();
        let policy_sha256 = sha256(policy.as_bytes());
        let statement = Statement {
            format: Statement::FORMAT.to_owned(),
            operation: Operation::ApprovePolicy { version: 3, policy_sha256 },
            authority: "root".parse().unwrap(),
            plan_sha256: sha256(b"plan"),
            policy_version: 3,
            policy_sha256,
            nonce: "00".repeat(16),
            issued_at: Timestamp::from_unix(0),
            expires_at: Timestamp::from_unix(10),
        };
        let statement = String::from_utf8(statement.to_bytes()).unwrap();
        let signatures = signed(seeds, "ceremony@countersign", statement.as_bytes());
        PolicyBundle { policy, statement, signatures }
    }

    #[test]
    fn a_policy_counts_with_the_quorum_over_exactly_it() {
        let good = bundle(&[1, 4]);
        let (policy, names) = PolicyBundle::from_json(&good.to_json()).unwrap().verify(&roster()).unwrap();
        assert_eq!((policy.version, names), (3, vec!["ana".to_owned(), "cora".to_owned()]));

        assert!(bundle(&[1, 2]).verify(&roster()).unwrap_err().to_string().contains("1 of 2 officers"));
        let mut edited = good.clone();
        edited.policy.push('\n');
        assert!(edited.verify(&roster()).unwrap_err().to_string().contains("not the one that the officers signed"));
        let mut edited = good.clone();
        edited.statement = edited.statement.replace("\"version\": 3", "\"version\": 4");
        assert!(edited.verify(&roster()).is_err());
        let mut edited = good;
        edited.statement.push(' ');
        assert!(edited.verify(&roster()).unwrap_err().to_string().contains("canonical"));
    }

    #[test]
    fn a_policy_may_come_from_an_act_on_the_running_ca() {
        use super::super::act::tests::{NAMESPACE, standing, statement};
        let policy = "version = 3\n".to_owned();
        let bundle = |act: OfficerAct, policy_version: u64, seeds: &[u8]| {
            let statement = statement(act, standing(&roster(), 0, policy_version)).to_bytes();
            let signatures = signed(seeds, NAMESPACE, &statement);
            PolicyBundle { policy: policy.clone(), statement: String::from_utf8(statement).unwrap(), signatures }
        };
        let put = |version: u64| OfficerAct::PutPolicy { version, policy_sha256: sha256(policy.as_bytes()) };
        let (parsed, names) = bundle(put(3), 2, &[1, 4]).verify(&roster()).unwrap();
        assert_eq!((parsed.version, names), (3, vec!["ana".to_owned(), "cora".to_owned()]));
        let refused = |bundle: PolicyBundle, roster: &Roster, part: &str| {
            let text = bundle.verify(roster).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        };
        refused(bundle(put(3), 2, &[1, 2]), &roster(), "1 of 2");
        refused(bundle(put(4), 2, &[1, 4]), &roster(), "another version");
        refused(bundle(put(3), 3, &[1, 4]), &roster(), "newer policy");
        refused(bundle(OfficerAct::Resume, 2, &[1, 4]), &roster(), "something else");
        let other = OfficerAct::PutPolicy { version: 3, policy_sha256: sha256(b"other") };
        refused(bundle(other, 2, &[1, 4]), &roster(), "not the one that the officers signed");
        let mut later = roster();
        later.officers.remove(1);
        refused(bundle(put(3), 2, &[1, 4]), &later, "another roster");
    }

    #[test]
    fn a_statement_has_its_time() {
        let statement = Statement::parse(bundle(&[]).statement.as_bytes()).unwrap();
        assert!(statement.check_time(Timestamp::from_unix(9)).is_ok());
        assert!(statement.check_time(Timestamp::from_unix(10)).is_err());
        assert!(statement.check_time(Timestamp::from_unix(-301)).is_err());
    }
}
