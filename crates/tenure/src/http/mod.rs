//! A client of `tenure serve`: the provider contract over the server's HTTP API.
//!
//! A step is one request, whatever its number of elements, over connections that are kept alive. One stream of events
//! (`ear.rs`) tells what happens to claims and leases. What is sent and read is put into words in `words.rs`, and sent in
//! `line.rs`. Nothing is retried here: an error leaves the outcome unknown, and the engine settles it by lease id.

mod ear;
mod line;
mod words;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tenure_wire::{AcquireRequest, BatchRequest, Leases, ReleaseRequest, RenewRequest, Waiters};

use self::ear::Ear;
use self::line::{Line, Reply, Verb};
use crate::claim::{Claim, Digest, LeaseId};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Claimed, Ended, Kept, Kind, Page, Query};
use crate::provider::{Caps, Force, Forced, Fut, Immediate, Keep, Listener, Load, Provider};

/// Requests of one trip at the most, and the bytes of names and metadata in it: well within the server's limits.
const BATCH: (usize, usize) = (500, 96 * 1024);

/// How long [`Provider::close`] tries to end what is left.
const CLOSE: Duration = Duration::from_secs(2);

/// The provider of `http://host:port`: a client of `tenure serve`.
///
/// Its leases are bound to their lease ids at the server, so those of a process that died end with their ttl.
/// What the server's store can do beyond that is not known here, and so not promised by its capabilities.
#[derive(Debug)]
pub struct Http {
    line: Arc<Line>,
    ear: Arc<Ear>,
    clock: Clock,
    caps: Caps,
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
        let line = Arc::new(Line::new(url)?);
        Ok(Http { ear: Ear::new(Arc::clone(&line)), line, clock, caps })
    }

    async fn claim_all(&self, claims: &[Claim]) -> Vec<Result<Claimed>> {
        self.ear.start();
        if claims.iter().any(|claim| claim.wait) {
            self.ear.listening().await;
        }
        let mut answers = Vec::with_capacity(claims.len());
        for part in parts(claims, weight) {
            let sent = self.clock.now();
            part.iter().for_each(|claim| self.ear.expect(claim, sent));
            let body = |claim: &Claim| words::acquire(claim, self.ear.listener);
            let replies = match part {
                [claim] => vec![self.line.send(Verb::Post("v1/acquire"), Some(&body(claim))).await],
                _ => self.batch(part.iter().map(body).collect(), Vec::new(), Vec::new()).await,
            };
            for (claim, reply) in part.iter().zip(replies) {
                let claimed = reply.and_then(|reply| words::claimed(&reply, sent));
                match &claimed {
                    Ok(Claimed::Queued(_)) => self.ear.still_waits(claim.lease, sent),
                    Ok(Claimed::Busy(_)) => self.ear.forget(claim.lease),
                    Err(error) if error.kind() == ErrorKind::InvalidInput => self.ear.forget(claim.lease),
                    // One without an answer may be held: it is known until it is ended.
                    Ok(Claimed::Granted(_)) | Err(_) => {}
                }
                answers.push(claimed);
            }
        }
        answers
    }

    async fn keep_all(&self, keeps: &[Keep]) -> Vec<Result<Kept>> {
        let mut answers = Vec::with_capacity(keeps.len());
        for part in parts(keeps, |_| 0) {
            let sent = self.clock.now();
            let replies = match part {
                [keep] => vec![self.line.send(Verb::Post("v1/renew"), Some(&words::renew(keep))).await],
                _ => self.batch(Vec::new(), part.iter().map(words::renew).collect(), Vec::new()).await,
            };
            for (keep, reply) in part.iter().zip(replies) {
                let kept = reply.and_then(|reply| words::kept(&reply, sent));
                match &kept {
                    Ok(Kept::Queued(_)) => self.ear.still_waits(keep.lease, sent),
                    Ok(Kept::Gone(_)) => self.ear.forget(keep.lease),
                    Ok(Kept::Held(_)) | Err(_) => {}
                }
                answers.push(kept);
            }
        }
        answers
    }

    async fn end_all(&self, leases: &[LeaseId]) -> Vec<Result<Ended>> {
        let mut answers = Vec::with_capacity(leases.len());
        for part in parts(leases, |_| 0) {
            let replies = match part {
                [lease] => {
                    vec![self.line.send(Verb::Post("v1/release"), Some(&words::release(*lease))).await]
                }
                _ => {
                    let releases = part.iter().copied().map(words::release).collect();
                    self.batch(Vec::new(), Vec::new(), releases).await
                }
            };
            for (lease, reply) in part.iter().zip(replies) {
                let ended = reply.and_then(|reply| words::ended(&reply));
                if ended.is_ok() {
                    self.ear.forget(*lease);
                }
                answers.push(ended);
            }
        }
        answers
    }

    /// One trip for many requests; when it fails, it failed for each.
    async fn batch(
        &self,
        acquire: Vec<AcquireRequest>,
        renew: Vec<RenewRequest>,
        release: Vec<ReleaseRequest>,
    ) -> Vec<Result<Reply>> {
        let count = acquire.len() + renew.len() + release.len();
        let body = BatchRequest { acquire, renew, release };
        match self.line.send_batch(&body, count).await {
            Ok(replies) => replies.into_iter().map(Ok).collect(),
            Err(error) => (0..count).map(|_| Err(error.twin())).collect(),
        }
    }

    async fn list_all(&self, query: &Query) -> Result<Page> {
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

    async fn force_one(&self, lease: Digest, how: Force) -> Result<Forced> {
        let path = match how {
            Force::Revoke => format!("v1/leases/{lease}"),
            Force::Now => format!("v1/leases/{lease}?now=true"),
        };
        let reply = self.line.send::<()>(Verb::Delete(&path), None).await?;
        match reply.status {
            202 => Ok(Forced::Asked),
            204 => Ok(Forced::Ended),
            404 if reply.is_problem("not-found") => Ok(Forced::NotFound),
            _ => Err(words::refusal("force", &reply)),
        }
    }

    async fn ask(&self) -> Result<()> {
        let reply = self.line.send::<()>(Verb::Get("health/ready"), None).await?;
        match reply.status {
            200 => Ok(()),
            status => Err(Error::unavailable("ping", format!("the server is not ready status={status}"))),
        }
    }

    async fn shut(&self) {
        self.ear.stop();
        let left = self.ear.clear();
        // Whatever cannot be ended now ends with its ttl.
        if !left.is_empty() && tokio::time::timeout(CLOSE, self.end_all(&left)).await.is_err() {
            tracing::debug!(left = left.len(), "leases were left to their ttl");
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.ear.stop();
    }
}

/// Cuts elements into parts of one trip each, in their order.
fn parts<T>(all: &[T], weight: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = all;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let mut fits = |element: &T| {
            bytes += weight(element);
            bytes <= BATCH.1
        };
        // An element that is too heavy for a batch goes by itself.
        let count = rest.iter().take(BATCH.0).take_while(|element| fits(element)).count().max(1);
        let (part, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(part)
    })
}

