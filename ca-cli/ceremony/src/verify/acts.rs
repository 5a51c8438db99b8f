//! Whether each act was allowed before it began, and came to exactly what was allowed.

use std::collections::BTreeSet;

use ca_core::ceremony::{Acts, Statement, TranscriptEvent, inventory_digest};
use ca_core::model::KeyLabel;
use ca_core::pki::sha256;

use super::Bundle;
use crate::Error;
use crate::design::{Act, Effect};
use crate::run::OwnPolicy;

impl Bundle {
    /// Each act has one statement that says exactly what was done, signed by enough people, begun in its time.
    pub(super) fn statements(&self, policy: Option<&OwnPolicy>) -> Result<(), Error> {
        let (plan, acts) = (&self.scene.plan, self.acts());
        let own = policy.map(|(text, policy)| (policy, sha256(text.as_bytes())));
        let (version, policy_sha256) = self.scene.policy_named(own);
        let mut nonces = BTreeSet::new();
        for act in &acts {
            let name = act.name(plan);
            let path = self.folder.statement(&name);
            let text = self.folder.text(&format!("statements/{name}.json"))?;
            if self.transcript.statement(&name) != Some(text.as_str()) {
                return Err(Error::bundle(&path, "the transcript has another statement of this name"));
            }
            let statement = Statement::parse(text.as_bytes()).map_err(Error::file(&path))?;
            let expected = self.scene.operation(*act, &self.transcript, own)?;
            let same = statement.operation == expected
                && statement.authority == plan.root.authority
                && statement.plan_sha256 == plan.sha256
                && statement.policy_sha256 == policy_sha256
                && statement.policy_version == version;
            if !same || !nonces.insert(statement.nonce.clone()) {
                return Err(Error::bundle(&path, "it allows something else than what was done"));
            }
            self.quorum(&path, &name, "statement", text.as_bytes())?;
            self.order(*act, &name, &statement).map_err(|reason| Error::bundle(&path, reason))?;
        }
        let prepared = self.transcript.statements().count();
        let (intents, completions) = self.transcript.events().fold((0, 0), |(i, c), e| match e {
            TranscriptEvent::Intent { .. } => (i + 1, c),
            TranscriptEvent::Completed { .. } => (i, c + 1),
            _ => (i, c),
        });
        let signatures = acts.iter().filter(|a| a.effect() == Effect::Signature).count();
        // One approval, one act, one result; and no result beside those.
        if prepared != acts.len() || intents != signatures || completions != signatures {
            return self.wrong("it has statements, intents or results beside those of the plan");
        }
        Ok(())
    }

    /// Whether `event` is what `act` comes to.
    fn ends(&self, act: Act, name: &str, event: &TranscriptEvent) -> bool {
        match event {
            TranscriptEvent::Completed { completion } => completion.attempt == act.attempt(&self.scene.plan),
            TranscriptEvent::PolicyApproved { name: n } => n == name && act == Act::Policy,
            TranscriptEvent::Done { name: n } => n == name && act.ends_done(),
            TranscriptEvent::Destroyed { label, .. } => match (act, &self.scene.plan.acts) {
                (Act::Destroy(i), Acts::Destroy { key, .. }) => key[i].key == *label,
                _ => false,
            },
            _ => false,
        }
    }

    /// Intent, statement, approval, beginning and result follow in this order.
    fn order(&self, act: Act, name: &str, statement: &Statement) -> Result<(), String> {
        let attempt = act.attempt(&self.scene.plan);
        let mut stage = if act.effect() == Effect::Signature { 0 } else { 1 };
        for line in self.transcript.lines() {
            stage = match (&line.entry, stage) {
                (TranscriptEvent::Intent { intent }, 0) if intent.attempt == attempt && intent.at == line.at => 1,
                (TranscriptEvent::Prepared { name: n, .. }, 1) if n == name => 2,
                (TranscriptEvent::Approved { name: n, .. }, 2 | 3) if n == name => {
                    statement.check_time(line.at).map_err(|e| e.to_string())?;
                    3
                }
                (TranscriptEvent::Began { name: n }, 3 | 4) if n == name => 4,
                (event, 4) if self.ends(act, name, event) => 5,
                (TranscriptEvent::Intent { intent }, _) if intent.attempt == attempt => return Err("its intent is out of order".to_owned()),
                (event, _) if self.ends(act, name, event) => return Err("its result was on record before its approval".to_owned()),
                (
                    TranscriptEvent::Prepared { name: n, .. }
                    | TranscriptEvent::Approved { name: n, .. }
                    | TranscriptEvent::Began { name: n },
                    _,
                ) if n == name => {
                    return Err("the steps of its act are out of order".to_owned());
                }
                (_, stage) => stage,
            };
        }
        if stage == 5 { Ok(()) } else { Err("its act did not come to its end".to_owned()) }
    }

    /// What devices did besides signing is what the plan says, and their inventories agree.
    pub(super) fn deeds(&self) -> Result<(), Error> {
        let target = self.scene.target();
        let (mut imported, mut destroyed, mut wrapped) = (0, Vec::new(), 0);
        let pinned = |label: &KeyLabel| match &self.scene.plan.acts {
            Acts::Backup { key, .. } | Acts::Destroy { key, .. } => key.iter().find(|k| k.key == *label).map(|k| k.public_key_sha256),
            Acts::Restore { key, .. } => key.iter().find(|k| k.key == *label).map(|k| k.public_key_sha256),
            _ => None,
        };
        for event in self.transcript.events() {
            match event {
                TranscriptEvent::Imported { label, place, public_key } => {
                    imported += 1;
                    if *place != target || pinned(label) != Some(public_key.spki_sha256()) {
                        return self.wrong(format!("the copy of `{label}` yields another public key, or went elsewhere"));
                    }
                }
                TranscriptEvent::Wrapped { .. } => wrapped += 1,
                TranscriptEvent::Destroyed { label, place } if *place == target && pinned(label).is_some() => {
                    destroyed.push(label.as_str())
                }
                TranscriptEvent::Destroyed { label, .. } => return self.wrong(format!("the key `{label}` is not in the plan")),
                _ => {}
            }
        }
        let (imports, wraps, deaths) = match &self.scene.plan.acts {
            Acts::Backup { key, .. } => (key.len(), key.len(), 0),
            Acts::Restore { key, .. } => (key.len(), 0, 0),
            Acts::Destroy { key, .. } => (0, 0, key.len()),
            _ => (0, 0, 0),
        };
        if (imported, wrapped, destroyed.len()) != (imports, wraps, deaths) {
            return self.wrong("it has copies or destructions beside those of the plan");
        }
        if deaths == 0 {
            return Ok(());
        }
        let lists: Vec<_> = self
            .transcript
            .events()
            .filter_map(|e| match e {
                TranscriptEvent::Inventory { place, objects, .. } if *place == target => Some(objects),
                _ => None,
            })
            .collect();
        let [before, after] = lists.as_slice() else { return self.wrong("it does not list what the device held before and after") };
        let expected: Vec<_> = before.iter().filter(|o| !destroyed.contains(&o.label.as_str())).cloned().collect();
        if before.len() == expected.len() || inventory_digest(after) != inventory_digest(&expected) {
            return self.wrong("what the device held afterwards is not what it held before without the destroyed keys");
        }
        Ok(())
    }
}
