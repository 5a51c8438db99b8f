//! What comes in between: acts that reach the store in the middle of a worker's step.

use std::sync::{Arc, Mutex};

use ca_core::anchor::{AnchorState, AnchorStep, MemoryAnchor};
use ca_core::pki::Timestamp;
use ca_core::ports::{Anchor, AnchorError};

type Act = Box<dyn FnOnce(&MemoryAnchor) + Send>;

/// An anchor that does something, once, right after it has taken a step of one kind.
pub(crate) struct Between {
    anchor: MemoryAnchor,
    after: fn(&AnchorStep) -> bool,
    then: Mutex<Option<Act>>,
}

impl Between {
    pub(crate) fn new(state: &AnchorState, after: fn(&AnchorStep) -> bool, then: impl FnOnce(&MemoryAnchor) + Send + 'static) -> Arc<Self> {
        Arc::new(Self { anchor: MemoryAnchor::new(state.clone()), after, then: Mutex::new(Some(Box::new(then))) })
    }
}

impl Anchor for Between {
    fn state(&self) -> Arc<AnchorState> {
        self.anchor.state()
    }

    fn take(&self, steps: &[AnchorStep], now: Timestamp) -> Result<(), AnchorError> {
        self.anchor.take(steps, now)?;
        if steps.iter().any(self.after)
            && let Some(then) = self.then.lock().unwrap().take()
        {
            then(&self.anchor);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), AnchorError> {
        self.anchor.flush()
    }
}

/// Waits for work that is done beside the caller's own runtime.
pub(crate) fn beside(work: impl Future<Output = ()> + Send + 'static) {
    let own = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::spawn(move || own().block_on(work)).join().unwrap();
}
