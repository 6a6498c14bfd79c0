//! G7 for guards: first come, first served, inside a process and between processes; hand-off inside a process is bounded
//! while others wait.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tenure::Locks;

use crate::cancel::cancel_at;
use crate::conformance::SHORT;
use crate::stand::Stage;

/// Tasks that come one after the other are served in that order, all in one process and over several.
pub async fn tasks_are_served_in_the_order_in_which_they_came(stage: Stage) {
    let one = stage.far().await.0;
    serve_in_order(&stage, &[one.clone(), one.clone(), one]).await;
    let near = stage.locks().await;
    serve_in_order(&stage, &[near.clone(), near]).await;
}

async fn serve_in_order(stage: &Stage, locks: &[Locks]) {
    let held = locks[0].lock("x").acquire().await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for place in 0..20 {
        let (locks, order) = (locks[place % locks.len()].clone(), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let guard = locks.lock("x").acquire().await.unwrap();
            order.lock().push(place);
            guard.release().await.unwrap();
        }));
        stage.pass(Duration::from_millis(3)).await;
    }
    drop(held);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock(), (0..20).collect::<Vec<_>>());
}

/// A process whose tasks hand a lock on among themselves lets a waiter of another process in after a bounded number of
/// hand-offs, though its own tasks never stop asking.
pub async fn hand_off_inside_a_process_is_bounded_while_others_wait(stage: Stage) {
    let ((busy, wire), other) = (stage.far().await, stage.far().await.0);
    let handed = Arc::new(Mutex::new(0_usize));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (locks, handed, clock) = (busy.clone(), Arc::clone(&handed), stage.clock());
        tasks.spawn(async move {
            loop {
                let guard = locks.lock("x").ttl(SHORT * 3).acquire().await.unwrap();
                *handed.lock() += 1;
                clock.sleep_until(clock.now() + Duration::from_millis(1)).await;
                drop(guard);
            }
        });
    }
    while *handed.lock() < 100 {
        stage.pass(Duration::from_millis(1)).await;
    }
    let trips = wire.all_trips();
    assert!(trips < 60, "100 hand-offs cost {trips} trips");
    let mut waits = Vec::new();
    for _ in 0..5 {
        let mut next = Box::pin(other.lock("x").acquire());
        // Counts from where the claim is queued: one poll sends it.
        assert!(cancel_at(1, &mut next).await.is_none());
        let (before, began) = (*handed.lock(), stage.clock().now());
        let guard = next.await.unwrap();
        waits.push((*handed.lock() - before, began.until(stage.clock().now())));
        guard.release().await.unwrap();
        stage.pass(Duration::from_millis(1)).await;
    }
    tasks.shutdown().await;
    // The budget is 32 and a few more until the holder has heard of the waiter; it hears with its next renewal at the
    // latest, after a third of its ttl.
    let bound = SHORT * 11 / 10 + stage.slack();
    assert!(
        waits.iter().all(|(handed, took)| *handed <= 64 || *took <= bound),
        "while another waited: {waits:?}"
    );
}

/// A writer gets in although readers of two processes never stop coming.
pub async fn a_writer_is_not_starved_by_readers_of_many_processes(stage: Stage) {
    let (a, b) = (stage.far().await.0, stage.locks().await);
    let mut readers = tokio::task::JoinSet::new();
    for locks in [&a, &a, &a, &b, &b, &b] {
        let (locks, clock) = (locks.clone(), stage.clock());
        readers.spawn(async move {
            loop {
                let guard = locks.lock_shared("x").acquire().await.unwrap();
                clock.sleep_until(clock.now() + Duration::from_millis(5)).await;
                guard.release().await.unwrap();
            }
        });
    }
    for locks in [&a, &b] {
        let writer = locks.lock("x").try_acquire_for(Duration::from_secs(2)).await.unwrap();
        writer.expect("a writer is starved").release().await.unwrap();
    }
    readers.shutdown().await;
}
