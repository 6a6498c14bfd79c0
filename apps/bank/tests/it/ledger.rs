//! The books: what each store answers is what the memory answers, whatever is asked; and what its outbox promises.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bank::ledger::{
    Account, AccountKey, Action, Book, Entry, Event, IdempotencyKey, Outcome, Posted, Refusal, Refused,
    State, Step, Store, Timestamp,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tenure::FencingToken;
use tenure_testkit::ground::fresh_database;

use crate::stores;

const A: &str = "a";
const B: &str = "b";

fn account(id: &str) -> AccountKey {
    AccountKey::account(id)
}

async fn one(store: &dyn Store, entries: Vec<Entry>) -> Result<Posted, Refused> {
    store.apply(vec![Step::new(entries)]).await.unwrap().remove(0)
}

async fn open(store: &dyn Store, id: &str, balance: i64) {
    let opening = Action::Open { owner: Some("o".into()), balance };
    one(store, vec![Entry::new(account(id), opening)]).await.unwrap();
}

/// A random step: few ids, so that entries meet.
fn random_step(random: &mut StdRng) -> Step {
    let ids = ["a", "b", "c", "ü'\"\\", ""];
    let entries = (0..random.random_range(1..=3)).map(|_| {
        let amount = *[1, 2, 50, i64::MAX].choose(random).unwrap();
        let other: Arc<str> = (*ids.choose(random).unwrap()).into();
        let action = match random.random_range(0..9) {
            0 | 1 => Action::Open { owner: random.random_bool(0.5).then(|| other.clone()), balance: amount },
            2 => Action::Deposit(amount),
            3 => Action::Withdraw(amount),
            4 => Action::Send { amount, to: other },
            5 => Action::Receive { amount, from: other },
            6 => Action::TakeFee { amount, from: other },
            7 => Action::Adjust(random.random()),
            _ if random.random_bool(0.1) => Action::Close,
            _ => Action::Deposit(1),
        };
        let id = *ids.choose(random).unwrap();
        let key = if random.random_bool(0.7) { AccountKey::account(id) } else { AccountKey::wallet(id) };
        let mut entry = Entry::new(key, action);
        if random.random_bool(0.2) {
            entry = entry.expecting(random.random_range(0..6));
        }
        if random.random_bool(0.2) {
            entry = entry.under(FencingToken::new(random.random_range(1..9)).unwrap());
        }
        entry
    });
    let entries = entries.collect();
    let word = |random: &mut StdRng| -> Arc<str> { random.random_range(0..6).to_string().into() };
    let key = random.random_bool(0.3).then(|| IdempotencyKey { key: word(random), request: "r".into() });
    Step::new(entries).once(key)
}

