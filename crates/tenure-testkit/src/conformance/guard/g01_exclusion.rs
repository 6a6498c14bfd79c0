//! G1 for guards: two that exclude each other are never both held.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tenure::{Guard, Locks, Result};

use crate::seed::seed;
use crate::stand::Stage;

/// Tasks of several processes add to a counter that only the lock protects: no update is lost, and the tokens that the
/// counter sees strictly rise.
pub async fn an_unprotected_counter_under_a_lock_loses_nothing(stage: Stage) {
    let (value, last) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let rounds = stage.rounds(100);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let locks = stage.locks().await;
        for _ in 0..8 {
            let (locks, value, last) = (locks.clone(), Arc::clone(&value), Arc::clone(&last));
            tasks.spawn(async move {
                for _ in 0..rounds {
                    let guard = locks.lock("counter").acquire().await.unwrap();
                    let token = guard.token().get();
                    assert!(last.swap(token, Ordering::SeqCst) < token, "the tokens do not rise");
                    let read = value.load(Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    value.store(read + 1, Ordering::SeqCst);
                    assert!(!guard.is_lost());
                    drop(guard);
                }
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(value.load(Ordering::SeqCst), 32 * rounds as u64);
}

/// Random requests of every kind from tasks of three processes, against a ledger of who holds what.
pub async fn no_two_guards_that_exclude_each_other_are_ever_held(stage: Stage) {
    let (seed, ledger, rounds) = (seed(), Arc::new(Ledger::default()), stage.rounds(200));
    let mut tasks = tokio::task::JoinSet::new();
    for process in 0..3_u64 {
        let locks = stage.locks().await;
        for task in 0..5_u64 {
            let rng = StdRng::seed_from_u64(seed ^ (process << 8 | task));
            tasks.spawn(hammer(locks.clone(), Arc::clone(&ledger), rng, rounds));
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert!(*ledger.grants.lock() > rounds, "the test is not vacuous");
    stage.quiet(&stage.client().await, Duration::from_secs(5)).await;
}

async fn hammer(locks: Locks, ledger: Arc<Ledger>, mut rng: StdRng, rounds: usize) {
    for _ in 0..rounds {
        let patience = Duration::from_millis(rng.random_range(0..200));
        let (units, guard): (u32, Result<Option<Guard>>) = match rng.random_range(0..6) {
            0 => (1, locks.lock_shared("a").try_acquire_for(patience).await),
            1 => (ALL, locks.lock_all(["b", "a"]).try_acquire_for(patience).await),
            2 => (ALL, locks.lock_any(["c", "a", "b"]).try_acquire_for(patience).await),
            3 => (ALL / 2, locks.permit("p", 2).try_acquire_for(patience).await),
            4 => (ALL, locks.lock("b").try_acquire().await),
            _ => (ALL, locks.lock("a").try_acquire_for(patience).await),
        };
        let Some(guard) = guard.unwrap() else { continue };
        ledger.enter(units, &guard);
        for _ in 0..rng.random_range(0..3) {
            tokio::task::yield_now().await;
        }
        ledger.leave(units, &guard);
        if rng.random_bool(0.5) {
            guard.release().await.unwrap();
        }
    }
}

/// Who holds what: per name the sum of what is taken, in units of which a name has `ALL`.
#[derive(Default)]
struct Ledger {
    taken: Mutex<HashMap<String, u32>>,
    grants: Mutex<usize>,
}

const ALL: u32 = 1_000;

impl Ledger {
    fn enter(&self, units: u32, guard: &Guard) {
        *self.grants.lock() += 1;
        for name in guard.names() {
            let mut taken = self.taken.lock();
            let sum = taken.entry(name.to_string()).or_default();
            *sum += units;
            assert!(*sum <= ALL, "two holders of {name}");
        }
    }

    fn leave(&self, units: u32, guard: &Guard) {
        for name in guard.names() {
            *self.taken.lock().get_mut(name.as_str()).unwrap() -= units;
        }
    }
}

/// What each kind of request excludes, between two processes.
pub async fn each_kind_of_lock_excludes_what_it_must(stage: Stage) {
    let (a, b) = (stage.locks().await, stage.locks().await);
    let held = a.lock("x").acquire().await.unwrap();
    for locks in [&a, &b] {
        assert!(locks.lock("x").try_acquire().await.unwrap().is_none());
        assert!(locks.lock_shared("x").try_acquire().await.unwrap().is_none());
        assert!(locks.lock_all(["w", "x"]).try_acquire().await.unwrap().is_none());
        let each = locks.lock_each(["w", "x", "y"]).try_acquire().await.unwrap();
        assert_eq!(each.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
        for guard in each.into_iter().flatten() {
            guard.release().await.unwrap();
        }
        let any = locks.lock_any(["x", "y"]).try_acquire().await.unwrap().unwrap();
        assert_eq!(any.names().to_string(), "y");
        any.release().await.unwrap();
    }
    held.release().await.unwrap();
    let readers = [a.lock_shared("x").acquire().await.unwrap(), b.lock_shared("x").acquire().await.unwrap()];
    assert!(b.lock("x").try_acquire().await.unwrap().is_none());
    drop(readers);
    let permits =
        [a.permit("p", 3).take(2).acquire().await.unwrap(), b.permit("p", 3).acquire().await.unwrap()];
    assert!(b.permit("p", 3).try_acquire().await.unwrap().is_none());
    drop(permits);
    assert!(a.permit("p", 3).take(3).try_acquire_for(stage.slack()).await.unwrap().is_some());
}

/// With `hold_at_least`, a job that is done sooner is skipped by the others until its time is over.
pub async fn a_job_that_lingers_is_skipped_by_the_others(stage: Stage) {
    let (a, b) = (stage.locks().await, stage.locks().await);
    let time = Duration::from_secs(2);
    let began = stage.clock().now();
    let ran = a.lock("job").hold_at_least(time).run_once(async |guard| guard.token()).await.unwrap();
    assert!(matches!(ran, tenure::Once::Ran(_)));
    let skipped = b.lock("job").hold_at_least(time).run_once(async |_| ()).await.unwrap();
    assert_eq!(skipped, tenure::Once::Skipped);
    let next = b.lock("job").acquire().await.unwrap();
    let after = began.until(stage.clock().now());
    assert!(after >= time / 2 && after <= time + stage.slack(), "free after {after:?}");
    drop(next);
}
