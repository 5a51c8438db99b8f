//! A ceremony's acts through the one signing path.
//!
//! What is prepared depends on the plan, the keys and what was drawn only. So a later run prepares the same bytes
//! again, finds them on record, and may sign exactly those.

use ca_core::ceremony::Plan;
use ca_core::issuance::{self, Attempt, CertificateTbs, CrlTbs, IssuanceError, Prepared};
use ca_core::model::{Actor, CrlScope, Intent, IntentContent, Origin};
use ca_core::pki::Timestamp;
use ca_core::ports::{Clock, KeyStore};

use crate::Error;
use crate::design::{Act, Drawn, crl_header, issuing_request, provisional_issuer, root_request};
use crate::journal::Journal;
use crate::run::Keys;

/// What an act works with.
pub(crate) struct Context<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) keys: &'a Keys,
    pub(crate) journal: &'a Journal,
    pub(crate) key_store: &'a dyn KeyStore,
    pub(crate) clock: &'a dyn Clock,
    /// When the intent is, or was, recorded.
    pub(crate) at: Timestamp,
    pub(crate) actor: Actor,
}

enum Ready {
    Certificate(Prepared<CertificateTbs>),
    Crl(Prepared<CrlTbs>),
}

/// Prepares an act and puts it on record; no key is used.
pub(crate) async fn record(context: &Context<'_>, act: Act, drawn: &Drawn) -> Result<(), Error> {
    match context.prepare(act, drawn)? {
        Ready::Certificate(prepared) => issuance::record(context.journal, prepared).await.map(drop),
        Ready::Crl(prepared) => issuance::record(context.journal, prepared).await.map(drop),
    }
    .map_err(|e| context.wrong(act, e))
}

/// Signs and releases what `intent` has on record.
pub(crate) async fn sign(context: &Context<'_>, act: Act, intent: &Intent) -> Result<(), Error> {
    let ready = context.prepare(act, &Drawn::recorded(intent))?;
    let wrong = |e: IssuanceError| context.wrong(act, e);
    match ready {
        Ready::Certificate(prepared) => {
            let recorded = issuance::record(context.journal, prepared).await.map_err(wrong)?;
            let signed = issuance::sign(context.key_store, recorded).await.map_err(wrong)?;
            issuance::release(context.journal, signed, context.actor.clone(), context.clock.now()).await.map_err(wrong)?;
        }
        Ready::Crl(prepared) => {
            let recorded = issuance::record(context.journal, prepared).await.map_err(wrong)?;
            let signed = issuance::sign(context.key_store, recorded).await.map_err(wrong)?;
            issuance::release(context.journal, signed, context.actor.clone(), context.clock.now()).await.map_err(wrong)?;
        }
    }
    Ok(())
}

impl Context<'_> {
    fn wrong(&self, act: Act, e: impl std::fmt::Display) -> Error {
        Error::issuance(act.name(self.plan), e)
    }

    fn prepare(&self, act: Act, drawn: &Drawn) -> Result<Ready, Error> {
        let root = &self.plan.root;
        let attempt = Attempt {
            id: act.attempt(self.plan),
            authority: root.authority.clone(),
            key: root.key.clone(),
            origin: Origin::Ceremony,
            actor: self.actor.clone(),
            at: self.at,
        };
        let key = |authority| self.keys.get(authority).ok_or_else(|| self.wrong(act, "its key is missing"));
        let wrong = |e: IssuanceError| self.wrong(act, e);
        match act {
            Act::Root => {
                let request = root_request(self.plan, key(&root.authority)?, drawn)?;
                issuance::prepare_root(&request, attempt).map(Ready::Certificate).map_err(wrong)
            }
            Act::Issuing(i) => {
                let issuing = &self.plan.issuing[i];
                let request = issuing_request(self.plan, issuing, key(&issuing.authority)?, drawn)?;
                issuance::prepare_intermediate(&request, &self.root()?, attempt).map(Ready::Certificate).map_err(wrong)
            }
            Act::RootCrl => {
                let issuer = self.root()?;
                let header = crl_header(self.plan, issuer.certificate(), drawn);
                issuance::prepare_crl(&header, std::iter::empty(), CrlScope::FULL, 0, &issuer, attempt).map(Ready::Crl).map_err(wrong)
            }
            Act::Policy => Err(self.wrong(act, "no key signs a policy")),
        }
    }

    /// The root as it will be, from its recorded bytes: signed or not, name and key are the same.
    fn root(&self) -> Result<ca_core::profile::Issuer, Error> {
        let transcript = self.journal.transcript();
        match Act::Root.intent(self.plan, &transcript).map(|i| &i.content) {
            Some(IntentContent::Certificate(c)) => provisional_issuer(&c.tbs, self.plan.root.algorithm.signature_algorithm()),
            _ => Err(self.wrong(Act::Root, "no intent is on record")),
        }
    }
}
