//! Claims that wait at the server, each with a task that asks with long polls.
//!
//! A task lives as long as its claim is touched by `keep`. A grant that it learns of is an offer still: it tells the
//! listeners that there is one, and the `keep` that follows makes it a lease with a deadline that counts from its own send.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tenure_wire::ReleaseRequest;
use tokio::task::AbortHandle;

use super::line::Verb;
use super::{Client, words};
use crate::claim::{Claim, LeaseId, Origin};
use crate::clock::Instant;
use crate::lease::Queued;
use crate::limits;
use crate::provider::{Event, Listener};

/// How long one call waits at the server: rare enough to be cheap, short enough for intermediaries.
const POLL: Duration = Duration::from_secs(20);

/// The pause after a call that failed: several tries fit into the time for which the place is kept.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a claim that could not be ended stays dead here: longer than any request is under way.
const BURIAL: Duration = Duration::from_secs(60);

/// The claims that wait, and who is told about them.
#[derive(Default)]
pub(super) struct Waits {
    waits: Mutex<HashMap<LeaseId, Wait>>,
    listeners: RwLock<Vec<Arc<dyn Listener>>>,
}

impl std::fmt::Debug for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waits").field("waiting", &self.waits.lock().len()).finish_non_exhaustive()
    }
}

struct Wait {
    task: AbortHandle,
    origin: Origin,
    ahead: u32,
    /// When the lease in the way runs out, as far as it is known.
    expires: Option<Instant>,
    touched: Instant,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A call is under way, so that what is known here is true.
    Sound,
    /// The last call failed, or there is an offer: the server has to be asked.
    Doubtful,
    /// It was not touched for too long and is being ended. It must not come back to life meanwhile.
    Dead,
}

