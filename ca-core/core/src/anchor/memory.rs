//! An anchor that forgets with its process.

use std::sync::{Arc, Mutex, PoisonError};

use super::{AnchorState, AnchorStep};
use crate::pki::Timestamp;
use crate::ports::{Anchor, AnchorError};

/// Enforces the steps and keeps nothing: for rehearsals that have no anchor, and for tests.
#[derive(Debug)]
pub struct MemoryAnchor(Mutex<Arc<AnchorState>>);

impl MemoryAnchor {
    /// One that begins at `state`.
    pub fn new(state: AnchorState) -> Self {
        Self(Mutex::new(Arc::new(state)))
    }
}

impl Anchor for MemoryAnchor {
    fn state(&self) -> Arc<AnchorState> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self, steps: &[AnchorStep], now: Timestamp) -> Result<(), AnchorError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = Arc::new(state.after(steps, now)?);
        Ok(())
    }

    fn flush(&self) -> Result<(), AnchorError> {
        Ok(())
    }
}
