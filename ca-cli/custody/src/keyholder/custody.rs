//! Every decision of the keyholder, from values.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ca_core::model::{CredentialName, HolderName};
use ca_core::pki::Timestamp;
use ca_keystore::keyholder::{Answer, CredentialStatus, GivenShare, Refusal, Request, Unlock};
use ca_keystore::shares::{Collector, Credential, Given, Share, ShareError};
use zeroize::Zeroizing;

use super::attempts::Attempts;
use super::audit::{Audit, AuditEvent};
use super::config::Uid;

/// How long shares wait for the others. Those of people who came in vain must not lie about.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Who asks: as the kernel says, not as the request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The user.
    pub uid: u32,
    /// The process.
    pub pid: i32,
}

enum State {
    /// Shares are missing. The collector's set says whose count.
    Sealed { collector: Collector, given: Vec<GivenShare> },
    /// In memory. An attended one can be sealed again.
    Unsealed { credential: Credential, collector: Option<Collector>, given: Vec<GivenShare> },
    /// Sealed by hand, and host-sealed: only a restart brings it back.
    Shut { purpose: ca_keystore::shares::Purpose },
}

struct Entry {
    name: CredentialName,
    unlock: Unlock,
    give_to: Vec<Uid>,
    state: State,
}

/// The credentials of one keyholder.
pub struct Custody<A> {
    officers: Vec<Uid>,
    entries: Vec<Entry>,
    attempts: Attempts,
    audit: A,
}

impl<A: Audit> Custody<A> {
    /// None yet.
    pub fn new(officers: Vec<Uid>, audit: A) -> Self {
        Self { officers, entries: Vec::new(), attempts: Attempts::default(), audit }
    }

    /// Adds one that holders unseal.
    pub fn add_attended(&mut self, set: ca_keystore::shares::ShareSet, give_to: Vec<Uid>) {
        let name = set.credential().clone();
        let state = State::Sealed { collector: Collector::new(set), given: Vec::new() };
        self.entries.push(Entry { name, unlock: Unlock::Attended, give_to, state });
    }

    /// Adds one that a file on this host had.
    pub fn add_host_sealed(&mut self, credential: Credential, give_to: Vec<Uid>) {
        let name = credential.name().clone();
        let state = State::Unsealed { credential, collector: None, given: Vec::new() };
        self.entries.push(Entry { name, unlock: Unlock::HostSealed, give_to, state });
    }

    /// Writes that it begins.
    ///
    /// # Errors
    /// When that could not be written.
    pub fn started(&mut self, now: Timestamp) -> std::io::Result<()> {
        let events: Vec<AuditEvent> =
            self.entries.iter().map(|e| AuditEvent { credential: Some(e.name.clone()), ..event(now, "started", None) }).collect();
        self.audit.write(&events)
    }

    /// Whether this user has any business here. Who has none is not even read.
    pub fn knows(&self, uid: u32) -> bool {
        self.is_officer(uid) || self.entries.iter().any(|e| e.give_to.contains(&Uid(uid)))
    }

    fn is_officer(&self, uid: u32) -> bool {
        self.officers.contains(&Uid(uid))
    }

    /// Writes that someone without business was turned away.
    pub fn turned_away(&mut self, peer: Peer, now: Timestamp) {
        // Nothing depends on this line, so a full disk does not matter here.
        let _ =
            self.audit.write(&[AuditEvent { reason: Some("not one of the users here".to_owned()), ..event(now, "denied", Some(peer)) }]);
    }

    /// Answers one request.
    pub fn answer(&mut self, request: Request, peer: Peer, now: Timestamp) -> Answer {
        if let Err(refused) = self.expire(now) {
            return refused;
        }
        let answered = match request {
            Request::Status => self.status(peer, now),
            Request::Give { share } => self.give(share, peer, now),
            Request::Take { credential } => self.take(&credential, peer, now),
            Request::Seal { credential } => self.seal(credential.as_ref(), peer, now),
        };
        answered.unwrap_or_else(|refused| refused)
    }

    fn write(&mut self, events: &[AuditEvent]) -> Result<(), Answer> {
        self.audit
            .write(events)
            .map_err(|e| refused(Refusal::Failed, format!("the audit line could not be written, so nothing was done: {e}")))
    }

