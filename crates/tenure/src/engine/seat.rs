//! A place in the local queue, where a waiting task is given its turn.

use std::task::{Poll, Waker};

use super::cohort::Turn;
use crate::sync::Mutex;

/// A place in the local queue.
#[derive(Debug, Default)]
pub(crate) struct Seat(Mutex<Sitting>);

#[derive(Debug, Default)]
enum Sitting {
    #[default]
    Waiting,
    Polled(Waker),
    Turn(Turn),
    Left,
}

impl Seat {
    /// The task leaves. What it was given meanwhile comes back.
    pub(super) fn leave(&self) -> Option<Turn> {
        match std::mem::replace(&mut *self.0.lock(), Sitting::Left) {
            Sitting::Turn(turn) => Some(turn),
            _ => None,
        }
    }

    /// Gives a turn to the task; it comes back when the task has left.
    pub(super) fn give(&self, turn: Turn) -> Option<Turn> {
        let mut sitting = self.0.lock();
        match std::mem::replace(&mut *sitting, Sitting::Left) {
            Sitting::Left | Sitting::Turn(_) => Some(turn),
            waiting => {
                *sitting = Sitting::Turn(turn);
                drop(sitting);
                if let Sitting::Polled(waker) = waiting {
                    waker.wake();
                }
                None
            }
        }
    }

    /// Resolves when it is the task's turn.
    pub(crate) async fn turn(&self) -> Turn {
        std::future::poll_fn(|context| {
            let mut sitting = self.0.lock();
            match std::mem::replace(&mut *sitting, Sitting::Left) {
                Sitting::Turn(turn) => Poll::Ready(turn),
                _ => {
                    *sitting = Sitting::Polled(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
