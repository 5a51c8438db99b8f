//! Bodies of requests as they arrive: each in one buffer that grows with what came, never by the length that was announced,
//! and all of them within one budget, since they are read before anyone knows who sends them.
//!
//! The first [`FREE`] octets of each are outside the budget, and bounded by the connections and their streams: who holds large
//! bodies open keeps other large ones out for a while, and nobody's ordinary request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ca_core::evidence::json::MAX_BYTES;

/// So much of each body is outside the budget: most requests have less.
const FREE: usize = 4096;

/// Octets that bodies may still take.
pub(crate) struct Budget(AtomicUsize);

impl Budget {
    pub(crate) fn new(octets: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(octets)))
    }

    fn take(&self, octets: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(octets)).is_ok()
    }
}

/// What a body has of the budget, until the request is done with.
pub(crate) struct Held {
    budget: Arc<Budget>,
    octets: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.octets, Ordering::Relaxed);
    }
}

/// Why a body is not read on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// It has more than any request may.
    TooLarge,
    /// The budget is spent.
    Full,
}

/// A body as far as it came.
pub(crate) struct Arriving {
    octets: Vec<u8>,
    held: Held,
}

impl Arriving {
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Self { octets: Vec::new(), held: Held { budget: Arc::clone(budget), octets: 0 } }
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let length = self.octets.len() + piece.len();
        if length > MAX_BYTES {
            return Err(Refused::TooLarge);
        }
        if length > self.octets.capacity() {
            // Doubled each time; no more than the most, which is a power of two itself.
            const { assert!(MAX_BYTES.is_power_of_two()) };
            let room = length.next_power_of_two();
            let more = room.saturating_sub(FREE) - self.held.octets;
            if !self.held.budget.take(more) {
                return Err(Refused::Full);
            }
            self.held.octets += more;
            self.octets.reserve_exact(room - self.octets.len());
        }
        self.octets.extend_from_slice(piece);
        Ok(())
    }

    /// The whole body, and what it has of the budget.
    pub(crate) fn whole(self) -> (Vec<u8>, Held) {
        (self.octets, self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(budget: &Budget) -> usize {
        budget.0.load(Ordering::Relaxed)
    }

    #[test]
    fn a23_bodies_take_what_came_beyond_the_first_octets_and_give_it_back() {
        let budget = Budget::new(100_000);
        let mut body = Arriving::new(&budget);
        for _ in 0..FREE {
            body.push(b"a").unwrap();
        }
        assert_eq!(left(&budget), 100_000, "an ordinary request takes none of it");
        body.push(b"a").unwrap();
        assert_eq!(left(&budget), 100_000 - FREE);
        body.push(&vec![b'a'; MAX_BYTES - FREE - 1]).unwrap();
        assert_eq!(left(&budget), 100_000 - (MAX_BYTES - FREE));
        assert_eq!(body.push(b"a"), Err(Refused::TooLarge));

        let mut other = Arriving::new(&budget);
        assert_eq!(other.push(&vec![b'a'; MAX_BYTES]), Err(Refused::Full));
        other.push(&[b'a'; FREE]).unwrap();
        let (octets, held) = body.whole();
        assert_eq!((octets.len(), octets.capacity()), (MAX_BYTES, MAX_BYTES), "in one buffer of its size");
        assert_eq!(other.push(&vec![b'a'; MAX_BYTES - FREE]), Err(Refused::Full), "for as long as the request is under way");
        drop(held);
        other.push(&vec![b'a'; MAX_BYTES - FREE]).unwrap();
        drop(other);
        assert_eq!(left(&budget), 100_000);
    }
}