/// An account without its times, which are those of its store's moment.
fn timeless(account: Option<Account>) -> Option<Account> {
    account.map(|account| Account { opened_at: Timestamp(0), changed_at: Timestamp(0), ..account })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_store_does_to_random_steps_what_the_memory_does() {
    let mut random = StdRng::seed_from_u64(tenure_testkit::seed());
    let (books, _dir) = stores::all().await;
    for _ in 0..300 {
        let steps: Vec<Step> = (0..random.random_range(1..=4)).map(|_| random_step(&mut random)).collect();
        let opened = (account(A), FencingToken::new(random.random_range(1..9)).unwrap());
        let mut answers = Vec::new();
        for store in &books {
            let posted = store.apply(steps.clone()).await.unwrap();
            let opened = store.open(&opened.0, opened.1).await.unwrap();
            answers.push((posted, opened.map(timeless).map_err(|_| ())));
        }
        for (answer, store) in answers.iter().zip(&books).skip(1) {
            assert_eq!(answer, &answers[0], "{} after {steps:?}", store.store());
        }
    }
    compare(&books).await;
}

/// The whole state of all books is the same.
async fn compare(books: &[Arc<dyn Store>]) {
    for book in [Book::Accounts, Book::Wallets] {
        let first = books[0].list(book, None, 100).await.unwrap();
        assert!(!first.is_empty());
        for store in &books[1..] {
            assert_eq!(store.totals(book).await.unwrap(), books[0].totals(book).await.unwrap());
            let same = store.list(book, None, 100).await.unwrap();
            let ids = |accounts: &[Account]| {
                let mut ids: Vec<_> = accounts.iter().map(|account| account.key.clone()).collect();
                ids.sort();
                ids
            };
            assert_eq!(ids(&same), ids(&first), "{}", store.store());
        }
        for key in first.iter().map(|account| &account.key) {
            let mut seen = Vec::new();
            for store in books {
                let events = store.history(key, None, 10_000).await.unwrap();
                let events: Vec<Event> =
                    events.into_iter().map(|event| Event { at: Timestamp(0), ..event }).collect();
                let replayed = store.replay(key).await.unwrap().unwrap();
                let known = store.read(std::slice::from_ref(key)).await.unwrap().remove(0).unwrap();
                assert_eq!((replayed.balance, replayed.version), (known.balance, known.version));
                assert_eq!(events.len() as u64, known.version, "versions are dense");
                seen.push((events, timeless(Some(known))));
            }
            assert!(seen.iter().all(|state| *state == seen[0]), "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_refused_changes_nothing_and_stops_no_other() {
    let (books, _dir) = stores::all().await;
    for store in &books {
        open(&**store, A, 100).await;
        let refused = Step::new(vec![
            Entry::new(account(A), Action::Withdraw(60)),
            Entry::new(account(B), Action::Deposit(60)),
        ]);
        let good = Step::new(vec![Entry::new(account(A), Action::Withdraw(70))]);
        let answers = store.apply(vec![refused, good]).await.unwrap();
        assert_eq!(answers[0], Err(Refused { entry: 1, why: Refusal::Unknown }));
        assert_eq!(answers[1].as_ref().unwrap().balances[0].balance, 30);
        let kept = store.read(&[account(A), account(B)]).await.unwrap();
        assert_eq!((kept[0].as_ref().unwrap().version, &kept[1]), (2, &None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_token_is_refused_once_a_newer_one_has_read() {
    let (books, _dir) = stores::all().await;
    let token = |number| FencingToken::new(number).unwrap();
    for store in &books {
        open(&**store, A, 100).await;
        store.open(&account(A), token(8)).await.unwrap().unwrap();
        let late = Entry::new(account(A), Action::Withdraw(1)).under(token(7));
        let refused = one(&**store, vec![late]).await.unwrap_err();
        assert_eq!(refused.why, Refusal::Stale { fence: 8 });
        assert_eq!(store.stale_writes(), 1);
        assert!(store.open(&account(A), token(7)).await.unwrap().is_err());
        let right = Entry::new(account(A), Action::Withdraw(1)).under(token(8));
        assert_eq!(one(&**store, vec![right]).await.unwrap().balances[0].balance, 99);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawals_at_once_take_what_is_there_and_no_more() {
    let (books, _dir) = stores::all().await;
    for store in &books {
        open(&**store, A, 100).await;
        let asked = (0..40).map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move { one(&*store, vec![Entry::new(account(A), Action::Withdraw(3))]).await })
        });
        let mut left = Vec::new();
        for answer in futures_util::future::join_all(asked).await {
            left.extend(answer.unwrap().ok().map(|posted| posted.balances[0].balance));
        }
        left.sort_unstable();
        let wanted: Vec<i64> = (1..=33).map(|number| 100 - 3 * (34 - number)).collect();
        assert_eq!(left, wanted, "{}: each has a balance of its own", store.store());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_used_once_also_by_many_at_once_and_across_a_long_time() {
    let (books, _dir) = stores::all().await;
    for store in &books {
        open(&**store, A, 100).await;
        let step = |request: &str| {
            let key = IdempotencyKey { key: "k".into(), request: request.into() };
            Step::new(vec![Entry::new(account(A), Action::Withdraw(10))]).once(Some(key))
        };
        let asked = (0..8).map(|_| store.apply(vec![step("r")]));
        let answers = futures_util::future::join_all(asked).await;
        let posted: Vec<Posted> =
            answers.into_iter().map(|answer| answer.unwrap().remove(0).unwrap()).collect();
        assert_eq!(posted.iter().filter(|posted| !posted.is_repeated).count(), 1);
        assert!(posted.iter().all(|posted| posted.balances[0].balance == 90));
        let other = store.apply(vec![step("s")]).await.unwrap().remove(0);
        assert_eq!(other.unwrap_err().why, Refusal::KeyReused);
        assert_eq!(store.forget_keys(Timestamp::now().plus(Duration::from_secs(1))).await.unwrap(), 1);
        let again = store.apply(vec![step("r")]).await.unwrap().remove(0).unwrap();
        assert_eq!(again.balances[0].balance, 80);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_waits_for_those_before_it_and_comes_again_when_its_time_is_up() {
    let (books, _dir) = stores::all().await;
    for store in &books {
        open(&**store, A, 100).await;
        open(&**store, B, 100).await;
        one(&**store, vec![Entry::new(account(A), Action::Withdraw(1))]).await.unwrap();
        let now = Timestamp::now();
        let later = now.plus(Duration::from_secs(5));
        let due = store.due(10, now).await.unwrap();
        let told: Vec<(&str, u64)> =
            due.iter().map(|message| (message.account.as_str(), message.version)).collect();
        assert_eq!(told, [("account:a", 1), ("account:b", 1)]);
        let ids: Vec<u64> = due.iter().map(|message| message.id).collect();
        assert_eq!(store.begin(&ids, now, later).await.unwrap(), ids);
        assert!(store.begin(&ids, now, later).await.unwrap().is_empty(), "they are in somebody's hands");
        assert!(store.due(10, now).await.unwrap().is_empty());
        let again = store.due(10, later).await.unwrap();
        assert_eq!(again.iter().map(|message| message.attempts).collect::<Vec<_>>(), [1, 1]);

        let ends =
            [(ids[0], Outcome::Delivered), (ids[1], Outcome::Retry { at: later, error: "e".to_owned() })];
        store.finish(&ends, now).await.unwrap();
        let next = store.due(10, now).await.unwrap();
        assert_eq!(next.iter().map(|message| message.version).collect::<Vec<_>>(), [2]);
        store.finish(&[(ids[1], Outcome::Dead { error: "e".to_owned() })], now).await.unwrap();
        let tally = store.tally().await.unwrap();
        assert_eq!((tally.pending, tally.processed, tally.failed, tally.processing), (1, 1, 1, 0));
        assert_eq!(store.messages(State::Failed, 10).await.unwrap()[0].error.as_deref(), Some("e"));
        assert_eq!(store.clean(now).await.unwrap(), 0);
        assert_eq!(store.clean(later).await.unwrap(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_starts_at_the_last_snapshot() {
    let (books, _dir) = stores::all().await;
    for store in &books[1..] {
        open(&**store, A, 0).await;
        let deposits = (0..250).map(|_| Step::new(vec![Entry::new(account(A), Action::Deposit(1))]));
        store.apply(deposits.collect()).await.unwrap();
        let replayed = store.replay(&account(A)).await.unwrap().unwrap();
        assert_eq!((replayed.balance, replayed.version, replayed.events_read), (250, 251, 51));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_store_open_an_account_once_and_keep_every_move() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bank.db");
    let database = fresh_database().await;
    let sqlite = || -> Arc<dyn Store> { Arc::new(bank::ledger::Sqlite::open(&path).unwrap()) };
    let postgres = [
        bank::ledger::Postgres::connect(&database).await.unwrap(),
        bank::ledger::Postgres::connect(&database).await.unwrap(),
    ];
    let [one_of, other_of] = postgres.map(|store| -> Arc<dyn Store> { Arc::new(store) });
    for pair in [[sqlite(), sqlite()], [one_of, other_of]] {
        let moves = (0..200).map(|number: usize| {
            let store = Arc::clone(&pair[number % 2]);
            let id = (number / 20).to_string();
            tokio::spawn(async move {
                let opening = Action::Open { owner: None, balance: 0 };
                let steps = vec![
                    Step::new(vec![Entry::new(account(&id), opening)]),
                    Step::new(vec![
                        Entry::new(account(&id), Action::Deposit(2)),
                        Entry::new(account("fees"), Action::TakeFee { amount: 1, from: id.as_str().into() }),
                    ]),
                ];
                store.apply(steps).await.unwrap()
            })
        });
        let mut opened: HashMap<bool, usize> = HashMap::new();
        for answers in futures_util::future::join_all(moves).await {
            let answers = answers.unwrap();
            *opened.entry(answers[0].is_ok()).or_default() += 1;
            answers[1].as_ref().unwrap();
        }
        assert_eq!(opened, HashMap::from([(true, 10), (false, 190)]));
        let totals = pair[0].totals(Book::Accounts).await.unwrap();
        assert_eq!((totals.accounts, totals.balance), (11, 600));
    }
}
