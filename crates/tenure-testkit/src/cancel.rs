//! Futures that are dropped at a chosen await: [`cancel_at`].

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Polls `future` at most `polls` times and then drops it; its answer, if it came by then.
///
/// Run with 0, 1, 2, … until it answers, this drops a future at each of its awaits.
pub async fn cancel_at<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_future_of_three_polls_is_dropped_at_each_of_them() {
        let steps = || async {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            7
        };
        for polls in 0..3 {
            assert_eq!(cancel_at(polls, steps()).await, None);
        }
        assert_eq!(cancel_at(3, steps()).await, Some(7));
    }
}
