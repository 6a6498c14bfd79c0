//! One claim at the store, from the ask to the grant: queued, woken by push, touched every second, given up at its
//! deadline.

use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::Engine;
use super::held::ENOUGH;
use crate::claim::{Claim, LeaseId};
use crate::clock::Instant;
use crate::error::{ErrorKind, Result};
use crate::lease::{Claimed, Grant, HeldBy, Kept, Queued};
use crate::limits;
use crate::metrics::Attempt;
use crate::provider::Keep;
use crate::sync::Mutex;

/// How often the first waiter of a store in this process looks before it sleeps, some microseconds in all: to be woken costs
/// more than a short section.
const LOOKS: u32 = 9;

/// How the claim's expiry in the way is overshot when asking again, so that the store has seen it pass.
const PAST_EXPIRY: Duration = Duration::from_millis(2);

/// The answers of a pursuit.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Granted. `offer`: it must be kept before it runs out, well before the ttl.
    Granted { grant: Grant, offer: bool },
    /// Not granted in time.
    Busy(HeldBy),
}

/// Where events for a waiting claim arrive.
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<Mail>);

#[derive(Debug, Default)]
struct Mail {
    rung: bool,
    grant: Option<Box<Grant>>,
    waker: Option<Waker>,
}

impl Mailbox {
    /// Wakes the pursuit, with the grant if it came along.
    pub(crate) fn ring(&self, grant: Option<Box<Grant>>) {
        let waker = {
            let mut mail = self.0.lock();
            mail.rung = true;
            mail.grant = grant.or(mail.grant.take());
            mail.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Resolves when it was rung since the last time. Looks `looks` times before it lets its thread sleep.
    async fn rung(&self, looks: u32) -> Option<Box<Grant>> {
        std::future::poll_fn(|context| {
            for look in 0..looks {
                if self.0.lock().rung {
                    break;
                }
                (0..1 << look.min(4)).for_each(|_| std::hint::spin_loop());
            }
            let mut mail = self.0.lock();
            if std::mem::take(&mut mail.rung) {
                return Poll::Ready(mail.grant.take());
            }
            mail.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// A claim on its way. Dropping it ends the claim through the reaper, unless it was settled or taken over.
#[derive(Debug)]
pub(crate) struct Pursuit {
    engine: Arc<Engine>,
    /// Boxed: a pursuit is moved about before it begins.
    claim: Box<Claim>,
    mailbox: Option<Arc<Mailbox>>,
    /// Whether the store may know of the claim.
    asked: bool,
    /// Whether the place in the queue is kept at the deadline, for another task of the process to go on with.
    keeps_place: bool,
    /// Whether it asks again under another id when its place is lost.
    begins_again: bool,
    /// Whether its end was sent to the store.
    doomed: bool,
}

impl Pursuit {
    pub(crate) fn new(engine: &Arc<Engine>, claim: Box<Claim>) -> Self {
        Pursuit {
            engine: Arc::clone(engine),
            claim,
            mailbox: None,
            asked: false,
            keeps_place: false,
            begins_again: true,
            doomed: false,
        }
    }

    /// Goes on with a claim that another task gave up, in its place in the queue.
    pub(crate) fn adopt(engine: &Arc<Engine>, adopted: Adoptable) -> Self {
        let Adoptable { claim, mailbox } = adopted;
        Pursuit {
            engine: Arc::clone(engine),
            claim,
            mailbox,
            asked: true,
            keeps_place: false,
            begins_again: true,
            doomed: false,
        }
    }

    /// With its place in the queue kept at the deadline: the caller withdraws it, or another task adopts it.
    pub(crate) fn for_cohort(mut self) -> Self {
        self.keeps_place = true;
        self
    }

    /// With a lease id that its caller knows the claim by: when its place is lost, it does not begin again with another.
    pub(crate) fn for_another(mut self) -> Self {
        self.begins_again = false;
        self
    }

    pub(crate) fn lease(&self) -> LeaseId {
        self.claim.lease
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.claim.ttl
    }

    /// Asks, and waits until `until` where the claim waits at all.
    ///
    /// # Errors
    /// `InvalidInput`; `Unavailable` when the store cannot be asked at first. Once queued, a store that fails is borne
    /// until the deadline.
    pub(crate) async fn run(&mut self, until: Instant, attempt: &mut Attempt<'_>) -> Result<Outcome> {
        loop {
            match self.ask(until).await? {
                Claimed::Granted(grant) => return Ok(self.granted(grant, false)),
                // A claim that waits is busy only when it was queued or granted before, its answer was lost, and it has run out.
                Claimed::Busy(_)
                    if self.claim.wait && self.begins_again && self.engine.clock.now() < until => {}
                Claimed::Busy(held_by) => {
                    self.settle();
                    return Ok(Outcome::Busy(held_by));
                }
                Claimed::Queued(place) => {
                    attempt.queued();
                    if self.mailbox.is_none() {
                        self.mailbox = Some(self.engine.waits.open(self.claim.lease));
                    }
                    // Boxed: most claims never wait, and carry no room for it.
                    if let Some(outcome) = Box::pin(self.wait(place, until)).await? {
                        return Ok(outcome);
                    }
                }
            }
            if !self.begins_again {
                self.settle();
                return Ok(Outcome::Busy(HeldBy::default()));
            }
            // The place in the queue is lost: begin again with a fresh id.
            self.renew_claim();
        }
    }

    async fn ask(&mut self, until: Instant) -> Result<Claimed> {
        self.asked = true;
        let trip = self.engine.provider.claim(std::slice::from_ref(&*self.claim));
        let answer = self.engine.answer("acquire", trip, until).await;
        if matches!(&answer, Err(error) if error.kind() == ErrorKind::InvalidInput) {
            self.settle();
        }
        answer
    }

    /// Waits in the queue; `None` when the place was lost.
    async fn wait(&mut self, mut place: Queued, until: Instant) -> Result<Option<Outcome>> {
        let clock = self.engine.clock;
        let mailbox = self.mailbox.clone().unwrap_or_default();
        let is_next = self.engine.immediate.is_some() && place.ahead == 0;
        let mut looks = if is_next { LOOKS } else { 0 };
        loop {
            let now = clock.now();
            let wake_at = self.next_touch(now, place).min(until);
            let pushed = tokio::select! {
                // The push first: at the deadline a grant that has come is taken.
                biased;
                grant = mailbox.rung(looks) => grant,
                () = clock.sleep_until(wake_at) => None,
            };
            looks = 0;
            let now = clock.now();
            if let Some(grant) = pushed
                && (grant.deadline == Instant::NEVER || now.until(grant.deadline) >= ENOUGH)
            {
                return Ok(Some(self.granted(*grant, true)));
            }
            match self.touch(until).await {
                Ok(Kept::Held(grant)) => return Ok(Some(self.granted(grant, false))),
                Ok(Kept::Queued(next)) => place = next,
                Ok(Kept::Gone(_)) if now >= until => {
                    self.settle();
                    return Ok(Some(Outcome::Busy(HeldBy::default())));
                }
                Ok(Kept::Gone(_)) => return Ok(None),
                Err(error) if now >= until => return Err(error),
                Err(error) => tracing::debug!(%error, "a waiting claim could not be touched"),
            }
            if now >= until {
                if !self.keeps_place {
                    self.withdraw().await?;
                }
                return Ok(Some(Outcome::Busy(HeldBy::default())));
            }
        }
    }

    async fn touch(&self, until: Instant) -> Result<Kept> {
        let keep = Keep { lease: self.claim.lease, ttl: self.claim.ttl, tokens: 0 };
        self.engine.answer("acquire", self.engine.provider.keep(&[keep]), until).await
    }

    /// The last act of a wait that was in vain: the claim is withdrawn before its caller goes on.
    pub(crate) async fn withdraw(&mut self) -> Result<()> {
        if !self.asked {
            return Ok(());
        }
        // From here on nobody may go on with the claim: its end is on the way, and would take the lease from whoever did.
        self.doomed = true;
        let leases = [self.claim.lease];
        let trip = self.engine.provider.end(&leases);
        if self.engine.answer("acquire", trip, self.engine.clock.now()).await.is_ok() {
            self.settle();
        }
        Ok(())
    }

    fn granted(&mut self, grant: Grant, offer: bool) -> Outcome {
        self.settle();
        Outcome::Granted { grant, offer }
    }

    /// Every second, give or take a fifth so that waiters spread; the head also when the lease in its way runs out.
    fn next_touch(&self, now: Instant, place: Queued) -> Instant {
        let [jitter, ..] = self.claim.lease.to_bytes();
        let touch = now + limits::TOUCH.mul_f64(0.8 + 0.4 * f64::from(jitter) / 256.0);
        match place.expires_in {
            Some(expires_in) if place.ahead == 0 => touch.min(now + expires_in + PAST_EXPIRY),
            _ => touch,
        }
    }

    fn renew_claim(&mut self) {
        self.settle();
        self.claim.lease = LeaseId::random();
    }

    /// Nothing is left to end at the store for the sake of this pursuit.
    fn settle(&mut self) {
        self.asked = false;
        if self.mailbox.take().is_some() {
            self.engine.waits.close(&self.claim.lease);
        }
    }

    /// Leaves a waiting claim as it is to another task of this process. One that does not wait, or is being withdrawn, is
    /// ended.
    pub(crate) fn give_over(mut self) -> Option<Adoptable> {
        if !self.claim.wait || self.doomed {
            return None;
        }
        let given = self.asked.then(|| Adoptable { claim: self.claim.clone(), mailbox: self.mailbox.take() });
        self.asked = false;
        given
    }
}

impl Drop for Pursuit {
    fn drop(&mut self) {
        if self.asked {
            self.engine.reap(self.engine.orphan(self.claim.lease, self.claim.ttl));
        }
        self.settle();
    }
}

/// A claim that was given up with others waiting behind it in the process.
#[derive(Debug)]
pub(crate) struct Adoptable {
    pub(crate) claim: Box<Claim>,
    pub(crate) mailbox: Option<Arc<Mailbox>>,
}
