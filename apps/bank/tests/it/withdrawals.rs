//! Wallets over HTTP: the contract, what it got right that the original got wrong, and what happens while a store is away.

use std::sync::Arc;
use std::time::Duration;

use bank::ledger::{Book, Fut, Memory};
use bank::wallets::{Books, UserId, Wallets};
use bank::{Bank, Config};
use futures_util::future::join_all;
use serde_json::json;
use tenure::Locks;
use tenure::lease::{Kind, Query};
use tenure_testkit::{Ground, SETUPS, Setup};

use crate::meddling::Meddling;
use crate::stores::{Answer, Served};

const WATCH: &str = "/withdraw_watch";
const ATOMIC: &str = "/withdraw_lock_lua";
const LOCK: &str = "/withdraw_medallion_distributed_lock";
const WAYS: [&str; 3] = [WATCH, ATOMIC, LOCK];

fn answer(status: u16, text: &str) -> Answer {
    Answer { status, text: text.to_owned() }
}

async fn post(bank: &Served, path: &str) -> Answer {
    bank.ask(bank.to(path)).await
}

async fn init(bank: &Served, user: &str, balance: i64) {
    let set = post(bank, &format!("/init?userId={user}&balance={balance}")).await;
    assert_eq!(set, answer(200, &format!(r#"{{"userId":"{user}","balance":{balance}}}"#)));
}

async fn withdraw(bank: &Served, way: &str, user: &str, amount: &str) -> Answer {
    post(bank, &format!("{way}?userId={user}&amount={amount}")).await
}

/// A POST under a key.
async fn once(bank: &Served, path: &str, key: &str) -> Answer {
    bank.ask(bank.to(path).header("idempotency-key", key)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn wallets_answer_as_the_contract_says() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let bank = Served::on(&ground, Config::default()).await;
        assert_eq!(bank.get("/balance?userId=u1").await, answer(404, ""));
        for way in WAYS {
            assert_eq!(
                withdraw(&bank, way, "u1", "1").await,
                answer(404, r#"{"status":"missing"}"#),
                "{way}"
            );
        }
        init(&bank, "u1", 10_000).await;
        assert_eq!(bank.get("/balance?userId=u1").await, answer(200, r#"{"userId":"u1","balance":"10000"}"#));
        let ok = answer(200, r#"{"status":"ok","attempt":1,"newBalance":9950}"#);
        assert_eq!(withdraw(&bank, WATCH, "u1", "50").await, ok);
        let ok = answer(200, r#"{"status":"ok","newBalance":9900}"#);
        assert_eq!(withdraw(&bank, ATOMIC, "u1", "50").await, ok);
        let ok = answer(200, r#"{"status":"ok","newBalance":9850}"#);
        assert_eq!(withdraw(&bank, LOCK, "u1", "50").await, ok);
        let few = answer(200, r#"{"status":"insufficient","attempt":1}"#);
        assert_eq!(withdraw(&bank, WATCH, "u1", "9851").await, few);
        for way in [ATOMIC, LOCK] {
            assert_eq!(withdraw(&bank, way, "u1", "9851").await, answer(200, r#"{"status":"insufficient"}"#));
        }
        for way in WAYS {
            init(&bank, "u1", 7).await;
            let drained = withdraw(&bank, way, "u1", "7").await.json();
            assert_eq!((&drained["status"], &drained["newBalance"]), (&json!("ok"), &json!(0)), "{way}");
        }
        for balance in [i64::MIN, -1, 0, (1 << 53) + 1, i64::MAX] {
            init(&bank, "n", balance).await;
            let kept = answer(200, &format!(r#"{{"userId":"n","balance":"{balance}"}}"#));
            assert_eq!(bank.get("/balance?userId=n").await, kept);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_right_is_refused_and_leaves_no_trace() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let bank = Served::on(&ground, Config::default()).await;
        init(&bank, "u1", 100).await;
        let wrong = |error: &str| answer(400, &format!(r#"{{"error":"{error}"}}"#));
        for way in WAYS {
            for amount in ["0", "-0", "-1", "-9223372036854775808"] {
                let refused = wrong("amount must be > 0");
                assert_eq!(withdraw(&bank, way, "u1", amount).await, refused, "{amount}");
                assert_eq!(withdraw(&bank, way, "nobody", amount).await, refused, "{amount}");
            }
            let huge = "9".repeat(400);
            for amount in [
                "",
                "abc",
                "+5",
                "%2B5",
                "%205",
                "5%20",
                "1e3",
                "5.0",
                "0x5",
                "5;",
                "9223372036854775808",
                &huge,
            ] {
                let refused = wrong("amount must be an integer of 64 bits");
                assert_eq!(withdraw(&bank, way, "u1", amount).await, refused, "{amount}");
            }
            assert_eq!(withdraw(&bank, way, "nobody", "5").await.status, 404);
            assert_eq!(post(&bank, &format!("{way}?userId=u1")).await, wrong("amount is required"));
            assert_eq!(post(&bank, &format!("{way}?amount=5")).await, wrong("userId is required"));
            assert_eq!(withdraw(&bank, way, "%FF", "5").await, wrong("userId must be UTF-8"));
            let odd = wrong("an id has at most 1024 bytes and no U+0000");
            assert_eq!(withdraw(&bank, way, "%00", "5").await, odd);
            assert_eq!(withdraw(&bank, way, &"u".repeat(1_025), "5").await, odd);
            for query in ["userId=u1&amount=5&amount=6", "userId=u1&userId=u2&amount=5"] {
                assert_eq!(post(&bank, &format!("{way}?{query}")).await.status, 400, "{query}");
            }
        }
        for (query, error) in [
            ("userId=u1", "balance is required"),
            ("balance=1", "userId is required"),
            ("userId=u1&balance=1e3", "balance must be an integer of 64 bits"),
            ("userId=u1&balance=-9223372036854775809", "balance must be an integer of 64 bits"),
        ] {
            assert_eq!(post(&bank, &format!("/init?{query}")).await, wrong(error));
        }
        assert_eq!(bank.get("/balance").await, wrong("userId is required"));
        assert_eq!(bank.get("/balance?userId=u1").await.json()["balance"], "100");
        assert_eq!(bank.bank.teller.history(&UserId::new("u1").unwrap()).await.unwrap().len(), 1);
        let locks = bank.bank.locks.provider().list(&Query::new(Kind::Leases, "wallet:")).await.unwrap();
        assert!(locks.entries.is_empty(), "{setup:?}: {locks:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mix_of_ways_on_two_instances_takes_what_is_there_and_no_more() {
    const MIXES: [&[&str]; 7] = [
        &[WATCH],
        &[ATOMIC],
        &[LOCK],
        &[WATCH, ATOMIC],
        &[ATOMIC, LOCK],
        &[WATCH, LOCK],
        &[WATCH, ATOMIC, LOCK],
    ];
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let banks =
            [Served::on(&ground, Config::default()).await, Served::on(&ground, Config::default()).await];
        for (number, mix) in MIXES.into_iter().enumerate() {
            let user = format!("u{number}");
            init(&banks[0], &user, 100).await;
            let asked = (0..48).map(|request| {
                let way = mix[request / 2 % mix.len()];
                withdraw(&banks[request % 2], way, &user, "3")
            });
            let mut left = Vec::new();
            for told in join_all(asked).await {
                assert_eq!(told.status, 200, "{told:?}");
                match told.json()["status"].as_str().unwrap() {
                    "ok" => left.push(told.json()["newBalance"].as_i64().unwrap()),
                    "insufficient" | "conflict" | "lock_busy" => {}
                    _ => panic!("{told:?}"),
                }
            }
            left.sort_unstable_by_key(|balance| std::cmp::Reverse(*balance));
            let wanted: Vec<i64> = (1..).map(|number| 100 - 3 * number).take(left.len()).collect();
            assert_eq!(left, wanted, "{setup:?} {mix:?}: each has a balance of its own");
            let kept = banks[1].get(&format!("/balance?userId={user}")).await.json();
            assert_eq!(kept["balance"], left.last().unwrap().to_string());
            assert!(*left.last().unwrap() >= 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_answered_again_and_a_key_for_something_else_is_refused() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let banks =
            [Served::on(&ground, Config::default()).await, Served::on(&ground, Config::default()).await];
        let reused = answer(422, r#"{"error":"Idempotency-Key was used for another request"}"#);
        for (number, way) in WAYS.into_iter().enumerate() {
            let user = format!("u{number}");
            init(&banks[0], &user, 10).await;
            let path = format!("{way}?userId={user}&amount=6");
            let first = once(&banks[0], &path, "k").await;
            assert_eq!(first.json()["newBalance"], 4);
            assert_eq!(once(&banks[1], &path, "k").await, first, "{setup:?} {way}");
            assert_eq!(once(&banks[1], &format!("{way}?userId={user}&amount=1"), "k").await, reused);
            assert_eq!(once(&banks[1], &path, "another").await.json()["status"], "insufficient");
            assert_eq!(once(&banks[1], &path, "").await.status, 400);
            assert_eq!(banks[0].get(&format!("/balance?userId={user}")).await.json()["balance"], "4");
        }
        let path = "/init?userId=i&balance=5";
        let first = once(&banks[0], path, "k").await;
        init(&banks[0], "i", 9).await;
        assert_eq!(once(&banks[1], path, "k").await, first);
        assert_eq!(once(&banks[1], "/init?userId=i&balance=6", "k").await, reused);
        assert_eq!(banks[0].get("/balance?userId=i").await.json()["balance"], "9");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_elsewhere_is_told_as_busy_and_counted() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let [one, other] =
            [Served::on(&ground, Config::default()).await, Served::on(&ground, Config::default()).await];
        init(&one, "u1", 10).await;
        let held = other.bank.locks.lock("wallet:withdraw:u1").acquire().await.unwrap();
        let busy = answer(200, r#"{"status":"lock_busy","error":"Could not acquire lock"}"#);
        assert_eq!(withdraw(&one, LOCK, "u1", "1").await, busy, "{setup:?}");
        held.release().await.unwrap();
        assert_eq!(withdraw(&one, LOCK, "u1", "1").await, answer(200, r#"{"status":"ok","newBalance":9}"#));
        let counts =
            json!({"staleRefusals": 0, "locksLost": 0, "locksBusy": 1, "conflicts": 0, "givenUp": 0});
        assert_eq!(one.get("/withdrawals/counts").await.json(), counts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optimist_whom_others_are_always_ahead_of_gives_up_after_so_many_attempts() {
    let store = Arc::new(Memory::default());
    let books: Arc<dyn Wallets> = Arc::new(Books::new(store.clone()));
    let ahead = {
        let books = Arc::clone(&books);
        move || -> Fut<'static, ()> {
            let books = Arc::clone(&books);
            Box::pin(async move {
                books.adjust(&UserId::new("u1").unwrap(), 10, None).await.unwrap().unwrap();
            })
        }
    };
    let mut config = Config::default();
    config.max_retries = 3;
    let bank = Bank::over(store.clone(), Locks::memory(), None, config)
        .unwrap()
        .with_wallets(Meddling::with(&books, ahead));
    let bank = Served::of(bank).await;
    init(&bank, "u1", 10).await;
    assert_eq!(withdraw(&bank, WATCH, "u1", "1").await, answer(200, r#"{"status":"conflict","attempt":3}"#));
    let busy = answer(200, r#"{"status":"lock_busy","error":"Could not acquire lock"}"#);
    assert_eq!(withdraw(&bank, LOCK, "u1", "1").await, busy);
    let counts = bank.bank.teller.counts();
    assert_eq!((counts.conflicts, counts.given_up), (6, 2));
    assert_eq!(bank.bank.store.totals(Book::Wallets).await.unwrap().balance, 10);
}

/// Everything that needs Redis, answered in a decent time.
async fn all_are_refused(bank: &Served) {
    let told = "A store does not answer; with an Idempotency-Key the request may be sent again";
    let refused = answer(503, &format!(r#"{{"error":"{told}"}}"#));
    let asked = async {
        for way in WAYS {
            assert_eq!(withdraw(bank, way, "u1", "1").await, refused, "{way}");
        }
        assert_eq!(bank.get("/balance?userId=u1").await, refused);
        let health = bank.get("/health").await;
        assert_eq!(health.status, 503);
        assert_eq!(health.json()["ok"], false);
        assert_eq!(health.json()["entries"]["redis"]["status"], "Unhealthy");
        assert_eq!(health.json()["entries"]["postgresql"]["status"], "Healthy");
    };
    // Five questions, each of which gives up after a second or two.
    tokio::time::timeout(Duration::from_secs(30), asked).await.unwrap();
}

/// Waits until it serves again, without being told or restarted.
async fn heals(bank: &Served) {
    while bank.get("/health").await.status != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_wallets_are_refused_and_then_they_are_there_again() {
    let mut ground = Ground::new(Setup::PostgresAndRedis).await;
    let bank = Served::on(&ground, Config::default()).await;
    init(&bank, "u1", 10).await;
    assert_eq!(withdraw(&bank, LOCK, "u1", "1").await.json()["newBalance"], 9);
    assert_eq!(bank.get("/health").await.json()["ok"], true);

    ground.redis().stop();
    all_are_refused(&bank).await;
    ground.redis().go_on();
    heals(&bank).await;
    init(&bank, "u1", 10).await;
    for (number, way) in (1..).zip(WAYS) {
        assert_eq!(withdraw(&bank, way, "u1", "1").await.json()["newBalance"], 10 - number, "{way}");
    }

    tokio::task::block_in_place(|| ground.redis().kill());
    all_are_refused(&bank).await;
    tokio::task::block_in_place(|| ground.redis().restart());
    heals(&bank).await;
    for way in WAYS {
        assert_eq!(withdraw(&bank, way, "u1", "1").await.status, 404, "{way}: it has forgotten everything");
    }
    init(&bank, "u1", 10).await;
    for (number, way) in (1..).zip(WAYS) {
        assert_eq!(withdraw(&bank, way, "u1", "1").await.json()["newBalance"], 10 - number, "{way}");
    }
}
