//! The surface over the memory provider: what a user of one process sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tenure::{ErrorKind, Locks, Once};

#[tokio::test]
async fn a_second_try_is_none_until_the_first_guard_is_released() {
    let locks = Locks::memory();
    let guard = locks.lock("a").acquire().await.unwrap();
    assert!(locks.lock("a").try_acquire().await.unwrap().is_none());
    assert!(!guard.is_lost());
    let first = guard.token();
    guard.release().await.unwrap();
    let next = locks.lock("a").try_acquire().await.unwrap().unwrap();
    assert!(next.token() > first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_add_to_a_plain_counter_and_lose_nothing() {
    let locks = Locks::memory();
    let (value, last) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (locks, value, last) = (locks.clone(), Arc::clone(&value), Arc::clone(&last));
            tokio::spawn(async move {
                for _ in 0..500 {
                    let guard = locks.lock("counter").acquire().await.unwrap();
                    assert!(last.swap(guard.token().get(), Ordering::Relaxed) < guard.token().get());
                    let read = value.load(Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    value.store(read + 1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(value.load(Ordering::Relaxed), 8_000);
}

#[tokio::test]
async fn batches_readers_and_permits_exclude_what_they_must() {
    let locks = Locks::memory();
    let both = locks.lock_all(["b", "a"]).acquire().await.unwrap();
    assert!(locks.lock("a").try_acquire().await.unwrap().is_none());
    assert!(locks.lock_shared("b").try_acquire().await.unwrap().is_none());
    let any = locks.lock_any(["b", "c", "a"]).try_acquire().await.unwrap().unwrap();
    assert_eq!(any.names().to_string(), "c");
    both.release().await.unwrap();
    let one = locks.lock_shared("b").acquire().await.unwrap();
    let two = locks.lock_shared("b").acquire().await.unwrap();
    assert!(locks.lock("b").try_acquire().await.unwrap().is_none());
    drop((one, two));
    let permits =
        [locks.permit("gpu", 2).acquire().await.unwrap(), locks.permit("gpu", 2).acquire().await.unwrap()];
    assert!(locks.permit("gpu", 2).try_acquire().await.unwrap().is_none());
    drop(permits);
    assert!(locks.permit("gpu", 2).take(2).try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn each_gives_a_guard_for_each_name_that_was_free() {
    let locks = Locks::memory();
    let _held = locks.lock("b").acquire().await.unwrap();
    let won = locks.lock_each(["a", "b", "c"]).try_acquire().await.unwrap();
    assert_eq!(won.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(locks.lock_each(["a", "a"]).try_acquire().await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_job_runs_once_within_its_time() {
    let locks = Locks::memory();
    let job = || locks.lock("job:settle").hold_at_least(Duration::from_secs(3_600));
    assert_eq!(job().run_once(async |guard| guard.token().get() > 0).await.unwrap(), Once::Ran(true));
    assert_eq!(job().run_once(async |_| true).await.unwrap(), Once::Skipped);
}
