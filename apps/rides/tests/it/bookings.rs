//! What bookings refuse, in which words, and what a key repeats.

use serde_json::{Value, json};
use tenure_testkit::{Ground, SETUPS, Setup};

use crate::stores::{Answer, Served, ride};

const CREATE: &str = "Failed to create booking";
const ASSIGN: &str = "Failed to assign driver";
const ACCEPT: &str = "Failed to accept booking";
const CANCEL: &str = "Failed to cancel booking";
const COMPLETE: &str = "Failed to complete ride";

#[tokio::test(flavor = "multi_thread")]
async fn a_ride_that_cannot_be_right_is_refused_in_words() {
    let ground = Ground::new(Setup::Files).await;
    let rides = Served::on(&ground).await;
    let missing =
        "Missing required fields: rider_id, pickup_lat, pickup_lng, dropoff_lat, dropoff_lng, estimated_fare";
    let latitude = "Latitude must be between -90 and 90";
    let longitude = "Longitude must be between -180 and 180";
    let fare = "Estimated fare must be greater than 0";
    for field in ["rider_id", "pickup_lat", "pickup_lng", "dropoff_lat", "dropoff_lng", "estimated_fare"] {
        let mut body = ride(1);
        body.as_object_mut().unwrap().remove(field);
        rides.post("/api/bookings", body.clone()).await.fails(400, CREATE, missing);
        body[field] = Value::Null;
        rides.post("/api/bookings", body).await.fails(400, CREATE, missing);
    }
    for (field, value, error) in [
        ("pickup_lat", json!(90.00000001), latitude),
        ("dropoff_lat", json!("-91"), latitude),
        ("pickup_lng", json!(180.1), longitude),
        ("dropoff_lng", json!(-1e3), longitude),
        ("estimated_fare", json!(0), fare),
        ("estimated_fare", json!("-5"), fare),
        ("estimated_fare", json!(0.001), fare),
        ("estimated_fare", json!(1e9), "Fare must be at most 99999999.99"),
        ("vehicle_type", json!("x".repeat(51)), "Vehicle type must have at most 50 characters"),
        ("rider_id", json!(4711), "Rider not found"),
        ("rider_id", json!(-1), "Rider not found"),
    ] {
        let mut body = ride(1);
        body[field] = value;
        rides.post("/api/bookings", body).await.fails(400, CREATE, error);
    }
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{\"rider_id\":1.5}",
        "{\"rider_id\":99999999999999999999}",
        "{\"pickup_lat\":true}",
        "{\"pickup_lat\":\"x\"}",
    ] {
        let answer = rides.ask(rides.to("/api/bookings").body(body)).await;
        assert_eq!((answer.status, &answer.json()["message"]), (400, &json!(CREATE)), "{body}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error == missing || error.starts_with("Malformed request body: "), "{body} {error}");
    }
    let nobody = rides.get("/api/users/1/bookings?user_type=rider").await.json();
    assert_eq!(nobody["count"], 0, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_refuses_whoever_has_no_right_to_it_in_the_words_of_the_contract() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let rides = Served::on(&ground).await;
        for id in ["999999", "abc", "0", "-1", "99999999999999999999", "1;drop"] {
            let to = |verb: &str| format!("/api/bookings/{id}/{verb}");
            let cancel = json!({"reason": "r", "user_id": 1, "user_type": "rider"});
            rides.post(&to("assign"), json!({})).await.fails(
                400,
                ASSIGN,
                "Booking not found or already processed",
            );
            let accepted = rides.post(&to("accept"), json!({"driver_id": 1})).await;
            accepted.fails(400, ACCEPT, "Booking not found or not assigned to this driver");
            rides.post(&to("cancel"), cancel).await.fails(400, CANCEL, "Booking not found");
            let completed = rides.post(&to("complete"), json!({"driver_id": 1, "actual_fare": 5})).await;
            completed.fails(400, COMPLETE, "Booking not found or not accepted by this driver");
            let read = rides.get(&format!("/api/bookings/{id}")).await;
            assert_eq!(
                (read.status, read.json()),
                (404, json!({"success": false, "message": "Booking not found"}))
            );
        }
        let (id, driver) = rides.ride(1).await;
        let to = |verb: &str| format!("/api/bookings/{id}/{verb}");
        rides.assign(id).await.fails(400, ASSIGN, "Booking not found or already processed");
        rides.post(&to("accept"), json!({})).await.fails(400, ACCEPT, "Driver ID is required");
        rides.ask(rides.to(&to("accept"))).await.fails(400, ACCEPT, "Driver ID is required");
        for other in [driver + 1, 0, -5, 4_711_000] {
            let accepted = rides.post(&to("accept"), json!({"driver_id": other})).await;
            accepted.fails(400, ACCEPT, "Booking not found or not assigned to this driver");
        }
        let complete = json!({"driver_id": driver, "actual_fare": 5});
        let early = rides.post(&to("complete"), complete.clone()).await;
        early.fails(400, COMPLETE, "Booking not found or not accepted by this driver");
        for (user, side) in [(2, "rider"), (driver + 1, "driver"), (0, "driver")] {
            let cancel = json!({"reason": "r", "user_id": user, "user_type": side});
            rides.post(&to("cancel"), cancel).await.fails(400, CANCEL, "Unauthorized: Not your booking");
        }
        for (body, error) in [
            (json!({}), "Reason, user ID and user type are required"),
            (
                json!({"reason": " ", "user_id": 1, "user_type": "rider"}),
                "Reason, user ID and user type are required",
            ),
            (json!({"reason": "r", "user_id": 1, "user_type": "admin"}), "User type must be rider or driver"),
            (
                json!({"reason": "r".repeat(2_001), "user_id": 1, "user_type": "rider"}),
                "Reason must have at most 2000 characters",
            ),
        ] {
            rides.post(&to("cancel"), body).await.fails(400, CANCEL, error);
        }
        for (body, error) in [
            (json!({"driver_id": driver}), "Driver ID and actual fare are required"),
            (json!({"actual_fare": 5}), "Driver ID and actual fare are required"),
            (json!({"driver_id": driver, "actual_fare": 0}), "Actual fare must be greater than 0"),
        ] {
            rides.post(&to("complete"), body).await.fails(400, COMPLETE, error);
        }
        rides.post(&to("accept"), json!({"driver_id": driver})).await.data(200);
        rides.post(&to("complete"), complete).await.data(200);
        let cancel = json!({"reason": "r", "user_id": 1, "user_type": "rider"});
        rides.post(&to("cancel"), cancel).await.fails(
            400,
            CANCEL,
            "Booking cannot be cancelled in current state",
        );
        rides.is_sound().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn either_side_cancels_at_every_step_and_the_driver_is_free_again() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let rides = Served::on(&ground).await;
        let pending = rides.book(3).await;
        let cancelled = cancel(&rides, pending, 3, "rider").await.data(200);
        assert_eq!(
            (&cancelled["status"], &cancelled["cancellation_reason"]),
            (&json!("cancelled"), &json!("changed my mind"))
        );
        for (is_accepted, side) in [(false, "rider"), (false, "driver"), (true, "rider"), (true, "driver")] {
            let (id, driver) = rides.ride(3).await;
            if is_accepted {
                let path = format!("/api/bookings/{id}/accept");
                rides.post(&path, json!({"driver_id": driver})).await.data(200);
            }
            let user = if side == "rider" { 3 } else { driver };
            cancel(&rides, id, user, side).await.data(200);
            assert_eq!(rides.driver(driver).await["status"], "online");
        }
        rides.is_sound().await;
    }
}

async fn cancel(rides: &Served, id: i64, user: i64, side: &str) -> Answer {
    let body = json!({"reason": "changed my mind", "user_id": user, "user_type": side});
    let answer = rides.post(&format!("/api/bookings/{id}/cancel"), body).await;
    assert_eq!(answer.json()["message"], "Booking cancelled successfully");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_a_user_ask_of_which_side() {
    let ground = Ground::new(Setup::Files).await;
    let rides = Served::on(&ground).await;
    const READ: &str = "Failed to get bookings";
    for (path, error) in [
        ("/api/users/1/bookings", "User type is required (rider or driver)"),
        ("/api/users/1/bookings?user_type=", "User type is required (rider or driver)"),
        ("/api/users/1/bookings?user_type=admin", "Invalid user type"),
        ("/api/users/x/bookings?user_type=rider", "User ID must be a number"),
        ("/api/users/1/bookings?user_type=rider&status=gone", "Invalid status"),
    ] {
        rides.get(path).await.fails(400, READ, error);
    }
}

/// A request under a key.
async fn once(rides: &Served, path: &str, body: &Value, key: &str) -> Answer {
    rides.ask(rides.to(path).header("idempotency-key", key).json(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_a_key_is_carried_out_once_and_answered_again_by_any_instance() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let (one, two) = (Served::on(&ground).await, Served::on(&ground).await);
        let asked = (0..8).map(|number| {
            let rides = if number % 2 == 0 { &one } else { &two };
            async move { once(rides, "/api/bookings", &ride(1), "k1").await }
        });
        let answers = futures_util::future::join_all(asked).await;
        let id = answers[0].data(201)["id"].as_i64().unwrap();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{setup:?}");
        let reused = "Idempotency-Key was used for another request";
        once(&two, "/api/bookings", &ride(2), "k1").await.fails(422, CREATE, reused);
        let other = once(&two, "/api/bookings", &ride(1), "k2").await.data(201);
        assert_ne!(other["id"], id);

        let to = |verb: &str| format!("/api/bookings/{id}/{verb}");
        // At once: those that wait behind the first find its answer, and not that it was carried out already.
        let asked = (0..6).map(|number| {
            let rides = if number % 2 == 0 { &one } else { &two };
            let path = to("assign");
            async move { once(rides, &path, &json!({}), "k1").await }
        });
        let answers = futures_util::future::join_all(asked).await;
        let assigned = answers.iter().find(|answer| answer.status == 200).unwrap();
        let driver = assigned.data(200)["driver"]["id"].as_i64().unwrap();
        // A lock that is waited for in vain is all that may come in between.
        let busy = |error: &Value| error.as_str().unwrap().starts_with("Failed to acquire lock");
        assert!(
            answers.iter().all(|answer| answer == assigned || busy(&answer.json()["error"])),
            "{answers:?}"
        );
        assert_eq!(once(&two, &to("assign"), &json!({}), "k1").await, *assigned);
        let accept = json!({"driver_id": driver});
        let accepted = once(&one, &to("accept"), &accept, "k").await;
        accepted.data(200);
        assert_eq!(once(&two, &to("accept"), &accept, "k").await, accepted);
        let complete = json!({"driver_id": driver, "actual_fare": "7.10"});
        let completed = once(&one, &to("complete"), &complete, "k").await;
        completed.data(200);
        assert_eq!(once(&two, &to("complete"), &complete, "k").await, completed);
        let dearer = json!({"driver_id": driver, "actual_fare": "8.10"});
        once(&two, &to("complete"), &dearer, "k").await.fails(422, COMPLETE, reused);
        assert_eq!(one.driver(driver).await["total_rides"], 1);
        let wrong = "Idempotency-Key is one header of 1 to 255 visible characters";
        once(&one, "/api/bookings", &ride(1), "").await.fails(400, CREATE, wrong);
        one.is_sound().await;
    }
}
