//! One at a time, without a runtime: who comes while another is at it waits.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    taken: bool,
    waiting: Vec<Waker>,
}

/// A turn; it ends as this is dropped, also with a task that is given up.
#[derive(Debug)]
#[must_use]
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits until nobody else is at it. As many wait as there are callers.
    pub(super) async fn turn(&self) -> Turn<'_> {
        poll_fn(|context| {
            let mut state = self.lock();
            if !state.taken {
                state.taken = true;
                return Poll::Ready(Turn(self));
            }
            if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                state.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.0.lock();
            state.taken = false;
            std::mem::take(&mut state.waiting)
        };
        // All of them: one that was woken may have been given up meanwhile.
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn one_is_at_it_and_the_others_are_woken_as_it_ends() {
        let (turns, woken) = (Turns::default(), Arc::new(Woken::default()));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let (mut first, mut second, mut third) = (Box::pin(turns.turn()), Box::pin(turns.turn()), Box::pin(turns.turn()));
        let Poll::Ready(turn) = first.as_mut().poll(&mut context) else { panic!("nobody is at it") };
        for _ in 0..3 {
            assert!(second.as_mut().poll(&mut context).is_pending() && third.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
        drop(turn);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "a task that waits twice is woken once");
        // Who was first in the queue gave up.
        drop(second);
        let Poll::Ready(turn) = third.as_mut().poll(&mut context) else { panic!("the turn ended") };
        assert!(Box::pin(turns.turn()).as_mut().poll(&mut context).is_pending());
        drop(turn);
        assert!(Box::pin(turns.turn()).as_mut().poll(&mut context).is_ready());
    }
}
