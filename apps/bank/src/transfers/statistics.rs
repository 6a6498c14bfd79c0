//! How long the locks on accounts were waited for and held, by account.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// How many accounts are kept track of; beyond that new ones are not.
const TRACKED: usize = 100_000;
/// From what wait on a lock counts as contended: longer than a trip to a store of locks takes.
const CONTENDED: Duration = Duration::from_millis(5);

/// What is known of the locks on accounts. It watches: clearing it frees no lock, and gives nobody one.
#[derive(Debug, Default)]
pub struct LockStatistics {
    accounts: Mutex<HashMap<Arc<str>, Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    lock: AccountLock,
    /// Whether it was used since the last clean-up.
    is_fresh: bool,
}

/// The lock on one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountLock {
    /// How often it was acquired.
    pub acquired: u64,
    /// How often it was not free in time.
    pub timeouts: u64,
    /// How often it was waited for, longer than a free lock takes (5 ms).
    pub contended: u64,
    /// How long it was waited for, together.
    pub wait: Duration,
    /// How long it was held, together.
    pub hold: Duration,
}

impl LockStatistics {
    pub(super) fn waited(&self, accounts: &[Arc<str>], wait: Duration, is_acquired: bool) {
        self.change(accounts, |lock| {
            lock.wait += wait;
            lock.acquired += u64::from(is_acquired);
            lock.timeouts += u64::from(!is_acquired);
            lock.contended += u64::from(wait > CONTENDED);
        });
    }

    pub(super) fn held(&self, accounts: &[Arc<str>], hold: Duration) {
        self.change(accounts, |lock| lock.hold += hold);
    }

    fn change(&self, accounts: &[Arc<str>], change: impl Fn(&mut AccountLock)) {
        let mut kept = self.accounts.lock();
        for id in accounts {
            if kept.len() >= TRACKED && !kept.contains_key(id) {
                continue;
            }
            let kept = kept.entry(Arc::clone(id)).or_default();
            kept.is_fresh = true;
            change(&mut kept.lock);
        }
    }

    /// What is known of the lock on an account.
    pub fn of(&self, account: &str) -> Option<AccountLock> {
        self.accounts.lock().get(account).map(|kept| kept.lock)
    }

    /// How many accounts are kept track of.
    pub fn tracked(&self) -> usize {
        self.accounts.lock().len()
    }

    /// Forgets the accounts whose lock nobody has asked for since the last call, and tells how many those were.
    pub fn clean(&self) -> usize {
        let mut kept = self.accounts.lock();
        let before = kept.len();
        kept.retain(|_, kept| std::mem::take(&mut kept.is_fresh));
        before - kept.len()
    }
}
