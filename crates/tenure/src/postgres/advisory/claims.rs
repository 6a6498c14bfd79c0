//! Claims at the desk: what this process can decide alone it decides at once, and what it cannot goes to the server.

use tokio::sync::oneshot;

use super::desk::{Desk, MOST_TOKENS};
use super::outbox::{Hard, Single};
use super::shared::lost;
use super::title::{all_of, asks, key_of, taken_elsewhere};
use crate::claim::{Claim, Mode, Pick};
use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::lease::Claimed;
use crate::name::Name;

impl Desk {
    pub(super) fn claim(&mut self, now: Instant, mut claim: Claim, reply: oneshot::Sender<Result<Claimed>>) {
        claim.tokens = claim.tokens.min(MOST_TOKENS);
        if self.table.has_seen(&claim.lease) {
            let answer = self.table.claim(now, &claim);
            let _ = reply.send(answer);
            return self.settle_all(now, claim.names.as_slice());
        }
        if let Err(error) = self.table.check(now, &claim) {
            let _ = reply.send(Err(error));
            return self.settle_all(now, claim.names.as_slice());
        }
        let mut touched: Vec<Name> = claim.names.iter().cloned().collect();
        for replaced in std::mem::take(&mut claim.replaces) {
            let names: Vec<Name> = self.names_of(&replaced).cloned().collect();
            let awaited: Vec<Name> =
                names.iter().filter(|name| self.table.is_awaited(name)).cloned().collect();
            self.table.end(now, &replaced);
            // What others wait for goes to them first, although the claim wants it again.
            for name in &awaited {
                if self.table.forget_idle(name)
                    && let Some(title) = self.drop_title(name)
                {
                    self.outbox.end(&title, None);
                }
            }
            touched.extend(names);
        }
        match self.table.could_run(now, &claim) {
            Some(open) => {
                let missing = self.missing(&claim, &open);
                if missing.is_empty() {
                    self.answer(now, now, claim, reply);
                } else {
                    let most = wanted(&claim) - (open.len() - missing.len());
                    self.fly(claim, missing, most, Some(reply));
                }
            }
            None => self.answer(now, now, claim, reply),
        }
        self.settle_all(now, &touched);
    }

    /// The names that the claim could have here and that the server must be asked for.
    pub(super) fn missing(&self, claim: &Claim, open: &[Name]) -> Vec<Name> {
        let covered = |name: &&Name| self.is_covered(name, claim.mode);
        let missing: Vec<Name> = open.iter().filter(|name| !covered(name)).cloned().collect();
        let wanted = wanted(claim);
        if open.len() - missing.len() >= wanted { Vec::new() } else { missing }
    }

    fn is_covered(&self, name: &Name, mode: Mode) -> bool {
        let permits = |mode| if let Mode::Permits { take, .. } = mode { take } else { 0 };
        let used = || self.table.holders(name).map(|lease| permits(lease.mode)).sum();
        self.titles.get(name).is_some_and(|title| title.covers(mode, used()))
    }

    /// Sends a claim to the server for `most` of the names that are missing. Without a reply it is of a waiter in the table.
    pub(super) fn fly(
        &mut self,
        claim: Claim,
        missing: Vec<Name>,
        most: usize,
        reply: Option<oneshot::Sender<Result<Claimed>>>,
    ) {
        // A title that does not suffice is in the way of one that does, unless leases stand on it.
        for name in &missing {
            let is_idle = self.table.holders(name).next().is_none();
            if is_idle && let Some(title) = self.drop_title(name) {
                self.outbox.end(&title, None);
            }
        }
        let line = missing.iter().find_map(|name| self.titles.get(name).map(|title| title.line));
        let line = line.unwrap_or_else(|| self.outbox.primary());
        self.flying.extend(claim.names.iter().cloned());
        self.flying_ids.insert(claim.lease);
        let (shared, permits, take) = asks(claim.mode);
        if let ([name], false) = (missing.as_slice(), shared) {
            let single = Single { key: key_of(name), name: name.clone(), claim, reply };
            match self.outbox.lines(line) {
                Some(letters) => letters.singles.push(single),
                None => return self.fall(&single.claim, single.reply, &lost()),
            }
        } else {
            let mine =
                missing.iter().filter_map(|name| self.titles.get(name)).flat_map(|t| t.locks().0).collect();
            let keys = missing.iter().map(key_of).collect();
            let hard = Hard { keys, names: missing, shared, most, permits, take, mine, claim, reply };
            match self.outbox.lines(line) {
                Some(letters) => letters.hard.push(hard),
                None => return self.fall(&hard.claim, hard.reply, &lost()),
            }
        }
        self.outbox.note(line);
    }

