//! A ceremony's acts through the one signing path.
//!
//! What is prepared depends on the scene and what was drawn only. So a later run prepares the same bytes again, finds
//! them on record, and may sign exactly those.

use ca_core::issuance::{self, Attempt, IssuanceError, Prepared};
use ca_core::model::{Actor, CrlScope, Intent, Origin};
use ca_core::pki::Timestamp;
use ca_core::ports::{Clock, KeyStore};

use crate::Error;
use crate::design::{Act, Drawn};
use crate::journal::Journal;
use crate::scene::{Blueprint, Scene};

/// What an act works with.
pub(crate) struct Context<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) journal: &'a Journal,
    pub(crate) clock: &'a dyn Clock,
    /// When the intent is, or was, recorded.
    pub(crate) at: Timestamp,
    pub(crate) actor: Actor,
}

/// Prepares an act and puts it on record; no key is used.
pub(crate) async fn record(context: &Context<'_>, act: Act, drawn: &Drawn) -> Result<(), Error> {
    context.go(act, drawn, None).await
}

/// Signs with `keys` and releases what `intent` has on record.
pub(crate) async fn sign(context: &Context<'_>, act: Act, intent: &Intent, keys: &dyn KeyStore) -> Result<(), Error> {
    context.go(act, &Drawn::recorded(intent), Some(keys)).await
}

impl Context<'_> {
    async fn go(&self, act: Act, drawn: &Drawn, keys: Option<&dyn KeyStore>) -> Result<(), Error> {
        let root = &self.scene.plan.root;
        let mut attempt = Attempt {
            id: act.attempt(&self.scene.plan),
            authority: root.authority.clone(),
            key: root.key.clone(),
            origin: Origin::Ceremony,
            actor: self.actor.clone(),
            at: self.at,
        };
        let blueprint = self.scene.blueprint(act, &self.journal.transcript(), drawn)?;
        if let Blueprint::Test(test) = &blueprint {
            attempt.key = test.key.clone();
        }
        let done = match blueprint {
            Blueprint::Root(request) => self.through(issuance::prepare_root(&request, attempt), keys).await,
            Blueprint::Intermediate(request, issuer) => {
                self.through(issuance::prepare_intermediate(&request, &issuer, attempt), keys).await
            }
            Blueprint::Cross(request, issuer) => self.through(issuance::prepare_cross(&request, &issuer, attempt), keys).await,
            Blueprint::Crl(header, entries, issuer) => {
                let prepared = issuance::prepare_crl(&header, entries.into_iter(), CrlScope::FULL, 0, &issuer, attempt);
                self.through(prepared, keys).await
            }
            Blueprint::Test(test) => self.through(issuance::prepare_key_test(&test, attempt), keys).await,
        };
        done.map_err(|e| Error::issuance(act.name(&self.scene.plan), e))
    }

    async fn through<T>(&self, prepared: Result<Prepared<T>, IssuanceError>, keys: Option<&dyn KeyStore>) -> Result<(), IssuanceError> {
        let recorded = issuance::record(self.journal, prepared?).await?;
        if let Some(keys) = keys {
            let signed = issuance::sign(keys, recorded).await?;
            issuance::release(self.journal, signed, self.actor.clone(), self.clock.now()).await?;
        }
        Ok(())
    }
}
