//! The mode *advisory*: session advisory locks on connections of this process.
//!
//! Between processes the server decides: a name is a lock of one session, which ends with its connection. Inside the process
//! the lease table decides (`desk.rs`, `settle.rs`), behind which the names that the server gave are *titles* (`title.rs`). What
//! callers ask gathers while the last answers are on their way, and goes together (`outbox.rs`, `flight.rs`). Waiters stand in
//! the server's queue on connections that hold nothing (`waits.rs`, `waiting.rs`); the rest is chores (`chores.rs`,
//! `directory.rs`).

mod chores;
mod claims;
mod desk;
mod directory;
mod flight;
mod line;
mod outbox;
mod settle;
mod shared;
mod title;
mod waiting;
mod waits;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use self::desk::Job;
use self::line::Line;
use self::shared::Shared;
use super::link::{Link, failed};
use super::url::Target;
use crate::claim::{Claim, Digest, LeaseId};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::lease::{Claimed, Ended, Kept, Page, Query};
use crate::provider::{Caps, Force, Forced, Fut, Immediate, Keep, Listener, Load, Order, Provider, Takeover};

/// How long [`Provider::close`] tries to end what is left.
const CLOSE: Duration = Duration::from_secs(2);

/// How often the server is asked for a session of its own, before it is believed that no pool stands before it.
const PROBES: usize = 3;

/// The provider of a database in the mode advisory.
#[derive(Debug)]
pub(super) struct Advisory {
    shared: Arc<Shared>,
    caps: Caps,
}

impl Advisory {
    /// Connects: `link` is the first connection, over which the store was found.
    ///
    /// # Errors
    /// `InvalidInput` behind a pool that gives one session to many clients, `Unavailable` when the server cannot be reached.
    pub(super) async fn connect(target: Target, clock: Clock, link: Link) -> Result<Self> {
        let shared = Shared::new(target, clock);
        let (control, news) = chores::open(&shared).await?;
        refuse_pools(&link, &control.link).await?;
        let sent = clock.now();
        let line = Line::over(link, &shared.target, shared.process).await?;
        *shared.control.lock().await = Some(control);
        shared.add_primary(sent, line);
        tokio::spawn(chores::run(Arc::clone(&shared), news));
        let mut caps = Caps::new("postgres");
        caps.strict = false;
        caps.outlives_process = false;
        caps.takeover = Takeover::AtOnce;
        caps.order = Order::Turns;
        caps.sees_others = false;
        caps.lag = directory::LAG;
        Ok(Advisory { shared, caps })
    }

    /// A connection that takes locks, where there is none now.
    async fn ready(&self) -> Result<()> {
        if self.shared.desk.lock().outbox.primaries() > 0 {
            return Ok(());
        }
        if self.shared.is_closed() || !chores::add_primary(&self.shared).await {
            return Err(shared::lost());
        }
        Ok(())
    }

    async fn claim_one(&self, claim: &Claim) -> Result<Claimed> {
        self.shared.ask(|reply| Job::Claim(claim.clone(), reply)).await?
    }
}

/// A pool in transaction mode gives the session of one client to others between transactions: a lock of it would be theirs.
async fn refuse_pools(one: &Link, other: &Link) -> Result<()> {
    let session = async |link: &Link, sql: &str| {
        let said = link.client.simple_query(sql).await.map_err(|error| failed("connect", &error))?;
        let row = said.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(ToOwned::to_owned),
            _ => None,
        });
        Ok::<_, Error>(row.unwrap_or_default())
    };
    const ASK: &str = "select pg_backend_pid()";
    let mine = session(one, ASK).await?;
    for _ in 0..PROBES {
        // While the other is inside a transaction it has a session to itself: is it mine?
        let theirs = session(other, "begin; select pg_backend_pid()").await?;
        let mine_still = session(one, ASK).await?;
        session(other, "commit").await?;
        if theirs == mine || mine_still != mine {
            let what = "a pool in transaction mode stands before the server, where session locks are given to others; connect \
                to the server itself, or to a pool in session mode, or keep this database in mode=rows";
            return Err(Error::invalid("url", what));
        }
    }
    Ok(())
}

impl Drop for Advisory {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Provider for Advisory {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn claim<'a>(&'a self, claims: &'a [Claim]) -> Fut<'a, Vec<Result<Claimed>>> {
        Box::pin(async move {
            if let Err(error) = self.ready().await {
                return claims.iter().map(|_| Err(error.twin())).collect();
            }
            match claims {
                [claim] => vec![self.claim_one(claim).await],
                claims => {
                    futures_util::future::join_all(claims.iter().map(|claim| self.claim_one(claim))).await
                }
            }
        })
    }

    fn keep<'a>(&'a self, keeps: &'a [Keep]) -> Fut<'a, Vec<Result<Kept>>> {
        Box::pin(self.shared.keep(keeps))
    }

    fn end<'a>(&'a self, leases: &'a [LeaseId]) -> Fut<'a, Vec<Result<Ended>>> {
        Box::pin(async move {
            match leases {
                [lease] => vec![self.shared.end(*lease).await],
                leases => {
                    futures_util::future::join_all(leases.iter().map(|lease| self.shared.end(*lease))).await
                }
            }
        })
    }

    fn list<'a>(&'a self, query: &'a Query) -> Fut<'a, Result<Page>> {
        Box::pin(directory::list(&self.shared, query))
    }

    fn force<'a>(&'a self, lease: Digest, how: Force) -> Fut<'a, Result<Forced>> {
        Box::pin(directory::force(&self.shared, lease, how))
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        Box::pin(async move { chores::query(&self.shared, "select clock_timestamp()", &[]).await.map(drop) })
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        self.shared.listen(listener);
    }

    fn load(&self) -> Load {
        let lines = self.shared.desk.lock().outbox.slots().count() as u64;
        Load { active_connections: lines + 1, ..Load::default() }
    }

    fn immediate(&self) -> Option<Arc<dyn Immediate>> {
        None
    }

    fn lifeline(&self) -> Option<Arc<OwnedFd>> {
        None
    }

    fn close(&self) -> Fut<'_, ()> {
        Box::pin(async move {
            let left: Vec<LeaseId> = self.shared.desk.lock().table.all().map(|(id, _)| *id).collect();
            if !left.is_empty() && tokio::time::timeout(CLOSE, self.end(&left)).await.is_err() {
                tracing::debug!(left = left.len(), "leases were left to the end of their connections");
            }
            self.shared.close();
        })
    }
}
