//! What is to be sent, line by line, and to whom the answers go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::line::Pulse;
use super::title::Title;
use super::waits::Start;
use crate::claim::Claim;
use crate::clock::Instant;
use crate::error::Result;
use crate::lease::{Claimed, Ended};
use crate::name::Name;
use crate::provider::Event;

/// A claim on one name alone, exclusively.
#[derive(Debug)]
pub(super) struct Single {
    pub(super) key: i64,
    pub(super) name: Name,
    pub(super) claim: Claim,
    pub(super) reply: Option<oneshot::Sender<Result<Claimed>>>,
}

/// Any other claim.
#[derive(Debug)]
pub(super) struct Hard {
    pub(super) keys: Vec<i64>,
    pub(super) names: Vec<Name>,
    pub(super) shared: bool,
    pub(super) most: usize,
    pub(super) permits: u32,
    pub(super) take: u32,
    pub(super) mine: Vec<i64>,
    pub(super) claim: Claim,
    pub(super) reply: Option<oneshot::Sender<Result<Claimed>>>,
}

/// An end that is answered when all that it lets go was let go: with the last value of it.
#[derive(Debug)]
pub(super) struct Done(Mutex<Endings>);

/// The first is told what the end did, the others that it was done already.
type Endings = (Ended, Vec<oneshot::Sender<Ended>>);

impl Done {
    pub(super) fn new(ended: Ended, reply: oneshot::Sender<Ended>) -> Arc<Self> {
        Arc::new(Done(Mutex::new((ended, vec![reply]))))
    }

    /// Tells another one too who has asked for the same end.
    pub(super) fn tell_too(&self, reply: oneshot::Sender<Ended>) {
        self.0.lock().1.push(reply);
    }

    /// The server did not have it any more.
    pub(super) fn was_lost(&self) {
        self.0.lock().0 = Ended::NotHeld;
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        let (ended, replies) = self.0.get_mut();
        for reply in replies.drain(..) {
            let _ = reply.send(std::mem::replace(ended, Ended::NotHeld));
        }
    }
}

/// What one line is to send.
#[derive(Debug, Default)]
pub(super) struct Letters {
    pub(super) singles: Vec<Single>,
    pub(super) hard: Vec<Hard>,
    /// Keys to let go, and what waits for it.
    pub(super) ends: Vec<(i64, Option<Arc<Done>>)>,
    pub(super) ends_shared: Vec<(i64, Option<Arc<Done>>)>,
    /// Who waits for a sign of life to be answered, with the instant before it was sent and the tokens that came: none when
    /// the line is lost.
    pub(super) beats: Vec<oneshot::Sender<(Instant, u64)>>,
    /// Ends that are done when all of this was answered.
    pub(super) after: Vec<Arc<Done>>,
    /// Whether tokens are needed.
    pub(super) is_thirsty: bool,
}

impl Letters {
    pub(super) fn is_empty(&self) -> bool {
        self.singles.is_empty()
            && self.hard.is_empty()
            && self.ends.is_empty()
            && self.ends_shared.is_empty()
            && self.beats.is_empty()
            && self.after.is_empty()
            && !self.is_thirsty
    }
}

/// A line as the desk has it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) letters: Letters,
    pub(super) pulse: Pulse,
    /// Whether it takes locks by trying; else it waits, and keeps what it waited for.
    pub(super) is_primary: bool,
}

/// All lines by their numbers.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    slots: BTreeMap<usize, Slot>,
    noted: BTreeSet<usize>,
    next: usize,
}

/// What is to be done outside the desk.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) events: Vec<Event>,
    /// Lines that have something to send.
    pub(super) lines: Vec<usize>,
    /// Waits that begin.
    pub(super) starts: Vec<Start>,
}

impl Outbox {
    pub(super) fn lines(&mut self, line: usize) -> Option<&mut Letters> {
        self.slots.get_mut(&line).map(|slot| &mut slot.letters)
    }

