//! What the answers of a flight mean: for those who asked, for what this process knows of its leases, and for the driver.

use super::desk::Desk;
use super::flight::{Flight, Slot, claim_at, part_at};
use super::job::{Answer, Ask, Job, Part};
use super::resp::Reply;
use super::words;
use crate::claim::{Claim, LeaseId};
use crate::clock::Instant;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Claimed, Ended, Grant, Kept};
use crate::name::Name;
use crate::provider::Event;

/// The last count of an epoch that a transaction may have reached.
const LAST_COUNT: i64 = u32::MAX as i64;

/// What a flight brought about besides its answers.
#[derive(Debug, Default)]
pub(super) struct Landing {
    /// Jobs with parts that must be sent again, in their order.
    pub(super) again: Vec<Job>,
    /// Names that others wait for or hold: they go through the script at once.
    pub(super) busy: Vec<Name>,
    /// Names that nobody waits for.
    pub(super) calm: Vec<Name>,
    /// Leases whose tokens the store does not know.
    pub(super) untold: Vec<LeaseId>,
    /// Leases that were taken and must not be: they are ended before anything else.
    pub(super) undo: Vec<LeaseId>,
    /// What the server says of its memory, where the driver asked.
    pub(super) memory: Option<Reply>,
    /// Whether the server lacks the script.
    pub(super) lacks_script: bool,
    /// Why the connection is of no more use.
    pub(super) broken: Option<String>,
}

impl Flight {
    /// Answers what was asked.
    pub(super) fn settle(mut self, desk: &Desk, now: Instant) -> Landing {
        let mut landing = Landing::default();
        let mut replies = std::mem::take(&mut self.replies).into_iter();
        for (job, part) in std::mem::take(&mut self.commands) {
            let Some(reply) = replies.next() else { break };
            if self.jobs.get(job).is_some_and(Job::is_own) {
                landing.memory = Some(reply.clone());
            }
            if let Some(part) = part_at(&mut self.jobs, (job, part)) {
                part.answer = Some(Ok(Answer::Reply(reply)));
            }
        }
        for steps in [std::mem::take(&mut self.steps), std::mem::take(&mut self.claims)] {
            if !steps.is_empty()
                && let Some(reply) = replies.next()
            {
                self.settle_steps(steps, reply, desk, now, &mut landing);
            }
        }
        if !self.takes.is_empty() {
            let rest: Vec<Reply> = replies.collect();
            self.settle_takes(rest, desk, &mut landing);
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

    fn settle_steps(
        &mut self,
        steps: Vec<Slot>,
        reply: Reply,
        desk: &Desk,
        now: Instant,
        landing: &mut Landing,
    ) {
        let answers = match reply {
            Reply::List(answers) if answers.len() == steps.len() => answers,
            Reply::Error(error) if error.starts_with("NOSCRIPT") => {
                landing.lacks_script = true;
                return;
            }
            Reply::Error(error) if is_passing(&error) => {
                landing.broken = Some(error);
                return;
            }
            other => {
                for slot in steps {
                    if let Some(part) = part_at(&mut self.jobs, slot) {
                        part.answer = Some(Err(failed(&other)));
                    }
                }
                return;
            }
        };
        for (slot, answer) in steps.into_iter().zip(answers) {
            let Some(job) = self.jobs.get_mut(slot.0) else { continue };
            let is_own = job.is_own();
            let Some(part) = job.parts.get_mut(slot.1) else { continue };
            let step = Step { desk, sent: self.sent, now, is_own };
            part.answer = Some(step.answer(part, &answer, landing));
        }
    }

    fn settle_takes(&mut self, replies: Vec<Reply>, desk: &Desk, landing: &mut Landing) {
        let takes = std::mem::take(&mut self.takes);
        let refused = replies.iter().find(|reply| matches!(reply, Reply::Error(_)));
        let exec = replies.last().and_then(Reply::list);
        let (Some([meta, info, ctr, sets @ ..]), None) = (exec, refused) else {
            let error = refused.cloned().unwrap_or(Reply::Nil);
            if let Reply::Error(text) = &error
                && replies.iter().any(|reply| matches!(reply, Reply::Error(text) if is_passing(text)))
            {
                landing.broken = Some(text.clone());
                return;
            }
            for slot in takes {
                if let Some(part) = part_at(&mut self.jobs, slot) {
                    part.answer = Some(Err(failed(&error)));
                }
            }
            return;
        };
        let epoch = incarnation(meta, info).filter(|_| ctr.int().is_some_and(|ctr| ctr <= LAST_COUNT));
        let claims = takes.iter().filter_map(|slot| claim_at(&self.jobs, *slot));
        let tokens: i64 = claims.map(|claim| i64::from(claim.tokens.get())).sum();
        let mut first = ctr.int().unwrap_or(0) - tokens + 1;
        for (slot, set) in takes.into_iter().zip(sets) {
            let sent = self.sent;
            let Some(part) = part_at(&mut self.jobs, slot) else { continue };
            let Ask::Claim(claim) = &part.ask else { continue };
            let count = i64::from(claim.tokens.get());
            let block = epoch.and_then(|epoch| words::block(epoch, first, count));
            first += count;
            let is_taken = set.text() == Some(b"OK");
            match block {
                Some(block) if is_taken => {
                    let deadline = sent + claim.ttl - crate::limits::drift(claim.ttl);
                    desk.holds(&claim.lease, block, deadline);
                    landing.untold.push(claim.lease);
                    let grant = Grant::new(claim.names.clone(), block, deadline);
                    part.answer = Some(Ok(Answer::Claimed(Claimed::Granted(grant))));
                }
                None if is_taken => {
                    landing.undo.push(claim.lease);
                    part.by_script = true;
                }
                _ => {
                    landing.busy.push(claim.names.first().clone());
                    part.by_script = true;
                }
            }
        }
        if epoch.is_none() {
            landing.broken = Some("the store is another one than before".to_owned());
        }
    }
}

/// One step and what is known of it, to read its answer.
struct Step<'a> {
    desk: &'a Desk,
    sent: Instant,
    now: Instant,
    is_own: bool,
}

impl Step<'_> {
    fn answer(&self, part: &Part, reply: &Reply, landing: &mut Landing) -> Result<Answer> {
        let Step { desk, sent, .. } = *self;
        match &part.ask {
            Ask::Claim(claim) => {
                let claimed = words::claimed(reply, claim, sent);
                self.note_claimed(claim, &claimed, landing);
                claimed.map(Answer::Claimed)
            }
            Ask::Keep(keep) => {
                let kept = words::kept(reply, keep.ttl, part.known.as_ref(), sent);
                match &kept {
                    // A look at a claim that was waiting: its grant was pushed while nobody heard it.
                    Ok(Kept::Held(grant)) if self.is_own && desk.is_waiting(&keep.lease) => {
                        desk.holds(&keep.lease, grant.tokens, grant.deadline);
                        desk.tell(&Event::Granted(keep.lease, Some(Box::new(grant.clone()))));
                    }
                    _ if self.is_own => {}
                    Ok(Kept::Held(grant)) => desk.holds(&keep.lease, grant.tokens, grant.deadline),
                    Ok(Kept::Queued(_)) => desk.waits(&keep.lease, sent),
                    Ok(Kept::Gone(_)) => desk.forget(&keep.lease),
                    Err(_) => {}
                }
                kept.map(Answer::Kept)
            }
            Ask::End(lease) => {
                let mut ended = words::ended(reply)?;
                // The first try did it, and its answer was lost.
                if ended == Ended::NotHeld && part.is_repeated && desk.is_good(lease, self.now) {
                    ended = Ended::Released;
                }
                if !self.is_own {
                    desk.forget(lease);
                }
                Ok(Answer::Ended(ended))
            }
            Ask::Force { .. } => words::forced(reply).map(Answer::Forced),
            Ask::Command(_) => Ok(Answer::Reply(reply.clone())),
        }
    }

