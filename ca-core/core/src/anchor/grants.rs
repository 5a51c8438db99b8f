//! The newest statement of each grant: one that was signed before it never counts again, nor does a secret that was
//! rotated away, nor a grant that was revoked.
//!
//! Every grant has one mark, of fixed size. A mark moves to a statement that says, signed by an operator, that it replaces
//! the one marked; there is no way back.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::AnchorStep;
use crate::model::{GrantId, GrantRecord, GrantStatus};
use crate::pki::{Sha256Digest, Timestamp, sha256};
use crate::ports::AnchorError;

/// Where a signed grant stands among the statements about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantPlace {
    /// The version of its secret.
    pub version: u32,
    /// SHA-256 of the statement.
    pub statement: Sha256Digest,
    /// SHA-256 of the one that it replaces; none: it made the grant.
    pub replaces: Option<Sha256Digest>,
    /// When it was signed.
    pub issued_at: Timestamp,
}

impl GrantPlace {
    /// The step to it.
    pub fn step(&self, id: &GrantId) -> AnchorStep {
        AnchorStep::Grant { id: id.clone(), place: *self }
    }
}

/// What is remembered of a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantMark {
    /// The version of its secret.
    pub version: u32,
    /// SHA-256 of its newest statement.
    pub statement: Sha256Digest,
    /// The latest time at which any statement about it was signed.
    pub issued_at: Timestamp,
    /// Its state.
    pub status: GrantStatus,
}

/// All marks. A copy shares them until one moves.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grants {
    #[serde(with = "shared")]
    marks: Arc<BTreeMap<GrantId, GrantMark>>,
    /// The latest signing time among the revoked grants that were forgotten: no unknown one signed by then is taken.
    floor: Option<Timestamp>,
}

impl Grants {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn len(&self) -> usize {
        self.marks.len()
    }

    pub(super) fn get(&self, id: &GrantId) -> Option<&GrantMark> {
        self.marks.get(id)
    }

    /// Moves a grant's mark, or makes its first; `most` bounds how many there are.
    pub(super) fn stand(&mut self, id: &GrantId, place: &GrantPlace, most: usize) -> Result<(), AnchorError> {
        let older = |what: String| Err(AnchorError::Behind(format!("grant `{id}` stands on the statement {}, {what}", place.statement)));
        let mark = match self.get(id) {
            Some(known) if known.statement == place.statement => return Ok(()),
            Some(known) if known.status == GrantStatus::Revoked => return older("and this worker has seen it revoked".to_owned()),
            Some(known) if place.replaces != Some(known.statement) || place.version < known.version => {
                return older(format!(
                    "of the secret's version {}; the newest that this worker has seen is {}, of version {}",
                    place.version, known.statement, known.version
                ));
            }
            Some(known) => GrantMark {
                version: place.version,
                statement: place.statement,
                issued_at: known.issued_at.max(place.issued_at),
                status: known.status,
            },
            None if self.floor.is_some_and(|floor| place.issued_at <= floor) => {
                return older(format!("signed {}: this worker forgets only grants that were revoked", place.issued_at));
            }
            None => {
                self.make_room(most)?;
                let GrantPlace { version, statement, issued_at, .. } = *place;
                GrantMark { version, statement, issued_at, status: GrantStatus::Active }
            }
        };
        Arc::make_mut(&mut self.marks).insert(id.clone(), mark);
        Ok(())
    }

    /// Suspends a grant, resumes it, or revokes it for good.
    pub(super) fn change(&mut self, id: &GrantId, status: GrantStatus) -> Result<(), AnchorError> {
        let known = self.get(id).ok_or_else(|| AnchorError::Refused(format!("there is no mark of grant `{id}`")))?;
        if known.status == GrantStatus::Revoked && status != GrantStatus::Revoked {
            return Err(AnchorError::Behind(format!("grant `{id}` goes on in the database, and this worker has seen it revoked")));
        }
        if let Some(mark) = Arc::make_mut(&mut self.marks).get_mut(id) {
            mark.status = status;
        }
        Ok(())
    }

    /// Forgets the revoked grant that was signed first, where there is no room.
    fn make_room(&mut self, most: usize) -> Result<(), AnchorError> {
        if self.len() < most {
            return Ok(());
        }
        let revoked = self.marks.iter().filter(|(_, mark)| mark.status == GrantStatus::Revoked);
        let Some((id, mark)) = revoked.min_by_key(|(_, mark)| mark.issued_at).map(|(id, mark)| (id.clone(), *mark)) else {
            return Err(AnchorError::Refused(format!(
                "{most} grants stand, and there is no room for one more (hint: revoke those of services that are gone)"
            )));
        };
        self.floor = self.floor.max(Some(mark.issued_at));
        Arc::make_mut(&mut self.marks).remove(&id);
        Ok(())
    }

