//! What happens to bookings: each change under its locks, and in one transaction.
//!
//! The order of locks is the same everywhere: the booking, then its driver, or both in one step where both are known. A driver is never
//! waited for while a booking is held, so nobody waits for anybody in a circle.

use std::collections::HashSet;
use std::sync::Arc;

use tenure::{Error, Locks, Result};

use crate::booking::{Booking, Candidate, Driver, DriverStatus, Status, User};
use crate::decimal::{Degrees, Hundredths};
use crate::geo::{Index, Nearby, Place};
use crate::locking::{Held, Locking, booking_lock, driver_lock};
use crate::store::{Action, Change, Changed, Done, Key, NewBooking, NewDriver, Refusal, Store, Tokens};

/// How many of the nearest drivers are asked for in one step.
const TRIED: usize = 5;
/// How many are looked up at a time: when all nearest are somebody else's by now, the next are at hand.
const LOOKED_UP: usize = 4 * TRIED;
/// How often a cancellation begins again when the booking was given to a driver meanwhile.
const TRIES: usize = 3;

type Answer = Result<Result<Done, Refusal>>;

/// Makes bookings and changes them.
///
/// # Errors
/// Of every method: `Unavailable` when the database could not be asked: whether it was done is then unknown, unless it has a [`Key`], with
/// which it may be asked for again.
///
/// # Cancel safety
/// Of every method: dropped, it is done as a whole or not at all, and its locks are given back.
#[derive(Debug)]
pub struct Dispatch {
    store: Arc<dyn Store>,
    index: Option<Arc<Index>>,
    /// Finds drivers.
    pub nearby: Nearby,
    /// The locks that changes are made under.
    pub locking: Locking,
}

impl Dispatch {
    /// Dispatches over this database and these locks, with an index of drivers where there is one.
    pub fn new(store: Arc<dyn Store>, locks: Locks, index: Option<Arc<Index>>) -> Self {
        let nearby = Nearby::new(Arc::clone(&store), index.clone());
        Dispatch { store, index, nearby, locking: Locking::new(locks) }
    }

    /// Writes down a booking that waits for its driver.
    pub async fn create(&self, asked: NewBooking, key: Option<Key>) -> Answer {
        self.store.create(asked, key).await
    }

    /// Gives a booking to the nearest driver who is free.
    pub async fn assign(&self, id: i64, key: Option<Key>) -> Answer {
        let name = booking_lock(id);
        let Some(held) = self.locking.all(std::slice::from_ref(&name)).await? else {
            return Ok(Err(Refusal::Locked(name)));
        };
        let done = held.run(self.find_driver(id, &held, key)).await;
        held.release().await;
        done.unwrap_or(Ok(Err(Refusal::Stale)))
    }

