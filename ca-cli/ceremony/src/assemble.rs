//! Puts a bundle together again from what it was made of: plan, transcript, inputs and signatures (requirement 39).
//!
//! Everything else in a bundle follows from those. So the same transcript always gives the same bytes, and a bundle
//! that lost a file is whole again.

use std::path::Path;

use ca_core::ceremony::{Plan, TranscriptEvent};

use crate::Error;
use crate::design::{Act, Effect, planned_keys};
use crate::files::{Folder, HIERARCHY, PLAN, POLICY, POLICY_BUNDLE, ROSTER, TRANSCRIPT, read, write_new};
use crate::inputs::scene;
use crate::journal::read_transcript;
use crate::results::{hierarchy_after, policy_bundle, policy_text, released_file, set_name};

/// Assembles the bundle in `from` anew in `to`, and compares every file with the digest that the transcript has of it.
///
/// # Errors
/// When the ceremony is not closed, something that a bundle is made of is missing, or a file comes out otherwise than
/// the transcript says.
pub fn assemble(from: &Path, to: &Path) -> Result<(), Error> {
    let (from, to) = (Folder(from.to_owned()), Folder(to.to_owned()));
    let transcript = read_transcript(&from.path(TRANSCRIPT))?;
    let Some(TranscriptEvent::Closed { files }) = transcript.lines().last().map(|l| &l.entry) else {
        return Err(Error::bundle(&from.path(TRANSCRIPT), "the ceremony is not closed (hint: run it to its end first)"));
    };
    to.create()?;
    let copy = |name: &str| write_new(&to.path(name), &read(&from.path(name))?, 0o644);
    copy(PLAN)?;
    let given = |name: &&String| {
        !["certs/", "crls/", "artefacts/", "records/", "statements/"].iter().any(|f| name.starts_with(f)) && name.contains('/')
    };
    files.keys().filter(given).try_for_each(|name| copy(name))?;
    let plan = Plan::parse(&to.text(PLAN)?).map_err(Error::file(&to.path(PLAN)))?;
    let mut scene = scene(&to, plan, &transcript)?;
    for key in planned_keys(&scene.plan) {
        if let Some(made) = transcript.key(key.label) {
            scene.keys.insert(key.authority.clone(), made.clone());
        }
    }
    let plan = &scene.plan;
    write_new(&to.path(ROSTER), plan.roster.to_toml().as_bytes(), 0o644)?;
    for (name, statement) in transcript.statements() {
        write_new(&to.statement(name), statement.as_bytes(), 0o644)?;
    }
    for (name, record) in transcript.records() {
        write_new(&to.record(name), record.as_bytes(), 0o644)?;
    }
    for act in Act::all(plan).into_iter().filter(|a| a.effect() == Effect::Signature) {
        let completion = transcript.completion(&act.attempt(plan)).ok_or_else(|| Error::issuance(act.name(plan), "it was not released"))?;
        let (name, bytes) = released_file(act, plan, &completion.signed.0);
        write_new(&to.path(&name), &bytes, 0o644)?;
    }
    if plan.has_policy() {
        let text = policy_text(plan, &scene.keys)?;
        write_new(&to.path(POLICY), text.as_bytes(), 0o644)?;
        let bundle = policy_bundle(&to, &transcript, &Act::Policy.name(plan), &text)?;
        write_new(&to.path(POLICY_BUNDLE), bundle.to_json().as_bytes(), 0o644)?;
    }
    for (credential, set) in transcript.dealt() {
        write_new(&to.path(&set_name(credential)), set.as_bytes(), 0o644)?;
    }
    if let Some(hierarchy) = hierarchy_after(&scene, &transcript)? {
        write_new(&to.path(HIERARCHY), &hierarchy.to_bytes(), 0o644)?;
    }
    for (name, digest) in to.digests()? {
        if files.get(&name) != Some(&digest) {
            return Err(Error::bundle(&to.path(&name), "it came out otherwise than the transcript says"));
        }
    }
    match files.keys().find(|name| !to.path(name).exists()) {
        Some(missing) => Err(Error::bundle(&to.path(missing), "nothing in the transcript gives it")),
        None => write_new(&to.path(TRANSCRIPT), &read(&from.path(TRANSCRIPT))?, 0o644),
    }
}
