//! What a later ceremony takes in: the hierarchy that it continues, and requests for certificates.
//!
//! Each is copied into the bundle, so that the bundle verifies by itself, and judged before anything is prepared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ca_core::ceremony::{
    Acts, Hierarchy, KeyRequest, Plan, RevokedCasPlan, Transcript, TranscriptEvent, WantedKey, check_attestation, check_attributes,
};
use ca_core::model::AuthorityName;
use ca_core::pki::{Timestamp, sha256};

use crate::Error;
use crate::files::{BASE, Folder, HIERARCHY, REVOKED_CAS, TRANSCRIPT, parent, read, write_new};
use crate::journal::read_transcript;
use crate::scene::{Keys, Scene};

/// What a plan wants as requests.
pub(crate) fn wanted(plan: &Plan) -> Vec<WantedKey<'_>> {
    let Some(nonce) = plan.acts.nonce() else { return Vec::new() };
    let base = |authority, key| WantedKey {
        plan_sha256: plan.sha256,
        nonce,
        root: &plan.root.authority,
        authority,
        key,
        algorithm: None,
        certificate_sha256: None,
    };
    let issuing = plan.issuing.iter().map(|i| WantedKey { algorithm: Some(i.algorithm), ..base(&i.authority, &i.key) });
    match &plan.acts {
        Acts::CrossSign { subject, .. } => {
            subject.iter().map(|s| WantedKey { certificate_sha256: Some(s.certificate_sha256), ..base(&s.authority, &s.key) }).collect()
        }
        _ => issuing.collect(),
    }
}

/// Copies what the plan continues from into the bundle; what is there already stays.
pub(crate) fn take_hierarchy(folder: &Folder, plan: &Plan, previous: Option<&Path>) -> Result<(), Error> {
    let Some(continues) = plan.acts.continues() else { return Ok(()) };
    let own = folder.path(BASE);
    if own.exists() {
        return Ok(());
    }
    let previous = previous.ok_or_else(|| {
        Error::bundle(&own, format!("a ceremony of the kind {} continues another (hint: --previous BUNDLE)", plan.acts.name()))
    })?;
    let path = previous.join(HIERARCHY);
    let bytes = read(&path)?;
    if sha256(&bytes) != continues.hierarchy {
        return Err(Error::bundle(
            &path,
            "it is not the hierarchy that the plan continues (hint: the previous bundle of this root is meant)",
        ));
    }
    let path = previous.join(TRANSCRIPT);
    let transcript = read_transcript(&path)?;
    if transcript.head() != continues.transcript || !transcript.is_closed() {
        return Err(Error::bundle(&path, "it is not the transcript that the plan continues"));
    }
    write_new(&own, &bytes, 0o644)
}

/// What the plan says of the list of revoked CAs.
fn revoked_cas(plan: &Plan) -> Option<&RevokedCasPlan> {
    match &plan.acts {
        Acts::RootCrl { revoked_cas, .. } => revoked_cas.as_ref(),
        _ => None,
    }
}

/// Copies the list of revoked CAs that the plan pins into the bundle; what is there already stays.
pub(crate) fn take_revoked(folder: &Folder, plan: &Plan, plan_path: &Path) -> Result<(), Error> {
    let Some(pinned) = revoked_cas(plan) else { return Ok(()) };
    let own = folder.path(REVOKED_CAS);
    if own.exists() {
        return Ok(());
    }
    let path = parent(plan_path).join(&pinned.file);
    let bytes = read(&path)?;
    if sha256(&bytes) != pinned.sha256 {
        return Err(Error::bundle(
            &path,
            "it is not the list that the plan pins (hint: `ca crl revoked-cas --json` again, and another plan)",
        ));
    }
    write_new(&own, &bytes, 0o644)
}