/// What is known of a claim that its caller touches.
pub(super) enum Touched {
    /// Its place.
    Known(Queued),
    /// Nothing; the server has to be asked.
    Unknown,
    /// It was given up.
    Dead,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Waits {
    pub(super) fn listen(&self, listener: Arc<dyn Listener>) {
        self.listeners.write().push(listener);
    }

    fn tell(&self, event: &Event) {
        for listener in self.listeners.read().iter() {
            listener.on(event.clone());
        }
    }

    /// Notes that the caller still waits. The place is known while a call is under way at the server and no lease in the
    /// way has run out since its last answer.
    pub(super) fn touch(&self, lease: LeaseId, now: Instant) -> Touched {
        let mut waits = self.waits.lock();
        let Some(wait) = waits.get_mut(&lease) else {
            return Touched::Unknown;
        };
        let passed = wait.expires.is_some_and(|expires| expires <= now);
        match wait.state {
            State::Dead => return Touched::Dead,
            State::Doubtful => {}
            State::Sound if passed => {}
            State::Sound => {
                wait.touched = now;
                return Touched::Known(Queued::new(
                    wait.ahead,
                    wait.expires.map(|expires| now.until(expires)),
                ));
            }
        }
        wait.touched = now;
        Touched::Unknown
    }

    /// Notes what the server said about the place.
    pub(super) fn update(&self, lease: LeaseId, place: Queued, now: Instant) {
        if let Some(wait) = self.waits.lock().get_mut(&lease) {
            wait.ahead = place.ahead;
            wait.expires = place.expires_in.map(|span| now + span);
        }
    }

    fn mark(&self, lease: LeaseId, state: State) {
        if let Some(wait) = self.waits.lock().get_mut(&lease) {
            wait.state = state;
        }
    }

    /// Ends the waiting; what the claim was bound to, if it waited.
    pub(super) fn remove(&self, lease: LeaseId) -> Option<Origin> {
        self.waits.lock().remove(&lease).map(|wait| wait.origin)
    }

    /// Ends all waiting.
    pub(super) fn clear(&self) -> Vec<LeaseId> {
        self.waits.lock().drain().map(|(lease, _)| lease).collect()
    }

    /// Marks the claim as dead if it was not touched for too long; otherwise, when to look again.
    fn judge(&self, lease: LeaseId, now: Instant) -> Verdict {
        let mut waits = self.waits.lock();
        let Some(wait) = waits.get_mut(&lease) else {
            return Verdict::Settled;
        };
        let dead_at = wait.touched + limits::DEAD_WAITER;
        if dead_at > now {
            return Verdict::Alive(dead_at);
        }
        wait.state = State::Dead;
        Verdict::Dead
    }
}

enum Verdict {
    Alive(Instant),
    /// It does not wait any more.
    Settled,
    Dead,
}

/// Begins to wait for a claim that the server has queued; one that already waits is touched.
pub(super) fn begin(client: &Arc<Client>, claim: &Claim, place: Queued) {
    let now = client.clock.now();
    let mut waits = client.waits.waits.lock();
    if let Some(wait) = waits.get_mut(&claim.lease) {
        wait.touched = now;
        return;
    }
    let task = tokio::spawn(run(Arc::clone(client), claim.clone())).abort_handle();
    let wait = Wait {
        task,
        origin: claim.origin,
        ahead: place.ahead,
        expires: place.expires_in.map(|span| now + span),
        touched: now,
        state: State::Sound,
    };
    waits.insert(claim.lease, wait);
}

async fn run(client: Arc<Client>, mut claim: Claim) {
    claim.replaces.clear();
    let lease = claim.lease;
    let event = tokio::select! {
        event = poll(&client, &claim) => event,
        dead = until_dead(&client, lease) => return bury(&client, lease, dead).await,
    };
    if let Event::Lost(..) = event {
        client.waits.remove(lease);
        client.waits.tell(&event);
        return;
    }
    // From now on a `keep` asks the server. It takes the claim off the list; without one the offer lapses by itself.
    client.waits.mark(lease, State::Doubtful);
    client.waits.tell(&event);
    until_dead(&client, lease).await;
    client.waits.remove(lease);
}

/// Gives a claim up that nobody waits for any more, as a store does with its dead waiters.
async fn bury(client: &Client, lease: LeaseId, dead: bool) {
    if !dead {
        return;
    }
    let body = ReleaseRequest { lease: words::lease_text(lease) };
    let reply = client.line.send(Verb::Post("v1/release"), Some(&body), Duration::ZERO).await;
    if !reply.is_ok_and(|reply| reply.status == 204) {
        // The release may still arrive: the claim stays dead here until that is out of the question.
        tokio::time::sleep(BURIAL).await;
    }
    client.waits.remove(lease);
}

/// Asks until there is an event for the claim.
async fn poll(client: &Client, claim: &Claim) -> Event {
    let body = words::acquire(claim, POLL);
    loop {
        match client.line.send(Verb::Post("v1/acquire"), Some(&body), POLL).await {
            Ok(reply) if matches!(reply.status, 200 | 201) => return Event::Granted(claim.lease, None),
            Ok(reply) if reply.status == 202 => {
                if let Ok(place) = reply.json() {
                    client.waits.update(claim.lease, words::place(&place), client.clock.now());
                }
                client.waits.mark(claim.lease, State::Sound);
                continue;
            }
            Ok(reply) if matches!(reply.status, 400..=499) => {
                return Event::Lost(claim.lease, words::why(&reply));
            }
            Ok(_) | Err(_) => client.waits.mark(claim.lease, State::Doubtful),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Resolves when nobody has touched the claim for so long that it is dead: true; or when it does not wait any more.
async fn until_dead(client: &Client, lease: LeaseId) -> bool {
    loop {
        match client.waits.judge(lease, client.clock.now()) {
            Verdict::Alive(dead_at) => client.clock.sleep_until(dead_at).await,
            Verdict::Settled => return false,
            Verdict::Dead => return true,
        }
    }
}