    /// What is wrong with a grant as the database has it.
    pub(super) fn fault(&self, record: &GrantRecord) -> Option<String> {
        let id = &record.grant.id;
        let known = self.get(id)?;
        let statement = sha256(record.evidence.statement.as_bytes());
        if statement != known.statement {
            return Some(format!(
                "grant `{id}` stands on the statement {statement}; the newest that this worker has seen is {}, of the secret's version {}",
                known.statement, known.version
            ));
        }
        let told = match (known.status, record.status) {
            (GrantStatus::Revoked, GrantStatus::Active | GrantStatus::Suspended) => "revoked",
            (GrantStatus::Suspended, GrantStatus::Active) => "suspended",
            (GrantStatus::Active | GrantStatus::Suspended | GrantStatus::Revoked, _) => return None,
        };
        Some(format!("grant `{id}` goes on in the database, and this worker has seen it {told}"))
    }
}

/// The map's own form: sharing is not stored.
mod shared {
    use super::{Arc, BTreeMap, Deserialize, GrantId, GrantMark, Serialize};

    pub(super) fn serialize<S: serde::Serializer>(marks: &Arc<BTreeMap<GrantId, GrantMark>>, to: S) -> Result<S::Ok, S::Error> {
        marks.as_ref().serialize(to)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Arc<BTreeMap<GrantId, GrantMark>>, D::Error> {
        BTreeMap::deserialize(from).map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> GrantId {
        name.parse().unwrap()
    }

    fn place(version: u32, number: u8, replaces: Option<u8>) -> GrantPlace {
        let issued_at = Timestamp::from_unix(1000 + i64::from(number));
        GrantPlace { version, statement: sha256(&[number]), replaces: replaces.map(|n| sha256(&[n])), issued_at }
    }

    #[track_caller]
    fn refused(grants: &Grants, name: &str, place: GrantPlace, part: &str) {
        let error = grants.clone().stand(&id(name), &place, 3).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }

    #[test]
    fn a15_a_mark_moves_to_what_replaces_it_and_never_back() {
        let mut grants = Grants::default();
        grants.stand(&id("a"), &place(1, 1, None), 3).unwrap();
        grants.stand(&id("a"), &place(2, 2, Some(1)), 3).unwrap();
        grants.stand(&id("a"), &place(2, 2, Some(1)), 3).unwrap();
        refused(&grants, "a", place(1, 1, None), "the newest that this worker has seen");
        // A race that was lost: it follows from the first, not from the newest.
        refused(&grants, "a", place(2, 9, Some(1)), "the newest that this worker has seen");
        refused(&grants, "a", place(1, 3, Some(2)), "of the secret's version 1");
        grants.change(&id("a"), GrantStatus::Suspended).unwrap();
        grants.stand(&id("a"), &place(3, 3, Some(2)), 3).unwrap();
        assert_eq!(grants.get(&id("a")).map(|m| (m.version, m.status)), Some((3, GrantStatus::Suspended)), "a change resumes nothing");
        grants.change(&id("a"), GrantStatus::Active).unwrap();
        grants.change(&id("a"), GrantStatus::Revoked).unwrap();
        assert!(grants.change(&id("a"), GrantStatus::Active).unwrap_err().to_string().contains("seen it revoked"));
        refused(&grants, "a", place(4, 4, Some(3)), "seen it revoked");
        assert!(grants.change(&id("b"), GrantStatus::Revoked).is_err());
        let text = serde_json::to_string(&grants).unwrap();
        assert_eq!(serde_json::from_str::<Grants>(&text).unwrap(), grants);
    }

    #[test]
    fn lesson_32_marks_are_bounded_and_only_revoked_grants_are_forgotten() {
        let mut grants = Grants::default();
        for (name, number) in [("a", 10), ("b", 20), ("c", 30)] {
            grants.stand(&id(name), &place(1, number, None), 3).unwrap();
        }
        refused(&grants, "d", place(1, 40, None), "no room for one more (hint:");
        for name in ["b", "c"] {
            grants.change(&id(name), GrantStatus::Revoked).unwrap();
        }
        grants.stand(&id("d"), &place(1, 40, None), 3).unwrap();
        assert!(grants.get(&id("b")).is_none() && grants.get(&id("c")).is_some() && grants.len() == 3, "the older one");
        // Forgotten, and still not to be brought back; nor anything else from before.
        refused(&grants, "b", place(1, 20, None), "forgets only grants that were revoked");
        grants.stand(&id("e"), &place(1, 50, None), 3).unwrap();
        refused(&grants, "c", place(1, 30, None), "forgets only grants that were revoked");
    }
}
