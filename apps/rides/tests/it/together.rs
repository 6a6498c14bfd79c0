//! Many at once, on two instances: no driver is given away twice, and nobody goes without who could have had one.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tenure::lease::{Kind, Query};
use tenure_testkit::{Ground, SETUPS};

use crate::stores::Served;

#[tokio::test(flavor = "multi_thread")]
async fn of_forty_assigns_at_once_as_many_get_a_driver_as_there_are_and_each_another_one() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let instances = [Served::on(&ground).await, Served::on(&ground).await];
        let online = rides::city::DRIVERS;
        let bookings =
            join_all((0..40).map(|number| instances[number % 2].book(number as i64 % 10 + 1))).await;
        let asked = bookings.iter().enumerate().map(|(number, id)| instances[(number / 2) % 2].assign(*id));
        let (mut given, mut refused) = (HashSet::new(), 0);
        for answer in join_all(asked).await {
            if answer.status == 200 {
                let driver = answer.data(200)["driver"]["id"].as_i64().unwrap();
                assert!(given.insert(driver), "{setup:?}: {driver} twice");
            } else {
                let error = answer.json()["error"].as_str().unwrap().to_owned();
                let words = ["No available drivers found", "All nearby drivers are currently busy"];
                assert!(words.contains(&error.as_str()), "{error}");
                refused += 1;
            }
        }
        assert_eq!((given.len(), refused), (online, 40 - online), "{setup:?}");
        instances[1].is_sound().await;
        no_lock_is_left(&instances[0]).await;
    }
}

/// That nobody holds a lock any more. A list may be late in what it knows of other processes.
async fn no_lock_is_left(rides: &Served) {
    let provider = rides.rides.locks.provider();
    let empty =
        async { while !provider.list(&Query::new(Kind::Leases, "")).await.unwrap().entries.is_empty() {} };
    tokio::time::timeout(Duration::from_secs(20), empty).await.expect("sooner than the locks would expire");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_assigns_of_one_booking_one_succeeds_and_takes_one_driver() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let instances = [Served::on(&ground).await, Served::on(&ground).await];
        let id = instances[0].book(1).await;
        let answers = join_all((0..20).map(|number| instances[number % 2].assign(id))).await;
        let assigned = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(assigned, 1, "{setup:?}: {answers:?}");
        instances[0].is_sound().await;
    }
}

/// Both sides change one booking at once, again and again: one of them wins each time, and the driver is never left behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_ride_that_is_cancelled_while_it_is_assigned_or_accepted_leaves_no_driver_behind() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let instances = [Served::on(&ground).await, Served::on(&ground).await];
        for round in 0..10 {
            let id = instances[0].book(1).await;
            let cancel = json!({"reason": "r", "user_id": 1, "user_type": "rider"});
            let path = format!("/api/bookings/{id}/cancel");
            let (assigned, cancelled) =
                tokio::join!(instances[0].assign(id), instances[1].post(&path, cancel.clone()));
            if assigned.status == 200 && cancelled.status != 200 {
                instances[1].post(&path, cancel).await.data(200);
            }
            assert_eq!(instances[0].booking(id).await["status"], "cancelled", "{setup:?} {round}");
        }
        instances[0].is_sound().await;
        let drivers = instances[0].drivers().await;
        assert!(drivers.iter().all(|driver| driver["status"] != "busy"), "{setup:?}");
    }
}
