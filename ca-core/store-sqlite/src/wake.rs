//! In-process wake-ups: the writer tells, after a commit, who may go on.
//!
//! They only make things quick. Whoever waits looks at the database before and after, and waits for a bounded time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ca_core::model::RequestId;
use tokio::sync::Notify;

/// The most requests that are waited for at once; who comes later gets the state as it is.
const MAX_WAITERS: usize = 10_000;

/// What a command touched, gathered while it runs and told once it is durable.
#[derive(Default)]
pub(crate) struct Touched {
    pub(crate) requests: bool,
    pub(crate) jobs: bool,
    pub(crate) ledger: bool,
    pub(crate) validations: bool,
    pub(crate) ended: Vec<RequestId>,
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
        self.ended.append(&mut other.ended);
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
    ended: Mutex<HashMap<RequestId, (usize, Arc<Notify>)>>,
}

impl Wakers {
    /// Wakes everyone whom a committed change concerns.
    pub(crate) fn tell(&self, touched: &Touched) {
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
        if !touched.ended.is_empty() {
            let waiting = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            touched.ended.iter().filter_map(|id| waiting.get(id)).for_each(|(_, notify)| notify.notify_waiters());
        }
    }

    /// Registers a wait for the end of a request; none where too many wait already.
    pub(crate) fn wait_for(&self, id: &RequestId) -> Option<RequestWait<'_>> {
        let mut waiting = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_WAITERS && !waiting.contains_key(id) {
            return None;
        }
        let (count, notify) = waiting.entry(id.clone()).or_default();
        *count += 1;
        Some(RequestWait { wakers: self, id: id.clone(), notify: Arc::clone(notify) })
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
        let mut waiting = self.wakers.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((count, _)) = waiting.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.id);
            }
        }
    }
}
