//! The local tier under shuttle: random interleavings of tasks that come, are served, give up and release.
//!
//! `cargo test -p tenure --features shuttle --lib shuttle`

use std::future::poll_fn;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};

use super::cohort::{Cohorts, Entered, Released, Seat, Turn};
use super::held::HeldLease;
use crate::claim::LeaseId;
use crate::clock::Instant;
use crate::lease::Grant;
use crate::name::{Name, Names};
use crate::token::{FencingToken, TokenBlock};

/// Interleavings that are tried.
const SCHEDULES: usize = 3_000;

/// The time at which everything happens.
const NOW: Instant = Instant::from_nanos(2);

/// Tasks that contend, and how often each of them comes.
const TASKS: usize = 4;
const VISITS: usize = 2;

/// The local tier and a store of one lock that is always granted at once.
struct World {
    cohorts: Cohorts,
    name: Name,
    inside: AtomicUsize,
    last: AtomicU64,
    next: AtomicU64,
    served: AtomicUsize,
}

impl World {
    fn new() -> Self {
        World {
            cohorts: Cohorts::new(),
            name: Name::new("x").unwrap(),
            inside: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            next: AtomicU64::new(1),
            served: AtomicUsize::new(0),
        }
    }

    /// One visit: asks, perhaps gives up on the way, works, and releases.
    async fn visit(&self) {
        match self.cohorts.enter(&self.name, true, NOW) {
            Entered::Drive { replaces } => self.drive(replaces),
            Entered::Kept(lease, token) => {
                let token = token.unwrap_or_else(|| self.restock());
                self.work(token, &lease);
            }
            Entered::Wait(None) => unreachable!("it waits"),
            Entered::Wait(Some(seat)) => {
                let patience = thread_rng().gen_range(0..4);
                if let Some(turn) = self.turn(&seat, patience).await {
                    self.take(turn);
                }
            }
        }
    }

    /// Waits for the turn, in one case of four only until it was asked for once. A turn that came all the same is passed on.
    async fn turn(&self, seat: &Arc<Seat>, patience: usize) -> Option<Turn> {
        let mut turn = pin!(seat.turn());
        let mut polls = 0;
        let come = poll_fn(|context| match turn.as_mut().poll(context) {
            Poll::Ready(turn) => Poll::Ready(Some(turn)),
            Poll::Pending if patience == 0 && polls == 0 => Poll::Ready(None),
            Poll::Pending => {
                polls += 1;
                Poll::Pending
            }
        })
        .await;
        if come.is_none() {
            shuttle::future::yield_now().await;
            match self.cohorts.leave(&self.name, seat)? {
                Turn::Handed(lease, _) => self.release(&lease),
                role @ Turn::Drive { .. } => drop(self.cohorts.resign(&self.name, role)),
            }
        }
        come
    }

    fn take(&self, turn: Turn) {
        match turn {
            Turn::Drive { replaces, .. } => self.drive(replaces),
            Turn::Handed(lease, token) => {
                // A block that is used up is restocked at the store.
                let token = token.unwrap_or_else(|| self.restock());
                self.work(token, &lease);
            }
        }
    }

    fn restock(&self) -> FencingToken {
        let (token, rest) = self.block().take();
        self.cohorts.restocked(&self.name, rest);
        token
    }

    fn block(&self) -> TokenBlock {
        let first = self.next.fetch_add(2, Ordering::SeqCst);
        TokenBlock::new(FencingToken::new(first).unwrap(), NonZeroU32::new(2).unwrap())
    }

    fn drive(&self, replaces: Option<LeaseId>) {
        if thread_rng().gen_range(0..5) == 0 {
            // It gives up before it has the lease.
            drop(self.cohorts.resign(&self.name, Turn::Drive { adopted: None, replaces }));
            return;
        }
        let (token, rest) = self.block().take();
        let grant = Grant::new(Names::one(self.name.clone()), TokenBlock::one(token), Instant::NEVER);
        let ttl = Duration::from_secs(30);
        let lease = Arc::new(HeldLease::new(LeaseId::random(), &grant, ttl, Instant::from_nanos(1), false));
        self.cohorts.arrived(&self.name, &lease, rest);
        self.work(token, &lease);
    }

    fn work(&self, token: FencingToken, lease: &Arc<HeldLease>) {
        assert_eq!(self.inside.fetch_add(1, Ordering::SeqCst), 0, "two holders");
        assert!(self.last.swap(token.get(), Ordering::SeqCst) < token.get(), "the tokens do not rise");
        self.served.fetch_add(1, Ordering::SeqCst);
        lease.stick(thread_rng().gen_range(0..3) > 0);
        if thread_rng().gen_range(0..3) == 0 {
            lease.contend();
            self.retire(lease);
        }
        shuttle::thread::yield_now();
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.release(lease);
    }

    fn release(&self, lease: &Arc<HeldLease>) {
        let usable = thread_rng().gen_range(0..4) > 0;
        match self.cohorts.release(lease, NOW, usable) {
            Released::Handed | Released::Replaced => {}
            // It is asked for, or idle, sooner or later; whoever comes first has it.
            Released::Kept => {
                shuttle::thread::yield_now();
                self.retire(lease);
            }
            Released::End => {
                shuttle::thread::yield_now();
                self.cohorts.ended(&self.name, lease.id);
            }
        }
    }

    fn retire(&self, lease: &HeldLease) {
        if self.cohorts.retire(lease, |_| true) {
            shuttle::thread::yield_now();
            self.cohorts.ended(&self.name, lease.id);
        }
    }
}

/// Whatever the interleaving: one holder at a time, tokens that rise, nobody left waiting (shuttle finds the deadlock), and
/// nothing left of the name in the end.
#[test]
fn shuttle_finds_no_interleaving_that_breaks_the_local_tier() {
    shuttle::check_random(
        || {
            let world = Arc::new(World::new());
            let tasks: Vec<_> = (0..TASKS)
                .map(|_| {
                    let world = Arc::clone(&world);
                    shuttle::thread::spawn(move || {
                        shuttle::future::block_on(async {
                            for _ in 0..VISITS {
                                world.visit().await;
                            }
                        });
                    })
                })
                .collect();
            for task in tasks {
                task.join().unwrap();
            }
            assert!(world.cohorts.is_empty(), "something is left of the name");
        },
        SCHEDULES,
    );
}
