//! Threads that take and give back by the lane, beside others that claim the same names at the table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::claim::{Claim, ProcessId};
use crate::clock::Clock;
use crate::lease::{Claimed, Ended};
use crate::memory::{Given, Known, Lane, Memory, TokenSource};
use crate::name::{Name, Names};
use crate::provider::Provider;
use crate::token::{Epoch, FencingToken};

const ROUNDS: usize = 20_000;
const SETS: [&[&str]; 6] = [&["a"], &["b"], &["a", "b"], &["b", "c"], &["a", "b", "c"], &["a", "c"]];

/// What a resource sees of its holders.
#[derive(Default)]
struct Resource {
    busy: AtomicBool,
    last: AtomicU64,
}

impl Resource {
    fn enter(&self, token: FencingToken) {
        assert!(!self.busy.swap(true, Ordering::Relaxed), "two holders at a time");
        let last = self.last.swap(token.get(), Ordering::Relaxed);
        assert!(last < token.get(), "token {token} after {last}");
    }

    fn leave(&self) {
        self.busy.store(false, Ordering::Relaxed);
    }
}

fn used<'a>(resources: &'a [Resource; 3], set: &[&str]) -> Vec<&'a Resource> {
    set.iter().map(|name| &resources[usize::from(name.as_bytes()[0] - b'a')]).collect()
}

#[test]
fn the_lane_and_the_table_exclude_each_other_and_tokens_rise() {
    let memory = Memory::new(Clock::system());
    let resources: [Resource; 3] = Default::default();
    let quick = |seed: usize| {
        let store = memory.immediate().unwrap();
        for round in 0..ROUNDS {
            let set = SETS[(round * 7 + seed + round / 11) % SETS.len()];
            let names = Names::parse(set).unwrap();
            let Some(ticket) = store.take(&names, None) else { continue };
            let used = used(&resources, set);
            used.iter().for_each(|resource| resource.enter(ticket.token));
            used.iter().for_each(|resource| resource.leave());
            assert!(store.give(&names, ticket), "what was taken was lost");
        }
    };
    let claims = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let process = ProcessId::random();
        for round in 0..ROUNDS / 4 {
            let set = SETS[(round * 5 + round / 13) % SETS.len()];
            let claim = Claim::new(process, Names::parse(set).unwrap());
            let answer = runtime.block_on(memory.claim(std::slice::from_ref(&claim))).remove(0);
            if let Claimed::Granted(grant) = answer.unwrap() {
                let used = used(&resources, set);
                used.iter().for_each(|resource| resource.enter(grant.tokens.first()));
                used.iter().for_each(|resource| resource.leave());
                let ended = runtime.block_on(memory.end(&[claim.lease])).remove(0);
                assert_eq!(ended.unwrap(), Ended::Released);
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| quick(0));
        scope.spawn(|| quick(3));
        scope.spawn(claims);
    });
    assert!(memory.0.lane.thin().is_empty(), "something stayed");
}

/// Of two names, one is thin and the other fat when they are given back.
#[test]
fn two_names_are_given_back_as_far_as_they_are_thin() {
    let lane = Lane::new(Arc::new(TokenSource::new(Epoch::new(1).unwrap())));
    for fat in ["a", "b"] {
        let (names, fat) = (Names::parse(["a", "b"]).unwrap(), Name::new(fat).unwrap());
        let ticket = lane.take(&names, None).unwrap();
        assert_eq!(lane.fatten(&fat).map(|thin| thin.token), Some(ticket.token));
        let given = lane.give_few(&names, ticket);
        assert_eq!(given, usize::from(fat.as_str() == "b"));
        for name in names.iter().skip(given) {
            let expected = if *name == fat { Given::Fat } else { Given::Done };
            assert_eq!(lane.give(name, ticket.token), expected);
        }
        assert!(lane.take(&names, None).is_none(), "a fat name was taken");
        lane.slim(&fat);
        let next = lane.take(&names, None).unwrap();
        assert!(next.token > ticket.token);
        assert_eq!(lane.give_few(&names, next), 2);
    }
}

/// Many names of each shard are held at once, one by one and in pairs; some are made fat under their holders.
#[test]
fn names_that_share_a_shard_are_told_apart() {
    let lane = Lane::new(Arc::new(TokenSource::new(Epoch::new(1).unwrap())));
    let name = |number: usize| format!("name:{number}");
    let sets: Vec<Names> = (0..60)
        .map(|number| match number % 3 {
            0 => Names::parse([name(number), name(number + 1_000)]).unwrap(),
            _ => Names::parse([name(number)]).unwrap(),
        })
        .collect();
    let tickets: Vec<_> = sets.iter().map(|names| lane.take(names, None).unwrap()).collect();
    assert_eq!(lane.taken(), 60);
    let mut tokens: Vec<_> = tickets.iter().map(|ticket| ticket.token).collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 60, "a token was given twice");
    for (names, ticket) in sets.iter().zip(&tickets) {
        assert!(lane.take(names, None).is_none());
        for name in names {
            assert!(matches!(lane.find(name), Known::Thin(thin) if thin.token == ticket.token));
        }
    }
    assert_eq!(lane.thin().len(), 80);
    for (index, (names, ticket)) in sets.iter().zip(&tickets).enumerate() {
        if index % 4 == 0 {
            assert_eq!(lane.fatten(names.first()).map(|thin| thin.token), Some(ticket.token));
            assert_eq!(lane.give_few(names, *ticket), 0);
            assert_eq!(lane.give(names.first(), ticket.token), Given::Fat);
            lane.slim(names.first());
            assert!(names.iter().skip(1).all(|name| lane.give(name, ticket.token) == Given::Done));
        } else {
            assert_eq!(lane.give_few(names, *ticket), names.len());
        }
        assert!(names.iter().all(|name| lane.give(name, ticket.token) == Given::NotHeld));
    }
    assert!(lane.thin().is_empty());
    for (names, before) in sets.iter().zip(&tickets) {
        assert!(lane.take(names, None).unwrap().token > before.token);
    }
}
