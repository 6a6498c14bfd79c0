//! Every call of the contract on every set-up: shapes, types, scales and words.

use serde_json::{Value, json};
use tenure_testkit::{Ground, SETUPS, Setup};

use crate::stores::{Served, fields, is_moment};

const BOOKING: [&str; 17] = [
    "accepted_at",
    "actual_fare",
    "assigned_at",
    "cancellation_reason",
    "cancelled_at",
    "completed_at",
    "created_at",
    "driver_id",
    "dropoff_lat",
    "dropoff_lng",
    "estimated_fare",
    "id",
    "pickup_lat",
    "pickup_lng",
    "rider_id",
    "status",
    "vehicle_type",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_ride_goes_from_its_request_to_its_end_as_the_contract_says() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let rides = Served::on(&ground).await;
        let body = json!({"rider_id": 1, "pickup_lat": 40.7128, "pickup_lng": "-74.0060", "dropoff_lat": 0, "dropoff_lng": 0.000000005,
                          "estimated_fare": 15.5});
        let made = rides.post("/api/bookings", body).await;
        assert_eq!(made.json()["message"], "Booking request created successfully");
        let row = made.data(201);
        assert_eq!(fields(&row), BOOKING, "{setup:?}");
        let id = row["id"].as_i64().unwrap();
        assert!(is_moment(&row["created_at"]));
        let expected = json!({"id": id, "rider_id": 1, "driver_id": null, "pickup_lat": "40.71280000", "pickup_lng": "-74.00600000",
            "dropoff_lat": "0.00000000", "dropoff_lng": "0.00000001", "estimated_fare": "15.50", "actual_fare": null,
            "vehicle_type": "standard", "status": "pending", "cancellation_reason": null, "created_at": row["created_at"],
            "assigned_at": null, "accepted_at": null, "cancelled_at": null, "completed_at": null});
        assert_eq!(row, expected);

        let assigned = rides.assign(id).await;
        assert_eq!(assigned.json()["message"], "Driver assigned successfully");
        let data = assigned.data(200);
        assert_eq!(fields(&data), ["booking", "driver"]);
        let driver = &data["driver"];
        let shown = ["distance", "id", "lat", "lng", "name", "phone", "rating", "vehicle_type"];
        assert_eq!(fields(driver), shown);
        assert!(driver["distance"].as_f64().unwrap() < 10.0 && driver["lat"].as_str().unwrap().len() == 11);
        assert_eq!(driver["rating"].as_str().unwrap().len(), 4);
        assert_eq!(fields(&data["booking"]), BOOKING);
        assert_eq!(
            (&data["booking"]["status"], &data["booking"]["driver_id"]),
            (&json!("assigned"), &driver["id"])
        );
        assert!(is_moment(&data["booking"]["assigned_at"]));
        let driver_id = driver["id"].as_i64().unwrap();
        assert_eq!(rides.driver(driver_id).await["status"], "busy");

        let path = format!("/api/bookings/{id}/accept");
        let accepted = rides.post(&path, json!({"driver_id": driver_id})).await;
        assert_eq!(accepted.json()["message"], "Booking accepted successfully");
        assert_eq!(accepted.data(200)["status"], "accepted");
        let path = format!("/api/bookings/{id}/complete");
        let completed = rides.post(&path, json!({"driver_id": driver_id, "actual_fare": 16.255})).await;
        assert_eq!(completed.json()["message"], "Ride completed successfully");
        let row = completed.data(200);
        assert_eq!((&row["status"], &row["actual_fare"]), (&json!("completed"), &json!("16.26")));
        assert!(is_moment(&row["accepted_at"]) && is_moment(&row["completed_at"]));
        let driver = rides.driver(driver_id).await;
        assert_eq!((&driver["status"], &driver["total_rides"]), (&json!("online"), &json!(1)));
        details(&rides, id, driver_id).await;
        rides.is_sound().await;
    }
}

