//! The RAII handle of a lease.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::Engine;
use super::cohort::Released;
use super::held::HeldLease;
use super::slip::Slip;
use crate::claim::{Digest, LeaseId};
use crate::error::{Error, Result};
use crate::lease::{Ended, Why};
use crate::name::Names;
use crate::token::FencingToken;

/// A lease that is held. One type for every mode.
///
/// The lease is renewed in the background for as long as the guard lives. It can be lost all the same: when the store
/// cannot be reached until the deadline, or somebody takes it away. Then [`lost`](Guard::lost) resolves before the store can
/// grant the names to anybody else (G3), and the work must stop. What the lock cannot stop, a delayed write, the resource
/// refuses by the [`token`](Guard::token) (G2).
///
/// Dropping a guard hands the lease to the next task of the process, or to a background task that ends it at the store: best
/// effort, within a moment, and with its ttl at the latest. Use [`release`](Guard::release) to know. A guard may be dropped
/// anywhere, also off the runtime and while a panic unwinds.
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard(pub(crate) Hold);

impl Guard {
    /// The fencing token: give it to the resource with the first read and with every write.
    pub fn token(&self) -> FencingToken {
        match self.0.kind() {
            Kind::Thin(thin) => thin.token(),
            Kind::Leased(leased) => leased.token,
        }
    }

    /// The names that are held: all that were asked for, or those that were picked.
    pub fn names(&self) -> &Names {
        match self.0.kind() {
            Kind::Thin(thin) => thin.names(),
            Kind::Leased(leased) => &leased.lease.names,
        }
    }

    /// The digest under which the lease is listed.
    pub fn lease(&self) -> Digest {
        match self.0.kind() {
            Kind::Thin(thin) => LeaseId::inward(thin.token(), 0).digest(),
            Kind::Leased(leased) => leased.lease.id.digest(),
        }
    }

    /// Whether the lease is lost. Compares with the clock: right even when the runtime is starved.
    pub fn is_lost(&self) -> bool {
        match self.0.kind() {
            Kind::Thin(thin) => !thin.is_held(),
            Kind::Leased(leased) => leased.lease.lost(leased.engine.clock.now()).is_some(),
        }
    }

    /// Whether the last renewal failed: the lease is still held, and will be lost unless a renewal succeeds in time.
    pub fn is_doubtful(&self) -> bool {
        match self.0.kind() {
            Kind::Thin(_) => false,
            Kind::Leased(leased) => leased.lease.is_doubtful(),
        }
    }

    /// For how long the lease is certainly held if no renewal succeeds from now on: start nothing that takes longer and
    /// cannot be stopped. Zero when it is lost; `Duration::MAX` where the lease is bound to this process alone.
    pub fn safe_remaining(&self) -> Duration {
        match self.0.kind() {
            _ if self.is_lost() => Duration::ZERO,
            Kind::Thin(_) => Duration::MAX,
            Kind::Leased(leased) => match leased.lease.deadline() {
                crate::clock::Instant::NEVER => Duration::MAX,
                deadline => leased.engine.clock.now().until(deadline),
            },
        }
    }

    /// Resolves when the lease is lost, at its deadline at the latest.
    ///
    /// # Cancel safety
    /// May be dropped at any time and called again.
    pub async fn lost(&self) -> Why {
        match self.0.kind() {
            Kind::Thin(thin) => {
                thin.forced().await;
                Why::Forced
            }
            Kind::Leased(leased) => leased.lost().await,
        }
    }

    /// Runs `work` until it is done or the lease is lost, whichever comes first; then `work` is dropped where it stands.
    ///
    /// # Errors
    /// `Lost`.
    ///
    /// # Cancel safety
    /// Dropping it drops `work`; the lease stays with the guard.
    pub async fn run_until_lost<F: Future>(&self, work: F) -> Result<F::Output> {
        tokio::select! {
            // The loss first: work must not go on beside a loss that is known.
            biased;
            why = self.lost() => Err(Error::lost("run", format!("the lease was lost reason={}", why.word()))),
            done = work => Ok(done),
        }
    }

