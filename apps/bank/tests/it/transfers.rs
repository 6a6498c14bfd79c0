//! Accounts and transfers over HTTP: the contract, the scenarios of the original's tests, and what it got wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bank::ledger::{Book, Fut, Ledger, Memory};
use bank::transfers::{Chain, Declined, Draft, Fees, Link, Transfers};
use bank::{Cents, Config};
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tenure::{Locks, Result};
use tenure_testkit::{Ground, SETUPS, Setup};

use crate::stores::{Answer, Served};

fn answer(status: u16, text: &str) -> Answer {
    Answer { status, text: text.to_owned() }
}

/// Settings with which nobody gives up, however loaded the machine is.
fn patient() -> Config {
    let mut config = Config::default();
    config.lock_wait_ms = 120_000;
    config
}

async fn open(bank: &Served, id: &str, balance: &str) {
    let opened = bank.post("/accounts", &format!(r#"{{"id":"{id}","initial_balance":{balance}}}"#)).await;
    assert_eq!(opened, answer(201, &format!(r#"{{"id":"{id}","balance":{balance}}}"#)));
}

async fn transfer(bank: &Served, from: &str, to: &str, amount: &str) -> Answer {
    let body = format!(r#"{{"from_account_id":"{from}","to_account_id":"{to}","amount":{amount}}}"#);
    bank.post("/transactions", &body).await
}

async fn total(bank: &Served) -> i128 {
    bank.bank.store.totals(Book::Accounts).await.unwrap().balance
}

/// How many answers have a status.
fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_transfers_answer_as_the_contract_says() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let bank = Served::on(&ground, patient()).await;
        open(&bank, "A", "100").await;
        assert_eq!(bank.post("/accounts", r#"{"id":"B"}"#).await, answer(201, r#"{"id":"B","balance":0}"#));
        let exists = answer(409, r#"{"error":"CONFLICT","message":"Account with ID A already exists"}"#);
        assert_eq!(bank.post("/accounts", r#"{"id":"A","initial_balance":5}"#).await, exists);
        assert_eq!(bank.get("/accounts/A").await, answer(200, r#"{"id":"A","balance":100}"#));
        let missing = answer(404, r#"{"error":"NOT_FOUND","message":"Account not found: Z"}"#);
        assert_eq!(bank.get("/accounts/Z").await, missing);
        let done = r#"{"from_account_id":"A","to_account_id":"B","amount":10.25,"from_account_balance":89.75,"to_account_balance":10.25}"#;
        assert_eq!(transfer(&bank, "A", "B", "10.25").await, answer(200, done));
        let poor =
            answer(400, r#"{"error":"INSUFFICIENT_FUNDS","message":"Insufficient funds in account: A"}"#);
        assert_eq!(transfer(&bank, "A", "B", "89.76").await, poor);
        let drained = transfer(&bank, "A", "B", "89.75").await;
        assert!(drained.text.contains(r#""from_account_balance":0,"#), "{drained:?}");
        assert_eq!(total(&bank).await, 10_000, "{setup:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_right_is_refused_in_words_and_leaves_no_trace() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let bank = Served::on(&ground, patient()).await;
        open(&bank, "A", "100").await;
        open(&bank, "B", "100").await;
        for body in [r#"{}"#, r#"{"id":""}"#, r#"{"id":" \t"}"#, r#"{"id":null}"#] {
            let refused = answer(400, r#"{"error":"BAD_REQUEST","message":"Account ID is required"}"#);
            assert_eq!(bank.post("/accounts", body).await, refused, "{body}");
        }
        for id in [r"a\u0000", &"a".repeat(1_025)] {
            let refused = bank.post("/accounts", &format!(r#"{{"id":"{id}"}}"#)).await;
            let said = "Account ID has at most 1024 bytes and no U+0000";
            assert_eq!(refused, answer(400, &format!(r#"{{"error":"BAD_REQUEST","message":"{said}"}}"#)));
        }
        assert_eq!(bank.get("/accounts/%00").await.status, 404);
        let negative = answer(400, r#"{"error":"BAD_REQUEST","message":"Balance cannot be negative"}"#);
        assert_eq!(bank.post("/accounts", r#"{"id":"N","initial_balance":-0.01}"#).await, negative);
        for (body, said) in [
            (r#"{"to_account_id":"B","amount":1}"#, "from_account_id is required"),
            (r#"{"from_account_id":" ","to_account_id":"B","amount":1}"#, "from_account_id is required"),
            (r#"{"from_account_id":"A","amount":1}"#, "to_account_id is required"),
            (r#"{"from_account_id":"A","to_account_id":"B"}"#, "amount is required"),
            (r#"{"from_account_id":"A","to_account_id":"B","amount":null}"#, "amount is required"),
            (r#"{"from_account_id":"A","to_account_id":"B","amount":0}"#, "Amount must be greater than zero"),
            (
                r#"{"from_account_id":"A","to_account_id":"B","amount":-1}"#,
                "Amount must be greater than zero",
            ),
            (
                r#"{"from_account_id":"A","to_account_id":"A","amount":1}"#,
                "Cannot transfer to the same account",
            ),
            (r#"{"from_account_id":"X","to_account_id":"B","amount":1}"#, "From account not found: X"),
            (r#"{"from_account_id":"A","to_account_id":"X","amount":1}"#, "To account not found: X"),
            (
                r#"{"from_account_id":"A","to_account_id":"\u0000","amount":1}"#,
                r"To account not found: \u0000",
            ),
        ] {
            let refused = bank.post("/transactions", body).await;
            let wanted = format!(r#"{{"error":"BAD_REQUEST","message":"{said}"}}"#);
            assert_eq!(refused, answer(400, &wanted), "{body}");
        }
        for amount in ["0.001", "1e400000", "9223372036854775808", "\"1\"", "1.0.0", "NaN", "[]", "true"] {
            let refused = transfer(&bank, "A", "B", amount).await;
            assert_eq!((refused.status, &refused.json()["error"]), (400, &"BAD_REQUEST".into()), "{amount}");
        }
        for body in
            ["", "{", "[]", "null", "\u{0}", r#"{"from_account_id":5,"to_account_id":"B","amount":1}"#]
        {
            assert_eq!(bank.post("/transactions", body).await.status, 400, "{body}");
        }
        // Deliveries go on beside the test, and have locks of their own.
        let locks = bank.until("/locks", |answer| answer.json()["lock_count"] == 0).await;
        assert_eq!(locks.json()["tracked_accounts"], 0);
        assert_eq!(bank.get("/accounts/A").await, answer(200, r#"{"id":"A","balance":100}"#));
        assert_eq!(total(&bank).await, 20_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_are_exact_up_to_the_last_digit() {
    let ground = Ground::new(Setup::Files).await;
    let bank = Served::on(&ground, patient()).await;
    open(&bank, "A", "92233720368547758.07").await;
    open(&bank, "B", "0.01").await;
    let moved = transfer(&bank, "A", "B", "90071992547409.93").await;
    assert!(moved.text.contains(r#""from_account_balance":92143648376000348.14,"#), "{moved:?}");
    assert!(moved.text.contains(r#""to_account_balance":90071992547409.94}"#), "{moved:?}");
    let full = transfer(&bank, "B", "A", "90071992547409.94").await;
    assert_eq!((full.status, &full.json()["error"]), (400, &"BAD_REQUEST".into()), "more than fits");
}

#[tokio::test(flavor = "multi_thread")]
async fn eleven_withdrawals_of_ten_from_a_hundred_give_ten_successes() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let bank = Served::on(&ground, patient()).await;
        open(&bank, "A", "100").await;
        open(&bank, "B", "0").await;
        let answers = join_all((0..11).map(|_| transfer(&bank, "A", "B", "10"))).await;
        assert_eq!((count(&answers, 200), count(&answers, 400)), (10, 1), "{setup:?}");
        assert!(answers.iter().any(|answer| answer.text.contains("INSUFFICIENT_FUNDS")));
        let balances: std::collections::BTreeSet<String> =
            answers.iter().map(|answer| answer.text.clone()).collect();
        assert_eq!(balances.len(), 11, "each success shows the balances as of itself");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opposite_transfers_end_without_deadlock_and_rings_keep_the_total() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        // Two instances: the order of the locks is the stores', not one process's.
        let banks = [Served::on(&ground, patient()).await, Served::on(&ground, patient()).await];
        for id in 0..10 {
            open(&banks[0], &id.to_string(), "1000").await;
        }
        let opposite = (0..60).map(|number: usize| {
            let (from, to) = if number.is_multiple_of(2) { ("0", "1") } else { ("1", "0") };
            transfer(&banks[number / 2 % 2], from, to, "1")
        });
        let answers = join_all(opposite).await;
        assert_eq!(count(&answers, 200), 60, "{setup:?}");
        let ring = (0..50).map(|number: usize| {
            let (from, to) = ((number % 10).to_string(), ((number + 1) % 10).to_string());
            let bank = &banks[number % 2];
            async move { transfer(bank, &from, &to, "7.5").await }
        });
        let answers = join_all(ring).await;
        assert_eq!(count(&answers, 200), 50, "{setup:?}");
        assert_eq!(total(&banks[0]).await, 1_000_000);
        assert_eq!(banks[1].get("/accounts/0").await, answer(200, r#"{"id":"0","balance":1000}"#));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_creates_of_one_id_give_one_account_and_of_distinct_ids_all() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let bank = Served::on(&ground, patient()).await;
        let same =
            join_all((0..10).map(|_| bank.post("/accounts", r#"{"id":"one","initial_balance":5}"#))).await;
        assert_eq!((count(&same, 201), count(&same, 409)), (1, 9), "{setup:?}");
        let ids: Vec<String> =
            (0..100).map(|id| format!(r#"{{"id":"d{id}","initial_balance":1}}"#)).collect();
        let distinct = join_all(ids.iter().map(|body| bank.post("/accounts", body))).await;
        assert_eq!(count(&distinct, 201), 100);
        assert_eq!(total(&bank).await, 10_500);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tens_from_a_thousand_and_random_transfers_keep_the_total() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let bank = Served::on(&ground, patient()).await;
        for id in 0..20 {
            open(&bank, &id.to_string(), "1000").await;
        }
        let answers = join_all((0..100).map(|_| transfer(&bank, "0", "1", "10"))).await;
        assert_eq!(count(&answers, 200), 100, "{setup:?}");
        let mut random = StdRng::seed_from_u64(tenure_testkit::seed());
        let moves: Vec<(String, String, String)> = (0..60)
            .map(|_| {
                let (from, to) = (random.random_range(0..20), random.random_range(0..20));
                (from.to_string(), to.to_string(), Cents(random.random_range(1..200_000)).to_string())
            })
            .collect();
        let answers =
            join_all(moves.iter().map(|(from, to, amount)| transfer(&bank, from, to, amount))).await;
        assert!(answers.iter().all(|answer| [200, 400].contains(&answer.status)), "{setup:?}");
        assert_eq!(total(&bank).await, 2_000_000);
        let negative = bank.bank.store.list(Book::Accounts, None, 100).await.unwrap();
        assert!(negative.iter().all(|account| account.balance >= 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_again_with_its_key_is_answered_and_not_repeated() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let banks = [Served::on(&ground, patient()).await, Served::on(&ground, patient()).await];
        open(&banks[0], "A", "100").await;
        open(&banks[0], "B", "0").await;
        let send = |bank: usize, amount: &str, key: &str| {
            let body = format!(r#"{{"from_account_id":"A","to_account_id":"B","amount":{amount}}}"#);
            let request = banks[bank].to("/transactions").header("idempotency-key", key).body(body);
            banks[bank].ask(request)
        };
        // The whole balance: a repetition would not pass the check of funds.
        let answers = join_all((0..8).map(|number| send(number % 2, "100", "k"))).await;
        assert!(
            answers.iter().all(|answer| *answer == answers[0] && answer.status == 200),
            "{setup:?} {answers:?}"
        );
        assert_eq!(send(1, "99", "k").await.status, 422);
        for bad in [" ", "ü", &"x".repeat(256)] {
            let value = reqwest::header::HeaderValue::from_bytes(bad.as_bytes()).unwrap();
            let body = r#"{"from_account_id":"B","to_account_id":"A","amount":1}"#;
            let request = banks[0].to("/transactions").header("idempotency-key", value).body(body);
            assert_eq!(banks[0].ask(request).await.status, 400, "{bad}");
        }
        let opened = (0..2).map(|_| {
            let body = r#"{"id":"C","initial_balance":7}"#;
            banks[0].ask(banks[0].to("/accounts").header("idempotency-key", "k").body(body))
        });
        let opened = join_all(opened).await;
        assert_eq!(count(&opened, 201), 2);
        assert_eq!(total(&banks[0]).await, 10_700);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_elsewhere_is_waited_for_and_then_told() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let mut config = Config::default();
        config.lock_wait_ms = 100;
        let banks = [Served::on(&ground, config).await, Served::on(&ground, Config::default()).await];
        open(&banks[0], "A", "100").await;
        open(&banks[0], "B", "0").await;
        let guard = banks[1].bank.locks.lock("account:balance:A").acquire().await.unwrap();
        let busy = transfer(&banks[0], "B", "A", "1").await;
        assert_eq!((busy.status, &busy.json()["error"]), (409, &"LOCK_TIMEOUT".into()), "{setup:?}");
        let known = answer(200, r#"{"id":"A","balance":100}"#);
        assert_eq!(banks[0].get("/accounts/A").await, known, "a read waits for no lock");
        let unknown = transfer(&banks[0], "A", "X", "1").await;
        assert_eq!(unknown.status, 400, "an unknown id waits for no lock");
        let waiting = transfer(&banks[1], "A", "B", "1");
        let (waited, ()) = tokio::join!(waiting, async { guard.release().await.unwrap() });
        assert_eq!(waited.status, 200);
        let lock = banks[0].get("/locks/A").await.json();
        assert_eq!((&lock["timeouts"], &lock["contention_count"]), (&1.into(), &1.into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fee_goes_to_its_account_and_the_books_stay_whole() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let mut config = patient();
        config.fees = Fees { percent: Cents::units(1), fixed: Cents(50) };
        let bank = Served::on(&ground, config).await;
        open(&bank, "A", "101.5").await;
        open(&bank, "B", "0").await;
        let done = transfer(&bank, "A", "B", "100").await;
        assert!(done.text.ends_with(r#""from_account_balance":0,"to_account_balance":100}"#), "{done:?}");
        assert_eq!(bank.get("/accounts/fees").await, answer(200, r#"{"id":"fees","balance":1.5}"#));
        assert_eq!(total(&bank).await, 10_150);
        let poor = transfer(&bank, "B", "A", "100").await;
        assert_eq!(poor.json()["error"], "INSUFFICIENT_FUNDS", "the fee has to be there too");
    }
}

/// A step of a user's own: refuses what is large, and counts what it saw.
#[derive(Debug, Default)]
struct Ceiling(AtomicU64);

impl Link for Ceiling {
    fn pass<'a>(&'a self, draft: &'a mut Draft, _: &'a dyn Ledger) -> Fut<'a, Result<Result<(), Declined>>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let is_small = draft.amount <= Cents::units(10);
        let passed = if is_small { Ok(()) } else { Err(Declined::Invalid("Too much at once")) };
        Box::pin(std::future::ready(Ok(passed)))
    }
}

#[tokio::test]
async fn the_chain_can_be_replaced() {
    let store = Arc::new(Memory::default());
    let ceiling = Arc::new(Ceiling::default());
    let mut chain = Chain::new(Fees::default());
    chain.before.push(Arc::<Ceiling>::clone(&ceiling));
    let wait = std::time::Duration::from_secs(1);
    let transfers = Transfers::new(store, Locks::memory(), chain, wait, "fees");
    let large = Draft::new("a", "b", Cents::units(11));
    let declined = transfers.transfer(large, None).await.unwrap();
    assert_eq!(declined, Err(Declined::Invalid("Too much at once")));
    let small = Draft::new("a", "b", Cents::units(10));
    assert_eq!(transfers.transfer(small, None).await.unwrap(), Err(Declined::UnknownFrom("a".into())));
    assert_eq!(ceiling.0.load(Ordering::Relaxed), 2);
}