    /// Answers a claim by the table, to which everything missing is held by the others.
    fn answer(
        &mut self,
        now: Instant,
        asked: Instant,
        claim: Claim,
        reply: oneshot::Sender<Result<Claimed>>,
    ) {
        if claim.wait || asked != now || self.missing(&claim, claim.names.as_slice()).is_empty() {
            self.cloak(&claim);
        }
        let answer = self.table.claim(asked, &claim);
        self.note_expiry(&claim.lease);
        for name in &claim.names {
            self.table.forget_idle(name);
        }
        if matches!(answer, Ok(Claimed::Queued(_))) {
            self.settle_all(now, claim.names.as_slice());
            self.waits.answer_when_queued(claim, reply, answer);
            return;
        }
        let _ = reply.send(answer);
    }

    /// Tells the table that the others hold what this process has no title to.
    pub(super) fn cloak(&mut self, claim: &Claim) {
        for name in &claim.names {
            let elsewhere = match self.titles.get(name) {
                Some(title) => title.elsewhere(),
                None => Some(all_of(claim.mode)),
            };
            self.table.set_elsewhere(name, elsewhere);
        }
    }

    /// Takes in what the server gave a claim. `sent`: the instant before it was asked.
    pub(super) fn land(&mut self, now: Instant, landed: Landed) {
        let Landed { sent, line, claim, names, taken, slots, token, reply } = landed;
        for name in &claim.names {
            self.flying.remove(name);
        }
        self.flying_ids.remove(&claim.lease);
        if let Some(token) = token {
            self.fresh(token);
            let permits = asks(claim.mode).2 as usize;
            let mut slots = slots.as_slice();
            for (name, _) in names.iter().zip(&taken).filter(|(_, taken)| **taken) {
                let (mine, rest) = slots.split_at(permits.min(slots.len()));
                slots = rest;
                self.add_title(name, line, claim.mode, mine.to_vec(), claim.ttl);
            }
            match reply {
                Some(reply) => self.answer(now, sent, claim.clone(), reply),
                None => {
                    self.cloak(&claim);
                    self.table.grant_waiter(now, claim.lease);
                }
            }
        } else {
            let refused = names.iter().zip(&taken).find(|(_, taken)| !**taken).map(|(name, _)| name.clone());
            if claim.wait
                && let Some(name) = &refused
            {
                self.refused.insert(claim.lease, name.clone());
            }
            match reply {
                Some(reply) if claim.wait => self.answer(now, now, claim.clone(), reply),
                Some(reply) => drop(reply.send(Ok(Claimed::Busy(taken_elsewhere(refused))))),
                None => {}
            }
        }
        self.settle_all(now, claim.names.as_slice());
    }

    /// The server could not be asked, and what it did is unknown: its line is lost.
    pub(super) fn fall(
        &mut self,
        claim: &Claim,
        reply: Option<oneshot::Sender<Result<Claimed>>>,
        why: &Error,
    ) {
        for name in &claim.names {
            self.flying.remove(name);
        }
        self.flying_ids.remove(&claim.lease);
        if let Some(reply) = reply {
            let _ = reply.send(Err(Error::new(why.kind(), why.operation(), why.what().to_owned())));
        }
    }
}

/// What the server gave a claim.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) sent: Instant,
    pub(super) line: usize,
    pub(super) claim: Claim,
    /// The names that it was asked for, and for each of the first of them whether it was free.
    pub(super) names: Vec<Name>,
    pub(super) taken: Vec<bool>,
    pub(super) slots: Vec<i64>,
    /// When all that was needed was taken.
    pub(super) token: Option<u64>,
    pub(super) reply: Option<oneshot::Sender<Result<Claimed>>>,
}

/// How many of its names a claim needs.
pub(super) fn wanted(claim: &Claim) -> usize {
    match claim.pick {
        Pick::All => claim.names.len(),
        Pick::Any { count } => count as usize,
    }
}
