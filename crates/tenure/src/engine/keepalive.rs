//! One task that renews all leases of an engine together, and tells their holders of a loss at the deadline.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Engine;
use super::held::HeldLease;
use crate::claim::LeaseId;
use crate::clock::Instant;
use crate::lease::{Kept, Why};
use crate::provider::Keep;

/// Shards of the register, so that tasks that take and release locks seldom meet. A power of two.
const SHARDS: usize = 16;

/// Leases of one renewal call: bounds the length of the store's step and of a message.
const BATCH: usize = 1_000;

/// The shortest and the longest time between two passes, whatever the ttls.
const PASS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(1));

type Register = HashMap<LeaseId, Arc<HeldLease>, foldhash::fast::RandomState>;

/// All leases that this process holds at the store.
#[derive(Debug)]
pub(crate) struct Keepalive {
    shards: [Mutex<Register>; SHARDS],
    /// When the next pass is made.
    next_ns: AtomicU64,
    /// The earliest instant that was planned for since the last pass began.
    planned_ns: AtomicU64,
    wake: Arc<Notify>,
}

impl Keepalive {
    pub(crate) fn new() -> Self {
        Keepalive {
            shards: std::array::from_fn(|_| Mutex::default()),
            next_ns: AtomicU64::new(u64::MAX),
            planned_ns: AtomicU64::new(u64::MAX),
            wake: Arc::new(Notify::new()),
        }
    }

    fn shard(&self, id: &LeaseId) -> &Mutex<Register> {
        let [first, ..] = id.to_bytes();
        self.shards.get(usize::from(first) % SHARDS).expect("the remainder is below the number of shards")
    }

    pub(crate) fn add(&self, lease: Arc<HeldLease>) {
        let due = lease.due();
        self.shard(&lease.id).lock().insert(lease.id, lease);
        self.plan(due);
    }

    pub(crate) fn remove(&self, id: &LeaseId) {
        self.shard(id).lock().remove(id);
    }

    pub(crate) fn find(&self, id: &LeaseId) -> Option<Arc<HeldLease>> {
        self.shard(id).lock().get(id).cloned()
    }

    /// Every lease that is held now.
    pub(crate) fn all(&self) -> Vec<Arc<HeldLease>> {
        self.shards.iter().flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>()).collect()
    }

    /// How many leases are held now.
    pub(crate) fn count(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().len() as u64).sum()
    }

    /// Sees to it that a pass is made at `due`.
    pub(crate) fn plan(&self, due: Instant) {
        let due = due.as_nanos();
        // Read first: most are due later than another, and need not write where every task reads.
        if self.planned_ns.load(Ordering::SeqCst) > due {
            self.planned_ns.fetch_min(due, Ordering::SeqCst);
        }
        if self.next_ns.load(Ordering::SeqCst) > due {
            self.next_ns.fetch_min(due, Ordering::SeqCst);
            self.wake.notify_one();
        }
    }

    /// Ends the task when its engine is gone.
    pub(crate) fn stop(&self) {
        self.wake.notify_one();
    }

    /// Tells the losses, and collects what is due.
    fn pass(&self, now: Instant) -> Pass {
        let mut pass = Pass::default();
        let (mut next_due, mut next_deadline, mut least_ttl) = (Instant::NEVER, Instant::NEVER, PASS.1 * 32);
        self.planned_ns.store(u64::MAX, Ordering::SeqCst);
        // What is planned for later than this meanwhile wakes nobody: it is looked at below.
        self.next_ns.store((now + PASS.1).as_nanos(), Ordering::SeqCst);
        for shard in &self.shards {
            for lease in shard.lock().values() {
                if lease.deadline() == Instant::NEVER {
                    continue;
                }
                if let Some(why) = lease.lost(now) {
                    pass.lost.push((Arc::clone(lease), why));
                    continue;
                }
                let idle_at = lease.idle_at();
                if idle_at <= now {
                    pass.idle.push(Arc::clone(lease));
                    continue;
                }
                next_deadline = next_deadline.min(idle_at);
                least_ttl = least_ttl.min(lease.ttl());
                if lease.due() <= now && lease.begin_renewal() {
                    pass.due.push(Arc::clone(lease));
                } else if lease.due() > now {
                    next_due = next_due.min(lease.due());
                }
                next_deadline = next_deadline.min(lease.deadline());
            }
        }
        // Renewals gather for a moment so that they share a trip; deadlines are met exactly.
        let gathered = next_due + (least_ttl / 32).clamp(PASS.0, PASS.1);
        self.arrange(gathered.min(next_deadline).as_nanos(), now);
        pass
    }

    /// Sets the time of the next pass, unless an earlier one was planned meanwhile. Who plans writes what it plans and then reads
    /// when the next pass is; this goes the other way round, so that one sees the other.
    fn arrange(&self, next: u64, now: Instant) {
        let provisional = (now + PASS.1).as_nanos();
        if self.next_ns.compare_exchange(provisional, next, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            self.next_ns.fetch_min(next, Ordering::SeqCst);
        }
        let planned = self.planned_ns.load(Ordering::SeqCst);
        self.next_ns.fetch_min(planned, Ordering::SeqCst);
    }

    fn next(&self) -> Instant {
        Instant::from_nanos(self.next_ns.load(Ordering::Acquire))
    }
}

