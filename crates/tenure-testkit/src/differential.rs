//! The differential test: random steps through a store and through the lease table, which is the specification.
//!
//! Both must give the same answers, the same grants and the same lists. Token values may differ, since each has its own
//! counter: they must rise for each name, and stay the same for the same lease.

mod ops;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tenure::claim::{Digest, Origin, ProcessId};
use tenure::clock::Instant;
use tenure::lease::{Claimed, Ended, Grant, Kept, Kind, Query};
use tenure::memory::TokenSource;
use tenure::memory::table::Table;
use tenure::name::Names;
use tenure::provider::{Event, Forced, Immediate, Keep, Order, Ticket};
use tenure::token::Epoch;
use tenure::{Claim, FencingToken, Result, limits};

use self::ops::{How, Op, SLOTS, op};
use crate::client::{Asking, Client};
use crate::seed::seed;
use crate::stand::{Stage, Stand, play};

/// Drives `cases` random sequences through `S` and through the table.
///
/// # Panics
/// When they differ, with the shortest sequence found that shows it.
pub fn store_and_table_agree<S: Stand>(cases: u32) {
    let (mut bytes, seed) = ([0; 32], seed());
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let sequences = prop::collection::vec(op(), 1..80);
    let outcome = runner.run(&sequences, |ops| {
        let run = || play::<S>(async |stage| Pair::new(&stage).await.run(&stage, &ops).await);
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
            Ok(()) => Ok(()),
            Err(panic) => Err(TestCaseError::fail(text_of(panic.as_ref()))),
        }
    });
    if let Err(difference) = outcome {
        panic!("{difference}");
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

/// The store and the table, side by side.
struct Pair {
    client: Client,
    quick: Option<Arc<dyn Immediate>>,
    table: Table,
    slots: Vec<Option<Claim>>,
    /// Every claim, also of those that a slot has forgotten.
    made: Vec<Claim>,
    taken: Vec<(Names, Ticket, Claim)>,
    last: HashMap<String, FencingToken>,
    tokens: HashMap<Digest, FencingToken>,
    /// The greatest tokens before the present step.
    floor: HashMap<String, FencingToken>,
    floors: HashMap<Digest, HashMap<String, FencingToken>>,
    /// Names whose claims may be over without anybody having noticed.
    mortal: BTreeSet<String>,
    told: usize,
    touched: Instant,
    process: ProcessId,
}

impl Pair {
    async fn new(stage: &Stage) -> Self {
        let client = stage.client().await;
        let quick = client.provider().immediate();
        let locals_expire = client.provider().caps().outlives_process;
        let tokens = Arc::new(TokenSource::new(Epoch::new(1).expect("it is an epoch")));
        Pair {
            quick,
            table: Table::new(tokens, locals_expire),
            slots: vec![None; SLOTS],
            made: Vec::new(),
            taken: Vec::new(),
            last: HashMap::new(),
            tokens: HashMap::new(),
            floor: HashMap::new(),
            floors: HashMap::new(),
            mortal: BTreeSet::new(),
            told: 0,
            touched: stage.clock().now(),
            process: client.process(),
            client,
        }
    }

    async fn run(mut self, stage: &Stage, ops: &[Op]) {
        for (index, op) in ops.iter().enumerate() {
            self.floor = self.last.clone();
            self.step(stage, op).await;
            if self.touched.until(stage.clock().now()) > limits::TOUCH / 2 && !stage.is_paused() {
                self.touch(stage).await;
            }
            self.compare_events(stage, index).await;
            self.compare_lists(stage, index).await;
        }
    }

    async fn step(&mut self, stage: &Stage, op: &Op) {
        match op {
            Op::Claim { slot, .. } | Op::Replace { slot, .. } => {
                let claim = self.spell(stage, op);
                self.slots[*slot] = Some(claim.clone());
                self.made.push(claim.clone());
                self.claim(stage, &claim).await;
            }
            Op::Again { slot } => {
                if let Some(claim) =
                    self.slots[*slot].clone().filter(|claim| self.may_ask_again(stage, claim))
                {
                    self.claim(stage, &claim).await;
                }
            }
            Op::Keep { slot, tokens } => {
                if let Some(claim) = self.slots[*slot].clone() {
                    self.keep(stage, &claim, *tokens).await;
                }
            }
            Op::End { slot } => {
                let Some(claim) = &self.slots[*slot] else { return };
                let table = self.table.end(stage.clock().now(), &claim.lease);
                assert_eq!(self.client.end(claim).await, table, "end of slot {slot}");
            }
            Op::Force { slot, how } => {
                let Some(claim) = &self.slots[*slot] else { return };
                let table = self.table.force(stage.clock().now(), claim.lease.digest(), *how);
                let store: Forced = self.client.force(claim, *how).await;
                assert_eq!(store, table, "force of slot {slot}");
            }
            Op::Take { names } => self.take(stage, names),
            Op::Give { which } => self.give(stage, *which),
            Op::Pass { span } if stage.is_paused() => stage.pass(*span).await,
            Op::Pass { .. } => {}
        }
    }

    /// Touches what waits, and renews what is held, as the living do: a pushed grant that nobody confirms runs out, and so
    /// does a place in a queue, where time cannot be stopped.
    async fn touch(&mut self, stage: &Stage) {
        self.touched = stage.clock().now();
        let list = |kind| self.table.list(self.touched, &Query::new(kind, "")).entries;
        let listed: BTreeSet<Digest> =
            list(Kind::Leases).into_iter().chain(list(Kind::Waiters)).map(|entry| entry.lease).collect();
        let claims: Vec<Claim> =
            self.made.iter().filter(|claim| listed.contains(&claim.lease.digest())).cloned().collect();
        for claim in claims {
            self.keep(stage, &claim, 0).await;
        }
    }

    /// A store may forget a local lease with its end: its own process has had the answers, and asks no more.
    fn may_ask_again(&self, stage: &Stage, claim: &Claim) -> bool {
        let is_listed = |kind| {
            let list = self.table.list(stage.clock().now(), &Query::new(kind, "")).entries;
            list.iter().any(|entry| entry.lease == claim.lease.digest())
        };
        claim.origin == Origin::Remote || is_listed(Kind::Leases) || is_listed(Kind::Waiters)
    }

    /// The claim of a step. Where time cannot be stopped no lease runs out: two stores would see it at two instants.
    fn spell(&self, stage: &Stage, op: &Op) -> Claim {
        let (names, claim) = match op {
            Op::Claim { names, how, wait, ttl, linger, local, .. } => {
                let lasting = |span: Duration| if stage.is_paused() { span } else { span * 1_000 };
                let mut claim = self.client.ask(names).lasting(lasting(*ttl)).lingering(lasting(*linger));
                claim.wait = *wait;
                if *local {
                    claim.origin = Origin::Local;
                }
                let mut claim = match how {
                    How::Exclusive => claim.reserving(3),
                    How::Shared => claim.shared(),
                    How::Any(count) => claim.any(*count),
                    How::Permits(take, of) => claim.permits(*take, *of),
                };
                // Others may pass it at any moment: when it is granted is not for the table to say.
                let may_be_passed = claim.names.single().is_none() || matches!(how, How::Permits(..));
                claim.wait &= !may_be_passed || self.client.provider().caps().order == Order::Total;
                (names, claim)
            }
            Op::Replace { other, names, .. } => {
                let claim = self.client.ask(names);
                let other = self.slots[*other].as_ref();
                (names, other.map_or(claim.clone(), |other| claim.replacing(other)))
            }
            _ => unreachable!("only these two make a claim"),
        };
        assert_eq!(claim.names, Names::parse(names.split(' ')).expect("they are names"));
        claim
    }

    async fn claim(&mut self, stage: &Stage, claim: &Claim) {
        let names = claim.names.iter().map(ToString::to_string);
        self.mortal.extend(names.filter(|_| claim.origin == Origin::Remote || !claim.linger.is_zero()));
        let table = self.table.claim(stage.clock().now(), claim);
        let store = self.client.claim(claim).await;
        match (&store, &table) {
            (Ok(Claimed::Granted(store)), Ok(Claimed::Granted(table))) => {
                self.compare_grants(claim, store, table)
            }
            (Ok(Claimed::Queued(store)), Ok(Claimed::Queued(table))) if store.ahead == table.ahead => {}
            (Ok(Claimed::Busy(store)), Ok(Claimed::Busy(table))) if store.name == table.name => {}
            (Err(store), Err(table)) if same(store, table) => {}
            _ => panic!("store: {store:?}\ntable: {table:?}\nclaim: {claim:?}"),
        }
    }

    async fn keep(&mut self, stage: &Stage, claim: &Claim, tokens: u32) {
        let keep = Keep { lease: claim.lease, ttl: claim.ttl, tokens };
        let table = self.table.keep(stage.clock().now(), &keep);
        let store: Result<Kept> = self.client.keep_for(claim, claim.ttl, tokens).await;
        match (&store, &table) {
            (Ok(Kept::Held(store)), Kept::Held(table)) => {
                if tokens > 0 && claim.mode == tenure::Mode::Exclusive {
                    self.tokens.remove(&claim.lease.digest());
                }
                self.compare_grants(claim, store, table);
            }
            (Ok(Kept::Queued(store)), Kept::Queued(table)) if store.ahead == table.ahead => {}
            (Ok(Kept::Gone(_)), Kept::Gone(_)) => {}
            _ => panic!("store: {store:?}\ntable: {table:?}\nkeep of {claim:?}"),
        }
    }

    fn compare_grants(&mut self, claim: &Claim, store: &Grant, table: &Grant) {
        assert_eq!(store.names, table.names, "names of {claim:?}");
        assert_eq!((store.contended, store.revoked), (table.contended, table.revoked), "flags of {claim:?}");
        assert!(store.tokens.count() <= claim.tokens.max(NonZeroU32::new(5).expect("not zero")));
        self.rises(claim.lease.digest(), &store.names, store.tokens.first());
    }

    /// A lease keeps its token; a lease that is new has a greater one than all before it for each of its names.
    fn rises(&mut self, lease: Digest, names: &Names, token: FencingToken) {
        if let Some(known) = self.tokens.insert(lease, token) {
            assert_eq!(known, token, "the token of a lease changed");
            return;
        }
        // A waiter learns of its grant later than it was granted: then the tokens before that step count.
        let floor = self.floors.remove(&lease);
        let floor = floor.as_ref().unwrap_or(&self.floor);
        for name in names {
            let before = floor.get(name.as_str()).copied();
            assert!(before < Some(token), "the token of {name} went from {before:?} to {token:?}");
            let greatest = self.last.entry(name.to_string()).or_insert(token);
            *greatest = token.max(*greatest);
        }
    }

    fn take(&mut self, stage: &Stage, names: &str) {
        let Some(quick) = &self.quick else { return };
        let mut claim = self.client.ask(names).local();
        claim.process = self.process;
        match quick.take(&claim.names, None) {
            Some(ticket) => {
                let table = self.table.claim(stage.clock().now(), &claim);
                assert!(matches!(table, Ok(Claimed::Granted(_))), "taken although {table:?}");
                assert!(quick.holds(&claim.names, ticket));
                self.rises(claim.lease.digest(), &claim.names, ticket.token);
                self.taken.push((claim.names.clone(), ticket, claim));
            }
            None => assert!(self.is_known(stage, &claim.names), "{names} is free and was not given"),
        }
    }

    fn give(&mut self, stage: &Stage, which: usize) {
        let Some(quick) = &self.quick else { return };
        if which >= self.taken.len() {
            return;
        }
        let (names, ticket, claim) = self.taken.remove(which);
        assert!(quick.holds(&names, ticket));
        assert!(quick.give(&names, ticket), "what was taken was not held any more");
        assert_eq!(self.table.end(stage.clock().now(), &claim.lease), Ended::Released);
    }

    /// Whether the table knows a holder or a waiter of one of the names, also one that is over.
    fn is_known(&self, stage: &Stage, names: &Names) -> bool {
        let known = |kind| self.table.list(stage.clock().now(), &Query::new(kind, "")).entries;
        let mut all = known(Kind::Leases).into_iter().chain(known(Kind::Waiters));
        let is_among = |other: &Names| names.iter().any(|name| other.as_slice().contains(name));
        all.any(|entry| is_among(&entry.names))
            || names.iter().any(|name| self.mortal.contains(name.as_str()))
    }

    /// Both tell the same grants. A push may come late: it is waited for, and must be there.
    async fn compare_events(&mut self, stage: &Stage, index: usize) {
        let mine: BTreeSet<Digest> = self.slots.iter().flatten().map(|claim| claim.lease.digest()).collect();
        let granted = |event: &Event| match event {
            Event::Granted(lease, _) if mine.contains(&lease.digest()) => Some(lease.digest()),
            _ => None,
        };
        let table: BTreeSet<Digest> = self.table.take_events().iter().filter_map(granted).collect();
        for lease in &table {
            self.floors.insert(*lease, self.floor.clone());
            let told = |event: &Event| matches!(event, Event::Granted(other, _) if other.digest() == *lease);
            assert!(
                self.client.tells(stage.slack(), told).await,
                "step {index}: the store did not tell of {lease}"
            );
        }
        let events = self.client.events();
        let store: BTreeSet<Digest> = events[self.told..].iter().filter_map(granted).collect();
        assert!(store.is_subset(&table), "step {index}: store told {store:?}, table {table:?}");
        self.told = events.len();
    }

    async fn compare_lists(&self, stage: &Stage, index: usize) {
        for kind in [Kind::Leases, Kind::Waiters] {
            let query = Query::new(kind, "");
            let table = self.shape(self.table.list(stage.clock().now(), &query).entries);
            let store = self.shape(self.client.list(&query).await);
            assert_eq!(store, table, "step {index}: {kind:?} in the store and in the table");
        }
    }

    /// What a list says, without tokens and times. What was taken by the immediate way has another id in the store, and
    /// perhaps one for each name.
    fn shape(&self, list: Vec<tenure::lease::Listed>) -> BTreeMap<String, String> {
        let known: BTreeSet<Digest> = self.slots.iter().flatten().map(|claim| claim.lease.digest()).collect();
        let mut shape = BTreeMap::new();
        for entry in list {
            let is_taken = self.taken.iter().any(|(.., claim)| claim.lease.digest() == entry.lease);
            if known.contains(&entry.lease) || (!is_taken && entry.token.is_none()) {
                shape.insert(
                    entry.lease.to_string(),
                    format!("{} {:?} ahead={}", entry.names, entry.mode, entry.ahead),
                );
                continue;
            }
            for name in &entry.names {
                shape.insert(format!("holder of {name}"), format!("{:?}", entry.mode));
            }
        }
        shape
    }
}

fn same(store: &tenure::Error, table: &tenure::Error) -> bool {
    store.kind() == table.kind() && store.operation() == table.operation()
}
