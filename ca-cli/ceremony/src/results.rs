//! What a ceremony leaves, from its plan and its transcript alone.

use ca_core::ceremony::{Acts, Hierarchy, IssuedCa, Plan, PolicyBundle, Transcript};
use ca_core::model::{AuthorityName, CredentialName, KeyLabel};
use ca_core::pki::pem_encode;

use crate::Error;
use crate::design::{Act, Effect};
use crate::files::Folder;
use crate::scene::{Keys, Scene};

/// The policy of a plan whose keys exist.
pub(crate) fn policy_text(plan: &Plan, keys: &Keys) -> Result<String, Error> {
    let issuing = keys.iter().filter(|(authority, _)| **authority != plan.root.authority);
    Ok(plan.policy(&issuing.map(|(authority, key)| (authority.clone(), key.spki_sha256())).collect())?)
}

/// The file that an act's result is released to.
pub(crate) fn released_file(act: Act, plan: &Plan, bytes: &[u8]) -> (String, Vec<u8>) {
    let pem = |authority: &AuthorityName| (format!("certs/{authority}.pem"), pem_encode("CERTIFICATE", bytes).into_bytes());
    match (act, &plan.acts) {
        (Act::Root, _) => pem(&plan.root.authority),
        (Act::Issuing(i), _) => pem(&plan.issuing[i].authority),
        (Act::Cross(i), Acts::CrossSign { subject, .. }) => pem(&subject[i].authority),
        (Act::RootCrl, _) => (format!("crls/{}.crl", plan.root.authority), bytes.to_vec()),
        _ => (format!("artefacts/{}.txt", act.name(plan)), bytes.to_vec()),
    }
}

/// The public description of a set that was dealt: its name in the bundle.
pub(crate) fn set_name(credential: &CredentialName) -> String {
    format!("artefacts/{credential}.set.json")
}

/// What stands below the root after the ceremony, from its transcript alone; nothing before the first one.
pub(crate) fn hierarchy_after(scene: &Scene, transcript: &Transcript) -> Result<Option<Hierarchy>, Error> {
    let plan = &scene.plan;
    if scene.base.is_none() && plan.acts != Acts::First {
        return Ok(None);
    }
    let mut issued = Vec::new();
    let (mut root, mut crl) = (Vec::new(), None);
    for act in Act::all(plan).into_iter().filter(|a| a.effect() == Effect::Signature) {
        let completion = transcript.completion(&act.attempt(plan)).ok_or_else(|| Error::issuance(act.name(plan), "it was not released"))?;
        let der = completion.signed.0.clone();
        let mut add = |authority: &AuthorityName, key: &KeyLabel, profile: &str, certificate| {
            issued.push(IssuedCa { authority: authority.clone(), profile: profile.to_owned(), key: key.clone(), certificate });
        };
        match (act, &plan.acts) {
            (Act::Root, _) => root = der,
            (Act::Issuing(i), _) => add(&plan.issuing[i].authority, &plan.issuing[i].key, "intermediate", der),
            (Act::Cross(i), Acts::CrossSign { subject, .. }) => add(&subject[i].authority, &subject[i].key, "cross", der),
            (Act::RootCrl, _) => crl = Some(der),
            _ => {}
        }
    }
    let hierarchy = match (&scene.base, plan.acts.continues()) {
        (Some(base), Some(continues)) => base.followed_by(continues.transcript, &plan.roster, issued, crl),
        _ => Hierarchy::begin(plan.root.authority.clone(), plan.root.key.clone(), &plan.roster, root, crl.unwrap_or_default(), issued),
    };
    Ok(Some(hierarchy?))
}

/// The policy with its approval, from the bundle's files.
pub(crate) fn policy_bundle(folder: &Folder, transcript: &Transcript, name: &str, policy: &str) -> Result<PolicyBundle, Error> {
    let statement =
        transcript.statement(name).ok_or_else(|| Error::bundle(&folder.statement(name), "the transcript has no such statement"))?;
    let signatures = folder.signatures(name)?.into_iter().map(|(_, text)| text).collect();
    Ok(PolicyBundle { policy: policy.to_owned(), statement: statement.to_owned(), signatures })
}
