//! What is sent together and answered together: commands, one call of the steps' script, and one transaction that takes
//! free names, in this order.

use super::job::{Answer, Ask, Job, Part};
use super::link::Link;
use super::resp::{Args, Reply};
use super::words::{self, Listener};
use super::{desk::Desk, scripts};
use crate::claim::{Claim, LeaseId};
use crate::clock::Instant;
use crate::lease::{Claimed, HeldBy};
use crate::name::Name;

/// Steps of one flight: bounds how long the server is busy with it.
const STEPS: usize = 512;

/// A part of a job: which job of the flight, which part of it.
pub(super) type Slot = (usize, usize);

#[derive(Debug)]
pub(super) struct Flight {
    /// The instant before it was sent.
    pub(super) sent: Instant,
    pub(super) jobs: Vec<Job>,
    pub(super) commands: Vec<Slot>,
    pub(super) ends: Vec<Slot>,
    pub(super) steps: Vec<Slot>,
    pub(super) claims: Vec<Slot>,
    pub(super) takes: Vec<Slot>,
    expected: usize,
    pub(super) replies: Vec<Reply>,
}

/// What the steps' script is asked.
#[derive(Default)]
struct Asked {
    ends: Args,
    steps: Args,
    claims: Args,
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
            claims: Vec::new(),
            takes: Vec::new(),
            expected: 0,
            replies: Vec::new(),
        }
    }

    fn len(&self) -> usize {
        self.commands.len() + self.ends.len() + self.steps.len() + self.claims.len() + self.takes.len()
    }

    /// Puts the next jobs on board and writes what they ask; whether there are any.
    pub(super) fn board(
        &mut self,
        jobs: &mut std::collections::VecDeque<Job>,
        link: &mut Link,
        crew: &Crew<'_>,
        sends_script: bool,
    ) -> bool {
        let mut asked = Asked::default();
        while self.len() < STEPS {
            let Some(mut job) = jobs.pop_front() else { break };
            if job.is_abandoned() {
                continue;
            }
            let at = self.jobs.len();
            for (index, part) in job.parts.iter_mut().enumerate().filter(|(_, part)| part.answer.is_none()) {
                self.seat(part, (at, index), &mut asked, link, crew);
            }
            if job.is_done() {
                job.finish();
            } else {
                self.jobs.push(job);
            }
        }
        self.expected = self.commands.len();
        let meta = format!("{}meta", crew.prefix);
        let count = self.ends.len().to_string();
        self.steps.splice(..0, self.ends.drain(..));
        let script: [&[u8]; 2] = [b"EVALSHA", &link.script.clone()];
        let whole: [&[u8]; 2] = [b"EVAL", scripts::STEP.as_bytes()];
        let [verb, script] = if sends_script { whole } else { script };
        if !self.steps.is_empty() {
            self.expected += 1;
            let head = [verb, script, b"1", meta.as_bytes(), count.as_bytes()];
            Args::write_all(&mut link.outgoing, &head, &[&asked.ends, &asked.steps]);
        }
        // Apart: where memory is full, what keeps and ends leases goes on, and what takes new ones is refused as a whole.
        if !self.claims.is_empty() {
            self.expected += 1;
            asked.claims.write(&mut link.outgoing, &[verb, script, b"1", meta.as_bytes(), b"0"]);
        }
        if !self.takes.is_empty() {
            self.expected += 5 + self.takes.len();
            self.write_takes(&meta, link, crew);
        }
        self.expected > 0
    }

    fn seat(&mut self, part: &mut Part, slot: Slot, asked: &mut Asked, link: &mut Link, crew: &Crew<'_>) {
        match &part.ask {
            Ask::Claim(claim) if crew.desk.is_ended(&claim.lease) => {
                part.answer = Some(Ok(Answer::Claimed(Claimed::Busy(HeldBy::default()))));
            }
            Ask::Claim(claim) if is_taken_at_once(part, claim, link, crew) => self.takes.push(slot),
            Ask::Claim(claim) => {
                let names = |lease: &LeaseId| crew.desk.find(lease).map(|(names, _)| names);
                let replaces: Vec<_> = claim.replaces.iter().map(names).collect();
                let known = crew.desk.find(&claim.lease).and_then(|(_, tokens)| tokens);
                words::claim(&mut asked.claims, claim, crew.listener, known, &replaces);
                self.claims.push(slot);
            }
            Ask::Keep(keep) => {
                part.known = crew.desk.find(&keep.lease);
                words::keep(&mut asked.steps, &keep.lease, keep.ttl, keep.tokens, part.known.as_ref());
                self.steps.push(slot);
            }
            Ask::End(lease) => {
                part.known = crew.desk.find(lease);
                if let Some(name) = part.known.as_ref().and_then(|(names, _)| names.single()) {
                    words::end_one(&mut asked.ends, lease, &crew.mark(part.number), name);
                    self.ends.push(slot);
                    return;
                }
                words::end(
                    &mut asked.steps,
                    lease,
                    &crew.mark(part.number),
                    part.known.as_ref().map(|(names, _)| names),
                );
                self.steps.push(slot);
            }
            Ask::Force { lease, how, names } => {
                words::force(&mut asked.steps, lease, &crew.mark(part.number), *how, names);
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
        let mut set = Args::default();
        for claim in claims() {
            set.clear();
            words::take(&mut set, crew.prefix, claim, crew.listener);
            set.write(out, &[]);
        }
        Args::default().write(out, &[b"EXEC"]);
    }

    /// Takes a reply; whether it was the last.
    pub(super) fn land(&mut self, reply: Reply) -> bool {
        self.replies.push(reply);
        self.replies.len() == self.expected
    }
}

fn is_taken_at_once(part: &Part, claim: &Claim, link: &Link, crew: &Crew<'_>) -> bool {
    !part.is_repeated
        && !part.by_script
        && link.is_alone
        && words::is_plain(claim)
        && (crew.may_take)(claim.names.first())
}

pub(super) fn claim_at(jobs: &[Job], slot: Slot) -> Option<&Claim> {
    match &jobs.get(slot.0)?.parts.get(slot.1)?.ask {
        Ask::Claim(claim) => Some(claim),
        _ => None,
    }
}

pub(super) fn part_at(jobs: &mut [Job], slot: Slot) -> Option<&mut Part> {
    jobs.get_mut(slot.0)?.parts.get_mut(slot.1)
}