    fn note_claimed(&self, claim: &Claim, claimed: &Result<Claimed>, landing: &mut Landing) {
        let name = claim.names.single();
        match claimed {
            Ok(Claimed::Granted(grant)) => {
                self.desk.holds(&claim.lease, grant.tokens, grant.deadline);
                landing.calm.extend(name.filter(|_| !grant.contended).cloned());
            }
            Ok(Claimed::Queued(_)) => {
                self.desk.waits(&claim.lease, self.sent);
                landing.busy.extend(name.cloned());
            }
            Ok(Claimed::Busy(_)) => {
                self.desk.forget(&claim.lease);
                landing.busy.extend(name.cloned());
            }
            Err(error) if error.kind() == ErrorKind::InvalidInput => self.desk.forget(&claim.lease),
            // It may be held: it is known until it is ended.
            Err(_) => {}
        }
    }
}

/// The epoch of the store, if it belongs to the server as it is now.
fn incarnation(meta: &Reply, info: &Reply) -> Option<i64> {
    let [epoch, replid] = meta.list()? else { return None };
    let (replid, info) = (replid.text()?, info.text()?);
    let is_now =
        |line: &[u8]| line.strip_prefix(b"master_replid:").is_some_and(|id| id.trim_ascii_end() == replid);
    let known = replid.len() >= 40 && info.split(|byte| *byte == b'\n').any(is_now);
    epoch.int().filter(|epoch| known && *epoch > 0)
}

/// Whether an error is about the server's present state: another connection may find it otherwise.
fn is_passing(error: &str) -> bool {
    let codes =
        ["NEWEPOCH", "READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOAUTH", "UNBLOCKED"];
    codes.iter().any(|code| error.starts_with(code))
}

fn failed(reply: &Reply) -> Error {
    let Reply::Error(error) = reply else {
        return Error::internal("redis", "the store gave an answer of another version");
    };
    let what = match error.split(' ').next().unwrap_or_default() {
        "OOM" => "the server's memory is full, and it takes no new locks".to_owned(),
        "MISCONF" => "the server cannot write to its disk, and takes no steps".to_owned(),
        _ => format!("the server failed: {error}"),
    };
    Error::unavailable("redis", what)
}
