//! Event-sourced accounts over HTTP: the contract, batches, and money that stays whatever meets.

use bank::Config;
use bank::ledger::{AccountKey, Book};
use bank::names::account_lock;
use serde_json::{Value, json};
use tenure::FencingToken;
use tenure_testkit::{Ground, SETUPS, Setup};

use crate::stores::{Answer, Served};

pub(crate) const ACCOUNTS: &str = "/api/cqrs/accounts";
const BATCH: &str = "/api/cqrs/operations/batch";

pub(crate) async fn create(bank: &Served, balance: &str) -> String {
    let body = format!(r#"{{"owner_name":"Ada","initial_balance":{balance}}}"#);
    let answer = bank.post(ACCOUNTS, &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn verb(bank: &Served, id: &str, verb: &str, body: &str) -> Answer {
    bank.post(&format!("{ACCOUNTS}/{id}/{verb}"), body).await
}

fn problem(answer: &Answer) -> (u16, String) {
    let body = answer.json();
    assert_eq!(body["status"], answer.status, "{answer:?}");
    assert!(body["title"].is_string() && body["type"].is_string(), "{answer:?}");
    (answer.status, body["detail"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_created_changed_read_and_closed() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let bank = Served::on(&ground, Config::default()).await;
        let id = create(&bank, "100.50").await;
        let put = verb(&bank, &id, "deposit", r#"{"amount":0.25}"#).await;
        assert_eq!(put.status, 200, "{put:?}");
        assert!(put.text.starts_with(&format!(r#"{{"id":"{id}","balance":100.75,"version":2,"#)), "{put:?}");
        let left = verb(&bank, &id, "withdraw", r#"{"amount":100.75}"#).await;
        assert_eq!((left.status, &left.json()["balance"]), (200, &json!(0)));

        let account = bank.get(&format!("{ACCOUNTS}/{id}")).await.json();
        assert_eq!(account["owner_name"], "Ada");
        assert_eq!((&account["status"], &account["version"]), (&json!("active"), &json!(3)));
        let balance = bank.get(&format!("{ACCOUNTS}/{id}/balance")).await;
        assert_eq!(balance.text, format!(r#"{{"id":"{id}","balance":0,"version":3}}"#));

        let closed = verb(&bank, &id, "close", "").await;
        assert_eq!(closed.status, 200, "{closed:?}");
        let status = bank.get(&format!("{ACCOUNTS}/{id}/status")).await;
        assert_eq!(status.text, format!(r#"{{"id":"{id}","status":"closed","version":4}}"#));
        assert_eq!(problem(&verb(&bank, &id, "deposit", r#"{"amount":1}"#).await).0, 409);

        let told = bank.get(&format!("{ACCOUNTS}/{id}/transactions")).await.json();
        let told: Vec<(&str, &Value)> = told["transactions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| (event["kind"].as_str().unwrap(), &event["amount"]))
            .collect();
        let wanted = [
            ("closed", &json!(0)),
            ("withdrawn", &json!(-100.75)),
            ("deposited", &json!(0.25)),
            ("opened", &json!(100.5)),
        ];
        assert_eq!(told, wanted);
        let page = bank.get(&format!("{ACCOUNTS}/{id}/transactions?before=3&limit=1")).await.json();
        assert_eq!((&page["transactions"][0]["version"], &page["next"]), (&json!(2), &json!(2)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_as_a_problem_and_changes_nothing() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let bank = Served::on(&ground, Config::default()).await;
        let id = create(&bank, "10").await;
        let endless = format!(r#"{{"owner_name":"{}"}}"#, "a".repeat(1_025));
        for body in [
            "{",
            "{}",
            r#"{"owner_name":" "}"#,
            r#"{"owner_name":"a\u0000"}"#,
            &endless,
            r#"{"owner_name":"a","initial_balance":-1}"#,
        ] {
            assert_eq!(problem(&bank.post(ACCOUNTS, body).await).0, 400, "{body}");
        }
        for body in [
            "{",
            "{}",
            r#"{"amount":0}"#,
            r#"{"amount":-1}"#,
            r#"{"amount":0.001}"#,
            r#"{"amount":1e400000}"#,
        ] {
            assert_eq!(problem(&verb(&bank, &id, "deposit", body).await).0, 400, "{body}");
        }
        assert_eq!(problem(&verb(&bank, &id, "withdraw", r#"{"amount":10.01}"#).await).0, 422);
        for unknown in ["x", "x%00"] {
            assert_eq!(problem(&verb(&bank, unknown, "withdraw", r#"{"amount":1}"#).await).0, 404);
            for path in ["", "/balance", "/status", "/transactions", "/transactions?limit=60", "/summary"] {
                let answer = bank.get(&format!("{ACCOUNTS}/{unknown}{path}")).await;
                assert_eq!(problem(&answer).0, 404, "{setup:?} {unknown}{path}");
            }
        }
        for query in ["?limit=0", "?after=%00", "?limit=1001", "?limit=x", "?after=a&colour=red"] {
            assert_eq!(problem(&bank.get(&format!("{ACCOUNTS}{query}")).await).0, 400, "{query}");
        }
        let account = bank.get(&format!("{ACCOUNTS}/{id}")).await.json();
        assert_eq!((&account["balance"], &account["version"]), (&json!(10), &json!(1)));
        assert_eq!(bank.bank.locks.stats().timeouts, 0, "an unknown id waits behind nobody");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_there_any_more_is_a_conflict() {
    let ground = Ground::new(Setup::Files).await;
    let bank = Served::on(&ground, Config::default()).await;
    let id = create(&bank, "10").await;
    let path = format!("{ACCOUNTS}/{id}/deposit");
    let with = |tag: &str| {
        let request = bank.to(&path).header("if-match", tag).body(r#"{"amount":1}"#);
        bank.ask(request)
    };
    assert_eq!(with("\"1\"").await.status, 200);
    let detail =
        format!("The Account with ID '{id}' was modified by another user. Please refresh and try again.");
    assert_eq!(problem(&with("\"1\"").await), (409, detail.clone()));
    let body = r#"{"amount":1,"expected_version":1}"#;
    assert_eq!(problem(&verb(&bank, &id, "withdraw", body).await), (409, detail));
    assert_eq!(with("*").await.status, 200);
    assert_eq!(problem(&with("abc").await).0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_repeated_under_a_key_is_done_once() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let pair =
            [Served::on(&ground, Config::default()).await, Served::on(&ground, Config::default()).await];
        let send = async |number: usize, path: &str, key: &str, body: &str| {
            let bank = &pair[number % 2];
            bank.ask(bank.to(path).header("idempotency-key", key).body(body.to_owned())).await
        };
        let body = r#"{"owner_name":"Ada","initial_balance":5}"#;
        let first = send(0, ACCOUNTS, "k", body).await;
        assert_eq!(send(1, ACCOUNTS, "k", body).await, first);
        assert_eq!(send(1, ACCOUNTS, "k", r#"{"owner_name":"Bob"}"#).await.status, 422);
        let id = first.json()["id"].as_str().unwrap().to_owned();
        let path = format!("{ACCOUNTS}/{id}/deposit");
        let asked = (0..8).map(|number| send(number, &path, "k", r#"{"amount":1}"#));
        for answer in futures_util::future::join_all(asked).await {
            assert_eq!((answer.status, &answer.json()["balance"]), (200, &json!(6)), "{setup:?}");
        }
        let batch = format!(
            r#"{{"operations":[{{"account_id":"{id}","kind":"deposit","amount":1}},{{"account_id":"{id}","kind":"withdraw","amount":2}}]}}"#
        );
        let done = send(0, BATCH, "b", &batch).await;
        assert_eq!(send(1, BATCH, "b", &batch).await, done);
        assert_eq!(done.json()["results"][1]["balance"], 5);
        let other = batch.replace("withdraw", "deposit");
        assert_eq!(problem(&send(1, BATCH, "b", &other).await).0, 422);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_answers_each_operation_in_its_place() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let bank = Served::on(&ground, Config::default()).await;
        let (a, b) = (create(&bank, "10").await, create(&bank, "10").await);
        let operations = json!({"operations": [
            {"account_id": b, "kind": "withdraw", "amount": 4},
            {"account_id": a, "kind": "deposit", "amount": 1.5},
            {"account_id": "x", "kind": "deposit", "amount": 1},
            {"account_id": b, "kind": "withdraw", "amount": 7},
            {"account_id": b, "kind": "read"},
            {"account_id": b, "kind": "deposit", "amount": 0},
            {"account_id": b, "kind": "deposit"},
            {"kind": "deposit", "amount": 1},
            {"account_id": a, "kind": "withdraw", "amount": 1, "expected_version": 1},
            {"account_id": b, "kind": "close"},
            {"account_id": b, "kind": "deposit", "amount": 1},
        ]});
        let answer = bank.post(BATCH, &operations.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let results = answer.json();
        let told = |number: usize| {
            let result = &results["results"][number];
            match result["error"].as_str() {
                Some(error) => error.to_owned(),
                None => format!("{}@{}", result["balance"], result["version"]),
            }
        };
        let told: Vec<String> = (0..11).map(told).collect();
        let wanted = [
            "6@2",
            "11.5@2",
            "not-found",
            "insufficient-funds",
            "6@2",
            "invalid",
            "invalid",
            "invalid",
            "modified",
            "6@3",
            "closed",
        ];
        assert_eq!(told, wanted, "{setup:?}");
        assert_eq!((&results["succeeded"], &results["failed"]), (&json!(4), &json!(7)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_none_or_of_too_many_is_refused() {
    let ground = Ground::new(Setup::Files).await;
    let bank = Served::on(&ground, Config::default()).await;
    let id = create(&bank, "0").await;
    let of = |count: usize| {
        let operation = json!({"account_id": id, "kind": "deposit", "amount": 1});
        json!({"operations": vec![operation; count]}).to_string()
    };
    assert_eq!(problem(&bank.post(BATCH, &of(0)).await).0, 400);
    assert_eq!(problem(&bank.post(BATCH, &of(101)).await).0, 400);
    assert_eq!(problem(&bank.post(BATCH, r#"{"operations":[{"kind":"dance"}]}"#).await).0, 400);
    let last = bank.post(BATCH, &of(100)).await.json();
    assert_eq!(last["results"][99]["balance"], 100);
}

// Goal: accounts whose locks others hold stop no other, and are written as soon as their locks come.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_writes_what_it_won_and_waits_for_the_rest() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let [bank, other] =
            [Served::on(&ground, Config::default()).await, Served::on(&ground, Config::default()).await];
        let (a, b) = (create(&bank, "10").await, create(&bank, "10").await);
        let held = other.bank.locks.lock(account_lock(&a)).acquire().await.unwrap();
        let operations = json!({"operations": [
            {"account_id": a, "kind": "deposit", "amount": 1},
            {"account_id": b, "kind": "deposit", "amount": 1},
        ]});
        let path = format!("{ACCOUNTS}/{b}/balance");
        let won = async {
            while bank.get(&path).await.json()["balance"] != 11 {}
            assert_eq!(bank.get(&format!("{ACCOUNTS}/{a}/balance")).await.json()["balance"], 10);
            drop(held);
        };
        let body = operations.to_string();
        let (answer, ()) = tokio::join!(bank.post(BATCH, &body), won);
        let results = answer.json();
        assert_eq!(
            (&results["results"][0]["balance"], &results["succeeded"]),
            (&json!(11), &json!(2)),
            "{setup:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_stays_locked_is_busy_and_nothing_else_is() {
    let ground = Ground::new(Setup::Postgres).await;
    let mut config = Config::default();
    config.lock_wait_ms = 200;
    let [bank, other] = [Served::on(&ground, config.clone()).await, Served::on(&ground, config).await];
    let (a, b) = (create(&bank, "10").await, create(&bank, "10").await);
    let _held = other.bank.locks.lock(account_lock(&a)).acquire().await.unwrap();
    let operations = json!({"operations": [
        {"account_id": a, "kind": "deposit", "amount": 1},
        {"account_id": b, "kind": "deposit", "amount": 1},
        {"account_id": a, "kind": "read"},
    ]});
    let results = bank.post(BATCH, &operations.to_string()).await.json();
    assert_eq!(results["results"][0]["error"], "busy");
    assert_eq!(results["results"][1]["balance"], 11);
    assert_eq!(problem(&verb(&bank, &a, "deposit", r#"{"amount":1}"#).await).0, 409);
    assert_eq!(
        bank.get(&format!("{ACCOUNTS}/{a}/balance")).await.json()["balance"],
        10,
        "a read waits for no lock"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_lock_has_passed_on_is_refused_and_counted() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let bank = Served::on(&ground, Config::default()).await;
        let id = create(&bank, "10").await;
        // Somebody with a newer lock has looked: whatever token comes now is older.
        let newer = bank.bank.store.open(&AccountKey::account(id.as_str()), FencingToken::MAX).await;
        newer.unwrap().unwrap();
        assert_eq!(problem(&verb(&bank, &id, "withdraw", r#"{"amount":1}"#).await).0, 409);
        assert_eq!(bank.bank.store.stale_writes(), 1);
        assert_eq!(bank.get(&format!("{ACCOUNTS}/{id}/balance")).await.json()["balance"], 10);
    }
}

// Goal: two instances, commands and batches on few accounts: what was answered as done is what is on the accounts.
#[tokio::test(flavor = "multi_thread")]
async fn money_is_what_was_answered_whatever_meets() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let pair =
            [Served::on(&ground, Config::default()).await, Served::on(&ground, Config::default()).await];
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(create(&pair[0], "20").await);
        }
        let work = (0..60_usize).map(|number| {
            let (bank, ids) = (&pair[number % 2], &ids);
            async move {
                let (one, other) = (&ids[number % 4], &ids[(number / 4 + 1) % 4]);
                if number % 3 != 0 {
                    let (name, sign) = if number % 2 == 0 { ("deposit", 3) } else { ("withdraw", -7) };
                    let body = format!(r#"{{"amount":{}}}"#, sign_less(sign));
                    let answer = verb(bank, one, name, &body).await;
                    assert!([200, 422].contains(&answer.status), "{answer:?}");
                    return if answer.status == 200 { sign } else { 0 };
                }
                let operations = json!({"operations": [
                    {"account_id": one, "kind": "withdraw", "amount": 5},
                    {"account_id": other, "kind": "deposit", "amount": 2},
                    {"account_id": one, "kind": "withdraw", "amount": 1},
                ]});
                let results = bank.post(BATCH, &operations.to_string()).await.json();
                let changes = [-5, 2, -1].into_iter().zip(results["results"].as_array().unwrap());
                let done = changes.filter(|(_, result)| match result["error"].as_str() {
                    None => true,
                    Some(error) => {
                        assert_eq!(error, "insufficient-funds");
                        false
                    }
                });
                done.map(|(change, _)| change).sum::<i64>()
            }
        });
        let changed: i64 = futures_util::future::join_all(work).await.into_iter().sum();
        let totals = pair[0].bank.store.totals(Book::Accounts).await.unwrap();
        assert_eq!(totals.balance, i128::from(80 + changed) * 100, "{setup:?}");
    }
}

fn sign_less(amount: i64) -> i64 {
    amount.abs()
}
