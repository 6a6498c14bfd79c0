//! The other process: the parent's side of it, and its own.

use std::io::BufRead as _;
use std::sync::Arc;

use tenure::{Clock, Guard, Locks, Settings};
use tenure_testkit::{Relay, Step};

use crate::NAME;
use crate::child::Child;
use crate::clock::now;

/// The other process, as the parent commands it.
pub struct Waiter(Child);

impl Waiter {
    pub fn start(url: &str) -> Waiter {
        Waiter(Child::start(&[url]))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Tells it to acquire the lock; it goes on by itself.
    pub fn want(&mut self) {
        self.0.order("want");
    }

    /// Waits until it has the lock; when that was.
    pub fn granted(&mut self) -> u64 {
        self.0.answer().parse().unwrap()
    }

    /// Tells it to release, and waits for that.
    pub fn release(&mut self) {
        self.0.order("release");
        self.0.answer();
    }

    /// Its calls so far: claims, keeps, ends.
    pub fn calls(&mut self) -> [u64; 3] {
        self.0.order("calls");
        let line = self.0.answer();
        let mut numbers = line.split(' ').map(|number| number.parse().unwrap());
        std::array::from_fn(|_| numbers.next().unwrap())
    }
}

/// What the other process does: obeys until its input ends.
pub fn run(url: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Locks::connect(url).await.unwrap();
        let (provider, wire) = Relay::over(Arc::clone(store.provider()), Clock::system());
        let locks = Locks::over(provider, Settings::default());
        let mut held: Option<Guard> = None;
        // Reading blocks this thread, and nothing else is to be done here between two orders.
        for order in std::io::stdin().lock().lines() {
            match order.unwrap().as_str() {
                "want" => {
                    held = Some(locks.lock(NAME).acquire().await.unwrap());
                    println!("{}", now());
                }
                "release" => {
                    held.take().unwrap().release().await.unwrap();
                    println!("released");
                }
                "calls" => {
                    let [claims, keeps, ends] =
                        [Step::Claim, Step::Keep, Step::End].map(|step| wire.trips(step));
                    println!("{claims} {keeps} {ends}");
                }
                _ => break,
            }
        }
    });
}
