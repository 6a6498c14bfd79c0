//! How a task gets a lease through the local tier: waits its turn, drives, or is handed the lease.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::cohort::{Entered, Released, Seat, Turn};
use super::guard::Hold;
use super::held::HeldLease;
use super::pursuit::{Adoptable, Outcome, Pursuit};
use crate::claim::{Claim, LeaseId};
use crate::clock::Instant;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Kept, Why};
use crate::metrics::Attempt;
use crate::name::Name;
use crate::provider::Keep;
use crate::token::FencingToken;

/// Tokens that a claim reserves for hand-offs.
const BLOCK: NonZeroU32 = NonZeroU32::new(32).expect("not zero");

/// Tokens that a lease reserves when its block is used up, for it is a busy one: so many at first, and twice as many each
/// time while others leave it alone, up to the last.
const NEXT_BLOCKS: (u32, u32) = (1_024, 65_536);

impl Engine {
    /// Gets an exclusive lease on one name through the local tier. `None` when it is busy.
    pub(crate) async fn local(
        self: &Arc<Self>,
        mut claim: Box<Claim>,
        sticky: bool,
        until: Instant,
        attempt: &mut Attempt<'_>,
    ) -> Result<Option<Hold>> {
        self.start();
        claim.tokens = BLOCK;
        claim.revocable = sticky;
        let name = claim.names.first().clone();
        let hold = loop {
            let now = self.clock.now();
            match self.cohorts.enter(&name, claim.wait, now) {
                Entered::Drive { replaces } => {
                    claim.replaces.extend(replaces);
                    break self.drive(&name, Role::fresh(self, &name, claim), until, attempt).await?;
                }
                Entered::Kept(lease, token) => {
                    self.hand_on(&lease, claim.ttl, now);
                    match self.handed(&name, lease, token, until).await {
                        // It was gone without a word: nobody held it, and the next look finds no lease.
                        Err(error) if error.kind() == ErrorKind::Lost => {}
                        hold => break hold?,
                    }
                }
                Entered::Wait(None) => break None,
                Entered::Wait(Some(seat)) => {
                    attempt.waits();
                    // Boxed: a claim that finds its name free carries no room for it.
                    break Box::pin(self.queue(&name, claim, seat, until, attempt)).await?;
                }
            }
        };
        if let Some(lease) = hold.as_ref().and_then(Hold::lease) {
            lease.stick(sticky);
        }
        Ok(hold)
    }

    /// Whether any lease was ever kept.
    #[inline]
    pub(crate) fn keeps(&self) -> bool {
        self.cohorts.keeps()
    }

    /// A lease of the local tier that has stayed, without a trip; `None` where there is none.
    #[inline]
    pub(crate) fn take_kept(self: &Arc<Self>, name: &Name, ttl: Duration, sticky: bool) -> Option<Hold> {
        let now = self.clock.now();
        let (lease, token) = self.cohorts.take_kept(name, now)?;
        self.hand_on(&lease, ttl, now);
        lease.stick(sticky);
        self.metrics.kept();
        Some(Hold::cohort(self, lease, token))
    }

    fn hand_on(&self, lease: &HeldLease, ttl: Duration, now: Instant) {
        if lease.hand_on(ttl, now) {
            self.keepalive.plan(now);
        }
    }

    /// Gives a lease back that nobody holds, if `wanted` says so.
    pub(super) fn retire(&self, lease: &HeldLease, wanted: impl Fn(&HeldLease) -> bool) {
        if self.cohorts.retire(lease, wanted) {
            self.give_back(lease);
        }
    }

    /// Ends a lease of the local tier that nobody holds, in the background.
    pub(super) fn give_back(&self, lease: &HeldLease) {
        self.keepalive.remove(&lease.id);
        self.reap(self.returning(lease));
    }

    /// Others wait for a lease: it goes to them when its guard is released, or at once where it has none.
    pub(super) fn contended(&self, lease: &HeldLease) {
        lease.contend();
        if let Some(name) = lease.names.single() {
            self.cohorts.cool(name, self.clock.now());
            self.retire(lease, |_| true);
        }
    }

    /// Waits in the local queue, and takes the turn that comes.
    async fn queue(
        self: &Arc<Self>,
        name: &Name,
        mut claim: Box<Claim>,
        seat: Arc<Seat>,
        until: Instant,
        attempt: &mut Attempt<'_>,
    ) -> Result<Option<Hold>> {
        let mut place = Place { engine: self, name, seat: Some(seat) };
        let Some(turn) = place.turn(until).await else {
            return Ok(None);
        };
        drop(place);
        match turn {
            Turn::Handed(lease, token) => {
                attempt.handed();
                self.hand_on(&lease, claim.ttl, self.clock.now());
                self.handed(name, lease, token, until).await
            }
            Turn::Drive { adopted: Some(adopted), .. } => {
                self.drive(name, Role::adopted(self, name, *adopted), until, attempt).await
            }
            Turn::Drive { adopted: None, replaces } => {
                claim.replaces.extend(replaces);
                self.drive(name, Role::fresh(self, name, claim), until, attempt).await
            }
        }
    }

