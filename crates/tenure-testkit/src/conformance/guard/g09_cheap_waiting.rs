//! G9 for guards: a constant number of trips per hand-off, whatever the number of waiters.

use std::time::Duration;

use crate::relay::Step;
use crate::stand::Stage;

/// A thousand tasks of one process wait for one name: they are served in order with few trips in all, and none of them
/// asks the store by itself.
pub async fn a_thousand_waiters_of_a_process_cost_no_trip_each(stage: Stage) {
    let (locks, wire) = stage.far().await;
    let held = locks.lock("x").acquire().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let locks = locks.clone();
        tasks.spawn(async move { drop(locks.lock("x").acquire().await.unwrap()) });
    }
    stage.pass(Duration::from_millis(100)).await;
    held.release().await.unwrap();
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let trips = wire.all_trips();
    assert!(trips <= 60, "1,000 waiters of one process made {trips} trips");
}

/// Waiters of many processes: a hand-over between two of them costs a constant number of trips over all processes.
pub async fn a_hand_over_between_processes_costs_a_constant_number_of_trips(stage: Stage) {
    let mut costs = Vec::new();
    for processes in [4_usize, 40] {
        let name = format!("x:{processes}");
        let holder = stage.far().await;
        let held = holder.0.lock(&name).acquire().await.unwrap();
        let (mut wires, mut tasks) = (Vec::new(), Vec::new());
        for _ in 0..processes {
            let (locks, wire) = stage.far().await;
            let name = name.clone();
            tasks.push(tokio::spawn(async move {
                let guard = locks.lock(&name).acquire().await.unwrap();
                guard.release().await.unwrap();
            }));
            wires.push(wire);
        }
        while wires.iter().any(|wire| wire.trips(Step::Claim) == 0) {
            tokio::task::yield_now().await;
        }
        held.release().await.unwrap();
        for task in tasks {
            task.await.unwrap();
        }
        let trips: usize = wires.iter().map(|wire| wire.all_trips()).sum();
        costs.push(trips / processes);
    }
    assert!(costs[1] <= costs[0] + 1 && costs[1] <= 6, "trips per process with 4 and with 40: {costs:?}");
}

/// Renewals of many leases share trips.
pub async fn renewals_share_trips(stage: Stage) {
    let (locks, wire) = stage.far().await;
    let names: Vec<String> = (0..200).map(|n| format!("n{n}")).collect();
    let held = locks.lock_each(&names).ttl(crate::conformance::SHORT * 3).try_acquire().await.unwrap();
    assert!(held.iter().all(Option::is_some));
    let (trips, renewed) = (wire.trips(Step::Keep), wire.elements(Step::Keep));
    stage.pass(crate::conformance::SHORT * 3).await;
    let (trips, renewed) = (wire.trips(Step::Keep) - trips, wire.elements(Step::Keep) - renewed);
    assert!(renewed >= 400, "200 leases were renewed {renewed} times in a ttl");
    assert!(trips <= 20, "{renewed} renewals made {trips} trips");
}