    pub(super) fn pulse(&mut self, line: usize) -> Option<&mut Pulse> {
        self.slots.get_mut(&line).map(|slot| &mut slot.pulse)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots.iter().map(|(line, slot)| (*line, slot))
    }

    /// A new line, whose session gave a sign of life that was sent at `sent`.
    pub(super) fn open(&mut self, sent: Instant, is_primary: bool) -> usize {
        self.next += 1;
        let mut slot = Slot::new();
        (slot.pulse, slot.is_primary) = (Pulse::new(sent), is_primary);
        self.slots.insert(self.next, slot);
        self.next
    }

    /// A line that is gone, with what was still to be sent.
    pub(super) fn close(&mut self, line: usize) -> Option<Slot> {
        self.slots.remove(&line)
    }

    /// Takes back a line that was for waiting and holds nothing any more; whether it was.
    pub(super) fn retire(&mut self, line: usize) -> bool {
        let is_idle = self
            .slots
            .get(&line)
            .is_some_and(|slot| !slot.is_primary && slot.pulse.holds() == 0 && slot.letters.is_empty());
        if is_idle {
            self.slots.remove(&line);
        }
        is_idle
    }

    /// Lines that take locks by trying.
    pub(super) fn primaries(&self) -> usize {
        self.slots.values().filter(|slot| slot.is_primary).count()
    }

    /// Has every line give a sign of life whose time has come.
    pub(super) fn beat_due(&mut self, now: Instant) {
        let due = self.slots.iter().filter(|(_, slot)| slot.pulse.is_due(now)).map(|(line, _)| *line);
        self.noted.extend(due.collect::<Vec<_>>());
    }

    /// The line that takes locks by trying.
    pub(super) fn primary(&self) -> usize {
        self.slots.iter().find(|(_, slot)| slot.is_primary).map_or(0, |(line, _)| *line)
    }

    pub(super) fn note(&mut self, line: usize) {
        self.noted.insert(line);
    }

    pub(super) fn take_noted(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.noted).into_iter().collect()
    }

    /// Lets a title go.
    pub(super) fn end(&mut self, title: &Title, done: Option<&Arc<Done>>) {
        let (exclusives, shareds) = title.locks();
        let Some(letters) = self.lines(title.line) else { return };
        letters.ends.extend(exclusives.into_iter().map(|key| (key, done.cloned())));
        letters.ends_shared.extend(shareds.into_iter().map(|key| (key, done.cloned())));
        self.noted.insert(title.line);
    }

    pub(super) fn end_keys(&mut self, line: usize, keys: &[i64], done: Option<&Arc<Done>>) {
        let Some(letters) = self.lines(line) else { return };
        letters.ends.extend(keys.iter().map(|key| (*key, done.cloned())));
        self.noted.insert(line);
    }

    pub(super) fn end_shared(&mut self, line: usize, key: i64) {
        let Some(letters) = self.lines(line) else { return };
        letters.ends_shared.push((key, None));
        self.noted.insert(line);
    }

    /// Ends that are done when what a line has to send now was answered.
    pub(super) fn when_sent(&mut self, line: usize, ends: Vec<Arc<Done>>) {
        let Some(letters) = self.lines(line) else { return };
        letters.after.extend(ends);
        self.noted.insert(line);
    }

    /// Has a line give a sign of life, for who waits for it.
    pub(super) fn beat(&mut self, line: usize, reply: oneshot::Sender<(Instant, u64)>) {
        let Some(letters) = self.lines(line) else { return };
        letters.beats.push(reply);
        self.noted.insert(line);
    }

    /// Has some line fetch tokens.
    pub(super) fn fetch_tokens(&mut self) {
        let line = self.primary();
        let Some(letters) = self.lines(line) else { return };
        letters.is_thirsty = true;
        self.noted.insert(line);
    }
}

impl Slot {
    fn new() -> Self {
        Slot { letters: Letters::default(), pulse: Pulse::new(Instant::from_nanos(0)), is_primary: true }
    }
}
