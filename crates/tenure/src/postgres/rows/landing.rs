//! What the answers of a flight mean: for those who asked, for what this process knows of its leases, and for the driver.

use tokio_postgres::error::SqlState;

use super::desk::Desk;
use super::flight::{Flight, Outcome, Outcomes, Slot, answers};
use super::job::{Answer, Ask, Job, Part};
use super::words::Answered;
use crate::claim::Claim;
use crate::clock::Instant;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Claimed, Ended, Kept};
use crate::postgres::link::failed;
use crate::provider::Event;

/// What a flight brought about besides its answers.
#[derive(Debug, Default)]
pub(super) struct Landing {
    /// Jobs with parts that must be sent again, in their order.
    pub(super) again: Vec<Job>,
    /// Why the connection is of no more use.
    pub(super) broken: Option<String>,
}

impl Flight {
    /// Answers what was asked.
    pub(super) fn settle(mut self, outcomes: Outcomes, desk: &Desk, now: Instant) -> Landing {
        let mut landing = Landing::default();
        let calls = [
            (std::mem::take(&mut self.ends), outcomes.ends),
            (std::mem::take(&mut self.keeps), outcomes.keeps),
            (std::mem::take(&mut self.claims), outcomes.claims),
        ];
        for (slots, outcome) in calls {
            if let Some(outcome) = outcome {
                self.settle_call(&slots, outcome, &Seen { desk, now }, &mut landing);
            }
        }
        for job in self.jobs {
            if job.is_done() {
                job.finish();
            } else {
                landing.again.push(job);
            }
        }
        landing
    }

    fn settle_call(&mut self, slots: &[Slot], outcome: Outcome, seen: &Seen<'_>, landing: &mut Landing) {
        let rows = match outcome {
            Ok(rows) => rows,
            Err(error) if is_of_the_connection(&error) => {
                landing.broken = Some(failed("postgres", &error).what().to_owned());
                return;
            }
            Err(error) => {
                for slot in slots {
                    let Some(part) = part_at(&mut self.jobs, *slot) else { continue };
                    if slots.len() == 1 {
                        part.answer = Some(Err(failed("postgres", &error)));
                    }
                    // It may be the fault of one of them: each is tried by itself.
                    part.is_alone = true;
                }
                return;
            }
        };
        let sent = self.sent;
        for (slot, answer) in slots.iter().zip(answers(&rows, slots.len())) {
            let Some(job) = self.jobs.get_mut(slot.0) else { continue };
            let is_own = job.is_own();
            let Some(part) = job.parts.get_mut(slot.1) else { continue };
            part.answer = Some(match answer {
                Some(answer) => seen.answer(part, &answer, sent, is_own),
                None => Err(Error::internal("postgres", "the store left a step without an answer")),
            });
        }
    }
}

/// What this process knows when an answer comes.
struct Seen<'a> {
    desk: &'a Desk,
    now: Instant,
}

impl Seen<'_> {
    fn answer(&self, part: &Part, answer: &Answered, sent: Instant, is_own: bool) -> Result<Answer> {
        let desk = self.desk;
        match &part.ask {
            Ask::Claim(claim) => {
                let claimed = answer.claimed(claim, sent);
                self.note_claimed(claim, &claimed, sent);
                claimed.map(Answer::Claimed)
            }
            Ask::Keep(keep) => {
                let kept = answer.kept(keep.ttl, part.known.clone(), sent);
                match &kept {
                    // A look at a claim that was waiting: its grant was pushed while nobody heard it.
                    Ok(Kept::Held(grant)) if is_own && desk.is_waiting(&keep.lease) => {
                        desk.holds(&keep.lease, grant.deadline);
                        desk.tell(&Event::Granted(keep.lease, Some(Box::new(grant.clone()))));
                    }
                    _ if is_own => {}
                    Ok(Kept::Held(grant)) => desk.holds(&keep.lease, grant.deadline),
                    Ok(Kept::Queued(_)) => desk.waits(&keep.lease, sent),
                    Ok(Kept::Gone(_)) => desk.forget(&keep.lease),
                    Err(_) => {}
                }
                kept.map(Answer::Kept)
            }
            Ask::End(lease) => {
                let mut ended = answer.ended()?;
                // The first try did it, and its answer was lost.
                if ended == Ended::NotHeld && part.is_repeated && desk.is_good(lease, self.now) {
                    ended = Ended::Released;
                }
                if !is_own {
                    desk.forget(lease);
                }
                Ok(Answer::Ended(ended))
            }
        }
    }

    fn note_claimed(&self, claim: &Claim, claimed: &Result<Claimed>, sent: Instant) {
        match claimed {
            Ok(Claimed::Granted(grant)) => self.desk.holds(&claim.lease, grant.deadline),
            Ok(Claimed::Queued(_)) => self.desk.waits(&claim.lease, sent),
            Ok(Claimed::Busy(_)) => self.desk.forget(&claim.lease),
            Err(error) if error.kind() == ErrorKind::InvalidInput => self.desk.forget(&claim.lease),
            // It may be held: it is known until it is ended.
            Err(_) => {}
        }
    }
}

fn part_at(jobs: &mut [Job], slot: Slot) -> Option<&mut Part> {
    jobs.get_mut(slot.0)?.parts.get_mut(slot.1)
}

/// Whether an error is about the connection or the state of the server: another connection may find it otherwise.
fn is_of_the_connection(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else { return true };
    let passing = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_SESSION_TIMEOUT,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    passing.contains(code) || code.code().starts_with("08")
}