/// About how many bytes of a body a claim takes.
fn weight(claim: &Claim) -> usize {
    let names: usize = claim.names.iter().map(|name| name.as_str().len() + 4).sum();
    let meta = claim.meta.iter().flat_map(|meta| meta.iter());
    names + meta.map(|(key, value)| key.len() + value.len() + 8).sum::<usize>() + claim.replaces.len() * 40
}

impl Provider for Http {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn claim<'a>(&'a self, claims: &'a [Claim]) -> Fut<'a, Vec<Result<Claimed>>> {
        Box::pin(self.claim_all(claims))
    }

    fn keep<'a>(&'a self, keeps: &'a [Keep]) -> Fut<'a, Vec<Result<Kept>>> {
        Box::pin(self.keep_all(keeps))
    }

    fn end<'a>(&'a self, leases: &'a [LeaseId]) -> Fut<'a, Vec<Result<Ended>>> {
        Box::pin(self.end_all(leases))
    }

    fn list<'a>(&'a self, query: &'a Query) -> Fut<'a, Result<Page>> {
        Box::pin(self.list_all(query))
    }

    fn force<'a>(&'a self, lease: Digest, how: Force) -> Fut<'a, Result<Forced>> {
        Box::pin(self.force_one(lease, how))
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        Box::pin(self.ask())
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        self.ear.listen(listener);
    }

    /// Requests are bounded by the server alone; each that is in flight has a connection of its own.
    fn load(&self) -> Load {
        let in_flight = self.line.in_flight();
        Load { in_flight, active_connections: in_flight, ..Load::default() }
    }

    fn immediate(&self) -> Option<Arc<dyn Immediate>> {
        None
    }

    fn lifeline(&self) -> Option<Arc<OwnedFd>> {
        None
    }

    fn close(&self) -> Fut<'_, ()> {
        Box::pin(self.shut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_every_element_in_order_and_are_bounded() {
        let all: Vec<usize> = (0..1_234).collect();
        let cut: Vec<&[usize]> = parts(&all, |_| 0).collect();
        assert_eq!(cut.concat(), all);
        assert!(cut.iter().all(|part| part.len() <= BATCH.0));
        let heavy = [BATCH.1 + 1, 1, BATCH.1, 1];
        let cut: Vec<&[usize]> = parts(&heavy, |bytes| *bytes).collect();
        assert_eq!(cut, [&heavy[..1], &heavy[1..2], &heavy[2..3], &heavy[3..]]);
        assert_eq!(parts(&all[..0], |_| 0).count(), 0);
    }
}
