//! What a provider can be asked, with the way back to who asks.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::fault::Fault;
use super::gate::Hurry;
use super::steps::Steps;
use crate::claim::{Claim, Digest, LeaseId};
use crate::clock::Instant;
use crate::error::Result as Answer;
use crate::lease::{Claimed, Ended, Kept};
use crate::provider::{Force, Forced, Keep};

/// The way of an answer back.
pub(super) type Reply<A> = oneshot::Sender<Result<A, Arc<Fault>>>;

/// A question, and what became of it.
#[derive(Debug)]
pub(super) struct Asked<Q, A> {
    question: Q,
    sent: Instant,
    answer: Option<A>,
    reply: Reply<A>,
}

/// What a provider can be asked.
#[derive(Debug)]
pub(super) enum Request {
    Claim(Asked<Vec<Claim>, Vec<Answer<Claimed>>>),
    Keep(Asked<Vec<Keep>, Vec<Kept>>),
    End(Asked<Vec<LeaseId>, Vec<Ended>>),
    Force(Asked<(Digest, Force), Forced>),
    Ping(Asked<(), ()>),
    Close(Asked<(), ()>),
    /// To end the claims of a seat whose process seems to be dead. Nobody waits for the answer.
    Bury(i64),
}

impl<Q, A> Asked<Q, A> {
    pub(super) fn new(question: Q, sent: Instant, reply: Reply<A>) -> Self {
        Asked { question, sent, answer: None, reply }
    }

    fn settle(self, outcome: &Result<(), Arc<Fault>>) {
        let answer = match (outcome, self.answer) {
            (Ok(()), Some(answer)) => Ok(answer),
            (Ok(()), None) => Err(Arc::new(Fault::Abandoned)),
            (Err(fault), _) => Err(Arc::clone(fault)),
        };
        // Who asked may have stopped waiting; the answer is then as lost as a reply on a wire.
        let _ = self.reply.send(answer);
    }
}

impl Request {
    /// How the request waits at the gate.
    pub(super) fn hurry(&self) -> Hurry {
        if let Request::Keep(_) = self { Hurry::Renewal } else { Hurry::Ordinary }
    }

    pub(super) fn is_close(&self) -> bool {
        matches!(self, Request::Close(_))
    }

    /// Whether a closed provider answers it still: what became of a lease can be asked, and a lease be given up.
    pub(super) fn is_after_close(&self) -> bool {
        matches!(self, Request::Keep(_) | Request::End(_))
    }

    /// Whether it took one of the places of the desk.
    pub(super) fn takes_room(&self) -> bool {
        !matches!(self, Request::Bury(_))
    }

    /// Takes the steps that the request asks for.
    pub(super) fn run(&mut self, steps: &mut Steps<'_>) -> Result<(), Fault> {
        match self {
            Request::Claim(asked) => {
                let answers = asked.question.iter().map(|claim| steps.claim(claim, asked.sent));
                asked.answer = Some(answers.collect::<Result<_, _>>()?);
            }
            Request::Keep(asked) => {
                let answers = asked.question.iter().map(|keep| steps.keep(keep, asked.sent));
                asked.answer = Some(answers.collect::<Result<_, _>>()?);
            }
            Request::End(asked) => {
                let answers = asked.question.iter().map(|lease| steps.end(lease));
                asked.answer = Some(answers.collect::<Result<_, _>>()?);
            }
            Request::Force(asked) => {
                let (digest, how) = asked.question;
                asked.answer = Some(steps.force(digest, how)?);
            }
            Request::Ping(asked) => asked.answer = Some(steps.ping()?),
            Request::Close(asked) => asked.answer = Some(steps.give_up(steps.own)?),
            Request::Bury(seat) => steps.bury(*seat)?,
        }
        Ok(())
    }

    /// Sends the answer, if the transaction was committed.
    pub(super) fn settle(self, outcome: &Result<(), Arc<Fault>>) {
        match self {
            Request::Claim(asked) => asked.settle(outcome),
            Request::Keep(asked) => asked.settle(outcome),
            Request::End(asked) => asked.settle(outcome),
            Request::Force(asked) => asked.settle(outcome),
            Request::Ping(asked) | Request::Close(asked) => asked.settle(outcome),
            Request::Bury(_) => {}
        }
    }
}
