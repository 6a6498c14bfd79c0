//! What is sent together: at most one call of each kind of step, in this order: ends, keeps, claims. Each call is a
//! transaction of its own.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::desk::Desk;
use super::job::{Answer, Ask, Job, Part};
use super::words::{Answered, Claims, Ends, Keeps, Listener};
use crate::clock::Instant;
use crate::lease::{Claimed, HeldBy};
use crate::postgres::link::Link;

/// Steps of one flight, and names of its claims: bounds how long others wait for it, and how many locks it takes.
const STEPS: usize = 256;
const NAMES: usize = 1_024;

/// A part of a job: which job of the flight, which part of it.
pub(super) type Slot = (usize, usize);

/// The rows of a call, or why there are none.
pub(super) type Outcome = Result<Vec<Row>, tokio_postgres::Error>;

/// Jobs on their way.
#[derive(Debug)]
pub(super) struct Flight {
    /// The instant before it was sent.
    pub(super) sent: Instant,
    pub(super) jobs: Vec<Job>,
    pub(super) ends: Vec<Slot>,
    pub(super) keeps: Vec<Slot>,
    pub(super) claims: Vec<Slot>,
}

/// What a flight asks, call by call.
#[derive(Debug, Default)]
pub(super) struct Asked {
    ends: Ends,
    keeps: Keeps,
    claims: Claims,
}

/// How the calls of a flight came out; `None` of one that it did not make.
#[derive(Debug)]
pub(super) struct Outcomes {
    pub(super) ends: Option<Outcome>,
    pub(super) keeps: Option<Outcome>,
    pub(super) claims: Option<Outcome>,
}

impl Flight {
    /// Takes the next jobs on board; `None` when there is nothing to send.
    pub(super) fn board(queue: &mut VecDeque<Job>, desk: &Desk, sent: Instant) -> Option<(Self, Asked)> {
        let mut flight =
            Flight { sent, jobs: Vec::new(), ends: Vec::new(), keeps: Vec::new(), claims: Vec::new() };
        let mut asked = Asked::default();
        while flight.len() < STEPS && asked.claims.names.len() < NAMES {
            let Some(mut job) = queue.pop_front() else { break };
            if job.is_abandoned() {
                continue;
            }
            let is_alone = job.parts.iter().any(|part| part.is_alone && part.answer.is_none());
            if is_alone && !flight.jobs.is_empty() {
                queue.push_front(job);
                break;
            }
            let at = flight.jobs.len();
            let most = if is_alone { 1 } else { usize::MAX };
            let open = job.parts.iter_mut().enumerate().filter(|(_, part)| part.answer.is_none());
            for (index, part) in open.take(most) {
                flight.seat(part, (at, index), &mut asked, desk);
            }
            if job.is_done() {
                job.finish();
            } else {
                flight.jobs.push(job);
            }
            if is_alone {
                break;
            }
        }
        (!flight.jobs.is_empty()).then_some((flight, asked))
    }

    fn len(&self) -> usize {
        self.ends.len() + self.keeps.len() + self.claims.len()
    }

    fn seat(&mut self, part: &mut Part, slot: Slot, asked: &mut Asked, desk: &Desk) {
        match &part.ask {
            Ask::Claim(claim) if desk.is_ended(&claim.lease) => {
                part.answer = Some(Ok(Answer::Claimed(Claimed::Busy(HeldBy::default()))));
            }
            Ask::Claim(claim) => {
                asked.claims.push(claim, part.is_repeated);
                self.claims.push(slot);
            }
            Ask::Keep(keep) => {
                part.known = desk.names(&keep.lease);
                asked.keeps.push(keep);
                self.keeps.push(slot);
            }
            Ask::End(lease) => {
                asked.ends.push(lease, part.is_repeated);
                self.ends.push(slot);
            }
        }
    }
}

impl Asked {
    /// Sends all calls in one go and waits for their answers.
    pub(super) async fn send(self, link: Arc<Link>, listener: Listener) -> Outcomes {
        let (ends, keeps, claims) = tokio::join!(
            biased;
            self.ends.send(&link, listener),
            self.keeps.send(&link, listener),
            self.claims.send(&link, listener),
        );
        Outcomes { ends, keeps, claims }
    }
}

impl Ends {
    async fn send(&self, link: &Link, listener: Listener) -> Option<Outcome> {
        if self.ids.is_empty() {
            return None;
        }
        let call = "select number, (answer).* from tenure.rows_end($1, $2, $3)";
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&listener, Type::INT8), (&self.ids, Type::UUID_ARRAY), (&self.again, Type::BOOL_ARRAY)];
        Some(link.client.query_typed(call, &parameters).await)
    }
}

impl Keeps {
    async fn send(&self, link: &Link, listener: Listener) -> Option<Outcome> {
        if self.ids.is_empty() {
            return None;
        }
        let call = "select number, (answer).* from tenure.rows_keep($1, $2, $3, $4)";
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&listener, Type::INT8),
            (&self.ids, Type::UUID_ARRAY),
            (&self.ttls, Type::INT4_ARRAY),
            (&self.tokens, Type::INT4_ARRAY),
        ];
        Some(link.client.query_typed(call, &parameters).await)
    }
}

impl Claims {
    async fn send(&self, link: &Link, listener: Listener) -> Option<Outcome> {
        if self.ids.is_empty() {
            return None;
        }
        let call = "select number, (answer).* from tenure.rows_claim(\
            $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
        let parameters: [(&(dyn ToSql + Sync), Type); 17] = [
            (&listener, Type::INT8),
            (&self.ids, Type::UUID_ARRAY),
            (&self.firsts, Type::INT4_ARRAY),
            (&self.counts, Type::INT4_ARRAY),
            (&self.names, Type::BYTEA_ARRAY),
            (&self.modes, Type::INT2_ARRAY),
            (&self.takes, Type::INT4_ARRAY),
            (&self.limits, Type::INT4_ARRAY),
            (&self.picks, Type::INT4_ARRAY),
            (&self.ttls, Type::INT4_ARRAY),
            (&self.lingers, Type::INT4_ARRAY),
            (&self.remotes, Type::BOOL_ARRAY),
            (&self.wanted, Type::INT4_ARRAY),
            (&self.metas, Type::BYTEA_ARRAY),
            (&self.waits, Type::BOOL_ARRAY),
            (&self.again, Type::BOOL_ARRAY),
            (&self.replaces, Type::TEXT_ARRAY),
        ];
        Some(link.client.query_typed(call, &parameters).await)
    }
}

/// Reads the rows of a call: an answer for each of its steps.
pub(super) fn answers(rows: &[Row], steps: usize) -> Vec<Option<Answered>> {
    let mut answers: Vec<Option<Answered>> = (0..steps).map(|_| None).collect();
    for (number, answer) in rows.iter().filter_map(Answered::read) {
        if let Some(slot) = answers.get_mut(number) {
            *slot = Some(answer);
        }
    }
    answers
}