    /// Turns someone away, on record.
    fn deny(&mut self, name: Option<&CredentialName>, peer: Peer, now: Timestamp, message: String) -> Answer {
        let reason = Some(message.clone());
        match self.write(&[AuditEvent { credential: name.cloned(), reason, ..event(now, "denied", Some(peer)) }]) {
            Ok(()) => refused(Refusal::Denied, message),
            Err(failed) => failed,
        }
    }

    fn officer(&mut self, name: Option<&CredentialName>, peer: Peer, now: Timestamp, what: &str) -> Result<(), Answer> {
        if self.is_officer(peer.uid) {
            return Ok(());
        }
        let message = format!("user {} may not {what} (hint: `officers` in the keyholder's configuration names who may)", peer.uid);
        Err(self.deny(name, peer, now, message))
    }

    fn find(&mut self, name: &CredentialName) -> Result<&mut Entry, Answer> {
        let unknown =
            || refused(Refusal::Unknown, format!("the keyholder has no credential `{name}` (hint: `ca unseal --status` lists them)"));
        self.entries.iter_mut().find(|e| e.name == *name).ok_or_else(unknown)
    }

    /// Forgets shares that waited too long for the others.
    fn expire(&mut self, now: Timestamp) -> Result<(), Answer> {
        let mut events = Vec::new();
        for entry in &mut self.entries {
            if let State::Sealed { collector, given } = &mut entry.state
                && given.first().is_some_and(|first| now.since(first.at) > PATIENCE)
            {
                collector.forget();
                given.clear();
                events.push(AuditEvent { credential: Some(entry.name.clone()), ..event(now, "shares-expired", None) });
            }
        }
        if events.is_empty() { Ok(()) } else { self.write(&events) }
    }

    fn status(&mut self, peer: Peer, now: Timestamp) -> Result<Answer, Answer> {
        if !self.knows(peer.uid) {
            return Err(self.deny(None, peer, now, format!("user {} may not ask", peer.uid)));
        }
        Ok(Answer::Status { credentials: self.entries.iter().map(Entry::status).collect() })
    }

    fn give(&mut self, share: Share, peer: Peer, now: Timestamp) -> Result<Answer, Answer> {
        let (name, holder) = (share.credential().clone(), share.holder().clone());
        self.officer(Some(&name), peer, now, "give shares")?;
        if let Some(wait) = self.attempts.wait(peer.uid, now) {
            let seconds = wait.as_secs();
            return Err(refused(Refusal::Later, format!("too many wrong shares from user {}: try again in {seconds} s", peer.uid)));
        }
        let of = |event_name, reason| AuditEvent {
            credential: Some(name.clone()),
            holder: Some(holder.clone()),
            reason,
            ..event(now, event_name, Some(peer))
        };
        let State::Sealed { collector, .. } = &self.find(&name)?.state else {
            return Err(refused(Refusal::Share, format!("`{name}` needs no shares now: `ca unseal --status` shows how it is")));
        };
        let missing = match collector.check(&share) {
            Ok(missing) => missing,
            Err(error) => {
                // A holder who gives twice is hasty, not hostile.
                if !matches!(error, ShareError::Twice(_)) {
                    self.attempts.wrong(peer.uid, now);
                }
                let message = error.to_string();
                self.write(&[of("share-refused", Some(message.clone()))])?;
                return Err(refused(Refusal::Share, message));
            }
        };
        self.attempts.good(peer.uid);
        let mut events = vec![of("share-accepted", None)];
        if missing == 0 {
            events.push(AuditEvent { credential: Some(name.clone()), ..event(now, "unsealed", None) });
        }
        // Without the line the share is not taken.
        self.write(&events)?;
        let entry = self.find(&name)?;
        let State::Sealed { collector, given } = &mut entry.state else {
            return Err(refused(Refusal::Failed, format!("`{name}` changed meanwhile: try again")));
        };
        let done = collector.give(share);
        given.push(GivenShare { holder, at: now, uid: peer.uid });
        match done {
            Ok(Given::Waiting { missing }) => Ok(Answer::Accepted { missing }),
            Ok(Given::Complete(secret)) => {
                let (set, given) = (collector.set().clone(), std::mem::take(given));
                let credential = secret.credential(&name, set.purpose());
                entry.state = State::Unsealed { credential, collector: Some(Collector::new(set)), given };
                Ok(Answer::Accepted { missing: 0 })
            }
            Err(error) => {
                given.clear();
                Err(refused(Refusal::Share, error.to_string()))
            }
        }
    }