/// Copies the requests that the plan wants into the bundle; one that is there already stays. Gives what to put on record.
pub(crate) fn take_requests(folder: &Folder, plan: &Plan, requests: &[PathBuf], now: Timestamp) -> Result<Vec<TranscriptEvent>, Error> {
    let mut events = Vec::new();
    let mut given: BTreeMap<AuthorityName, (PathBuf, KeyRequest)> = BTreeMap::new();
    for path in requests {
        let request = KeyRequest::parse(&read(path)?).map_err(Error::file(path))?;
        given.insert(request.statement().authority.clone(), (path.clone(), request));
    }
    if let Some((authority, (path, _))) = given.iter().find(|(name, _)| !wanted(plan).iter().any(|w| w.authority == *name)) {
        return Err(Error::bundle(path, format!("it is for `{authority}`, which this plan does not certify")));
    }
    for wanted in wanted(plan) {
        let own = folder.request(wanted.authority);
        if let Some((path, request)) = given.remove(wanted.authority) {
            request.answers(&wanted, now).map_err(Error::file(&path))?;
            write_new(&own, &request.to_bytes(), 0o644)?;
        } else if !own.exists() {
            return Err(Error::bundle(
                &own,
                format!(
                    "the request for `{}` is missing (hint: `ca ceremony request` where its key is, then --request FILE)",
                    wanted.authority
                ),
            ));
        }
        events.push(TranscriptEvent::RequestTaken { authority: wanted.authority.clone(), sha256: sha256(&read(&own)?) });
    }
    Ok(events)
}

/// The scene of a bundle: what was taken in, judged again. Keys that the ceremony makes itself join later.
pub(crate) fn scene(folder: &Folder, plan: Plan, transcript: &Transcript) -> Result<Scene, Error> {
    let mut scene = base_scene(folder, plan)?;
    join_requests(&mut scene, folder, transcript)?;
    Ok(scene)
}

/// The scene before requests are taken in.
pub(crate) fn base_scene(folder: &Folder, plan: Plan) -> Result<Scene, Error> {
    let mut scene = Scene { plan, base: None, keys: Keys::new(), requests: BTreeMap::new(), revoked: None };
    if let Some(pinned) = revoked_cas(&scene.plan) {
        let path = folder.path(REVOKED_CAS);
        let bytes = read(&path)?;
        if sha256(&bytes) != pinned.sha256 {
            return Err(Error::bundle(&path, "it is not the list that the plan pins"));
        }
        scene.revoked = Some(bytes);
    }
    if scene.plan.acts.continues().is_some() {
        let path = folder.path(BASE);
        let base = Hierarchy::parse(&read(&path)?).map_err(Error::file(&path))?;
        scene.keys.insert(scene.plan.root.authority.clone(), base.root().public_key().clone());
        scene.base = Some(base);
        scene.check()?;
    }
    Ok(scene)
}

/// Judges the requests that the transcript says were taken in; their keys join the scene.
pub(crate) fn join_requests(scene: &mut Scene, folder: &Folder, transcript: &Transcript) -> Result<(), Error> {
    let mut requests = BTreeMap::new();
    for wanted in wanted(&scene.plan) {
        let path = folder.request(wanted.authority);
        let bytes = read(&path)?;
        let taken = transcript.lines().iter().find_map(|line| match &line.entry {
            TranscriptEvent::RequestTaken { authority, sha256 } if authority == wanted.authority => Some((line.at, *sha256)),
            _ => None,
        });
        let Some((at, _)) = taken.filter(|(_, digest)| *digest == sha256(&bytes)) else {
            return Err(Error::bundle(&path, "the transcript knows nothing of it"));
        };
        let request = KeyRequest::parse(&bytes).map_err(Error::file(&path))?;
        request.answers(&wanted, at).map_err(Error::file(&path))?;
        requests.insert(wanted.authority.clone(), request);
    }
    for (authority, request) in requests {
        let path = folder.request(&authority);
        let said = request.statement();
        if let Some(issuing) = scene.plan.issuing.iter().find(|i| i.authority == authority) {
            check_attributes(said.device.kind, &said.attributes, issuing.wrapping_key.is_some()).map_err(Error::file(&path))?;
        }
        if let Some(attestation) = &said.attestation {
            check_attestation(attestation, request.public_key(), &said.device, &scene.plan.attestation_roots)
                .map_err(Error::file(&path))?;
        }
        scene.check_request(&authority, request.public_key())?;
        scene.keys.insert(authority.clone(), request.public_key().clone());
        scene.requests.insert(authority, request);
    }
    Ok(())
}
