//! What a request asks for, and on the immediate way what its guard holds then: one slip, which each thread keeps for its
//! next request.
//!
//! A guard owns a reference to its store. Were it cloned and dropped each time, tasks on several cores would meet at one
//! reference count, which costs more than the lock itself. A thread keeps one, with its allocations, also of a store that is
//! otherwise gone, until it takes locks of another one or ends.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use crate::claim::{Meta, Mode, Pick};
use crate::error::{Error, Result};
use crate::name::Names;
use crate::provider::{Immediate, Ticket};
use crate::token::FencingToken;

/// Names that are asked for or were taken at once. Boxed, and written where it stays: requests and guards are moved so often
/// that a copy of a name each time would cost more than the lock.
#[derive(Debug)]
pub(crate) struct Slip {
    store: Option<Arc<dyn Immediate>>,
    /// Those of an earlier request until they are written.
    names: Option<Names>,
    /// Of no meaning before the names are taken.
    ticket: Ticket,
    /// What most requests have not.
    more: Option<Box<More>>,
}

/// What makes a request other than an exclusive one for all of its names with the usual ttl.
#[derive(Debug)]
pub(crate) struct More {
    /// That of the locks, if it is none of its own.
    pub(crate) ttl: Option<Duration>,
    /// As the locks are set, if it does not say.
    pub(crate) sticky: Option<bool>,
    pub(crate) mode: Mode,
    pub(crate) pick: Pick,
    pub(crate) linger: Duration,
    pub(crate) holder: Vec<(String, String)>,
    pub(crate) wrong: Option<Error>,
}

thread_local! {
    static SPARE: Cell<Option<Box<Slip>>> = const { Cell::new(None) };
}

impl Slip {
    /// A slip for names of `store`, where that is in this process, which `write` writes over those that are there.
    #[inline]
    pub(crate) fn write(
        store: Option<&Arc<dyn Immediate>>,
        write: impl FnOnce(&mut Option<Names>) -> Result<()>,
    ) -> Box<Self> {
        let mut slip = match SPARE.try_with(Cell::take) {
            Ok(Some(spare)) => spare,
            _ => Slip::blank(),
        };
        if store.is_some_and(|store| !slip.is_of(store)) {
            slip.store = store.cloned();
        }
        if let Err(error) = write(&mut slip.names) {
            slip.names = None;
            slip.wrong(error);
        }
        slip
    }

    #[cold]
    fn blank() -> Box<Self> {
        let ticket = Ticket { token: FencingToken::MAX, hint: 0 };
        Box::new(Slip { store: None, names: None, ticket, more: None })
    }

    #[inline]
    fn is_of(&self, store: &Arc<dyn Immediate>) -> bool {
        self.store.as_ref().is_some_and(|own| std::ptr::addr_eq(Arc::as_ptr(own), Arc::as_ptr(store)))
    }

    /// The names.
    #[inline]
    pub(crate) fn names(&self) -> &Names {
        self.names.as_ref().expect("a request that was wrong is not taken")
    }

    /// What is asked for beside the names.
    pub(crate) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// The first thing that is wrong with a request is what its verb reports.
    #[cold]
    pub(crate) fn wrong(&mut self, error: Error) {
        self.more().wrong.get_or_insert(error);
    }

    /// Whether all that it asks for beside the names is a ttl, or that the lease stays: nothing to a lock that does not expire.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.more.as_ref().is_none_or(|more| more.is_plain())
    }

    /// The ttl and the stickiness that are asked for, where they are.
    #[inline]
    pub(crate) fn terms(&self) -> (Option<Duration>, Option<bool>) {
        self.more.as_ref().map_or((None, None), |more| (more.ttl, more.sticky))
    }

    /// What is asked for; the slip is left for another request.
    pub(crate) fn read(mut self: Box<Self>) -> (Option<Names>, More) {
        let asked = (self.names.take(), self.more.take().map(|more| *more).unwrap_or_default());
        self.keep();
        asked
    }

    /// Takes the names at the store; whether they were free.
    #[inline]
    pub(crate) fn take(&mut self, meta: Option<&Arc<Meta>>) -> bool {
        let taken = self.store().take(self.names(), meta);
        if let Some(ticket) = taken {
            self.ticket = ticket;
        }
        taken.is_some()
    }

    /// Gives the names back; whether they were still held.
    #[inline]
    pub(super) fn give(self: Box<Self>) -> bool {
        let held = self.store().give(self.names(), self.ticket);
        self.keep();
        held
    }

    /// Whether the names are still held.
    pub(super) fn is_held(&self) -> bool {
        self.store().holds(self.names(), self.ticket)
    }

    /// Resolves when the names were forced from their holder.
    pub(super) async fn forced(&self) {
        self.store().forced(self.names(), self.ticket).await;
    }

    /// The token under which the names are held.
    pub(super) fn token(&self) -> FencingToken {
        self.ticket.token
    }

    #[inline]
    fn store(&self) -> &dyn Immediate {
        self.store.as_deref().expect("only names of a store in this process are taken")
    }

    /// Leaves it for the next request of this thread. A thread that is ending keeps none.
    #[inline]
    pub(crate) fn keep(mut self: Box<Self>) {
        self.more = None;
        let _ = SPARE.try_with(|spare| spare.set(Some(self)));
    }
}

impl Default for More {
    fn default() -> Self {
        More {
            ttl: None,
            sticky: None,
            mode: Mode::Exclusive,
            pick: Pick::All,
            linger: Duration::ZERO,
            holder: Vec::new(),
            wrong: None,
        }
    }
}

impl More {
    fn is_plain(&self) -> bool {
        let More { ttl: _, sticky: _, mode, pick, linger, holder, wrong } = self;
        let usual = *mode == Mode::Exclusive && *pick == Pick::All && linger.is_zero();
        usual && holder.is_empty() && wrong.is_none()
    }
}
