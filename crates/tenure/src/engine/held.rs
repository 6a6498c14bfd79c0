//! A lease as this process holds it: held, doubtful or lost.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::claim::LeaseId;
use crate::clock::Instant;
use crate::lease::{Grant, Why};
use crate::name::Names;

/// For how long a sticky lease stays with a process that does not use it.
const IDLE: Duration = Duration::from_secs(1);

/// With this much left, work may begin: a lease that has less is renewed, or claimed anew, first.
pub(super) const ENOUGH: Duration = Duration::from_secs(1);

/// The state of one lease, shared by its guard, the renewals and the local tier.
///
/// Validity is a comparison with the clock at every use, never a flag alone: a starved runtime cannot make a lost lease
/// look held.
#[derive(Debug)]
pub(crate) struct HeldLease {
    pub(crate) id: LeaseId,
    pub(crate) names: Names,
    ttl_ns: AtomicU64,
    deadline_ns: AtomicU64,
    due_ns: AtomicU64,
    /// Since when its guard holds it; 0 while no guard does.
    since_ns: AtomicU64,
    /// Since when it has stayed without a guard; 0 while one holds it.
    kept_ns: AtomicU64,
    /// Whether it stays when it is released.
    sticky: AtomicBool,
    /// How many tokens were reserved the last time beyond those of its claim; 0 before.
    block: AtomicU32,
    renewing: AtomicBool,
    doubtful: AtomicBool,
    contended: AtomicBool,
    lost: OnceLock<Why>,
    reported: AtomicBool,
    signal: Notify,
}

impl HeldLease {
    /// A lease that was granted. An `offer` lasts less than the ttl until it is renewed; most are over before they have to be.
    pub(crate) fn new(id: LeaseId, grant: &Grant, ttl: Duration, now: Instant, offer: bool) -> Self {
        let lasts = if offer { now.until(grant.deadline).min(ttl) } else { ttl };
        let due = now + lasts / 3;
        let due = if grant.deadline == Instant::NEVER { Instant::NEVER } else { due };
        HeldLease {
            id,
            names: grant.names.clone(),
            ttl_ns: AtomicU64::new(nanos(ttl)),
            deadline_ns: AtomicU64::new(grant.deadline.as_nanos()),
            due_ns: AtomicU64::new(due.as_nanos()),
            since_ns: AtomicU64::new(now.as_nanos()),
            kept_ns: AtomicU64::new(0),
            sticky: AtomicBool::new(false),
            block: AtomicU32::new(0),
            renewing: AtomicBool::new(false),
            doubtful: AtomicBool::new(false),
            contended: AtomicBool::new(grant.contended),
            lost: OnceLock::new(),
            reported: AtomicBool::new(false),
            signal: Notify::new(),
        }
    }

    /// Why it is lost, if it is. Past its deadline it is lost, whether or not anybody has noticed yet.
    pub(crate) fn lost(&self, now: Instant) -> Option<Why> {
        if let Some(why) = self.lost.get() {
            return Some(*why);
        }
        (self.deadline() <= now).then(|| self.lose(Why::Expired))
    }

    /// Marks it lost, for good; the first reason stays.
    pub(crate) fn lose(&self, why: Why) -> Why {
        let why = *self.lost.get_or_init(|| why);
        self.signal.notify_waiters();
        why
    }

    /// Whether its loss is still to be reported; true once.
    pub(crate) fn take_report(&self) -> bool {
        !self.reported.swap(true, Ordering::AcqRel)
    }

    /// Resolves when it is lost.
    pub(crate) async fn until_lost(&self) -> Why {
        loop {
            let signal = self.signal.notified();
            if let Some(why) = self.lost.get() {
                return *why;
            }
            signal.await;
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::from_nanos(self.deadline_ns.load(Ordering::Acquire))
    }

    pub(crate) fn due(&self) -> Instant {
        Instant::from_nanos(self.due_ns.load(Ordering::Relaxed))
    }

    pub(crate) fn ttl(&self) -> Duration {
        Duration::from_nanos(self.ttl_ns.load(Ordering::Relaxed))
    }

    /// Whether the last renewal failed.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Relaxed)
    }

    /// Whether other processes wait for it.
    pub(crate) fn is_contended(&self) -> bool {
        self.contended.load(Ordering::Relaxed)
    }

    pub(crate) fn contend(&self) {
        self.contended.store(true, Ordering::Relaxed);
    }

    /// Whether it can be handed to another holder: it is neither lost nor in doubt, and lasts for a while.
    pub(crate) fn is_usable(&self, now: Instant) -> bool {
        let enough = (self.ttl() / 4).min(ENOUGH);
        self.lost(now).is_none() && !self.is_doubtful() && now.until(self.deadline()) >= enough
    }

