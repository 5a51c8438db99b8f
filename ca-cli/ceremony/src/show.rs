//! Shows an officer what a signature would approve: decoded, and built again from the plan.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use ca_core::ceremony::{CeremonyError, Operation, Plan, Statement, Transcript, spoken};
use ca_core::model::IntentContent;
use ca_core::pki::{Sha256Digest, sha256};
use ca_core::policy::{NamePattern, Policy};

use crate::Error;
use crate::design::{Act, Drawn, Effect, planned_keys, provisional};
use crate::files::{Folder, PLAN, POLICY, TRANSCRIPT, read};
use crate::inputs::scene;
use crate::journal::peek_transcript;
use crate::scene::{Blueprint, Keys, Scene};

/// Describes the plan and every statement of the bundle in `folder`, or the one statement `only`.
///
/// # Errors
/// When a file can't be read, is not what the ceremony wrote, or there is no such statement.
pub(crate) fn show(folder: &Path, only: Option<&str>) -> Result<String, Error> {
    let folder = Folder(folder.to_owned());
    let plan = Plan::parse(&folder.text(PLAN)?).map_err(Error::file(&folder.path(PLAN)))?;
    let transcript = peek_transcript(&folder.path(TRANSCRIPT))?;
    let mut scene = if transcript.events().next().is_some() {
        scene(&folder, plan, &transcript)?
    } else {
        Scene { plan, base: None, keys: Keys::new(), requests: BTreeMap::new(), revoked: None }
    };
    for key in planned_keys(&scene.plan) {
        if let Some(made) = transcript.key(key.label) {
            scene.keys.insert(key.authority.clone(), made.clone());
        }
    }
    let plan = &scene.plan;
    let mut out = String::new();
    if only.is_none() {
        line(&mut out, &format!("Plan `{}` ({}, {})", plan.title, plan.kind(), plan.acts.name()));
        digest(&mut out, &plan.sha256);
        line(&mut out, &format!("  officers {} of {}:", plan.roster.threshold, plan.roster.officers.len()));
        for officer in &plan.roster.officers {
            let keys: Vec<String> =
                officer.keys.iter().filter_map(|k| ca_core::evidence::sshsig::fingerprint(k).ok()).map(|f| f.0).collect();
            line(&mut out, &format!("           {}: {}", officer.name, keys.join(", ")));
        }
        if transcript.statements().next().is_none() {
            line(&mut out, "\nNo statement is prepared yet: the plan itself waits for signatures, then `ca ceremony run` goes on.");
        }
    }
    let mut shown = 0;
    for act in Act::all(plan) {
        let name = act.name(plan);
        if only.is_some_and(|o| o != name) {
            continue;
        }
        let Some(recorded) = transcript.statement(&name) else { continue };
        let path = folder.statement(&name);
        if read(&path)? != recorded.as_bytes() {
            return Err(Error::bundle(&path, "it is not the statement on record; do not sign it"));
        }
        let statement = Statement::parse(recorded.as_bytes()).map_err(Error::file(&path))?;
        line(&mut out, &format!("\nStatement `{name}`"));
        line(&mut out, &format!("  file     {}", path.display()));
        digest(&mut out, &sha256(recorded.as_bytes()));
        line(&mut out, &format!("  plan     {}", statement.plan_sha256));
        line(&mut out, &format!("  policy   version {}, {}", statement.policy_version, statement.policy_sha256));
        line(&mut out, &format!("  nonce    {}", statement.nonce));
        line(&mut out, &format!("  time     {} to {}", statement.issued_at, statement.expires_at));
        decode(&mut out, act, &scene, &transcript, &statement, &folder)?;
        shown += 1;
    }
    if let (Some(name), 0) = (only, shown) {
        let names: Vec<&str> = transcript.statements().map(|(name, _)| name).collect();
        return Err(Error::bundle(&folder.path("statements"), format!("no statement `{name}` (there are: {})", names.join(", "))));
    }
    Ok(out)
}

