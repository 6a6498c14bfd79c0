//! A process's raw way into a store, without an engine: [`Client`], and [`Asking`] to spell a claim.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tenure::claim::{Origin, Pick, ProcessId};
use tenure::lease::{Claimed, Ended, Grant, HeldBy, Kept, Listed, Query, Queued, Why};
use tenure::limits;
use tenure::name::Names;
use tenure::provider::{Event, Force, Forced, Keep, Listener, Provider};
use tenure::{Claim, Clock, LeaseId, Mode, Result};
use tokio::sync::Notify;

/// For how long the news of a grant may be under way to a waiter at the other end of a network.
const PUSH: Duration = Duration::from_secs(3);

/// A process that speaks to a store in the words of the contract.
pub struct Client {
    provider: Arc<dyn Provider>,
    process: ProcessId,
    clock: Clock,
    mail: Arc<Mailbox>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("process", &self.process).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Mailbox {
    events: Mutex<Vec<Event>>,
    arrived: Notify,
}

impl Listener for Mailbox {
    fn on(&self, event: Event) {
        self.events.lock().push(event);
        self.arrived.notify_waiters();
    }
}

impl Client {
    /// A process of its own on `provider`.
    pub fn new(provider: Arc<dyn Provider>, clock: Clock) -> Self {
        let mail = Arc::new(Mailbox::default());
        provider.listen(Arc::clone(&mail) as Arc<dyn Listener>);
        Client { provider, process: ProcessId::random(), clock, mail }
    }

    /// Its provider.
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.provider
    }

    /// Its identity.
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// An exclusive claim on `names`, which are separated by blanks, bound to its lease id alone, for 30 s.
    pub fn ask(&self, names: &str) -> Claim {
        let names = Names::parse(names.split(' ')).expect("a test's names are names");
        let mut claim = Claim::new(self.process, names);
        claim.origin = Origin::Remote;
        claim
    }

    /// The store's answer to `claim`.
    pub async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        let mut answers = self.provider.claim(std::slice::from_ref(claim)).await;
        assert_eq!(answers.len(), 1, "one claim has one answer");
        answers.remove(0)
    }

    /// The grant of `claim`, which the test expects.
    pub async fn hold(&self, claim: &Claim) -> Grant {
        match self.claim(claim).await {
            Ok(Claimed::Granted(grant)) => grant,
            other => panic!("expected a grant of {}, got {other:?}", claim.names),
        }
    }

    /// The place in the queue of `claim`, which the test expects to wait.
    pub async fn queue(&self, claim: &Claim) -> Queued {
        match self.claim(claim).await {
            Ok(Claimed::Queued(queued)) => queued,
            other => panic!("expected {} to be queued, got {other:?}", claim.names),
        }
    }

    /// Who is in the way of `claim`, which the test expects to be busy.
    pub async fn busy(&self, claim: &Claim) -> HeldBy {
        match self.claim(claim).await {
            Ok(Claimed::Busy(by)) => by,
            other => panic!("expected {} to be busy, got {other:?}", claim.names),
        }
    }

    /// The field or operation that the store finds invalid in `claim`.
    pub async fn refused(&self, claim: &Claim) -> &'static str {
        match self.claim(claim).await {
            Err(error) if error.kind() == tenure::ErrorKind::InvalidInput => error.operation(),
            other => panic!("expected {} to be refused, got {other:?}", claim.names),
        }
    }

    /// The store's answer to a `keep` of `claim` for its ttl.
    pub async fn keep(&self, claim: &Claim) -> Result<Kept> {
        self.keep_for(claim, claim.ttl, 0).await
    }

    /// The store's answer to a `keep` for `ttl` that reserves `tokens`.
    pub async fn keep_for(&self, claim: &Claim, ttl: Duration, tokens: u32) -> Result<Kept> {
        let keep = Keep { lease: claim.lease, ttl, tokens };
        let mut answers = self.provider.keep(&[keep]).await;
        assert_eq!(answers.len(), 1, "one keep has one answer");
        answers.remove(0)
    }

    /// Renews a lease that the test expects to be held. One that waited may learn a moment late that it is.
    pub async fn renew(&self, claim: &Claim) -> Grant {
        let mut kept = self.keep(claim).await;
        if matches!(kept, Ok(Kept::Queued(_))) && self.told(claim, PUSH).await {
            kept = self.keep(claim).await;
        }
        match kept {
            Ok(Kept::Held(grant)) => grant,
            other => panic!("expected {} to be held, got {other:?}", claim.names),
        }
    }

    /// Touches a claim that the test expects to wait.
    pub async fn touch(&self, claim: &Claim) -> Queued {
        match self.keep(claim).await {
            Ok(Kept::Queued(queued)) => queued,
            other => panic!("expected {} to wait, got {other:?}", claim.names),
        }
    }

    /// Why a lease is gone that the test expects to be gone. One that waited may learn a moment late that it is.
    pub async fn gone(&self, claim: &Claim) -> Why {
        let mut kept = self.keep(claim).await;
        let lost = |event: &Event| matches!(event, Event::Lost(lease, _) if *lease == claim.lease);
        if matches!(kept, Ok(Kept::Queued(_))) && self.tells(PUSH, lost).await {
            kept = self.keep(claim).await;
        }
        match kept {
            Ok(Kept::Gone(why)) => why,
            other => panic!("expected {} to be gone, got {other:?}", claim.names),
        }
    }

    /// Ends a lease or a claim.
    pub async fn end(&self, claim: &Claim) -> Ended {
        self.end_id(claim.lease).await
    }

    /// Ends whatever has this id.
    pub async fn end_id(&self, lease: LeaseId) -> Ended {
        let mut answers = self.provider.end(&[lease]).await;
        assert_eq!(answers.len(), 1, "one end has one answer");
        answers.remove(0).expect("the store can be asked")
    }

    /// Forces the lease of `claim`.
    pub async fn force(&self, claim: &Claim, how: Force) -> Forced {
        self.provider.force(claim.lease.digest(), how).await.expect("the store can be asked")
    }

    /// All entries that `query` finds, over all pages.
    pub async fn list(&self, query: &Query) -> Vec<Listed> {
        let (mut query, mut found) = (query.clone(), Vec::new());
        loop {
            let page = self.provider.list(&query).await.expect("the store can be asked");
            found.extend(page.entries);
            match page.next {
                Some(next) => {
                    assert!(query.after < Some(next), "the pages do not go on");
                    query.after = Some(next);
                }
                None => return found,
            }
        }
    }

    /// Waits as a live waiter does, until `claim` was granted, and confirms the grant.
    ///
    /// # Panics
    /// When it is gone, or waits for more than 20 s.
    pub async fn granted(&self, claim: &Claim) -> Grant {
        let deadline = self.clock.now() + Duration::from_secs(20);
        loop {
            self.told(claim, limits::TOUCH).await;
            match self.keep(claim).await {
                Ok(Kept::Held(grant)) => return grant,
                Ok(Kept::Queued(_)) => assert!(self.clock.now() < deadline, "{} is not granted", claim.names),
                other => panic!("expected {} to be granted, got {other:?}", claim.names),
            }
        }
    }

    /// Whether the store tells within `within` that `claim` was granted.
    pub async fn told(&self, claim: &Claim, within: Duration) -> bool {
        self.tells(within, |event| matches!(event, Event::Granted(lease, _) if *lease == claim.lease)).await
    }

    /// Whether the store tells within `within`, or has told, what `wanted` looks for.
    pub async fn tells(&self, within: Duration, wanted: impl Fn(&Event) -> bool) -> bool {
        self.sees(within, |events| events.iter().any(&wanted)).await
    }

    /// Whether within `within` the events until now are what `enough` looks for.
    pub async fn sees(&self, within: Duration, enough: impl Fn(&[Event]) -> bool) -> bool {
        let deadline = self.clock.now() + within;
        loop {
            // Registered before the look, so that nothing falls between the two.
            let arrived = self.mail.arrived.notified();
            if enough(&self.mail.events.lock()) {
                return true;
            }
            tokio::select! {
                () = arrived => {}
                () = self.clock.sleep_until(deadline) => return enough(&self.mail.events.lock()),
            }
        }
    }

    /// What the store has told until now.
    pub fn events(&self) -> Vec<Event> {
        self.mail.events.lock().clone()
    }
}

