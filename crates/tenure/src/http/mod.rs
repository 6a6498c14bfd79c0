//! A client of `tenure serve`: the provider contract over the server's HTTP API.
//!
//! One request a step, over connections that are kept alive. A claim that waits has a task that asks the server with long
//! polls (`waits.rs`); what is sent and read is put into words in `words.rs`, and sent in `line.rs`. Nothing is retried
//! here: an error leaves the outcome unknown, and the engine settles it by lease id.

mod line;
mod waits;
mod words;

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use parking_lot::Mutex;
use tenure_wire::{Leases, ReleaseRequest, RenewRequest, Waiters};

use self::line::{Line, Reply, Verb};
use self::waits::{Touched, Waits};
use crate::claim::{Claim, Digest, LeaseId, Origin};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::lease::{Claimed, Ended, Kept, Kind, Page, Query, Why};
use crate::provider::{Caps, Force, Forced, Fut, Immediate, Keep, Listener, Provider};

/// Requests of one batch that are under way at a time: enough to hide the trips, few enough not to flood the server.
const ABREAST: usize = 32;

/// How long [`Provider::close`] tries to end what is left.
const CLOSE: Duration = Duration::from_secs(2);

/// The provider of `http://host:port`: a client of `tenure serve`. Clones are the same client.
///
/// Its leases are bound to their lease ids at the server, so those of a process that died end with their ttl.
/// What the server's store can do beyond that is not known here, and so not promised by its capabilities.
#[derive(Debug, Clone)]
pub struct Http(Arc<Client>);

#[derive(Debug)]
struct Client {
    line: Line,
    clock: Clock,
    caps: Caps,
    waits: Waits,
    /// Local leases that were granted here and not ended, for `close`.
    held: Mutex<HashSet<LeaseId>>,
}

impl Http {
    /// A client of the server at `url`: `http://host:port`, with a path when the server is mounted under a prefix.
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// `InvalidInput` when it is not such a URL. User and password are refused: the server has none, and they would be sent
    /// in the clear.
    pub fn connect(url: &str, clock: Clock) -> Result<Self> {
        let mut caps = Caps::new("http");
        caps.outlives_process = false;
        caps.durable_tokens = false;
        Ok(Http(Arc::new(Client {
            line: Line::new(url)?,
            clock,
            caps,
            waits: Waits::default(),
            held: Mutex::default(),
        })))
    }
}

impl Client {
    async fn claim(self: &Arc<Self>, claim: &Claim) -> Result<Claimed> {
        let sent = self.clock.now();
        let body = words::acquire(claim, Duration::ZERO);
        let reply = self.line.send(Verb::Post("v1/acquire"), Some(&body), Duration::ZERO).await?;
        let claimed = match reply.status {
            200 | 201 => {
                let mut grant = words::grant(&reply.json()?, sent)?;
                grant.repeated = reply.status == 200;
                Claimed::Granted(grant)
            }
            202 => Claimed::Queued(words::place(&reply.json()?)),
            409 => Claimed::Busy(words::held_by(&reply.json()?)),
            // The id was ended before: it is never granted.
            410 => Claimed::Busy(crate::lease::HeldBy::default()),
            _ => return Err(words::refusal("acquire", &reply)),
        };
        match &claimed {
            Claimed::Granted(_) if claim.origin == Origin::Local => {
                self.held.lock().insert(claim.lease);
            }
            Claimed::Queued(place) => waits::begin(self, claim, *place),
            _ => {}
        }
        Ok(claimed)
    }

    async fn keep(&self, keep: &Keep) -> Result<Kept> {
        match self.waits.touch(keep.lease, self.clock.now()) {
            Touched::Known(place) => return Ok(Kept::Queued(place)),
            Touched::Dead => return Ok(Kept::Gone(Why::Expired)),
            Touched::Unknown => {}
        }
        let body = RenewRequest {
            lease: words::lease_text(keep.lease),
            ttl_ms: Some(words::millis(keep.ttl)),
            reserve: (keep.tokens > 0).then_some(keep.tokens),
        };
        let sent = self.clock.now();
        let reply = self.line.send(Verb::Post("v1/renew"), Some(&body), Duration::ZERO).await?;
        match reply.status {
            200 => {
                let grant = words::grant(&reply.json()?, sent)?;
                if self.waits.remove(keep.lease) == Some(Origin::Local) {
                    self.held.lock().insert(keep.lease);
                }
                Ok(Kept::Held(grant))
            }
            202 => {
                let place = words::place(&reply.json()?);
                self.waits.update(keep.lease, place, self.clock.now());
                Ok(Kept::Queued(place))
            }
            410 => {
                self.forget(keep.lease);
                Ok(Kept::Gone(words::why(&reply)))
            }
            _ => Err(words::refusal("renew", &reply)),
        }
    }