fn decode(out: &mut String, act: Act, scene: &Scene, transcript: &Transcript, statement: &Statement, folder: &Folder) -> Result<(), Error> {
    let plan = &scene.plan;
    if act == Act::Policy {
        let text = folder.text(POLICY)?;
        let policy = Policy::parse(&text).map_err(CeremonyError::from)?;
        line(out, &format!("  approves the policy version {}, SHA-256 {}:", policy.version, sha256(text.as_bytes())));
        text.lines().for_each(|l| line(out, &format!("  | {l}")));
        let expected = scene.operation(act, transcript, Some((&policy, sha256(text.as_bytes()))))?;
        return verdict(out, statement.operation == expected);
    }
    let named = statement.operation == scene.operation(act, transcript, None)?;
    if act.effect() != Effect::Signature {
        word(out, &statement.operation);
        return verdict(out, named);
    }
    let intent = act.intent(plan, transcript).ok_or_else(|| Error::issuance(act.name(plan), "no intent is on record"))?;
    let drawn = Drawn::recorded(intent);
    let algorithm = plan.root.signature_algorithm();
    let blueprint = scene.blueprint(act, transcript, &drawn)?;
    let tbs = intent.content.tbs();
    match &blueprint {
        Blueprint::Intermediate(request, _) => constrained(out, &request.permitted),
        Blueprint::Cross(request, _) => {
            constrained(out, &request.permitted);
            line(out, &format!("  at most {} CAs below it", request.path_len));
        }
        Blueprint::Crl(header, entries, _) => {
            let count = if entries.is_empty() { "without entries".to_owned() } else { format!("with {} entries", entries.len()) };
            line(out, &format!("  CRL number {} of {}, {count}", header.number, plan.root.authority));
            for entry in entries {
                line(out, &format!("           {} revoked {}, {}", entry.serial, entry.revoked_at, entry.reason.name()));
            }
            line(out, &format!("  valid    {} to {}", header.this_update, header.next_update));
        }
        Blueprint::Test(_) => word(out, &statement.operation),
        Blueprint::Root(_) => {}
    }
    if let IntentContent::Certificate(c) = &intent.content {
        let certificate = provisional(&c.tbs, algorithm)?;
        line(out, &format!("  certificate of {}", certificate.subject_text()));
        line(out, &format!("  serial   {}", certificate.serial()));
        line(out, &format!("  valid    {} to {}", certificate.not_before(), certificate.not_after()));
        line(out, &format!("  key      SHA-256 {}", certificate.public_key().spki_sha256()));
    }
    line(out, "  to be signed:");
    digest(out, &sha256(tbs));
    if let Blueprint::Test(_) = blueprint {
        String::from_utf8_lossy(tbs).lines().for_each(|l| line(out, &format!("  | {l}")));
    } else {
        crate::dump::dump(out, tbs, 2);
    }
    let built = blueprint.bytes().map_err(|e| Error::issuance(act.name(plan), e))?;
    verdict(out, named && built == *tbs)
}

fn constrained(out: &mut String, permitted: &[NamePattern]) {
    line(out, &format!("  constrained to {}", permitted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));
}

/// What an act does that no bytes show.
fn word(out: &mut String, operation: &Operation) {
    let text = match operation {
        Operation::RevokeCertificate { subject_authority, serial, certificate_sha256, reason, invalidity_date } => {
            let since = invalidity_date.map_or_else(String::new, |at| format!(", suspected since {at}"));
            format!("revokes the certificate {serial} of {subject_authority} for {}{since}\n  SHA-256  {certificate_sha256}", reason.name())
        }
        Operation::BackUpKey { key, public_key_sha256, from_device, to_device, wrapping_key, .. } => format!(
            "copies the key `{key}` from device {from_device} to device {to_device}, wrapped under `{wrapping_key}`\n  key      SHA-256 {public_key_sha256}"
        ),
        Operation::RestoreKey { key, public_key_sha256, wrapped_sha256, to_device, .. } => {
            format!(
                "brings the key `{key}` into device {to_device}\n  key      SHA-256 {public_key_sha256}\n  wrapped  SHA-256 {wrapped_sha256}"
            )
        }
        Operation::DestroyKey { key, public_key_sha256, device, inventory_sha256 } => {
            format!(
                "DESTROYS the key `{key}` in device {device}\n  key      SHA-256 {public_key_sha256}\n  before   inventory SHA-256 {inventory_sha256}"
            )
        }
        Operation::AttestInventory { device, inventory_sha256 } => {
            format!("attests what device {device} holds now\n  after    inventory SHA-256 {inventory_sha256}")
        }
        Operation::ChangeCredentials { device, credentials } => {
            let lines = credentials.iter().map(|c| {
                let holders: Vec<&str> = c.holders.iter().map(|h| h.as_str()).collect();
                let before = c.set.map_or_else(String::new, |set| format!("\n  set      before {set}"));
                format!("{}s `{}` ({}): {} of {} will open it{before}", c.change.name(), c.name, c.purpose, c.threshold, holders.join(", "))
            });
            format!("changes what opens device {device}\n  {}", lines.collect::<Vec<_>>().join("\n  "))
        }
        Operation::SignCertificate { .. } | Operation::SignCrl { .. } | Operation::ApprovePolicy { .. } => return,
    };
    line(out, &format!("  {text}"));
}

fn verdict(out: &mut String, same: bool) -> Result<(), Error> {
    if same {
        line(out, "  agrees: the statement names exactly these bytes, and the signed plan gives them again");
        Ok(())
    } else {
        Err(Error::issuance("statement", "it does not name what the plan gives; do not sign it"))
    }
}

/// A digest in hexadecimal, and in words to be read aloud.
fn digest(out: &mut String, digest: &Sha256Digest) {
    line(out, &format!("  SHA-256  {digest}"));
    spoken(digest).iter().for_each(|row| line(out, &format!("           {row}")));
}

fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{text}");
}
