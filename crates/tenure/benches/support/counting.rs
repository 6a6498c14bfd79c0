//! A provider that counts what is asked of the one behind it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tenure::claim::{Claim, Digest, LeaseId, Origin};
use tenure::lease::{Claimed, Ended, Kept, Page, Query};
use tenure::provider::{Caps, Force, Forced, Fut, Immediate, Keep, Listener, Load};
use tenure::{Provider, Result};

/// Counts calls. Offers no immediate way in, so that everything passes here.
#[derive(Debug)]
pub struct Counting {
    inner: Arc<dyn Provider>,
    origin: Option<Origin>,
    claims: AtomicU64,
    keeps: AtomicU64,
    kept: AtomicU64,
    ends: AtomicU64,
}

/// Calls so far.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    pub claims: u64,
    pub keeps: u64,
    /// Leases and places in all calls of `keep`.
    #[allow(dead_code, reason = "not every bench asks")]
    pub kept: u64,
    pub ends: u64,
}

impl Counting {
    pub fn over(inner: Arc<dyn Provider>) -> Counting {
        let zero = AtomicU64::default;
        Counting { inner, origin: None, claims: zero(), keeps: zero(), kept: zero(), ends: zero() }
    }

    /// Makes every lease one that ends unless it is renewed: in memory the local ones live as long as the process.
    #[allow(dead_code, reason = "not every bench needs it")]
    pub fn with_expiry(mut self) -> Counting {
        self.origin = Some(Origin::Remote);
        self
    }

    pub fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            claims: load(&self.claims),
            keeps: load(&self.keeps),
            kept: load(&self.kept),
            ends: load(&self.ends),
        }
    }
}

impl Provider for Counting {
    fn caps(&self) -> &Caps {
        self.inner.caps()
    }

    fn claim<'a>(&'a self, claims: &'a [Claim]) -> Fut<'a, Vec<Result<Claimed>>> {
        self.claims.fetch_add(1, Ordering::Relaxed);
        let Some(origin) = self.origin else {
            return self.inner.claim(claims);
        };
        let mut claims = claims.to_vec();
        claims.iter_mut().for_each(|claim| claim.origin = origin);
        Box::pin(async move { self.inner.claim(&claims).await })
    }

    fn keep<'a>(&'a self, keeps: &'a [Keep]) -> Fut<'a, Vec<Result<Kept>>> {
        self.keeps.fetch_add(1, Ordering::Relaxed);
        self.kept.fetch_add(keeps.len() as u64, Ordering::Relaxed);
        self.inner.keep(keeps)
    }

    fn end<'a>(&'a self, leases: &'a [LeaseId]) -> Fut<'a, Vec<Result<Ended>>> {
        self.ends.fetch_add(1, Ordering::Relaxed);
        self.inner.end(leases)
    }

    fn list<'a>(&'a self, query: &'a Query) -> Fut<'a, Result<Page>> {
        self.inner.list(query)
    }

    fn force<'a>(&'a self, lease: Digest, how: Force) -> Fut<'a, Result<Forced>> {
        self.inner.force(lease, how)
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        self.inner.ping()
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        self.inner.listen(listener);
    }

    fn load(&self) -> Load {
        self.inner.load()
    }

    fn immediate(&self) -> Option<Arc<dyn Immediate>> {
        None
    }

    fn lifeline(&self) -> Option<Arc<OwnedFd>> {
        self.inner.lifeline()
    }

    fn close(&self) -> Fut<'_, ()> {
        self.inner.close()
    }
}
