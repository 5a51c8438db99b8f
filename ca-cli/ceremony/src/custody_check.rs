//! What a transcript says of dealt credentials, against the plan (requirement 23).

use std::collections::{BTreeMap, BTreeSet};

use ca_core::ceremony::{Acts, CredentialChange, CredentialPlan, Plan, Transcript, TranscriptEvent};
use ca_core::model::CredentialName;
use ca_keystore::shares::ShareSet;

use crate::Error;
use crate::design::Act;
use crate::files::{Folder, TRANSCRIPT};
use crate::results::set_name;
use crate::room::recorded_device;

/// Whether a set is the one that the plan asks for.
pub(crate) fn fits(plan: &CredentialPlan, set: &ShareSet) -> Result<(), String> {
    let same = *set.credential() == plan.name
        && set.purpose() == plan.purpose
        && set.threshold() == plan.threshold
        && set.holders() == plan.holders
        && Some(set.id()) != plan.set;
    if same { Ok(()) } else { Err(format!("the set of `{}` is not what the plan asks for", plan.name)) }
}

/// Checks the credentials of a closed ceremony: exactly the planned ones were dealt, to the planned holders, in this
/// order: dealt, handed to the device where it is a fresh one, recombined by enough of its holders and seen to open the
/// device that the ceremony began with.
///
/// # Errors
/// With what does not hold.
pub(crate) fn check(folder: &Folder, plan: &Plan, transcript: &Transcript) -> Result<Vec<ShareSet>, Error> {
    let wrong = |reason: String| Error::bundle(&folder.path(TRANSCRIPT), reason);
    let planned: &[CredentialPlan] = match &plan.acts {
        Acts::Credentials { credential, .. } => credential,
        _ => &[],
    };
    let find = |name: &CredentialName| {
        planned.iter().find(|c| c.name == *name).ok_or_else(|| wrong(format!("the credential `{name}` is not in the plan")))
    };
    let mut sets: BTreeMap<&CredentialName, ShareSet> = BTreeMap::new();
    let (mut handed, mut opened, mut now) = (BTreeSet::new(), BTreeSet::new(), None);
    for line in transcript.lines() {
        let outside = || Err(wrong(format!("line {}: credentials are dealt by their own act only", line.number)));
        match &line.entry {
            TranscriptEvent::Began { name } => {
                let places = plan.acts.places();
                let of = |i: &usize| Act::Credentials(*i).name(plan) == *name;
                now = matches!(plan.acts, Acts::Credentials { .. }).then(|| (0..places.len()).find(of).map(|i| places[i])).flatten();
            }
            TranscriptEvent::Dealt { credential, set: text, shares } => {
                let plan = find(credential)?;
                let set = ShareSet::from_json(text).map_err(|e| wrong(e.to_string()))?;
                fits(plan, &set).map_err(wrong)?;
                let path = set_name(credential);
                if set.to_json() != *text || folder.text(&path)? != *text {
                    return Err(Error::bundle(&folder.path(&path), "the transcript has another description of this set"));
                }
                if now != Some(plan.place) || handed.contains(&plan.place) {
                    return outside();
                }
                let holders: BTreeSet<_> = plan.holders.iter().collect();
                if shares.keys().collect::<BTreeSet<_>>() != holders || sets.insert(&plan.name, set).is_some() {
                    return Err(wrong(format!("`{credential}` was dealt twice, or to others than the plan says")));
                }
            }
            TranscriptEvent::Handed { place } => {
                let all = CredentialPlan::of(planned, *place);
                let fresh = !all.is_empty() && all.iter().all(|c| c.change != CredentialChange::Reshare && sets.contains_key(&c.name));
                if now != Some(*place) || !fresh || !handed.insert(*place) {
                    return outside();
                }
            }
            TranscriptEvent::Recombined { credential, set, holders, place, device } => {
                let plan = find(credential)?;
                let dealt = sets.get(credential).ok_or_else(|| wrong(format!("`{credential}` was recombined before it was dealt")))?;
                if now != Some(*place) || (plan.change.is_fresh() && !handed.contains(place)) {
                    return outside();
                }
                let people: BTreeSet<_> = holders.iter().filter(|h| dealt.holders().contains(h)).collect();
                let enough = people.len() == holders.len() && people.len() >= usize::from(dealt.threshold());
                let same = *place == plan.place && recorded_device(transcript, *place).as_ref() == Some(device) && *set == dealt.id();
                if !enough || !same || !opened.insert(credential) {
                    return Err(wrong(format!("what was recombined of `{credential}` did not open its device, or too few gave shares")));
                }
            }
            TranscriptEvent::Done { name } => {
                let done = now.filter(|place| {
                    plan.acts.places().iter().position(|p| p == place).is_some_and(|i| Act::Credentials(i).name(plan) == *name)
                });
                let Some(place) = done else { continue };
                now = None;
                if let Some(open) = CredentialPlan::of(planned, place).iter().find(|c| !opened.contains(&c.name)) {
                    return Err(wrong(format!("the shares of `{}` were not recombined before the end (requirement 23)", open.name)));
                }
            }
            _ => {}
        }
    }
    match planned.iter().find(|c| !opened.contains(&c.name)) {
        Some(missing) => Err(wrong(format!("the shares of `{}` were not recombined before the end (requirement 23)", missing.name))),
        None => Ok(sets.into_values().collect()),
    }
}
