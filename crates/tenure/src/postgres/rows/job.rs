//! What callers ask of the driver, and how they are answered.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::claim::{Claim, LeaseId};
use crate::error::{Error, Result};
use crate::lease::{Claimed, Ended, Kept};
use crate::name::Names;
use crate::provider::Keep;

/// What is asked of the store.
#[derive(Debug)]
pub(super) enum Ask {
    Claim(Claim),
    Keep(Keep),
    End(LeaseId),
}

/// What the store answers.
#[derive(Debug)]
pub(super) enum Answer {
    Claimed(Claimed),
    Kept(Kept),
    Ended(Ended),
}

pub(super) type Answers = Vec<Result<Answer>>;

/// Asks that came together and are answered together.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) parts: Vec<Part>,
    /// How often its connection has failed.
    pub(super) tries: u32,
    /// Nobody waits for the answers of a job of the driver's own.
    reply: Option<oneshot::Sender<Answers>>,
    /// Its place among the claims that are on their way.
    _place: Option<OwnedSemaphorePermit>,
}

/// One ask of a job.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) ask: Ask,
    pub(super) answer: Option<Result<Answer>>,
    /// Whether it was sent before over a connection that failed: it may have been done.
    pub(super) is_repeated: bool,
    /// Whether a call that it shared with others was refused: the fault may be another's.
    pub(super) is_alone: bool,
    /// The names that this process knew of the lease when the ask was sent.
    pub(super) known: Option<Names>,
}

impl Job {
    /// A job of a caller, and where the answers come. It keeps its place until it is dropped.
    pub(super) fn new(
        asks: Vec<Ask>,
        place: Option<OwnedSemaphorePermit>,
    ) -> (Self, oneshot::Receiver<Answers>) {
        let (sender, receiver) = oneshot::channel();
        (Job { parts: parts(asks), tries: 0, reply: Some(sender), _place: place }, receiver)
    }

    /// A job of the driver's own.
    pub(super) fn own(asks: Vec<Ask>) -> Self {
        Job { parts: parts(asks), tries: 0, reply: None, _place: None }
    }

    /// Whether nobody waits for the answers of a job that somebody waited for. What it may have taken is ended by who
    /// asked for it.
    pub(super) fn is_abandoned(&self) -> bool {
        let has_left = self.reply.as_ref().is_some_and(oneshot::Sender::is_closed);
        has_left && !self.parts.iter().any(|part| matches!(part.ask, Ask::End(_)))
    }

    pub(super) fn is_own(&self) -> bool {
        self.reply.is_none()
    }

    pub(super) fn is_done(&self) -> bool {
        self.parts.iter().all(|part| part.answer.is_some())
    }

    /// Hands the answers over.
    pub(super) fn finish(mut self) {
        let Some(reply) = self.reply.take() else { return };
        let missing = || Err(Error::internal("postgres", "a step was left without an answer"));
        let answers = self.parts.drain(..).map(|part| part.answer.unwrap_or_else(missing));
        // An error says that nobody waits any more.
        let _ = reply.send(answers.collect());
    }

    /// Answers what has no answer yet with an error.
    pub(super) fn fail(mut self, why: &str) {
        for part in &mut self.parts {
            part.answer.get_or_insert_with(|| Err(Error::unavailable("postgres", why.to_owned())));
        }
        self.finish();
    }
}

fn parts(asks: Vec<Ask>) -> Vec<Part> {
    let part = |ask| Part { ask, answer: None, is_repeated: false, is_alone: false, known: None };
    asks.into_iter().map(part).collect()
}