/// What a pass found.
#[derive(Debug, Default)]
struct Pass {
    due: Vec<Arc<HeldLease>>,
    /// Those that have stayed unused for too long.
    idle: Vec<Arc<HeldLease>>,
    lost: Vec<(Arc<HeldLease>, Why)>,
}

/// The task: passes until the engine is gone.
pub(crate) async fn run(engine: Weak<Engine>) {
    loop {
        let Some(strong) = engine.upgrade() else { return };
        let (clock, wake) = (strong.clock, Arc::clone(&strong.keepalive.wake));
        let pass = strong.keepalive.pass(clock.now());
        for (lease, why) in &pass.lost {
            strong.lose(lease, *why);
        }
        for lease in &pass.idle {
            strong.retire(lease, |lease| lease.idle_at() <= strong.clock.now());
        }
        for batch in pass.due.chunks(BATCH) {
            tokio::spawn(renew(Arc::clone(&strong), batch.to_vec()));
        }
        let next = strong.keepalive.next();
        drop(strong);
        tokio::select! {
            () = wake.notified() => {}
            () = clock.sleep_until(next) => {}
        }
    }
}

/// One renewal call. A hanging store is given up after a third of the shortest ttl; the pass tells the loss meanwhile.
async fn renew(engine: Arc<Engine>, leases: Vec<Arc<HeldLease>>) {
    let keeps: Vec<Keep> = leases.iter().map(|l| Keep { lease: l.id, ttl: l.ttl(), tokens: 0 }).collect();
    let patience = leases.iter().map(|lease| lease.ttl()).min().unwrap_or_default() / 3;
    let sent = engine.clock.now();
    let answers = tokio::time::timeout(patience, engine.provider.keep(&keeps)).await.unwrap_or_default();
    let now = engine.clock.now();
    let mut answers = answers.into_iter();
    for lease in &leases {
        match answers.next() {
            Some(Ok(Kept::Held(grant))) => {
                lease.renewed(&grant, sent, now);
                engine.metrics.renewals.add(1);
                if grant.contended {
                    // The event that said so may have been lost.
                    engine.contended(lease);
                }
            }
            Some(Ok(Kept::Gone(why))) => engine.lose(lease, why),
            Some(Ok(Kept::Queued(_))) => engine.lose(lease, Why::Unknown),
            Some(Err(error)) => {
                tracing::warn!(lock.lease = %lease.id.digest(), %error, "a renewal failed; the lease is in doubt");
                lease.doubt(now);
            }
            None => {
                tracing::warn!(lock.lease = %lease.id.digest(), "a renewal got no answer; the lease is in doubt");
                lease.doubt(now);
            }
        }
        engine.keepalive.plan(lease.due());
    }
}
