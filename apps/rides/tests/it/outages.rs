//! Stores that go away and come back, locks that are lost, and an index that has forgotten everything.

use rides::booking::{Candidate, User};
use rides::store::{Action, Change, Refusal, Tokens};
use serde_json::{Value, json};
use tenure_testkit::{Ground, PostgresServer, RedisServer, SETUPS, Setup};

use crate::stores::Served;

/// Asks until the answer is as wanted; each time is a trip.
async fn until(rides: &Served, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let seen = async {
        loop {
            let answer = rides.get(path).await.json();
            if wanted(&answer) {
                return answer;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), seen).await.expect(path)
}

const NEAR: &str = "/api/drivers/nearby?lat=40.7128&lng=-74.0060";

fn by_redis(answer: &Value) -> bool {
    answer["performance"]["method"] == "redis_geo"
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_rides_go_on_over_the_database_and_with_it_all_is_as_before() {
    let mut ground = Ground::new(Setup::PostgresAndRedis).await;
    let rides = Served::on(&ground).await;
    let before = until(&rides, NEAR, by_redis).await;
    ground.redis().kill();
    let health = until(&rides, "/api/health", |health| health["status"] == "degraded").await;
    assert_eq!((&health["success"], &health["services"]["redis"]), (&json!(true), &json!("disconnected")));
    let without = rides.get(NEAR).await.json();
    assert_eq!((&without["data"], &without["performance"]["method"]), (&before["data"], &json!("h3_cells")));
    let (id, driver) = rides.ride(1).await;
    rides.post(&format!("/api/bookings/{id}/accept"), json!({"driver_id": driver})).await.data(200);
    assert!(rides.rides.dispatch.locking.without() > 0, "the locks were away");
    assert_eq!(rides.get("/api/locks/stats").await.status, 503);
    // What Redis knew is lost.
    ground.redis().restart_empty();
    until(&rides, "/api/health", |health| health["status"] == "healthy").await;
    let after = until(&rides, NEAR, by_redis).await;
    let gone = |found: &Value| found["data"].as_array().unwrap().iter().all(|near| near["id"] != driver);
    assert!(gone(&after), "the index knows who is busy");
    assert_eq!(after["data"].as_array().unwrap().len() + 1, before["data"].as_array().unwrap().len());
    until(&rides, "/api/locks/stats", |stats| stats["success"] == true).await;
    let done = json!({"driver_id": driver, "actual_fare": 5});
    rides.post(&format!("/api/bookings/{id}/complete"), done).await.data(200);
    until_locked(&rides).await;
    until(&rides, NEAR, |found| by_redis(found) && found["data"] == before["data"]).await;
    rides.is_sound().await;
}

/// Books and cancels until that is done under locks again.
async fn until_locked(rides: &Served) {
    let without = || rides.rides.dispatch.locking.without();
    let locked = async {
        loop {
            let before = without();
            let (id, _) = rides.ride(2).await;
            let cancel = json!({"reason": "r", "user_id": 2, "user_type": "rider"});
            rides.post(&format!("/api/bookings/{id}/cancel"), cancel).await.data(200);
            if without() == before {
                break;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), locked).await.expect("locks are used again");
}

/// A Redis that is stopped does not even refuse.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_holds_up_an_answer_for_seconds_at_most() {
    let ground = Ground::over(None, Some(tokio::task::spawn_blocking(RedisServer::start).await.unwrap()));
    let mut ground = ground;
    let rides = Served::on(&ground).await;
    until(&rides, NEAR, by_redis).await;
    ground.redis().stop();
    let asked = async {
        let (id, driver) = rides.ride(1).await;
        rides.post(&format!("/api/bookings/{id}/accept"), json!({"driver_id": driver})).await.data(200);
        rides.get(NEAR).await.data(200);
        assert_eq!(rides.get("/api/health").await.json()["status"], "degraded");
    };
    let bound = std::time::Duration::from_secs(20);
    tokio::time::timeout(bound, asked).await.expect("six requests of at most three seconds each");
    ground.redis().go_on();
    until(&rides, "/api/health", |health| health["status"] == "healthy").await;
    until(&rides, NEAR, by_redis).await;
    rides.is_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_health_is_503_and_no_reply_has_words_of_it() {
    let (mut postgres, url) = tokio::task::spawn_blocking(|| {
        let server = PostgresServer::start();
        let url = server.url(&server.database());
        (server, url)
    })
    .await
    .unwrap();
    let ground = Ground::over(Some(url), None);
    let rides = Served::on(&ground).await;
    let id = rides.book(1).await;
    postgres.kill();
    // A session outlives its server by a moment: when none of those that there may be answers any more, it is gone.
    let mut silent = 0;
    while silent < 20 {
        silent = if rides.get(NEAR).await.status == 503 { silent + 1 } else { 0 };
    }
    let health = rides.get("/api/health").await;
    assert_eq!((health.status, &health.json()["services"]["postgres"]), (503, &json!("disconnected")));
    let away = "The database does not answer; with an Idempotency-Key the request may be sent again";
    rides.get(NEAR).await.fails(503, "Failed to find nearby drivers", away);
    rides.assign(id).await.fails(503, "Failed to assign driver", away);
    let mut postgres = tokio::task::spawn_blocking(move || {
        postgres.restart();
        postgres
    })
    .await
    .unwrap();
    until(&rides, "/api/health", |health| health["status"] == "healthy").await;
    rides.assign(id).await.data(200);
    rides.is_sound().await;
    postgres.kill();
}

/// A holder that stalls wakes up when somebody else has worked on the booking: its write comes too late.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_lock_has_passed_on_is_refused_and_counted() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let rides = Served::on(&ground).await;
        let locks = &rides.rides.locks;
        let old = locks.lock("booking:1").acquire().await.unwrap();
        let late = old.token();
        old.release().await.unwrap();
        let (id, driver) = rides.ride(1).await;
        assert_eq!(id, 1);
        let change = |action| Change {
            booking: id,
            action,
            tokens: Some(Tokens { booking: late, driver: Some((driver, late)) }),
            key: None,
        };
        let store = &rides.rides.store;
        let cancel = Action::Cancel { reason: "late".to_owned(), by: User::Rider(1) };
        assert_eq!(store.change(change(cancel)).await.unwrap(), Err(Refusal::Stale), "{setup:?}");
        assert_eq!(store.open(id, Some(late)).await.unwrap(), Err(Refusal::Stale));
        assert_eq!(store.stale_writes(), 2);
        assert_eq!(rides.booking(id).await["status"], "assigned");
    }
}

/// The transaction alone: neither locks nor an honest caller.
#[tokio::test(flavor = "multi_thread")]
async fn a_driver_on_a_ride_is_not_given_another_even_without_locks() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let rides = Served::on(&ground).await;
        let booking = rides.book(1).await;
        let data = rides.assign(booking).await.data(200);
        let candidate: Candidate = serde_json::from_value(data["driver"].clone()).unwrap();
        let other = rides.book(2).await;
        let change = Change { booking: other, action: Action::Assign(candidate), tokens: None, key: None };
        assert_eq!(rides.rides.store.change(change).await.unwrap(), Err(Refusal::DriverTaken), "{setup:?}");
        rides.is_sound().await;
    }
}
