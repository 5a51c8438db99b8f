//! Closes what a death left open (invariants 4, 10 and 11).

use super::{Worker, WorkerError};
use crate::model::{Abandonment, Actor};
use crate::ports::StoreError;

/// How many open intents one round closes.
const ROUND: u32 = 1000;

impl Worker {
    /// Abandons every intent whose lease is no longer held: its serial is revoked as superseded, an alarm is raised,
    /// and its order goes on with a new serial. Tells how many. Runs at each start, and now and then.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn reconcile(&self) -> Result<usize, WorkerError> {
        let now = self.clock.now();
        let open = self.store.open_intents(now, now, ROUND).await?;
        let mut closed = 0;
        for intent in open {
            let object = match (&intent.serial, &intent.crl) {
                (Some(serial), _) => serial.to_string(),
                (None, Some((scope, number))) => format!("{scope}/{number}"),
                (None, None) => intent.attempt.to_string(),
            };
            let reason = format!("the intent of {} was never completed, and its lease has ended", intent.at);
            let abandonment = Abandonment {
                attempt: intent.attempt.clone(),
                authority: intent.authority.clone(),
                reason: reason.clone(),
                actor: Actor::system("reconciler"),
                at: now,
            };
            match self.store.abandon(&abandonment).await {
                Ok(()) => {
                    closed += 1;
                    self.alarm(Some(&intent.authority), &object, intent.attempt.as_str(), &reason).await;
                }
                // Completed or abandoned meanwhile.
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(closed)
    }
}
