//! Waiting for several futures at once, without a runtime.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// A future that may borrow.
pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

enum Slot<'a, T> {
    Running(Boxed<'a, T>),
    Done(T),
}

/// Runs all of them in the calling task and gives their results in order. Each wake-up polls whatever still runs,
/// which for the worker's batches of a few dozen costs less than telling wake-ups apart.
pub(super) async fn join_all<T: Send>(futures: Vec<Boxed<'_, T>>) -> Vec<T> {
    let mut slots: Vec<Slot<'_, T>> = futures.into_iter().map(Slot::Running).collect();
    poll_fn(|context| {
        let mut all = true;
        for slot in &mut slots {
            if let Slot::Running(future) = slot {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *slot = Slot::Done(value),
                    Poll::Pending => all = false,
                }
            }
        }
        if all { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let value = |slot| match slot {
        Slot::Done(value) => Some(value),
        Slot::Running(_) => None,
    };
    slots.into_iter().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn runs_all_at_once_and_keeps_the_order() {
        let yielding = |value: u32, times: u32| -> Boxed<'static, u32> {
            let mut left = times;
            Box::pin(async move {
                poll_fn(|_| {
                    if left == 0 {
                        Poll::Ready(())
                    } else {
                        left -= 1;
                        Poll::Pending
                    }
                })
                .await;
                value
            })
        };
        let mut joined = Box::pin(join_all(vec![yielding(1, 3), yielding(2, 0), yielding(3, 3)]));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            assert!(joined.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(joined.as_mut().poll(&mut context), Poll::Ready(vec![1, 2, 3]));
    }
}
