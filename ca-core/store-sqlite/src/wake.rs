//! In-process wake-ups: the writer tells, after a commit, who may go on.
//!
//! They only make things quick. Whoever waits looks at the database where this knows nothing, and waits for a bounded
//! time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ca_core::evidence::memo::Memo;
use ca_core::model::{RequestId, RequestState};
use tokio::sync::Notify;

/// The most requests that are waited for at once; who comes later gets the state as it is.
const MAX_WAITERS: usize = 10_000;

/// The most states that are known; those of finalized orders have their certificates.
const MAX_STATES: usize = 2048;

/// What a command touched, gathered while it runs and told once it is durable.
#[derive(Default)]
pub(crate) struct Touched {
    pub(crate) jobs: bool,
    pub(crate) ledger: bool,
    pub(crate) validations: bool,
    /// Whether there is a request to serve.
    pub(crate) requests: bool,
    /// Requests that were queued or ended.
    pub(crate) states: Vec<(RequestId, RequestState)>,
    /// Whether old requests were dropped.
    pub(crate) pruned: bool,
}

impl Touched {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes over what `other` gathered.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.requests |= other.requests;
        self.jobs |= other.jobs;
        self.ledger |= other.ledger;
        self.validations |= other.validations;
        self.states.append(&mut other.states);
        self.pruned |= other.pruned;
        other.clear();
    }
}

/// Those who wait.
#[derive(Default)]
pub(crate) struct Wakers {
    pub(crate) requests: Notify,
    pub(crate) jobs: Notify,
    pub(crate) ledger: Notify,
    pub(crate) validations: Notify,
    signing: Mutex<Signing>,
}

/// Signing requests, as this process last saw them, and who waits for their end.
struct Signing {
    states: Memo<RequestId, RequestState>,
    waiting: HashMap<RequestId, (usize, Arc<Notify>)>,
}

impl Default for Signing {
    fn default() -> Self {
        Self { states: Memo::new(MAX_STATES), waiting: HashMap::new() }
    }
}

impl Wakers {
    /// Wakes everyone whom a committed change concerns.
    pub(crate) fn tell(&self, touched: &mut Touched) {
        // The states first: who is woken asks for them.
        if touched.pruned || !touched.states.is_empty() {
            let mut signing = self.signing();
            if touched.pruned {
                signing.states = Memo::new(MAX_STATES);
            }
            for (id, state) in touched.states.drain(..) {
                let ended = state != RequestState::Waiting;
                if let (true, Some((_, notify))) = (ended, signing.waiting.get(&id)) {
                    notify.notify_waiters();
                }
                signing.states.insert(id, state);
            }
        }
        let told = [
            (touched.requests, &self.requests),
            (touched.jobs, &self.jobs),
            (touched.ledger, &self.ledger),
            (touched.validations, &self.validations),
        ];
        for (concerned, notify) in told {
            if concerned {
                notify.notify_waiters();
                // And leave one permit for a follower that is between two waits.
                notify.notify_one();
            }
        }
    }

    /// A request's state, where this process knows it.
    pub(crate) fn state_of(&self, id: &RequestId) -> Option<RequestState> {
        self.signing().states.get(id).cloned()
    }

    /// Registers a wait for the end of a request; none where too many wait already.
    pub(crate) fn wait_for(&self, id: &RequestId) -> Option<RequestWait<'_>> {
        let mut signing = self.signing();
        if signing.waiting.len() >= MAX_WAITERS && !signing.waiting.contains_key(id) {
            return None;
        }
        let (count, notify) = signing.waiting.entry(id.clone()).or_default();
        *count += 1;
        Some(RequestWait { wakers: self, id: id.clone(), notify: Arc::clone(notify) })
    }

    fn signing(&self) -> std::sync::MutexGuard<'_, Signing> {
        self.signing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One caller's wait; dropping it takes it off the register.
pub(crate) struct RequestWait<'a> {
    wakers: &'a Wakers,
    id: RequestId,
    pub(crate) notify: Arc<Notify>,
}

impl Drop for RequestWait<'_> {
    fn drop(&mut self) {
        let mut signing = self.wakers.signing();
        if let Some((count, _)) = signing.waiting.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                signing.waiting.remove(&self.id);
            }
        }
    }
}
