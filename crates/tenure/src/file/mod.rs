//! Locks between the processes of one host that share a directory, with no daemon.
//!
//! An embedded database holds leases, queues and counters; `memory/table.rs` decides each step, on the part of the
//! database that the step is about. A kernel lock in front of it lets processes in by turns. Each process keeps a
//! named pipe open, by which the kernel tells the others at once that it died. A release is pushed to the next waiting
//! process over a Unix socket.
//!
//! Not for network file systems: the kernel that arbitrates is that of one host. Not where microseconds count: a
//! lease costs a commit (some 100 µs); inside one process use [`memory`](crate::memory).
//!
//! # What it cannot do
//! It needs Linux: `/proc`, and a kernel that tells when a named pipe lost its last writer.
//!
//! A process that is stopped (SIGSTOP) in the very middle of a step, some 100 µs, stops the store until it goes on or
//! is killed: everybody else gets `Unavailable` after 4 s.

mod desk;
mod ear;
mod fault;
mod gate;
mod layout;
mod mirror;
mod notice;
mod request;
mod rows;
mod seats;
mod steps;
mod store;
mod worker;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::fault::Fault;
use self::request::Request;
use self::store::Store;
use crate::claim::{Claim, Digest, LeaseId};
use crate::clock::Clock;
use crate::error::Result;
use crate::lease::{Claimed, Ended, Kept, Page, Query};
use crate::provider::{Caps, Force, Forced, Fut, Immediate, Keep, Listener, Load, Provider};

/// The file provider: a directory of locks. Clones are the same provider.
///
/// Fair between processes: first come, first served. Local leases end with the process at once, also when it is
/// killed; remote leases outlive it. Fencing tokens rise also over a crash of the machine.
///
/// To drop the last clone ends the provider as the death of its process would; [`close`](Provider::close) is the
/// tidier way.
#[derive(Debug, Clone)]
pub struct File(Arc<Store>);

impl File {
    /// Opens the store in `directory`, and makes it when there is none: a directory for its owner alone.
    ///
    /// `clock` must be the same for all who have the store open at one time, as the machine's clock is.
    ///
    /// # Errors
    /// `InvalidInput` when `directory` is not a directory, or has a database that is not a store of this version.
    /// `Unavailable` when it may not be written, is damaged, or did not answer in time.
    ///
    /// # Cancel safety
    /// May be dropped at any time; the store is then opened and left again.
    pub async fn open(directory: impl AsRef<Path>, clock: Clock) -> Result<Self> {
        let directory = directory.as_ref().to_owned();
        let opened = match layout::boot_id() {
            Ok(boot) => File::open_in_boot(directory, clock, boot).await,
            Err(fault) => Err(Arc::new(fault)),
        };
        opened.map_err(|fault| fault.to_error("open"))
    }

    async fn open_in_boot(directory: PathBuf, clock: Clock, boot: String) -> Result<Self, Arc<Fault>> {
        let opening = tokio::task::spawn_blocking(move || Store::open(&directory, clock, &boot));
        let opened = tokio::time::timeout(desk::WITHIN, opening).await.map_err(|_| desk::late())?;
        Ok(File(opened.map_err(|_| Fault::Abandoned)??))
    }
}

impl Provider for File {
    fn caps(&self) -> &Caps {
        &self.0.caps
    }

    fn claim<'a>(&'a self, claims: &'a [Claim]) -> Fut<'a, Vec<Result<Claimed>>> {
        Box::pin(async move {
            match self.0.ask(claims.to_vec(), Request::Claim).await {
                Ok(answers) => answers,
                Err(fault) => claims.iter().map(|_| Err(fault.to_error("claim"))).collect(),
            }
        })
    }

    fn keep<'a>(&'a self, keeps: &'a [Keep]) -> Fut<'a, Vec<Result<Kept>>> {
        Box::pin(async move {
            match self.0.ask(keeps.to_vec(), Request::Keep).await {
                Ok(answers) => answers.into_iter().map(Ok).collect(),
                Err(fault) => keeps.iter().map(|_| Err(fault.to_error("keep"))).collect(),
            }
        })
    }

    fn end<'a>(&'a self, leases: &'a [LeaseId]) -> Fut<'a, Vec<Result<Ended>>> {
        Box::pin(async move {
            match self.0.ask(leases.to_vec(), Request::End).await {
                Ok(answers) => answers.into_iter().map(Ok).collect(),
                Err(fault) => leases.iter().map(|_| Err(fault.to_error("end"))).collect(),
            }
        })
    }

    fn list<'a>(&'a self, query: &'a Query) -> Fut<'a, Result<Page>> {
        Box::pin(async move {
            let (store, query) = (Arc::clone(&self.0), query.clone());
            let listed = tokio::task::spawn_blocking(move || store.list(&query).map_err(Arc::new)).await;
            listed.unwrap_or_else(|_| Err(Arc::new(Fault::Abandoned))).map_err(|fault| fault.to_error("list"))
        })
    }

    fn force<'a>(&'a self, lease: Digest, how: Force) -> Fut<'a, Result<Forced>> {
        Box::pin(async move {
            self.0.ask((lease, how), Request::Force).await.map_err(|fault| fault.to_error("force"))
        })
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        Box::pin(async { self.0.ask((), Request::Ping).await.map_err(|fault| fault.to_error("ping")) })
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        self.0.listeners.write().push(listener);
    }

    fn load(&self) -> Load {
        self.0.load()
    }

    fn immediate(&self) -> Option<Arc<dyn Immediate>> {
        None
    }

    fn lifeline(&self) -> Option<Arc<OwnedFd>> {
        Some(Arc::clone(&self.0.live))
    }

    fn close(&self) -> Fut<'_, ()> {
        Box::pin(async {
            // When the store cannot be reached, the end of the process does what is left.
            let _ = self.0.ask((), Request::Close).await;
        })
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod twins;
