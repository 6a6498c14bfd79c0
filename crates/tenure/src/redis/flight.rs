//! What is sent together and answered together: commands, one call of the steps' script, and one transaction that takes
//! free names, in this order.

use super::job::{Answer, Ask, Job, Part};
use super::link::Link;
use super::resp::{Args, Reply};
use super::words::{self, Listener};
use super::{desk::Desk, scripts};
use crate::claim::{Claim, LeaseId};
use crate::clock::Instant;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Claimed, Ended, Grant, HeldBy, Kept};
use crate::name::Name;
use crate::provider::Event;

/// Steps of one flight: bounds how long the server is busy with it.
const STEPS: usize = 512;

/// The last count of an epoch that a transaction may have reached: above it, the next one might have no tokens left.
const LAST_COUNT: i64 = u32::MAX as i64;

/// A part of a job: which job of the flight, which part of it.
type Slot = (usize, usize);

#[derive(Debug)]
pub(super) struct Flight {
    /// The instant before it was sent.
    pub(super) sent: Instant,
    pub(super) jobs: Vec<Job>,
    commands: Vec<Slot>,
    ends: Vec<Slot>,
    steps: Vec<Slot>,
    takes: Vec<Slot>,
    expected: usize,
    replies: Vec<Reply>,
}

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
    /// Whether the server lacks the script.
    pub(super) lacks_script: bool,
    /// Why the connection is of no more use.
    pub(super) broken: Option<String>,
}

/// What a flight is put together with.
pub(super) struct Crew<'a> {
    pub(super) desk: &'a Desk,
    pub(super) listener: &'a Listener,
    pub(super) prefix: &'a str,
    /// Whether a claim on a name may be taken by setting its key.
    pub(super) may_take: &'a dyn Fn(&Name) -> bool,
}

impl Crew<'_> {
    /// By which the store knows a step when it comes again.
    fn mark(&self, number: u64) -> [u8; 16] {
        let mut mark = [0; 16];
        mark[..8].copy_from_slice(self.listener);
        mark[8..].copy_from_slice(&number.to_be_bytes());
        mark
    }
}

impl Flight {
    pub(super) fn new(sent: Instant) -> Self {
        Flight {
            sent,
            jobs: Vec::new(),
            commands: Vec::new(),
            ends: Vec::new(),
            steps: Vec::new(),
            takes: Vec::new(),
            expected: 0,
            replies: Vec::new(),
        }
    }

    /// Puts the next jobs on board and writes what they ask; whether there are any.
    pub(super) fn board(
        &mut self,
        jobs: &mut std::collections::VecDeque<Job>,
        link: &mut Link,
        crew: &Crew<'_>,
        sends_script: bool,
    ) -> bool {
        let (mut ends, mut steps) = (Args::default(), Args::default());
        while self.commands.len() + self.ends.len() + self.steps.len() + self.takes.len() < STEPS {
            let Some(mut job) = jobs.pop_front() else { break };
            if job.is_abandoned() {
                continue;
            }
            let at = self.jobs.len();
            for (index, part) in job.parts.iter_mut().enumerate().filter(|(_, part)| part.answer.is_none()) {
                self.seat(part, (at, index), (&mut ends, &mut steps), link, crew);
            }
            if job.is_done() {
                job.finish();
            } else {
                self.jobs.push(job);
            }
        }
        self.expected = self.commands.len();
        let meta = format!("{}meta", crew.prefix);
        if !self.ends.is_empty() || !self.steps.is_empty() {
            self.expected += 1;
            let count = self.ends.len().to_string();
            let script: [&[u8]; 2] = [b"EVALSHA", &link.script.clone()];
            let whole: [&[u8]; 2] = [b"EVAL", scripts::STEP.as_bytes()];
            let [verb, script] = if sends_script { whole } else { script };
            let head = [verb, script, b"1", meta.as_bytes(), count.as_bytes()];
            Args::write_all(&mut link.outgoing, &head, &[&ends, &steps]);
            self.steps.splice(..0, self.ends.drain(..));
        }
        if !self.takes.is_empty() {
            self.expected += 5 + self.takes.len();
            self.write_takes(&meta, link, crew);
        }
        self.expected > 0
    }

