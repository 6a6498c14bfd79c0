//! The task of a connection that holds locks: it sends what has gathered since its last flight in one go, and takes the
//! answers to the desk.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::Notify;
use tokio_postgres::Row;

use super::super::link::failed;
use super::claims::Landed;
use super::desk::Desk;
use super::line::{Line, WAITER, millis};
use super::outbox::{Hard, Letters, Single};
use super::shared::{Shared, lost};
use crate::clock::Instant;
use crate::error::{Error, Result};

/// Claims on single names that go in one statement.
const MOST: usize = 64;

/// Flights that are on their way at a time: while one is answered, the server works on the next.
const FLIGHTS: usize = 2;

/// The task: until the connection ends, or everything is closed.
pub(super) async fn run(shared: Arc<Shared>, number: usize, line: Arc<Line>, wake: Arc<Notify>) {
    let mut closed = std::pin::pin!(line.link.closed());
    let mut flights = FuturesOrdered::new();
    let why = loop {
        while flights.len() < FLIGHTS {
            let flight = shared.visit(|desk| Flight::board(desk, number, shared.clock.now()));
            if flight.is_empty() {
                break;
            }
            let (sent, shared, line) = (shared.clock.now(), &shared, &line);
            flights.push_back(async move {
                let answers = flight.send(shared, line).await;
                (flight, sent, answers)
            });
        }
        if flights.is_empty() && shared.visit(|desk| desk.outbox.retire(number)) {
            shared.forget_line(number);
            drop(flights);
            shared.idle_waits.lock().push(line);
            return;
        }
        tokio::select! {
            // What has been answered comes before the news that the connection has ended.
            biased;
            Some((flight, sent, answers)) = flights.next(), if !flights.is_empty() => match answers {
                Ok(answers) => shared.visit(|desk| flight.land(desk, shared.clock.now(), sent, number, answers)),
                Err(error) => {
                    shared.visit(|desk| flight.fail(desk, &error));
                    break error;
                }
            },
            () = &mut closed => break lost(),
            () = shared.closed() => break lost(),
            () = wake.notified(), if flights.len() < FLIGHTS => {}
        }
    };
    line.link.close();
    // The others on their way fail with it.
    while let Some((flight, ..)) = flights.next().await {
        shared.visit(|desk| flight.fail(desk, &why));
    }
    shared.forget_line(number);
    shared.line_is_gone(number);
    if !shared.is_closed() {
        tracing::warn!(%why, "a connection that held locks is lost");
    }
    shared.visit(|desk| desk.lose_line(shared.clock.now(), number, &why));
}

/// What goes together.
#[derive(Default)]
struct Flight {
    letters: Letters,
    /// Whether a sign of life goes along, and how long it is good for.
    beats: bool,
    lasts: std::time::Duration,
}

/// What came back.
struct Answers {
    beat: Option<u64>,
    ends: Option<Row>,
    ends_shared: Option<Row>,
    tries: Option<Row>,
    hard: Vec<Row>,
}

impl Flight {
    fn board(desk: &mut Desk, line: usize, now: Instant) -> Flight {
        let Some(letters) = desk.outbox.lines(line) else { return Flight::default() };
        let mut taken = std::mem::take(letters);
        // What is too much for one flight goes with the next.
        letters.singles = taken.singles.split_off(taken.singles.len().min(MOST));
        letters.hard = taken.hard.split_off(taken.hard.len().min(MOST));
        let ttls = taken.singles.iter().map(|single| single.claim.ttl);
        let longest = ttls.chain(taken.hard.iter().map(|hard| hard.claim.ttl)).max();
        let Some(pulse) = desk.outbox.pulse(line) else { return Flight::default() };
        let is_covered = longest.is_none_or(|ttl| pulse.covers(now, ttl));
        let beats = !taken.beats.is_empty() || taken.is_thirsty || pulse.is_due(now) || !is_covered;
        let lasts = pulse.wanted(longest.unwrap_or_default());
        Flight { letters: taken, beats, lasts: if beats { lasts } else { WAITER } }
    }

    fn is_empty(&self) -> bool {
        self.letters.is_empty() && !self.beats
    }