    async fn drive(
        self: &Arc<Self>,
        name: &Name,
        mut role: Role<'_>,
        until: Instant,
        attempt: &mut Attempt<'_>,
    ) -> Result<Option<Hold>> {
        let Some(pursuit) = role.pursuit.as_mut() else {
            return Ok(None);
        };
        match pursuit.run(until, attempt).await? {
            Outcome::Granted { grant, offer } => {
                let lease = self.hold(pursuit.lease(), &grant, pursuit.ttl(), offer);
                let (token, rest) = grant.tokens.take();
                self.cohorts.arrived(name, &lease, rest);
                role.played = true;
                Ok(Some(Hold::cohort(self, lease, token)))
            }
            Outcome::Busy(_) => {
                role.replaces = None;
                if !self.cohorts.is_wanted(name) {
                    pursuit.withdraw().await?;
                }
                Ok(None)
            }
        }
    }

    /// Completes a hand-off: a lease without tokens reserves more first.
    async fn handed(
        self: &Arc<Self>,
        name: &Name,
        lease: Arc<HeldLease>,
        token: Option<FencingToken>,
        until: Instant,
    ) -> Result<Option<Hold>> {
        if let Some(token) = token {
            return Ok(Some(Hold::cohort(self, lease, token)));
        }
        // Released again if this future is dropped or the store fails: the placeholder token is never shown.
        let hold = Hold::cohort(self, Arc::clone(&lease), FencingToken::MAX);
        let keep = Keep { lease: lease.id, ttl: lease.ttl(), tokens: lease.next_block(NEXT_BLOCKS) };
        match self.answer("acquire", self.provider.keep(&[keep]), until).await? {
            Kept::Held(grant) => {
                if grant.contended {
                    // The event that said so may have been lost.
                    lease.contend();
                }
                let (token, rest) = grant.tokens.take();
                self.cohorts.restocked(name, rest);
                Ok(Some(hold.with_token(token)))
            }
            Kept::Gone(why) => {
                self.lose(&lease, why);
                Err(Error::lost("acquire", "the lease that was handed on is gone"))
            }
            Kept::Queued(_) => {
                self.lose(&lease, Why::Unknown);
                Err(Error::internal("acquire", "a held lease was answered as waiting"))
            }
        }
    }

    /// Gives a lease of the local tier to the next task, or says that it is to be ended at the store.
    pub(super) fn pass_on(&self, lease: &Arc<HeldLease>) -> Released {
        let now = self.clock.now();
        self.let_go(lease, now);
        let released = self.cohorts.release(lease, now, lease.is_usable(now));
        match released {
            Released::Handed => {}
            Released::Kept => self.keepalive.plan(lease.idle_at()),
            Released::Replaced => self.keepalive.remove(&lease.id),
            Released::End => {}
        }
        released
    }

    /// Passes on what a task was given and did not take.
    fn decline(self: &Arc<Self>, name: &Name, turn: Turn) {
        match turn {
            Turn::Handed(lease, token) => drop(Hold::cohort(self, lease, token.unwrap_or(FencingToken::MAX))),
            role @ Turn::Drive { .. } => self.resign(name, role),
        }
    }

    fn resign(self: &Arc<Self>, name: &Name, role: Turn) {
        let Some(Turn::Drive { adopted, replaces }) = self.cohorts.resign(name, role) else {
            return;
        };
        if let Some(adopted) = adopted {
            drop(Pursuit::adopt(self, *adopted));
        }
        if let Some(lease) = replaces {
            self.reap(self.orphan(lease, crate::limits::DEFAULT_TTL));
        }
    }
}

/// The role of the driver: dropped without the lease, it goes to the next task, with the claim as it stands.
struct Role<'a> {
    engine: &'a Arc<Engine>,
    name: &'a Name,
    pursuit: Option<Pursuit>,
    replaces: Option<LeaseId>,
    played: bool,
}

impl<'a> Role<'a> {
    fn fresh(engine: &'a Arc<Engine>, name: &'a Name, claim: Box<Claim>) -> Self {
        let replaces = claim.replaces.first().copied();
        let pursuit = Pursuit::new(engine, claim).for_cohort();
        Role { engine, name, pursuit: Some(pursuit), replaces, played: false }
    }

    fn adopted(engine: &'a Arc<Engine>, name: &'a Name, adopted: Adoptable) -> Self {
        let pursuit = Pursuit::adopt(engine, adopted).for_cohort();
        Role { engine, name, pursuit: Some(pursuit), replaces: None, played: false }
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        if self.played {
            return;
        }
        let adopted = self.pursuit.take().and_then(Pursuit::give_over);
        let replaces = self.replaces.take();
        self.engine.resign(self.name, Turn::Drive { adopted: adopted.map(Box::new), replaces });
    }
}

/// A seat in the local queue: left when dropped.
struct Place<'a> {
    engine: &'a Arc<Engine>,
    name: &'a Name,
    seat: Option<Arc<Seat>>,
}

impl Place<'_> {
    /// Waits for the turn until `until`; a turn that came by then is taken.
    async fn turn(&mut self, until: Instant) -> Option<Turn> {
        let seat = self.seat.clone()?;
        let turn = tokio::select! {
            // The turn first: one that has come is never left at the deadline.
            biased;
            turn = seat.turn() => Some(turn),
            () = self.engine.clock.sleep_until(until) => None,
        };
        let seat = self.seat.take()?;
        turn.or_else(|| self.engine.cohorts.leave(self.name, &seat))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take()
            && let Some(turn) = self.engine.cohorts.leave(self.name, &seat)
        {
            self.engine.decline(self.name, turn);
        }
    }
}
