//! All ways to withdraw, ours and the bare ones, at one store.

use std::sync::Arc;

use bank::wallets::{Amount, Order, Outcome, Redis, Teller, UserId, Withdrawal};
use tenure::Locks;

use crate::raw::Raw;

pub const ATOMIC: usize = 0;
pub const OPTIMISTIC: usize = 1;
pub const LOCKED: usize = 2;
/// Ours, and then the bare ones in the same order.
pub const WAYS: usize = 6;
pub const NAMES: [&str; 3] = ["atomic step", "optimistic", "under the lock"];

/// What there is at first: enough for any run, and below 2^53, above which the bare script would answer with another number.
const FULL: i64 = 1 << 52;

pub struct Ways {
    teller: Teller,
    orders: Vec<Order>,
    raw: Raw,
}

/// One withdrawal: whether it was done, and how many attempts came to nothing.
pub struct Tried {
    pub is_done: bool,
    pub retries: u64,
}

impl Ways {
    /// With connections for so many tasks. Lives as long as the program.
    pub async fn make(url: &str, tasks: usize) -> &'static Ways {
        let wallets = Arc::new(Redis::open(url, "ours").unwrap());
        let locks = Locks::connect(url).await.unwrap();
        let order = |user: usize| Order {
            user: UserId::new(format!("user-{user}")).unwrap(),
            amount: Amount::new(1).unwrap(),
            key: None,
        };
        let orders = (0..1_000).map(order).collect();
        let raw = Raw::make(url, tasks).await;
        Box::leak(Box::new(Ways { teller: Teller::new(wallets, locks, 20), orders, raw }))
    }

    /// Fills the wallets of so many users, on both sides.
    pub async fn fill(&self, users: usize) {
        for (user, order) in self.orders.iter().enumerate().take(users) {
            self.teller.init(&order.user, FULL, None).await.unwrap();
            self.raw.fill(user, FULL).await;
        }
    }

    pub async fn withdraw(&self, way: usize, task: usize, user: usize) -> Tried {
        let order = &self.orders[user];
        let retries = match way {
            ATOMIC => return tried(self.teller.atomic(order).await.unwrap()),
            OPTIMISTIC => return tried(self.teller.optimistic(order).await.unwrap()),
            LOCKED => return tried(self.teller.locked(order).await.unwrap()),
            3 => self.raw.script(task, user).await,
            4 => self.raw.watch(task, user).await,
            _ => self.raw.lock(task, user).await,
        };
        Tried { is_done: true, retries }
    }
}

fn tried(withdrawal: Withdrawal) -> Tried {
    let retries = u64::from(withdrawal.attempts.saturating_sub(1));
    Tried { is_done: matches!(withdrawal.outcome, Outcome::Done { .. }), retries }
}