/// Spells a claim.
pub trait Asking {
    /// Queues when it is busy.
    #[must_use]
    fn waiting(self) -> Self;
    /// Lasts `ttl`.
    #[must_use]
    fn lasting(self, ttl: Duration) -> Self;
    /// Shares its names with other shared claims.
    #[must_use]
    fn shared(self) -> Self;
    /// Takes `take` of `of` permits.
    #[must_use]
    fn permits(self, take: u32, of: u32) -> Self;
    /// Takes `count` of its names.
    #[must_use]
    fn any(self, count: u32) -> Self;
    /// Reserves `count` tokens.
    #[must_use]
    fn reserving(self, count: u32) -> Self;
    /// Ends `other` in the same step.
    #[must_use]
    fn replacing(self, other: &Claim) -> Self;
    /// Keeps its names taken for `span` from the grant on.
    #[must_use]
    fn lingering(self, span: Duration) -> Self;
    /// Is bound to its process.
    #[must_use]
    fn local(self) -> Self;
}

impl Asking for Claim {
    fn waiting(mut self) -> Self {
        self.wait = true;
        self
    }

    fn lasting(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    fn shared(mut self) -> Self {
        self.mode = Mode::Shared;
        self
    }

    fn permits(mut self, take: u32, of: u32) -> Self {
        self.mode = Mode::Permits { take, of };
        self
    }

    fn any(mut self, count: u32) -> Self {
        self.pick = Pick::Any { count };
        self
    }

    fn reserving(mut self, count: u32) -> Self {
        self.tokens = NonZeroU32::new(count).expect("a claim reserves at least one token");
        self
    }

    fn replacing(mut self, other: &Claim) -> Self {
        self.replaces.push(other.lease);
        self
    }

    fn lingering(mut self, span: Duration) -> Self {
        self.linger = span;
        self
    }

    fn local(mut self) -> Self {
        self.origin = Origin::Local;
        self
    }
}