/// The booking as it is read, alone and in the lists of both sides.
async fn details(rides: &Served, id: i64, driver: i64) {
    let mut all: Vec<&str> = BOOKING.to_vec();
    all.extend(["driver_name", "driver_phone", "rider_name", "rider_phone"]);
    all.sort_unstable();
    let row = rides.booking(id).await;
    assert_eq!(fields(&row), all);
    assert!(
        ["driver_name", "driver_phone", "rider_name", "rider_phone"]
            .iter()
            .all(|name| row[*name].is_string())
    );
    let newer = rides.book(1).await;
    for (path, count) in [
        ("/api/users/1/bookings?user_type=rider".to_owned(), 2),
        ("/api/users/1/bookings?user_type=rider&status=pending".to_owned(), 1),
        ("/api/users/1/bookings?user_type=rider&status=accepted".to_owned(), 0),
        (format!("/api/users/{driver}/bookings?user_type=driver"), 1),
        ("/api/users/77777/bookings?user_type=rider".to_owned(), 0),
    ] {
        let answer = rides.get(&path).await.json();
        assert_eq!(fields(&answer), ["count", "data", "success"]);
        assert_eq!(
            (answer["count"].as_u64(), answer["data"].as_array().unwrap().len()),
            (Some(count), count as usize),
            "{path}"
        );
    }
    let both = rides.get("/api/users/1/bookings?user_type=rider").await.data(200);
    assert_eq!((&both[0]["id"], &both[1]), (&json!(newer), &row), "the newest first");
    assert_eq!(fields(&both[0]), all);
    assert_eq!(both[0]["driver_name"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_which_stores_there_are() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let rides = Served::on(&ground).await;
        let health = rides.get("/api/health").await;
        assert_eq!(health.status, 200);
        let health = health.json();
        assert_eq!(
            (&health["success"], &health["version"], &health["status"]),
            (&json!(true), &json!("3.0.0"), &json!("healthy"))
        );
        assert!(is_moment(&health["timestamp"]) && health["message"].is_string());
        let (postgres, redis) = match setup {
            Setup::Files => ("not configured", "not configured"),
            Setup::Postgres => ("connected", "not configured"),
            Setup::PostgresAndRedis => ("connected", "connected"),
        };
        assert_eq!(
            (&health["services"]["postgres"], &health["services"]["redis"]),
            (&json!(postgres), &json!(redis))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_that_are_held_are_listed_by_a_digest_and_what_became_of_them_is_counted() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let rides = Served::on(&ground).await;
        let guard = rides.rides.locks.lock("booking:54").acquire().await.unwrap();
        let stats = rides.get("/api/locks/stats").await.data(200);
        assert_eq!(stats["totalLocks"], 1, "{setup:?}");
        let lock = &stats["locks"][0];
        assert_eq!(fields(lock), ["lockId", "resource", "ttl"]);
        assert_eq!(
            (&lock["resource"], &lock["lockId"]),
            (&json!("booking:54"), &json!(guard.lease().to_string()))
        );
        assert!((1..=30).contains(&lock["ttl"].as_u64().unwrap()));
        let busy = "Failed to acquire lock for booking:54: Failed to acquire lock after 3 attempts";
        rides.assign(54).await.fails(400, "Failed to assign driver", busy);
        guard.release().await.unwrap();
        rides.ride(1).await;
        let stats = rides.get("/api/locks/stats").await.data(200);
        assert_eq!((&stats["totalLocks"], &stats["locks"]), (&json!(0), &json!([])));
        let states = &stats["states"];
        assert_eq!(
            (&states["acquired"], &states["timedOut"], &states["expired"]),
            (&json!(3), &json!(1), &json!(0))
        );
        assert_eq!((&states["released"], &states["contested"]), (&json!(3), &json!(1)));
        assert!(stats["times"]["waitP99Ms"].is_number());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_with_its_path_and_pages_are_there() {
    let ground = Ground::new(Setup::Files).await;
    let rides = Served::on(&ground).await;
    for path in ["/api/nothing", "/nothing", "/api/bookings", "/api/bookings/1/assign"] {
        let answer = rides.get(&format!("{path}?a=b")).await;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.json(), json!({"success": false, "message": "Endpoint not found", "path": path}));
    }
    for path in ["/", "/docs", "/openapi.json", "/tenure/"] {
        assert_eq!(rides.get(path).await.status, 200, "{path}");
    }
    let document = rides.get("/openapi.json").await.json();
    assert!(document["paths"]["/api/bookings/{id}/assign"]["post"].is_object());
    let request = rides.to("/api/bookings").header("x-request-id", "mine-7").body("{}");
    assert_eq!(request.send().await.unwrap().headers()["x-request-id"], "mine-7");
    let given = rides.to("/api/bookings").header("x-request-id", "no spaces").send().await.unwrap();
    assert_eq!(given.headers()["x-request-id"].len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything_and_seeds_nothing_again() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let first = Served::on(&ground).await;
        let near = first.get("/api/drivers/nearby?lat=40.7128&lng=-74.0060&radius=5").await.data(200);
        assert!(near.as_array().unwrap().len() >= 20, "{setup:?}");
        let (booking, driver) = first.ride(10).await;
        let before = (first.booking(booking).await, first.driver(driver).await, first.drivers().await);
        first.rides.close().await;
        let second = Served::on(&ground).await;
        let city = rides::city::City::new(rides::city::DRIVERS);
        assert_eq!(rides::seed(&*second.rides.store, &city).await.unwrap(), 0);
        assert_eq!(
            (second.booking(booking).await, second.driver(driver).await, second.drivers().await),
            before
        );
        assert_eq!(second.rides.store.id(), first.rides.store.id());
    }
}
