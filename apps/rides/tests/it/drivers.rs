//! Drivers: who is known, who is near, and what the index has to do with it.

use rides::geo::Place;
use serde_json::{Value, json};
use tenure_testkit::{Ground, SETUPS, Setup};

use crate::stores::{Served, fields, is_moment, ride};

const ADD: &str = "Failed to create driver";
const MOVE: &str = "Failed to update driver location";
const STATUS: &str = "Failed to update driver status";
const NEARBY: &str = "Failed to find nearby drivers";

async fn add(rides: &Served, phone: &str, lat: f64, lng: f64) -> i64 {
    let body = json!({"name": "N", "phone": phone, "lat": lat, "lng": lng, "status": "online"});
    rides.post("/api/drivers", body).await.data(201)["id"].as_i64().unwrap()
}

/// The numbers of the drivers near a place, once the search is by the index where there is one.
async fn near(rides: &Served, place: Place, radius: f64) -> Vec<i64> {
    let path = format!("/api/drivers/nearby?lat={}&lng={}&radius={radius}", place.lat, place.lng);
    let found = rides.get(&path).await.data(200);
    found.as_array().unwrap().iter().map(|driver| driver["id"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_are_written_down_moved_and_told_as_the_contract_says() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let rides = Served::on(&ground).await;
        let body = json!({"name": " Zoe ", "phone": "+49", "email": "z@example.com", "lat": 0, "lng": "-0.5", "rating": 4.855});
        let made = rides.post("/api/drivers", body.clone()).await;
        let row = made.data(201);
        let id = row["id"].as_i64().unwrap();
        assert!(is_moment(&row["created_at"]) && is_moment(&row["updated_at"]));
        let expected = json!({"id": id, "name": "Zoe", "phone": "+49", "email": "z@example.com", "lat": "0.00000000",
            "lng": "-0.50000000", "status": "offline", "vehicle_type": "standard", "rating": "4.86", "total_rides": 0,
            "created_at": row["created_at"], "updated_at": row["updated_at"]});
        assert_eq!(row, expected, "{setup:?}");
        rides.post("/api/drivers", body).await.fails(
            409,
            ADD,
            "Driver with this phone number already exists",
        );
        let unplaced = rides.post("/api/drivers", json!({"name": "U", "phone": "1"})).await.data(201);
        assert_eq!(
            (&unplaced["lat"], &unplaced["lng"], &unplaced["rating"]),
            (&Value::Null, &Value::Null, &json!("5.00"))
        );
        let moved =
            rides.post(&format!("/api/drivers/{id}/location"), json!({"lat": -12.5, "lng": 180})).await;
        assert_eq!(moved.json()["message"], "Driver location updated successfully");
        assert_eq!(
            (&moved.data(200)["lat"], &moved.data(200)["lng"]),
            (&json!("-12.50000000"), &json!("180.00000000"))
        );
        let set = rides.patch(&format!("/api/drivers/{id}/status"), json!({"status": "online"})).await;
        assert_eq!(set.json()["message"], "Driver status updated successfully");
        assert_eq!(rides.driver(id).await["status"], "online");
        let list = rides.get("/api/drivers").await.json();
        assert_eq!(fields(&list), ["count", "data", "success"]);
        assert_eq!(list["count"].as_u64().unwrap() as usize, list["data"].as_array().unwrap().len());
        for id in ["0", "x", "4711"] {
            let absent = json!({"success": false, "message": "Driver not found"});
            let answers = [
                rides.get(&format!("/api/drivers/{id}")).await,
                rides.post(&format!("/api/drivers/{id}/location"), json!({"lat": 1, "lng": 1})).await,
                rides.patch(&format!("/api/drivers/{id}/status"), json!({"status": "busy"})).await,
            ];
            assert!(
                answers.iter().all(|answer| answer.status == 404 && answer.json() == absent),
                "{answers:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_right_of_drivers_is_refused_in_words() {
    let ground = Ground::new(Setup::Files).await;
    let rides = Served::on(&ground).await;
    for (body, error) in [
        (json!({"name": "N"}), "Name and phone are required"),
        (json!({"name": " ", "phone": "1"}), "Name and phone are required"),
        (json!({"name": "N", "phone": "1", "lat": 1}), "Latitude and longitude are required"),
        (json!({"name": "N", "phone": "1", "lat": 91, "lng": 0}), "Latitude must be between -90 and 90"),
        (json!({"name": "N", "phone": "1", "lat": 0, "lng": 181}), "Longitude must be between -180 and 180"),
        (json!({"name": "N", "phone": "1", "rating": 5.01}), "Rating must be between 0 and 5"),
        (json!({"name": "N".repeat(256), "phone": "1"}), "A text must have at most 255 characters"),
    ] {
        rides.post("/api/drivers", body).await.fails(400, ADD, error);
    }
    assert_eq!(rides.post("/api/drivers", json!({"status": "gone"})).await.status, 400);
    let to = "/api/drivers/1/location";
    rides.post(to, json!({"lat": 1})).await.fails(400, MOVE, "Latitude and longitude are required");
    rides.post(to, json!({"lat": -91, "lng": 0})).await.fails(
        400,
        MOVE,
        "Latitude must be between -90 and 90",
    );
    let status = "Status must be offline, online or busy";
    rides.patch("/api/drivers/1/status", json!({"status": "gone"})).await.fails(400, STATUS, status);
    rides.patch("/api/drivers/1/status", json!({})).await.fails(400, STATUS, status);
    for (query, error) in [
        ("lat=1", "Latitude and longitude are required"),
        ("lat=91&lng=1", "Latitude must be between -90 and 90"),
        ("lat=x&lng=1", "Latitude must be between -90 and 90"),
        ("lat=1&lng=180.5", "Longitude must be between -180 and 180"),
        ("lat=1&lng=1&radius=0", "Radius must be above 0 and at most 20040"),
        ("lat=1&lng=1&radius=x", "Radius must be above 0 and at most 20040"),
        ("lat=1&lng=1&radius=NaN", "Radius must be above 0 and at most 20040"),
    ] {
        rides.get(&format!("/api/drivers/nearby?{query}")).await.fails(400, NEARBY, error);
    }
}

/// On the equator, at the pole, across the date line, and where Redis keeps no places; each a driver more than the radius away too.
#[tokio::test(flavor = "multi_thread")]
async fn everybody_online_within_the_radius_is_found_the_nearest_first_anywhere_on_earth() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let rides = Served::on(&ground).await;
        for (number, place) in
            [(0.0, 0.0), (89.99, 10.0), (10.0, 179.999), (-85.0, 40.0), (84.99, -3.0)].into_iter().enumerate()
        {
            let centre = Place { lat: place.0, lng: place.1 };
            let mut wanted = Vec::new();
            for (step, distance) in [4.9, 0.0, 2.0, 5.1, 3.0].into_iter().enumerate() {
                let at = centre.towards(step as f64 * 1.3, distance);
                let id = add(&rides, &format!("{number}-{step}"), at.lat, at.lng).await;
                if distance < 5.0 {
                    wanted.push((distance, id));
                }
            }
            wanted.sort_by(|a, b| a.0.total_cmp(&b.0));
            let ids: Vec<i64> = wanted.into_iter().map(|(_, id)| id).collect();
            assert_eq!(near(&rides, centre, 5.0).await, ids, "{setup:?} {centre:?}");
            rides
                .patch(&format!("/api/drivers/{}/status", ids[0]), json!({"status": "offline"}))
                .await
                .data(200);
            assert_eq!(near(&rides, centre, 5.0).await, ids[1..], "{setup:?}: who is offline is not near");
        }
        let found = rides.get("/api/drivers/nearby?lat=40.7128&lng=-74.0060").await.json();
        assert_eq!(fields(&found), ["data", "performance", "searchParams", "success"]);
        assert_eq!(found["searchParams"], json!({"lat": 40.7128, "lng": -74.006, "radius": 5.0}));
        assert_eq!(fields(&found["performance"]), ["driversFound", "method", "note", "queryTime"]);
        assert_eq!(found["performance"]["driversFound"], found["data"].as_array().unwrap().len());
        let row = ["distance", "id", "lat", "lng", "name", "phone", "rating", "status", "vehicle_type"];
        assert_eq!(fields(&found["data"][0]), row);
        let everybody = rides.get("/api/drivers/nearby?lat=0&lng=0&radius=20040").await.data(200);
        let online = rides.drivers().await.iter().filter(|driver| driver["status"] == "online").count();
        assert_eq!(everybody.as_array().unwrap().len(), online, "{setup:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_on_a_ride_stays_busy_whatever_they_say() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let rides = Served::on(&ground).await;
        let (_, driver) = rides.ride(1).await;
        for status in ["online", "offline"] {
            let said = rides.patch(&format!("/api/drivers/{driver}/status"), json!({"status": status})).await;
            said.fails(409, STATUS, "Driver has an active booking");
        }
        rides.is_sound().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ride_goes_to_the_nearest_within_ten_kilometres_and_of_two_as_near_to_the_better_one() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let rides = Served::on(&ground).await;
        let centre = Place { lat: -33.0, lng: 151.0 };
        let at = |distance: f64| centre.towards(1.0, distance);
        let book = async || {
            let mut body = ride(1);
            (body["pickup_lat"], body["pickup_lng"]) = (json!(centre.lat), json!(centre.lng));
            rides.post("/api/bookings", body).await.data(201)["id"].as_i64().unwrap()
        };
        let far = at(10.02);
        add(&rides, "far", far.lat, far.lng).await;
        let none = rides.assign(book().await).await;
        none.fails(400, "Failed to assign driver", "No available drivers found");
        let mut wanted = Vec::new();
        for (phone, distance, rating) in [("c", 9.98, 5.0), ("b", 3.0, 4.0), ("a", 3.0, 4.5)] {
            let place = at(distance);
            let body = json!({"name": phone, "phone": phone, "lat": place.lat, "lng": place.lng, "status": "online", "rating": rating});
            wanted.push(rides.post("/api/drivers", body).await.data(201)["id"].as_i64().unwrap());
        }
        wanted.reverse();
        for driver in wanted {
            assert_eq!(rides.assign(book().await).await.data(200)["driver"]["id"], driver, "{setup:?}");
        }
        let none = rides.assign(book().await).await;
        none.fails(400, "Failed to assign driver", "No available drivers found");
    }
}

/// A change that is told late, as by an instance that was slow, must not take back what is newer.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_word_of_a_driver_never_replaces_a_newer_one_in_the_index() {
    let ground = Ground::new(Setup::PostgresAndRedis).await;
    let rides = Served::on(&ground).await;
    let centre = Place { lat: -33.0, lng: 151.0 };
    let first = add(&rides, "first", centre.lat, centre.lng).await;
    let path = format!("/api/drivers/{first}/status");
    rides.patch(&path, json!({"status": "offline"})).await.data(200);
    let old = rides.rides.store.drivers_of(&[first]).await.unwrap().remove(0);
    rides.patch(&path, json!({"status": "online"})).await.data(200);
    rides.rides.index.as_ref().unwrap().tell(old);
    // Told after it, and seen by the index alone: then the old word has been read.
    let second = add(&rides, "second", centre.lat, centre.lng).await;
    let query = format!("/api/drivers/nearby?lat={}&lng={}", centre.lat, centre.lng);
    let seen = async {
        loop {
            let found = rides.get(&query).await.json();
            let ids: Vec<i64> =
                found["data"].as_array().unwrap().iter().map(|near| near["id"].as_i64().unwrap()).collect();
            if found["performance"]["method"] == "redis_geo" && ids.contains(&second) {
                return ids;
            }
        }
    };
    let ids = tokio::time::timeout(std::time::Duration::from_secs(60), seen).await.unwrap();
    assert_eq!(ids, [first, second]);
}
