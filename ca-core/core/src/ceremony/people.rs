//! Who takes part in a ceremony, in which role, and whose word is whose.

use serde::{Deserialize, Serialize};

use super::roster::{check_keys, is_name, shorten};
use super::{CeremonyError, Roster};

/// What a person is in a ceremony. A person has one role: no two of them go together (requirement 8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Prepares the machine and types the commands.
    Administrator,
    /// Approves: signs the plan and the statements. Officers stand in the roster.
    Officer,
    /// Watches, compares, signs the closed transcript.
    Witness,
    /// Verifies the bundle afterwards, elsewhere.
    Auditor,
    /// Keeps something under seal and does nothing else; officers may be custodians too.
    Custodian,
}

impl Role {
    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Officer => "officer",
            Self::Witness => "witness",
            Self::Auditor => "auditor",
            Self::Custodian => "custodian",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A person who is no officer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The name, which also stands in the file names of signatures.
    pub name: String,
    /// The role.
    pub role: Role,
    /// One or more public keys in OpenSSH form.
    pub keys: Vec<String>,
}

/// Something that a person takes into custody and must acknowledge (requirement 12).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custodian {
    /// An officer, a witness or a custodian of this plan.
    pub name: String,
    /// What: for example `share 1 of 3 of the root key store's secret`.
    pub holds: String,
}

/// Everyone but the officers, and who keeps what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct People {
    /// The others.
    pub persons: Vec<Person>,
    /// Who keeps what.
    pub custodians: Vec<Custodian>,
}

impl People {
    const MAX_PERSONS: usize = 64;
    /// The most characters of what people write.
    pub const MAX_TEXT: usize = 200;

    /// Checks them against the officers.
    ///
    /// # Errors
    /// When a name or a key stands for two people or in two roles, a role is missing that every ceremony needs, or
    /// something is in the custody of somebody who may not have it.
    pub fn check(&self, roster: &Roster) -> Result<(), CeremonyError> {
        let refused = |reason: String| Err(CeremonyError::refused("plan's people", reason));
        if self.persons.len() > Self::MAX_PERSONS || self.custodians.len() > Self::MAX_PERSONS {
            return refused(format!("more than {} people", Self::MAX_PERSONS));
        }
        let mut keys = Vec::new();
        for officer in &roster.officers {
            check_keys("plan's people", &officer.name, &officer.keys, &mut keys)?;
        }
        for (i, person) in self.persons.iter().enumerate() {
            let name = &person.name;
            if !is_name(name) {
                return refused(format!("`{}` is not a name: 1 to 32 lowercase letters, digits and `-`", shorten(name)));
            }
            if person.role == Role::Officer {
                return refused(format!("`{name}`: officers stand in the roster"));
            }
            let other = roster.officers.iter().find(|o| o.name == *name).map(|_| Role::Officer);
            if let Some(other) = other.or_else(|| self.persons[..i].iter().find(|p| p.name == *name).map(|p| p.role)) {
                return refused(format!(
                    "`{name}` is {other} and {}: one person has one role (hint: name another person, or drop one of the roles)",
                    person.role
                ));
            }
            check_keys("plan's people", name, &person.keys, &mut keys)?;
        }
        for needed in [Role::Administrator, Role::Witness] {
            if !self.persons.iter().any(|p| p.role == needed) {
                return refused(format!("there is no {needed} (hint: [[person]] with role = \"{needed}\")"));
            }
        }
        if self.custodians.is_empty() {
            return refused("nobody keeps anything (hint: [[custodian]] names who keeps the root's key store or its shares)".to_owned());
        }
        for (i, custodian) in self.custodians.iter().enumerate() {
            let Custodian { name, holds } = custodian;
            match self.role(roster, name) {
                Some(Role::Officer | Role::Witness | Role::Custodian) => {}
                Some(role) => return refused(format!("`{name}` is {role} and keeps nothing: that would join what is kept apart")),
                None => return refused(format!("the custodian `{}` is none of the people of this plan", shorten(name))),
            }
            if !is_text(holds) || self.custodians[..i].iter().any(|c| c.name == *name) {
                return refused(format!("the custodian `{name}` stands twice, or what is kept is not 1 to {} characters", Self::MAX_TEXT));
            }
        }
        Ok(())
    }

    /// The role of this name.
    pub fn role(&self, roster: &Roster, name: &str) -> Option<Role> {
        let officer = roster.officers.iter().any(|o| o.name == name).then_some(Role::Officer);
        officer.or_else(|| self.persons.iter().find(|p| p.name == name).map(|p| p.role))
    }

    /// Everyone, the officers first: name, role and keys.
    pub fn everyone<'a>(&'a self, roster: &'a Roster) -> impl Iterator<Item = (&'a str, Role, &'a [String])> {
        let officers = roster.officers.iter().map(|o| (o.name.as_str(), Role::Officer, o.keys.as_slice()));
        officers.chain(self.persons.iter().map(|p| (p.name.as_str(), p.role, p.keys.as_slice())))
    }
}

/// One line that a person wrote.
pub(super) fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= People::MAX_TEXT && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::check;
    use super::super::quorum::tests::public;

    #[test]
    fn ceremony_08_incompatible_roles_in_one_person_are_refused() {
        // By name: an officer who also watches, an administrator who also approves, one person twice.
        check("name = \"wim\"", "name = \"ana\"", "`ana` is officer and witness");
        check("name = \"dora\"", "name = \"bela\"", "`bela` is officer and administrator");
        check("name = \"wim\"", "name = \"dora\"", "`dora` is administrator and witness");
        // By key: whoever holds the key is one person, whatever the name.
        check(&public(22), &public(1), "a key belongs to one person");
        check(&public(21), &public(22), "a key belongs to one person");
        for role in ["auditor", "administrator"] {
            let twice = format!("role = \"witness\"\nkeys = [\"{}\"]\n[[person]]\nname = \"ana\"\nrole = \"{role}\"", public(23));
            check("role = \"witness\"", &twice, &format!("`ana` is officer and {role}"));
        }
        check("role = \"witness\"", "role = \"officer\"", "officers stand in the roster");
        check("role = \"witness\"", "role = \"auditor\"", "there is no witness");
        check("role = \"administrator\"", "role = \"auditor\"", "there is no administrator");
        // What an administrator could use alone is in others' custody.
        check("[[custodian]]\nname = \"ana\"", "[[custodian]]\nname = \"dora\"", "`dora` is administrator and keeps nothing");
        check("[[custodian]]\nname = \"ana\"", "[[custodian]]\nname = \"eve\"", "none of the people");
    }
}