    /// Goes through the drivers near the pickup, the nearest first, until one is had or none is left.
    async fn find_driver(&self, id: i64, held: &Held, key: Option<Key>) -> Answer {
        let booking = match self.store.open(id, held.token()).await? {
            Ok(Some(booking)) if booking.status == Status::Pending => booking,
            // It may have been this very request, whose answer was lost.
            Ok(_) => return Ok(self.repeated(key.as_ref()).await?.unwrap_or(Err(Refusal::NotPending))),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let pickup = Place::of(booking.pickup_lat, booking.pickup_lng);
        let mut tried = HashSet::new();
        loop {
            let candidates = self.nearby.nearest(pickup, LOOKED_UP, &tried).await?;
            if candidates.is_empty() {
                let refusal = if tried.is_empty() { Refusal::NoDrivers } else { Refusal::AllBusy };
                return Ok(Err(refusal));
            }
            tried.extend(candidates.iter().map(|candidate| candidate.id));
            for nearest in candidates.chunks(TRIED) {
                match self.one_of(&booking, nearest, held, key.as_ref()).await? {
                    Err(Refusal::DriverTaken) => {}
                    answer => return Ok(answer),
                }
            }
        }
    }

    /// Gives the booking to one of these drivers whose lock is free, and who is online still under it.
    async fn one_of(
        &self,
        booking: &Booking,
        nearest: &[Candidate],
        held: &Held,
        key: Option<&Key>,
    ) -> Answer {
        let mut left = nearest.to_vec();
        while !left.is_empty() {
            let names: Vec<String> = left.iter().map(|candidate| driver_lock(candidate.id)).collect();
            let Some((driver_held, name)) = self.locking.any(&names).await? else { break };
            let Some(place) = names.iter().position(|known| *known == name) else { break };
            let candidate = left.remove(place);
            let tokens = held
                .token()
                .zip(driver_held.token())
                .map(|(booking, driver)| Tokens { booking, driver: Some((candidate.id, driver)) });
            let action = Action::Assign(candidate);
            let change = Change { booking: booking.id, action, tokens, key: key.cloned() };
            let changed = driver_held.run(self.store.change(change)).await;
            driver_held.release().await;
            match changed.unwrap_or(Ok(Err(Refusal::Stale)))? {
                Err(Refusal::DriverTaken) => {}
                answer => return Ok(answer.map(|changed| self.told(changed))),
            }
        }
        Ok(Err(Refusal::DriverTaken))
    }

    /// The driver agrees to a booking.
    pub async fn accept(&self, id: i64, driver: i64, key: Option<Key>) -> Answer {
        self.change(id, Some(driver), Action::Accept { driver }, key).await
    }

    /// A ride is over.
    pub async fn complete(&self, id: i64, driver: i64, fare: Hundredths, key: Option<Key>) -> Answer {
        self.change(id, Some(driver), Action::Complete { driver, fare }, key).await
    }

    /// A booking is not to take place.
    pub async fn cancel(&self, id: i64, reason: String, by: User, key: Option<Key>) -> Answer {
        for _ in 0..TRIES {
            let Some(known) = self.store.booking(id).await? else { return Ok(Err(Refusal::NoBooking)) };
            let action = Action::Cancel { reason: reason.clone(), by };
            match self.change(id, known.booking.driver_id, action, key.clone()).await? {
                Err(Refusal::Moved) => {}
                answer => return Ok(answer),
            }
        }
        Ok(Err(Refusal::Moved))
    }

    /// Makes a change under the locks on the booking and its driver, both taken in one step.
    async fn change(&self, id: i64, driver: Option<i64>, action: Action, key: Option<Key>) -> Answer {
        let names: Vec<String> = std::iter::once(booking_lock(id)).chain(driver.map(driver_lock)).collect();
        let Some(held) = self.locking.all(&names).await? else {
            return Ok(Err(Refusal::Locked(booking_lock(id))));
        };
        let tokens =
            held.token().map(|token| Tokens { booking: token, driver: driver.map(|driver| (driver, token)) });
        let changed = held.run(self.store.change(Change { booking: id, action, tokens, key })).await;
        held.release().await;
        let changed = changed.unwrap_or(Ok(Err(Refusal::Stale)))?;
        Ok(changed.map(|changed| self.told(changed)))
    }

    /// Writes down a driver.
    pub async fn add_driver(&self, asked: NewDriver, key: Option<Key>) -> Answer {
        let added = self.store.add_driver(asked, key).await?;
        Ok(added.map(|changed| self.told(changed)))
    }

    /// Says where a driver is.
    pub async fn move_driver(&self, id: i64, lat: Degrees, lng: Degrees) -> Result<Result<Driver, Refusal>> {
        Ok(self.store.move_driver(id, lat, lng).await?.inspect(|driver| self.tell(driver)))
    }

    /// Says whether a driver may be had.
    pub async fn set_status(&self, id: i64, status: DriverStatus) -> Result<Result<Driver, Refusal>> {
        Ok(self.store.set_status(id, status).await?.inspect(|driver| self.tell(driver)))
    }

    async fn repeated(&self, key: Option<&Key>) -> Result<Option<Result<Done, Refusal>>, Error> {
        match key {
            Some(key) => self.store.repeated(key).await,
            None => Ok(None),
        }
    }

    /// Tells the index of a change that was made.
    fn told(&self, changed: Changed) -> Done {
        if let Some(driver) = &changed.driver {
            self.tell(driver);
        }
        changed.done
    }

    fn tell(&self, driver: &Driver) {
        if let Some(index) = &self.index {
            index.tell(driver.clone());
        }
    }
}
