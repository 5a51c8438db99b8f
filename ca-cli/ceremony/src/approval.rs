//! Whose signatures are there: enough of the people who must sign, counted once each.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ca_core::ceremony::{CeremonyError, Hierarchy, Plan, Roster, signer};

use crate::files::{BASE, Folder, PLAN, read};
use crate::{Error, Needed};

/// How far the signatures over a subject go, by the distinct people behind them.
pub(crate) enum Quorum {
    Reached(Vec<String>),
    Short(Vec<String>),
}

/// The officers' word on the plan: that of its own roster, and where the last ceremony had another roster, of that one
/// too. So nobody puts an officer in, or out, whom M of the standing officers do not (requirement 10).
pub(crate) fn plan_approvals(folder: &Folder, plan: &Plan, bytes: &[u8]) -> Result<Quorum, Error> {
    let standing = standing_roster(folder, plan)?;
    let Some(standing) = standing.filter(|s| *s != plan.roster) else { return approvals(folder, plan, "plan", "plan", bytes) };
    let mut signed = [BTreeSet::new(), BTreeSet::new()];
    for (path, armored) in folder.signatures("plan")? {
        let found = [&plan.roster, &standing].map(|roster| signer(roster, "plan", bytes, &armored));
        match found {
            [Err(e @ CeremonyError::NotAnOfficer { .. }), Err(CeremonyError::NotAnOfficer { .. })] => return Err(Error::file(&path)(e)),
            found => {
                for (found, names) in found.into_iter().zip(&mut signed) {
                    match found {
                        Ok(approval) => drop(names.insert(approval.officer)),
                        Err(CeremonyError::NotAnOfficer { .. }) => {}
                        Err(e) => return Err(Error::file(&path)(e)),
                    }
                }
            }
        }
    }
    let enough = |names: &BTreeSet<String>, roster: &Roster| names.len() >= usize::try_from(roster.threshold).unwrap_or(usize::MAX);
    let [new, old] = signed;
    if !enough(&new, &plan.roster) {
        return Ok(Quorum::Short(new.into_iter().collect()));
    }
    if !enough(&old, &standing) {
        let (needed, signed) = (standing.threshold, old.into_iter().collect());
        return Err(Error::file(&folder.path(PLAN))(CeremonyError::Quorum {
            what: "plan, which changes the roster, of those who stand",
            needed,
            signed,
        }));
    }
    Ok(Quorum::Reached(new.union(&old).cloned().collect()))
}

/// The roster of the ceremony that this one continues.
fn standing_roster(folder: &Folder, plan: &Plan) -> Result<Option<Roster>, Error> {
    if plan.acts.continues().is_none() {
        return Ok(None);
    }
    let path = folder.path(BASE);
    Ok(Some(Hierarchy::parse(&read(&path)?).map_err(Error::file(&path))?.roster().clone()))
}

/// Verifies that the plan was signed as it must be, and tells by whom.
pub(crate) fn plan_signers(folder: &Folder, plan: &Plan, bytes: &[u8]) -> Result<Vec<String>, Error> {
    match plan_approvals(folder, plan, bytes)? {
        Quorum::Reached(names) => Ok(names),
        Quorum::Short(signed) => {
            let needed = plan.roster.threshold;
            Err(Error::file(&folder.path(PLAN))(CeremonyError::Quorum { what: "plan", needed, signed }))
        }
    }
}

/// Verifies every signature over `subject` and tells who signed. A signature that does not count is an error that
/// names its file: it is there by mistake or by attack, and somebody should look.
pub(crate) fn approvals(folder: &Folder, plan: &Plan, subject: &str, what: &'static str, message: &[u8]) -> Result<Quorum, Error> {
    let names = signers(folder, plan, subject, what, message)?;
    let enough = names.len() >= usize::try_from(plan.roster.threshold).unwrap_or(usize::MAX);
    Ok(if enough { Quorum::Reached(names) } else { Quorum::Short(names) })
}

/// The distinct people whose signatures over `subject` verify.
pub(crate) fn signers(folder: &Folder, plan: &Plan, subject: &str, what: &'static str, message: &[u8]) -> Result<Vec<String>, Error> {
    let mut names = std::collections::BTreeSet::new();
    for (path, armored) in folder.signatures(subject)? {
        names.insert(signer(&plan.roster, what, message, &armored).map_err(Error::file(&path))?.officer);
    }
    Ok(names.into_iter().collect())
}

/// What is missing, for people.
pub(crate) fn needed(folder: &Folder, plan: &Plan, file: PathBuf, subject: &str, signed: Vec<String>) -> Needed {
    let signature = folder.path("sigs").join(format!("{subject}.OFFICER.sig"));
    Needed { file, signature, namespace: plan.kind().namespace(), threshold: plan.roster.threshold, signed }
}