    fn take(&mut self, name: &CredentialName, peer: Peer, now: Timestamp) -> Result<Answer, Answer> {
        if !self.find(name)?.give_to.contains(&Uid(peer.uid)) {
            let message = format!(
                "user {} may not have the credential `{name}` (hint: `give_to` in the keyholder's configuration names who may)",
                peer.uid
            );
            return Err(self.deny(Some(name), peer, now, message));
        }
        let entry = self.find(name)?;
        let unlock = entry.unlock;
        let (purpose, secret) = match &entry.state {
            State::Unsealed { credential, .. } => {
                // The whole capacity at once: growing would leave a copy behind.
                let mut secret = Zeroizing::new(String::with_capacity(128));
                STANDARD.encode_string(credential.expose(), &mut secret);
                (credential.purpose(), secret)
            }
            State::Sealed { collector, .. } => {
                return Err(refused(Refusal::Sealed, format!("sealed: {}; each runs `ca unseal`", collector.too_few())));
            }
            State::Shut { .. } => {
                return Err(refused(Refusal::Sealed, format!("`{name}` was sealed by hand (hint: a restart of the keyholder opens it)")));
            }
        };
        self.write(&[AuditEvent { credential: Some(name.clone()), ..event(now, "given", Some(peer)) }])?;
        Ok(Answer::Credential { purpose, unlock, secret })
    }

    fn seal(&mut self, name: Option<&CredentialName>, peer: Peer, now: Timestamp) -> Result<Answer, Answer> {
        self.officer(name, peer, now, "seal")?;
        if let Some(name) = name {
            self.find(name)?;
        }
        let mut credentials: Vec<CredentialName> = Vec::new();
        for entry in self.entries.iter_mut().filter(|e| name.is_none_or(|n| e.name == *n)) {
            if entry.seal() {
                credentials.push(entry.name.clone());
            }
        }
        // Forgetting comes first: a full disk must not keep a credential alive.
        let event_of = |name: &CredentialName| AuditEvent { credential: Some(name.clone()), ..event(now, "sealed", Some(peer)) };
        let events: Vec<AuditEvent> = credentials.iter().map(event_of).collect();
        match self.audit.write(&events) {
            Ok(()) => Ok(Answer::Sealed { credentials }),
            Err(e) => Err(refused(Refusal::Failed, format!("it is sealed, and that could not be written to the audit file: {e}"))),
        }
    }
}

impl Entry {
    /// Forgets what it has. Tells whether there was anything.
    fn seal(&mut self) -> bool {
        match &mut self.state {
            State::Sealed { collector, given } => {
                let any = !given.is_empty();
                collector.forget();
                given.clear();
                any
            }
            State::Unsealed { credential, collector, .. } => {
                self.state = match collector.take() {
                    Some(collector) => State::Sealed { collector, given: Vec::new() },
                    None => State::Shut { purpose: credential.purpose() },
                };
                true
            }
            State::Shut { .. } => false,
        }
    }

    fn status(&self) -> CredentialStatus {
        let (purpose, set, given) = match &self.state {
            State::Sealed { collector, given } => (collector.set().purpose(), Some(collector.set()), given.clone()),
            State::Unsealed { credential, collector, given } => {
                (credential.purpose(), collector.as_ref().map(Collector::set), given.clone())
            }
            State::Shut { purpose } => (*purpose, None, Vec::new()),
        };
        CredentialStatus {
            name: self.name.clone(),
            purpose,
            unlock: self.unlock,
            unsealed: matches!(self.state, State::Unsealed { .. }),
            set: set.map(|s| s.id()),
            threshold: set.map_or(0, |s| s.threshold()),
            holders: set.map_or_else(Vec::<HolderName>::new, |s| s.holders().to_vec()),
            given,
        }
    }
}

fn refused(why: Refusal, message: String) -> Answer {
    Answer::Refused { why, message }
}

fn event(at: Timestamp, event: &'static str, peer: Option<Peer>) -> AuditEvent {
    AuditEvent { at, event, credential: None, holder: None, uid: peer.map(|p| p.uid), pid: peer.map(|p| p.pid), reason: None }
}