    /// Releases the lease and waits until the store, or the next task of this process, has it.
    ///
    /// # Errors
    /// `Lost` when the lease had ended before: what it protected may have run beside another holder, and only fencing has
    /// kept the resource safe. `Unavailable` when the store did not answer: the lease is ended in the background.
    ///
    /// # Cancel safety
    /// Dropped half-way, the lease is ended in the background, as by dropping the guard.
    #[inline]
    pub fn release(self) -> impl Future<Output = Result<()>> + Send + use<> {
        let mut hold = self.0;
        let mut leased: Option<Pin<Box<dyn Future<Output = Result<()>> + Send>>> = None;
        poll_fn(move |context| {
            match hold.0.take() {
                Some(Kind::Thin(thin)) => {
                    let held = thin.give();
                    return Poll::Ready(if held { Ok(()) } else { Err(gone(Why::Forced)) });
                }
                Some(Kind::Leased(held)) => match held.pass_on() {
                    Ok(released) => return Poll::Ready(released),
                    // Boxed: a lease that stays in the process needs no trip, nor room for one.
                    Err(held) => leased = Some(Box::pin(held.end())),
                },
                None => {}
            }
            leased.as_mut().map_or(Poll::Ready(Ok(())), |release| release.as_mut().poll(context))
        })
    }
}

#[cold]
fn gone(why: Why) -> Error {
    Error::lost("release", format!("the lease had ended before reason={}", why.word()))
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Guard");
        shown.field("names", self.names()).field("token", &self.token()).field("lease", &self.lease());
        shown.finish_non_exhaustive()
    }
}

/// What a guard holds; dropped, it is passed on or ended. `None` once it was released.
pub(crate) struct Hold(Option<Kind>);

enum Kind {
    /// Names in the fast lane of a store inside this process.
    Thin(Box<Slip>),
    Leased(Box<Leased>),
}

/// A lease at the store. `local`: it belongs to the local tier and may be handed on.
struct Leased {
    engine: Arc<Engine>,
    lease: Arc<HeldLease>,
    token: FencingToken,
    local: bool,
}

impl Leased {
    async fn lost(&self) -> Why {
        let Leased { engine, lease, .. } = self;
        loop {
            if let Some(why) = lease.lost(engine.clock.now()) {
                return why;
            }
            tokio::select! {
                why = lease.until_lost() => return why,
                // Its own timer too: the signal does not depend on the renewals' task.
                () = engine.clock.sleep_until(lease.deadline()) => {}
            }
        }
    }

    /// Releases a lease that stays in the process; it comes back where it is to be ended at the store.
    fn pass_on(self: Box<Self>) -> std::result::Result<Result<()>, Box<Self>> {
        if !self.local {
            return Err(self);
        }
        // Before it is somebody else's: a loss from then on is not this guard's.
        let lost = self.lease.lost(self.engine.clock.now());
        if self.engine.pass_on(&self.lease) == Released::End {
            return Err(self);
        }
        Ok(lost.map_or(Ok(()), |why| Err(gone(why))))
    }

    /// Ends the lease at the store.
    async fn end(self: Box<Self>) -> Result<()> {
        let Leased { engine, lease, .. } = *self;
        let lost = lease.lost(engine.clock.now());
        let ended = engine.end(&lease).await?;
        match (lost, ended) {
            (Some(why), _) => Err(gone(why)),
            (None, Ended::NotHeld) => Err(gone(Why::Unknown)),
            (None, _) => Ok(()),
        }
    }

    #[cold]
    fn abandon(&self) {
        if !self.local || self.engine.pass_on(&self.lease) == Released::End {
            self.engine.abandon(&self.lease);
        }
    }
}

impl Hold {
    #[inline]
    pub(crate) fn thin(thin: Box<Slip>) -> Self {
        Hold(Some(Kind::Thin(thin)))
    }

    pub(crate) fn direct(engine: &Arc<Engine>, lease: Arc<HeldLease>, token: FencingToken) -> Self {
        Hold::leased(engine, lease, token, false)
    }

    pub(crate) fn cohort(engine: &Arc<Engine>, lease: Arc<HeldLease>, token: FencingToken) -> Self {
        Hold::leased(engine, lease, token, true)
    }

    fn leased(engine: &Arc<Engine>, lease: Arc<HeldLease>, token: FencingToken, local: bool) -> Self {
        let engine = Arc::clone(engine);
        Hold(Some(Kind::Leased(Box::new(Leased { engine, lease, token, local }))))
    }

    /// The lease, where it is one of the store.
    pub(crate) fn lease(&self) -> Option<&HeldLease> {
        match self.0.as_ref()? {
            Kind::Thin(_) => None,
            Kind::Leased(leased) => Some(&leased.lease),
        }
    }

    pub(crate) fn with_token(mut self, with: FencingToken) -> Self {
        if let Some(Kind::Leased(leased)) = &mut self.0 {
            leased.token = with;
        }
        self
    }

    fn kind(&self) -> &Kind {
        self.0.as_ref().expect("only release takes it, and consumes the guard")
    }
}

impl Drop for Hold {
    #[inline]
    fn drop(&mut self) {
        match self.0.take() {
            None => {}
            Some(Kind::Thin(thin)) => {
                thin.give();
            }
            Some(Kind::Leased(leased)) => leased.abandon(),
        }
    }
}