    async fn send(&self, shared: &Shared, line: &Line) -> Result<Answers> {
        let client = &line.link.client;
        let letters = &self.letters;
        let ends: Vec<i64> = letters.ends.iter().map(|(key, _)| *key).collect();
        let tries: Vec<i64> = letters.singles.iter().map(|single| single.key).collect();
        let shareds: Vec<i64> = letters.ends_shared.iter().map(|(key, _)| *key).collect();
        let lasts = millis(self.lasts);
        // They are sent in this order: a sign of life is there before what stands on it is taken.
        let beat = async {
            if !self.beats {
                return Ok(None);
            }
            let row = client.query_one(&line.beat, &[&shared.process, &lasts]).await?;
            Ok(Some(row.get::<_, i64>(0)))
        };
        let ask = async |statement, keys: &Vec<i64>| {
            if keys.is_empty() {
                return Ok(None);
            }
            client.query_one(statement, &[keys]).await.map(Some)
        };
        let ends = ask(&line.ends, &ends);
        let ends_shared = ask(&line.ends_shared, &shareds);
        let tries = ask(&line.tries, &tries);
        let hard = letters.hard.iter().map(async |hard| {
            let most = i32::try_from(hard.most).unwrap_or(i32::MAX);
            let (permits, take) = (hard.permits as i32, hard.take as i32);
            client
                .query_one(&line.claim, &[&hard.keys, &hard.shared, &most, &permits, &take, &hard.mine])
                .await
        });
        let hard = futures_util::future::try_join_all(hard);
        let all = futures_util::future::try_join5(beat, ends, ends_shared, tries, hard);
        let late = || Error::unavailable("postgres", "the server did not answer in time");
        let all = tokio::time::timeout(shared.target.timeout, all).await.map_err(|_| late())?;
        let (beat, ends, ends_shared, tries, hard) = all.map_err(|error| failed("postgres", &error))?;
        let beat = beat.and_then(|token: i64| u64::try_from(token).ok());
        Ok(Answers { beat, ends, ends_shared, tries, hard })
    }

    fn land(self, desk: &mut Desk, now: Instant, sent: Instant, line: usize, answers: Answers) {
        let Letters { singles, hard, ends, ends_shared, beats, .. } = self.letters;
        if let Some(token) = answers.beat {
            if let Some(pulse) = desk.outbox.pulse(line) {
                (pulse.sent, pulse.lasts) = (sent, self.lasts);
            }
            desk.fresh(token);
            for reply in beats {
                let _ = reply.send((sent, token));
            }
        }
        let mut landed = Vec::with_capacity(singles.len() + hard.len());
        for (ends, row) in [(ends, &answers.ends), (ends_shared, &answers.ends_shared)] {
            if let Some(row) = row {
                note_lost(ends, &row.get::<_, Vec<bool>>(0));
            }
        }
        if let Some(row) = &answers.tries {
            let taken: Vec<bool> = row.get(0);
            let token = row.get::<_, Option<i64>>(1).and_then(|token| u64::try_from(token).ok());
            for (single, taken) in singles.into_iter().zip(taken) {
                let Single { name, claim, reply, .. } = single;
                let token = token.filter(|_| taken);
                landed.push(Landed {
                    sent,
                    line,
                    claim,
                    names: vec![name],
                    taken: vec![taken],
                    slots: Vec::new(),
                    token,
                    reply,
                });
            }
        }
        for (hard, row) in hard.into_iter().zip(&answers.hard) {
            let Hard { names, claim, reply, .. } = hard;
            let token = row.get::<_, Option<i64>>(2).and_then(|token| u64::try_from(token).ok());
            landed.push(Landed {
                sent,
                line,
                claim,
                names,
                taken: row.get(0),
                slots: row.get(1),
                token,
                reply,
            });
        }
        desk.land_all(now, landed);
    }

    fn fail(self, desk: &mut Desk, why: &Error) {
        for Single { claim, reply, .. } in self.letters.singles {
            desk.fall(&claim, reply, why);
        }
        for Hard { claim, reply, .. } in self.letters.hard {
            desk.fall(&claim, reply, why);
        }
    }
}

/// A lock that the server did not have any more was lost before it was let go, and its end says so.
fn note_lost(ends: Vec<(i64, Option<Arc<super::outbox::Done>>)>, ended: &[bool]) {
    for ((_, done), ended) in ends.into_iter().zip(ended) {
        if !ended {
            tracing::error!("a lock was gone before it was let go; does a pool stand before the server?");
            done.iter().for_each(|done| done.was_lost());
        }
    }
}