    fn seat(
        &mut self,
        part: &mut Part,
        slot: Slot,
        (ends, steps): (&mut Args, &mut Args),
        link: &mut Link,
        crew: &Crew<'_>,
    ) {
        match &part.ask {
            Ask::Claim(claim) if crew.desk.is_ended(&claim.lease) => {
                part.answer = Some(Ok(Answer::Claimed(Claimed::Busy(HeldBy::default()))));
            }
            Ask::Claim(claim) if is_taken_at_once(part, claim, link, crew) => self.takes.push(slot),
            Ask::Claim(claim) => {
                let names = |lease: &LeaseId| crew.desk.find(lease).map(|(names, _)| names);
                let replaces: Vec<_> = claim.replaces.iter().map(names).collect();
                let known = crew.desk.find(&claim.lease).and_then(|(_, tokens)| tokens);
                words::claim(steps, claim, crew.listener, known, &replaces);
                self.steps.push(slot);
            }
            Ask::Keep(keep) => {
                part.known = crew.desk.find(&keep.lease);
                words::keep(steps, &keep.lease, keep.ttl, keep.tokens, part.known.as_ref());
                self.steps.push(slot);
            }
            Ask::End(lease) => {
                part.known = crew.desk.find(lease);
                if let Some(name) = part.known.as_ref().and_then(|(names, _)| names.single()) {
                    words::end_one(ends, lease, &crew.mark(part.number), name);
                    self.ends.push(slot);
                    return;
                }
                words::end(steps, lease, &crew.mark(part.number), part.known.as_ref().map(|(names, _)| names));
                self.steps.push(slot);
            }
            Ask::Force { lease, how, names } => {
                words::force(steps, lease, &crew.mark(part.number), *how, names);
                self.steps.push(slot);
            }
            Ask::Command(args) => {
                args.write(&mut link.outgoing, &[]);
                self.commands.push(slot);
            }
        }
    }

    /// One transaction: what the store is, its next tokens, and a key for each name that is free.
    fn write_takes(&self, meta: &str, link: &mut Link, crew: &Crew<'_>) {
        let out = &mut link.outgoing;
        let claims = || self.takes.iter().filter_map(|slot| claim_at(&self.jobs, *slot));
        let tokens: u64 = claims().map(|claim| u64::from(claim.tokens.get())).sum();
        Args::default().write(out, &[b"MULTI"]);
        Args::default().write(out, &[b"HMGET", meta.as_bytes(), b"epoch", b"replid"]);
        Args::default().write(out, &[b"INFO", b"replication"]);
        Args::default().write(out, &[b"HINCRBY", meta.as_bytes(), b"ctr", tokens.to_string().as_bytes()]);
        let mut key = format!("{}l:", crew.prefix);
        let length = key.len();
        for claim in claims() {
            key.truncate(length);
            key.push_str(claim.names.first().as_str());
            let ttl = claim.ttl.as_millis().to_string();
            let value = words::thin(claim, crew.listener);
            let words: [&[u8]; 6] = [b"SET", key.as_bytes(), &value, b"NX", b"PX", ttl.as_bytes()];
            Args::default().write(out, &words);
        }
        Args::default().write(out, &[b"EXEC"]);
    }

    /// Takes a reply; whether it was the last.
    pub(super) fn land(&mut self, reply: Reply) -> bool {
        self.replies.push(reply);
        self.replies.len() == self.expected
    }

    /// Answers what was asked.
    pub(super) fn settle(mut self, desk: &Desk, now: Instant) -> Landing {
        let mut landing = Landing::default();
        let mut replies = std::mem::take(&mut self.replies).into_iter();
        for (job, part) in std::mem::take(&mut self.commands) {
            if let (Some(part), Some(reply)) = (part_at(&mut self.jobs, (job, part)), replies.next()) {
                part.answer = Some(Ok(Answer::Reply(reply)));
            }
        }
        if !self.steps.is_empty()
            && let Some(reply) = replies.next()
        {
            self.settle_steps(reply, desk, now, &mut landing);
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

    fn settle_steps(&mut self, reply: Reply, desk: &Desk, now: Instant, landing: &mut Landing) {
        let steps = std::mem::take(&mut self.steps);
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

fn is_taken_at_once(part: &Part, claim: &Claim, link: &Link, crew: &Crew<'_>) -> bool {
    !part.is_repeated && !part.by_script && link.is_alone && words::is_plain(claim) && (crew.may_take)(claim.names.first())
}

fn claim_at(jobs: &[Job], slot: Slot) -> Option<&Claim> {
    match &jobs.get(slot.0)?.parts.get(slot.1)?.ask {
        Ask::Claim(claim) => Some(claim),
        _ => None,
    }
}

fn part_at(jobs: &mut [Job], slot: Slot) -> Option<&mut Part> {
    jobs.get_mut(slot.0)?.parts.get_mut(slot.1)
}

/// The epoch of the store, if it belongs to the server as it is now.
fn incarnation(meta: &Reply, info: &Reply) -> Option<i64> {
    let [epoch, replid] = meta.list()? else { return None };
    let (replid, info) = (replid.text()?, info.text()?);
    let is_now = |line: &[u8]| line.strip_prefix(b"master_replid:").is_some_and(|id| id.trim_ascii_end() == replid);
    let known = replid.len() >= 40 && info.split(|byte| *byte == b'\n').any(is_now);
    epoch.int().filter(|epoch| known && *epoch > 0)
}

/// Whether an error is about the server's present state: another connection may find it otherwise.
fn is_passing(error: &str) -> bool {
    let codes = ["NEWEPOCH", "READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOAUTH", "UNBLOCKED"];
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
