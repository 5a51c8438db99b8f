//! Shows an officer what a signature would approve: decoded, and built again from the plan.

use std::fmt::Write as _;
use std::path::Path;

use ca_core::ceremony::{Operation, Plan, Statement, Transcript, spoken};
use ca_core::model::IntentContent;
use ca_core::pki::crl::build_crl_tbs;
use ca_core::profile::{build_intermediate, build_root};

use crate::Error;
use crate::design::{Act, Drawn, crl_header, issuing_request, provisional, provisional_issuer, root_request};
use crate::files::{Folder, PLAN, POLICY, TRANSCRIPT, read};
use crate::journal::peek_transcript;
use crate::run::Keys;

/// Describes the plan and every statement of the bundle in `folder`, or the one statement `only`.
///
/// # Errors
/// When a file can't be read, is not what the ceremony wrote, or there is no such statement.
pub(crate) fn show(folder: &Path, only: Option<&str>) -> Result<String, Error> {
    let folder = Folder(folder.to_owned());
    let plan = Plan::parse(&folder.text(PLAN)?).map_err(Error::file(&folder.path(PLAN)))?;
    let transcript = peek_transcript(&folder.path(TRANSCRIPT))?;
    let mut out = String::new();
    if only.is_none() {
        line(&mut out, &format!("Plan `{}` ({})", plan.title, plan.kind()));
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
    for act in Act::all(&plan) {
        let name = act.name(&plan);
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
        digest(&mut out, &ca_core::pki::sha256(recorded.as_bytes()));
        line(&mut out, &format!("  plan     {}", statement.plan_sha256));
        line(&mut out, &format!("  policy   version {}, {}", statement.policy_version, statement.policy_sha256));
        line(&mut out, &format!("  nonce    {}", statement.nonce));
        line(&mut out, &format!("  time     {} to {}", statement.issued_at, statement.expires_at));
        decode(&mut out, act, &plan, &transcript, &statement, &folder)?;
        shown += 1;
    }
    if let (Some(name), 0) = (only, shown) {
        let names: Vec<&str> = transcript.statements().map(|(name, _)| name).collect();
        return Err(Error::bundle(&folder.path("statements"), format!("no statement `{name}` (there are: {})", names.join(", "))));
    }
    Ok(out)
}

fn decode(out: &mut String, act: Act, plan: &Plan, transcript: &Transcript, statement: &Statement, folder: &Folder) -> Result<(), Error> {
    if let Operation::ApprovePolicy { version, policy_sha256 } = &statement.operation {
        line(out, &format!("  approves the policy version {version}, SHA-256 {policy_sha256}:"));
        let text = folder.text(POLICY)?;
        let same = ca_core::pki::sha256(text.as_bytes()) == *policy_sha256;
        text.lines().for_each(|l| line(out, &format!("  | {l}")));
        return verdict(out, same);
    }
    let intent = act.intent(plan, transcript).ok_or_else(|| Error::issuance(act.name(plan), "no intent is on record"))?;
    let drawn = Drawn::recorded(intent);
    let keys: Keys = crate::design::planned_keys(plan)
        .into_iter()
        .filter_map(|k| transcript.key(k.label).map(|key| (k.authority.clone(), key.clone())))
        .collect();
    let key = |authority| keys.get(authority).ok_or_else(|| Error::issuance(act.name(plan), "its key is not on record"));
    let algorithm = plan.root.algorithm.signature_algorithm();
    let root_tbs = match Act::Root.intent(plan, transcript).map(|i| &i.content) {
        Some(IntentContent::Certificate(c)) => c.tbs.as_slice(),
        _ => return Err(Error::issuance("root certificate", "no intent is on record")),
    };
    let root = provisional_issuer(root_tbs, algorithm)?;
    let (tbs, built) = match &intent.content {
        IntentContent::Certificate(c) => {
            let built = match act {
                Act::Issuing(i) => {
                    let issuing = &plan.issuing[i];
                    line(
                        out,
                        &format!("  constrained to {}", issuing.permitted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
                    );
                    build_intermediate(&issuing_request(plan, issuing, key(&issuing.authority)?, &drawn)?, &root)
                }
                _ => build_root(&root_request(plan, key(&plan.root.authority)?, &drawn)?),
            };
            let certificate = provisional(&c.tbs, algorithm)?;
            line(out, &format!("  certificate of {}", certificate.subject_text()));
            line(out, &format!("  serial   {}", certificate.serial()));
            line(out, &format!("  valid    {} to {}", certificate.not_before(), certificate.not_after()));
            line(out, &format!("  key      SHA-256 {}", certificate.public_key().spki_sha256()));
            (&c.tbs, built.map_err(|e| Error::issuance(act.name(plan), e))?)
        }
        IntentContent::Crl(c) => {
            line(out, &format!("  CRL number {} of {}, without entries", c.number, plan.root.authority));
            line(out, &format!("  valid    {} to {}", c.this_update, c.next_update));
            let built = build_crl_tbs(&crl_header(plan, root.certificate(), &drawn), std::iter::empty());
            (&c.tbs, built.map_err(|e| Error::issuance(act.name(plan), e))?)
        }
    };
    line(out, "  to be signed:");
    digest(out, &ca_core::pki::sha256(tbs));
    crate::dump::dump(out, tbs, 2);
    let named = match &statement.operation {
        Operation::SignCertificate { tbs_sha256, .. } | Operation::SignCrl { tbs_sha256, .. } => *tbs_sha256 == ca_core::pki::sha256(tbs),
        Operation::ApprovePolicy { .. } => false,
    };
    verdict(out, named && built == *tbs)
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
fn digest(out: &mut String, digest: &ca_core::pki::Sha256Digest) {
    line(out, &format!("  SHA-256  {digest}"));
    spoken(digest).iter().for_each(|row| line(out, &format!("           {row}")));
}

fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{text}");
}