    /// Whether it stays with this process when it is released.
    pub(crate) fn is_sticky(&self) -> bool {
        self.sticky.load(Ordering::Relaxed)
    }

    /// Says whether it stays when it is released; the last guard decides.
    pub(crate) fn stick(&self, sticky: bool) {
        if self.is_sticky() != sticky {
            self.sticky.store(sticky, Ordering::Relaxed);
        }
    }

    /// How many tokens to reserve next: from `first` on twice as many each time, up to `most`; no more than before once others
    /// wait, who are to have it soon.
    pub(crate) fn next_block(&self, (first, most): (u32, u32)) -> u32 {
        let last = self.block.load(Ordering::Relaxed);
        let next = if self.is_contended() { last.max(first) } else { (last * 2).clamp(first, most) };
        self.block.store(next, Ordering::Relaxed);
        next
    }

    /// It stays without a guard from now on.
    pub(crate) fn keep(&self, now: Instant) {
        self.kept_ns.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// A guard holds it again.
    pub(crate) fn unkeep(&self) {
        self.kept_ns.store(0, Ordering::Relaxed);
    }

    /// When it has stayed for too long; never while a guard holds it.
    pub(crate) fn idle_at(&self) -> Instant {
        match self.kept_ns.load(Ordering::Relaxed) {
            0 => Instant::NEVER,
            since => Instant::from_nanos(since) + IDLE,
        }
    }

    /// Ends the time of the guard that holds it, and tells how long that was; once.
    pub(crate) fn let_go(&self, now: Instant) -> Option<Duration> {
        let since = self.since_ns.swap(0, Ordering::Relaxed);
        (since > 0).then(|| Instant::from_nanos(since).until(now))
    }

    /// Begins the time of its next guard, with the ttl of that; true when that calls for a renewal now.
    pub(crate) fn hand_on(&self, ttl: Duration, now: Instant) -> bool {
        self.since_ns.store(now.as_nanos(), Ordering::Relaxed);
        if self.ttl_ns.swap(nanos(ttl), Ordering::Relaxed) == nanos(ttl) || self.deadline() == Instant::NEVER
        {
            return false;
        }
        self.due_ns.store(now.as_nanos(), Ordering::Relaxed);
        true
    }

    /// Claims the right to renew it; false while another renewal is under way.
    pub(crate) fn begin_renewal(&self) -> bool {
        !self.renewing.swap(true, Ordering::AcqRel)
    }

    /// Takes the answer of a renewal. It counts only if the lease was still held when it came.
    pub(crate) fn renewed(&self, grant: &Grant, sent: Instant, now: Instant) {
        if self.lost(now).is_none() {
            self.deadline_ns.fetch_max(grant.deadline.as_nanos(), Ordering::AcqRel);
        }
        self.contended.fetch_or(grant.contended, Ordering::Relaxed);
        self.doubtful.store(false, Ordering::Relaxed);
        self.due_ns.store((sent + self.ttl() / 3).as_nanos(), Ordering::Relaxed);
        self.renewing.store(false, Ordering::Release);
        if grant.revoked {
            self.lose(Why::Forced);
        }
    }

    /// A renewal failed: the lease is in doubt until its deadline, and is tried again before.
    pub(crate) fn doubt(&self, now: Instant) {
        self.doubtful.store(true, Ordering::Relaxed);
        self.due_ns.store((now + self.ttl() / 12).as_nanos(), Ordering::Relaxed);
        self.renewing.store(false, Ordering::Release);
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use crate::token::{FencingToken, TokenBlock};

    /// A starved runtime: nobody has noticed the deadline when the answer of the renewal comes.
    #[test]
    fn a_renewal_that_comes_after_the_deadline_does_not_revive_the_lease() {
        let at = |ms: u64| Instant::from_nanos(1_000_000_000) + Duration::from_millis(ms);
        let block = TokenBlock::one(FencingToken::new(1).unwrap());
        let grant = |until| Grant::new(Names::one(Name::new("x").unwrap()), block, until);
        let ttl = Duration::from_secs(1);
        let lease = HeldLease::new(LeaseId::random(), &grant(at(950)), ttl, at(0), false);
        lease.renewed(&grant(at(1_250)), at(300), at(310));
        assert_eq!(lease.lost(at(1_200)), None);
        lease.renewed(&grant(at(1_850)), at(900), at(1_251));
        assert_eq!(lease.lost(at(1_300)), Some(Why::Expired));
    }
}