    async fn end(&self, lease: LeaseId) -> Result<Ended> {
        self.waits.remove(lease);
        let body = ReleaseRequest { lease: words::lease_text(lease) };
        let reply = self.line.send(Verb::Post("v1/release"), Some(&body), Duration::ZERO).await?;
        if reply.status != 204 {
            return Err(words::refusal("release", &reply));
        }
        self.forget(lease);
        Ok(words::ended(&reply))
    }

    fn forget(&self, lease: LeaseId) {
        self.waits.remove(lease);
        self.held.lock().remove(&lease);
    }

    async fn list(&self, query: &Query) -> Result<Page> {
        let path = match query.kind {
            Kind::Leases => "v1/leases",
            Kind::Waiters => "v1/waiters",
        };
        let mut page = Page::default();
        let mut after = query.after;
        // The server's pages are shorter than a caller may ask for.
        while page.entries.len() < query.limit {
            let limit = (query.limit - page.entries.len()).min(1_000).to_string();
            let after_text = after.map(|digest| digest.to_string()).unwrap_or_default();
            let mut pairs = vec![("prefix", query.prefix.as_str()), ("limit", &limit)];
            if after.is_some() {
                pairs.push(("after", &after_text));
            }
            let reply = self.line.send_query(path, &pairs).await?;
            if reply.status != 200 {
                return Err(words::refusal("list", &reply));
            }
            let (entries, next) = match query.kind {
                Kind::Leases => words::leases(&reply.json::<Leases>()?)?,
                Kind::Waiters => words::waiters(&reply.json::<Waiters>()?)?,
            };
            page.entries.extend(entries);
            page.next = next;
            // A page without a greater beginning would be read for ever.
            if next <= after {
                break;
            }
            after = next;
        }
        Ok(page)
    }

    async fn force(&self, lease: Digest, how: Force) -> Result<Forced> {
        let path = match how {
            Force::Revoke => format!("v1/leases/{lease}"),
            Force::Now => format!("v1/leases/{lease}?now=true"),
        };
        let reply = self.line.send::<()>(Verb::Delete(&path), None, Duration::ZERO).await?;
        match reply.status {
            202 => Ok(Forced::Asked),
            204 => Ok(Forced::Ended),
            404 if reply.is_problem("not-found") => Ok(Forced::NotFound),
            _ => Err(words::refusal("force", &reply)),
        }
    }

    async fn ping(&self) -> Result<()> {
        let reply: Reply = self.line.send::<()>(Verb::Get("health/ready"), None, Duration::ZERO).await?;
        match reply.status {
            200 => Ok(()),
            status => Err(Error::unavailable("ping", format!("the server is not ready status={status}"))),
        }
    }

    async fn close(&self) {
        let waiting = self.waits.clear();
        let left: HashSet<LeaseId> = self.held.lock().drain().chain(waiting).collect();
        let ends = stream::iter(left).for_each_concurrent(ABREAST, async |lease| {
            if let Err(error) = self.end(lease).await {
                tracing::debug!(lock.lease = %lease.digest(), %error, "a lease was left to its ttl");
            }
        });
        // Whatever is left then ends with its ttl.
        let _ = tokio::time::timeout(CLOSE, ends).await;
    }
}

impl Provider for Http {
    fn caps(&self) -> &Caps {
        &self.0.caps
    }

    fn claim<'a>(&'a self, claims: &'a [Claim]) -> Fut<'a, Vec<Result<Claimed>>> {
        let client = &self.0;
        let one = move |claim: &'a Claim| async move { client.claim(claim).await };
        Box::pin(stream::iter(claims.iter().map(one)).buffered(ABREAST).collect())
    }

    fn keep<'a>(&'a self, keeps: &'a [Keep]) -> Fut<'a, Vec<Result<Kept>>> {
        let client = &self.0;
        let one = move |keep: &'a Keep| async move { client.keep(keep).await };
        Box::pin(stream::iter(keeps.iter().map(one)).buffered(ABREAST).collect())
    }

    fn end<'a>(&'a self, leases: &'a [LeaseId]) -> Fut<'a, Vec<Result<Ended>>> {
        let client = &self.0;
        let one = move |lease: &'a LeaseId| async move { client.end(*lease).await };
        Box::pin(stream::iter(leases.iter().map(one)).buffered(ABREAST).collect())
    }

    fn list<'a>(&'a self, query: &'a Query) -> Fut<'a, Result<Page>> {
        Box::pin(self.0.list(query))
    }

    fn force<'a>(&'a self, lease: Digest, how: Force) -> Fut<'a, Result<Forced>> {
        Box::pin(self.0.force(lease, how))
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        Box::pin(self.0.ping())
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        self.0.waits.listen(listener);
    }

    fn immediate(&self) -> Option<Arc<dyn Immediate>> {
        None
    }

    fn lifeline(&self) -> Option<Arc<OwnedFd>> {
        None
    }

    fn close(&self) -> Fut<'_, ()> {
        Box::pin(self.0.close())
    }
}
