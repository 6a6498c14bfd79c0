//! What callers ask of the driver, and how they are answered.

use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::resp::{Args, Reply};
use crate::claim::{Claim, LeaseId};
use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::lease::{Claimed, Ended, Kept};
use crate::limits;
use crate::name::Names;
use crate::provider::{Force, Forced, Keep};
use crate::token::TokenBlock;

/// What is asked of the store.
#[derive(Debug)]
pub(super) enum Ask {
    Claim(Claim),
    Keep(Keep),
    End(LeaseId),
    Force {
        lease: LeaseId,
        how: Force,
        names: Names,
    },
    /// A command as it is.
    Command(Args),
}

/// What the store answers.
#[derive(Debug)]
pub(super) enum Answer {
    Claimed(Claimed),
    Kept(Kept),
    Ended(Ended),
    Forced(Forced),
    Reply(Reply),
}

/// Nearly all are one.
pub(super) type Answers = SmallVec<[Result<Answer>; 1]>;

/// Asks that came together and are answered together.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) parts: SmallVec<[Part; 1]>,
    /// How often its connection has failed.
    pub(super) tries: u32,
    /// When it must have been answered.
    pub(super) until: Instant,
    /// Whether it is one of the driver's own: nobody waits for its answers.
    is_own: bool,
    reply: Option<oneshot::Sender<Answers>>,
    /// Its place among the claims that are on their way.
    _place: Option<OwnedSemaphorePermit>,
}

/// One ask of a job.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) ask: Ask,
    /// Which of all parts of this process it is.
    pub(super) number: u64,
    pub(super) answer: Option<Result<Answer>>,
    /// Whether a claim must go through the script: its key was taken.
    pub(super) by_script: bool,
    /// Whether it was sent before over a connection that failed: it may have been done.
    pub(super) is_repeated: bool,
    /// What this process knew of the lease when the ask was sent.
    pub(super) known: Option<(Names, Option<TokenBlock>)>,
}

impl Job {
    /// A job of a caller, and where the answers come. It keeps its place until it is dropped.
    pub(super) fn new(
        asks: impl IntoIterator<Item = Ask>,
        place: Option<OwnedSemaphorePermit>,
        until: Instant,
    ) -> (Self, oneshot::Receiver<Answers>) {
        let (sender, receiver) = oneshot::channel();
        (
            Job { parts: parts(asks), tries: 0, until, is_own: false, reply: Some(sender), _place: place },
            receiver,
        )
    }

    /// A job of the driver's own.
    pub(super) fn own(asks: impl IntoIterator<Item = Ask>) -> Self {
        Job { parts: parts(asks), tries: 0, until: Instant::NEVER, is_own: true, reply: None, _place: None }
    }

    /// Whether nobody waits for the answers of a job that somebody waited for. What it may have taken is ended by who
    /// asked for it.
    pub(super) fn is_abandoned(&self) -> bool {
        let has_left = !self.is_own && self.reply.as_ref().is_none_or(oneshot::Sender::is_closed);
        has_left && !self.parts.iter().any(|part| matches!(part.ask, Ask::End(_) | Ask::Force { .. }))
    }

    pub(super) fn is_own(&self) -> bool {
        self.is_own
    }

    /// Tells its caller that there was no answer in time, if that is so. The job itself goes on: what it does is not known.
    pub(super) fn give_up(&mut self, now: Instant) {
        if self.until > now {
            return;
        }
        if let Some(reply) = self.reply.take() {
            let late = || {
                Error::unavailable("redis", format!("the server did not answer within={:?}", limits::TRIP))
            };
            let _ = reply.send(self.parts.iter().map(|_| Err(late())).collect());
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.parts.iter().all(|part| part.answer.is_some())
    }

    /// Hands the answers over.
    pub(super) fn finish(mut self) {
        let Some(reply) = self.reply.take() else { return };
        let missing = || Err(Error::internal("redis", "a step was left without an answer"));
        let answers = self.parts.drain(..).map(|part| part.answer.unwrap_or_else(missing));
        let _ = reply.send(answers.collect());
    }

    /// Answers what has no answer yet with an error.
    pub(super) fn fail(mut self, why: &str) {
        for part in &mut self.parts {
            part.answer.get_or_insert_with(|| Err(Error::unavailable("redis", why.to_owned())));
        }
        self.finish();
    }
}

fn parts(asks: impl IntoIterator<Item = Ask>) -> SmallVec<[Part; 1]> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = || NUMBER.fetch_add(1, Ordering::Relaxed);
    asks.into_iter()
        .map(|ask| Part {
            ask,
            number: number(),
            answer: None,
            by_script: false,
            is_repeated: false,
            known: None,
        })
        .collect()
}
